"""Importing crossworld is cheap, and names load only what they need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
HEAVY = [
    "formulaic", "httpx", "jinja2", "joblib", "matplotlib", "narwhals", "networkx", "pandas",
    "polars", "pyarrow", "rich", "scipy", "sklearn", "statsmodels", "torch", "transformers",
    "typer",
]  # fmt: skip
PROLOGUE = "import crossworld; "


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    path = os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(list(sys.modules)))"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.returncode == 0, run.stderr
    return {name.split(".")[0] for name in json.loads(run.stdout.splitlines()[-1])}


def test_import_loads_nothing_heavy() -> None:
    assert not loaded("import crossworld") & {*HEAVY, "numpy"}


def test_every_name_loads_nothing_heavy_but_scipy() -> None:
    code = "import crossworld\nfor name in dir(crossworld): getattr(crossworld, name)"
    found = loaded(code)
    assert "numpy" in found
    assert found & set(HEAVY) <= {"scipy"}


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import crossworld.core.analysis", {"numpy"}),
        ("import crossworld.infer.wald, crossworld.infer.bootstrap", {"numpy"}),
        ("from crossworld.core.parse import estimand; estimand('nie.ratio')", {"numpy"}),
        ("from crossworld import datasets; datasets.linear(n=10)", {"numpy"}),
        ("import crossworld.tables.study", {"numpy"}),
        ("import crossworld.spec", {"numpy"}),
        ("import crossworld.report.html, crossworld.report.markdown", {"numpy"}),
    ],
)
def test_parts_load_nothing_else(code: str, allowed: set[str]) -> None:
    assert loaded(code) & {*HEAVY, "numpy"} <= allowed


def test_names_are_complete_and_documented() -> None:
    code = (
        "import crossworld\n"
        "held = {n: getattr(crossworld, n) for n in crossworld.__all__ if n[:2] != '__'}\n"
        "missing = [n for n, v in held.items() if callable(v) and not (v.__doc__ or '').strip()]\n"
        "assert not missing, missing\n"
        "assert dir(crossworld) == sorted(crossworld.__all__)\n"
        "try: crossworld.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
        "else: raise SystemExit(1)"
    )
    loaded(code)


@pytest.mark.parametrize(
    "name",
    [
        "TE", "NDE", "NIE", "TNDE", "PNIE", "PM", "CDE", "IDE", "IIE", "OE", "PSE", "four_way",
        "Y", "M", "G", "set_", "Cell", "Estimand", "Estimate", "Scores", "EffectTable", "Analysis",
        "estimate", "estimand", "TableStudy", "Regression", "Wald", "Bootstrap", "Simulation",
        "Identification", "datasets", "errors", "__version__",
    ],
)  # fmt: skip
def test_the_promised_names_are_there(name: str) -> None:
    import crossworld

    assert getattr(crossworld, name) is not None
    assert name in dir(crossworld)


@pytest.mark.slow
def test_import_takes_a_tenth_of_a_second() -> None:
    """The best of five cold starts, beside an interpreter that imports nothing."""
    code = "import time; t = time.perf_counter(); import crossworld; print(time.perf_counter() - t)"
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    runs = [
        float(subprocess.check_output([sys.executable, "-c", code], env=env, text=True))
        for _ in range(5)
    ]
    assert min(runs) < 0.1
