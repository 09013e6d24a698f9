"""The evidence is the likelihood ratio it says it is, and its alarms are as rare as it says."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from crossworld.errors import SpecError
from crossworld.watching.drift import SCALES, by_change, evidence, threshold, total, widened

STUDY = Path(__file__).parents[2] / "studies" / "watch_alarms.csv"


def by_densities(theta, s, value, error) -> float:
    """The e-process from multivariate normal densities, one for every time and size of a shift."""
    n = len(theta)
    law = np.diag(s**2) + error**2 * np.ones((n, n))
    moved, found = theta - value, 1.0 / (n + 1)
    still = stats.multivariate_normal(np.zeros(n), law).logpdf(moved)
    for start in range(1, n + 1):
        after = (np.arange(1, n + 1) >= start).astype(float)
        for scale in SCALES:
            shifted = law + (scale * s[0]) ** 2 * np.outer(after, after)
            ratio = stats.multivariate_normal(np.zeros(n), shifted).logpdf(moved) - still
            found += math.exp(ratio) / len(SCALES) / (start * (start + 1))
    return math.log(found)


@pytest.mark.parametrize("error", [0.0, 0.3, 2.0])
def test_evidence_is_the_mixed_ratio_of_densities(error: float) -> None:
    rng = np.random.default_rng(3)
    for n in (1, 2, 7):
        theta, s = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
        found = evidence(theta, s, reference=(0.4, error))
        assert found.log_e == pytest.approx(by_densities(theta, s, 0.4, error), abs=1e-9)


def test_the_expected_evidence_without_a_shift_is_one() -> None:
    """What Ville's inequality needs, by integration over the law of two windows without a shift."""
    s, error, grid = np.array([1.0, 1.4]), 0.7, np.arange(-45.0, 45.0, 0.1)
    moved = np.stack(np.meshgrid(grid, grid), axis=-1)
    law = np.diag(s**2) + error**2
    weighed, _, _ = by_change(moved, np.broadcast_to(s, moved.shape), 0.0, np.float64(error))
    chance = np.exp(stats.multivariate_normal(np.zeros(2), law).logpdf(moved) + total(weighed))
    assert chance.sum() * 0.1**2 == pytest.approx(1.0, abs=1e-6)


def test_ignoring_the_error_of_the_reference_would_raise_more_alarms() -> None:
    rng = np.random.default_rng(5)
    streams, n = 4000, 20
    reference, theta = rng.standard_normal(streams), rng.standard_normal((streams, n))
    s = np.ones_like(theta)
    honest = total(by_change(theta, s, reference, np.ones(streams))[0])
    naive = total(by_change(theta, s, reference, np.zeros(streams))[0])
    limit = math.log(threshold(0.05, 1))
    assert (honest >= limit).mean() <= 0.05
    assert (naive >= limit).mean() > 0.1


def test_what_is_common_to_all_windows_changes_nothing() -> None:
    theta, s = np.array([0.3, -0.2, 1.0, 1.4]), np.array([0.3, 0.4, 0.3, 0.5])
    here = evidence(theta, s, reference=(0.1, 0.3))
    there = evidence(1000.0 * (theta + 7.0), 1000.0 * s, reference=(7100.0, 300.0))
    assert there.log_e == pytest.approx(here.log_e, abs=1e-9)
    assert there.shift == pytest.approx(1000.0 * here.shift)


def test_the_shift_and_its_start_are_found() -> None:
    theta = np.array([0.0, 0.1, -0.1, 2.0, 2.2, 1.9])
    found = evidence(theta, np.full(6, 0.2), reference=(0.0, 0.2))
    assert found.since == 3
    assert found.shift == pytest.approx(np.mean([2.0, 2.2, 1.9]) - np.mean([0, 0, 0.1, -0.1]))
    assert found.std_error == pytest.approx(0.2 * math.sqrt(1 / 3 + 1 / 4))
    down = evidence(-theta, np.full(6, 0.2), reference=(0.0, 0.2))
    assert (down.log_e, down.shift) == (pytest.approx(found.log_e), pytest.approx(-found.shift))


def test_few_degrees_of_freedom_widen_the_error() -> None:
    for df in (4, 29, 499):
        wide = stats.t(df).ppf(0.9995) / stats.norm.ppf(0.9995)
        assert widened(2.0, df) == pytest.approx(2.0 * wide, rel=1e-6)
    assert widened(2.0, math.inf) == 2.0


def test_the_threshold_shares_alpha_among_the_effects() -> None:
    assert threshold(0.05, 3) == pytest.approx(60.0)
    for wrong in (0.0, 1.0, -1, True, "x", math.nan):
        with pytest.raises(SpecError, match="probability"):
            threshold(wrong, 3)


def test_false_alarms_of_the_saved_study() -> None:
    """At most alpha in every law, within three binomial errors; shifts are found."""
    with STUDY.open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    null = [r for r in rows if float(r["shift"]) == 0.0]
    assert len(null) >= 8
    for row in null:
        spread = math.sqrt(0.05 * 0.95 / int(row["streams"]))
        assert float(row["any_alarm"]) <= 0.05 + 3 * spread, row
    moved = {float(r["shift"]): r for r in rows if float(r["shift"]) > 0.0}
    assert float(moved[5.0]["found"]) > 0.99
    assert int(moved[5.0]["delay_median"]) < int(moved[3.0]["delay_median"]) < 15


def test_false_alarms_of_a_fresh_simulation() -> None:
    """600 streams of 40 windows, watched all the time: the share of alarms is below alpha."""
    rng = np.random.default_rng(6)
    streams, n = 600, 40
    reference, theta = rng.standard_normal(streams), rng.standard_normal((streams, n))
    raised = np.zeros(streams, dtype=bool)
    for now in range(1, n + 1):
        seen = theta[:, :now]
        log_e = total(by_change(seen, np.ones_like(seen), reference, np.ones(streams))[0])
        raised |= log_e >= math.log(threshold(0.2, 1))
    assert 0.0 < raised.mean() <= 0.2
