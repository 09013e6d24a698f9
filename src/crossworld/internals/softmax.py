"""Attention scores before the softmax, of any transformers model, to recompute it exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.attention import Attention, Change, exchanged
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

Tensor = Any


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
    found: dict[int, Attention] = {}

    def noting(layer: int) -> Change:
        def note(held: Attention, weights: Tensor) -> Tensor:
            found[layer] = replace(held, query=held.query.detach(), key=held.key.detach())
            return weights

        return note

    so = "its softmax cannot be recomputed; leave out qk_fix"
    with exchanged(subject.model, {m: noting(i) for i, m in modules.items()}, so=so):
        subject.run(batch, write=write, last=True)
    missing = [i for i in layers if i not in found]
    if missing:
        raise DesignError(
            f"the attention of layer {missing[0]} does not pass through "
            "transformers' attention interface, so its softmax cannot be recomputed; leave out "
            "qk_fix"
        )
    return {i: found[i] for i in modules}


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
