"""Exhibits with axes: distributions, comparisons of methods, curves, contours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from crossworld.core.exhibits import base
from crossworld.core.exhibits.base import Exhibit, Grid, Number, Row, put
from crossworld.errors import SpecError

if TYPE_CHECKING:
    from crossworld.core.table import EffectTable


@dataclass(frozen=True, slots=True)
class Arm:
    """One group's share of units in every bin or category, and its mean.

    Parameters
    ----------
    label
        What the group is, such as ``"treat = 0"``.
    n
        Units in it.
    shares
        Share of the group's weight in each bin; they add up to 1.
    mean, sd
        Where they exist.
    """

    label: str
    n: int
    shares: Row
    mean: Number = None
    sd: Number = None

    def __post_init__(self) -> None:
        shares = base.numbers(self.shares, "shares")
        if any(v is None or v < 0.0 for v in shares):
            raise SpecError(f"shares of {self.label!r} are non-negative numbers")
        put(self, {"label": base.text(self.label, "label"), "shares": shares, "n": int(self.n)})
        put(self, {name: base.number(getattr(self, name), name) for name in ("mean", "sd")})


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable in several groups, over the same bins (``edges``) or the same categories.

    Parameters
    ----------
    name
        The variable.
    arms
        The groups.
    edges
        Edges of the bins, one more than shares; empty for categories.
    categories
        Names, as many as shares; empty for bins.
    note
        Such as how much of the variance a component has.
    """

    name: str
    arms: tuple[Arm, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        arms = base.parts(Arm, self.arms, "arms", least=1)
        put(self, {"name": base.text(self.name, "name"), "arms": arms})
        put(self, {"categories": base.texts(self.categories, "categories")})
        if (len(self.edges) == 0) == (len(self.categories) == 0):
            raise SpecError(f"variable {self.name!r} has either edges of bins or categories")
        put(
            self,
            {"edges": base.increasing(self.edges, "edges", least=2) if len(self.edges) else ()},
        )
        size = len(self.edges) - 1 if self.edges else len(self.categories)
        for arm in arms:
            if len(arm.shares) != size:
                raise SpecError(f"{arm.label!r} has {len(arm.shares)} shares for {size} bins")


@dataclass(frozen=True, slots=True)
class TwoSample:
    """A test of whether groups have the same distribution."""

    name: str
    p_value: Number
    statistic: Number = None
    draws: int | None = None
    seed: int | None = None
    n: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"p_value": base.number(self.p_value, "p_value")})
        put(self, {"statistic": base.number(self.statistic, "statistic")})


@dataclass(frozen=True, slots=True)
class Distributions(Exhibit):
    """Distributions of variables by group, with tests of their difference.

    Examples
    --------
    >>> arms = [Arm("treat = 0", 20, (0.6, 0.4)), Arm("treat = 1", 20, (0.3, 0.7))]
    >>> Distributions((Variable("m", arms, edges=(0.0, 1.0, 2.0)),)).variables[0].arms[1].shares
    (0.3, 0.7)
    """

    kind: ClassVar[str] = "distributions"
    variables: tuple[Variable, ...]
    tests: tuple[TwoSample, ...] = ()
    title: str = "Distributions of the mediator under both treatments"
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"variables": base.parts(Variable, self.variables, "variables", least=1)})
        put(self, {"tests": base.parts(TwoSample, self.tests, "tests")})


@dataclass(frozen=True, slots=True)
class Compared:
    """One method's answer to one question."""

    method: str
    term: str
    estimate: Number
    conf_low: Number = None
    conf_high: Number = None
    std_error: Number = None

    def __post_init__(self) -> None:
        put(
            self, {"method": base.text(self.method, "method"), "term": base.text(self.term, "term")}
        )
        for name in ("estimate", "conf_low", "conf_high", "std_error"):
            put(self, {name: base.number(getattr(self, name), name)})


