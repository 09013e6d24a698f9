"""Added covariates, subsets, measurement error, overlap: sound ones pass, faults are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.refute.common_cause import RandomCommonCause
from crossworld.refute.noisy_covariates import NoisyCovariates
from crossworld.refute.overlap import Overlap, concentration
from crossworld.refute.subset import DataSubset
from tests.refute.broken import Biased, LastCovariate, OfPlain, Overconfident, Plain, Unadjusted

NATURAL = (xw.TE, xw.NDE, xw.NIE)


def tried(refuter: Any, estimator: Any, study: Any, asked: Any = NATURAL) -> dict[str, Refutation]:
    analysis = Analysis(study, estimator, asked)
    return {r.term: r for r in refuter.refute(analysis, analysis.run())}


def confounded(load: float, n: int = 600, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x, e_a, e_m, e_y = rng.standard_normal((4, n))
    a = (load * x + e_a > 0).astype(int)
    m = 0.5 * a + 0.6 * x + e_m
    return {"a": a, "m": m, "y": 0.3 * a + 0.6 * m + 0.8 * x + e_y, "x": x}


def study(d: dict[str, Any], **options: Any) -> xw.TableStudy:
    return xw.TableStudy.from_frame(d, "a -> m -> y", adjust=["x"], **options)


@pytest.mark.parametrize("refuter", [RandomCommonCause(), DataSubset()])
def test_sound_analyses_pass(refuter: Any) -> None:
    for seed in range(4):
        base = xw.datasets.linear(n=300, seed=seed).study()
        assert {r.passed for r in tried(refuter, xw.Imputation(), base).values()} == {True}


@pytest.mark.slow
@pytest.mark.parametrize("refuter", [RandomCommonCause(), DataSubset()])
def test_false_alarms_are_rare(refuter: Any) -> None:
    failed = 0
    for seed in range(100):
        base = xw.datasets.linear(n=300, seed=seed).study()
        found = tried(type(refuter)(seed=seed), xw.Imputation(), base)
        failed += sum(r.passed is False for r in found.values())
    assert failed <= 9  # of 300


def test_a_random_cause_that_pushes_a_real_one_out_is_found() -> None:
    found = tried(RandomCommonCause(), LastCovariate(), study(confounded(0.8)))
    assert found["te"].passed is False
    assert found["te"].data["moved_standard_errors"] > 2


def test_an_estimator_that_ignores_the_covariate_is_not_judged() -> None:
    found = tried(RandomCommonCause(), Unadjusted(("x",)), study(confounded(0.5)))
    assert {r.passed for r in found.values()} == {None}


def test_movement_of_a_regression_is_about_one_over_root_n() -> None:
    """Var(added - plain) = se^2 / n for an irrelevant column in least squares."""
    found = tried(RandomCommonCause(draws=200), xw.Imputation(), study(confounded(0.5)), (xw.TE,))
    assert found["te"].data["moved_standard_errors"] == pytest.approx(600**-0.5, rel=0.25)


def test_errors_that_are_too_small_are_found_on_subsets() -> None:
    base = study(confounded(0.5))
    found = tried(DataSubset(), Overconfident(0.6), base, (xw.TE, xw.NIE))
    sound = tried(DataSubset(), xw.Imputation(), base, (xw.TE, xw.NIE))
    for term in ("te", "nie"):
        assert (found[term].passed, sound[term].passed) == (False, True)
        ratio = found[term].data["spread_ratio"] / sound[term].data["spread_ratio"]
        assert ratio == pytest.approx(1 / 0.6)


def test_bias_of_small_samples_is_found_on_subsets() -> None:
    base = study(confounded(0.5))
    found = tried(DataSubset(fraction=0.5), Biased(300.0), base, (xw.TE,))["te"]
    assert found.passed is False
    assert (found.refuted or 0.0) - (found.original or 0.0) == pytest.approx(0.5, abs=0.05)


def test_subsets_keep_clusters_whole() -> None:
    data = xw.datasets.clustered(n=400, seed=1, size=8)
    sizes: list[int] = []

    class Counts:
        def scores(self, part: Any, cells: Any) -> Any:
            sizes.append(len(part))
            assert set(np.bincount(part.cluster)) == {8}
            return xw.Imputation().scores(part, cells)

    found = tried(DataSubset(draws=20), Counts(), data.study(), (xw.NIE,))["nie"]
    assert sizes[1:] == [320] * 20 and found.passed


@pytest.mark.parametrize("study_of", [lambda: study(confounded(0.5))])
def test_any_study_has_subsets(study_of: Any) -> None:
    held = study_of()
    whole = Analysis(held, xw.Imputation(), (xw.TE,)).run()
    bare: Analysis[Any] = Analysis(Plain(held), OfPlain(), (xw.TE,))  # type: ignore[type-var]
    (found,) = DataSubset(draws=20).refute(bare, whole)
    assert found.passed
    (other,) = RandomCommonCause().refute(bare, whole)
    assert other.passed is None and "Plain" in other.detail


def test_error_in_a_confounder_lets_confounding_in_as_theory_says() -> None:
    d = confounded(0.0, n=4000)
    d["a"] = (d["x"] + np.random.default_rng(9).standard_normal(4000) > 0).astype(int)
    d["m"] = d["m"] * 0 + np.random.default_rng(8).standard_normal(4000)
    d["y"] = 0.3 * d["a"] + 0.8 * d["x"] + np.random.default_rng(7).standard_normal(4000)
    found = tried(NoisyCovariates((0.5, 1.0), draws=5), xw.Imputation(), study(d), (xw.TE,))["te"]
    assert found.passed is False
    # least squares: bias = 0.8 * coefficient of a in the regression of x on a and x + s e
    for step in found.data["steps"]:
        s2, between = step["amount"] ** 2, np.cov(d["a"], d["x"])[0, 1]
        design = np.array([[np.var(d["a"]), between], [between, 1.0 + s2]])
        bias = 0.8 * np.linalg.solve(design, [between, 1.0])[0]
        assert step["estimate"] - (found.original or 0.0) == pytest.approx(bias, abs=0.03)


def test_covariates_that_do_not_confound_may_be_noisy() -> None:
    for seed in range(5):
        d = confounded(0.0, seed=seed)
        d["m"] = d["m"] - 0.6 * d["x"]
        found = tried(NoisyCovariates(draws=5), xw.Imputation(), study(d))
        assert {r.passed for r in found.values()} == {True}


def test_categories_are_mixed_up_as_often_as_said() -> None:
    d = confounded(0.5, n=4000)
    d["g"] = np.where(d["x"] > 0.5, "high", np.where(d["x"] < -0.5, "low", "mid"))
    base = xw.TableStudy.from_frame(d, "a -> m -> y", adjust=["g", "x"])
    rng = np.random.default_rng(0)
    worse = base.blurred(1.0, rng)
    kept = (worse.table["g"].values == base.table["g"].values).mean()
    share = np.bincount(base.table["g"].values.astype(int)) / 4000
    assert kept == pytest.approx(0.5 + 0.5 * (share**2).sum(), abs=0.03)
    assert worse.table["x"].values.var() == pytest.approx(2 * base.table["x"].values.var(), rel=0.1)
    assert worse.table["a"] is base.table["a"] and worse.table["y"] is base.table["y"]


@pytest.mark.parametrize("load", [0.5, 3.0])
def test_overlap_is_judged_with_numbers(load: float) -> None:
    found = tried(Overlap(), xw.Imputation(), study(confounded(load, n=1000)))[""]
    assert found.passed is (load < 1.0)
    told = found.data["covariates"]
    d = confounded(load, n=1000)
    # the same by statsmodels
    import statsmodels.api as sm

    design = sm.add_constant(d["x"])
    chance = sm.Logit(d["a"], design).fit(disp=0).predict(design)
    weight = 1.0 / chance[d["a"] == 1]
    effective = weight.sum() ** 2 / (weight**2).sum() / weight.size
    assert told["lowest"] == pytest.approx(chance.min(), rel=1e-5)
    assert told["effective_share_active"] == pytest.approx(effective, rel=1e-5)
    beyond = np.mean((chance < 0.02) | (chance > 0.98))
    assert told["beyond_edge"] == pytest.approx(beyond)


def test_influence_of_a_few_units_is_found() -> None:
    d = confounded(0.5, n=500)
    d["y"][:3] = 300.0
    found = tried(Overlap(), xw.Imputation(), study(d))
    assert found["te"].passed is False and found["te"].data["top_share"] > 0.3
    normal = np.random.default_rng(0).standard_normal(100_000)
    assert concentration(normal) == pytest.approx(0.0362, abs=0.001)


def test_overlap_of_a_continuous_treatment_is_not_judged() -> None:
    base = xw.datasets.continuous_treatment(n=200, seed=1).study()
    found = tried(Overlap(), xw.Regression(), base)
    assert found[""].passed is None and "two levels" in found[""].detail
    assert found["nie"].passed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataSubset(fraction=1.0), "fraction is a share"),
        (lambda: RandomCommonCause(most=0.0), "most is a positive"),
        (lambda: NoisyCovariates(amounts=()), "amounts are positive"),
        (lambda: NoisyCovariates(amounts=(1.0,)), "nothing would be"),
        (lambda: Overlap(top=1.5), "top is a share"),
    ],
)
def test_options_are_checked(make: Any, message: str) -> None:
    with pytest.raises(xw.errors.SpecError, match=message):
        make()


def test_noise_of_random_folds_is_told_apart_from_sampling_error() -> None:
    d = dict(xw.datasets.clustered(n=200, seed=1, size=5).frame)
    base = study(d, cluster="cluster")
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    found = tried(DataSubset(draws=20), method, base, (xw.NIE,))["nie"]
    error = Analysis(base, method, (xw.NIE,)).run()["nie"].std_error or 0.0
    seeds = [
        xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2, seed=s)
        for s in range(11)
    ]
    own = [Analysis(base, m, (xw.NIE,)).run()["nie"].estimate or 0.0 for m in seeds]
    assert found.data["seed_noise"] == pytest.approx(float(np.std(own, ddof=1)))
    assert found.data["seed_noise"] > 0.1 * error
    assert found.passed and "Another seed alone" in found.detail
    fixed = tried(DataSubset(draws=10), xw.Imputation(), base, (xw.NIE,))["nie"]
    assert fixed.data["seed_noise"] == 0.0
