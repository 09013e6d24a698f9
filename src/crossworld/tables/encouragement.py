"""A second table in which something that moves the mediator was randomised, not the mediator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import MEAN, Cell, Y
from crossworld.core.identification import Assumption, Identification
from crossworld.core.identify import words
from crossworld.core.regime import Fixed
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, EstimationError
from crossworld.tables.auxiliary import second_table
from crossworld.tables.multiply_robust import MultiplyRobust
from crossworld.tables.robust.data import arrays
from crossworld.tables.robust.pooled import pool_clusters
from crossworld.tables.roles import names
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
WEAK = 10.0
FORMULA = r"E[Y(a, M(b))] = E_1[Y(a)] + \beta_a\, (E_1[M(b)] - E_1[M(a)])"


@dataclass(frozen=True, slots=True)
class Encouragement:
    r"""Natural effects when a proxy of the mediator was randomised in a second table.

    Mediator and outcome share unmeasured causes, and the mediator itself cannot be set. In the
    second table something that moves it was (an encouragement, a prompt, a dose). Where the
    outcome of every unit responds to the mediator along a line with one slope at each level,
    :math:`Y(a, m) = Y(a, 0) + \beta_a m`,

    .. math::
        E[Y(a, M(b))] = E_1[Y(a)] + \beta_a (E_1[M(b)] - E_1[M(a)]), \quad
        \beta_a = \text{two-stage least squares of } Y \text{ on } M \text{ given } X, A = a
        \text{ in table 2},

    with the means of the first table by cross-fitted doubly robust scores. Scores have one row per
    unit of either table; the two are independent samples.

    Parameters
    ----------
    experiment
        The second table: a `TableStudy` with the same roles, a frame, or a csv or parquet file.
    instrument
        Its column (or columns, at least as many as mediators) that was randomised.
    interaction
        Whether the slope may differ between the levels of the treatment; otherwise one slope is
        found from all rows of the second table, given treatment and covariates.
    outcome, treatment, folds, seed
        As for `MultiplyRobust`, for the means of the first table.

    Raises
    ------
    DesignError
        If there is no second table or instrument, or too few instruments.
    EstimationError
        If the instruments do not move the mediators at all.

    Notes
    -----
    Assumptions: given covariates, no unmeasured cause of treatment and mediator or outcome in the
    first table; the instrument randomised in the second, and without effect on the outcome but
    through the mediators; the slope the same for every unit and in both tables. A first-stage F
    below 10 is warned of.

    References
    ----------
    Imai, Tingley and Yamamoto (2013), JRSS-A 176, on parallel encouragement designs. Small (2012),
    J. Stat. Research 46, on instruments for mediators.

    Examples
    --------
    >>> import numpy as np
    >>> import crossworld as xw
    >>> rng = np.random.default_rng(0)
    >>> def draw(n, encouraged):
    ...     u, a = rng.normal(size=n), rng.integers(0, 2, n)
    ...     z = rng.integers(0, 2, n) * encouraged
    ...     m = 0.5 * a + z + u + rng.normal(size=n)
    ...     return {"a": a, "z": z, "m": m, "y": 0.3 * a + 0.6 * m + 2 * u + rng.normal(size=n)}
    >>> study = xw.TableStudy.from_frame(draw(4000, 0), "a -> m -> y")
    >>> method = Encouragement(draw(4000, 1), "z", outcome="linear", treatment="logistic")
    >>> nie = xw.estimate(study, method)["nie"]
    >>> bool(abs(nie.estimate - 0.3) < 3 * nie.std_error)
    True
    """

    experiment: Any = None
    instrument: str | Sequence[str] = ()
    interaction: bool = True
    outcome: Any = "auto"
    treatment: Any = "auto"
    folds: int | str = 5
    seed: int = 0

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell: the rows of the first table, then those of the second."""
        if not isinstance(study, TableStudy):
            raise DesignError(f"Encouragement needs a TableStudy, got {type(study).__name__}")
        second = second_table(study, self.experiment)
        chosen = (self.instrument,) if isinstance(self.instrument, str) else self.instrument
        columns = names(chosen, "instrument")
        if len(columns) < len(study.path.mediators):
            raise DesignError(
                f"Encouragement needs at least one instrument for every mediator: got "
                f"{len(columns)} for {', '.join(study.path.mediators)}"
            )
        z = np.column_stack([second.column(name, "instrument").values for name in columns])
        asked = _levels(study, cells)
        means = self._means(study, asked)
        slopes, strength = self._slopes(second, z, list(asked))
        table = np.column_stack([_cell(study, c, means, slopes) for c in cells])
        warnings = [
            f"the instrument is weak (first-stage F {f:.1f}); intervals may be far too short"
            for f in [min(strength)]
            if f < WEAK
        ]
        told = {
            "first_stage_f": min(strength),
            "units": {"first": len(study), "second": len(second)},
            "warnings": warnings,
        }
        return Scores(
            table,
            tuple(cells),
            pool_clusters(study.cluster, second.cluster, (len(study), len(second))),
            _weights(study, second),
            diagnostics=told,
        )

    def _means(
        self, study: TableStudy, asked: Mapping[float, Cell]
    ) -> dict[tuple[str, float], Array]:
        """Scores of the mean of outcome and mediators at every level, shape (n1,) each."""
        own = MultiplyRobust(
            outcome=self.outcome, treatment=self.treatment, folds=self.folds, seed=self.seed
        )
        found: dict[tuple[str, float], Array] = {}
        for name in (study.path.outcome, *study.path.mediators):
            target = {**study.table, study.path.outcome: study.table[name]}
            scores = own.scores(replace(study, table=target), list(asked.values()))
            found |= {(name, level): scores.values[:, k] for k, level in enumerate(asked)}
        return found

    def _slopes(
        self, second: TableStudy, z: Array, levels: Sequence[float]
    ) -> tuple[dict[float, tuple[Array, Array]], list[float]]:
        """Slope at every level with its influence (n2, k), and the first-stage F statistics."""
        data = arrays(second, "Encouragement")
        x, m = (
            data.given(0),
            np.column_stack([second.table[n].values for n in second.path.mediators]),
        )
        a, y, w = second.treatment.values, second.outcome, second.weights
        found, strength = {}, []
        for level in levels:
            inside = a == level if self.interaction else np.ones(len(a), dtype=bool)
            extra = [] if self.interaction else [(a == v).astype(float) for v in np.unique(a)[1:]]
            exogenous = np.column_stack([np.ones(len(a)), x, *extra])
            if not inside.any():
                raise DesignError(
                    f"the second table has no row at level {second.treatment.show(level)} of "
                    f"{second.path.treatment!r}; pass interaction=False for one common slope"
                )
            beta, influence, f = two_stage(
                y[inside], m[inside], z[inside], exogenous[inside], None if w is None else w[inside]
            )
            whole = np.zeros((len(a), m.shape[1]))
            whole[inside] = influence * len(a) / inside.sum()
            found[level] = (beta, whole)
            strength.append(f)
        return found, strength

    def identification(self, study: TableStudy, estimands: Sequence[Estimand]) -> Identification:
        """Say what the two tables identify, and under which assumptions."""
        a, m, y = study.path.treatment, ", ".join(study.path.mediators), study.path.outcome
        given = ", ".join(study.adjust)
        z = self.instrument if isinstance(self.instrument, str) else ", ".join(self.instrument)
        told = (
            words.consistency(a, m, y),
            words.unconfounded(a, f"{m} or {y}", given, kind="treatment"),
            Assumption(
                "a randomised instrument",
                f"{z} was randomised in the second table and affects {y} through {m} alone",
                True,
                f"the design of the second table; an experiment that holds {m} fixed while {z} is "
                "changed",
            ),
            Assumption(
                "one slope",
                f"at each level of {a} every unit's {y} changes along a line with {m}, with the "
                "same slope for all units and in both tables",
                True,
                f"an experiment that sets {m} at several values; from these data, instruments that "
                "give different slopes",
            ),
        )
        return Identification(True, "experiment", study.adjust, told, FORMULA)


