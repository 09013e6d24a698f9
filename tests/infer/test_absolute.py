"""Sets for sums of absolute values: against enumeration, and over samples with means at 0."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from crossworld.core.estimate import Estimate
from crossworld.core.student import critical
from crossworld.infer.absolute import absolute, projected
from crossworld.infer.fieller import Quotient, fieller, invert

LEVEL = 0.95


def estimates(x: np.ndarray, groups: int | None = None) -> list[Estimate]:
    n = len(x)
    cluster = None if groups is None else np.arange(n) % groups
    return [Estimate(float(c.mean()), c - c.mean(), cluster) for c in x.T]


def drawn(means: list[float], n: int, rng: np.random.Generator, shared: float = 0.5) -> np.ndarray:
    noise = rng.normal(size=(n, len(means))) + shared * rng.normal(size=(n, 1))
    return np.asarray(means) + noise


def total(terms: list[Estimate], signs: tuple[float, ...]) -> Estimate:
    found = signs[0] * terms[0]
    for sign, term in zip(signs[1:], terms[1:], strict=True):
        found = found + sign * term
    return found


def as_found(terms: list[Estimate], below: Estimate) -> Quotient:
    """The interval that takes the signs of the terms from the sample."""
    signs = tuple(math.copysign(1.0, t.value / below.value) for t in terms)
    return fieller(total(terms, signs), below, LEVEL)


def enumerated(terms: list[Estimate], below: Estimate) -> tuple[float, float]:
    """One Fieller set per pattern that one-sided tests leave, with plain loops."""
    alpha, df = 1.0 - LEVEL, below.df
    sure = critical(1.0 - 2.0 * 0.1 * alpha / (len(terms) + 1), df)
    sides = [
        (math.copysign(1.0, t.value),) if abs(t.value) > sure * t.std_error else (-1.0, 1.0)
        for t in terms
    ]
    below_sides = (
        (math.copysign(1.0, below.value),)
        if abs(below.value) > sure * below.std_error
        else (-1.0, 1.0)
    )
    c = critical(1.0 - 0.9 * alpha, df)
    found = [
        invert(total(terms, tuple(side * s for s in signs)), below, c)
        for side in below_sides
        for signs in itertools.product(*sides)
    ]
    lows, highs = zip(*((q.low, q.high) for q in found), strict=True)
    return max(min(lows), 0.0), max(highs)


@pytest.mark.parametrize("groups", [None, 20])
@pytest.mark.parametrize("below", [4.0, -4.0, 0.45])
@pytest.mark.parametrize("means", [[3.0, -2.0, 5.0], [0.0, 0.1, -0.1, 2.0], [0.0, 0.0]])
def test_it_is_the_hull_over_all_patterns_that_are_left(
    means: list[float], below: float, groups: int | None
) -> None:
    rng = np.random.default_rng(3)
    bounded = 0
    for _ in range(20):
        *terms, d = estimates(drawn([*means, below], 60, rng), groups)
        found = absolute(terms, d, LEVEL)
        if found.low is None or found.high is None:
            assert fieller(terms[0], d, 0.955).low is None
            assert found.reason is not None
            continue
        bounded += 1
        assert (found.low, found.high) == pytest.approx(enumerated(terms, d), abs=1e-9)
        assert found.low <= sum(abs(t.value) for t in terms) / abs(d.value) <= found.high
        mirrored = absolute([-t for t in terms], -d, LEVEL)
        assert (mirrored.low, mirrored.high) == pytest.approx((found.low, found.high))
    assert bounded >= 5


def test_clear_signs_cost_a_tenth_of_the_error_probability() -> None:
    *terms, d = estimates(drawn([2.0, -3.0, 4.0, 8.0], 100, np.random.default_rng(0)), 100)
    found = absolute(terms, d, LEVEL)
    given = fieller(total(terms, (1.0, -1.0, 1.0)), d, 0.955)
    assert (found.low, found.high) == pytest.approx((given.low, given.high))
    old = as_found(terms, d)
    assert found.high - found.low < 1.04 * (old.high - old.low)  # type: ignore[operator]


def coverage(means: list[float], *, below: float = 4.0, n: int = 80) -> tuple[float, float]:
    """Share of 400 samples in which the set, and the one with the signs as found, covers."""
    rng = np.random.default_rng(1)
    truth = sum(map(abs, means)) / abs(below)
    held = np.zeros(2)
    for _ in range(400):
        *terms, d = estimates(drawn([*means, below], n, rng), n)
        for j, q in enumerate((absolute(terms, d, LEVEL), as_found(terms, d))):
            bounded = q.low is not None and q.high is not None
            held[j] += not bounded or q.low <= truth <= q.high  # type: ignore[operator]
    return held[0] / 400, held[1] / 400


def test_it_covers_where_the_terms_are_0_and_signs_as_found_do_not() -> None:
    new, old = coverage([0.0] * 10)
    assert old < 0.6
    assert new >= 0.95


def test_it_covers_when_some_terms_are_near_0_and_some_not() -> None:
    new, old = coverage([0.05] * 6 + [-0.05] * 5 + [3.0])
    assert old < 0.85
    assert new >= 0.93


def test_it_covers_when_the_denominator_is_near_0() -> None:
    """The sign of the denominator may be wrong, and with it that of every term over it."""
    new, _ = coverage([1.0, 0.5], below=0.05)
    assert new >= 0.93


def test_more_open_signs_than_can_be_enumerated() -> None:
    new, old = coverage([0.0] * 16)
    assert old < 0.5
    assert new >= 0.94
    *terms, d = estimates(drawn([0.0] * 40 + [5.0], 200, np.random.default_rng(0)))
    found = absolute(terms, d, LEVEL)
    assert found.low is not None and found.high is not None
    assert found.low < sum(abs(t.value) for t in terms) / d.value < found.high < 3.0


def test_terms_that_do_not_vary() -> None:
    u = np.tile([1.0, -1.0], 50)
    still = np.zeros(100)
    d = Estimate(-4.0, u)
    found = absolute([Estimate(-2.0, still), Estimate(1.0, still)], d, LEVEL)
    given = fieller(Estimate(3.0, still), Estimate(4.0, u), 0.955)
    assert (found.low, found.high) == pytest.approx((given.low, given.high))
    none = absolute([Estimate(0.0, still)], d, LEVEL)
    assert (none.low, none.high) == (0.0, 0.0)
    mixed = absolute([Estimate(-2.0, still), Estimate(1.0, 0.1 * u)], d, LEVEL)
    given = fieller(Estimate(3.0, 0.1 * u), Estimate(4.0, -u), 0.955)
    assert (mixed.low, mixed.high) == pytest.approx((given.low, given.high))


def test_a_band_is_projected() -> None:
    band = [(0.5, 0.8), (0.9, 1.2), (1.1, 1.3)]
    found = projected(band, [1.0, 2.0, 3.0], centre=1.0)
    # the extremes of |x - 1| over every interval, on a grid
    grids = [np.abs(np.linspace(a, b, 3001) - 1.0) for a, b in band]
    low, high = (
        sum(w * f(g) for w, g in zip((1.0, 2.0, 3.0), grids, strict=True)) for f in (np.min, np.max)
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)
    open_ = projected([(0.0, 1.0), (None, None)], [1.0, 1.0])
    assert open_.low is None and open_.high is None and open_.reason is not None
