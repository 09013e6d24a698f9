r"""Regression families: what a batched Newton step and a mediator's law need to know.

A family's log-likelihood of one observation depends on a few linear predictors
:math:`u_1 .. u_K`. The first ``wide`` of them use the model's design, the others an intercept
alone (a log dispersion, the thresholds of an ordinal model). `derivatives` gives
:math:`\partial \ell / \partial u_k` and :math:`\partial^2 \ell / \partial u_k \partial u_l`,
everything a score, an information matrix or a Newton step is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, expit, gammaln, log_ndtr, ndtr, polygamma

Array = NDArray[np.float64]
First = list[Array]
Second = dict[tuple[int, int], Array]  # (k, l) with k <= l; absent means zero
_LOG_2PI_HALF = 0.5 * np.log(2.0 * np.pi)


class Family(Protocol):
    """A law of a response given its linear predictors, each of shape (B, n)."""

    @property
    def name(self) -> str:
        """Name as it is written in specs."""

    @property
    def predictors(self) -> int:
        """Number of linear predictors."""

    @property
    def wide(self) -> int:
        """How many of them, from the first, use the model's design."""

    @property
    def intercept(self) -> bool:
        """Whether the design keeps its intercept."""

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        """First and second derivatives of the log-likelihood in the predictors."""

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        """Whether the log-likelihood exists, elementwise."""

    def mean(self, u: list[Array]) -> Array:
        """Mean of the response (of its codes, for categories)."""


def _mean_code(probabilities: list[Array]) -> Array:
    total: Array = sum((k * p for k, p in enumerate(probabilities)), start=np.zeros(1))
    return total


