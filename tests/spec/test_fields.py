"""Values of the wrong type or out of range, key by key: what was given stands in the message."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest

import crossworld as xw
from crossworld.errors import CrossworldError

STUDY = {"data": "t.csv", "path": "a -> m -> y", "adjust": ["x"]}


def told(section: str, key: str, value: Any, **held: Any) -> str:
    document: dict[str, Any] = {"study": {**STUDY}}
    document.setdefault(section, {}).update({**held, key: value})
    with pytest.raises(CrossworldError) as caught:
        xw.load_spec(document).run()
    message = str(caught.value)
    assert "\n" not in message
    assert key in message
    return message


# defect: a wrong type of data or path is refused without the value seen.
@pytest.mark.parametrize("key", ["data", "path"])
@pytest.mark.parametrize("value", [3, True, ["t.csv"], {"a": 1}])
def test_data_and_path_are_text(key: str, value: Any) -> None:
    message = told("study", key, value)
    assert "text" in message
    assert repr(value) in message


def test_data_without_a_file() -> None:
    assert "frame in memory" in told("study", "data", None)
    # defect: "there is no file '.'".
    assert "data" in told("study", "data", "")


@pytest.mark.parametrize("key", ["adjust", "intermediate"])
@pytest.mark.parametrize("value", ["x", 3, None, True, {"x": 1}, [3], [None], [["x"]]])
def test_lists_of_columns(key: str, value: Any) -> None:
    message = told("study", key, value)
    assert "list" in message
    assert repr(value[0] if isinstance(value, list) else value) in message


@pytest.mark.parametrize("key", ["cluster", "weights", "missing"])
@pytest.mark.parametrize("value", [3, None, True, ["g"]])
def test_names_of_columns(key: str, value: Any) -> None:
    message = told("study", key, value)
    assert "text" in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("0,1", "'0,1'"), (3, "3"), (None, "None"), ({"a": 1}, "{'a': 1}"), ([0], "(0,)"),
        ([0, 1, 2], "(0, 1, 2)"), ([0, None], "None"), ([[0], [1]], "[0]"), ([0, 7], "7"),
        ([0, math.nan], "nan"), ([0, math.inf], "inf"), ([1, 1], "1"), (["lo", "hi"], "'lo'"),
    ],
)  # fmt: skip
def test_levels(value: Any, seen: str) -> None:
    document = {"study": {**STUDY, "levels": value}}
    with pytest.raises(CrossworldError, match="level") as caught:
        xw.load_spec(document)
    assert seen in str(caught.value)


@pytest.mark.parametrize("value", [3, "yes", True, [1], {}, 1.5, math.nan])
def test_events(value: Any) -> None:
    message = told("study", "event", value)
    assert "does not occur in the outcome 'y'" in message
    assert repr(value) in message


def test_dates_of_toml_are_shown_as_they_were_written() -> None:
    # defect: "event datetime.date(1979, 5, 27) does not occur".
    message = told("study", "event", dt.date(1979, 5, 27))
    assert "1979-05-27" in message
    assert "datetime" not in message


@pytest.mark.parametrize(
    ("value", "fragment"),
    [("tables", "Did you mean 'table'?"), ("reasoning", "Known are"), (3, "'3'"), (None, "'None'")],
)
def test_kinds_of_study(value: Any, fragment: str) -> None:
    assert fragment in told("study", "kind", value)


@pytest.mark.parametrize(
    ("value", "fragments"),
    [
        ("te", ["list", "'te'"]),
        (3, ["list", "3"]),
        (None, ["list", "None"]),
        ([3], ["text", "3"]),
        ([["te"]], ["text", "['te']"]),
        ([], ["no effect was asked for"]),
        (["te", "te"], ["asked twice: te"]),
        (["nei"], ["'nei'", "Did you mean 'nie'?"]),
        # defect: "cannot read the effect '': invalid syntax".
        ([""], ["''", "nie"]),
        (["te", None], ["text", "None"]),
    ],
)
def test_effects(value: Any, fragments: list[str]) -> None:
    with pytest.raises(CrossworldError, match="effect") as caught:
        xw.load_spec({"study": STUDY, "ask": {"effects": value}}).run()
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("value", [2, 0, 1, -0.5, 95, math.nan, math.inf])
def test_levels_of_confidence_lie_between_0_and_1(value: float) -> None:
    message = told("ask", "level", value)
    assert "between 0 and 1" in message
    assert str(float(value)) in message


@pytest.mark.parametrize("value", ["0.95", None, [0.95], True])
def test_levels_of_confidence_are_numbers(value: Any) -> None:
    message = told("ask", "level", value)
    assert "number between 0 and 1" in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("value", "fragment"),
    [(["placeboo"], "'placeboo'"), ("placebo", "list"), (3, "list"), ([3], "names")],
)
def test_refuters(value: Any, fragment: str) -> None:
    document = {"study": STUDY, "ask": {"refute": value}}
    with pytest.raises(CrossworldError, match="refute") as caught:
        xw.load_spec(document)
    assert fragment in str(caught.value)


@pytest.mark.parametrize("name", ["Bootstrap", "Simulation"])
@pytest.mark.parametrize("key", ["draws", "seed", "workers"])
@pytest.mark.parametrize("value", ["many", 1.5, 100.0, None, True, [100], -5])
def test_numbers_of_replicates(name: str, key: str, value: Any) -> None:
    assert repr(value) in told("inference", key, value, name=name)


@pytest.mark.parametrize(
    ("name", "key", "value", "fragment"),
    [
        ("Bootstrap", "draws", 19, "at least 20"),
        ("Bootstrap", "workers", 0, "at least 1"),
        ("Bootstrap", "kind", "bcaa", "Did you mean 'bca'?"),
        ("Bootstrap", "kind", None, "percentile, bca"),
        ("Wald", "small_sample", "no", "Did you mean 'none'?"),
        ("Wald", "vcov", "HC3", "Known are: sandwich"),
        ("Wald", "draws", 100, "unknown key of Wald"),
        ("Simulation", "kind", "bca", "unknown key of Simulation"),
        # defect: OverflowError, exit 1.
        ("Bootstrap", "draws", 10**30, "10"),
    ],
)
def test_options_of_inferences(name: str, key: str, value: Any, fragment: str) -> None:
    assert fragment in told("inference", key, value, name=name)


@pytest.mark.parametrize(
    ("key", "value", "fragment"),
    [
        ("interaction", "yes", "'yes'"),
        ("interaction", 1, "1"),
        ("interaction", None, "None"),
        ("outcome_family", 3, "3"),
        ("outcome_family", None, "None"),
        ("outcome_family", {"y": "logit"}, "{'y': 'logit'}"),
        ("population", "some", "all, treated, control"),
        ("population", ["all"], "['all']"),
        ("at", 7, "'mean'"),
        ("at", ["x"], "'mean'"),
        ("at", {"x": "q"}, "'q'"),
        ("at", {"x": None}, "None"),
        ("at", {"x": [1]}, "[1]"),
        ("rare_outcome", "maybe", "'maybe'"),
    ],
)
def test_options_of_the_estimator(key: str, value: Any, fragment: str) -> None:
    assert fragment in told("estimator", key, value, name="Regression")


@pytest.mark.parametrize("value", [3, True, ["gaussian"], {"m": 3}, {"m": "gausian"}])
def test_families_are_named(value: Any) -> None:
    """The message names the families there are."""
    with pytest.raises(CrossworldError, match=r"famil.*gaussian"):
        xw.load_spec(
            {"study": STUDY, "estimator": {"name": "Regression", "mediator_family": value}}
        ).run()


@pytest.mark.parametrize("key", ["mediator", "outcome"])
@pytest.mark.parametrize("value", [3, True, [3], "x"])
def test_formulas_are_text(key: str, value: Any) -> None:
    with pytest.raises(CrossworldError, match="formula") as caught:
        xw.load_spec({"study": STUDY, "estimator": {"name": "Regression", key: value}}).run()
    assert repr(value).strip("[]") in str(caught.value)
