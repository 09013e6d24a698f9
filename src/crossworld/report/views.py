"""How an exhibit stands in the HTML page: a picture, a coloured table, or marked text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crossworld.core.exhibits import CausalGraph, Circuit, Heatmap, Steps, Table
from crossworld.core.graph.dag import Graph
from crossworld.errors import DesignError
from crossworld.report import graphs
from crossworld.report.shown import Shown, carries
from crossworld.report.svg import MOST, exhibit_svg
from crossworld.report.words import clean

MOST_CELLS = 1500  # a larger heat map is a picture
_WITH_INTERVALS = 400
_DEEPEST = 0.5  # share of the colour in the strongest cell; text on it keeps its contrast

Side = Literal["up", "down", "none"]


@dataclass(frozen=True, slots=True)
class Tone:
    """Colour of a cell or a piece of text: which way, how strong, in words too."""

    side: Side
    strength: str
    text: str
    detail: str = ""
    significant: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What the template places: a picture, cells of a heat map, steps of a text, or a table.

    Parameters
    ----------
    kind
        Which of the four.
    picture
        One or two ``<svg>`` elements.
    scrolls
        Whether the picture keeps its size and scrolls.
    rows, columns, corner, cells
        Labels and tones of a heat map.
    steps
        One tone per step: the text, what it carries.
    """

    kind: Literal["picture", "cells", "steps", "table"]
    picture: str = ""
    scrolls: bool = False
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    corner: str = ""
    cells: tuple[tuple[Tone, ...], ...] = ()
    steps: tuple[Tone, ...] = ()


def view(shown: Shown) -> View:
    """Choose how an exhibit stands in the page."""
    held = shown.exhibit
    if isinstance(held, Table):
        return View("table")
    if isinstance(held, Steps):
        return View("steps", steps=_steps(held))
    if isinstance(held, CausalGraph):
        return _graph(held)
    if isinstance(held, Heatmap) and len(held.rows) * len(held.columns) <= MOST_CELLS:
        return _cells(held)
    if isinstance(held, Circuit):
        return View("picture", exhibit_svg(held, "wide", name=shown.name), scrolls=True)
    if isinstance(held, Heatmap):
        return View("picture", exhibit_svg(held, "wide", name=shown.name, alone=True))
    both: tuple[Literal["wide", "narrow"], ...] = ("wide", "narrow")
    return View("picture", "".join(exhibit_svg(held, side, name=shown.name) for side in both))


def _graph(held: CausalGraph) -> View:
    try:
        graph = Graph.parse(held.graph)
    except DesignError:
        return View("table")
    if len(graph.nodes) > MOST:
        return View("table")
    return View("picture", graphs.svg(graph, themed=True), scrolls=True)


def _cells(held: Heatmap) -> View:
    flat = [abs(v - held.null) for row in held.values for v in row if v is not None]
    reach = max(flat, default=0.0) or 1.0
    told = bool(held.low) and len(held.rows) * len(held.columns) <= _WITH_INTERVALS
    cells = []
    for i, row in enumerate(held.values):
        line = []
        for j, value in enumerate(row):
            detail = ""
            if told and value is not None:
                limits = (_short(held.low[i][j]), _short(held.high[i][j]))
                detail = " to ".join(limits)
            sure = bool(held.significant) and held.significant[i][j]
            line.append(_tone(value, held.null, reach, detail=detail, sure=sure))
        cells.append(tuple(line))
    corner = f"{clean(held.row_name)} by {clean(held.column_name)}"
    rows, columns = (tuple(map(clean, names)) for names in (held.rows, held.columns))
    return View("cells", rows=rows, columns=columns, corner=corner, cells=tuple(cells))


def _short(value: float | None) -> str:
    return "no limit" if value is None else f"{value:.2g}"


def _tone(value: float | None, null: float, reach: float, *, detail: str, sure: bool) -> Tone:
    if value is None:
        return Tone("none", "0", "\N{EN DASH}", "no value")
    away = (value - null) / reach
    side: Side = "up" if away > 0.0 else "down" if away < 0.0 else "none"
    return Tone(side, f"{_DEEPEST * min(abs(away), 1.0):.3f}", f"{value:.2g}", detail, sure)


def _steps(held: Steps) -> tuple[Tone, ...]:
    sizes = [abs(s.estimate) for s in held.steps if s.estimate is not None]
    reach = max([*sizes, 1.0 if held.scale == "share" else 0.0]) or 1.0
    found = []
    for step in held.steps:
        told = carries(step, held)
        said = "\n".join(clean(line) for line in step.text.splitlines())
        if step.estimate is None:
            found.append(Tone("none", "0", said, told))
            continue
        tone = _tone(step.estimate, 0.0, reach, detail=told, sure=step.significant is True)
        found.append(Tone(tone.side, tone.strength, said, told, tone.significant))
    return tuple(found)
