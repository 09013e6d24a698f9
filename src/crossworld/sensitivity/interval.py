"""Effects that are known up to an interval: what several analyses hand back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical
from crossworld.errors import SpecError
from crossworld.sensitivity.tabular import aligned, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """An effect's least and largest value, with confidence limits.

    Parameters
    ----------
    term
        The effect's name.
    low, high
        The ends, with their influence.
    reason
        Why an end is what it is, where that needs saying.
    """

    term: str
    low: Estimate
    high: Estimate
    reason: str = ""

    def limits(self, level: float = 0.95) -> tuple[float, float]:
        """Interval that holds both ends, hence the effect, with probability ``level``."""
        z = critical(level, self.low.df)
        return self.low.value - z * self.low.std_error, self.high.value + z * self.high.std_error


@dataclass(frozen=True, slots=True, eq=False)
class BoundsTable:
    """Bounds on effects and what they rest on.

    Parameters
    ----------
    bounds
        One per question.
    level
        Confidence level of the limits.
    title, heading
        The method and the study, a line each.
    assumptions
        What has to hold for the bounds to be valid, in words.
    settings
        Numbers that went in.
    warnings
        What the fit wants told.
    """

    bounds: tuple[Bounds, ...]
    level: float
    title: str
    heading: str = ""
    assumptions: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __getitem__(self, term: str) -> Bounds:
        for held in self.bounds:
            if held.term == term:
                return held
        raise SpecError.unknown("effect", term, [b.term for b in self.bounds])

    def rows(self) -> list[dict[str, Any]]:
        """One row per effect."""
        found = []
        for held in self.bounds:
            low, high = held.limits(self.level)
            found.append(
                {
                    "term": held.term,
                    "bound_low": held.low.value,
                    "bound_high": held.high.value,
                    "limit_low": low,
                    "limit_high": high,
                    "reason": held.reason,
                }
            )
        return found

    def to_frame(self) -> Any:
        """Rows as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        found = {"title": self.title, "level": self.level, "effects": self.rows()}
        found |= {"assumptions": self.assumptions, "settings": dict(self.settings)}
        return {str(k): plain(v) for k, v in (found | {"warnings": self.warnings}).items()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Bounds as bars, limits as lines, one row per effect."""
        from matplotlib import pyplot as plt

        ax = plt.subplots(figsize=(5.6, 1.0 + 0.5 * len(self.bounds)))[1] if ax is None else ax
        for j, row in enumerate(reversed(self.rows())):
            ax.plot([row["limit_low"], row["limit_high"]], [j, j], color="#76808c", lw=1.5)
            ax.plot(
                [row["bound_low"], row["bound_high"]],
                [j, j],
                color="#1f86c7",
                lw=7,
                solid_capstyle="butt",
            )
        ax.axvline(0.0, color="#76808c", lw=0.8, ls=":")
        ax.set_yticks(range(len(self.bounds)), [b.term for b in reversed(self.bounds)])
        ax.set_ylim(-0.6, len(self.bounds) - 0.4)
        ax.set_title(self.title, loc="left")
        return ax

    def __str__(self) -> str:
        columns = ("term", "bound_low", "bound_high", "limit_low", "limit_high")
        lines = [f"{self.title}; limits at {self.level:.0%}", self.heading]
        lines += [aligned(self.rows(), columns)]
        lines += [f"{b.term}: {b.reason}" for b in self.bounds if b.reason]
        lines += [f"assumes: {text}" for text in self.assumptions]
        return "\n".join([*(line for line in lines if line), *self.warnings])
