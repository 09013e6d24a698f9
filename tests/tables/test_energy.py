"""The energy distance against scipy and brute force, and the size and power of its test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import energy_distance as scipys
from scipy.stats import kstest

from crossworld.errors import DesignError
from crossworld.tables.energy import energy_distance, energy_test


def test_in_one_dimension_it_is_the_square_of_scipys() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=40), rng.exponential(size=25)
    found = energy_distance(x[:, None], y[:, None])
    assert found == pytest.approx(scipys(x, y) ** 2, rel=1e-12)


def test_in_several_dimensions_it_is_the_mean_of_all_pairs() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(7, 3)), rng.normal(1.0, 2.0, size=(5, 3))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm(p - q) for p in a for q in b]))

    assert energy_distance(x, y) == pytest.approx(2 * mean(x, y) - mean(x, x) - mean(y, y))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert energy_distance(x @ turn, y @ turn) == pytest.approx(energy_distance(x, y))


def test_its_p_value_is_that_of_all_permutations() -> None:
    """Six rows have 20 labellings; the share that reaches the observed one is the p value."""
    from itertools import combinations

    values = np.array([[0.0], [1.0], [2.5], [3.0], [4.5], [9.0]])
    active = np.array([False, False, True, False, True, True])
    observed = energy_distance(values[~active], values[active])
    reached = 0
    for chosen in combinations(range(6), 3):
        dealt = np.isin(np.arange(6), chosen)
        reached += energy_distance(values[~dealt], values[dealt]) >= observed - 1e-12
    distance, p_value = energy_test(values, active, draws=4000, seed=3)
    assert distance == pytest.approx(observed)
    assert p_value == pytest.approx(reached / 20, abs=4 * np.sqrt(0.25 / 4000))


def test_p_values_are_uniform_where_nothing_differs_and_small_where_spread_does() -> None:
    rng = np.random.default_rng(4)
    active = np.arange(40) < 17
    null = [energy_test(rng.normal(size=(40, 2)), active, draws=99, seed=k)[1] for k in range(300)]
    assert kstest(null, "uniform").pvalue > 0.01
    scale = np.where(np.arange(200) < 100, 1.0, 2.5)[:, None]
    spread = rng.normal(size=(200, 2)) * scale  # equal means
    assert energy_test(spread, scale[:, 0] > 2.0, draws=199)[1] == pytest.approx(1 / 200)


def test_the_seed_decides() -> None:
    x = np.random.default_rng(5).normal(size=(30, 1))
    active = np.arange(30) % 2 == 0
    assert energy_test(x, active, seed=1) == energy_test(x, active, seed=1)
    with pytest.raises(DesignError, match="rows in both"):
        energy_test(x, np.zeros(30, dtype=bool))
