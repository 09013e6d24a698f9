"""One treatment, one mediator, one outcome as arrays, and the regressions that rho needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes, Estimate
from crossworld.errors import DesignError, SpecError
from crossworld.tables.parametric.setup import row_weights
from crossworld.tables.robust.binary import Sample, fit_glm
from crossworld.tables.robust.data import arrays
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
FAMILIES = ("auto", "gaussian", "probit")
_OTHER = "ding_vanderweele and evalues make no assumption on models"


@dataclass(frozen=True, slots=True, eq=False)
class Triple:
    """What the models of mediator and outcome are fitted to.

    Parameters
    ----------
    x
        Intercept and covariates, shape (n, p).
    t, m, y
        Treatment, mediator and outcome, (n,) each; a probit mediator is 0 or 1.
    weights
        Row weights that count rows, (n,).
    cluster
        Cluster codes, or None.
    levels
        Reference and active level of the treatment.
    interaction
        Whether the outcome model has the product of treatment and mediator.
    """

    x: Array
    t: Array
    m: Array
    y: Array
    weights: Array
    cluster: Codes | None
    levels: tuple[float, float]
    interaction: bool

    @property
    def share(self) -> Array:
        """Weights with mean 1, (n,)."""
        return np.asarray(self.weights / self.weights.mean())

    @property
    def first(self) -> Array:
        """Columns of the mediator's model: intercept, covariates, treatment."""
        return np.column_stack([self.x, self.t])

    @property
    def second(self) -> Array:
        """Columns of the outcome's model: those of the mediator's, mediator, product."""
        extra = [self.t * self.m] if self.interaction else []
        return np.column_stack([self.x, self.t, self.m, *extra])

    def at(self, level: float) -> Array:
        """Columns of the mediator's model with the treatment set, (n, q)."""
        return np.column_stack([self.x, np.full(self.t.size, level)])

    def average(self, values: Array) -> Estimate:
        """Weighted mean of a column with its influence."""
        mean = float(self.share @ values) / values.size
        return Estimate(mean, self.share * (values - mean), self.cluster)


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """Coefficients on the raw columns and the influence of each unit on them.

    Parameters
    ----------
    values
        Shape (q,).
    influence
        Shape (n, q); row weights are inside. For model-based limits a root of the covariance, so
        scaled that `Estimate` reads it as influence.
    cluster
        Cluster codes, or None.
    """

    values: Array
    influence: Array
    cluster: Codes | None

    def __getitem__(self, k: int) -> Estimate:
        return Estimate(float(self.values[k]), self.influence[:, k], self.cluster)

    def along(self, direction: Array) -> Estimate:
        """Estimate of a fixed linear combination of the coefficients."""
        return Estimate(float(self.values @ direction), self.influence @ direction, self.cluster)


def triple(
    study: TableStudy, families: Sequence[str], *, interaction: bool
) -> tuple[Triple, tuple[str, str]]:
    """Lay out a study and settle the families of mediator and outcome.

    Raises
    ------
    DesignError
        If there are several mediators, intermediate confounders, a treatment with more than two
        categories, or both responses are binary.
    SpecError
        If a family is unknown.
    """
    if not isinstance(study, TableStudy):
        raise DesignError(f"rho needs a TableStudy, got {type(study).__name__}")
    named = [name for block in study.blocks for name in block]
    if len(named) != 1:
        raise DesignError(
            f"rho is the correlation of two errors, so it needs one mediator; this path has "
            f"{len(named)} ({', '.join(named[:6])}). Study one at a time; {_OTHER}"
        )
    if study.intermediate:
        raise DesignError(
            f"rho has no model for intermediate confounders ({', '.join(study.intermediate)}); "
            "leave them out, or put them into adjust if the treatment does not affect them"
        )
    if study.treatment.is_text and len(study.treatment.distinct()) > 2:
        raise DesignError(
            f"rho needs a numeric or two-valued treatment; {study.path.treatment!r} has "
            f"{len(study.treatment.distinct())} categories. Keep the rows of two of them"
        )
    held = arrays(study, "rho", discrete=False)
    columns = held.x[:, held.width[0] :]
    if columns.shape[1] != 1:
        raise DesignError(
            f"the mediator {named[0]!r} has {columns.shape[1] + 1} categories; rho needs a number "
            f"or two values. {_OTHER}"
        )
    chosen = _families(families, columns[:, 0], held.y)
    m = columns[:, 0]
    if chosen[0] == "probit":
        m = (m == m.max()).astype(np.float64)
    x = np.column_stack([np.ones(held.y.size), held.x[:, : held.width[0]]])
    found = Triple(
        x, held.arm, m, held.y, row_weights(study), study.cluster, study.levels, interaction
    )
    return found, chosen


