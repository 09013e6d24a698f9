"""The command as a process: exit codes, pipes, terminals, Ctrl-C, locales."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .command import PATH, columns, misused, numbers, write
from .command import crossworld as inside

COMMAND = [sys.executable, "-m", "crossworld.cli.main"]


def start(*words: str, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([*COMMAND, *words], **pipes)


def run(*words: str, **options: Any) -> tuple[int, str, str]:
    with start(*words, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_done_is_0_and_silent_on_stderr() -> None:
    words = ["mediate", write(columns()), PATH, "--adjust", "x", "--draws", "3000", "--seed", "1"]
    code, out, err = run(*words, "--json", "process.json")
    assert (code, err) == (0, "")
    assert out.startswith("a -> m -> y, adjusting for x, levels 0 and 1\n")
    for mark in ("\x1b", "\r", "replicates"):
        assert mark not in out, "no progress bar in a pipe"
    inside(*words, "--json", "inside.json")
    assert numbers("process.json") == numbers("inside.json")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["t.csv", "aa -> m -> y"], 2, "treatment column 'aa' is not in the table."),
        (["t.csv", PATH, "--intermediate", "x", "--effects", "nie"], 3, "`x` is affected"),
    ],
)
def test_refusals_are_one_line_on_stderr(words: list[str], code: int, message: str) -> None:
    write(columns())
    left, out, err = run("mediate", *words, "--json", "r.json", "--report", "r.html")
    assert (left, out) == (code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [p.name for p in Path().iterdir()] == ["t.csv"]


def test_numpy_and_pandas_warnings_do_not_reach_the_user() -> None:
    """Extreme values, in a process with the warning filters that users have."""
    # defect: RuntimeWarnings about overflow in matmul.
    table = {**columns(), "y": columns()["y"] * 1e200}
    _, _, err = run("mediate", write(table), PATH)
    assert "Warning" not in err


def closed(*words: str) -> tuple[int, str]:
    """Run with a reader of stdout that goes away at once."""
    with start(*words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    return process.returncode, err


def test_a_reader_that_goes_away_is_no_error_and_the_files_are_written() -> None:
    """``crossworld ... --json r.json | head -1``."""
    # defect: exit 1, "a bug of ours", from typer's handling of EPIPE; and no r.json, because the
    # table is printed before the files are written.
    assert closed("mediate", write(columns()), PATH, "--json", "r.json") == (0, "")
    assert list(numbers("r.json")) == ["te", "nde", "nie"]


def test_a_reader_of_help_that_goes_away_is_no_error() -> None:
    # defect: exit 1.
    assert closed("--help") == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_no_bug_of_ours() -> None:
    # defect: exit 1 and a traceback.
    with open("/dev/full", "w") as full:
        code, _, err = run("mediate", write(columns()), PATH, stdout=full)
    assert code == 2
    assert err.startswith("error: ")
    assert "No space left" in err


def test_a_terminal_that_lacks_the_letters_of_a_name() -> None:
    """A Windows code page: letters are replaced, the numbers are printed."""
    # defect: UnicodeEncodeError, exit 1, and no r.json.
    write({("\u5909\u6570" if k == "m" else k): v for k, v in columns().items()})
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    words = ["mediate", "t.csv", "a -> \u5909\u6570 -> y", "--json", "r.json"]
    code, out, err = run(*words, env=environment, encoding="cp1252")
    assert (code, err) == (0, "")
    assert "te        0.9379" in out
    assert list(numbers("r.json")) == ["te", "nde", "nie"]


def watched(*words: str) -> tuple[subprocess.Popen[str], int]:
    """Start a command whose stderr is a terminal; return it and our end of that terminal."""
    ours, theirs = pty.openpty()
    process = start(*words, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"})
    os.close(theirs)
    return process, ours


def shown(terminal: int, until: str = "", seconds: float = 30.0) -> str:
    """What appears on a terminal until it closes or a text is there."""
    seen = ""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until and until in seen):
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part.decode(errors="replace")
    return seen


BUSY = ["mediate", "t.csv", PATH, "--draws", "400000", "--json", "r.json", "--report", "r.html"]


def test_long_work_shows_a_bar_on_a_terminal_and_cleans_it_up() -> None:
    process, terminal = watched("mediate", write(columns()), PATH, "--draws", "30000")
    with process:
        seen = shown(terminal)
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(terminal)
    assert process.returncode == 0
    assert "replicates" in seen
    assert "30000" in seen
    assert out.startswith("a -> m -> y")
    assert "replicates" not in out
    assert seen.rstrip().endswith("\x1b[2K"), "the bar is erased when the work is done"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_stops_and_leaves_nothing(workers: str) -> None:
    write(columns())
    process, terminal = watched(*BUSY, "--workers", workers)
    with process:
        assert "replicates" in shown(terminal, until="replicates")
        process.send_signal(signal.SIGINT)
        seen = shown(terminal)
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(terminal)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in seen
    assert [p.name for p in Path().iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ([], []),
        (["medaite"], ["'medaite'", "Did you mean 'mediate'?"]),
        (["mediate"], ["Missing argument 'DATA'"]),
        (["mediate", "t.csv"], ["Missing argument 'PATH'"]),
        (["mediate", "t.csv", PATH, "more"], ["more"]),
        (["mediate", "t.csv", PATH, "--adjst", "x"], ["--adjst", "--adjust"]),
        (["mediate", "t.csv", PATH, "--adjust"], ["--adjust", "argument"]),
        (["run"], ["Missing argument 'SPEC'"]),
        # defect: the value that was typed is not shown.
        (["mediate", "t.csv", PATH, "--draws", "many"], ["--draws", "'many'"]),
        (["mediate", "t.csv", PATH, "--draws", "1.5"], ["--draws", "'1.5'"]),
        (["mediate", "t.csv", PATH, "--level", "high"], ["--level", "'high'"]),
    ],
)
def test_usage_that_is_wrong(words: list[str], fragments: list[str]) -> None:
    found = inside(*words)
    if words:
        misused(found, *fragments)
    else:
        assert found.code == 2
        assert "mediate" in found.out + found.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--draws", "0"], "draws must be a whole number of at least 20, got 0"),
        (["--draws", "19"], "draws must be a whole number of at least 20, got 19"),
        (["--draws", "50", "--seed", "-1"], "seed is a whole number of at least 0, got -1"),
        (["--draws", "50", "--workers", "0"], "workers is a whole number of at least 1, got 0"),
        # defect: OverflowError, exit 1.
        (["--draws", str(10**30)], "draws"),
        (["--level", "2"], "level must lie between 0 and 1, got 2"),
        (["--level", "95"], "try 0.95"),
        (["--level", "nan"], "level must lie between 0 and 1, got nan"),
        # defect: statistics.StatisticsError, exit 1.
        (["--level", "0.9999999999999999"], "level"),
        (["--inference", "bootstrap"], "Did you mean 'Bootstrap'?"),
        (["--inference", "Wald", "--draws", "50"], "'draws'"),
        (["--estimator", "regression"], "Did you mean 'Regression'?"),
        (["--estimator", "os.system"], "unknown estimator 'os.system'"),
        (["--set", "interction=true"], "Did you mean 'interaction'?"),
        (["--set", "interaction"], "field=value, got 'interaction'"),
        (["--set", "interaction=maybe"], "interaction of Regression"),
    ],
)  # fmt: skip
def test_options_that_are_wrong(words: list[str], message: str) -> None:
    found = inside("mediate", write(columns()), PATH, *words, "--json", "r.json")
    assert found.code == 2, found.err[-300:]
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not Path("r.json").exists()


def test_lists_may_have_spaces() -> None:
    words = ["mediate", write(columns()), PATH, "--adjust", " x , w ", "--levels", "0, 1"]
    found = inside(*words, "--effects", "te, cde(m=1, ),nie", "--json", "r.json")
    assert found.code == 0, found.err
    assert list(numbers("r.json")) == ["te", "cde(m=1, )", "nie"]
    assert json.loads(Path("r.json").read_text())["spec"]["study"]["adjust"] == ["x", "w"]


def test_negative_levels_are_values_and_not_options() -> None:
    found = inside("mediate", write(columns()), "x -> m -> y", "--levels", "-1,1")
    assert found.code == 0, found.err
    assert "levels -1 and 1" in found.out
