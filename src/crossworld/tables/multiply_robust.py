"""Cross-fitted multiply robust scores for natural and path-specific effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.errors import SpecError
from crossworld.tables.robust.data import Route, arrays, route
from crossworld.tables.robust.density import DensityForm, check_mediator
from crossworld.tables.robust.folds import check_arms, fold_ids
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.robust.nuisance import (
    Extra,
    Key,
    Recipes,
    cross_fit,
    outcome_keys,
    treatment_keys,
)
from crossworld.tables.robust.overlap import describe_overlap
from crossworld.tables.robust.weights import Work, aggregate, stage_weight
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
    mediator
        A classifier of the mediator given treatment and covariates selects the density-ratio
        form, for one discrete mediator (see `crossworld.tables.robust.density`).
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
    mediator: Any = None
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
        form = _Ratios() if self.mediator is None else _density_form(self, study)
        recipes = Recipes(
            Recipe(self.outcome, "outcome", self.seed),
            Recipe(self.treatment, "treatment", self.seed),
        )
        parts, overlaps, fits = [], [], 0
        for split in np.random.SeedSequence(self.seed).spawn(self.repeats):
            ids = fold_ids(study, self.folds, split)
            check_arms(ids, data.arm, study.levels, study.path.treatment)
            nuisances, count = cross_fit(
                data,
                recipes,
                ids=ids,
                keys=[key for r in routes for key in form.keys(r)],
                workers=self.workers,
                extra=form.extra,
            )
            work = Work(data, nuisances, self.trim, self.normalize)
            parts.append(np.column_stack([form.score(work, r) for r in routes]))
            overlaps.append(work.overlap)
            fits += count
        values = aggregate(parts, data.weights)
        told = describe_overlap(overlaps[0], values, data, study.levels, self.trim)
        told["nuisance_fits"] = fits
        return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)


@dataclass(frozen=True, slots=True, eq=False)
class _Ratios:
    """The density-free form: treatment probabilities in the place of mediator densities."""

    extra: Mapping[str, Extra] = field(default_factory=dict)

    def keys(self, path: Route) -> list[Key]:
        """Nuisances of a cell."""
        return [*treatment_keys(path), *outcome_keys(path)]

    def score(self, work: Work, path: Route) -> Array:
        """Score of a cell, (n,)."""
        stages = [work.nuisances[key] for key in reversed(outcome_keys(path))]  # mu_0 ..
        values = [*stages, work.data.y]
        total = stages[0].copy()
        for r in range(path.runs):
            total += work.scaled(stage_weight(work, path, r)) * (values[r + 1] - values[r])
        return total


def _density_form(options: MultiplyRobust, study: TableStudy) -> DensityForm:
    return DensityForm(check_mediator(study), Recipe(options.mediator, "mediator", options.seed))
