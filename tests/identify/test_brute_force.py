"""Verdicts on natural effects against exact models, for all small graphs and a sample of larger."""

from __future__ import annotations

from types import ModuleType

import numpy as np


def test_three_nodes_and_a_sample_of_four_and_five(study: ModuleType) -> None:
    rng = np.random.default_rng(3)
    four, five = list(study.graphs(1)), list(study.graphs(2))
    assert (len(four), len(five)) == (60, 5140)
    chosen = [*study.graphs(0), *rng.choice(np.array(four, dtype=object), 6, replace=False)]
    chosen += list(rng.choice(np.array(five, dtype=object), 8, replace=False))
    verdicts = set()
    for k, graph in enumerate(chosen):
        for name in ("nde", "nie"):
            row = study.check(graph, name, k)
            assert row["checked"] == "right", row
            verdicts.add(row["verdict"])
    assert verdicts == {"identified", "not"}


def test_the_check_can_fail(study: ModuleType) -> None:
    """A formula that adjusts for nothing is caught where a covariate is needed."""
    graph = study.Graph.parse("v -> a; v -> m; v -> y; a -> m -> y; a -> y")
    found = study.roles(graph, treatment="a", mediators=["m"], outcome="y")
    asked = study.worlds(found, study.xw.NIE)
    rng = np.random.default_rng(0)
    model = study.family(graph, rng)
    weights = model.random(rng)
    law = study.observed(model, weights)
    truth = study.effect(model, weights, "nie")
    signs = [-1.0 if w.crosses else 1.0 for w in asked]

    def estimate(given: tuple[str, ...]) -> float:
        formulas = [study.adjusted(found, w, given) for w in asked]
        values = [study.value(f, law, graph.observed).squeeze() for f in formulas]
        return float(np.dot(signs, values))

    assert abs(estimate(("v",)) - truth) < 1e-12
    assert abs(estimate(()) - truth) > 1e-3


def test_simulated_truth_of_the_models(study: ModuleType) -> None:
    """The exact cross-world cell equals the mean over simulated units who live in both worlds."""
    graph = study.Graph.parse(
        "v -> a; v -> m; v -> y; a -> m -> y; a -> y; w -> m; w -> y; w [latent]"
    )
    rng = np.random.default_rng(5)
    model = study.family(graph, rng)
    weights = model.random(rng)
    n = 400_000
    kinds = {v: rng.choice(len(w), size=n, p=w) for v, w in weights.items()}

    def world(treatment: int, mediator: np.ndarray | None) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        for v in model.order:
            parents = tuple(values[p] for p in graph.parents[v])
            values[v] = model.functions[v][(kinds[v], *parents)]
            if v == "a":
                values[v] = np.full(n, treatment)
            if v == "m" and mediator is not None:
                values[v] = mediator
        return values

    natural = world(0, None)["m"]
    crossed = world(1, natural)["y"].mean()
    assert abs(crossed - study.cell(model, weights, 1, 0)) < 4 * 0.5 / np.sqrt(n)
