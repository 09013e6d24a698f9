"""Forest plots of effects; matplotlib is imported when something is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import DesignError
from crossworld.report.answer import interval_name
from crossworld.report.content import limits
from crossworld.report.glossary import explain
from crossworld.report.terms import Panel, panels, read, same_as
from crossworld.report.words import Words, clean, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layout = Literal["wide", "narrow", "bare"]

# Okabe and Ito's blue and vermilion; shape repeats what colour says.
INK, MUTED, LINE = "#1b1f24", "#56606b", "#c9d0d8"
TOTAL, DIRECT, INDIRECT, OTHER = "#24292f", "#0072b2", "#d55e00", "#57606c"
_ROLES = {
    **dict.fromkeys(("te", "oe"), (TOTAL, "s")),
    **dict.fromkeys(("nde", "tnde", "cde", "ide"), (DIRECT, "o")),
    **dict.fromkeys(("nie", "pnie", "iie", "pse", "pm"), (INDIRECT, "D")),
}
_WIDTH = {"wide": 7.4, "narrow": 3.7}
_ROW = {"wide": 0.44, "narrow": 0.52}
_HEAD = 0.85  # inches of a panel that are not rows: ticks, title, space
_ROOM = 0.2  # rows' worth of space at the edges
_LONGEST = 34


@dataclass(frozen=True, slots=True)
class _Line:
    """What is drawn for one row."""

    row: Effect
    label: str
    short: str
    colour: str
    marker: str


def forest(table: EffectTable, *, ax: Axes | None = None) -> Axes | tuple[Axes, ...]:
    """Draw the effects with their intervals.

    Effects on different scales (differences, proportions, ratios) get a panel each. A filled
    point has both limits; a hollow one with a dotted line has an interval without a bound.

    Parameters
    ----------
    table
        A result.
    ax
        Axes to draw on, for effects that share one scale; a new figure by default.

    Returns
    -------
    Axes or tuple of Axes
        The axes, one per scale; ``.figure`` holds the figure.

    Raises
    ------
    DesignError
        If there is no effect, or ``ax`` is given and the effects are on several scales.

    Examples
    --------
    >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
    >>> forest(EffectTable(rows, 0.95)).get_xlabel()
    'Difference in the outcome'
    """
    names = words(table.spec)
    found = panels(table, names)
    if not found:
        raise DesignError("there is no effect to draw")
    if ax is None:
        drawn = tuple(figure(table).axes)
        return drawn[0] if len(drawn) == 1 else drawn
    if len(found) > 1:
        scales = ", ".join(panel.title for panel in found)
        raise DesignError(
            f"the effects are on {len(found)} scales ({scales}), which cannot share one axis; "
            "leave ax out to get a panel for each"
        )
    _panel(ax, found[0], _lines(table, found[0], names), "bare")
    return ax


def figure(table: EffectTable, *, layout: Literal["wide", "narrow"] = "wide") -> Figure:
    """Draw every panel on a new figure that belongs to nobody's global state.

    Parameters
    ----------
    table
        A result with at least one row.
    layout
        ``wide`` has labels to the left and numbers to the right; ``narrow`` fits a phone.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = words(table.spec)
    found = panels(table, names)
    spans = [len(panel.rows) + _ROOM for panel in found]
    height = sum(_HEAD + _ROW[layout] * span for span in spans)
    drawn = Figure(figsize=(_WIDTH[layout], height), layout=ConstrainedLayoutEngine(h_pad=0.1))
    grid: Any = drawn.subplots(len(found), 1, squeeze=False, height_ratios=spans)
    for ax, panel in zip(grid[:, 0], found, strict=True):
        _panel(ax, panel, _lines(table, panel, names), layout)
        if layout == "wide":
            _heading(ax, f"estimate [{interval_name(table.level)}]")
    return drawn


def _lines(table: EffectTable, panel: Panel, names: Words) -> tuple[_Line, ...]:
    found = []
    for row in panel.rows:
        term = read(row, table.estimands)
        colour, marker = _ROLES.get(term.base or same_as(term.text), (OTHER, "^"))
        short = explain(term, names).short
        found.append(_Line(row, _cut(term.text), _cut(short), colour, marker))
    return tuple(found)


