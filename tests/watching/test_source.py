"""A file that grows, ends in the middle of a line, is rotated, cut short, or written anew."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossworld.errors import DesignError
from crossworld.watching.source import Position, Reading, parsed, read_on, restored


def rows(reading: Reading) -> list[str]:
    return [line.decode().strip() for line in reading.rows.lines]


def more(file: Path, text: str) -> None:
    with file.open("a", newline="") as out:
        out.write(text)


def test_only_what_was_added_is_read(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    first = read_on(file, Position())
    assert rows(first) == ["1,2", "3,4"]
    assert rows(read_on(file, first.position)) == []
    more(file, "5,6\n")
    second = read_on(file, first.position)
    assert rows(second) == ["5,6"]
    assert list(second.rows.numbers) == [2]
    assert second.position.rows == 3


def test_a_line_that_is_not_finished_waits(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,")
    first = read_on(file, Position())
    assert (rows(first), first.unfinished) == (["1,2"], 2)
    more(file, "44\n")
    second = read_on(file, first.position)
    assert (rows(second), second.unfinished) == (["3,44"], 0)


def test_a_header_that_is_not_finished_waits(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,")
    first = read_on(file, Position())
    assert (rows(first), first.position.header) == ([], "")
    more(file, "b\n1,2\n")
    assert rows(read_on(file, first.position)) == ["1,2"]


def test_a_line_break_inside_quotes_does_not_end_a_row(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('a,b\n1,"x\ny"\n2,"open\n')
    first = read_on(file, Position())
    assert rows(first) == ['1,"x\ny"']
    more(file, 'closed"\n')
    second = read_on(file, first.position)
    assert rows(second) == ['2,"open\nclosed"']
    frame = parsed(second.rows, header=second.position.header, file=file, reasoning=False)
    assert list(frame["b"]) == ["open\nclosed"]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_marks_of_other_systems_are_understood(tmp_path: Path, newline: str) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b"\xef\xbb\xbf" + newline.join(["a;b", "1;2", "", "3;4", ""]).encode())
    first = read_on(file, Position())
    assert rows(first) == ["1;2", "3;4"]
    frame = parsed(first.rows, header=first.position.header, file=file, reasoning=False)
    assert frame.to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_a_rotated_file_is_read_to_its_end_first(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n")
    first = read_on(file, Position())
    more(file, "3,4\n")
    file.rename(tmp_path / "t.csv.1")
    file.write_text("a,b\n5,6\n7,8\n")
    second = read_on(file, first.position)
    assert rows(second) == ["3,4", "5,6", "7,8"]
    assert list(second.rows.numbers) == [1, 2, 3]
    assert "rotated after row 1: 1 more rows were read from 't.csv.1'" in second.notes[0]
    more(file, "9,9\n")
    assert rows(read_on(file, second.position)) == ["9,9"]


def test_a_file_cut_short_begins_anew_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    first = read_on(file, Position())
    file.write_text("a,b\n5,6\n")
    second = read_on(file, first.position)
    assert rows(second) == ["5,6"]
    assert list(second.rows.numbers) == [2]
    assert "replaced or cut short after row 2" in second.notes[0]


def test_a_file_written_anew_with_the_same_rows_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n")
    first = read_on(file, Position())
    anew = tmp_path / "new"
    anew.write_text("a,b\n1,2\n3,4\n")
    anew.replace(file)
    second = read_on(file, first.position)
    assert (rows(second), second.notes) == (["3,4"], ())


def test_a_rotated_file_may_not_change_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,4\n")
    first = read_on(file, Position())
    file.write_text("a,c\n5,6\n")
    with pytest.raises(DesignError, match="no longer with 'a,b'"):
        read_on(file, first.position)


def test_a_log_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"q": 1, "t": "a \\" b"}\n{"q": 2')
    first = read_on(file, Position())
    assert len(first.rows) == 1
    more(file, ', "t": "c"}\n')
    second = read_on(file, first.position)
    held = parsed(second.rows, header="", file=file, reasoning=True)
    assert held.values("t", "text") == ["c"]


def test_parquet_is_read_after_the_rows_known(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a": np.arange(5), "b": np.arange(5) * 0.5})
    frame[:3].to_parquet(file)
    first = read_on(file, Position())
    frame.to_parquet(file)
    second = read_on(file, first.position)
    assert second.rows.table["a"].to_pylist() == [3, 4]
    again = restored(file, second.position, np.array([1, 4]))
    assert again is not None
    assert again.table["a"].to_pylist() == [1, 4]
    frame[3:].to_parquet(file)
    third = read_on(file, second.position)
    assert third.rows.table["a"].to_pylist() == [3, 4]
    assert list(third.rows.numbers) == [5, 6]
    assert "replaced after row 5" in third.notes[0]
    assert restored(file, second.position, np.array([1, 4])) is None


def test_what_cannot_grow_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(DesignError, match="compressed, so nothing can be added"):
        read_on(file, Position())
    with pytest.raises(DesignError, match="No such file"):
        read_on(tmp_path / "none.csv", Position())
    broken = tmp_path / "t.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(DesignError, match="not a readable parquet file"):
        read_on(broken, Position())


def test_a_broken_line_is_left_out_and_told(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n3,4,5\n6,7\n8,9,9\n")
    first = read_on(file, Position())
    assert rows(first) == ["1,2", "6,7"]
    (note,) = first.notes
    assert note.endswith("left out and 1 more, after row 1: 3 fields under 2 names, in '3,4,5'")
    more(file, "10,11\n")
    second = read_on(file, first.position)
    assert (rows(second), second.notes) == (["10,11"], ())
    assert list(second.rows.numbers) == [2]


@pytest.mark.parametrize(
    "line", ['1,5" pipe', '1,5""', '1,"a ""b"" c"', '1,"""a"""', '1,""', '"1","x"', '1,"a;b"']
)
def test_quotes_are_read_as_in_the_table(tmp_path: Path, line: str) -> None:
    file = tmp_path / "t.csv"
    text = f'a,b\n{line}\n2,x\n3,"y\nand ""more"", so"\n'
    file.write_text(text)
    found = read_on(file, Position())
    assert rows(found)[:2] == [line, "2,x"]
    assert found.unfinished == 0
    frame = parsed(found.rows, header=found.position.header, file=file, reasoning=False)
    whole = pd.read_csv(file, skipinitialspace=True)
    assert frame.astype(str).equals(whole.astype(str))


def test_a_stray_quote_spoils_one_line_only(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('a,b\n1,"open\n2,x\n3,"y","w"\n4,z\n')
    found = read_on(file, Position())
    assert rows(found) == ["2,x", "4,z"]
    assert "a quote that is not closed, in '1,\"open" in found.notes[0]


def test_a_line_that_is_no_json_is_left_out_and_told(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"q": 1}\nkilled by signal 9\n[1]\n{"q": 2}\n')
    found = read_on(file, Position())
    assert rows(found) == ['{"q": 1}', '{"q": 2}']
    assert "left out and 1 more, after row 1: not JSON" in found.notes[0]
    assert "killed by signal 9" in found.notes[0]
