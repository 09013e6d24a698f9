"""``crossworld export``: models of texts, learned from a table, as a folder for the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossworld.cli.output import say
from crossworld.cli.reading import label, names
from crossworld.core.table import number
from crossworld.errors import SpecError
from crossworld.serve.model.export import Export, Exported
from crossworld.serve.model.export import export as write_export


def export(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A csv or parquet file.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the model.")],
    prompt: Annotated[
        str, typer.Option(help="Column of the question's text, without the treatment.")
    ] = "prompt",
    treatment: Annotated[str, typer.Option(help="Column of the treatment.")] = "treatment",
    reasoning: Annotated[str, typer.Option(help="Column of the reasoning's text.")] = "reasoning",
    outcome: Annotated[str, typer.Option(help="Column of the outcome.")] = "outcome",
    question: Annotated[str, typer.Option(help="Column of question ids [the prompt]")] = "",
    levels: Annotated[str, typer.Option(help="Reference and active level: hasty,careful.")] = "",
    event: Annotated[str, typer.Option(help="Outcome value that counts as 1.")] = "",
    covariates: Annotated[int, typer.Option(help="Columns made of a prompt.", min=1)] = 4,
    components: Annotated[int, typer.Option(help="Columns made of a reasoning.", min=1)] = 8,
    vocabulary: Annotated[int, typer.Option(help="Terms of each, at most.", min=1)] = 5_000,
    mediator: Annotated[
        str, typer.Option(help="Model of the mediators: linear, neural")
    ] = "linear",
    draws: Annotated[int, typer.Option(help="Replicates behind the intervals.", min=20)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of all of it.", min=0)] = 0,
    encoder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of model.onnx and tokenizer.json."),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens an encoder reads of a text.", min=1)] = 512,
    int8: Annotated[
        bool, typer.Option("--int8/--float32", help="Keep eight bits where nothing moves.")
    ] = True,
) -> None:
    """Learn models of texts from a table and write them for the service."""
    columns = {
        "prompt": prompt, "treatment": treatment, "reasoning": reasoning, "outcome": outcome,
    }  # fmt: skip
    columns |= {"question": question} if question else {}
    told = [label(v) for v in names(levels)]
    if told and len(told) != 2:
        raise SpecError(f"--levels names the reference and the active level, got {levels!r}")
    asked = Export(
        data,
        columns,
        (told[0], told[1]) if told else None,
        label(event) if event else None,
        covariates,
        components,
        vocabulary,
        mediator,
        draws,
        seed,
        encoder,
        tokens,
        int8,
    )
    _show(write_export(asked, out), out)


def _show(done: Exported, out: Path) -> None:
    say(f"learned from {done.rows:,} rows; effects there:")
    for row in done.effects:
        low, high = number(row["conf_low"]), number(row["conf_high"])
        say(f"  {row['term']:<4} {number(row['estimate']):>9}  [{low}, {high}]")
    say(f"graphs equal the models to {done.apart:.1e} (float32 against float64)")
    if done.checks:
        say("eight bits, checked on rows of the table:")
        for check in done.checks:
            say(f"  {check.line()}")
    say(f"model:   {out}  (sha256 {done.digest})")
    say(f"serve:   crossworld serve {out}")
