"""Do two groups of vectors have the same distribution? Energy distance and its permutation test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

Array = NDArray[np.float64]
Shuffle = Callable[[np.random.Generator], NDArray[np.int64]]
_BLOCK = 128


def energy_distance(first: Array, second: Array) -> float:
    r"""Squared energy distance of two samples.

    .. math:: E = 2 \, \overline{|x - y|} - \overline{|x - x'|} - \overline{|y - y'|} \ge 0

    with means over all pairs, a point with itself included (a V statistic). It is 0 only where
    the empirical distributions are equal.

    Parameters
    ----------
    first, second
        Shapes (n, d) and (m, d).

    References
    ----------
    Székely and Rizzo (2004). Testing for equal distributions in high dimension. InterStat 5.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0]])
    >>> energy_distance(x, x), energy_distance(x, x + 1.0)
    (0.0, 1.0)
    """
    held = np.vstack([first, second])
    active = np.arange(len(held)) >= len(first)
    return float(_statistics(_distances(held), active[:, None])[0])


def energy_test(
    values: Array,
    active: NDArray[np.bool_],
    *,
    draws: int = 999,
    seed: int = 0,
    shuffle: Shuffle | None = None,
) -> tuple[float, float]:
    r"""Test that two groups have the same distribution, whatever it is.

    The labels of the groups are permuted; the p value is
    :math:`(1 + \#\{E_b \ge E\}) / (1 + B)`, exact where units are exchangeable.

    Parameters
    ----------
    values
        Shape (n, d). Columns should be on scales that can be compared.
    active
        Which group a row belongs to, shape (n,).
    draws, seed
        Permutations and the seed they are drawn with.
    shuffle
        Draws rows whose labels take the place of each row's own, for rows in clusters; any
        permutation by default.

    Returns
    -------
    (statistic, p value)
        The squared energy distance and its p value.

    Raises
    ------
    DesignError
        If a group is empty.

    Examples
    --------
    >>> x = np.arange(40.0)[:, None]
    >>> distance, p = energy_test(x, x[:, 0] >= 20.0)
    >>> round(p, 3)
    0.001
    """
    if active.all() or not active.any():
        raise DesignError("a test of two groups needs rows in both")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    distances = _distances(values)
    found = float(_statistics(distances, active[:, None])[0])
    deal = partial(rng.permutation, active.size) if shuffle is None else partial(shuffle, rng)
    reached, left = 0, draws
    while left > 0:
        size = min(_BLOCK, left)
        dealt = np.column_stack([active[deal()] for _ in range(size)])
        reached += int((_statistics(distances, dealt) >= found - 1e-12 * abs(found)).sum())
        left -= size
    return found, (1.0 + reached) / (1.0 + draws)


def _distances(values: Array) -> Array:
    """Euclidean distances of all pairs, shape (n, n)."""
    from scipy.spatial.distance import pdist, squareform

    return np.asarray(squareform(pdist(values)), dtype=np.float64)


def _statistics(distances: Array, active: NDArray[np.bool_]) -> Array:
    """Energy distances of many labellings (n, b), shape (b,): minus a quadratic form."""
    count = active.sum(axis=0)
    signs = np.where(active, 1.0 / count, -1.0 / (len(active) - count))
    return np.asarray(0.0 - (signs * (distances @ signs)).sum(axis=0))
