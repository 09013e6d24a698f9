"""Nested regression: impute outcomes under one level, regress them under another, average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.errors import SpecError
from crossworld.tables.robust import learners
from crossworld.tables.robust.binary import Fitted, Inner, Sample, arms, fit_glm, log_chance
from crossworld.tables.robust.data import Arrays, Route, arrays, route
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.study import TableStudy
from crossworld.tables.weighting import rows_of, treatment_model, with_one

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Imputation:
    r"""Natural and path-specific effects by nested regression (Zhou and Yamamoto 2023).

    The outcome is regressed on treatment, covariates and the mediators up to a block; predictions
    with the treatment set to the outcome's level are regressed on covariates and earlier mediators
    among the rows at the next level, and so on; the last predictions are averaged:

    .. math:: \mu_K = E[Y \mid A = a_{K+1}, \bar M_K, X], \quad
              \mu_{k} = E[\mu_{k+1} \mid A = a_{k+1}, \bar M_k, X], \quad
              \hat\theta = \tfrac{1}{n} \sum_i \mu_0(X_i).

    With ``weighted=True`` the last regression is replaced by an inverse-probability-weighted mean
    (their hybrid estimator).

    Parameters
    ----------
    outcome
        ``"auto"`` (logistic for a 0/1 outcome, linear otherwise), ``"linear"``, ``"logistic"``, or
        a scikit-learn learner, whose plug-in scores need `Bootstrap`.
    interaction
        Put the products of the treatment with the mediators into the first regression.
    weighted
        Replace the last regression by a weighted mean with a logistic treatment model.

    Notes
    -----
    Assumptions: those of the study's identification, and correct regressions at every stage; no
    mediator model. Scores of the linear and logistic forms include the estimation of every stage.

    References
    ----------
    Zhou and Yamamoto (2023), Tracing causal paths from experimental and observational data, Journal
    of Politics 85. Vansteelandt, Bekaert and Lange (2012), Epidemiologic Methods 1.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> effects = xw.estimate(study, xw.Imputation())
    >>> bool(effects["nie"].conf_low < 0.3 < effects["nie"].conf_high)
    True
    """

    outcome: Any = "auto"
    interaction: bool = False
    weighted: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.outcome, str) and self.outcome not in ("auto", "linear", "logistic"):
            known = ("auto", "linear", "logistic")
            raise SpecError.unknown("outcome regression of Imputation", self.outcome, known)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell; regressions are shared where cells agree."""
        data = arrays(study, "Imputation")
        routes = [route(study, cell, "Imputation") for cell in cells]
        if self.weighted:
            arms(data, "Imputation(weighted=True)")
        binary = data.binary
        known = {"auto": "logit" if binary else "gaussian", "linear": "gaussian"}
        if isinstance(self.outcome, str):
            link = known.get(self.outcome, "logit")
            if link == "logit" and not binary:
                raise SpecError("a logistic outcome regression needs a 0/1 outcome; try 'linear'")
            values = _parametric(data, routes, link, self)
            told: dict[str, Any] = {"models": {"outcome": f"{link}, nested, main effects"}}
            told["orthogonal"] = False  # units share fitted coefficients: no subgroup means
            return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)
        recipe = Recipe(self.outcome, "outcome", 0)
        columns = [_learned(data, path, recipe, self.weighted) for path in routes]
        told = {"models": {"outcome": recipe.describe()}}
        return Scores(
            np.column_stack(columns),
            tuple(cells),
            study.cluster,
            study.weights,
            influence=False,
            diagnostics=told,
        )


def _pooled(data: Arrays, blocks: int, level: float | Array, interaction: bool) -> Array:
    """Design of the first regression: intercept, treatment indicators, covariates, mediators."""
    arm = np.broadcast_to(level, data.y.shape)
    shown = [(arm == v).astype(float) for v in data.levels[1:]]
    x = data.given(blocks)
    parts = [np.ones(len(x)), *shown, x]
    if interaction:
        mediators = x[:, data.width[0] :]
        parts += [mediators * v[:, None] for v in shown]
    return np.column_stack(parts)


def _parametric(data: Arrays, routes: Sequence[Route], link: str, options: Imputation) -> Array:
    rows, held = rows_of(data), dict[Any, Fitted]()
    treatment = treatment_model(data, 0, "logit") if options.weighted else None
    whole = np.ones(data.y.size)

    def outer(blocks: int) -> Fitted:
        if blocks not in held:
            x = _pooled(data, blocks, data.arm, options.interaction)
            held[blocks] = fit_glm(link, x, data.y, sample=Sample(rows, whole), role="outcome")
        return held[blocks]

    columns = []
    for path in routes:
        fitted = outer(path.ends[-1])
        x = _pooled(data, path.ends[-1], path.levels[-1], options.interaction)
        for r in range(path.runs - 2, -1, -1):
            level, inner = path.levels[r], Inner(fitted.slope(x), fitted.pull)
            target = fitted.mean(x)
            if treatment is not None and r == 0:
                columns.append(_weighted_mean(data, level, target, inner, treatment))
                break
            sample = Sample(rows, (data.arm == level).astype(float))
            x = with_one(data.given(path.ends[r]))
            fitted = fit_glm(link, x, target, sample=sample, inner=inner, role="nested")
        else:
            slope = np.average(fitted.slope(x), axis=0, weights=rows)
            columns.append(fitted.mean(x) + fitted.pull @ slope)
    return np.column_stack(columns)


def _weighted_mean(
    data: Arrays, level: float, target: Array, inner: Inner, treatment: Fitted
) -> Array:
    """Score of a mean over one arm, weighted by the inverse probability of being in it."""
    rows, x = rows_of(data), with_one(data.given(0))
    log, slope = log_chance(treatment, x, level == data.levels[1])
    weight = (data.arm == level) * np.exp(-log)
    mass = float(np.average(weight, weights=rows))
    value = float(np.average(weight * target, weights=rows)) / mass
    residual = weight * (target - value) / mass
    z = x @ treatment.basis
    through = np.average(-z * (residual * slope)[:, None], axis=0, weights=rows)
    carried = np.average(inner.slope * (weight / mass)[:, None], axis=0, weights=rows)
    return np.asarray(value + residual + treatment.pull @ through + inner.pull @ carried)


def _learned(data: Arrays, path: Route, recipe: Recipe, weighted: bool) -> Array:
    """Plug-in values of the last regression, by a learner."""
    if weighted:
        raise SpecError("weighted=True goes with the linear and logistic regressions")
    binary = data.binary
    learner = recipe.make(probability=binary, rows=data.y.size)
    x = _pooled(data, path.ends[-1], data.arm, False)[:, 1:]
    fitted = learners.fit(learner, x, data.y, data.weights, "outcome")
    at = _pooled(data, path.ends[-1], path.levels[-1], False)[:, 1:]
    target = learners.means(fitted, at, "outcome")
    for r in range(path.runs - 2, -1, -1):
        rows, x = data.arm == path.levels[r], data.given(path.ends[r])
        weights = None if data.weights is None else data.weights[rows]
        if x.shape[1] == 0:
            return np.full(target.shape, float(np.average(target[rows], weights=weights)))
        nested = recipe.make(probability=binary, rows=int(rows.sum()))
        if binary and learners.is_classifier(nested):
            nested = learners.Fractional(nested).fit(x[rows], target[rows], weights)
        else:
            nested = learners.fit(nested, x[rows], target[rows], weights, "outcome")
        target = learners.means(nested, x, "outcome")
    return target
