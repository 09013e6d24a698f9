"""Acyclic directed mixed graphs: what a causal graph says about its measured nodes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crossworld.core.graph.dag import Edge, Graph, closure, topological

Names = frozenset[str]


@dataclass(frozen=True, slots=True)
class Mixed:
    """Measured nodes, directed edges and bidirected edges (unmeasured common causes).

    Parameters
    ----------
    order
        The nodes, causes before effects.
    parents, children
        Along directed edges.
    siblings
        Nodes joined by a bidirected edge.
    because
        Unmeasured nodes behind each bidirected edge; empty where the graph drew it as such.
    """

    order: tuple[str, ...]
    parents: Mapping[str, Names]
    children: Mapping[str, Names]
    siblings: Mapping[str, Names]
    because: Mapping[Edge, Names]

    def ancestors(self, of: Iterable[str], within: Iterable[str] | None = None) -> Names:
        """Nodes with a directed path to ``of`` that stays in ``within``."""
        return closure(of, self._kept(self.parents, within))

    def descendants(self, of: Iterable[str], within: Iterable[str] | None = None) -> Names:
        """Nodes with a directed path from ``of`` that stays in ``within``."""
        return closure(of, self._kept(self.children, within))

    def district(self, of: str, within: Iterable[str] | None = None) -> Names:
        """Nodes joined to one node by a path of bidirected edges in ``within``."""
        return closure([of], self._kept(self.siblings, within))

    def districts(self, within: Iterable[str]) -> tuple[Names, ...]:
        """Partition of ``within`` into districts, in causal order of their first nodes."""
        left = [n for n in self.order if n in set(within)]
        found = []
        while left:
            one = self.district(left[0], within)
            found.append(one)
            left = [n for n in left if n not in one]
        return tuple(found)

    def without(self, edges: Iterable[Edge]) -> Mixed:
        """Remove some directed edges."""
        gone = set(edges)
        return Mixed(
            self.order,
            {v: frozenset(p for p in ps if (p, v) not in gone) for v, ps in self.parents.items()},
            {v: frozenset(c for c in cs if (v, c) not in gone) for v, cs in self.children.items()},
            self.siblings,
            self.because,
        )

    def separated(self, left: Iterable[str], right: Iterable[str], given: Iterable[str]) -> bool:
        """Whether ``given`` blocks every path (m-separation, Richardson 2003)."""
        return self.open_path(left, right, given) is None

    def open_path(
        self, left: Iterable[str], right: Iterable[str], given: Iterable[str]
    ) -> tuple[str, ...] | None:
        """Return a shortest walk that ``given`` leaves open, or None."""
        held = frozenset(given)
        ends = frozenset(right) - held
        colliding = self.ancestors(held)
        # a state is a node and whether the walk entered it through an arrowhead
        todo = [(v, None) for v in self.order if v in set(left) - held]
        came: dict[tuple[str, bool | None], tuple[str, bool | None] | None]
        came = dict.fromkeys(todo)
        at = 0
        states: list[tuple[str, bool | None]] = list(todo)
        while at < len(states):
            state = states[at]
            at += 1
            node, headed = state
            if node in ends:
                return _walk(state, came)
            for nxt in self._moves(node, headed, held, colliding):
                if nxt not in came:
                    came[nxt] = state
                    states.append(nxt)
        return None

    def _moves(
        self, node: str, headed: bool | None, held: Names, colliding: Names
    ) -> list[tuple[str, bool | None]]:
        """Next states: (neighbour, whether its end of the edge is an arrowhead)."""
        through_tail = headed is None or node not in held  # leaving by a tail at this node
        through_head = (
            headed is None or (headed and node in colliding) or (not headed and node not in held)
        )
        moves: list[tuple[str, bool | None]] = []
        if through_tail:
            moves += [(c, True) for c in sorted(self.children[node])]
        if through_head:
            moves += [(p, False) for p in sorted(self.parents[node])]
            moves += [(s, True) for s in sorted(self.siblings[node])]
        return moves

    def unfixed(self, target: Names) -> Names:
        """Nodes that remain when every fixable node outside ``target`` has been fixed.

        A node is fixable when none of its descendants is in its district (Richardson, Evans,
        Robins and Shpitser 2023); fixing greedily is complete, so ``target`` is reachable exactly
        when nothing else remains.
        """
        left = set(self.order)
        moved = True
        while moved:
            moved = False
            for v in self.order:
                if v not in left or v in target:
                    continue
                if self.district(v, left) & self.descendants([v], left) == {v}:
                    left.remove(v)
                    moved = True
        return frozenset(left)

    def bidirected_path(self, start: str, end: str, within: Iterable[str]) -> tuple[str, ...]:
        """Return a shortest path of bidirected edges between two nodes of one district."""
        inside = frozenset(within)
        came: dict[str, str | None] = {start: None}
        todo = [start]
        for node in todo:
            for nxt in sorted(self.siblings[node] & inside):
                if nxt not in came:
                    came[nxt] = node
                    todo.append(nxt)
        path: list[str] = []
        at: str | None = end
        while at is not None and at in came:
            path.append(at)
            at = came[at]
        return tuple(reversed(path))

    @staticmethod
    def _kept(
        step: Mapping[str, Names], within: Iterable[str] | None
    ) -> Mapping[str, Iterable[str]]:
        if within is None:
            return step
        inside = frozenset(within)
        return {v: n & inside for v, n in step.items() if v in inside}


def _walk(
    state: tuple[str, bool | None],
    came: Mapping[tuple[str, bool | None], tuple[str, bool | None] | None],
) -> tuple[str, ...]:
    path = []
    at: tuple[str, bool | None] | None = state
    while at is not None:
        path.append(at[0])
        at = came[at]
    return tuple(reversed(path))


def project(graph: Graph) -> Mixed:
    """Project out the unmeasured nodes (Verma and Pearl 1990).

    ``u -> v`` when a directed path joins them through unmeasured nodes alone; ``u <-> v`` when an
    unmeasured node reaches both so, or a bidirected edge does.
    """
    children = graph.children
    hidden = graph.latent

    def reach(start: str) -> Names:
        """Measured nodes reached through unmeasured ones."""
        seen = closure(
            [c for c in children[start] if c in hidden],
            {h: [c for c in children[h] if c in hidden] for h in hidden},
        )
        return frozenset(c for n in (start, *seen) for c in children[n] if c not in hidden)

    measured = graph.observed
    below = {v: reach(v) for v in measured}
    because: dict[Edge, set[str]] = {}

    def join(one: Names, other: Names, behind: str | None) -> None:
        for u in one:
            for v in other:
                if u != v:
                    named = because.setdefault((min(u, v), max(u, v)), set())
                    named |= {behind} if behind else set()

    for h in hidden:
        join(reach(h), reach(h), h)
    for a, b in graph.bidirected:
        ends = [reach(n) if n in hidden else frozenset({n}) for n in (a, b)]
        join(ends[0], ends[1], None)
        for n, end in zip((a, b), ends, strict=True):
            if n in hidden:
                join(end, end, n)
    siblings: dict[str, set[str]] = {v: set() for v in measured}
    for u, v in because:
        siblings[u].add(v)
        siblings[v].add(u)
    parents = {v: frozenset(u for u in measured if v in below[u]) for v in measured}
    return Mixed(
        topological(measured, parents),
        parents,
        below,
        {v: frozenset(s) for v, s in siblings.items()},
        {pair: frozenset(names) for pair, names in because.items()},
    )
