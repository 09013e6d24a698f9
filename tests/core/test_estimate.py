"""Standard errors, clusters, intervals and refusals of `Estimate`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from crossworld.core.estimate import Estimate
from crossworld.errors import EstimationError


def sample(n: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 1.5, size=n)


def mean_of(values: np.ndarray, cluster: np.ndarray | None = None) -> Estimate:
    return Estimate(float(values.mean()), values - values.mean(), cluster)


def test_standard_error_of_a_mean_is_hc0() -> None:
    values = sample()
    assert mean_of(values).std_error == pytest.approx(values.std() / math.sqrt(values.size))


def test_singleton_clusters_multiply_the_variance_by_j_over_j_minus_1() -> None:
    values = sample()
    plain, clustered = mean_of(values), mean_of(values, np.arange(30))
    assert clustered.covariance(clustered) == pytest.approx(30 / 29 * plain.covariance(plain))
    assert clustered.std_error == pytest.approx(scipy.stats.sem(values))


def test_clusters_sum_influence_before_squaring() -> None:
    values, cluster = sample(), np.repeat(np.arange(6), 5)
    held = mean_of(values, cluster)
    sums = [(values - values.mean())[cluster == j].sum() for j in range(6)]
    assert held.std_error == pytest.approx(math.sqrt(6 / 5 * np.square(sums).sum()) / 30)
    assert held.df == 5


def test_clusters_whose_influence_cancels_have_no_standard_error() -> None:
    held = Estimate(1.0, np.array([1.0, -1.0, 2.0, -2.0]), np.array([0, 0, 1, 1]))
    assert held.std_error == 0.0
    assert math.isnan(held.p_value())


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_interval_is_normal_without_clusters(level: float) -> None:
    held = mean_of(sample())
    expected = scipy.stats.norm.interval(level, held.value, held.std_error)
    assert held.interval(level) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("groups", [2, 3, 10, 30])
def test_interval_uses_student_with_clusters(groups: int, level: float) -> None:
    held = mean_of(sample(), np.arange(30) % groups)
    expected = scipy.stats.t.interval(level, groups - 1, held.value, held.std_error)
    assert held.interval(level) == pytest.approx(expected, rel=1e-9)


def test_p_values_match_scipy_and_the_null_is_honoured() -> None:
    values = sample()
    plain, clustered = mean_of(values), mean_of(values, np.arange(30))
    z = (plain.value - 1.5) / plain.std_error
    assert plain.p_value(1.5) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-12)
    test = scipy.stats.ttest_1samp(values, 1.5)
    assert clustered.p_value(1.5) == pytest.approx(test.pvalue, rel=1e-9)


def test_arithmetic_keeps_the_clusters() -> None:
    cluster = np.arange(30) % 5
    x, y = mean_of(sample(), cluster), mean_of(sample(seed=1), cluster)
    for held in (x + y, x - 1.0, 1.0 - x, x * y, x / y, 2.0 / x, -x, x.log()):
        assert held.df == 4


@pytest.mark.parametrize(
    "act",
    [
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: x.covariance(y),
    ],
)
def test_estimates_of_different_samples_do_not_combine(act) -> None:
    with pytest.raises(EstimationError, match="30 and 20 units"):
        act(mean_of(sample(30)), mean_of(sample(20)))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_logarithm_of_no_positive_number_is_refused(value: float) -> None:
    with pytest.raises(EstimationError, match="logarithm"):
        Estimate(value, np.zeros(3)).log()


def test_division_by_zero_is_refused() -> None:
    zero, one = Estimate(0.0, np.zeros(3)), Estimate(1.0, np.zeros(3))
    for act in (lambda: one / zero, lambda: one / 0.0, lambda: 1.0 / zero):
        with pytest.raises(EstimationError, match="exactly 0"):
            act()


def test_estimates_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Estimate(1.0, np.zeros(3)).value = 2.0  # type: ignore[misc]
