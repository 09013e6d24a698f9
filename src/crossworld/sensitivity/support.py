r"""Bounds of natural effects from the outcome's range alone.

Of units at level ``a`` of the treatment the pair (M(a), Y(a, M(a))) is seen, of units at ``b`` the
mediator M(b). Nothing ties M(a) to M(b), and Y(a, m) is seen where M(a) = m only. With an outcome
in [l, h] the least mean of Y(a, M(b)) given covariates is, over all joint laws,

.. math::
    l + \sum_m \max_{0 \le t \le h - l} \bigl\{ E[\min(Y - l, t) 1\{M = m\} \mid a, X]
                                                - t\, P(M \ne m \mid b, X) \bigr\}

and the largest follows by turning the outcome around. For binary outcomes the term of ``m`` is
:math:`\max\{0, P(Y=1, M=m|a,X) + P(M=m|b,X) - 1\}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.options import check_whole
from crossworld.errors import DesignError
from crossworld.sensitivity.interval import Bounds, BoundsTable
from crossworld.sensitivity.pseudo import (
    Split,
    averaged,
    check_estimator,
    ends,
    split_cells,
    splits,
)
from crossworld.sensitivity.tabular import asked, check_level
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.robust.data import Route, arrays
from crossworld.tables.robust.engine import RatioForm
from crossworld.tables.robust.weights import Work, aggregate
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
ASSUMED = (
    "the treatment is ignorable given the covariates, for mediator and outcome (as when it is "
    "randomised)",
    "mediator and outcome may be confounded in any way, and counterfactuals of different levels "
    "may depend on one another in any way",
)


def cell_bounds(
    own: Array, other: Array, *, values: Array, support: tuple[float, float]
) -> tuple[float, float]:
    """Sharp bounds of the mean of ``Y(a, M(b))`` for a discrete law.

    Parameters
    ----------
    own
        P(M = m, Y = v | A = a), shape (mediator values, outcome values).
    other
        P(M = m | A = b), shape (mediator values,).
    values
        The outcome's values.
    support
        Least and largest value that the outcome can take.

    Returns
    -------
    tuple
        Least and largest mean.

    References
    ----------
    Sjolander (2009), Statistics in Medicine 28, for binary mediator and outcome.

    Examples
    --------
    >>> own = np.array([[0.0, 0.1], [0.1, 0.8]])
    >>> low, high = cell_bounds(
    ...     own, np.array([0.1, 0.9]), values=np.array([0.0, 1.0]), support=(0.0, 1.0)
    ... )
    >>> round(low, 6), round(high, 6)
    (0.7, 1.0)
    """
    low, high = support

    def least(gain: Array) -> float:
        cuts = np.append(np.unique(gain), high - low)
        held = np.minimum(gain[None, :], cuts[:, None])  # cuts, values
        terms = own @ held.T - np.outer(1.0 - other, cuts)
        return float(np.maximum(terms.max(axis=1), 0.0).sum())

    return low + least(values - low), high - least(high - values)


def support_bounds(
    study: TableStudy,
    estimator: MultiplyRobust | None = None,
    *,
    effects: Sequence[str | Estimand] | str = ("nde", "nie"),
    support: tuple[float, float] | None = None,
    cuts: int = 4,
    level: float = 0.95,
) -> BoundsTable:
    r"""Bound natural effects whatever confounds mediator and outcome.

    Parameters
    ----------
    study
        The mediators take few values together; with a continuous mediator nothing is learned of
        ``Y(a, M(b))`` beyond the outcome's range, and the bounds say so.
    estimator
        Its learners, folds and trimming are used.
    effects
        Names or estimands: weighted sums of cells.
    support
        Least and largest value that the outcome can take; (0, 1) for a 0/1 outcome.
    cuts
        Values of ``t`` between 0 and the range, for outcomes with more than ten values. More give
        bounds that are closer to sharp, from more regressions; any number gives valid ones.
    level
        Confidence level.

    Returns
    -------
    BoundsTable
        Bounds and limits.

    Raises
    ------
    DesignError
        If the outcome leaves its support, or the support is not given for an outcome that needs
        it.

    Notes
    -----
    Assumptions: the treatment is ignorable given the covariates, and the outcome stays in its
    support. Nothing is assumed of the mediator. The bounds of one cell are sharp. An effect with
    one cell ``Y(a, M(b))`` inherits that; sums of several have valid bounds.

    The maximum over ``t`` is taken at each row by regressions that were fitted without it: any
    choice of ``t`` as a function of covariates gives a valid bound, so the limits are honest
    whether or not the choice was best, and no maximum of estimates is ever taken.

    References
    ----------
    Manski (1990), American Economic Review 80. Robins and Greenland (1992), Epidemiology 3.
    Sjolander (2009), Statistics in Medicine 28.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.sensitivity.support import support_bounds
    >>> study = xw.datasets.binary_both(n=500, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> found = support_bounds(study, method)["nie"]
    >>> found.low.value < found.high.value
    True
    """
    estimator = check_estimator(estimator, "support_bounds")
    check_level(level)
    check_whole("cuts", cuts, 1)
    questions = asked(study, effects, "support_bounds")
    known, crossed = split_cells(study, questions, "support_bounds")
    data = arrays(study, "support_bounds")
    support = check_support(study, support)
    codes = _codes(data.x[:, data.width[0] :])
    base = Work(data, {}, estimator.trim, estimator.normalize)
    parts = []
    for split in splits(study, estimator, base, [*known.values(), *_singles(crossed)]):
        low = {cell: RatioForm().score(split.work, path) for cell, path in known.items()}
        high = dict(low)
        for cell, path in crossed.items():
            low[cell], high[cell] = crossed_scores(
                split, path, codes=codes, support=support, cuts=cuts
            )
        parts.append(ends(questions, low, high))
    held = aggregate(parts, study.weights)
    reason = (
        ""
        if codes is not None or not crossed
        else "the mediators take too many values for any to be shared by two levels, so only the "
        "outcome's range limits Y(a, M(b))"
    )
    found = tuple(
        Bounds(q.name, averaged(held[:, 2 * j], study), averaged(held[:, 2 * j + 1], study), reason)
        for j, q in enumerate(questions)
    )
    return BoundsTable(
        found,
        level,
        "Bounds from the outcome's support",
        study.describe(),
        assumptions=(*ASSUMED, f"the outcome lies between {support[0]:g} and {support[1]:g}"),
        settings={"support": list(support)},
    )


def check_support(study: TableStudy, support: tuple[float, float] | None) -> tuple[float, float]:
    """Return the support, checked against the outcome.

    Raises
    ------
    DesignError
        If it is missing and the outcome is not 0/1, empty, or left by the outcome.
    """
    y, name = study.outcome, study.path.outcome
    if support is None:
        if not np.isin(y, (0.0, 1.0)).all():
            raise DesignError(
                f"bounds need the least and largest value that {name!r} can take: give "
                f"support=(low, high). Its values here run from {y.min():g} to {y.max():g}, but "
                "the sample's range is not the support"
            )
        return 0.0, 1.0
    low, high = (float(v) for v in support)
    if not (np.isfinite([low, high]).all() and low < high):
        raise DesignError(f"support is a finite least and a larger largest value, got {support!r}")
    if y.min() < low or y.max() > high:
        raise DesignError(
            f"{name!r} runs from {y.min():g} to {y.max():g}, outside the support ({low:g}, "
            f"{high:g})"
        )
    return low, high


def _singles(crossed: Mapping[Cell, Route]) -> list[Route]:
    """Routes under one level whose treatment models the crossed cells need."""
    return [Route((level,), (0,)) for path in crossed.values() for level in path.levels]


def _codes(mediators: Array) -> NDArray[np.int64] | None:
    """Code of the mediators' joint value in each row, or None when there are too many."""
    found, codes = np.unique(mediators, axis=0, return_inverse=True)
    return None if len(found) > DISCRETE else codes.reshape(-1).astype(np.int64)


def crossed_scores(
    split: Split,
    path: Route,
    *,
    codes: NDArray[np.int64] | None,
    support: tuple[float, float],
    cuts: int,
) -> tuple[Array, Array]:
    """Scores of the least and the largest mean of ``Y(a, M(b))``, each (n,)."""
    y, (low, high) = split.work.data.y, support
    if codes is None:
        return np.full(y.size, low), np.full(y.size, high)
    b, a = path.levels
    total = [np.zeros(y.size), np.zeros(y.size)]
    for code in range(int(codes.max()) + 1):
        here = (codes == code).astype(np.float64)
        share = split.mean(here, b)
        scored = split.score(here, b, share)
        for side, gain in enumerate((y - low, high - y)):
            best, score = np.zeros(y.size), np.zeros(y.size)
            for t in _cuts(gain, high - low, cuts):
                target = np.minimum(gain, t) * here
                mean = split.mean(target, a)
                value = mean - t * (1.0 - share)
                better = value > best
                found = split.score(target, a, mean) - t * (1.0 - scored)
                best, score = np.where(better, value, best), np.where(better, found, score)
            total[side] += score
    return low + total[0], high - total[1]


def _cuts(gain: Array, width: float, cuts: int) -> Array:
    """Values of ``t``: all that matter when the outcome has few values, else a grid."""
    distinct = np.unique(gain)
    if distinct.size <= DISCRETE:
        found = np.append(distinct[distinct > 0.0], width)
        return np.unique(found)
    return np.asarray(width * np.arange(1, cuts + 1) / cuts)
