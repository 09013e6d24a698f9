"""Mediation inside a network: ``crossworld patch``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from crossworld.cli.circuit import circuit
from crossworld.cli.mediate import JsonFile, ReportFile, finish
from crossworld.cli.output import say, show, write
from crossworld.cli.progress import shown
from crossworld.cli.reading import check_writable, real, split, whole
from crossworld.core.parse import estimand
from crossworld.core.table import EffectTable
from crossworld.errors import SpecError
from crossworld.internals.patch import Patch
from crossworld.internals.study import PatchStudy
from crossworld.internals.sweep import heatmaps
from crossworld.internals.sweep import sweep as sweep_sites
from crossworld.spec import from_document

patch = typer.Typer(
    help="Look inside a network: which activations carry an effect?",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Folder of a transformers model, or its hub name.")
]
PairsFile = Annotated[
    Path,
    typer.Argument(
        metavar="PAIRS", help="jsonl: clean, corrupt, answer, wrong, cluster, spans per line."
    ),
]
Sites = Annotated[
    list[str],
    typer.Option(
        "--sites",
        metavar="SITES",
        help="Mediators: 'layers.*.mlp @ -1', 'layers.3.heads.*'; repeatable.",
    ),
]
MetricName = Annotated[
    str,
    typer.Option(
        help="logit_difference, probability, log_probability, logit, kl or accuracy of the answer."
    ),
]
At = Annotated[str, typer.Option(help="Position whose output counts.")]
Source = Annotated[
    str, typer.Option(help="What a patched site is set to: other, zero, mean or resample.")
]
NoiseAt = Annotated[
    str, typer.Option("--noise", metavar="SITE", help="Corrupt by noise there: 'embed @ subject'.")
]
Effects = Annotated[
    str, typer.Option(help="te,nde,nie,tnde,pnie,pm,nie[layers.3.mlp @ -1],... or expressions.")
]
Hold = Annotated[
    list[str] | None,
    typer.Option("--hold", metavar="SITES", help="Sever the paths through these; repeatable."),
]
Level = Annotated[float, typer.Option(parser=real, metavar="FLOAT", help="Confidence level.")]
Size = Annotated[
    int, typer.Option(parser=whole, metavar="INTEGER", help="Pairs that run together.")
]


@patch.command("estimate")
def estimate(
    model: Model,
    pairs: PairsFile,
    sites: Sites,
    metric: MetricName = "logit_difference",
    at: At = "-1",
    source: Source = "other",
    noise: NoiseAt = "",
    hold: Hold = None,
    effects: Effects = "te,nde,nie",
    batch_size: Size = 32,
    level: Level = 0.95,
    json_file: JsonFile = None,
    report_file: ReportFile = None,
) -> None:
    """Estimate total, direct and indirect effects of all the sites together."""
    study = _study((model, str(pairs), metric), sites, at=at, source=source, noise=noise)
    document = {
        "study": study,
        "estimator": _estimator(hold, batch_size),
        "ask": {"effects": split(effects), "level": level},
    }
    check_writable((pairs,), json_file, report_file)
    finish(from_document(document, Path()), json_file, report_file)


@patch.command("sweep")
def sweep(
    model: Model,
    pairs: PairsFile,
    sites: Sites,
    metric: MetricName = "logit_difference",
    at: At = "-1",
    source: Source = "other",
    noise: NoiseAt = "",
    hold: Hold = None,
    effects: Annotated[str, typer.Option(help="Effects asked at every site.")] = "nie",
    batch_size: Size = 32,
    level: Level = 0.95,
    resume: Annotated[
        str, typer.Option(metavar="FILE", help="Keep what has run, and go on from it.")
    ] = "",
    scores_file: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Write the scores (npz).")
    ] = None,
    json_file: JsonFile = None,
    report_file: ReportFile = None,
) -> None:
    """Ask the same effects at every site, with bands that hold for all of them at once."""
    study = _study((model, str(pairs), metric), sites, at=at, source=source, noise=noise)
    check_writable((pairs,), json_file, report_file, scores_file)
    document = {"study": study, "estimator": _estimator(hold, batch_size)}
    analysis = from_document(document, Path())
    asked = [estimand(text) for text in split(effects)]
    held: PatchStudy = analysis.study
    with shown("pairs") as progress:
        chosen: Any = analysis.estimator
        method: Patch = replace(chosen, resume=resume or None, progress=progress)
        result = sweep_sites(held, asked, estimator=method, level=level)
    assert result.scores is not None
    write(result, json_file, report_file, beside=[(scores_file, result.scores.save)])
    show(result, report_file)


patch.command("circuit")(circuit)


@patch.command("sites")
def sites_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name of a model.")],
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="SITES", help="Patterns: 'layers.*.heads.*'.")
    ] = None,
) -> None:
    """List the sites of a model, or those that patterns stand for."""
    from crossworld.internals.ports import known_places
    from crossworld.internals.subject import TorchSubject

    subject = TorchSubject.load(model)
    if patterns:
        for site in subject.sites(*patterns):
            say(site)
        return
    for name in known_places(subject.layout):
        say(name)
    heads = subject.layout.heads
    if heads is not None:
        say(f"and in every layer heads.0 to heads.{heads.queries - 1} (.q .k .v .z .pattern), "
            "mlp.neurons.*")  # fmt: skip


@patch.command("report")
def report(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="What estimate or sweep wrote with --json.")
    ],
    report_file: Annotated[
        Path, typer.Option("--report", metavar="FILE", help="HTML, or Markdown (.md).")
    ] = Path("report.html"),
) -> None:
    """Write the report of a result."""
    check_writable((result,), report_file)
    table = EffectTable.from_json(result)
    held = {(one.kind, one.title) for one in table.exhibits}
    maps = (one for one in heatmaps(table) if (one.kind, one.title) not in held)
    table.report(report_file, exhibits=maps)
    say(f"report: {report_file}")


def _study(
    told: tuple[str, str, str], sites: list[str], *, at: str, source: str, noise: str
) -> dict[str, Any]:
    """Return the ``[study]`` table of the options."""
    if not sites:
        raise SpecError("name the mediators: --sites 'layers.*.mlp @ -1'")
    model, pairs, metric = told
    study: dict[str, Any] = {"kind": "internals", "model": model, "pairs": pairs, "metric": metric}
    study |= {"sites": list(sites), "source": source} | ({"at": at} if at != "-1" else {})
    return study | ({"noise": {"at": noise}} if noise else {})


def _estimator(hold: list[str] | None, batch_size: int) -> dict[str, Any]:
    held = {"hold": list(hold)} if hold else {}
    return {"name": "Patch", "batch_size": batch_size, **held}
