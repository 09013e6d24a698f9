"""Cross-fitted scores: what every estimator with learned nuisances has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.core.options import check_whole_fields
from crossworld.core.scores import Scores
from crossworld.errors import SpecError
from crossworld.tables.robust.data import Route, arrays, route
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


class Options(Protocol):
    """The fields that cross-fitted estimators share."""

    @property
    def outcome(self) -> Any: ...
    @property
    def treatment(self) -> Any: ...
    @property
    def folds(self) -> int | str: ...
    @property
    def repeats(self) -> int: ...
    @property
    def normalize(self) -> bool: ...
    @property
    def trim(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def workers(self) -> int: ...


class Form(Protocol):
    """How a cell's score is put together from nuisances."""

    @property
    def extra(self) -> Mapping[str, Extra]:
        """Nuisances beside those of treatment and outcome: kind -> how to fit it."""

    def keys(self, path: Route) -> list[Key]:
        """Nuisances of a cell."""

    def score(self, work: Work, path: Route) -> Array:
        """Score of a cell, (n,)."""


def check_options(options: Options) -> None:
    """Refuse options that cannot be meant.

    Raises
    ------
    SpecError
        Naming the option, the value and what it should be.
    """
    if not 0.0 <= options.trim < 0.5:
        raise SpecError(f"trim is a probability under one half, got {options.trim!r}")
    check_whole_fields(options, {"repeats": 1, "workers": 1})
    if isinstance(options.folds, str) and options.repeats > 1:
        raise SpecError("given folds cannot be repeated; use a number of folds, or repeats=1")


def cross_fitted_scores(
    options: Options, form: Form, study: TableStudy, cells: Sequence[Cell]
) -> Scores:
    """Score cells from nuisances that are fitted once per fold and shared by all cells."""
    works, fits = fit_nuisances(options, form, study, cells)
    return assemble(options, form, study, cells, works=works, fits=fits)


def fit_nuisances(
    options: Options, form: Form, study: TableStudy, cells: Sequence[Cell]
) -> tuple[list[Work], int]:
    """Fit every nuisance once per fold and split.

    Returns
    -------
    tuple
        One `Work` per split, and how many models were fitted. Forms with the same nuisances can
        be scored from the same works.
    """
    method = type(options).__name__
    data = arrays(study, method)
    keys = [key for cell in cells for key in form.keys(route(study, cell, method))]
    works, fits = [], 0
    for split in np.random.SeedSequence(options.seed).spawn(options.repeats):
        ids = fold_ids(study, options.folds, split)
        check_arms(ids, data.arm, study.levels, study.path.treatment)
        nuisances, count = cross_fit(
            data,
            recipes(options),
            ids=ids,
            keys=keys,
            workers=options.workers,
            extra=form.extra,
        )
        works.append(Work(data, nuisances, options.trim, options.normalize))
        fits += count
    return works, fits


def assemble(
    options: Options,
    form: Form,
    study: TableStudy,
    cells: Sequence[Cell],
    *,
    works: Sequence[Work],
    fits: int,
) -> Scores:
    """Put scores together from fitted nuisances."""
    routes = [route(study, cell, type(options).__name__) for cell in cells]
    parts = [np.column_stack([form.score(work, r) for r in routes]) for work in works]
    data = works[0].data
    values = aggregate(parts, data.weights)
    told = describe_overlap(works[0].overlap, values, data, study.levels, options.trim)
    told["nuisance_fits"] = fits
    chosen = recipes(options)
    told["models"] = {
        "outcome": chosen.outcome.describe(),
        "treatment": chosen.treatment.describe(),
    }
    return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)


def recipes(options: Options) -> Recipes:
    """Return the learners of an estimator's options."""
    return Recipes(
        Recipe(options.outcome, "outcome", options.seed),
        Recipe(options.treatment, "treatment", options.seed),
    )


def stage_values(work: Work, path: Route) -> list[Array]:
    """Return nested regressions from the covariates' to the outcome itself: mu_0 .. mu_R."""
    return [*(work.nuisances[key] for key in reversed(outcome_keys(path))), work.data.y]


@dataclass(frozen=True, slots=True, eq=False)
class RatioForm:
    """The density-free form: treatment probabilities in the place of mediator densities."""

    extra: Mapping[str, Extra] = field(default_factory=dict)

    def keys(self, path: Route) -> list[Key]:
        """Nuisances of a cell."""
        return [*treatment_keys(path), *outcome_keys(path)]

    def score(self, work: Work, path: Route) -> Array:
        """Score of a cell, (n,)."""
        values = stage_values(work, path)
        total = values[0].copy()
        for r in range(path.runs):
            total += work.scaled(stage_weight(work, path, r)) * (values[r + 1] - values[r])
        return total
