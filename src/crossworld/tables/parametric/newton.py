"""Many weighted fits of one model at once, by Newton steps from a common start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.parametric.families import Family, First, Gaussian, Second

Array = NDArray[np.float64]
PAIRS = 1 << 22  # numbers held for products of design columns before they are made in chunks
SINGULAR = 1e-10  # smallest pivot, beside the largest, of a matrix that is not singular
STEP_CAP = 4.0  # largest move of a predictor (root mean square) in one step


@dataclass(frozen=True, slots=True, eq=False)
class Gram:
    """Weighted cross-products of an (n, p) design for many weight vectors at once."""

    z: Array

    def __call__(self, weights: Array) -> Array:
        """Return ``z' diag(w_b) z`` for each row of (B, n) weights: shape (B, p, p)."""
        n, p = self.z.shape
        if weights.shape[0] == 1:
            one: Array = (self.z.T * weights[0]) @ self.z
            return one[None]
        rows, cols = np.triu_indices(p)
        flat = np.zeros((weights.shape[0], rows.size))
        step = max(1, PAIRS // max(rows.size, 1))
        for start in range(0, n, step):
            part = self.z[start : start + step]
            flat += weights[:, start : start + step] @ (part[:, rows] * part[:, cols])
        found = np.empty((weights.shape[0], p, p))
        found[:, rows, cols] = flat
        found[:, cols, rows] = flat
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each predictor's coefficients stand in a parameter vector."""

    columns: int
    family: Family

    @property
    def size(self) -> int:
        """Number of parameters."""
        f = self.family
        return f.wide * self.columns + f.predictors - f.wide

    def part(self, k: int) -> slice:
        """Positions of predictor ``k``."""
        wide = self.family.wide
        if k < wide:
            return slice(k * self.columns, (k + 1) * self.columns)
        at = wide * self.columns + k - wide
        return slice(at, at + 1)

    def predictors(self, theta: Array, z: Array) -> list[Array]:
        """Linear predictors of (B, P) parameters on (n, p) rows: (B, n), or (B, 1) if constant."""
        return [
            theta[:, self.part(k)] @ z.T if k < self.family.wide else theta[:, self.part(k)]
            for k in range(self.family.predictors)
        ]


def gradient(layout: Layout, z: Array, first: First, weights: Array) -> Array:
    """Score summed over units, shape (B, P)."""
    parts = []
    for k, g in enumerate(first):
        weighted = weights * g
        parts.append(
            weighted @ z if k < layout.family.wide else weighted.sum(axis=1, keepdims=True)
        )
    return np.concatenate(parts, axis=1)


def hessian(layout: Layout, gram: Gram, second: Second, weights: Array) -> Array:
    """Second derivative of the log-likelihood, shape (B, P, P)."""
    wide, size = layout.family.wide, layout.size
    found = np.zeros((weights.shape[0], size, size))
    for (k, j), h in second.items():
        weighted = np.broadcast_to(weights * h, (weights.shape[0], gram.z.shape[0]))
        if k < wide and j < wide:
            block = gram(weighted)
        elif k < wide:
            block = (weighted @ gram.z)[:, :, None]
        else:
            block = weighted.sum(axis=1)[:, None, None]
        found[:, layout.part(k), layout.part(j)] = block
        if k != j:
            found[:, layout.part(j), layout.part(k)] = block.transpose(0, 2, 1)
    return found


def solve(matrices: Array, vectors: Array) -> Array:
    """Solve (B, P, P) symmetric systems; NaN where a matrix is singular.

    A matrix that is not positive definite (a log-likelihood away from its maximum need not be
    concave) is replaced by the one with absolute eigenvalues, so that a step still climbs.
    """
    found = np.full(vectors.shape, np.nan)
    fine = np.asarray(np.isfinite(matrices).all(axis=(1, 2)) & np.isfinite(vectors).all(axis=1))
    plain = fine & _well_conditioned(matrices, fine)
    if plain.any():
        found[plain] = np.linalg.solve(matrices[plain], vectors[plain][:, :, None])[:, :, 0]
    for b in np.flatnonzero(fine & ~plain):
        values, basis = np.linalg.eigh(matrices[b])
        size = np.abs(values)
        if size.min() > SINGULAR * size.max() and values.min() < 0.0:
            found[b] = basis @ ((basis.T @ vectors[b]) / size)
    return found


def _well_conditioned(matrices: Array, fine: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each matrix is positive definite with no pivot near zero."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(matrices), axis1=1, axis2=2)
        smallest, largest = pivots.min(axis=1, initial=np.inf), pivots.max(axis=1, initial=0.0)
        return np.asarray(smallest**2 > SINGULAR * largest**2)
    except np.linalg.LinAlgError:
        kept = np.zeros(len(matrices), dtype=bool)
        for b in np.flatnonzero(fine):
            try:
                pivot = np.diag(np.linalg.cholesky(matrices[b]))
            except np.linalg.LinAlgError:
                continue
            kept[b] = pivot.min() ** 2 > SINGULAR * pivot.max() ** 2
        return kept


def least_squares(y: Array, gram: Gram, weights: Array) -> Array:
    """Weighted least squares for (B, n) weights: coefficients (B, p), NaN where singular."""
    with np.errstate(all="ignore"):
        return solve(gram(weights), weights @ (gram.z * y[:, None]))


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """A log-likelihood, up to its weights.

    Parameters
    ----------
    y
        Response (codes for categories), shape (n,).
    gram
        The design, with columns of unit mean square, so that a step's length is the root mean
        square move of a predictor.
    layout
        Family and parameter positions.
    """

    y: Array
    gram: Gram
    layout: Layout


def newton(
    likelihood: Likelihood,
    *,
    start: Array,
    weights: Array,
    tolerance: float = 1e-7,
    steps: int = 30,
) -> tuple[Array, NDArray[np.bool_]]:
    """Maximise the weighted log-likelihood for each row of (B, n) weights.

    Parameters
    ----------
    likelihood
        Response, design and family.
    start
        Where every fit starts, shape (P,) or (B, P): the full-sample solution.
    weights
        Shape (B, n).
    tolerance
        A fit has converged when no coordinate's step is longer. Steps converge quadratically, so
        the error left is about its square.
    steps
        Most steps taken.

    Returns
    -------
    tuple
        Parameters (B, P), NaN where a fit failed, and whether each fit converged (B,).
    """
    draws, layout = weights.shape[0], likelihood.layout
    if isinstance(layout.family, Gaussian):
        found = least_squares(likelihood.y, likelihood.gram, weights)
        return found, np.asarray(np.isfinite(found).all(axis=1))
    theta = np.array(np.broadcast_to(start, (draws, layout.size)))
    done = np.zeros(draws, dtype=bool)
    left = np.arange(draws)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            w = weights if left.size == draws else weights[left]
            step = _step(likelihood, theta[left], w)
            alive = np.isfinite(step).all(axis=1)
            left, step, w = left[alive], step[alive], w[alive]
            if left.size == 0:
                break
            theta[left] = _move(likelihood, theta[left], step, w)
            small = np.abs(step).max(axis=1) < tolerance
            done[left[small]] = True
            left = left[~small]
            if left.size == 0:
                break
    theta[~done] = np.nan
    return theta, done


def _step(likelihood: Likelihood, theta: Array, weights: Array) -> Array:
    y, gram, layout = likelihood.y, likelihood.gram, likelihood.layout
    first, second = layout.family.derivatives(y, layout.predictors(theta, gram.z))
    step = solve(-hessian(layout, gram, second, weights), gradient(layout, gram.z, first, weights))
    length = np.sqrt((step**2).sum(axis=1, keepdims=True))
    return np.asarray(step * np.minimum(1.0, STEP_CAP / np.maximum(length, 1e-300)))


def _move(likelihood: Likelihood, theta: Array, step: Array, weights: Array) -> Array:
    """Take the step, halved until the log-likelihood exists at every unit with weight."""
    y, z, layout = likelihood.y, likelihood.gram.z, likelihood.layout
    scale = np.ones((len(theta), 1))
    if layout.family.name in ("logit", "probit", "multinomial"):
        return np.asarray(theta + step)
    for _ in range(40):
        u = layout.predictors(theta + scale * step, z)
        fine = (layout.family.feasible(y, u) | (weights == 0.0)).all(axis=1)
        if fine.all():
            break
        scale[~fine] *= 0.5
    return np.asarray(theta + scale * step)
