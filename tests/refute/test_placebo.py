"""Placebos: sound analyses pass at the stated rate, each fault is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.refute.dummy_outcome import DummyOutcome
from crossworld.refute.placebo import PlaceboTreatment
from crossworld.refute.placebo_mediator import PlaceboMediator
from crossworld.tables.perturb import shuffled
from tests.refute.broken import (
    Fragile,
    OfPlain,
    OldMediator,
    OldOutcome,
    Overconfident,
    Plain,
    StaleWeights,
)

NATURAL = (xw.TE, xw.NDE, xw.NIE)


def tried(
    refuter: Any, estimator: Any, study: Any, asked: tuple[xw.Estimand, ...] = NATURAL
) -> dict[str, Refutation]:
    analysis = Analysis(study, estimator, asked)
    return {r.term: r for r in refuter.refute(analysis, analysis.run())}


def false_alarms(refuter: Any, samples: int, n: int) -> tuple[int, int]:
    failed = judged = 0
    for seed in range(samples):
        study = xw.datasets.linear(n=n, seed=seed).study()
        found = tried(type(refuter)(draws=refuter.draws, seed=seed), xw.Imputation(), study)
        failed += sum(r.passed is False for r in found.values())
        judged += sum(r.passed is not None for r in found.values())
    return failed, judged


@pytest.mark.parametrize("refuter", [PlaceboTreatment(40), PlaceboMediator(40), DummyOutcome(40)])
def test_a_sound_analysis_passes(refuter: Any) -> None:
    failed, judged = false_alarms(refuter, samples=3, n=200)
    assert failed == 0 and judged >= 6


@pytest.mark.slow
@pytest.mark.parametrize("refuter", [PlaceboTreatment(), PlaceboMediator(), DummyOutcome()])
def test_false_alarms_are_rare(refuter: Any) -> None:
    failed, judged = false_alarms(refuter, samples=100, n=300)
    assert failed <= 0.03 * judged


def test_the_placebo_treatment_finds_stale_weights() -> None:
    data = xw.datasets.linear(n=800, seed=1)
    x = data.frame["x"]
    wrong = StaleWeights(1.0 / (1.0 + np.exp(-0.5 * x)))
    found = tried(PlaceboTreatment(40), wrong, data.study(), (xw.TE,))["te"]
    assert found.passed is False
    # rows are weighted by 1/e(x) or 1/(1 - e(x)), so the placebo means differ by that much
    y, e = data.frame["y"], wrong.chance
    limit = np.average(y, weights=1 / e) - np.average(y, weights=1 / (1 - e))
    assert found.refuted == pytest.approx(limit, abs=0.05)
    assert abs(limit) > 0.2
    sound = tried(PlaceboTreatment(40), xw.Weighting(), data.study(), (xw.TE,))["te"]
    assert sound.passed and abs(sound.refuted or 1.0) < 0.05


@pytest.mark.parametrize("refuter", [PlaceboTreatment(60), DummyOutcome(60)])
def test_intervals_that_are_too_short_are_found(refuter: Any) -> None:
    study = xw.datasets.linear(n=300, seed=2).study()
    found = tried(refuter, Overconfident(0.4), study, (xw.TE, xw.NDE))
    assert [r.passed for r in found.values()] == [False, False]
    for r in found.values():
        assert r.data["rejected"] > 0.2 * r.data["rejected_of"]
        assert "too often" in r.detail


def test_the_placebo_mediator_finds_a_mediator_that_was_kept() -> None:
    study = xw.datasets.linear(n=500, seed=3).study()
    found = tried(PlaceboMediator(30), OldMediator(study), study)
    assert (found["nie"].passed, found["nde"].passed) == (False, False)
    assert found["nie"].refuted == pytest.approx(found["nie"].original)
    assert found["te"].passed is None and "does not involve" in found["te"].detail


def test_a_direct_effect_becomes_the_total_one() -> None:
    study = xw.datasets.interaction(n=600, seed=4).study()
    found = tried(PlaceboMediator(20), xw.Imputation(interaction=True), study)
    assert found["nde"].passed and found["nie"].passed
    assert found["nie"].refuted == pytest.approx(0.0, abs=0.01)
    assert found["nde"].refuted == pytest.approx(found["te"].original or 0.0, abs=0.05)
    assert abs((found["nde"].refuted or 0.0) - (found["nde"].original or 0.0)) > 0.3


def test_the_dummy_outcome_finds_a_model_of_the_real_one() -> None:
    study = xw.datasets.linear(n=400, seed=5).study()
    found = tried(DummyOutcome(20), OldOutcome(study), study)
    assert {r.passed for r in found.values()} == {False}
    assert found["te"].refuted == pytest.approx(found["te"].original, rel=1e-12)


def test_ratios_have_to_be_one_and_proportions_are_not_judged() -> None:
    study = xw.datasets.binary_both(n=600, seed=6).study()
    asked = (xw.NIE.ratio(), xw.TE.odds_ratio(), xw.PM)
    found = tried(PlaceboTreatment(30), xw.Imputation(), study, asked)
    assert found["nie.ratio"].passed and found["te.odds_ratio"].passed
    assert found["nie.ratio"].refuted == pytest.approx(1.0, abs=0.02)
    assert found["te.odds_ratio"].refuted == pytest.approx(1.0, abs=0.1)
    assert found["pm"].passed is None and "quotient" in found["pm"].detail


def test_other_treatments_and_mediators_can_be_permuted() -> None:
    asked = (xw.TE, xw.NIE)
    cases: list[tuple[Any, Any]] = [
        (xw.datasets.continuous_treatment(n=120, seed=1).study(), xw.Regression()),
        (xw.datasets.multilevel_treatment(n=120, seed=1).study(), xw.Regression()),
        (xw.datasets.nominal_mediator(n=120, seed=1).study(), xw.Imputation()),
        (xw.datasets.ordered(n=120, seed=1).study(), xw.Imputation()),
        (xw.datasets.clustered(n=120, seed=1, size=6).study(), xw.Imputation()),
    ]
    for study, method in cases:
        for refuter in (PlaceboTreatment(10), PlaceboMediator(10), DummyOutcome(10)):
            found = tried(refuter, method, study, asked)
            assert found["nie"].passed, (study.describe(), found["nie"].detail)


def test_interventional_effects_with_an_intermediate_confounder() -> None:
    study = xw.datasets.intermediate(n=120, seed=1).study()
    asked = (xw.IDE, xw.IIE)
    for refuter in (PlaceboTreatment(10), PlaceboMediator(10)):
        found = tried(refuter, xw.Regression(), study, asked)
        assert found["iie"].passed, found["iie"].detail


def test_failed_reruns_are_counted_and_said() -> None:
    study = xw.datasets.linear(n=200, seed=8).study()
    kept = study.take(np.r_[np.flatnonzero(study.treatment.values == 1)[:1], np.arange(200)])
    found = tried(PlaceboTreatment(60), Fragile(), kept, (xw.TE,))["te"]
    assert 10 < found.data["failed"] < 50
    assert found.data["failed"] + found.data["draws"] == 60
    assert "reruns failed (the first row is at the reference)" in found.detail


def test_too_few_reruns_decide_nothing() -> None:
    study = xw.datasets.linear(n=200, seed=8).study()
    kept = study.take(np.r_[np.flatnonzero(study.treatment.values == 1)[:1], np.arange(200)])
    found = tried(PlaceboTreatment(12), Fragile(), kept, (xw.TE,))["te"]
    assert found.passed is None and found.refuted is None
    assert "only" in found.detail and "at the reference" in found.detail


def test_a_study_without_permutations_is_not_judged() -> None:
    study = Plain(xw.datasets.linear(n=200, seed=8).study())
    whole = Analysis(study.held, xw.Imputation(), (xw.TE,)).run()
    bare: Analysis[Any] = Analysis(study, OfPlain(), (xw.TE,))  # type: ignore[type-var]
    (found,) = PlaceboTreatment().refute(bare, whole)
    assert found.passed is None and "Plain" in found.detail


@pytest.mark.parametrize("draws", [0, 9, 2.5, True])
def test_numbers_of_draws_are_checked(draws: Any) -> None:
    with pytest.raises(xw.errors.SpecError, match="draws is a whole number of at least 10"):
        PlaceboTreatment(draws=draws)


def test_permutations_respect_clusters() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    arm = rng.integers(0, 2, 40)[cluster]
    whole = arm[shuffled(arm.size, cluster, whole=True, rng=rng)]
    first = np.zeros(40)
    first[cluster] = whole
    assert (first[cluster] == whole).all()  # still one value for each cluster
    assert not (whole == arm).all()
    index = shuffled(arm.size, cluster, whole=False, rng=rng)
    assert sorted(index) == list(range(arm.size))  # a permutation
    stays = (cluster[index][1:] == cluster[index][:-1])[cluster[1:] == cluster[:-1]].mean()
    chance = np.mean([(cluster == c).mean() for c in cluster])
    assert stays > 0.5 > 5 * chance


def test_every_row_is_equally_likely_to_get_any_value() -> None:
    cluster = np.repeat(np.arange(4), (1, 2, 3, 6))
    got = np.zeros((12, 12))
    rng = np.random.default_rng(1)
    for _ in range(6000):
        got[np.arange(12), shuffled(12, cluster, whole=False, rng=rng)] += 1
    assert np.abs(got / 6000 - 1 / 12).max() < 0.02  # 5 standard errors: 0.018
