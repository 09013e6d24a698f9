"""Cross-fitted means of functions of outcome and mediator, from the nuisance engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand, needed
from crossworld.core.estimate import Codes, Estimate
from crossworld.core.expression import Cell, Y
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.robust.data import Route, route
from crossworld.tables.robust.engine import RatioForm, recipes
from crossworld.tables.robust.folds import check_arms, fold_ids
from crossworld.tables.robust.learners import Recipe, is_classifier
from crossworld.tables.robust.nuisance import Fold, Key, cross_fit
from crossworld.tables.robust.weights import Work
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One partition in folds: the treatment models, and means of whatever is asked.

    Parameters
    ----------
    work
        The nuisances of the cells that are identified.
    ids
        Fold of every row.
    options
        The estimator whose learners and trimming are used.
    """

    work: Work
    ids: Codes
    options: MultiplyRobust

    def mean(self, target: Array, level: float) -> Array:
        """Out-of-fold mean of ``target`` given covariates at a treatment level, (n,)."""
        data = self.work.data
        held = target[data.arm == level]
        if held.min() == held.max():
            return np.full(target.size, float(held[0]))
        key = ("outcome", (level,), (0,))
        found, _ = cross_fit(
            replace(data, y=target),
            recipes(self.options),
            ids=self.ids,
            keys=[key],
            workers=self.options.workers,
        )
        return found[key]

    def smooth(self, target: Array, level: float) -> Array:
        """Out-of-fold mean of an estimated number given covariates at a level, (n,).

        The outcome's learner regresses it, as a number even when the outcome is 0/1.
        """

        def fitted(fold: Fold, key: Key) -> Array:
            rows = fold.train[fold.data.arm[fold.train] == level]
            return fold.regression(rows, target[rows], 0)(fold.data.given(0)[fold.test])

        data = self.work.data
        found, _ = cross_fit(
            replace(data, y=np.full(data.y.size, 0.5)),  # so that no probability is fitted
            replace(
                recipes(self.options),
                outcome=Recipe(regressor(self.options.outcome), "outcome", self.options.seed),
            ),
            ids=self.ids,
            keys=[("smooth", level)],
            workers=self.options.workers,
            extra={"smooth": fitted},
        )
        return found["smooth", level]

    def score(self, target: Array, level: float, mean: Array) -> Array:
        """Uncentred influence of the mean of ``target`` had all had the level, (n,)."""
        data = self.work.data
        weight = self.work.scaled((data.arm == level) / self.work.chance(level, 0))
        return np.asarray(mean + weight * (target - mean))


def regressor(learner: object) -> object:
    """The outcome's learner where it regresses numbers, else the nearest that does."""
    if isinstance(learner, str):
        return "linear" if learner == "logistic" else learner
    return "auto" if is_classifier(learner) else learner


def check_estimator(estimator: MultiplyRobust | None, method: str) -> MultiplyRobust:
    """Refuse an estimator whose learners cannot be used."""
    chosen = MultiplyRobust() if estimator is None else estimator
    if not isinstance(chosen, MultiplyRobust) or chosen.mediator is not None:
        raise SpecError(f"{method} works with MultiplyRobust(mediator=None), got {chosen!r}")
    return chosen


def split_cells(
    study: TableStudy, effects: Sequence[Estimand], method: str
) -> tuple[dict[Cell, Route], dict[Cell, Route]]:
    """Cells of the effects under one level, and cells ``Y(a, M(b))`` across levels.

    Raises
    ------
    DesignError
        If a cell moves some mediators and not others.
    """
    known: dict[Cell, Route] = {}
    crossed: dict[Cell, Route] = {}
    for cell in needed(effects):
        path = route(study, cell, method)
        if path.runs > 2 or (path.runs == 2 and path.ends[1] != len(study.blocks)):
            raise DesignError(
                f"{method} is about all mediators together; {cell} moves some and not others. "
                "Join the mediators with '+'"
            )
        (known if path.runs == 1 else crossed)[cell] = path
    return known, crossed


def splits(
    study: TableStudy, options: MultiplyRobust, data_work: Work, paths: Sequence[Route]
) -> list[Split]:
    """Fit what identified cells need, once per split."""
    form, data, found = RatioForm(), data_work.data, []
    keys = [key for path in paths for key in form.keys(path)]
    for seed in np.random.SeedSequence(options.seed).spawn(options.repeats):
        ids = fold_ids(study, options.folds, seed)
        check_arms(ids, data.arm, study.levels, study.path.treatment)
        held, _ = cross_fit(data, recipes(options), ids=ids, keys=keys, workers=options.workers)
        work = Work(data, held, options.trim, options.normalize)
        found.append(Split(work, ids, options))
    return found


def averaged(column: Array, study: TableStudy) -> Estimate:
    """The (weighted) mean of a column of scores with its influence."""
    return Scores(column[:, None], (Y(1),), study.cluster, study.weights).mean(Y(1))


def ends(effects: Sequence[Estimand], low: dict[Cell, Array], high: dict[Cell, Array]) -> Array:
    """Scores of the least and largest value of each effect, (n, 2 k)."""
    columns = []
    for effect in effects:
        terms = effect.expr.linear() or {}
        for one, other in ((low, high), (high, low)):
            parts = [c * (one if c > 0.0 else other)[cell] for cell, c in terms.items()]
            columns.append(np.sum(parts, axis=0))
    return np.column_stack(columns)
