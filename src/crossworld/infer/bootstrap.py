"""The paired nonparametric bootstrap: one resample for every model of an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate, by_cluster
from crossworld.core.protocols import Array, Fit, Inferred, Progress
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.infer.empirical import check_draws, draws_of, plain_integers, summarise
from crossworld.infer.replicates import blocks, resample_counts, run
from crossworld.infer.wald import divides_by_zero


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Resample units (or whole clusters) with replacement and estimate again.

    Every model of the analysis sees the same resample. Replicates whose fit fails are left out,
    counted in ``diagnostics.failed_replicates`` and reported.

    Parameters
    ----------
    draws
        Number of resamples.
    kind
        ``"percentile"`` or ``"bca"`` (bias-corrected and accelerated, Efron 1987; the
        acceleration comes from the influence function, or from a jackknife where there is none).
    seed
        Seed; the same seed gives the same numbers for any number of workers.
    workers
        Threads that compute blocks of replicates.
    """

    draws: int = 1000
    kind: Literal["percentile", "bca"] = "percentile"
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("percentile", "bca"):
            raise SpecError.unknown("kind of Bootstrap", str(self.kind), ("percentile", "bca"))
        check_draws(self.draws)
        plain_integers(self)

    def infer(
        self,
        fit: Fit,
        estimands: Sequence[Estimand],
        *,
        level: float,
        progress: Progress | None = None,
    ) -> Inferred:
        """Compute replicates of every cell and read intervals off their distribution."""
        scores = fit.scores
        if scores.n_clusters < 2:
            raise DesignError("a bootstrap needs at least 2 clusters to resample, found 1")
        n = len(scores)

        def task(seed: np.random.SeedSequence, size: int) -> Array:
            return fit.resampled(resample_counts(seed, size, scores.cluster, n))

        cells = run(
            task, blocks(self.draws, n), seed=self.seed, workers=self.workers, progress=progress
        )
        probabilities = None
        if self.kind == "bca":
            point = draws_of(estimands, scores.cells, scores.means()[None, :])[:, 0]
            draws = draws_of(estimands, scores.cells, cells)
            pulls = np.array([_acceleration(e, fit, scores) for e in estimands])
            probabilities = _bca(point, draws, pulls, level)
        return summarise(estimands, scores, cells, level=level, method=self.kind, at=probabilities)


def _bca(point: Array, draws: Array, acceleration: Array, level: float) -> Array:
    """Probabilities at which BCa reads the replicates, shape (effects, 2) (Efron 1987)."""
    normal = NormalDist()
    found = np.empty((point.size, 2))
    for j, (value, drawn) in enumerate(zip(point, draws, strict=True)):
        kept = drawn[np.isfinite(drawn)]
        below = (np.sum(kept < value) + 0.5 * np.sum(kept == value)) / max(kept.size, 1)
        inside = 0.5 / max(kept.size, 1)
        z0 = normal.inv_cdf(float(np.clip(below, inside, 1.0 - inside)))
        for side, tail in enumerate((0.5 - level / 2.0, 0.5 + level / 2.0)):
            z = z0 + normal.inv_cdf(tail)
            found[j, side] = normal.cdf(z0 + z / (1.0 - acceleration[j] * z))
    return found


def _acceleration(estimand: Estimand, fit: Fit, scores: Scores) -> float:
    """Skewness of the influence function over 6 (by cluster), the classical acceleration."""
    if divides_by_zero(estimand, scores.mean):
        return 0.0
    if scores.influence:
        estimate = estimand.expr.evaluate(scores.mean)
        assert isinstance(estimate, Estimate)
        influence = estimate.influence
        if estimate.cluster is not None:
            influence = by_cluster(influence, estimate.cluster)
    else:
        influence = _jackknife(estimand, fit, scores)
    spread = float((influence**2).sum()) ** 1.5
    return float((influence**3).sum()) / (6.0 * spread) if spread > 0.0 else 0.0


def _jackknife(estimand: Estimand, fit: Fit, scores: Scores) -> Array:
    n = len(scores)
    cluster = np.arange(n) if scores.cluster is None else scores.cluster
    left_out = []
    for sizes in np.array_split(np.arange(scores.n_clusters), max(1, n // 64)):
        counts = (cluster[None, :] != sizes[:, None]).astype(np.float64)
        left_out.append(draws_of([estimand], scores.cells, fit.resampled(counts))[0])
    values = np.concatenate(left_out)
    values = values[np.isfinite(values)]
    influence: Array = values.mean() - values
    return influence