def two_stage(
    y: Array, m: Array, z: Array, exogenous: Array, weights: Array | None
) -> tuple[Array, Array, float]:
    """Two-stage least squares: slopes (k,), influence (n, k), smallest first-stage F."""
    root = np.ones(len(y)) if weights is None else np.sqrt(weights / weights.mean())
    q = np.column_stack([z, exogenous]) * root[:, None]
    w = np.column_stack([m, exogenous]) * root[:, None]
    fitted = q @ np.linalg.lstsq(q, w, rcond=None)[0]
    gram = fitted.T @ fitted / len(y)
    if np.linalg.matrix_rank(gram, tol=1e-10 * float(np.trace(gram))) < len(gram):
        raise EstimationError(
            "the instruments do not move the mediators apart from covariates; there is nothing to "
            "learn the slope from"
        )
    coefficients = np.asarray(np.linalg.solve(gram, fitted.T @ (y * root) / len(y)), np.float64)
    residual = y * root - w @ coefficients
    influence: Array = (fitted * residual[:, None]) @ np.linalg.inv(gram)
    k = m.shape[1]
    return coefficients[:k], influence[:, :k], _first_stage(q, w[:, :k], z.shape[1])


def _first_stage(q: Array, m: Array, instruments: int) -> float:
    """F statistic of leaving out the instruments, the smallest over mediators."""
    rest = q[:, instruments:]
    found = []
    for column in m.T:
        full = column - q @ np.linalg.lstsq(q, column, rcond=None)[0]
        short = column - rest @ np.linalg.lstsq(rest, column, rcond=None)[0]
        spare = len(q) - q.shape[1]
        gain = (short @ short - full @ full) / instruments
        found.append(float(gain / max(full @ full / spare, 1e-300)))
    return min(found)


