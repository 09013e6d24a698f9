"""Files that are no spec, and documents that lack a part or have one too many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import crossworld as xw
from crossworld.errors import CrossworldError, SpecError

STUDY = {"data": "t.csv", "path": "a -> m -> y"}
GOOD = {"study": STUDY}
TOML = '[study]\ndata = "t.csv"\npath = "a -> m -> y"\n'
LONGEST = 1200


def told(source: Any) -> str:
    """The message a spec is refused with: one line of bearable length."""
    with pytest.raises(CrossworldError) as caught:
        xw.load_spec(source)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert len(message) <= LONGEST
    return message


FILES: dict[str, tuple[str, str | bytes, list[str]]] = {
    "invalid JSON": ("s.json", '{"study": ', ["'s.json' is not valid JSON", "line 1 column 11"]),
    "text after JSON": ("s.json", "{} more", ["'s.json' is not valid JSON", "Extra data"]),
    "empty JSON": ("s.json", "", ["'s.json' is not valid JSON"]),
    "invalid TOML": ("s.toml", "[study\n", ["'s.toml' is not valid TOML", "line 1"]),
    "TOML key twice": ("s.toml", "[study]\na = 1\na = 2\n", ["'s.toml' is not valid", "line 3"]),
    "yaml": ("s.yaml", "study:\n  data: t.csv\n", ["'s.yaml' is not valid TOML"]),
    "a table": ("t.csv", "a,m,y\n0,1,2\n", ["'t.csv' is not valid TOML"]),
    "deep JSON": ("s.json", "[" * 100_000, ["'s.json' is not valid JSON"]),
    "deep closed JSON": ("s.json", "[" * 50_000 + "]" * 50_000, ["'s.json' is not valid JSON"]),
    "deep JSON objects": ("s.json", '{"a":' * 50_000 + "1" + "}" * 50_000, ["not valid JSON"]),
    "deep TOML": ("s.toml", "a = " + "[" * 50_000, ["'s.toml' is not valid TOML"]),
    "bytes": ("s.toml", b"\xff\xfe\x00", ["'s.toml' cannot be read as text"]),
    "a list": ("s.json", "[1, 2]", ["'s.json' is not a spec", "top level"]),
    "a number": ("s.json", "3", ["'s.json' is not a spec", "top level"]),
    # defect: of two equal keys the last one wins without a word (TOML refuses them).
    "JSON key twice": (
        "s.json", '{"study": {"data": "t.csv", "path": "a -> m -> y", "path": "a -> x -> y"}}',
        ["'s.json'", "'path'", "twice"],
    ),
    # defect: advice about sys.set_int_max_str_digits.
    "a number of 5000 digits": (
        "s.json", '{"ask": {"level": ' + "9" * 5000 + "}}", ["'s.json'", "level"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_spec(kind: str) -> None:
    name, content, fragments = FILES[kind]
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    message = told(name)
    for fragment in fragments:
        assert fragment in message


def test_deep_documents_are_called_deep() -> None:
    # defect: "maximum recursion depth exceeded while decoding a JSON array from a unicode string".
    Path("s.json").write_text("[" * 50_000 + "]" * 50_000)
    assert "nested" in told("s.json")
    assert "recursion" not in told("s.json")


def test_files_that_are_not_there() -> None:
    assert "there is no spec file 'none.toml'" in told("none.toml")
    assert "there is no spec file" in told(Path())


@pytest.mark.parametrize("source", [None, 3, [GOOD], b"s.toml"])
def test_what_is_no_spec_in_python(source: Any) -> None:
    # defect: TypeErrors about os.PathLike.
    assert "spec" in told(source)


def test_text_instead_of_a_file_name() -> None:
    assert "no spec file" in told(TOML)


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize(("name", "text"), [("s.toml", TOML), ("s.json", json.dumps(GOOD))])
def test_editors_may_put_a_mark_before_the_text(name: str, text: str, mark: str) -> None:
    """The byte order mark of a Windows editor; csv files may have it too."""
    # defect: "Invalid statement (at line 1, column 1)", with nothing to be seen there.
    Path(name).write_bytes((mark + text).encode())
    assert xw.load_spec(name).study.treatment.values.size == 60


def test_windows_line_ends() -> None:
    Path("s.toml").write_bytes(TOML.replace("\n", "\r\n").encode())
    xw.load_spec("s.toml")


DOCUMENTS = {
    "nothing": ({}, ["no [study]", "data", "path"]),
    "no study": ({"estimator": {"name": "Regression"}}, ["no [study]"]),
    "study is a list": ({"study": [1]}, ["[study] is a table", "[1]"]),
    "study is null": ({"study": None}, ["[study] is a table"]),
    "study is text": ({"study": "t.csv"}, ["[study] is a table", "'t.csv'"]),
    "estimator is text": ({**GOOD, "estimator": "Regression"}, ["[estimator]", "'Regression'"]),
    "no name of estimator": ({**GOOD, "estimator": {}}, ["[estimator] needs a name", "Regression"]),
    "no name of inference": ({**GOOD, "inference": {"draws": 50}}, ["[inference] needs a name"]),
    "ask is a list": ({**GOOD, "ask": ["te"]}, ["[ask] is a table"]),
    "unknown section": ({**GOOD, "estimater": {}}, ["'estimater'", "Did you mean 'estimator'?"]),
    "unknown estimator": (
        {**GOOD, "estimator": {"name": "Regresion"}}, ["'Regresion'", "Did you mean 'Regression'?"]
    ),
    "estimator in lower case": (
        {**GOOD, "estimator": {"name": "regression"}}, ["Did you mean 'Regression'?"]
    ),
    "a module": ({**GOOD, "estimator": {"name": "os.system"}}, ["unknown estimator 'os.system'"]),
    "unknown inference": (
        {**GOOD, "inference": {"name": "Jackknife"}}, ["'Jackknife'", "Known are: Bootstrap"]
    ),
    "an inference as estimator": ({**GOOD, "estimator": {"name": "Wald"}}, ["estimator 'Wald'"]),
    "a result without a spec": ({"schema": "crossworld/1"}, ["spec"]),
    "a result of another schema": ({"schema": "crossworld/9", "spec": GOOD}, ["schema"]),
    # defect: TypeError "'NoneType' object is not iterable", exit 1.
    "a result with null": ({"schema": "crossworld/1", "spec": None}, ["spec"]),
    # defect: "unknown section of the spec '1'".
    "a result with a list": ({"schema": "crossworld/1", "spec": [1]}, ["spec", "[1]"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_with_a_part_too_few_or_too_many(kind: str) -> None:
    document, fragments = DOCUMENTS[kind]
    message = told(document)
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        ("study", "adjst", "adjust"),
        ("study", "treatment", None),
        ("study", "frame", None),
        ("estimator", "interction", "interaction"),
        ("inference", "drws", "draws"),
        ("ask", "efects", "effects"),
        ("ask", "", None),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(section: str, key: str, near: str | None) -> None:
    named = {"estimator": {"name": "Regression"}, "inference": {"name": "Bootstrap"}}
    base: dict[str, Any] = {"study": STUDY, **named}
    message = told({**base, section: {**base.get(section, {}), key: 1}})
    assert f"{key!r}" in message
    assert "unknown key" in message
    assert (f"Did you mean {near!r}?" in message) if near else ("Known are: " in message)


def test_the_data_path_is_relative_to_the_spec(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "t.csv").rename(tmp_path / "project" / "t.csv")
    (tmp_path / "project" / "s.toml").write_text(TOML)
    analysis = xw.load_spec("project/s.toml")
    assert analysis.study.origin.data == "t.csv"
    assert analysis.run()["te"].estimate is not None
    assert "there is no file" in told(GOOD)


def test_a_mapping_is_read_from_the_working_folder() -> None:
    assert xw.load_spec(GOOD).run()["te"].estimate == pytest.approx(0.93791, abs=1e-5)


def test_defaults_are_te_nde_nie_with_wald_at_95() -> None:
    analysis = xw.load_spec(GOOD)
    assert [e.name for e in analysis.estimands] == ["te", "nde", "nie"]
    assert analysis.inference == xw.Wald()
    assert analysis.estimator == xw.Regression()
    assert analysis.level == 0.95


def test_reading_a_document_does_not_change_it() -> None:
    document = {**GOOD, "estimator": {"name": "Regression", "interaction": True}}
    before = json.dumps(document)
    xw.load_spec(document).run()
    assert json.dumps(document) == before


def test_a_spec_error_is_a_crossworld_error_and_a_value_error() -> None:
    with pytest.raises(ValueError, match="study"):
        xw.load_spec({})
    assert issubclass(SpecError, CrossworldError)
