"""Inputs of a network in batches of equal length, and where their tokens and spans are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, hint
from crossworld.internals.backend import torch

Ints = NDArray[np.int64]
Input = Any  # token ids (T,), or any array, or a mapping of arrays
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several inputs of one shape.

    Parameters
    ----------
    inputs
        A tensor, or a mapping of tensors passed by name.
    size
        Number of inputs B.
    length
        Number of positions T, or None where there are no token positions.
    first, count
        First real position and number of real positions of each input, (B,).
    spans
        Start and stop of each named span, (B, 2), counted from the first real token.
    uneven
        Spans of which the last token is meant, because they differ in length between inputs.
    """

    inputs: Any
    size: int
    length: int | None = None
    first: Ints | None = None
    count: Ints | None = None
    spans: Mapping[str, Ints] = field(default_factory=dict)
    uneven: frozenset[str] = frozenset()

    @property
    def ends_together(self) -> bool:
        """Whether every input's last real token stands at the last position."""
        if self.length is None or self.first is None or self.count is None:
            return False
        return bool((self.first + self.count == self.length).all())

    def positions(self, text: str | None) -> Ints | None:
        """Positions of ``@ text`` in every input, (B, k); None for all of them.

        Raises
        ------
        DesignError
            If there is no such position or span.
        """
        if text is None:
            return None
        if self.length is None or self.first is None or self.count is None:
            raise DesignError(
                f"@ {text} names token positions, but these inputs have none; leave out the @"
            )
        offsets = self._offsets(text)
        return np.asarray(self.first[:, None] + offsets, dtype=np.int64)

    def _offsets(self, text: str) -> Ints:
        assert self.count is not None
        named = re.fullmatch(r"([A-Za-z_]\w*)(?:\[(-?\d+)\])?", text)
        if named:
            return self._span(named[1], named[2])
        start, colon, stop = text.partition(":")
        if colon:
            return self._slice(start, stop, text)
        return self._inside(np.full((self.size, 1), int(start)), text)

    def _slice(self, start: str, stop: str, text: str) -> Ints:
        assert self.count is not None
        bounds = [slice(int(start or 0), int(stop) if stop else None).indices(int(c))
                  for c in self.count]  # fmt: skip
        lengths = {high - low for low, high, _ in bounds}
        if len(lengths) != 1 or min(lengths) < 1:
            raise DesignError(
                f"@ {text} covers {', '.join(map(str, sorted(lengths)))} positions of inputs with "
                f"{_range(self.count)} tokens; name a span that is there and equally long in all"
            )
        return np.stack([np.arange(low, high) for low, high, _ in bounds])

    def _inside(self, offsets: Ints, text: str) -> Ints:
        assert self.count is not None
        found = np.where(offsets < 0, offsets + self.count[:, None], offsets)
        if (found < 0).any() or (found >= self.count[:, None]).any():
            raise DesignError(
                f"there is no position {text} in an input of {int(self.count.min())} tokens"
            )
        return found

    def _span(self, name: str, index: str | None) -> Ints:
        if name not in self.spans:
            raise DesignError(f"no span is called {name!r}. {hint(name, self.spans)}")
        start, stop = self.spans[name][:, :1], self.spans[name][:, 1:]
        assert self.count is not None
        if (start < 0).any() or (stop > self.count[:, None]).any():
            raise DesignError(
                f"the span {name!r} reaches to token {int(stop.max())} of inputs with "
                f"{_range(self.count)} tokens"
            )
        least, most = int((stop - start).min()), int((stop - start).max())
        if index is None:
            of_one_length = least == most and name not in self.uneven
            return start + np.arange(most)[None] if of_one_length else stop - 1
        at = int(index)
        if not -least <= at < least:
            raise DesignError(f"the span {name!r} has {least} tokens, so no [{at}]")
        return (stop if at < 0 else start) + at


def _range(count: Ints) -> str:
    low, high = int(count.min()), int(count.max())
    return str(low) if low == high else f"{low} to {high}"


def batch(
    inputs: Sequence[Input],
    spans: Sequence[Mapping[str, Span]] | None = None,
    *,
    uneven: frozenset[str] = frozenset(),
) -> Batch:
    """Stack inputs of one shape.

    Parameters
    ----------
    inputs
        Token ids (T,), arrays of one shape, or mappings of arrays with the same keys; a key
        ``attention_mask`` says which positions are real.
    spans
        Of each input: start and stop of each named span, in real tokens.
    uneven
        Spans that have another length in other inputs, so that their last token is meant.
    """
    if isinstance(inputs[0], Mapping):
        stacked: Any = {k: _tensor([one[k] for one in inputs]) for k in inputs[0]}
        tokens, mask = positioned(stacked)
    else:
        stacked, mask = _tensor(list(inputs)), None
        tokens = stacked if _are_tokens(stacked) else None
    size = len(inputs)
    if tokens is None:
        return Batch(stacked, size)
    length = int(tokens.shape[1])
    first, count = np.zeros(size, dtype=np.int64), np.full(size, length, dtype=np.int64)
    if mask is not None:
        real = _real(mask)
        first, count = real.argmax(axis=1).astype(np.int64), real.sum(axis=1).astype(np.int64)
    return Batch(stacked, size, length, first, count, _spans(spans), uneven)


def positioned(named: Mapping[str, Any]) -> tuple[Any, Any]:
    """Tokens whose positions sites and metrics count, and their mask: the decoder's, if any."""
    for side in ("decoder_", ""):
        ids, embeds = (f"{side}{name}" for name in ("input_ids", "inputs_embeds"))
        tokens = named.get(ids, named.get(embeds))
        if tokens is not None:
            return tokens, named.get(f"{side}attention_mask")
    return None, None


def _real(mask: Any) -> NDArray[np.bool_]:
    """Which positions are no pads, (B, T)."""
    real: NDArray[np.bool_] = mask.cpu().numpy() > 0
    if real.ndim != 2:
        raise DesignError(
            f"an attention_mask has one number per token, got shape {tuple(real.shape)} for a batch"
        )
    edges = np.diff(real.astype(np.int8), axis=1, prepend=0, append=0)
    bad = np.flatnonzero((edges == 1).sum(axis=1) != 1)
    if bad.size:
        what = "a gap between real tokens" if real[bad[0]].any() else "no real token"
        raise DesignError(
            f"an attention_mask says which tokens are pads before or after the text, and one has "
            f"{what}: {real[bad[0]].astype(int).tolist()[:20]}"
        )
    return real


def numbers(one: Any) -> NDArray[Any]:
    """Return an input as an array, wherever it is."""
    return np.asarray(one.detach().cpu() if hasattr(one, "detach") else one)


def _are_tokens(tensor: Any) -> bool:
    return tensor.ndim == 2 and not tensor.is_floating_point()


def _tensor(arrays: Sequence[Any]) -> Any:
    t = torch()
    shapes = {tuple(np.shape(a)) for a in arrays}
    if len(shapes) > 1:
        raise DesignError(
            f"inputs of one batch have one shape, got {', '.join(map(str, sorted(shapes)))}"
        )
    if isinstance(arrays[0], t.Tensor):
        return t.stack(list(arrays))
    stacked = t.from_numpy(np.stack([numbers(a) for a in arrays]))
    wide = stacked.dtype in (t.int16, t.int32, t.uint8)
    return stacked.to(t.int64) if wide else stacked


def _spans(spans: Sequence[Mapping[str, Span]] | None) -> dict[str, Ints]:
    if not spans:
        return {}
    names = set(spans[0]).intersection(*spans)
    return {name: np.array([one[name] for one in spans], dtype=np.int64) for name in sorted(names)}
