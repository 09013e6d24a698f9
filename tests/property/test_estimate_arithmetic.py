"""Delta-method arithmetic is the numerical derivative, whatever the expression."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crossworld.core.estimate import Estimate
from crossworld.errors import EstimationError

BINARY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
NUMBERS = st.floats(-3.0, 3.0).filter(lambda v: abs(v) > 0.1)

leaves = st.one_of(st.sampled_from(["x", "y"]), NUMBERS)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(list(BINARY)), inner, inner),
        st.tuples(st.just("neg"), inner),
        st.tuples(st.just("log"), inner),
    ),
    max_leaves=6,
)


def compute(tree: Any, x: Any, y: Any, log: Callable[[Any], Any]) -> Any:
    if tree == "x":
        return x
    if tree == "y":
        return y
    if isinstance(tree, float):
        return tree
    inner = [compute(part, x, y, log) for part in tree[1:]]
    if tree[0] == "neg":
        return -inner[0]
    return log(inner[0]) if tree[0] == "log" else BINARY[tree[0]](*inner)


def log_of(value: Any) -> Any:
    return value.log() if isinstance(value, Estimate) else math.log(value)


def estimates(seed: int, n: int = 12) -> tuple[Estimate, Estimate]:
    z = np.random.default_rng(seed).normal(size=(n, 2)) + np.array([2.0, 3.0])
    return tuple(Estimate(float(v.mean()), v - v.mean()) for v in z.T)  # type: ignore[return-value]


@settings(max_examples=400, deadline=None)
@given(trees, st.integers(0, 10**6), st.integers(0, 11))
def test_influence_is_the_directional_derivative(tree: Any, seed: int, unit: int) -> None:
    x, y = estimates(seed)
    try:
        result = compute(tree, x, y, log_of)
    except (EstimationError, ValueError, ZeroDivisionError):
        assume(False)
    assume(isinstance(result, Estimate))

    def moved(step: float) -> float:
        at = (x.value + step * x.influence[unit], y.value + step * y.influence[unit])
        return float(compute(tree, *at, math.log))

    step = 1e-6
    try:
        slope = (moved(step) - moved(-step)) / (2 * step)
        wide = (moved(2 * step) - moved(-2 * step)) / (4 * step)
    except (ValueError, ZeroDivisionError):
        assume(False)
    assume(abs(slope) < 1e4 and abs(slope - wide) < 1e-4 * (1 + abs(slope)))
    assert result.value == pytest.approx(moved(0.0), rel=1e-12, abs=1e-12)
    assert result.influence[unit] == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("formula", "value", "slopes"),
    [
        (lambda x, y: x + y, 5.0, (1, 1)),
        (lambda x, y: x - y, -1.0, (1, -1)),
        (lambda x, y: x * y, 6.0, (3, 2)),
        (lambda x, y: x / y, 2 / 3, (1 / 3, -2 / 9)),
        (lambda x, y: 1 + x, 3.0, (1, 0)),
        (lambda x, y: 1 - x, -1.0, (-1, 0)),
        (lambda x, y: x - 1, 1.0, (1, 0)),
        (lambda x, y: 2 * x, 4.0, (2, 0)),
        (lambda x, y: x / 4, 0.5, (0.25, 0)),
        (lambda x, y: 4 / x, 2.0, (-1, 0)),
        (lambda x, y: -x, -2.0, (-1, 0)),
        (lambda x, y: x.log(), math.log(2.0), (0.5, 0)),
        (lambda x, y: (x / y) * (1 - x), -2 / 3, (-1.0, 2 / 9)),
    ],
)
def test_every_operation_has_its_textbook_derivative(formula, value, slopes) -> None:
    x = Estimate(2.0, np.array([1.0, 0.0, -1.0]))
    y = Estimate(3.0, np.array([0.0, 1.0, -1.0]))
    result = formula(x, y)
    assert result.value == pytest.approx(value)
    assert result.influence == pytest.approx([*slopes, -sum(slopes)])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), NUMBERS, NUMBERS)
def test_variance_of_a_combination_is_the_quadratic_form(seed: int, a: float, b: float) -> None:
    x, y = estimates(seed)
    total = a * x + b * y
    form = a * a * x.covariance(x) + 2 * a * b * x.covariance(y) + b * b * y.covariance(y)
    assert total.std_error**2 == pytest.approx(form, rel=1e-9)
    assert x.covariance(y) == pytest.approx(y.covariance(x), rel=1e-12)
