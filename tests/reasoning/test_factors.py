"""Factors of the input as treatments: exact cells of a reasoner asked families of questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, TE
from crossworld.errors import DesignError
from crossworld.reasoning.factors import Factor, factor_study
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.replay import Replay

MODEL = SimulatedReasoner(
    arms=("+", "-"), interaction=-0.2, direct=-0.1, sound=(0.8, 0.3), slip=0.1
)

OPERATOR = Factor("operator", family="story", levels=("+", "-"))
SWAPPED = Factor("operator", family="story", levels=("-", "+"))
TOLD = Factor("operator", family="story", levels=("+", "-"), shown="truth")


def families(count: int, *, members: int = 1, traces: int = 2, seed: int = 3) -> dict[str, Any]:
    """Stories asked with one operator or the other; the table does not say whose text is shown."""
    names = [f"story{i}" for i in range(count)]
    parts = []
    for member in range(members):
        table: dict[str, Any] = MODEL.table(names, traces, seed=seed + member)
        keys = zip(table["question"], table["reasoning"], table["trace"], strict=True)
        table["trace"] = np.array([f"{q}/{member}/{b}/{k}" for q, b, k in keys])
        table["story"] = table["question"]
        asked = zip(table["story"], table["prompt"], strict=True)
        table["question"] = np.array([f"{q}/{member}/{a}" for q, a in asked])
        table["operator"] = table.pop("prompt")
        table["truth"] = table.pop("reasoning")
        parts.append(table)
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def names(count: int) -> list[str]:
    return [f"story{i}" for i in range(count)]


def test_effects_of_an_operator_are_those_of_the_model() -> None:
    study = factor_study(families(1500), OPERATOR, outcome="correct")
    assert set(study.holds().cells) >= {"Y(0)", "Y(1)", "Y(1, M(0))", "Y(0, M(1))"}
    found = estimate(study, Replay(), [TE, NDE, NIE])
    cell = {
        (a, b): MODEL.cell(a, b, questions=names(1500), replayed=True)
        for a in (0, 1)
        for b in (0, 1)
    }
    truth = {
        "te": cell[1, 1] - cell[0, 0],
        "nde": cell[1, 0] - cell[0, 0],
        "nie": cell[1, 1] - cell[1, 0],
    }
    for name, value in truth.items():
        error = found[name].std_error or 0.0
        assert value < -0.03 - error
        assert abs((found[name].estimate or 0.0) - value) < 3.5 * error < abs(value)
    assert found.diagnostics["n_units"] == 1500


def test_the_level_a_trace_was_written_for_is_found_or_named() -> None:
    table = families(40, members=2)
    looked_up = factor_study(table, OPERATOR, outcome="correct")
    named = factor_study(table, TOLD, outcome="correct")
    assert looked_up.table.reasoning.labels == named.table.reasoning.labels
    assert (looked_up.table.reasoning.codes == named.table.reasoning.codes).all()
    assert len(looked_up) == 40  # two members of each family at each level are averaged
    swapped = factor_study(table, SWAPPED, outcome="correct")
    ours, theirs = (estimate(s, Replay(), [TE])["te"].estimate for s in (looked_up, swapped))
    assert ours == pytest.approx(-(theirs or 0.0))


def test_without_replays_only_the_total_effect_is_there() -> None:
    table = families(40)
    natural = {n: v[np.asarray(table["replayed"]) == 0] for n, v in table.items()}
    study = factor_study(natural, OPERATOR, outcome="correct")
    held = study.holds()
    assert held.can[0] == "te"
    assert "nde" in held.cannot
    assert estimate(study, Replay(), [TE])["te"].estimate == pytest.approx(
        natural["correct"][natural["operator"] == "-"].mean()
        - natural["correct"][natural["operator"] == "+"].mean()
    )


def test_a_prompt_arm_is_kept_by_where() -> None:
    table = families(30)
    other = {n: v.copy() for n, v in table.items()}
    other["correct"] = 1 - other["correct"]
    both = {n: np.concatenate([table[n], other[n]]) for n in table}
    both["arm"] = np.repeat(["cot", "direct"], len(table["correct"]))
    kept = factor_study(
        both,
        OPERATOR,
        outcome="correct",
        where={"arm": "direct"},
    )
    plain = factor_study(table, OPERATOR, outcome="correct")
    values = [estimate(s, Replay(), [NIE])["nie"].estimate or 0.0 for s in (kept, plain)]
    assert values[0] == pytest.approx(-values[1])
    assert abs(values[1]) > 0.05


def broken(kind: str) -> dict[str, Any]:
    table = {n: v.astype(object) for n, v in families(6).items()}
    if kind == "one level":
        return {n: v[table["operator"] == "+"] for n, v in table.items()}
    if kind == "question":
        table["question"][:] = table["story"]
    if kind == "trace":
        table["trace"][:] = "t0"
    if kind == "unwritten":
        return {n: v[table["replayed"] == 1] for n, v in table.items()}
    if kind == "nameless":
        del table["trace"]
    if kind == "missing":
        table["operator"][3] = None
    if kind == "strangers":
        rows = np.flatnonzero(table["replayed"] == 1)
        table["trace"][rows[0]] = "story5/0/+/0"
    return table


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one level", "0 of 6 families"),
        ("question", "one family and one level"),
        ("trace", "must tell traces of the whole table apart"),
        ("unwritten", "has no natural readout"),
        ("nameless", "name the column of its level"),
        ("missing", "missing in 1 of 72 rows"),
        ("strangers", "paired within families"),
    ],
)
def test_a_table_that_is_no_experiment_on_a_factor_is_refused(kind: str, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        factor_study(broken(kind), OPERATOR, outcome="correct")


def test_unknown_roles_and_columns_are_refused() -> None:
    with pytest.raises(DesignError, match="'chain'"):
        factor_study(
            families(6),
            OPERATOR,
            outcome="correct",
            roles={"trace": "chain"},
        )
    with pytest.raises(DesignError, match="got 'traces'"):
        factor_study(
            families(6),
            OPERATOR,
            outcome="correct",
            roles={"traces": "trace"},
        )
