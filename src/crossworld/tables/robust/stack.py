"""Learners combined by cross-validation, with row weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Fit = Callable[[Any, Array, Array, Array | None], Any]


@dataclass(frozen=True, slots=True)
class Plan:
    r"""How learners are combined (Breiman 1996; van der Laan, Polley and Hubbard 2007).

    The weights :math:`c \ge 0`, scaled to sum to 1, minimise the weighted squared error of
    :math:`\sum_k c_k \hat f_k^{(-v)}(x)`, with every learner fitted without the fold of the row.
    Being convex, it stays within what its learners predict: probabilities stay in [0, 1].

    Parameters
    ----------
    parts
        Unfitted scikit-learn learners.
    fit_part
        Fits a learner to rows, target and weights.
    seed
        Seed of the folds.
    folds
        Number of folds.
    """

    parts: tuple[Any, ...]
    fit_part: Fit
    seed: int = 0
    folds: int = 3

    def choose(self, x: Array, y: Array, weights: Array | None, *, values: Values) -> Chosen:
        """Choose the combination, then fit every learner to all rows."""
        target = values.target(y)
        ids = fold_ids(y if target.shape[1] > 1 else np.zeros(len(y)), self.folds, self.seed)
        held = np.empty((len(self.parts), *target.shape))
        for fold in range(self.folds):
            test = ids == fold
            for k, fitted in enumerate(self._fits(x[~test], y[~test], _rows(weights, ~test))):
                held[k, test] = values.predicted(fitted, x[test])
        return Chosen(self._fits(x, y, weights), _convex(held, target, weights), values)

    def _fits(self, x: Array, y: Array, weights: Array | None) -> tuple[Any, ...]:
        from sklearn.base import clone

        return tuple(self.fit_part(clone(part), x, y, weights) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Values:
    """What is combined: a mean, or the probability of every class."""

    classes: Array | None

    def target(self, y: Array) -> Array:
        """Targets, shape (n, 1) or (n, classes)."""
        column = y[:, None]
        return column if self.classes is None else (column == self.classes).astype(np.float64)

    def predicted(self, fitted: Any, x: Array) -> Array:
        """A learner's predictions, shaped like the targets."""
        if self.classes is None:
            return np.asarray(fitted.predict(x), dtype=np.float64)[:, None]
        out = np.zeros((len(x), len(self.classes)))
        out[:, np.searchsorted(self.classes, fitted.classes_)] = fitted.predict_proba(x)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Fitted learners and their shares."""

    fits: tuple[Any, ...]
    shares: Array
    values: Values

    def predict(self, x: Array) -> Array:
        """Combined predictions."""
        parts = [self.values.predicted(f, x) for f in self.fits]
        found: Array = np.einsum("k,kij->ij", self.shares, np.stack(parts))
        return found


@final
class StackRegressor:
    """A combination of learners that predicts a mean; see `Plan`."""

    chosen: Chosen

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Options that determine the fit."""
        return {"parts": self.plan.parts, "folds": self.plan.folds, "seed": self.plan.seed}

    def fit(self, x: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Choose the combination and fit it."""
        self.chosen = self.plan.choose(x, y, sample_weight, values=Values(None))
        return self

    def predict(self, x: Array) -> Array:
        """Predicted means."""
        return self.chosen.predict(x)[:, 0]


@final
class StackClassifier:
    """A combination of learners that predicts the probability of every class; see `Plan`."""

    chosen: Chosen
    classes_: Array

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Options that determine the fit."""
        return {"parts": self.plan.parts, "folds": self.plan.folds, "seed": self.plan.seed}

    def fit(self, x: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Choose the combination and fit it."""
        self.classes_ = np.unique(y)
        self.chosen = self.plan.choose(x, y, sample_weight, values=Values(self.classes_))
        return self

    def predict_proba(self, x: Array) -> Array:
        """Predicted probabilities, shape (n, classes)."""
        return self.chosen.predict(x)


def fold_ids(y: Array, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every row, balanced over classes.

    Classes of one size are cut alike, so that a row which enters once as an event and once as none
    has both copies in one fold.
    """
    ids = np.empty(len(y), dtype=np.int64)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        order = np.random.default_rng(seed).permutation(len(rows))
        ids[rows[order]] = np.arange(len(rows)) % folds
    return ids


def _rows(weights: Array | None, rows: NDArray[np.bool_]) -> Array | None:
    return None if weights is None else weights[rows]


def _convex(held: Array, target: Array, weights: Array | None) -> Array:
    from scipy.optimize import nnls

    root = np.ones(len(target)) if weights is None else np.sqrt(weights)
    scaled = (held * root[:, None]).reshape(len(held), -1).T
    found, _ = nnls(scaled, (target * root[:, None]).ravel())
    total = float(found.sum())
    share: Array = found / total if total > 0 else np.full(len(held), 1.0 / len(held))
    return share
