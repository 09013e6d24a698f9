"""What the treatment, the mediator and the outcome of a study are called in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# control characters, line separators, and signs that turn the direction of what follows
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Words:
    """Names to build sentences from; every field reads well in the middle of one.

    Parameters
    ----------
    title
        What the study is called at the head of a page.
    treatment, mediator, outcome
        The three roles.
    low, high
        The reference and the active condition, as in "under treat = 0".
    change
        The move from the first to the second, as a clause: "treat moves from 0 to 1".
    unit
        One unit of the study.
    plural
        Whether the mediator takes a plural verb.
    """

    title: str = "Mediation analysis"
    treatment: str = "the treatment"
    mediator: str = "the mediator"
    outcome: str = "the outcome"
    low: str = "the reference level"
    high: str = "the active level"
    change: str = "the treatment moves from the reference to the active level"
    unit: str = "unit"
    plural: bool = False

    @property
    def question(self) -> str:
        """What a mediation analysis asks of these roles."""
        return (
            f"How much of the effect of {self.treatment} on {self.outcome} goes through "
            f"{self.mediator}?"
        )

    @property
    def keep(self) -> str:
        """The mediator as the subject of "keeps the value it would have had"."""
        verb = "keep the values they" if self.plural else "keeps the value it"
        return f"{self.mediator} {verb} would have had"

    @property
    def move(self) -> str:
        """The mediator as the subject of "moves from the value it would have had"."""
        verb = "move from the values they" if self.plural else "moves from the value it"
        return f"{self.mediator} {verb} would have had"

    @property
    def are(self) -> str:
        """The mediator with its verb."""
        return f"{self.mediator} {'are' if self.plural else 'is'}"


def words(spec: Mapping[str, Any]) -> Words:
    """Read the names out of a spec; what it does not say gets a general name.

    Parameters
    ----------
    spec
        The ``spec`` of a result document.

    Examples
    --------
    >>> w = words({"study": {"kind": "table", "path": "treat -> job_seek -> depress2"}})
    >>> w.title, w.mediator, w.low
    ('treat → job_seek → depress2', 'job_seek', 'treat = 0')
    """
    study = spec.get("study")
    if not isinstance(study, Mapping):
        return Words()
    return _KINDS.get(str(study.get("kind", "table")), _table)(study)


def clean(text: object) -> str:
    """Return text on one line, without control characters."""
    return " ".join(_CONTROL.sub(" ", str(text)).split())


def listed(names: Sequence[str], *, shown: int = _SHOWN) -> str:
    """Join names as in a sentence; long lists are cut and counted.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) > shown:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _table(study: Mapping[str, Any]) -> Words:
    parts = [clean(part) for part in str(study.get("path", "")).split("->")]
    if len(parts) < 3 or not all(parts):
        return Words()
    treatment, outcome = parts[0], parts[-1]
    mediators = [clean(name) for part in parts[1:-1] for name in part.split("+")]
    low, high = _levels(study)
    return Words(
        " → ".join(parts),
        treatment,
        listed(mediators),
        outcome,
        f"{treatment} = {low}",
        f"{treatment} = {high}",
        f"{treatment} moves from {low} to {high}",
        plural=len(mediators) > 1,
    )


def _reasoning(study: Mapping[str, Any]) -> Words:
    outcome = clean(study.get("outcome", "the answer"))
    low, high = _levels(study)
    return Words(
        f"prompt → reasoning → {outcome}",
        "the prompt",
        "the reasoning",
        outcome,
        f"prompt {low}",
        f"prompt {high}",
        f"the prompt changes from {low} to {high}",
        "question",
    )


def _internals(study: Mapping[str, Any]) -> Words:
    metric = clean(study.get("metric", "the metric")).replace("_", " ")
    return Words(
        f"input → activations → {metric}",
        "the input",
        "the activations at the sites",
        metric,
        "the clean input",
        "the corrupt input",
        "the corrupt input replaces the clean one",
        "pair",
        plural=True,
    )


def _levels(study: Mapping[str, Any]) -> tuple[str, str]:
    levels = study.get("levels")
    if not isinstance(levels, Sequence) or isinstance(levels, str) or len(levels) != 2:
        return "0", "1"
    low, high = (f"{v:g}" if isinstance(v, float) else clean(v) for v in levels)
    return low, high


_KINDS: dict[str, Callable[[Mapping[str, Any]], Words]] = {
    "table": _table,
    "reasoning": _reasoning,
    "internals": _internals,
}
