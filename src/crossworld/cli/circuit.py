"""``crossworld patch circuit``: edges that carry an effect, found and tested on different pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from crossworld.cli.mediate import JsonFile, ReportFile
from crossworld.cli.output import say, show, write
from crossworld.cli.reading import check_writable, real, whole
from crossworld.errors import DesignError, SpecError
from crossworld.internals.circuit import Circuit
from crossworld.internals.circuits import CircuitRun
from crossworld.internals.edges import EdgeAttribution
from crossworld.internals.study import PatchStudy
from crossworld.spec import from_document

SEARCHES = ("top", "greedy", "band")
LISTED = 30


def circuit(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a transformers model, or hub name.")
    ],
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS", help="jsonl: clean, corrupt, answer, wrong per line.")
    ],
    metric: Annotated[str, typer.Option(help="logit_difference, probability, ...")] = (
        "logit_difference"
    ),
    method: Annotated[
        str, typer.Option(help="Edge scores: eap, ig-inputs, ig-activations, clean-corrupt.")
    ] = "ig-inputs",
    search: Annotated[
        str, typer.Option(help="top, greedy, or band (surely not 0, all edges at once).")
    ] = "top",
    edges: Annotated[
        int, typer.Option(parser=whole, metavar="INTEGER", help="How many, of top and greedy.")
    ] = 50,
    share: Annotated[
        float, typer.Option(parser=real, metavar="FLOAT", help="Share of pairs that find it.")
    ] = 0.5,
    seed: Annotated[
        int, typer.Option(parser=whole, metavar="INTEGER", help="Seed of the split.")
    ] = 0,
    circuit_file: Annotated[
        Path | None, typer.Option("--circuit", metavar="FILE", help="Write the circuit as JSON.")
    ] = None,
    level: Annotated[
        float, typer.Option(parser=real, metavar="FLOAT", help="Confidence level.")
    ] = 0.95,
    json_file: JsonFile = None,
    report_file: ReportFile = None,
) -> None:
    """Find the edges that carry an effect on one part of the pairs, and test them on the rest."""
    _check(search, edges)
    check_writable((pairs,), json_file, report_file, circuit_file)
    study = {"kind": "internals", "model": model, "pairs": str(pairs), "metric": metric}
    held: PatchStudy = from_document({"study": study}, Path()).study
    finding, testing = split_study(held, share=share, seed=seed)
    scores = EdgeAttribution(method).scores(finding)  # type: ignore[arg-type]
    found: Any = (
        Circuit.band(scores) if search == "band" else getattr(Circuit, search)(scores, edges)
    )
    result = found.faithfulness(testing, how=CircuitRun(level=level))
    result = result.with_exhibits([found.exhibit()])
    write(result, json_file, report_file, beside=[(circuit_file, found.save)])
    say(found)
    kept = [str(edge) for edge in found.edges]
    say("\n".join(f"  {name}" for name in kept[:LISTED]))
    say(f"  and {len(kept) - LISTED} more" if len(kept) > LISTED else "")
    say(f"found on {len(finding)} pairs with {method}, tested on {len(testing)} others:")
    show(result, report_file)


def _check(search: str, edges: int) -> None:
    """Refuse a search that is not there, or that keeps nothing."""
    if edges < 1:
        raise SpecError(f"--edges is the number of edges to keep, 1 or more, got {edges}")
    if search not in SEARCHES:
        raise SpecError.unknown("search", search, SEARCHES)


def split_study(study: PatchStudy, *, share: float, seed: int) -> tuple[PatchStudy, PatchStudy]:
    """Split pairs at random, clusters whole: those that find a circuit, those that test it."""
    if not 0.0 < share < 1.0:
        raise SpecError(f"--share lies between 0 and 1, got {share:g}")
    codes = study.clusters()
    groups = int(codes.max()) + 1
    if groups < 4:
        raise DesignError(
            f"there are {groups} independent pairs or clusters; a circuit is found on some and "
            "tested on others, which takes at least 4"
        )
    order = np.random.default_rng(seed).permutation(groups)
    count = min(max(round(share * groups), 2), groups - 2)
    first = np.isin(codes, order[:count])
    return study.take(np.flatnonzero(first)), study.take(np.flatnonzero(~first))
