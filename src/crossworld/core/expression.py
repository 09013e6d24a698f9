"""Expressions over cells of nested counterfactuals.

A cell ``Y(a, M(b))`` is the mean outcome when the treatment is ``a`` and the mediator takes the
value it would have had under ``b``. Cells are added, subtracted, multiplied and divided like
numbers; nothing is computed until a study supplies the cells.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from crossworld.core.regime import (
    ALL,
    Draw,
    Fixed,
    Level,
    Random,
    Regime,
    Settings,
    check_level,
    show,
)
from crossworld.errors import SpecError, hint

T = TypeVar("T")
Blocks = Sequence[Sequence[str]]


class Expr(ABC):
    """A smooth function of cells; built with ``+ - * /`` and ``.log()``."""

    __slots__ = ()
    deferred: ClassVar[bool] = False  # whether the cells are known only once a study is given

    @abstractmethod
    def cells(self) -> frozenset[Cell]:
        """Return the cells the expression needs."""

    @abstractmethod
    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        """Put ``mean(cell)`` in the place of every cell and compute."""

    @abstractmethod
    def bind(self, blocks: Blocks) -> Expr:
        """Write the expression in terms of a study's mediators, given as ordered blocks."""

    @abstractmethod
    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        """Replace every cell by ``change(cell)``."""

    def linear(self) -> dict[Cell, float] | None:
        """Coefficients when the expression is a weighted sum of cells, else None."""
        return None

    def log(self) -> Expr:
        """Natural logarithm of the expression."""
        return Log(self)

    def __add__(self, other: Expr | float) -> Expr:
        return Op("+", self, lift(other))

    def __sub__(self, other: Expr | float) -> Expr:
        return Op("-", self, lift(other))

    def __mul__(self, other: Expr | float) -> Expr:
        return Op("*", self, lift(other))

    def __truediv__(self, other: Expr | float) -> Expr:
        return Op("/", self, lift(other))

    def __radd__(self, other: float) -> Expr:
        return Op("+", lift(other), self)

    def __rsub__(self, other: float) -> Expr:
        return Op("-", lift(other), self)

    def __rmul__(self, other: float) -> Expr:
        return Op("*", lift(other), self)

    def __rtruediv__(self, other: float) -> Expr:
        return Op("/", lift(other), self)

    def __neg__(self) -> Expr:
        return Op("*", Number(-1.0), self)


def lift(value: Expr | float) -> Expr:
    """Turn a number into an expression; leave an expression as it is."""
    inner = getattr(value, "expr", value)  # an estimand stands for its expression
    return inner if isinstance(inner, Expr) else Number(float(inner))


@dataclass(frozen=True, slots=True)
class Number(Expr):
    """A constant inside an expression."""

    value: float

    def cells(self) -> frozenset[Cell]:
        return frozenset()

    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        return self.value  # type: ignore[return-value]

    def bind(self, blocks: Blocks) -> Expr:
        return self

    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        return self

    def __str__(self) -> str:
        return show(self.value)


@dataclass(frozen=True, slots=True)
class Functional:
    """What is taken of a cell's outcome law: its mean unless it says otherwise."""

    name: Literal["mean", "quantile", "cdf", "survival", "rmst"] = "mean"
    argument: float | None = None

    def __str__(self) -> str:
        return "" if self.argument is None else f".{self.name}({show(self.argument)})"


MEAN = Functional()


