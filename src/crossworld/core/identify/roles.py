"""Treatment, mediators and outcome as nodes of a graph, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossworld.core.graph.dag import Graph
from crossworld.core.graph.mixed import Mixed, project
from crossworld.errors import DesignError, hint


@dataclass(frozen=True, slots=True)
class Roles:
    """A graph whose roles are known.

    Parameters
    ----------
    graph
        The graph as it was drawn.
    treatment, mediators, outcome
        Measured nodes; the mediators in causal order.
    mixed
        What the graph says about its measured nodes.
    """

    graph: Graph
    treatment: str
    mediators: tuple[str, ...]
    outcome: str
    mixed: Mixed

    @property
    def text(self) -> str:
        """The graph as text with the roles marked."""
        return str(self.graph.marked(self.treatment, self.mediators, outcome=self.outcome))


def roles(
    graph: Graph,
    *,
    treatment: str | None = None,
    mediators: Sequence[str] | None = None,
    outcome: str | None = None,
) -> Roles:
    """Check the roles; those not given are taken from the marks of the graph's text.

    Raises
    ------
    DesignError
        If a role is missing, unknown, unmeasured, taken twice, the treatment comes after the
        outcome, or a mediator lies on no path from treatment to outcome.
    """
    if isinstance(mediators, str):
        raise DesignError(
            f"mediators is a list of nodes, got the text {mediators!r}; write [{mediators!r}]"
        )
    a = treatment or graph.treatment
    y = outcome or graph.outcome
    between = tuple(mediators) if mediators is not None else graph.mediators
    for name, role in ((a, "treatment"), (y, "outcome")):
        if name is None:
            raise DesignError(
                f"which node is the {role}? The graph has {', '.join(graph.nodes[:12])}; say "
                f"{role}=... (in a command --{role}), or mark it in the graph"
            )
    assert a is not None
    assert y is not None
    for name, role in ((a, "treatment"), *((m, "mediator") for m in between), (y, "outcome")):
        if name not in graph.nodes:
            raise DesignError(
                f"the {role} {name!r} is not a node of the graph. {hint(name, graph.nodes)}"
            )
        if name in graph.latent:
            raise DesignError(f"the {role} {name!r} is marked latent; its values are needed")
    named = (a, *between, y)
    twice = sorted({n for n in named if named.count(n) > 1})
    if twice:
        raise DesignError(f"{', '.join(map(repr, twice))} has more than one role")
    _check_order(graph, a, between, y)
    mixed = project(graph)
    ordered = tuple(n for n in mixed.order if n in between)
    return Roles(graph, a, ordered, y, mixed)


def _check_order(graph: Graph, a: str, between: Sequence[str], y: str) -> None:
    after_a, before_y = graph.descendants([a]), graph.ancestors([y])
    if a in graph.descendants([y]):
        raise DesignError(
            f"the treatment {a!r} comes after the outcome {y!r} in the graph "
            f"({_route(graph, y, a)}); swap the roles or the arrows"
        )
    for m in between:
        if m in after_a and m in before_y:
            continue
        if a in graph.descendants([m]):
            why = f"it comes before the treatment ({_route(graph, m, a)})"
        elif m in graph.descendants([y]):
            why = f"it comes after the outcome ({_route(graph, y, m)})"
        elif m not in after_a:
            why = f"{a!r} does not affect it"
        else:
            why = f"it does not affect {y!r}"
        raise DesignError(f"the mediator {m!r} is on no directed path from {a!r} to {y!r}: {why}")


def _route(graph: Graph, start: str, end: str) -> str:
    """A shortest directed path, written with arrows."""
    children = graph.children
    came: dict[str, str | None] = {start: None}
    todo = [start]
    for node in todo:
        for nxt in children[node]:
            if nxt not in came:
                came[nxt] = node
                todo.append(nxt)
    path = [end]
    while (before := came[path[-1]]) is not None:
        path.append(before)
    return " -> ".join(reversed(path))
