"""Weighting estimators: treatment models only, or the inverse odds ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.tables.robust.binary import (
    Fitted,
    Inner,
    Sample,
    arms,
    fit_glm,
    log_chance,
)
from crossworld.tables.robust.data import Arrays, Route, arrays, route
from crossworld.tables.robust.overlap import Overlap, clip, describe_overlap
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weighting:
    r"""Natural and path-specific effects by weighting, with exact sandwich influence.

    ``kind="huber"`` (Huber 2014) needs treatment models alone:

    .. math:: \hat\theta(a, b) = \frac{\sum_i w_i Y_i}{\sum_i w_i}, \qquad
              w = \frac{1\{A = a\}}{P(b \mid X)} \frac{P(b \mid M, X)}{P(a \mid M, X)}.

    ``kind="odds"`` is inverse odds-ratio weighting (Tchetgen Tchetgen 2013): with
    :math:`\lambda` the mediators' coefficients in a logistic model of the treatment given mediators
    and covariates, rows at level ``a`` are weighted by the inverse of the odds ratio
    :math:`e^{\pm \lambda^\top M}`, the outcome is regressed on the covariates among them, and
    predictions are averaged over all rows. It needs no mediator model and one block of mediators.

    Parameters
    ----------
    kind
        ``"huber"`` or ``"odds"``.
    link
        Link of the treatment models: ``"logit"`` or ``"probit"`` (logit for ``odds``).
    trim
        Rows whose probability of the level they need is lower are left out, counted and reported.

    Notes
    -----
    Assumptions: those of the study's identification, and correct treatment models (for ``odds``
    also a correct outcome regression). Scores include the estimation of every model.

    References
    ----------
    Huber (2014), Journal of Applied Econometrics 29. Tchetgen Tchetgen (2013), Statistics in
    Medicine 32.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> effects = xw.estimate(study, xw.Weighting())
    >>> bool(effects["te"].conf_low < 0.6 < effects["te"].conf_high)
    True
    """

    kind: Literal["huber", "odds"] = "huber"
    link: Literal["logit", "probit"] = "logit"
    trim: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("kind", ("huber", "odds")), ("link", ("logit", "probit"))):
            if getattr(self, name) not in known:
                raise SpecError.unknown(f"{name} of Weighting", str(getattr(self, name)), known)
        if not 0.0 <= self.trim < 0.5:
            raise SpecError(f"trim is a probability under one half, got {self.trim!r}")
        if self.kind == "odds" and self.link != "logit":
            raise SpecError("odds ratios come from a logit; use link='logit' with kind='odds'")

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell; treatment models are shared."""
        data = arrays(study, "Weighting")
        arms(data, "Weighting")
        routes = [route(study, cell, "Weighting") for cell in cells]
        if self.kind == "odds" and len(study.blocks) > 1:
            raise DesignError(
                "inverse odds-ratio weighting takes one block of mediators; join them with '+', or "
                "use kind='huber'"
            )
        needed = sorted({k for path in routes for k in (0, *path.ends[1:])})
        models = {k: treatment_model(data, k, self.link) for k in needed}
        overlap = Overlap()
        score = huber if self.kind == "huber" else inverse_odds
        values = np.column_stack([score(data, path, models, self.trim, overlap) for path in routes])
        told = describe_overlap(overlap, values, data, study.levels, self.trim)
        told["models"] = {"treatment": f"{self.link}, main effects of covariates and mediators"}
        told["orthogonal"] = False  # units share fitted coefficients: no subgroup means
        return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)


def treatment_model(data: Arrays, blocks: int, link: str) -> Fitted:
    """Fit the probability of the higher level given covariates and the first mediator blocks."""
    active = (data.arm == data.levels[1]).astype(float)
    sample = Sample(rows_of(data), np.ones(active.size))
    return fit_glm(link, with_one(data.given(blocks)), active, sample=sample, role="treatment")


def rows_of(data: Arrays) -> Array:
    """Row weights, ones where there are none."""
    return np.ones(data.y.size) if data.weights is None else data.weights


def with_one(x: Array) -> Array:
    """Put an intercept before the columns."""
    return np.column_stack([np.ones(len(x)), x])


def huber(
    data: Arrays, path: Route, models: Mapping[int, Fitted], trim: float, overlap: Overlap
) -> Array:
    """Score of a weighted mean: influence of its rows and of the treatment models."""
    own, terms = path.levels[-1], [(-1.0, path.levels[-1], 0)]
    for other, before, after in zip(path.levels, path.ends, path.ends[1:], strict=False):
        if other != own:
            terms += [(1.0, other, after), (-1.0, own, after)]
            terms += [(1.0, own, before), (-1.0, other, before)]
    log, slopes = np.zeros(data.y.size), dict[int, Array]()
    for sign, level, blocks in terms:
        x = with_one(data.given(blocks))
        logged, slope = log_chance(models[blocks], x, level == data.levels[1])
        held = clip(np.exp(logged), trim, (level, blocks), overlap)
        slope = np.where(np.exp(logged) < held, 0.0, slope)
        log = log + sign * np.log(held)
        slopes[blocks] = slopes.get(blocks, 0.0) + sign * slope
    weight = (data.arm == own) * np.exp(log)
    overlap.weights[path.levels, path.ends, path.runs - 1] = weight
    rows = rows_of(data)
    mass = float(np.average(weight, weights=rows))
    value = float(np.average(weight * data.y, weights=rows)) / mass
    residual = weight * (data.y - value) / mass
    total = value + residual
    for blocks, slope in slopes.items():
        model = models[blocks]
        z = with_one(data.given(blocks)) @ model.basis
        moved = np.average(z * (residual * slope)[:, None], axis=0, weights=rows)
        total = total + model.pull @ moved
    return np.asarray(total)


def inverse_odds(
    data: Arrays, path: Route, models: Mapping[int, Fitted], trim: float, overlap: Overlap
) -> Array:
    """Score of a regression weighted by inverse odds ratios and averaged over all rows."""
    own, rows, x = path.levels[-1], rows_of(data), with_one(data.given(0))
    weight, inner = np.ones(data.y.size), None
    mediators = data.x[:, data.width[0] : data.width[1]]
    if path.runs == 2:
        model = models[1]
        odds = model.basis[x.shape[1] :]  # the mediators' rows: coefficients are basis @ theta
        sign = -1.0 if own == data.levels[1] else 1.0
        weight = np.exp(sign * mediators @ (odds @ model.theta))
        inner = (sign * mediators, model.pull @ odds.T)
    used = (data.arm == own) * weight
    overlap.weights[path.levels, path.ends, path.runs - 1] = used
    overlap.lowest[own, 0] = float((data.arm == own).mean())
    binary = data.binary
    name = "logit" if binary else "gaussian"
    sample = Sample(rows, used / used.max())
    fitted = fit_glm(name, x, data.y, sample=sample, role="outcome")
    if inner is not None:
        residual = (data.y - fitted.mean(x))[:, None]
        moved = Inner(residual * inner[0], inner[1])
        fitted = fit_glm(name, x, data.y, sample=sample, inner=moved, role="outcome")
    mean = fitted.mean(x)
    return np.asarray(mean + fitted.pull @ np.average(fitted.slope(x), axis=0, weights=rows))
