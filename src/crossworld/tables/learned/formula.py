"""The mediation formula with learned models: cell means and each unit's influence on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.learned.fitting import Fit
from crossworld.tables.learned.law import Nodes, curve, gauss, slope
from crossworld.tables.learned.setup import Pair, Setup

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A cell at the covariates of every unit.

    Parameters
    ----------
    means
        Mediator means under the cell's mediator level, (n, d).
    eta
        Linear predictor of the outcome at those means, (n,).
    spread
        What each unit's residual adds to a linear predictor, (n,).
    law
        The law of ``spread``.
    values
        The cell's mean given each unit's covariates, (n,).
    """

    means: Array
    eta: Array
    spread: Array
    law: Nodes
    values: Array


def point(fit: Fit, setup: Setup, pair: Pair, weights: Array) -> Point:
    """Evaluate one cell at the covariates of every unit."""
    a, b = (setup.arm(j) for j in pair)
    means = fit.coefficients.means(b, setup.x)
    eta = fit.coefficients.predictor(a, means, setup.x)
    spread = fit.residual @ fit.coefficients.pull(a)
    law = gauss(spread, weights)
    return Point(means, eta, spread, law, curve(setup.logit, eta, law))


def mean(fit: Fit, setup: Setup, pair: Pair, weights: Array) -> float:
    """Mean of one cell over the rows."""
    return float(weights @ point(fit, setup, pair, weights).values / weights.sum())


def scores(fit: Fit, setup: Setup, pair: Pair) -> Array:
    r"""Uncentred influence-function scores of one cell, (n,), for a linear mediator model.

    With :math:`\psi = n^{-2} \sum_{ij} h(\eta_i + c^\top r_j)`, unit i moves it as a row of
    covariates, as a residual, through the outcome's coefficients and through the mediators'.
    """
    w = setup.weights
    share = w / w.sum()
    at = point(fit, setup, pair, w)
    a, b = (setup.arm(j) for j in pair)
    others = gauss(at.eta, w)
    as_residual = curve(setup.logit, at.spread, others)
    as_residual = as_residual - float(share @ as_residual)
    bend, turn = slope(setup.logit, at.eta, at.law), slope(setup.logit, at.spread, others)
    # outcome coefficients: the derivative of the predictor is the design at mediators mean + r
    weighted = share * bend
    inner = weighted @ at.means + (share * turn) @ fit.residual
    whole = float(weighted.sum())
    full = np.concatenate(
        [[whole], whole * a, inner, np.outer(a, inner).ravel(), weighted @ setup.x]
    )
    outcome = fit.outcome.pull @ (fit.outcome.basis.T @ full[fit.columns])
    # mediator coefficients: they move the means of every row and, the other way, every residual
    moved = np.concatenate([[whole], whole * b, weighted @ setup.x])
    tilt = fit.basis.T @ moved - (share * turn) @ fit.z
    return np.asarray(at.values + as_residual + outcome + (fit.z @ tilt) * at.spread)