def _families(given: Sequence[str], m: Array, y: Array) -> tuple[str, str]:
    if isinstance(given, str) or len(given) != 2:
        raise SpecError(
            f"families names two, the mediator's and the outcome's, as ('auto', 'probit'); got "
            f"{given!r}"
        )
    for name in given:
        if name not in FAMILIES:
            raise SpecError.unknown("family of rho", str(name), FAMILIES)
    two = (np.unique(m).size == 2, bool(np.isin(y, (0.0, 1.0)).all()))
    pairs = zip(("mediator", "outcome"), given, two, strict=True)
    found = []
    for role, name, binary in pairs:
        if name == "probit" and not binary:
            raise DesignError(f"a probit {role} takes two values (an outcome 0 and 1)")
        found.append(("probit" if binary else "gaussian") if name == "auto" else name)
    if found == ["probit", "probit"]:
        raise DesignError(
            "mediator and outcome are both binary: the cells are not determined by rho alone. "
            f"Treat one as a number with families=('gaussian', 'probit'); {_OTHER}"
        )
    return found[0], found[1]


def regress(data: Triple, name: str, x: Array, target: Array, *, role: str) -> Coefficients:
    """Fit ``target`` on the columns ``x`` with sandwich influence."""
    sample = Sample(data.weights, np.ones(target.size))
    fitted = fit_glm(name, x, target, sample=sample, role=role)
    values = np.asarray(fitted.basis @ fitted.theta)
    influence = data.share[:, None] * (fitted.pull @ fitted.basis.T)
    return Coefficients(values, influence, data.cluster)


def model_based(data: Triple, pairs: Sequence[tuple[Array, Array]]) -> tuple[Coefficients, ...]:
    """Least squares with independent model-based covariances, residual variance RSS / (n - 1)."""
    n, found = float(data.weights.sum()), []
    width = sum(x.shape[1] for x, _ in pairs)
    start = 0
    for x, target in pairs:
        gram = x.T @ (data.weights[:, None] * x)
        values = np.linalg.solve(gram, x.T @ (data.weights * target))
        variance = float(data.weights @ (target - x @ values) ** 2) / (n - 1.0)
        root = np.zeros((width, x.shape[1]))
        root[start : start + x.shape[1]] = np.linalg.cholesky(variance * np.linalg.inv(gram)).T
        found.append(Coefficients(np.asarray(values, dtype=np.float64), root * width, None))
        start += x.shape[1]
    return tuple(found)


def explained(data: Triple, name: str, x: Array, target: Array) -> float:
    """Share of the response's variance that a model explains; for a probit, of the latent one."""
    fitted = x @ regress(data, name, x, target, role="R-squared").values
    n = float(data.weights.sum())
    if name == "probit":
        latent = n / (n - 1.0) * float(np.cov(fitted, aweights=data.weights, ddof=0))
        return latent / (1.0 + latent)
    centre = float(data.weights @ target) / n
    residual = float(data.weights @ (target - fitted) ** 2)
    return 1.0 - residual / float(data.weights @ (target - centre) ** 2)
