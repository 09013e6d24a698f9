"""Intervals of shares: against other software, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from crossworld.core.estimate import Estimate
from crossworld.internals.rates import (
    family_level,
    mean,
    mean_effect,
    paired_difference,
    rate,
    unpaired_difference,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (5, 12), (80, 81), (30, 30), (500, 1000)])
def test_exact_is_that_of_statsmodels(hits: int, n: int) -> None:
    found = rate("x", np.repeat([1.0, 0.0], [hits, n - hits]), level=0.9)
    expected = proportion_confint(hits, n, alpha=0.1, method="beta")
    assert (found.conf_low, found.conf_high) == pytest.approx(expected, abs=1e-9)


def test_newcombe_is_that_of_statsmodels() -> None:
    first, second = np.repeat([1.0, 0.0], [37, 13]), np.repeat([1.0, 0.0], [11, 49])
    found = unpaired_difference("x", first, second)
    expected = confint_proportions_2indep(37, 50, 11, 60, method="newcomb", compare="diff")
    assert (found.conf_low, found.conf_high) == pytest.approx(expected, abs=1e-9)


def test_t_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(size=9) + 0.4
    found = mean_effect("x", mean(values))
    expected = stats.ttest_1samp(values, 0.0)
    limits = expected.confidence_interval()
    assert (found.conf_low, found.conf_high) == pytest.approx((limits.low, limits.high), rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_mean_that_does_not_vary_has_no_interval() -> None:
    found = mean_effect("x", Estimate(0.5, np.zeros(6)))
    assert (found.conf_low, found.conf_high, found.p_value) == (None, None, None)


def test_bonett_price_by_hand() -> None:
    first = np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 0.0])
    second = np.array([0, 0, 0, 1, 1, 0, 1, 0, 1, 0.0])
    found = paired_difference("x", first, second)
    up, down = (4 + 1) / 12, (1 + 1) / 12
    half = 1.959963985 * np.sqrt((up + down - (up - down) ** 2) / 12)
    assert found.estimate == pytest.approx(0.3)
    assert (found.conf_low, found.conf_high) == pytest.approx((up - down - half, up - down + half))


def test_shares_cover_with_clusters() -> None:
    """Pairs that share a template: 30 clusters of 10, correlated within."""
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(30), 10)
    covered = plain = 0
    for _ in range(600):
        p = rng.beta(4.0, 1.0, size=30)
        hits = (rng.random(300) < p[cluster]).astype(float)
        one = rate("x", hits, cluster=cluster)
        two = rate("x", hits)
        covered += one.conf_low <= 0.8 <= one.conf_high
        plain += two.conf_low <= 0.8 <= two.conf_high
    assert 0.935 <= covered / 600 <= 0.99
    assert plain / 600 < 0.9  # as if pairs were independent


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_families_cover_at_once(p: float) -> None:
    rng = np.random.default_rng(2)
    all_in = 0
    for _ in range(500):
        base = rng.random(150)
        hits = [((base + shift) % 1.0 < p).astype(float) for shift in rng.random(5) * 0.1]
        rows = [rate("x", h, family=5) for h in hits]
        all_in += all(r.conf_low <= p <= r.conf_high for r in rows)
    assert all_in / 500 >= 0.94


def test_family_level_is_sidak() -> None:
    assert family_level(0.95, 1) == 0.95
    assert family_level(0.95, 4) ** 4 == pytest.approx(0.95)
