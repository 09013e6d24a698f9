"""Attention scores before the softmax, of any transformers model, to recompute it exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

NAME = "crossworld-scores"
_INTO: dict[int, dict[str, Any]] = {}  # by the identity of the attention module, in a run
Tensor = Any


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


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
) -> tuple[Any, Any]:
    """Eager attention that notes what goes into its softmax."""
    t = torch()
    if options.get("s_aux") is not None:
        raise DesignError("attention with sinks cannot be recomputed here; leave out qk_fix")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scaling = options.get("scaling")
    held = Attention(
        query.detach(), key.detach(), attention_mask,
        float(query.shape[-1] ** -0.5 if scaling is None else scaling),
        float(options.get("softcap") or 0.0),
    )  # fmt: skip
    scores = held.scores(query, key)
    weights = t.softmax(scores, dim=-1, dtype=t.promote_types(scores.dtype, t.float32))
    weights = weights.to(query.dtype)
    into = _INTO.get(id(module))
    if into is not None:
        into["held"] = held
    return (weights @ value).transpose(1, 2).contiguous(), weights


@contextmanager
def _noting(model: Any, modules: Sequence[Any]) -> Iterator[dict[int, dict[str, Any]]]:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    if not hasattr(model, "set_attn_implementation"):
        raise DesignError(
            f"{type(model).__name__} computes its attention itself, so its softmax cannot be "
            "recomputed; leave out qk_fix"
        )
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    before = model.config._attn_implementation
    found: dict[int, dict[str, Any]] = {id(m): {} for m in modules}
    try:
        model.set_attn_implementation(NAME)
        _INTO.update(found)
        yield found
    finally:
        for module in modules:
            _INTO.pop(id(module), None)
        model.set_attn_implementation(before)


def attentions(
    subject: TorchSubject,
    batch: Batch,
    layers: Sequence[int],
    *,
    write: Mapping[Site, Any] | None = None,
) -> dict[int, Attention]:
    """Run inputs and note queries and keys of some blocks.

    Raises
    ------
    DesignError
        If the network's attention cannot be exchanged.
    """
    paths = {i: subject.layout.blocks[i].attention for i in layers}
    for path in paths.values():
        _check_own_norms(subject, path)
    modules = {i: subject.modules[p] for i, p in paths.items() if p is not None}
    with _noting(subject.model, list(modules.values())) as found:
        subject.run(batch, write=write, last=True)
    missing = [i for i, m in modules.items() if "held" not in found[id(m)]]
    if missing or len(modules) < len(layers):
        raise DesignError(
            f"the attention of layer {(missing or list(layers))[0]} does not pass through "
            "transformers' attention interface, so its softmax cannot be recomputed; leave out "
            "qk_fix"
        )
    return {i: found[id(m)]["held"] for i, m in modules.items()}


def _check_own_norms(subject: TorchSubject, path: str | None) -> None:
    """Refuse queries that are normed over all heads together: one head's moves the others'."""
    heads = subject.layout.heads
    for name in ("q_norm", "k_norm", "q_layernorm", "k_layernorm"):
        weight = getattr(subject.modules.get(f"{path}.{name}"), "weight", None)
        if heads is not None and weight is not None and weight.numel() != heads.width:
            raise DesignError(
                f"{path}.{name} norms all heads together, so the softmax of one head cannot be "
                "recomputed by itself; leave out qk_fix"
            )


def patched_weights(
    own: Attention, other: Attention, site: Site, heads: Sequence[int], positions: Any
) -> tuple[Tensor, Tensor]:
    """Attention weights of some heads as they are, and with a site's queries or keys exchanged.

    Parameters
    ----------
    own, other
        Attention under the input that runs, and under the one the values come from.
    site
        A query or key site.
    heads
        The heads that read it.
    positions
        Positions that are exchanged, (B, k), None for all.
    """
    t = torch()
    mine = own.scores(own.query, own.key)[:, heads]
    if site.stream == "q":
        swapped = own.scores(other.query, own.key)[:, heads]
    else:
        swapped = own.scores(own.query, other.key)[:, heads]
    if positions is not None:
        axis = 2 if site.stream == "q" else 3
        chosen = t.zeros(mine.shape[0], mine.shape[axis], dtype=t.bool, device=mine.device)
        chosen.scatter_(1, positions.to(mine.device), True)
        shaped = chosen[:, None, :, None] if axis == 2 else chosen[:, None, None, :]
        swapped = t.where(shaped, swapped, mine)
    return t.softmax(mine.double(), -1), t.softmax(swapped.double(), -1)
