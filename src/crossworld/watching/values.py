"""The values that watching is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crossworld.errors import SpecError
from crossworld.watching.source import Position, Rows
from crossworld.watching.windows import Windows

SCHEMA = "crossworld-watch/1"


@dataclass(frozen=True, slots=True)
class Watching:
    """One effect in one window.

    ``log_e`` is the logarithm of the evidence against the reference after this window, None where
    the window is not compared: it is the reference, shares rows with one that was compared, or
    the effect is a quotient without a comparable error. ``since`` is the number of the window in
    which the most likely shift began, ``shift`` its size (on the log scale for ratios).
    """

    term: str
    estimate: float | None
    std_error: float | None
    conf_low: float | None
    conf_high: float | None
    p_value: float | None
    log_e: float | None = None
    since: int | None = None
    shift: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """One window: where it starts and ends (end exclusive), and what was estimated in it.

    ``failed`` says why there is no estimate; ``apart`` is True where the window shares no row with
    the reference or an earlier window that is apart, so that it is compared with them; ``df`` are
    the degrees of freedom of its standard errors.
    """

    index: int
    start: float
    end: float
    n_units: int
    apart: bool
    effects: tuple[Watching, ...] = ()
    df: float = math.inf
    models: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failed: str | None = None

    def effect(self, term: str) -> Watching | None:
        """Return one effect, None when the window has no estimate of it."""
        return next((e for e in self.effects if e.term == term), None)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Where the evidence about one effect stands.

    Parameters
    ----------
    term
        The effect.
    raised
        Whether it has ever reached the threshold; an alarm is never taken back.
    at
        Number of the window that raised it.
    since
        Number of the window in which the most likely shift began, by the latest evidence.
    shift
        Mean since then minus the mean before (of the logarithm, for ratios).
    e_value
        The latest evidence; the largest float when it is larger.
    reference
        Estimate in the reference.
    """

    term: str
    raised: bool
    at: int | None
    since: int | None
    shift: float | None
    e_value: float
    reference: float | None


@dataclass(frozen=True, slots=True)
class Setup:
    """What is watched, and how.

    Parameters
    ----------
    document
        The spec.
    folder
        Where its data path starts.
    windows
        How the table is cut.
    alpha
        Probability that any alarm is ever raised while no effect moves.
    reference
        Estimate, standard error and its degrees of freedom by term, or None: the first window.
    """

    document: Mapping[str, Any]
    folder: str
    windows: Windows
    alpha: float = 0.05
    reference: Mapping[str, tuple[float, float, float]] | None = None

    @property
    def reasoning(self) -> bool:
        """Whether the units are questions."""
        return bool(self.document["study"].get("kind", "table") == "reasoning")

    @property
    def unit(self) -> str:
        """What is counted."""
        return "questions" if self.reasoning else "rows"

    def told(self) -> dict[str, Any]:
        """Return everything that a state has to agree on."""
        held = self.reference
        told = None if held is None else {t: [_finite(x) for x in v] for t, v in held.items()}
        return {
            "spec": json.loads(json.dumps(self.document, default=str)),
            "window": self.windows.told(),
            "alpha": self.alpha,
            "reference": told,
        }


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the stream was cut.

    Parameters
    ----------
    position
        How far the file was read.
    pending
        Rows that are still needed.
    start
        Where the next window starts; None before the first row, when time is cut.
    base
        Questions that were settled and are no longer needed.
    dates
        Whether times are dates, so that they are shown as such.
    late
        Rows that came after their windows were closed.
    unfinished
        Bytes of a last line that is not finished.
    """

    position: Position = field(default_factory=Position)
    pending: Rows = field(default_factory=Rows)
    start: float | None = None
    base: int = 0
    dates: bool = False
    late: int = 0
    unfinished: int = 0


def promise(alpha: float) -> str:
    """Say which rate of false alarms is meant."""
    return (
        f"while no watched effect moves, the probability that any alarm is ever raised is at most "
        f"{alpha:g}, however long it is watched"
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def window_told(window: Window) -> dict[str, Any]:
    """Return a window as plain values."""
    told = asdict(window)
    told["df"] = _finite(window.df)
    return told


def read_window(told: Mapping[str, Any]) -> Window:
    """Read a window back from `window_told`."""
    try:
        held = dict(told)
        held["effects"] = tuple(Watching(**e) for e in held["effects"])
        held["warnings"] = tuple(held["warnings"])
        held["df"] = math.inf if held["df"] is None else held["df"]
        return Window(**held)
    except (TypeError, KeyError) as error:
        raise SpecError(f"the state holds a window that cannot be read: {error!r}") from None
