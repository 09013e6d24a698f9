"""Cross-fitted multiply robust scores for natural and path-specific effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.errors import SpecError
from crossworld.tables.robust.data import Arrays, Route, arrays, route
from crossworld.tables.robust.folds import check_arms, fold_ids
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.robust.nuisance import (
    Key,
    Recipes,
    cross_fit,
    outcome_keys,
    treatment_keys,
)
from crossworld.tables.robust.overlap import Overlap, clip, describe_overlap
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MultiplyRobust:
    r"""Influence-function scores for ordered mediator blocks, with any learners.

    With mediator blocks :math:`M_1 .. M_K`, levels :math:`a_1 .. a_K` for them and
    :math:`a_{K+1}` for the outcome, :math:`\mu_{K+1} = Y` and
    :math:`\mu_k = E[\mu_{k+1} \mid X, a_{k+1}, \bar M_k]`, the score of the cell is

    .. math::
        \mu_0 + \sum_{k=1}^{K+1} \frac{1\{A = a_k\}}{P(a_k \mid X)}
        \prod_{j < k} \frac{P(a_j \mid X, \bar M_j)\, P(a_k \mid X, \bar M_{j-1})}
                           {P(a_k \mid X, \bar M_j)\, P(a_j \mid X, \bar M_{j-1})}
        (\mu_k - \mu_{k-1}).

    Mediator densities are replaced by treatment probabilities (Bayes), so a mediator may have any
    number of dimensions. With one block this is the score of Tchetgen Tchetgen and Shpitser in
    the form of Farbmacher et al. (2022); stages whose neighbours share a level drop out.

    Parameters
    ----------
    outcome, treatment
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``.
        ``auto`` stacks a penalised linear model with products and gradient boosting; under 400
        training rows it is the linear model alone.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    repeats
        Number of different splits; cells are aggregated by their median.
    normalize
        Divide each stage's weights by their mean (Hajek).
    trim
        Treatment probabilities are held at least this far from 0; who was held is reported.
    seed
        Seed of the folds and of learners made from a name.
    workers
        Threads over folds.

    Notes
    -----
    Assumptions: those of the study's identification; for each stage, either its regressions or its
    treatment models are estimated well, and the product of their errors vanishes faster than the
    root of n.

    References
    ----------
    Tchetgen Tchetgen and Shpitser (2012), Annals of Statistics 40. Farbmacher, Huber, Laffers,
    Langen and Spindler (2022), Econometrics Journal 25. Zhou (2022), JRSS-B 84.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> effects = xw.estimate(study, method)
    >>> bool(effects["nie"].conf_low < 0.72 < effects["nie"].conf_high)
    True
    """

    outcome: Any = "auto"
    treatment: Any = "auto"
    folds: int | str = 5
    repeats: int = 1
    normalize: bool = True
    trim: float = 0.01
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.trim < 0.5:
            raise SpecError(f"trim is a probability under one half, got {self.trim!r}")
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise SpecError(f"repeats is a whole number of at least 1, got {self.repeats!r}")
        if isinstance(self.folds, str) and self.repeats > 1:
            raise SpecError("given folds cannot be repeated; use a number of folds, or repeats=1")

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell from shared nuisances."""
        data = arrays(study, "MultiplyRobust")
        routes = [route(study, cell, "MultiplyRobust") for cell in cells]
        keys = [key for r in routes for key in (*treatment_keys(r), *outcome_keys(r))]
        recipes = Recipes(
            Recipe(self.outcome, "outcome", self.seed),
            Recipe(self.treatment, "treatment", self.seed),
        )
        parts, overlaps, fits = [], [], 0
        for split in np.random.SeedSequence(self.seed).spawn(self.repeats):
            ids = fold_ids(study, self.folds, split)
            check_arms(ids, data.arm, study.levels, study.path.treatment)
            nuisances, count = cross_fit(data, recipes, ids, keys, workers=self.workers)
            overlap = Overlap()
            scored = [cell_score(data, r, nuisances, self, overlap) for r in routes]
            parts.append(np.column_stack(scored))
            overlaps.append(overlap)
            fits += count
        values = _median(parts, data.weights)
        told = describe_overlap(overlaps[0], values, data, study.levels, self.trim)
        told["nuisance_fits"] = fits
        return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)


def cell_score(
    data: Arrays,
    path: Route,
    nuisances: dict[Key, Array],
    options: MultiplyRobust,
    overlap: Overlap,
) -> Array:
    """Score of one cell, (n,)."""
    stages = [nuisances[key] for key in reversed(outcome_keys(path))]  # mu_0 .. mu_{R-1}
    values = [*stages, data.y]
    total = stages[0].copy()
    for r in range(path.runs):
        weight = stage_weight(data, path, r, nuisances, options.trim, overlap)
        if options.normalize:
            weight = weight / np.average(weight, weights=data.weights)
        total += weight * (values[r + 1] - values[r])
    return total


def stage_weight(
    data: Arrays, path: Route, r: int, nuisances: dict[Key, Array], trim: float, overlap: Overlap
) -> Array:
    """Weight of the residual of run ``r``, (n,)."""

    def chance(level: float, blocks: int) -> Array:
        column = int(np.flatnonzero(data.levels == level)[0])
        return clip(nuisances["treatment", blocks][:, column], trim, (level, blocks), overlap)

    own = path.levels[r]
    weight = (data.arm == own) / chance(own, 0)
    for s in range(r):
        other, before, after = path.levels[s], path.ends[s], path.ends[s + 1]
        if other != own:
            weight = weight * chance(other, after) / chance(own, after)
            weight = weight * chance(own, before) / chance(other, before)
    overlap.weights[path.levels, path.ends, r] = weight
    return np.asarray(weight)


def _median(parts: list[Array], weights: Array | None) -> Array:
    """Aggregate repeated splits: each cell's median estimate, units' influence averaged.

    The influence is scaled so that a cell's standard error is the median of
    ``sqrt(se_s^2 + (theta_s - theta)^2)`` (Chernozhukov et al. 2018).
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
    return centre + average * np.where(held > 0.0, wanted / np.where(held > 0.0, held, 1.0), 1.0)
