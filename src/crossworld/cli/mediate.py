"""``crossworld mediate`` and ``crossworld run``: a table or a spec in, effects out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from crossworld.cli.output import say
from crossworld.cli.progress import shown
from crossworld.core.analysis import Analysis
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.spec import from_document, is_result, load_spec

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Write a self-contained HTML report."),
]


def mediate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A csv or parquet file.")],
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="'treatment -> mediator -> outcome'; "
            "'m1 + m2' is a joint block, 'm1 -> m2' ordered.",
        ),
    ],
    adjust: Annotated[str, typer.Option(help="Pre-treatment covariates: a,b,c.")] = "",
    intermediate: Annotated[
        str, typer.Option(help="Mediator-outcome confounders the treatment affects: a,b.")
    ] = "",
    levels: Annotated[str, typer.Option(help="Reference and active level: 0,1.")] = "",
    cluster: Annotated[str, typer.Option(help="Column of cluster labels.")] = "",
    weights: Annotated[str, typer.Option(help="Column of row weights.")] = "",
    missing: Annotated[str, typer.Option(help="What to do with missing values: error, drop.")] = "",
    event: Annotated[str, typer.Option(help="Outcome value that counts as 1.")] = "",
    estimator: Annotated[str, typer.Option(help="Name of the estimator.")] = "Regression",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Set a field of the estimator; repeatable."
        ),
    ] = None,
    inference: Annotated[
        str,
        typer.Option(help="Wald, Bootstrap, Simulation, Multiplier [Wald; Bootstrap with --draws]"),
    ] = "",
    draws: Annotated[int | None, typer.Option(help="Replicates of any inference but Wald.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the replicates.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads for the replicates.")] = None,
    level: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    effects: Annotated[
        str, typer.Option(help="te,nde,nie,tnde,pnie,pm,cde(m=0),... or expressions over cells.")
    ] = "te,nde,nie",
    json_file: JsonFile = None,
    report_file: ReportFile = None,
) -> None:
    """Estimate direct and indirect effects from a table."""
    study: dict[str, Any] = {"data": str(data), "path": path}
    lists = {"adjust": adjust, "intermediate": intermediate}
    study |= {name: split(text) for name, text in lists.items() if text}
    texts = {"cluster": cluster, "weights": weights, "missing": missing}
    study |= {name: text for name, text in texts.items() if text}
    study |= {"event": label(event)} if event else {}
    study |= {"levels": [label(v) for v in split(levels)]} if levels else {}
    measured = {"draws": draws, "seed": seed, "workers": workers}
    replicates = {name: number for name, number in measured.items() if number is not None}
    name = inference or ("Bootstrap" if replicates else "Wald")
    document = {
        "study": study,
        "estimator": {"name": estimator, **_assignments(set_ or [])},
        "inference": {"name": name, **replicates},
        "ask": {"effects": split(effects), "level": level},
    }
    _check_writable((data,), json_file, report_file)
    _finish(from_document(document, Path()), json_file, report_file)


def run(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A TOML or JSON spec, or a result.")],
    json_file: JsonFile = None,
    report_file: ReportFile = None,
) -> None:
    """Run the analysis that a spec file describes."""
    _check_writable(() if is_result(spec) else (spec,), json_file, report_file)
    analysis = load_spec(spec)
    _check_writable((Path(analysis.study.origin.data),), json_file, report_file)
    _finish(analysis, json_file, report_file)


def _finish(analysis: Analysis[Any], json_file: Path | None, report_file: Path | None) -> None:
    with shown("replicates") as progress:
        result: EffectTable = analysis.run(progress=progress)
    if json_file is not None:
        result.to_json()  # whatever cannot be written is found before anything is
    if report_file is not None:
        result.report(report_file)
    if json_file is not None:
        result.to_json(json_file)
    say(result)
    if report_file is not None:
        say(f"\nreport: {report_file}")


def _check_writable(inputs: tuple[Path, ...], *files: Path | None) -> None:
    """Refuse a file that cannot be written, or that holds the input, before any work is done."""
    outputs = [file for file in files if file is not None]
    for file in outputs:
        try:
            fine = file.parent.is_dir() and not file.is_dir() and file.name != ""
        except OSError:
            fine = False
        if not fine or len(file.name.encode()) > 200:
            raise DesignError(f"cannot write {str(file)[:100]!r}: no such folder, or no file name")
        if any(_same(file, other) for other in inputs):
            raise DesignError(
                f"{str(file)!r} holds the input data; name another file for the output"
            )
    if len(outputs) == 2 and _same(*outputs):
        raise DesignError(f"--json and --report name the same file {str(outputs[0])!r}")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() and (not one.exists() or one.is_file())
    except OSError:
        return False


def split(text: str) -> list[str]:
    """Split a list at the commas that stand outside brackets and quotes.

    Examples
    --------
    >>> split("te, cde(m=3, n=0),nie")
    ['te', 'cde(m=3, n=0)', 'nie']
    """
    parts, depth, quote, part = [], 0, "", ""
    for mark in text:
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        depth += (mark in "([") - (mark in ")]") if not quote else 0
        if mark == "," and depth == 0 and not quote:
            parts.append(part.strip())
            part = ""
        else:
            part += mark
    parts.append(part.strip())
    return [p for p in parts if p]


def value(text: str) -> Any:
    """Read a value typed on the command line: a number, true/false, JSON, else text.

    Examples
    --------
    >>> value("3"), value("true"), value("psyemp")
    (3, True, 'psyemp')
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


def label(text: str) -> int | float | str:
    """Read a level or an event: a number when it is written as one, else the text as it is.

    Examples
    --------
    >>> label("1"), label("-0.5"), label("1.50"), label("true")
    (1, -0.5, '1.50', 'true')
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text:
            return number
    return text


def _assignments(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, equals, right = text.partition("=")
        if not equals:
            raise SpecError(f"--set takes field=value, got {text!r}")
        found[name.strip()] = value(right.strip())
    return found
