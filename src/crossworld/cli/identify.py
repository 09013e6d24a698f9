"""``crossworld identify``: what can be learned from a graph, from what, or why not."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from crossworld.cli.mediate import JsonFile
from crossworld.cli.output import say
from crossworld.cli.reading import check_writable, names
from crossworld.core.graph.dag import Graph
from crossworld.core.identification import Identification
from crossworld.core.identify.separable import separable
from crossworld.core.identify.verdict import identify as decide
from crossworld.core.parse import estimand
from crossworld.errors import NotIdentifiedError
from crossworld.io import write_text

SHOWN = 12


def identify(
    graph: Annotated[
        str,
        typer.Argument(
            metavar="GRAPH",
            help="A file, a DOT or dagitty string, or 'a -> m -> y; a -> y; m <-> y' "
            "(<-> is an unmeasured common cause).",
        ),
    ],
    effect: Annotated[
        str,
        typer.Argument(
            metavar="EFFECT", help="te, nde, nie, cde(m=0), ide, iie, pse(m2), sde(l=direct), ..."
        ),
    ],
    treatment: Annotated[str, typer.Option(help="The treatment's node.")] = "",
    mediators: Annotated[str, typer.Option(help="The mediators' nodes: m1,m2.")] = "",
    outcome: Annotated[str, typer.Option(help="The outcome's node.")] = "",
    adjust: Annotated[
        str | None, typer.Option(help="Check these covariates instead of finding some: a,b.")
    ] = None,
    json_file: JsonFile = None,
    svg_file: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw the graph.")
    ] = None,
) -> None:
    """Say whether a graph identifies an effect, by which covariates, or why not (exit 3)."""
    file = Path(graph)
    held = (file,) if len(graph) < 1000 and "\n" not in graph and file.is_file() else ()
    check_writable(held, json_file, svg_file)
    drawn = Graph.load(graph)
    question = separable(effect) or estimand(effect)
    found = decide(
        drawn,
        question,
        treatment=treatment or None,
        mediators=names(mediators) if mediators else None,
        outcome=outcome or None,
        adjust=None if adjust is None else names(adjust),
    )
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n")
    if svg_file is not None:
        write_text(svg_file, Graph.parse(found.graph or str(drawn)).svg())
    if not found.identified:
        say(refusal(found))
        raise typer.Exit(NotIdentifiedError.exit_code)
    say(licence(effect, found))


def licence(effect: str, found: Identification) -> str:
    """Write a verdict for a terminal."""
    how = {
        "front-door": "by the front-door formula",
        "g-formula": "by the formula below, which is no adjustment for covariates",
    }.get(str(found.by), f"by adjusting for {', '.join(found.adjust) or 'nothing'}")
    lines = [f"{effect} is identified {how}"]
    if len(found.sets) > 1:
        lines += ["", "minimal sets"]
        lines += [f"  {', '.join(s) or '(nothing)'}" for s in found.sets[:SHOWN]]
        more = len(found.sets) - SHOWN
        lines += [f"  and {more} more"] if more > 0 else []
    if found.efficient is not None:
        lines += ["", f"most efficient: {', '.join(found.efficient) or 'nothing'}"]
    elif found.by == "adjustment" and found.sets:
        lines += ["", "which set is most efficient depends on the law, not on the graph alone"]
    lines += ["", "formula"]
    lines += [f"  {part.strip()}" for part in (found.formula or "").split(r",\qquad")]
    return "\n".join([*lines, *assumptions(found)])


def refusal(found: Identification) -> str:
    """Write why there is no answer for a terminal."""
    reason, _, _ = (found.reason or "").partition("; identified or possible instead")
    lines = [_filled(reason, "")]
    if found.offending:
        lines += ["", f"in the way: {', '.join(found.offending)}"]
    if found.instead:
        lines += ["", f"instead: {', '.join(found.instead)}"]
    return "\n".join(lines)


def assumptions(found: Identification) -> list[str]:
    """Write the assumptions, each with what would decide it."""
    lines = ["", "assumptions"]
    for claim in found.assumptions:
        mark = "testable" if claim.testable else "not testable"
        lines.append(_filled(f"- {claim.name} ({mark}): {claim.statement}", "  "))
        if claim.decided_by:
            lines.append(_filled(f"decided by: {claim.decided_by}", "    "))
    return lines if found.assumptions else []


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(
        text, 96, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False
    )
