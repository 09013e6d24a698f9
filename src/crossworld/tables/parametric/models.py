"""One regression, fitted: its parameters, their influence and their model-based covariance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError
from crossworld.tables.parametric.design import Design
from crossworld.tables.parametric.families import Family, Gaussian
from crossworld.tables.parametric.newton import (
    Gram,
    Layout,
    Likelihood,
    hessian,
    least_squares,
    newton,
)
from crossworld.tables.parametric.separation import refuse_boundary, refuse_separation

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A fitted regression of one variable.

    Parameters
    ----------
    name
        The response.
    family
        Its law.
    design
        Its design.
    y
        Response, (n,); category codes 0..C-1, and 0/1 for two-valued responses.
    support
        Values of the response that the codes stand for, for discrete families; () otherwise.
    theta
        Parameters in the design's orthonormal coordinates, (P,).
    weights
        Row weights, (n,), counting rows: their sum is the number of rows.
    """

    name: str
    family: Family
    design: Design
    y: Array
    support: tuple[float, ...]
    theta: Array
    weights: Array

    @property
    def layout(self) -> Layout:
        """Positions of the parameters."""
        return Layout(self.design.z.shape[1], self.family)

    @property
    def likelihood(self) -> Likelihood:
        """The log-likelihood it maximises."""
        return Likelihood(self.y, self.gram, self.layout)

    @property
    def dof(self) -> float:
        """Rows minus coefficients."""
        return float(self.weights.sum() - self.design.z.shape[1])

    @property
    def gram(self) -> Gram:
        """Cross-products of the observed design."""
        return Gram(self.design.z)

    def predictors(self) -> list[Array]:
        """Linear predictors of the observed rows at the estimate, (1, n) or (1, 1) each."""
        return self.layout.predictors(self.theta[None], self.design.z)

    def residual(self) -> Array:
        """Response minus fitted mean, (n,)."""
        return np.asarray(self.y - self.family.mean(self.predictors())[0])

    def information(self) -> Array:
        """Average negative second derivative of the log-likelihood, (P, P)."""
        _, second = self.family.derivatives(self.y, self.predictors())
        total = -hessian(self.layout, self.gram, second, self.weights[None])[0]
        return np.asarray(total / self.weights.sum())

    def influence(self, direction: Array) -> Array:
        """Influence of each unit on ``direction @ theta``, (n,)."""
        first, _ = self.family.derivatives(self.y, self.predictors())
        pull, layout = np.linalg.solve(self.information(), direction), self.layout
        total = np.zeros(self.y.size)
        for k, g in enumerate(first):
            v = pull[layout.part(k)]
            total += g[0] * (self.design.z @ v if k < self.family.wide else v[0])
        return total

    def covariance(self) -> Array:
        """Model-based covariance of the parameters, (P, P)."""
        inverse = np.linalg.inv(self.information()) / self.weights.sum()
        if isinstance(self.family, Gaussian):
            inverse = inverse * float(self.weights @ self.residual() ** 2) / self.dof
        return np.asarray(inverse)


def fit(
    name: str,
    family: Family,
    design: Design,
    y: Array,
    *,
    support: tuple[float, ...],
    weights: Array,
) -> Model:
    """Fit one regression.

    A reference fit by statsmodels gives the start; Newton steps on the weighted log-likelihood
    then bring the score to zero within rounding.

    Raises
    ------
    EstimationError
        If the likelihood has no maximum (separation) or none is found.
    """
    gram, layout = Gram(design.z), Layout(design.z.shape[1], family)
    if isinstance(family, Gaussian):
        theta = least_squares(y, gram, weights[None])[0]
        theta = theta + least_squares(y - design.z @ theta, gram, weights[None])[0]
        return Model(name, family, design, y, support, theta, weights)
    refuse_separation(name, family, design, y=y, weights=weights)
    start = _start(family, design.z, y, weights)
    found, done = newton(
        Likelihood(y, gram, layout), start=start, weights=weights[None], tolerance=1e-10, steps=200
    )
    if not done[0]:
        refuse_boundary(name, family, design, y=y, weights=weights)
        raise EstimationError(
            f"the {family.name} model of {name!r} ({design.formula}) did not converge: "
            f"{_why(family, design.z, y, weights)}"
        )
    model = Model(name, family, design, y, support, found[0], weights)
    if not np.isfinite(np.linalg.cond(model.information())):
        raise EstimationError(f"the {family.name} model of {name!r} is not determined by the data")
    return model


def _start(family: Family, z: Array, y: Array, weights: Array) -> Array:
    """Full-sample reference fit by statsmodels, or a feasible start near it."""
    import statsmodels.api as sm

    links = {"logit": sm.families.links.Logit(), "probit": sm.families.links.Probit()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if family.name in links:
            binomial = sm.families.Binomial(link=links[family.name])
            return np.asarray(sm.GLM(y, z, family=binomial, freq_weights=weights).fit().params)
        if family.name == "poisson":
            poisson = sm.families.Poisson()
            return np.asarray(sm.GLM(y, z, family=poisson, freq_weights=weights).fit().params)
        if family.name == "negative-binomial":
            return _start_negative_binomial(z, y, weights)
    if family.name == "log-binomial":
        level = np.log(np.clip(np.average(y, weights=weights), 1e-6, 1.0 - 1e-6))
        return np.asarray(np.linalg.lstsq(z, np.full(y.size, level), rcond=None)[0])
    if family.name == "ordinal":
        below = [np.average(y <= c, weights=weights) for c in range(family.predictors - 1)]
        share = np.clip(np.array(below), 1e-4, 1.0 - 1e-4)
        return np.concatenate([np.zeros(z.shape[1]), np.log(share / (1.0 - share))])
    return np.zeros(Layout(z.shape[1], family).size)


def _why(family: Family, z: Array, y: Array, weights: Array) -> str:
    """Say what may keep a fit from its maximum, once separation is ruled out."""
    if family.name == "log-binomial":
        return (
            "a fitted risk reaches 1, the known limit of this family; poisson keeps the log link, "
            "logit the bounds"
        )
    if family.name == "negative-binomial":
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            _, mu = _poisson(z, y, weights)
        if weights @ ((y - mu) ** 2 - y) <= 0.0:  # the score of the dispersion at 0
            return "the counts vary no more than Poisson counts do; take poisson"
    return "look for categories with few rows, or choose a simpler formula or family"


def _poisson(z: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Coefficients and fitted means of a Poisson regression."""
    import statsmodels.api as sm

    first = sm.GLM(y, z, family=sm.families.Poisson(), freq_weights=weights).fit()
    return np.asarray(first.params), np.asarray(first.fittedvalues)


def _start_negative_binomial(z: Array, y: Array, weights: Array) -> Array:
    """Poisson coefficients and the moment estimate of the dispersion."""
    first, mu = _poisson(z, y, weights)
    alpha = float(np.average(((y - mu) ** 2 - mu) / mu**2, weights=weights))
    if alpha <= 1e-4:
        alpha = 0.05
    return np.append(first, np.log(alpha))
