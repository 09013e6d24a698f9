r"""Marginal sensitivity bounds: how far an unmeasured confounder moves the odds of treatment.

For a cell ``Y(a, M(b))`` the treatment is ignorable given the covariates, ``U`` confounds mediator
and outcome, and knowing ``U`` changes the odds of the two levels among units with the same
mediator and covariates by at most :math:`\Gamma`:

.. math::
    \Gamma^{-1} \le \lambda = \frac{P(b \mid M, X, U) / P(a \mid M, X, U)}
                                   {P(b \mid M, X) / P(a \mid M, X)} \le \Gamma .

Then :math:`\theta = E[1\{A=a\} \frac{P(b|M,X)}{P(a|M,X) P(b|X)} \lambda Y]`, and
:math:`E[\lambda \mid a, M, X] = 1` ties the odds ratio to the data. For ``Y(a)`` the confounder is
one of treatment and outcome and the odds are of ``a`` against the rest given covariates (Tan 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.errors import SpecError
from crossworld.sensitivity.interval import Bounds, BoundsTable
from crossworld.sensitivity.pseudo import (
    Split,
    averaged,
    check_estimator,
    ends,
    split_cells,
    splits,
)
from crossworld.sensitivity.tabular import aligned, asked, check_level, plain
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.robust import learners
from crossworld.tables.robust.data import Route, arrays
from crossworld.tables.robust.engine import RatioForm, recipes
from crossworld.tables.robust.nuisance import Fold, Key, cross_fit, outcome_keys
from crossworld.tables.robust.weights import Work, aggregate, stage_weight
from crossworld.tables.study import TableStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Quantile = Literal["linear", "boosting"]
CROSSED = (
    "the treatment is ignorable given the covariates, and stays so given the confounder of "
    "mediator and outcome",
    "given mediator and covariates, knowing the confounder changes the odds of the two levels by a "
    "factor of at most gamma",
)
DIRECT = (
    "given the covariates, knowing the confounder of treatment and outcome changes the odds of a "
    "level by a factor of at most gamma",
)


def extreme_mean(values: Array, chances: Array, gamma: float) -> tuple[float, float]:
    r"""Least and largest :math:`E[\lambda Y]` of a discrete law.

    Over all :math:`\Gamma^{-1} \le \lambda \le \Gamma` with :math:`E \lambda = 1`.

    Parameters
    ----------
    values, chances
        The outcome's values and their probabilities, (k,).
    gamma
        Largest odds ratio, at least 1.

    Examples
    --------
    >>> low, high = extreme_mean(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 2.0)
    >>> round(low, 6), round(high, 6)
    (0.25, 0.75)
    """

    def largest(v: Array) -> float:
        q = v[np.argsort(v)][
            np.searchsorted(np.cumsum(chances[np.argsort(v)]), gamma / (1 + gamma) - 1e-12)
        ]
        return float(chances @ tilted(v, np.full(v.size, q), gamma))

    return -largest(-values), largest(values)


def tilted(y: Array, q: Array, gamma: float) -> Array:
    r"""Outcome whose mean bounds :math:`E[\lambda Y]` from above for any ``q``.

    :math:`H = q + \Gamma (Y - q)_+ - \Gamma^{-1} (q - Y)_+`; its mean is least, and is the largest
    :math:`E[\lambda Y]`, at the quantile of order :math:`\Gamma / (1 + \Gamma)`.
    """
    return np.asarray(q + gamma * np.maximum(y - q, 0.0) - np.maximum(q - y, 0.0) / gamma)


@dataclass(frozen=True, slots=True)
class MarginalBounds:
    """Bounds at several strengths: the result of `marginal_bounds`.

    Parameters
    ----------
    gammas
        The strengths, increasing.
    tables
        The bounds at each.
    """

    gammas: tuple[float, ...]
    tables: tuple[BoundsTable, ...]

    def at(self, gamma: float) -> BoundsTable:
        """Bounds at one of the strengths."""
        if gamma not in self.gammas:
            held = ", ".join(f"{g:g}" for g in self.gammas)
            raise SpecError(f"bounds were not computed at gamma {gamma!r}; at {held}")
        return self.tables[self.gammas.index(gamma)]

    def rows(self) -> list[dict[str, Any]]:
        """One row per strength and effect."""
        pairs = zip(self.gammas, self.tables, strict=True)
        return [{"gamma": gamma, **row} for gamma, table in pairs for row in table.rows()]

    def to_frame(self) -> Any:
        """Rows as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        table = self.tables[0]
        found = {"level": table.level, "effects": self.rows(), "assumptions": table.assumptions}
        return {str(k): plain(v) for k, v in found.items()}

    def plot(self, ax: Axes | None = None, *, term: str | None = None) -> Axes:
        """Bounds (band) and limits (lines) of one effect over the strengths."""
        from matplotlib import pyplot as plt

        ax = plt.subplots(figsize=(5.6, 4.0))[1] if ax is None else ax
        name = self.tables[0].bounds[0].term if term is None else term
        held = [(table[name], table.level) for table in self.tables]
        low, high = [b.low.value for b, _ in held], [b.high.value for b, _ in held]
        limits = np.array([b.limits(level) for b, level in held])
        ax.fill_between(self.gammas, low, high, color="#1f86c7", alpha=0.4, lw=0)
        ax.plot(self.gammas, limits, color="#76808c", lw=1.2)
        ax.axhline(0.0, color="#76808c", lw=0.8, ls=":")
        ax.set_xlabel("gamma (odds ratio of the omitted confounder)")
        ax.set_ylabel(name)
        return ax

    def __str__(self) -> str:
        columns = ("gamma", "term", "bound_low", "bound_high", "limit_low", "limit_high")
        table = self.tables[0]
        return "\n".join(
            [
                f"{table.title}; limits at {table.level:.0%}",
                table.heading,
                aligned(self.rows(), columns),
                *(f"assumes: {text}" for text in table.assumptions),
            ]
        )


