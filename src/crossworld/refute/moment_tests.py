r"""Joint tests that the means of several groups of moments are zero.

Each moment comes as the influence of every unit on its sample mean, parameters that were estimated
accounted for. A group of q moments has the score statistic

.. math:: T = S^\top V^{-} S, \qquad S = \sum_j \psi_j, \qquad V = \sum_j \psi_j \psi_j^\top,

over independent units j, referred to F with q and J - q degrees of freedom after
:math:`F = \{T / (1 - T / J)\} (J - q) / (q J)` (Hotelling's form: the part of T that V takes from
its own mean is given back). Where the model implies V, as a two-valued response does, that V is
used and T is referred to chi-squared. Groups are made one verdict by the step-down minimum of their
p values (Westfall and Young 1993), whose joint null law is drawn from :math:`N(0, V)`, so that
correlated groups cost no power and the size is neither above nor below the level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, fdtrc

from crossworld.core.estimate import Codes

Array = NDArray[np.float64]
DRAWS = 2499
TINY = 1e-8  # eigenvalue of a correlation matrix below which a direction is not tested


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Moments that are tested together.

    Parameters
    ----------
    name
        What the group looks at.
    labels
        One per moment, q in all.
    influence
        Influence of each unit, row weights inside, (n, q); sums to 0 in expectation.
    root
        (n, q) with ``root.T @ root`` the variance of the sums under the model, where it implies
        one (a two-valued response); steadier than the influence's own. Used where rows are units.
    """

    name: str
    labels: tuple[str, ...]
    influence: Array
    root: Array | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One group's verdict.

    Parameters
    ----------
    name
        The group.
    statistic, df
        F statistic and its first degrees of freedom.
    p_value
        Of the group alone.
    adjusted
        Of the group as one among all that were looked at.
    strongest
        The moment with the largest t statistic.
    """

    name: str
    statistic: float
    df: int
    p_value: float
    adjusted: float
    strongest: str


def sums(influence: Array, cluster: Codes | None) -> Array:
    """Influence of independent units: rows, or sums over clusters, (J, q)."""
    if cluster is None:
        return influence
    total = np.zeros((int(cluster.max()) + 1, influence.shape[1]))
    np.add.at(total, cluster, influence)
    return total


def joint_test(groups: Sequence[Group], cluster: Codes | None, *, seed: int) -> list[Verdict]:
    """Test every group, and adjust their p values for one another; empty groups are left out.

    Parameters
    ----------
    groups
        The moments.
    cluster
        Codes of independent units, or None when rows are.
    seed
        Of the draws from the joint null law.
    """
    held = [made for g in groups if (made := _scaled(g, cluster)) is not None]
    if not held:
        return []
    modelled = [m.modelled for m in held]
    size = math.inf if all(modelled) else float(len(held[0].spread))
    pieces = [_whitened(m.spread) for m in held]
    statistics = [float(((m.total @ r) ** 2).sum()) for m, (_, r) in zip(held, pieces, strict=True)]
    dfs = [w.shape[1] for w, _ in pieces]
    alone = np.array([_p_value(t, q, size) for t, q in zip(statistics, dfs, strict=True)])
    adjusted = _step_down(alone, [w for w, _ in pieces], seed)
    found = []
    for j, moments in enumerate(held):
        top = int(np.argmax(np.abs(moments.total)))
        found.append(
            Verdict(
                moments.name,
                _f_statistic(statistics[j], dfs[j], size),
                dfs[j],
                float(alone[j]),
                float(adjusted[j]),
                moments.labels[top],
            )
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """Sums of moments in units of their standard error, and a root of their correlation."""

    name: str
    labels: tuple[str, ...]
    total: Array
    spread: Array
    modelled: bool


def _scaled(group: Group, cluster: Codes | None) -> _Moments | None:
    """Moments of unit variance; those that never move are left out."""
    modelled = group.root is not None and cluster is None
    units = sums(group.influence, cluster)
    root = group.root if group.root is not None and cluster is None else units
    size = np.sqrt((root**2).sum(axis=0))
    least = 1e-12 * max(float(size.max(initial=0.0)), 1e-300)
    kept = np.flatnonzero(np.isfinite(size) & (size > least))
    if not kept.size:
        return None
    labels = tuple(group.labels[j] for j in kept)
    total = units.sum(axis=0)[kept] / size[kept]
    return _Moments(group.name, labels, total, root[:, kept] / size[kept], modelled)


def _whitened(scaled: Array) -> tuple[Array, Array]:
    """Units in coordinates in which V is the identity, and the map to them."""
    values, basis = np.linalg.eigh(scaled.T @ scaled)
    most = max(1, len(scaled) - 2)
    kept = np.flatnonzero(values > TINY * values.max())[-most:]
    root = basis[:, kept] / np.sqrt(values[kept])
    return scaled @ root, root


def _f_statistic(statistic: float, df: int, size: float) -> float:
    if math.isinf(size):
        return statistic / df
    inside = min(statistic / size, 1.0 - 1e-12)
    return statistic / (1.0 - inside) * (size - df) / (df * size)


def _p_value(statistic: float, df: int, size: float) -> float:
    if math.isinf(size):
        return float(chdtrc(df, statistic))
    return float(fdtrc(df, size - df, _f_statistic(statistic, df, size)))


def _step_down(alone: Array, whitened: Sequence[Array], seed: int) -> Array:
    """Adjusted p values; never above Holm's, which is exact where draws have no resolution."""
    drawn = _null_p_values(whitened, seed)
    order = np.argsort(alone, kind="stable")
    adjusted, floor = np.empty(alone.size), 0.0
    for place, j in enumerate(order):
        least = drawn[:, order[place:]].min(axis=1)
        share = (1.0 + float((least <= alone[j]).sum())) / (1.0 + len(least))
        floor = max(floor, min(share, (alone.size - place) * float(alone[j]), 1.0))
        adjusted[j] = floor
    return adjusted


def _null_p_values(whitened: Sequence[Array], seed: int) -> Array:
    """P values of every group under draws of the joint normal law of all sums, (DRAWS, groups)."""
    together = np.concatenate(whitened, axis=1)
    values, basis = np.linalg.eigh(together.T @ together)
    root = basis * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    z = rng.standard_normal((DRAWS, len(values))) @ root.T
    found, at = np.empty((DRAWS, len(whitened))), 0
    for j, w in enumerate(whitened):
        q = w.shape[1]
        found[:, j] = chdtrc(q, (z[:, at : at + q] ** 2).sum(axis=1))
        at += q
    return found
