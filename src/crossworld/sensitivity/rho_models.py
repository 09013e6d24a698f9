r"""Natural effects as functions of the correlation of mediator and outcome errors.

Throughout :math:`r = \rho / \sqrt{1 - \rho^2}`. Conditional on the mediator, the outcome model that
is fitted absorbs the correlation into its coefficients, so the coefficients at ``rho`` are known
functions of the fitted ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from crossworld.core.estimate import Estimate
from crossworld.sensitivity.rho_data import (
    Coefficients,
    Triple,
    model_based,
    regress,
)

Array = NDArray[np.float64]
TERMS = ("nie", "pnie", "nde", "tnde")


class RhoModel(Protocol):
    """A pair of models whose effects are known at every rho."""

    @property
    def reach(self) -> float:
        """Largest size of rho at which effects are computed."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Effects that differ from one another."""

    def effect(self, term: str, rho: float) -> Estimate:
        """Effect at ``rho`` with its influence; NaN where the models cannot hold."""


def slope(rho: float) -> float:
    """``rho / sqrt(1 - rho^2)``."""
    return rho / math.sqrt((1.0 - rho) * (1.0 + rho))


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    r"""Linear mediator, linear outcome: every effect is a straight line in :math:`r`.

    With residual deviations :math:`s_M`, :math:`s_Y` of the two fitted models, iterated
    generalised least squares with the correlation held at ``rho`` ends at

    .. math:: \gamma(\rho) = \hat\gamma - r \frac{s_Y}{s_M}, \qquad
              \beta_3(\rho) = \hat\beta_3 + r \frac{s_Y}{s_M} \hat\beta_2,

    and leaves the mediator's model and the product's coefficient as they are.
    """

    lines: dict[str, tuple[Estimate, Estimate]]
    terms: tuple[str, ...]
    reach: float = 1.0

    def effect(self, term: str, rho: float) -> Estimate:
        """Evaluate one line."""
        start, rise = self.lines[term]
        return start + rise * slope(rho)


def linear(data: Triple, vcov: str) -> Lines:
    """Fit two linear models; ``vcov`` is ``sandwich`` or ``classic``."""
    z, d = data.first, data.second
    low, high = data.levels
    if vcov == "classic":
        first, second = model_based(data, ((z, data.m), (d, data.y)))
    else:
        first = regress(data, "gaussian", z, data.m, role="mediator")
        second = regress(data, "gaussian", d, data.y, role="outcome")
    ratio = _ratio(data, data.m - z @ first.values, data.y - d @ second.values)
    none = replace(second[0], value=0.0, influence=0.0 * second[0].influence)
    if vcov == "classic":
        ratio = none + ratio.value
    q = z.shape[1]
    direct, gamma = second[q - 1], second[q]
    product = second[q + 1] if data.interaction else none
    means = [_mean_mediator(data, first, level, vcov) for level in (low, high)]
    moved = means[1] - means[0]
    nie = {
        name: ((gamma + product * level) * moved, -(ratio * moved))
        for name, level in (("nie", high), ("pnie", low))
    }
    nde = {
        name: ((direct + product * mean) * (high - low), ratio * moved)
        for name, mean in zip(("nde", "tnde"), means, strict=True)
    }
    return Lines({**nie, **nde}, TERMS if data.interaction else ("nie", "nde"))


def _ratio(data: Triple, first: Array, second: Array) -> Estimate:
    """Ratio of the residual deviations of outcome and mediator."""
    square = data.average(second**2) / data.average(first**2)
    root = math.sqrt(square.value)
    return square.apply(math.sqrt, 0.5 / root)


def _mean_mediator(data: Triple, first: Coefficients, level: float, vcov: str) -> Estimate:
    """Mean of a linear mediator with the treatment at ``level``."""
    z = data.at(level)
    central = data.share @ z / len(z)
    mean = first.along(central)
    return mean if vcov == "classic" else mean + (data.average(z @ first.values) - mean.value)


