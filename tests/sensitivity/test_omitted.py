"""Omitted-variable bounds against exact laws with a confounder that is then left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

import crossworld as xw
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.omitted import omitted_confounding
from crossworld.sensitivity.omitted_effect import Strength, equal_strength
from crossworld.sensitivity.omitted_scores import (
    direct_score,
    representer_score,
    residual_score,
)
from tests.sensitivity.laws import Law, random_law, saturated, study_of


def pieces(law: Law, a: int, b: int) -> dict[str, float]:
    """Everything the theory names, by enumeration, for the cell Y(a, M(b))."""
    p = law.joint()
    pm = p.sum(axis=4)  # x u a m
    e = law.a[:, b]
    g = np.einsum("mxuy,y->xum", law.y[a], law.values)
    short_m = pm.sum(axis=1)  # x a m
    gs = np.einsum("xum,xum->xm", pm[:, :, a], g) / short_m[:, a]
    alpha = pm[:, :, b] / pm[:, :, a] / e[:, None, None]
    alpha_s = short_m[:, b] / short_m[:, a] / e[:, None]
    at = pm[:, :, a]  # p(x, u, A = a, m)
    gap_g, gap_a = g - gs[:, None], alpha - alpha_s[:, None]
    residual = (law.values - gs[:, None, :, None]) ** 2
    return {
        "theta": law.truth(a, b),
        "theta_s": float((at * alpha_s[:, None] * g).sum()),
        "cross": float((at * gap_g * gap_a).sum()),
        "sigma2": float((p[:, :, a] * residual).sum()),
        "nu2": float((at * alpha_s[:, None] ** 2).sum()),
        "nu2_long": float((at * alpha**2).sum()),
        "gain": float((at * gap_g**2).sum()),
        "lost": float((at * gap_a**2).sum()),
    }


def strength_of(found: dict[str, float], rho: float = 1.0) -> Strength:
    return Strength(
        found["gain"] / found["sigma2"], 1.0 - found["nu2"] / found["nu2_long"], rho=rho
    )


def test_the_bound_holds_in_2000_laws_and_is_an_equality_with_rho() -> None:
    rng = np.random.default_rng(1)
    reached = []
    for _ in range(2000):
        law = random_law(rng, nu=3, nm=3, ny=3, values=rng.normal(size=3) * 5, strength=3.0)
        found = pieces(law, 1, 0)
        bias = found["theta"] - found["theta_s"]
        assert bias == pytest.approx(found["cross"], abs=1e-10)
        assert found["nu2_long"] - found["nu2"] == pytest.approx(found["lost"], abs=1e-9)
        most = strength_of(found).factor * math.sqrt(found["sigma2"] * found["nu2"])
        assert abs(bias) <= most + 1e-12
        rho = found["cross"] / math.sqrt(found["gain"] * found["lost"])
        exact = strength_of(found, rho).factor * math.sqrt(found["sigma2"] * found["nu2"])
        assert abs(bias) == pytest.approx(exact, abs=1e-10)
        reached.append(abs(bias) / most)
    assert max(reached) > 0.8  # the bound is near; with rho it is the bias itself


@pytest.mark.parametrize(("term", "a", "b", "sign"), [
    ("nde", 1, 0, 1), ("nie", 1, 0, -1), ("tnde", 0, 1, -1), ("pnie", 0, 1, 1),
])  # fmt: skip
def test_a_study_that_is_a_law_gives_the_law_s_bounds(term, a, b, sign) -> None:
    law = random_law(np.random.default_rng(7), nx=3, nm=3, ny=3, values=[-1.0, 0.5, 4.0])
    found = pieces(law, a, b)
    result = omitted_confounding(
        study_of(law.observed(), law.values), saturated(), effects=term, strength=strength_of(found)
    )
    effect = result[term]
    assert effect.confounder == "mediator-outcome"
    assert effect.sigma2.value == pytest.approx(found["sigma2"], rel=1e-10)
    assert effect.nu2.value == pytest.approx(found["nu2"], rel=1e-10)
    other = law.truth(0, 0) if term in ("nde", "pnie") else law.truth(1, 1)
    short = sign * (found["theta_s"] - other)
    assert effect.theta.value == pytest.approx(short, abs=1e-10)
    low, high = effect.bounds(result.strength)
    assert low <= sign * (found["theta"] - other) <= high
    half = result.strength.factor * math.sqrt(found["sigma2"] * found["nu2"])
    assert (low, high) == (pytest.approx(short - half), pytest.approx(short + half))


def test_total_effects_have_the_standard_bound() -> None:
    """Interactive regression: alpha = A/e - (1-A)/(1-e), all residuals count."""
    law = random_law(np.random.default_rng(3), nx=3, ny=3, values=[0.0, 1.0, 5.0])
    p = law.observed().sum(axis=2)  # x a y
    mean = p @ law.values / p.sum(axis=2)
    sigma2 = (p * (law.values - mean[..., None]) ** 2).sum()
    nu2 = (law.x * (1.0 / law.a[:, 1] + 1.0 / law.a[:, 0])).sum()
    found = omitted_confounding(study_of(law.observed(), law.values), saturated(), effects="te")[
        "te"
    ]
    assert found.confounder == "treatment-outcome"
    assert found.theta.value == pytest.approx(law.x @ (mean[:, 1] - mean[:, 0]))
    assert found.sigma2.value == pytest.approx(sigma2)
    assert found.nu2.value == pytest.approx(nu2)
    half = math.sqrt(0.04 * 0.04 / 0.96) * math.sqrt(sigma2 * nu2)
    assert found.bounds(Strength(0.04, 0.04))[1] == pytest.approx(found.theta.value + half)


def nuisances(p: np.ndarray, b: int = 0, a: int = 1) -> dict[str, np.ndarray]:
    """e_b, ratio and spread of a law p(x, a, m), each (x, m)."""
    e = p.sum(axis=2)[:, b] / p.sum(axis=(1, 2))
    ratio = p[:, b] / p[:, a]
    spread = (p[:, b] * ratio).sum(axis=1) / p[:, b].sum(axis=1)
    wide = np.broadcast_to
    return {
        "e": wide(e[:, None], ratio.shape),
        "ratio": ratio,
        "spread": wide(spread[:, None], ratio.shape),
    }


def scored(held: dict[str, np.ndarray]) -> np.ndarray:
    """Score at every (x, a, m)."""
    one, zero = np.ones_like(held["ratio"]), np.zeros_like(held["ratio"])
    at = [representer_score(own, other, **held) for own, other in ((zero, one), (one, zero))]
    return np.stack(at, axis=1)


def nu2_of(p: np.ndarray) -> float:
    held = nuisances(p)
    return float((p[:, 1] * (held["ratio"] / held["e"]) ** 2).sum())


def test_the_score_is_the_gateaux_derivative_of_the_norm() -> None:
    law = random_law(np.random.default_rng(5), nx=3, nm=3)
    p = law.observed().sum(axis=3)
    score, value, step = scored(nuisances(p)), nu2_of(p), 1e-6
    assert (p * score).sum() == pytest.approx(value, rel=1e-12)
    for where in np.ndindex(p.shape):
        point = np.zeros_like(p)
        point[where] = 1.0
        slope = (nu2_of((1 - step) * p + step * point) - nu2_of((1 + step) * p - step * point)) / (
            2 * step
        )
        assert score[where] - value == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_errors_of_nuisances_enter_squared_only_with_the_third_term() -> None:
    rng = np.random.default_rng(6)
    p = random_law(rng, nx=3, nm=3).observed().sum(axis=3)
    exact, value = nuisances(p), nu2_of(p)
    moves = {"e": rng.normal(size=(3, 1)), "ratio": rng.normal(size=(3, 3))}
    moves["spread"] = rng.normal(size=(3, 1))

    def bias(step: float, third: bool) -> float:
        held = {k: v * (1.0 + step * moves[k]) for k, v in exact.items()}
        total = (p * scored(held)).sum() - value
        if not third:
            gap = (p[:, 0].sum(axis=1) - p.sum(axis=(1, 2)) * held["e"][:, 0]) / held["e"][
                :, 0
            ] ** 2
            total += float((2.0 * held["spread"][:, 0] * gap).sum())
        return float(total)

    assert abs(bias(1e-2, True) / bias(1e-3, True)) == pytest.approx(100, rel=0.3)
    assert abs(bias(1e-2, False) / bias(1e-3, False)) == pytest.approx(10, rel=0.3)


def test_direct_and_residual_scores() -> None:
    e = np.array([0.2, 0.8])
    assert (
        0.2 * direct_score(np.array([1.0]), e=e[:1]) + 0.8 * direct_score(np.zeros(1), e=e[:1])
    )[0] == pytest.approx(5.0)
    arm, y = np.array([1.0, 0.0, 1.0]), np.array([3.0, 9.0, 1.0])
    assert residual_score(y, {1.0: np.ones(3)}, arm).tolist() == [4.0, 0.0, 0.0]


def test_robustness_values_are_where_bounds_and_limits_meet_zero() -> None:
    study = xw.datasets.interaction(n=600, seed=2).study()
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=3)
    found = omitted_confounding(study, method, effects=("nie", "te"))
    for effect in found.effects:
        rv, rva = effect.robustness(), effect.robustness_limit()
        assert 0.0 < rva < rv < 1.0
        assert effect.bounds(Strength(rv, rv))[0] == pytest.approx(0.0, abs=1e-9)
        assert effect.limits(Strength(rva, rva))[0] == pytest.approx(0.0, abs=1e-9)
        assert effect.robustness(rho=0.5) > rv
        null = effect.theta.value + 1.0
        assert effect.bounds(Strength(*2 * [effect.robustness(null)]))[1] == pytest.approx(null)
        grid = effect.contours(points=9)
        at = Strength(float(grid.y[4]), float(grid.x[6]))
        assert grid.values[4, 6] == pytest.approx(effect.bounds(at)[0])
        limit = effect.contours(level=0.95, points=9)
        assert limit.values[4, 6] == pytest.approx(effect.limits(at)[0])
    plain = effect.limits(Strength(0.0, 0.0))
    assert plain == pytest.approx(effect.theta.interval())
    assert equal_strength(0.0) == 0.0
    assert equal_strength(1e9) == pytest.approx(1.0)


def test_a_benchmark_is_the_strength_of_the_covariate_in_the_law() -> None:
    """U is observed as z; measured as a benchmark, it has the strength that bounds its own bias."""
    law = random_law(np.random.default_rng(11), nx=2, nu=3, nm=3, ny=2)
    p = law.joint().reshape(-1, 2, 3, 2)  # (x, u), a, m, y
    covariates = {"x": np.repeat([0.0, 1.0], 3), "z": np.tile([0.0, 1.0, 2.0], 2)}
    found = pieces(law, 1, 0)
    result = omitted_confounding(
        study_of(p, law.values, covariates), saturated(), effects=("nde", "nie"), benchmark=["z"]
    )
    mark = result["nde"].benchmarks[0]
    long_sigma2 = found["sigma2"] - found["gain"]
    gained = found["lost"] / found["nu2_long"]
    assert mark.cy == pytest.approx(found["gain"] / long_sigma2, rel=1e-8)
    assert mark.cd == pytest.approx(gained / (1.0 + gained), rel=1e-8)
    assert mark.change == pytest.approx(found["theta_s"] - found["theta"], abs=1e-9)
    assert mark.rho == pytest.approx(
        -found["cross"] / math.sqrt(found["gain"] * found["lost"]), abs=1e-6
    )
    assert result["nie"].benchmarks[0].change == pytest.approx(-mark.change)
    twice = omitted_confounding(
        study_of(p, law.values, covariates), saturated(), effects="nde", benchmark={"z": 2.0}
    )["nde"].benchmarks[0]
    assert twice.cy == pytest.approx(2 * mark.cy)
    assert twice.cd / (1 - twice.cd) == pytest.approx(2 * gained)
    assert twice.label == "2 x z"


def interactive() -> xw.MultiplyRobust:
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    products = PolynomialFeatures(3, interaction_only=True, include_bias=False)
    return xw.MultiplyRobust(
        outcome=make_pipeline(products, LinearRegression()),
        treatment=make_pipeline(products, LogisticRegression(C=np.inf)),
        folds=2,
    )


def test_a_benchmark_is_found_in_a_sample() -> None:
    law = random_law(np.random.default_rng(44))
    found, p = pieces(law, 1, 0), law.joint()
    at = np.random.default_rng(1).choice(p.size, size=4000, p=p.ravel())
    x, z, a, m, y = np.unravel_index(at, p.shape)
    table = {"x": x * 1.0, "z": z * 1.0, "a": a * 1.0, "m": m * 1.0, "y": y * 1.0}
    study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x", "z"])
    mark = omitted_confounding(study, interactive(), effects="nde", benchmark=["z"])["nde"]
    gained = found["lost"] / found["nu2_long"]
    cy, cd = mark.benchmarks[0].cy, mark.benchmarks[0].cd
    assert cy == pytest.approx(found["gain"] / (found["sigma2"] - found["gain"]), abs=0.03)
    assert cd == pytest.approx(gained / (1.0 + gained), abs=0.05)


def test_results_are_written() -> None:
    import json

    study = xw.datasets.interaction(n=300, seed=2).study()
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    found = omitted_confounding(study, method, benchmark={"x": 3})
    assert "3 x x" in str(found) and "nie" in str(found)
    assert list(found.to_frame()["term"]) == ["nde", "nie"]
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.at(Strength(0.2, 0.2)).rows()[0]["bound_low"] < found.rows()[0]["bound_low"]
    assert "nde" in found.plot().get_title(loc="left")


def test_what_cannot_be_meant_is_refused() -> None:
    study = xw.datasets.interaction(n=100, seed=2).study()
    with pytest.raises(DesignError, match="'age' is not a covariate"):
        omitted_confounding(study, benchmark=["age"])
    with pytest.raises(SpecError, match="MultiplyRobust"):
        omitted_confounding(study, xw.Regression())  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="weighted sums"):
        omitted_confounding(study, effects="pm")
    with pytest.raises(DesignError, match="natural effects"):
        omitted_confounding(study, effects="ide")
    for bad in ({"cy": 1.5}, {"cd": 1.0}, {"rho": 2.0}):
        with pytest.raises(SpecError):
            Strength(**bad)


@pytest.mark.slow
def test_limits_cover_the_bounds_of_the_law() -> None:
    """600 samples of 800 rows: both limits hold the exact bounds about 95 % of the time."""
    law = random_law(np.random.default_rng(44))  # no treatment probability is under 0.26
    found = pieces(law, 1, 0)
    p = law.observed()
    strength = Strength(0.3, 0.3)
    half = strength.factor * math.sqrt(found["sigma2"] * found["nu2"])
    centre = found["theta_s"] - law.truth(0, 0)
    method = interactive()
    rng, draws, n = np.random.default_rng(22), 600, 800
    low = high = both = 0
    for _ in range(draws):
        x, a, m, y = np.unravel_index(rng.choice(p.size, size=n, p=p.ravel()), p.shape)
        table = {"x": x * 1.0, "a": a * 1.0, "m": m * 1.0, "y": law.values[y]}
        study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"])
        limits = omitted_confounding(study, method, effects="nde")["nde"].limits(strength)
        below, above = limits[0] <= centre - half, limits[1] >= centre + half
        low, high, both = low + below, high + above, both + (below and above)
    for count, wanted in ((low, 0.975), (high, 0.975)):
        assert abs(count / draws - wanted) < 3.5 * math.sqrt(wanted * (1 - wanted) / draws), count
    assert both / draws > 0.93
