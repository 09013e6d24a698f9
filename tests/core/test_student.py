"""Our t distribution is scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from crossworld.core.student import critical, two_sided

ALL = np.arange(1, 2001)
STATISTICS = (0.0, 1e-6, 0.3, 1.0, 1.96, 2.5, 4.0, 12.0)


def test_two_sided_matches_scipy_for_every_df() -> None:
    ours = [[two_sided(t, int(df)) for t in STATISTICS] for df in ALL]
    theirs = 2 * scipy.stats.t.sf(np.array(STATISTICS), ALL[:, None])
    assert np.abs(np.array(ours) - theirs).max() < 1e-10  # scipy itself is off by 3e-11 near 0


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_critical_matches_scipy(level: float) -> None:
    chosen = np.unique(np.concatenate([ALL[:60], ALL[::53], ALL[-2:]]))
    ours = np.array([critical(level, int(df)) for df in chosen])
    theirs = scipy.stats.t.ppf(0.5 + level / 2, chosen)
    assert np.abs(ours / theirs - 1).max() < 1e-9


@pytest.mark.slow
def test_critical_matches_scipy_for_every_df() -> None:
    ours = np.array([critical(0.95, int(df)) for df in ALL])
    assert np.abs(ours / scipy.stats.t.ppf(0.975, ALL) - 1).max() < 1e-9


def test_infinite_df_is_normal() -> None:
    assert critical(0.95) == pytest.approx(scipy.stats.norm.ppf(0.975), rel=1e-12)
    for t in STATISTICS:
        assert two_sided(t) == pytest.approx(2 * scipy.stats.norm.sf(t), rel=1e-12)
        assert two_sided(-t) == two_sided(t)
    assert two_sided(30.0) > 0.0
    assert critical(0.95, 10**6) == pytest.approx(critical(0.95, math.inf), rel=1e-5)


def test_small_tails_keep_relative_accuracy() -> None:
    """A p value far in the tail is small, not 0."""
    for t, df in ((8.0, 50), (12.0, 100), (20.0, 30), (30.0, 200)):
        assert two_sided(t, df) == pytest.approx(2 * scipy.stats.t.sf(t, df), rel=1e-3, abs=1e-15)