@dataclass(frozen=True, slots=True, eq=False)
class ProbitOutcome:
    r"""Linear mediator, probit outcome.

    With probit coefficients of the fitted outcome model (tilde) and the mediator's residual
    deviation :math:`\sigma`, at ``rho`` the latent outcome has

    .. math:: \gamma_a(\rho) = \sqrt{1 - \rho^2} (\tilde\gamma_a - r / \sigma), \qquad
              \gamma_a = \gamma + \kappa a,

    and, the errors of one unit being correlated, the cell is

    .. math:: E[Y(a, M(b))] = E\,\Phi\!\left( \frac{x^\top \tilde c_a + \tilde\gamma_a \mu_b
              - (r / \sigma) \beta_2 (b - a)}{\sqrt{1 + \tilde\gamma_a^2 \sigma^2}} \right) .
    """

    data: Triple
    values: Array  # stacked: mediator (q), outcome (q), gamma, product, sigma
    influence: Array
    reach: float = 1.0 - 1e-6
    terms: tuple[str, ...] = TERMS

    def effect(self, term: str, rho: float) -> Estimate:
        """Difference of two cells."""
        low, high = self.data.levels
        left, right = {
            "nie": ((high, high), (high, low)),
            "pnie": ((low, high), (low, low)),
            "nde": ((high, low), (low, low)),
            "tnde": ((high, high), (low, high)),
        }[term]
        return self.cell(*left, rho) - self.cell(*right, rho)

    def cell(self, a: float, b: float, rho: float) -> Estimate:
        """Mean outcome with treatment ``a`` and the mediator as under ``b``."""
        data, q = self.data, self.data.x.shape[1] + 1
        first, second = self.values[:q], self.values[q : 2 * q]
        gamma, product, sigma = self.values[2 * q :]
        pull, bend = gamma + product * a, slope(rho) / sigma
        shift = bend * (b - a)
        za, zb = data.at(a), data.at(b)
        mean = zb @ first
        top = za @ second + pull * mean - shift * first[-1]
        bottom = math.sqrt(1.0 + (pull * sigma) ** 2)
        u = top / bottom
        weight = data.share * np.exp(-0.5 * u**2) / math.sqrt(2.0 * math.pi) / u.size
        rise = weight / bottom
        flat = -float(weight @ top) / bottom**2  # derivative in the denominator
        by_first = pull * (rise @ zb)
        by_first[-1] -= shift * rise.sum()
        by_pull = float(rise @ mean) + flat * pull * sigma**2 / bottom
        by_sigma = float(rise.sum()) * shift / sigma * first[-1] + flat * pull**2 * sigma / bottom
        change = np.concatenate([by_first, rise @ za, [by_pull, a * by_pull, by_sigma]])
        cell = data.average(ndtr(u))
        return replace(cell, influence=cell.influence + self.influence @ change)


