"""What each effect means, in plain words, with the names of the study."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from crossworld.report.terms import Term, same_as
from crossworld.report.words import Words, clean

_Q = "instead of a difference: 1 means no effect."
_SUFFIXES: dict[str, tuple[str, str]] = {
    "ratio": (", as a ratio", f"a quotient of means {_Q}"),
    "odds_ratio": (", as an odds ratio", f"a quotient of odds {_Q}"),
    "excess": (
        ", as part of the excess ratio",
        "a multiple of the mean under the reference level: 0 means no effect.",
    ),
}
Build = Callable[[Words, str], str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A term explained: its full name, a few words for a figure, a sentence or two, other names."""

    term: str
    name: str
    short: str
    text: str
    also: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    short: Build
    text: Build
    also: str = ""


def explain(term: Term, names: Words, *, beside: Collection[str] = ()) -> Meaning:
    """Explain a term.

    Parameters
    ----------
    term
        A term taken apart by `crossworld.report.terms.read`.
    names
        What the study calls its roles.
    beside
        Terms explained on the same page; a ratio refers to its difference there.

    Examples
    --------
    >>> from crossworld.core.table import Effect
    >>> from crossworld.report.terms import read
    >>> row = Effect("nie.ratio", 1.2, 0.1, 1.0, 1.4, 0.05, "log-wald")
    >>> explain(read(row), Words()).name
    'Natural indirect effect, as a ratio'
    """
    entry = _ENTRIES.get(term.base)
    if entry is None:
        return _expression(term, names)
    arguments = clean(term.arguments)
    name, text = entry.name, entry.text(names, arguments)
    if term.suffix and term.kind in _SUFFIXES:
        scale, form = _SUFFIXES[term.kind]
        plain = clean(term.text.removesuffix("()").removesuffix(f".{term.suffix}"))
        name = f"{name}{scale}"
        text = f"As {plain}, but given as {form}" if plain in beside else f"{text} Given as {form}"
    if term.site:
        name, text = f"{name}, at one site", f"{text} Here only {clean(term.site)} is changed."
    return Meaning(clean(term.text), name, entry.short(names, arguments), text, entry.also)


def _expression(term: Term, names: Words) -> Meaning:
    known = same_as(term.text)
    asked = f"A quantity written in cells: {clean(term.expression or term.text)}."
    if term.expression is None:
        return Meaning(
            clean(term.text),
            "Own effect",
            "defined by the user",
            "An effect defined by the user under this name; this result does not hold its formula.",
        )
    same = f" It is the same quantity as {known}." if known else ""
    return Meaning(
        clean(term.text),
        _ENTRIES[known].name if known else "Expression in cells",
        _ENTRIES[known].short(names, "") if known else "",
        f"{asked} Y(a, M(b)) is the mean of {names.outcome} if every {names.unit} had level a of "
        f"{names.treatment} and {names.mediator} took the value it would have had under level b; "
        f"0 is {names.low} and 1 is {names.high}.{same}",
    )


def _through(w: Words, arguments: str) -> str:
    return f"indirect, through {w.mediator}"


def _past(w: Words, arguments: str) -> str:
    return f"direct, not through {w.mediator}"


def _te(w: Words, arguments: str) -> str:
    return (
        f"The change in the mean of {w.outcome} when, for every {w.unit}, {w.change}, by whatever "
        "route."
    )


def _direct(w: Words, kept: str) -> str:
    return (
        f"The change in the mean of {w.outcome} when {w.change} while, for every {w.unit}, "
        f"{w.keep} under {kept}: the part of the effect that does not go through {w.mediator}."
    )


def _indirect(w: Words, held: str) -> str:
    return (
        f"The change in the mean of {w.outcome} when {w.treatment} stays fixed ({held}) and, for "
        f"every {w.unit}, only {w.move} under {w.low} to {'those' if w.plural else 'that'} under "
        f"{w.high}: the part of the effect that goes through {w.mediator}."
    )


