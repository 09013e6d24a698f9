"""From a site to the tensor that holds it: which module, which end, which columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossworld.errors import DesignError, hint
from crossworld.internals.backend import torch
from crossworld.internals.basis import Basis
from crossworld.internals.layout import Block, Heads, Layout, ends
from crossworld.internals.site import PARTS, STREAMS, Site

Value = Any  # a tensor (B, k, d), a function from the present one, or KNOCKOUT


@dataclass(frozen=True, slots=True)
class Port:
    """Where a site lives.

    Parameters
    ----------
    path
        Module.
    end
        Its first input or its (first) output; or its attention weights.
    columns
        Which features, None for all.
    head
        Which head, of attention weights.
    """

    path: str
    end: str
    columns: tuple[int, ...] | None = None
    head: int | None = None

    @property
    def plug(self) -> tuple[str, str]:
        """What a hook is attached to."""
        return self.path, self.end


def resolve(site: Site, layout: Layout, modules: Mapping[str, Any]) -> Port:
    """Find the port of a site.

    Raises
    ------
    DesignError
        If the network has no such place; the message names the nearest that it has.
    """
    if site.is_pattern:
        raise DesignError(f"the site {site} stands for several; list them with subject.sites")
    if site.where == "embed" and layout.embed is not None:
        return Port(layout.embed, "out")
    if site.layer is not None and layout.blocks:
        found = _in_block(site, layout, modules)
        if found is not None:
            return found
    return _in_module(site, layout, modules)


def _in_block(site: Site, layout: Layout, modules: Mapping[str, Any]) -> Port | None:
    assert site.layer is not None
    if site.layer >= len(layout.blocks):
        raise DesignError(
            f"there is no layer {site.layer} in a network of {len(layout.blocks)} layers, "
            f"0 to {len(layout.blocks) - 1}; the nearest site is "
            f"{site.where.replace(f'layers.{site.layer}', f'layers.{len(layout.blocks) - 1}', 1)}"
        )
    block = layout.blocks[site.layer]
    part = site.where.split(".", 2)[2] if site.where.count(".") > 1 else "resid"
    if part in PARTS:
        return _part(site, part, block, layout)
    if part.startswith("heads."):
        return _head(site, block, layout, modules)
    if part.startswith("mlp.neurons."):
        return _neuron(site, block, modules)
    return None


def _part(site: Site, part: str, block: Block, layout: Layout) -> Port:
    if part == "resid_pre":
        return Port(block.path, "in")
    if part == "resid":
        return Port(block.path, "out")
    path = {"attn": block.attn, "mlp": block.mlp, "mixer": block.mixer}[part]
    if path is None:
        raise nowhere(site, layout)
    return Port(path, "out")


def _head(site: Site, block: Block, layout: Layout, modules: Mapping[str, Any]) -> Port:
    heads, stream, head = layout.heads, site.stream, site.head
    if heads is None or block.out is None or block.attention is None or head is None:
        raise nowhere(site, layout)
    if stream not in STREAMS:
        known = [f"layers.{site.layer}.heads.{head}.{s}" for s in STREAMS]
        raise DesignError(f"this network has no site {site.where!r}. {hint(site.where, known)}")
    count = heads.keys if stream in ("k", "v") else heads.queries
    if head >= count:
        shared = " (shared by groups of queries)" if heads.keys < heads.queries else ""
        what = "keys and values" if stream in ("k", "v") else "heads"
        raise DesignError(
            f"there is no head {head} in {site}: a layer has {count} {what}"
            f"{shared if stream in ('k', 'v') else ''}, 0 to {count - 1}"
        )
    if stream == "pattern":
        return Port(block.attention, "weights", head=head)
    if stream == "z":
        _check_size(site, modules[block.out], "in", heads.queries * heads.width)
        return Port(block.out, "in", _run(head * heads.width, heads.width))
    path = {"q": block.query, "k": block.key, "v": block.value}[stream or "q"]
    if path is None:
        raise nowhere(site, layout)
    fused = len({block.query, block.key, block.value}) == 1
    total = heads.queries + 2 * heads.keys if fused else count
    if heads.order == "unknown":
        raise DesignError(f"{path} holds its heads in an order of its own, so there is no {site}")
    _check_size(site, modules[path], "out", total * heads.width)
    start = _start(stream or "q", head, heads) if fused else head * heads.width
    return Port(path, "out", _run(start, heads.width))


def _check_size(site: Site, module: Any, end: str, wanted: int) -> None:
    """Refuse heads that are not side by side, each as wide as the next (latent or gated ones)."""
    found = ends(module, end)
    if found is not None and found != wanted:
        raise DesignError(
            f"there is no {site}: its module has {found} features where heads side by side would "
            f"have {wanted}, so they are laid out in another way; name the module itself"
        )


def _start(stream: str, head: int, heads: Heads) -> int:
    """First column of a head in a projection that makes queries, keys and values at once."""
    if heads.order == "groups":  # GPT-NeoX, BLOOM, Falcon: a group's queries, its key, its value
        size = heads.queries // heads.keys
        group, at = (head // size, head % size) if stream == "q" else (head, size)
        return (group * (size + 2) + at + (stream == "v")) * heads.width
    before = {"q": 0, "k": heads.queries, "v": heads.queries + heads.keys}[stream]
    return (before + head) * heads.width


def _run(start: int, width: int) -> tuple[int, ...]:
    return tuple(range(start, start + width))


def _neuron(site: Site, block: Block, modules: Mapping[str, Any]) -> Port:
    if block.down is None or site.unit is None:
        raise DesignError(f"the MLP of {block.path} has no hidden layer that crossworld recognises")
    weight = modules[block.down].weight
    kind = type(modules[block.down]).__name__
    width = weight.shape[0] if kind == "Conv1D" else weight.shape[1]
    if site.unit >= width:
        raise DesignError(f"there is no neuron {site.unit} in {site}: a layer has {width}")
    return Port(block.down, "in", (site.unit,))


def _in_module(site: Site, layout: Layout, modules: Mapping[str, Any]) -> Port:
    stem = site.stem
    end = "in" if stem.endswith(".in") else "out"
    path = stem.removesuffix(".in").removesuffix(".out")
    if path not in modules or not path:
        raise nowhere(site, layout)
    return Port(path, end, None if site.unit is None else (site.unit,))


def nowhere(site: Site, layout: Layout) -> DesignError:
    """Return the error of a site that is not there, naming the nearest that are."""
    if layout.stacks and site.where.startswith("layers."):
        return DesignError(
            f"{site.where!r} may be in any of {', '.join(layout.stacks)}; say in which: "
            f"TorchSubject(model, blocks={layout.stacks[-1]!r})"
        )
    known = [*known_places(layout), *layout.modules]
    return DesignError(f"this network has no site {site.where!r}. {hint(site.where, known)}")


def known_places(layout: Layout) -> list[str]:
    """Names of the parts of a network, without heads and neurons."""
    found = [] if layout.embed is None else ["embed"]
    for i, block in enumerate(layout.blocks):
        held = {"attn": block.attn, "mlp": block.mlp, "mixer": block.mixer}
        found += [f"layers.{i}.resid_pre"]
        found += [f"layers.{i}.{part}" for part, path in held.items() if path is not None]
        found += [f"layers.{i}.resid"]
    return found


def take(tensor: Any, port: Port, positions: Any) -> Any:
    """Part of a module's tensor that a port means, at some positions."""
    if port.end == "weights":
        part = tensor[:, port.head]
    elif port.columns is None:
        part = tensor
    elif tensor.ndim == 4:  # channels of an image
        part = tensor[:, list(port.columns)]
    else:
        part = tensor[..., port.columns[0] : port.columns[-1] + 1]
    if positions is None:
        return part
    if part.ndim < 3:
        raise DesignError(f"the output of {port.path} has no token positions; leave out the @")
    rows = torch().arange(part.shape[0], device=part.device)[:, None]
    return part[rows, positions.to(part.device)]


