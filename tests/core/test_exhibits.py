"""Exhibits: checked when made, carried by a result, the same after a round trip through JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossworld import exhibits as ex
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import SpecError

ROW = Effect("nie", 0.2, 0.05, 0.1, 0.3, 0.001, "wald")


def every() -> list[ex.Exhibit]:
    """One exhibit of each kind, with everything that is optional."""
    arms = (ex.Arm("a = 0", 20, (0.6, 0.4), 0.5, 1.0), ex.Arm("a = 1", 30, (0.3, 0.7), 1.5, 1.1))
    test = ex.TwoSample("energy", 0.01, 0.3, draws=99, seed=0, n=50, note="of observed rows")
    grid = np.array([[0.1, np.nan, 0.3], [0.4, 0.5, 0.6]])
    return [
        ex.Story("Does it help?", ("They were asked twice.", "By whom?"), "A title"),
        ex.Comparison(
            (ex.Compared("replay", "nie", 0.2, 0.1, 0.3, 0.05), ex.Compared("OLS", "nie", None)),
            "replay", {"OLS": "no interval"}, title="Methods",
        ),
        ex.Distributions(
            (
                ex.Variable("m", arms, edges=(0.0, 1.0, 2.0), note="half of the variance"),
                ex.Variable("colour", arms, categories=("red", "blue")),
            ),
            (test,),
        ),
        ex.CausalGraph("a -> m -> y; a -> y"),
        ex.Contour(
            "strength", (0.0, 0.5, 1.0), "share", (0.0, 1.0), grid, 0.2, (ex.Mark("age", 0.4, 0.5),)
        ),
        ex.Curve((ex.Series("all", (0.0, 1.0), (0.2, 0.5), (0.1, 0.4), (0.3, None)),), "x", "y"),
        ex.Steps((ex.Step("3 + 6 = 9.", 0.31, 0.12, 0.5, True), ex.Step("So 9."))),
        ex.Heatmap(
            ("0", "1"), ("the", "cat", "sat"), grid, grid - 0.1, grid + 0.1, grid > 0.35,
            row_name="layer", column_name="position", value_name="nie",
        ),
        ex.Circuit(
            (ex.Node("in", 0), ex.Node("out", 1, 0.0, "logit", 0.4)),
            (ex.Link("in", "out", 0.4, 0.3, 0.5, kept=False),), ("embedding", "logits"),
        ),
        ex.Table(("effect", "estimate"), (("nie", 0.2), ("te", None))),
    ]  # fmt: skip


def test_every_kind_is_here() -> None:
    assert {one.kind for one in every()} == set(ex.KINDS)


@pytest.mark.parametrize("one", every(), ids=lambda one: one.kind)
def test_the_plain_form_is_json_and_gives_the_same_value(one: ex.Exhibit) -> None:
    text = json.dumps(one.to_dict(), allow_nan=False)
    assert ex.read(json.loads(text)) == one
    assert ex.read(one) is one


def test_a_result_carries_them_through_json(tmp_path: Path) -> None:
    table = EffectTable((ROW,), 0.95).with_exhibits(every())
    assert table.exhibits == tuple(every())
    assert table.with_exhibits([every()[0]]).exhibits == tuple(every())
    assert table.with_exhibits([]) is table
    table.to_json(tmp_path / "result.json")
    assert EffectTable.from_json(tmp_path / "result.json").exhibits == table.exhibits


def test_no_value_is_written_as_null() -> None:
    (held,) = (one for one in every() if one.kind == "heatmap")
    assert isinstance(held, ex.Heatmap)
    assert held.values[0] == (0.1, None, 0.3)
    assert held.significant == ((False, False, False), (True, True, True))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kind": "heatmp"}, "unknown kind of exhibit 'heatmp'. Did you mean 'heatmap'"),
        ({"kind": "story"}, "lacks 'question'"),
        ({"kind": "story", "question": 3}, "question of .* is a text, got 3"),
        ({"kind": "story", "question": "a", "txt": "b"}, "has no key 'txt'. Did you mean 'text'"),
        ({"kind": "heatmap", "rows": ["a"], "columns": ["b"], "values": [[1, 2]]}, "1 are needed"),
        ({"kind": "heatmap", "rows": ["a"], "columns": ["b"], "values": [["x"]]}, "number or null"),
        ({"kind": "heatmap", "rows": [], "columns": ["b"], "values": []}, "at least one row"),
        ({"kind": "steps", "steps": []}, "steps is empty"),
        ({"kind": "steps", "steps": [{"text": "a"}], "scale": "percent"}, "unknown scale"),
        ({"kind": "contour", "x_name": "a", "x": [1, 0], "y_name": "b", "y": [0, 1],
          "values": [[0, 0], [0, 0]]}, "x must increase"),
        ({"kind": "comparison", "rows": [{"method": "a", "term": "te", "estimate": 1.0}],
          "truth": "b"}, "'b' is none of the methods"),
        ({"kind": "comparison", "rows": [{"method": "a", "term": "te", "estimate": 1.0}] * 2},
         "'a' answers 'te' twice"),
        ({"kind": "circuit", "nodes": [{"name": "a", "column": 0}],
          "links": [{"source": "a", "target": "b"}]}, "'b', which is no node"),
        ({"kind": "circuit", "nodes": [{"name": "a", "column": -1}], "links": []}, "from 0"),
        ({"kind": "distributions", "variables": [{"name": "m", "arms": [
            {"label": "0", "n": 2, "shares": [0.5]}], "edges": [0, 1, 2]}]}, "1 shares for 2 bins"),
        ({"kind": "table", "columns": ["a", "b"], "rows": [["x"]]}, "has to hold 2 entries"),
        (3, "an exhibit is a value of crossworld.exhibits, got 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(given: Any, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        ex.read(given)


def test_results_compared_by_method() -> None:
    other = EffectTable((Effect("nie", 0.1, None, None, None, None, "none"),), 0.95)
    held = ex.Comparison.of({"replay": EffectTable((ROW,), 0.95), "OLS": other}, truth="replay")
    assert held.methods == ("replay", "OLS") and held.terms == ("nie",)
    assert held.rows[0] == ex.Compared("replay", "nie", 0.2, 0.1, 0.3, 0.05)
    assert held.rows[1].conf_low is None


def test_a_kind_of_a_later_version_is_kept_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    held = EffectTable((ROW,), 0.95).to_dict()
    held["diagnostics"] = {"exhibits": [{"kind": "hologram", "beams": 3}]}
    file = tmp_path / "result.json"
    file.write_text(json.dumps(held))
    table = EffectTable.from_json(file)
    assert table.exhibits == ()
    assert table.to_dict()["diagnostics"] == held["diagnostics"]
    held["diagnostics"] = {"exhibits": [{"kind": "story"}]}
    file.write_text(json.dumps(held))
    with pytest.raises(SpecError, match="damaged result file.*lacks 'question'"):
        EffectTable.from_json(file)


def table(**rows: tuple[float, float | None, float | None]) -> EffectTable:
    made = [Effect(t, v, None, a, b, None, "wald") for t, (v, a, b) in rows.items()]
    return EffectTable(tuple(made), 0.95)


def test_steps_of_a_result_stand_beside_their_texts() -> None:
    held = table(
        **{"share(2)": (0.5, 0.2, 0.8), "share(0)": (0.1, -0.1, 0.3), "step(0)": (0.7, 0.6, 0.8)}
    )
    made = ex.Steps.of(held, ["a", "b", "c"], question="q")
    assert made.steps == (
        ex.Step("a", 0.1, -0.1, 0.3, significant=False),
        ex.Step("b"),
        ex.Step("c", 0.5, 0.2, 0.8, significant=True),
    )
    assert made.scale == "share"
    other = ex.Steps.of(held, ["a"], name="step")
    assert other.scale == "difference" and other.steps[0].estimate == 0.7
    with pytest.raises(SpecError, match=r"no row kl\(i\) for these steps; it has share\(2\)"):
        ex.Steps.of(held, ["a"], name="kl")


def test_a_curve_of_a_result_is_sorted_by_its_argument() -> None:
    held = table(
        **{"curve(1)": (0.6, 0.5, 0.7), "curve(0.1)": (0.2, 0.1, None), "rise(0, 1)": (1, 1, 1)}
    )
    (series,) = ex.Curve.of(held, "curve", x_name="x", y_name="y").series
    assert series == ex.Series("curve", (0.1, 1.0), (0.2, 0.6), (0.1, 0.5), (None, 0.7))
    with pytest.raises(SpecError, match=r"no row line\(x\); it has curve\(1\)"):
        ex.Curve.of(held, "line", x_name="x", y_name="y")
