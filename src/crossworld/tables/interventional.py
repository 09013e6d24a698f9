"""Interventional effects with treatment-induced confounding, cross-fitted and multiply robust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import Draw, Random
from crossworld.core.scores import Scores
from crossworld.errors import DesignError
from crossworld.tables.path import Path
from crossworld.tables.robust.data import Arrays, arrays
from crossworld.tables.robust.engine import (
    RatioForm,
    check_options,
    cross_fitted_scores,
    recipes,
)
from crossworld.tables.robust.folds import check_arms, fold_ids
from crossworld.tables.robust.intervention import InterventionForm
from crossworld.tables.robust.nuisance import Key, cross_fit
from crossworld.tables.robust.overlap import describe_overlap
from crossworld.tables.robust.weights import Work, aggregate
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Asked = tuple[float, float | None]  # outcome level, level of the random draw (None: natural)


@dataclass(frozen=True, slots=True)
class Interventional:
    r"""Influence-function scores of ``Y(a, G(b))`` when the treatment affects a confounder Z.

    With W the covariates, :math:`g_a(W) = P(a \mid W)`, :math:`b(z, m, w) = E[Y \mid a, z, m, w]`
    and the law of Z under a and of M under b,

    .. math::
        \theta(a, b) &= E \int b(z, m, W)\, dP(z \mid a, W)\, dP(m \mid b, W), \\
        \varphi &= \frac{1\{A = a\}}{g_a} [c\, \{Y - b(Z, M, W)\} + u(Z, W) - v(W)]
        + \frac{1\{A = b\}}{g_b} \{\eta(M, W) - v(W)\} + v(W), \\
        c &= \frac{p(M \mid b, W)}{p(M \mid a, Z, W)}, \quad
        u(z, w) = \int b\, dP(m \mid b, w), \quad \eta(m, w) = \int b\, dP(z \mid a, w), \quad
        v(w) = \int u\, dP(z \mid a, w).

    When the intermediate variables have few joint values, integrals over them are sums and c is
    written in treatment and class probabilities, so mediators may be continuous and of any
    number; otherwise the mediators must have few joint values, and Z may be anything.

    Parameters
    ----------
    outcome, treatment
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``. The
        treatment's learner also classifies the variables that are summed over.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    repeats
        Number of different splits; cells are aggregated by their median.
    normalize
        Divide weights by their mean (Hajek).
    trim
        Probabilities are held at least this far from 0 where they are inverted.
    seed
        Seed of the folds and of learners made from a name.
    workers
        Threads over folds.

    Raises
    ------
    DesignError
        If neither the intermediate variables nor the mediators have few joint values, or a cell
        is neither ``Y(a)`` nor ``Y(a, G(b))``.

    Notes
    -----
    Assumptions: those of the study's identification; no cross-world assumption. Given right
    treatment models, scores are consistent when the outcome regressions or the class probabilities
    given the other block are, and the nested regressions or the class probabilities given
    covariates alone are. Without
    intermediate variables the scores are those of `MultiplyRobust`. ``Y(a)`` is scored by the
    augmented inverse-probability estimator, so ``oe`` need not equal ``te``.

    References
    ----------
    Diaz, Hejazi, Rudolph and van der Laan (2021), Biometrika 108. VanderWeele, Vansteelandt and
    Robins (2014), Epidemiology 25.

    Examples
    --------
    >>> import crossworld as xw
    >>> data = xw.datasets.intermediate(n=2000, seed=1)
    >>> method = Interventional(outcome="linear", treatment="logistic", folds=2)
    >>> effects = xw.estimate(data.study(), method, [xw.IDE, xw.IIE])
    >>> abs(effects["iie"].estimate - data.effect(xw.IIE)) < 4 * effects["iie"].std_error
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
        if not isinstance(study, TableStudy):
            raise DesignError(f"Interventional needs a TableStudy, got {type(study).__name__}")
        if not study.intermediate:
            return cross_fitted_scores(self, RatioForm(), study, cells)
        asked = [_levels(study, cell) for cell in cells]
        form, ordered = _form(study)
        data = arrays(ordered, "Interventional")
        keys = [key for each in asked for key in _keys(form, each)]
        works, fits = [], 0
        for split in np.random.SeedSequence(self.seed).spawn(self.repeats):
            ids = fold_ids(study, self.folds, split)
            check_arms(ids, data.arm, study.levels, study.path.treatment)
            nuisances, count = cross_fit(
                data, recipes(self), ids=ids, keys=keys, workers=self.workers, extra=form.extra
            )
            works.append(Work(data, nuisances, self.trim, self.normalize))
            fits += count
        parts = [np.column_stack([_score(form, work, each) for each in asked]) for work in works]
        values = aggregate(parts, data.weights)
        told = self._told(works[0], values, data, study)
        told["nuisance_fits"] = fits
        told["summed_over"] = form.summed
        return Scores(values, tuple(cells), study.cluster, study.weights, diagnostics=told)

    def _told(self, work: Work, values: Array, data: Arrays, study: TableStudy) -> dict[str, Any]:
        told = describe_overlap(work.overlap, values, data, study.levels, self.trim)
        chosen = recipes(self)
        told["models"] = {
            "outcome": chosen.outcome.describe(),
            "treatment": chosen.treatment.describe(),
        }
        return told


