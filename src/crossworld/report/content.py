"""What a report says, before it is HTML or Markdown: plain text, in the order it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossworld.core.graph.dag import Graph
from crossworld.core.table import Effect, EffectTable, number, probability
from crossworld.errors import DesignError
from crossworld.report.answer import Answer, answer, interval_name
from crossworld.report.attempts import Attempt, Check, attempts, checks, status, tally
from crossworld.report.background import (
    Background,
    Pairs,
    background,
    count,
    label,
    method_name,
    pairs,
    shown,
)
from crossworld.report.glossary import Meaning, explain
from crossworld.report.shown import Section, sections, story
from crossworld.report.terms import read
from crossworld.report.words import Words, clean, listed, words

_METHODS = {
    "wald": "Wald",
    "log-wald": "Wald, log scale",
    "fieller": "Fieller",
    "simultaneous": "simultaneous (max-t)",
    "percentile": "bootstrap percentile",
    "bca": "bootstrap BCa",
    "simulation": "simulation",
}
_TESTABLE = {
    True: "Testable: data could contradict it.",
    False: "Not testable with these data.",
}
_CHECKED_BY = {"positivity": "overlap"}  # assumptions that a refuter looks at
_BADGES = {
    "held": "checked: held",
    "did not hold": "checked: did not hold",
    "no verdict": "checked: no verdict",
}
_SHOWN_ELSEWHERE = (
    "warnings",
    "n_units",
    "n_clusters",
    "failed_replicates",
    "overlap",
    "level",
    "heading",
    "models",
    "exhibits",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the effects table, written for people."""

    term: str
    name: str
    estimate: str
    std_error: str
    interval: str
    p_value: str
    method: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One assumption, whether anything could contradict it, and what."""

    name: str
    statement: str
    testable: bool
    verdict: str
    badge: str


@dataclass(frozen=True, slots=True)
class Licence:
    """Why the numbers may be read as effects."""

    lead: str
    adjust: str
    claims: tuple[Claim, ...]
    formulas: tuple[str, ...]
    graph: Graph | None


@dataclass(frozen=True, slots=True)
class Page:
    """Everything a report says, in reading order."""

    words: Words
    title: str
    question: str
    story: tuple[str, ...]
    answer: Answer
    caution: str
    warnings: tuple[str, ...]
    facts: Pairs
    interval: str
    caption: str
    rows: tuple[Row, ...]
    meanings: tuple[Meaning, ...]
    licence: Licence | None
    diagnostics: Pairs
    models: Pairs
    other_diagnostics: Pairs
    checks: tuple[Check, ...]
    attempts: tuple[Attempt, ...]
    tally: str
    sections: Mapping[str, Section]
    background: Background


def page(table: EffectTable) -> Page:
    """Collect what a report says about a result.

    Parameters
    ----------
    table
        A result, fresh or read from a file; both give the same page.

    Examples
    --------
    >>> from crossworld.core.table import Effect, EffectTable
    >>> held = page(EffectTable((Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),), 0.95))
    >>> held.rows[0].name, held.rows[0].interval
    ('Total effect', '0.0000 to 2.0000')
    """
    document = table.to_dict()
    spec, told = document["spec"], document["diagnostics"]
    names = words(spec)
    asked = {clean(row.term) for row in table}
    meanings = tuple(explain(read(r, table.estimands), names, beside=asked) for r in table)
    checked = checks(document["refutations"])
    licence = _licence(document["identification"], checked)
    exhibits = table.exhibits
    told_by = story(exhibits)
    return Page(
        words=names,
        title=clean(told_by.title) if told_by and told_by.title else names.title,
        question=clean(told_by.question) if told_by else names.question,
        story=tuple(map(clean, told_by.text)) if told_by else (),
        answer=answer(table, names),
        caution=_caution(document["identification"]),
        warnings=tuple(clean(text) for text in table.warnings),
        facts=_facts(table, spec, told, names),
        interval=interval_name(table.level),
        caption=f"Effects of {names.treatment} on {names.outcome}",
        rows=tuple(_row(row, m.name) for row, m in zip(table, meanings, strict=True)),
        meanings=meanings,
        licence=licence,
        diagnostics=_diagnostics(told, names),
        models=pairs(told.get("models")),
        other_diagnostics=pairs(
            {label(k): v for k, v in told.items() if k not in _SHOWN_ELSEWHERE}
        ),
        checks=checked,
        attempts=attempts(checked),
        tally=tally(checked) if checked else "",
        sections=sections(exhibits),
        background=background(spec, document["provenance"]),
    )


def row_text(table: EffectTable) -> tuple[Row, ...]:
    """Write the rows alone, for a short rendering."""
    names = words(table.spec)
    return tuple(_row(row, explain(read(row, table.estimands), names).name) for row in table)


def limits(row: Effect) -> str:
    """Write an interval in words, also where a limit does not exist.

    Examples
    --------
    >>> limits(Effect("pm", 0.3, 0.9, None, None, 0.4, "fieller"))
    'unbounded'
    """
    low, high = row.conf_low, row.conf_high
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    if low is not None:
        return f"{number(low)} or more"
    if high is not None:
        return f"{number(high)} or less"
    return "unbounded" if row.conf_method == "fieller" else "not available"


def _row(row: Effect, name: str) -> Row:
    def text(value: float | None) -> str:
        return "not available" if value is None else number(value)

    p_value = "not available" if row.p_value is None else probability(row.p_value)
    method = _METHODS.get(row.conf_method, shown(row.conf_method))
    return Row(
        clean(row.term), name, text(row.estimate), text(row.std_error), limits(row), p_value, method
    )


def _facts(
    table: EffectTable, spec: Mapping[str, Any], told: Mapping[str, Any], names: Words
) -> Pairs:
    found = [("Compared", f"{names.high} with {names.low} (the reference)")]
    study = spec.get("study")
    if isinstance(study, Mapping) and "adjust" in study:
        adjust = [clean(name) for name in study["adjust"] or ()]
        found.append(("Adjusted for", listed(adjust, shown=12) or "nothing"))
        later = [clean(name) for name in study.get("intermediate") or ()]
        if later:
            found.append(("Affected by treatment, confounding", listed(later, shown=12)))
    if told.get("n_units") is not None:
        found.append(("Sample", _sample(told, names)))
    if "estimator" in spec:
        found.append(("Method", method_name(spec["estimator"])))
    by = method_name(spec["inference"]) if spec.get("inference") else ""
    found.append(("Intervals", ", ".join(filter(None, (f"{table.level * 100:g}%", by)))))
    return tuple(found)


def _sample(told: Mapping[str, Any], names: Words) -> str:
    units, clusters = told.get("n_units"), told.get("n_clusters")
    text = f"{count(units)} {names.unit}s"
    if clusters is not None and clusters != units:
        text += f" in {count(clusters)} clusters"
    return text


def _caution(identification: Mapping[str, Any]) -> str:
    by = identification.get("by")
    if by in ("adjustment", "front-door", "g-formula"):
        return "This reading is causal only if the assumptions listed below hold."
    if by == "experiment":
        return "The conditions compared here were run, not inferred from observations."
    return ""


def _licence(identification: Mapping[str, Any], checked: tuple[Check, ...]) -> Licence | None:
    if not identification:
        return None
    adjust = [clean(name) for name in identification.get("adjust") or ()]
    if not identification.get("identified", True):
        reason = clean(identification.get("reason") or "the effect is not identified")
        lead = f"Not identified: {reason}."
    elif identification.get("by") in ("front-door", "g-formula"):
        lead = (
            "By a formula that the graph gives: these numbers are effects only if every assumption "
            "below holds."
        )
    elif identification.get("by") == "experiment":
        lead = "By experiment: the conditions compared were run, so few assumptions are needed."
    else:
        lead = (
            "By adjustment: these numbers are effects only if every assumption below holds. Where "
            "data cannot speak, knowledge of how the data came about has to."
        )
    claims = tuple(_claim(c, checked) for c in identification.get("assumptions") or ())
    conditions = listed(adjust, shown=40)
    if not conditions and identification.get("by") == "adjustment":
        conditions = "nothing"
    formulas = str(identification.get("formula") or "").split(r",\qquad")
    written = tuple(clean(f) for f in formulas if f.strip())
    return Licence(lead, conditions, claims, written, _graph(identification.get("graph")))


def _claim(held: Mapping[str, Any], checked: tuple[Check, ...]) -> Claim:
    name = clean(held.get("name", ""))
    found = status(checked, _CHECKED_BY.get(name.lower(), ""))
    testable, by = bool(held.get("testable")), clean(held.get("decided_by") or "")
    verdict = f"{'Testable' if testable else 'Not testable'}: {_sentence(by)}"
    needed = "needs an experiment" if by.startswith("an experiment") else "can be checked"
    badge = _BADGES[found] if found else needed if testable else "taken on trust"
    return Claim(
        name,
        _sentence(held.get("statement", "")),
        testable,
        verdict if by else _TESTABLE[testable],
        badge,
    )


def _graph(text: object) -> Graph | None:
    """Read the graph of a result; a text that is no graph is not drawn."""
    try:
        return Graph.parse(text) if isinstance(text, str) else None
    except DesignError:
        return None


def _sentence(text: object) -> str:
    return f"{clean(text).rstrip('.')}."


def _diagnostics(told: Mapping[str, Any], names: Words) -> Pairs:
    found = [(f"{names.unit.capitalize()}s", count(told.get("n_units")))]
    if told.get("n_clusters") != told.get("n_units"):
        found.append(("Clusters", count(told.get("n_clusters"))))
    found.append(("Failed replicates", count(told.get("failed_replicates"))))
    overlap = told.get("overlap")
    if isinstance(overlap, Mapping):
        return (*found, *((f"Overlap, {label(k).lower()}", v) for k, v in pairs(overlap)))
    return (*found, ("Overlap", shown(overlap, none="not reported by this method")))
