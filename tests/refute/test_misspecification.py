"""Misspecification tests, against statsmodels' robust score tests and by their size and power."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.refute.added_terms import Terms, base, products
from crossworld.refute.fitted_models import FittedModel, added, law_groups
from crossworld.refute.learned_models import PLAIN, Residual, residual_groups
from crossworld.refute.misspecification import Misspecification
from crossworld.refute.moment_tests import Group, joint_test
from crossworld.tables.parametric.families import family
from crossworld.tables.parametric.newton import Gram, Layout, Likelihood, newton


def fitted(name: str, z: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None):
    """Fit a family to an orthonormal design."""
    w = np.ones(len(y)) if weights is None else weights
    chosen = family(name)
    layout = Layout(z.shape[1], chosen)
    start = np.zeros(layout.size)
    if name == "negative-binomial":
        start[-1] = -1.0
    theta, done = newton(Likelihood(y, Gram(z), layout), start=start, weights=w[None], steps=80)
    assert done[0]
    return FittedModel(name, chosen, z, y, theta[0], w)


def design(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.column_stack([np.ones(n), rng.standard_normal(n), rng.random(n) < 0.5])
    q, _ = np.linalg.qr(x)
    return q * np.sqrt(n), x


@pytest.mark.parametrize("name", ["gaussian", "logit", "probit", "poisson"])
def test_the_score_of_added_terms_is_statsmodels_robust_score_test(name: str) -> None:
    rng = np.random.default_rng(3)
    n = 400
    z, x = design(rng, n)
    eta = 0.2 + 0.5 * x[:, 1] - 0.3 * x[:, 2]
    families = {
        "gaussian": (sm.families.Gaussian(), eta + rng.standard_normal(n) * (1 + x[:, 2])),
        "logit": (sm.families.Binomial(), (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0),
        "probit": (
            sm.families.Binomial(link=sm.families.links.Probit()),
            (eta + rng.standard_normal(n) > 0) * 1.0,
        ),
        "poisson": (sm.families.Poisson(), rng.poisson(np.exp(eta)) * 1.0),
    }
    kind, y = families[name]
    extra = np.column_stack([x[:, 1] ** 2, x[:, 1] * x[:, 2]])
    model = fitted(name, z, y)
    group = added(model, Terms("t", ("p", "q"), extra), model.pull())
    assert group is not None
    total = group.influence.sum(axis=0)
    ours = float(total @ np.linalg.solve(group.influence.T @ group.influence, total))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = sm.GLM(y, x, family=kind).fit(tol=1e-12)
        theirs = peer.score_test(extra, cov_type="HC0")
        plain = peer.score_test(extra)
    # statsmodels takes the mean out of the scores' covariance, with divisor n - 1
    centred = (n - 1) / n * ours / (1.0 - ours / n)
    assert centred == pytest.approx(float(np.ravel(theirs[0])[0]), rel=1e-6)
    if name == "logit":
        assert group.root is not None
        modelled = float(total @ np.linalg.solve(group.root.T @ group.root, total))
        assert modelled == pytest.approx(float(np.ravel(plain[0])[0]), rel=1e-6)
        tested = joint_test([group], None, seed=0)[0]
        assert tested.p_value == pytest.approx(float(np.ravel(plain[1])[0]), rel=1e-6)


def test_row_weights_are_copies_in_clusters() -> None:
    rng = np.random.default_rng(1)
    z, x = design(rng, 200)
    y = x[:, 1] ** 2 + rng.standard_normal(200)
    copies = np.repeat(np.arange(200), rng.integers(1, 4, 200))
    counts = np.bincount(copies).astype(float)
    terms = Terms("t", ("p",), x[:, [1]] ** 2)
    once = fitted("gaussian", z, y, counts)
    often = fitted("gaussian", z[copies], y[copies])
    one = added(once, terms, once.pull())
    many = added(often, Terms("t", ("p",), terms.values[copies]), often.pull())
    assert one is not None and many is not None
    first = joint_test([one], None, seed=0)[0]
    second = joint_test([many], copies, seed=0)[0]
    assert first.statistic == pytest.approx(second.statistic, rel=1e-9)
    assert first.p_value < 1e-3


def test_groups_are_adjusted_for_each_other() -> None:
    rng = np.random.default_rng(5)
    psi = rng.standard_normal((500, 6))
    psi[:, 0] += 0.09
    apart = joint_test([Group(str(j), ("v",), psi[:, [j]]) for j in range(6)], None, seed=1)
    least = min(apart, key=lambda v: v.p_value)
    assert least.name == "0"
    # six independent groups: Sidak's probability of a smaller minimum
    assert least.adjusted == pytest.approx(1.0 - (1.0 - least.p_value) ** 6, abs=0.03)
    same = joint_test([Group(str(j), ("v",), psi[:, [0]]) for j in range(6)], None, seed=1)
    assert same[0].adjusted == pytest.approx(same[0].p_value, abs=0.02)


def test_collinear_and_empty_moments_count_once() -> None:
    rng = np.random.default_rng(2)
    psi = rng.standard_normal((300, 2))
    more = np.column_stack([psi, psi @ [1.0, 2.0], np.zeros(300)])
    plain = joint_test([Group("a", ("p", "q"), psi)], None, seed=0)[0]
    held = joint_test([Group("a", ("p", "q", "r", "s"), more)], None, seed=0)[0]
    assert (held.df, held.p_value) == (2, pytest.approx(plain.p_value))
    assert joint_test([Group("a", ("s",), np.zeros((300, 1)))], None, seed=0) == []


def draws(name: str, rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    if name == "gaussian":
        return eta + 1.7 * rng.standard_normal(eta.size)
    if name == "poisson":
        return rng.poisson(np.exp(eta)).astype(float)
    mu = np.exp(eta)
    return rng.poisson(mu * rng.gamma(2.0, 0.5, eta.size)).astype(float)


@pytest.mark.parametrize("name", ["gaussian", "poisson", "negative-binomial"])
def test_the_law_of_a_right_model_is_rarely_rejected(name: str) -> None:
    rejected, n = 0, 300
    for seed in range(60):
        rng = np.random.default_rng([11, seed])
        z, x = design(rng, n)
        y = draws(name, rng, 0.6 + 0.4 * x[:, 1] - 0.3 * x[:, 2])
        bases = [base("x", "x", "covariate", values=x[:, 1], weights=np.ones(n))]
        tested = joint_test(law_groups(fitted(name, z, y), bases, 9), None, seed=seed)
        rejected += min(v.adjusted for v in tested) < 0.05
    # 5 % of 60 is 3; more than 8 has probability 0.003
    assert rejected <= 8


def test_wrong_laws_are_found() -> None:
    rng = np.random.default_rng(4)
    n = 800
    z, x = design(rng, n)
    eta = 0.6 + 0.4 * x[:, 1] - 0.3 * x[:, 2]
    bases = [base("x", "x", "covariate", values=x[:, 1], weights=np.ones(n))]
    skewed = eta + rng.exponential(size=n)
    spread = eta + rng.standard_normal(n) * np.exp(0.4 * x[:, 1])
    overdispersed = draws("negative-binomial", rng, eta)
    cases = (("gaussian", skewed, 0), ("gaussian", spread, 1), ("poisson", overdispersed, 0))
    for name, y, which in cases:
        tested = joint_test(law_groups(fitted(name, z, y), bases, 9), None, seed=0)
        assert tested[which].adjusted < 0.001, name


def test_out_of_fold_moments_are_those_of_the_whole_fit() -> None:
    """With least squares, cross-fitting and projection give the in-sample score test."""
    rng = np.random.default_rng(8)
    n = 3000
    z, x = design(rng, n)
    y = 0.5 * x[:, 1] + 0.05 * x[:, 1] ** 2 + rng.standard_normal(n)
    ids = rng.permutation(np.arange(n) % 5)
    fold = np.empty(n)
    for k in range(5):
        b = np.linalg.lstsq(x[ids != k], y[ids != k], rcond=None)[0]
        fold[ids == k] = x[ids == k] @ b
    one = np.ones(n)
    bases = [b for b in (base("x", "x", "covariate", values=x[:, 1], weights=one),) if b]
    residual = Residual("y", y - fold, fold, x[:, 1:], one, one, None, PLAIN)
    groups = residual_groups(residual, bases, ids=ids, most=5, count=5)
    assert [g.name for g in groups] == ["squares", "link", "calibration"]
    model = fitted("gaussian", z, y)
    whole = added(model, products(bases, one, 5)[0], model.pull())
    assert whole is not None
    out, inside = (joint_test([g], None, seed=0)[0].statistic for g in (groups[0], whole))
    assert out == pytest.approx(inside, rel=0.1)
    assert inside > 3.0


def refuted(study: xw.TableStudy, method: object) -> dict[str, bool | None]:
    analysis = Analysis(study, method)
    found = Misspecification().refute(analysis, analysis.run())
    return {one.data.get("model", ""): one.passed for one in found}


def sample(n: int, seed: int, *, a_m: float = 0.0, m_2: float = 0.0) -> xw.TableStudy:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    a = (rng.random(n) < 1 / (1 + np.exp(-0.5 * x))).astype(float)
    m = 0.5 * a + 0.4 * x + rng.standard_normal(n)
    y = 0.3 * a + 0.6 * m + 0.5 * x + a_m * a * m + m_2 * m**2 + rng.standard_normal(n)
    return xw.TableStudy.from_frame({"x": x, "a": a, "m": m, "y": y}, "a -> m -> y", adjust=["x"])


METHODS = {
    "regression": (xw.Regression(), "y"),
    "imputation": (xw.Imputation(), "y given a, m, x"),
    "natural": (xw.NaturalEffects(formula="y ~ a0 + a1 + x", outcome="y ~ a + m + x"), "y"),
}


@pytest.mark.parametrize("name", METHODS)
def test_an_omitted_product_is_found_and_named(name: str) -> None:
    method, model = METHODS[name]
    study = sample(1000, 1, a_m=0.5)
    analysis = Analysis(study, method)
    found = {o.data["model"]: o for o in Misspecification().refute(analysis, analysis.run())}
    one = found[model]
    assert one.passed is False
    best = min(one.data["tests"], key=lambda t: t["p_value"])
    assert best["strongest"] == "a * m"
    assert "a * m" in one.detail
    assert refuted(sample(1000, 1), method)[model] is True


def test_an_interaction_that_is_in_the_model_is_no_fault() -> None:
    study = sample(1000, 1, a_m=0.5)
    assert refuted(study, xw.Regression(interaction=True)) == {"m": True, "y": True}


@pytest.mark.parametrize("kind", [xw.MultiplyRobust, xw.TMLE])
def test_learners_that_miss_a_square_are_found(kind: type) -> None:
    method = kind(outcome="linear", treatment="logistic")
    label = "y given m, x at level 1"
    assert refuted(sample(1500, 2), method)[label] is True
    assert refuted(sample(1500, 2, m_2=0.3), method)[label] is False
    square = make_pipeline(PolynomialFeatures(2, include_bias=False), LinearRegression())
    richer = kind(outcome=square, treatment="logistic")
    assert refuted(sample(1500, 2, m_2=0.3), richer)[label] is True


def test_riesz_regressions_are_tested() -> None:
    found = refuted(sample(1500, 2, m_2=0.3), xw.Riesz(outcome="linear", folds=3))
    assert found["y given m, x at level 1"] is False


def test_a_treatment_model_without_balance_is_found() -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal(1500)
    a = (rng.random(1500) < 1 / (1 + np.exp(1.0 - x**2))).astype(float)
    m = a + x + rng.standard_normal(1500)
    table = {"x": x, "a": a, "m": m, "y": m + rng.standard_normal(1500)}
    study = xw.TableStudy.from_frame(table, "a -> m -> y", adjust=["x"])
    analysis = Analysis(study, xw.Weighting())
    one = Misspecification().refute(analysis, analysis.run())[0]
    assert one.passed is False
    tests = {t["test"]: t["p_value"] for t in one.data["tests"]}
    assert tests["balance of the weights of level 1"] < 1e-6


def test_families_and_designs_give_verdicts() -> None:
    cases = (
        ("binary_both", xw.Regression(interaction=True)),
        ("count_outcome", xw.Regression(interaction=True, outcome_family="poisson")),
        ("nominal_mediator", xw.Regression(interaction=True)),
        ("ordered", xw.Weighting()),
        ("joint_block", xw.Regression(interaction=True)),
        ("clustered", xw.Regression(interaction=True)),
        ("intermediate", xw.Regression(interaction=True)),
        ("multilevel_treatment", xw.MultiplyRobust(outcome="linear", treatment="logistic")),
    )
    for name, method in cases:
        study = getattr(xw.datasets, name)(n=600, seed=1).study()
        asked = (xw.TE,) if name == "intermediate" else xw.NATURAL
        found = Misspecification().refute(Analysis(study, method, asked), None)
        assert found
        for one in found:
            assert one.name == "misspecification"
            if one.passed is not None:
                assert one.refuted == min(t["adjusted_p_value"] for t in one.data["tests"])
                assert one.passed == (one.refuted >= 0.05)


def test_what_cannot_be_tested_is_undecided() -> None:
    table = {"a": [0, 1] * 40, "m": [0, 0, 1, 1] * 20, "y": np.sin(np.arange(80.0))}
    study = xw.TableStudy.from_frame(table, "a -> m -> y")
    saturated, outcome = Misspecification().refute(Analysis(study, xw.Regression()), None)
    assert saturated.passed is None and "saturated" in saturated.detail
    assert next(t["test"] for t in outcome.data["tests"]).startswith("products")
    shifted = Analysis(sample(200, 1), xw.Riesz(outcome="linear", shift=0.1, folds=3))
    (one,) = Misspecification().refute(shifted, None)
    assert one.passed is None


def test_verdicts_do_not_depend_on_when_they_are_asked() -> None:
    study = sample(300, 3)
    analysis = Analysis(study, xw.Regression())
    first, second = (Misspecification(seed=4).refute(analysis, None) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("name", "value"), [("level", 0.0), ("level", True), ("terms", 0)])
def test_options_are_checked(name: str, value: object) -> None:
    with pytest.raises(xw.errors.SpecError, match=name):
        Misspecification(**{name: value})


@pytest.mark.slow
def test_size_out_of_fold() -> None:
    """Every nuisance is right: 5 % of 200 rejected, within three standard errors."""
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic")
    found: dict[str, list[bool]] = {}
    for seed in range(200):
        for one in Misspecification(seed=seed).refute(Analysis(sample(1000, seed), method), None):
            found.setdefault(one.data["model"], []).append(one.passed is False)
    assert len(found) == 6
    for model, rejected in found.items():
        assert np.mean(rejected) <= 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 200), model
