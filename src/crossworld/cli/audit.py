"""Audit the reasoning of a language model: ``crossworld audit``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from crossworld.cli.mediate import JsonFile, Track, finish
from crossworld.cli.output import say
from crossworld.cli.reading import check_writable, label, split, value
from crossworld.core.table import EffectTable
from crossworld.errors import SpecError
from crossworld.interop.tracking import tracker
from crossworld.spec import from_document

LISTED = 10
audit = typer.Typer(
    help="Audit a language model's reasoning: is the chain of thought doing anything?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

Cells = Annotated[
    Path,
    typer.Argument(metavar="CELLS", help="Readouts, one per row: csv, parquet or jsonl (.gz)."),
]
Question = Annotated[str, typer.Option(help="Column of question ids.")]
Prompt = Annotated[str, typer.Option(help="Column of the prompt arm answered under.")]
Reasoning = Annotated[
    str, typer.Option(help="Column of the arm under which the reasoning shown was sampled.")
]
Outcome = Annotated[str, typer.Option(help="Column of the outcome.")]
Levels = Annotated[str, typer.Option(help="Reference and active prompt arm: direct,cot.")]
Column = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=COLUMN",
        help="Another role: draw, edit, replayed, cluster, wording; repeatable.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="COLUMN=VALUE", help="Keep these rows; repeatable."),
]
Source = Annotated[
    list[str] | None,
    typer.Option(
        "--source", metavar="NAME=ARM", help="A reasoning value that is a prompt arm's own."
    ),
]
Effects = Annotated[
    str, typer.Option(help="te,nde,nie,... or expressions: Y(1) - Y(1, M(1, 'shuffle')).")
]


@audit.command("collect")
def collect(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file (TOML).")],
    log: Annotated[
        Path, typer.Option("--log", metavar="FILE", help="The log (jsonl) to append to.")
    ],
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Count the calls and ask nothing.")
    ] = False,
) -> None:
    """Collect readouts from a model; run it again to go on where it stopped."""
    from crossworld.reasoning.collect import collect_now, outlook
    from crossworld.reasoning.planfile import read_collection

    asked = read_collection(plan)
    check_writable((plan,), log)
    if dry:
        said = outlook(asked.plan, asked.model, log=log)
        say(f"{said} (asked of {asked.model.name}, logged in {log})")
        return
    with spending() as bar:
        try:
            found = collect_now(asked.plan, asked.model, log=log, limits=asked.limits, progress=bar)
        except KeyboardInterrupt:
            say(f"stopped; the answers are kept in {log}: run the same command to go on")
            raise typer.Exit(130) from None
    say(f"{found.held:,} of {found.total:,} readouts are in {log} ({found.made:,} new)")
    if found.cost:
        say(f"cost so far: {found.cost:.4f}")
    for name, why in found.failed[:LISTED]:
        say(f"no answer: {name}: {why}")
    if len(found.failed) > LISTED:
        say(f"no answer: {len(found.failed) - LISTED} more")
    reasons: dict[str, list[str]] = {}
    for name, why in found.inapplicable:
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        say(f"edit not applicable, {len(names):,} readouts: {why} (such as {names[0]})")
    if found.stopped:
        say(f"stopped: {found.stopped}")
    if not found.complete:
        raise typer.Exit(1 if found.stopped is None else 2)


@contextmanager
def spending() -> Iterator[Any]:
    """Yield what draws readouts, remaining calls and cost; None when nobody is watching."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    told = TextColumn("{task.fields[told]}")
    columns = (TextColumn("readouts"), BarColumn(), told, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("readouts", total=None, told="")

        def advance(done: int, total: int, cost: float) -> None:
            paid = f", cost {cost:.4f}" if cost else ""
            words = f"{done:,} of {total:,}, {total - done:,} to go{paid}"
            bar.update(task, completed=done, total=total, told=words)

        yield advance


@audit.command("estimate")
def estimate(
    cells: Cells,
    question: Question = "question",
    prompt: Prompt = "prompt",
    reasoning: Reasoning = "reasoning",
    outcome: Outcome = "correct",
    levels: Levels = "0,1",
    column: Column = None,
    where: Where = None,
    source: Source = None,
    effects: Effects = "te,nde,nie",
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    json_file: JsonFile = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML report too.")
    ] = None,
    track: Track = "",
) -> None:
    """Estimate effects of prompt and reasoning from a table of readouts."""
    roles = (str(cells), question, prompt, reasoning, outcome)
    study = _study(roles, levels, column=column, where=where, source=source)
    document = {"study": study, "ask": {"effects": split(effects), "level": level}}
    check_writable((cells,), json_file, report_file)
    kept_by = tracker(track) if track else None
    finish(from_document(document, Path()), json_file, report_file, kept_by)


@audit.command("report")
def report(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="What estimate wrote with --json.")
    ],
    report_file: Annotated[
        Path, typer.Option("--report", metavar="FILE", help="HTML, or Markdown (.md).")
    ] = Path("report.html"),
) -> None:
    """Write the report of a result."""
    check_writable((result,), report_file)
    EffectTable.from_json(result).report(report_file)
    say(f"report: {report_file}")


@audit.command("holds")
def holds(
    cells: Cells,
    question: Question = "question",
    prompt: Prompt = "prompt",
    reasoning: Reasoning = "reasoning",
    outcome: Outcome = "correct",
    levels: Levels = "0,1",
    column: Column = None,
    where: Where = None,
    source: Source = None,
) -> None:
    """Say which cells a table of readouts holds, and which effects it can and cannot give."""
    roles = (str(cells), question, prompt, reasoning, outcome)
    study = _study(roles, levels, column=column, where=where, source=source)
    say(from_document({"study": study}, Path()).study.holds())


def _study(
    roles: tuple[str, ...],
    levels: str,
    *,
    column: list[str] | None,
    where: list[str] | None,
    source: list[str] | None,
) -> dict[str, Any]:
    """Return the ``[study]`` table of the options."""
    named = dict(zip(("data", "question", "prompt", "reasoning", "outcome"), roles, strict=True))
    study: dict[str, Any] = {"kind": "reasoning", **named, **pairs(column, "--column")}
    for role in log_roles(Path(named["data"])):
        study.setdefault(role, role)
    study["levels"] = [label(v) for v in split(levels)]
    filters = {name: value(text) for name, text in pairs(where, "--where").items()}
    renamed = {name: label(text) for name, text in pairs(source, "--source").items()}
    return (
        study | ({"where": filters} if filters else {}) | ({"sources": renamed} if renamed else {})
    )


def log_roles(file: Path) -> tuple[str, ...]:
    """Return the roles that a log of `audit collect` has under their own names, none elsewhere."""
    from crossworld.reasoning.log import is_log, read_log

    if not is_log(file):
        return ()
    wordings = {row.wording for row in read_log(file)}
    return ("draw", "edit", "replayed", *(["wording"] if len(wordings) > 1 else []))


def pairs(given: list[str] | None, flag: str) -> dict[str, str]:
    """Read repeated ``name=value`` options."""
    found: dict[str, str] = {}
    for text in given or []:
        name, sign, right = text.partition("=")
        if not sign or not name.strip():
            raise SpecError(f"{flag} takes name=value, got {text!r}")
        found[name.strip()] = right.strip()
    return found
