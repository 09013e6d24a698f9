"""Why an estimand has an answer, under which assumptions, or why it has none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Assumption:
    """One assumption in words, and whether anything could contradict it.

    Parameters
    ----------
    name, statement
        The assumption, in short and in full.
    testable
        Whether some experiment or test could show it to be wrong.
    decided_by
        That experiment or test; where there is none, why.
    """

    name: str
    statement: str
    testable: bool = False
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class Identification:
    """Licence to estimate.

    Parameters
    ----------
    identified
        Whether every cell can be written as a functional of what is observed.
    by
        ``"adjustment"`` (assumptions carry the weight), ``"experiment"`` (the cells were run),
        ``"front-door"``, or ``"g-formula"`` (another functional that the graph gives); None when
        not identified.
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
    sets
        Every minimal adjustment set, smallest first; of ``adjust`` the first.
    efficient
        The set with the smallest asymptotic variance whatever the law, where the graph can tell.
    graph
        The graph it rests on, as text with the roles marked.
    """

    identified: bool
    by: Literal["adjustment", "experiment", "front-door", "g-formula"] | None
    adjust: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    formula: str | None = None
    reason: str | None = None
    offending: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    efficient: tuple[str, ...] | None = None
    graph: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)
