"""The confounder that nobody measured: published bias formulas, and real ones that were hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.core.refutation import Refutation
from crossworld.refute.unmeasured import UnmeasuredConfounder
from crossworld.tables.study import TableStudy
from tests.refute.broken import OfPlain, Plain, Unadjusted

NATURAL = (xw.TE, xw.NDE, xw.NIE)
Frame = dict[str, np.ndarray[Any, Any]]


def tried(refuter: Any, estimator: Any, study: Any, asked: Any = NATURAL) -> dict[str, Refutation]:
    analysis = Analysis(study, estimator, asked)
    return {r.term: r for r in refuter.refute(analysis, analysis.run())}


def residual(y: Any, *given: Any) -> Any:
    x = np.column_stack([np.ones(len(y)), *given])
    return y - x @ np.linalg.lstsq(x, y, rcond=None)[0]


def partial(u: Any, v: Any, *given: Any) -> float:
    return float(np.corrcoef(residual(u, *given), residual(v, *given))[0, 1])


def hidden(loads: tuple[float, float, float], *, binary: bool, n: int, seed: int) -> Frame:
    """A linear model whose confounder ``u`` loads on treatment, mediator and outcome."""
    rng = np.random.default_rng(seed)
    x, u, e_a, e_m, e_y = rng.standard_normal((5, n))
    latent = 0.4 * x + loads[0] * u + e_a
    a = (latent > 0).astype(float) if binary else latent
    m = 0.5 * a + 0.4 * x + loads[1] * u + e_m
    y = 0.3 * a + 0.6 * m + 0.5 * x + loads[2] * u + e_y
    return {"a": a, "m": m, "y": y, "x": x, "u": u, "latent": latent}


def study(frame: Frame, *adjust: str) -> TableStudy:
    return TableStudy.from_frame(frame, "a -> m -> y", adjust=list(adjust), levels=(0, 1))


LOADS = {
    "treatment-mediator": (0.6, 0.5, 0.0),
    "mediator-outcome": (0.0, 0.5, 0.6),
    "treatment-outcome": (0.6, 0.0, 0.6),
}


def strengths(pair: str, d: Frame) -> tuple[float, float]:
    of = {
        "treatment": partial(d["u"], d["latent"], d["x"]),
        "mediator": partial(d["u"], d["m"], d["a"], d["x"]),
        "outcome": partial(d["u"], d["y"], d["a"], d["m"], d["x"]),
    }
    one, two = pair.split("-")
    return of[one], of[two]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("pair", LOADS)
def test_it_does_what_a_real_confounder_of_that_strength_did(pair: str, binary: bool) -> None:
    d = hidden(LOADS[pair], binary=binary, n=2500, seed=3)
    first, second = strengths(pair, d)
    assert min(first, second) > 0.3
    made = study(d, "x").confounding(np.random.default_rng(0)).draw(pair, first, second)
    method = xw.Imputation() if binary else xw.Regression()
    asked = [
        xw.estimate(s, method)
        for s in (study(d, "x"), study(d, "x", "u"), study(d, "x").adjusting({"v": made}))
    ]
    for term, truth in (("te", 0.6), ("nde", 0.3), ("nie", 0.3)):
        naive, real, simulated = (e[term].estimate or 0.0 for e in asked)
        error = asked[1][term].std_error or 0.0
        assert abs(simulated - real) < 1.5 * error, (term, naive, real, simulated)
        if abs(naive - truth) > 0.1:  # the bias is there, and most of it goes
            assert abs(simulated - truth) < 0.35 * abs(naive - truth)


def test_linear_models_move_as_the_omitted_variable_formula_says() -> None:
    """Cinelli and Hazlett (2020), equation 4, with the sample's own residuals."""
    d = hidden((0.0, 0.0, 0.0), binary=True, n=300, seed=1)
    base = study(d, "x")
    found = tried(UnmeasuredConfounder((0.2, 0.5)), xw.Regression(), base, (xw.NIE,))["nie"]
    a_path = np.linalg.lstsq(np.column_stack([np.ones(300), d["a"], d["x"]]), d["m"], rcond=None)[
        0
    ][1]
    b_path = np.linalg.lstsq(
        np.column_stack([np.ones(300), d["a"], d["m"], d["x"]]), d["y"], rcond=None
    )[0][2]
    assert found.original == pytest.approx(a_path * b_path)
    # the confounder's strengths are given the products with the treatment too
    products = (d["a"] * d["x"],)
    left_m = residual(d["m"], d["a"], d["x"], *products)
    left_y = residual(d["y"], d["a"], d["m"], d["x"], *products, d["a"] * d["m"])
    for row in found.data["pairs"]["mediator-outcome"]["grid"]:
        one, two = row["strength_a"], row["strength_b"]
        bias = two * one / np.sqrt(1 - one**2) * left_y.std() / left_m.std()
        assert row["estimate"] == pytest.approx(a_path * (b_path - bias), rel=0.02, abs=0.004)
        assert row["low"] < row["estimate"] < row["high"]