@dataclass(frozen=True, slots=True)
class Cell(Expr):
    """``Y(a, M(b))``: the outcome under treatment ``a``, each mediator under its own regime.

    Parameters
    ----------
    treatment
        The level the outcome sees: 0 the reference, 1 the active level, or a label.
    regimes
        ``(mediator, regime)`` pairs sorted by name; the name ``"*"`` covers every mediator that
        is not named.
    functional
        The mean, or another functional of the outcome's law.
    """

    treatment: Level
    regimes: tuple[tuple[str, Regime], ...]
    functional: Functional = MEAN

    def cells(self) -> frozenset[Cell]:
        return frozenset({self})

    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        return mean(self)

    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        return change(self)

    def linear(self) -> dict[Cell, float]:
        return {self: 1.0}

    @property
    def is_joint(self) -> bool:
        """Whether one regime, named for none, holds for every mediator."""
        return [key for key, _ in self.regimes] == [ALL]

    @property
    def crosses_worlds(self) -> bool:
        """Whether a mediator takes the value it would have had under another level."""
        return any(isinstance(r, Draw) and r.level != self.treatment for _, r in self.regimes)

    def regime(self, mediator: str) -> Regime:
        """Return the regime of one mediator."""
        named = dict(self.regimes)
        return named.get(mediator, named[ALL])

    def bind(self, blocks: Blocks) -> Cell:
        """Check the mediator names and bring the cell to one canonical form."""
        names = [name for block in blocks for name in block]
        regimes = {_known(key, names): regime for key, regime in self.regimes}
        own = {name: regimes.get(name, regimes[ALL]) for name in names}
        joint = set(own.values())
        if len(joint) == 1 and (len(names) == 1 or not isinstance(next(iter(joint)), Random)):
            return replace(self, regimes=((ALL, joint.pop()),))
        if all(key == ALL for key in regimes):
            return self
        default = Draw(self.treatment)
        kept = {key: regime for key, regime in own.items() if regime != default}
        return replace(self, regimes=tuple(sorted({ALL: default, **kept}.items())))

    def quantile(self, q: float) -> Cell:
        """Return the ``q`` quantile of the cell's outcome law."""
        if not 0.0 < q < 1.0:
            raise SpecError(f"a quantile lies between 0 and 1, got {q!r}")
        return replace(self, functional=Functional("quantile", float(q)))

    def cdf(self, t: float) -> Cell:
        """Return the probability that the outcome is at most ``t``."""
        return replace(self, functional=Functional("cdf", float(t)))

    def survival(self, t: float) -> Cell:
        """Return the probability that the outcome exceeds ``t``."""
        return replace(self, functional=Functional("survival", float(t)))

    def rmst(self, t: float) -> Cell:
        """Return the mean of the outcome restricted to at most ``t``."""
        return replace(self, functional=Functional("rmst", float(t)))

    def __str__(self) -> str:
        everywhere: list[str] = []
        named: list[tuple[str, str]] = []
        fixed: list[tuple[str, str]] = []
        for key, regime in self.regimes:
            if key == ALL:
                everywhere += [] if regime == Draw(self.treatment) else [str(regime)]
            elif isinstance(regime, Fixed):
                fixed.append((key, show(regime.value)))
            elif isinstance(regime, Draw) and regime.edit is None:
                named.append((key, show(regime.level)))
            else:
                named.append((key, str(regime)))
        held = [f"set_({_arguments(fixed)})"] if fixed else []
        written = [_arguments(named)] if named else []
        inside = ", ".join([show(self.treatment), *everywhere, *held, *written])
        return f"Y({inside}){self.functional}"


def _arguments(pairs: Sequence[tuple[str, str]]) -> str:
    """Write named arguments; names that are no Python names go into ``**{...}``."""
    plain = [f"{k}={v}" for k, v in pairs if k.isidentifier() and not iskeyword(k)]
    odd = [f"{k!r}: {v}" for k, v in pairs if not k.isidentifier() or iskeyword(k)]
    return ", ".join([*plain, *([f"**{{{', '.join(odd)}}}"] if odd else [])])


def _known(key: str, names: Sequence[str]) -> str:
    """Return the mediator a key names; ``m`` stands for the only mediator there is."""
    if key == ALL or key in names:
        return key
    if key == "m" and len(names) == 1:
        return names[0]
    raise SpecError(f"{key!r} is not a mediator of this study. {hint(key, names)}")


