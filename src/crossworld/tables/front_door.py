"""Front-door adjustment: the effect through mediators that shield treatment from outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.identification import Assumption, Identification
from crossworld.core.regime import Draw
from crossworld.core.scores import Scores
from crossworld.errors import DesignError
from crossworld.tables.graphs import front_door_obstacle
from crossworld.tables.robust.data import Route, route
from crossworld.tables.robust.engine import check_options, cross_fitted_scores
from crossworld.tables.robust.nuisance import Extra, Key
from crossworld.tables.robust.weights import Work
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
FORMULA = (
    r"E[Y(b)] = \int \sum_{a} P(a \mid x) \int E[Y \mid a, m, x]"
    r"\, dP(m \mid b, x)\, dP(x)"
)


@dataclass(frozen=True, slots=True)
class FrontDoor:
    r"""Total effects by way of the mediators, when treatment and outcome share an unmeasured cause.

    With :math:`\mu_a(m, x) = E[Y \mid a, m, x]`,
    :math:`\kappa_a(x) = E[\mu_a(M, x) \mid A = b, x]`, :math:`\pi` the law of the treatment given
    covariates and all mediators M, the score of :math:`Y(b)` is

    .. math::
        \frac{p(M \mid b, X)}{p(M \mid A, X)} \{Y - \mu_A(M, X)\}
        + \frac{1\{A = b\}}{P(b \mid X)} \sum_a P(a \mid X) \{\mu_a(M, X) - \kappa_a(X)\}
        + \kappa_A(X),

    where the ratio of mediator densities is written in treatment probabilities,
    :math:`\pi(b \mid M, X) P(A \mid X) / \{\pi(A \mid M, X) P(b \mid X)\}`, so mediators may be
    continuous and of any number.

    Parameters
    ----------
    outcome, treatment
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    repeats
        Number of different splits; cells are aggregated by their median.
    normalize
        Divide weights by their mean (Hajek).
    trim
        Treatment probabilities are held at least this far from 0; who was held is reported.
    seed
        Seed of the folds and of learners made from a name.
    workers
        Threads over folds.

    Raises
    ------
    DesignError
        If a cell is not ``Y(b)``: the direct effect is 0 by assumption, so there is nothing to
        split.

    Notes
    -----
    Assumptions: the whole effect goes through the mediators; no unmeasured cause of treatment and
    mediators; no unmeasured cause of mediators and outcome given treatment and covariates (the
    treatment may share unmeasured causes with the outcome); positivity. When there is a direct
    effect after all, the difference of two cells is the part of the effect that goes through
    the mediators with everybody's treatment left as it is: ``E[Y(A, M(1))] - E[Y(A, M(0))]``,
    a difference of two population intervention indirect effects (Fulcher et al. 2020).
    Scores are consistent when the outcome regressions or the treatment model given mediators are,
    and the regressions kappa or the treatment model given covariates alone are.

    References
    ----------
    Pearl (1995), Biometrika 82. Fulcher, Shpitser, Marealle and Tchetgen Tchetgen (2020),
    JRSS-B 82.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.datasets.hidden import front_door
    >>> data = front_door(n=2000, seed=1)
    >>> method = FrontDoor(outcome="linear", treatment="logistic", folds=2)
    >>> scores = method.scores(data.study(), [xw.Y(1), xw.Y(0)])
    >>> te = scores.mean(xw.Y(1)) - scores.mean(xw.Y(0))
    >>> abs(te.value - data.effect(xw.TE)) < 4 * te.std_error
    True
    """

    outcome: Any = "auto"
    treatment: Any = "auto"
    folds: int | str = 5
    repeats: int = 1
    normalize: bool = True
    trim: float = 0.01
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        check_options(self)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell from shared nuisances."""
        if isinstance(study, TableStudy):
            for cell in cells:
                _check(study, cell)
        form = FrontDoorForm(_levels(study), len(study.blocks))
        return cross_fitted_scores(self, form, study, cells)

    def identification(self, study: TableStudy, estimands: Sequence[Estimand]) -> Identification:
        """Say what front-door adjustment needs, and what it cannot answer."""
        names = sorted({e.name for e in estimands if not all(map(_is_total, e.cells()))})
        if names:
            return Identification(
                identified=False,
                by="adjustment",
                adjust=study.adjust,
                reason=(
                    f"front-door adjustment assumes that all of the effect goes through "
                    f"{', '.join(study.path.mediators[:6])}, so it identifies te and says nothing "
                    f"about {', '.join(names)}"
                ),
                instead=("te",),
            )
        reason = front_door_obstacle(study.graph, study.adjust)
        if reason is not None:
            return Identification(
                False, None, reason=f"te is not identified by the front door: {reason}"
            )
        return Identification(
            identified=True,
            by="front-door",
            adjust=study.adjust,
            assumptions=_assumptions(study),
            formula=FORMULA,
        )


