"""Natural effect models: direct and indirect effects as coefficients of one regression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from crossworld.core.estimate import Estimate
from crossworld.core.expression import Cell
from crossworld.core.fits import describe
from crossworld.core.provenance import Provenance
from crossworld.core.regime import Level
from crossworld.core.scores import Scores
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.tables.natural.copies import crossed
from crossworld.tables.natural.fit import Fitted, NaturalFit, estimates, make_fit
from crossworld.tables.natural.setup import (
    check_options,
    conditional_contrasts,
    fitted_model,
)
from crossworld.tables.parametric.setup import central_values, held_values
from crossworld.tables.study import TableStudy


@dataclass(frozen=True, slots=True)
class NaturalEffects:
    r"""Natural effects from a regression of nested counterfactuals on two copies of the treatment.

    For a treatment ``a`` the natural effect model

    .. math:: g\{E[Y(a_0, M(a_1)) \mid X]\} = \beta_0 + \beta_1 a_0 + \beta_2 a_1
              + \beta_3 a_0 a_1 + \beta_4' X

    has the columns ``a0``, the treatment that the outcome sees (direct), and ``a1``, the treatment
    that the mediators follow (indirect). With all :math:`\omega_{ik}, r_{ik}` as below it solves

    .. math:: \sum_i w_i \sum_k \omega_{ik}\, z_{ik}
              \{r_{ik} - g^{-1}(z_{ik}'\beta)\} = 0

    over copies k of every row, one for each treatment value :math:`a_k` of the grid.
    ``"imputation"`` puts :math:`a_0 = a_k, a_1 = A_i`, :math:`\omega_{ik} = 1` and imputes
    :math:`r_{ik} = \hat E[Y \mid a_k, M_i, X_i]`; ``"weighting"`` puts :math:`a_0 = A_i,
    a_1 = a_k, r_{ik} = Y_i` and weighs by
    :math:`\omega_{ik} = \hat f(M_i \mid a_k, X_i) / \hat f(M_i \mid A_i, X_i)`. Cells are means of
    :math:`g^{-1}` over the sample. Scores come from the stacked equations of the working models,
    the natural effect model and the average.

    Parameters
    ----------
    kind
        ``imputation`` (one outcome model; any treatment, any number of mediators of any kind) or
        ``weighting`` (mediator or treatment models).
    formula
        The natural effect model, as ``"y ~ a0 * a1 + x"``; interactions with covariates are
        effect modification. None: both copies, their product, and the covariates.
    link
        ``identity``, ``logit``, ``log``, or ``auto``: logit for a 0/1 outcome, else identity.
    outcome, outcome_family
        Imputation: formula and family of the outcome model (as in `Regression`), or a fitted
        statsmodels result. None: the treatment, mediators and covariates, and every term of the
        natural effect model with the mediators in the place of the indirect treatment, so that no
        coefficient is attenuated.
    mediator, mediator_family
        Weighting: formulas and families of the mediators (as in `Regression`), each given the
        treatment, the mediators before it, and the covariates.
    ratio
        Weighting: ``mediator`` takes the ratio from mediator models, ``treatment`` by Bayes from
        :math:`P(a_k \mid M, X) P(A \mid X) / \{P(A \mid M, X) P(a_k \mid X)\}`.
    treatment
        With ``ratio="treatment"``, the two formulas of the treatment, without and with the
        mediators.
    grid
        Treatment values of the copies. None: all values of a discrete treatment, five equally
        spaced ones from the reference to the active level of a continuous one.

    Notes
    -----
    Assumptions: those of the study's identification; a correct natural effect model; and a correct
    outcome model (imputation) or density ratio (weighting). Unless the link is the identity, an
    outcome model and a natural effect model that both leave out terms rarely hold together; rich
    formulas in both are safe. All mediators act jointly: cells that split them are refused. With
    normal mediators in the weights the residual variance is a parameter of the stacked equations.

    Raises
    ------
    DesignError, SpecError, EstimationError
        For cells, formulas, families or data that do not fit; the message says what to change.

    References
    ----------
    Lange, Vansteelandt and Bekaert (2012), American Journal of Epidemiology 176. Vansteelandt,
    Bekaert and Lange (2012), Epidemiologic Methods 1. Steen, Loeys, Moerkerke and Vansteelandt
    (2017), Journal of Statistical Software 76.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.binary_outcome(n=2000, seed=1).study()
    >>> method = xw.NaturalEffects()
    >>> effects = xw.estimate(study, method, [xw.NDE, xw.NIE, xw.NIE.odds_ratio()])
    >>> bool(effects["nie"].conf_low > 0)
    True
    >>> [row.term for row in method.coefficients(study, exponentiate=True)][1:3]
    ['exp(a0)', 'exp(a1)']
    """

    kind: Literal["imputation", "weighting"] = "imputation"
    formula: str | None = None
    link: Literal["auto", "identity", "logit", "log"] = "auto"
    outcome: Any = None
    outcome_family: str = "auto"
    mediator: Any = None
    mediator_family: str | Mapping[str, str] = "auto"
    ratio: Literal["mediator", "treatment"] = "mediator"
    treatment: Sequence[str] | None = None
    grid: Sequence[Level] | None = None

    def __post_init__(self) -> None:
        check_options(self)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Influence-function scores of the cells."""
        return self.prepare(study, cells).scores

    def prepare(self, study: TableStudy, cells: Sequence[Cell]) -> NaturalFit:
        """Fit every model once, ready for replicates."""
        if not isinstance(study, TableStudy):
            raise DesignError(f"NaturalEffects needs a TableStudy, got {type(study).__name__}")
        levels = [crossed(study, cell) for cell in cells]
        found, diagnostics = fitted_model(self, study)
        return make_fit(found, cells, levels, cluster=study.cluster, diagnostics=diagnostics)

    def coefficients(
        self, study: TableStudy, *, exponentiate: bool = False, level: float = 0.95
    ) -> EffectTable:
        """Coefficients of the natural effect model, with sandwich errors of the stacked equations.

        Parameters
        ----------
        study
            The study.
        exponentiate
            Report ``exp(a0)`` and so on, odds ratios under a logit and ratios under a log link,
            with intervals on the log scale.
        level
            Confidence level.

        Returns
        -------
        EffectTable
            One row per column of the model, in its order; ``a0`` is the direct treatment, ``a1``
            the indirect one.

        Examples
        --------
        >>> import crossworld as xw
        >>> study = xw.datasets.linear(n=500, seed=1).study()
        >>> table = xw.NaturalEffects(formula="y ~ a0 + a1 + x", outcome="y ~ a + m + x")
        >>> [row.term for row in table.coefficients(study)]
        ['Intercept', 'a0', 'a1', 'x']
        """
        start = perf_counter()
        found, diagnostics = fitted_model(self, study)
        names, values, influence = found.coefficients()
        held = estimates(values, influence, found.expansion.weights, study.cluster)
        rows = [_row(name, e, exponentiate, level) for name, e in zip(names, held, strict=True)]
        return self._table(study, rows, level, {**diagnostics, "start": start})

    def conditional(
        self,
        study: TableStudy,
        at: Mapping[str, Level] | None = None,
        *,
        exponentiate: bool = False,
        level: float = 0.95,
    ) -> EffectTable:
        r"""Effects given covariates, on the scale of the link: te, nde, nie, tnde, pnie.

        The natural direct effect is :math:`\eta(1, 0, x) - \eta(0, 0, x)` with the linear predictor
        :math:`\eta(a_0, a_1, x)`; with ``exponentiate`` it is a conditional odds ratio (logit link)
        or ratio of means (log link).

        Parameters
        ----------
        study
            The study.
        at
            Covariate values; the others are held at their mean, or most frequent category. They
            matter only where the formula has them in interaction with the treatment.
        exponentiate
            Report ratios, with intervals on the log scale.
        level
            Confidence level.

        Examples
        --------
        >>> import crossworld as xw
        >>> study = xw.datasets.binary_outcome(n=500, seed=1).study()
        >>> table = xw.NaturalEffects(formula="y ~ a0 * a1 * x").conditional(study, {"x": 0.5})
        >>> abs(table["te"].estimate - table["nde"].estimate - table["nie"].estimate) < 1e-12
        True
        """
        start = perf_counter()
        found, diagnostics = fitted_model(self, study)
        values = {**central_values(study), **held_values(study, at or {})}
        directions = conditional_contrasts(found, study.levels, values)
        rows = [
            _row(name, _along(found, study, pull), exponentiate, level)
            for name, pull in directions.items()
        ]
        shown = {name: study.table[name].show(v) for name, v in values.items()}
        return self._table(study, rows, level, {**diagnostics, "start": start, "at": shown})

    def _table(
        self, study: TableStudy, rows: Sequence[Effect], level: float, told: dict[str, Any]
    ) -> EffectTable:
        start = told.pop("start")
        models = [f"  {name}: {model}" for name, model in told["models"].items()]
        heading = (study.describe(), f"{describe(self)}, {len(study):,} units", *models)
        clusters = len(study) if study.cluster is None else int(study.cluster.max()) + 1
        diagnostics = {
            **told,
            "n_units": len(study),
            "n_clusters": clusters,
            "failed_replicates": 0,
            "level": level,
            "heading": list(heading),
        }
        provenance = Provenance.now(study.sha256(), None, perf_counter() - start)
        return EffectTable(
            tuple(rows),
            level,
            heading,
            diagnostics=diagnostics,
            provenance=provenance.to_dict(),
        )


def _along(found: Fitted, study: TableStudy, direction: Any) -> Estimate:
    value = direction[None] @ found.theta
    influence = found.influence(direction[None])
    return estimates(value, influence, found.expansion.weights, study.cluster)[0]


def _row(name: str, estimate: Estimate, exponentiate: bool, level: float) -> Effect:
    if not 0.0 < level < 1.0:
        raise SpecError(f"level must lie between 0 and 1, got {level!r}; try 0.95")
    low, high = estimate.interval(level)
    p_value = estimate.p_value(0.0)
    told = None if math.isnan(p_value) else p_value
    if not exponentiate:
        return Effect(name, estimate.value, estimate.std_error, low, high, told, "wald")
    ratio = math.exp(estimate.value)
    limits = math.exp(low), math.exp(high)
    return Effect(f"exp({name})", ratio, ratio * estimate.std_error, *limits, told, "log-wald")
