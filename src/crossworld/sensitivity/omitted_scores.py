r"""Scores of what an omitted confounder can do to a cell: residual variance, representer norm.

The functional of a cell is linear in the outcome regression, :math:`\theta = E[m(W, g)]`, and its
Riesz representer is :math:`\alpha`. With levels ``b`` of the mediators and ``a`` of the outcome,
:math:`e_b(X) = P(A = b \mid X)` and :math:`p_c(M, X) = P(A = c \mid M, X)`:

=============  =============================================  ==================================
cell           :math:`m(W, g)`                                :math:`\alpha`
=============  =============================================  ==================================
``Y(a)``       :math:`g(a, X)`                                :math:`1\{A=a\} / e_a`
``Y(a,M(b))``  :math:`1\{A=b\}\, g(a, M, X) / e_b`            :math:`1\{A=a\}\, p_b / (p_a e_b)`
=============  =============================================  ==================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand, needed
from crossworld.core.estimate import Estimate
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, EstimationError
from crossworld.sensitivity.pseudo import Split, averaged
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.robust.data import Route, route
from crossworld.tables.robust.engine import (
    RatioForm,
    assemble,
    fit_nuisances,
)
from crossworld.tables.robust.folds import fold_ids
from crossworld.tables.robust.nuisance import outcome_keys
from crossworld.tables.robust.weights import Work, aggregate
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Term = tuple[float, Route]
MEDIATOR, TREATMENT = "mediator-outcome", "treatment-outcome"


def representer_score(own: Array, other: Array, *, e: Array, ratio: Array, spread: Array) -> Array:
    r"""Uncentred influence function of :math:`\nu^2 = E[\alpha^2]` for the cell ``Y(a, M(b))``.

    With :math:`\rho(M, X) = p_b / p_a` and :math:`\tau(X) = E[\rho \mid A = b, X]`,

    .. math::
        \psi_{\nu^2} = \frac{2 \cdot 1\{A = b\} \rho}{e_b^2} - \frac{1\{A = a\} \rho^2}{e_b^2}
                       - \frac{2 \tau(X)}{e_b^2} \bigl(1\{A = b\} - e_b\bigr).

    The first two terms are the printed score :math:`2 m(W, \alpha) - \alpha^2` of Chernozhukov et
    al. (2022), which takes ``m`` as known. Here ``m`` holds the estimated :math:`e_b`; writing
    :math:`\nu^2 = E[p_b^2 / (p_a e_b^2)]` and differentiating in the law of the data gives the
    third term.

    Parameters
    ----------
    own, other
        Indicators of ``A = a`` and ``A = b``, (n,).
    e, ratio, spread
        :math:`e_b(X)`, :math:`\rho(M, X)` and :math:`\tau(X)`, each (n,).
    """
    printed = 2.0 * other * ratio - own * ratio**2
    return np.asarray((printed - 2.0 * spread * (other - e)) / e**2)


def direct_score(own: Array, *, e: Array) -> Array:
    r"""Uncentred influence function of :math:`\nu^2 = E[1 / e_a]` for the cell ``Y(a)``.

    :math:`\psi_{\nu^2} = 2 / e_a - 1\{A = a\} / e_a^2`: here ``m`` holds nothing estimated.
    """
    return np.asarray(2.0 / e - own / e**2)


def residual_score(y: Array, fitted: Mapping[float, Array], arm: Array) -> Array:
    r"""Uncentred influence of :math:`\sigma^2 = E[1\{A \in D\} (Y - g_s)^2]`.

    The representer is 0 outside the outcome levels ``D`` of the cells, so residuals there cannot
    bias anything and are left out. The mean is stationary in :math:`g_s`: nothing is added for its
    estimation.

    Parameters
    ----------
    y, arm
        Outcome and treatment, (n,).
    fitted
        Outcome regression under each level of ``D``, (n,).
    """
    total = np.zeros(y.size)
    for level, mean in fitted.items():
        total += (arm == level) * (y - mean) ** 2
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What bounds one effect.

    Parameters
    ----------
    term
        The effect's name.
    confounder
        ``"mediator-outcome"`` or ``"treatment-outcome"``.
    theta, sigma2, nu2
        The effect, the residual variance and the representer's second moment, with influence.
    """

    term: str
    confounder: str
    theta: Estimate
    sigma2: Estimate
    nu2: Estimate

    @property
    def spread(self) -> Estimate:
        r"""The scale :math:`S = \sigma \nu` of the bias."""
        product = self.sigma2 * self.nu2
        root = float(np.sqrt(product.value))
        return product.apply(lambda _: root, 0.5 / root)


