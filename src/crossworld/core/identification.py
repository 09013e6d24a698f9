"""Why an estimand has an answer, under which assumptions, or why it has none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Assumption:
    """One assumption in words, and whether data could contradict it."""

    name: str
    statement: str
    testable: bool = False


@dataclass(frozen=True, slots=True)
class Identification:
    """Licence to estimate.

    Parameters
    ----------
    identified
        Whether every cell can be written as a functional of what is observed.
    by
        ``"adjustment"`` (assumptions carry the weight) or ``"experiment"`` (the cells were run).
    adjust
        The covariates the formula conditions on.
    assumptions
        What has to hold.
    formula
        LaTeX of the identifying functional, where there is one.
    reason
        Why not, when not identified.
    offending
        The columns that stand in the way.
    instead
        Names of effects that are identified from the same design.
    """

    identified: bool
    by: Literal["adjustment", "experiment"]
    adjust: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    formula: str | None = None
    reason: str | None = None
    offending: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)
