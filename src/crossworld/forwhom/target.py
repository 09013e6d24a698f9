"""A contrast as one number per unit, and what can be estimated from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Codes, Estimate, Vector
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError

Matrix = NDArray[np.float64]  # (n, p)
ORTHOGONAL = "orthogonal"


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The scores of one contrast of cells.

    Parameters
    ----------
    name
        The effect asked for.
    phi
        Shape (n,): its weighted mean estimates the effect, its mean given covariates the
        conditional effect.
    share
        Row weights over their mean, shape (n,).
    cluster
        Codes 0..J-1, or None when rows are the units.
    """

    name: str
    phi: Vector
    share: Vector
    cluster: Codes | None

    @property
    def units(self) -> Codes:
        """Code of the independent unit of every row, (n,)."""
        return np.arange(self.phi.size) if self.cluster is None else self.cluster

    def take(self, index: NDArray[np.int64]) -> Target:
        """Return some rows, clusters numbered anew."""
        codes = None
        if self.cluster is not None:
            codes = np.unique(self.cluster[index], return_inverse=True)[1].astype(np.int64)
        share = self.share[index]
        return replace(self, phi=self.phi[index], share=share / share.mean(), cluster=codes)

    def mean(self, inside: NDArray[np.bool_]) -> Estimate:
        r"""Effect among some rows, with influence :math:`1\{i \in g\}/P(g)\,(\phi_i - \theta_g)`.

        Parameters
        ----------
        inside
            Which rows, shape (n,).
        """
        mass = self.share * inside
        mass = mass / mass.mean()
        value = float((mass * self.phi).mean())
        return Estimate(value, mass * (self.phi - value), self.cluster)

    def regress(self, design: Matrix) -> list[Estimate]:
        r"""Weighted least squares of the scores on the columns of ``design``.

        Influence :math:`(\overline{w Z Z'})^{-1} w_i Z_i (\phi_i - Z_i'\beta)`, so that standard
        errors are the sandwich's: HC0 over rows, J / (J - 1) over declared clusters.

        Raises
        ------
        DesignError
            If a column is a linear combination of the others.
        """
        weighted = self.share[:, None] * design
        gram = weighted.T @ design / self.phi.size
        scale = np.sqrt(np.diag(gram))
        if (scale == 0.0).any() or np.linalg.cond(gram / np.outer(scale, scale)) > 1e12:
            raise DesignError(
                f"the {design.shape[1] - 1} covariates are collinear (or more than the "
                f"{self.phi.size} rows can tell apart); leave out the redundant ones"
            )
        bread = np.linalg.inv(gram)
        beta = bread @ (weighted.T @ self.phi) / self.phi.size
        residual = self.phi - design @ beta
        influence = (weighted * residual[:, None]) @ bread
        return [
            Estimate(float(b), np.ascontiguousarray(influence[:, j]), self.cluster)
            for j, b in enumerate(beta)
        ]


def targets(scores: Scores, estimands: Sequence[Estimand]) -> list[Target]:
    """One target per effect.

    Raises
    ------
    DesignError
        If the scores hold no number that belongs to one unit alone.
    SpecError
        If an effect is no weighted sum of cells.
    """
    _refuse_others(scores)
    weights = scores.weights
    share = np.ones(len(scores)) if weights is None else weights / weights.mean()
    found = []
    for estimand in estimands:
        terms = None if estimand.expr.deferred else estimand.expr.linear()
        if not terms:
            raise SpecError(
                f"{estimand} is not a sum of cells such as Y(1) - Y(1, M(0)), so a unit has no "
                "score of its own for it; ask for the differences it is made of (nie and te for pm "
                "or for a ratio) and compare those between groups"
            )
        phi = scores.select(tuple(terms)).values @ np.array(list(terms.values()))
        found.append(Target(estimand.name, phi, share, scores.cluster))
    return found


def _refuse_others(scores: Scores) -> None:
    if not scores.influence:
        raise DesignError(
            "these scores are plug-in values without an influence function, so a subgroup's mean "
            "of them is no estimate with a known error; use MultiplyRobust()"
        )
    if scores.classic is not None or scores.diagnostics.get(ORTHOGONAL, True) is False:
        raise DesignError(
            "these scores carry the error of coefficients that all units share (a regression, a "
            "weighting or an imputation model), so their mean in a subgroup is not the subgroup's "
            "effect; use MultiplyRobust() or TMLE(), whose scores belong to one unit each"
        )


def part(scores: Scores, index: NDArray[np.int64]) -> Scores:
    """Scores of some units, clusters numbered anew."""
    codes = None
    if scores.cluster is not None:
        codes = np.unique(scores.cluster[index], return_inverse=True)[1].astype(np.int64)
    weights = None if scores.weights is None else scores.weights[index]
    return replace(scores, values=scores.values[index], cluster=codes, weights=weights)


@dataclass(frozen=True, slots=True)
class Joint:
    """A Wald test that several quantities are all 0."""

    statistic: float
    df: tuple[float, ...]
    p_value: float | None
    test: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "test": self.test,
            "statistic": self.statistic,
            "df": list(self.df),
            "p_value": self.p_value,
        }

    def __str__(self) -> str:
        degrees = ", ".join(f"{v:g}" for v in self.df)
        p_value = "not available" if self.p_value is None else f"{self.p_value:.4g}"
        return f"{self.test}({degrees}) = {self.statistic:.4g}, p = {p_value}"


def jointly_zero(estimates: Sequence[Estimate]) -> Joint:
    r"""Test that all estimates are 0: :math:`W = \hat\delta' \hat V^{-1} \hat\delta`.

    Chi-square with q degrees of freedom; with J declared clusters Hotelling's
    :math:`W (J - q) / (q (J - 1)) \sim F(q, J - q)`, whose case q = 1 is Student's t.
    """
    from scipy.special import chdtrc, fdtrc

    value = np.array([e.value for e in estimates])
    covariance = np.array([[a.covariance(b) for b in estimates] for a in estimates])
    q, df = len(estimates), estimates[0].df
    scale = np.sqrt(np.diag(covariance))
    known = bool((scale > 0.0).all())
    if known:
        correlation = covariance / np.outer(scale, scale)
        known = bool(np.linalg.matrix_rank(correlation, hermitian=True) == q)
    if not known or df + 1.0 <= q:
        return Joint(math.nan, (float(q),), None, "chi2" if math.isinf(df) else "F")
    statistic = float((value / scale) @ np.linalg.solve(correlation, value / scale))
    if math.isinf(df):
        return Joint(statistic, (float(q),), float(chdtrc(q, statistic)), "chi2")
    f, second = statistic * (df + 1.0 - q) / (q * df), df + 1.0 - q
    return Joint(f, (float(q), second), float(fdtrc(q, second, f)), "F")
