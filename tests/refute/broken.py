"""Estimators with one fault each, which a refuter has to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

import crossworld as xw
from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.tables.study import TableStudy

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class StaleWeights:
    """Weights from the treatment probabilities of the first data it ever saw (dowhy#1728)."""

    chance: Array = field(repr=False, compare=False)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        columns = []
        for cell in cells:
            level = study.level(cell.treatment)
            chance = self.chance if level == 1.0 else 1.0 - self.chance
            weight = (study.treatment.values == level) / chance
            weight = weight / weight.mean()
            mean = float((weight * study.outcome).mean())
            columns.append(mean + weight * (study.outcome - mean))
        return Scores(np.column_stack(columns), tuple(cells))


@dataclass(frozen=True, slots=True)
class Overconfident:
    """A good estimate whose influence function is scaled down: intervals too short."""

    factor: float

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        held = xw.Imputation().scores(study, cells)
        means = held.means()
        return replace(held, values=means + self.factor * (held.values - means))


@dataclass(frozen=True, slots=True)
class OldMediator:
    """Reads the mediator from a copy it kept, whatever the study holds."""

    kept: TableStudy = field(repr=False, compare=False)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        names = study.path.mediators
        table = {**study.table, **{name: self.kept.table[name] for name in names}}
        return xw.Imputation().scores(replace(study, table=table), cells)


@dataclass(frozen=True, slots=True)
class OldOutcome:
    """Predicts with a model that was trained on the outcomes of the first data it saw."""

    kept: TableStudy = field(repr=False, compare=False)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        return xw.Imputation().scores(self.kept, cells)


@dataclass(frozen=True, slots=True)
class LastCovariate:
    """Adjusts for the last covariate alone."""

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        return xw.Imputation().scores(replace(study, adjust=study.adjust[-1:]), cells)


@dataclass(frozen=True, slots=True)
class Biased:
    """Off by an amount that falls with the number of units: biased in small samples."""

    size: float

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        held = xw.Imputation().scores(study, cells)
        extra = np.array([self.size / len(study) * float(c.treatment) for c in cells])
        return replace(held, values=held.values + extra)


@dataclass(frozen=True, slots=True)
class Unadjusted:
    """Ignores every covariate that is added."""

    names: tuple[str, ...]

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        return xw.Imputation().scores(replace(study, adjust=self.names), cells)


@dataclass(frozen=True, slots=True)
class Fragile:
    """Fails on some samples: those whose first row is at the reference."""

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        if study.treatment.values[0] == 0.0:
            raise xw.errors.EstimationError("the first row is at the reference")
        return xw.Imputation().scores(study, cells)


class Plain:
    """A study that offers nothing beyond the protocol."""

    def __init__(self, study: TableStudy) -> None:
        self.held = study

    def __len__(self) -> int:
        return len(self.held)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        return self.held.blocks

    def check(self, cells: Sequence[Cell]) -> None:
        self.held.check(cells)

    def take(self, index: Array) -> Plain:
        return Plain(self.held.take(index))


@dataclass(frozen=True, slots=True)
class OfPlain:
    """An estimator of such a study."""

    def scores(self, study: Plain, cells: Sequence[Cell]) -> Scores:
        return xw.Imputation().scores(study.held, cells)
