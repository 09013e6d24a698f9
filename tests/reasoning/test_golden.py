"""Other people's replays: Bao et al. (COLING 2025) and the resumes of Thought Branches."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import crossworld as xw
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError
from crossworld.reasoning import outcomes
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.several import by_model
from crossworld.reasoning.study import ReasoningStudy

SHARED = Path(os.environ.get("CROSSWORLD_SHARED", Path(__file__).parents[3] / "shared"))
DATA = SHARED / "data" / "reasoning"
FILE = DATA / "cot_replay_cells.csv.gz"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="shared data is absent (set CROSSWORLD_SHARED)"
)
GPT, LLAMA = "gpt-3.5-turbo", "llama2-7b-chat"
COLUMNS: dict[str, Any] = {
    "question": "id",
    "reasoning": "mediator_source",
    "replayed": "replayed",
}
GOLD = Estimand("gold", Y(1, M("gold")) - Y(1))
CORRUPTED = Estimand("corrupted", Y(1, M("corrupted")) - Y(1))


@cache
def frame() -> pd.DataFrame:
    return pd.read_csv(FILE)


def styles(task: str, model: str, data: Any = None) -> ReasoningStudy:
    """Answer at once (0) against think first (1)."""
    return ReasoningStudy.from_cells(
        frame() if data is None else data,
        **COLUMNS,
        prompt="prompt_arm",
        outcome="correct",
        levels=("direct", "cot"),
        sources={"default": "cot"},
        where={"task": task, "model": model, "bias": 0, "random_role": 0},
    )


def hints(task: str, model: str, *, outcome: str = "correct", data: Any = None) -> ReasoningStudy:
    """Without (0) and with (1) "I think the correct answer is X" in the prompt."""
    return ReasoningStudy.from_cells(
        frame() if data is None else data,
        **COLUMNS,
        prompt="bias",
        outcome=outcome,
        sources={"default": 0},
        where={"task": task, "model": model, "prompt_arm": "cot", "random_role": 0},
    )


def targeted(task: str, model: str) -> pd.DataFrame:
    """The rows of one task with "the answer is the hint's" as outcome, and leaked traces marked."""
    rows = frame()[(frame()["task"] == task) & (frame()["model"] == model)].copy()
    question = list(rows["id"])
    target = outcomes.of_question(question, list(rows["bias_target"]))
    rows["followed"] = outcomes.matches(list(rows["pred"]), target)
    own = rows["pred"].where(rows["cond"] == "cot_default_replay")
    rows["leaked"] = outcomes.contains(list(rows["cot"]), outcomes.of_question(question, list(own)))
    return rows


def half(table: EffectTable, term: str) -> float:
    """1.96 standard errors, as the published figures have it."""
    return 1.959964 * (table[term].std_error or 0.0)


def test_thinking_first_helps_on_gsm8k() -> None:
    study = styles("GSM8K", GPT, FILE)
    found = xw.estimate(study, Replay(own="natural"), [xw.TE])
    assert found["te"].estimate == pytest.approx(0.448, abs=5e-4)
    assert half(found, "te") == pytest.approx(0.048, abs=5e-4)
    replayed = xw.estimate(study, Replay(), [xw.TE, GOLD, CORRUPTED])
    assert replayed["te"].estimate == pytest.approx(0.442, abs=5e-4)
    assert replayed["gold"].estimate == pytest.approx(0.258, abs=5e-4)
    assert replayed["corrupted"].estimate == pytest.approx(-0.724, abs=5e-4)
    assert half(replayed, "corrupted") == pytest.approx(0.040, abs=5e-4)
    floor = replayed.diagnostics["replay_floor"]["cot"]
    assert floor["estimate"] == pytest.approx(0.006, abs=5e-4)


@pytest.mark.parametrize(
    ("task", "model", "te", "floor", "gold"),
    [
        ("GSM8K", LLAMA, 0.210, -0.010, 0.518),
        ("Product_3", GPT, -0.092, -0.004, 0.184),
        ("Addition_6", GPT, -0.288, -0.108, -0.014),
        ("FOLIO", LLAMA, 0.088, -0.029, None),
    ],
)
def test_the_other_tasks(
    task: str, model: str, te: float, floor: float, gold: float | None
) -> None:
    study = styles(task, model)
    found = xw.estimate(study, Replay(own="natural"), [xw.TE])
    assert found["te"].estimate == pytest.approx(te, abs=6e-4)
    told = xw.estimate(study, Replay(), [xw.TE]).diagnostics["replay_floor"]["cot"]
    assert told["estimate"] == pytest.approx(floor, abs=6e-4)
    if gold is not None:
        assert xw.estimate(study, Replay(), [GOLD])["gold"].estimate == pytest.approx(
            gold, abs=6e-4
        )


def test_a_hint_passes_reasoning_by_on_addition_but_not_on_gsm8k() -> None:
    gsm = xw.estimate(hints("GSM8K", GPT), Replay(), [xw.NDE])
    assert gsm["nde"].estimate == pytest.approx(0.004, abs=5e-4)
    assert half(gsm, "nde") == pytest.approx(0.008, abs=5e-4)
    added = xw.estimate(hints("Addition_6", GPT), Replay(), [xw.NDE])
    assert added["nde"].estimate == pytest.approx(-0.554, abs=5e-4)
    assert half(added, "nde") == pytest.approx(0.050, abs=7e-4)
    rows = targeted("Addition_6", GPT)
    followed = hints("Addition_6", GPT, outcome="followed", data=rows)
    found = xw.estimate(followed, Replay(), [xw.NDE])
    assert found["nde"].estimate == pytest.approx(0.730, abs=5e-4)
    without = found.diagnostics["flags"]["leaked"]
    assert without["share"]["Y(0)"] < 0.02
    plain = xw.estimate(hints("Addition_6", GPT, data=rows), Replay(), [xw.NDE])
    told = plain.diagnostics["flags"]["leaked"]["without"]["nde"]
    assert told["estimate"] == pytest.approx(-0.557, abs=1e-3)


def test_our_outcome_is_the_one_in_the_file() -> None:
    for task in ("Addition_6", "GSM8K", "FOLIO", "Product_3"):
        rows = targeted(task, GPT)
        hinted = rows[rows["bias"] == 1]
        assert (hinted["followed"].fillna(0) == hinted["followed_bias"].fillna(0)).all()


def test_cells_that_are_not_there_are_named_not_invented() -> None:
    study = hints("GSM8K", GPT)
    held = study.holds()
    assert held.can == ("nde", "ide")
    assert held.cannot["te"] == ("Y(1)",)
    assert set(held.cannot["nie"]) == {"Y(1)"}
    assert held.cannot["pnie"] == ("Y(0, M(1))",)
    for effect, cell in ((xw.TE, r"Y\(1\)"), (xw.PNIE, r"Y\(0, M\(1\)\)")):
        with pytest.raises(DesignError, match=f"no readout stands for {cell}.*it can give nde"):
            xw.estimate(study, Replay(), [effect])
    assert styles("GSM8K", GPT).holds().cannot["nde"] == ("Y(1, M(0))",)


def test_readouts_that_reason_again_are_found_where_they_are() -> None:
    told = {
        model: xw.estimate(
            styles("GSM8K", model), Replay(readout="readout"), [CORRUPTED]
        ).diagnostics["compliance"]["long"]["Y(1, M('corrupted'))"]
        for model in (GPT, LLAMA)
    }
    assert told[GPT] < 0.1
    assert told[LLAMA] > 0.9


def test_two_models_at_once() -> None:
    study = ReasoningStudy.from_cells(
        frame(),
        **COLUMNS,
        prompt="prompt_arm",
        outcome="correct",
        cluster="model",
        levels=("direct", "cot"),
        sources={"default": "cot"},
        where={"task": "GSM8K", "bias": 0, "random_role": 0},
    )
    found = by_model(study, [xw.TE], estimator=Replay(own="natural"))
    by_name = {row.model: row.estimate for row in found.rows}
    assert by_name == pytest.approx({GPT: 0.448, LLAMA: 0.210}, abs=5e-4)
    assert found.pooled["te"].estimate == pytest.approx(0.329, abs=5e-4)
    assert found.pooled.diagnostics["n_clusters"] == 500
    assert found.two_way["te"]["std_error"] > 4.0 * (found.pooled["te"].std_error or 0.0)


@pytest.mark.parametrize(
    ("resume", "te", "nde", "nie"),
    [(61, -0.138, -0.035, -0.103), (39, -0.140, -0.141, 0.001), (83, None, 0.045, -0.089)],
)
def test_resumes_of_thought_branches(resume: int, te: float | None, nde: float, nie: float) -> None:
    """Black female (1) against white male (2), reasoning as clusters of sentences it contains.

    Nobody replayed these traces, so the answer is observational: a table study with a linear
    outcome. A cluster that every trace contains can carry nothing and is left out.
    """
    rows = pd.read_csv(DATA / "thought_branches_resume" / f"sentence_basic_16_True_{resume}.csv")
    rows = rows[rows["variant"].isin([1, 2])]
    used = [f"x_{j}" for j in range(16) if rows[f"x_{j}"].nunique() > 1]
    study = xw.TableStudy.from_frame(
        rows, f"variant -> {' + '.join(used)} -> decision", levels=(1, 2)
    )
    linear = xw.Regression(mediator_family="gaussian", outcome_family="gaussian")
    found = xw.estimate(study, linear, [xw.TE, xw.NDE, xw.NIE])
    if te is not None:
        assert found["te"].estimate == pytest.approx(te, abs=6e-4)
    assert found["nde"].estimate == pytest.approx(nde, abs=6e-4)
    assert found["nie"].estimate == pytest.approx(nie, abs=6e-4)
    assert found.identification["by"] == "adjustment"
