r"""The natural effect model, fitted to copies, and influence functions from stacked equations.

With :math:`\theta` the working models' parameters, :math:`\beta` the natural effect model's and
:math:`\mu` a cell's mean, the stacked equations are

.. math::
    \sum_i w_i \psi_i(\theta) = 0, \quad
    \sum_i w_i \sum_k \omega_{ik}(\theta)\, z_{ik} \{r_{ik}(\theta) - h(z_{ik}'\beta)\} = 0, \quad
    \sum_i w_i \{h(z_i^{ab\prime} \beta) - \mu\} = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes, Estimate
from crossworld.core.expression import Cell
from crossworld.core.scores import Scores
from crossworld.errors import EstimationError, SpecError
from crossworld.tables.natural.copies import Expansion
from crossworld.tables.natural.working import Working, mean_slope
from crossworld.tables.parametric.families import Family, Gaussian
from crossworld.tables.parametric.newton import Gram, Layout, Likelihood, hessian, newton

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A natural effect model at its estimate.

    Parameters
    ----------
    expansion
        Copies, design and link.
    working
        Working models.
    theta
        Coefficients in the design's orthonormal coordinates, (p,).
    response, ratio
        Responses and weights of the copies, (K n,).
    """

    expansion: Expansion
    working: Working
    theta: Array
    response: Array
    ratio: Array

    @property
    def copies(self) -> int:
        """Copies of each row."""
        return int(self.expansion.grid.size)

    def mean(self, z: Array) -> Array:
        """Mean outcome on rows of a design."""
        return np.asarray(self.expansion.family.mean([z @ self.theta]))

    def coefficients(self) -> tuple[tuple[str, ...], Array, Array]:
        """Names, values (p,) and influence (n, p) of the raw coefficients."""
        transform = self.expansion.design.transform
        return self.expansion.design.names, transform @ self.theta, self.influence(transform)

    def influence(self, directions: Array) -> Array:
        """Influence of each unit, before row weights, on ``directions @ theta``: (n, m)."""
        model, weights = self.expansion, self.expansion.weights
        z, total = model.design.z, weights.sum()
        tiled = np.tile(weights, self.copies) / total
        layout, gram = Layout(z.shape[1], model.family), Gram(z)
        first, second = model.family.derivatives(self.response, [(z @ self.theta)[None]])
        score = first[0][0] * self.ratio
        bread = -hessian(layout, gram, second, (tiled * self.ratio)[None])[0]
        found = np.empty((weights.size, len(directions)))
        for j, pull in enumerate(np.linalg.solve(bread, directions.T).T):
            along = z @ pull
            own = np.asarray(score * along).reshape(self.copies, -1).sum(axis=0)
            through = self.working.influence(tiled * self.ratio * along, tiled * score * along)
            found[:, j] = own + through
        return found


def solve(expansion: Expansion, response: Array, weight: Array, start: Array | None) -> Array:
    """Coefficients of the natural effect model on the copies, (p,); NaN when there are none."""
    z = expansion.design.z
    gram, layout = Gram(z), Layout(z.shape[1], expansion.family)
    if start is None:
        start = _start(expansion.family, z, response, weight)
    # a quasi-likelihood may have no maximum; its Newton steps then end in NaN, which is told
    found = newton(
        Likelihood(response, gram, layout),
        start=start,
        weights=weight[None],
        tolerance=1e-10,
        steps=100,
    )[0][0]
    if isinstance(expansion.family, Gaussian):
        residual = Likelihood(response - z @ found, gram, layout)
        found = found + newton(residual, start=start, weights=weight[None])[0][0]
    return np.asarray(found)


def _start(family: Family, z: Array, response: Array, weight: Array) -> Array:
    level = np.average(response, weights=weight)
    if family.name == "poisson":
        return np.asarray(np.linalg.lstsq(z, np.full(len(z), np.log(level)), rcond=None)[0])
    return np.zeros(z.shape[1])


