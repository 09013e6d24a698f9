"""Check every verdict on natural effects against brute force, graph by graph.

    python studies/identification.py [--most 2000] [--seed 0]

Graphs: all directed acyclic graphs on a treatment ``a``, a mediator ``m`` (on a directed path), an
outcome ``y`` and up to two more nodes, each of these measured or not; where there are more than
``--most`` of one size, a random sample. Models: structural models with independent errors, binary
measured nodes and four-valued unmeasured ones, every node a mixture of random functions of its
parents, so that observed laws and cross-world means are exact sums.

- A graph said to identify an effect must give, on 20 random models, the formula's value equal to
  the model's effect: for the general formula and for the adjustment formula of every minimal set.
- A graph said not to must have two models whose observed laws agree to 1e-9 and whose effects
  differ by more than 1e-3: from a random model, along a direction that leaves the observed law
  unchanged to first order, corrected by Newton steps.

Graphs for which no such pair is found are undecided: counted and printed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import crossworld as xw
from crossworld.core.graph.dag import Graph, topological
from crossworld.core.identify.adjustment import adjustment_sets, candidates
from crossworld.core.identify.cells import Obstacle, functional
from crossworld.core.identify.formulas import adjusted
from crossworld.core.identify.functional import At, Functional, Mean, Prob, Product, Ratio, Sum
from crossworld.core.identify.instead import worlds
from crossworld.core.identify.roles import Roles, roles
from crossworld.core.identify.verdict import needs, remaining

HERE = Path(__file__).parent
FUNCTIONS, STATES = 12, 4
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Family:
    """Structural models over one graph: fixed functions, free mixture weights.

    ``functions[v]`` has shape (FUNCTIONS, *parents' sizes) and holds the value of ``v``; an
    unmeasured node without parents has its states as functions of nothing.
    """

    graph: Graph
    order: tuple[str, ...]
    functions: Mapping[str, np.ndarray]

    def size(self, node: str) -> int:
        return STATES if node in self.graph.latent else 2

    def random(self, rng: np.random.Generator) -> dict[str, Array]:
        """Weights well inside the simplex."""
        return {v: rng.dirichlet(np.full(len(f), 2.0)) for v, f in self.functions.items()}


def family(graph: Graph, rng: np.random.Generator) -> Family:
    """Draw the functions of a family.

    Constants among them keep every value possible; copies of each parent make strong models.
    """
    order = topological(graph.nodes, graph.parents)
    found = {}
    for v in order:
        size = STATES if v in graph.latent else 2
        shape = tuple(STATES if p in graph.latent else 2 for p in graph.parents[v])
        table = rng.integers(0, size, size=(FUNCTIONS, *shape))
        for value in range(size):
            table[value] = value
        for k in range(len(shape)):
            table[size + k] = np.minimum(np.indices(shape)[k], size - 1)
        found[v] = table
    return Family(graph, order, found)


def _node(f: Family, v: str, weights: Array, copies: tuple[Mapping[str, str], ...]) -> Array:
    """Joint law of copies of a node given their parents: axes (copies..., parents' axes...)."""
    parents = f.graph.parents[v]
    axes = list(dict.fromkeys(c[p] for c in copies for p in parents))
    shape = tuple(f.size(name.partition("@")[0]) for name in axes)
    grid = np.indices(shape) if shape else np.zeros((0,), dtype=int)
    values = []
    for c in copies:
        at = tuple(grid[axes.index(c[p])] for p in parents)
        picked = [table[at] if at else np.asarray(table) for table in f.functions[v]]
        values.append(np.stack([np.broadcast_to(t, shape) for t in picked]))
    size = f.size(v)
    law = np.zeros((size,) * len(copies) + shape)
    for combo in itertools.product(range(size), repeat=len(copies)):
        hit = np.ones((len(weights), *shape), dtype=bool)
        for value, found in zip(combo, values, strict=True):
            hit &= found == value
        law[combo] = np.tensordot(weights, hit, axes=1)
    return law


def _contract(tables: list[tuple[list[str], Array]], keep: list[str]) -> Array:
    names = list(dict.fromkeys(n for axes, _ in tables for n in axes))
    index = {n: k for k, n in enumerate(names)}
    operands: list[Any] = []
    for axes, table in tables:
        operands += [table, [index[n] for n in axes]]
    out: Array = np.einsum(*operands, [index[n] for n in keep], optimize="greedy")
    return out


def observed(f: Family, weights: Mapping[str, Array]) -> Array:
    """Law of the measured nodes, axes in the graph's order of nodes."""
    tables = []
    for v in f.order:
        copy = {p: p for p in f.graph.parents[v]}
        law = _node(f, v, weights[v], (copy,))
        tables.append(([v, *dict.fromkeys(copy.values())], law))
    return _contract(tables, [n for n in f.graph.nodes if n not in f.graph.latent])


def cell(f: Family, weights: Mapping[str, Array], a: int, b: int) -> float:
    """E[Y(a, M(b))]: two worlds with shared errors, the mediator of the second in the first."""
    after = f.graph.descendants(["a"])
    tables: list[tuple[list[str], Array]] = [
        (["a@1"], np.eye(2)[a]),
        (["a@2"], np.eye(2)[b]),
    ]

    def copy(p: str, which: int) -> str:
        if p == "m":
            return "m@2"  # the first world sees the second world's mediator
        return f"{p}@{which}" if p in after else p

    for v in f.order:
        if v == "a":
            continue
        parents = f.graph.parents[v]
        if v not in after:
            law = _node(f, v, weights[v], ({p: p for p in parents},))
            tables.append(([v, *parents], law))
            continue
        both = tuple({p: copy(p, which) for p in parents} for which in (1, 2))
        if v == "m":  # natural in the second world only
            own = {p: (f"{p}@2" if p in after else p) for p in parents}
            tables.append((["m@2", *dict.fromkeys(own.values())], _node(f, v, weights[v], (own,))))
            continue
        law = _node(f, v, weights[v], both)
        axes = list(dict.fromkeys(c[p] for c in both for p in parents))
        tables.append(([f"{v}@1", f"{v}@2", *axes], law))
    return float(_contract(tables, ["y@1"])[1])


def effect(f: Family, weights: Mapping[str, Array], name: str) -> float:
    """A natural effect of the model."""
    if name == "nde":
        return cell(f, weights, 1, 0) - cell(f, weights, 0, 0)
    return cell(f, weights, 1, 1) - cell(f, weights, 1, 0)


def value(formula: Functional, law: Array, nodes: tuple[str, ...]) -> Array:
    """Evaluate a functional on a law: an array with one axis for every measured node."""
    place = {n: k for k, n in enumerate(nodes)}

    def margin(names: tuple[str, ...]) -> Array:
        drop = tuple(place[n] for n in nodes if n not in names)
        return law.sum(axis=drop, keepdims=True)

    if isinstance(formula, Prob):
        return margin((*formula.of, *formula.given)) / margin(formula.given)
    if isinstance(formula, Product):
        out = np.ones((1,) * len(nodes))
        for f in formula.factors:
            out = out * value(f, law, nodes)
        return out
    if isinstance(formula, Ratio):
        return value(formula.top, law, nodes) / value(formula.bottom, law, nodes)
    if isinstance(formula, At):
        out = value(formula.body, law, nodes)
        for name, level in formula.values:
            if out.shape[place[name]] > 1:
                out = np.take(out, [int(level)], axis=place[name])
        return out
    if isinstance(formula, Mean):
        body = formula.body or Prob((formula.node,), formula.given)
        held = np.take(value(body, law, nodes), [1], axis=place[formula.node])
        return held
    assert isinstance(formula, Sum)
    out = value(formula.body, law, nodes)
    for name in formula.over:
        k = place[name]
        # a node the body does not mention is summed over both of its values
        out = out.sum(axis=k, keepdims=True) if out.shape[k] > 1 else 2.0 * out
    return out


def formulas(found: Roles, name: str) -> list[list[Functional]] | None:
    """Formulas of the two cells of an effect: the general one and one per minimal set.

    No formula when the effect is 0 by the graph, None when it is not identified.
    """
    question = xw.estimand(name)
    asked = worlds(found, question)
    if not remaining(found, question, asked):
        return []
    asked = tuple(sorted(asked, key=lambda w: w.crosses == (name == "nie")))
    general = [functional(found, w) for w in asked]
    if any(isinstance(f, Obstacle) for f in general):
        return None
    wanted = needs(found, asked)
    named = {"a", "m", "y"}
    sets = adjustment_sets(found.mixed, wanted, candidates(found.mixed, "a", named), "a")
    every = [[f for f in general if not isinstance(f, Obstacle)]]
    tried = [*sets.minimal, *([sets.efficient] if sets.efficient else [])] if sets else []
    return [*every, *([adjusted(found, w, chosen) for w in asked] for chosen in tried)]


def worst_error(graph: Graph, name: str, rng: np.random.Generator, models: int = 20) -> float:
    """Largest difference of any formula from the truth over random models."""
    found = roles(graph, treatment="a", mediators=["m"], outcome="y")
    every = formulas(found, name)
    assert every is not None
    worst = 0.0
    for _ in range(models):
        f = family(graph, rng)
        weights = f.random(rng)
        law, truth = observed(f, weights), effect(f, weights, name)
        worst = max(worst, 0.0 if every else abs(truth))
        for first, second in every:
            got = value(first, law, graph.observed) - value(second, law, graph.observed)
            worst = max(worst, abs(float(got.squeeze()) - truth))
    return worst


def _pack(weights: Mapping[str, Array], keys: tuple[str, ...]) -> Array:
    return np.concatenate([weights[k] for k in keys])


def _unpack(vector: Array, keys: tuple[str, ...], f: Family) -> dict[str, Array]:
    sizes = [len(f.functions[k]) for k in keys]
    return dict(zip(keys, np.split(vector, np.cumsum(sizes)[:-1]), strict=True))


def _slopes(f: Family, keys: tuple[str, ...], at: Array, name: str) -> tuple[Array, Array]:
    """Derivatives of the observed law and the effect, affine in every node's weights."""
    base = _unpack(at, keys, f)
    rows, slope = [], []
    for k in keys:
        for j in range(len(base[k])):
            unit = np.zeros(len(base[k]))
            unit[j] = 1.0
            moved = {**base, k: unit}
            rows.append(observed(f, moved).ravel())
            slope.append(effect(f, moved, name))
    return np.array(rows).T, np.array(slope)


def _tangent(f: Family, keys: tuple[str, ...]) -> Array:
    """Projection onto directions in which every node's weights keep their sum."""
    blocks = [np.eye(n) - 1.0 / n for n in (len(f.functions[k]) for k in keys)]
    size = sum(len(b) for b in blocks)
    out, at = np.zeros((size, size)), 0
    for b in blocks:
        out[at : at + len(b), at : at + len(b)] = b
        at += len(b)
    return out


def pair(graph: Graph, name: str, rng: np.random.Generator, tries: int = 12) -> tuple[float, float]:
    """Two models: how far apart their observed laws (at most) and their effects (at least) are."""
    best = (np.inf, 0.0)
    for _ in range(tries):
        f = family(graph, rng)
        weights = f.random(rng)
        start = _pack(weights, f.order)
        law, truth = observed(f, weights).ravel(), effect(f, weights, name)
        at = start
        for _ in range(15):
            moved = _climbed(f, at, name, law)
            if moved is None:
                break
            at = moved
            there = _unpack(at, f.order, f)
            error = float(np.abs(observed(f, there).ravel() - law).max())
            apart = effect(f, there, name) - truth
            if error < 1e-9 and apart > best[1]:
                best = (error, apart)
            if best[1] > 1e-3:
                return best
    return best


def _climbed(f: Family, at: Array, name: str, law: Array) -> Array | None:
    """A model with the same observed law and a larger effect, or None."""
    inside = _tangent(f, f.order)
    jacobian, slope = _slopes(f, f.order, at, name)
    flat = jacobian @ inside
    free = inside @ slope
    free = free - np.linalg.pinv(flat, rcond=1e-10) @ (flat @ free)
    if np.linalg.norm(free) < 1e-7:
        return None
    free /= np.abs(free).max()
    room = np.min(np.where(free < 0, at / np.maximum(-free, 1e-12), np.inf))
    before = effect(f, _unpack(at, f.order, f), name)
    for share in (0.9, 0.5, 0.25, 0.1):
        there = _corrected(f, f.order, at + share * room * free, law)
        if there is not None and effect(f, _unpack(there, f.order, f), name) > before:
            return there
    return None


def _corrected(f: Family, keys: tuple[str, ...], at: Array, law: Array) -> Array | None:
    """Newton steps back to the observed law, or None when they leave the simplex."""
    inside = _tangent(f, keys)
    for _ in range(12):
        gap = observed(f, _unpack(at, keys, f)).ravel() - law
        if np.abs(gap).max() < 1e-12:
            break
        base = _unpack(at, keys, f)
        rows = []
        for k in keys:
            for j in range(len(base[k])):
                unit = np.zeros(len(base[k]))
                unit[j] = 1.0
                rows.append(observed(f, {**base, k: unit}).ravel())
        flat = np.array(rows).T @ inside
        at = at - np.linalg.pinv(flat, rcond=1e-10) @ gap
    return at if at.min() >= 0.0 else None


def graphs(others: int) -> Iterator[Graph]:
    """Every graph with the mediator on a path, others measured or not, each once."""
    extra = ["v", "w"][:others]
    nodes = ["a", "m", "y", *extra]
    pairs = list(itertools.combinations(nodes, 2))
    for states in itertools.product((0, 1, 2), repeat=len(pairs)):
        edges = [(p, q) if s == 1 else (q, p) for (p, q), s in zip(pairs, states, strict=True) if s]
        try:
            graph = Graph.from_edges(edges, nodes=nodes)
        except xw.errors.DesignError:
            continue
        before = graph.ancestors(["y"])
        if "a" in graph.descendants(["y"]) or "m" not in graph.descendants(["a"]) & before:
            continue
        for hidden in _patterns(extra, graph):
            yield graph.hide(hidden)


def _patterns(extra: list[str], graph: Graph) -> Iterator[tuple[str, ...]]:
    """Sets of unmeasured nodes; one that affects fewer than two nodes changes nothing."""
    for size in range(len(extra) + 1):
        for hidden in itertools.combinations(extra, size):
            if all(len(graph.children[h]) > 1 for h in hidden):
                yield hidden


def check(graph: Graph, name: str, seed: int) -> dict[str, Any]:
    """One verdict, checked."""
    rng = np.random.default_rng(seed)
    found = roles(graph, treatment="a", mediators=["m"], outcome="y")
    row: dict[str, Any] = {"graph": str(graph), "effect": name}
    if formulas(found, name) is not None:
        error = worst_error(graph, name, rng)
        verdict = "right" if error < 1e-9 else "WRONG"
        return {**row, "verdict": "identified", "checked": verdict, "law": "", "effects": error}
    law, apart = pair(graph, name, rng)
    verdict = "right" if law < 1e-9 and apart > 1e-3 else "undecided"
    return {**row, "verdict": "not", "checked": verdict, "law": law, "effects": apart}


def main() -> None:
    """Check all graphs, or a sample, and save the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    summary, bad = [], []
    for others in (0, 1, 2):
        start = time.perf_counter()
        every = list(graphs(others))
        rng = np.random.default_rng([options.seed, others])
        chosen = every
        if len(every) > options.most:
            at = np.sort(rng.choice(len(every), options.most, replace=False))
            chosen = [every[k] for k in at]
        counts: dict[tuple[str, str, str], int] = {}
        worst, nearest = 0.0, np.inf
        for k, graph in enumerate(chosen):
            for name in ("nde", "nie"):
                row = check(graph, name, options.seed + k)
                key = (name, row["verdict"], row["checked"])
                counts[key] = counts.get(key, 0) + 1
                if row["checked"] != "right":
                    bad.append(row)
                elif row["verdict"] == "identified":
                    worst = max(worst, row["effects"])
                else:
                    nearest = min(nearest, row["effects"])
        for (name, verdict, checked), count in sorted(counts.items()):
            summary.append(
                {"nodes": 3 + others, "graphs": len(every), "checked_graphs": len(chosen),
                 "effect": name, "verdict": verdict, "check": checked, "count": count}
            )  # fmt: skip
        seconds = time.perf_counter() - start
        print(f"{3 + others} nodes: {len(chosen)} of {len(every)} graphs, {seconds:.0f} s")
        print(
            f"  largest error of a formula {worst:.1e}; smallest difference of a pair {nearest:.1e}"
        )
        for row in summary:
            if row["nodes"] == 3 + others:
                print("  ", row["effect"], row["verdict"], row["check"], row["count"], flush=True)
    for row in bad:
        print(row)
    with (HERE / "identification.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(summary[0]))
        writer.writeheader()
        writer.writerows(summary)


if __name__ == "__main__":
    main()
