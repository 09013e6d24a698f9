"""Attempts to break the answer: one line per check for a quick look, one row per effect below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crossworld.core.table import number
from crossworld.report.background import shown

VERDICTS = ("held", "did not hold", "no verdict")
_CHANGES = {
    "placebo": "the treatment dealt out at random",
    "placebo-mediator": "the mediators dealt out at random",
    "dummy-outcome": "the outcome dealt out at random",
    "random-common-cause": "a covariate added that is pure chance",
    "subset": "parts of the data only",
    "noisy-covariates": "covariates measured with more error",
    "overlap": "are there comparable units in both groups?",
    "unmeasured-confounder": "a confounder simulated at every strength",
    "misspecification": "do the models leave anything out?",
    "identifying-assumptions": "what suspected instruments imply",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One attempt to break the answer."""

    name: str
    term: str
    verdict: str
    original: str
    refuted: str
    detail: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one check says of all effects: which held, which did not."""

    name: str
    change: str
    verdicts: tuple[tuple[str, str], ...]


def checks(refutations: Iterable[Mapping[str, Any]]) -> tuple[Check, ...]:
    """Write refutations for people."""
    return tuple(_check(held) for held in refutations)


def attempts(held: Iterable[Check]) -> tuple[Attempt, ...]:
    """Gather checks by name; failures come first.

    Examples
    --------
    >>> rows = checks([{"name": "subset", "term": t, "passed": p} for t, p in
    ...                (("te", True), ("nde", True), ("nie", False))])
    >>> attempts(rows)[0].verdicts
    (('did not hold', 'nie'), ('held', 'te, nde'))
    """
    found: dict[str, dict[str, list[str]]] = {}
    for one in held:
        found.setdefault(one.name, {}).setdefault(one.verdict, []).append(one.term)
    order = ("did not hold", "held", "no verdict")
    return tuple(
        Attempt(
            name,
            _CHANGES.get(name, ""),
            tuple((v, _terms(told[v], sum(map(len, told.values())))) for v in order if v in told),
        )
        for name, told in found.items()
    )


def tally(held: Iterable[Check]) -> str:
    """Count the checks in a sentence.

    Examples
    --------
    >>> tally(checks([{"name": "subset", "term": "te", "passed": True}]))
    'Of 1 check, 1 held, 0 did not hold, 0 gave no verdict.'
    """
    rows = list(held)
    counts = [sum(one.verdict == v for one in rows) for v in VERDICTS]
    plural = "check" if len(rows) == 1 else "checks"
    return (
        f"Of {len(rows)} {plural}, {counts[0]} held, {counts[1]} did not hold, "
        f"{counts[2]} gave no verdict."
    )


def status(held: Iterable[Check], name: str) -> str:
    """What a check by this name found, or '' when it was not made."""
    verdicts = {one.verdict for one in held if one.name == name}
    if not verdicts:
        return ""
    return next(v for v in ("did not hold", "no verdict", "held") if v in verdicts)


def _terms(terms: list[str], total: int) -> str:
    """Name the effects; a check that is not about effects is counted."""
    named = [t for t in terms if t and t != "not recorded"]
    if not named:
        return f"{len(terms)} of {total}" if total > 1 else ""
    return ", ".join(named) if len(named) <= 12 else f"{', '.join(named[:10])}, ... ({len(named)})"


def _check(held: Mapping[str, Any]) -> Check:
    passed = held.get("passed")
    verdict = "no verdict" if passed is None else "held" if passed else "did not hold"
    return Check(
        shown(held.get("name")),
        shown(held.get("term")),
        verdict,
        _figure(held.get("original")),
        _figure(held.get("refuted")),
        " ".join(filter(None, (shown(held.get(k), none="") for k in ("detail", "shows")))),
    )


def _figure(value: object) -> str:
    return number(value) if isinstance(value, int | float) else shown(value)