@dataclass(frozen=True, slots=True)
class Comparison(Exhibit):
    """Answers of several methods to the same questions, side by side.

    Parameters
    ----------
    rows
        One per method and term.
    truth
        The method that is known to be right, such as an experiment; "" when none is.
    about
        A line about a method, by its name.
    null
        Value of no effect.

    Examples
    --------
    >>> rows = [Compared("replay", "nie", 0.19, 0.17, 0.21), Compared("OLS", "nie", 0.09)]
    >>> Comparison(rows, truth="replay").methods
    ('replay', 'OLS')
    """

    kind: ClassVar[str] = "comparison"
    rows: tuple[Compared, ...]
    truth: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    null: Number = 0.0
    title: str = "Several methods, the same questions"
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"rows": base.parts(Compared, self.rows, "rows", least=1)})
        pairs = [(r.method, r.term) for r in self.rows]
        twice = sorted({p for p in pairs if pairs.count(p) > 1})
        if twice:
            raise SpecError(f"{twice[0][0]!r} answers {twice[0][1]!r} twice")
        for name in (*self.about, *([self.truth] if self.truth else [])):
            if name not in self.methods:
                raise SpecError(f"{name!r} is none of the methods: {', '.join(self.methods)}")

    @classmethod
    def of(
        cls,
        tables: Mapping[str, EffectTable],
        terms: Iterable[str] = ("te", "nde", "nie"),
        *,
        truth: str = "",
        about: Mapping[str, str] | None = None,
        title: str = "",
    ) -> Self:
        """Compare results by the names of their methods; terms that one lacks are left out.

        Parameters
        ----------
        tables
            Results by method, in the order in which they are shown.
        terms
            The questions.
        truth, about, title
            As for the class.
        """
        asked = tuple(terms)
        rows = tuple(
            Compared(method, r.term, r.estimate, r.conf_low, r.conf_high, r.std_error)
            for method, table in tables.items()
            for r in table
            if r.term in asked
        )
        made = cls(rows, truth, dict(about or {}))
        return made if not title else cls(rows, truth, dict(about or {}), title=title)

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods, in the order given."""
        return tuple(dict.fromkeys(r.method for r in self.rows))

    @property
    def terms(self) -> tuple[str, ...]:
        """Questions, in the order given."""
        return tuple(dict.fromkeys(r.term for r in self.rows))


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a curve, with a band where it has limits."""

    name: str
    x: tuple[float, ...]
    y: Row
    low: Row = ()
    high: Row = ()

    def __post_init__(self) -> None:
        put(self, {"x": base.increasing(self.x, "x", least=1)})
        put(self, {"y": base.numbers(self.y, "y", size=len(self.x))})
        if (len(self.low) == 0) != (len(self.high) == 0):
            raise SpecError(f"series {self.name!r} has one limit; give low and high, or neither")
        for name in ("low", "high"):
            held = getattr(self, name)
            put(self, {name: base.numbers(held, name, size=len(self.x)) if len(held) else ()})


@dataclass(frozen=True, slots=True)
class Curve(Exhibit):
    """Lines with bands over one quantity: a transplant curve, a sensitivity curve, windows.

    Examples
    --------
    >>> rise = Series("moved", (0.0, 0.5, 1.0), (0.4, 0.5, 0.6))
    >>> Curve((rise,), "share of the reasoning shown", "P(correct)").kind
    'curve'
    """

    kind: ClassVar[str] = "curve"
    series: tuple[Series, ...]
    x_name: str
    y_name: str
    null: Number = None
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"series": base.parts(Series, self.series, "series", least=1)})

    @classmethod
    def of(
        cls, table: EffectTable, name: str, *, x_name: str, y_name: str, title: str = ""
    ) -> Self:
        """Make a curve of the rows ``name(x)`` of a result, such as ``curve(0.3)``.

        Parameters
        ----------
        table
            A result, for instance that of ``transplant(...).effects(Multiplier(), only="curve")``.
        name
            What stands before the brackets.
        x_name, y_name, title
            As for the class.

        Raises
        ------
        SpecError
            If the result has no such row.
        """
        pattern = re.compile(rf"{re.escape(name)}\(([-+.\de]+)\)")
        found = [(pattern.fullmatch(row.term), row) for row in table]
        rows = sorted(((float(m[1]), r) for m, r in found if m), key=lambda pair: pair[0])
        if not rows:
            asked = ", ".join(row.term for row in list(table)[:6])
            raise SpecError(f"the result has no row {name}(x); it has {asked}")
        series = Series(
            name,
            tuple(x for x, _ in rows),
            tuple(r.estimate for _, r in rows),
            tuple(r.conf_low for _, r in rows),
            tuple(r.conf_high for _, r in rows),
        )
        return cls((series,), x_name, y_name, title=title)


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place on a contour plot."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Contour(Exhibit):
    """An effect at every pair of strengths of a violated assumption.

    Parameters
    ----------
    x_name, y_name
        What the axes are.
    x, y
        Strengths, increasing.
    values
        Rows by y, columns by x; None where the pair cannot occur.
    threshold
        The value at which the conclusion changes.
    marks
        Benchmarks.
    """

    kind: ClassVar[str] = "contour"
    x_name: str
    x: tuple[float, ...]
    y_name: str
    y: tuple[float, ...]
    values: Grid
    threshold: float = 0.0
    marks: tuple[Mark, ...] = ()
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        x, y = base.increasing(self.x, "x", least=2), base.increasing(self.y, "y", least=2)
        put(self, {"x": x, "y": y, "values": base.grid(self.values, "values", (len(y), len(x)))})
        if all(v is None for row in self.values for v in row):
            raise SpecError("a contour needs a finite value; null stands for an impossible pair")
        put(self, {"marks": base.parts(Mark, self.marks, "marks")})
