"""The set called most efficient has the smallest variance bound of all valid sets, in every law."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.identify.adjustment import adjustment_sets, blocks, candidates
from crossworld.core.identify.instead import worlds
from crossworld.core.identify.roles import roles
from crossworld.core.identify.verdict import needs

Law = np.ndarray


def _given(law: Law, place: dict[str, int], of: tuple[str, ...], given: tuple[str, ...]) -> Law:
    def margin(names: tuple[str, ...]) -> Law:
        return law.sum(axis=tuple(k for n, k in place.items() if n not in names), keepdims=True)

    return margin((*of, *given)) / margin(given)


def bound(law: Law, nodes: tuple[str, ...], chosen: tuple[str, ...], effect: str) -> float:
    """Variance of the efficient influence function of an effect when adjusting for a set."""
    place = {n: k for k, n in enumerate(nodes)}
    grid = np.indices(law.shape)
    a, y = grid[place["a"]], grid[place["y"]]

    def level(array: Law, value: int) -> Law:
        return np.take(array, [value], axis=place["a"])

    def mean(given: tuple[str, ...]) -> Law:
        return np.take(_given(law, place, ("y",), given), [1], axis=place["y"])

    e = _given(law, place, ("a",), chosen)

    def total(b: int) -> Law:
        mu = level(mean(("a", *chosen)), b)
        return (a == b) / level(e, b) * (y - mu) + mu

    if effect == "te":
        psi = total(1) - total(0)
    else:
        em = _given(law, place, ("a",), ("m", *chosen))
        mu = level(mean(("a", "m", *chosen)), 1)
        omega = (mu * level(_given(law, place, ("m",), ("a", *chosen)), 0)).sum(
            axis=place["m"], keepdims=True
        )
        ratio = level(em, 0) / (level(em, 1) * level(e, 0))
        crossed = (a == 1) * ratio * (y - mu) + (a == 0) / level(e, 0) * (mu - omega) + omega
        psi = total(1) - crossed if effect == "nie" else crossed - total(0)
    centre = float((law * psi).sum())
    return float((law * (psi - centre) ** 2).sum())


@pytest.mark.parametrize(
    ("graph", "effect"),
    [
        ("z -> a; z -> v; v -> y; a -> m -> y; a -> y; w -> y", "te"),
        ("z -> a; z -> m; z -> y; a -> m -> y; a -> y; w -> y", "te"),
        ("v -> a; a -> m -> y; a -> y; w -> y", "te"),
        ("v -> a; a -> m -> y; a -> y", "nde"),
        ("v -> a; z -> {a m y}; a -> m -> y; a -> y", "nie"),
    ],
)
def test_no_valid_set_has_a_smaller_bound(study: ModuleType, graph: str, effect: str) -> None:
    g = xw.Graph.parse(graph)
    question = xw.estimand(effect)
    found = xw.identify(g, question, treatment="a", mediators=["m"], outcome="y")
    assert found.efficient is not None
    known = roles(g, treatment="a", mediators=["m"], outcome="y")
    wanted = needs(known, worlds(known, question))
    free = [n for n in g.nodes if n not in ("a", "m", "y")]
    allowed = candidates(known.mixed, "a", ("a", "m", "y"))
    assert adjustment_sets(known.mixed, wanted, allowed, "a") is not None
    valid = [
        s
        for size in range(len(free) + 1)
        for s in itertools.combinations(free, size)
        if blocks(known.mixed, wanted, frozenset(s))
    ]
    assert len(valid) > 1
    rng = np.random.default_rng(1)
    strictly = 0
    for _ in range(15):
        model = study.family(g, rng)
        law = study.observed(model, model.random(rng))
        best = bound(law, g.observed, found.efficient, effect)
        others = [bound(law, g.observed, s, effect) for s in valid]
        assert best <= min(others) + 1e-10
        strictly += max(others) > best + 1e-4
    assert strictly > 5


def test_for_natural_effects_a_predictor_of_the_outcome_may_help_or_hurt(
    study: ModuleType,
) -> None:
    g = xw.Graph.parse("a -> m -> y; a -> y; w -> y")
    found = xw.identify(g, xw.NDE, treatment="a", mediators=["m"], outcome="y")
    assert found.efficient is None
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(30):
        model = study.family(g, rng)
        law = study.observed(model, model.random(rng))
        gains.append(bound(law, g.observed, (), "nde") - bound(law, g.observed, ("w",), "nde"))
    assert min(gains) < -1e-4
    assert max(gains) > 1e-4
