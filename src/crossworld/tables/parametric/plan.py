"""A cell as a sequence of draws: which model, at which level, given which earlier draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossworld.core.expression import Cell
from crossworld.core.regime import Draw, Fixed, Level, Random

World = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One draw.

    Parameters
    ----------
    variable
        What is drawn.
    level
        Treatment level of its law; for a fixed variable, None.
    value
        The value (code) a fixed variable is held at, else None.
    parents
        Variable -> index of the earlier draw its law is given.
    world
        Draws of one world in one joint block share their residuals' correlation.
    """

    variable: str
    level: float | None
    value: float | None
    parents: Mapping[str, int]
    world: World


@dataclass(frozen=True, slots=True)
class Plan:
    """Draws in order, and the outcome given them."""

    nodes: tuple[Node, ...]
    outcome: Node


@dataclass(frozen=True, slots=True, eq=False)
class Scheme:
    """What a study says about the order of its variables.

    Parameters
    ----------
    intermediate
        Confounders of mediator and outcome that the treatment affects, in order.
    blocks
        Mediators in causally ordered blocks.
    uses
        Variable -> earlier variables its model depends on.
    outcome
        The outcome.
    level, code
        Turn a level of the treatment, and a value of a mediator, into numbers.
    """

    intermediate: Sequence[str]
    blocks: Sequence[Sequence[str]]
    uses: Mapping[str, frozenset[str]]
    outcome: str
    level: Callable[[Level], float]
    code: Callable[[str, Level], float]


def make_plan(cell: Cell, scheme: Scheme) -> Plan:
    """Write a cell as draws.

    Natural draws ``M(b)`` see the draws before them in the same world; intermediate confounders
    follow the outcome's treatment. A random draw ``G(b)`` is made in a world of its own, in which
    everything before it follows ``b``: jointly when one ``G`` covers all mediators, from its own
    margin when mediators are named.
    """
    intermediate, blocks, uses = scheme.intermediate, scheme.blocks, scheme.uses
    level, code, outcome = scheme.level, scheme.code, scheme.outcome
    nodes: list[Node] = []
    index: dict[tuple[str, World], int] = {}
    order = [*intermediate, *(name for block in blocks for name in block)]
    joint = cell.is_joint

    def draw(variable: str, at: float, world: World, given: Mapping[str, int]) -> int:
        parents = {p: given[p] for p in order if p in uses[variable] and p in given}
        return _add(nodes, index, Node(variable, at, None, parents, world))

    def margin(variable: str, at: float, world: World) -> int:
        """Draw a variable and all it depends on under one level."""
        if (variable, world) in index:
            return index[variable, world]
        given = {p: margin(p, at, world) for p in order if p in uses[variable]}
        return draw(variable, at, world, given)

    main: dict[str, int] = {}
    for name in intermediate:
        main[name] = draw(name, level(cell.treatment), ("main",), main)
    for k, block in enumerate(blocks):
        for name in block:
            regime = cell.regime(name)
            if isinstance(regime, Fixed):
                fixed = Node(name, None, code(name, regime.value), {}, ("main",))
                main[name] = _add(nodes, index, fixed)
            elif isinstance(regime, Random):
                world = ("G", str(regime.level)) if joint else ("G", str(regime.level), str(k))
                main[name] = margin(name, level(regime.level), world)
            else:
                assert isinstance(regime, Draw)
                main[name] = draw(name, level(regime.level), ("main",), main)
    parents = {p: main[p] for p in order if p in uses[outcome]}
    return _prune(nodes, Node(outcome, level(cell.treatment), None, parents, ("main",)))


def _add(nodes: list[Node], index: dict[tuple[str, World], int], node: Node) -> int:
    index[node.variable, node.world] = len(nodes)
    nodes.append(node)
    return len(nodes) - 1


def _prune(nodes: Sequence[Node], outcome: Node) -> Plan:
    """Keep the draws that the outcome depends on."""
    needed: set[int] = set()
    stack = list(outcome.parents.values())
    while stack:
        i = stack.pop()
        if i not in needed:
            needed.add(i)
            stack += nodes[i].parents.values()
    kept = sorted(needed)
    place = {old: new for new, old in enumerate(kept)}

    def renumbered(node: Node) -> Node:
        parents = {p: place[i] for p, i in node.parents.items()}
        return Node(node.variable, node.level, node.value, parents, node.world)

    return Plan(tuple(renumbered(nodes[i]) for i in kept), renumbered(outcome))
