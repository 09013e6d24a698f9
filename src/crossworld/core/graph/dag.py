"""A causal graph: directed edges, unmeasured common causes, unmeasured nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from crossworld.core.late import late
from crossworld.errors import DesignError, hint

Edge = tuple[str, str]
_GML = re.compile(r"\s*(?:Creator.*\s+)?graph\s*\[\s*(?:directed|multigraph|node)\b")


@dataclass(frozen=True, slots=True)
class Graph:
    """A directed acyclic graph, some of whose nodes may be unmeasured.

    Parameters
    ----------
    nodes
        Names, in the order in which they were first met.
    edges
        Directed edges (cause, effect).
    bidirected
        Pairs with an unmeasured common cause; the same as an unmeasured node with two effects.
    latent
        Nodes that were not measured.
    treatment, mediators, outcome
        Roles marked in the text the graph was read from, if any.

    Raises
    ------
    DesignError
        If the edges form a cycle or name a node that is not there.

    Examples
    --------
    >>> g = Graph.parse("x -> a -> m -> y; a -> y; x -> y; m <-> y")
    >>> g.nodes, g.bidirected
    (('x', 'a', 'm', 'y'), (('m', 'y'),))
    """

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]
    bidirected: tuple[Edge, ...] = ()
    latent: frozenset[str] = frozenset()
    treatment: str | None = None
    mediators: tuple[str, ...] = ()
    outcome: str | None = None

    def __post_init__(self) -> None:
        known = set(self.nodes)
        named = [n for edge in (*self.edges, *self.bidirected) for n in edge]
        for name in (*named, *self.latent, *self.mediators, self.treatment, self.outcome):
            if name is not None and name not in known:
                raise DesignError(f"{name!r} is not a node of the graph. {hint(name, self.nodes)}")
        for pair in self.bidirected:
            if pair[0] == pair[1]:
                raise DesignError(f"{pair[0]} <-> {pair[0]} joins a node to itself")
        cycle = _cycle(self.nodes, self.children)
        if cycle:
            raise DesignError(
                f"the graph has a cycle: {' -> '.join(cycle)}; a cause cannot be its own effect"
            )

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[Edge],
        *,
        bidirected: Iterable[Edge] = (),
        latent: Iterable[str] = (),
        nodes: Iterable[str] = (),
    ) -> Self:
        """Build a graph from pairs (cause, effect).

        Parameters
        ----------
        edges
            Pairs (cause, effect).
        bidirected
            Pairs with an unmeasured common cause.
        latent
            Nodes that were not measured.
        nodes
            Nodes to name first, or that have no edge.

        Examples
        --------
        >>> Graph.from_edges([("a", "m"), ("m", "y")], bidirected=[("a", "y")]).nodes
        ('a', 'm', 'y')
        """
        directed = tuple(dict.fromkeys(_pair(e) for e in edges))
        both = tuple(dict.fromkeys(_sorted(_pair(e)) for e in bidirected))
        hidden = _names(latent, "latent")
        order = dict.fromkeys(_names(nodes, "nodes"))
        order |= dict.fromkeys(n for edge in (*directed, *both) for n in edge)
        order |= dict.fromkeys(hidden)
        return cls(tuple(order), directed, both, frozenset(hidden))

    @classmethod
    def parse(cls, text: str) -> Graph:
        """Read a graph from text: our own syntax, DOT, dagitty or GML.

        Parameters
        ----------
        text
            ``"a -> m -> y; a -> y; m <-> y"``, a DOT ``digraph { ... }`` or a dagitty
            ``dag { ... }``. ``<->`` is an unmeasured common cause; ``u [latent]`` an unmeasured
            node; ``[exposure]``, ``[mediator]`` and ``[outcome]`` mark roles.

        Raises
        ------
        DesignError
            If the text cannot be read; the message shows where.
        """
        is_gml = isinstance(text, str) and _GML.match(text)
        graph: Graph = (
            late("interop.graphs").from_gml(text) if is_gml else late("core.graph.text").read(text)
        )
        return graph

    @classmethod
    def load(cls, source: Any) -> Graph:
        """Read a graph from a file, a text, or an object of networkx, DoWhy or y0.

        A graph is returned as it is.
        """
        if isinstance(source, Graph):
            return source
        if not isinstance(source, str | Path):
            held: Graph = late("interop.graphs").load(source)
            return held
        text = str(source)
        try:
            is_file = "\n" not in text and len(text) < 1000 and Path(text).is_file()
        except (OSError, ValueError):
            is_file = False
        if is_file:
            try:
                return cls.parse(Path(text).read_text(encoding="utf-8-sig"))
            except UnicodeDecodeError as error:
                raise DesignError(f"{text!r} cannot be read as text: {error}") from None
        if isinstance(source, Path) or not any(
            mark in text for mark in ("->", "<-", "{", "--", "[")
        ):
            raise DesignError(
                f"there is no graph file {text[:200]!r}, and it is no graph such as 'a -> m -> y'"
            )
        return cls.parse(text)

    @property
    def observed(self) -> tuple[str, ...]:
        """Nodes that were measured."""
        return tuple(n for n in self.nodes if n not in self.latent)

    @property
    def parents(self) -> Mapping[str, tuple[str, ...]]:
        """Direct causes of every node."""
        found: dict[str, list[str]] = {n: [] for n in self.nodes}
        for cause, effect in self.edges:
            found[effect].append(cause)
        return {n: tuple(v) for n, v in found.items()}

    @property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """Direct effects of every node."""
        found: dict[str, list[str]] = {n: [] for n in self.nodes}
        for cause, effect in self.edges:
            found[cause].append(effect)
        return {n: tuple(v) for n, v in found.items()}

    def ancestors(self, of: Iterable[str]) -> frozenset[str]:
        """Return the nodes with a directed path to any of ``of``, and these themselves."""
        return closure(of, self.parents)

    def descendants(self, of: Iterable[str]) -> frozenset[str]:
        """Return the nodes with a directed path from any of ``of``, and these themselves."""
        return closure(of, self.children)

    def hide(self, names: Iterable[str]) -> Graph:
        """Return the same graph with more nodes unmeasured."""
        return replace(self, latent=self.latent | frozenset(names))

    def marked(self, treatment: str, mediators: Sequence[str], *, outcome: str) -> Graph:
        """Return the same graph with its roles marked."""
        return replace(self, treatment=treatment, mediators=tuple(mediators), outcome=outcome)

    def __str__(self) -> str:
        parts = [f"{_shown(a)} -> {_shown(b)}" for a, b in self.edges]
        parts += [f"{_shown(a)} <-> {_shown(b)}" for a, b in self.bidirected]
        used = {n for edge in (*self.edges, *self.bidirected) for n in edge}
        roles = {n: "latent" for n in self.nodes if n in self.latent}
        roles |= dict.fromkeys(self.mediators, "mediator")
        roles |= {n: r for n, r in ((self.treatment, "treatment"), (self.outcome, "outcome")) if n}
        parts += [f"{_shown(n)} [{roles[n]}]" for n in self.nodes if n in roles]
        parts += [_shown(n) for n in self.nodes if n not in used and n not in roles]
        return "; ".join(parts)

    def svg(self) -> str:
        """Draw the graph as a self-contained SVG text; roles that are marked are told apart."""
        drawn: str = late("report.graphs").svg(self)
        return drawn

    def plot(self, ax: Any = None) -> Any:
        """Draw the graph with matplotlib, for instance to save it as PNG; returns the axes."""
        return late("report.graphs").plot(self, ax=ax)

    def _repr_svg_(self) -> str:
        return self.svg()


def closure(start: Iterable[str], step: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Everything that can be reached, and the start itself."""
    found = set(start)
    todo = list(found)
    while todo:
        for nxt in step.get(todo.pop(), ()):
            if nxt not in found:
                found.add(nxt)
                todo.append(nxt)
    return frozenset(found)


