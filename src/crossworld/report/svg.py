"""Matplotlib figures as SVG that live inside a page: themed, without links or prologue."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any, Literal

from crossworld.core.exhibits import Circuit, Exhibit
from crossworld.core.table import EffectTable
from crossworld.report import figures, pictures
from crossworld.report.drawn import canvas
from crossworld.report.words import clean

MOST = 60
_VARIABLES = {
    figures.INK: "--ink",
    figures.MUTED: "--muted",
    figures.LINE: "--line",
    figures.TOTAL: "--total",
    figures.DIRECT: "--direct",
    figures.INDIRECT: "--indirect",
    figures.OTHER: "--other",
    canvas.ACTIVE: "--active",
    canvas.SERIES[3]: "--fourth",
    canvas.GOLD: "--fifth",
    "#ffffff": "--paper",
}
_PROLOGUE = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"([^\"]+)\"[^>]*>")
_TAG = re.compile(r"<[^>]*>")
_STYLE = re.compile(r"<style\b.*?</style>", re.DOTALL)
_FAMILY = re.compile(r"'DejaVu Sans'[^;\"]*")
_REFERENCE = re.compile(r"(\bid=\"|url\(#|href=\"#)")
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crossworld",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def forest_svg(table: EffectTable, layout: Literal["wide", "narrow"]) -> str:
    """Return the forest plot of a result as one ``<svg>`` element.

    Text stays text, colours are the variables of the page (`--ink`, `--direct`, ...), names are
    unique to the layout, and a title and a description say what is seen. The first `MOST` effects
    are drawn.

    Parameters
    ----------
    table
        A result with at least one row.
    layout
        As in `crossworld.report.figures.figure`.
    """
    shown = replace(table, rows=table.rows[:MOST])
    text = _saved(lambda: figures.figure(shown, layout=layout))
    told = figures.describe(shown, shown.rows)
    return _inline(text, f"forest-{layout}", ("Forest plot of the effects", told))


def exhibit_svg(
    held: Exhibit, layout: Literal["wide", "narrow"], *, name: str, alone: bool = False
) -> str:
    """Return the picture of an exhibit as one ``<svg>`` element, as `forest_svg` does.

    Parameters
    ----------
    held
        An exhibit that is a picture.
    layout
        ``wide``, or ``narrow`` for a phone.
    name
        What its ids begin with; unique on the page.
    alone
        Whether it is the only layout, shown on every screen.
    """

    def make() -> Any:
        drawn = pictures.draw(replace(held, title=""), layout=layout)  # type: ignore[type-var]
        return (drawn[0] if isinstance(drawn, tuple) else drawn).figure

    text = _saved(make)
    title = clean(held.title) or held.kind.capitalize()
    kind = "fixed" if isinstance(held, Circuit) else "only" if alone else layout
    return _inline(text, f"{name}-{layout}", (title, pictures.describe(held)), kind)


def _saved(make: Callable[[], Any]) -> str:
    """Draw under the library's own settings, whatever the user's are, and restore those."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        make().savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def _inline(text: str, name: str, told: tuple[str, str], kind: str = "") -> str:
    text = _PROLOGUE.sub("", text)
    found = _ROOT.match(text)
    assert found is not None
    body = _STYLE.sub("", text[found.end() :])
    body = _TAG.sub(lambda tag: _themed(tag[0], name), body)
    size = f"{float(found[1].split()[2]) / 72.0:.2f}in"
    styles = {"": "", "fixed": f' style="width:{size}"'}
    wide = styles.get(kind, f' style="max-width:{size}"')
    return (
        f'<svg class="{f"{name} {kind}".strip()}" viewBox="{found[1]}" role="img" '
        f'stroke-linejoin="round"{wide} aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(told[0])}</title>'
        f'<desc id="{name}-desc">{escape(told[1])}</desc>{body.strip()}'
    )


def _themed(tag: str, name: str) -> str:
    tag = _REFERENCE.sub(lambda m: f"{m[1]}{name}-", tag.replace("xlink:href", "href"))
    tag = _FAMILY.sub("var(--sans)", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return tag
