"""The best linear summary of how an effect varies with covariates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossworld.core.effects import NIE
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.table import EffectTable
from crossworld.forwhom.columns import matrix, names_of, read
from crossworld.forwhom.groups import one
from crossworld.forwhom.result import Method, ask, rows, table
from crossworld.forwhom.target import Target, jointly_zero, targets


def best_linear_projection(
    study: Any,
    source: Any,
    *,
    on: str | Sequence[str],
    effect: Estimand = NIE,
    inference: Method = None,
    level: float = 0.95,
) -> EffectTable:
    r"""Project a conditional effect on covariates: slopes with intervals.

    With scores :math:`\phi_i` of the effect, :math:`E[\phi \mid X] = \tau(X)`, and
    :math:`Z_i = (1, X_i - \bar X)`,

    .. math:: \hat\beta = \Big(\sum_i w_i Z_i Z_i'\Big)^{-1} \sum_i w_i Z_i \phi_i

    estimates the best linear predictor of :math:`\tau(X)`, whether or not it is linear.
    Covariates are centred, so the intercept is the average effect, with its standard error.

    Parameters
    ----------
    study
        A `TableStudy`.
    source
        An influence-function estimator, or a result or `Scores` of this study.
    on
        Pre-treatment columns; categories become indicators, ``"age:4"`` quartile groups.
    effect
        A difference of cells.
    inference
        `Wald` (default), or `Multiplier` for one band over all coefficients.
    level
        Confidence level.

    Returns
    -------
    EffectTable
        ``nie[average]`` and a row per covariate, ``nie[age]``: the change of the effect by one
        unit of the covariate. ``diagnostics["joint"]`` tests that all slopes are 0. Standard
        errors are HC0, or J / (J - 1) over declared clusters.

    Raises
    ------
    DesignError
        If a covariate is unknown, constant, collinear or was affected by the treatment.

    References
    ----------
    Semenova and Chernozhukov (2021). Debiased machine learning of conditional average treatment
    effects and other causal functions. Econometrics Journal 24.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> effects = xw.estimate(study, method)  # the nuisances are fitted here, once
    >>> found = xw.best_linear_projection(study, effects, on="x")
    >>> [row.term for row in found]
    ['nie[average]', 'nie[x]']
    >>> abs(found["nie[average]"].std_error - effects["nie"].std_error) < 1e-12
    True
    """
    question = ask(study, source, one(effect))
    covariates = [read(study, name, "on", question.told) for name in names_of(on, "on")]
    terms, x = matrix(covariates)
    (target,) = targets(question.scores, question.estimands)
    found = project(target, x)
    named = [
        (f"{target.name}[{term}]", e) for term, e in zip(("average", *terms), found, strict=True)
    ]
    shown, extra = rows(named, inference, level=level, told=question.told)
    joint = jointly_zero(found[1:])
    extra["joint"] = joint.to_dict()
    line = f"  {target.name} does not vary linearly with {', '.join(terms)}: {joint}"
    return table(question, shown, level, heading=[line], extra=extra)


def project(target: Target, x: np.ndarray) -> list[Estimate]:
    """Average effect and slopes on the columns of ``x``, shape (n, p)."""
    centred = x - np.average(x, axis=0, weights=target.share)
    fitted = target.regress(np.column_stack([np.ones(len(x)), centred]))
    return [target.mean(np.ones(len(x), dtype=np.bool_)), *fitted[1:]]