def put(tensor: Any, port: Port, positions: Any, value: Any) -> Any:
    """Return the tensor with the part of a port replaced."""
    whole = port.columns is None and port.end != "weights"
    if whole and positions is None:
        return value.expand_as(tensor).clone()  # a network may change it in place
    new = tensor.clone()
    if port.end == "weights":
        part = new[:, port.head]
    elif port.columns is None:
        part = new
    elif tensor.ndim == 4:
        part = new[:, port.columns[0] : port.columns[-1] + 1]
    else:
        part = new[..., port.columns[0] : port.columns[-1] + 1]
    if positions is None:
        part.copy_(value.expand_as(part))
    else:
        rows = torch().arange(part.shape[0], device=part.device)[:, None]
        part[rows, positions.to(part.device)] = value
    return new


def fitting(value: Any, present: Any, site: Site) -> Any:
    """Return a value as a tensor like the present one, broadcast to its shape.

    Raises
    ------
    DesignError
        If it is no numbers, or of another shape.
    """
    try:
        return torch().as_tensor(value).to(present).expand_as(present)
    except (TypeError, ValueError, RuntimeError):
        shape = tuple(getattr(value, "shape", ()))
        what = f"a value of shape {shape}" if shape else f"a {type(value).__name__}"
        raise DesignError(
            f"{site} holds activations of shape {tuple(present.shape)} here and cannot be set to "
            f"{what}"
        ) from None


