"""Lines with bands, and the steps of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.core.exhibits import Curve, Series, Steps
from crossworld.core.table import number
from crossworld.report.drawn.canvas import (
    DASHES,
    DIRECT,
    INDIRECT,
    INK,
    LINE,
    MUTED,
    OTHER,
    SERIES,
    WIDTH,
    Layout,
    cut,
    dress,
    given,
    interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STEPS = 60


def draw(held: Curve, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw each series as a line with its band."""
    size = (5.8, 3.4) if layout == "wide" else (WIDTH["narrow"], 3.0)
    (chosen,) = given(ax, 1, rows=1, columns=1, size=size)
    if held.null is not None:
        chosen.axhline(held.null, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for k, series in enumerate(held.series):
        _line(chosen, series, SERIES[k % len(SERIES)], DASHES[k % len(DASHES)])
    chosen.grid(color=LINE, linewidth=0.5, alpha=0.6)
    dress(chosen, x=held.x_name, y=held.y_name, title=held.title)
    if len(held.series) > 1:
        legend = chosen.legend(fontsize=8, frameon=False, labelcolor=INK)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return chosen


def describe(held: Curve) -> str:
    """Say in words what is drawn."""
    told = []
    for series in held.series:
        there = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
        if there:
            (x0, y0), (x1, y1) = there[0], there[-1]
            told.append(f"{series.name}: {number(y0)} at {x0:g}, {number(y1)} at {x1:g}")
    return f"{held.y_name} against {held.x_name}. {'; '.join(told)}."


def _line(ax: Axes, series: Series, colour: str, dash: Any) -> None:
    y = np.array([np.nan if v is None else v for v in series.y])
    if series.low:
        low, high = (
            np.array([np.nan if v is None else v for v in held])
            for held in (series.low, series.high)
        )
        if len(series.x) > 1:
            ax.fill_between(series.x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.errorbar(
            series.x, y, [np.maximum(y - low, 0.0), np.maximum(high - y, 0.0)], fmt="none",
            ecolor=colour, elinewidth=1.0, alpha=0.7 if len(series.x) <= 25 else 0.0,
        )  # fmt: skip
    marker = "o" if len(series.x) <= 25 else ""
    ax.plot(
        series.x, y, color=colour, linewidth=1.8, linestyle=dash, marker=marker, markersize=4.5,
        label=cut(series.name, 34),
    )  # fmt: skip


def draw_steps(held: Steps, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw what each step carries as bars with intervals, the text beside them."""
    steps = held.steps[:MOST_STEPS]
    size = (WIDTH[layout], 0.34 * len(steps) + 1.0)
    (chosen,) = given(ax, 1, rows=1, columns=1, size=size)
    factor = 100.0 if held.scale == "share" else 1.0
    for y, step in enumerate(steps):
        if step.estimate is None:
            continue
        value = factor * step.estimate
        colour = INDIRECT if value >= 0.0 else DIRECT
        sure = step.significant is not False
        chosen.barh(
            y, value, 0.62, color=colour, alpha=0.75 if sure else 0.3, linewidth=0.8,
            edgecolor=colour, hatch="" if sure else "///",
        )  # fmt: skip
        if step.conf_low is not None and step.conf_high is not None:
            ends = [factor * step.conf_low, factor * step.conf_high]
            chosen.plot(ends, [y, y], color=INK, linewidth=1.2)
    chosen.axvline(0.0, color=MUTED, linewidth=0.9)
    most = 44 if layout == "wide" else 20
    labels = [f"{k + 1}. {cut(step.text, most)}" for k, step in enumerate(steps)]
    chosen.set_yticks(range(len(steps)), labels=labels)
    chosen.set_ylim(len(steps) - 0.4, -0.6)
    if held.scale == "share":
        chosen.xaxis.set_major_formatter(lambda v, _: f"{v:g}%")
    chosen.grid(axis="x", color=LINE, linewidth=0.5, alpha=0.6)
    dress(chosen, x=f"carried {held.value_name}" if held.value_name else "", title=held.title)
    chosen.spines["left"].set_color(OTHER)
    return chosen


def describe_steps(held: Steps) -> str:
    """Say in words what is drawn."""
    told = [
        f"step {k}: {interval(s.estimate, s.conf_low, s.conf_high)}"
        for k, s in enumerate(held.steps, start=1)
        if s.estimate is not None
    ]
    return f"What each step carries, {held.value_name}. {'; '.join(told)}."
