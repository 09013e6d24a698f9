"""Learners: any scikit-learn object, or a name that stands for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError, SpecError
from crossworld.tables.robust import reuse
from crossworld.tables.robust.stack import Plan, StackClassifier, StackRegressor

Array = NDArray[np.float64]
NAMES = ("linear", "logistic", "boosting", "forest", "auto")
SMALL = 400  # rows below which ``auto`` does not try boosting


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is wanted of a learner.

    Parameters
    ----------
    learner
        A name or a scikit-learn object.
    role
        For messages: "outcome", "treatment", "mediator".
    seed
        Random state of learners made from a name.
    """

    learner: Any
    role: str
    seed: int

    def describe(self) -> str:
        """Say which learner this is."""
        if self.learner == "auto":
            return (
                "auto: cross-validated stack of a penalised linear model with products and "
                f"gradient boosting; the linear model alone under {SMALL} training rows"
            )
        return str(self.learner) if isinstance(self.learner, str) else repr(self.learner)

    def make(self, *, probability: bool, rows: int) -> Any:
        """Return a fresh, unfitted learner.

        Parameters
        ----------
        probability
            Whether the target is a class whose probability is wanted.
        rows
            Training rows, by which ``auto`` decides.
        """
        if isinstance(self.learner, str):
            return _named(self.learner, self.role, probability, rows, self.seed)
        from sklearn.base import clone

        try:
            fresh = clone(self.learner)
        except TypeError:
            raise SpecError(
                f"the {self.role} learner {self.learner!r} is neither a scikit-learn object nor "
                f"one of {', '.join(NAMES)}"
            ) from None
        if self.role != "outcome" and not hasattr(fresh, "predict_proba"):
            raise SpecError(
                f"the {self.role} learner {type(fresh).__name__} has no predict_proba; give a "
                "classifier that returns probabilities"
            )
        return fresh


def _named(name: str, role: str, probability: bool, rows: int, seed: int) -> Any:
    if name not in NAMES:
        raise SpecError.unknown(f"{role} learner", name, NAMES)
    if name == "linear" and probability and role != "outcome":
        raise SpecError(
            f"the {role} learner needs probabilities; 'linear' has none, try 'logistic'"
        )
    if name == "logistic" and not probability:
        raise SpecError(f"the {role} is not two-valued, so 'logistic' does not fit; try 'linear'")
    if name == "linear":
        from sklearn.linear_model import LinearRegression

        return LinearRegression()
    if name == "logistic":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000, solver="newton-cholesky")
    if name == "boosting":
        return _boosting(probability, seed)
    if name == "forest":
        return _forest(probability, seed)
    return _auto(probability, rows, seed)


