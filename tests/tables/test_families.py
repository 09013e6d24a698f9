"""Every pair of mediator and outcome family against an oracle that shares no code with ours.

Models are fitted by statsmodels (by scipy where it has none), cells are integrated by brute force.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from statsmodels.miscmodels.ordinal_model import OrderedModel

import crossworld as xw
from crossworld import M, Y

N = 500
MEDIATORS = (
    "gaussian",
    "logit",
    "probit",
    "poisson",
    "negative-binomial",
    "multinomial",
    "ordinal",
)
OUTCOMES = ("gaussian", "logit", "probit", "poisson", "negative-binomial", "log-binomial")


def table(mediator: str, outcome: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    x, a = rng.normal(size=N), rng.binomial(1, 0.5, N)
    eta = -0.2 + 0.5 * a + 0.3 * x
    if mediator == "gaussian":
        m: np.ndarray = eta + rng.normal(size=N)
    elif mediator in ("logit", "probit"):
        m = rng.binomial(1, expit(eta)).astype(float)
    elif mediator == "poisson":
        m = rng.poisson(np.exp(eta)).astype(float)
    elif mediator == "negative-binomial":
        m = rng.negative_binomial(2, 1 / (1 + np.exp(eta) / 2)).astype(float)
    else:
        m = np.digitize(eta + rng.logistic(size=N), [-0.7, 0.6]).astype(float)
    score = -0.9 + 0.3 * a + 0.25 * m + 0.15 * a * m * 0.5 + 0.2 * x
    if outcome == "gaussian":
        y: np.ndarray = score + rng.normal(size=N)
    elif outcome in ("logit", "probit"):
        y = rng.binomial(1, expit(score)).astype(float)
    elif outcome == "log-binomial":
        y = rng.binomial(1, np.exp(np.minimum(-0.9 + 0.2 * a - 0.15 * m, -0.1)))
    elif outcome == "poisson":
        y = rng.poisson(np.exp(score)).astype(float)
    else:
        y = rng.negative_binomial(2, 1 / (1 + np.exp(score) / 2)).astype(float)
    return {"a": a, "m": m, "x": x, "y": np.asarray(y, dtype=float)}


def design(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(N), a, x])


def mediator_law(family: str, d: dict[str, np.ndarray], level: float):
    """Support and probabilities (n x S) of the mediator under a level, by other people's code."""
    z, zl, m = design(d["a"], d["x"]), design(np.full(N, level), d["x"]), d["m"]
    if family == "gaussian":
        fit = sm.OLS(m, z).fit()
        return "normal", zl @ fit.params, np.sqrt(fit.scale)
    if family in ("logit", "probit"):
        model = sm.Logit if family == "logit" else sm.Probit
        p = model(m, z).fit(disp=0, tol=1e-13).predict(zl)
        return "sum", np.array([0.0, 1.0]), np.column_stack([1 - p, p])
    support = np.arange(400.0)
    if family == "poisson":
        mu = sm.Poisson(m, z).fit(disp=0, tol=1e-13).predict(zl)
        return "sum", support, stats.poisson.pmf(support, mu[:, None])
    if family == "negative-binomial":
        fit = sm.NegativeBinomial(m, z).fit(disp=0, method="newton", maxiter=200, gtol=1e-12)
        mu, r = np.exp(zl @ fit.params[:-1]), 1 / fit.params[-1]
        return "sum", support, stats.nbinom.pmf(support, r, (r / (r + mu))[:, None])
    levels = np.unique(m)
    if family == "multinomial":
        fit = sm.MNLogit(m, z).fit(disp=0, method="newton", tol=1e-13)
        return "sum", levels, np.asarray(fit.predict(zl))
    fit = OrderedModel(m, z[:, 1:], distr="logit").fit(method="bfgs", disp=0, gtol=1e-9)
    return "sum", levels, np.asarray(fit.predict(zl[:, 1:]))


