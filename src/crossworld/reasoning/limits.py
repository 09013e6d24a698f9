"""How hard a model is asked, when to stop, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from crossworld.errors import SpecError


class Progress(Protocol):
    """Told after every call."""

    def __call__(self, done: int, total: int, cost: float) -> None:
        """Take the calls in the log, the calls of the plan, and what they cost so far."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard a model is asked, and when to stop.

    Parameters
    ----------
    concurrency
        Calls in flight at once.
    retries
        Attempts after the first that a failed call is given.
    timeout
        Seconds an attempt may take.
    backoff
        Seconds of the first wait and of the longest; waits double and are jittered between half
        and all of their length. A server's own retry-after is waited out, by every call.
    ceiling
        Most the whole plan may cost, earlier collecting included; a call is only made if the
        dearest call so far would still fit. None: no ceiling.
    prices
        Price of a million tokens in and out, for models that do not report a price.
    grace
        Seconds that answers in flight are waited for after an interruption.

    Raises
    ------
    SpecError
        If a number is out of range.
    """

    concurrency: int = 16
    retries: int = 6
    timeout: float = 120.0
    backoff: tuple[float, float] = (0.5, 60.0)
    ceiling: float | None = None
    prices: tuple[float, float] | None = None
    grace: float = 30.0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("concurrency", self.concurrency, 1),
            ("retries", self.retries, 0),
            ("grace", self.grace, 0),
            ("timeout", self.timeout, 1e-3),
            ("ceiling", self.ceiling or 0, 0),
        ):
            if not value >= least:
                raise SpecError(f"{name} must be at least {least:g}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of a plan.

    Parameters
    ----------
    total, held, made
        Calls of the plan, how many of them the log now holds, and how many of those are new.
    cost
        What all of them cost; calls whose price is unknown count nothing.
    failed
        Readouts that got no answer, with the reason.
    inapplicable
        Readouts whose edit does not apply to their trace, with the reason.
    snapshots
        Model snapshots that answered, with their number of calls.
    stopped
        Why collecting stopped early, None when it did not.
    """

    total: int
    held: int
    made: int
    cost: float
    failed: tuple[tuple[str, str], ...] = ()
    inapplicable: tuple[tuple[str, str], ...] = ()
    snapshots: dict[str, int] = field(default_factory=dict)
    stopped: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to ask."""
        return self.held + len(self.inapplicable) == self.total
