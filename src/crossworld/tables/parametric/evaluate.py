"""Evaluate cells exactly for many parameter vectors at once: arrays are (B, n)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import EstimationError
from crossworld.tables.parametric.families import COUNTS
from crossworld.tables.parametric.law import LINKS, Laws, Parameters
from crossworld.tables.parametric.models import Model
from crossworld.tables.parametric.plan import Node, Plan, World
from crossworld.tables.parametric.quadrature import hermite, inverse, mean_over_normal

Array = NDArray[np.float64]
Latent = tuple[World, str]  # one standard normal: the residual of a variable in a world
TAIL = 1e-12  # share of a sum over counts that may be left out
MOST_COUNTS = 4000


@dataclass(frozen=True, slots=True)
class Value:
    """A drawn value.

    Parameters
    ----------
    mean
        Numbers, (B, n) or broadcastable.
    loads
        Loadings on standard normals, for a carried draw.
    code
        The value itself, for a fixed or summed draw.
    point
        The standard normal behind it, for an integrated draw.
    """

    mean: Array
    loads: Mapping[Latent, Array] = field(default_factory=dict)
    code: float | None = None
    point: float | None = None

    def spread(self) -> Array | None:
        """Standard deviation of the carried part, None when there is none."""
        if not self.loads:
            return None
        total: Array = sum((v * v for v in self.loads.values()), start=np.zeros((1, 1)))
        return np.asarray(np.sqrt(total))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One batch of parameters on the rows cells are averaged over; products are made once.

    Parameters
    ----------
    laws, parameters
        The models, and B parameter vectors.
    nodes
        Gauss-Hermite nodes where there is no closed form.
    log_odds
        Use the rare-outcome form: odds of a cell are the mean of ``exp(eta)``.
    share
        Weights (B, n) or (1, n), summing to 1, under which designs are averaged before anything
        is computed; only for plans that collapse.
    """

    laws: Laws
    parameters: Parameters
    nodes: int
    log_odds: bool = False
    share: Array | None = None
    memo: dict[tuple[object, ...], Array] = field(default_factory=dict)

    def cell(self, plan: Plan) -> Array:
        """Mean outcome of each unit, (B, n), or with 1 where all agree."""
        return _Walk(self, plan, self.laws.modes(plan)).expand((), None)

    def product(self, key: tuple[object, ...], theta: Array, z: Array) -> Array:
        """Linear predictor of (B, p) coefficients on (n, p) rows, made once: (B, n) or (B, 1)."""
        if key not in self.memo:
            if self.share is None or len(z) == 1:
                self.memo[key] = theta @ z.T
            else:
                self.memo[key] = np.einsum(
                    "bp,bp->b", theta, np.broadcast_to(self.share @ z, theta.shape)
                )[:, None]
        return self.memo[key]


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """The integration of one cell, draw after draw."""

    batch: Evaluation
    plan: Plan
    modes: tuple[str, ...]

    def expand(self, values: tuple[Value, ...], weight: Array | None) -> Array:
        """Integrate the draws that are left, given those made and their weight (None: 1)."""
        i = len(values)
        if i == len(self.plan.nodes):
            found = self._outcome(values)
            return found if weight is None else weight * found
        node, mode = self.plan.nodes[i], self.modes[i]
        counts = mode == "summed" and self._is_count(node)
        total: Array | None = None
        left = np.ones((1, 1))
        for value, share in self._branches(node, mode, values):
            part = self.expand((*values, value), _product(weight, share))
            total = part if total is None else total + part
            if counts and share is not None:
                left = left - share
                if left.max() < TAIL and (np.abs(part) <= TAIL * np.abs(total)).all():
                    break
        assert total is not None
        return total

    def _is_count(self, node: Node) -> bool:
        return isinstance(self.batch.laws.models[node.variable].family, COUNTS)

    def _branches(
        self, node: Node, mode: str, values: Sequence[Value]
    ) -> Iterator[tuple[Value, Array | None]]:
        if mode == "fixed":
            assert node.value is not None
            yield Value(np.full((1, 1), node.value), code=node.value), None
        elif mode == "carried":
            yield self._carried(node, values), None
        elif mode == "averaged":
            yield Value(self._average(node, values)), None
        elif mode == "summed":
            yield from self._summed(node, values)
        else:
            yield from self._integrated(node, values)

    def _outcome(self, values: Sequence[Value]) -> Array:
        eta = self._predictors(self.plan.outcome, values)[0]
        link = "log" if self.batch.log_odds else self.batch.laws.link
        return mean_over_normal(link, eta.mean, eta.spread(), self.batch.nodes)

    def _carried(self, node: Node, values: Sequence[Value]) -> Value:
        eta = self._predictors(node, values)[0]
        loads = dict(eta.loads)
        for latent, load in self._residual(node):
            loads[latent] = loads[latent] + load if latent in loads else load
        return Value(eta.mean, loads)

    def _residual(self, node: Node) -> list[tuple[Latent, Array]]:
        """Loadings of a normal draw's residual: its row of the Cholesky factor.

        The factor is that of the group's members that this plan draws in this world.
        """
        group, _, names = self.batch.laws.groups[node.variable]
        if group not in self.batch.parameters.covariance:
            return []
        drawn = {n.variable for n in self.plan.nodes if n.world == node.world}
        at = tuple(j for j, name in enumerate(names) if name in drawn)
        key = ("cholesky", group, at)
        if key not in self.batch.memo:
            covariance = self.batch.parameters.covariance[group]
            self.batch.memo[key] = _cholesky(covariance[:, at][:, :, at])
        row = at.index(names.index(node.variable))
        factor = self.batch.memo[key][:, row, :]
        return [((node.world, names[at[j]]), factor[:, j : j + 1]) for j in range(row + 1)]

    def _average(self, node: Node, values: Sequence[Value]) -> Array:
        """Mean of a discrete draw; its predictor may be normal."""
        model, eta = self.batch.laws.models[node.variable], self._predictors(node, values)
        spread, name = eta[0].spread(), model.family.name
        if isinstance(model.family, COUNTS):
            return mean_over_normal("log", eta[0].mean, spread, self.batch.nodes)
        if name in LINKS:
            low, high = model.support
            share = mean_over_normal(LINKS[name], eta[0].mean, spread, self.batch.nodes)
            return low + (high - low) * share
        if spread is None:
            return _weighted(model, [e.mean for e in eta])
        latents = {latent for e in eta for latent in e.loads}
        if len(latents) != 1:
            raise EstimationError(
                f"the mean of {model.name!r} over several normal mediators has no exact form here; "
                f"write its formula with one of them, or list it before them in the path"
            )
        latent, total = latents.pop(), np.zeros((1, 1))
        for z, w in zip(*hermite(self.batch.nodes), strict=True):
            moved = [e.mean + e.loads[latent] * z if latent in e.loads else e.mean for e in eta]
            total = total + w * _weighted(model, moved)
        return total

    def _summed(self, node: Node, values: Sequence[Value]) -> Iterator[tuple[Value, Array]]:
        """Support points of a discrete draw with their probabilities."""
        model = self.batch.laws.models[node.variable]
        u = [e.mean for e in self._predictors(node, values)]
        if isinstance(model.family, COUNTS):
            yield from _counts(model, u)
            return
        if model.family.name in LINKS:
            p = inverse(LINKS[model.family.name], u[0])
            chances = [1.0 - p, p]
        else:
            chances = model.family.probabilities(u)  # type: ignore[attr-defined]
        for value, chance in zip(model.support, chances, strict=True):
            yield Value(np.full((1, 1), value), code=value), chance

    def _integrated(self, node: Node, values: Sequence[Value]) -> Iterator[tuple[Value, Array]]:
        """Gauss-Hermite points of a normal draw, given its group's points drawn before it."""
        mean = self._predictors(node, values)[0].mean
        made = {(n.world, n.variable): v for n, v in zip(self.plan.nodes, values, strict=False)}
        *before, (_, own) = self._residual(node)
        for latent, load in before:
            point = made[latent].point
            assert point is not None
            mean = mean + load * point
        for z, w in zip(*hermite(self.batch.nodes), strict=True):
            yield Value(mean + own * z, point=float(z)), np.full((1, 1), w)

    def _predictors(self, node: Node, values: Sequence[Value]) -> list[Value]:
        """Linear predictors of a draw's law given the draws before it."""
        model = self.batch.laws.models[node.variable]
        given = {p: values[i] for p, i in node.parents.items()}
        codes = {p: v.code for p, v in given.items() if v.code is not None}
        predictor = self.batch.laws.predictor(node, codes)
        if predictor.terms is None:
            return self._rebuilt(node, model, given, codes)
        theta, layout = self.batch.parameters.theta[node.variable], model.layout
        used = {p: codes[p] for p in codes if p not in predictor.parents}
        place = (node.variable, node.level, tuple(sorted(used.items())))
        scaled = {
            p: _standard(given[p], c, s)
            for p, c, s in zip(predictor.parents, predictor.center, predictor.scale, strict=True)
        }
        found = []
        for k in range(model.family.predictors):
            if k >= model.family.wide:
                found.append(Value(theta[:, layout.part(k)]))
                continue
            total: Value | None = None
            for powers, z in predictor.terms.items():
                key = (*place, powers, k)
                chosen = [
                    scaled[p]
                    for p, e in zip(predictor.parents, powers, strict=True)
                    for _ in range(e)
                ]
                product = self.batch.product(key, theta[:, layout.part(k)], z)
                total = _plus(total, product, chosen)
            assert total is not None
            found.append(total)
        return found

    def _rebuilt(
        self, node: Node, model: Model, given: Mapping[str, Value], codes: Mapping[str, float]
    ) -> list[Value]:
        """Predictors of a design that is no polynomial, built at the values drawn."""
        assert node.level is not None
        theta, layout, design = (
            self.batch.parameters.theta[node.variable],
            model.layout,
            model.design,
        )
        if len(codes) == len(given):
            terms = design.at(node.level, codes).terms
            assert terms is not None
            return [Value(v) for v in layout.predictors(theta, next(iter(terms.values())))]
        draws, rows = theta.shape[0], design.rows.size
        values = {p: np.broadcast_to(v.mean, (draws, rows)) for p, v in given.items()}
        copies = [
            {design.treatment: node.level, **{p: v[b] for p, v in values.items()}}
            for b in range(draws)
        ]
        raw = design.raw(copies)
        if not np.isfinite(raw).all():
            raise EstimationError(
                f"{design.formula!r} is not finite at values that a normal mediator takes (a "
                "logarithm of a negative number?); transform the column in the table instead"
            )
        z = design.coordinates(raw).reshape(draws, rows, -1)
        return [
            Value(
                np.einsum("bnp,bp->bn", z, theta[:, layout.part(k)])
                if k < model.family.wide
                else theta[:, layout.part(k)]
            )
            for k in range(model.family.predictors)
        ]