def outcome_mean(family: str, d: dict[str, np.ndarray]):
    """Fitted mean of the outcome as a function of (treatment level, mediator values)."""
    z = np.column_stack([design(d["a"], d["x"]), d["m"], d["a"] * d["m"]])
    if family == "gaussian":
        b, inverse = sm.OLS(d["y"], z).fit().params, lambda v: v
    elif family in ("logit", "probit"):
        model = sm.Logit if family == "logit" else sm.Probit
        b = model(d["y"], z).fit(disp=0, tol=1e-13).params
        inverse = expit if family == "logit" else stats.norm.cdf
    elif family == "poisson":
        b, inverse = sm.Poisson(d["y"], z).fit(disp=0, tol=1e-13).params, np.exp
    elif family == "negative-binomial":
        b = sm.NegativeBinomial(d["y"], z).fit(disp=0, method="newton", gtol=1e-12).params[:-1]
        inverse = np.exp
    else:
        b, inverse = log_binomial(z, d["y"]), np.exp

    def mean(level: float, m: np.ndarray) -> np.ndarray:
        base = b[0] + b[1] * level + b[2] * d["x"][:, None]
        return inverse(base + (b[3] + b[4] * level) * m)

    return mean


def log_binomial(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    def loss(b: np.ndarray) -> float:
        eta = z @ b
        if (eta >= 0).any():
            return np.inf
        return -float(y @ eta + (1 - y) @ np.log(-np.expm1(eta)))

    start = np.r_[np.log(y.mean()), np.zeros(z.shape[1] - 1)]
    for _ in range(6):
        start = minimize(
            loss,
            start,
            method="Nelder-Mead",
            options={"xatol": 1e-11, "fatol": 1e-14, "maxiter": 8000},
        ).x
    return start


def oracle(mediator: str, outcome: str, d: dict[str, np.ndarray], a: float, b: float) -> float:
    kind, *law = mediator_law(mediator, d, b)
    mean = outcome_mean(outcome, d)
    if kind == "normal":
        z = np.linspace(-9, 9, 1801)
        w = stats.norm.pdf(z) * (z[1] - z[0])
        return float((mean(a, law[0][:, None] + law[1] * z) @ w).mean())
    support, p = law
    return float((mean(a, support) * p).sum(axis=1).mean())


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("mediator", MEDIATORS)
def test_cells_equal_brute_force(mediator: str, outcome: str) -> None:
    d = table(mediator, outcome)
    study = xw.TableStudy.from_frame(d, "a -> m -> y", adjust=["x"])
    method = xw.Regression(interaction=True, mediator_family=mediator, outcome_family=outcome)
    cells = [Y(1), Y(1, M(0)), Y(0, M(1)), Y(0)]
    scores = method.scores(study, cells)
    loose = outcome == "log-binomial" or mediator == "ordinal"  # the oracle's own optimiser
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for cell, a, b in zip(cells, (1, 1, 0, 0), (1, 0, 1, 0), strict=True):
            expected = oracle(mediator, outcome, d, a, b)
            assert scores.mean(cell).value == pytest.approx(expected, abs=3e-6 if loose else 2e-8)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("mediator", MEDIATORS)
def test_influence_is_the_derivative_in_each_weight(mediator: str, outcome: str) -> None:
    d = table(mediator, outcome)
    rng = np.random.default_rng(3)
    base = rng.uniform(0.5, 1.5, N)
    method = xw.Regression(interaction=True, mediator_family=mediator, outcome_family=outcome)
    cells = [Y(1), Y(1, M(0)), Y(0, M(1))]

    def means(weights: np.ndarray) -> tuple[np.ndarray, xw.Scores]:
        study = xw.TableStudy.from_frame(
            {**d, "w": weights / weights.mean()}, "a -> m -> y", adjust=["x"], weights="w"
        )
        scores = method.scores(study, cells)
        return scores.means(), scores

    value, scores = means(base)
    found = np.column_stack([scores.mean(c).influence for c in cells])
    assert np.abs(found.mean(axis=0)).max() < 1e-8
    for i in rng.choice(N, 4, replace=False):
        step = 1e-3 * np.eye(N)[i]
        slope = (means(base + step)[0] - means(base - step)[0]) / 2e-3
        # influence is per unit of share: d theta / d w_i = phi_i / (share_i * total weight)
        share = base[i] / base.mean()
        assert slope * base.sum() == pytest.approx(found[i] / share, rel=2e-5, abs=2e-6)
    assert value.shape == (3,)