def topological(nodes: Sequence[str], parents: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Causes before effects; among equals the order in which nodes are named."""
    placed: dict[str, None] = {}
    left = list(nodes)
    while left:
        ready = next(n for n in left if all(p in placed or p not in nodes for p in parents[n]))
        placed[ready] = None
        left.remove(ready)
    return tuple(placed)


def _cycle(nodes: Sequence[str], children: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Some directed cycle, first node repeated, or None."""
    state = dict.fromkeys(nodes, 0)
    for start in nodes:
        if state[start]:
            continue
        path, branches = [start], [iter(children[start])]
        state[start] = 1
        while path:
            nxt = next(branches[-1], None)
            if nxt is None:
                state[path.pop()] = 2
                branches.pop()
            elif state[nxt] == 1:
                return [*path[path.index(nxt) :], nxt]
            elif state[nxt] == 0:
                state[nxt] = 1
                path.append(nxt)
                branches.append(iter(children[nxt]))
    return None


def _shown(name: str) -> str:
    """Write a name, quoted where the text would else be read otherwise."""
    if all(c.isalnum() or c in "_.*" for c in name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _pair(edge: object) -> Edge:
    if (
        not isinstance(edge, Sequence)
        or isinstance(edge, str)
        or len(edge) != 2
        or not all(isinstance(n, str) and n for n in edge)
    ):
        raise DesignError(f"an edge is a pair of names (cause, effect), got {edge!r}")
    return edge[0], edge[1]


def _names(given: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(given, str):
        raise DesignError(f"{what} is a list of names, got the text {given!r}; write [{given!r}]")
    return tuple(given)


def _sorted(pair: Edge) -> Edge:
    return pair if pair[0] <= pair[1] else (pair[1], pair[0])
