"""spec -> analysis -> spec: what is written says the same as what was read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crossworld as xw
from crossworld.report.specfile import spec_text
from crossworld.spec import to_spec

STUDY = {"kind": "table", "data": "t.csv", "path": "a -> m -> y", "adjust": [], "levels": [0, 1]}
ASK = {"effects": ["te", "nde", "nie"], "refute": [], "level": 0.95}
FULL: dict[str, Any] = {
    "study": STUDY,
    "estimator": {"name": "Regression"},
    "inference": {"name": "Wald"},
    "ask": ASK,
}
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adjust": {"study": {**STUDY, "adjust": ["x", "w"]}},
    "levels": {"study": {**STUDY, "levels": [1, 0]}},
    "dose": {"study": {**STUDY, "path": "x -> m -> y", "levels": [-0.25, 1.5]}},
    "cluster": {"study": {**STUDY, "cluster": "g"}},
    "weights": {"study": {**STUDY, "weights": "w"}},
    "missing": {"study": {**STUDY, "missing": "drop"}},
    "intermediate": {"study": {**STUDY, "intermediate": ["x"]}, "ask": {**ASK, "effects": ["iie"]}},
    "pattern": {"study": {**STUDY, "path": "a -> [mx] -> y"}},
    "options": {
        "study": {**STUDY, "adjust": ["x"]},
        "estimator": {
            "name": "Regression", "interaction": True, "mediator": ["m ~ a * x"],
            "outcome": "y ~ a + m + x", "mediator_family": {"m": "gaussian"},
            "population": "control", "at": {"x": 0.5},
        },
    },
    "wald": {"inference": {"name": "Wald", "small_sample": "none", "vcov": "classic"}},
    "bootstrap": {
        "inference": {"name": "Bootstrap", "draws": 30, "kind": "bca", "seed": 5, "workers": 2}
    },
    "simulation": {"inference": {"name": "Simulation", "draws": 30, "seed": 2**40}},
    "ask": {"ask": {"effects": ["nie.ratio", "cde(m=3)", "Y(1)-Y(0, M(1))"], "refute": [],
                    "level": 0.9}},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_read_is_written(change: str) -> None:
    document = {**FULL, **CHANGES[change]}
    analysis = xw.load_spec(document)
    assert to_spec(analysis) == document
    assert analysis.run().spec == document


@pytest.mark.parametrize("change", CHANGES)
def test_toml_and_json_hold_the_same(change: str) -> None:
    document = {**FULL, **CHANGES[change]}
    kind, text = spec_text(document)
    Path("s.toml").write_text(text, encoding="utf-8")
    Path("s.json").write_text(json.dumps(document), encoding="utf-8")
    assert kind == "toml"
    assert to_spec(xw.load_spec("s.toml")) == to_spec(xw.load_spec("s.json")) == document


def test_values_of_python_become_plain_values() -> None:
    """Tuples, numpy numbers and mapping types: the spec of a result is plain JSON."""
    study = xw.TableStudy.from_frame(
        "t.csv", "x -> m -> y", adjust=("w",), levels=(np.float64(-0.5), np.float64(1.0))
    )
    estimator = xw.Regression(mediator=("m ~ x * w",), at={"w": np.float64(1.25)})
    found = xw.estimate(study, estimator, [xw.NIE], level=np.float64(0.9))
    held = json.loads(found.to_json())["spec"]
    assert held["study"]["levels"] == [-0.5, 1]
    assert held["estimator"]["at"] == {"w": 1.25}
    again = xw.load_spec(held).run()
    assert [row.estimate for row in again] == [row.estimate for row in found]


def test_an_effect_built_in_python_is_written_as_an_expression() -> None:
    mine = xw.Estimand("the part that matters", xw.Y(1) - xw.Y(1, xw.M(0)))
    found = xw.estimate(xw.TableStudy.from_frame("t.csv", "a -> m -> y"), xw.Regression(), [mine])
    assert found.rows[0].term == "the part that matters"
    held = json.loads(found.to_json())["spec"]
    assert held["ask"]["effects"] == ["Y(1) - Y(1, M(0))"]
    assert xw.load_spec(held).run().rows[0].estimate == found.rows[0].estimate


@pytest.mark.parametrize(
    "estimand",
    [
        xw.NIE.ratio(), xw.CDE(0.1), xw.CDE(1e-9), xw.CDE(123456789.123), xw.CDE(-2.5).odds_ratio(),
        xw.Estimand("third", (xw.TE - xw.NIE) * (1.0 / 3.0)), xw.PM.named("share"),
        xw.Estimand("log", xw.Y(1) / xw.Y(0)), xw.INT_REF(m=0.30000000000000004),
        xw.TE.excess_ratio().named("err"), xw.NIE.odds_ratio().named("or"),
        xw.TE.ratio().named("risk ratio"),
    ],
    ids=lambda e: e.name,
)  # fmt: skip
def test_every_question_survives_to_the_last_digit(estimand: Any) -> None:
    """Numbers in expressions are written so that they are read back as they were."""
    # defect: a ratio under a name of its own is written as a plain quotient, which is run again
    # with Fieller's limits and the test of the numerator.
    table = pd.read_csv("t.csv")
    table["y"] = 1.0 / (1.0 + np.exp(-table["y"]))
    table.to_csv("t.csv", index=False)
    study = xw.TableStudy.from_frame("t.csv", "a -> m -> y")
    first = xw.estimate(study, xw.Regression(interaction=True), [estimand])
    again = xw.load_spec(json.loads(first.to_json())["spec"]).run()
    for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value", "conf_method"):
        assert getattr(again.rows[0], name) == getattr(first.rows[0], name), name


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(
    ["data", "path", "adjust", "levels", "cluster", "weights", "missing", "event", "kind", "name",
     "interaction", "mediator", "outcome", "mediator_family", "outcome_family", "population", "at",
     "rare_outcome", "small_sample", "vcov", "draws", "seed", "workers", "effects", "level",
     "refute"]
)  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["study", "estimator", "inference", "ask"]), keys, values)
def test_any_value_under_any_key_is_read_or_refused(section: str, key: str, value: Any) -> None:
    """Whatever a document holds, the answer is an analysis or an error made for people."""
    names = {"estimator": "Regression", "inference": "Bootstrap"}
    base: dict[str, Any] = {
        "study": {"data": "t.csv", "path": "a -> m -> y"},
        **{s: {"name": n} for s, n in names.items()},
        "ask": {},
    }
    document = {**base, section: {**base[section], key: value}}
    refusal = None
    try:
        xw.load_spec(document)
    except xw.errors.CrossworldError as error:
        refusal = error
    if refusal is not None:
        assert refusal.exit_code == 2
        assert "object has no attribute" not in str(refusal)
