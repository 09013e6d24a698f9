"""Several methods, the same questions, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossworld.core.exhibits import Compared, Comparison
from crossworld.errors import DesignError
from crossworld.report.drawn.canvas import (
    ACTIVE,
    INK,
    LINE,
    MUTED,
    OTHER,
    WIDTH,
    Layout,
    cut,
    dress,
    interval,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW, _HEAD = 0.27, 0.62


def draw(held: Comparison, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw one panel per question, one line per method; the truth as a band across."""
    if ax is not None and len(held.terms) > 1:
        raise DesignError(
            f"{len(held.terms)} questions take {len(held.terms)} axes; leave ax out to get a figure"
        )
    groups = {t: [r for r in held.rows if r.term == t] for t in held.terms}
    if ax is None:
        sizes = [len(rows) + 0.4 for rows in groups.values()]
        row = _ROW * (1.65 if layout == "narrow" else 1.0)
        figure = new_figure(WIDTH[layout], sum(_HEAD + row * s for s in sizes))
        grid: Any = figure.subplots(len(groups), 1, squeeze=False, height_ratios=sizes)
        axes = list(grid[:, 0])
    else:
        axes = [ax]
    for chosen, (term, rows) in zip(axes, groups.items(), strict=True):
        _panel(chosen, held, rows, layout=layout, bare=ax is not None)
        dress(chosen, title=term)
        chosen.spines["left"].set_visible(False)
        chosen.tick_params(axis="y", length=0)
    return axes[0] if len(axes) == 1 else tuple(axes)


def describe(held: Comparison) -> str:
    """Say in words what is drawn."""
    told = []
    for term in held.terms:
        rows = [r for r in held.rows if r.term == term]
        parts = [f"{r.method} {interval(r.estimate, r.conf_low, r.conf_high)}" for r in rows]
        told.append(f"{term}: {'; '.join(parts)}")
    truth = f" The truth is {held.truth}." if held.truth else ""
    return f"Estimates of several methods. {'. '.join(told)}.{truth}"


def _panel(ax: Axes, held: Comparison, rows: list[Compared], *, layout: Layout, bare: bool) -> None:
    values = [v for r in rows for v in (r.estimate, r.conf_low, r.conf_high) if v is not None]
    values += [] if held.null is None else [held.null]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_xlim(low - room, high + room)
    ax.set_ylim(len(rows) - 0.3, -0.7)
    truth = next((r for r in rows if r.method == held.truth), None)
    if truth is not None and truth.estimate is not None:
        if truth.conf_low is not None and truth.conf_high is not None:
            ax.axvspan(truth.conf_low, truth.conf_high, color=ACTIVE, alpha=0.16, linewidth=0)
        ax.axvline(truth.estimate, color=ACTIVE, linewidth=1.2, zorder=1)
    if held.null is not None:
        ax.axvline(held.null, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for y, row in enumerate(rows):
        _line(ax, row, y, is_truth=row.method == held.truth)
        _words(ax, row, y, narrow=layout == "narrow", bare=bare)
    narrow = layout == "narrow" and not bare
    labels = ["" if narrow else cut(r.method, 34) for r in rows]
    ax.set_yticks(range(len(rows)), labels=labels)
    ax.grid(axis="x", color=LINE, linewidth=0.5, alpha=0.6)


def _line(ax: Axes, row: Compared, y: int, *, is_truth: bool) -> None:
    colour = ACTIVE if is_truth else OTHER
    if row.estimate is None:
        return
    bounded = row.conf_low is not None and row.conf_high is not None
    if bounded:
        ends: Any = [row.conf_low, row.conf_high]
        ax.plot(ends, [y, y], color=colour, linewidth=2.0, solid_capstyle="butt")
    ax.plot(
        [row.estimate], [y], marker="D" if is_truth else "o", markersize=6.5, linestyle="none",
        markerfacecolor=colour if bounded else "white", markeredgecolor=colour, zorder=3,
    )  # fmt: skip


def _words(ax: Axes, row: Compared, y: int, *, narrow: bool, bare: bool) -> None:
    place: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    text = interval(row.estimate, row.conf_low, row.conf_high)
    if narrow and not bare:
        ax.annotate(
            cut(row.method, 30), (0.0, y), (0, 6), ha="left", va="bottom", fontsize=8,
            color=INK, parse_math=False, **place,
        )  # fmt: skip
        ax.annotate(
            text, (1.0, y), (0, 6), ha="right", va="bottom", fontsize=8, color=MUTED, **place
        )
    elif not bare:
        ax.annotate(text, (1.0, y), (8, 0), ha="left", va="center", fontsize=8, color=INK, **place)
