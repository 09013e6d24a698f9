"""The default learners: a weighted, convex stack."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression

import crossworld as xw
from crossworld.tables.robust.learners import Fractional, Recipe, fit
from crossworld.tables.robust.stack import Plan, StackRegressor, fold_ids


def _fit(learner: object, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> object:
    return fit(learner, x, y, weights, "test")


def test_the_better_learner_gets_the_weight() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = x @ [1.0, -2.0] + 0.1 * rng.normal(size=400)
    stack = StackRegressor(Plan((DummyRegressor(), LinearRegression()), _fit)).fit(x, y)
    assert stack.chosen.shares[1] > 0.98
    assert stack.chosen.shares.sum() == pytest.approx(1.0)
    assert np.corrcoef(stack.predict(x), y)[0, 1] > 0.99


def test_weight_two_is_two_rows_in_the_final_fits() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(60, 1)), rng.integers(1, 4, size=60).astype(float)
    y = x[:, 0] ** 2 + rng.normal(size=60)
    weighted = StackRegressor(Plan((LinearRegression(),), _fit)).fit(x, y, w)
    rows = np.repeat(np.arange(60), w.astype(int))
    repeated = StackRegressor(Plan((LinearRegression(),), _fit)).fit(x[rows], y[rows])
    np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), atol=1e-12)
    plain = StackRegressor(Plan((LinearRegression(),), _fit)).fit(x, y)
    assert np.abs(weighted.predict(x) - plain.predict(x)).max() > 1e-3


def test_copies_of_a_row_share_a_fold() -> None:
    label = np.concatenate([np.ones(50), np.zeros(50)])
    ids = fold_ids(label, 3, seed=4)
    np.testing.assert_array_equal(ids[:50], ids[50:])
    assert np.bincount(ids).min() >= 32


def test_a_fraction_is_regressed_within_its_range() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(600, 1))
    p = 1 / (1 + np.exp(-2.0 * x[:, 0]))
    learner = Recipe("auto", "outcome", 0).make(probability=True, rows=600)
    fitted = Fractional(learner).fit(x, p, None)
    found = fitted.predict_proba(x)[:, 1]
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    assert np.abs(found - p).mean() < 0.02


@pytest.mark.parametrize("weighted", [False, True])
def test_defaults_serve_a_binary_outcome_with_enough_rows_for_boosting(weighted: bool) -> None:
    data = xw.datasets.binary_outcome(n=900, seed=3)
    frame = data.to_pandas()
    frame["w"] = np.random.default_rng(0).uniform(0.5, 1.5, size=900)
    study = xw.TableStudy.from_frame(
        frame, "a -> m -> y", adjust=["x"], weights="w" if weighted else None
    )
    effects = xw.estimate(study, xw.MultiplyRobust(folds=2))
    for row, effect in zip(effects, (xw.TE, xw.NDE, xw.NIE), strict=True):
        assert abs(row.estimate - data.effect(effect)) < 4 * row.std_error
        assert 0.005 < row.std_error < 0.1
