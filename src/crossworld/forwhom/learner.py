"""The learner of conditional effects: its options, its folds, its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes, Vector
from crossworld.core.options import check_whole_fields
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.forwhom.target import Matrix, Target

LEARNERS = ("forest", "boosting", "linear")


@dataclass(frozen=True, slots=True)
class DRLearner:
    """How the scores of an effect are regressed on covariates.

    Parameters
    ----------
    learner
        A scikit-learn regressor, or ``"forest"``, ``"boosting"``, ``"linear"`` (ridge).
    folds
        Folds of the cross-fit; clusters are kept whole.
    groups
        Number of groups by predicted effect.
    seed
        Seed of folds, of ties, and of learners made from a name.

    Examples
    --------
    >>> DRLearner(folds=1)
    Traceback (most recent call last):
    crossworld.errors.SpecError: folds is a whole number of at least 2, got 1
    """

    learner: Any = "forest"
    folds: int = 5
    groups: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole_fields(self, {"folds": 2, "groups": 2, "seed": 0})
        if isinstance(self.learner, str) and self.learner not in LEARNERS:
            raise SpecError.unknown("learner of DRLearner", self.learner, LEARNERS)

    def make(self, rows: int) -> Any:
        """Return a fresh, unfitted learner for this many training rows."""
        if not isinstance(self.learner, str):
            return _fresh(self.learner)
        if self.learner == "linear":
            from sklearn.linear_model import RidgeCV
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
        leaf = max(10, rows // 50)
        from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

        if self.learner == "forest":
            return RandomForestRegressor(200, min_samples_leaf=leaf, random_state=self.seed)
        return HistGradientBoostingRegressor(
            max_iter=60,
            learning_rate=0.05,
            max_leaf_nodes=8,
            min_samples_leaf=leaf,
            random_state=self.seed,
        )


def _fresh(learner: Any) -> Any:
    from sklearn.base import clone

    try:
        fresh = clone(learner)
    except TypeError:
        fresh = None
    if not hasattr(fresh, "predict"):
        raise SpecError(
            f"the learner {learner!r} is neither a scikit-learn regressor nor one of "
            f"{', '.join(LEARNERS)}"
        )
    if hasattr(fresh, "predict_proba"):
        raise SpecError(
            f"{type(fresh).__name__} is a classifier, but the scores of an effect are numbers; "
            "give a regressor"
        )
    return fresh


def folds(target: Target, chosen: DRLearner) -> Codes:
    """Fold of every row, (n,); clusters are kept whole."""
    units = target.units
    groups = int(units.max()) + 1
    if chosen.folds > groups:
        raise DesignError(f"{chosen.folds} folds were asked, but there are only {groups} units")
    order = np.random.default_rng(chosen.seed).permutation(groups)
    fold: Codes = (order % chosen.folds)[units]
    return fold


def cross_fit(
    target: Target, x: Matrix, fold: Codes, chosen: DRLearner
) -> tuple[Vector, list[Any]]:
    """Out-of-fold predictions, (n,), and the learners."""
    predicted, fitted = np.empty(target.phi.size), []
    for k in range(chosen.folds):
        predicted[fold == k], learner = _fit_predict(target, x, fold != k, chosen)
        fitted.append(learner)
    return predicted, fitted


def _fit_predict(
    target: Target, x: Matrix, train: NDArray[np.bool_], chosen: DRLearner
) -> tuple[Vector, Any]:
    """Fit on some rows and predict the others."""
    learner = chosen.make(int(train.sum()))
    weighted = bool(np.ptp(target.share) > 0.0)
    options = _weights(learner, target.share[train]) if weighted else {}
    try:
        learner.fit(x[train], target.phi[train], **options)
        found = np.asarray(learner.predict(x[~train]), dtype=np.float64).reshape(-1)
    except ValueError as error:
        raise EstimationError(f"{type(learner).__name__} failed: {error}") from None
    bad = int((~np.isfinite(found)).sum())
    if bad:
        raise EstimationError(
            f"{type(learner).__name__} predicted {bad} values that are not finite"
        )
    return found, learner


def _weights(learner: Any, weights: Vector) -> dict[str, Vector]:
    from sklearn.utils.validation import has_fit_parameter

    if has_fit_parameter(learner, "sample_weight"):
        return {"sample_weight": weights}
    steps = getattr(learner, "steps", None)
    if steps and has_fit_parameter(steps[-1][1], "sample_weight"):
        return {f"{steps[-1][0]}__sample_weight": weights}
    raise SpecError(f"the study has row weights, but {type(learner).__name__} takes none")


def from_the_past(target: Target, x: Matrix, fold: Codes, chosen: DRLearner) -> Vector:
    """Predictions of every fold from the folds before it, (n,); 0 in the first."""
    predicted = np.zeros(target.phi.size)
    for k in range(1, chosen.folds):
        seen = np.flatnonzero(fold <= k)
        now = fold[seen]
        one, _ = _fit_predict(target.take(seen), x[seen], now < k, chosen)
        predicted[seen[now == k]] = one
    return predicted