def _cut(text: str) -> str:
    text = clean(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _panel(ax: Axes, panel: Panel, lines: tuple[_Line, ...], layout: Layout) -> None:
    span, log = _span(panel)
    if log:
        ax.set_xscale("log")
    ax.set_xlim(*span)
    top = len(lines) - 0.5 + (_ROOM / 2.0 if layout == "narrow" else 0.0)
    ax.set_ylim(top - len(lines) - _ROOM, top)
    heights = range(len(lines) - 1, -1, -1)
    if panel.null is not None:
        ax.axvline(panel.null, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        ax.annotate(
            "none" if panel.kind == "share" else "no effect", (panel.null, 1.0), (0, 3),
            xycoords=ax.get_xaxis_transform(), textcoords="offset points", ha="center",
            va="bottom", fontsize=7.5, color=MUTED,
        )  # fmt: skip
    for y, line in zip(heights, lines, strict=True):
        _effect(ax, line, y, span)
        if layout == "narrow":
            _above(ax, line, y)
        elif layout == "wide":
            _beside(ax, line, y)
    _axes(ax, panel, log)
    _ticks(ax, list(heights), [line.label for line in lines], layout)


def _effect(ax: Axes, line: _Line, y: float, span: tuple[float, float]) -> None:
    row = line.row
    if row.estimate is None:
        ax.annotate(
            "not available", (0.5, y), xycoords=ax.get_yaxis_transform(), ha="center",
            va="center", fontsize=7.5, color=MUTED,
        )  # fmt: skip
        return
    bounded = row.conf_low is not None and row.conf_high is not None
    if bounded or row.conf_low is not None or row.conf_high is not None:
        low = span[0] if row.conf_low is None else row.conf_low
        high = span[1] if row.conf_high is None else row.conf_high
        ax.plot([low, high], [y, y], color=line.colour, linewidth=2.2, solid_capstyle="butt")
    elif row.conf_method == "fieller":
        ax.plot(span, [y, y], color=line.colour, linewidth=1.4, linestyle=(0, (1, 2)))
    for limit, edge, arrow in ((row.conf_low, span[0], "<"), (row.conf_high, span[1], ">")):
        if limit is None and (bounded or limits(row) != "not available"):
            ax.plot(
                [edge], [y], marker=arrow, color=line.colour, markersize=6, clip_on=False,
                linestyle="none",
            )  # fmt: skip
    ax.plot(
        [row.estimate], [y], marker=line.marker, markersize=7.5, linestyle="none", zorder=3,
        markerfacecolor=line.colour if bounded else "white", markeredgecolor=line.colour,
        markeredgewidth=1.6,
    )  # fmt: skip
    if not bounded:
        _note(ax, row, y, span)


def _note(ax: Axes, row: Effect, y: float, span: tuple[float, float]) -> None:
    """Say beside a hollow point why it has no interval, on the side with more room."""
    text = "no interval" if limits(row) == "not available" else "no bounded interval"
    if row.conf_low is not None or row.conf_high is not None:
        text = limits(row)
    value = span[0] if row.estimate is None else row.estimate
    right = ax.transLimits.transform(ax.transScale.transform((value, y)))[0] > 0.5
    ax.annotate(
        text, (value, y), (-8 if right else 8, -4), textcoords="offset points",
        ha="right" if right else "left", va="top", fontsize=7.5, color=MUTED,
    )  # fmt: skip


def _beside(ax: Axes, line: _Line, y: float) -> None:
    """Explain a row to its left, under its term, and write its numbers to its right."""
    place: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    ax.annotate(
        line.short, (0.0, y), (-10, -1), ha="right", va="top", fontsize=7.5, color=MUTED,
        parse_math=False, **place,
    )  # fmt: skip
    ax.annotate(
        _numbers(line.row), (1.0, y), (12, 0), ha="left", va="center", fontsize=8.5, color=INK,
        **place,
    )  # fmt: skip


def _above(ax: Axes, line: _Line, y: float) -> None:
    place: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    place["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    ax.annotate(
        line.label, (0.0, y), (0, 9), ha="left", va="bottom", fontsize=9, color=INK,
        fontweight="bold", parse_math=False, **place,
    )  # fmt: skip
    ax.annotate(
        _numbers(line.row), (1.0, y), (0, 9), ha="right", va="bottom", fontsize=8.5, color=INK,
        **place,
    )  # fmt: skip


def _numbers(row: Effect) -> str:
    if row.estimate is None:
        return "not available"
    if row.conf_low is None or row.conf_high is None:
        return f"{number(row.estimate)} [{limits(row)}]"
    return f"{number(row.estimate)} [{number(row.conf_low)}, {number(row.conf_high)}]"


def _heading(ax: Axes, text: str) -> None:
    ax.annotate(
        text, (1.0, 1.0), (12, 3), xycoords="axes fraction", textcoords="offset points",
        ha="left", va="bottom", fontsize=7.5, color=MUTED,
    )  # fmt: skip


def _axes(ax: Axes, panel: Panel, log: bool) -> None:
    from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator

    ax.set_xlabel(clean(panel.title), fontsize=8.5, color=INK, parse_math=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(LINE)
    ax.grid(axis="x", color=LINE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    if log:
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", colors=MUTED, labelsize=8, length=3)


def _ticks(ax: Axes, heights: list[int], labels: list[str], layout: Layout) -> None:
    ax.set_yticks(heights, labels=labels)
    ax.tick_params(axis="y", length=0, pad=10, labelleft=layout != "narrow")
    for label in ax.get_yticklabels():
        label.set(parse_math=False, color=INK, fontsize=9)
        if layout == "wide":
            label.set(fontweight="bold", verticalalignment="bottom")


def _span(panel: Panel) -> tuple[tuple[float, float], bool]:
    """Limits of the axis and whether it is logarithmic; every finite number is inside."""
    values = [v for r in panel.rows for v in (r.estimate, r.conf_low, r.conf_high) if v is not None]
    values += [] if panel.null is None else [panel.null]
    values += [1.0] if panel.kind == "share" else []
    values = values or [0.0]
    log = panel.log and min(values) > 0.0
    low, high = min(values), max(values)
    if log:
        factor = max((high / low) ** 0.08, 1.02)
        return (low / factor, high * factor), True
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return (low - room, high + room), False


def describe(table: EffectTable, rows: Iterable[Effect]) -> str:
    """Say in words what a forest plot shows, for readers who cannot see it.

    Examples
    --------
    >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
    >>> describe(EffectTable(rows, 0.95), rows)
    'A forest plot: one line per effect, a point for the estimate, a bar for its 95% interval. te: \
1.0000, 0.0000 to 2.0000.'
    """
    told = [
        f"{clean(r.term)}: {number(r.estimate)}, {limits(r)}"
        if r.estimate is not None
        else f"{clean(r.term)}: not available"
        for r in rows
    ]
    return (
        "A forest plot: one line per effect, a point for the estimate, a bar for its "
        f"{interval_name(table.level)}. {'; '.join(told)}."
    )
