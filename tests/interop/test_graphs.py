"""Graphs of other libraries come in, and ours go out, saying the same."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from crossworld.core.graph.dag import Graph
from crossworld.core.graph.mixed import project
from crossworld.errors import DesignError
from crossworld.interop.graphs import (
    from_gml,
    from_networkx,
    from_y0,
    load,
    to_dot,
    to_gml,
    to_networkx,
)

TEXTS = [
    "a -> m -> y; a -> y",
    "x -> a; x -> m; x -> y; a -> m -> y; a -> y; m <-> y",
    "a -> m; m -> y; u -> m; u -> y; u [latent]; a <-> m; lonely",
    'a [exposure]; m [mediator]; y [outcome]; a -> m -> y; "the u" [latent]; "the u" -> y',
    "a -> m1 -> m2 -> y; a <-> y; m1 <-> y; u [latent]; u -> a; u <-> m2",
]
every_text = pytest.mark.parametrize("text", TEXTS)


def random_graph(seed: int, n: int = 6) -> Graph:
    rng = np.random.default_rng(seed)
    names = [f"v{k}" for k in rng.permutation(n)]
    pairs = list(combinations(names, 2))
    edges = [p for p in pairs if rng.random() < 0.35]
    both = [p for p in pairs if rng.random() < 0.15]
    latent = [names[0]] if rng.random() < 0.5 else []
    return Graph.from_edges(edges, bidirected=both, latent=latent, nodes=names)


def same(one: Graph, other: Graph) -> bool:
    """They say the same about the measured nodes."""
    a, b = project(one), project(other)
    roles = ("treatment", "mediators", "outcome")
    return (
        set(a.order) == set(b.order)
        and (a.parents, a.siblings) == (b.parents, b.siblings)
        and all(getattr(one, r) == getattr(other, r) for r in roles)
    )


@every_text
def test_out_and_in_again(text: str) -> None:
    graph = Graph.parse(text)
    assert same(graph, from_networkx(to_networkx(graph)))
    assert same(graph, from_gml(to_gml(graph)))
    read = Graph.parse(to_dot(graph))
    assert (set(read.edges), set(read.bidirected)) == (set(graph.edges), set(graph.bidirected))
    assert (read.latent, set(read.nodes)) == (graph.latent, set(graph.nodes))
    assert same(graph, read)


@pytest.mark.parametrize("seed", range(12))
def test_what_goes_out_separates_alike(seed: int) -> None:
    """networkx' d-separation in the graph written is our m-separation in the graph held."""
    graph = random_graph(seed)
    mixed, written = project(graph), to_networkx(graph)
    for a, b in combinations(graph.observed, 2):
        others = [n for n in graph.observed if n not in (a, b)]
        for size in range(3):
            for given in combinations(others, size):
                theirs = nx.is_d_separator(written, {a}, {b}, set(given))
                assert mixed.separated([a], [b], given) == theirs, (a, b, given)


@pytest.mark.parametrize(
    "told",
    [
        {"observed": "no"},
        {"observed": False},
        {"observed": '"no"'},
        {"observed": 0},
        {"latent": True},
        {"latent": "yes"},
        {"hidden": True},
        {"role": "latent"},
    ],
)
def test_unmeasured_nodes_are_told_by_their_attributes(told: dict[str, object]) -> None:
    g = nx.DiGraph([("u", "m"), ("u", "y"), ("a", "m"), ("m", "y")])
    g.nodes["u"].update(told)
    g.nodes["a"].update({key: not value for key, value in told.items() if value in (True, False)})
    assert from_networkx(g).latent == {"u"}


def test_latents_of_a_pgmpy_graph() -> None:
    class Dag(nx.DiGraph):
        latents = frozenset({"u"})

    assert from_networkx(Dag([("u", "m"), ("a", "m")])).latent == {"u"}


@pytest.mark.parametrize(
    "told",
    [{"dir": "both"}, {"dir": '"both"'}, {"type": "bidirected"}, {"bidirected": True}],
)
def test_edges_marked_two_headed(told: dict[str, object]) -> None:
    g = nx.DiGraph([("a", "m")])
    g.add_edge("y", "m", **told)
    found = from_networkx(g)
    assert found.edges == (("a", "m"),)
    assert found.bidirected == (("m", "y"),)


