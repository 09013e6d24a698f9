"""What a term asks for, and which terms can stand on one axis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from crossworld.core.effects import CONSTANTS, FUNCTIONS
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Expr, Op
from crossworld.core.parse import SCALES, estimand
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import CrossworldError
from crossworld.report.words import Words

Kind = Literal[
    "difference", "probability", "share", "ratio", "odds_ratio", "excess", "level", "other"
]

_SITE = re.compile(r"^(?P<term>[^\[\]]+)\[(?P<site>.*)\]$", re.DOTALL)
_NAME = re.compile(rf"^([a-z_]+)(?:\((.*)\))?(?:\.({'|'.join(SCALES)})(?:\(\))?)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis: what it shows, where no effect lies on it, and whether it is logarithmic."""

    title: str
    null: float | None
    log: bool = False


SCALE: dict[Kind, Scale] = {
    "difference": Scale("Difference in {outcome}", 0.0),
    "probability": Scale("Difference in probability", 0.0),
    "share": Scale("Proportion, 1 is all of the total effect", 0.0),
    "ratio": Scale("Ratio of {outcome}, logarithmic axis", 1.0, True),
    "odds_ratio": Scale("Odds ratio of {outcome}, logarithmic axis", 1.0, True),
    "excess": Scale("Part of the excess ratio", 0.0),
    "level": Scale("Level of {outcome}", None),
    "other": Scale("Other quantities", None),
}


@dataclass(frozen=True, slots=True)
class Term:
    """A term taken apart.

    Parameters
    ----------
    text
        The term as asked.
    base
        The shipped effect it is built on, or '' when it is an expression or the user's own.
    arguments
        What stands in its brackets, as typed.
    suffix
        ``ratio``, ``odds_ratio``, ``excess_ratio`` or ''.
    site
        The part of a sweep it belongs to, or ''.
    kind
        The scale it is drawn on.
    expression
        The cells it stands for, where they are known.
    """

    text: str
    base: str
    arguments: str
    suffix: str
    site: str
    kind: Kind
    expression: str | None

    @property
    def null(self) -> float | None:
        """The value of no effect, where there is one."""
        return SCALE[self.kind].null


@dataclass(frozen=True, slots=True)
class Panel:
    """The rows that share an axis."""

    kind: Kind
    title: str
    null: float | None
    log: bool
    rows: tuple[Effect, ...]


def read(row: Effect, estimands: Sequence[Estimand] = ()) -> Term:
    """Take a row's term apart.

    Parameters
    ----------
    row
        A row of a table.
    estimands
        The questions behind the table; empty when it was read from a file.

    Examples
    --------
    >>> t = read(Effect("cde(m=3).ratio", 1.2, 0.1, 1.0, 1.4, 0.05, "log-wald"))
    >>> t.base, t.arguments, t.kind, t.null
    ('cde', 'm=3', 'ratio', 1.0)
    """
    text, site = row.term, ""
    swept = _SITE.match(text)
    if swept:
        text, site = swept["term"], swept["site"]
    question = next((e for e in estimands if e.name == row.term), None) or _parsed(text)
    named = _NAME.match(text)
    base, arguments, suffix = "", "", ""
    if named and (named[1] in CONSTANTS or named[1] in FUNCTIONS):
        base, arguments, suffix = named[1], named[2] or "", named[3] or ""
    kind = _guessed(row) if question is None else _kind(question)
    expression = None if question is None or question.expr.deferred else str(question.expr)
    return Term(row.term, base, arguments, suffix, site, kind, expression)


def same_as(text: str) -> str:
    """Name the shipped effect that an expression spells out, or ''.

    Examples
    --------
    >>> same_as("Y(1) - Y(0, M(1))")
    'tnde'
    """
    question = _parsed(text)
    held = (e.name for e in CONSTANTS.values() if question and e.expr == question.expr)
    return next(held, "")


def panels(table: EffectTable, names: Words) -> tuple[Panel, ...]:
    """Group the rows of a table by scale, in the order of `SCALE`."""
    kinds = [(read(row, table.estimands).kind, row) for row in table]
    found = []
    for kind, scale in SCALE.items():
        rows = tuple(row for k, row in kinds if k == kind)
        if rows:
            title = scale.title.format(outcome=names.outcome)
            found.append(Panel(kind, title, scale.null, scale.log, rows))
    return tuple(found)


def _parsed(text: str) -> Estimand | None:
    """Read a term; a user's own name may be any text and is not read."""
    try:
        return estimand(text)
    except (CrossworldError, ArithmeticError, AttributeError, TypeError):
        return None


def _kind(question: Estimand) -> Kind:
    expr = question.expr
    if question.scale == "ratio" or question.scale == "odds_ratio":
        return question.scale
    terms = expr.linear()
    if terms is not None:
        if abs(sum(terms.values())) > 1e-12:
            return "level"
        chances = all(c.functional.name in ("cdf", "survival") for c in terms)
        return "probability" if terms and chances else "difference"
    if isinstance(expr, Op) and expr.symbol == "/" and _contrasts(expr.left, expr.right):
        return "share"
    if question.scale == "excess":
        return "excess"
    return "difference" if expr.deferred else "other"


def _contrasts(*sides: Expr) -> bool:
    return all(len(side.cells()) > 1 for side in sides)


def _guessed(row: Effect) -> Kind:
    """Guess the scale of a question known by name alone, from suffix and interval method."""
    if row.term.endswith(".odds_ratio"):
        return "odds_ratio"
    if row.term.endswith(".ratio") or row.conf_method == "log-wald":
        return "ratio"
    if row.term.endswith(".excess_ratio"):
        return "excess"
    return "share" if row.conf_method == "fieller" else "difference"
