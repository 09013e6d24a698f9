"""Simulated data that know the truth: a structural model, enumerated exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import ALL, Draw, Fixed, Level, Random, Regime
from crossworld.datasets.laws import Array, Law, Nominal, Outcome, labels_of, rows
from crossworld.errors import DesignError, NotIdentifiedError, SpecError

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

GRID = 2_000_000  # grid points held at once when averaging over a sample


@dataclass(frozen=True, slots=True)
class Model:
    """A structural model: every variable has a law given the variables before it.

    Parameters
    ----------
    covariates
        Pre-treatment variables, in an order in which each depends on earlier ones only.
    treatment
        The treatment's law given the covariates.
    chain
        Mediators, and confounders of mediator and outcome that the treatment affects, in order.
    outcome
        The outcome's law given everything before it.
    blocks
        The mediators in ordered blocks; what the chain holds beside them is intermediate.
    """

    covariates: tuple[Law, ...]
    treatment: Law
    chain: tuple[Law, ...]
    outcome: Outcome
    blocks: tuple[tuple[str, ...], ...]

    @property
    def mediators(self) -> frozenset[str]:
        """Names of the mediators."""
        return frozenset(name for block in self.blocks for name in block)

    @property
    def intermediate(self) -> tuple[str, ...]:
        """Names of the treatment-affected confounders of mediator and outcome."""
        return tuple(v.name for v in self.chain if v.name not in self.mediators)

    def draw(self, n: int, rng: np.random.Generator) -> dict[str, Array]:
        """Draw every variable for ``n`` units, each of shape (n,)."""
        state: dict[str, Array] = {"": np.empty(n)}
        for law in (*self.covariates, self.treatment, *self.chain, self.outcome):
            state[law.name] = law.draw(state, rng)
        del state[""]
        return state

    def population(self) -> tuple[dict[str, Array], Array]:
        """Grid of the covariates' joint law and its probabilities, each of shape (g,)."""
        state, mass = {"": np.empty(1)}, np.ones(1)
        for law in self.covariates:
            state, mass = _extend(law, state, mass, {})
        return state, mass

    def mean(self, cell: Cell, levels: tuple[float, float], start: dict[str, Array]) -> Array:
        """Mean of a cell given the covariates ``start``, shape (g,): an exact sum over the chain.

        Raises
        ------
        NotIdentifiedError
            If the cell mixes levels although an intermediate confounder exists.
        """
        units = rows(start)
        state = {**start, _ROW: np.arange(units, dtype=np.float64)}
        mass = np.ones(units)
        own = self._level(cell.treatment, levels)
        regimes = {name: cell.regime(name) for name in self.mediators}
        self._check(cell, regimes)
        everywhere = dict(cell.regimes)[ALL] if len(cell.regimes) == 1 else None
        if isinstance(everywhere, Random):
            level = self._level(everywhere.level, levels)
            state, mass = self._at_random(self.mediators, level, state, mass)
        for law in self.chain:
            regime = regimes.get(law.name, Draw(cell.treatment))
            if law.name in state:
                continue
            if isinstance(regime, Fixed):
                state[law.name] = np.full(mass.size, self._value(law, regime.value))
            elif isinstance(regime, Random):
                level = self._level(regime.level, levels)
                (block,) = (b for b in self.blocks if law.name in b)
                state, mass = self._at_random(frozenset(block), level, state, mass)
            else:
                level = self._level(regime.level, levels)
                state, mass = _extend(law, state, mass, {self.treatment.name: level})
        state[self.treatment.name] = np.full(mass.size, own)
        weighted = mass * self.outcome.mean(state)
        at = state[_ROW].astype(np.int64)
        total: Array = np.asarray(np.bincount(at, weights=weighted, minlength=units), np.float64)
        return total

    def _at_random(
        self, names: frozenset[str], level: float, state: dict[str, Array], mass: Array
    ) -> tuple[dict[str, Array], Array]:
        """Draw mediators jointly from their law under ``level`` given the covariates alone."""
        given = {_ROW, "", *(v.name for v in self.covariates)}
        held = {k: v for k, v in state.items() if k not in given}
        inner = {k: v for k, v in state.items() if k in given}
        inner[_BACK] = np.arange(float(mass.size))
        last = max(j for j, law in enumerate(self.chain) if law.name in names)
        for law in self.chain[: last + 1]:
            inner, mass = _extend(law, inner, mass, {self.treatment.name: level})
        back = inner.pop(_BACK).astype(np.int64)
        kept = {k: v for k, v in inner.items() if k in given or k in names}
        return {**kept, **{k: v[back] for k, v in held.items()}}, mass

    def _check(self, cell: Cell, regimes: Mapping[str, Regime]) -> None:
        if cell.functional != MEAN:
            raise SpecError(f"simulated data know the means of cells only, got {cell}")
        for block in self.blocks:
            asked = {regimes[name] for name in block}
            if len(asked) > 1 and not all(isinstance(r, Fixed) for r in asked):
                joint = " + ".join(block)
                raise DesignError(f"{cell} puts the joint block {joint} under two regimes")
        natural = [r for r in regimes.values() if isinstance(r, Draw)]
        if any(r.edit is not None for r in natural):
            raise DesignError(f"{cell} edits a mediator; simulated tables hold no edited mediators")
        if self.intermediate and any(r.level != cell.treatment for r in natural):
            raise NotIdentifiedError(
                f"{cell} has no value that data could show: {', '.join(self.intermediate)} is "
                "affected by the treatment and confounds mediator and outcome"
            )
        named = {r for key, r in cell.regimes if key != ALL and isinstance(r, Random)}
        if named and natural:
            raise DesignError(f"{cell} draws some mediators at random and leaves others natural")

    def _level(self, level: Level, levels: tuple[float, float]) -> float:
        if level in (0, 1) and not isinstance(level, str):
            return levels[int(level)]
        return self._value(self.treatment, level)

    @staticmethod
    def _value(law: Law, value: Level) -> float:
        labels = labels_of(law)
        if labels is None:
            return float(value)
        if str(value) not in labels:
            raise SpecError.unknown(f"value of {law.name}", str(value), labels)
        return float(labels.index(str(value)))