def test_dashes_alone_are_an_arrow_and_in_both_directions_a_common_cause() -> None:
    g = nx.MultiDiGraph([("a", "m"), ("m", "y")])
    g.add_edge("m", "y", style="dashed")
    assert from_networkx(g).bidirected == ()
    g.add_edge("y", "m", style="dashed")
    found = from_networkx(g)
    assert (found.edges, found.bidirected) == ((("a", "m"), ("m", "y")), (("m", "y"),))
    solid = nx.DiGraph([("m", "y"), ("y", "m")])
    with pytest.raises(DesignError, match="cycle: m -> y -> m"):
        from_networkx(solid)


def test_roles_are_read() -> None:
    g = nx.DiGraph([("a", "m"), ("m", "y")])
    g.nodes["a"]["exposure"] = True
    g.nodes["m"]["role"] = "mediator"
    g.nodes["y"]["outcome"] = "yes"
    found = from_networkx(g)
    assert (found.treatment, found.mediators, found.outcome) == ("a", ("m",), "y")
    g.nodes["m"]["role"] = "treatment"
    with pytest.raises(DesignError, match="several treatments, a, m"):
        from_networkx(g)


def test_graphs_that_are_none() -> None:
    with pytest.raises(DesignError, match="undirected"):
        from_networkx(nx.Graph([("a", "m")]))
    with pytest.raises(DesignError, match="same text '1'"):
        from_networkx(nx.DiGraph([(1, "1")]))
    with pytest.raises(DesignError, match="dict is no networkx graph"):
        from_networkx({"a": ["m"]})
    with pytest.raises(DesignError, match="is no y0"):
        from_y0(nx.DiGraph())
    with pytest.raises(DesignError, match="networkx, DoWhy, y0 or pgmpy; got 3"):
        load(3)


def test_names_become_text() -> None:
    assert from_networkx(nx.DiGraph([(1, 2)])).edges == (("1", "2"),)


LINE = (
    'graph[directed 1 node[id "Z" label "Z"] node[id "X" label "X"] node[id "Y" label "Y"] '
    'edge[source "Z" target "X"] edge[source "X" target "Y"]]'
)


def test_gml_in_the_ways_it_is_written() -> None:
    assert from_gml(LINE).edges == (("Z", "X"), ("X", "Y"))
    numbered = 'graph [\n directed 1\n node [id 0 label "a b"]\n node [id 1 label "y"]\n'
    assert from_gml(numbered + " edge [source 0 target 1]\n]").edges == (("a b", "y"),)
    bare = "graph [directed 1 node [id 0] node [id 1] edge [source 0 target 1]]"
    assert from_gml(bare).edges == (("0", "1"),)
    hidden = LINE.replace('label "Z"', 'label "Z" observed "no"')
    assert load(hidden).latent == {"Z"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE.replace("directed 1", ""), "write 'directed 1'"),
        ("graph [directed 1 node [", "no GML that can be read"),
        ("a -> m -> y", "no GML that can be read"),
        ("", "no GML that can be read"),
        (LINE.replace('target "Y"', 'target "W"'), "no GML that can be read"),
    ],
)
def test_gml_that_is_none(text: str, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        from_gml(text)


def test_load_knows_the_libraries_by_their_classes() -> None:
    class Mine(nx.MultiDiGraph):
        pass

    assert load(Mine([("a", "m")])).edges == (("a", "m"),)
    graph = Graph.parse("a -> m")
    assert load(graph) is graph


def test_y0_mixed_graphs() -> None:
    """y0's own front-door graph, and its latent-variable form, come in alike."""
    y0 = pytest.importorskip("y0.graph", reason="y0 is not installed", exc_type=ImportError)
    graph = y0.NxMixedGraph.from_str_edges(
        directed=[("A", "M"), ("M", "Y")], undirected=[("A", "Y")]
    )
    found = load(graph)
    assert found.edges == (("A", "M"), ("M", "Y"))
    assert found.bidirected == (("A", "Y"),)
    assert same(found, load(graph.to_latent_variable_dag()))
    from y0.dsl import Variable

    with pytest.raises(DesignError, match="counterfactual variable"):
        from_y0(y0.NxMixedGraph.from_edges(directed=[(Variable("A"), Variable("Y") @ "A")]))
