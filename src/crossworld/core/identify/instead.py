"""What can be had where an effect cannot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from crossworld.core.effects import CDE, IDE, IIE, TE
from crossworld.core.estimand import Estimand, needed
from crossworld.core.identify.adjustment import candidates
from crossworld.core.identify.cells import Obstacle, functional
from crossworld.core.identify.roles import Roles
from crossworld.core.identify.separable import PARTS, SeparableEffect, assigned
from crossworld.core.identify.worlds import World, world


def alternatives(roles: Roles, asked: str) -> tuple[str, ...]:
    """Names of effects that the same graph identifies, and of what else would help."""
    found = []
    simple = {"te": (TE,)}
    if roles.mediators:
        simple |= {"cde": (CDE(0),), "ide": (IDE,), "iie": (IIE,)}
    for name, effects in simple.items():
        if name != asked and all(_is_identified(roles, e) for e in effects):
            found.append(name)
    if {"ide", "iie"} <= set(found):
        found.append("oe")
    found += [name for name in _separable(roles) if name != asked]
    if roles.mediators and "te" in (*found, asked):
        a, treated = roles.treatment, (roles.outcome, *roles.mediators)
        free = candidates(roles.mixed, a, treated)
        cut = roles.mixed.without((a, c) for c in roles.mixed.children[a])
        if cut.separated([a], treated, free):
            found += ["bounds", "auxiliary experiment"]
    return tuple(found)


def _is_identified(roles: Roles, effect: Estimand) -> bool:
    return all_identified(roles, worlds(roles, effect))


def worlds(roles: Roles, effect: Estimand) -> tuple[World, ...]:
    """The cells of an effect in terms of the graph."""
    bound = effect.bind(tuple((m,) for m in roles.mediators))
    return tuple(world(c, roles.mediators) for c in needed((bound,)))


def all_identified(roles: Roles, asked: Iterable[World]) -> bool:
    """Whether every cell has a functional."""
    return not any(isinstance(functional(roles, w), Obstacle) for w in asked)


def _separable(roles: Roles) -> list[str]:
    """SeparableEffect effects that are identified, with the components they need."""
    if not roles.mediators:
        return []
    _, open_nodes = assigned(SeparableEffect("direct"), roles)
    found = []
    for parts in product(PARTS, repeat=len(open_nodes)):
        components = tuple(zip(open_nodes, parts, strict=True))
        for part in PARTS:
            question = SeparableEffect(part, components)  # type: ignore[arg-type]
            pair, _ = assigned(question, roles)
            if open_nodes and all_identified(roles, pair):
                found.append(question.name)
    return found
