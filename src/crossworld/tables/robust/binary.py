"""Parametric nuisances with known influence functions: treatment models and nested regressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, ndtr

from crossworld.errors import DesignError, EstimationError
from crossworld.tables.parametric.families import Family, Gaussian, family
from crossworld.tables.parametric.newton import Gram, Layout, Likelihood, newton
from crossworld.tables.robust.data import Arrays

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted generalised linear model with one predictor, and each unit's pull on it.

    Parameters
    ----------
    family
        Gaussian, logit or probit.
    basis
        Columns of the raw design that are kept and made orthonormal: ``z = x @ basis``.
    theta
        Coefficients in orthonormal coordinates, (p,).
    pull
        Influence of each unit on ``theta``, (n, p), before row weights; 0 for rows left out.
    """

    family: Family
    basis: Array
    theta: Array
    pull: Array

    def predictor(self, x: Array) -> Array:
        """Linear predictor on rows of the raw design."""
        return np.asarray(x @ (self.basis @ self.theta))

    def mean(self, x: Array) -> Array:
        """Fitted mean on rows of the raw design."""
        eta = self.predictor(x)
        if isinstance(self.family, Gaussian):
            return eta
        return np.asarray(expit(eta) if self.family.name == "logit" else ndtr(eta))

    def slope(self, x: Array) -> Array:
        """Derivative of the fitted mean in ``theta``, (rows, p)."""
        mean = self.mean(x)
        if isinstance(self.family, Gaussian):
            return np.asarray(x @ self.basis)
        density = mean * (1.0 - mean)
        if self.family.name == "probit":
            density = np.exp(-0.5 * self.predictor(x) ** 2) / np.sqrt(2.0 * np.pi)
        return np.asarray(density[:, None] * (x @ self.basis))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Row weights, and which rows a fit uses (1) or leaves out (0), (n,) each."""

    rows: Array
    used: Array


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """An earlier fit that made the target.

    Parameters
    ----------
    slope
        Derivative of each unit's target in the earlier parameters, (n, q).
    pull
        Influence of each unit on those parameters, (n, q).
    """

    slope: Array
    pull: Array


def fit_glm(
    name: str, x: Array, target: Array, *, sample: Sample, inner: Inner | None = None, role: str
) -> Fitted:
    r"""Fit ``target`` on ``x``: gaussian, logit (also for targets inside [0, 1]) or probit.

    The influence on the coefficients is :math:`A^{-1} (s_i z_i r_i + C \varphi_i)` with
    :math:`A` the average information, :math:`C` the average of :math:`s_i z_i \dot t_i^\top` and
    :math:`\varphi` the influence on the parameters that made the target.

    Raises
    ------
    EstimationError
        If the fit does not exist (collinear columns, separation).
    """
    weights, total = sample.rows * sample.used, sample.rows.sum()
    root = np.sqrt(weights / weights.sum())[:, None]
    size = np.sqrt((root**2 * x**2).sum(axis=0))
    if (size == 0.0).any() or int((weights > 0).sum()) <= x.shape[1]:
        raise EstimationError(f"too few rows, or a constant column, for the {role} model")
    upper = np.linalg.qr(root * x / size, mode="r")
    if np.abs(np.diag(upper)).min() < 1e-9 * np.abs(np.diag(upper)).max():
        raise EstimationError(f"perfect collinearity among the columns of the {role} model")
    basis = np.linalg.inv(upper) / size[:, None]
    z, chosen = x @ basis, family(name)
    layout = Layout(z.shape[1], chosen)
    theta, done = newton(
        Likelihood(target, Gram(z), layout),
        start=np.zeros(layout.size),
        weights=weights[None],
        tolerance=1e-10,
        steps=60,
    )
    if not done[0]:
        raise EstimationError(f"the {role} model did not converge; is a level separated?")
    first, second = chosen.derivatives(target, layout.predictors(theta, z))
    information = -(z.T * (weights * second[0, 0][0])) @ z / total
    score = z * (sample.used * first[0][0])[:, None]
    if inner is not None:
        score = score + inner.pull @ ((z * weights[:, None]).T @ inner.slope / total).T
    return Fitted(chosen, basis, theta[0], np.linalg.solve(information, score.T).T)


def arms(data: Arrays, method: str) -> None:
    """Refuse treatments with more than two levels, where a two-valued model is needed."""
    if len(data.levels) != 2:
        raise DesignError(
            f"{method} models a two-valued treatment; this one has {len(data.levels)} levels. Keep "
            "the rows of two of them, or use MultiplyRobust or Regression"
        )


def log_chance(fitted: Fitted, x: Array, active: bool) -> tuple[Array, Array]:
    """Log-probability of a treatment level and its derivative in the predictor, (n,) each."""
    eta = fitted.predictor(x) * (1.0 if active else -1.0)
    side = 1.0 if active else -1.0
    if fitted.family.name == "logit":
        return -np.logaddexp(0.0, -eta), side * expit(-eta)
    log = log_ndtr(eta)
    return log, side * np.exp(-0.5 * eta**2 - 0.5 * np.log(2.0 * np.pi) - log)
