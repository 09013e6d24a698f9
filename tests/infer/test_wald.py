"""Rows from influence functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from crossworld.core.effects import INT_MED, NIE, PM, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, RatioWarning, SmallSampleWarning, SpecError
from crossworld.infer.fieller import fieller
from crossworld.infer.wald import Wald

from .fakes import CELLS, MeansFit, skewed_fit


def rows(fit: MeansFit, asked: list[Estimand], inference: Wald | None = None, level=0.95):
    found = (inference or Wald()).infer(fit, asked, level=level)
    return {row.term: row for row in found.rows}, found.warnings


def column(fit: MeansFit, cell) -> np.ndarray:
    return fit.scores.values[:, CELLS.index(cell)]


def test_difference_is_the_paired_z_interval() -> None:
    fit = skewed_fit()
    gap = column(fit, Y(1)) - column(fit, Y(0))
    row = rows(fit, [TE], level=0.9)[0]["te"]
    error = gap.std() / math.sqrt(gap.size)
    z = scipy.stats.norm.ppf(0.95)
    assert (row.estimate, row.std_error) == pytest.approx((gap.mean(), error))
    assert (row.conf_low, row.conf_high) == pytest.approx(
        (gap.mean() - z * error, gap.mean() + z * error)
    )
    assert row.p_value == pytest.approx(2 * scipy.stats.norm.sf(gap.mean() / error))
    assert row.conf_method == "wald"


def test_declared_clusters_use_the_t_distribution() -> None:
    cluster = np.arange(60) % 12
    fit = skewed_fit(cluster=cluster)
    gap = column(fit, Y(1)) - column(fit, Y(0))
    by_cluster = np.array([gap[cluster == j].mean() for j in range(12)])
    expected = scipy.stats.ttest_1samp(by_cluster, 0.0)
    row = rows(fit, [TE])[0]["te"]
    assert (row.conf_low, row.conf_high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.p_value == pytest.approx(expected.pvalue)


def test_small_sample_none_has_no_factor_and_is_normal() -> None:
    fit = skewed_fit(cluster=np.arange(60) % 12)
    auto = rows(fit, [TE])[0]["te"]
    plain = rows(fit, [TE], Wald(small_sample="none"))[0]["te"]
    assert plain.std_error == pytest.approx(auto.std_error * math.sqrt(11 / 12))
    half = scipy.stats.norm.ppf(0.975) * plain.std_error
    assert plain.conf_high - plain.estimate == pytest.approx(half)


def test_small_sample_changes_nothing_without_clusters() -> None:
    fit = skewed_fit()
    assert rows(fit, [TE])[0] == rows(fit, [TE], Wald(small_sample="none"))[0]


def test_classic_uses_the_models_covariance() -> None:
    root = np.random.default_rng(5).normal(size=(4, 3)) * 0.1
    fit = skewed_fit(classic=root)
    contrast = np.array([-1.0, 0.0, 1.0])
    row = rows(fit, [TE], Wald(vcov="classic"))[0]["te"]
    assert row.std_error == pytest.approx(math.sqrt(contrast @ root.T @ root @ contrast))
    assert row.estimate == pytest.approx(rows(fit, [TE])[0]["te"].estimate)
    with pytest.raises(DesignError, match="sandwich"):
        rows(skewed_fit(), [TE], Wald(vcov="classic"))


@pytest.mark.parametrize("scale", ["ratio", "odds_ratio"])
def test_ratios_use_the_log_scale_with_null_1(scale: str) -> None:
    rng = np.random.default_rng(6)
    values = (rng.random((200, 3)) < [0.3, 0.4, 0.6]).astype(float)
    fit = MeansFit(Scores(values, CELLS))
    row = rows(fit, [getattr(NIE, scale)()])[0][f"nie.{scale}"]
    p, q = values[:, 2].mean(), values[:, 1].mean()
    slopes = (1 / p, 1 / q) if scale == "ratio" else (1 / (p * (1 - p)), 1 / (q * (1 - q)))
    log = math.log(p / q) if scale == "ratio" else math.log(p / (1 - p) / (q / (1 - q)))
    influence = slopes[0] * (values[:, 2] - p) - slopes[1] * (values[:, 1] - q)
    error = influence.std() / math.sqrt(200)
    z = scipy.stats.norm.ppf(0.975)
    assert row.estimate == pytest.approx(math.exp(log))
    assert (row.conf_low, row.conf_high) == pytest.approx(
        (math.exp(log - z * error), math.exp(log + z * error))
    )
    assert row.std_error == pytest.approx(math.exp(log) * error)
    assert row.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(log) / error))
    assert row.conf_method == "log-wald"


def test_a_ratio_below_one_has_the_p_value_of_its_inverse() -> None:
    fit = skewed_fit()
    up = Estimand("up", Y(1) / Y(0), "ratio")
    down = Estimand("down", Y(0) / Y(1), "ratio")
    found, _ = rows(fit, [up, down])
    assert found["up"].p_value == pytest.approx(found["down"].p_value)
    assert found["up"].conf_low == pytest.approx(1 / found["down"].conf_high)


def test_a_negative_ratio_has_no_interval_and_says_so() -> None:
    values = np.random.default_rng(7).normal(size=(50, 3)) + np.array([-3.0, 1.0, 3.0])
    found, told = rows(MeansFit(Scores(values, CELLS)), [TE.ratio()])
    row = found["te.ratio"]
    assert row.estimate == pytest.approx(values[:, 2].mean() / values[:, 0].mean())
    assert (row.conf_low, row.conf_high, row.p_value) == (None, None, None)
    assert [kind for kind, _ in told] == [RatioWarning]
    assert "te.ratio" in told[0][1]


def test_proportion_mediated_is_fieller_with_the_numerators_p_value() -> None:
    fit = skewed_fit()
    found, told = rows(fit, [PM, NIE])
    nie = NIE.expr.evaluate(fit.scores.mean)
    expected = fieller(nie, TE.expr.evaluate(fit.scores.mean))
    assert (found["pm"].conf_low, found["pm"].conf_high) == pytest.approx(
        (expected.low, expected.high)
    )
    assert found["pm"].p_value == found["nie"].p_value
    assert found["pm"].conf_method == "fieller"
    assert told == ()


def test_proportion_of_nothing_is_unbounded_and_says_so() -> None:
    values = np.random.default_rng(8).normal(size=(50, 3))
    found, told = rows(MeansFit(Scores(values, CELLS)), [PM])
    assert (found["pm"].conf_low, found["pm"].conf_high) == (None, None)
    assert [kind for kind, _ in told] == [RatioWarning]
    assert "denominator" in told[0][1]
    assert "compatible" in told[0][1]


def test_excess_shares_are_fieller_quotients() -> None:
    values = np.random.default_rng(9).exponential(size=(80, 4)) + 1
    from crossworld.core.regime import M

    fit = MeansFit(Scores(values, (*CELLS, Y(0, M(1)))))
    row = rows(fit, [INT_MED.ratio()])[0]["int_med.ratio"]
    numerator = INT_MED.expr.evaluate(fit.scores.mean)
    baseline = fit.scores.mean(Y(0))
    expected = fieller(numerator, baseline)
    assert row.estimate == pytest.approx(numerator.value / baseline.value)
    assert (row.conf_low, row.conf_high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("factor", [0.5, -2.0])
def test_multiples_are_plain_intervals(factor: float) -> None:
    fit = skewed_fit()
    found, _ = rows(fit, [NIE, Estimand("scaled", factor * NIE.expr), Estimand("shift", NIE - 1.0)])
    assert found["scaled"].estimate == pytest.approx(factor * found["nie"].estimate)
    assert found["scaled"].std_error == pytest.approx(abs(factor) * found["nie"].std_error)
    assert found["shift"].conf_low == pytest.approx(found["nie"].conf_low - 1)


def test_plug_in_scores_are_refused() -> None:
    with pytest.raises(DesignError, match="Bootstrap"):
        rows(skewed_fit().plug_in(), [TE])


def test_few_clusters_warn_and_one_is_refused() -> None:
    told = rows(skewed_fit(cluster=np.arange(60) % 4), [TE])[1]
    assert [kind for kind, _ in told] == [SmallSampleWarning]
    assert "4 clusters" in told[0][1]
    with pytest.raises(DesignError, match="at least 2 clusters"):
        rows(skewed_fit(cluster=np.zeros(60, dtype=int)), [TE])


def test_no_spread_means_no_p_value() -> None:
    row = rows(MeansFit(Scores(np.ones((5, 3)), CELLS)), [TE])[0]["te"]
    assert (row.estimate, row.std_error, row.p_value) == (0.0, 0.0, None)


@pytest.mark.parametrize("options", [{"vcov": "clasic"}, {"small_sample": "auot"}])
def test_unknown_options_suggest_the_nearest(options: dict) -> None:
    with pytest.raises(SpecError, match="Did you mean"):
        Wald(**options)
