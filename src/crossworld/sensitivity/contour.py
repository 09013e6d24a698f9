"""Contours of an effect over two strengths of a violated assumption."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.exhibits import Contour, Mark
from crossworld.errors import DesignError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

# Middle tones: each has a contrast of at least 3.5 against white and against near-black pages.
INK, ABOVE, BELOW = "#76808c", "#d55e00", "#1f86c7"
_VARIABLES = {INK: "--ink", ABOVE: "--indirect", BELOW: "--direct"}
_LINES = 8
_SIZE = (5.6, 4.4)
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crossworld",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_DIRECTIONS = ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
_ALIGN = {-1: ("right", "top"), 0: ("center", "center"), 1: ("left", "bottom")}


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """An effect, or one of its limits, at every pair of strengths.

    Parameters
    ----------
    x_name, y_name
        What the axes are, in words.
    x, y
        Strengths, increasing, shapes (nx,) and (ny,).
    values
        Shape (ny, nx): the effect at (``x[j]``, ``y[i]``) in row i, column j. NaN where the pair
        of strengths cannot occur.
    threshold
        The value whose contour is emphasised: where the conclusion changes.
    marks
        Benchmarks to show: label, x, y.
    title
        One line above the figure.

    Raises
    ------
    DesignError
        If shapes disagree, an axis does not increase, or no value is finite.

    Examples
    --------
    >>> grid = np.linspace(0.0, 1.0, 5)
    >>> found = Contours("strength", grid, "share", grid, 0.5 - np.add.outer(grid, grid))
    >>> found.plot().get_xlabel()
    'strength'
    """

    x_name: str
    x: Array
    y_name: str
    y: Array
    values: Array
    threshold: float = 0.0
    marks: tuple[tuple[str, float, float], ...] = ()
    title: str = ""

    def __post_init__(self) -> None:
        for name, axis in (("x", self.x), ("y", self.y)):
            if axis.ndim != 1 or axis.size < 2 or not np.isfinite(axis).all():
                raise DesignError(f"{name} needs at least two finite strengths, got {axis!r}")
            if not (np.diff(axis) > 0.0).all():
                raise DesignError(f"{name} must increase; sort the strengths first")
        if self.values.shape != (self.y.size, self.x.size):
            raise DesignError(
                f"values of shape {self.values.shape} do not fit {self.y.size} values of y (rows) "
                f"and {self.x.size} of x (columns)"
            )
        if not np.isfinite(self.values).any() or np.isinf(self.values).any():
            raise DesignError("contours need finite values; NaN stands for an impossible pair")
        for label, x, y in self.marks:
            if not (math.isfinite(x) and math.isfinite(y)):
                raise DesignError(f"the mark {label!r} has no finite place: ({x}, {y})")

    def __str__(self) -> str:
        low, high = np.nanmin(self.values), np.nanmax(self.values)
        head = f"{self.title}: " if self.title else ""
        reached = "reaches" if low <= self.threshold <= high else "never reaches"
        return (
            f"{head}{low:.4g} to {high:.4g} over {self.x_name} {self.x[0]:g} to {self.x[-1]:g} "
            f"and {self.y_name} {self.y[0]:g} to {self.y[-1]:g}; {reached} {self.threshold:g}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw labelled contours; above the threshold solid, below dashed, at it thick.

        Parameters
        ----------
        ax
            Axes to draw on; by default those of a new figure without a background.
        """
        chosen = new_axes() if ax is None else ax
        _dress(chosen, self)
        boxes, points = _draw_lines(chosen, self)
        _draw_marks(chosen, self.marks, boxes, points=points)
        return chosen

    def svg(self) -> str:
        """Return the figure as one ``<svg>`` element with a transparent background.

        Colours are the page's variables (``--ink``, ``--direct``, ``--indirect``) where it has
        them, and otherwise tones that can be read on light and on dark pages.
        """
        import matplotlib

        out = io.StringIO()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure: Any = self.plot().figure
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        text = out.getvalue()
        for colour, variable in _VARIABLES.items():
            for key in ("fill", "stroke"):
                held = f"{key}: {colour}"
                text = text.replace(held, f"{held}; {key}: var({variable}, {colour})")
        return text[text.index("<svg") :].strip()

    def exhibit(self, note: str = "") -> Contour:
        """Return the same as plain values that a result carries (`EffectTable.with_exhibits`)."""
        marks = tuple(Mark(label, float(x), float(y)) for label, x, y in self.marks)
        return Contour(
            self.x_name, self.x.tolist(), self.y_name, self.y.tolist(), self.values.tolist(),
            self.threshold, marks, self.title, note,
        )  # fmt: skip

    def to_frame(self) -> Any:
        """Return one row per pair of strengths, as a pandas frame."""
        import pandas as pd

        x, y = np.meshgrid(self.x, self.y)
        columns = {self.x_name: x, self.y_name: y, "value": self.values}
        return pd.DataFrame({k: v.ravel() for k, v in columns.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; an impossible pair is None."""
        return {
            "title": self.title,
            "x_name": self.x_name,
            "x": self.x.tolist(),
            "y_name": self.y_name,
            "y": self.y.tolist(),
            "values": [[v if math.isfinite(v) else None for v in r] for r in self.values.tolist()],
            "threshold": self.threshold,
            "marks": [{"label": label, "x": x, "y": y} for label, x, y in self.marks],
        }


def new_axes() -> Axes:
    """Make axes on a new figure without a background that belongs to nobody's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=_SIZE, layout=ConstrainedLayoutEngine(), facecolor="none")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    axes.set_facecolor("none")
    return axes


def _dress(ax: Axes, held: Contours) -> None:
    ax.set_xlim(held.x[0], held.x[-1])
    ax.set_ylim(held.y[0], held.y[-1])
    ax.set_xlabel(held.x_name, fontsize=9, color=INK, parse_math=False)
    ax.set_ylabel(held.y_name, fontsize=9, color=INK, parse_math=False)
    if held.title:
        ax.set_title(
            held.title, fontsize=10, color=INK, loc="left", fontweight="bold", parse_math=False
        )
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK, labelsize=8, length=3)


def levels(values: Array, threshold: float) -> tuple[Array, bool]:
    """Round levels to draw beside the threshold, and whether the threshold is reached."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        return np.empty(0), False
    found = np.asarray(MaxNLocator(_LINES).tick_values(low, high), dtype=np.float64)
    step = found[1] - found[0]
    inside = (found > low) & (found < high) & (np.abs(found - threshold) > 0.25 * step)
    return found[inside], low < threshold < high


def _draw_lines(ax: Axes, held: Contours) -> tuple[list[Any], Array]:
    """Draw the contours; return their labels' boxes and points of the lines, (k, 2), in pixels."""
    values = np.ma.masked_invalid(held.values)
    found, reached = levels(held.values, held.threshold)
    labels: list[Any] = []
    lines: list[Any] = []
    for side, colour, style in (
        (found[found < held.threshold], BELOW, "dashed"),
        (found[found > held.threshold], ABOVE, "solid"),
    ):
        if side.size:
            drawn = ax.contour(
                held.x, held.y, values, levels=side, colors=colour, linestyles=style,
                linewidths=1.0,
            )  # fmt: skip
            labels += ax.clabel(drawn, fmt=lambda v: f"{v:.4g}", fontsize=7.5, inline=True)
            lines += drawn.get_paths()
    if reached:
        drawn = ax.contour(
            held.x, held.y, values, levels=[held.threshold], colors=INK, linewidths=2.4
        )
        labels += ax.clabel(drawn, fmt=lambda v: f"{v:.4g}", fontsize=9, inline=True)
        lines += drawn.get_paths()
    else:
        ax.annotate(
            f"{held.threshold:.4g} is not reached here", (1.0, 1.0), (0, 3),
            xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
            fontsize=7.5, color=INK,
        )  # fmt: skip
    figure: Any = ax.figure
    figure.draw_without_rendering()
    points = np.concatenate([np.empty((0, 2)), *(path.vertices for path in lines)])
    return [label.get_window_extent() for label in labels], ax.transData.transform(points)


def _draw_marks(
    ax: Axes, marks: Sequence[tuple[str, float, float]], boxes: Sequence[Any], *, points: Array
) -> None:
    """Write each label where it covers no contour label, no other mark, no label and no line."""
    from matplotlib.transforms import Bbox

    taken = list(boxes)
    for _, x, y in marks:
        ax.plot(
            [x], [y], marker="D", markersize=5, color=INK, linestyle="none", zorder=4,
            clip_on=False,
        )  # fmt: skip
        place = ax.transData.transform((x, y))
        taken.append(Bbox.from_bounds(place[0] - 5.0, place[1] - 5.0, 10.0, 10.0))
    for label, x, y in marks:
        text = ax.annotate(
            label, (x, y), (0, 0), textcoords="offset points", fontsize=8, color=INK,
            parse_math=False, zorder=5, annotation_clip=False,
        )  # fmt: skip
        best: tuple[float, tuple[int, int], float] | None = None
        for distance in (7.0, 14.0, 24.0, 38.0, 56.0):
            for direction in _DIRECTIONS:
                _put(text, direction, distance)
                box = text.get_window_extent()
                crossed = ((points > box.p0) & (points < box.p1)).all(axis=1).sum()
                cost = _covered(box, taken, ax.bbox) + 4.0 * crossed + 0.01 * distance
                if best is None or cost < best[0] - 1e-9:
                    best = (cost, direction, distance)
            if best is not None and best[0] < 1.0:
                break
        assert best is not None
        _put(text, best[1], best[2])
        if best[2] > 10.0:
            ax.annotate(
                "", (x, y), (best[1][0] * best[2], best[1][1] * best[2]),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6},
            )  # fmt: skip
        taken.append(text.get_window_extent())


def _put(text: Any, direction: tuple[int, int], distance: float) -> None:
    text.set_position((direction[0] * distance, direction[1] * distance))
    text.set_horizontalalignment(_ALIGN[direction[0]][0])
    text.set_verticalalignment(_ALIGN[direction[1]][1])


def _covered(box: Any, taken: Sequence[Any], frame: Any) -> float:
    """Area in pixels that a box shares with others, or has outside the frame."""
    covered = 0.0
    for other in taken:
        wide = min(box.x1, other.x1) - max(box.x0, other.x0)
        high = min(box.y1, other.y1) - max(box.y0, other.y0)
        covered += max(wide, 0.0) * max(high, 0.0)
    wide = max(min(box.x1, frame.x1) - max(box.x0, frame.x0), 0.0)
    high = max(min(box.y1, frame.y1) - max(box.y0, frame.y0), 0.0)
    return covered + float(box.width * box.height - wide * high)
