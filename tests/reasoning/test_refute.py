"""Refuters on studies of replayed reasoning: placebos by exchange, and those that refuse."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from crossworld import NDE, NIE, TE, Analysis, ReasoningStudy, Replay, estimate
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.errors import SpecError
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.refute.run import refute, refuters
from tests.reasoning.readouts import ROLES, crossed

MODEL = SimulatedReasoner(contributions=(0.15, 0.25), sound=(0.3, 0.8), interaction=0.3)
CELLS = (*(((a, b, None)) for a in (0, 1) for b in (0, 1)), (1, 1, "delete"))
NAMES = {
    n: n for n in ("question", "prompt", "reasoning", "draw", "edit", "replayed")
} | {"outcome": "correct"}  # fmt: skip


def study(questions: int = 40, seed: int = 1) -> ReasoningStudy:
    table = MODEL.table(questions, traces=2, readouts=2, seed=seed, cells=CELLS)
    return ReasoningStudy.from_cells(table, **NAMES)


@pytest.mark.parametrize("role", ["treatment", "mediator", "outcome"])
def test_exchanging_moves_labels_and_nothing_else(role: str) -> None:
    held = study()
    moved = held.permuted(role, np.random.default_rng(3))
    one, other = held.table, moved.table
    assert (one.question.codes == other.question.codes).all()
    keys = ("prompt", "reasoning", "edit")

    def cells(table: object) -> Counter[tuple[int, ...]]:
        columns = [getattr(table, k).codes for k in keys]
        return Counter(zip(one.question.codes, *columns, table.replayed, strict=True))  # type: ignore[attr-defined]

    if role != "outcome":
        assert (one.outcome == other.outcome).all()
        assert (one.prompt.codes != other.prompt.codes).any() == (role == "treatment")
        assert (one.reasoning.codes != other.reasoning.codes).any()
        for q in range(5):  # blocks stay whole: as many of every size as there were
            mine = [n for k, n in cells(one).items() if k[0] == q]
            theirs = [n for k, n in cells(other).items() if k[0] == q]
            assert Counter(mine) == Counter(theirs)
    else:
        assert sorted(one.outcome) == sorted(other.outcome)
        assert cells(one) == cells(other)
    with pytest.raises(SpecError, match="unknown role 'prompt'"):
        held.permuted("prompt", np.random.default_rng(0))


def test_placebos_pass_and_are_centred_at_nothing() -> None:
    deleted = Estimand("deleted", Y(1) - Y(1, M(1, "delete")))
    analysis = Analysis(study(), Replay(), (TE, NDE, NIE, deleted))
    result = analysis.run()
    assert all(abs(row.estimate or 0.0) > 0.05 for row in result)
    for key in ("placebo", "placebo-mediator", "dummy-outcome"):
        for found in refute(analysis, key, result=result).refutations:
            if (key, found["term"]) == ("placebo-mediator", "te"):
                assert found["passed"] is None
                continue
            assert found["passed"] is True, found["detail"]
            data = found["data"]
            assert data["low"] < 0.0 < data["high"] and data["draws"] == 100


def test_a_placebo_that_exchanges_nothing_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReasoningStudy, "permuted", lambda self, role, rng: self)
    analysis = Analysis(study(), Replay(), (TE, NIE))
    for found in refute(analysis, ["placebo", "placebo-mediator"]).refutations:
        assert found["passed"] is (None if found["term"] == "te" and "mediator" in found["name"]
                                   else False)  # fmt: skip


def test_within_questions_what_is_paired_stays_paired() -> None:
    """Question means do not move, so exchanged contrasts keep the spread of paired ones."""
    held = study(30)
    moved = held.permuted("treatment", np.random.default_rng(5))
    for q in range(30):
        rows = held.table.question.codes == q
        assert held.table.outcome[rows].mean() == moved.table.outcome[rows].mean()


def test_two_models_are_exchanged_each_for_itself() -> None:
    parts = [crossed(20, seed=k).assign(model=f"m{k}") for k in (0, 1)]
    both = ReasoningStudy.from_cells(pd.concat(parts), **ROLES, draw="draw", cluster="model")
    moved = both.permuted("treatment", np.random.default_rng(1))
    unit, _, _ = both.table.units()
    for u in np.unique(unit)[:20]:
        rows = unit == u
        assert sorted(both.table.prompt.codes[rows]) == sorted(moved.table.prompt.codes[rows])
    assert (both.table.prompt.codes != moved.table.prompt.codes).any()


def test_the_other_refuters_work_or_say_why_not() -> None:
    analysis = Analysis(study(), Replay(), (TE, NIE))
    result = analysis.run()
    for key in refuters():
        for found in refute(analysis, key, result=result).refutations:
            if key in ("placebo", "placebo-mediator", "dummy-outcome", "subset"):
                assert found["passed"] in (True, None), found
            else:
                assert found["passed"] is None and found["detail"]
                assert "ReasoningStudy" in found["detail"] or "not judged" in found["detail"]


def test_subsets_are_of_questions() -> None:
    analysis = Analysis(study(50), Replay(), (NIE,))
    (found,) = refute(analysis, "subset").refutations
    assert found["passed"] is True and 0.6 < found["data"]["spread_ratio"] < 1.4
    assert estimate(study(50).take(np.arange(40)), Replay(), [NIE]).diagnostics["n_units"] == 40
