r"""Two tables as one set of arrays: the treatment's codes tell the tables apart.

Level number j of the treatment is arm j in the first table and arm j + J in the second, so nested
regressions across tables are those of one table with more arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.tables.robust import learners
from crossworld.tables.robust.data import Arrays
from crossworld.tables.robust.nuisance import Extra, Fold, Key
from crossworld.tables.robust.overlap import clip
from crossworld.tables.robust.weights import Work

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """The arrays of two tables, one below the other.

    Parameters
    ----------
    data
        The arrays; each table's weights have mean 1.
    first
        Rows of the first table.
    levels
        Number of treatment levels.
    """

    data: Arrays
    first: int
    levels: int

    def split(self, values: Array) -> tuple[Array, Array]:
        """Values of the first and of the second table."""
        return values[: self.first], values[self.first :]

    def means(self, values: Array) -> tuple[float, float]:
        """Weighted mean in each table."""
        weights = (None, None) if self.data.weights is None else self.split(self.data.weights)
        found = [
            float(np.average(part, weights=w))
            for part, w in zip(self.split(values), weights, strict=True)
        ]
        return found[0], found[1]


def pool(one: Arrays, two: Arrays) -> Pooled:
    """Stack the arrays of two tables with the same columns and treatment values."""
    levels = one.levels.size
    weights = None
    if one.weights is not None or two.weights is not None:
        weights = np.concatenate([_share(one), _share(two)])
    arm = np.concatenate(
        [np.searchsorted(one.levels, one.arm), levels + np.searchsorted(one.levels, two.arm)]
    )
    data = Arrays(
        np.ascontiguousarray(np.concatenate([one.x, two.x])),
        one.width,
        arm.astype(np.float64),
        np.concatenate([one.y, two.y]),
        weights,
        np.arange(2.0 * levels),
    )
    return Pooled(data, one.y.size, levels)


def _share(data: Arrays) -> Array:
    return np.ones(data.y.size) if data.weights is None else data.weights / data.weights.mean()


def pool_clusters(one: Codes | None, two: Codes | None, sizes: tuple[int, int]) -> Codes | None:
    """Cluster codes of both tables; no cluster spans them."""
    if one is None and two is None:
        return None
    parts = [
        np.arange(size) if codes is None else codes
        for codes, size in zip((one, two), sizes, strict=True)
    ]
    return np.concatenate([parts[0], parts[1] + int(parts[0].max()) + 1]).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class TwoTableForm:
    r"""Scores of ``Y(a, G(b))`` with the mediator's law from one table, the outcome's from another.

    .. math::
        \theta = \bar\kappa + \frac{1}{n_1} \sum_{S = 1} \frac{1\{A = b\}}{P_1(b \mid X)}
        \{\mu_a(M, X) - \kappa(X)\} + \frac{1}{n_2} \sum_{S = 2} 1\{A = a\}
        \frac{p_1(X, M, b)}{P_1(b \mid X)\, p_2(X, M, a)} \{Y - \mu_a(M, X)\},

    with :math:`\mu_a(m, x) = E_2[Y \mid a, m, x]` and
    :math:`\kappa(x) = E_1[\mu_a(M, x) \mid b, x]`. The ratio of joint densities is the odds of a
    classifier that tells rows at level b of the first table from rows at level a of the second.

    Parameters
    ----------
    pooled
        Both tables.
    blocks
        Number of mediator blocks.
    extra
        The nuisances beside nested regressions.
    """

    pooled: Pooled
    blocks: int
    extra: Mapping[str, Extra] = field(
        default_factory=lambda: {
            "assignment": lambda fold, key: assignment(fold, key[1]),
            "odds": lambda fold, key: odds(fold, key[1], key[2]),
        }
    )

    def keys(self, a: int, b: int | None) -> list[Key]:
        """Nuisances of ``Y(a, G(b))``, or of ``Y(a)`` where b is None."""
        levels = self.pooled.levels
        if b is None:
            return [("assignment", levels), ("outcome", (float(a),), (0,))]
        second = float(a + levels)
        return [
            ("assignment", levels),
            ("odds", float(b), second),
            ("outcome", (second,), (self.blocks,)),
            ("outcome", (float(b), second), (0, self.blocks)),
        ]

    def natural(self, work: Work, a: int) -> tuple[float, Array]:
        """Mean of ``Y(a)`` from the first table alone, and each unit's influence, (N,)."""
        weight, inside = self._reached(work, a), self._inside()
        mean = work.nuisances["outcome", (float(a),), (0,)]
        score = inside * (mean + weight * (work.data.y - mean))
        return self._gather(score, np.zeros(score.size))

    def drawn(self, work: Work, a: int, b: int) -> tuple[float, Array]:
        """Mean of ``Y(a, G(b))`` and each unit's influence, (N,)."""
        second = float(a + self.pooled.levels)
        surface = work.nuisances["outcome", (second,), (self.blocks,)]
        kappa = work.nuisances["outcome", (float(b), second), (0, self.blocks)]
        inside = self._inside()
        score = inside * (kappa + self._reached(work, b) * (surface - kappa))
        chance = work.nuisances["odds", float(b), second]
        other = clip(1.0 - chance, work.trim, (second, self.blocks), work.overlap)
        weight = (work.data.arm == second) * (1.0 - other) / other / self._assigned(work, b)
        work.overlap.weights[a, b, "second"] = weight
        scale = self.pooled.means(weight)[1] if work.normalize else self._relative_size()
        residual = weight / scale * (work.data.y - surface)
        return self._gather(score, np.where(inside > 0, 0.0, residual))

    def _relative_size(self) -> float:
        first = self.pooled.first
        return first / (self.pooled.data.y.size - first)

    def _inside(self) -> Array:
        return (np.arange(self.pooled.data.y.size) < self.pooled.first).astype(np.float64)

    def _assigned(self, work: Work, level: int) -> Array:
        found = work.nuisances["assignment", self.pooled.levels][:, level]
        return clip(found, work.trim, (float(level), 0), work.overlap)

    def _reached(self, work: Work, level: int) -> Array:
        weight = (work.data.arm == level) / self._assigned(work, level)
        work.overlap.weights[level, "first"] = weight
        return weight / self.pooled.means(weight)[0] if work.normalize else np.asarray(weight)

    def _gather(self, one: Array, two: Array) -> tuple[float, Array]:
        """Sum of two tables' means, and influence scaled to the pooled number of units."""
        first, total = self.pooled.first, one.size
        mean_one, mean_two = self.pooled.means(one)[0], self.pooled.means(two)[1]
        influence = np.concatenate(
            [
                (one[:first] - mean_one) * (total / first),
                (two[first:] - mean_two) * (total / (total - first)),
            ]
        )
        return mean_one + mean_two, influence


