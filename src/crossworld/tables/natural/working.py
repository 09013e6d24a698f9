r"""Working models of natural effect models: imputed outcomes, or density-ratio weights.

Either gives, for the copies of every row, a response and a weight that depend on fitted
parameters :math:`\theta`. The estimating function of the natural effect model is linear in both,
so all it needs of a working model is how a weighted sum over copies of their derivatives in
:math:`\theta` moves with each unit: `influence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from crossworld.tables.parametric.families import (
    Family,
    Gaussian,
    LogBinomial,
    Logit,
    Multinomial,
    NegativeBinomial,
    Ordinal,
    Poisson,
    Probit,
)
from crossworld.tables.parametric.models import Model
from crossworld.tables.parametric.newton import newton

Array = NDArray[np.float64]
Fitted = Mapping[str, Array]  # parameters by name, B rows each


class Working(Protocol):
    """What the copies of the data take from fitted models."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The fitted models."""

    def start(self) -> Fitted:
        """Parameters of the fit to the full sample, one row each."""

    def refit(self, weights: Array) -> tuple[Fitted, NDArray[np.bool_]]:
        """Parameters under (B, n) weights, and which of the B fits converged."""

    def copies(self, fitted: Fitted, b: int) -> tuple[Array, Array]:
        """Responses and weights of the K n copies under the parameters of row ``b``."""

    def influence(self, response: Array, weight: Array) -> Array:
        """Influence of each unit, (n,), through the fitted parameters.

        ``response`` and ``weight``, (K n,), are derivatives of the target in the responses of the
        copies and in the logarithms of their weights, averaged over rows.
        """


def mean_slope(family: Family, u: Array) -> Array:
    """Derivative of the mean response in the linear predictor."""
    if isinstance(family, Gaussian):
        return np.ones_like(u)
    mu = family.mean([u])
    if isinstance(family, Logit):
        return np.asarray(mu * (1.0 - mu))
    if isinstance(family, Probit):
        return np.asarray(np.exp(-0.5 * u * u) / np.sqrt(2.0 * np.pi))
    return mu  # the other families of an outcome have a log link


