"""Divergence bounds: dual against primal, against Manski's, and what cannot be bounded."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize

import crossworld as xw
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.divergence import DIVERGENCES, dual, named
from crossworld.sensitivity.information import information_bounds
from tests.sensitivity.laws import random_law, study_of

each = pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES)


def primal(values, p, e, divergence) -> float:
    """Largest E_P[s Y] with E_P s = 1 and D_f(P || sP) at most the radius, by SLSQP."""

    def spent(s):
        s = np.maximum(s, 1e-12)
        return float(p @ np.array([r * divergence.generator(1.0 / r) for r in s]))

    limits = [
        {"type": "eq", "fun": lambda s: p @ s - 1.0},
        {"type": "ineq", "fun": lambda s: divergence.radius(e) - spent(s)},
    ]
    manski = e + (1 - e) * (values == values.max()) / p[values == values.max()].sum()
    found = []
    for start in (np.ones(p.size), 0.5 + 0.5 * manski):
        run = minimize(
            lambda s: -p @ (s * values), start, constraints=limits, method="SLSQP",
            bounds=[(1e-9, None)] * p.size, options={"maxiter": 1000, "ftol": 1e-13},
        )  # fmt: skip
        if run.success:
            found.append(-run.fun)
    return max(found)


@each
def test_the_radius_is_that_of_the_generator(divergence) -> None:
    for e in (0.1, 0.5, 0.9):
        whole = e * divergence.generator(1.0 / e) + (1.0 - e) * divergence.generator(0.0)
        assert divergence.radius(e) == pytest.approx(whole)
        step = 1e-6
        slope = (divergence.radius(e + step) - divergence.radius(e - step)) / (2 * step)
        assert divergence.slope(e) == pytest.approx(slope, rel=1e-6)


@each
def test_the_conjugate_is_the_supremum(divergence) -> None:
    grid = np.exp(np.linspace(-20.0, 12.0, 20_001))
    costs = np.array([r * divergence.generator(1.0 / r) for r in grid])
    for t in (-2.0, -0.4, divergence.cap - 0.15):
        best = (t * grid - costs).max()
        assert divergence.conjugate(np.array([t]))[0] == pytest.approx(best, abs=1e-5)


@each
def test_dual_is_primal_and_never_narrower_than_manski(divergence) -> None:
    rng, wider = np.random.default_rng(1), []
    for _ in range(8):
        k = int(rng.integers(2, 5))
        p, values, e = rng.dirichlet(2 * np.ones(k)), rng.normal(size=k), rng.uniform(0.1, 0.95)
        found = dual(values, p, e, divergence=divergence, top=values.max()).value
        assert found == pytest.approx(primal(values, p, e, divergence), abs=2e-5)
        manski = e * p @ values + (1 - e) * values.max()
        assert manski - 1e-9 <= found <= values.max() + 1e-6
        wider.append(found - manski)
    assert max(wider) > 1e-3


@each
def test_bounds_are_wider_than_manski_in_many_laws(divergence) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        k = int(rng.integers(1, 6))
        p, values, e = rng.dirichlet(np.ones(k)), rng.uniform(size=k), rng.uniform(0.05, 1.0)
        found = dual(values, p, e, divergence=divergence, top=1.0).value
        assert found >= e * p @ values + (1 - e) * 1.0 - 1e-7
        truth = e * p @ values + (1 - e) * rng.uniform()
        assert truth <= found + 1e-9


@each
def test_a_support_beyond_the_sample_counts(divergence) -> None:
    p, values = np.array([0.5, 0.5]), np.array([0.0, 1.0])
    near = dual(values, p, 0.6, divergence=divergence, top=1.0).value
    far = dual(values, p, 0.6, divergence=divergence, top=100.0).value
    assert far > near + 10.0  # unbounded supports have no finite bound


def test_a_study_that_is_a_law_gives_the_law_s_bounds() -> None:
    law = random_law(np.random.default_rng(3), nx=2, ny=3, values=[0.0, 0.4, 1.0])
    p = law.observed().sum(axis=2)  # x a y
    study = study_of(law.observed(), law.values)
    found = information_bounds(study, support=(0.0, 1.0))
    for method in (*DIVERGENCES, "manski"):
        ends = {}
        for a in (0, 1):
            e = p[:, a].sum(axis=1) / p.sum(axis=(1, 2))
            given = p[:, a] / p[:, a].sum(axis=1, keepdims=True)
            for sign, top in ((1.0, 1.0), (-1.0, 0.0)):
                if method == "manski":
                    v = [
                        q @ (sign * law.values) * w + (1 - w) * top
                        for q, w in zip(given, e, strict=True)
                    ]
                else:
                    v = [
                        dual(sign * law.values, q, w, divergence=named(method), top=top).value
                        for q, w in zip(given, e, strict=True)
                    ]
                ends[a, sign] = sign * float(law.x @ v)
        held = found["te", method]
        assert held.high.value == pytest.approx(ends[1, 1.0] - ends[0, -1.0], abs=1e-6)
        assert held.low.value == pytest.approx(ends[1, -1.0] - ends[0, 1.0], abs=1e-6)
        manski = found["te", "manski"]
        assert held.low.value <= manski.low.value + 1e-9
        assert held.high.value >= manski.high.value - 1e-9
        limits = held.limits()
        assert limits[0] < held.low.value and limits[1] > held.high.value
    assert found["te", "manski"].high.value - found["te", "manski"].low.value == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["kl", "hellinger", "chi2", "js", "manski"])
def test_the_score_is_the_slope_in_a_unit_s_weight(method) -> None:
    rng = np.random.default_rng(4)
    n = 40
    table = {"a": (rng.random(n) < 0.5) * 1.0, "m": rng.normal(size=n), "y": rng.random(n)}

    def high(weights) -> object:
        held = {**table, "w": weights}
        study = xw.TableStudy.from_frame(held, "a -> m -> y", weights="w")
        asked = () if method == "manski" else (method,)
        return information_bounds(study, support=(0.0, 1.0), divergences=asked)["te", method].high

    base, step = np.ones(n), 1e-3
    score = high(base)
    for i in (0, 7, 23):
        up, down = base.copy(), base.copy()
        up[i] += step
        down[i] -= step
        slope = (high(up).value - high(down).value) / (2 * step) * n
        assert score.influence[i] == pytest.approx(slope, abs=2e-3)


def test_without_a_finite_support_there_is_no_bound() -> None:
    study = xw.datasets.interaction(n=60, seed=1).study()
    found = information_bounds(study)
    row = found.rows()[0]
    assert row["bound_low"] is None and row["limit_high"] is None
    assert "infinite" in row["reason"] and "infinite" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(SpecError, match="infinite"):
        found["te", "kl"]


def test_results_are_written_and_nonsense_is_refused() -> None:
    rng = np.random.default_rng(5)
    table = {name: (rng.random(80) < 0.5) * 1.0 for name in ("a", "m", "y", "x")}
    study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"])
    found = information_bounds(study, divergences=["tv", "chi2"])
    assert "never wider" in str(found)
    assert list(found.to_frame()["method"]) == ["tv", "chi2", "manski"]
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.plot().get_title(loc="left").startswith("te")
    assert math.isfinite(found["te", "tv"].low.value)
    with pytest.raises(SpecError, match="divergence"):
        information_bounds(study, divergences=["kld"])
    with pytest.raises(DesignError, match="support_bounds"):
        information_bounds(study, effects="nie")
    wide = xw.datasets.binary_outcome(n=200, seed=1).study()
    with pytest.raises(DesignError, match="strata"):
        information_bounds(wide)