def fit(expansion: Expansion, working: Working) -> Fitted:
    """Fit the natural effect model to the copies that the working models make.

    Raises
    ------
    EstimationError
        If a weight is not finite, an imputed outcome does not fit the link, or no fit is found.
    """
    response, ratio = working.copies(working.start(), 0)
    told = np.tile(expansion.weights, expansion.grid.size)
    if not np.isfinite(ratio[told > 0.0]).all():
        raise EstimationError(
            "a mediator's density ratio is not finite: some row has a mediator that its model "
            "deems impossible under its own treatment; use kind='imputation' or another family"
        )
    ratio = np.where(told > 0.0, ratio, 0.0)
    _check_range(expansion.link, response[told > 0.0])
    theta = solve(expansion, response, told * ratio, None)
    if not np.isfinite(theta).all():
        raise EstimationError(
            f"the natural effect model {expansion.design.formula!r} with {expansion.link} link did "
            "not converge; use fewer terms, or look for covariates that separate the outcome"
        )
    return Fitted(expansion, working, theta, response, ratio)


def _check_range(link: str, response: Array) -> None:
    low, high = float(response.min()), float(response.max())
    if link == "logit" and (low < 0.0 or high > 1.0):
        raise EstimationError(
            f"a logit link needs outcomes between 0 and 1; the observed or imputed ones run from "
            f"{low:.4g} to {high:.4g}. Use outcome_family='logit', or link='identity'"
        )
    if link == "log" and low < 0.0:
        raise EstimationError(
            f"a log link needs outcomes that are not negative; the observed or imputed ones run "
            f"from {low:.4g}. Use outcome_family='poisson', or link='identity'"
        )


@dataclass(frozen=True, slots=True, eq=False)
class NaturalFit:
    """A `Fit`: a natural effect model and the cells asked for.

    Parameters
    ----------
    fitted
        The model.
    designs
        Design of each cell, (n, p).
    scores
        Scores at the estimate.
    """

    fitted: Fitted
    designs: tuple[Array, ...]
    scores: Scores

    def resampled(self, counts: Array) -> Array:
        """Cell means under (B, n) resampling counts, NaN rows where a model failed."""
        fitted, expansion = self.fitted, self.fitted.expansion
        weights = counts * expansion.weights
        parameters, fine = fitted.working.refit(weights)
        found = np.full((len(counts), len(self.designs)), np.nan)
        for b in np.flatnonzero(fine):
            response, ratio = fitted.working.copies(parameters, int(b))
            told = np.tile(weights[b], fitted.copies)
            with np.errstate(all="ignore"):
                weight = np.where(told > 0.0, told * ratio, 0.0)
                theta = solve(expansion, response, weight, fitted.theta)
            for j, z in enumerate(self.designs):
                mean = expansion.family.mean([z @ theta])
                found[b, j] = np.average(mean, weights=weights[b])
        return found

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        """Refuse: a natural effect model has no likelihood to draw from."""
        raise SpecError(
            "NaturalEffects has no likelihood whose coefficients could be drawn; use Bootstrap or "
            "Wald"
        )


def make_fit(
    fitted: Fitted,
    cells: Sequence[Cell],
    levels: Sequence[tuple[float, float]],
    *,
    cluster: Codes | None,
    diagnostics: Mapping[str, Any],
) -> NaturalFit:
    """Standardise the natural effect model over the sample: cells and their scores."""
    expansion = fitted.expansion
    weights, total = expansion.weights, expansion.weights.sum()
    designs = tuple(expansion.at(*pair) for pair in levels)
    own = np.column_stack([fitted.mean(z) for z in designs])
    value = weights @ own / total
    pulls = [(weights * mean_slope(expansion.family, z @ fitted.theta)) @ z for z in designs]
    found = own - value + fitted.influence(np.array(pulls) / total)
    equal = bool((weights == weights[0]).all())
    scores = Scores(
        value + found,
        tuple(cells),
        cluster,
        None if equal else weights,
        diagnostics={**diagnostics, "orthogonal": False},  # units share coefficients
    )
    return NaturalFit(fitted, designs, scores)


def estimates(
    values: Array, influence: Array, weights: Array, cluster: Codes | None
) -> list[Estimate]:
    """Estimates with row weights inside their influence."""
    share = weights / weights.mean()
    return [
        Estimate(float(v), share * phi, cluster) for v, phi in zip(values, influence.T, strict=True)
    ]