def log_density(family: Family, y: Array, u: list[Array], variance: float) -> Array:
    """Log-density up to a constant; ``variance`` is a normal response's."""
    if isinstance(family, Gaussian):
        return np.asarray(-((y - u[0]) ** 2) / (2.0 * variance))
    if isinstance(family, Logit):
        return np.asarray(-np.logaddexp(0.0, (1.0 - 2.0 * y) * u[0]))
    if isinstance(family, Probit):
        return np.asarray(log_ndtr((2.0 * y - 1.0) * u[0]))
    if isinstance(family, LogBinomial):
        return np.asarray(np.where(y == 1.0, u[0], np.log1p(-np.exp(u[0]))))
    if isinstance(family, Poisson | NegativeBinomial):
        return family.log_mass(y, u)
    assert isinstance(family, Multinomial | Ordinal)
    chances = np.stack(np.broadcast_arrays(*family.probabilities(u)))
    at = np.broadcast_to(y.astype(np.int64), chances.shape[1:])[None]
    return np.asarray(np.log(np.take_along_axis(chances, at, axis=0)[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Imputed:
    """Outcomes imputed under every treatment value of the grid, mediators as observed.

    Parameters
    ----------
    model
        The outcome model.
    designs
        Its design with the treatment at each value of the grid, (n, p) each.
    """

    model: Model
    designs: tuple[Array, ...]

    @property
    def models(self) -> tuple[Model, ...]:
        return (self.model,)

    def start(self) -> Fitted:
        return {self.model.name: self.model.theta[None]}

    def refit(self, weights: Array) -> tuple[Fitted, NDArray[np.bool_]]:
        found, done = newton(self.model.likelihood, start=self.model.theta, weights=weights)
        return {self.model.name: found}, done

    def copies(self, fitted: Fitted, b: int) -> tuple[Array, Array]:
        theta, layout = fitted[self.model.name][b : b + 1], self.model.layout
        family = self.model.family
        means = [family.mean(layout.predictors(theta, z))[0] for z in self.designs]
        found = np.concatenate(means)
        return found, np.ones_like(found)

    def influence(self, response: Array, weight: Array) -> Array:
        theta, layout = self.model.theta[None], self.model.layout
        direction = np.zeros(layout.size)
        for z, pull in zip(self.designs, np.split(response, len(self.designs)), strict=True):
            u = layout.predictors(theta, z)[0][0]
            direction[layout.part(0)] += (pull * mean_slope(self.model.family, u)) @ z
        return self.model.influence(direction)


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A conditional density in the weights, of the copies relative to the observed row.

    Parameters
    ----------
    model
        Its model.
    designs, responses
        Design (n, p) and response (n,) of every copy.
    sign
        1.0 when it multiplies, -1.0 when it divides.
    """

    model: Model
    designs: tuple[Array, ...]
    responses: tuple[Array, ...]
    sign: float

    def logs(self, theta: Array, variance: float) -> Array:
        """Log of the factor relative to the observed row, (K n,)."""
        family, layout = self.model.family, self.model.layout

        def log(y: Array, z: Array) -> Array:
            u = layout.predictors(theta[None], z)
            found: Array = np.broadcast_to(log_density(family, y, u, variance), (1, y.size))[0]
            return found

        own = log(self.model.y, self.model.design.z)
        pairs = zip(self.responses, self.designs, strict=True)
        return self.sign * np.concatenate([log(y, z) - own for y, z in pairs])

    @property
    def _inflation(self) -> float:
        return float(self.model.weights.sum()) / self.model.dof

    def variance(self, theta: Array, weights: Array) -> Array:
        """Residual variances RSS / (n - p) of (B, P) fits under (B, n) weights: (B,)."""
        if not isinstance(self.model.family, Gaussian):
            return np.ones(len(weights))
        z = self.model.design.z
        total = weights.sum(axis=1)
        squares = (weights * (self.model.y - theta @ z.T) ** 2).sum(axis=1)
        return np.asarray(squares / (total - z.shape[1]))

    def influence(self, pull: Array) -> Array:
        """Influence of each unit through this factor's parameters, (n,)."""
        model, layout = self.model, self.model.layout
        variance = float(self.variance(model.theta[None], model.weights[None])[0])
        direction, along = np.zeros(layout.size), 0.0
        parts = np.split(self.sign * pull, len(self.designs))
        terms = [*zip(self.responses, self.designs, parts, strict=True)]
        terms.append((model.y, model.design.z, -np.sum(parts, axis=0)))
        for y, z, c in terms:
            u = layout.predictors(model.theta[None], z)
            first, _ = model.family.derivatives(y, u)
            for k, g in enumerate(first):
                pulled = c * g[0] / variance
                direction[layout.part(k)] += pulled @ z if k < model.family.wide else pulled.sum()
            if isinstance(model.family, Gaussian):
                along += float(c @ (y - u[0][0]) ** 2) / (2.0 * variance**2)
        found = model.influence(direction)
        if isinstance(model.family, Gaussian):
            found = found + along * (self._inflation * model.residual() ** 2 - variance)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Outcomes as observed, weighted by the density ratio of the mediators.

    Parameters
    ----------
    y
        Outcome, (n,).
    factors
        What the ratio is a product of.
    count
        Copies of each row, K.
    """

    y: Array
    factors: tuple[Factor, ...]
    count: int

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(f.model for f in self.factors)

    def start(self) -> Fitted:
        weights = self.factors[0].model.weights[None]
        return self._with_variance([f.model.theta[None] for f in self.factors], weights)

    def refit(self, weights: Array) -> tuple[Fitted, NDArray[np.bool_]]:
        thetas, fine = [], np.ones(len(weights), dtype=bool)
        for factor in self.factors:
            model = factor.model
            theta, done = newton(model.likelihood, start=model.theta, weights=weights)
            thetas.append(theta)
            fine &= done
        return self._with_variance(thetas, weights), fine

    def _with_variance(self, thetas: Sequence[Array], weights: Array) -> Fitted:
        found: dict[str, Array] = {}
        for j, (factor, theta) in enumerate(zip(self.factors, thetas, strict=True)):
            found[f"theta {j}"] = theta
            found[f"variance {j}"] = factor.variance(theta, weights)
        return found

    def copies(self, fitted: Fitted, b: int) -> tuple[Array, Array]:
        total = np.zeros(self.count * self.y.size)
        for j, factor in enumerate(self.factors):
            variance = float(fitted[f"variance {j}"][b])
            total += factor.logs(fitted[f"theta {j}"][b], variance)
        with np.errstate(over="ignore"):
            return np.tile(self.y, self.count), np.exp(total)

    def influence(self, response: Array, weight: Array) -> Array:
        total = np.zeros(self.y.size)
        for factor in self.factors:
            total += factor.influence(weight)
        return total
