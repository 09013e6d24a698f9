"""The result table and its document."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from crossworld.core.table import COLUMNS, Effect, EffectTable, number, probability
from crossworld.errors import CrossworldError, DesignError, SpecError

TE = Effect("te", 0.5, 0.1, 0.3, 0.7, 1e-6, "wald")
PM = Effect("pm", 0.4, 0.2, None, None, None, "fieller")


def table(**parts: object) -> EffectTable:
    held: dict = {
        "rows": (TE, PM),
        "level": 0.9,
        "heading": ("a -> m -> y", "Regression()"),
        "diagnostics": {"warnings": ["look out"], "n_units": 10, "level": 0.9},
        "provenance": {"seconds": 0.1},
    }
    return EffectTable(**{**held, **parts})


def test_columns_are_the_contract() -> None:
    assert COLUMNS[:6] == ("term", "estimate", "std_error", "conf_low", "conf_high", "p_value")
    assert "conf_method" in COLUMNS


def test_rows_by_term_in_order() -> None:
    held = table()
    assert held["te"] is TE
    assert [row.term for row in held] == ["te", "pm"]
    assert len(held) == 2
    assert held.warnings == ("look out",)
    with pytest.raises(KeyError, match="Did you mean 'pm'"):
        held["pmm"]


def test_document_has_the_keys_of_the_schema() -> None:
    document = table().to_dict()
    assert document["schema"] == "crossworld/1"
    assert list(document) == [
        "schema",
        "spec",
        "identification",
        "effects",
        "diagnostics",
        "refutations",
        "provenance",
    ]
    assert document["effects"][1] == {
        "term": "pm",
        "estimate": 0.4,
        "std_error": 0.2,
        "conf_low": None,
        "conf_high": None,
        "p_value": None,
        "conf_method": "fieller",
    }


HOSTILE = {
    "nan": math.nan,
    "inf": -math.inf,
    "numpy nan": np.float64("nan"),
    "numpy": np.float32(0.5),
    "whole": np.int64(3),
    "flag": np.bool_(True),
    "array": np.array([1.0, np.nan]),
    "nested": {"deep": ({"deeper": np.array([[np.inf, 1.0]])},)},
    "keys": {1: "one", (2, 3): "pair"},
}


def test_json_never_holds_nan_or_numpy() -> None:
    text = table(
        rows=(Effect("te", math.nan, math.inf, -math.inf, None, math.nan, "wald"),),
        diagnostics=HOSTILE,
        spec=HOSTILE,
        refutations=(HOSTILE,),
        provenance=HOSTILE,
        identification=HOSTILE,
    ).to_json()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    document = json.loads(text, parse_constant=refuse)
    assert document["diagnostics"]["nan"] is None
    assert document["diagnostics"]["array"] == [1.0, None]
    assert document["diagnostics"]["nested"]["deep"] == [{"deeper": [[None, 1.0]]}]
    assert document["diagnostics"]["whole"] == 3
    assert document["diagnostics"]["flag"] is True
    assert document["effects"][0]["std_error"] is None


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    first = table(heading=("Ünïcode -> 中", "x"), diagnostics={"heading": ["Ü"], "level": 0.9})
    text = first.to_json(file)
    assert file.read_text(encoding="utf-8") == text
    second = EffectTable.from_json(file)
    assert second.rows == first.rows
    assert second.level == 0.9
    assert second.heading == ("Ü",)
    assert second.to_json() == text


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("before")
    with pytest.raises(TypeError):
        table(diagnostics={"bad": object}).to_json(file)
    assert file.read_text() == "before"
    table().to_json(file)
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert oct(file.stat().st_mode & 0o777) == oct(0o666 & ~_umask())


def _umask() -> int:
    held = os.umask(0)
    os.umask(held)
    return held


def test_files_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match="absent"):
        table().to_json(tmp_path / "absent" / "result.json")
    with pytest.raises(DesignError, match="folder"):
        table().to_json(tmp_path)


DOCUMENT = {
    "schema": "crossworld/1",
    "spec": {},
    "identification": {},
    "effects": [],
    "diagnostics": {},
    "refutations": [],
    "provenance": {},
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "3",
        "{}",
        json.dumps({"schema": "crossworld/2"}),
        json.dumps({"schema": "crossworld/1"}),
        json.dumps({**DOCUMENT, "effects": 3}),
        json.dumps({**DOCUMENT, "effects": ["te"]}),
        json.dumps({**DOCUMENT, "effects": [{}]}),
        json.dumps({**DOCUMENT, "effects": [{"term": "te", "estimate": "many"}]}),
        json.dumps({**DOCUMENT, "diagnostics": []}),
        json.dumps({**DOCUMENT, "diagnostics": {"level": "high"}}),
        "\ufeff{}",
        "[" * 100_000,
    ],
    ids=lambda text: text[:40] or "empty",
)
def test_what_is_no_result_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=r"result\.json"):
        EffectTable.from_json(file)


def test_absent_and_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("absent", "binary", "."):
        with pytest.raises(CrossworldError):
            EffectTable.from_json(tmp_path / name)


def test_frame_has_one_column_per_field() -> None:
    frame = table().to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert frame.loc[0, "estimate"] == 0.5
    assert frame["conf_low"].isna().tolist() == [False, True]


def test_printing_shows_every_row_and_warning() -> None:
    text = str(table())
    assert "90% interval" in text
    assert "a -> m -> y" in text
    assert "[0.3000, 0.7000]" in text
    assert "<0.0001" in text
    assert "! look out" in text
    assert "nan" not in text.lower().replace("name", "")
    row = next(line for line in text.splitlines() if line.startswith("pm"))
    assert "unbounded" in row


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0.0000"),
        (-0.25, "-0.2500"),
        (9999.5, "9999.5000"),
        (123456.0, "1.235e+05"),
        (0.00012, "0.00012"),
        (1e-9, "1.000e-09"),
    ],
)
def test_numbers_for_people(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_probabilities_for_people() -> None:
    assert [probability(p) for p in (None, 0.0, 0.00009, 0.0123, 1.0)] == [
        "-",
        "<0.0001",
        "<0.0001",
        "0.0123",
        "1.0000",
    ]
