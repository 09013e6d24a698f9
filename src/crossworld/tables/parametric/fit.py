"""Models fitted once: scores at the estimate, replicates in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.tables.parametric.law import Parameters
from crossworld.tables.parametric.newton import newton
from crossworld.tables.parametric.problem import Problem
from crossworld.tables.parametric.quadrature import RULES
from crossworld.tables.parametric.stacked import classic_root, gradient, influence

Array = NDArray[np.float64]
LOOSE = 1e-7  # change of a cell by the last quadrature nodes that is reported
SHARE = 1e-3  # quadrature error of a contrast of cells, as a share of its standard error


@dataclass(frozen=True, slots=True, eq=False)
class RegressionFit:
    """A `Fit`: fitted models of one study and the cells asked for.

    Parameters
    ----------
    problem
        Models and plans.
    scores
        Scores at the estimate.
    nodes
        Gauss-Hermite nodes of replicates; few, because their error need only be small beside a
        replicate's spread.
    offset
        Their error at the estimate, (k,), which every replicate is corrected by.
    """

    problem: Problem
    scores: Scores
    nodes: int
    offset: Array

    def resampled(self, counts: Array) -> Array:
        """Cell means under (B, n) resampling counts, NaN rows where a model failed."""
        problem, weights = self.problem, counts * self.problem.weights
        theta, fine = {}, np.ones(len(counts), dtype=bool)
        for name, model in problem.laws.models.items():
            theta[name], done = newton(model.likelihood, start=model.theta, weights=weights)
            fine &= done
        with np.errstate(all="ignore"):
            parameters = Parameters(theta, problem.covariances(theta, weights))
            found = problem.means(parameters, counts * problem.share, nodes=self.nodes)
        found[~fine] = np.nan
        return found - self.offset

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        """Cell means under coefficients drawn from their normal law; residual variances held."""
        problem, rng, theta = self.problem, np.random.default_rng(seed), {}
        for name, model in problem.laws.models.items():
            noise = rng.standard_normal((draws, model.theta.size))
            theta[name] = model.theta + noise @ np.linalg.cholesky(model.covariance()).T
        parameters = Parameters(theta, problem.start().covariance)
        found = problem.means(parameters, problem.share[None], nodes=self.nodes)
        return found - self.offset


def make_fit(
    problem: Problem,
    cells: Sequence[Cell],
    *,
    cluster: Codes | None,
    diagnostics: Mapping[str, Any],
) -> RegressionFit:
    """Evaluate the cells and their scores at the estimate."""
    start = problem.start()
    units, nodes, change = problem.units(start)
    value = problem.value(units)
    slopes = gradient(problem, start, nodes)
    found = influence(problem, start, slopes, units, value)
    few, offset, error = _fewest(problem, start, value, found, nodes)
    told = {
        **diagnostics,
        "warnings": [
            *diagnostics.get("warnings", ()),
            *([] if change < LOOSE else [_loose(change)]),
        ],
        "quadrature": {"nodes": nodes, "replicate_nodes": few, "replicate_error": error},
    }
    weights = problem.weights
    scores = Scores(
        value + found,
        tuple(cells),
        cluster,
        None if (weights == weights[0]).all() else weights,
        classic=classic_root(problem, start, slopes),
        diagnostics=told,
    )
    return RegressionFit(problem, scores, few, offset)


def _loose(change: float) -> str:
    return (
        f"the quadrature over a normal mediator has not settled (its last refinement moved a cell "
        f"by {change:.1e}); the models extrapolate far, or a formula has a kink"
    )


def _fewest(
    problem: Problem, start: Parameters, value: Array, found: Array, nodes: int
) -> tuple[int, Array, float]:
    """Fewest nodes whose error in every contrast of cells is small beside its standard error.

    The error at the estimate is known and subtracted from replicates; what is left is its change
    over replicates, which is smaller still.
    """
    weighted = found * (problem.weights / problem.weights.mean())[:, None]
    spread = weighted.T @ weighted / len(weighted) ** 2
    variance = np.diag(spread)
    contrast = np.sqrt(np.maximum(variance[:, None] + variance[None] - 2.0 * spread, 0.0))
    for rule in RULES:
        if rule >= nodes:
            break
        error = problem.means(start, problem.share[None], nodes=rule)[0] - value
        gap = np.abs(error[:, None] - error[None])
        fine = (np.abs(error) <= SHARE * np.sqrt(variance) + 1e-14).all()
        if fine and (gap <= SHARE * contrast + 1e-14).all():
            share = np.divide(gap, contrast, out=np.zeros_like(gap), where=contrast > 1e-12)
            return rule, error, float(share.max())
    return nodes, np.zeros_like(value), 0.0
