"""A randomised proxy of the mediator in a second table."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.sandbox.regression.gmm import IV2SLS

import crossworld as xw
from crossworld.errors import DesignError, EstimationError
from crossworld.tables.encouragement import Encouragement, two_stage

LEARNERS = {"outcome": "linear", "treatment": "logistic", "folds": 2}
TRUTH = {"te": 0.4 + 0.9 * 0.8 + 0.3 * 0.2, "nde": 0.4 + 0.3 * 0.2, "nie": 0.9 * 0.8}


def draw(n: int, seed: int, encouraged: bool) -> dict[str, np.ndarray]:
    """m = 0.2 + 0.8 a + 0.4 x + u + z; y = 0.4 a + 0.6 m + 0.3 a m + 0.5 x + 1.5 u."""
    rng = np.random.default_rng([seed, encouraged])
    x, u = rng.normal(size=(2, n))
    a = rng.binomial(1, 1 / (1 + np.exp(-0.4 * x)))
    z = rng.binomial(1, 0.5, size=n) * encouraged
    m = 0.2 + 0.8 * a + 0.4 * x + u + 1.2 * z + rng.normal(size=n)
    y = 0.4 * a + 0.6 * m + 0.3 * a * m + 0.5 * x + 1.5 * u + rng.normal(size=n)
    return {"x": x, "a": a, "z": z, "m": m, "y": y}


def study(n: int = 2000, seed: int = 0) -> xw.TableStudy:
    return xw.TableStudy.from_frame(draw(n, seed, False), "a -> m -> y", adjust=["x"])


def test_natural_effects_are_recovered_where_adjustment_is_wrong() -> None:
    estimates, errors, wrong = [], [], []
    for seed in range(40):
        method = Encouragement(draw(1500, 100 + seed, True), "z", **LEARNERS)
        found = xw.estimate(study(1500, seed), method)
        estimates.append([found[t].estimate for t in TRUTH])
        errors.append([found[t].std_error for t in TRUTH])
        naive = xw.estimate(study(1500, seed), xw.Regression(interaction=True))
        wrong.append(naive["nie"].estimate)
    truth = np.array(list(TRUTH.values()))
    spread = np.std(estimates, axis=0, ddof=1)
    bias = np.mean(estimates, axis=0) - truth
    assert (np.abs(bias) < 4 * spread / np.sqrt(40)).all()
    assert (np.abs(np.mean(errors, axis=0) / spread - 1) < 0.35).all()
    assert np.mean(wrong) - TRUTH["nie"] > 0.4


def test_two_stage_least_squares_agrees_with_statsmodels() -> None:
    t = draw(800, 3, True)
    exogenous = np.column_stack([np.ones(800), t["x"], t["a"]])
    beta, influence, f = two_stage(t["y"], t["m"][:, None], t["z"][:, None], exogenous, None)
    other = IV2SLS(
        t["y"], np.column_stack([t["m"], exogenous]), np.column_stack([t["z"], exogenous])
    ).fit()
    assert beta[0] == pytest.approx(other.params[0], abs=1e-10)
    hc0 = np.sqrt((influence[:, 0] ** 2).sum()) / 800
    assert 0.8 < hc0 / other.bse[0] < 1.25
    assert f > 50


def test_the_influence_is_the_derivative_in_each_unit_s_weight() -> None:
    t = draw(300, 5, True)
    exogenous = np.column_stack([np.ones(300), t["x"]])
    parts = (t["y"], t["m"][:, None], t["z"][:, None], exogenous)
    _, influence, _ = two_stage(*parts, None)
    for unit in (0, 17, 200):
        step = 1e-5
        moved = [
            two_stage(*parts, 1.0 + sign * step * (np.arange(300) == unit))[0][0]
            for sign in (1.0, -1.0)
        ]
        assert (moved[0] - moved[1]) / (2 * step) * 300 == pytest.approx(
            influence[unit, 0], rel=1e-4
        )


def test_one_common_slope_serves_a_second_table_without_an_arm() -> None:
    second = draw(2000, 7, True)
    kept = second["a"] == 1
    only = {k: v[kept] for k, v in second.items()}
    one = xw.TableStudy.from_frame(second, "a -> m -> y", adjust=["x"])
    with pytest.raises(DesignError, match="no row at level 0"):
        xw.estimate(study(), Encouragement(one.take(np.flatnonzero(kept)), "z", **LEARNERS))
    part = one.take(np.flatnonzero(kept))
    found = xw.estimate(study(), Encouragement(part, "z", interaction=False, **LEARNERS), [xw.NIE])
    assert abs(found["nie"].estimate - TRUTH["nie"]) < 4 * found["nie"].std_error
    assert len(only["a"]) == kept.sum()


def test_what_cannot_be_done_is_refused_or_warned_of() -> None:
    second = draw(800, 9, True)
    with pytest.raises(DesignError, match="at least one instrument"):
        xw.estimate(study(), Encouragement(second, (), **LEARNERS))
    with pytest.raises(DesignError, match="'q'"):
        xw.estimate(study(), Encouragement(second, "q", **LEARNERS))
    with pytest.raises(DesignError, match="needs the table"):
        xw.estimate(study(), Encouragement(None, "z", **LEARNERS))
    constant = {**second, "z": np.ones(800)}
    with pytest.raises(EstimationError, match="do not move"):
        xw.estimate(study(), Encouragement(constant, "z", **LEARNERS))
    noise = {**second, "z": np.random.default_rng(0).integers(0, 2, 800)}
    found = xw.estimate(study(), Encouragement(noise, "z", **LEARNERS))
    assert any("weak" in text for text in found.warnings)
