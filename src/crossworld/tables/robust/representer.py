r"""Riesz regression: weights learned as what they are for, without inverting a probability.

A linear functional :math:`g \mapsto E[w\, g(Z')]` has a representer :math:`\alpha`, the function
with :math:`E[w\, g(Z')] = E[\alpha(Z) g(Z)]` for every ``g``; it minimises
:math:`E[\alpha(Z)^2] - 2 E[w\, \alpha(Z')]`. Over a linear sieve ``b`` the minimiser is a ridge
regression whose cross moment is a mean of features where they are wanted:

.. math::
    \alpha = b^\top \rho, \qquad
    \rho = \{E_n[b(Z) b(Z)^\top] + \lambda D\}^{-1} E_n[w\, b(Z')],

with ``D`` the identity but for the intercept, which is free.

References
----------
Chernozhukov, Newey, Quintas-Martinez and Syrgkanis (2022). Automatic debiased machine learning
via Riesz regression. Chernozhukov, Newey and Singh (2022), Econometrica 90.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError
from crossworld.tables.robust.sieve import Indexed, Sieve, choose, indexed, sieve

Array = NDArray[np.float64]
PENALTIES = np.logspace(-6.0, 2.0, 17)
RANK = 1e-10  # share of the largest eigenvalue below which a direction is unseen


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One functional on a sample.

    Parameters
    ----------
    observed
        Z, shape (n, p).
    moved
        Z', shape (n, p): where the functional evaluates its argument.
    active
        Rows on which the representer may differ from 0, (n,).
    previous
        w, (n,).
    weights
        Row weights, or None.
    groups
        Groups left out in turn when the penalty is chosen, (n,).
    """

    observed: Array
    moved: Array
    active: NDArray[np.bool_]
    previous: Array
    weights: Array | None
    groups: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Representer:
    """A fitted representer on its active rows.

    Parameters
    ----------
    sieve
        The features.
    coefficients
        Shape (1 + features,), the intercept first.
    penalty
        The penalty used.
    """

    sieve: Sieve | Indexed
    coefficients: Array
    penalty: float

    def __call__(self, x: Array) -> Array:
        """Value at (n, p) columns, (n,)."""
        return np.asarray(self.sieve(x) @ self.coefficients)


