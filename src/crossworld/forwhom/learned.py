"""Conditional effects by any learner, and whether what it learned is real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.core.effects import NIE
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Codes, Vector
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, EstimationError, FitWarning, SpecError
from crossworld.forwhom.columns import Covariate, Groups, Told, names_of, read
from crossworld.forwhom.groups import compared, one
from crossworld.forwhom.projection import project
from crossworld.forwhom.result import Question, ask, rows, table
from crossworld.forwhom.target import Matrix, Target, targets

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
        for name, number, least in (
            ("folds", self.folds, 2),
            ("groups", self.groups, 2),
            ("seed", self.seed, 0),
        ):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise SpecError(f"{name} is a whole number of at least {least}, got {number!r}")
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


@dataclass(frozen=True, slots=True, eq=False)
class ConditionalEffects:
    """An effect as a function of covariates.

    Parameters
    ----------
    term
        The effect.
    predicted
        Out-of-fold conditional effect of every unit, shape (n,), in the outcome's unit.
    calibration
        ``nie[average]`` and ``nie[heterogeneity]``: the slope of the scores on the predictions, 1
        when these are calibrated, 0 when they hold nothing. ``diagnostics["calibration"]`` has the
        one-sided p value.
    groups
        Average effect by quantile group of the prediction; None when it does not vary.
    covariates
        The covariates as they were read.
    fitted
        One fitted learner per fold.
    """

    term: str
    predicted: Vector
    calibration: EffectTable
    groups: EffectTable | None
    covariates: tuple[Covariate, ...]
    fitted: tuple[Any, ...]

    def predict(self, study: Any) -> Vector:
        """Conditional effect of other units, shape (n,): the mean over the folds' learners.

        Raises
        ------
        DesignError
            If a covariate is missing there, or has a category that was not seen.
        """
        x = _coded([_recode(c, study.column(c.name, "covariate")) for c in self.covariates])
        return np.asarray(np.mean([np.asarray(f.predict(x)) for f in self.fitted], axis=0))

    def __str__(self) -> str:
        parts = [str(self.calibration)] + ([] if self.groups is None else [str(self.groups)])
        return "\n\n".join(parts)


def conditional_effects(
    study: Any,
    source: Any,
    *,
    on: str | Sequence[str],
    effect: Estimand = NIE,
    method: DRLearner | None = None,
    level: float = 0.95,
) -> ConditionalEffects:
    r"""Predict an effect from covariates and test the prediction.

    A learner regresses the scores :math:`\phi_i` on covariates, cross-fitted (DR-learner, Kennedy
    2023). With out-of-fold predictions :math:`\hat\tau(X_i)` centred in their fold,

    .. math:: \phi_i = \beta_1 + \beta_2 (\hat\tau(X_i) - \bar\tau_{k(i)}) + \epsilon_i

    has :math:`\beta_2 = \operatorname{Cov}(\tau, \hat\tau) / \operatorname{Var}(\hat\tau)`: above 0
    only if the effect varies and the learner found some of it. Groups by quantiles of the
    prediction within a fold get their average effects with intervals.

    Parameters
    ----------
    study
        A `TableStudy`.
    source
        An influence-function estimator, or a result or `Scores` of this study.
    on
        Pre-treatment columns.
    effect
        A difference of cells.
    method
        Learner, folds, groups, seed; a random forest in 5 folds by default.
    level
        Confidence level.

    Notes
    -----
    Intervals are for the calibration and the groups, given the learned predictions. A single
    unit's prediction carries none: no learner-free interval of it exists. The estimator's own
    folds are not nested in these.

    References
    ----------
    Kennedy (2023). Towards optimal doubly robust estimation of heterogeneous causal effects.
    Electronic Journal of Statistics 17. Chernozhukov, Demirer, Duflo and Fernandez-Val (2025).
    Generic machine learning inference on heterogeneous treatment effects. Econometrica 93.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> scored = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> found = xw.conditional_effects(study, scored, on="x", method=xw.DRLearner("linear"))
    >>> found.predicted.shape, len(found.groups)
    ((400,), 7)
    """
    question = ask(study, source, one(effect))
    chosen = DRLearner() if method is None else method
    covariates = tuple(read(study, name, "on", question.told) for name in names_of(on, "on"))
    if any(":" in name for name in names_of(on, "on")):
        covariates = _uncut(study, on)
    (target,) = targets(question.scores, question.estimands)
    x = _coded(covariates)
    fold = _folds(target, chosen)
    predicted, fitted = _cross_fit(target, x, fold, chosen)
    centred = predicted - _fold_means(predicted, fold, target.share)
    spread = float(np.sqrt(np.average(centred**2, weights=target.share)))
    size = float(np.abs(target.phi).max())
    varies = spread > 1e-10 * max(size, 1e-300)
    calibration = _calibration(question, target, centred if varies else None, level)
    groups = None
    if varies:
        codes = _quantile_groups(predicted, fold, chosen)
        labels = tuple(f"predicted {g + 1} of {chosen.groups}" for g in range(chosen.groups))
        again = Question(
            question.estimands,
            question.scores,
            question.heading,
            question.identification,
            question.sha256,
            list(question.told[: len(question.scores.diagnostics.get("warnings", ()))]),
        )
        groups = compared(again, Groups("predicted effect", codes, labels), None, level)
    return ConditionalEffects(
        target.name, predicted, calibration, groups, covariates, tuple(fitted)
    )
