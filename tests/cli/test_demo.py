"""``crossworld demo``: one command, a report, and a spec to go on from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import crossworld as xw

from .command import crossworld, done, numbers, refused


def test_the_demo_writes_a_report_data_and_a_spec_that_runs_again() -> None:
    out = done(crossworld("demo", "--out", "d"))
    assert sorted(p.name for p in Path("d").iterdir()) == [
        "diabetes.csv", "diabetes.toml", "report.html"
    ]  # fmt: skip
    for row in ("te ", "nde ", "nie ", "pm "):
        assert f"\n{row}" in out
    assert "report:  d/report.html" in out
    again = next(line for line in out.splitlines() if line.startswith("again:"))
    words = again.removeprefix("again:").split()
    assert words == ["crossworld", "run", "d/diabetes.toml"]
    table = done(crossworld(*words[1:], "--json", "r.json"))
    assert table.strip() in out
    assert Path("d/report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_the_demo_prints_what_python_computes() -> None:
    done(crossworld("demo", "--out", "d"))
    done(crossworld("run", "d/diabetes.toml", "--json", "r.json"))
    mediators = [
        "cholesterol", "ldl", "hdl", "cholesterol_hdl_ratio", "log_triglycerides", "glucose"
    ]  # fmt: skip
    study = xw.TableStudy.from_frame(
        xw.datasets.diabetes(),
        f"bmi -> {' + '.join(mediators)} -> progression",
        adjust=["age", "sex"],
        levels=(25, 30),
    )
    found = xw.estimate(study, xw.Regression(), [xw.TE, xw.NDE, xw.NIE, xw.PM])
    for row in found:
        told = numbers("r.json")[row.term]
        assert told[:2] == pytest.approx([row.estimate, row.std_error], rel=1e-9)


def test_the_demo_needs_no_words() -> None:
    out = done(crossworld("demo"))
    assert Path("report.html").is_file()
    assert "crossworld run diabetes.toml" in out
    done(crossworld("demo"))


def test_the_demo_is_quick_from_a_cold_start() -> None:
    command = [sys.executable, "-m", "crossworld.cli.main", "demo", "--out", "d"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_folder_that_is_made_on_the_way() -> None:
    done(crossworld("demo", "--out", "new/deep"))
    assert Path("new/deep/report.html").is_file()


@pytest.mark.parametrize(
    ("target", "fragments"),
    [
        ("taken", ["--out 'taken' is a file"]),
        # defect: NotADirectoryError, FileNotFoundError and OSError, exit 1.
        ("taken/below", ["taken/below"]),
        ("/proc/none", ["/proc/none"]),
        ("x" * 300, ["xxx"]),
    ],
)
def test_where_the_demo_cannot_write(target: str, fragments: list[str]) -> None:
    Path("taken").write_text("")
    refused(crossworld("demo", "--out", target), *fragments)


def test_the_demo_does_not_write_over_a_table_of_that_name() -> None:
    """The default folder is the working folder, and diabetes.csv a likely name in it."""
    # defect: the file is replaced without a word.
    Path("diabetes.csv").write_text("mine\n")
    refused(crossworld("demo"), "diabetes.csv", "--out")
    assert Path("diabetes.csv").read_text() == "mine\n"
