"""Fits whose replicates are known: cell means are weighted means of given columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.core.scores import Scores

CELLS = (Y(0), Y(1, M(0)), Y(1))


@dataclass
class MeansFit:
    """Weighted means; replicates for which ``fails`` says so cannot be fitted."""

    scores: Scores
    failing: float = 0.0
    seen: list[np.ndarray] = field(default_factory=list)

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        means = counts @ self.scores.values / counts.sum(axis=1, keepdims=True)
        if self.failing:
            means[np.abs(np.sin(1e6 * means[:, 0])) < self.failing] = np.nan
        self.seen.append(means)
        return means

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(draws, len(self.scores.cells)))
        return self.scores.means() + 0.1 * noise

    def plug_in(self) -> MeansFit:
        return MeansFit(replace(self.scores, influence=False))


def skewed_fit(n: int = 60, seed: int = 0, **parts: object) -> MeansFit:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, 1))
    values = rng.exponential(size=(n, 3)) + 0.3 * base + np.array([1.0, 1.6, 2.5])
    return MeansFit(Scores(values, CELLS, **parts))  # type: ignore[arg-type]
