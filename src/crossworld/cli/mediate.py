"""``crossworld mediate`` and ``crossworld run``: a table or a spec in, effects out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossworld.cli.output import say, show, write
from crossworld.cli.progress import shown
from crossworld.cli.reading import assignments, check_writable, label, names, real, split, whole
from crossworld.core.analysis import Analysis
from crossworld.core.table import EffectTable
from crossworld.document import is_result
from crossworld.interop.tracking import Tracker, tracker
from crossworld.interop.tracking import track as log
from crossworld.spec import from_document, load_spec

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Write a self-contained HTML report."),
]

Track = Annotated[
    str,
    typer.Option(metavar="TRACKER", help="Log spec, effects, plots and report: wandb or mlflow."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the estimator; repeatable."),
]
InferenceName = Annotated[
    str, typer.Option(help="Wald, Bootstrap, Simulation, Multiplier [Wald; Bootstrap with --draws]")
]
GraphText = Annotated[
    str, typer.Option(help="A causal graph (file or text) that has to identify the effects.")
]
Assume = Annotated[
    bool, typer.Option("--assume", help="Estimate effects the graph does not identify.")
]
RefuterNames = Annotated[
    str, typer.Option(help="Attempts to break the answer: placebo,subset,... or all.")
]


def _whole(told: str) -> Any:
    return typer.Option(parser=whole, metavar="INTEGER", help=told)


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
    set_: Settings = None,
    inference: InferenceName = "",
    draws: Annotated[int | None, _whole("Replicates of any inference but Wald.")] = None,
    seed: Annotated[int | None, _whole("Seed of the replicates.")] = None,
    workers: Annotated[int | None, _whole("Threads for the replicates.")] = None,
    level: Annotated[
        float, typer.Option(parser=real, metavar="FLOAT", help="Confidence level.")
    ] = 0.95,
    effects: Annotated[
        str, typer.Option(help="te,nde,nie,tnde,pnie,pm,cde(m=0),... or expressions over cells.")
    ] = "te,nde,nie",
    graph: GraphText = "",
    assume: Assume = False,
    refute: RefuterNames = "",
    json_file: JsonFile = None,
    report_file: ReportFile = None,
    track: Track = "",
) -> None:
    """Estimate direct and indirect effects from a table."""
    texts = {"cluster": cluster, "weights": weights, "missing": missing, "graph": graph}
    study: dict[str, Any] = {"data": str(data), "path": path}
    study |= {k: names(v) for k, v in (("adjust", adjust), ("intermediate", intermediate)) if v}
    study |= {name: text for name, text in texts.items() if text}
    study |= {"event": label(event)} if event else {}
    study |= {"levels": [label(v) for v in names(levels)]} if levels else {}
    ask = {"effects": split(effects), "level": level, "refute": split(refute), "assume": assume}
    measured = {"draws": draws, "seed": seed, "workers": workers}
    document = {
        "study": study,
        "estimator": {"name": estimator, **assignments(set_ or [])},
        "inference": _inference(inference, measured),
        "ask": ask,
    }
    check_writable((data,), json_file, report_file)
    kept_by = tracker(track) if track else None
    finish(from_document(document, Path()), json_file, report_file, kept_by)


def _inference(name: str, measured: dict[str, int | None]) -> dict[str, Any]:
    """Wald unless replicates are asked for."""
    told = {key: number for key, number in measured.items() if number is not None}
    return {"name": name or ("Bootstrap" if told else "Wald"), **told}


def run(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A TOML or JSON spec, or a result.")],
    json_file: JsonFile = None,
    report_file: ReportFile = None,
    track: Track = "",
) -> None:
    """Run the analysis that a spec file describes."""
    check_writable(() if is_result(spec) else (spec,), json_file, report_file)
    kept_by = tracker(track) if track else None
    analysis = load_spec(spec)
    check_writable(files_of(analysis), json_file, report_file)
    finish(analysis, json_file, report_file, kept_by)


def files_of(analysis: Analysis[Any]) -> tuple[Path, ...]:
    """Files that a study was read from."""
    told = analysis.study.spec()
    return tuple(Path(told[key]) for key in ("data", "pairs", "scores") if told.get(key))


def finish(
    analysis: Analysis[Any],
    json_file: Path | None,
    report_file: Path | None,
    kept_by: Tracker | None = None,
) -> None:
    """Run an analysis, write what is asked, print the result, then log it."""
    with shown("replicates") as progress:
        result: EffectTable = analysis.run(progress=progress)
    if report_file is not None:
        result = result.illustrated()  # the document then holds what the report shows
    write(result, json_file, report_file)
    show(result, report_file)
    if kept_by is not None:
        say(f"\ntracked: {log(result, kept_by)}")