@pytest.mark.parametrize("pair", LOADS)
def test_it_has_the_strengths_that_were_asked_and_no_others(pair: str) -> None:
    d = hidden((0.0, 0.0, 0.0), binary=False, n=500, seed=2)
    u = study(d, "x").confounding(np.random.default_rng(1)).draw(pair, 0.4, -0.3)
    given = {
        "treatment": partial(u, d["a"], d["x"]),
        "mediator": partial(u, d["m"], d["a"], d["x"]),
        "outcome": partial(u, d["y"], d["a"], d["m"], d["x"]),
    }
    wanted = dict.fromkeys(given, 0.0) | dict(zip(pair.split("-"), (0.4, -0.3), strict=True))
    assert given == pytest.approx(wanted, abs=0.01)
    assert np.std(u) == pytest.approx(1.0, abs=0.01)
    assert abs(np.corrcoef(u, d["x"])[0, 1]) < 1e-9


def test_a_two_valued_mediator_and_outcome_on_the_latent_scale() -> None:
    """A probit model with a real confounder, hidden: the simulated one takes its place."""
    rng = np.random.default_rng(5)
    n = 6000
    x, u = rng.standard_normal((2, n))
    a = (rng.random(n) < 0.5).astype(float)
    m = (0.7 * a + 0.4 * x + 0.6 * u + rng.standard_normal(n) > 0.3).astype(float)
    y = (0.3 * a + 0.8 * m + 0.3 * x + 0.6 * u + rng.standard_normal(n) > 0.6).astype(float)
    d = {"a": a, "m": m, "y": y, "x": x, "u": u}
    rho = 0.6 / np.sqrt(1 + 0.36)  # of u with each variable's own error, latent
    left = 1 - rho**2 * (1 - 0.39)  # variance of u given the mediator's side, about
    of_y = 0.6 * np.sqrt(left) / np.sqrt(1 + 0.36 * left)
    method = xw.Imputation(interaction=True)
    made = study(d, "x").confounding(np.random.default_rng(0))
    v = made.draw("mediator-outcome", rho, of_y)
    naive, real, simulated = (
        xw.estimate(s, method)["nie"].estimate or 0.0
        for s in (study(d, "x"), study(d, "x", "u"), study(d, "x").adjusting({"v": v}))
    )
    assert naive - real > 0.03
    assert abs(simulated - real) < 0.2 * (naive - real)


def test_tipping_points_are_the_weakest_of_the_grid() -> None:
    base = xw.datasets.linear(n=800, seed=4).study()
    refuter = UnmeasuredConfounder((0.15, 0.45, 0.6, 0.7), ("mediator-outcome",))
    found = tried(refuter, xw.Imputation(), base)["nie"]
    told = found.data["pairs"]["mediator-outcome"]
    grid = told["grid"]
    assert len(grid) == 4 * 8
    original = found.original or 0.0
    moving = [r for r in grid if abs(r["estimate"] - original) > 0.25 * original]
    least = min(r["strength_a"] * abs(r["strength_b"]) for r in moving)
    first = told["moves"]
    assert first["strength_a"] * abs(first["strength_b"]) == pytest.approx(least)
    assert 0 < len(moving) < len(grid)
    covering = [r for r in grid if r["low"] <= 0 <= r["high"]]
    assert covering and all(r["strength_b"] > 0 for r in covering)  # only that sign lowers it
    assert told["covers_null"]["strength_b"] > 0
    assert found.passed is None
    assert found.refuted == min(r["estimate"] for r in grid)
    assert "covers no effect from partial correlations" in found.detail
    assert "already" not in found.detail
    small = tried(refuter, xw.Imputation(), base.take(np.arange(25)))["nie"]
    assert small.detail.startswith("nie is") and "already" in small.detail


