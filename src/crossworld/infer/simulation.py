"""Quasi-Bayesian simulation: coefficients drawn from their sampling law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.protocols import Array, Fit, Inferred, Progress
from crossworld.errors import FitWarning
from crossworld.infer.empirical import check_draws, plain_integers, summarise
from crossworld.infer.replicates import blocks, run
from crossworld.infer.wald import IGNORED, check_clusters


@dataclass(frozen=True, slots=True)
class Simulation:
    """Draw coefficients from their normal sampling law and evaluate every cell (King et al. 2000).

    As in R ``mediation``: models are independent, covariances are model-based, residual variances
    are held, covariates are held at the sample. Unlike there, each draw evaluates its cells
    exactly, so draws carry no noise from simulated mediators, and the estimate is the exact one.

    Parameters
    ----------
    draws
        Number of coefficient draws.
    seed
        Seed; the same seed gives the same numbers for any number of workers.
    workers
        Threads that compute blocks of draws.

    References
    ----------
    Imai, K., Keele, L., Tingley, D. (2010). A general approach to causal mediation analysis.
    Psychological Methods 15.
    """

    draws: int = 1000
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
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
        """Draw coefficients and read intervals off the cells they imply."""
        scores = fit.scores
        check_clusters(scores)

        def task(seed: np.random.SeedSequence, size: int) -> Array:
            return fit.redrawn(seed, size)

        sizes = blocks(self.draws, len(scores))
        cells = run(task, sizes, seed=self.seed, workers=self.workers, progress=progress)
        found = summarise(estimands, scores, cells, level=level, method="simulation")
        if scores.cluster is None:
            return found
        told = (FitWarning, IGNORED.format("Simulation"))
        return replace(found, warnings=(told, *found.warnings))