def assignment(fold: Fold, levels: int) -> Array:
    """P(A = j | X) in the first table, at the test rows of both, (t, J)."""
    rows = fold.train[fold.data.arm[fold.train] < levels]
    return _classified(fold, rows, 0, np.arange(float(levels)), role="treatment")


def odds(fold: Fold, one: float, two: float) -> Array:
    """Probability that a row at either of two arms is at the first of them, (t,)."""
    rows = fold.train[np.isin(fold.data.arm[fold.train], (one, two))]
    blocks = len(fold.data.width) - 1
    return _classified(fold, rows, blocks, np.array([one]), role="table")[:, 0]


def _classified(
    fold: Fold, rows: NDArray[np.int64], blocks: int, classes: Array, *, role: str
) -> Array:
    target, x = fold.data.arm[rows], fold.data.given(blocks)
    fold.fits.append(f"{role} | {blocks} blocks")
    if x.shape[1] == 0:
        share = [np.average(target == c, weights=fold.weights(rows)) for c in classes]
        return np.tile(share, (fold.test.size, 1))
    made = fold.recipes.treatment.make(probability=True, rows=rows.size)
    fitted = learners.fit(made, x[rows], target, fold.weights(rows), role)
    return learners.probabilities(fitted, x[fold.test], classes, role)