_ROW, _BACK = "#row", "#back"


def _extend(
    law: Law, state: dict[str, Array], mass: Array, extra: Mapping[str, float]
) -> tuple[dict[str, Array], Array]:
    """Cross every grid point with the support of one more variable."""
    values, chances = law.support({**state, **{k: np.full(mass.size, v) for k, v in extra.items()}})
    q = values.shape[1]
    grown = {name: np.repeat(held, q) for name, held in state.items()}
    grown[law.name] = values.ravel()
    return grown, (mass[:, None] * chances).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """Data drawn from a structural model, and the true value of every cell.

    Parameters
    ----------
    frame
        Columns of length n: numbers, or text for categories.
    path
        ``"a -> m -> y"``.
    adjust
        The covariates to adjust for.
    levels
        Reference and active level of the treatment, as labelled in the frame.
    intermediate
        Confounders of mediator and outcome that the treatment affects.
    cluster
        Column of cluster labels, or None when rows are independent.
    model
        The structural model behind the data.

    Examples
    --------
    >>> from crossworld.core.effects import NIE
    >>> from crossworld.datasets import linear
    >>> round(linear(n=100, seed=1).effect(NIE), 12)
    0.3
    """

    frame: Mapping[str, np.ndarray[Any, Any]]
    path: str
    adjust: tuple[str, ...]
    levels: tuple[Level, Level]
    intermediate: tuple[str, ...]
    cluster: str | None
    model: Model

    def __len__(self) -> int:
        return int(next(iter(self.frame.values())).shape[0])

    def truth(self, cell: Cell) -> float:
        """Return the population mean of a cell: a sum or a quadrature, never simulation."""
        start, mass = self.model.population()
        held = cell.bind(self.model.blocks)
        return float(mass @ self.model.mean(held, self._codes(), start))

    def sample_truth(self, cell: Cell) -> float:
        """Mean of a cell over the covariates of the units drawn."""
        held = cell.bind(self.model.blocks)
        names = [law.name for law in self.model.covariates]
        if not names:
            return self.truth(cell)
        points, counts = np.unique(
            np.column_stack([self.frame[name] for name in names]), axis=0, return_counts=True
        )
        size = max(1, GRID // 61 ** len(self.model.chain))
        parts = [
            self.model.mean(held, self._codes(), {k: part[:, j] for j, k in enumerate(names)})
            for part in np.array_split(points, -(-len(points) // size))
        ]
        return float(np.average(np.concatenate(parts), weights=counts))

    def effect(self, estimand: Estimand) -> float:
        """Return the population value of an estimand."""
        return float(estimand.bind(self.model.blocks).expr.evaluate(self.truth))

    def _codes(self) -> tuple[float, float]:
        labels = labels_of(self.model.treatment)
        low, high = self.levels
        if labels is None:
            return float(low), float(high)
        return float(labels.index(str(low))), float(labels.index(str(high)))

    def study(self) -> TableStudy:
        """Return the data in their causal roles."""
        from crossworld.tables.study import TableStudy

        return TableStudy.from_frame(
            dict(self.frame),
            self.path,
            adjust=self.adjust,
            levels=self.levels,
            intermediate=self.intermediate,
            cluster=self.cluster,
        )

    def to_pandas(self) -> Any:
        """Return the data as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(dict(self.frame))


def simulate(
    model: Model,
    *,
    n: int,
    seed: int,
    levels: tuple[Level, Level] = (0, 1),
    cluster: np.ndarray[Any, Any] | None = None,
    values: Mapping[str, Array] | None = None,
) -> Simulated:
    """Draw ``n`` units from a model and wrap them with the model.

    Parameters
    ----------
    model
        The structural model.
    n, seed
        Number of units; seed of ``numpy.random.default_rng``.
    levels
        Reference and active level of the treatment.
    cluster
        Cluster labels, shape (n,), stored as the column ``cluster``.
    values
        Columns that were drawn already, in the place of a draw from ``model``.
    """
    if n < 1:
        raise DesignError(f"n must be at least 1, got {n!r}")
    drawn = model.draw(n, np.random.default_rng(seed)) if values is None else dict(values)
    laws = (*model.covariates, model.treatment, *model.chain, model.outcome)
    frame = {law.name: _column(law, drawn[law.name]) for law in laws}
    if cluster is not None:
        frame["cluster"] = cluster
    middle = " -> ".join(" + ".join(block) for block in model.blocks)
    return Simulated(
        frame,
        f"{model.treatment.name} -> {middle} -> {model.outcome.name}",
        tuple(law.name for law in model.covariates),
        levels,
        model.intermediate,
        None if cluster is None else "cluster",
        model,
    )


def _column(law: Law, values: Array) -> np.ndarray[Any, Any]:
    """Values as they stand in a table: text for categories, whole numbers where they are whole."""
    if isinstance(law, Nominal):
        return np.array(law.labels, dtype=object)[values.astype(np.int64)]
    whole = values.astype(np.int64)
    return whole if np.array_equal(whole, values) else values
