"""Answers restricted by guidance: the pocket reasoner, a mock; remote models are refused."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossworld import TE, GuidanceModel, ReasoningStudy, Replay, collect_now, estimate
from crossworld.errors import DesignError, MissingExtraError
from crossworld.reasoning.log import columns, read_log
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.pocket import CHOICES, CUE, PocketReasoner, pocket_plan
from crossworld.reasoning.pocket.model import WEIGHTS

HAS = {m: importlib.util.find_spec(m) is not None for m in ("guidance", "torch", "transformers")}
here = pytest.mark.skipif(not all(HAS.values()), reason="guidance or torch is not here")
ASK = Request(
    "q", "careful", "careful: 3+8+5+2\n", shown="3+8=1\n1+5=6\n6+2=9", cue=CUE, choices=CHOICES,
    temperature=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The pocket reasoner with its characters written as bytes, the one form guidance reads."""
    from guidance import models

    folder = tmp_path_factory.mktemp("weights") / "pocket"
    shutil.copytree(WEIGHTS, folder)
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    letters = {" ": "\u0120", "\n": "\u010a"}
    codes = {letters.get(k, k): v for k, v in told["model"]["vocab"].items()}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    told |= {
        "model": {"type": "BPE", "vocab": codes, "merges": [], "unk_token": "<unk>"},
        "pre_tokenizer": level | {"use_regex": False},
        "decoder": level | {"use_regex": False},
    }
    file.write_text(json.dumps(told), encoding="utf-8")
    return models.Transformers(str(folder), echo=False, enable_monitoring=False)


@here
def test_the_law_of_choices_is_the_models_own(pocket: Any) -> None:
    model = GuidanceModel(pocket, "pocket", lead="")
    told = asyncio.run(model.complete(ASK))
    exact = asyncio.run(PocketReasoner().complete(ASK)).probabilities
    assert told.probabilities == pytest.approx(exact, abs=1e-5)
    assert max(exact, key=exact.__getitem__) == "9" and exact["9"] < 0.9
    drawn = [asyncio.run(model.complete(replace(ASK, draw=d))).answer for d in range(200)]
    share = Counter(drawn)["9"] / 200
    assert abs(share - exact["9"]) < 4.0 * (exact["9"] * (1 - exact["9"]) / 200) ** 0.5
    assert len(set(drawn)) > 3


@here
def test_draws_belong_to_the_request_and_leave_other_random_numbers_alone(pocket: Any) -> None:
    model = GuidanceModel(pocket, "pocket", lead="")
    free = replace(ASK, shown=None, choices=(), max_tokens=60, temperature=1.0)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, again = (asyncio.run(model.complete(free)) for _ in range(2))
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert one == again
    texts = {
        asyncio.run(model.complete(replace(free, draw=d, temperature=2.0))).text for d in range(6)
    }
    assert len(texts) > 1
    assert one.reasoning.startswith("3+8=1") and CUE not in one.reasoning
    assert one.answer in CHOICES
    cold = replace(free, temperature=0.0)
    greedy = asyncio.run(PocketReasoner().complete(cold))
    assert asyncio.run(model.complete(cold)).reasoning == greedy.reasoning


@here
def test_a_pattern_restricts_what_is_answered(pocket: Any) -> None:
    model = GuidanceModel(pocket, "pocket", lead="", pattern="[0-4]")
    asked = replace(ASK, choices=())
    answers = {asyncio.run(model.complete(replace(asked, draw=d))).answer for d in range(20)}
    assert answers <= set("01234") and len(answers) > 1
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, again = (asyncio.run(model.complete(asked)) for _ in range(2))
    assert one == again and (np.random.get_state()[1] == state).all()  # noqa: NPY002


@here
def test_a_plan_is_collected_and_estimated(pocket: Any, tmp_path: Path) -> None:
    model, log = GuidanceModel(pocket, "pocket", lead=""), tmp_path / "log.jsonl"
    plan = pocket_plan("hasty-careful", questions=12)
    done = collect_now(replace(plan, traces=1), model, log=log)
    assert done.complete
    study = ReasoningStudy.from_cells(
        columns(read_log(log)), question="question", prompt="prompt", reasoning="reasoning",
        outcome="p_answer", draw="draw", replayed="replayed", wording="wording",
        levels=("hasty", "careful"),
    )  # fmt: skip
    assert estimate(study, Replay(), [TE])["te"].estimate is not None


@pytest.mark.skipif(not HAS["guidance"], reason="guidance is not here")
def test_longer_choices_are_drawn_without_probabilities() -> None:
    from guidance import models

    mock = models.Mock(b"<s>Which? Answer: blue", echo=False)
    ask = Request("q", "a", "Which?", shown="", cue=" Answer:", choices=("red", "blue"))
    told = asyncio.run(GuidanceModel(mock, "mock").complete(ask))
    assert (told.answer, told.probabilities) == ("blue", None)
    with pytest.raises(DesignError, match="does not fit the model's limit of 5 characters"):
        asyncio.run(GuidanceModel(mock, "mock", limit=5).complete(ask))
    with pytest.raises(DesignError, match="label= names the model's snapshot"):
        GuidanceModel(mock, " ")


@pytest.mark.skipif(not HAS["guidance"], reason="guidance is not here")
def test_a_remote_model_is_refused_in_words() -> None:
    class OpenAI:
        """What guidance's remote models look like: an interpreter without an engine."""

        _interpreter = object()

    with pytest.raises(DesignError, match="OpenAI has no engine here.*InspectModel"):
        GuidanceModel(OpenAI(), "gpt")
    pytest.importorskip("openai")
    from guidance import models

    with pytest.raises(DesignError, match="no engine here"):
        GuidanceModel(models.OpenAI("gpt-4o", api_key="none", echo=False), "gpt-4o")


def test_without_guidance_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"crossworld\[guidance\]"):
        GuidanceModel(object(), "x")
