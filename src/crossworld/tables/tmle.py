"""Targeted estimation: multiply robust, and never outside the outcome's range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.tables.robust.data import Route
from crossworld.tables.robust.engine import check_options, cross_fitted_scores, stage_values
from crossworld.tables.robust.nuisance import Extra, Key, outcome_keys, treatment_keys
from crossworld.tables.robust.weights import Work, stage_weight
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
EDGE = 1e-6  # distance from 0 and 1 at which fitted values are held on the unit scale


@dataclass(frozen=True, slots=True)
class TMLE:
    r"""Targeted minimum-loss estimation of natural and path-specific effects.

    Nuisances are those of `MultiplyRobust`, cross-fitted. On the outcome scaled to [0, 1], each
    nested regression, from the outcome's back to the covariates', is moved along a logistic
    fluctuation

    .. math:: \operatorname{logit} \mu^*_{k-1} = \operatorname{logit} \mu_{k-1} + \epsilon_k,
              \qquad \sum_i w_{ik} (\mu^*_{k,i} - \mu^*_{k-1,i}) = 0,

    with :math:`w_k` the stage weights of the influence function. The estimate is the mean of
    :math:`\mu^*_0`, so it respects the outcome's bounds, and it solves the influence function's
    estimating equation, so its scores are those of `MultiplyRobust` at the targeted regressions.

    Parameters
    ----------
    outcome, treatment, folds, repeats, trim, seed, workers
        As in `MultiplyRobust`.
    bounds
        Lowest and highest possible outcome; the observed range by default.

    Notes
    -----
    Assumptions are those of `MultiplyRobust`. Weights need no normalisation: every stage solves its
    equation exactly.

    References
    ----------
    Zheng and van der Laan (2012), International Journal of Biostatistics 8. Gruber and van der
    Laan (2010), ibid. 6, for the bounded fluctuation.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.binary_both(n=500, seed=1).study()
    >>> method = xw.TMLE(outcome="logistic", treatment="logistic", folds=2)
    >>> effects = xw.estimate(study, method)
    >>> bool(-1 < effects["te"].estimate < 1)
    True
    """

    outcome: Any = "auto"
    treatment: Any = "auto"
    folds: int | str = 5
    repeats: int = 1
    trim: float = 0.01
    bounds: tuple[float, float] | None = None
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        check_options(self)
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise SpecError(f"bounds is a pair (lowest, highest), got {self.bounds!r}")

    @property
    def normalize(self) -> bool:
        """Weights are used as they are."""
        return False

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell at its targeted regressions."""
        if not isinstance(study, TableStudy):
            raise DesignError(f"TMLE needs a TableStudy, got {type(study).__name__}")
        y = study.outcome if study.weights is None else study.outcome[study.weights > 0.0]
        low, high = (float(y.min()), float(y.max())) if self.bounds is None else self.bounds
        if y.min() < low or y.max() > high:
            raise DesignError(
                f"the outcome runs from {y.min():g} to {y.max():g}, beyond "
                f"bounds=({low:g}, {high:g})"
            )
        return cross_fitted_scores(self, Targeted(low, high), study, cells)


@dataclass(frozen=True, slots=True, eq=False)
class Targeted:
    """Scores at regressions moved until every stage's equation holds."""

    low: float
    high: float
    extra: Mapping[str, Extra] = field(default_factory=dict)

    def keys(self, path: Route) -> list[Key]:
        """Nuisances of a cell."""
        return [*treatment_keys(path), *outcome_keys(path)]

    def score(self, work: Work, path: Route) -> Array:
        """Score of a cell, (n,)."""
        width = self.high - self.low
        stages = [(v - self.low) / width for v in stage_values(work, path)]
        target, total = stages[-1], np.zeros_like(stages[-1])
        for r in range(path.runs - 1, -1, -1):
            weight = stage_weight(work, path, r)
            moved = fluctuate(stages[r], target, weight, work.data.weights)
            total += weight * (target - moved)
            target = moved
        return np.asarray(self.low + width * (target + total))


def fluctuate(start: Array, target: Array, weight: Array, rows: Array | None) -> Array:
    """Move fitted values along the logit until their weighted mean is the target's.

    A target at an end of the scale wherever the weight is positive moves them to that end.
    """
    w = weight if rows is None else weight * rows
    used = w > 0.0
    base = logit(np.clip(start, EDGE, 1.0 - EDGE))
    wanted = float(np.average(target[used], weights=w[used]))
    share, here = w[used] / w[used].sum(), base[used]
    low, high = -40.0, 40.0
    step = 0.0
    for _ in range(100):
        p = expit(here + step)
        gap = wanted - float(share @ p)
        low, high = (step, high) if gap > 0 else (low, step)
        if abs(gap) < 1e-15:
            break
        slope = float(share @ (p * (1.0 - p)))
        newton = step + gap / slope if slope > 0.0 else np.inf
        step = newton if low < newton < high else 0.5 * (low + high)
    return np.asarray(expit(base + step))
