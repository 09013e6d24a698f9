"""Effects through a vector of mediators, such as the embedding of a text, from learned models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from crossworld.core.expression import Cell
from crossworld.core.options import check_whole_fields
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.tables.learned import formula
from crossworld.tables.learned.fitting import Fit, learn
from crossworld.tables.learned.setup import Matrix, Pair, Setup, checked, pairs, set_up
from crossworld.tables.learned.units import DRAWS, LearnedModels, learn_models
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
SMALL = 20_000  # rows below which linear algebra runs on one thread
MEDIATORS, OUTCOMES = ("linear", "neural"), ("auto", "linear", "logistic")


@dataclass(frozen=True, slots=True)
class LearnedMediator:
    r"""Natural effects through a vector of mediators: two learned models, the mediation formula.

    The mediators are :math:`M = \mu(A, X) + R` with :math:`\mu` a multi-output linear model or a
    shallow neural network, the outcome :math:`E[Y \mid a, m, x] = h(\beta_0 + \beta_a + x^\top
    \beta_x + m^\top c_a)` with h the identity or the logistic curve and a slope :math:`c_a` of its
    own under each treatment (treatment x mediator interaction). A cell averages over covariates
    and over the law of the residuals:

    .. math::
        E[Y(a, M(b))] = \frac{1}{n^2} \sum_{i,j}
        h\{\beta_0 + \beta_a + X_i^\top \beta_x + (\mu(b, X_i) + R_j)^\top c_a\}.

    Parameters
    ----------
    mediator
        ``"linear"``: one least-squares fit for all mediators. ``"neural"``: the same plus a hidden
        layer of tanh units that learns what the linear fit leaves (scikit-learn's
        `MLPRegressor`).
    outcome
        ``"linear"``, ``"logistic"`` (for outcomes within 0 and 1), or ``"auto"``: logistic for a
        0/1 outcome.
    interaction
        Whether the outcome's slopes differ between treatment levels.
    components
        None: the mediator columns as they are. A number: that many orthonormal directions drawn
        from ``seed``. A matrix with a row for each mediator column: a projection of your own.
        Either way it is fixed before any row is looked at, so that a few hundred rows suffice and
        no error has to be allowed for its choice.
    hidden
        Units of the network's layer.
    penalty
        Weight decay of the network, on standardised columns.
    batch_size
        Rows in each step of the network's optimiser (Adam). None: all rows in every step (L-BFGS).
    seed
        Seed of the directions and of the network's first weights.

    Raises
    ------
    DesignError
        If a cell puts mediators under different levels, or fixes one.
    EstimationError
        If there are too few rows for the columns; the message names ``components``.

    Notes
    -----
    Assumptions: those of the study's identification (with a text, that its numbers hold all of it
    that the outcome depends on: what they miss is counted as direct); right models; residuals
    whose law is the same for all treatments and covariates, which matters for a logistic outcome
    only. With linear models the scores are influence functions of the whole procedure, both
    models and the residual law included, so that `Wald` is honest. Nothing of the kind is known
    of a network: its scores are plug-in and refuse Wald, and `Bootstrap` fits everything again.

    `learn` hands out the fitted models with bootstrap replicates, for effects of new rows.

    References
    ----------
    Imai, Keele and Tingley (2010), Psychological Methods 15. VanderWeele and Vansteelandt (2014),
    Epidemiologic Methods 2. Stefanski and Boos (2002), American Statistician 56.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.tables.learned_mediator import LearnedMediator
    >>> study = xw.datasets.joint_block(n=500, seed=1).study()
    >>> effects = xw.estimate(study, LearnedMediator(), [xw.TE, xw.NDE, xw.NIE])
    >>> effects["te"].conf_low < xw.datasets.joint_block(n=10, seed=1).effect(xw.TE)
    True
    """

    mediator: Literal["linear", "neural"] = "linear"
    outcome: Literal["auto", "linear", "logistic"] = "auto"
    interaction: bool = True
    components: Any = None
    hidden: int = 16
    penalty: float = 1.0
    batch_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("mediator", MEDIATORS), ("outcome", OUTCOMES)):
            if getattr(self, name) not in known:
                kind = f"{name} model of LearnedMediator"
                raise SpecError.unknown(kind, str(getattr(self, name)), known)
        if not isinstance(self.interaction, bool):
            raise SpecError(f"interaction is True or False, got {self.interaction!r}")
        least = {"hidden": 1, "seed": 0, **({} if self.batch_size is None else {"batch_size": 1})}
        check_whole_fields(self, least)
        if (
            isinstance(self.penalty, bool)
            or not isinstance(self.penalty, int | float)
            or not 0.0 <= self.penalty < np.inf
        ):
            raise SpecError(f"penalty is a number of at least 0, got {self.penalty!r}")
        held: int | Matrix | None = checked(self.components)
        object.__setattr__(self, "components", held)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell from one fit of both models."""
        return self.prepare(study, cells).scores

    def prepare(self, study: TableStudy, cells: Sequence[Cell]) -> LearnedFit:
        """Fit both models once, ready for replicates.

        Raises
        ------
        DesignError, EstimationError
            As the class says.
        """
        if not isinstance(study, TableStudy):
            raise DesignError(f"LearnedMediator needs a TableStudy, got {type(study).__name__}")
        setup = set_up(self, study)
        asked = pairs(study, cells, setup.levels)
        with threadpool_limits(limits=1 if len(study) < SMALL else None, user_api="blas"):
            fit = learn(self, setup, setup.weights)
            if self.mediator == "linear":
                columns = [formula.scores(fit, setup, pair) for pair in asked]
            else:
                columns = [formula.point(fit, setup, p, setup.weights).values for p in asked]
        scored = Scores(
            np.column_stack(columns),
            tuple(cells),
            study.cluster,
            study.weights,
            influence=self.mediator == "linear",
            diagnostics=_told(self, fit, setup),
        )
        return LearnedFit(self, setup, tuple(asked), scored)

    def learn(self, study: TableStudy, *, draws: int = DRAWS) -> LearnedModels:
        """Fit both models and ``draws`` bootstrap replicates, for effects of new rows.

        Returns
        -------
        LearnedModels
            Plain arrays (its docstring lists them), and ``effects(x)`` with intervals.
        """
        if not isinstance(study, TableStudy):
            raise DesignError(f"LearnedMediator needs a TableStudy, got {type(study).__name__}")
        with threadpool_limits(limits=1 if len(study) < SMALL else None, user_api="blas"):
            return learn_models(self, study, draws=draws)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedFit:
    """Both models fitted to a study; replicates fit them again to counted rows."""

    options: LearnedMediator
    setup: Setup
    asked: tuple[Pair, ...]
    scores: Scores

    def resampled(self, counts: Array) -> Array:
        """Cell means under (B, n) resampling counts, (B, k)."""
        found = np.full((len(counts), len(self.asked)), np.nan)
        for b, count in enumerate(counts):
            weights = count * self.setup.weights
            if not weights.sum() > 0.0:
                continue
            try:
                fit = learn(self.options, self.setup, weights)
            except EstimationError:
                continue
            found[b] = [formula.mean(fit, self.setup, pair, weights) for pair in self.asked]
        return found

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        """Refuse: coefficients are not drawn here."""
        raise SpecError(
            "LearnedMediator draws no coefficients; use Bootstrap, or Wald where the mediator "
            "model is linear"
        )


def _told(options: LearnedMediator, fit: Fit, setup: Setup) -> dict[str, Any]:
    """Models in words; how much of the mediators they explain."""
    share = setup.weights / setup.weights.sum()
    left = float((share @ fit.residual**2).sum())
    total = float((share @ (setup.m - share @ setup.m) ** 2).sum())
    explained = 1.0 - left / total if total > 0.0 else 0.0
    d = setup.m.shape[1]
    first = "multi-output linear" if options.mediator == "linear" else (
        f"shallow neural network ({options.hidden} tanh units) on a linear fit"
    )  # fmt: skip
    second = "logit integrated over the residuals" if setup.logit else "linear"
    if options.interaction:
        second += ", treatment x mediator products"
    models = {"mediator": f"{first}, {d} outputs, R2 {explained:.2f}", "outcome": second}
    if setup.projection is not None:
        drawn = isinstance(options.components, int)
        models["components"] = f"{d} of {len(setup.projection)} columns, fixed in advance, " + (
            f"drawn from seed {options.seed}" if drawn else "given"
        )
    # units share the coefficients: no subgroup means
    return {"models": models, "orthogonal": False, "warnings": list(fit.notes)}
