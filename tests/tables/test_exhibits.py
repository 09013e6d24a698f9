"""Mediators under both treatments: counts by hand, the projection, the test, what is left out."""

from __future__ import annotations

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.exhibits import Distributions
from crossworld.errors import DesignError
from crossworld.tables.exhibits import arms, mediator_distributions, overlap, ridge


def vectors(shift: float, *, n: int = 400, d: int = 12, seed: int = 0) -> xw.TableStudy:
    """Only the first mediator moves with the treatment and moves the outcome."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 2, n)
    m = rng.normal(size=(n, d))
    m[:, 0] += shift * a
    y = 2.0 * m[:, 0] + a + rng.normal(size=n) * 0.1
    held = {"a": a, "y": y, **{f"e_{j}": m[:, j] for j in range(d)}}
    return xw.TableStudy.from_frame(held, "a -> e_* -> y")


def test_shares_and_moments_are_those_of_the_rows() -> None:
    data = xw.datasets.linear(n=300, seed=1)
    study = data.study()
    held = mediator_distributions(study, draws=19)
    (variable,) = held.variables
    m, a = study.table["m"].values, study.treatment.values
    for arm, level in zip(variable.arms, (0.0, 1.0), strict=True):
        rows = m[a == level]
        assert arm.n == rows.size and arm.label == f"a = {level:g}"
        assert arm.mean == pytest.approx(rows.mean()) and arm.sd == pytest.approx(rows.std())
        counts = np.histogram(rows, bins=variable.edges)[0]
        assert np.allclose(np.array(arm.shares, dtype=float) * rows.size, counts)


def test_weights_weigh() -> None:
    rng = np.random.default_rng(2)
    held = {"a": [0, 1] * 60, "m": rng.integers(0, 3, 120), "y": rng.normal(size=120)}
    held["w"] = np.where(np.asarray(held["m"]) == 2, 3.0, 1.0)
    study = xw.TableStudy.from_frame(held, "a -> m -> y", weights="w")
    variable = mediator_distributions(study, draws=19).variables[0]
    assert variable.categories == ("0", "1", "2")
    chosen = np.asarray(held["m"])[1::2]
    count = np.array([(chosen == v).sum() for v in range(3)]) * np.array([1.0, 1.0, 3.0])
    assert np.allclose(np.array(variable.arms[1].shares, float), count / count.sum())


def test_categories_are_named_and_rare_ones_gathered() -> None:
    rng = np.random.default_rng(3)
    names = np.array([f"kind {k:02d}" for k in range(30)])[rng.integers(0, 30, 900)]
    held = {"a": [0, 1] * 450, "m": names, "y": rng.normal(size=900)}
    variable = mediator_distributions(xw.TableStudy.from_frame(held, "a -> m -> y"), draws=9)
    shown = variable.variables[0]
    assert len(shown.categories) == 21 and shown.categories[-1] == "other"
    for arm in shown.arms:
        assert sum(s or 0.0 for s in arm.shares) == pytest.approx(1.0) and arm.mean is None


def test_vectors_are_shown_along_what_carries_the_effect() -> None:
    study = vectors(1.0)
    held = mediator_distributions(study, draws=99)
    assert held.variables[0].name == "the projection that carries the indirect effect"
    assert len(held.variables) == 4
    low, high = held.variables[0].arms
    a, first = study.treatment.values, study.table["e_0"].values
    truth = 2.0 * (first[a == 1.0].mean() - first[a == 0.0].mean())
    assert (high.mean or 0.0) - (low.mean or 0.0) == pytest.approx(truth, abs=0.05)
    (test,) = held.tests
    assert test.p_value == pytest.approx(1 / 100) and test.n == 400 and test.seed == 0


def test_a_vector_that_does_not_move_is_not_found_to() -> None:
    found = [
        mediator_distributions(vectors(0.0, n=80, seed=k), draws=99).tests[0] for k in range(60)
    ]
    rejected = sum((test.p_value or 0.0) <= 0.05 for test in found)
    assert rejected <= 8  # 60 draws at 5 %: more than 8 has probability 0.3 %


def test_whole_clusters_move_when_treated_whole() -> None:
    """Rows of a cluster are alike; moved one by one they would show a difference that is not."""
    rejected = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        c = np.repeat(np.arange(20), 15)
        a = (np.arange(20) % 2)[c]
        m = rng.normal(size=20)[c] + 0.1 * rng.normal(size=300)
        held = {"a": a, "m": m, "y": rng.normal(size=300), "c": c}
        study = xw.TableStudy.from_frame(held, "a -> m -> y", cluster="c")
        rejected += (mediator_distributions(study, draws=99).tests[0].p_value or 0.0) <= 0.05
    assert rejected <= 7


def test_a_treatment_with_many_values_is_compared_near_its_levels() -> None:
    study = xw.TableStudy.from_frame(
        xw.datasets.diabetes(), "bmi -> ldl -> progression", levels=(25, 30)
    )
    low, high, labels = arms(study)
    bmi = study.treatment.values
    assert labels == ("near bmi = 25", "near bmi = 30")
    assert np.array_equal(low, np.flatnonzero((bmi > 22.5) & (bmi < 27.5)))
    assert np.array_equal(high, np.flatnonzero((bmi > 27.5) & (bmi < 32.5)))
    assert "many values" in mediator_distributions(study, draws=9).note


def test_a_level_without_rows_has_no_picture() -> None:
    held = {"a": [0.0] * 30 + [1.0] * 3, "m": range(33), "y": [*range(11), *range(22)]}
    study = xw.TableStudy.from_frame(held, "a -> m -> y")
    with pytest.raises(DesignError, match="fewer than 5 rows"):
        mediator_distributions(study)
    assert study.exhibits(None) == []


def test_more_rows_than_wanted_are_sampled_and_said() -> None:
    study = xw.datasets.linear(n=700, seed=3).study()
    held = mediator_distributions(study, draws=19, most=200)
    assert held.tests[0].n == 200
    assert held == mediator_distributions(study, draws=19, most=200)
    assert sum(arm.n for arm in held.variables[0].arms) == 700


def test_overlap_is_the_propensity_of_both_groups() -> None:
    study = xw.datasets.linear(n=400, seed=4).study()
    first = overlap(study).variables[0]
    for arm, chance in zip(first.arms, study.chances()["covariates"], strict=True):
        assert arm.n == chance.size and arm.mean == pytest.approx(chance.mean())


def test_mediators_that_tell_the_groups_apart_leave_the_covariates() -> None:
    rng = np.random.default_rng(6)
    a, x = np.arange(200) % 2, rng.normal(size=200)
    held = {"a": a, "x": x, "m": 10.0 * a + rng.normal(size=200), "y": rng.normal(size=200)}
    found = overlap(xw.TableStudy.from_frame(held, "a -> m -> y", adjust=["x"]))
    assert [v.name for v in found.variables] == ["P(a = 1 | covariates)"]
    assert "tell the groups apart" in found.note


def test_ridge_is_least_squares_where_it_can_be_and_finite_where_not() -> None:
    rng = np.random.default_rng(5)
    z, x = rng.normal(size=(500, 3)), np.column_stack([np.ones(500), rng.normal(size=500)])
    y = z @ np.array([1.0, -2.0, 0.0]) + x @ np.array([3.0, 0.5]) + 0.001 * rng.normal(size=500)
    exact = np.linalg.lstsq(np.column_stack([z, x]), y, rcond=None)[0][:3]
    assert np.allclose(ridge(z, y, x), exact, atol=1e-5)
    wide = rng.normal(size=(40, 90))
    slope = ridge(wide, wide[:, 0], np.ones((40, 1)))
    assert np.isfinite(slope).all() and slope[0] == pytest.approx(max(slope))


def test_a_report_has_them_without_being_asked() -> None:
    result = xw.estimate(xw.datasets.linear(n=200, seed=6).study(), xw.Regression())
    assert result.exhibits == ()
    shown = result.illustrated()
    assert [one.kind for one in shown.exhibits] == ["distributions", "distributions", "contour"]
    assert isinstance(shown.exhibits[0], Distributions)
    assert shown.illustrated() is shown
    grid = xw.sensitivity.bias_formulas(result, term="nde").contours().exhibit()
    own = result.with_exhibits([grid]).illustrated()
    assert [one.kind for one in own.exhibits] == ["contour", "distributions", "distributions"]
    assert result["nie"] == shown["nie"]