_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@dataclass(frozen=True, slots=True)
class Op(Expr):
    """A binary operation on two expressions."""

    symbol: str
    left: Expr
    right: Expr

    def cells(self) -> frozenset[Cell]:
        return self.left.cells() | self.right.cells()

    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        left, right = self.left.evaluate(mean), self.right.evaluate(mean)
        value: T = _OPS[self.symbol](left, right)
        return value

    def bind(self, blocks: Blocks) -> Expr:
        return Op(self.symbol, self.left.bind(blocks), self.right.bind(blocks))

    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        return Op(self.symbol, self.left.map(change), self.right.map(change))

    def linear(self) -> dict[Cell, float] | None:
        left, right = self.left.linear(), self.right.linear()
        if self.symbol in "+-" and left is not None and right is not None:
            sign = 1.0 if self.symbol == "+" else -1.0
            total = {c: left.get(c, 0.0) + sign * right.get(c, 0.0) for c in {**left, **right}}
            return {c: v for c, v in total.items() if v != 0.0}
        if self.symbol == "*" and isinstance(self.left, Number) and right is not None:
            return {c: self.left.value * v for c, v in right.items()}
        if self.symbol in "*/" and isinstance(self.right, Number) and left is not None:
            factor = self.right.value if self.symbol == "*" else 1.0 / self.right.value
            return {c: factor * v for c, v in left.items()}
        return None

    def __str__(self) -> str:
        if self.symbol == "*" and self.left == Number(-1.0):
            return f"-{_bracket(self.right, '*/')}"
        low = "" if self.symbol in "+-" else "*/"
        left = _bracket(self.left, low)
        right = _bracket(self.right, low if self.symbol == "*" else "all")
        if self.symbol == "+":
            right = _bracket(self.right, "")
        return f"{left} {self.symbol} {right}"


def _bracket(expr: Expr, allowed: str) -> str:
    """Bracket an operation unless its symbol may stand unbracketed ('' allows every symbol)."""
    if isinstance(expr, Op) and allowed and expr.symbol not in allowed.replace("all", ""):
        return f"({expr})"
    return str(expr)


@dataclass(frozen=True, slots=True)
class Log(Expr):
    """The natural logarithm of an expression."""

    inner: Expr

    def cells(self) -> frozenset[Cell]:
        return self.inner.cells()

    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        value: Any = self.inner.evaluate(mean)
        result: T = value.log() if hasattr(value, "log") else np.log(value)
        return result

    def bind(self, blocks: Blocks) -> Expr:
        return Log(self.inner.bind(blocks))

    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        return Log(self.inner.map(change))

    def __str__(self) -> str:
        return f"log({self.inner})"


def Y(  # noqa: N802 - mathematical notation
    treatment: Level, /, *mediators: Regime | Settings, **named: Level | Regime
) -> Cell:
    """Build a cell: the outcome under ``treatment``, the mediators under their regimes.

    Parameters
    ----------
    treatment
        Level of the treatment that the outcome sees.
    *mediators
        ``M(b)``, ``G(b)`` or ``set_(...)``; without a name they hold for every mediator that is
        not named. Mediators that nothing is said about follow ``treatment``.
    **named
        A level or regime for one mediator.

    Examples
    --------
    >>> from crossworld import M, set_
    >>> print(Y(1), Y(1, M(0)), Y(1, anxiety=0, anger=1), Y(0, set_(anxiety=3.0)))
    Y(1) Y(1, M(0)) Y(1, anxiety=0) Y(0, set_(anxiety=3))
    """
    check_level(treatment, "the treatment of a cell")
    regimes: dict[str, Regime] = {ALL: Draw(treatment)}
    for given in mediators:
        if isinstance(given, Settings):
            regimes.update(given.values)
        elif isinstance(given, Draw | Random | Fixed):
            regimes[ALL] = given
        else:
            raise SpecError(
                f"a cell takes M(...), G(...) or set_(...) after the treatment, got {given!r}; "
                f"write Y({show(treatment)}, M({given!r}))"
            )
    for name, value in named.items():
        is_regime = isinstance(value, Draw | Random | Fixed)
        regimes[name] = value if is_regime else Draw(value)  # type: ignore[assignment, arg-type]
    kept = {k: v for k, v in regimes.items() if k == ALL or v != regimes[ALL]}
    return Cell(treatment, tuple(sorted(kept.items())))