def marginal_bounds(
    study: TableStudy,
    estimator: MultiplyRobust | None = None,
    *,
    effects: Sequence[str | Estimand] | str = ("nde", "nie"),
    gamma: float | Sequence[float] = (1.0, 1.25, 1.5, 2.0),
    quantile: Quantile = "linear",
    level: float = 0.95,
) -> MarginalBounds:
    r"""Bound effects when a confounder moves the odds of treatment by at most gamma.

    The largest mean of ``Y(a, M(b))`` is the cell's mean for the outcome
    :math:`H = q + \Gamma (Y - q)_+ - \Gamma^{-1} (q - Y)_+`, with ``q`` the quantile of order
    :math:`\Gamma / (1 + \Gamma)` of the outcome given ``a``, mediator and covariates; its score is
    the multiply robust one for ``H``. The least follows by turning the outcome around.

    Parameters
    ----------
    study
        The data.
    estimator
        Its learners, folds and trimming are used.
    effects
        Names or estimands: weighted sums of cells. Effects with a cell ``Y(a, M(b))`` are bounded
        under mediator-outcome confounding, others under treatment-outcome confounding.
    gamma
        One or several largest odds ratios, at least 1; at 1 nothing is omitted.
    quantile
        Regression of the quantile for outcomes that are not 0/1: ``"linear"`` or ``"boosting"``.
    level
        Confidence level.

    Returns
    -------
    MarginalBounds
        Bounds and limits at each strength.

    Raises
    ------
    SpecError
        If a gamma is under 1 or a name is unknown.

    Notes
    -----
    The score does not move to first order with the quantile, and any quantile gives a valid bound:
    the limits hold when the quantile regression is wrong, they are only wider (Dorn, Guo and
    Kallus 2025). Bounds of one cell are sharp for odds ratios that are restricted by gamma and by
    the data as above; that the confounder is also independent of the treatment given the
    covariates is not used, and could only narrow them. The 0/1 outcome's quantile is known from
    its mean.

    References
    ----------
    Tan (2006), JASA 101. Dorn and Guo (2023), JASA 118. Dorn, Guo and Kallus (2025), JASA 120.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.sensitivity.marginal import marginal_bounds
    >>> study = xw.datasets.binary_outcome(n=400, seed=1).study()
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> found = marginal_bounds(study, method, gamma=(1.0, 2.0))
    >>> one, two = found.at(1.0)["nie"], found.at(2.0)["nie"]
    >>> bool(two.low.value < one.low.value < two.high.value)
    True
    """
    estimator = check_estimator(estimator, "marginal_bounds")
    check_level(level)
    gammas = _gammas(gamma)
    if quantile not in ("linear", "boosting"):
        raise SpecError.unknown("quantile regression", str(quantile), ("linear", "boosting"))
    questions = asked(study, effects, "marginal_bounds")
    known, crossed = split_cells(study, questions, "marginal_bounds")
    base = Work(arrays(study, "marginal_bounds"), {}, estimator.trim, estimator.normalize)
    fitted = splits(study, estimator, base, [*known.values(), *crossed.values()])
    confounded = {q.name: not q.cells() & set(crossed) for q in questions}
    told = (CROSSED if crossed else ()) + (DIRECT if any(confounded.values()) else ())
    tables = []
    for strength in gammas:
        columns = [
            _scored(Problem(split, strength, quantile), questions, known, crossed=crossed)
            for split in fitted
        ]
        held = aggregate(columns, study.weights)
        found = tuple(
            Bounds(q.name, averaged(held[:, 2 * j], study), averaged(held[:, 2 * j + 1], study))
            for j, q in enumerate(questions)
        )
        tables.append(
            BoundsTable(found, level, "Marginal sensitivity bounds", study.describe(), told)
        )
    return MarginalBounds(gammas, tuple(tables))


