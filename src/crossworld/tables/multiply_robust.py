"""Cross-fitted multiply robust scores for natural and path-specific effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.tables.robust.density import DensityForm, check_mediator
from crossworld.tables.robust.engine import RatioForm, check_options, cross_fitted_scores
from crossworld.tables.robust.learners import Recipe
from crossworld.tables.study import TableStudy


@dataclass(frozen=True, slots=True)
class MultiplyRobust:
    r"""Influence-function scores for ordered mediator blocks, with any learners.

    With mediator blocks :math:`M_1 .. M_K`, levels :math:`a_1 .. a_K` for them and
    :math:`a_{K+1}` for the outcome, :math:`\mu_{K+1} = Y` and
    :math:`\mu_k = E[\mu_{k+1} \mid X, a_{k+1}, \bar M_k]`, the score of the cell is

    .. math::
        \mu_0 + \sum_{k=1}^{K+1} \frac{1\{A = a_k\}}{P(a_k \mid X)}
        \prod_{j < k} \frac{P(a_j \mid X, \bar M_j)\, P(a_k \mid X, \bar M_{j-1})}
                           {P(a_k \mid X, \bar M_j)\, P(a_j \mid X, \bar M_{j-1})}
        (\mu_k - \mu_{k-1}).

    Mediator densities are replaced by treatment probabilities (Bayes), so a mediator may have any
    number of dimensions. With one block this is the score of Tchetgen Tchetgen and Shpitser in
    the form of Farbmacher et al. (2022); stages whose neighbours share a level drop out.

    Parameters
    ----------
    outcome, treatment
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``.
        ``auto`` stacks a penalised linear model with products and gradient boosting; under 400
        training rows it is the linear model alone.
    mediator
        A classifier of the mediator given treatment and covariates selects the density-ratio
        form, for one discrete mediator (see `crossworld.tables.robust.density`).
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    repeats
        Number of different splits; cells are aggregated by their median.
    normalize
        Divide each stage's weights by their mean (Hajek).
    trim
        Treatment probabilities are held at least this far from 0; who was held is reported.
    seed
        Seed of the folds and of learners made from a name.
    workers
        Threads over folds.

    Notes
    -----
    Assumptions: those of the study's identification; for each stage, either its regressions or its
    treatment models are estimated well, and the product of their errors vanishes faster than the
    root of n.

    References
    ----------
    Tchetgen Tchetgen and Shpitser (2012), Annals of Statistics 40. Farbmacher, Huber, Laffers,
    Langen and Spindler (2022), Econometrics Journal 25. Zhou (2022), JRSS-B 84.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.interaction(n=400, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> effects = xw.estimate(study, method)
    >>> abs(effects["nie"].estimate - 0.72) < 4 * effects["nie"].std_error
    True
    """

    outcome: Any = "auto"
    treatment: Any = "auto"
    mediator: Any = None
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
        form = RatioForm() if self.mediator is None else _density_form(self, study)
        return cross_fitted_scores(self, form, study, cells)


def _density_form(options: MultiplyRobust, study: TableStudy) -> DensityForm:
    return DensityForm(check_mediator(study), Recipe(options.mediator, "mediator", options.seed))
