"""Exhibits as text: what is said of each and the table behind its picture, for every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    Story,
    Table,
)
from crossworld.core.table import number
from crossworld.report.answer import percent
from crossworld.report.drawn import fields
from crossworld.report.drawn.canvas import interval
from crossworld.report.drawn.distributions import sentence
from crossworld.report.words import clean

MOST_CELLS = 20  # strongest cells of a heat map, and places along an axis of a contour, in text
_ALONG = 6


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its head, its rows, which columns are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One exhibit: what it is, what is said of it, and its table.

    Parameters
    ----------
    exhibit
        The exhibit, for whoever draws it.
    name, label
        Unique on the page: an anchor, and what it is called ("Figure 2").
    title, lead, note
        Text around the picture.
    grid
        The numbers in a table, where there are any.
    """

    exhibit: Exhibit
    name: str
    label: str
    title: str
    lead: str
    note: str
    grid: Grid | None


@dataclass(frozen=True, slots=True)
class Section:
    """Exhibits that belong together, under one heading."""

    name: str
    title: str
    shown: tuple[Shown, ...]


_SECTIONS: tuple[tuple[str, str, tuple[type[Any], ...]], ...] = (
    ("methods", "The same question, asked in other ways", (Comparison,)),
    ("mediators", "What the mediator does under both treatments", (Distributions,)),
    ("steps", "What each step of the reasoning carries", (Steps,)),
    ("sites", "Where in the network the effect sits", (Heatmap, Circuit)),
    ("sensitivity", "How strong a violation would have to be", (Contour,)),
    ("more", "In more detail", (Curve, CausalGraph, Table)),
)


def sections(exhibits: Sequence[Exhibit]) -> dict[str, Section]:
    """Sort exhibits into the sections of a report, by name; a story is not among them."""
    found: dict[str, Section] = {}
    for name, title, kinds in _SECTIONS:
        held = [one for one in exhibits if isinstance(one, kinds)]
        if held:
            before = sum(len(part.shown) for part in found.values())
            shown = tuple(
                _shown(one, f"{name}-{k}", f"Figure {before + k}")
                for k, one in enumerate(held, start=1)
            )
            found[name] = Section(name, title, shown)
    return found


def story(exhibits: Sequence[Exhibit]) -> Story | None:
    """Return the last story, which is the one that was attached last."""
    held = [one for one in exhibits if isinstance(one, Story)]
    return held[-1] if held else None


def amount(value: float | None, scale: str) -> str:
    """Write what a step carries: percent for a share.

    Examples
    --------
    >>> amount(0.31, "share"), amount(0.02, "difference")
    ('31%', '0.0200')
    """
    if value is None:
        return "not available"
    return percent(value) if scale == "share" else number(value)


def carries(step: Any, held: Steps) -> str:
    """Say what one step carries.

    Examples
    --------
    >>> from crossworld.core.exhibits import Step
    >>> carries(Step("9.", 0.31, 0.12, 0.5), Steps((Step("9."),)))
    "carries 31% [12%, 50%] of the reasoning's effect"
    """
    if step.estimate is None:
        return "not measured"
    text = f"carries {amount(step.estimate, held.scale)}"
    if step.conf_low is not None or step.conf_high is not None:
        ends = (amount(v, held.scale) if v is not None else "no limit" for v in _limits(step))
        text += f" [{', '.join(ends)}]"
    told = f"{text} {clean(held.value_name)}".strip()
    return f"{told}; it cannot be told from none" if step.significant is False else told


def _limits(held: Any) -> tuple[float | None, float | None]:
    return held.conf_low, held.conf_high


def _shown(one: Exhibit, name: str, label: str) -> Shown:
    lead, grid = _WRITTEN[type(one)](one)
    title = clean(one.title) or _TITLES.get(type(one), one.kind.capitalize())
    return Shown(one, name, label, title, lead, clean(one.note), grid)


def _comparison(held: Comparison) -> tuple[str, Grid]:
    rows = tuple(
        (
            clean(r.term),
            clean(r.method),
            number(r.estimate) if r.estimate is not None else "not available",
            _between(r.conf_low, r.conf_high),
            clean(held.about.get(r.method, "")),
        )
        for term in held.terms
        for r in held.rows
        if r.term == term
    )
    head = ("Question", "Method", "Estimate", "Interval", "About the method")
    cut = 5 if any(row[4] for row in rows) else 4
    lead = f"Held against: {clean(held.truth)}." if held.truth else ""
    shown = tuple(row[:cut] for row in rows)
    return lead, Grid(head[:cut], shown, (2, 3), "Estimates by question and method")


def _distributions(held: Distributions) -> tuple[str, Grid]:
    rows = []
    for variable in held.variables:
        for arm in variable.arms:
            if variable.categories:
                pairs = zip(variable.categories, arm.shares, strict=True)
                what = ", ".join(f"{clean(c)} {percent(s or 0.0)}" for c, s in pairs)
            else:
                what = clean(variable.note)
            mean, sd = (number(v) if v is not None else "" for v in (arm.mean, arm.sd))
            rows.append((clean(variable.name), clean(arm.label), f"{arm.n:,}", mean, sd, what))
    head = ("Variable", "Group", "Units", "Mean", "Std. deviation", "Remarks")
    cut = 6 if any(row[5] for row in rows) else 5
    told = sentence(held)
    notes = [clean(t.note) for t in held.tests if t.note]
    lead = f"{told}{f', {notes[0]}' if notes else ''}." if told else ""
    grid = Grid(head[:cut], tuple(r[:cut] for r in rows), (2, 3, 4), "Groups, variable by variable")
    return lead, grid


