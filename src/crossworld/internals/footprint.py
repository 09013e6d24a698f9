"""How much memory the rows of a shared pass take."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Self

from crossworld.internals.backend import torch

if TYPE_CHECKING:
    from crossworld.internals.prefix import Prefix
    from crossworld.internals.study import PatchStudy

STREAMS = 8  # tensors as wide as the residual stream that one row keeps alive in a block
HIDDEN = 4  # and as wide as the MLP's hidden layer
SCORES = 2  # copies of the attention scores while their softmax is taken
COPIES = 2  # copies of one job's whole output: put together, and what the metric makes of it
FLASH = ("flash", "flex")  # attention that never holds its scores


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a row takes at the same time, at most, of inputs of one length.

    Parameters
    ----------
    length
        Positions of an input.
    position
        Of one position in the widest block.
    scores
        Of one query position with one key position, all heads; 0 where attention does not hold its
        scores.
    output
        Of the output at one position.
    apart
        Of output that has no axis of positions.
    whole
        Of the whole output, once it is there.
    keys
        Of keys and values that the row is lent in a block.
    cache
        Of the keys and values of all blocks that one pass keeps, however many rows there are.
    """

    length: int
    position: int
    scores: int
    output: int
    apart: int
    whole: int
    keys: int = 0
    cache: int = 0

    @classmethod
    def of(
        cls, study: PatchStudy, stream: Any, output: Any, *, prefix: Prefix | None = None
    ) -> Self:
        """Read it off a recorded run.

        Parameters
        ----------
        study
            The network.
        stream
            Residual stream, (B, T, d).
        output
            What the network returned for a batch.
        prefix
            Keys and values that every row is lent.
        """
        subject: Any = study.subject
        _, length, width = stream.shape
        size = stream.element_size()
        heads, config = subject.layout.heads, getattr(subject.model, "config", None)
        held = 0
        if heads is not None and _holds_scores(config, stream):
            held = SCORES * heads.queries * max(size, 4)  # softmax is taken in single precision
        whole = prod(output.shape[1:]) * output.element_size()
        capped = getattr(config, "final_logit_softcapping", None) is not None
        made = whole * (2 if capped else 1)
        spread = output.ndim > 2 and output.shape[1] == length
        position = (STREAMS * width + HIDDEN * _hidden(subject, width)) * size
        keys = cache = 0
        if prefix is not None:
            keys = prefix.row_bytes(0 if heads is None else heads.queries)
            cache = prefix.cache_bytes()
        at, apart = (made // length, 0) if spread else (0, made)
        return cls(length, position, held, at, apart, whole, keys, cache)

    def row(self, first: int) -> int:
        """Bytes of a row of which the positions from ``first`` on are computed."""
        each = self.position + self.output + self.scores * self.length
        return (self.length - first) * each + self.apart + self.keys

    def apart_from_rows(self, size: int) -> int:
        """Bytes of a pass whatever its rows are: for the metric of a batch, and the cache."""
        return COPIES * size * self.whole + self.cache

    def rows(self, first: int, size: int, *, memory: int) -> int:
        """Rows of batches of ``size`` inputs that fit into so many megabytes; at least one."""
        left = memory * 2**20 - self.apart_from_rows(size)
        return max(1, left // max(self.row(first), 1))


def _hidden(subject: Any, width: int) -> int:
    """Width of the widest hidden layer of an MLP, or of the states of a mixer."""
    config, found = getattr(subject.model, "config", None), [0]
    for block in subject.layout.blocks:
        down = None if block.down is None else subject.modules[block.down]
        weight = getattr(down, "weight", None)
        if block.mixer is not None:
            inner = getattr(config, "intermediate_size", 2 * width)
            found.append(inner * getattr(config, "state_size", 16))
        elif weight is not None:
            found.append(weight.numel() // width)
    return max(found) or 4 * width


def _holds_scores(config: Any, stream: Any) -> bool:
    """Whether attention keeps a number for every pair of positions."""
    how = getattr(config, "_attn_implementation", None)
    if not isinstance(how, str) or how == "eager":
        return True
    if how.startswith(FLASH):
        return False
    fused = stream.device.type == "cpu" or (
        stream.device.type == "cuda" and stream.dtype != torch().float64
    )
    return how != "sdpa" or not fused
