"""The cells of one study as functions of parameters: (B) parameter vectors in, (B, k) means out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.parametric.evaluate import Evaluation
from crossworld.tables.parametric.law import Laws, Parameters
from crossworld.tables.parametric.models import Model
from crossworld.tables.parametric.plan import Plan
from crossworld.tables.parametric.quadrature import RULES

Array = NDArray[np.float64]
BLOCK = 1 << 15  # parameter vectors x rows evaluated at once
EXACT = 1e-12  # change of a cell at which the quadrature is taken as converged
FIRST_RULE = 15  # nodes the search for convergence starts with


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Fitted models, the plans of the cells, and the rows they are averaged over.

    Parameters
    ----------
    laws
        The models.
    plans
        One per cell, k in all.
    share
        Weight of each row in the average, (n,); 0 for rows outside the population.
    weights
        Row weights of the fits, (n,), counting rows.
    held
        True when covariates are held at chosen values: one row stands for all, and covariates
        carry no sampling error.
    rare
        True for the rare-outcome closed forms: a cell's odds are the mean of ``exp(eta)``.
    """

    laws: Laws
    plans: tuple[Plan, ...]
    share: Array
    weights: Array
    held: bool = False
    rare: bool = False

    def means(self, parameters: Parameters, share: Array, *, nodes: int) -> Array:
        """Cell means of B parameter vectors under (B, n) or (1, n) shares, in bounded memory."""
        draws = len(next(iter(parameters.theta.values())))
        size, parts = max(1, BLOCK // self.rows), []
        for at in range(0, draws, size):
            block = slice(at, at + size)
            part = Parameters(
                {k: v[block] for k, v in parameters.theta.items()},
                {k: v if len(v) == 1 else v[block] for k, v in parameters.covariance.items()},
            )
            own = share if len(share) == 1 else share[block]
            parts.append(self._block(part, own / own.sum(axis=1)[:, None], nodes))
        found = np.concatenate(parts)
        return found / (1.0 + found) if self.rare else found

    def _block(self, part: Parameters, share: Array, nodes: int) -> Array:
        every = Evaluation(self.laws, part, nodes, self.rare)
        averaged = Evaluation(self.laws, part, nodes, self.rare, None if self.held else share)
        found = [
            averaged.cell(plan)[:, 0]
            if self.laws.collapses(plan)
            else self._average(every.cell(plan), share)
            for plan in self.plans
        ]
        draws = len(next(iter(part.theta.values())))
        return np.stack([np.broadcast_to(v, (draws,)) for v in found], axis=1)

    @property
    def rows(self) -> int:
        """Rows that are evaluated."""
        return 1 if self.held else self.share.size

    def units(self, start: Parameters) -> tuple[Array, int, float]:
        """Unit means of every cell at the estimate, (rows, k).

        With them the nodes that made them exact, and the largest change of a cell by the last
        nodes added. With ``rare`` they are odds.
        """
        rules = [r for r in RULES if r >= FIRST_RULE]
        last = self._units(start, rules[0])
        for nodes in rules[1:]:
            found = self._units(start, nodes)
            change = np.abs(self._of_units(found) - self._of_units(last))
            last = found
            if (change <= EXACT * (1.0 + np.abs(self._of_units(found)))).all():
                break
        return last, nodes, float(change.max())

    def value(self, units: Array) -> Array:
        """Cell means from unit means, (k,)."""
        found = self._of_units(units)
        return found / (1.0 + found) if self.rare else found

    def _units(self, start: Parameters, nodes: int) -> Array:
        batch = Evaluation(self.laws, start, nodes, self.rare)
        cells = [np.broadcast_to(batch.cell(plan), (1, self.rows))[0] for plan in self.plans]
        return np.stack(cells, axis=1)

    def _of_units(self, units: Array) -> Array:
        found: Array = units[0] if self.held else self.share @ units / self.share.sum()
        return found

    def _average(self, units: Array, share: Array) -> Array:
        """Average (B, n) unit means under shares that sum to 1: (B,)."""
        if self.held or units.shape[1] == 1:
            return units[:, 0]
        if share.shape[0] == 1:
            return np.asarray(units @ share[0])
        if units.shape[0] == 1:
            return np.asarray(share @ units[0])
        return np.asarray(np.einsum("bn,bn->b", share, units))

    def start(self) -> Parameters:
        """Parameters at the estimate, B = 1."""
        theta = {name: model.theta[None] for name, model in self.laws.models.items()}
        return Parameters(theta, self.covariances(theta, self.weights[None]))

    def covariances(self, theta: Mapping[str, Array], weights: Array) -> dict[str, Array]:
        """Residual covariances that some cell depends on, under (B, n) weights."""
        groups = self.laws.covariance_groups(self.plans)
        return {g: residual_covariance(self.members(g), theta, weights) for g in groups}

    def members(self, group: str) -> list[Model]:
        """Models of a joint group, in its order."""
        names = next(names for g, _, names in self.laws.groups.values() if g == group)
        return [self.laws.models[name] for name in names]


def residual_covariance(members: list[Model], theta: Mapping[str, Array], weights: Array) -> Array:
    """Residual covariance of a joint group, RSS / (n - p): (B, k, k)."""
    residual = [m.y - theta[m.name] @ m.design.z.T for m in members]
    total = weights.sum(axis=1)
    found = np.empty((len(weights), len(members), len(members)))
    for j, rj in enumerate(residual):
        for k, rk in enumerate(residual[: j + 1]):
            moment = np.einsum("bn,bn->b", weights * rj, rk) / total
            found[:, j, k] = found[:, k, j] = moment * inflation(members[j], members[k])
    return found


def inflation(one: Model, other: Model) -> float:
    """``n / (n - p)``, the geometric mean of two models'."""
    return float(one.weights.sum() / np.sqrt(one.dof * other.dof))
