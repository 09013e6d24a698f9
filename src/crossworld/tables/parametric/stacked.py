r"""Influence functions of cells from stacked estimating equations.

With :math:`\gamma` all parameters (coefficients and residual covariances) and :math:`f_i(\gamma)`
the mean outcome of unit ``i`` in a cell,

.. math:: \hat\theta = \frac{\sum_i w_i f_i(\hat\gamma)}{\sum_i w_i}, \qquad
          \phi_i = f_i - \hat\theta + \nabla_\gamma \hat\theta^\top A^{-1} \psi_i,

where :math:`\psi_i` stacks the models' estimating functions and :math:`A` is minus their average
derivative (Stefanski and Boos 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.parametric.families import Gaussian
from crossworld.tables.parametric.law import Parameters
from crossworld.tables.parametric.problem import Problem, inflation

Array = NDArray[np.float64]
STEP = 2e-3  # finite-difference step: root mean square move of a linear predictor


@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """Derivatives of every cell in every parameter.

    Parameters
    ----------
    theta
        Variable -> (P, k).
    covariance
        Group -> (pairs, k), pairs (j, l) with l <= j in row order.
    """

    theta: Mapping[str, Array]
    covariance: Mapping[str, Array]


def gradient(problem: Problem, start: Parameters, nodes: int) -> Gradient:
    """Differentiate the cells by central differences of fourth order.

    Coordinates have unit scale, so the truncation error is of order ``STEP ** 4``, near rounding;
    cells that are polynomials of degree four in a parameter are differentiated exactly.
    """
    coordinates: list[tuple[str, str, tuple[int, ...], float]] = []
    for name, theta in start.theta.items():
        model = problem.laws.models[name]
        size = float(model.y.std()) if isinstance(model.family, Gaussian) else 1.0
        coordinates += [("theta", name, (j,), size) for j in range(theta.shape[1])]
    for group, covariance in start.covariance.items():
        scale = np.sqrt(np.diagonal(covariance[0]))
        coordinates += [
            ("covariance", group, (j, k), float(scale[j] * scale[k]))
            for j in range(len(scale))
            for k in range(j + 1)
        ]
    moved = _moved(start, coordinates)
    found = problem.means(moved, problem.share[None], nodes=nodes)
    at = found.reshape(len(coordinates), 4, -1)
    slopes = (8.0 * (at[:, 0] - at[:, 1]) - (at[:, 2] - at[:, 3])) / (12.0 * STEP)
    gathered: dict[tuple[str, str], list[Array]] = {}
    for (kind, name, _, size), slope in zip(coordinates, slopes, strict=True):
        gathered.setdefault((kind, name), []).append(slope / size)
    return Gradient(
        {name: np.array(rows) for (kind, name), rows in gathered.items() if kind == "theta"},
        {name: np.array(rows) for (kind, name), rows in gathered.items() if kind == "covariance"},
    )


def _moved(
    start: Parameters, coordinates: list[tuple[str, str, tuple[int, ...], float]]
) -> Parameters:
    """Four copies of the parameters per coordinate, moved by 1, -1, 2 and -2 steps."""
    copies = 4 * len(coordinates)
    moved = Parameters(
        {k: np.repeat(v, copies, axis=0) for k, v in start.theta.items()},
        {k: np.repeat(v, copies, axis=0) for k, v in start.covariance.items()},
    )
    stencil = np.array([1.0, -1.0, 2.0, -2.0])
    for i, (kind, name, at, size) in enumerate(coordinates):
        rows = np.arange(4 * i, 4 * i + 4)
        held = moved.theta[name] if kind == "theta" else moved.covariance[name]
        places: set[tuple[int, ...]] = {at, at[::-1]}
        for place in places:
            index: Any = (rows, *place)
            held[index] += STEP * size * stencil
    return moved


def influence(
    problem: Problem, start: Parameters, slopes: Gradient, units: Array, value: Array
) -> Array:
    """Influence of each unit on each cell, (n, k), before row weights."""
    total = np.zeros((problem.share.size, value.size))
    pulls = {name: slope.copy() for name, slope in slopes.theta.items()}
    for group, slope in slopes.covariance.items():
        total += _through_covariance(problem, group, start, slope, pulls)
    for name, model in problem.laws.models.items():
        for j in range(value.size):
            if np.abs(pulls[name][:, j]).max(initial=0.0) > 0.0:
                total[:, j] += model.influence(pulls[name][:, j])
    if not problem.held:
        total += _own(problem, units, value)
    return total


def _own(problem: Problem, units: Array, value: Array) -> Array:
    """Part of the influence that a unit has by being averaged over."""
    weights = problem.weights
    member = np.divide(problem.share, weights, out=np.zeros(len(weights)), where=weights > 0.0)
    member *= weights.sum() / problem.share.sum()
    if not problem.rare:
        return np.asarray(member[:, None] * (units - value))
    odds = value / (1.0 - value)
    return np.asarray(member[:, None] * (units - odds) / (1.0 + odds) ** 2)


def _through_covariance(
    problem: Problem, group: str, start: Parameters, slopes: Array, pulls: Mapping[str, Array]
) -> Array:
    """Influence through a residual covariance; its part through coefficients goes to ``pulls``."""
    members = problem.members(group)
    residual = [m.residual() for m in members]
    weights = problem.weights / problem.weights.sum()
    pairs = [(j, k) for j in range(len(members)) for k in range(j + 1)]
    total = np.zeros((residual[0].size, slopes.shape[1]))
    for (j, k), slope in zip(pairs, slopes, strict=True):
        factor, held = inflation(members[j], members[k]), start.covariance[group][0, j, k]
        total += (factor * residual[j] * residual[k] - held)[:, None] * slope
        for one, other in ((j, k), (k, j)):
            cross = (weights * residual[other]) @ members[one].design.z
            pulls[members[one].name][:] -= factor * cross[:, None] * slope
    return total


def classic_root(problem: Problem, start: Parameters, slopes: Gradient) -> Array:
    """Root of the model-based covariance of the cells: models independent, covariates held.

    Residual covariances have their normal-theory covariance.
    """
    roots = [
        np.linalg.cholesky(model.covariance()).T @ slopes.theta[name]
        for name, model in problem.laws.models.items()
    ]
    for group, slope in slopes.covariance.items():
        members, held = problem.members(group), start.covariance[group][0]
        pairs = [(j, k) for j in range(len(members)) for k in range(j + 1)]
        spread = np.array(
            [
                [held[j, s] * held[k, t] + held[j, t] * held[k, s] for s, t in pairs]
                for j, k in pairs
            ]
        )
        roots.append(np.linalg.cholesky(spread / min(m.dof for m in members)).T @ slope)
    return np.concatenate(roots)
