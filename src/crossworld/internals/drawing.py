"""Pictures of circuits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.internals.wiring import INPUT, LOGITS

if TYPE_CHECKING:
    from crossworld.internals.circuit import Circuit


def parts(circuit: Circuit) -> dict[str, tuple[int, int, str]]:
    """Column, row and short label of the nodes that are drawn."""
    found: dict[str, tuple[int, int, str]] = {}
    layers = max((r.layer for r in circuit.readers), default=0)
    for name in dict.fromkeys([INPUT, *circuit.nodes, LOGITS]):
        head = re.fullmatch(r"layers\.(\d+)\.heads\.(\d+)", name)
        block = re.fullmatch(r"layers\.(\d+)\.(\w+)", name)
        if head:
            found[name] = (2 * int(head[1]) + 1, int(head[2]), f"{head[1]}.{head[2]}")
        elif block:
            found[name] = (2 * int(block[1]) + 2, 0, f"{block[2]} {block[1]}")
        else:
            found[name] = (0 if name == INPUT else 2 * layers + 1, 0, name)
    return found


def links(circuit: Circuit) -> list[dict[str, Any]]:
    """Edges between drawn nodes; an edge into shared keys or values leads to every head of them."""
    found = []
    live = set(circuit.nodes)
    for u, v in np.argwhere(circuit.kept):
        reader = circuit.readers[v]
        ends = [circuit.senders[o] for o in reader.owner if circuit.senders[o] in live]
        ends = ends if reader.owner else [LOGITS]
        value = None if circuit.scores is None else float(circuit.scores[u, v])
        found += [
            {"source": circuit.senders[u], "target": end, "value": value, "into": reader.name}
            for end in ends
        ]
    return found


def exhibit(circuit: Circuit) -> dict[str, Any]:
    """Plain values of the exhibit kind ``circuit``."""
    placed = parts(circuit)
    used = sorted({column for column, _, _ in placed.values()})
    totals: dict[tuple[str, str], float | None] = {}
    for link in links(circuit):
        key = (link["source"], link["target"])
        before = totals.get(key)
        value = link["value"]
        totals[key] = value if before is None else before + (value or 0.0)
    nodes = [
        {"name": name, "column": used.index(column), "row": row, "label": label, "value": None}
        for name, (column, row, label) in placed.items()
    ]
    columns = [_column(c, max(used)) for c in used]
    return {
        "kind": "circuit",
        "nodes": nodes,
        "links": [
            {"source": s, "target": t, "value": v, "conf_low": None, "conf_high": None,
             "kept": True}
            for (s, t), v in totals.items()
        ],
        "columns": columns,
        "value_name": "score",
        "title": "",
        "note": f"{circuit}. Links into the query, key and value of a head are added up.",
    }  # fmt: skip


def _column(column: int, last: int) -> str:
    if column == 0:
        return INPUT
    if column == last:
        return LOGITS
    return f"heads {(column - 1) // 2}" if column % 2 else f"MLP {(column - 2) // 2}"


def draw(circuit: Circuit, *, ax: Any = None) -> Any:
    """Layers from left to right; width by size and colour by sign of the score."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyArrowPatch

    placed = parts(circuit)
    used = sorted({column for column, _, _ in placed.values()})
    if ax is None:
        _, ax = plt.subplots(figsize=(max(5.0, 0.75 * len(used) + 2.0), 4.5))
    tall = max((row for _, row, _ in placed.values()), default=0) + 1
    at = {
        name: (used.index(column), -row if column % 2 and name != LOGITS else -(tall - 1) / 2)
        for name, (column, row, _) in placed.items()
    }
    drawn = links(circuit)
    largest = max((abs(one["value"] or 0.0) for one in drawn), default=0.0) or 1.0
    for one in drawn:
        value = one["value"]
        size = 0.6 if value is None else 0.3 + 2.5 * abs(value) / largest
        colour = "#555555" if value is None else ("#1f6fb4" if value >= 0 else "#c8553d")
        ax.add_patch(
            FancyArrowPatch(
                at[one["source"]], at[one["target"]], arrowstyle="-", linewidth=size,
                color=colour, alpha=0.55, shrinkA=9, shrinkB=9,
                connectionstyle="arc3,rad=0.12", zorder=1,
            )
        )  # fmt: skip
    for name, (x, y) in at.items():
        ax.text(
            x, y, placed[name][2], ha="center", va="center", fontsize=8, zorder=2,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#444444"},
        )  # fmt: skip
    ax.set_xlim(-0.7, len(used) - 0.3)
    ax.set_ylim(-tall + 0.3, 0.7)
    ax.set_axis_off()
    ax.set_title(str(circuit), fontsize=9)
    return ax
