"""The exact parametric engine: regressions for mediators and outcome, the mediation formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import Level
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.tables.parametric import fitted
from crossworld.tables.parametric.fit import RegressionFit, make_fit
from crossworld.tables.parametric.setup import set_up
from crossworld.tables.study import TableStudy

Formulas = str | Sequence[Any] | Mapping[str, Any] | None
Families = str | Mapping[str, str]
SMALL = 20_000  # rows below which linear algebra runs on one thread


@dataclass(frozen=True, slots=True)
class Regression:
    r"""Natural, controlled, interventional and path-specific effects from regressions.

    One regression per mediator and one for the outcome; every cell is the mediation formula

    .. math:: E[Y(a, M(b))] = \frac{1}{n} \sum_i \int E[Y \mid a, m, x_i]\, dP(m \mid b, x_i)

    evaluated exactly: in closed form, by a finite sum, or by Gauss-Hermite quadrature run to
    convergence. Scores come from the stacked estimating equations, in which residual variances
    (RSS / (n - p)) are parameters too.

    Parameters
    ----------
    interaction
        Put the products of the treatment with the mediators into the default formulas of the
        outcome and of later mediators.
    mediator
        Formula of the mediator (``"m ~ a * x"``), a sequence or mapping of formulas for several,
        or a fitted statsmodels result. None: the treatment, earlier mediators and covariates.
    outcome
        Formula of the outcome, or a fitted statsmodels result.
    mediator_family, outcome_family
        ``gaussian logit probit poisson negative-binomial log-binomial multinomial ordinal``, or
        ``auto``: logit for two values, multinomial for text categories, gaussian otherwise. For
        several mediators a mapping by name is allowed.
    population
        Whom the cells are averaged over: ``all``, ``treated`` (rows at the active level) or
        ``control`` (rows at the reference).
    at
        Covariate values to hold, as ``{"sex": 1}``: effects conditional on them; ``"mean"`` holds
        numeric covariates at their mean and categories at the most frequent one.
    rare_outcome
        Use the classical closed forms for a rare binary outcome (VanderWeele and Vansteelandt
        2010), in which the odds of a cell are the mean of ``exp(eta)``. Effects on the odds-ratio
        scale are then the printed formulas, conditional on covariates (``at`` defaults to
        ``"mean"``).

    Notes
    -----
    Assumptions: those of the study's identification, and correct models. A joint block of
    continuous mediators (``m1 + m2``) with Gaussian models keeps its unrestricted residual
    covariance; other blocks factorise in the order written.

    Raises
    ------
    DesignError, SpecError, EstimationError
        For formulas, families or data that do not fit; the message says what to change.

    References
    ----------
    Imai, Keele, Tingley (2010), Psychological Methods 15. VanderWeele (2015), Explanation in
    Causal Inference. Stefanski and Boos (2002), American Statistician 56.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.TableStudy.from_frame(
    ...     {"a": [0, 1] * 4, "m": [1, 2, 2, 3, 1, 3, 2, 4.0], "y": [1, 3, 2, 4, 2, 5, 2, 6.0]},
    ...     "a -> m -> y")
    >>> effects = xw.estimate(study, xw.Regression(), [xw.TE, xw.NIE])
    >>> round(effects["te"].estimate, 3)
    2.75
    """

    interaction: bool = False
    mediator: Formulas = None
    outcome: Any = None
    mediator_family: Families = "auto"
    outcome_family: str = "auto"
    population: Literal["all", "treated", "control"] = "all"
    at: Mapping[str, Level] | Literal["mean"] | None = None
    rare_outcome: bool = False

    def __post_init__(self) -> None:
        for name in ("interaction", "rare_outcome"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} is True or False, got {getattr(self, name)!r}")
        if self.population not in ("all", "treated", "control"):
            known = ("all", "treated", "control")
            raise SpecError.unknown("population of Regression", str(self.population), known)
        if self.at is not None and self.at != "mean" and not isinstance(self.at, Mapping):
            raise SpecError(f"at is a mapping of covariate values or 'mean', got {self.at!r}")

    def portable(self) -> Regression:
        """Return the same recipe in text alone: fitted results as their formulas and families."""
        formulas, kinds = fitted.as_text(self.mediator)
        outcome, kind = fitted.as_text(self.outcome)
        return replace(
            self,
            mediator=formulas,
            mediator_family=kinds or self.mediator_family,
            outcome=outcome,
            outcome_family=next(iter(kind.values()), self.outcome_family),
        )

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Influence-function scores of the cells."""
        return self.prepare(study, cells).scores

    def prepare(self, study: TableStudy, cells: Sequence[Cell]) -> RegressionFit:
        """Fit every model once, ready for replicates."""
        if not isinstance(study, TableStudy):
            raise DesignError(f"Regression needs a TableStudy, got {type(study).__name__}")
        for cell in cells:
            if cell.functional != MEAN:
                raise DesignError(f"Regression estimates means; {cell} asks for another functional")
        # small products lose more to starting threads than they win
        threads = 1 if len(study) < SMALL else None
        with threadpool_limits(limits=threads, user_api="blas"):
            problem, diagnostics = set_up(self, study, cells)
            return make_fit(problem, cells, cluster=study.cluster, diagnostics=diagnostics)
