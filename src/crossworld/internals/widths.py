"""How many features the activations of a site have, told from the weights."""

from __future__ import annotations

from typing import Any

from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

_OUT = ("out_features", "nf", "embedding_dim", "num_features")


def width(subject: TorchSubject, site: Site) -> int | None:
    """Features of a site's activations, None where only running the network would tell.

    Raises
    ------
    DesignError
        If the network has no such site.
    """
    port = subject.port(site)
    if port.columns is not None:
        return len(port.columns)
    if port.end == "weights":
        return None
    module, layout = subject.modules[port.path], subject.layout
    if port.end == "in" and not any(block.path == port.path for block in layout.blocks):
        return _in(module)
    for name in _OUT:
        found = getattr(module, name, None)
        if isinstance(found, int):
            return found
    added = {p for b in layout.blocks for p in (b.path, b.attn, b.mlp, b.mixer)}
    if port.path not in added:
        return None
    config = getattr(subject.model, "config", None)
    for name in ("hidden_size", "n_embd", "d_model"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    embed = None if layout.embed is None else subject.modules[layout.embed]
    return getattr(embed, "embedding_dim", None)


def _in(module: Any) -> int | None:
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2:
        return None
    return int(weight.shape[0] if type(module).__name__ == "Conv1D" else weight.shape[1])