def _levels(study: TableStudy) -> Array:
    if not isinstance(study, TableStudy):
        raise DesignError(f"FrontDoor needs a TableStudy, got {type(study).__name__}")
    return np.array(study.treatment.distinct())


def _is_total(cell: Cell) -> bool:
    return all(isinstance(r, Draw) and r.level == cell.treatment for _, r in cell.regimes)


def _check(study: TableStudy, cell: Cell) -> None:
    if not _is_total(cell) or route(study, cell, "FrontDoor").runs > 1:
        raise DesignError(
            f"FrontDoor takes the direct effect to be 0 and scores cells such as Y(1); {cell} "
            "splits the effect. Ask te"
        )


def _assumptions(study: TableStudy) -> tuple[Assumption, ...]:
    a, m, y = study.path.treatment, ", ".join(study.path.mediators[:6]), study.path.outcome
    given = f"given {', '.join(study.adjust[:12])}" if study.adjust else "without any covariate"
    return (
        Assumption(
            "consistency",
            f"each unit's {m} and {y} are those of the {a} it received, and "
            "units do not affect one another",
        ),
        Assumption("full mediation", f"{a} affects {y} through {m} alone"),
        Assumption(
            "no treatment-mediator confounding",
            f"{given}, nothing unmeasured affects both {a} and {m}",
        ),
        Assumption(
            "no mediator-outcome confounding",
            f"{given} and {a}, nothing unmeasured affects both {m} and {y}; unmeasured causes of "
            f"{a} and {y} are allowed",
        ),
        Assumption(
            "positivity",
            f"every value of the covariates occurs with every level of {a}, and with every {m} "
            "that another level brings about",
            testable=True,
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class FrontDoorForm:
    """How a cell's score is put together from nuisances.

    Parameters
    ----------
    levels
        All treatment values.
    blocks
        Number of mediator blocks; all of them are used jointly.
    extra
        No nuisances beside those of treatment and outcome.
    """

    levels: Array
    blocks: int
    extra: Mapping[str, Extra] = field(default_factory=dict)

    def keys(self, path: Route) -> list[Key]:
        """Nuisances of a cell."""
        b = path.levels[0]
        means = [self.mean(a, b) for a in self.levels]
        surfaces: list[Key] = [("outcome", (a,), (self.blocks,)) for a in self.levels]
        return [("treatment", 0), ("treatment", self.blocks), *surfaces, *means]

    def mean(self, a: float, b: float) -> Key:
        """Name of the regression of ``mu_a`` on the covariates at level ``b``.

        At ``a = b`` it is the regression of the outcome itself.
        """
        return ("outcome", (b,), (0,)) if a == b else ("outcome", (b, a), (0, self.blocks))

    def score(self, work: Work, path: Route) -> Array:
        """Score of ``Y(b)``, (n,)."""
        data, b = work.data, path.levels[0]
        at = np.searchsorted(self.levels, data.arm)
        here = np.arange(at.size)
        mu = np.column_stack([work.nuisances["outcome", (a,), (self.blocks,)] for a in self.levels])
        kappa = np.column_stack([work.nuisances[self.mean(a, b)] for a in self.levels])
        before = np.column_stack([work.chance(a, 0) for a in self.levels])
        after = np.column_stack([work.chance(a, self.blocks) for a in self.levels])
        code = int(np.flatnonzero(self.levels == b)[0])
        ratio = after[:, code] / after[here, at] * before[here, at] / before[:, code]
        reached = (data.arm == b) / before[:, code]
        work.overlap.weights[path.levels, path.ends, 1] = ratio
        work.overlap.weights[path.levels, path.ends, 0] = reached
        share = before / before.sum(axis=1, keepdims=True)
        moved = (share * (mu - kappa)).sum(axis=1)
        residual = data.y - mu[here, at]
        total = work.scaled(ratio) * residual + work.scaled(reached) * moved + kappa[here, at]
        return np.asarray(total)