def _cell(
    study: TableStudy,
    cell: Cell,
    means: dict[tuple[str, float], Array],
    slopes: dict[float, tuple[Array, Array]],
) -> Array:
    """Scores of one cell, shape (n1 + n2,)."""
    if cell.functional != MEAN:
        raise DesignError(f"Encouragement estimates means; {cell} asks for another functional")
    a, weights = study.level(cell.treatment), study.weights

    def mean(values: Array) -> float:
        return float(np.average(values, weights=weights))

    first = means[(study.path.outcome, a)].copy()
    beta, influence = slopes[a]
    second = np.zeros(len(influence))
    for j, name in enumerate(study.path.mediators):
        regime = cell.regime(name)
        own = means[(name, a)]
        if isinstance(regime, Fixed):
            moved: Array | float = float(study.table[name].code(regime.value) or 0.0)
        else:
            moved = means[(name, study.level(regime.level))]
        shift = moved - own
        first += beta[j] * shift
        second += influence[:, j] * mean(shift)
    value, total = mean(first), len(first) + len(second)
    return np.concatenate(
        [value + (first - value) * total / len(first), value + second * total / len(second)]
    )


def _levels(study: TableStudy, cells: Sequence[Cell]) -> dict[float, Cell]:
    """Every level that the cells speak of, with the cell in which all follows it."""
    found: dict[float, Cell] = {}
    for cell in cells:
        drawn = [r for r in (cell.regime(m) for m in study.path.mediators) if hasattr(r, "level")]
        for level in (cell.treatment, *(r.level for r in drawn)):
            found.setdefault(study.level(level), Y(level))
    return found


def _weights(study: TableStudy, second: TableStudy) -> Array | None:
    if study.weights is None and second.weights is None:
        return None
    parts = [
        np.ones(len(s)) if s.weights is None else s.weights / s.weights.mean()
        for s in (study, second)
    ]
    return np.concatenate(parts)
