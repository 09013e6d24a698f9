"""Distributions of variables by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.core.exhibits import Arm, Distributions, Variable
from crossworld.core.table import number, probability
from crossworld.report.drawn.canvas import (
    ACTIVE,
    DASHES,
    INK,
    LINE,
    OTHER,
    SERIES,
    WIDTH,
    Layout,
    cut,
    dress,
    given,
    one_or_all,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (OTHER, ACTIVE, *SERIES)
_HIGH = 2.35


def draw(held: Distributions, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw one panel per variable: the first group filled, the others as lines, means marked."""
    count = len(held.variables)
    columns = 1 if layout == "narrow" or count == 1 else 2
    rows = -(-count // columns)
    width = WIDTH[layout] if columns == 2 or layout == "narrow" else 5.6
    axes = given(ax, count, rows=rows, columns=columns, size=(width, _HIGH * rows + 0.3))
    for chosen, variable in zip(axes, held.variables, strict=True):
        if variable.edges:
            _bins(chosen, variable)
        else:
            _bars(chosen, variable, narrow=layout == "narrow" or columns == 2)
        dress(chosen, title=variable.name)
        chosen.set_xlabel(cut(variable.note, 60), fontsize=7.5, color=OTHER, parse_math=False)
    _legend(axes[0], held.variables[0].arms)
    if held.tests:
        dressed = axes[-1].get_xlabel()
        told = sentence(held, short=True)
        text = f"{dressed}\n{told}" if dressed else told
        axes[-1].set_xlabel(text, fontsize=7.5, color=OTHER, parse_math=False)
    return one_or_all(axes)


def sentence(held: Distributions, *, short: bool = False) -> str:
    """Say what the tests found."""
    told = []
    for test in held.tests:
        if test.p_value is None:
            told.append(f"{test.name}: no p value")
            continue
        text = f"{'Energy test' if short and 'energy' in test.name else test.name}: p = "
        text += probability(test.p_value).removeprefix("=")
        if test.draws is not None:
            text += f" ({test.draws:,} permutations"
            text += f", seed {test.seed})" if test.seed is not None else ")"
        told.append(text)
    return "; ".join(told)


def describe(held: Distributions) -> str:
    """Say in words what is drawn."""
    found = []
    for variable in held.variables:
        means = [
            f"{arm.label}: mean {number(arm.mean)}" for arm in variable.arms if arm.mean is not None
        ]
        if not variable.edges:
            means = [
                f"{arm.label}: "
                + ", ".join(
                    f"{c} {100.0 * (s or 0.0):.0f}%"
                    for c, s in zip(variable.categories, arm.shares, strict=True)
                )
                for arm in variable.arms
            ]
        found.append(f"{variable.name} ({'; '.join(means)})")
    return f"Distributions by group: {'. '.join(found)}. {sentence(held)}".strip()


def _bins(ax: Axes, variable: Variable) -> None:
    edges = np.array(variable.edges)
    wide = np.diff(edges)
    for k, arm in enumerate(variable.arms):
        heights = np.array([s or 0.0 for s in arm.shares]) / wide
        colour = _COLOURS[k % len(_COLOURS)]
        if k == 0:
            ax.stairs(heights, edges, fill=True, color=colour, alpha=0.28, linewidth=0)
        style = "-" if k == 0 else DASHES[(k - 1) % len(DASHES)]
        ax.stairs(heights, edges, color=colour, linewidth=1.8, linestyle=style)
        if arm.mean is not None:
            ax.plot(
                [arm.mean], [0.0], marker="s" if k == 0 else "^", color=colour, markersize=7,
                clip_on=False, zorder=5, linestyle="none", markeredgecolor="white",
            )  # fmt: skip
    ax.set_ylim(bottom=0.0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)


def _bars(ax: Axes, variable: Variable, *, narrow: bool) -> None:
    count, size = len(variable.arms), 0.8 / len(variable.arms)
    places = np.arange(len(variable.categories))
    for k, arm in enumerate(variable.arms):
        shares = [100.0 * (s or 0.0) for s in arm.shares]
        at = places + (k - (count - 1) / 2.0) * size
        colour = _COLOURS[k % len(_COLOURS)]
        ax.barh(
            at, shares, size * 0.92, color=colour if k else "white", edgecolor=colour,
            linewidth=1.4, hatch="" if k else "///",
        )  # fmt: skip
    most = 14 if narrow else 24
    ax.set_yticks(places, labels=[cut(c, most) for c in variable.categories])
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}%")
    ax.grid(axis="x", color=LINE, linewidth=0.5, alpha=0.6)


def _legend(ax: Axes, arms: tuple[Arm, ...]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for k, arm in enumerate(arms):
        colour = _COLOURS[k % len(_COLOURS)]
        label = cut(f"{arm.label} (n = {arm.n:,})", 34)
        if k == 0:
            handles.append(Patch(facecolor=colour, alpha=0.4, label=label))
        else:
            style = DASHES[(k - 1) % len(DASHES)]
            handles.append(
                Line2D([], [], color=colour, linewidth=1.8, linestyle=style, label=label)
            )
    figure: Any = ax.figure
    box = figure if hasattr(figure, "legend") and len(figure.axes) > 0 else ax
    legend = box.legend(
        handles=handles, fontsize=8, frameon=False, labelcolor=INK, ncols=1,
        loc="outside upper left" if figure.get_layout_engine() is not None else "best",
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