def represent(problem: Problem, features: Any, penalty: float | str) -> Representer:
    """Minimise the empirical Riesz loss over a sieve.

    Parameters
    ----------
    features
        Name of a sieve or a transformer (see `crossworld.tables.robust.sieve`).
    penalty
        The ridge, relative to features of variance 1, or ``"cv"`` (see `least_penalty`).

    Raises
    ------
    EstimationError
        If no row is active.
    """
    if not problem.active.any():
        raise EstimationError("a representer has no row to be learned from")
    counted = problem.active if problem.weights is None else problem.active & (problem.weights > 0)
    chosen = choose(features, problem.observed.shape[1], int(counted.sum()))
    built = sieve(chosen, problem.observed, problem.weights)
    here = built(problem.observed)
    there = here if problem.moved is problem.observed else built(problem.moved)
    moments = Moments.of(problem, here, there)
    used = moments.best() if penalty == "cv" else float(penalty)
    coefficients = moments.coefficients(used)
    if not isinstance(chosen, str) or chosen != "linear+index":
        return Representer(built, coefficients, used)
    return _with_index(problem, built, moments, penalty, used)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sufficient statistics of the Riesz loss, by group of rows.

    Parameters
    ----------
    observed, moved
        Features, (n, q).
    labels
        Group of every row, 0..G-1.
    grams, crosses
        Shapes (G, q, q) and (G, q).
    """

    observed: Array
    moved: Array
    labels: NDArray[np.int64]
    grams: Array
    crosses: Array

    @classmethod
    def of(cls, problem: Problem, observed: Array, moved: Array) -> Moments:
        """Sum up the features of a problem."""
        labels = np.unique(problem.groups, return_inverse=True)[1].astype(np.int64)
        own = np.ones(len(observed)) if problem.weights is None else problem.weights
        grams, crosses = [], []
        for group in range(int(labels.max()) + 1):
            rows = labels == group
            held, share = observed[rows], (own * problem.active)[rows]
            grams.append((held * share[:, None]).T @ held)
            crosses.append(moved[rows].T @ (own * problem.previous)[rows])
        return cls(observed, moved, labels, np.array(grams), np.array(crosses))

    def coefficients(self, penalty: float, without: int | None = None) -> Array:
        """Minimise the penalised loss of all rows, or of those outside a group, (q,)."""
        gram, cross = self.grams.sum(axis=0), self.crosses.sum(axis=0)
        if without is not None and (gram - self.grams[without])[0, 0] > 0.0:
            gram, cross = gram - self.grams[without], cross - self.crosses[without]
        return ridge(gram, cross, np.array([penalty]))[:, 0]

    def best(self) -> float:
        """Return the least penalty whose loss on groups left out is near the best."""
        return least_penalty(left_out_loss(self.grams, self.crosses))

    def index(self, penalty: float) -> tuple[Array, Array]:
        """Value at observed and at moved rows under coefficients from the other groups."""
        fits = np.array([self.coefficients(penalty, g) for g in range(len(self.grams))])
        mine = fits[self.labels]
        return (self.observed * mine).sum(axis=1), (self.moved * mine).sum(axis=1)


def _with_index(
    problem: Problem, linear: Sieve, first: Moments, penalty: float | str, used: float
) -> Representer:
    """Refit with the square of the linear fit; rows see a fit that did not see them."""
    here, there = first.index(used)
    built = indexed(linear, first.coefficients(used), here, problem.weights)
    second = Moments.of(problem, built.join(first.observed, here), built.join(first.moved, there))
    used = second.best() if penalty == "cv" else float(penalty)
    return Representer(built, second.coefficients(used), used)


def left_out_loss(grams: Array, crosses: Array) -> Array:
    """Riesz loss on each group under coefficients from the others, (groups, penalties).

    Parameters
    ----------
    grams, crosses
        Shapes (groups, p, p) and (groups, p).
    """
    loss = np.zeros((len(grams), PENALTIES.size))
    for g, (gram, cross) in enumerate(zip(grams, crosses, strict=True)):
        others = grams.sum(axis=0) - gram
        if others[0, 0] <= 0.0:
            continue
        held = ridge(others, crosses.sum(axis=0) - cross, PENALTIES)
        loss[g] = (held * (gram @ held)).sum(axis=0) - 2.0 * cross @ held
    return loss


def least_penalty(loss: Array) -> float:
    """Return the least penalty that loses to the best by at most a standard error.

    The error is that of the difference between the two over the groups, (groups, penalties).
    Shrinkage leaves features out of balance, which is bias wherever the outcome regression is
    wrong; the noise that less of it lets in is in the standard error.
    """
    best = int(np.argmin(loss.sum(axis=0)))
    excess = loss - loss[:, [best]]
    error = excess.std(axis=0, ddof=1) / np.sqrt(len(loss))
    return float(PENALTIES[np.argmax(excess.mean(axis=0) <= error + 1e-15)])


def ridge(gram: Array, cross: Array, penalties: Array) -> Array:
    """Coefficients under each penalty, (p, penalties); the first, an intercept, is free.

    Under penalty 0, directions in which the features do not vary are left out.
    """
    total = gram[0, 0]
    centre, level = gram[0, 1:] / total, cross[0] / total
    spread = gram[1:, 1:] / total - np.outer(centre, centre)
    wanted = cross[1:] / total - centre * level
    if wanted.size == 0:
        return np.full((1, penalties.size), level)
    values, axes = np.linalg.eigh(0.5 * (spread + spread.T))
    values = np.maximum(values, 0.0)
    seen = values > RANK * values[-1]
    along = axes.T @ wanted
    slopes = np.empty((wanted.size, penalties.size))
    for j, penalty in enumerate(penalties):
        least = np.divide(
            along, values + penalty, out=np.zeros_like(along), where=seen | (penalty > 0)
        )
        slopes[:, j] = axes @ least
    return np.vstack([level - centre @ slopes, slopes])
