"""From a plan to effects: a simulated reasoner whose cells are known, collected and replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, PNIE, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.reasoning.collect import collect_now
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.plan import Plan, Question, Template, four_cells
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy

ROLES = {
    "question": "question",
    "prompt": "prompt",
    "reasoning": "reasoning",
    "draw": "draw",
    "edit": "edit",
    "replayed": "replayed",
}
DELETED = Estimand("deleted", Y(1) - Y(1, M(1, "delete")))


@pytest.mark.parametrize(("leak", "drift"), [((0.0, 0.0), 0.05), ((0.1, 0.5), 0.0)])
def test_replay_recovers_the_cells_of_a_reasoner_that_is_known(
    leak: tuple[float, float], drift: float
) -> None:
    model = SimulatedReasoner(base=0.2, interaction=0.1, slip=0.1, leak=leak, drift=drift)
    cells = [(a, b, None) for a in ("0", "1") for b in ("0", "1")] + [("1", "1", "delete")]
    table = model.table(3000, traces=2, readouts=2, seed=3, cells=cells)
    study = ReasoningStudy.from_cells(table, **ROLES, outcome="correct")
    found = estimate(study, Replay(), [TE, NDE, NIE, PNIE, DELETED])
    cell = {(a, b): model.cell(a, b, replayed=True) for a in (0, 1) for b in (0, 1)}
    truth = {
        "te": cell[1, 1] - cell[0, 0],
        "nde": cell[1, 0] - cell[0, 0],
        "nie": cell[1, 1] - cell[1, 0],
        "pnie": cell[0, 1] - cell[0, 0],
        "deleted": cell[1, 1] - model.cell(1, 1, edit="delete", replayed=True),
    }
    for term, value in truth.items():
        assert abs(value) > 0.05
        assert abs((found[term].estimate or 0.0) - value) < 4.0 * (found[term].std_error or 0.0)
    for arm in (0, 1):
        floor = found.diagnostics["replay_floor"][str(arm)]
        expected = model.cell(arm, arm) - cell[arm, arm]
        assert expected == pytest.approx(-drift)
        half = floor["conf_high"] - floor["estimate"]
        assert abs(floor["estimate"] - expected) < 2.0 * half
        assert (floor["conf_high"] < 0.0) == (drift > 0.0)
    flags = found.diagnostics["flags"]["leaked"]
    assert flags["share"]["Y(1, M(0))"] == pytest.approx(leak[0], abs=0.02)
    assert flags["share"]["Y(1)"] == pytest.approx(leak[1], abs=0.02)


def test_a_collected_log_is_a_cell_table(tmp_path: Path) -> None:
    model = SimulatedReasoner()
    plan = Plan(
        tuple(Question(f"q{i}", answer=str(model.question(f"q{i}").gold)) for i in range(15)),
        (Template("0", ""), Template("1", "")),
        four_cells("0", "1"),
        traces=2,
    )
    log = tmp_path / "log.jsonl"
    done = collect_now(plan, model, log=log)
    assert done.complete
    study = ReasoningStudy.from_cells(log, **ROLES, wording="wording", outcome="correct")
    assert study.holds().cells["Y(0)"] == (15, 60)
    found = estimate(study, Replay(readout="text"), [TE, NDE, NIE])
    assert found["te"].estimate == pytest.approx(
        (found["nde"].estimate or 0.0) + (found["nie"].estimate or 0.0)
    )
    assert found.diagnostics["n_units"] == 15
    assert set(found.diagnostics["replay_floor"]) == {"0", "1"}
    assert sum(found.diagnostics["empty_reasoning"].values()) == 0
    assert "leaked" in found.diagnostics["flags"]