def _pm(w: Words, arguments: str) -> str:
    return (
        f"The share of the total effect that goes through {w.mediator}: nie divided by te. It has "
        "little meaning when te may be 0, or when the direct and the indirect effect have "
        "opposite signs."
    )


def _cde(w: Words, arguments: str) -> str:
    return (
        f"The change in the mean of {w.outcome} when {w.change} while {w.are} set to the same "
        f"value for every {w.unit} ({_held(arguments)})."
    )


def _held(arguments: str) -> str:
    return arguments or "0"


def _ide(w: Words, arguments: str) -> str:
    return (
        f"As the direct effect, but {w.are} drawn at random, for every {w.unit}, from the "
        f"values that {w.unit}s with the same covariates have under {w.low}. It stays meaningful "
        "when the treatment affects a confounder of mediator and outcome."
    )


def _iie(w: Words, arguments: str) -> str:
    return (
        f"As the indirect effect, but {w.are} drawn at random from the values that "
        f"{w.unit}s with the same covariates have: first under {w.low}, then under {w.high}."
    )


def _oe(w: Words, arguments: str) -> str:
    return (
        "The sum of the interventional direct and indirect effects. It need not equal the total "
        "effect."
    )


def _int_ref(w: Words, arguments: str) -> str:
    return (
        f"The part that needs {w.treatment} and {w.mediator} to act together, with {w.mediator} as "
        f"under {w.low}: nde - cde({_held(arguments)})."
    )


def _int_med(w: Words, arguments: str) -> str:
    return (
        f"The part that needs {w.treatment} and {w.mediator} to act together, and "
        f"{w.treatment} to move {w.mediator} first: te - nde - pnie."
    )


def _pse(w: Words, arguments: str) -> str:
    mediator, _, kind = (part.strip() for part in arguments.partition(","))
    second = kind.replace(" ", "") == "type=2"
    before, after = (w.high, w.low) if second else (w.low, w.high)
    return (
        f"The part of the effect on {w.outcome} that enters through {mediator}: only {mediator} "
        f"moves, from its value under {w.low} to its value under {w.high}; mediators before it "
        f"stay as under {before}, everything after it as under {after}."
    )


_ENTRIES: dict[str, _Entry] = {
    "te": _Entry("Total effect", lambda w, a: "total, by any route", _te),
    "nde": _Entry(
        "Natural direct effect",
        _past,
        lambda w, a: _direct(w, w.low),
        "pure direct effect; ADE (control)",
    ),
    "tnde": _Entry(
        "Total natural direct effect",
        _past,
        lambda w, a: _direct(w, w.high),
        "total direct effect; ADE (treated)",
    ),
    "nie": _Entry(
        "Natural indirect effect",
        _through,
        lambda w, a: _indirect(w, w.high),
        "total indirect effect; ACME (treated)",
    ),
    "pnie": _Entry(
        "Pure natural indirect effect",
        _through,
        lambda w, a: _indirect(w, w.low),
        "pure indirect effect; ACME (control)",
    ),
    "pm": _Entry("Proportion mediated", lambda w, a: f"share through {w.mediator}", _pm),
    "cde": _Entry(
        "Controlled direct effect", lambda w, a: f"direct, {w.mediator} held at {_held(a)}", _cde
    ),
    "ide": _Entry(
        "Interventional direct effect", _past, _ide, "randomised interventional analogue"
    ),
    "iie": _Entry(
        "Interventional indirect effect", _through, _iie, "randomised interventional analogue"
    ),
    "oe": _Entry("Interventional overall effect", lambda w, a: "overall, interventional", _oe),
    "int_ref": _Entry("Reference interaction", lambda w, a: "interaction, not mediated", _int_ref),
    "int_med": _Entry("Mediated interaction", lambda w, a: "interaction, mediated", _int_med),
    "pse": _Entry(
        "Path-specific effect", lambda w, a: f"through {a.partition(',')[0].strip()}", _pse
    ),
}
