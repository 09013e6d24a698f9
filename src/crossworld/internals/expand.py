"""All sites that patterns stand for: in the order asked, those of one by layer and number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from crossworld.errors import DesignError, hint
from crossworld.internals.layout import Layout
from crossworld.internals.ports import known_places, nowhere, resolve
from crossworld.internals.site import Site


def expand(
    patterns: Sequence[str | Site],
    layout: Layout,
    modules: Mapping[str, Any],
    length: int | None,
) -> tuple[Site, ...]:
    """Fill in every ``*``.

    Raises
    ------
    DesignError
        If a pattern stands for nothing.
    """
    found: list[Site] = []
    for given in patterns:
        pattern = Site.parse(given) if isinstance(given, str) else given
        places = _places(pattern, layout, modules)
        held = [replace(pattern, where=place) for place in places]
        found += [one for site in held for one in _positions(site, length)]
    for site in found:
        resolve(site, layout, modules)
    return tuple(dict.fromkeys(found))


def _positions(site: Site, length: int | None) -> list[Site]:
    if site.position != "*":
        return [site]
    if length is None:
        raise DesignError(
            f"{site} stands for every position, but these inputs differ in length; name the "
            "positions, from the end (-1) or as spans"
        )
    return [site.at(p) for p in range(length)]


def _places(pattern: Site, layout: Layout, modules: Mapping[str, Any]) -> list[str]:
    """Names that fill the ``*`` of a part, one star at a time from the left."""
    names = [pattern.where]
    while any("*" in n for n in names):
        wider: list[str] = []
        for name in names:
            before, star, after = name.partition("*")
            wider += (
                [f"{before}{v}{after}" for v in _values(before, after, layout, modules)]
                if star
                else [name]
            )
        names = wider
    if not names and layout.stacks and pattern.where.startswith("layers."):
        raise nowhere(pattern, layout)
    if not names:
        known = [*known_places(layout), *layout.modules]
        raise DesignError(f"no site matches {pattern.where!r}. {hint(pattern.where, known)}")
    return names


def _values(before: str, after: str, layout: Layout, modules: Mapping[str, Any]) -> Sequence[Any]:
    """What a star may stand for, given what precedes it."""
    if before == "layers." and layout.blocks:
        return [i for i, _ in enumerate(layout.blocks) if _has(i, after, layout)]
    if before.endswith(".heads.") and layout.heads is not None:
        shared = after in (".k", ".v")
        return range(layout.heads.keys if shared else layout.heads.queries)
    if before.endswith((".neurons.", ".channels.")):
        return range(_width(before, layout, modules))
    ends = after.split("@")[0].removeprefix(".").split(".")[0]
    names = [n.removeprefix(before).split(".")[0] for n in modules if n.startswith(before)]
    return [
        n for n in dict.fromkeys(names)
        if n and (not ends or ends in ("neurons", "channels", "in", "out", "*")
                  or f"{before}{n}.{ends}" in modules)
    ]  # fmt: skip


def _has(index: int, after: str, layout: Layout) -> bool:
    """Whether a block has the part (some networks mix kinds of blocks)."""
    block, part = layout.blocks[index], after.removeprefix(".").split(".")[0]
    held = {"attn": block.attn, "mlp": block.mlp, "mixer": block.mixer, "heads": block.attention}
    return part not in held or held[part] is not None


def _width(before: str, layout: Layout, modules: Mapping[str, Any]) -> int:
    """Number of neurons or channels of a part."""
    stem = before.rsplit(".", 2)[0]
    site = Site.parse(f"{before}0")
    path = resolve(site, layout, modules).path
    module = modules[path]
    if stem.endswith(".in") or path != stem:
        weight = module.weight
        conv = type(module).__name__ == "Conv1D"
        return int(weight.shape[0] if conv else weight.shape[1])
    for name in ("out_features", "out_channels", "num_features", "nf"):
        if isinstance(getattr(module, name, None), int):
            return int(getattr(module, name))
    raise DesignError(
        f"{path} is a {type(module).__name__} whose number of units is not known before it runs; "
        "name them: channels.0, channels.1"
    )