def _boosting(probability: bool, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    made = HistGradientBoostingClassifier if probability else HistGradientBoostingRegressor
    return made(
        max_iter=300,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=15,
        random_state=seed,
    )


def _forest(probability: bool, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    made = RandomForestClassifier if probability else RandomForestRegressor
    return made(n_estimators=300, min_samples_leaf=10, random_state=seed)


def _penalised(probability: bool) -> Any:
    """Penalised linear model with pairwise products, penalty by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    model = (
        LogisticRegressionCV(
            Cs=10,
            cv=3,
            scoring="neg_log_loss",
            max_iter=500,
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
        )
        if probability
        else RidgeCV(alphas=np.logspace(-3, 4, 15))
    )
    products = PolynomialFeatures(degree=2, interaction_only=True, include_bias=False)
    return make_pipeline(StandardScaler(), products, StandardScaler(), model)


def _auto(probability: bool, rows: int, seed: int) -> Any:
    """Stack of the penalised linear model and boosting; the linear one alone when rows are few."""
    if rows < SMALL:
        return _penalised(probability)
    parts = (_penalised(probability), _boosting(probability, seed))
    made = StackClassifier if probability else StackRegressor
    return made(Plan(parts, _fit_part, seed))


def _fit_part(learner: Any, x: Array, y: Array, weights: Array | None) -> Any:
    return _fit(learner, x, y, weights, "stacked")


def is_classifier(learner: Any) -> bool:
    """Whether a learner predicts classes."""
    return hasattr(learner, "predict_proba")


def fit(learner: Any, x: Array, y: Array, weights: Array | None, role: str) -> Any:
    """Fit a learner, with row weights where it takes them.

    Inside `crossworld.tables.robust.reuse.remembering` a fit to the same numbers is returned again.

    Raises
    ------
    SpecError
        If rows are weighted and the learner takes no weights.
    EstimationError
        If the learner fails.
    """
    fits = reuse.active()
    key = None if fits is None else reuse.digest(learner, x, y, weights)
    if fits is None or key is None:
        return _fit(learner, x, y, weights, role)
    fitted = fits.find(key)
    if fitted is None:
        fitted = _fit(learner, x, y, weights, role)
        fits.keep(key, fitted)
    return fitted


def _fit(learner: Any, x: Array, y: Array, weights: Array | None, role: str) -> Any:
    options: dict[str, Any] = {}
    if weights is not None:
        options = _weight_options(learner, weights, role)
    try:
        return learner.fit(x, y, **options)
    except ValueError as error:
        raise EstimationError(
            f"the {role} learner {type(learner).__name__} failed on {len(y)} rows: {error}"
        ) from None


def _weight_options(learner: Any, weights: Array, role: str) -> dict[str, Any]:
    from sklearn.utils.validation import has_fit_parameter

    if has_fit_parameter(learner, "sample_weight"):
        return {"sample_weight": weights}
    steps = getattr(learner, "steps", None)
    if steps and has_fit_parameter(steps[-1][1], "sample_weight"):
        return {f"{steps[-1][0]}__sample_weight": weights}
    raise SpecError(
        f"the study has row weights, but the {role} learner {type(learner).__name__} takes none"
    )


def probabilities(learner: Any, x: Array, classes: Array, role: str) -> Array:
    """Predicted probability of each of ``classes``, shape (n, len(classes))."""
    found = np.asarray(learner.predict_proba(x), dtype=np.float64)
    known = [float(c) for c in learner.classes_]
    picked = np.column_stack(
        [
            found[:, known.index(float(c))] if float(c) in known else np.zeros(len(x))
            for c in classes
        ]
    )
    return _finite(picked, learner, role)


def means(learner: Any, x: Array, role: str) -> Array:
    """Predicted mean: the probability of 1 for a classifier."""
    if is_classifier(learner):
        return probabilities(learner, x, np.array([1.0]), role)[:, 0]
    return _finite(np.asarray(learner.predict(x), dtype=np.float64), learner, role)


def _finite(found: Array, learner: Any, role: str) -> Array:
    bad = int((~np.isfinite(found)).sum())
    if bad:
        raise EstimationError(
            f"the {role} learner {type(learner).__name__} predicted {bad} values that are not "
            "finite"
        )
    return found


@dataclass(frozen=True, slots=True)
class Fractional:
    """A classifier made to regress a target in [0, 1], so that predictions stay there.

    Every row enters twice, as an event with weight ``p`` and as none with weight ``1 - p``: the
    likelihood of a fractional logit (Papke and Wooldridge 1996) for any classifier that takes
    weights.
    """

    classifier: Any

    def fit(self, x: Array, p: Array, weights: Array | None) -> Any:
        """Regress ``p`` on ``x``: a fitted classifier whose probability of 1 is the mean."""
        twice = np.concatenate([x, x])
        label = np.concatenate([np.ones(len(p)), np.zeros(len(p))])
        p = np.clip(p, 0.0, 1.0)
        share = np.concatenate([p, 1.0 - p])
        if weights is not None:
            share = share * np.concatenate([weights, weights])
        return fit(self.classifier, twice, label, share, "outcome")
