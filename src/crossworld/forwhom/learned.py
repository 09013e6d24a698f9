"""Conditional effects by any learner, and whether what it learned is real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    covariates = tuple(_whole(study, name, question.told) for name in names_of(on, "on"))
    (target,) = targets(question.scores, question.estimands)
    fold = _folds(target, chosen)
    predicted, fitted = _cross_fit(target, _coded(covariates), fold, chosen)
    centred = predicted - _fold_means(predicted, fold, target.share)
    varies = bool(np.ptp(centred) > 1e-10 * max(float(np.abs(target.phi).max()), 1e-300))
    quiet = replace(question, told=list(question.told[: question.inherited]))
    calibration = _calibration(question, target, centred if varies else None, level)
    groups = None
    if varies:
        codes = _quantile_groups(predicted, fold, chosen)
        labels = tuple(f"predicted {g + 1} of {chosen.groups}" for g in range(chosen.groups))
        groups = compared(quiet, Groups("predicted effect", codes, labels), None, level)
    return ConditionalEffects(
        target.name, predicted, calibration, groups, covariates, tuple(fitted)
    )


def _calibration(
    question: Question, target: Target, centred: Vector | None, level: float
) -> EffectTable:
    """Regress the scores on the centred predictions (None: they do not vary)."""
    if centred is None:
        found = [target.mean(np.ones(target.phi.size, dtype=np.bool_))]
        text = (
            f"the learner predicts the same {target.name} for every unit, so there is no "
            "heterogeneity to test and there are no groups"
        )
        question.told.append((FitWarning, text))
    else:
        found = project(target, centred[:, None])
    terms = [f"{target.name}[{name}]" for name in ("average", "heterogeneity")]
    named = list(zip(terms, found, strict=False))
    shown, extra = rows(named, None, level=level, told=question.told)
    extra["calibration"] = {"slope": None, "p_one_sided": None}
    if len(found) == 2 and shown[1].p_value is not None:
        half = shown[1].p_value / 2.0
        one_sided = half if found[1].value > 0.0 else 1.0 - half
        extra["calibration"] = {"slope": found[1].value, "p_one_sided": one_sided}
    line = "  heterogeneity: 1 when predictions are calibrated, 0 when they hold nothing"
    return table(question, shown, level, heading=[line], extra=extra)


def _whole(study: Any, name: str, told: Told) -> Covariate:
    covariate = read(study, name, "on", told)
    if covariate.name != name:
        raise SpecError(f"a learner takes columns whole; write {covariate.name!r}, not {name!r}")
    return covariate


def _coded(covariates: Sequence[Covariate]) -> Matrix:
    """Numbers as they are, an indicator for every category: shape (n, p)."""
    columns: list[Vector] = []
    for c in covariates:
        if c.labels is None:
            columns.append(c.values)
        else:
            codes = range(len(c.labels))
            columns += [(c.values == code).astype(np.float64) for code in codes]
    return np.column_stack(columns)


def _recode(known: Covariate, column: Any) -> Covariate:
    """Write another table's column in the categories that were learned."""
    if (column.labels is None) != (known.labels is None):
        raise DesignError(f"{known.name!r} is text in one study and numbers in the other")
    if known.labels is None:
        return Covariate(known.name, column.values)
    seen = [column.labels[int(v)] for v in column.values]
    new = sorted(set(seen) - set(known.labels))
    if new:
        raise DesignError(f"{known.name!r} has the category {new[0]!r}, which was not learned from")
    at = {label: float(j) for j, label in enumerate(known.labels)}
    return Covariate(known.name, np.array([at[label] for label in seen]), known.labels)


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


def _folds(target: Target, chosen: DRLearner) -> Codes:
    """Fold of every row, (n,); clusters are kept whole."""
    units = target.units
    groups = int(units.max()) + 1
    if chosen.folds > groups:
        raise DesignError(f"{chosen.folds} folds were asked, but there are only {groups} units")
    order = np.random.default_rng(chosen.seed).permutation(groups)
    fold: Codes = (order % chosen.folds)[units]
    return fold


def _cross_fit(
    target: Target, x: Matrix, fold: Codes, chosen: DRLearner
) -> tuple[Vector, list[Any]]:
    """Out-of-fold predictions, (n,), and the learners."""
    predicted, fitted = np.empty(target.phi.size), []
    weighted = bool(np.ptp(target.share) > 0.0)
    for k in range(chosen.folds):
        train = fold != k
        learner = chosen.make(int(train.sum()))
        options = _weights(learner, target.share[train]) if weighted else {}
        try:
            learner.fit(x[train], target.phi[train], **options)
            found = np.asarray(learner.predict(x[~train]), dtype=np.float64).reshape(-1)
        except ValueError as error:
            raise EstimationError(f"{type(learner).__name__} failed: {error}") from None
        if not np.isfinite(found).all():
            bad = int((~np.isfinite(found)).sum())
            raise EstimationError(
                f"{type(learner).__name__} predicted {bad} values that are not finite"
            )
        predicted[~train] = found
        fitted.append(learner)
    return predicted, fitted


def _weights(learner: Any, weights: Vector) -> dict[str, Vector]:
    from sklearn.utils.validation import has_fit_parameter

    if has_fit_parameter(learner, "sample_weight"):
        return {"sample_weight": weights}
    steps = getattr(learner, "steps", None)
    if steps and has_fit_parameter(steps[-1][1], "sample_weight"):
        return {f"{steps[-1][0]}__sample_weight": weights}
    raise SpecError(f"the study has row weights, but {type(learner).__name__} takes none")


def _fold_means(predicted: Vector, fold: Codes, share: Vector) -> Vector:
    """Weighted mean of the predictions of each row's fold, (n,)."""
    total = np.bincount(fold, weights=share)
    means: Vector = np.bincount(fold, weights=share * predicted) / np.where(total > 0, total, 1.0)
    return means[fold]


def _quantile_groups(predicted: Vector, fold: Codes, chosen: DRLearner) -> Codes:
    """Quantile group of each row within its fold, ties broken at random."""
    chance = np.random.default_rng([chosen.seed, 1]).random(predicted.size)
    codes = np.empty(predicted.size, dtype=np.int64)
    for k in range(chosen.folds):
        inside = np.flatnonzero(fold == k)
        order = np.lexsort((chance[inside], predicted[inside]))
        codes[inside[order]] = np.arange(inside.size) * chosen.groups // inside.size
    return codes
