"""Attention weights of any transformers model, read and set without rewriting it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.backend import torch

NAME = "crossworld"
Tensor = Any
Change = Callable[["Attention", Tensor], Tensor]  # what met, the weights -> the weights
_ACTIVE: dict[int, list[Change]] = {}  # by the identity of the attention module, in a run


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Queries and keys of one block as they meet, with everything else of the scores.

    Parameters
    ----------
    query, key
        Shape (B, heads, T, width), after rotary positions and norms, keys once per head.
    mask
        Added to the scores, or None.
    scaling, cap
        Factor of the scores, and the limit of their soft cap (0 for none).
    """

    query: Tensor
    key: Tensor
    mask: Tensor
    scaling: float
    cap: float

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores before the softmax for other queries or keys, (B, heads, T, T)."""
        found = query @ key.transpose(2, 3) * self.scaling
        if self.cap:
            found = torch().tanh(found / self.cap) * self.cap
        return found if self.mask is None else found + self.mask[..., : key.shape[-2]]

    def weights(self) -> Tensor:
        """Softmax of the scores, at least in single precision on the way, (B, heads, T, T)."""
        t, scores = torch(), self.scores(self.query, self.key)
        found = t.softmax(scores, dim=-1, dtype=t.promote_types(scores.dtype, t.float32))
        return found.to(self.query.dtype)


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
) -> tuple[Any, Any]:
    """Eager attention whose weights pass through the active functions of the module."""
    if options.get("s_aux") is not None:
        raise DesignError(
            "attention with sinks is not computed here: it has no pattern sites, and qk_fix has to "
            "be left out"
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scaling = options.get("scaling")
    factor = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    held = Attention(query, key, attention_mask, factor, float(options.get("softcap") or 0.0))
    weights = held.weights()
    for change in _ACTIVE.get(id(module), ()):
        weights = change(held, weights)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextmanager
def exchanged(model: Any, changes: Mapping[Any, Change], *, so: str) -> Iterator[None]:
    """Compute a model's attention here during a run, and let its weights pass through functions.

    Parameters
    ----------
    model
        A transformers model.
    changes
        Attention module -> function of what meets there and the weights (B, H, T, T).
    so
        What cannot be done otherwise, for the error.

    Raises
    ------
    DesignError
        If the model's attention cannot be exchanged.
    """
    name = type(model).__name__
    if not hasattr(model, "set_attn_implementation"):
        raise DesignError(f"{name} computes its attention itself, so {so}")
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
    except ValueError as error:
        raise DesignError(
            f"the attention of {name} cannot be exchanged ({error}), so {so}"
        ) from None
    for module, change in changes.items():
        _ACTIVE.setdefault(id(module), []).append(change)
    try:
        yield
    finally:
        for module, change in changes.items():
            _ACTIVE[id(module)].remove(change)
            if not _ACTIVE[id(module)]:
                del _ACTIVE[id(module)]
        model.set_attn_implementation(before)


@contextmanager
def hooked(model: Any, changes: Mapping[Any, Callable[[Any], Any]]) -> Iterator[None]:
    """Let attention weights of some modules pass through functions during a run.

    Parameters
    ----------
    model
        A transformers model.
    changes
        Attention module -> function of its weights (B, H, T, T) that returns them.

    Raises
    ------
    DesignError
        If the model's attention cannot be exchanged.
    """

    def of_weights(change: Callable[[Any], Any]) -> Change:
        return lambda held, weights: change(weights)

    so = "its pattern cannot be read or set; use the heads' q, k, v and z"
    with exchanged(model, {m: of_weights(c) for m, c in changes.items()}, so=so):
        yield
