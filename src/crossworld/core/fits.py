"""What inference works on: a method applied to a study once, or scores as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Generic

import numpy as np

from crossworld.core.protocols import Array, Estimator, Fit, Prepares, S
from crossworld.core.scores import Scores
from crossworld.errors import SpecError


def prepare(estimator: Estimator[S], study: S, cells: Sequence[Any]) -> Fit:
    """Apply a method to a study once."""
    if isinstance(estimator, Prepares):
        return estimator.prepare(study, cells)
    return _Plain(estimator, study, tuple(cells), estimator.scores(study, cells))


@dataclass(frozen=True, slots=True)
class _Plain(Generic[S]):
    """The `Fit` of any estimator: replicates run the method again on resampled units."""

    estimator: Estimator[S]
    study: S
    cells: tuple[Any, ...]
    scores: Scores

    def resampled(self, counts: Array) -> Array:
        means = np.full((counts.shape[0], len(self.cells)), np.nan)
        for b, count in enumerate(counts):
            rows = np.repeat(np.arange(count.size), count.astype(np.int64))
            try:
                part = self.estimator.scores(self.study.take(rows), self.cells)
            except ValueError:
                continue
            means[b] = part.means()
        return means

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        raise SpecError(
            f"{describe(self.estimator)} has no coefficients to draw; use Bootstrap or Wald"
        )


def portable(value: Any) -> Any:
    """Return a configured value in text and numbers alone, where it knows how to."""
    return value.portable() if hasattr(value, "portable") else value


def describe(value: Any) -> str:
    """Write a configured value with the fields that differ from their defaults."""
    if not is_dataclass(value):
        return str(value)
    value = portable(value)
    changed = []
    for f in fields(value):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        held = getattr(value, f.name)
        if f.repr and not _same(held, default):
            text = repr(held)
            changed.append(f"{f.name}={text if len(text) < 90 else type(held).__name__}")
    return f"{type(value).__name__}({', '.join(changed)})"


def _same(held: Any, default: Any) -> bool:
    try:
        return bool(held == default)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Given:
    """The `Fit` of scores that are given: replicates reweight them."""

    scores: Scores

    def resampled(self, counts: Array) -> Array:
        weights = counts if self.scores.weights is None else counts * self.scores.weights
        with np.errstate(all="ignore"):
            return np.asarray(weights @ self.scores.values / weights.sum(axis=1)[:, None])

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        raise SpecError("scores have no coefficients to draw; use Wald or Bootstrap")
