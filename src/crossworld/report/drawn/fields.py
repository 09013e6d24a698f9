"""Values over two axes: heat maps and contours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.exhibits import Contour, Heatmap
from crossworld.core.table import number
from crossworld.report.drawn.canvas import (
    DIRECT,
    INDIRECT,
    INK,
    MUTED,
    WIDTH,
    Layout,
    cut,
    dress,
    given,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
MOST_SIDE = 80  # rows or columns that are drawn one by one
_LINES = 8


def draw_heatmap(held: Heatmap, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw a grid: orange above no effect, blue below; a dot where a cell is significant."""
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    values, rows, columns = reduced(held)
    tall, wide = values.shape
    full = WIDTH[layout]
    cell = min(max((full - 1.4) / wide, 0.045), 0.6)
    size = (min(full, cell * wide + 1.9), min(max(cell * tall, 0.16 * tall) + 1.3, 10.0))
    (chosen,) = given(ax, 1, rows=1, columns=1, size=size)
    reach = float(np.nanmax(np.abs(values - held.null), initial=0.0)) or 1.0
    colours = LinearSegmentedColormap.from_list("crossworld", [DIRECT, "#f7f7f7", INDIRECT])
    norm = TwoSlopeNorm(held.null, held.null - reach, held.null + reach)
    drawn = chosen.pcolormesh(
        np.arange(wide + 1) - 0.5, np.arange(tall + 1) - 0.5, np.ma.masked_invalid(values),
        cmap=colours, norm=norm, edgecolors="white", linewidth=0.4 if wide * tall < 2500 else 0.0,
    )  # fmt: skip
    if held.significant and values.shape == (len(held.rows), len(held.columns)):
        y, x = np.nonzero(np.array(held.significant))
        dot = min(4.0, 18.0 * cell)
        chosen.plot(x, y, "o", color=INK, markersize=dot, linestyle="none", markeredgewidth=0.0)
    chosen.set_ylim(tall - 0.5, -0.5)
    _ticks(chosen, "x", columns, most=14 if layout == "wide" else 8)
    _ticks(chosen, "y", rows, most=24)
    dress(chosen, x=held.column_name, y=held.row_name, title=held.title)
    figure: Any = chosen.figure
    bar = figure.colorbar(drawn, ax=chosen, shrink=0.8, aspect=24, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelsize=7.5, length=2)
    bar.set_label(cut(held.value_name, 40), fontsize=8, color=INK, parse_math=False)
    return chosen


