"""New figures that belong to nobody's global state, and the ink they are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from crossworld.core.table import number
from crossworld.errors import DesignError
from crossworld.report.words import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layout = Literal["wide", "narrow"]

# Okabe and Ito's palette, darkened to a contrast of 3 and more on white where that was needed;
# shape, hatch or line style repeats what colour says.
INK, MUTED, LINE = "#1b1f24", "#56606b", "#c9d0d8"
TOTAL, DIRECT, INDIRECT, OTHER = "#24292f", "#0072b2", "#d55e00", "#57606c"
ACTIVE, GOLD = "#00805f", "#8a6d00"
SERIES = (DIRECT, INDIRECT, ACTIVE, "#a3487f", GOLD, OTHER)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)), "-")
WIDTH = {"wide": 7.4, "narrow": 3.7}


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure that lays itself out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    made = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(made)
    return made


def given(ax: Any, count: int, *, rows: int, columns: int, size: tuple[float, float]) -> list[Any]:
    """Return ``count`` axes: the one given, or new ones on a grid.

    Raises
    ------
    DesignError
        If one was given and several are needed.
    """
    if ax is not None:
        if count > 1:
            raise DesignError(f"this takes {count} axes; leave ax out to get a figure for them")
        return [ax]
    grid = new_figure(*size).subplots(rows, columns, squeeze=False)
    found = list(grid.ravel())
    for spare in found[count:]:
        spare.set_axis_off()
    return found[:count]


def one_or_all(axes: Sequence[Any]) -> Any:
    """Return the axes, or a tuple of several."""
    return axes[0] if len(axes) == 1 else tuple(axes)


def dress(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Give axes the style of the report: no box, quiet ticks, names as plain text."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(LINE)
    ax.tick_params(colors=MUTED, labelsize=8, length=3)
    ax.set_axisbelow(True)
    put: dict[str, Any] = {"fontsize": 8.5, "color": INK, "parse_math": False}
    if x:
        ax.set_xlabel(cut(x, 60), **put)
    if y:
        ax.set_ylabel(cut(y, 60), **put)
    if title:
        put["fontsize"] = 9
        ax.set_title(cut(title, 54), loc="left", fontweight="bold", **put)
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        label.set_parse_math(False)


def cut(text: str, most: int) -> str:
    """Shorten a text for a figure."""
    text = clean(text)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def interval(estimate: float | None, low: float | None, high: float | None) -> str:
    """Write a number with its interval; what does not exist is said."""
    if estimate is None:
        return "not available"
    if low is None and high is None:
        return number(estimate)
    if low is None or high is None:
        return (
            f"{number(estimate)} [{number(low)} or more]"
            if high is None
            else (f"{number(estimate)} [{number(high)} or less]")
        )
    return f"{number(estimate)} [{number(low)}, {number(high)}]"
