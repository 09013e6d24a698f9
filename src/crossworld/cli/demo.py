"""``crossworld demo``: the main job, on real data that a dependency ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossworld.cli.output import say
from crossworld.datasets.shipped import SPEC, diabetes
from crossworld.errors import DesignError
from crossworld.io import write_text
from crossworld.spec import load_spec

STORY = """\
442 people with diabetes were measured, and a year later the progression of their disease.
Those with a higher body mass index fared worse. How much of that runs through their blood serum?

Compared: a body mass index of 30 with one of 25. Mediators: six serum measures, jointly.
"""


def keep(file: Path, text: str) -> None:
    """Write a file of the demo, but never over another one of that name."""
    if file.exists() and (not file.is_file() or file.read_bytes() != text.encode()):
        raise DesignError(f"{str(file)!r} is there already and differs; name another --out folder")
    write_text(file, text)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report, data and spec.")
    ] = Path(),
) -> None:
    """Run a mediation analysis on real data and write report.html."""
    if out.is_file():
        raise DesignError(f"--out {str(out)!r} is a file; name a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DesignError(f"--out {str(out)[:100]!r} is no folder: {error.strerror}") from None
    keep(out / "diabetes.csv", diabetes().to_csv(index=False))
    keep(out / "diabetes.toml", SPEC)
    say(STORY)
    result = load_spec(out / "diabetes.toml").run()
    say(result)
    result.report(out / "report.html")
    say(
        f"\nreport:  {out / 'report.html'}   (open it in a browser)"
        f"\nagain:   crossworld run {out / 'diabetes.toml'}"
        "\nyours:   crossworld mediate DATA.csv 'treatment -> mediator -> outcome' --adjust a,b"
    )