def restrict(part: Any, keys: Any, value: Any) -> Any:
    """Return attention weights (B, k, T) with those from some keys replaced."""
    return part.scatter(2, key_index(part, keys), value)


def key_index(part: Any, keys: Any) -> Any:
    """Index (B, k, keys) of some keys in attention weights (B, k, T)."""
    held = keys.to(part.device)[:, None, :]
    return held.expand(part.shape[0], part.shape[1], keys.shape[1])


def knocked_out(part: Any, keys: Any) -> Any:
    """Return attention weights with none from some keys and the others rescaled to sum to 1."""
    none = torch().zeros((), dtype=part.dtype, device=part.device)
    new = restrict(part, keys, none.expand(*part.shape[:2], keys.shape[1]))
    left = new.sum(-1, keepdim=True)
    if bool((left <= 0).any()):
        raise DesignError("attention was knocked out from every key that a position can see")
    return new / left


KNOCKOUT = "knockout"  # the value of a write that removes attention from its keys


def edited(part: Any, value: Value, basis: Basis | None, site: Site) -> Any:
    """Return the new value of a part: given, computed from the present one, or set in a basis."""
    if basis is None:
        return value(part) if callable(value) else value
    held = basis.read(part)
    return basis.write(part, fitting(value(held) if callable(value) else value, held, site))


Write = tuple[Site, Port, Any, Any, Value]  # site, port, positions, keys, value


def apply(
    tensor: Any,
    writes: Sequence[Write],
    bases: Mapping[str, Basis],
    told: Callable[[Site], None],
) -> Any:
    """Make the writes of one plug in their order."""
    for site, port, positions, keys, value in writes:
        present = take(tensor, port, positions)
        basis = None if site.basis is None else bases[site.basis]
        if isinstance(value, str) and keys is not None:
            new = knocked_out(present, keys)
        elif keys is not None:
            held = present.gather(2, key_index(present, keys))
            given = fitting(value(held) if callable(value) else value, held, site)
            new = restrict(present, keys, given)
        else:
            new = edited(present, value, basis, site)
        told(site)
        tensor = put(tensor, port, positions, fitting(new, present, site))
    return tensor
