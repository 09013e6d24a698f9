"""Fieller's set is what inverting the test on a grid finds, bounded or not."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.stats

from crossworld.core.estimate import Estimate
from crossworld.infer.fieller import Quotient, fieller

GRID = np.concatenate([np.linspace(-60, 60, 2_401), [-1e6, 1e6]])


def pair(
    seed: int, numerator: float, denominator: float, cluster: np.ndarray | None = None
) -> tuple[Estimate, Estimate]:
    z = np.random.default_rng(seed).normal(size=(40, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    z -= z.mean(axis=0)
    return Estimate(numerator, z[:, 0], cluster), Estimate(denominator, z[:, 1], cluster)


def accepted(n: Estimate, d: Estimate, level: float) -> np.ndarray:
    """Which values on the grid the test of N - rho D = 0 does not reject."""
    tested = [n - rho * d for rho in GRID]
    statistic = np.array([abs(e.value) / e.std_error for e in tested])
    law = scipy.stats.norm if n.cluster is None else scipy.stats.t(n.df)
    return statistic <= law.ppf(0.5 + level / 2)


def claimed(found: Quotient) -> tuple[np.ndarray, list[float]]:
    if found.low is not None and found.high is not None:
        return (found.low <= GRID) & (found.high >= GRID), [found.low, found.high]
    assert found.low is None
    assert found.high is None
    assert found.reason is not None
    if "every value is" in found.reason:
        return np.ones(GRID.size, dtype=bool), []
    low, high = map(float, re.search(r"\((\S+), (\S+)\)", found.reason).groups())
    return (low >= GRID) | (high <= GRID), [low, high]


SHAPES = {"bounded": (0.4, 1.0), "outside": (1.0, 0.05), "line": (0.05, 0.02), "negative": (-1, 2)}


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_matches_inversion_on_a_grid(seed: int, shape: str, clustered: bool, level: float) -> None:
    n, d = pair(seed, *SHAPES[shape], np.arange(40) % 8 if clustered else None)
    inside, edges = claimed(fieller(n, d, level))
    away = np.all([np.abs(GRID - e) > 0.02 * max(1.0, abs(e)) for e in edges] or [GRID == GRID], 0)
    assert np.array_equal(inside[away], accepted(n, d, level)[away])


def test_every_shape_occurs() -> None:
    """The cases above cover the three kinds of set."""
    found = {name: fieller(*pair(0, *at)) for name, at in SHAPES.items()}
    assert found["bounded"].reason is None
    assert found["negative"].reason is None
    assert "outside" in found["outside"].reason
    assert "every value is" in found["line"].reason


def test_bounded_exactly_when_the_denominator_differs_from_zero() -> None:
    for value in np.linspace(-1.0, 1.0, 41):
        n, d = pair(1, 0.5, float(value))
        low, high = d.interval(0.95)
        assert (fieller(n, d).low is None) == (low <= 0.0 <= high)


def test_a_known_denominator_gives_the_plain_interval() -> None:
    n, _ = pair(2, 1.0, 1.0)
    found = fieller(n, Estimate(4.0, np.zeros(40)), 0.9)
    assert (found.low, found.high) == pytest.approx((n / 4.0).interval(0.9))


def test_a_quotient_of_equals_is_one() -> None:
    n, _ = pair(3, 2.0, 1.0)
    found = fieller(n, n)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))


def test_limits_scale_with_the_numerator() -> None:
    n, d = pair(4, 0.7, 1.5)
    one, two = fieller(n, d), fieller(-3.0 * n, d)
    assert (two.low, two.high) == pytest.approx((-3 * one.high, -3 * one.low))
