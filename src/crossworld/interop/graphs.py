"""Causal graphs that other libraries hold: networkx, DoWhy, y0, pgmpy, GML and DOT text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crossworld.core.graph.dag import Edge, Graph
from crossworld.errors import DesignError

_NO = {"no", "false", "0"}
_YES = {"yes", "true", "1"}
_LATENT = ("latent", "hidden", "unobserved")
_ROLES = {
    "exposure": "treatment",
    "treatment": "treatment",
    "mediator": "mediator",
    "outcome": "outcome",
}
_TWO_HEADED = {"both", "bidirected", "<->", "<-->"}
_MARKS = ("dir", "type", "kind", "edge_type", "arrow")
_DRAWN = {"dashed", "dotted"}


def load(source: Any) -> Graph:
    """Read whatever graph another library holds.

    Parameters
    ----------
    source
        A networkx graph (a pgmpy graph is one), a DoWhy ``CausalModel``, ``CausalGraph`` or gcm
        model, a y0 ``NxMixedGraph``, or GML text.

    Raises
    ------
    DesignError
        If it is none of them, or no acyclic directed graph.

    Examples
    --------
    >>> import networkx as nx
    >>> print(load(nx.DiGraph([("a", "m"), ("m", "y")])))
    a -> m; m -> y
    """
    if isinstance(source, Graph):
        return source
    if isinstance(source, str):
        return from_gml(source)
    libraries = {c.__module__.partition(".")[0] for c in type(source).__mro__}
    if "dowhy" in libraries:
        return from_dowhy(source)
    if "y0" in libraries:
        return from_y0(source)
    if "networkx" in libraries:
        return from_networkx(source)
    raise DesignError(
        "a graph is a file, a text such as 'a -> m -> y', a Graph, or the graph of networkx, "
        f"DoWhy, y0 or pgmpy; got {source!r}"
    )


def from_networkx(graph: Any) -> Graph:
    """Read a networkx ``DiGraph`` or ``MultiDiGraph``.

    Parameters
    ----------
    graph
        Nodes are taken by their text. A node was not measured when its attribute ``observed`` is
        ``"no"`` or False, or ``latent``, ``hidden`` or ``unobserved`` is true, or when it is in
        the graph's own ``latents``. The attribute ``role`` (or a true ``exposure``,
        ``treatment``, ``mediator``, ``outcome``) marks a role. An edge stands for an unmeasured
        common cause when it is marked ``dir="both"`` (or ``type``, ``kind``, ``edge_type`` is
        ``"bidirected"``), or when it and its reverse are both drawn dashed or dotted.

    Raises
    ------
    DesignError
        If the graph is undirected, has a cycle, or two nodes have one text.

    Examples
    --------
    >>> import networkx as nx
    >>> g = nx.DiGraph([("u", "m"), ("u", "y"), ("a", "m"), ("m", "y")])
    >>> g.nodes["u"]["observed"] = "no"
    >>> print(from_networkx(g))
    u -> m; u -> y; m -> y; a -> m; u [latent]
    """
    if not callable(getattr(graph, "is_directed", None)):
        raise DesignError(f"{type(graph).__name__} is no networkx graph")
    if not graph.is_directed():
        raise DesignError("the graph is undirected; a causal graph needs its arrows (nx.DiGraph)")
    names = _named(graph.nodes)
    told = {names[node]: attributes for node, attributes in graph.nodes(data=True)}
    latents = {names[node] for node in getattr(graph, "latents", ()) if node in names}
    hidden = [n for n, about in told.items() if n in latents or _is_latent(about)]
    edges, both = _edges([(names[u], names[v], about) for u, v, about in graph.edges(data=True)])
    found = Graph.from_edges(edges, bidirected=both, latent=hidden, nodes=tuple(told))
    return _with_roles(found, {n: _role(about) for n, about in told.items()})


def to_networkx(graph: Graph) -> Any:
    """Write a graph as a networkx ``DiGraph``, the form DoWhy takes.

    Every node has the attribute ``observed`` (``"yes"`` or ``"no"``) and, where it is marked,
    ``role``. A bidirected edge becomes an unmeasured node with two effects, which says the same.

    Parameters
    ----------
    graph
        The graph.

    Examples
    --------
    >>> g = to_networkx(Graph.parse("a -> m -> y; m <-> y"))
    >>> sorted(g.edges)
    [('U_m_y', 'm'), ('U_m_y', 'y'), ('a', 'm'), ('m', 'y')]
    >>> g.nodes["U_m_y"]["observed"]
    'no'
    """
    import networkx as nx

    made: Any = nx.DiGraph()
    marked = dict.fromkeys(graph.mediators, "mediator")
    marked |= {n: r for n, r in ((graph.treatment, "treatment"), (graph.outcome, "outcome")) if n}
    for name in graph.nodes:
        role = {"role": marked[name]} if name in marked else {}
        made.add_node(name, observed="no" if name in graph.latent else "yes", **role)
    made.add_edges_from(graph.edges)
    for one, other in graph.bidirected:
        behind = f"U_{one}_{other}"
        while behind in made:
            behind += "_"
        made.add_node(behind, observed="no")
        made.add_edges_from([(behind, one), (behind, other)])
    return made


def from_gml(text: str) -> Graph:
    """Read GML text, DoWhy's own format.

    Parameters
    ----------
    text
        ``graph [directed 1 node [id 0 label "a"] ... edge [source 0 target 1]]``, on one line or
        many.

    Raises
    ------
    DesignError
        If it is no GML, or the graph is not directed and acyclic.

    Examples
    --------
    >>> text = '''graph [directed 1 node [id "a" label "a"] node [id "y" label "y"]
    ...     edge [source "a" target "y"]]'''
    >>> print(from_gml(text))
    a -> y
    """
    import networkx as nx

    lines = text.splitlines()
    try:
        read = nx.parse_gml(lines)
    except nx.NetworkXError as error:
        if "label" not in str(error):
            raise DesignError(f"the graph is no GML that can be read: {error}") from None
        try:
            read = nx.parse_gml(lines, label="id")
        except nx.NetworkXError as again:
            raise DesignError(f"the graph is no GML that can be read: {again}") from None
    if not read.is_directed():
        raise DesignError("the GML graph is undirected; write 'directed 1' after 'graph ['")
    return from_networkx(read)


def to_gml(graph: Graph) -> str:
    """Write a graph as GML text, for ``dowhy.CausalModel(graph=...)``; see `to_networkx`."""
    import networkx as nx

    return "\n".join(nx.generate_gml(to_networkx(graph))) + "\n"


def to_dot(graph: Graph) -> str:
    """Write a graph as DOT text; bidirected edges as ``dir=both``, roles and latents as marks.

    Examples
    --------
    >>> print(to_dot(Graph.parse("a -> y; u -> y; u [latent]")), end="")
    digraph {
      "a";
      "y";
      "u" [latent];
      "a" -> "y";
      "u" -> "y";
    }
    """
    ends = ((graph.treatment, "exposure"), (graph.outcome, "outcome"))
    marked = dict.fromkeys(graph.mediators, " [mediator]")
    marked |= {n: f" [{role}]" for n, role in ends if n is not None}
    marked |= dict.fromkeys(graph.latent, " [latent]")
    lines = [f"{_quoted(n)}{marked.get(n, '')};" for n in graph.nodes]
    lines += [f"{_quoted(u)} -> {_quoted(v)};" for u, v in graph.edges]
    lines += [f"{_quoted(u)} -> {_quoted(v)} [dir=both];" for u, v in graph.bidirected]
    return "\n".join(["digraph {", *(f"  {line}" for line in lines), "}"]) + "\n"


def from_dowhy(model: Any) -> Graph:
    """Read the graph of a DoWhy model, with treatment and outcome marked where it knows them.

    Parameters
    ----------
    model
        A ``CausalModel``, its ``CausalGraph``, or a gcm model (``ProbabilisticCausalModel``,
        ``StructuralCausalModel``, ``InvertibleStructuralCausalModel``). A node of a
        ``CausalModel`` that is no column of its data is latent. A gcm model has no roles and no
        latent nodes.

    Raises
    ------
    DesignError
        If the model has several treatments or outcomes, or it is no DoWhy model.
    """
    inner = getattr(model, "_graph", None)
    holder = model if inner is None or hasattr(inner, "is_directed") else inner
    drawn = getattr(holder, "_graph", None)
    if drawn is None:
        drawn = getattr(model, "graph", None)
        if not hasattr(drawn, "is_directed"):
            raise DesignError(f"{type(model).__name__} is no DoWhy model with a graph")
        return from_networkx(drawn)
    found = from_networkx(drawn)
    told: dict[str, str | None] = dict.fromkeys(found.mediators, "mediator")
    for role in ("treatment", "outcome"):
        name = _only(role, getattr(holder, f"{role}_name", None))
        told |= {} if name is None else {name: role}
    return _with_roles(found, told)


def from_y0(graph: Any) -> Graph:
    """Read a y0 ``NxMixedGraph``; its undirected edges are unmeasured common causes.

    Parameters
    ----------
    graph
        A mixed graph of plain variables.

    Raises
    ------
    DesignError
        If it is no mixed graph, has a cycle, or has counterfactual variables.
    """
    directed, undirected = (getattr(graph, part, None) for part in ("directed", "undirected"))
    if directed is None or undirected is None:
        raise DesignError(f"{type(graph).__name__} is no y0 NxMixedGraph")
    worlds = [n for n in directed.nodes if getattr(n, "interventions", None)]
    if worlds:
        raise DesignError(f"the graph has the counterfactual variable {worlds[0]}; hand its DAG")
    names = {n: str(getattr(n, "name", n)) for n in (*directed.nodes, *undirected.nodes)}
    return Graph.from_edges(
        [(names[u], names[v]) for u, v in directed.edges],
        bidirected=[(names[u], names[v]) for u, v in undirected.edges],
        nodes=tuple(names.values()),
    )


def _named(nodes: Any) -> dict[Any, str]:
    """Give every node its text, which has to be its own."""
    names: dict[Any, str] = {}
    seen: dict[str, Any] = {}
    for node in nodes:
        text = str(node)
        if not text:
            raise DesignError("the graph has a node without a name")
        if text in seen:
            raise DesignError(f"the nodes {seen[text]!r} and {node!r} have the same text {text!r}")
        names[node] = text
        seen[text] = node
    return names


def _edges(
    given: list[tuple[str, str, Mapping[str, Any]]],
) -> tuple[list[Edge], list[Edge]]:
    """Tell arrows from unmeasured common causes."""
    drawn = {(u, v) for u, v, about in given if _said(about.get("style")) in _DRAWN}
    edges: list[Edge] = []
    both: list[Edge] = []
    for u, v, about in given:
        marked = any(_said(about.get(mark)) in _TWO_HEADED for mark in _MARKS)
        dashed = _said(about.get("style")) in _DRAWN and (v, u) in drawn
        (both if marked or dashed or _true(about.get("bidirected")) else edges).append((u, v))
    return edges, both


def _with_roles(graph: Graph, roles: Mapping[str, str | None]) -> Graph:
    """Mark roles; one treatment and one outcome."""
    held = {role: tuple(n for n, r in roles.items() if r == role) for role in _ROLES.values()}
    for role in ("treatment", "outcome"):
        _only(role, held[role])
    return Graph(
        graph.nodes,
        graph.edges,
        graph.bidirected,
        graph.latent,
        next(iter(held["treatment"]), None),
        held["mediator"],
        next(iter(held["outcome"]), None),
    )


def _only(role: str, names: Any) -> str | None:
    """Return the one name of a role, if there is any."""
    if names is None or isinstance(names, str):
        return names
    listed = tuple(_texts(names))
    if len(listed) > 1:
        raise DesignError(
            f"the graph has several {role}s, {', '.join(listed)}; mediation needs one"
        )
    return listed[0] if listed else None


def _texts(names: Any) -> Iterator[str]:
    return (str(n) for n in names)


def _role(about: Mapping[str, Any]) -> str | None:
    named = _ROLES.get(_said(about.get("role")))
    return named or next((r for key, r in _ROLES.items() if _true(about.get(key))), None)


def _is_latent(about: Mapping[str, Any]) -> bool:
    hidden = any(_true(about.get(key)) for key in _LATENT)
    return hidden or _said(about.get("observed")) in _NO or _said(about.get("role")) in _LATENT


def _said(value: Any) -> str:
    """Text of an attribute; writers of DOT leave its quotes in place."""
    return "" if value is None else str(value).strip("\"' ").lower()


def _true(value: Any) -> bool:
    return _said(value) in _YES


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
