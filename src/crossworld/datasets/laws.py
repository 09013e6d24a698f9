"""Laws of one variable given its parents: each can be drawn from and summed over exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Mapping[str, Array]  # values of the variables so far, each of shape (g,)
Equation = Callable[[State], Array]

STEP, REACH = 1.0 / 3.0, 10.0
TAIL = 1e-18


class Law(Protocol):
    """A variable with a name and a law given the variables before it."""

    @property
    def name(self) -> str:
        """Name of the column."""
        ...

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        """One draw per row of the state, shape (g,)."""

    def support(self, state: State) -> tuple[Array, Array]:
        """Values and their probabilities, each of shape (g, q)."""


class Outcome(Law, Protocol):
    """A law whose mean is known."""

    def mean(self, state: State) -> Array:
        """Return the expected value, shape (g,)."""


def expit(value: Array) -> Array:
    """Inverse logit."""
    held: Array = 0.5 * (1.0 + np.tanh(0.5 * value))
    return held


def probit(value: Array) -> Array:
    """Return the standard normal distribution function."""
    from scipy.special import ndtr

    held: Array = ndtr(value)
    return held


def normal_nodes() -> tuple[Array, Array]:
    r"""Nodes and weights of :math:`E f(Z)` for a standard normal, shape (61,) each.

    The trapezoidal rule: for integrands that are analytic in a strip of half-width ``d`` its error
    is of order :math:`e^{-2\pi d / h}`, below 1e-16 for a logistic curve of slope up to 1.5.

    References
    ----------
    Trefethen, L. N., Weideman, J. A. C. (2014). The exponentially convergent trapezoidal rule.
    SIAM Review 56.
    """
    z = np.arange(-REACH, REACH + STEP / 2, STEP)
    return z, STEP * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal law with mean ``location(state)`` and standard deviation ``sd``."""

    name: str
    location: Equation
    sd: float = 1.0

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        centre = self.location(state)
        return centre + self.sd * rng.standard_normal(centre.shape)

    def support(self, state: State) -> tuple[Array, Array]:
        z, weights = normal_nodes()
        values = self.location(state)[:, None] + self.sd * z
        return values, np.broadcast_to(weights, values.shape)

    def mean(self, state: State) -> Array:
        return self.location(state)


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """A law on 0 and 1 with probability ``chance(state)`` of 1."""

    name: str
    chance: Equation

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        p = self.chance(state)
        return (rng.random(p.shape) < p).astype(np.float64)

    def support(self, state: State) -> tuple[Array, Array]:
        p = self.chance(state)
        values = np.broadcast_to(np.array([0.0, 1.0]), (p.size, 2))
        return values, np.stack([1.0 - p, p], axis=1)

    def mean(self, state: State) -> Array:
        return self.chance(state)


@dataclass(frozen=True, slots=True)
class Poisson:
    """A Poisson law with mean ``rate(state)``."""

    name: str
    rate: Equation

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        return rng.poisson(self.rate(state)).astype(np.float64)

    def support(self, state: State) -> tuple[Array, Array]:
        rate = self.rate(state)
        top = float(rate.max())
        counts = np.arange(int(top + 12.0 * math.sqrt(top) + 40.0))
        log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
        mass = np.exp(counts * np.log(rate)[:, None] - rate[:, None] - log_factorial)
        kept = counts[mass.max(axis=0) > TAIL]
        values = np.broadcast_to(kept.astype(np.float64), (rate.size, kept.size))
        return values, mass[:, kept]

    def mean(self, state: State) -> Array:
        return self.rate(state)


@dataclass(frozen=True, slots=True)
class Nominal:
    """Codes 0..C-1 of the labels with probabilities ``chances(state)``, shape (g, C)."""

    name: str
    chances: Equation
    labels: tuple[str, ...]

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        edges = self.chances(state)[:, :-1].cumsum(axis=1)
        codes: Array = (rng.random(edges.shape[:1])[:, None] > edges).sum(axis=1).astype(np.float64)
        return codes

    def support(self, state: State) -> tuple[Array, Array]:
        p = self.chances(state)
        return np.broadcast_to(np.arange(p.shape[1], dtype=np.float64), p.shape), p


@dataclass(frozen=True, slots=True)
class Discrete:
    """Fixed values with fixed probabilities, such as -1, 0, 1."""

    name: str
    values: tuple[float, ...]
    chances: tuple[float, ...]

    def draw(self, state: State, rng: np.random.Generator) -> Array:
        return rng.choice(np.array(self.values), size=rows(state), p=np.array(self.chances))

    def support(self, state: State) -> tuple[Array, Array]:
        shape = (rows(state), len(self.values))
        return np.broadcast_to(self.values, shape), np.broadcast_to(self.chances, shape)


def normal(name: str) -> Gaussian:
    """Return a standard normal root variable."""
    return Gaussian(name, lambda s: np.zeros(rows(s)))


def coin(name: str, chance: float) -> Bernoulli:
    """Return a Bernoulli root variable."""
    return Bernoulli(name, lambda s: np.full(rows(s), chance))


def softmax(*scores: Array) -> Array:
    """Multinomial logit probabilities, shape (g, C), of C linear predictors of shape (g,)."""
    stacked = np.stack(np.broadcast_arrays(*scores), axis=1)
    powers = np.exp(stacked - stacked.max(axis=1, keepdims=True))
    held: Array = powers / powers.sum(axis=1, keepdims=True)
    return held


def rows(state: State) -> int:
    """Rows of a state (a state without variables counts them under the key ``""``)."""
    return int(next(iter(state.values())).shape[0])


def labels_of(law: Any) -> tuple[str, ...] | None:
    """Return the labels of a law over categories, else None."""
    return law.labels if isinstance(law, Nominal) else None
