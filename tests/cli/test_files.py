"""Files that are no table, and tables in the dialects people have."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import pytest

import crossworld as xw

from .command import PATH, columns, crossworld, done, numbers, refused

FRAME = pd.DataFrame(columns())
GOOD = FRAME.to_csv(index=False)
ROWS = "".join(f"{k % 2},{k * k % 7},{k * 3 % 5}\n" for k in range(40))


def parquet() -> bytes:
    FRAME.to_parquet("good.parquet")
    content = Path("good.parquet").read_bytes()
    Path("good.parquet").unlink()
    return content


def deflated_badly() -> bytes:
    return gzip.compress(GOOD.encode())[:20] + b"\xff" * 50


FILES = {
    "empty": ("t.csv", b"", ["'t.csv' is empty"]),
    "blank": ("t.csv", b" \n\n", ["'t.csv' is empty"]),
    "header": ("t.csv", b"a,m,y\n", ["t.csv", "no rows"]),
    "header without newline": ("t.csv", b"a,m,y", ["t.csv", "no rows"]),
    "png": ("t.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["'t.png' is not a text table", "csv"]),
    "png named csv": ("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["'t.csv' is not a text table"]),
    "zip": ("t.csv", b"PK\x03\x04" + bytes(range(256)), ["'t.csv' is not a text table"]),
    "latin-1": ("t.csv", (GOOD + "\xe9,1,2,3,4,5\n").encode("latin-1"), ["'t.csv'", "UTF-8"]),
    "utf-16": ("t.csv", GOOD.encode("utf-16"), ["'t.csv'", "UTF-8"]),
    "one column": ("t.csv", b"a\n1\n0\n", ["'t.csv' is not a table", "one field, 'a'"]),
    "spaces": ("t.csv", GOOD.replace(",", " ").encode(), ["one field, 'a x m y w g'"]),
    "row too long": ("t.csv", b"a,m,y\n1,2,3\n1,2,3,4\n", ["'t.csv'", "line 3"]),
    "row too short": ("t.csv", b"a,m,y\n1,2,3\n1,2\n0,1,2\n", ["missing values in 'y' (1)"]),
    "open quote": ("t.csv", b'a,m,y\n1,"2,3\n0,1,2\n', ["'t.csv' is not a table"]),
    "column twice": ("t.csv", b"a,m,y,m\n1,2,3,4\n", ["more than one column named 'm'"]),
    "not gzip": ("t.csv.gz", b"\x1f\x8bnot gzip", ["'t.csv.gz' is not a text table"]),
    "gzip cut": ("t.csv.gz", gzip.compress(GOOD.encode())[:99], ["'t.csv.gz' is not a text table"]),
    "gzip of binary": ("t.csv.gz", gzip.compress(b"\x89PNG\xff"), ["not a text table"]),
    # defect: an IndexError, exit 1.
    "gzip of nothing": ("t.csv.gz", gzip.compress(b""), ["'t.csv.gz' is empty"]),
    # defect: a zlib.error, exit 1.
    "gzip damaged": ("t.csv.gz", deflated_badly(), ["'t.csv.gz' is not a text table"]),
    "csv named parquet": ("t.parquet", GOOD.encode(), ["'t.parquet' is not a readable parquet"]),
    "parquet cut": ("t.parquet", None, ["'t.parquet' is not a readable parquet"]),
    # defect: "the table t.json has no rows".
    "json columns": ("t.json", json.dumps({"a": [0, 1], "m": [1, 2]}).encode(), ["JSON", "csv"]),
    # defect: "more than one column named ' "m": 1'; rename them".
    "json rows": ("t.csv", json.dumps([{"a": 0, "m": 1}] * 2).encode(), ["'t.csv'", "JSON"]),
    # defect: the message repeats 200,000 characters of the file.
    "endless field": ("t.csv", b"a,m,y\n" + b"x" * 200_000 + b",1,2\n", ["'a' is constant"]),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_table(kind: str) -> None:
    file, content, fragments = FILES[kind]
    Path(file).write_bytes(parquet()[:500] if content is None else content)
    outputs = ("--json", "out.json", "--report", "out.html")
    refused(crossworld("mediate", file, PATH, *outputs), *fragments)
    assert [p.name for p in Path().iterdir()] == [file]
    with pytest.raises(xw.errors.DesignError):
        xw.TableStudy.from_frame(Path(file), PATH)


def test_the_deflated_file_is_one_that_zlib_refuses() -> None:
    with pytest.raises(zlib.error):
        gzip.decompress(deflated_badly())


def test_a_file_that_is_not_there_names_its_neighbours() -> None:
    Path("jobs.csv").write_text(GOOD)
    refused(crossworld("mediate", "job.csv", PATH), "there is no file 'job.csv'", "jobs.csv")
    refused(crossworld("mediate", "no/such/t.csv", PATH), "there is no file 'no/such/t.csv'")


def test_a_folder_is_called_a_folder() -> None:
    # defect: "there is no file 'data'", when there is something of that name.
    Path("data").mkdir()
    refused(crossworld("mediate", "data", PATH), "'data'", "folder")


@pytest.mark.parametrize("words", [["mediate", "x" * 300, PATH], ["run", "x" * 300]])
def test_a_name_longer_than_the_system_takes(words: list[str]) -> None:
    # defect: OSError "File name too long", exit 1.
    refused(crossworld(*words), "xxx")


LONGER = "a,m,y,z\n" + "".join(f"{k % 2},{k * k % 7},{k * 3 % 5},{k % 4},\n" for k in range(40))


def test_a_comma_at_the_end_of_every_row_does_not_shift_the_columns() -> None:
    """One field more than names: pandas takes the first as an index and shifts all the others."""
    # defect: a is read from m, m from y, y from z, and effects of that are printed.
    Path("t.csv").write_text(LONGER)
    run = crossworld("mediate", "t.csv", PATH, "--levels", "0,1", "--json", "long.json")
    if run.code:
        refused(run, "'t.csv'", "fields")
        return
    Path("plain.csv").write_text(LONGER.replace(",\n", "\n"))
    done(crossworld("mediate", "plain.csv", PATH, "--json", "plain.json"))
    assert numbers("long.json") == numbers("plain.json")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("t.csv", GOOD),
        ("t.csv", FRAME.to_csv(index=False, sep=";")),
        ("t.tsv", FRAME.to_csv(index=False, sep="\t")),
        ("t.csv", "\ufeff" + GOOD),
        ("t.csv", GOOD.replace("\n", "\r\n")),
        ("t.csv", GOOD.replace(",", ", ")),
        ("t.csv", FRAME.to_csv()),
        ("t.txt", GOOD),
    ],
    ids=["comma", "semicolon", "tab", "bom", "crlf", "spaces", "index column", "txt"],
)
def test_dialects_give_the_same_numbers(file: str, text: str) -> None:
    Path("plain.csv").write_text(GOOD)
    Path(file).write_bytes(text.encode())
    for name in ("plain.csv", file):
        done(crossworld("mediate", name, PATH, "--adjust", "x", "--json", f"{name}.json"))
    assert numbers(f"{file}.json") == numbers("plain.csv.json")


def test_parquet_and_gzip_give_the_numbers_of_csv() -> None:
    Path("t.csv").write_text(GOOD)
    Path("t.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    FRAME.to_parquet("t.parquet")
    Path("t.dat").write_bytes(Path("t.parquet").read_bytes())
    for name in ("t.csv", "t.csv.gz", "t.parquet", "t.dat"):
        done(crossworld("mediate", name, PATH, "--json", f"{name}.json"))
        assert numbers(f"{name}.json") == numbers("t.csv.json")


def test_a_decimal_comma_is_not_read_as_text() -> None:
    """A semicolon csv of a continental locale: the mediator is a number, not 60 categories."""
    # defect: the outcome is "text with 60 values", a mediator alone becomes multinomial.
    text = FRAME.to_csv(index=False, sep=";", decimal=",")
    Path("t.csv").write_text(text)
    run = crossworld("mediate", "t.csv", PATH, "--json", "comma.json")
    if run.code:
        refused(run, "decimal")
        return
    Path("plain.csv").write_text(GOOD)
    done(crossworld("mediate", "plain.csv", PATH, "--json", "plain.json"))
    assert numbers("comma.json") == numbers("plain.json")


@pytest.mark.slow
def test_the_first_line_of_a_wide_table_is_read_in_linear_time() -> None:
    """Embeddings come as tens of thousands of columns."""
    # defect: names are counted against one another: seconds at 20,000 columns, all of them checks.
    names = [f"emb_{k}" for k in range(20_000)]
    Path("t.csv").write_text(",".join(["a", "m", "y", *names]) + "\n1,2,3" + ",0" * 20_000 + "\n")
    start = perf_counter()
    refused(crossworld("mediate", "t.csv", "a -> q -> y"), "mediator column 'q'")
    assert perf_counter() - start < 5.0


def test_int_columns_of_pandas_are_read_by_their_number() -> None:
    """A frame without names has the columns 0, 1, 2."""
    # defect: KeyError '0'.
    bare = pd.DataFrame(FRAME[["a", "m", "y"]].to_numpy())
    study = xw.TableStudy.from_frame(bare, "0 -> 1 -> 2")
    np.testing.assert_array_equal(study.outcome, FRAME["y"])
    found = xw.estimate(study, xw.Regression())
    named = xw.estimate(xw.TableStudy.from_frame(FRAME, PATH), xw.Regression())
    assert [r.estimate for r in found] == pytest.approx([r.estimate for r in named], rel=1e-12)
