"""How likely each row's treatment was, by logistic regressions: overlap for any method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.tables.confounding import coded
from crossworld.tables.robust.binary import Sample, fit_glm

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]


BOTH = ("covariates", "covariates and mediators")


def chances(study: TableStudy, given: tuple[str, ...] = BOTH) -> dict[str, tuple[Array, Array]]:
    """P(active level) given covariates, and given covariates and mediators.

    Rows at other levels than the reference and the active one are left out.

    Parameters
    ----------
    study
        A table study.
    given
        Which of the two.

    Returns
    -------
    dict
        ``"covariates"`` and ``"covariates and mediators"``: the probabilities of the rows at the
        reference level and of those at the active level.

    Raises
    ------
    DesignError
        If a level of the contrast has no rows, as with a continuous treatment.
    EstimationError
        If a level is separated from the other: there is no overlap at all.
    """
    low, high = study.levels
    arm = study.treatment.values
    rows = np.flatnonzero((arm == low) | (arm == high))
    active = arm[rows] == high
    if active.all() or not active.any() or rows.size < len(study) // 2:
        raise DesignError("the treatment is not one of two levels for most rows")
    weights = np.ones(rows.size) if study.weights is None else study.weights[rows]
    found = {}
    later = (*study.intermediate, *study.path.mediators)
    for name in given:
        columns = (*study.adjust, *(later if name == BOTH[1] else ()))
        x = np.column_stack([np.ones(rows.size), coded(study, columns)[rows]])
        left, size, _ = np.linalg.svd(x, full_matrices=False)
        basis = left[:, size > 1e-10 * size.max()]
        sample = Sample(weights, np.ones(rows.size))
        fitted = fit_glm("logit", basis, active.astype(float), sample=sample, role="treatment")
        chance = fitted.mean(basis)
        found[name] = (chance[~active], chance[active])
    return found
