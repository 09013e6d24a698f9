"""A matplotlib figure as SVG that lives inside a page: themed, without links or prologue."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import replace
from html import escape
from typing import Any, Literal

from crossworld.core.table import EffectTable
from crossworld.report import figures

MOST = 60
_VARIABLES = {
    figures.INK: "--ink",
    figures.MUTED: "--muted",
    figures.LINE: "--line",
    figures.TOTAL: "--total",
    figures.DIRECT: "--direct",
    figures.INDIRECT: "--indirect",
    figures.OTHER: "--other",
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
    return _inline(_draw(shown, layout), f"forest-{layout}", figures.describe(shown, shown.rows))


def _draw(table: EffectTable, layout: Literal["wide", "narrow"]) -> str:
    """Draw under the library's own settings, whatever the user's are, and restore those."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figures.figure(table, layout=layout).savefig(
            out, format="svg", transparent=True, metadata={"Date": None}
        )
    return out.getvalue()


def _inline(text: str, name: str, description: str) -> str:
    text = _PROLOGUE.sub("", text)
    found = _ROOT.match(text)
    assert found is not None
    body = _STYLE.sub("", text[found.end() :])
    body = _TAG.sub(lambda tag: _themed(tag[0], name), body)
    return (
        f'<svg class="{name}" viewBox="{found[1]}" role="img" stroke-linejoin="round" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">Forest plot of the effects</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body.strip()}'
    )


def _themed(tag: str, name: str) -> str:
    tag = _REFERENCE.sub(lambda m: f"{m[1]}{name}-", tag.replace("xlink:href", "href"))
    tag = _FAMILY.sub("var(--sans)", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    return tag
