"""Which treatment level each arrow out of the treatment carries in a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crossworld.core.expression import Cell
from crossworld.core.identify.roles import Roles
from crossworld.core.regime import Draw, Fixed, Level, Random

Levels = frozenset[Level]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A cell in terms of the graph's nodes.

    Parameters
    ----------
    treatment
        The level the outcome sees.
    drawn
        The level under which each mediator takes its value.
    fixed
        The value each mediator is held at.
    random
        The level under whose law each mediator is drawn at random.
    """

    treatment: Level
    drawn: Mapping[str, Level]
    fixed: Mapping[str, Level]
    random: Mapping[str, Level]

    @property
    def crosses(self) -> bool:
        """Whether units are asked to be in two worlds at once."""
        return any(level != self.treatment for level in self.drawn.values())


def world(cell: Cell, mediators: Iterable[str]) -> World:
    """Read a bound cell."""
    drawn: dict[str, Level] = {}
    fixed: dict[str, Level] = {}
    random: dict[str, Level] = {}
    for name in mediators:
        regime = cell.regime(name)
        if isinstance(regime, Draw):
            drawn[name] = regime.level
        elif isinstance(regime, Fixed):
            fixed[name] = regime.value
        elif isinstance(regime, Random):
            random[name] = regime.level
    return World(cell.treatment, drawn, fixed, random)


def levels(
    children: Mapping[str, Iterable[str]], start: str, asked: World, outcome: str
) -> dict[str, Levels]:
    """Levels that each node after the treatment is needed at.

    A node before a mediator is needed at that mediator's level, a node before the outcome at the
    outcome's. A node needed at two levels is a recanting witness (Avin, Shpitser and Pearl 2005).

    Parameters
    ----------
    children
        Direct effects, of measured and unmeasured nodes alike.
    start
        The treatment.
    """
    found: dict[str, Levels] = {}

    def needed(node: str) -> Levels:
        if node == outcome:
            return frozenset({asked.treatment})
        if node in asked.fixed:
            return frozenset()
        if node in asked.drawn:
            # a mediator that reaches the outcome is needed at its own level
            return frozenset({asked.drawn[node]}) if reaches(node) else frozenset()
        if node not in found:
            found[node] = frozenset().union(*map(needed, children[node]))
        return found[node]

    seen: dict[str, bool] = {}

    def reaches(node: str) -> bool:
        if node == outcome:
            return True
        if node not in seen:
            seen[node] = any(c not in asked.fixed and reaches(c) for c in children[node])
        return seen[node]

    return {c: needed(c) for c in children[start] if c not in asked.fixed}


def witness(roles: Roles, asked: World) -> str | None:
    """Return the first node after the treatment that two levels need, or None.

    The first whose own effects part: some lead on at one level, others at another.
    """
    children = roles.graph.children
    split = {
        node: need
        for node, need in levels(children, roles.treatment, asked, roles.outcome).items()
        if len(need) > 1
    }
    node = next(iter(split), None)
    while node is not None:
        below = levels(children, node, asked, roles.outcome)
        further = [c for c, need in below.items() if len(need) > 1]
        single = frozenset().union(*(need for c, need in below.items() if c not in further), set())
        if not further or single:
            return node
        node = further[0]
    return None
