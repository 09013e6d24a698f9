"""The report as Markdown (GitHub's dialect): the same content, for repositories and notes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from crossworld.core.exhibits import CausalGraph
from crossworld.core.table import EffectTable
from crossworld.io import write_text
from crossworld.report.background import Background, Pairs
from crossworld.report.content import Licence, Page, page

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.")
_LEADING = re.compile(r"^([-+](?=[-\s]|$)|#|\d+(?=[.)](?:\s|$)))")
MOST = 60
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


def write(table: EffectTable, file: Path) -> None:
    """Write a result as Markdown, whole or not at all.

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
    """Return the report as Markdown text.

    Names that hold Markdown or HTML are escaped, so they are shown and not obeyed.

    Examples
    --------
    >>> from crossworld.core.table import Effect
    >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
    >>> print(render(EffectTable(rows, 0.95)).splitlines()[0])
    # Mediation analysis
    """
    held = page(table)
    parts = [
        f"# {text(held.title)}",
        f"*{text(held.question)}*",
        *map(text, held.story),
        *_answer(held),
        "## The study",
        _listing(held.facts),
        "## Effects",
        f"{text(held.caption)}.",
        _effects(held),
        "The p value tests that there is no effect: 0 for differences, 1 for ratios; for a "
        "proportion, that its numerator is 0.",
        *_section(held, "methods"),
        "## What each effect means",
        *_meanings(held),
        *_section(held, "mediators"),
        *_section(held, "steps"),
        *_section(held, "sites"),
        "## Why these numbers may be read as effects",
        *_licence(held.licence),
        *_checks(held),
        *_section(held, "sensitivity"),
        *_section(held, "more"),
        "## Models and diagnostics",
        *_diagnostics(held),
        *_background(held.background),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def text(value: str) -> str:
    r"""Escape text so that Markdown shows it as it is.

    Examples
    --------
    >>> print(text("job_seek | *x* <script>"))
    job_seek \| \*x\* &lt;script&gt;
    """
    for sign, entity in _ENTITIES:
        value = value.replace(sign, entity)
    value = _SPECIAL.sub(lambda m: f"\\{m[0]}", value)
    return _LEADING.sub(lambda m: f"{m[1]}\\" if m[1].isdigit() else f"\\{m[1]}", value)


def code(value: str) -> str:
    r"""Write text as a code span, whatever backticks or bars it holds.

    Examples
    --------
    >>> print(code("a`b"))
    `` a`b ``
    """
    longest = max((len(run) for run in re.findall(r"`+", value)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{value}{pad}{fence}"


def _block(value: str, language: str = "") -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", value)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{value}\n{fence}"


def _answer(held: Page) -> list[str]:
    parts = [f"**{text(held.answer.headline)}**", *(text(note) for note in held.answer.notes)]
    parts.append(text(held.caution))
    if held.warnings:
        word = "Warning" if len(held.warnings) == 1 else "Warnings"
        parts += [f"## {word}: read before using the numbers", _bullets(map(text, held.warnings))]
    return parts


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _listing(pairs: Pairs) -> str:
    return _bullets(f"{text(label)}: {text(v)}" if label else text(v) for label, v in pairs)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    rule = ["---:" if j in right else "---" for j in range(len(head))]
    lines = [[text(name) for name in head], rule, *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _effects(held: Page) -> str:
    head = (
        "Effect", "Name", "Estimate", "Std. error", held.interval, "p value", "Interval method",
    )  # fmt: skip
    rows = [
        (r.term, r.name, r.estimate, r.std_error, r.interval, r.p_value, r.method)
        for r in held.rows
    ]
    return _table(head, rows, (2, 3, 4, 5))


def _meanings(held: Page) -> list[str]:
    found = []
    for m in held.meanings[:MOST]:
        also = f" Also called {text(m.also)}." if m.also else ""
        found.append(f"**{text(m.name)}** ({code(m.term)}): {text(m.text)}{also}")
    if len(held.meanings) > MOST:
        more = len(held.meanings) - MOST
        found.append(f"{more:,} more effects mean the same, each at its own place.")
    return found


def _licence(held: Licence | None) -> list[str]:
    if held is None:
        return ["No identification was recorded with this result."]
    claims = (
        f"**{text(c.name)}**: {text(c.statement)} *{text(c.verdict)}* ({c.badge})"
        for c in held.claims
    )
    adjust = f"Conditioned on: {text(held.adjust)}." if held.adjust else ""
    parts = [text(held.lead), adjust, _bullets(claims)]
    graph = [f"Graph: {code(str(held.graph))}"] if held.graph else []
    return [*parts, *graph, *(_block(f, "math") for f in held.formulas)]


def _section(page: Page, name: str) -> list[str]:
    held = page.sections.get(name)
    if held is None:
        return []
    parts = [f"## {text(held.title)}"]
    for one in held.shown:
        parts.append(f"### {text(one.title)}" if one.title != held.title else "")
        parts.append(text(one.lead))
        if isinstance(one.exhibit, CausalGraph):
            parts.append(code(one.exhibit.graph))
        if one.grid is not None and one.grid.rows:
            parts.append(_table(one.grid.head, one.grid.rows, one.grid.right))
        parts.append(text(one.note))
    return parts


def _checks(page: Page) -> list[str]:
    held = page.checks
    if not held:
        return []
    summary = []
    for one in page.attempts:
        change = f" ({text(one.change)})" if one.change else ""
        told = "; ".join(f"{v}: {text(t)}" if t else v for v, t in one.verdicts)
        summary.append(f"**{text(one.name)}**{change}: {told}")
    head = ("Check", "Effect", "Verdict", "Original", "Changed", "Detail")
    rows = [(c.name, c.term, c.verdict, c.original, c.refuted, c.detail) for c in held]
    title = "## Attempts to break the answer"
    return [title, text(page.tally), _bullets(summary), _table(head, rows, (3, 4))]


def _diagnostics(held: Page) -> list[str]:
    parts = []
    if held.models:
        models = (f"{text(name)}: {code(model)}" for name, model in held.models)
        parts = ["### Models", _bullets(models), "### Diagnostics"]
    return [*parts, _listing(held.diagnostics + held.other_diagnostics)]


def _background(held: Background) -> list[str]:
    parts = []
    if held.steps:
        steps = (
            f"{n}. {text(words)}{f' {code(command)}' if command else ''}"
            for n, (words, command) in enumerate(held.steps, start=1)
        )
        parts += ["## Run it again", "\n".join(steps), _block(held.spec, held.spec_format)]
    if held.provenance:
        parts += ["## Where the numbers come from", _listing(held.provenance)]
    return [*parts, "## How to cite", text(held.citation), _block(held.bibtex, "bibtex")]
