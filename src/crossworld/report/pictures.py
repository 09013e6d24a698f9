"""Every exhibit as a matplotlib figure: one entry point, one function per kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crossworld.core.exhibits import (
    CausalGraph,
    Circuit,
    Comparison,
    Contour,
    Curve,
    Distributions,
    Exhibit,
    Heatmap,
    Steps,
)
from crossworld.core.graph.dag import Graph
from crossworld.errors import DesignError
from crossworld.report import graphs
from crossworld.report.drawn import circuits, comparison, curves, distributions, fields
from crossworld.report.drawn.canvas import Layout, new_figure

Draw = Callable[[Any, Any, Layout], Any]
Tell = Callable[[Any], str]


def _graph(held: CausalGraph, ax: Any, layout: Layout) -> Any:
    graph = Graph.parse(held.graph)
    if ax is None:
        wide, high = graphs.layout(graph).size
        ax = new_figure(wide / 90.0, high / 90.0).subplots()
    return graphs.plot(graph, ax=ax)


_DRAWN: dict[type[Any], tuple[Draw, Tell]] = {
    Distributions: (
        lambda held, ax, layout: distributions.draw(held, ax=ax, layout=layout),
        distributions.describe,
    ),
    Comparison: (
        lambda held, ax, layout: comparison.draw(held, ax=ax, layout=layout),
        comparison.describe,
    ),
    Curve: (lambda held, ax, layout: curves.draw(held, ax=ax, layout=layout), curves.describe),
    Steps: (
        lambda held, ax, layout: curves.draw_steps(held, ax=ax, layout=layout),
        curves.describe_steps,
    ),
    Heatmap: (
        lambda held, ax, layout: fields.draw_heatmap(held, ax=ax, layout=layout),
        fields.describe_heatmap,
    ),
    Contour: (
        lambda held, ax, layout: fields.draw_contour(held, ax=ax, layout=layout),
        fields.describe_contour,
    ),
    Circuit: (lambda held, ax, layout: circuits.draw(held, ax=ax), circuits.describe),
    CausalGraph: (_graph, lambda held: f"Causal graph: {held.graph}"),
}


def draw(held: Exhibit, *, ax: Any = None, layout: Layout = "wide") -> Any:
    """Draw an exhibit.

    Parameters
    ----------
    held
        An exhibit of a kind that is a picture.
    ax
        Axes to draw on, for exhibits that need one; new ones by default.
    layout
        ``wide``, or ``narrow`` for a phone.

    Returns
    -------
    Axes or tuple of Axes
        ``.figure`` holds the figure.

    Raises
    ------
    DesignError
        If the exhibit is words (a story, a table), or needs several axes and one was given.
    """
    if type(held) not in _DRAWN:
        raise DesignError(f"an exhibit of kind {held.kind!r} is text; there is nothing to draw")
    return _DRAWN[type(held)][0](held, ax, layout)


def describe(held: Exhibit) -> str:
    """Say in words what the picture of an exhibit shows, for readers who cannot see it."""
    return _DRAWN[type(held)][1](held)


def can_draw(held: Exhibit) -> bool:
    """Whether an exhibit is a picture."""
    return type(held) in _DRAWN
