"""The bootstrap: its counts, its intervals, its failures, its seeds."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from crossworld.core.effects import NIE, PM, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.errors import EstimationError, RatioWarning, SmallSampleWarning, SpecError
from crossworld.infer.bootstrap import Bootstrap
from crossworld.infer.replicates import blocks, resample_counts
from crossworld.infer.simulation import Simulation

from .fakes import MeansFit, skewed_fit

MEAN = Estimand("mean", 1.0 * Y(1))
SEED = np.random.SeedSequence(1)


def test_counts_are_multinomial() -> None:
    counts = resample_counts(SEED, 4000, None, 25)
    assert counts.shape == (4000, 25)
    assert (counts.sum(axis=1) == 25).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(25), abs=4 / math.sqrt(4000))
    assert counts.var() == pytest.approx(24 / 25, rel=0.03)
    assert np.corrcoef(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(-1 / 24, abs=0.06)


def test_clusters_are_drawn_whole() -> None:
    cluster = np.array([0, 1, 1, 2, 2, 2, 3])
    counts = resample_counts(SEED, 500, cluster, cluster.size)
    by_cluster = counts[:, [0, 1, 3, 6]]
    assert np.array_equal(counts, by_cluster[:, cluster])
    assert (by_cluster.sum(axis=1) == 4).all()


def recorded(fit: MeansFit) -> np.ndarray:
    return np.concatenate(fit.seen)[:, 2]


@pytest.mark.parametrize("kind", ["percentile", "bca"])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_limits_are_scipys_on_the_same_replicates(kind: str, level: float) -> None:
    fit = skewed_fit(n=30)
    row = Bootstrap(draws=2000, kind=kind, seed=4).infer(fit, [MEAN], level=level).rows[0]
    theirs = scipy.stats.bootstrap(
        (fit.scores.values[:, 2],),
        np.mean,
        n_resamples=0,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=recorded(fit)),
        confidence_level=level,
        method={"percentile": "percentile", "bca": "BCa"}[kind],
    )
    assert (row.conf_low, row.conf_high) == pytest.approx(tuple(theirs.confidence_interval))
    assert row.std_error == pytest.approx(theirs.standard_error)
    assert row.estimate == pytest.approx(fit.scores.values[:, 2].mean())
    assert row.conf_method == kind


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_limits_are_scipys_within_monte_carlo_error(kind: str) -> None:
    fit = skewed_fit(n=30)
    row = Bootstrap(draws=9999, kind=kind, seed=1).infer(fit, [MEAN], level=0.95).rows[0]
    theirs = scipy.stats.bootstrap(
        (fit.scores.values[:, 2],),
        np.mean,
        n_resamples=9999,
        vectorized=True,
        method={"percentile": "percentile", "bca": "BCa"}[kind],
        rng=np.random.default_rng(0),
    )
    found = np.array([row.conf_low, row.conf_high])
    gap = (found - np.array(theirs.confidence_interval)) / theirs.standard_error
    assert np.abs(gap).max() < 0.15


def test_bca_moves_towards_the_long_tail() -> None:
    fit = skewed_fit(n=30)
    plain, bca = (
        Bootstrap(draws=4000, kind=kind, seed=1).infer(fit, [MEAN], level=0.95).rows[0]
        for kind in ("percentile", "bca")
    )
    assert bca.conf_low > plain.conf_low + 0.05 * plain.std_error
    assert bca.conf_high > plain.conf_high + 0.1 * plain.std_error


def test_bca_of_plug_in_scores_takes_a_jackknife() -> None:
    fit = skewed_fit(n=30)
    ask = Bootstrap(draws=500, kind="bca", seed=2)
    one, two = (ask.infer(f, [MEAN, PM], level=0.95).rows for f in (fit, fit.plug_in()))
    assert one[0].conf_low == pytest.approx(two[0].conf_low)
    assert one[0].conf_high == pytest.approx(two[0].conf_high)
    assert one[1].conf_low == pytest.approx(two[1].conf_low, abs=0.1 * one[1].std_error)


def test_bca_uses_clusters_for_its_acceleration() -> None:
    cluster = np.repeat(np.arange(20), 3)
    fit = skewed_fit(cluster=cluster)
    row = Bootstrap(draws=3000, kind="bca", seed=4).infer(fit, [MEAN], level=0.95).rows[0]
    theirs = scipy.stats.bootstrap(
        (fit.scores.values[:, 2].reshape(20, 3).mean(axis=1),),
        np.mean,
        n_resamples=0,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=recorded(fit)),
        method="BCa",
    )
    assert (row.conf_low, row.conf_high) == pytest.approx(tuple(theirs.confidence_interval))


def test_standard_error_is_near_the_sandwich() -> None:
    fit = skewed_fit(n=200)
    row = Bootstrap(draws=4000, seed=3).infer(fit, [TE], level=0.95).rows[0]
    expected = TE.expr.evaluate(fit.scores.mean).std_error
    assert row.std_error == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("inference", [Bootstrap, Simulation])
def test_same_seed_same_numbers_whatever_the_workers(inference) -> None:
    fit = skewed_fit(n=400)
    draws = 2500
    assert len(blocks(draws, 400)) >= 3
    found = [
        inference(draws=draws, seed=7, workers=w).infer(fit, [TE, NIE, PM], level=0.95).rows
        for w in (1, 2, 3)
    ]
    assert found[0] == found[1] == found[2]
    other = inference(draws=draws, seed=8).infer(fit, [TE, NIE, PM], level=0.95).rows
    assert other != found[0]


def test_blocks_cover_the_draws_and_ignore_the_workers() -> None:
    for draws, units in ((20, 10), (1000, 899), (1000, 10**7), (5, 1)):
        assert sum(blocks(draws, units)) == draws
        assert max(blocks(draws, units)) * units <= max(1 << 18, units)


def test_p_value_is_twice_the_smaller_share_beyond_the_null() -> None:
    fit = skewed_fit(n=40)
    at = Estimand("at", Y(1) - float(np.median(fit.scores.values[:, 2]) + 0.35))
    row = Bootstrap(draws=999, seed=5).infer(fit, [at], level=0.95).rows[0]
    beyond = recorded(fit) - (fit.scores.values[:, 2].mean() - row.estimate)
    share = min(np.mean(beyond <= 0), np.mean(beyond >= 0))
    assert 0.001 < share < 0.5
    assert row.p_value == pytest.approx(2 * (1 + share * 999) / 1000)


def test_p_value_is_never_0_nor_above_1() -> None:
    far = Bootstrap(draws=100).infer(skewed_fit(), [MEAN], level=0.95).rows[0]
    assert far.p_value == pytest.approx(2 / 101)
    flat = MeansFit(skewed_fit().scores)
    flat.scores.values[:] = 1.0
    assert Bootstrap(draws=100).infer(flat, [TE], level=0.95).rows[0].p_value is None


def test_ratios_are_tested_against_1() -> None:
    fit = skewed_fit()
    row = Bootstrap(draws=400, seed=1).infer(fit, [TE.ratio()], level=0.95).rows[0]
    assert row.estimate > 1.0
    assert row.conf_low > 1.0
    assert row.p_value == pytest.approx(2 / 401)
    null = Estimand("null", Y(1) / (1.0 * Y(1)), "ratio")
    assert Bootstrap(draws=400).infer(fit, [null], level=0.95).rows[0].p_value is None


def failures(share: float, draws: int = 400):
    fit = skewed_fit()
    fit.failing = share
    found = Bootstrap(draws=draws, seed=1).infer(fit, [MEAN], level=0.95)
    return found, int(np.isnan(recorded(fit)).sum()), recorded(fit)


def test_failed_replicates_are_counted_and_left_out() -> None:
    found, failed, seen = failures(0.03)
    assert 0 < failed == found.failed_replicates < 20
    kept = seen[np.isfinite(seen)]
    assert found.rows[0].conf_low == pytest.approx(np.quantile(kept, 0.025))
    assert found.rows[0].std_error == pytest.approx(kept.std(ddof=1))
    assert found.warnings == ()


def test_many_failures_warn() -> None:
    found, failed, _ = failures(0.5)
    assert found.failed_replicates == failed > 20
    assert [kind for kind, _ in found.warnings] == [SmallSampleWarning]
    assert f"{failed} of 400" in found.warnings[0][1]


def test_too_many_failures_are_an_error() -> None:
    with pytest.raises(EstimationError, match="could not be fitted"):
        failures(0.999, draws=30)


def test_a_denominator_that_changes_sign_warns() -> None:
    fit = skewed_fit()
    fit.scores.values[:, 0] = fit.scores.values[::-1, 2]
    told = Bootstrap(draws=200).infer(fit, [PM], level=0.95).warnings
    assert [kind for kind, _ in told] == [RatioWarning]
    assert "pm" in told[0][1]
    assert "changes sign" in told[0][1]


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_up_to_the_draws(workers: int) -> None:
    seen: list[tuple[int, int]] = []
    Bootstrap(draws=2000, workers=workers).infer(
        skewed_fit(n=400), [TE], level=0.95, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (2000, 2000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) >= 3


def test_simulation_reads_the_drawn_coefficients() -> None:
    fit = skewed_fit()
    row = Simulation(draws=4000, seed=2).infer(fit, [TE], level=0.9).rows[0]
    expected = TE.expr.evaluate(fit.scores.mean).value
    assert row.estimate == pytest.approx(expected)
    assert row.std_error == pytest.approx(0.1 * math.sqrt(2), rel=0.06)
    half = scipy.stats.norm.ppf(0.95) * 0.1 * math.sqrt(2)
    assert (row.conf_low, row.conf_high) == pytest.approx(
        (expected - half, expected + half), abs=0.15 * half
    )
    assert row.conf_method == "simulation"


@pytest.mark.parametrize("inference", [Bootstrap, Simulation])
@pytest.mark.parametrize("draws", [0, 19, -5, 1e3, "1000", None, True])
def test_draws_are_a_whole_number(inference, draws: object) -> None:
    with pytest.raises(SpecError, match="draws"):
        inference(draws=draws)


@pytest.mark.parametrize("inference", [Bootstrap, Simulation])
@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 1.5}, {"seed": "1"}, {"workers": 0}])
def test_seeds_and_workers_are_checked(inference, options: dict) -> None:
    with pytest.raises(SpecError, match=next(iter(options))):
        inference(draws=50, **options).infer(skewed_fit(), [TE], level=0.95)


def test_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match="Did you mean 'percentile'"):
        Bootstrap(kind="percentil")  # type: ignore[arg-type]
