"""Means over a normal variable: closed forms where they exist, Gauss-Hermite nodes elsewhere."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, roots_hermitenorm

Array = NDArray[np.float64]
RULES = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63, 91, 127, 181, 255)


@cache
def hermite(nodes: int) -> tuple[Array, Array]:
    """Nodes and weights with ``sum w f(z) = E f(Z)`` for polynomials of degree < 2 * nodes."""
    z, w = roots_hermitenorm(nodes)
    kept = w > 0.0
    return z[kept], w[kept] / w[kept].sum()


def mean_over_normal(link: str, mean: Array, spread: Array | None, nodes: int) -> Array:
    r"""Mean of an inverse link at a normal linear predictor.

    .. math:: E\,g^{-1}(\mu + \sigma Z), \qquad Z \sim N(0, 1)

    identity: :math:`\mu`; log: :math:`e^{\mu + \sigma^2 / 2}`; probit:
    :math:`\Phi(\mu / \sqrt{1 + \sigma^2})`; logit: Gauss-Hermite.

    Parameters
    ----------
    link
        ``identity``, ``log``, ``probit`` or ``logit``.
    mean
        Shape (B, n) or (B, 1).
    spread
        Standard deviation, (B, n) or (B, 1); None means 0.
    nodes
        Number of Gauss-Hermite nodes for the logistic link.
    """
    if link == "identity":
        return mean
    if spread is None:
        return inverse(link, mean)
    if link == "log":
        return np.asarray(np.exp(mean + 0.5 * spread * spread))
    if link == "probit":
        return np.asarray(ndtr(mean / np.sqrt(1.0 + spread * spread)))
    return logistic_normal(mean, spread, nodes)


def inverse(link: str, eta: Array) -> Array:
    """Inverse link."""
    if link == "identity":
        return eta
    if link == "log":
        return np.asarray(np.exp(eta))
    return np.asarray(ndtr(eta) if link == "probit" else expit(eta))


def logistic_normal(mean: Array, spread: Array, nodes: int) -> Array:
    """Mean of ``expit(mean + spread * Z)``.

    With a spread that is the same for all units, ``exp(-mean)`` is taken once and every node costs
    a product and a quotient. An infinite ``exp(-mean)`` gives the right limit, 0.
    """
    z, w = hermite(nodes)
    if spread.shape[-1] != 1:
        total = np.zeros(np.broadcast_shapes(mean.shape, spread.shape))
        for node, weight in zip(z, w, strict=True):
            total += weight * expit(mean + spread * node)
        return total
    with np.errstate(over="ignore"):
        inverse_odds = np.exp(-mean)
        shifts = np.exp(-spread * z)
    total, work = np.zeros(inverse_odds.shape), np.empty(inverse_odds.shape)
    for j, weight in enumerate(w):
        np.multiply(inverse_odds, shifts[:, j : j + 1], out=work)
        work += 1.0
        np.divide(weight, work, out=work)
        total += work
    return total
