"""Effects over windows, with the reference, the evidence and the alarm line."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crossworld.errors import DesignError
from crossworld.watching.values import Watching, Window

if TYPE_CHECKING:
    from crossworld.watching.result import Watched

INK, MUTED, LINE, ALARM = "#1b1f24", "#56606b", "#c9d0d8", "#a40e26"
# Okabe and Ito's colours; the shape of the mark repeats what they say
STYLES = (
    ("#24292f", "s"), ("#0072b2", "o"), ("#d55e00", "D"), ("#009e73", "^"),
    ("#cc79a7", "v"), ("#e69f00", "P"),
)  # fmt: skip
LARGEST = 12.0  # powers of ten of evidence that are drawn


def draw(watched: Watched) -> Any:
    """Draw one panel per effect, and one of the evidence with the line at which it is an alarm.

    Filled marks are windows that share no row, which are compared; the shaded band is the reference
    with its interval; a red mark is the window that raised an alarm.

    Raises
    ------
    DesignError
        If there is no window yet.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    kept = [w for w in watched.windows if w.failed is None]
    if not kept:
        raise DesignError(f"there is no window to draw yet: {watched.waiting}")
    panels = len(watched.terms) + bool(watched.alarms)
    figure = Figure(figsize=(8.0, 1.75 * panels + 0.7), layout=ConstrainedLayoutEngine())
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    dated = watched.cursor.dates and watched.setup.windows.time is not None
    for place, term in enumerate(watched.terms):
        style = STYLES[place % len(STYLES)]
        _effect(axes[place], watched, term, kept=kept, style=style, dated=dated)
    if watched.alarms:
        _evidence(axes[-1], watched, kept, dated)
    unit = "" if watched.setup.windows.time is not None else f", in {watched.setup.unit}"
    told = f"end of the window{unit}"
    if not all(w.apart for w in kept):
        told += f"   (filled: windows that share no {watched.setup.unit[:-1]}, which are compared)"
    axes[-1].set_xlabel(told, fontsize=9, color=INK)
    return figure


def _at(window: Window, dated: bool) -> Any:
    return datetime.fromtimestamp(window.end, UTC) if dated else window.end


def _effect(
    ax: Any,
    watched: Watched,
    term: str,
    *,
    kept: list[Window],
    style: tuple[str, str],
    dated: bool,
) -> None:
    colour, marker = style
    _reference(ax, watched, term)
    alarm = next((a for a in watched.alarms if a.term == term), None)
    for window in kept:
        effect = window.effect(term)
        if effect is None or effect.estimate is None:
            continue
        x, raised = _at(window, dated), alarm is not None and alarm.at == window.index
        shown = ALARM if raised else colour
        if effect.conf_low is not None and effect.conf_high is not None:
            ax.plot([x, x], [effect.conf_low, effect.conf_high], color=shown, linewidth=1.1,
                    alpha=0.9 if window.apart else 0.45, zorder=2)  # fmt: skip
        ax.plot([x], [effect.estimate], marker=marker, markersize=6.0 if raised else 4.5,
                color=shown, markerfacecolor=shown if window.apart else "white",
                linestyle="none", zorder=3)  # fmt: skip
    ax.set_ylabel(term, fontsize=9, color=INK, parse_math=False)
    if watched.compared.get(term) == "":
        ax.set_title("raises no alarm", fontsize=8, color=MUTED, loc="right")
    _plain(ax)


def _reference(ax: Any, watched: Watched, term: str) -> None:
    held, first = watched.setup.reference, watched.reference
    effect: Watching | None = None if first is None else first.effect(term)
    if held is not None and term in held:
        value, error, _ = held[term]
        limits: tuple[float | None, float | None] = (value - 1.96 * error, value + 1.96 * error)
    elif effect is not None and effect.estimate is not None:
        value, limits = effect.estimate, (effect.conf_low, effect.conf_high)
    else:
        return
    if limits[0] is not None and limits[1] is not None:
        ax.axhspan(limits[0], limits[1], color=LINE, alpha=0.45, linewidth=0, zorder=0)
    ax.axhline(value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def _evidence(ax: Any, watched: Watched, kept: list[Window], dated: bool) -> None:
    limit = math.log10(watched.threshold)
    top = limit
    for place, term in enumerate(watched.terms):
        colour, marker = STYLES[place % len(STYLES)]
        held = [(_at(w, dated), e.log_e) for w in kept if (e := w.effect(term)) is not None]
        path = [(x, min(v / math.log(10.0), LARGEST)) for x, v in held if v is not None]
        if path:
            xs, ys = zip(*path, strict=True)
            ax.plot(xs, ys, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=term)
            top = max(top, *ys)
    ax.axhline(limit, color=ALARM, linewidth=1.1, linestyle=(0, (5, 2)))
    ax.annotate(
        f"alarm: any false one, ever, with probability at most {watched.setup.alpha:g}",
        (0.005, limit), xycoords=("axes fraction", "data"), xytext=(0, 2.5),
        textcoords="offset points", fontsize=8, color=ALARM,
    )  # fmt: skip
    ax.set_ylim(min(-1.5, *ax.get_ylim()), top + 0.9)
    ax.set_yticks(
        range(math.ceil(ax.get_ylim()[0]), math.floor(ax.get_ylim()[1]) + 1, 1 if top < 6 else 3)
    )
    ax.set_ylabel("evidence\n(power of 10)", fontsize=9, color=INK)
    if ax.get_legend_handles_labels()[0]:
        legend = ax.legend(fontsize=8, frameon=False, loc="lower left", ncols=6)
        for label in legend.get_texts():
            label.set_parse_math(False)
    _plain(ax)


def _plain(ax: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(LINE)
    ax.tick_params(labelsize=8, colors=MUTED)
    ax.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.6)
    ax.set_axisbelow(True)