def _cholesky(covariance: Array) -> Array:
    try:
        return np.asarray(np.linalg.cholesky(covariance))
    except np.linalg.LinAlgError:
        found = np.full(covariance.shape, np.nan)
        for b, one in enumerate(covariance):
            try:
                found[b] = np.linalg.cholesky(one)
            except np.linalg.LinAlgError:
                continue
        return found


def _standard(value: Value, center: float, scale: float) -> Value:
    if center == 0.0 and scale == 1.0:
        return value
    loads = {latent: load / scale for latent, load in value.loads.items()}
    return Value((value.mean - center) / scale, loads)


def _product(weight: Array | None, share: Array | None) -> Array | None:
    """Product of two weights, of which None is 1."""
    if weight is None or share is None:
        return share if weight is None else weight
    return weight * share


def _plus(total: Value | None, coefficient: Array, factors: Sequence[Value]) -> Value:
    """Add ``coefficient * product of factors``, of which at most one carries loadings."""
    carried: Value | None = None
    for factor in factors:
        if factor.loads:
            assert carried is None, "a product of carried draws is integrated, never carried"
            carried = factor
        else:
            coefficient = coefficient * factor.mean
    if carried is not None and total is not None:
        loads = dict(total.loads)
        for latent, load in carried.loads.items():
            moved = coefficient * load
            loads[latent] = loads[latent] + moved if latent in loads else moved
        return Value(total.mean + coefficient * carried.mean, loads)
    if carried is not None:
        loads = {latent: coefficient * load for latent, load in carried.loads.items()}
        return Value(coefficient * carried.mean, loads)
    return Value(coefficient) if total is None else Value(total.mean + coefficient, total.loads)


def _weighted(model: Model, u: list[Array]) -> Array:
    """Mean of a categorical response: support values weighted by their probabilities."""
    chances = model.family.probabilities(u)  # type: ignore[attr-defined]
    total: Array = sum(
        (v * p for v, p in zip(model.support, chances, strict=True)), start=np.zeros((1, 1))
    )
    return total


def _counts(model: Model, u: list[Array]) -> Iterator[tuple[Value, Array]]:
    """Support of a count from 0 on; the caller stops when the rest no longer matters."""
    for k in range(MOST_COUNTS):
        mass = np.exp(model.family.log_mass(np.float64(k), u))  # type: ignore[attr-defined]
        yield Value(np.full((1, 1), float(k)), code=float(k)), mass
    raise EstimationError(
        f"the counts of {model.name!r} run beyond {MOST_COUNTS}; model it as gaussian, perhaps of "
        "its logarithm"
    )