def _levels(study: TableStudy, cell: Cell) -> Asked:
    """Level of the outcome and of the random draw.

    Raises
    ------
    DesignError
        If the cell is neither ``Y(a)`` nor ``Y(a, G(b))``.
    """
    if cell.functional != MEAN:
        raise DesignError(f"Interventional estimates means; {cell} asks for another functional")
    own = study.level(cell.treatment)
    regimes = {cell.regime(name) for name in study.path.mediators}
    regime = regimes.pop()
    if not regimes and cell.is_joint and isinstance(regime, Random):
        return own, study.level(regime.level)
    if not regimes and isinstance(regime, Draw) and study.level(regime.level) == own:
        return own, None
    raise DesignError(
        f"Interventional scores cells such as Y(1) and Y(1, G(0)), with all mediators drawn "
        f"jointly; {cell} is neither. Ask te, ide, iie or oe, or use Regression"
    )


def _form(study: TableStudy) -> tuple[InterventionForm, TableStudy]:
    """How to score the study, and the study with the block that is summed over last."""
    path = study.path
    between, after = study.intermediate, path.mediators
    for summed, names, others in (("intermediate", between, after), ("mediator", after, between)):
        rows = np.column_stack([study.table[name].values for name in names])
        values, codes = np.unique(rows, axis=0, return_inverse=True)
        if len(values) <= DISCRETE:
            ordered = replace(
                study, path=Path(path.treatment, (others, names), path.outcome), intermediate=()
            )
            flat = codes.reshape(-1).astype(np.int64)
            return InterventionForm(summed, flat, len(values), 1), ordered  # type: ignore[arg-type]
    raise DesignError(
        f"Interventional needs at most {DISCRETE} joint values of the intermediate variables "
        f"({', '.join(between)}) or of the mediators ({', '.join(after[:6])}), and both have more; "
        "cut one of them into groups, or use Regression"
    )


def _keys(form: InterventionForm, asked: Asked) -> list[Key]:
    a, b = asked
    if b is None:
        return [("treatment", 0), ("outcome", (a,), (0,))]
    return form.keys(a, b)


def _score(form: InterventionForm, work: Work, asked: Asked) -> Array:
    a, b = asked
    if b is not None:
        return form.score(work, a, b)
    mean = work.nuisances["outcome", (a,), (0,)]
    weight = (work.data.arm == a) / work.chance(a, 0)
    work.overlap.weights[a, "natural"] = weight
    return np.asarray(mean + work.scaled(weight) * (work.data.y - mean))
