r"""How the draws of a cell are integrated, decided from the models alone.

- *carried*: a normal draw that enters everything later linearly stays symbolic, as a mean and
  loadings on independent standard normals, so that any number of normal mediators costs one
  closed form or one one-dimensional quadrature;
- *averaged*: a discrete draw that only linear, identity-link models use is replaced by its mean;
- *summed*: any other discrete draw is summed over its support;
- *integrated*: any other normal draw is integrated with Gauss-Hermite nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from crossworld.tables.parametric.decompose import Predictor
from crossworld.tables.parametric.families import Gaussian
from crossworld.tables.parametric.models import Model
from crossworld.tables.parametric.plan import Node, Plan

Array = NDArray[np.float64]
Group = tuple[str, int, tuple[str, ...]]
LINKS = {
    "gaussian": "identity",
    "logit": "logit",
    "probit": "probit",
    "poisson": "log",
    "negative-binomial": "log",
    "log-binomial": "log",
}
FEW = 12  # categories up to which a design is built for each, rather than interpolated


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """B parameter vectors: coefficients of each model, residual covariance of each joint group."""

    theta: Mapping[str, Array]  # variable -> (B, P)
    covariance: Mapping[str, Array]  # group -> (B, k, k) or (1, k, k)


@dataclass(frozen=True, slots=True, eq=False)
class Laws:
    """The fitted models in causal order, and which normal ones share a residual covariance.

    Parameters
    ----------
    models
        Variable -> model; the outcome last.
    groups
        Variable -> (group, position in it, the group's variables), for normal variables.
    """

    models: Mapping[str, Model]
    groups: Mapping[str, Group]

    @property
    def link(self) -> str:
        """Link of the outcome."""
        return LINKS[self.outcome.family.name]

    @property
    def outcome(self) -> Model:
        """The model of the outcome."""
        return list(self.models.values())[-1]

    def predictor(self, node: Node, codes: Mapping[str, float]) -> Predictor:
        """Design of a draw's law, given the codes of discrete draws before it."""
        assert node.level is not None
        design = self.models[node.variable].design
        columns = design.rows.columns
        text = {p: v for p, v in codes.items() if columns[p].is_text}
        found = design.at(node.level, text)
        if found.degree <= 1 or len(text) == len(codes):
            return found
        few = {p: v for p, v in codes.items() if p in text or self._few(p)}
        return design.at(node.level, few)

    def _few(self, variable: str) -> bool:
        return 0 < len(self.models[variable].support) <= FEW if variable in self.models else True

    def _linear(self, node: Node, parent: str, values: Mapping[str, Sequence[float]]) -> bool:
        """Whether a draw's predictor is linear in its numeric parents at all discrete values."""
        if node.level is None:
            return True
        if self._is_text(parent):
            return False
        given = {p: v for p, v in values.items() if p in node.parents}
        text = {p: v for p, v in given.items() if self._is_text(p)}
        few = {p: v for p, v in given.items() if p not in text and self._few(p)}
        design, level = self.models[node.variable].design, node.level
        return all(
            design.at(level, held).degree <= 1
            or (
                bool(few)
                and all(design.at(level, held | own).degree <= 1 for own in _combinations(few))
            )
            for held in _combinations(text)
        )

    def modes(self, plan: Plan) -> tuple[str, ...]:
        """How each draw of a plan is integrated, decided from the last to the first."""
        normal = [self._is_normal(n) for n in plan.nodes]
        values = {
            n.variable: (n.value,) if n.value is not None else self._support(n)
            for n, is_normal in zip(plan.nodes, normal, strict=True)
            if not is_normal
        }
        text = {p: v for p, v in values.items() if self._is_text(p)}
        found = ["fixed"] * len(plan.nodes)
        for i in range(len(plan.nodes) - 1, -1, -1):
            node = plan.nodes[i]
            if node.level is None:
                continue
            later = [j for j, n in enumerate(plan.nodes) if i in n.parents.values()]
            users = [plan.nodes[j] for j in later]
            last = i in plan.outcome.parents.values()
            users += [plan.outcome] if last else []
            if normal[i]:
                carried = all(self._linear(n, node.variable, values) for n in users)
                carried = carried and all(found[j] in ("carried", "averaged") for j in later)
                found[i] = "carried" if carried else "integrated"
            else:
                plain = all(self._linear(n, node.variable, text) for n in users)
                plain = plain and (not last or self.link == "identity")
                plain = plain and all(self._only_mean(j, plan, found) for j in later)
                found[i] = "averaged" if plain else "summed"
        return self._whole_groups(plan, found)

    def _is_normal(self, node: Node) -> bool:
        return node.level is not None and isinstance(self.models[node.variable].family, Gaussian)

    def _is_text(self, variable: str) -> bool:
        return self.outcome.design.rows.columns[variable].is_text

    def _support(self, node: Node) -> tuple[float, ...]:
        """Values a discrete draw can take; of a count one of them."""
        return self.models[node.variable].support or (1.0,)

    def _only_mean(self, j: int, plan: Plan, found: Sequence[str]) -> bool:
        """Whether a draw is linear in its parents and only its mean matters later."""
        if found[j] != "carried" or self.link != "identity":
            return False
        later = [k for k, n in enumerate(plan.nodes) if j in n.parents.values()]
        return all(self._only_mean(k, plan, found) for k in later)

    def _whole_groups(self, plan: Plan, found: list[str]) -> tuple[str, ...]:
        """Integrate a whole joint group when one of its draws must be."""
        hard = {
            (plan.nodes[i].world, self.groups[plan.nodes[i].variable][0])
            for i, mode in enumerate(found)
            if mode == "integrated"
        }
        for i, node in enumerate(plan.nodes):
            if found[i] == "carried" and (node.world, self.groups[node.variable][0]) in hard:
                found[i] = "integrated"
        return tuple(found)

    def collapses(self, plan: Plan) -> bool:
        """Whether a cell's mean is its value at the mean design.

        So it is when everything is linear and no slope on a drawn value varies over units; then
        a replicate costs a few products of p numbers.
        """
        if self.link != "identity" or set(self.modes(plan)) - {"carried", "fixed"}:
            return False
        codes = {n.variable: n.value for n in plan.nodes if n.value is not None}
        for node in (*plan.nodes, plan.outcome):
            if node.level is None:
                continue
            given = {p: v for p, v in codes.items() if p in node.parents}
            predictor = self.predictor(node, given)
            if predictor.degree > 1 or predictor.terms is None:
                return False
            if any(len(z) > 1 for powers, z in predictor.terms.items() if sum(powers)):
                return False
        return True

    def covariance_groups(self, plans: Sequence[Plan]) -> tuple[str, ...]:
        """Groups whose residual covariance some cell depends on."""
        needed: set[str] = set()
        for plan in plans:
            modes = self.modes(plan)
            nonlinear = self.link != "identity" or any(m in ("summed", "averaged") for m in modes)
            for node, mode in zip(plan.nodes, modes, strict=True):
                if mode == "integrated" or (mode == "carried" and nonlinear):
                    needed.add(self.groups[node.variable][0])
        return tuple(sorted(needed))


def _combinations(values: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    """Every way to give each variable one of its values."""
    return (dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))
