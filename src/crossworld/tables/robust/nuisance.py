"""Nuisance functions, fitted once per fold and shared by every cell.

Names: ``("treatment", k)`` is P(A | X, first k mediator blocks); ``("outcome", levels, ends)`` is
the nested regression that starts with the outcome under the last of ``levels`` and takes the mean
over runs of mediators back to the first ``ends[0]`` blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.tables.robust import learners
from crossworld.tables.robust.data import Arrays, Route
from crossworld.tables.robust.learners import Fractional, Recipe

Array = NDArray[np.float64]
Key = tuple[Any, ...]
Extra: TypeAlias = "Callable[[Fold, Key], Array]"


@dataclass(frozen=True, slots=True)
class Recipes:
    """The learners of an analysis."""

    outcome: Recipe
    treatment: Recipe


def treatment_keys(route: Route) -> list[Key]:
    """Treatment models a route's weights need."""
    needed = {0, *route.ends[1:]}
    return [("treatment", k) for k in sorted(needed)]


def outcome_keys(route: Route) -> list[Key]:
    """Nested regressions of a route, from the outcome's back to the covariates'."""
    return [("outcome", route.levels[r:], route.ends[r:]) for r in range(route.runs - 1, -1, -1)]


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Values of a fitted regression where they are needed.

    Parameters
    ----------
    test
        At the test rows.
    inner
        At the training rows a stage before may regress it on.
    rows
        Those rows, in order: none after the covariates' stage, else the rows at other levels.
    """

    test: Array
    inner: Array
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Nuisances of one fold: fitted on its training rows, each once."""

    data: Arrays
    recipes: Recipes
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    binary: bool
    extra: Mapping[str, Extra]
    fits: list[str] = field(default_factory=list)
    held: dict[Key, Any] = field(default_factory=dict)

    def predict(self, key: Key) -> Array:
        """Out-of-fold prediction at the test rows: (t, levels) or (t,)."""
        if key[0] == "treatment":
            return self._treatment(key[1])
        if key[0] == "outcome":
            return self._outcome(key[1], key[2]).test
        if key not in self.held:
            self.held[key] = self.extra[key[0]](self, key)
        found: Array = self.held[key]
        return found

    def regression(
        self, rows: NDArray[np.int64], target: Array, blocks: int, *, nested: bool = False
    ) -> Callable[[Array], Array]:
        """Fit the outcome's learner to rows of our choice, given covariates and first blocks."""
        return self._fitted(self.data.given(blocks)[rows], target, self.weights(rows), nested)

    def weights(self, rows: NDArray[np.int64]) -> Array | None:
        """Row weights of some rows, or None."""
        return None if self.data.weights is None else self.data.weights[rows]

    def _treatment(self, blocks: int) -> Array:
        key = ("treatment", blocks)
        if key not in self.held:
            x, data = self.data.given(blocks), self.data
            self.held[key] = self._classify(x, data.arm, data.levels)
            self.fits.append(f"treatment | {blocks} blocks")
        found: Array = self.held[key]
        return found

    def _classify(self, x: Array, target: Array, classes: Array) -> Array:
        if x.shape[1] == 0:
            share = [
                np.average(target[self.train] == c, weights=self.weights(self.train))
                for c in classes
            ]
            return np.tile(share, (self.test.size, 1))
        learner = self.recipes.treatment.make(probability=True, rows=self.train.size)
        fitted = learners.fit(
            learner, x[self.train], target[self.train], self.weights(self.train), "treatment"
        )
        return learners.probabilities(fitted, x[self.test], classes, "treatment")

    def _outcome(self, levels: tuple[float, ...], ends: tuple[int, ...]) -> Regression:
        key = ("outcome", levels, ends)
        if key not in self.held:
            rows = self.train[self.data.arm[self.train] == levels[0]]
            nested = len(levels) > 1
            target = self.data.y[rows]
            if nested:
                inner = self._outcome(levels[1:], ends[1:])
                target = inner.inner[np.searchsorted(inner.rows, rows)]
            others = self.train[self.data.arm[self.train] != levels[0]] if ends[0] else rows[:0]
            predict = self._fitted(
                self.data.given(ends[0])[rows], target, self.weights(rows), nested
            )
            both = predict(self.data.given(ends[0])[np.concatenate([self.test, others])])
            size = self.test.size
            self.held[key] = Regression(both[:size].copy(), both[size:], others)
            self.fits.append(f"outcome | levels {levels}, blocks {ends}")
        found: Regression = self.held[key]
        return found

    def _fitted(
        self, x: Array, target: Array, weights: Array | None, nested: bool
    ) -> Callable[[Array], Array]:
        if x.shape[1] == 0:
            level = float(np.average(target, weights=weights))
            return lambda at: np.full(len(at), level)
        learner = self.recipes.outcome.make(probability=self.binary, rows=len(x))
        if nested and self.binary and learners.is_classifier(learner):
            fitted = Fractional(learner).fit(x, target, weights)
        else:
            fitted = learners.fit(learner, x, target, weights, "outcome")
        return lambda at: learners.means(fitted, at, "outcome")


def cross_fit(
    data: Arrays,
    recipes: Recipes,
    *,
    ids: Codes,
    keys: Iterable[Key],
    workers: int = 1,
    extra: Mapping[str, Extra] | None = None,
) -> tuple[dict[Key, Array], int]:
    """Out-of-fold predictions of every nuisance, (n,) or (n, levels), and how many were fitted.

    Parameters
    ----------
    ids
        Fold of every row.
    keys
        Names of the nuisances wanted.
    workers
        Threads over folds.
    extra
        How to fit nuisances of other kinds than treatment and outcome, by the kind's name.
    """
    keys = list(dict.fromkeys(keys))
    binary = data.binary

    def one(fold: int) -> tuple[NDArray[np.int64], Mapping[Key, Array], int]:
        test, train = np.flatnonzero(ids == fold), np.flatnonzero(ids != fold)
        held = Fold(data, recipes, train, test, binary, extra or {})
        return test, {key: held.predict(key) for key in keys}, len(held.fits)

    folds = range(int(ids.max()) + 1)
    if workers == 1:
        parts = [one(fold) for fold in folds]
    else:
        from joblib import Parallel, delayed

        parts = Parallel(n_jobs=workers, prefer="threads")(
            delayed(copy_context().run)(one, f) for f in folds
        )
    found: dict[Key, Array] = {}
    for test, predictions, _ in parts:
        for key, values in predictions.items():
            if key not in found:
                found[key] = np.empty((ids.size, *values.shape[1:]))
            found[key][test] = values
    return found, sum(count for _, _, count in parts)