def _scored(
    problem: Problem,
    questions: Sequence[Estimand],
    known: dict[Cell, Route],
    *,
    crossed: dict[Cell, Route],
) -> Array:
    """Scores of the least and largest value of each effect, (n, 2 k)."""
    form, moved = RatioForm(), {c: problem.crossed(path) for c, path in crossed.items()}
    columns = []
    for question in questions:
        cells, pairs = question.cells(), dict(moved)
        for cell in cells & set(known):
            if cells & set(crossed):
                score = form.score(problem.split.work, known[cell])
                pairs[cell] = (score, score)
            else:
                pairs[cell] = problem.direct(known[cell])
        low, high = ({c: pair[side] for c, pair in pairs.items()} for side in (0, 1))
        columns.append(ends([question], low, high))
    return np.column_stack(columns)


def _gammas(gamma: float | Sequence[float]) -> tuple[float, ...]:
    given = (gamma,) if isinstance(gamma, int | float) else tuple(gamma)
    if not given or not all(np.isfinite(g) and g >= 1.0 for g in given):
        raise SpecError(f"gamma is an odds ratio of at least 1, or several, got {gamma!r}")
    return tuple(sorted({float(g) for g in given}))


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Scores of the extreme means of cells at one strength, on one partition in folds."""

    split: Split
    gamma: float
    quantile: Quantile

    def crossed(self, path: Route) -> tuple[Array, Array]:
        """Scores of the least and largest mean of ``Y(a, M(b))``."""
        work, b = self.split.work, path.levels[0]
        through = work.scaled((work.data.arm == b) / work.chance(b, 0))
        weight = work.scaled(stage_weight(work, path, 1))
        found = []
        for sign in (-1.0, 1.0):
            target, mean = self._tilted(path, sign)
            omega = self.split.smooth(mean, b)
            found.append(sign * (omega + through * (mean - omega) + weight * (target - mean)))
        return found[0], found[1]

    def direct(self, path: Route) -> tuple[Array, Array]:
        """Scores of the least and largest mean of ``Y(a)`` under treatment-outcome confounding."""
        work, a = self.split.work, path.levels[0]
        own = (work.data.arm == a).astype(np.float64)
        e = work.chance(a, 0)
        found = []
        for sign in (-1.0, 1.0):
            target, mean = self._tilted(path, sign)
            moved = (1.0 - own) * mean + own * (1.0 - e) / e * (target - mean)
            found.append(sign * (sign * own * work.data.y + moved))
        return found[0], found[1]

    def _tilted(self, path: Route, sign: float) -> tuple[Array, Array]:
        """Tilted outcome of ``sign * Y`` and its mean given what the cell's regression sees."""
        data, gamma = self.split.work.data, self.gamma
        key = outcome_keys(path)[0]
        if data.binary:
            p = np.clip(self.split.work.nuisances[key], 0.0, 1.0)
            up = (p if sign > 0.0 else 1.0 - p) > 1.0 / (1.0 + gamma)
            q = up.astype(np.float64) + min(sign, 0.0)
            one = tilted(np.full(p.size, max(sign, 0.0)), q, gamma)  # value of the larger outcome
            zero = tilted(np.full(p.size, min(sign, 0.0)), q, gamma)
            larger = p if sign > 0.0 else 1.0 - p
            return tilted(sign * data.y, q, gamma), larger * one + (1.0 - larger) * zero
        q = self._quantile(path, sign)
        target = tilted(sign * data.y, q, gamma)
        found, _ = cross_fit(
            replace(data, y=target),
            recipes(self.split.options),
            ids=self.split.ids,
            keys=[key],
            workers=self.split.options.workers,
        )
        return target, found[key]

    def _quantile(self, path: Route, sign: float) -> Array:
        """Out-of-fold quantile of ``sign * Y`` at the outcome's level, (n,)."""
        order, level, blocks = self.gamma / (1.0 + self.gamma), path.levels[-1], path.ends[-1]

        def fitted(fold: Fold, key: Key) -> Array:
            rows = fold.train[fold.data.arm[fold.train] == level]
            x, y = fold.data.given(blocks), sign * fold.data.y[rows]
            if x.shape[1] == 0:
                return np.full(fold.test.size, np.quantile(y, order))
            made = _learner(self.quantile, order, self.split.options.seed)
            model = learners.fit(made, x[rows], y, fold.weights(rows), "outcome")
            return np.asarray(model.predict(x[fold.test]), dtype=np.float64)

        found, _ = cross_fit(
            self.split.work.data,
            recipes(self.split.options),
            ids=self.split.ids,
            keys=[("quantile", path, sign)],
            workers=self.split.options.workers,
            extra={"quantile": fitted},
        )
        return found["quantile", path, sign]


def _learner(name: Quantile, order: float, seed: int) -> Any:
    if name == "linear":
        from sklearn.linear_model import QuantileRegressor

        return QuantileRegressor(quantile=order, alpha=0.0, solver="highs")
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        loss="quantile",
        quantile=order,
        max_iter=200,
        learning_rate=0.05,
        max_leaf_nodes=15,
        random_state=seed,
    )
