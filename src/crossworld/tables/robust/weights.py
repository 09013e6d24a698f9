"""Stage weights of multiply robust scores, and the aggregation of repeated splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.nuisance import Key
from crossworld.tables.robust.overlap import Overlap, clip

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Nuisances of one split and how weights are made from them.

    Parameters
    ----------
    data
        The study's arrays.
    nuisances
        Out-of-fold predictions by name.
    trim
        Least probability that is inverted.
    normalize
        Whether weights are divided by their mean.
    overlap
        What is noted on the way.
    """

    data: Arrays
    nuisances: Mapping[Key, Array]
    trim: float
    normalize: bool
    overlap: Overlap = field(default_factory=Overlap)

    def chance(self, level: float, blocks: int) -> Array:
        """P(A = level | X, first blocks of mediators), held away from 0."""
        column = int(np.flatnonzero(self.data.levels == level)[0])
        found = self.nuisances["treatment", blocks][:, column]
        return clip(found, self.trim, (level, blocks), self.overlap)

    def scaled(self, weight: Array) -> Array:
        """Weights divided by their mean, when asked."""
        if not self.normalize:
            return weight
        return np.asarray(weight / np.average(weight, weights=self.data.weights))


def stage_weight(work: Work, path: Route, r: int) -> Array:
    """Weight of the residual of run ``r`` of a cell, (n,)."""
    own = path.levels[r]
    weight = (work.data.arm == own) / work.chance(own, 0)
    for s in range(r):
        other, before, after = path.levels[s], path.ends[s], path.ends[s + 1]
        if other != own:
            weight = weight * work.chance(other, after) / work.chance(own, after)
            weight = weight * work.chance(own, before) / work.chance(other, before)
    work.overlap.weights[path.levels, path.ends, r] = weight
    return np.asarray(weight)


def aggregate(parts: list[Array], weights: Array | None) -> Array:
    """Aggregate repeated splits: each cell's median estimate, units' influence averaged.

    The influence is scaled so that a cell's standard error is the square root of the median of
    ``se_s^2 + (theta_s - theta)^2`` (Chernozhukov et al. 2018, Econometrics Journal 21).
    """
    if len(parts) == 1:
        return parts[0]
    stacked = np.stack(parts)
    means = np.average(stacked, axis=1, weights=weights)
    centre = np.median(means, axis=0)
    influence = stacked - means[:, None]
    average = influence.mean(axis=0)
    n = average.shape[0]
    own = np.average(influence**2, axis=1, weights=weights) / n
    wanted = np.sqrt(np.median(own + (means - centre) ** 2, axis=0))
    held = np.sqrt(np.average(average**2, axis=0, weights=weights) / n)
    factor = np.divide(wanted, held, out=np.ones_like(wanted), where=held > 0.0)
    return np.asarray(centre + average * factor)