def test_the_total_effect_does_not_mind_a_confounder_of_mediator_and_outcome() -> None:
    base = xw.datasets.linear(n=500, seed=4).study()
    found = tried(UnmeasuredConfounder((0.5,), ("mediator-outcome",)), xw.Imputation(), base)
    told = found["te"].data["pairs"]["mediator-outcome"]
    assert told["moves"] is None
    assert "nowhere up to 0.5" in found["te"].detail


def test_benchmarks_are_the_strengths_of_measured_covariates() -> None:
    d = hidden((0.0, 0.5, 0.6), binary=False, n=3000, seed=6)
    found = tried(
        UnmeasuredConfounder((0.2,)),
        xw.Imputation(),
        study(d | {"a": (d["a"] > 0).astype(float)}, "x", "u"),
        (xw.NIE,),
    )["nie"]
    told = {row["covariate"]: row for row in found.data["benchmarks"]}
    assert told["u"]["mediator"] == pytest.approx(0.5 / np.sqrt(1.25), abs=0.03)
    assert told["u"]["treatment"] < 0.05 < told["x"]["treatment"]


def test_formulas_that_people_wrote_take_it_in() -> None:
    base = xw.datasets.linear(n=200, seed=7).study()
    refuter = UnmeasuredConfounder((0.3,), ("mediator-outcome",))
    default = tried(refuter, xw.Regression(), base, (xw.NIE,))["nie"]
    written = xw.Regression(mediator="m ~ a + x", outcome="y ~ a + m + x")
    by_hand = tried(refuter, written, base, (xw.NIE,))["nie"]
    for one, two in zip(
        default.data["pairs"]["mediator-outcome"]["grid"],
        by_hand.data["pairs"]["mediator-outcome"]["grid"],
        strict=True,
    ):
        assert one["estimate"] == pytest.approx(two["estimate"])


def test_an_estimator_that_ignores_it_is_not_judged() -> None:
    base = xw.datasets.linear(n=200, seed=7).study()
    found = tried(UnmeasuredConfounder((0.3,)), Unadjusted(("x",)), base)
    assert {r.passed for r in found.values()} == {None}
    assert "does not use the covariate" in found["nie"].detail
    assert found["nie"].data == {}


def test_other_designs() -> None:
    cases: list[tuple[Any, Any, Any]] = [
        (xw.datasets.nominal_mediator(n=150, seed=1).study(), xw.Imputation(), (xw.NIE,)),
        (xw.datasets.ordered(n=150, seed=1).study(), xw.Imputation(), (xw.PSE("m1"),)),
        (xw.datasets.multilevel_treatment(n=300, seed=1).study(), xw.Imputation(), (xw.NIE,)),
        (xw.datasets.intermediate(n=80, seed=1).study(), xw.Regression(), (xw.IIE,)),
        (xw.datasets.clustered(n=200, seed=1, size=5).study(), xw.Imputation(), (xw.NIE,)),
    ]
    for base, method, asked in cases:
        (found,) = tried(UnmeasuredConfounder((0.4,)), method, base, asked).values()
        for pair in found.data["pairs"].values():
            assert all(np.isfinite(row["estimate"]) for row in pair["grid"]), base.describe()


def test_a_study_without_residuals_is_not_judged() -> None:
    held = xw.datasets.linear(n=200, seed=8).study()
    whole = Analysis(held, xw.Imputation(), (xw.TE,)).run()
    bare: Analysis[Any] = Analysis(Plain(held), OfPlain(), (xw.TE,))  # type: ignore[type-var]
    (found,) = UnmeasuredConfounder().refute(bare, whole)
    assert found.passed is None and "Plain" in found.detail


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strengths": (0.9,)}, "up to 0.7"),
        ({"strengths": ()}, "at least one"),
        ({"pairs": ("mediator-outcom",)}, "Did you mean 'mediator-outcome'"),
        ({"moved": 0.0}, "positive share"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(xw.errors.SpecError, match=message):
        UnmeasuredConfounder(**options)