def reduced(held: Heatmap) -> tuple[Array, list[str], list[str]]:
    """Values with at most `MOST_SIDE` rows and columns: the strongest of each block beyond that."""
    values = np.array([[np.nan if v is None else v for v in row] for row in held.values])
    rows, columns = list(held.rows), list(held.columns)
    for axis, labels in ((0, rows), (1, columns)):
        size = -(-values.shape[axis] // MOST_SIDE)
        if size == 1:
            continue
        starts = list(range(0, values.shape[axis], size))
        blocks = np.split(values, starts[1:], axis=axis)
        values = np.stack([_strongest(b, held.null, axis) for b in blocks], axis=axis)
        labels[:] = [f"{labels[s]} to {labels[min(s + size, len(labels)) - 1]}" for s in starts]
    return values, rows, columns


def _strongest(block: Array, null: float, axis: int) -> Array:
    away = np.where(np.isnan(block), -1.0, np.abs(block - null))
    at = np.expand_dims(away.argmax(axis=axis), axis)
    return np.asarray(np.take_along_axis(block, at, axis).squeeze(axis))


def strongest(held: Heatmap, most: int) -> list[tuple[int, int]]:
    """Places of the values that are farthest from no effect, farthest first."""
    values = np.array([[np.nan if v is None else v for v in row] for row in held.values])
    away = np.where(np.isnan(values), -1.0, np.abs(values - held.null)).ravel()
    order = np.argsort(-away, kind="stable")[:most]
    return [divmod(int(k), values.shape[1]) for k in order if away[k] >= 0.0]


def describe_heatmap(held: Heatmap) -> str:
    """Say in words what is drawn."""
    told = [
        f"{number(held.values[i][j])} at {held.row_name} {held.rows[i]}, "
        f"{held.column_name} {held.columns[j]}"
        for i, j in strongest(held, 5)
    ]
    size = f"{len(held.rows)} by {len(held.columns)}"
    return f"Heat map of {held.value_name}, {size} cells. Strongest: {'; '.join(told) or 'none'}."


def _ticks(ax: Axes, axis: str, labels: list[str], *, most: int) -> None:
    step = -(-len(labels) // most)
    at = list(range(0, len(labels), step))
    shown = [cut(labels[k], 16) for k in at]
    if axis == "y":
        ax.set_yticks(at, labels=shown)
        return
    turn = sum(map(len, shown)) > 60
    ax.set_xticks(at, labels=shown, rotation=45 if turn else 0, ha="right" if turn else "center")


def draw_contour(held: Contour, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw labelled contours: above the threshold solid, below dashed, at it thick."""
    size = (5.8, 4.3) if layout == "wide" else (WIDTH["narrow"], 3.6)
    (chosen,) = given(ax, 1, rows=1, columns=1, size=size)
    values = np.array([[np.nan if v is None else v for v in row] for row in held.values])
    masked = np.ma.masked_invalid(values)
    chosen.set_xlim(held.x[0], held.x[-1])
    chosen.set_ylim(held.y[0], held.y[-1])
    levels, reached = _levels(values, held.threshold, 5 if layout == "narrow" else _LINES)
    for side, colour, style in (
        (levels[levels < held.threshold], DIRECT, "dashed"),
        (levels[levels > held.threshold], INDIRECT, "solid"),
    ):
        if side.size:
            drawn = chosen.contour(
                held.x, held.y, masked, levels=side, colors=colour, linestyles=style,
                linewidths=1.1,
            )  # fmt: skip
            chosen.clabel(drawn, fmt=lambda v: f"{v:.4g}", fontsize=7.5, inline=True)
    if reached:
        drawn = chosen.contour(
            held.x, held.y, masked, levels=[held.threshold], colors=INK, linewidths=2.4
        )
        chosen.clabel(drawn, fmt=lambda v: f"{v:.4g}", fontsize=9, inline=True)
    for mark in held.marks:
        chosen.plot([mark.x], [mark.y], marker="D", markersize=5, color=INK, linestyle="none")
        chosen.annotate(
            cut(mark.label, 24), (mark.x, mark.y), (6, 5), textcoords="offset points",
            fontsize=8, color=INK, parse_math=False,
        )  # fmt: skip
    title = held.title if layout == "wide" else ""
    dress(chosen, x=held.x_name, y=held.y_name, title=title)
    return chosen


def _levels(values: Array, threshold: float, most: int) -> tuple[Array, bool]:
    from matplotlib.ticker import MaxNLocator

    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        return np.empty(0), False
    found = np.asarray(MaxNLocator(most).tick_values(low, high), dtype=np.float64)
    step = found[1] - found[0]
    inside = (found > low) & (found < high) & (np.abs(found - threshold) > 0.25 * step)
    return found[inside], low < threshold < high


def describe_contour(held: Contour) -> str:
    """Say in words what is drawn."""
    there = [v for row in held.values for v in row if v is not None]
    low, high = min(there), max(there)
    reached = "reaches" if low <= held.threshold <= high else "does not reach"
    return (
        f"Contours of {held.title or 'an effect'}: {number(low)} to {number(high)} over "
        f"{held.x_name} from {held.x[0]:g} to {held.x[-1]:g} and {held.y_name} from "
        f"{held.y[0]:g} to {held.y[-1]:g}; {reached} {held.threshold:g}."
    )
