"""Expressions print as they are read, and mean the same afterwards."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crossworld.core.expression import Cell, Expr, Log, Y, lift
from crossworld.core.parse import cell as read_cell
from crossworld.core.parse import estimand
from crossworld.core.regime import G, M, set_

labels = st.text("abc xyz'\"é", min_size=1, max_size=6)
plain_levels = st.one_of(st.sampled_from([0, 1, 2, -1, 2.5, 1e-5, 1e6]), labels)
levels = st.one_of(plain_levels, st.floats(allow_nan=False, allow_infinity=False))
names = st.sampled_from(["m", "m1", "anxiety", "anger", "x_2"])


def regimes(level: Any) -> Any:
    return st.one_of(
        level.map(M),
        level.map(G),
        level.map(set_),
        st.tuples(level, st.sampled_from(["shuffle", "cut 50%"])).map(lambda p: M(*p)),
    )


def cells(level: Any) -> Any:
    named = st.dictionaries(names, st.one_of(level, regimes(level)), max_size=3)
    everywhere = st.one_of(st.just(()), regimes(level).map(lambda r: (r,)))
    base = st.builds(lambda a, b, n: Y(a, *b, **n), level, everywhere, named)
    number = st.floats(-1e6, 1e6).map(lambda v: round(v, 2))
    return st.one_of(
        base,
        st.tuples(base, number).map(lambda p: p[0].cdf(p[1])),
        st.tuples(base, st.integers(1, 99)).map(lambda p: p[0].quantile(p[1] / 100)),
    )


@settings(max_examples=300, deadline=None)
@given(cells(plain_levels))
def test_cells_read_back_as_themselves(cell: Cell) -> None:
    assert read_cell(str(cell)) == cell


@settings(max_examples=200, deadline=None)
@given(cells(levels))
def test_cells_keep_every_digit_of_a_level(cell: Cell) -> None:
    assert read_cell(str(cell)) == cell


ATOMS = (Y(0), Y(1), Y(1, M(0)), Y(0, M(1)), Y(1, anxiety=0))
MEANS = {Y(0): 0.31, Y(1): 0.87, Y(1, M(0)): 0.53, Y(0, M(1)): 0.44, Y(1, anxiety=0): 0.61}


def expressions(numbers: Any) -> Any:
    leaf = st.one_of(st.sampled_from(ATOMS), numbers.map(lift))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
            st.tuples(inner, inner).map(lambda p: p[0] - p[1]),
            st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
            st.tuples(inner, inner).map(lambda p: p[0] / p[1]),
            inner.map(lambda e: -e),
        ),
        max_leaves=7,
    )


def value(expr: Expr) -> float:
    try:
        return float(expr.evaluate(MEANS.__getitem__))
    except (ZeroDivisionError, OverflowError):
        return math.nan


@settings(max_examples=500, deadline=None)
@given(expressions(st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0, 100.0])))
def test_expressions_read_back_with_the_same_value(expr: Expr) -> None:
    assume(expr.cells())
    before = value(expr)
    assume(math.isfinite(before))
    after = estimand(str(expr)).expr
    assert after.cells() == expr.cells()
    assert math.isclose(value(after), before, rel_tol=1e-9, abs_tol=1e-12)


@settings(max_examples=200, deadline=None)
@given(expressions(st.floats(-1e3, 1e3)))
def test_expressions_keep_every_digit_of_a_number(expr: Expr) -> None:
    assume(expr.cells())
    before = value(expr)
    assume(math.isfinite(before) and abs(before) < 1e6)
    after = value(estimand(str(expr)).expr)
    assert math.isclose(after, before, rel_tol=1e-9, abs_tol=1e-9)


def test_logarithms_read_back() -> None:
    expr = Log(Y(1)) - Y(0).log()
    assert value(estimand(str(expr)).expr) == math.log(0.87) - math.log(0.31)


@settings(max_examples=100, deadline=None)
@given(expressions(st.sampled_from([-2.0, 0.5, 3.0])))
def test_linear_coefficients_give_the_value(expr: Expr) -> None:
    """Where `linear` answers, the expression is that weighted sum up to a constant."""
    coefficients = expr.linear()
    assume(coefficients is not None)
    total = sum(c * MEANS[cell] for cell, c in coefficients.items())
    assert math.isclose(total, value(expr), rel_tol=1e-9, abs_tol=1e-9)
