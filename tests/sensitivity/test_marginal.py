"""Marginal sensitivity bounds against linear programs and laws with a confounder left out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.optimize import linprog

import crossworld as xw
from crossworld.errors import SpecError
from crossworld.sensitivity.marginal import extreme_mean, marginal_bounds, tilted
from tests.sensitivity.laws import Law, random_law, saturated, study_of


def program(values: np.ndarray, p: np.ndarray, gamma: float) -> tuple[float, float]:
    """Extremes of E[lambda Y] by linear programming."""
    box = [(1.0 / gamma, gamma)] * p.size
    ends = [
        linprog(s * p * values, A_eq=p[None, :], b_eq=[1.0], bounds=box).fun for s in (1.0, -1.0)
    ]
    return ends[0], -ends[1]


def test_extreme_means_are_those_of_the_program() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        k = int(rng.integers(1, 7))
        p, values = rng.dirichlet(np.ones(k)), rng.normal(size=k)
        gamma = float(np.exp(rng.exponential()))
        assert extreme_mean(values, p, gamma) == pytest.approx(program(values, p, gamma), abs=1e-8)
        q = rng.normal()
        assert p @ tilted(values, np.full(k, q), gamma) >= extreme_mean(values, p, gamma)[1] - 1e-12


def enumerated(law: Law, gamma: float, a: int = 1, b: int = 0, ends=program) -> tuple[float, float]:
    """Sharp bounds of Y(a, M(b)): a program for every value of covariate and mediator."""
    p = law.observed()  # x a m y
    total = np.zeros(2)
    for x in range(p.shape[0]):
        for m in range(p.shape[2]):
            weight = p[x, b, m].sum() / p[x, b].sum() * p[x].sum()
            given = p[x, a, m] / p[x, a, m].sum()
            total += weight * np.array(ends(law.values, given, gamma))
    return float(total[0]), float(total[1])


def odds_ratio(law: Law, a: int = 1, b: int = 0) -> float:
    """Largest factor by which U moves the odds of b against a given M and X."""
    p = law.joint().sum(axis=4)  # x u a m
    long, short = p[:, :, b] / p[:, :, a], p.sum(axis=1)[:, b] / p.sum(axis=1)[:, a]
    ratio = long / short[:, None]
    return float(max(ratio.max(), (1.0 / ratio).max()))


def test_laws_with_that_much_confounding_lie_within() -> None:
    rng, near = np.random.default_rng(2), []
    for _ in range(300):
        law = random_law(rng, nx=1, nu=2, nm=2, ny=2, strength=3.0)
        low, high = enumerated(law, odds_ratio(law), ends=extreme_mean)
        truth = law.truth(1, 0)
        assert low - 1e-9 <= truth <= high + 1e-9
        centre = enumerated(law, 1.0, ends=extreme_mean)[0]
        near.append((truth - centre) / ((high if truth > centre else low) - centre + 1e-12))
    assert max(near) > 0.6


@pytest.mark.parametrize("gamma", [1.0, 1.3, 2.0, 5.0])
def test_a_study_that_is_a_law_gives_the_law_s_bounds(gamma) -> None:
    law = random_law(np.random.default_rng(3), nx=3, nm=3)
    study = study_of(law.observed(), law.values)
    table = marginal_bounds(study, saturated(), effects=("nde", "nie", "pnie"), gamma=gamma)
    found = table.at(gamma)
    low, high = enumerated(law, gamma)
    zero, one = law.truth(0, 0), law.truth(1, 1)
    assert found["nde"].low.value == pytest.approx(low - zero, abs=1e-8)
    assert found["nde"].high.value == pytest.approx(high - zero, abs=1e-8)
    assert found["nie"].low.value == pytest.approx(one - high, abs=1e-8)
    assert found["nie"].high.value == pytest.approx(one - low, abs=1e-8)
    back = enumerated(law, gamma, 0, 1)
    assert found["pnie"].high.value == pytest.approx(back[1] - zero, abs=1e-8)
    assert (high - low > 1e-3) == (gamma > 1.0)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_total_effects_have_the_bounds_of_tan(gamma) -> None:
    law = random_law(np.random.default_rng(4), nx=3)
    p = law.observed().sum(axis=2)  # x a y
    ends = []
    for a in (1, 0):
        seen = (p[:, a] @ law.values).sum()
        given = p[:, a] / p[:, a].sum(axis=1, keepdims=True)
        other = np.array([program(law.values, g, gamma) for g in given])
        ends.append(seen + p[:, 1 - a].sum(axis=1) @ other)
    study = study_of(law.observed(), law.values)
    found = marginal_bounds(study, saturated(), effects="te", gamma=gamma).at(gamma)["te"]
    assert found.low.value == pytest.approx(ends[0][0] - ends[1][1], abs=1e-8)
    assert found.high.value == pytest.approx(ends[0][1] - ends[1][0], abs=1e-8)


def test_any_quantile_is_valid() -> None:
    """A linear quantile of a law that has none: wider, never narrower."""
    law = random_law(np.random.default_rng(5), nx=2, nm=2, ny=3, values=[-1.0, 0.3, 4.0])
    study = study_of(law.observed(), law.values)
    low, high = enumerated(law, 2.0)
    zero = law.truth(0, 0)
    found = marginal_bounds(study, saturated(), effects="nde", gamma=2.0).at(2.0)["nde"]
    assert found.low.value <= low - zero + 1e-9
    assert found.high.value >= high - zero - 1e-9
    assert found.high.value - found.low.value < 1.5 * (high - low)
    same = marginal_bounds(study, saturated(), effects="nde", gamma=1.0).at(1.0)["nde"]
    assert same.low.value == pytest.approx(same.high.value)
    assert same.low.value == pytest.approx(enumerated(law, 1.0)[0] - zero)


def test_continuous_outcomes_and_what_is_written() -> None:
    study = xw.datasets.interaction(n=300, seed=1).study()
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    found = marginal_bounds(study, method, effects=("nie", "te"), gamma=(1, 1.5, 2))
    plain = xw.estimate(study, method, [xw.NIE])["nie"]
    assert found.at(1.0)["nie"].low.value == pytest.approx(
        plain.estimate, abs=0.5 * plain.std_error
    )  # the nested regression is trained on other rows
    widths = [t["nie"].high.value - t["nie"].low.value for t in found.tables]
    assert widths[0] == pytest.approx(0.0, abs=1e-9) and 0 < widths[1] < widths[2]
    for name in ("nie", "te"):
        limits = found.at(2.0)[name].limits()
        assert (
            limits[0] < found.at(2.0)[name].low.value < found.at(2.0)[name].high.value < limits[1]
        )
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.to_frame()) == 6
    assert "nie" in str(found)
    assert found.plot().get_ylabel() == "nie"
    boosted = marginal_bounds(study, method, effects="nie", gamma=2.0, quantile="boosting")
    assert boosted.at(2.0)["nie"].high.value == pytest.approx(
        found.at(2.0)["nie"].high.value, abs=0.25
    )


def test_what_cannot_be_meant_is_refused() -> None:
    study = xw.datasets.interaction(n=50, seed=1).study()
    with pytest.raises(SpecError, match="at least 1"):
        marginal_bounds(study, gamma=0.5)
    with pytest.raises(SpecError, match="quantile regression"):
        marginal_bounds(study, quantile="spline")  # type: ignore[arg-type]
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    with pytest.raises(SpecError, match="not computed"):
        marginal_bounds(study, method, gamma=1.5).at(3.0)


@pytest.mark.slow
def test_limits_cover_the_bounds() -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    law, gamma = random_law(np.random.default_rng(44)), 1.5
    p = law.observed()
    wanted = np.array(enumerated(law, gamma)) - law.truth(0, 0)
    products = PolynomialFeatures(2, interaction_only=True, include_bias=False)
    method = xw.MultiplyRobust(
        outcome=make_pipeline(products, LinearRegression()),
        treatment=make_pipeline(products, LogisticRegression(C=np.inf)),
        folds=2,
    )
    rng, draws, hits = np.random.default_rng(6), 400, np.zeros(2)
    for _ in range(draws):
        x, a, m, y = np.unravel_index(rng.choice(p.size, size=600, p=p.ravel()), p.shape)
        table = {"x": x * 1.0, "a": a * 1.0, "m": m * 1.0, "y": y * 1.0}
        study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"])
        found = marginal_bounds(study, method, effects="nde", gamma=gamma)
        limits = found.at(gamma)["nde"].limits()
        hits += [limits[0] <= wanted[0], limits[1] >= wanted[1]]
    error = math.sqrt(0.975 * 0.025 / draws)
    assert (np.abs(hits / draws - 0.975) < 3.5 * error).all(), hits / draws
