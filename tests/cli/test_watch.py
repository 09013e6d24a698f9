"""``crossworld watch`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.watching.streams import LOG_SPEC, add, lines, readouts, spec, table

from .command import crossworld, done, misused, refused

OUTPUTS = ("--gauges", "g.prom", "--plot", "w.svg", "--json", "w.json", "--state", "s.json")


def start(moves_at: int | None = 600, n: int = 1800) -> None:
    add(table(n, moves_at=moves_at), Path("t.csv"))
    spec(Path())


def test_one_look_prints_and_writes_everything() -> None:
    start()
    out = done(crossworld("watch", "spec.json", "--window", 200, "--step", 100, "--once", *OUTPUTS))
    assert out.startswith("17 windows of 1,800 rows\nlatest: rows 1,601-1,800, 200 units\n")
    assert "ALARM nie: moved by about" in out
    assert "next window: rows up to number 1,900; 1,800 so far" in out
    assert (
        'crossworld_drift_alarm{study="a -> m -> y",term="nie"} 1.0' in Path("g.prom").read_text()
    )
    assert Path("w.svg").read_text().startswith("<?xml")
    held = json.loads(Path("w.json").read_text())
    assert (held["schema"], len(held["windows"]), held["alpha"]) == ("crossworld-watch/1", 17, 0.05)
    assert "the probability that any alarm is ever raised is at most 0.05" in held["false_alarms"]
    again = done(
        crossworld("watch", "spec.json", "--window", 200, "--step", 100, "--once", *OUTPUTS)
    )
    assert again == out


def test_a_log_of_readouts() -> None:
    Path("log.jsonl").write_text(lines(readouts(60)) + '{"q": "q99", "ar')
    spec(Path(), LOG_SPEC)
    out = done(crossworld("watch", "spec.json", "--window", 20, "--once"))
    assert "latest: questions 41-60, 20 units" in out
    assert "the last 16 bytes are no finished line" in out


def test_windows_of_time() -> None:
    start(n=24 * 7)
    out = done(crossworld("watch", "spec.json", "--window", "2d", "--time", "t", "--once"))
    assert "latest: 2026-03-05 to 2026-03-07, 48 units" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--window", "7d"), "name the column of times with --time"),
        (("--window", "0"), "whole number of rows, got 0"),
        (("--window", "200", "--alpha", "2"), "alpha is the probability"),
        (("--window", "5 cats", "--time", "t"), "a length of time"),
        (("--window", "2d", "--time", "when"), "time column 'when' is not in the table"),
        (("--window", "200", "--plot", "w.bmp"), "--plot writes .svg"),
        (("--window", "200", "--port", "0"), "leave out --port"),
        (("--window", "200", "--every", "0"), "--every is a number of seconds"),
        (("--window", "200", "--json", "t.csv"), "holds the input data"),
        (("--window", "200", "--state", "t.csv"), "is no state of a watch"),
        (("--window", "200", "--state", "x.json", "--json", "x.json"), "name the same file"),
        (("--window", "200", "--gauges", "none/g.prom"), "no such folder"),
        (("--window", "200", "--reference", "t.csv"), "is not a result file"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], told: str) -> None:
    start(n=400)
    before = {p.name: p.read_bytes() for p in Path().iterdir()}
    refused(crossworld("watch", "spec.json", "--once", *words), told)
    assert {p.name: p.read_bytes() for p in Path().iterdir()} == before


def test_a_window_has_to_be_given() -> None:
    start(n=400)
    misused(crossworld("watch", "spec.json"), "Missing option '--window'")


def test_a_failing_first_window_writes_nothing() -> None:
    frame = table(400)
    frame["a"] = 0
    add(frame, Path("t.csv"))
    spec(Path())
    words = ("watch", "spec.json", "--window", 200, "--once", *OUTPUTS)
    refused(crossworld(*words), "the first window (rows 1-200) cannot be estimated")
    assert {p.name for p in Path().iterdir()} == {"t.csv", "spec.json"}


def _wait(check, what: str) -> None:
    for _ in range(400):
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


def test_it_follows_serves_and_stops_when_asked(tmp_path: Path) -> None:
    start(moves_at=None, n=300)
    words = ["watch", "spec.json", "--window", "200", "--every", "0.05", "--port", "0", *OUTPUTS]
    code = "import sys; from crossworld.cli.main import main; sys.argv[0] = 'crossworld'; main()"
    with Path("out.txt").open("w") as out:
        running = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    said = Path("out.txt").read_text
    try:
        _wait(lambda: "/metrics" in said(), "the address")
        add(table(300, seed=1), Path("t.csv"))
        _wait(lambda: "rows 401-600: te" in said(), "the third window")
        address = said().split("gauges: ")[1].split()[0]
        _wait(lambda: '"windows": [' in Path("s.json").read_text(), "the state")
        with urllib.request.urlopen(address) as answer:
            assert 'crossworld_windows{study="a -> m -> y"} 3.0' in answer.read().decode()
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
    finally:
        running.kill()
        running.wait()
    assert said().splitlines()[-1].startswith("stopped after 3 windows; the same command goes on")
    assert len(json.loads(Path("s.json").read_text())["windows"]) == 3
