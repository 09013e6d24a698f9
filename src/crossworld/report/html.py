"""One self-contained HTML page, and a short table for notebooks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from crossworld.core.table import EffectTable
from crossworld.io import write_text
from crossworld.report import graphs
from crossworld.report.answer import interval_name
from crossworld.report.content import Page, page, row_text
from crossworld.report.mathml import mathml
from crossworld.report.svg import MOST, forest_svg
from crossworld.report.views import view
from crossworld.report.words import clean, words

if TYPE_CHECKING:
    from jinja2 import Environment


def write(table: EffectTable, file: Path) -> None:
    """Write a result as one HTML page that needs no network and no script.

    The file is written whole or not at all.

    Parameters
    ----------
    table
        A result, fresh or read from a file.
    file
        Where to write.

    Raises
    ------
    DesignError
        If the folder does not exist or cannot be written.
    """
    write_text(Path(file), render(table))


def render(table: EffectTable) -> str:
    """Return the page as text.

    Examples
    --------
    >>> from crossworld.core.table import Effect
    >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
    >>> render(EffectTable(rows, 0.95)).startswith("<!doctype html>")
    True
    """
    held = page(table)
    forest = forest_svg(table, "wide") + forest_svg(table, "narrow") if table.rows else ""
    text = (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=held,
            forest=forest,
            drawn=MOST,
            formulas=_formulas(held),
            graph=_graph(held),
            views={one.name: view(one) for part in held.sections.values() for one in part.shown},
        )
    )
    return text.lstrip()


def fragment(table: EffectTable) -> str:
    """Return a compact table with its warnings, for a notebook.

    It takes its colours from the notebook, so it fits light and dark themes alike.

    Examples
    --------
    >>> from crossworld.core.table import Effect
    >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
    >>> "<td>1.0000</td><td>0.5000</td>" in fragment(EffectTable(rows, 0.95))
    True
    """
    return (
        _environment()
        .get_template("fragment.html.j2")
        .render(
            words=words(table.spec),
            heading=[clean(line) for line in table.heading],
            interval=interval_name(table.level),
            rows=row_text(table)[:MOST],
            hidden=max(0, len(table) - MOST),
            warnings=[clean(text) for text in table.warnings],
        )
    )


def _formulas(held: Page) -> list[tuple[str, str | None]]:
    """Every formula with its MathML, where its form is known."""
    return [(f, mathml(f)) for f in (held.licence.formulas if held.licence else ())]


def _graph(held: Page) -> str | None:
    drawn = held.licence.graph if held.licence else None
    too_many = drawn is None or len(drawn.nodes) > MOST
    return None if drawn is None or too_many else graphs.svg(drawn, themed=True)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("crossworld.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return made
