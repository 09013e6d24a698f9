"""The specification curve as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

INK, MUTED, LINE, BLUE = "#1b1f24", "#56606b", "#c9d0d8", "#0072b2"
LONGEST = 38


class Drawn(Protocol):
    """What is drawn of a specification."""

    @property
    def estimator(self) -> str: ...
    @property
    def adjust(self) -> tuple[str, ...]: ...
    @property
    def interaction(self) -> bool | None: ...
    @property
    def estimate(self) -> float | None: ...
    @property
    def conf_low(self) -> float | None: ...
    @property
    def conf_high(self) -> float | None: ...


def rows_of(held: Sequence[Drawn]) -> dict[str, list[tuple[str, list[bool]]]]:
    """Rows of the dot matrix by kind of choice; choices that never vary are left out."""
    methods = list(dict.fromkeys(s.estimator for s in held))
    widest = sorted(held, key=lambda s: -len(s.adjust))
    columns = list(dict.fromkeys(name for s in widest for name in s.adjust))
    crossed = [v for v in (False, True) if any(s.interaction is v for s in held)]
    found: dict[str, list[tuple[str, list[bool]]]] = {}
    if len(methods) > 1:
        found["method"] = [(m, [s.estimator == m for s in held]) for m in methods]
    varied = [c for c in columns if len({c in s.adjust for s in held}) > 1]
    if varied:
        found["adjusting for"] = [(c, [c in s.adjust for s in held]) for c in varied]
    if len(crossed) > 1:
        shown = {True: "with", False: "without"}
        found["interaction"] = [(shown[v], [s.interaction is v for s in held]) for v in crossed]
    return found


def curve(term: str, held: Sequence[Drawn], null: float) -> Any:
    """Draw sorted estimates over their choices.

    Parameters
    ----------
    term
        The effect.
    held
        Specifications with an estimate, sorted.
    null
        Value of no effect.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that belongs to nobody's global state.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    groups = rows_of(held)
    lines = sum(len(g) for g in groups.values()) + len(groups)
    width = min(max(6.0, 2.6 + 0.11 * len(held)), 13.0)
    heights = [2.8, *([0.2 * lines + 0.2] if groups else [])]
    figure = Figure(figsize=(width, sum(heights) + 0.5), layout=ConstrainedLayoutEngine())
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    _estimates(axes[0, 0], term, held, null)
    if groups:
        _matrix(axes[1, 0], groups, len(held))
    axes[-1, 0].set_xlabel(f"{len(held)} specifications, sorted", fontsize=8.5, color=INK)
    return figure


def _size(count: int) -> float:
    """Diameter of a dot, in points, that leaves neighbours apart."""
    return float(min(6.0, max(1.8, 260.0 / max(count, 1))))


def _estimates(ax: Any, term: str, held: Sequence[Drawn], null: float) -> None:
    size = _size(len(held))
    ax.axhline(null, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for place, s in enumerate(held):
        bounded = s.conf_low is not None and s.conf_high is not None
        if bounded:
            ax.plot(
                [place, place], [s.conf_low, s.conf_high], color=BLUE, alpha=0.45,
                linewidth=max(0.6, size / 3.5), solid_capstyle="butt", zorder=2,
            )  # fmt: skip
        clear = bounded and not (s.conf_low or 0.0) <= null <= (s.conf_high or 0.0)
        ax.plot(
            [place], [s.estimate], marker="o", markersize=size, linestyle="none", zorder=3,
            markerfacecolor=BLUE if clear else "white", markeredgecolor=BLUE,
            markeredgewidth=min(1.2, size / 4.0),
        )  # fmt: skip
    ax.set_ylabel(term, fontsize=9, color=INK, parse_math=False)
    ax.grid(axis="y", color=LINE, linewidth=0.5, alpha=0.6)
    _plain(ax)


def _matrix(ax: Any, groups: Mapping[str, list[tuple[str, list[bool]]]], count: int) -> None:
    size, at = _size(count) * 0.8, 0.0
    ticks: list[tuple[float, str, bool]] = []
    for name, rows in groups.items():
        ticks.append((at, name, True))
        at -= 1.0
        for label, chosen in rows:
            xs = [j for j, yes in enumerate(chosen) if yes]
            off = [j for j, yes in enumerate(chosen) if not yes]
            if count <= 60:
                ax.plot(off, [at] * len(off), "o", color=LINE, markersize=size * 0.45)
            ax.plot(xs, [at] * len(xs), "o", color=INK, markersize=size)
            short = label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
            ticks.append((at, short, False))
            at -= 1.0
    ax.set_ylim(at + 0.3, 0.7)
    ax.set_yticks([t[0] for t in ticks], labels=[t[1] for t in ticks])
    for label, (_, _, head) in zip(ax.get_yticklabels(), ticks, strict=True):
        label.set(parse_math=False, color=INK if head else MUTED, fontsize=8)
        label.set_fontweight("bold" if head else "normal")
    _plain(ax)


def _plain(ax: Any) -> None:
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(LINE)
    ax.tick_params(axis="x", length=0, labelbottom=False)
    ax.tick_params(axis="y", length=0, labelsize=8, colors=MUTED)
    ax.set_axisbelow(True)