def terms_of(study: TableStudy, effect: Estimand) -> tuple[str, list[Term]]:
    """Say which confounder an effect is exposed to, and which of its cells.

    Raises
    ------
    DesignError
        If the effect follows a part of the mediators, or several cells see the outcome under one
        level.
    """
    cells = effect.expr.linear() or {}
    found = [(value, route(study, cell, "omitted_confounding")) for cell, value in cells.items()]
    crossed = [(value, path) for value, path in found if path.runs > 1]
    for _, path in crossed:
        if path.runs > 2 or path.ends[1] != len(study.blocks):
            raise DesignError(
                f"{effect.name} moves some mediators and not others; an omitted confounder of "
                "path-specific effects is not bounded here. Join the mediators with '+'"
            )
    kind = MEDIATOR if crossed else TREATMENT
    terms = crossed or found
    seen = [path.levels[-1] for _, path in terms]
    if len(set(seen)) < len(seen):
        raise DesignError(
            f"{effect.name} has several cells whose outcome sees one treatment level; bound them "
            "one at a time"
        )
    return kind, terms


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """Nuisances of a study, and what bounds each effect."""

    study: TableStudy
    estimator: MultiplyRobust
    works: Sequence[Work]
    scores: Scores
    parts: tuple[Parts, ...]


def evaluate(study: TableStudy, estimator: MultiplyRobust, effects: Sequence[Estimand]) -> Fits:
    """Fit the nuisances once; return what bounds each effect."""
    exposed = [terms_of(study, effect) for effect in effects]
    form, cells = RatioForm(), needed(effects)
    works, fits = fit_nuisances(estimator, form, study, cells)
    scores = assemble(estimator, form, study, cells, works=works, fits=fits)
    crossed = {path for _, terms in exposed for _, path in terms if path.runs == 2}
    spreads = representer_spread(study, estimator, works, sorted(crossed, key=str))
    columns = [
        np.column_stack([c for _, terms in exposed for c in pair(work, terms, spread)])
        for work, spread in zip(works, spreads, strict=True)
    ]
    held = aggregate(columns, study.weights)
    parts = []
    for j, (effect, (kind, _)) in enumerate(zip(effects, exposed, strict=True)):
        sigma2, nu2 = (averaged(held[:, 2 * j + i], study) for i in (0, 1))
        for what, value in (("residual variance", sigma2), ("representer's norm", nu2)):
            if value.value <= 0.0:
                raise EstimationError(
                    f"the {what} of {effect.name} was estimated as {value.value:.4g}, which cannot "
                    "be; look at overlap, use a larger trim or other learners"
                )
        theta = effect.expr.evaluate(scores.mean)
        parts.append(Parts(effect.name, kind, theta, sigma2, nu2))
    return Fits(study, estimator, works, scores, tuple(parts))


def pair(work: Work, terms: Sequence[Term], spread: Mapping[Route, Array]) -> tuple[Array, Array]:
    """Score of the residual variance and of the representer's norm of one effect."""
    data = work.data
    fitted = {path.levels[-1]: work.nuisances[outcome_keys(path)[0]] for _, path in terms}
    nu2 = np.zeros(data.y.size)
    for value, path in terms:
        own = (data.arm == path.levels[-1]).astype(np.float64)
        if path.runs == 1:
            nu2 += value**2 * direct_score(own, e=work.chance(path.levels[0], 0))
            continue
        other = (data.arm == path.levels[0]).astype(np.float64)
        nu2 += value**2 * representer_score(
            own,
            other,
            e=work.chance(path.levels[0], 0),
            ratio=odds(work, path),
            spread=spread[path],
        )
    return residual_score(data.y, fitted, data.arm), nu2


def odds(work: Work, path: Route) -> Array:
    """P(mediators' level | M, X) / P(outcome's level | M, X), (n,)."""
    b, a = path.levels
    return np.asarray(work.chance(b, path.ends[1]) / work.chance(a, path.ends[1]))


def representer_spread(
    study: TableStudy, estimator: MultiplyRobust, works: Sequence[Work], paths: Sequence[Route]
) -> list[dict[Route, Array]]:
    """Cross-fitted mean of the odds among units at the mediators' level, given covariates."""
    seeds = np.random.SeedSequence(estimator.seed).spawn(estimator.repeats)
    found = []
    for seed, work in zip(seeds, works, strict=True):
        split = Split(work, fold_ids(study, estimator.folds, seed), estimator)
        found.append({path: split.smooth(odds(work, path), path.levels[0]) for path in paths})
    return found
