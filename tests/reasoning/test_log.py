"""The log: append only, one writer, whole lines, nothing twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from crossworld.errors import DesignError
from crossworld.reasoning.log import ReadoutLog, columns, read_log
from crossworld.reasoning.rows import IDENTITY, Readout, draw_index

ROW = Readout(
    question="q1", wording="0", prompt="cot", reasoning="direct", trace="q1/direct/0", draw=0,
    edit=None, replayed=1, readout="forced", shown="so \u2028 \ud800 \"7\"\n", text=" 7",
    answer="7", correct=1, p_answer=None, probabilities=None, tokens_in=9, tokens_out=2, cost=0.5,
    model="m", snapshot="m-1", mode="continuation", template="ab", asked="cd", leaked=1,
    temperature=1.0, max_tokens=16, cue="\nAnswer:", choices=[], finish="stop", hidden=False,
    retries=0, request="r",
)  # fmt: skip


def many(count: int) -> list[Readout]:
    return [replace(ROW, draw=i) for i in range(count)]


def write(file: Path, rows: list[Readout]) -> bytes:
    with ReadoutLog(file) as log:
        for row in rows:
            log.append(row)
    return file.read_bytes()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", many(3))
    assert data.count(b"\n") == 3
    assert read_log(tmp_path / "a.jsonl") == many(3)
    table = columns(many(3))
    assert list(table) == [f.name for f in fields(Readout)]
    assert table["draw"] == [0, 1, 2] and table["shown"][0] == ROW.shown
    asked = "question prompt reasoning trace draw edit replayed wording readout shown answer"
    asked += " correct p_answer tokens_in tokens_out model template leaked"
    assert set(asked.split()) <= set(table)


@pytest.mark.parametrize("name", IDENTITY)
def test_every_part_of_the_identity_makes_another_readout(name: str, tmp_path: Path) -> None:
    old = getattr(ROW, name)
    new = {str: "other", int: 7, float: 0.25, list: ["A"], type(None): "shuffle"}[type(old)]
    other = replace(ROW, **{name: new})
    assert other.key != ROW.key
    write(tmp_path / "a.jsonl", [ROW, other])
    assert len(read_log(tmp_path / "a.jsonl")) == 2


def test_what_came_back_is_no_part_of_the_identity(tmp_path: Path) -> None:
    again = replace(ROW, text=" 8", answer="8", correct=0, cost=None, retries=4)
    assert again.key == ROW.key
    with pytest.raises(DesignError, match="already holds question 'q1'"):
        write(tmp_path / "a.jsonl", [ROW, again])
    assert read_log(tmp_path / "a.jsonl") == [ROW]


def test_a_log_torn_at_any_byte_of_its_last_line_is_repaired(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    data = write(file, many(3))
    start = data[:-1].rfind(b"\n") + 1
    last = {len(data) - 2, len(data) - 1, len(data)}
    for end in sorted({*range(start, start + 3), *range(start, len(data), 61), *last}):
        file.write_bytes(data[:end])
        whole = 3 if end >= len(data) - 1 else 2  # a line that lacks only its newline is whole
        assert read_log(file) == many(whole)
        with ReadoutLog(file) as log:
            assert list(log.rows) == many(whole)
            for row in many(4)[whole:]:
                log.append(row)
        assert read_log(file) == many(4)
        assert file.read_bytes().count(b"\n") == 4
    torn = Path(f"{file}.torn").read_bytes().split(b"\n")
    assert data[start : start + 1] in torn and data[start:-2] in torn


def test_damage_elsewhere_is_refused_by_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    first, second, third = write(file, many(3)).splitlines(keepends=True)
    for damaged, word in (
        (first + second[:50] + b"\n" + third, "line 2 of .* is not JSON"),
        (first + b"7\n" + third, "line 2 of .* is no readout"),
        (first + second.replace(b'"cot"', b'"zero"') + third, "line 2 of .* was changed"),
        (first + second.replace(b'"finish"', b'"end"') + third, r"missing \['finish'\]"),
        (first + second + second, "twice, on lines 2 and 3"),
    ):
        file.write_bytes(damaged)
        for use in (read_log, ReadoutLog):
            with pytest.raises(DesignError, match=word):
                use(file)
        assert file.read_bytes() == damaged


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    code = "import sys; from crossworld.reasoning.log import ReadoutLog; ReadoutLog(sys.argv[1])"
    source = str(Path(__file__).parents[2] / "src")
    with ReadoutLog(file) as log:
        log.append(ROW)
        env = {**os.environ, "PYTHONPATH": source}
        run = subprocess.run(
            [sys.executable, "-c", code, str(file)], capture_output=True, text=True, env=env
        )
        assert run.returncode == 1 and "another process writes" in run.stderr
        with pytest.raises(DesignError, match="another process writes"):
            ReadoutLog(file)
        assert read_log(file) == [ROW]
    with ReadoutLog(file) as log:
        assert len(log.rows) == 1


def test_a_row_is_on_the_way_to_the_disk_when_append_returns(tmp_path: Path) -> None:
    with ReadoutLog(tmp_path / "a.jsonl", sync=1e9) as log:
        log.append(ROW)
        assert json.loads((tmp_path / "a.jsonl").read_text())["key"] == ROW.key


def test_a_log_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match="cannot write the log"):
        ReadoutLog(tmp_path / "nowhere" / "a.jsonl")
    with pytest.raises(DesignError, match="cannot read the log"):
        read_log(tmp_path / "none.jsonl")
    log = ReadoutLog(tmp_path / "a.jsonl")
    log.close()
    log.close()
    with pytest.raises(DesignError, match="is closed"):
        log.append(ROW)


def test_draw_indices_stay_when_either_number_grows() -> None:
    few = {(k, r): draw_index(k, r) for k in range(3) for r in range(2)}
    more = {(k, r): draw_index(k, r) for k in range(30) for r in range(20)}
    assert len(set(more.values())) == 600 and few.items() <= more.items()
    assert [draw_index(k, 0) for k in range(3)] == [0, 1, 2]
