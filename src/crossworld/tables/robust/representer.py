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
from crossworld.tables.robust.sieve import Sieve, choose, sieve, with_index

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

    sieve: Sieve
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
        The ridge, relative to features of variance 1, or ``"cv"`` for the one with the least
        Riesz loss on groups left out.

    Raises
    ------
    EstimationError
        If no row is active.
    """
    if not problem.active.any():
        raise EstimationError("a representer has no row to be learned from")
    chosen = choose(features, problem.observed.shape[1], int(problem.active.sum()))
    built = sieve(chosen, problem.observed, problem.weights)
    coefficients, used = _minimise(problem, built, penalty)
    if isinstance(chosen, str) and chosen == "linear+index":
        built = with_index(built, coefficients, problem.observed, problem.weights)
        coefficients, used = _minimise(problem, built, penalty)
    return Representer(built, coefficients, used)


def _minimise(problem: Problem, built: Sieve, penalty: float | str) -> tuple[Array, float]:
    at = built(problem.observed)
    there = at if problem.moved is problem.observed else built(problem.moved)
    own = np.ones(len(at)) if problem.weights is None else problem.weights
    grams, crosses = [], []
    for group in np.unique(problem.groups) if penalty == "cv" else [None]:
        rows = slice(None) if group is None else problem.groups == group
        held, share = at[rows], (own * problem.active)[rows]
        grams.append((held * share[:, None]).T @ held)
        crosses.append(there[rows].T @ (own * problem.previous)[rows])
    gram, cross = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    if penalty == "cv":
        used = float(PENALTIES[np.argmin(left_out_loss(np.array(grams), np.array(crosses)))])
    else:
        used = float(penalty)
    return ridge(gram, cross, np.array([used]))[:, 0], used


def left_out_loss(grams: Array, crosses: Array) -> Array:
    """Riesz loss on each group under coefficients from the others, summed, by penalty.

    Parameters
    ----------
    grams, crosses
        Shapes (groups, p, p) and (groups, p).
    """
    loss = np.zeros(PENALTIES.size)
    for gram, cross in zip(grams, crosses, strict=True):
        others = grams.sum(axis=0) - gram
        if others[0, 0] <= 0.0:
            continue
        held = ridge(others, crosses.sum(axis=0) - cross, PENALTIES)
        loss += (held * (gram @ held)).sum(axis=0) - 2.0 * cross @ held
    return loss


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
        least = np.divide(along, values + penalty, out=np.zeros_like(along), where=seen | (penalty > 0))
        slopes[:, j] = axes @ least
    return np.vstack([level - centre @ slopes, slopes])