def probit_outcome(data: Triple) -> ProbitOutcome:
    """Fit a linear mediator and a probit outcome."""
    z, d = data.first, data.second
    first = regress(data, "gaussian", z, data.m, role="mediator")
    second = regress(data, "probit", d, data.y, role="outcome")
    n = float(data.weights.sum())
    variance = data.average((data.m - z @ first.values) ** 2) * (n / (n - z.shape[1]))
    sigma = variance.apply(math.sqrt, 0.5 / math.sqrt(variance.value))
    missing = 0 if data.interaction else 1
    values = [first.values, second.values, np.zeros(missing), np.array([sigma.value])]
    columns = [
        first.influence,
        second.influence,
        np.zeros((data.y.size, missing)),
        sigma.influence[:, None],
    ]
    return ProbitOutcome(data, np.concatenate(values), np.concatenate(columns, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class ProbitMediator:
    r"""Probit mediator, linear outcome.

    With :math:`s = 2M - 1`, :math:`\mu` the mediator's linear predictor and
    :math:`\lambda = s \phi(\mu) / \Phi(s\mu)`,

    .. math:: E[Y \mid a, M, x] = \ldots + \rho \sigma_3 \lambda, \qquad
              \mathrm{var} = \sigma_3^2 \{1 - \rho^2 \lambda (\lambda + \mu)\} .

    At each ``rho`` the coefficients are least squares weighted by the inverse of that variance and
    :math:`\sigma_3` solves its own equation, a quadratic one.
    """

    data: Triple
    first: Coefficients
    reach: float = 0.99
    terms: tuple[str, ...] = TERMS

    def effect(self, term: str, rho: float) -> Estimate:
        """Combine coefficients of the outcome with probabilities of the mediator."""
        data, q = self.data, self.data.x.shape[1] + 1
        low, high = data.levels
        found = weighted(data, self.first, rho)
        chances = [self.chance(level) for level in (low, high)]
        none = found[0] * 0.0
        product = found[q + 1] if data.interaction else none
        if term in ("nie", "pnie"):
            level = high if term == "nie" else low
            return (found[q] + product * level) * (chances[1] - chances[0])
        mean = chances[0] if term == "nde" else chances[1]
        return (found[q - 1] + product * mean) * (high - low)

    def chance(self, level: float) -> Estimate:
        """Mean probability of the mediator with the treatment at ``level``."""
        z = self.data.at(level)
        u = z @ self.first.values
        density = np.exp(-0.5 * u**2) / math.sqrt(2.0 * math.pi)
        change = (self.data.share * density) @ z / u.size
        mean = self.data.average(ndtr(u))
        return replace(mean, influence=mean.influence + self.first.influence @ change)


def probit_mediator(data: Triple) -> ProbitMediator:
    """Fit the probit mediator; the outcome's model is fitted at each rho."""
    terms = TERMS if data.interaction else ("nie", "nde")
    first = regress(data, "probit", data.first, data.m, role="mediator")
    return ProbitMediator(data, first, terms=terms)


def weighted(data: Triple, first: Coefficients, rho: float) -> Coefficients:
    """Outcome coefficients at ``rho`` with influence; NaN where no residual deviation exists."""
    d, share, size = data.second, data.share, data.y.size
    mills, down, spread, bend = _mills(data, first, rho)
    w = share / spread
    gram = d.T @ (w[:, None] * d) / size
    targets = np.column_stack([data.y, mills])
    found = np.linalg.solve(gram, d.T @ (w[:, None] * targets) / size)
    left, right = (targets - d @ found).T
    n = float(data.weights.sum())
    factor = n / (n - d.shape[1]) / size
    s00, s01, s11 = (factor * float(w @ v) for v in (left**2, left * right, right**2))
    lead = 1.0 - rho**2 * s11
    if lead <= 0.0:
        gone = np.full(d.shape, np.nan)
        return Coefficients(gone[0], gone, data.cluster)
    sigma = (-rho * s01 + math.sqrt((rho * s01) ** 2 + lead * s00)) / lead
    e = left - rho * sigma * right
    moved = -rho * sigma * down
    by_mu = moved / spread - e * bend / spread**2
    cross = d.T @ ((share * by_mu)[:, None] * data.first) / size
    beta = (w * e)[:, None] * d + first.influence @ cross.T
    by_mu = factor * (2.0 * e * moved / spread - e**2 * bend / spread**2)
    scale = factor * size * w * e**2 - share * sigma**2
    scale = scale + first.influence @ (data.first.T @ (share * by_mu))
    on_sigma = scale / (2.0 * sigma + 2.0 * factor * rho * float(w @ (e * mills)))
    beta = beta - np.outer(on_sigma, rho * (d.T @ (w * mills)) / size)
    return Coefficients(
        found[:, 0] - rho * sigma * found[:, 1], np.linalg.solve(gram, beta.T).T, data.cluster
    )


def _mills(data: Triple, first: Coefficients, rho: float) -> tuple[Array, Array, Array, Array]:
    """Inverse Mills ratio, its slope in mu, the share of variance left, and that share's slope."""
    mu, side = data.first @ first.values, 2.0 * data.m - 1.0
    mills = side * np.exp(-0.5 * mu**2 - 0.5 * math.log(2.0 * math.pi) - log_ndtr(side * mu))
    down = -mills * (mills + mu)
    bend = rho**2 * (-down * (2.0 * mills + mu) - mills)
    return mills, down, 1.0 + rho**2 * down, bend
