"""Estimands are values: a name, an expression over cells, and the scale of the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

from crossworld.core.expression import Blocks, Cell, Expr, Op, Y, lift
from crossworld.core.regime import ALL, Draw
from crossworld.errors import SpecError

T = TypeVar("T")
Scale = Literal["difference", "ratio", "odds_ratio", "excess"]


@dataclass(frozen=True, slots=True)
class Estimand:
    """A named question: an expression over cells and the scale it is asked on.

    Examples
    --------
    >>> from crossworld.core.effects import NIE
    >>> print(NIE)
    nie = Y(1) - Y(1, M(0))
    >>> print(NIE.ratio())
    nie.ratio = Y(1) / Y(1, M(0))
    """

    name: str
    expr: Expr
    scale: Scale = "difference"

    def __post_init__(self) -> None:
        if not isinstance(self.expr, Expr):
            raise SpecError(
                f"the estimand {self.name!r} is an expression over cells, got {self.expr!r}; read "
                "text with xw.estimand('nie')"
            )

    @property
    def is_ratio(self) -> bool:
        """Whether it is a quotient whose value of no effect is 1: on a ratio scale, or of cells."""
        if self.scale in ("ratio", "odds_ratio"):
            return True
        if not (isinstance(self.expr, Op) and self.expr.symbol == "/"):
            return False
        return isinstance(self.expr.left, Cell) and isinstance(self.expr.right, Cell)

    @property
    def null(self) -> float:
        """The value of no effect."""
        return 1.0 if self.is_ratio else 0.0

    def cells(self) -> frozenset[Cell]:
        """Return the cells the question needs."""
        return self.expr.cells()

    def bind(self, blocks: Blocks) -> Estimand:
        """Write the question in terms of a study's mediators."""
        return replace(self, expr=self.expr.bind(blocks))

    def named(self, name: str) -> Estimand:
        """Return the same question under another name."""
        return replace(self, name=name)

    def at(self, mediator: str) -> Estimand:
        """Ask through one mediator of several, such as a site of a network: ``nie[mlp]``.

        Examples
        --------
        >>> from crossworld.core.effects import NIE
        >>> print(NIE.at("mlp"))
        nie[mlp] = Y(1) - Y(1, mlp=0)
        """
        if self.expr.deferred or not mediator:
            raise SpecError(f"{self.name} cannot be asked through {mediator!r}")

        def through(cell: Cell) -> Expr:
            own = [r for key, r in cell.regimes if key == ALL and r != Draw(cell.treatment)]
            if not own:
                return cell
            return replace(cell, regimes=((ALL, Draw(cell.treatment)), (mediator, own[0])))

        base, dot, scale = self.name.partition(".")
        return replace(self, name=f"{base}[{mediator}]{dot}{scale}", expr=self.expr.map(through))

    def ratio(self) -> Estimand:
        """Ask on the ratio scale: ``Y(a) / Y(b)`` for ``Y(a) - Y(b)``.

        A difference of two cells becomes their quotient (null 1). A longer sum, such as the
        interaction parts, becomes its share of the excess ratio (VanderWeele 2014): the sum
        divided by ``Y(0)``, null 0. A quotient, such as the proportion mediated, is unchanged:
        on the ratio scale it is the same number.
        """
        return self._scaled("ratio", lambda cell: cell)

    def odds_ratio(self) -> Estimand:
        """Ask on the odds-ratio scale: as `ratio`, with the odds of every cell."""
        return self._scaled("odds_ratio", lambda cell: cell / (1.0 - cell))

    def excess_ratio(self) -> Estimand:
        """Ask for the part of the excess relative risk: the difference divided by ``Y(0)``."""
        self._require_difference()
        if self.expr.linear() is None:
            raise SpecError(f"{self.name} is not a sum of cells, so it has no excess ratio")
        return Estimand(f"{self.name}.excess_ratio", self.expr / Y(0), "excess")

    def _require_difference(self) -> None:
        if self.scale != "difference":
            raise SpecError(f"{self.name} is on the {self.scale} scale already")

    def _scaled(self, scale: Scale, change: Callable[[Cell], Expr]) -> Estimand:
        self._require_difference()
        name, terms = f"{self.name}.{scale}", self.expr.linear()
        if self.expr.deferred:
            return Estimand(name, _Scaled(self.expr, scale), scale)
        if terms is not None and sorted(terms.values()) == [-1.0, 1.0]:
            plus = next(c for c, v in terms.items() if v > 0)
            minus = next(c for c, v in terms.items() if v < 0)
            return Estimand(name, change(plus) / change(minus), scale)
        if terms is not None and abs(sum(terms.values())) < 1e-12:
            return Estimand(name, self.expr.map(change) / change(Y(0)), "excess")
        if isinstance(self.expr, Op) and self.expr.symbol == "/":
            return Estimand(name, self.expr.map(change), "excess")
        raise SpecError(f"{self.name} = {self.expr} is no contrast of cells, so it has no {scale}")

    def __add__(self, other: Estimand | Expr | float) -> Expr:
        return self.expr + _operand(other)

    def __sub__(self, other: Estimand | Expr | float) -> Expr:
        return self.expr - _operand(other)

    def __mul__(self, other: Estimand | Expr | float) -> Expr:
        return self.expr * _operand(other)

    def __truediv__(self, other: Estimand | Expr | float) -> Expr:
        return self.expr / _operand(other)

    def __str__(self) -> str:
        return f"{self.name} = {self.expr}"


@dataclass(frozen=True, slots=True)
class _Scaled(Expr):
    """A deferred expression on another scale: both become concrete with the study."""

    inner: Expr
    scale: Scale
    deferred: ClassVar[bool] = True

    def cells(self) -> frozenset[Cell]:
        return self.inner.cells()

    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        return self.inner.evaluate(mean)

    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        return self.inner.map(change)

    def bind(self, blocks: Blocks) -> Expr:
        bound = Estimand("", self.inner.bind(blocks))
        return (bound.ratio() if self.scale == "ratio" else bound.odds_ratio()).expr

    def __str__(self) -> str:
        return f"{self.inner}.{self.scale}"


def _operand(value: Estimand | Expr | float) -> Expr:
    return value.expr if isinstance(value, Estimand) else lift(value)


def needed(estimands: Sequence[Estimand]) -> tuple[Cell, ...]:
    """Every cell that some estimand needs, in a stable order."""
    return tuple(sorted({c for e in estimands for c in e.cells()}, key=str))
