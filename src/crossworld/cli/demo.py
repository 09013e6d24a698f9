"""``crossworld demo``: the main job, on real data that a dependency ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossworld.datasets.shipped import SPEC, write_diabetes
from crossworld.errors import DesignError
from crossworld.spec import load_spec

STORY = """\
442 people with diabetes were measured, and a year later the progression of their disease.
Those with a higher body mass index fared worse. How much of that runs through their blood serum?

Compared: a body mass index of 30 with one of 25. Mediators: six serum measures, jointly.
"""


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report, data and spec.")
    ] = Path(),
) -> None:
    """Run a mediation analysis on real data and write report.html."""
    if out.exists() and not out.is_dir():
        raise DesignError(f"--out {str(out)!r} is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    write_diabetes(out / "diabetes.csv")
    (out / "diabetes.toml").write_text(SPEC, encoding="utf-8")
    print(STORY)
    result = load_spec(out / "diabetes.toml").run()
    print(result)
    result.report(out / "report.html")
    print(
        f"\nreport:  {out / 'report.html'}   (open it in a browser)"
        f"\nagain:   crossworld run {out / 'diabetes.toml'}"
        "\nyours:   crossworld mediate DATA.csv 'treatment -> mediator -> outcome' --adjust a,b"
    )
