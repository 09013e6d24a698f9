"""The law of a scalar sample, and averages of a curve over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]
NODES = 32  # of a quadrature: exact for polynomials up to degree 63
FLAT = 1e-9  # share of the sample's spread below which a direction of the recursion is none


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Points and probabilities whose averages stand for those of a sample, (q,) each."""

    at: Array
    mass: Array


def gauss(values: Array, weights: Array) -> Nodes:
    r"""Gauss quadrature of the empirical law of ``values``.

    With :math:`p_j` the shares of ``weights``, the nodes and masses satisfy
    :math:`\sum_q w_q f(t_q) = \sum_j p_j f(v_j)` for polynomials of degree below twice their
    number, and converge geometrically for functions as smooth as a logistic curve.

    Parameters
    ----------
    values, weights
        Shape (n,); weights are non-negative and not all 0.

    References
    ----------
    Golub and Welsch (1969), Mathematics of Computation 23. Gautschi (2004), Orthogonal
    Polynomials: Computation and Approximation.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.random.default_rng(1).exponential(size=500)
    >>> found = gauss(values, np.ones(500))
    >>> bool(abs(found.mass @ np.exp(-found.at) - np.exp(-values).mean()) < 1e-12)
    True
    """
    used = weights > 0
    values, share = values[used], weights[used] / weights[used].sum()
    centre = float(share @ values)
    spread = float(np.sqrt(share @ (values - centre) ** 2))
    if spread <= FLAT * max(1.0, abs(centre)):
        return Nodes(np.array([centre]), np.ones(1))
    points, basis = (values - centre) / spread, [np.sqrt(share)]
    diagonal, below = [], list[float]()
    for _ in range(NODES):
        grown = points * basis[-1]
        diagonal.append(float(grown @ basis[-1]))
        held = np.array(basis)
        for _ in range(2):  # twice is enough for the recursion to stay orthogonal
            grown = grown - held.T @ (held @ grown)
        size = float(np.linalg.norm(grown))
        if size < FLAT or len(diagonal) == NODES:
            break
        below.append(size)
        basis.append(grown / size)
    matrix = np.diag(diagonal) + np.diag(below, 1) + np.diag(below, -1)
    roots, vectors = np.linalg.eigh(matrix)
    return Nodes(centre + spread * roots, vectors[0] ** 2)


def inverse(logit: bool, at: Array) -> Array:
    """Inverse of the link: the logistic curve or the identity."""
    return np.asarray(expit(at)) if logit else at


def curve(logit: bool, at: Array, nodes: Nodes) -> Array:
    """Average over the nodes of the link's inverse at ``at + node``, shape of ``at``."""
    if not logit:
        return np.asarray(at + nodes.mass @ nodes.at)
    return np.asarray(expit(at[..., None] + nodes.at) @ nodes.mass)


def slope(logit: bool, at: Array, nodes: Nodes) -> Array:
    """Derivative of `curve` in ``at``."""
    if not logit:
        return np.ones_like(at)
    p = expit(at[..., None] + nodes.at)
    return np.asarray((p * (1.0 - p)) @ nodes.mass)
