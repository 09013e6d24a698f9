"""Causal graphs, drawn: causes to the left, roles told apart by colour, shape of line and label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from crossworld.core.graph.dag import Edge, Graph, topological

STEP_X, STEP_Y, HIGH, CHAR, PAD = 150.0, 84.0, 34.0, 7.6, 14.0
ROLES = {
    "treatment": ("--total", "#24292f", "treatment"),
    "mediator": ("--indirect", "#d55e00", "mediator"),
    "outcome": ("--direct", "#0072b2", "outcome"),
    "covariate": ("--other", "#57606c", "covariate"),
    "latent": ("--muted", "#505a65", "unmeasured"),
}
LONGEST = 28
_STYLE = """
.xw-graph text{font:13px system-ui,sans-serif;fill:var(--ink,#1b1f24);text-anchor:middle}
.xw-graph .edge{fill:none;stroke:var(--muted,#505a65);stroke-width:1.5}
.xw-graph .hidden{stroke-dasharray:5 4}
.xw-graph .box{fill:var(--paper,#fff);stroke-width:2}
.xw-graph .key{font-size:11px;text-anchor:start;fill:var(--muted,#505a65)}
"""
_DARK = """@media (prefers-color-scheme:dark){.xw-graph{--ink:#e9ecef;--muted:#aeb7c0;
--paper:#14181c;--total:#e9ecef;--direct:#56b4e9;--indirect:#f0934a;--other:#aab3bd}}
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres and widths of the nodes, and the size of the drawing."""

    centre: Mapping[str, tuple[float, float]]
    width: Mapping[str, float]
    size: tuple[float, float]


def role(graph: Graph, node: str) -> str:
    """The part a node plays."""
    if node in graph.latent:
        return "latent"
    if node == graph.treatment:
        return "treatment"
    if node == graph.outcome:
        return "outcome"
    return "mediator" if node in graph.mediators else "covariate"


def layout(graph: Graph) -> Layout:
    """Place causes left of effects, neighbours near one another."""
    parents = graph.parents
    depth: dict[str, int] = {}
    for node in topological(graph.nodes, parents):
        depth[node] = max((depth[p] + 1 for p in parents[node]), default=0)
    for node in reversed(topological(graph.nodes, parents)):
        below = [depth[c] for c in graph.children[node]]
        if not parents[node] and below:  # a cause stands next to its first effect
            depth[node] = min(below) - 1
    layers = [[n for n in graph.nodes if depth[n] == d] for d in range(max(depth.values()) + 1)]
    near = {n: [*parents[n], *graph.children[n]] for n in graph.nodes}
    row = {n: k - (len(layer) - 1) / 2 for layer in layers for k, n in enumerate(layer)}
    for sweep in range(6):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            want = {n: sum(row[m] for m in near[n]) / max(len(near[n]), 1) for n in layer}
            for k, n in enumerate(sorted(layer, key=lambda n: (want[n], row[n]))):
                row[n] = k - (len(layer) - 1) / 2
    for d, layer in enumerate(layers):
        if len(layer) == 1 and 0 < d < len(layers) - 1:
            row[layer[0]] -= 0.9  # leave the straight line to the direct effect
    width = {n: max(44.0, CHAR * len(_label(n)) + 2 * PAD) for n in graph.nodes}
    step = max(STEP_X, max(width.values()) + 60.0)
    top = min(row.values())
    side = max(width.values()) / 2 + 12.0
    centre = {n: (side + depth[n] * step, 48.0 + (row[n] - top) * STEP_Y) for n in graph.nodes}
    right = max(x for x, _ in centre.values()) + side
    low = max(y for _, y in centre.values()) + 48.0
    return Layout(centre, width, (right, low + 26.0))


def svg(graph: Graph, *, themed: bool = False) -> str:
    """Return the drawing as one ``<svg>`` element with its own style.

    Parameters
    ----------
    graph
        A causal graph.
    themed
        Whether it stands in a page that sets its colours; alone it follows light and dark.
    """
    placed = layout(graph)
    wide, high = placed.size
    kinds = list(dict.fromkeys(role(graph, n) for n in graph.nodes))
    keys = [k for k in ROLES if k in kinds]
    wide = max(wide, 20.0 + sum(34.0 + 7.0 * len(ROLES[k][2]) for k in keys))
    name = f"Causal graph: {graph}"
    parts = [
        f'<svg class="xw-graph" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {wide:.0f} {high:.0f}" width="{wide:.0f}" '
        f'aria-label="{escape(name, quote=True)}"><title>{escape(name)}</title>',
        f"<style>{_STYLE}{'' if themed else _DARK}</style>",
        '<defs><marker id="xw-arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse"><path d="M0,1L10,5L0,9z" '
        'style="fill:var(--muted,#505a65)"/></marker></defs>',
    ]
    for edge in graph.edges:
        dashed = " hidden" if edge[0] in graph.latent else ""
        path = _path(placed, edge, graph.nodes)
        parts.append(f'<path class="edge{dashed}" d="{path}" marker-end="url(#xw-arrow)"/>')
    for edge in graph.bidirected:
        path = _path(placed, edge, graph.nodes, bend=0.42)
        parts.append(
            f'<path class="edge hidden" d="{path}" marker-start="url(#xw-arrow)" '
            'marker-end="url(#xw-arrow)"/>'
        )
    parts += [_box(graph, placed, node) for node in graph.nodes]
    parts += _key(keys, high)
    return "".join([*parts, "</svg>"])


def _label(node: str) -> str:
    return node if len(node) <= LONGEST else f"{node[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _box(graph: Graph, placed: Layout, node: str) -> str:
    (x, y), wide = placed.centre[node], placed.width[node]
    variable, colour, _ = ROLES[role(graph, node)]
    dash = ' stroke-dasharray="4 3"' if node in graph.latent else ""
    return (
        f'<rect class="box" x="{x - wide / 2:.1f}" y="{y - HIGH / 2:.1f}" width="{wide:.1f}" '
        f'height="{HIGH:.0f}" rx="8" style="stroke:var({variable},{colour})"{dash}/>'
        f'<text x="{x:.1f}" y="{y + 4.5:.1f}">{escape(_label(node))}</text>'
    )


def _key(keys: Sequence[str], high: float) -> list[str]:
    found, x = [], 14.0
    for kind in keys:
        variable, colour, words = ROLES[kind]
        dash = ' stroke-dasharray="4 3"' if kind == "latent" else ""
        found.append(
            f'<rect class="box" x="{x:.0f}" y="{high - 20:.0f}" width="14" height="10" rx="3" '
            f'style="stroke:var({variable},{colour})"{dash}/>'
            f'<text class="key" x="{x + 20:.0f}" y="{high - 11:.0f}">{words}</text>'
        )
        x += 34.0 + 7.0 * len(words)
    return found


def _path(placed: Layout, edge: Edge, nodes: Sequence[str], *, bend: float = 0.0) -> str:
    """A line, or a curve around the nodes that stand in its way."""
    start, end = placed.centre[edge[0]], placed.centre[edge[1]]
    control = _control(placed, edge, nodes, bend=bend)
    first = _border(placed, edge[0], control or end, gap=2.0)
    last = _border(placed, edge[1], control or start, gap=4.0)
    if control is None:
        return f"M{first[0]:.1f},{first[1]:.1f}L{last[0]:.1f},{last[1]:.1f}"
    x, y = control
    return f"M{first[0]:.1f},{first[1]:.1f}Q{x:.1f},{y:.1f} {last[0]:.1f},{last[1]:.1f}"


def _control(
    placed: Layout, edge: Edge, nodes: Sequence[str], *, bend: float
) -> tuple[float, float] | None:
    (x0, y0), (x1, y1) = placed.centre[edge[0]], placed.centre[edge[1]]
    long = math.hypot(x1 - x0, y1 - y0) or 1.0
    others = [n for n in nodes if n not in edge]
    for size in (bend, *(s for s in (0.25, -0.25, 0.45, -0.45, 0.7, -0.7) if s != bend)):
        x = (x0 + x1) / 2 - (y1 - y0) / long * size * long * 0.9
        y = (y0 + y1) / 2 + (x1 - x0) / long * size * long * 0.9
        inside = 6.0 < y / 1.0 < placed.size[1] * 1.4
        if inside and not any(_hits(placed, n, (x0, y0), (x, y), (x1, y1)) for n in others):
            return None if size == 0.0 else (x, y)
    return None if bend == 0.0 else ((x0 + x1) / 2, (y0 + y1) / 2 + bend * long)


def _hits(placed: Layout, node: str, *curve: tuple[float, float]) -> bool:
    (cx, cy), wide = placed.centre[node], placed.width[node]
    (x0, y0), (x1, y1), (x2, y2) = curve
    for k in range(1, 24):
        t = k / 24
        x = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * x1 + t**2 * x2
        y = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * y1 + t**2 * y2
        if abs(x - cx) < wide / 2 + 5 and abs(y - cy) < HIGH / 2 + 5:
            return True
    return False


def _border(
    placed: Layout, node: str, towards: tuple[float, float], *, gap: float
) -> tuple[float, float]:
    """Where a line from a node's centre leaves its box."""
    (x, y), wide = placed.centre[node], placed.width[node]
    dx, dy = towards[0] - x, towards[1] - y
    if dx == 0.0 and dy == 0.0:
        return x, y
    across = (wide / 2 + gap) / abs(dx) if dx else math.inf
    along = (HIGH / 2 + gap) / abs(dy) if dy else math.inf
    scale = min(across, along)
    return x + dx * scale, y + dy * scale


def plot(graph: Graph, *, ax: Any = None) -> Any:
    """Draw with matplotlib, on light ground; returns the axes."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    placed = layout(graph)
    wide, high = placed.size
    if ax is None:
        _, ax = plt.subplots(figsize=(wide / 90, high / 90))
    for edge in (*graph.edges, *graph.bidirected):
        both = edge in graph.bidirected
        control = _control(placed, edge, graph.nodes, bend=0.42 if both else 0.0)
        first = _border(placed, edge[0], control or placed.centre[edge[1]], gap=2.0)
        last = _border(placed, edge[1], control or placed.centre[edge[0]], gap=4.0)
        curve = _curve(first, control, last)
        style = "<|-|>" if both else "-|>"
        hidden = both or edge[0] in graph.latent
        arrow = FancyArrowPatch(
            path=curve,
            arrowstyle=style,
            mutation_scale=12,
            color="#505a65",
            linestyle=(0, (4, 3)) if hidden else "-",
        )
        ax.add_patch(arrow)
    for node in graph.nodes:
        (x, y), box = placed.centre[node], placed.width[node]
        kind = role(graph, node)
        patch = FancyBboxPatch(
            (x - box / 2 + 6, y - HIGH / 2 + 6),
            box - 12,
            HIGH - 12,
            boxstyle="round,pad=6",
            facecolor="white",
            edgecolor=ROLES[kind][1],
            linewidth=1.8,
            linestyle="--" if kind == "latent" else "-",
        )
        ax.add_patch(patch)
        ax.text(x, y, _label(node), ha="center", va="center", fontsize=10, color="#1b1f24")
    ax.set_xlim(0, wide)
    ax.set_ylim(high, 0)
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def _curve(
    first: tuple[float, float], control: tuple[float, float] | None, last: tuple[float, float]
) -> Any:
    from matplotlib.path import Path

    if control is None:
        return Path([first, last], [Path.MOVETO, Path.LINETO])
    return Path([first, control, last], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
