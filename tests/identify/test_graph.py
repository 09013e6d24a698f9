"""Reading, writing, separating and projecting causal graphs."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from crossworld import Graph
from crossworld.core.graph.mixed import project
from crossworld.errors import DesignError

SAME = [
    "a -> m -> y; a -> y; m <-> y",
    "a -> m; m -> y; y <- a; y <-> m",
    "a->m->y\na->y\nm<->y",
    "dag { a -> m -> y ; a -> y ; m <-> y }",
    'dag{bb="0,0,1,1"\na [pos="0.1,0.2"]\nm\ny\na -> m\na -> y\nm -> y\nm <-> y\n}',
    "digraph { a -> m; m -> y; a -> y; m -> y [dir=both]; }",
    'digraph G {\n  rankdir=LR;\nnode [shape=box];\n "a" -> "m" -> "y"; a -> y\nm <-> y // c\n}',
    "a -> {m y}; m -> y; m <-> y # a comment",
]


@pytest.mark.parametrize("text", SAME)
def test_every_way_of_writing_gives_one_graph(text: str) -> None:
    g = Graph.parse(text)
    assert set(g.nodes) == {"a", "m", "y"}
    assert set(g.edges) == {("a", "m"), ("m", "y"), ("a", "y")}
    assert g.bidirected == (("m", "y"),)
    assert g.latent == frozenset()


def test_roles_and_unmeasured_nodes_are_read_from_marks() -> None:
    g = Graph.parse(
        'dag { t [exposure] y [outcome] u [latent,pos="1,1"] m [mediator]\n'
        "t -> m -> y\nu -> {m y} }"
    )
    assert (g.treatment, g.mediators, g.outcome, g.latent) == ("t", ("m",), "y", {"u"})
    dowhy = Graph.parse('digraph { U [label="U", observed="no"]; U -> X; U -> Y; X -> Y }')
    assert dowhy.latent == {"U"}


def test_a_graph_is_what_it_prints() -> None:
    g = Graph.from_edges(
        [("my var", "m-2"), ("m-2", 'say "y"'), ("u", "m-2")],
        bidirected=[("m-2", 'say "y"')],
        latent=["u"],
        nodes=["alone"],
    ).marked("my var", ["m-2"], outcome='say "y"')
    again = Graph.parse(str(g))
    assert set(again.nodes) == set(g.nodes)
    assert set(again.edges) == set(g.edges)
    assert (again.bidirected, again.latent) == (g.bidirected, g.latent)
    assert (again.treatment, again.mediators, again.outcome) == ("my var", ("m-2",), 'say "y"')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a -> b -> c -> a", "cycle: a -> b -> c -> a"),
        ("a -> a", "cycle: a -> a"),
        ("a <-> a", "joins a node to itself"),
        ("graph { a -- b }", "undirected edge a -- b"),
        ("a -> ", "lacks a name"),
        ("dag { a -> b", "lacks '}'"),
        ("a -> b }", "near"),
        ("", "has no nodes"),
        ("dag { a [exposure] b [exposure] a -> b }", "a and b as the treatment"),
    ],
)
def test_what_is_no_graph_is_refused(text: str, told: str) -> None:
    with pytest.raises(DesignError) as error:
        Graph.parse(text)
    assert told in str(error.value)


def test_files_are_read_and_missing_ones_named(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "g.dot"
    file.write_text("digraph { a -> y }")
    assert Graph.load(file).edges == Graph.load(str(file)).edges == (("a", "y"),)
    with pytest.raises(DesignError, match=r"no graph file 'nowhere\.dot'"):
        Graph.load("nowhere.dot")


def _random(rng: np.random.Generator, n: int) -> Graph:
    names = [f"v{k}" for k in range(n)]
    pairs = list(itertools.combinations(names, 2))
    edges = [p for p in pairs if rng.random() < 0.4]
    both = [p for p in pairs if rng.random() < 0.2]
    hidden = [v for v in names if rng.random() < 0.25]
    return Graph.from_edges(edges, bidirected=both, latent=hidden, nodes=names)


def test_separation_agrees_with_networkx_in_the_graph_with_its_unmeasured_nodes() -> None:
    rng = np.random.default_rng(0)
    checked = separated = 0
    for _ in range(60):
        g = _random(rng, 7)
        full = nx.DiGraph(list(g.edges))
        full.add_nodes_from(g.nodes)
        for k, (u, v) in enumerate(g.bidirected):
            full.add_edges_from([(f"h{k}", u), (f"h{k}", v)])
        mixed = project(g)
        if len(mixed.order) < 2:
            continue
        for _ in range(12):
            u, v = rng.choice(mixed.order, 2, replace=False)
            rest = [w for w in mixed.order if w not in (u, v)]
            given = {w for w in rest if rng.random() < 0.4}
            expected = nx.is_d_separator(full, {u}, {v}, given)
            assert mixed.separated([u], [v], given) == expected, (str(g), u, v, given)
            checked += 1
            separated += expected
    assert checked > 400
    assert 0.1 < separated / checked < 0.9


def test_an_open_path_is_a_path_of_the_graph() -> None:
    mixed = project(Graph.parse("a <- x -> y; a -> c <- y"))
    assert mixed.open_path(["a"], ["y"], []) == ("a", "x", "y")
    assert mixed.open_path(["a"], ["y"], ["x"]) is None
    assert mixed.open_path(["a"], ["y"], ["x", "c"]) == ("a", "c", "y")


def test_unmeasured_nodes_become_arrows_and_common_causes() -> None:
    mixed = project(
        Graph.parse("a -> h -> y; u -> k -> m; u -> y; h [latent]; u [latent]; k [latent]")
    )
    assert mixed.children["a"] == {"y"}
    assert mixed.siblings["m"] == {"y"}
    assert mixed.because[("m", "y")] == {"u"}


def test_the_drawing_holds_every_node_and_tells_roles_apart() -> None:
    from xml.etree import ElementTree

    g = Graph.parse(
        "x & z -> a".replace(" & ", ", ") + " -> m -> y; a -> y; u [latent]; u -> m; u -> y"
    )
    svg = g.marked("a", ["m"], outcome="y").svg()
    root = ElementTree.fromstring(svg)
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"x", "z", "a", "m", "y", "u", "treatment", "mediator", "outcome", "unmeasured"} <= set(
        texts
    )
    arrows = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("marker-end")]
    assert len(arrows) == len(g.edges)


def test_the_drawing_can_be_a_picture(tmp_path: object) -> None:
    from pathlib import Path

    import matplotlib.pyplot as plt

    ax = Graph.parse("a -> m -> y; a -> y; m <-> y").plot()
    file = Path(str(tmp_path)) / "g.png"
    ax.figure.savefig(file)
    plt.close(ax.figure)
    assert file.stat().st_size > 2000
    assert {t.get_text() for t in ax.texts} == {"a", "m", "y"}