def _curve(held: Curve) -> tuple[str, Grid]:
    rows = []
    for s in held.series:
        limits = zip(s.low or (None,) * len(s.x), s.high or (None,) * len(s.x), strict=True)
        for x, y, (low, high) in zip(s.x, s.y, limits, strict=True):
            value = number(y) if y is not None else "not available"
            rows.append((clean(s.name), f"{x:g}", value, _between(low, high)))
    head = ("Line", clean(held.x_name), clean(held.y_name), "Interval")
    return "", Grid(head, tuple(rows), (1, 2, 3), "Values of the lines")


def _contour(held: Contour) -> tuple[str, Grid]:
    across, up = _some(len(held.x)), _some(len(held.y))
    corner = f"{clean(held.y_name)} (rows), {clean(held.x_name)} (columns)"
    head = (corner, *(f"{held.x[j]:.3g}" for j in across))
    rows = tuple((f"{held.y[i]:.3g}", *(_value(held.values[i][j]) for j in across)) for i in up)
    lead = f"The thick line joins pairs of strengths at which it would be {held.threshold:g}."
    there = [v for row in held.values for v in row if v is not None]
    if not min(there) <= held.threshold <= max(there):
        lead = f"No pair of strengths drawn here makes it {held.threshold:g}."
    marks = [f"{clean(m.label)} at ({m.x:.3g}, {m.y:.3g})" for m in held.marks]
    lead += f" Marked: {'; '.join(marks)}." if marks else ""
    return lead, Grid(head, rows, tuple(range(1, len(head))), "Values at some strengths")


def _some(size: int) -> list[int]:
    count = min(size, _ALONG)
    return [round(k * (size - 1) / (count - 1)) for k in range(count)]


def _steps(held: Steps) -> tuple[str, Grid]:
    rows = tuple(
        (f"{k}", clean(s.text), carries(s, held)) for k, s in enumerate(held.steps, start=1)
    )
    told = [f"Asked: {clean(held.question)}"] if held.question else []
    told += [f"Answered: {clean(held.answer)}"] if held.answer else []
    return " ".join(told), Grid(("Step", "Text", "What it carries"), rows, (), "Steps in order")


def _heatmap(held: Heatmap) -> tuple[str, Grid]:
    rows = []
    for i, j in fields.strongest(held, MOST_CELLS):
        row = [clean(held.rows[i]), clean(held.columns[j]), _value(held.values[i][j])]
        row += [_between(held.low[i][j], held.high[i][j])] if held.low else []
        row += [("yes" if held.significant[i][j] else "no")] if held.significant else []
        rows.append(tuple(row))
    head = [clean(held.row_name), clean(held.column_name), clean(held.value_name)]
    head += ["Interval"] if held.low else []
    head += ["Significant"] if held.significant else []
    size = len(held.rows) * len(held.columns)
    lead = f"{size:,} cells."
    if held.significant:
        lead = f"{sum(map(sum, held.significant)):,} of {size:,} cells are significant."
    caption = f"The {len(rows)} cells farthest from {held.null:g}"
    return lead, Grid(tuple(head), tuple(rows), (2, 3) if held.low else (2,), caption)


def _circuit(held: Circuit) -> tuple[str, Grid]:
    kept = sorted((k for k in held.links if k.kept), key=lambda k: -abs(k.value or 0.0))
    rows = tuple(
        (clean(k.source), clean(k.target), _value(k.value), _between(k.conf_low, k.conf_high))
        for k in kept
    )
    lead = f"{len(held.nodes):,} parts; {len(kept):,} of {len(held.links):,} links are kept."
    head = ("From", "To", clean(held.value_name), "Interval")
    return lead, Grid(head, rows, (2, 3), "Links that are kept, strongest first")


def _table(held: Table) -> tuple[str, Grid]:
    rows = tuple(
        tuple(clean(v) if isinstance(v, str) else _value(v) for v in row) for row in held.rows
    )
    numeric = [
        j
        for j in range(1, len(held.columns))
        if held.rows and not any(isinstance(row[j], str) for row in held.rows)
    ]
    return "", Grid(tuple(map(clean, held.columns)), rows, tuple(numeric), clean(held.title))


def _graph(held: CausalGraph) -> tuple[str, None]:
    return "", None


def _between(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "none"
    return interval(0.0, low, high).split("[")[1].rstrip("]").replace(", ", " to ")


def _value(value: float | None) -> str:
    return "not available" if value is None else number(value)


_TITLES: dict[type[Any], str] = {
    Heatmap: "Heat map",
    Circuit: "Circuit",
    Contour: "Contours",
    CausalGraph: "Causal graph",
}
_WRITTEN: dict[type[Any], Callable[[Any], tuple[str, Grid | None]]] = {
    Comparison: _comparison,
    Distributions: _distributions,
    Curve: _curve,
    Contour: _contour,
    Steps: _steps,
    Heatmap: _heatmap,
    Circuit: _circuit,
    Table: _table,
    CausalGraph: _graph,
}
