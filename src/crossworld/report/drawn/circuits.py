"""Circuits: parts of a network by layer, and the effects between them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from crossworld.core.exhibits import Circuit
from crossworld.report.drawn.canvas import (
    DIRECT,
    INDIRECT,
    INK,
    MUTED,
    OTHER,
    cut,
    given,
    interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEP_X, _STEP_Y = 1.75, 0.5
_LONGEST = 16
_LABELLED = 24  # up to so many links have their number written


def draw(held: Circuit, *, ax: Any = None) -> Any:
    """Draw layers from left to right; width is strength, colour and dash are sign."""
    place = layout(held)
    wide = max(x for x, _ in place.values()) + 1.0
    tall = max(y for _, y in place.values()) - min(y for _, y in place.values()) + 1.0
    size = (max(4.6, _STEP_X * wide + 0.4), max(1.8, _STEP_Y * tall + 0.9))
    (chosen,) = given(ax, 1, rows=1, columns=1, size=size)
    top = min(y for _, y in place.values())
    chosen.set_xlim(-0.5, wide - 0.5)
    chosen.set_ylim(top + tall - 0.3, top - 1.0)
    strongest = max((abs(k.value) for k in held.links if k.value is not None), default=0.0) or 1.0
    labelled = sum(k.kept for k in held.links) <= _LABELLED
    for link in sorted(held.links, key=lambda k: (k.kept, abs(k.value or 0.0))):
        start, end = place[link.source], place[link.target]
        share = abs(link.value or 0.0) / strongest
        negative = (link.value or 0.0) < 0.0
        chosen.annotate(
            "", end, start, zorder=1,
            arrowprops={
                "arrowstyle": "-|>", "shrinkA": 24, "shrinkB": 26,
                "connectionstyle": "arc3,rad=0.12",
                "color": (DIRECT if negative else INDIRECT) if link.kept else OTHER,
                "linewidth": 0.6 + 3.0 * share if link.kept else 0.6,
                "alpha": 1.0 if link.kept else 0.35,
                "linestyle": (0, (5, 2)) if negative or not link.kept else "-",
            },
        )  # fmt: skip
        if labelled and link.kept and link.value is not None:
            middle = ((start[0] + end[0]) / 2.0, (start[1] + end[1]) / 2.0)
            chosen.annotate(
                f"{link.value:.2g}", middle, ha="center", va="center", fontsize=7, color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}, zorder=2,
            )  # fmt: skip
    for node in held.nodes:
        text = cut(node.label or node.name, _LONGEST)
        if node.value is not None:
            text += f"\n{node.value:.2g}"
        chosen.annotate(
            text, place[node.name], ha="center", va="center", fontsize=8, color=INK, zorder=3,
            parse_math=False,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": MUTED},
        )  # fmt: skip
    _headings(chosen, held, top)
    chosen.set_axis_off()
    return chosen


def layout(held: Circuit) -> dict[str, tuple[float, float]]:
    """Places of the nodes; those without a row are spread over their column in order."""
    columns: dict[int, list[Any]] = defaultdict(list)
    for node in held.nodes:
        columns[node.column].append(node)
    tallest = max(map(len, columns.values()))
    found: dict[str, tuple[float, float]] = {}
    for column, nodes in columns.items():
        for k, node in enumerate(nodes):
            spread = k + (tallest - len(nodes)) / 2.0
            found[node.name] = (float(column), spread if node.row is None else node.row)
    return found


def _headings(ax: Axes, held: Circuit, top: float) -> None:
    for k, name in enumerate(held.columns):
        ax.text(
            k, top - 0.85, cut(name, _LONGEST), ha="center", va="center", fontsize=7.5,
            color=MUTED, parse_math=False,
        )  # fmt: skip
    if held.title:
        ax.set_title(
            cut(held.title, 54), loc="left", fontsize=9, fontweight="bold", color=INK,
            parse_math=False,
        )  # fmt: skip


def describe(held: Circuit) -> str:
    """Say in words what is drawn."""
    kept = sorted((k for k in held.links if k.kept), key=lambda k: -abs(k.value or 0.0))
    told = [
        f"{k.source} to {k.target} {interval(k.value, k.conf_low, k.conf_high)}" for k in kept[:8]
    ]
    more = f"; and {len(kept) - 8} more" if len(kept) > 8 else ""
    return (
        f"A circuit of {len(held.nodes)} parts with {len(kept)} links kept of {len(held.links)}: "
        f"{'; '.join(told) or 'none'}{more}."
    )