def _anywhere(y: Array, u: list[Array]) -> NDArray[np.bool_]:
    return np.ones(np.broadcast_shapes(y.shape, u[0].shape), dtype=bool)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Linear regression; the residual variance is a parameter of its own."""

    name: str = "gaussian"
    predictors: int = 1
    wide: int = 1
    intercept: bool = True

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        residual = y - u[0]
        return [residual], {(0, 0): np.full_like(residual, -1.0)}

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return _anywhere(y, u)

    def mean(self, u: list[Array]) -> Array:
        return u[0]


@dataclass(frozen=True, slots=True)
class Logit:
    """Binary response, logistic link."""

    name: str = "logit"
    predictors: int = 1
    wide: int = 1
    intercept: bool = True

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        p = expit(u[0])
        return [y - p], {(0, 0): p * (p - 1.0)}

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return _anywhere(y, u)

    def mean(self, u: list[Array]) -> Array:
        p: Array = expit(u[0])
        return p


@dataclass(frozen=True, slots=True)
class Probit:
    """Binary response, normal link."""

    name: str = "probit"
    predictors: int = 1
    wide: int = 1
    intercept: bool = True

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        side = 2.0 * y - 1.0
        z = side * u[0]
        mills = np.exp(-0.5 * z * z - _LOG_2PI_HALF - log_ndtr(z))
        return [side * mills], {(0, 0): -mills * (z + mills)}

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return _anywhere(y, u)

    def mean(self, u: list[Array]) -> Array:
        p: Array = ndtr(u[0])
        return p


@dataclass(frozen=True, slots=True)
class Poisson:
    """Count response, log link."""

    name: str = "poisson"
    predictors: int = 1
    wide: int = 1
    intercept: bool = True

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        mu = np.exp(u[0])
        return [y - mu], {(0, 0): -mu}

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return np.asarray(u[0] < 500.0)

    def mean(self, u: list[Array]) -> Array:
        mu: Array = np.exp(u[0])
        return mu

    def log_mass(self, k: Array, u: list[Array]) -> Array:
        """Log-probability of the count ``k``."""
        log: Array = k * u[0] - np.exp(u[0]) - gammaln(k + 1.0)
        return log


@dataclass(frozen=True, slots=True)
class NegativeBinomial:
    r"""Count response, variance :math:`\mu + \alpha \mu^2`; the second predictor is log alpha."""

    name: str = "negative-binomial"
    predictors: int = 2
    wide: int = 1
    intercept: bool = True

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        mu, alpha = np.exp(u[0]), np.exp(u[1])
        r, inside = 1.0 / alpha, 1.0 + alpha * mu
        slope = digamma(y + r) - digamma(r) - np.log(inside) + 1.0 - (r + y) / (r + mu)
        bend = (
            polygamma(1, y + r)
            - polygamma(1, r)
            + alpha
            - 1.0 / (r + mu)
            - (mu - y) / (r + mu) ** 2
        )
        first = [(y - mu) / inside, -r * slope]
        second = {
            (0, 0): -mu * (1.0 + alpha * y) / inside**2,
            (0, 1): -alpha * mu * (y - mu) / inside**2,
            (1, 1): r * r * bend + r * slope,
        }
        return first, second

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return np.asarray((u[0] < 500.0) & (np.abs(u[1]) < 16.0))

    def mean(self, u: list[Array]) -> Array:
        mu: Array = np.exp(u[0])
        return mu

    def log_mass(self, k: Array, u: list[Array]) -> Array:
        """Log-probability of the count ``k``."""
        r = np.exp(-u[1])
        log: Array = (
            gammaln(k + r)
            - gammaln(r)
            - gammaln(k + 1.0)
            - r * np.log1p(np.exp(u[0]) / r)
            + k * (u[0] - np.log(r + np.exp(u[0])))
        )
        return log


@dataclass(frozen=True, slots=True)
class LogBinomial:
    """Binary response, log link: coefficients are log risk ratios."""

    name: str = "log-binomial"
    predictors: int = 1
    wide: int = 1
    intercept: bool = True

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        mu = np.exp(u[0])
        odds = mu / (1.0 - mu)
        return [y - (1.0 - y) * odds], {(0, 0): -(1.0 - y) * odds / (1.0 - mu)}

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return np.asarray((u[0] < -1e-12) | ((y == 1.0) & (u[0] < 1e-12)))

    def mean(self, u: list[Array]) -> Array:
        mu: Array = np.exp(u[0])
        return mu


@dataclass(frozen=True, slots=True)
class Multinomial:
    """Unordered categories 0..C-1, logistic link against the first."""

    categories: int
    name: str = "multinomial"
    intercept: bool = True

    @property
    def predictors(self) -> int:
        return self.categories - 1

    @property
    def wide(self) -> int:
        return self.categories - 1

    def probabilities(self, u: list[Array]) -> list[Array]:
        """Probability of each category."""
        top = np.maximum(0.0, np.maximum.reduce(u))
        raw = [np.exp(-top), *(np.exp(v - top) for v in u)]
        total = np.add.reduce(raw)
        return [v / total for v in raw]

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        p = self.probabilities(u)[1:]
        first = [(y == k + 1.0) - v for k, v in enumerate(p)]
        second = {
            (k, j): p[k] * (p[j] - 1.0) if k == j else p[k] * p[j]
            for k in range(len(p))
            for j in range(k, len(p))
        }
        return first, second

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        return _anywhere(y, u)

    def mean(self, u: list[Array]) -> Array:
        return _mean_code(self.probabilities(u))


@dataclass(frozen=True, slots=True)
class Ordinal:
    """Ordered categories 0..C-1: ``P(Y <= c) = expit(threshold_c - eta)`` (proportional odds)."""

    categories: int
    name: str = "ordinal"
    wide: int = 1
    intercept: bool = False

    @property
    def predictors(self) -> int:
        return self.categories

    def probabilities(self, u: list[Array]) -> list[Array]:
        """Probability of each category."""
        at_most = [expit(t - u[0]) for t in u[1:]]
        inner = [high - low for low, high in pairwise(at_most)]
        return [at_most[0], *inner, expit(u[0] - u[-1])]

    def derivatives(self, y: Array, u: list[Array]) -> tuple[First, Second]:
        shape = np.broadcast_shapes(y.shape, u[0].shape)
        last = self.categories - 1
        first = [np.zeros(shape) for _ in u]
        second: Second = {(0, 0): np.zeros(shape)}
        second |= {(0, k): np.zeros(shape) for k in range(1, last + 1)}
        second |= {
            (k, j): np.zeros(shape) for k in range(1, last + 1) for j in (k, k + 1) if j <= last
        }
        p = self.probabilities(u)
        for c in range(self.categories):
            here = np.broadcast_to(y == c, shape) / p[c]
            density, bend = [], []
            for t in (u[c] if c > 0 else None, u[c + 1] if c < last else None):
                f = np.zeros(shape) if t is None else expit(t - u[0])
                density.append(f * (1.0 - f))
                bend.append(f * (1.0 - f) * (1.0 - 2.0 * f))
            slope, masked = density[1] - density[0], here * p[c]
            first[0] -= here * slope
            second[0, 0] += here * (bend[1] - bend[0]) - masked * (slope / p[c]) ** 2
            for k, sign, f, g in (
                (c, -1.0, density[0], bend[0]),
                (c + 1, 1.0, density[1], bend[1]),
            ):
                if 1 <= k <= last:
                    first[k] += sign * here * f
                    second[0, k] += sign * (here * f * slope / p[c] - here * g)
                    second[k, k] += sign * here * g - masked * (f / p[c]) ** 2
            if 1 <= c < last:
                second[c, c + 1] += masked * density[0] * density[1] / p[c] ** 2
        return first, second

    def feasible(self, y: Array, u: list[Array]) -> NDArray[np.bool_]:
        ordered = _anywhere(y, u)
        for low, high in pairwise(u[1:]):
            ordered = ordered & (high - low > 1e-10)
        return ordered

    def mean(self, u: list[Array]) -> Array:
        return _mean_code(self.probabilities(u))


COUNTS = (Poisson, NegativeBinomial)
BINARY = ("logit", "probit", "log-binomial")
NAMES = (
    "gaussian",
    "logit",
    "probit",
    "poisson",
    "negative-binomial",
    "log-binomial",
    "multinomial",
    "ordinal",
)


def family(name: str, categories: int = 2) -> Family:
    """Return a family by its name; ``categories`` matters for multinomial and ordinal."""
    made: dict[str, Family] = {
        "gaussian": Gaussian(),
        "logit": Logit(),
        "probit": Probit(),
        "poisson": Poisson(),
        "negative-binomial": NegativeBinomial(),
        "log-binomial": LogBinomial(),
        "multinomial": Multinomial(categories),
        "ordinal": Ordinal(categories),
    }
    return made[name]
