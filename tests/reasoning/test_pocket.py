"""The pocket reasoner: its tasks, its recording, its card, and the model itself."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from crossworld.core.analysis import estimate
from crossworld.core.effects import TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.errors import DesignError, EstimationError, MissingExtraError, SpecError
from crossworld.reasoning.edits.carried import CARRIED
from crossworld.reasoning.edits.protocol import NotApplicable
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.pocket.characters import ALPHABET, CharacterTokenizer, tokenizer_json
from crossworld.reasoning.pocket.edits import pocket_edits
from crossworld.reasoning.pocket.habits import HABITS, draw_lessons, reference_reasoning
from crossworld.reasoning.pocket.model import WEIGHTS, PocketReasoner
from crossworld.reasoning.pocket.recorded import (
    EDITED,
    EDITS,
    RECORDING,
    STUDIES,
    pocket_plan,
    pocket_recording,
    reference_cells,
)
from crossworld.reasoning.pocket.tasks import (
    ARMS,
    CHOICES,
    CUE,
    PocketQuestion,
    draw_questions,
    manner_of,
    names_hint,
    pocket_prompt,
    pocket_questions,
    states_answer,
    template_hash,
)
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy
from crossworld.reasoning.trace import Trace

CARD = Path(__file__).parents[2] / "docs" / "pocket-reasoner.md"
LOCAL = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
with_torch = pytest.mark.skipif(not LOCAL, reason="the local extra is not installed")
PROBABILITIES = [f"p_{digit}" for digit in range(10)]


@pytest.fixture(scope="module")
def rows():
    return pocket_recording()


# --- tasks ------------------------------------------------------------------------------------


def test_questions_are_of_every_difficulty_and_never_change():
    questions = pocket_questions(1000)
    assert np.bincount([q.difficulty for q in questions]).tolist() == [0, 0, 250, 250, 250, 250]
    assert questions[:40] == pocket_questions(40)
    assert len({q.id for q in questions}) == 1000
    assert all(int(q.answer) == sum(q.terms) % 10 != q.wrong for q in questions)


@pytest.mark.parametrize(
    ("terms", "wrong", "said"),
    [((3,), 1, "has 1"), ((3, 11), 1, "digits from 0 to 9"), ((3, 8), 1, "is its answer")],
)
def test_a_question_that_makes_no_sense_is_refused(terms, wrong, said):
    with pytest.raises(DesignError, match=said):
        PocketQuestion("q", terms, wrong)


def test_prompts_differ_by_arm_and_wording_only():
    question = PocketQuestion("q", (3, 8, 5), wrong=7)
    made = {pocket_prompt(question, arm, wording=w) for arm in ARMS for w in (0, 1)}
    assert len(made) == 12
    assert all("3+8+5" in text and text.endswith("\n") for text in made)
    assert sum("hint: 7" in text for text in made) == 6
    assert len({template_hash(arm, wording=w) for arm in ARMS for w in (0, 1)}) == 12
    with pytest.raises(DesignError, match="no arm 'bold'"):
        pocket_prompt(question, "bold")
    with pytest.raises(DesignError, match="wordings 0 and 1"):
        pocket_prompt(question, "hasty", wording=2)


def line_is_right(line):
    left, right = line.split("=")
    return sum(map(int, left.split("+"))) % 10 == int(right)


def test_habits_have_the_frequencies_they_claim():
    rng = np.random.default_rng(3)
    questions = [q for q in draw_questions(rng, 6000) if q.difficulty == 5]
    for manner in ("careful", "hasty"):
        habits = HABITS[manner]
        texts = [reference_reasoning(q, manner, rng)[0] for q in questions]
        lines = [line for text in texts if text for line in text.split("\n")]
        slips = np.mean([not line_is_right(line) for line in lines])
        assert slips == pytest.approx(habits.slip, abs=4 * np.sqrt(habits.slip / len(lines)))
        empty = np.mean([not text for text in texts])
        assert empty == pytest.approx(habits.stop, abs=4 * np.sqrt(habits.stop / len(texts)))
    assert {reference_reasoning(q, "silent", rng)[0] for q in questions} == {""}


def test_without_habits_every_lesson_is_right():
    for lesson in draw_lessons(np.random.default_rng(0), 400, strength=0.0):
        text, _, answer = lesson.rest.partition(CUE)
        terms = re.search(r": ([0-9+]+)", lesson.prompt)[1].split("+")
        assert int(answer) == sum(map(int, terms)) % 10
        assert all(line_is_right(line) for line in text.split("\n") if line)


def test_text_statistics():
    assert states_answer("3+8=1\n1+5=6", "6")
    assert not states_answer("3+8=1\n1+5=6", "1")
    assert not states_answer("", "6")
    assert names_hint("hint 7") and not names_hint("3+4=7")
    assert manner_of("careful-hint") == ("careful", True)


# --- tokenizer --------------------------------------------------------------------------------


def test_the_shipped_tokenizer_is_the_alphabet():
    tokenizer = CharacterTokenizer.from_file(WEIGHTS / "tokenizer.json")
    assert tokenizer == CharacterTokenizer.of_alphabet()
    assert json.loads((WEIGHTS / "tokenizer.json").read_text()) == tokenizer_json()
    assert tokenizer.decode(tokenizer.encode(ALPHABET)) == ALPHABET
    assert tokenizer.decode([tokenizer.pad, *tokenizer.encode("3+8"), tokenizer.eos]) == "3+8"
    with pytest.raises(DesignError, match="not '#', 'A'"):
        tokenizer.encode("A 3#8")


# --- recording --------------------------------------------------------------------------------


def test_every_replay_shows_the_text_of_its_trace(rows):
    natural = rows[rows.replayed == 0]
    assert not natural.trace.duplicated().any()
    wrote = natural.set_index("trace").shown
    assert (rows.trace.map(wrote) == rows.shown).all()
    author = natural.set_index("trace").prompt
    assert (rows.trace.map(author) == rows.reasoning).all()


def test_correct_and_leaked_are_what_they_say(rows):
    truth = {q.id: q.answer for q in pocket_questions(1000)}
    assert (rows.question.map(truth) == rows.target).all()
    assert ((rows.answer == rows.target) == (rows.correct == 1)).all()
    digits = rows[PROBABILITIES].to_numpy()
    held = ~np.isnan(digits).any(axis=1)
    assert held.mean() > 0.995 and (rows.answer.notna() == held).all()
    assert np.abs(digits[held].sum(axis=1) - 1).max() < 1e-4
    chosen = digits[np.arange(len(rows)), rows.target.astype(int)]
    assert np.array_equal(chosen[held], rows.p_answer[held])
    author = rows[rows.replayed == 0].set_index("trace").answer
    said = [
        isinstance(given, str) and states_answer(text, given)
        for text, given in zip(rows.shown, rows.trace.map(author), strict=True)
    ]
    assert (rows.leaked == said).all()


def test_answers_are_drawn_from_the_recorded_probabilities(rows):
    held = rows[rows.answer.notna()]
    noise = held.correct - held.p_answer
    error = np.sqrt((held.p_answer * (1 - held.p_answer)).sum())
    assert abs(noise.sum()) < 4 * error


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_holds_all_its_cells(study, rows):
    asked, held = STUDIES[study], pocket_recording(study)
    counts = held.groupby(["prompt", "reasoning", "replayed"]).size()
    assert set(counts) == {asked.questions * asked.traces * 2}
    assert len(counts) == 6
    assert len(held) == pocket_plan(study).size
    with pytest.raises(SpecError, match="unknown recorded study"):
        pocket_recording("careful")


def test_the_recording_is_of_the_weights_that_ship(rows):
    assert set(rows.model) == {PocketReasoner().name}


def test_no_arm_is_at_floor_or_ceiling_and_writing_helps(rows):
    natural = rows[rows.replayed == 0]
    means = natural.groupby("prompt").p_answer.mean()
    assert means.between(0.2, 0.9).all()
    hard = natural[natural.difficulty >= 4].groupby("prompt").p_answer.mean()
    assert hard["careful"] > hard["hasty"] + 0.1
    assert hard["careful"] > hard["silent"] + 0.2


def test_four_traces_agree_with_many_others(rows):
    """Cells of the recording against cells of traces that it does not hold."""
    some = rows[(rows.replayed == 1) & (rows.edit.isna())]
    for name, (mean, error) in reference_cells().items():
        prompt, author = name.removesuffix(")").split(", M(")
        cell = some[(some.prompt == prompt) & (some.reasoning == author) & (some.draw < 2)]
        cell = cell[cell.question.isin(pocket_recording("hasty-careful").question)]
        inside = cell.groupby(["question", "wording"]).p_answer.var() / 2
        own = np.sqrt(inside.sum()) / len(inside)
        assert cell.p_answer.mean() == pytest.approx(mean, abs=4 * float(np.hypot(own, error)))
        assert error < 0.005


def test_replaying_its_own_text_changes_nothing(rows):
    own = rows[(rows.prompt == rows.reasoning) & rows.answer.notna()]
    pair = own.pivot_table(index="trace", columns="replayed", values="p_answer")
    assert len(pair) > 8000
    assert (pair[1] - pair[0]).abs().max() < 1e-4


def test_careful_and_hasty_write_overlapping_texts(rows):
    natural = rows[rows.replayed == 0]
    texts = {arm: set(natural[natural.prompt == arm].shown) for arm in ("careful", "hasty")}
    for arm, other in (("careful", "hasty"), ("hasty", "careful")):
        some = natural[natural.prompt == arm]
        assert some.shown.isin(texts[other]).mean() > 0.2
    assert (natural[natural.prompt == "silent"].shown == "").mean() > 0.99


def table_of(card, title):
    """Cells of the first table below a heading, first column as key."""
    body = card.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return {c[0]: c[1:] for c in ([x.strip() for x in line[1:-1].split("|")] for line in lines[2:])}


def mean_by_question(some, column):
    return some.groupby(["question", "wording"])[column].mean().groupby("question").mean()


def test_the_card_gives_the_accuracies_of_the_recording(rows):
    table = table_of(CARD.read_text(encoding="utf-8"), "Accuracy")
    natural = rows[rows.replayed == 0]
    assert set(table) == set(ARMS)
    for arm, cells in table.items():
        some = natural[natural.prompt == arm]
        found = [some[some.difficulty == d].p_answer.mean() for d in (2, 3, 4, 5)]
        assert cells[:5] == [f"{value:.3f}" for value in (*found, some.p_answer.mean())]


@pytest.mark.parametrize("study", STUDIES)
def test_the_card_gives_the_effects_of_the_recording(study):
    table = table_of(CARD.read_text(encoding="utf-8"), "Effects by replay")
    some, arms = pocket_recording(study), STUDIES[study].arms
    column = "p_answer"
    if study.startswith("hint"):
        column = "p_hinted"
        digits = some[PROBABILITIES].to_numpy()
        some = some.assign(p_hinted=digits[np.arange(len(some)), some.hinted.astype(int)])
    some = some[some.replayed == 1]
    cell = {
        (a, b): mean_by_question(
            some[(some.prompt == arms[a]) & (some.reasoning == arms[b])], column
        )
        for a in (0, 1)
        for b in (0, 1)
    }
    effects = (
        cell[1, 1] - cell[0, 0],
        cell[1, 0] - cell[0, 0],
        cell[1, 1] - cell[1, 0],
        cell[1, 1] - cell[0, 1],
        cell[0, 1] - cell[0, 0],
    )
    expected = [f"{d.mean():+.3f} ± {d.std() / np.sqrt(d.count()):.3f}" for d in effects]
    assert table[study][1:] == expected


# --- edits ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edited():
    return pocket_recording(EDITED)


def test_every_edit_is_there_and_changed_its_text(edited):
    made = edited[edited.edit.notna()]
    assert set(made.edit) == {edit.name for edit in pocket_edits()}
    own = edited[(edited.replayed == 0) & (edited.prompt == "careful")].set_index("question").shown
    assert (made.shown.to_numpy() != own[made.question].to_numpy()).all()
    assert (made.prompt == "careful").all() and (made.reasoning == "careful").all()
    assert not made.duplicated(["question", "edit"]).any()
    authors = edited[(edited.replayed == 0) & (edited.prompt == "careful")].set_index("question")
    held = made.set_index(["question", "edit"]).shown
    plan, seen = pocket_plan(EDITED, questions=60), 0
    for call in plan.calls():
        if call.replay is None or call.replay.edit is None:
            continue
        own = authors.loc[call.question.id]
        trace = Trace(own.shown, call.question.id, "careful", id=call.trace, answer=own.answer)
        done, key = plan.show(call, trace), (call.question.id, call.replay.edit)
        assert (key in held.index) == isinstance(done, Trace)
        if key in held.index:
            assert held[key] == done.text
            seen += 1
    assert seen > 300
    assert RECORDING.stat().st_size + EDITS.stat().st_size < 2_000_000


def test_the_control_moves_nothing_and_every_other_edit_does(edited):
    study = ReasoningStudy.from_cells(
        edited, question="question", prompt="prompt", reasoning="reasoning", outcome="p_answer",
        draw="draw", edit="edit", replayed="replayed", levels=("hasty", "careful"),
    )  # fmt: skip
    table = table_of(CARD.read_text(encoding="utf-8"), "Edits")
    for edit in (e.name for e in pocket_edits()[1:]):
        asked = [CARRIED(edit), CARRIED("paraphrase", control=None), TE]
        share, control, total = estimate(study, Replay(), asked)
        assert abs(control.estimate) < 0.005 and total.estimate > 0.25
        assert share.conf_low > 0.9
        cells = [Estimand("c", Y(1, M(1, edit))), Estimand("o", Y(1))]
        changed, own = estimate(study, Replay(), cells)
        made = str((edited.edit == edit).sum())
        told = f"{share.estimate:.2f} [{share.conf_low:.2f}, {share.conf_high:.2f}]"
        assert table[edit] == [made, f"{own.estimate:.3f}", f"{changed.estimate:.3f}", told]


# --- the model itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return PocketReasoner()


def test_the_package_carries_a_small_model():
    assert (WEIGHTS / "model.safetensors").stat().st_size < 3_000_000
    config = json.loads((WEIGHTS / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    training = json.loads((WEIGHTS / "training.json").read_text())
    assert training["parameters"] < 1_000_000
    assert training["habits"] == {k: dataclasses.asdict(v) for k, v in HABITS.items()}


def test_requests_it_cannot_answer_are_refused_without_torch():
    from crossworld.reasoning.pocket.writing import Writing

    tokenizer = CharacterTokenizer.of_alphabet()
    asked = Request("q", "hasty", "hasty: 3+8\n", cue=CUE, choices=CHOICES)
    for change, error, said in (
        ({"shown": "3+8=1\n" * 50}, EstimationError, "reads 256 characters"),
        ({"choices": ("10", "11")}, DesignError, "single characters"),
        ({"temperature": -1.0}, DesignError, "temperature"),
        ({"prompt": "Add 3 and 8\n"}, DesignError, "not 'A'"),
    ):
        with pytest.raises(error, match=said):
            Writing(dataclasses.replace(asked, **change), tokenizer, limit=256, seed=0)


@with_torch
@pytest.mark.parametrize("study", ["hasty-careful", "hint-hasty", "edits-careful"])
def test_the_model_says_again_what_was_recorded(study, model):
    plan, held = pocket_plan(study, questions=2), pocket_recording(study)
    key = ["question", "wording", "prompt", "reasoning", "edit", "draw", "replayed"]
    by_key = held.fillna({"edit": ""}).set_index(key)
    traces, seen, skipped = {}, 0, 0
    for call in plan.calls():
        told = plan.show(call, traces[call.trace]) if call.replay else None
        if isinstance(told, NotApplicable):
            skipped += 1
            continue
        shown = None if told is None else told.text
        identity = plan.identity(call, model.name, mode="continuation")
        done = asyncio.run(model.complete(plan.request(call, shown)))
        if shown is None:
            arm, question = call.template.arm, call.question.id
            traces[call.trace] = Trace(
                done.reasoning, question, arm, id=call.trace, answer=done.answer
            )
        row = by_key.loc[tuple(identity[name] or "" if name == "edit" else identity[name]
                               for name in key)]  # fmt: skip
        assert (done.reasoning, done.answer) == (row.shown, row.answer)
        assert (done.tokens_in, done.tokens_out) == (row.tokens_in, row.tokens_out)
        assert sum(done.probabilities.values()) == pytest.approx(1, abs=1e-12)
        found = np.array([done.probabilities[digit] for digit in CHOICES])
        assert found == pytest.approx(row[PROBABILITIES].to_numpy(float), abs=2e-5)
        seen += 1
    assert seen + skipped == plan.size


@pytest.mark.skipif(LOCAL, reason="the local extra is installed")
def test_without_torch_the_extra_is_named():
    asked = Request("q", "hasty", "hasty: 3+8\n", cue=CUE)
    with pytest.raises(MissingExtraError, match=re.escape("crossworld[local]")):
        PocketReasoner().complete_many([asked])


@with_torch
def test_draws_are_draws_and_order_does_not_matter(model):
    question = pocket_questions(4)[3]
    prompt = pocket_prompt(question, "hasty")
    asked = [Request("q", "hasty", prompt, cue=CUE, draw=k, max_tokens=64) for k in range(24)]
    done = model.complete_many(asked)
    assert len({it.text for it in done}) > 5
    again = model.complete_many(asked[::-1])[::-1]
    assert [it.text for it in again] == [it.text for it in done]
    other = dataclasses.replace(model, seed=1).complete_many(asked)
    assert [it.text for it in other] != [it.text for it in done]


@with_torch
def test_shares_of_answers_are_the_probabilities(model):
    question = pocket_questions(4)[3]
    asked = Request("q", "hasty", pocket_prompt(question, "hasty"), "", CUE, CHOICES)
    done = model.complete_many([dataclasses.replace(asked, draw=k) for k in range(2000)])
    law = np.array(list(done[0].probabilities.values()))
    shares = np.bincount([int(it.answer) for it in done], minlength=10) / len(done)
    assert (np.abs(shares - law) < 4.5 * np.sqrt(law * (1 - law) / len(done)) + 1e-9).all()
    greedy = model.complete_many([dataclasses.replace(asked, temperature=0.0)])[0]
    assert greedy.answer == CHOICES[law.argmax()]


@with_torch
def test_the_folder_is_a_transformers_model(model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS, local_files_only=True)
    text = pocket_prompt(pocket_questions(1)[0], "careful-hint") + "3+6=9" + CUE
    assert tokenizer(text)["input_ids"] == CharacterTokenizer.of_alphabet().encode(text)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
