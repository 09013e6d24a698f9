"""Attention weights of any transformers model, read and set without rewriting it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.backend import torch

NAME = "crossworld"
_ACTIVE: dict[int, Callable[[Any], Any]] = {}  # by the identity of the attention module, in a run


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
) -> tuple[Any, Any]:
    """Eager attention whose weights pass through the active function of the module."""
    t = torch()
    if options.get("s_aux") is not None:
        raise DesignError("attention with sinks has no pattern sites here")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scaling = options.get("scaling")
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    cap = options.get("softcap")
    if cap:
        scores = t.tanh(scores / cap) * cap
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[-2]]
    weights = t.softmax(scores, dim=-1, dtype=t.float64 if scores.dtype == t.float64 else t.float32)
    weights = weights.to(query.dtype)
    change = _ACTIVE.get(id(module))
    if change is not None:
        weights = change(weights)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, eager_mask)


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
    if not hasattr(model, "set_attn_implementation"):
        raise DesignError(
            f"{type(model).__name__} computes its attention itself, so its pattern cannot be read "
            "or set; use the heads' q, k, v and z"
        )
    _register()
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
    except ValueError as error:
        raise DesignError(
            f"the attention of {type(model).__name__} cannot be exchanged ({error}), so it has no "
            "pattern sites"
        ) from None
    _ACTIVE.update({id(module): change for module, change in changes.items()})
    try:
        yield
    finally:
        for module in changes:
            _ACTIVE.pop(id(module), None)
        model.set_attn_implementation(before)
