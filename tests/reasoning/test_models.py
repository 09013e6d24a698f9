"""Language models: the simulated one against enumeration, local weights, inspect_ai, a log."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.collect import collect_now
from crossworld.reasoning.models.inspect import completion_of, modes_of
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.models.recorded import RecordedModel
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.models.sums import EDITS
from crossworld.reasoning.models.transformers import gumbel_argmax
from crossworld.reasoning.plan import Plan, Question, Template, four_cells

HAS_INSPECT = importlib.util.find_spec("inspect_ai") is not None
HAS_TORCH = all(importlib.util.find_spec(n) is not None for n in ("torch", "transformers"))
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KNOWN = (None, *EDITS, "drop 2")

RICH = SimulatedReasoner(
    direct=0.12,
    contributions=(0.05, 0.2, 0.15),
    interaction=-0.4,
    slip=0.15,
    leak=(0.2, 0.6),
    copy=0.8,
    noise=0.1,
    drift=0.04,
)


def enumerated(model: SimulatedReasoner, a: int, b: int, edit: str | None, q: str) -> float:
    """A cell for one question, summed over every trace as text that the model reads."""
    asked, total = model.question(q), 0.0
    p = model.sound[b] - model.slip * model.hardness(asked.level)
    for sound in itertools.product((False, True), repeat=3):
        weight = np.prod([p if s else 1 - p for s in sound])
        right = model.chance(model.hardness(asked.level), b, sound)
        stated = [
            (None, 1 - model.leak[b]),
            (asked.gold, model.leak[b] * right),
            (asked.gold + 1, model.leak[b] * (1 - right)),
        ]
        for conclusion, share in stated:
            text = asked.write(sound, conclusion=conclusion)
            text = text if edit is None else model.edit(text, edit)
            total += weight * share * model.reads(q, a, text=text)
    return total


@pytest.mark.parametrize("edit", KNOWN)
@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_cells_are_what_all_texts_add_up_to(a: int, b: int, edit: str | None) -> None:
    for q in ("x", "y", "z"):
        cell = RICH.cell(a, b, edit=edit, questions=[q], replayed=True)
        assert cell == pytest.approx(enumerated(RICH, a, b, edit, q), abs=1e-12)


def test_the_law_of_questions_is_the_mean_over_difficulties() -> None:
    names = [f"n{i}" for i in range(400)]
    levels = {RICH.question(q).level: q for q in names}
    assert len(levels) == RICH.levels
    each = [RICH.cell(1, 0, questions=[q]) for q in levels.values()]
    assert RICH.cell(1, 0) == pytest.approx(np.mean(each), abs=1e-12)
    assert max(each) - min(each) > 0.1  # difficulty matters, and in the right direction
    easiest, hardest = levels[0], levels[RICH.levels - 1]
    assert RICH.cell(1, 1, questions=[easiest]) > RICH.cell(1, 1, questions=[hardest])


def test_the_table_has_the_law_of_the_cells() -> None:
    model = replace(RICH, unparsable=0.05)
    cells = [(a, b, e) for a in (0, 1) for b in (0, 1) for e in KNOWN]
    table = model.table(6000, 2, seed=5, cells=cells)
    for a, b, edit in cells:
        here = (table["prompt"] == model.arms[a]) & (table["reasoning"] == model.arms[b])
        here &= (table["edit"] == edit) & (table["replayed"] == 1)
        by_question = table["correct"][here].reshape(6000, -1).mean(axis=1)
        error = by_question.std() / np.sqrt(6000)
        truth = model.cell(a, b, edit=edit, replayed=True)
        assert abs(by_question.mean() - truth) < 4.5 * error
    natural = table["replayed"] == 0
    assert table["correct"][natural & (table["prompt"] == "1")].mean() == pytest.approx(
        model.cell(1, 1), abs=0.02
    )
    worked_out = 1 - model.leak[1] * model.copy  # drift acts where no stated answer is copied
    floor = model.cell(1, 1, replayed=True) - model.cell(1, 1)
    assert floor == pytest.approx(0.04 * 0.9 * 0.95 * worked_out)


def test_cells_are_exact_when_answers_leak_and_replaying_helps() -> None:
    model = SimulatedReasoner(base=0.2, interaction=0.1, slip=0.1, leak=(0.1, 0.5), drift=0.05)
    table = model.table(100_000, 1, seed=5)
    for a, b in ((0, 1), (1, 1)):
        here = (table["prompt"] == model.arms[a]) & (table["reasoning"] == model.arms[b])
        found = table["correct"][here & (table["replayed"] == 1)].mean()
        assert abs(found - model.cell(a, b, replayed=True)) < 4 * 0.5 / np.sqrt(100_000)


def test_asking_has_the_law_of_the_cells() -> None:
    model = replace(RICH, leak=(0.3, 0.3))
    questions = [f"q{i}" for i in range(300)]

    async def crossed() -> tuple[list[float], list[float]]:
        right, exact = [], []
        for q, draw in itertools.product(questions, range(6)):
            own = await model.complete(Request(q, "0", "", cue="\nAnswer:", draw=draw))
            shown = Request(q, "1", "", shown=own.reasoning, cue="\nAnswer:", draw=draw)
            told = await model.complete(shown)
            gold = str(model.question(q).gold)
            right.append(told.answer == gold)
            choices = (gold, "-1", "-2")
            law = (await model.complete(replace(shown, choices=choices))).probabilities
            assert law is not None and sum(law.values()) == pytest.approx(1)
            exact.append(law[gold])
        return right, exact

    right, exact = asyncio.run(crossed())
    truth = model.cell(1, 0, questions=questions, replayed=True)
    assert abs(np.mean(right) - truth) < 4.5 * 0.5 / np.sqrt(len(right))
    assert abs(np.mean(exact) - truth) < 4.5 * np.std(exact) / np.sqrt(len(exact))
    assert abs(truth - model.cell(1, 1, replayed=True)) > 0.05


def test_a_step_is_worth_its_contribution() -> None:
    model = replace(RICH, leak=(0.0, 0.0), noise=0.0)
    asked = model.question("q")
    with_step = model.reads("q", 1, text=asked.write([True, True, False]))
    without = model.reads("q", 1, text=asked.write([True, False, False]))
    assert with_step - without == pytest.approx(model.contribution(2, 1))
    assert model.contribution(2, 1) == pytest.approx(0.6 * 0.2)
    assert model.contribution(2, 0) == pytest.approx(0.2)


def test_reasoning_is_continued_from_its_prefix() -> None:
    asked = RICH.question("q")
    prefix = asked.write([True, False, True]).split("\n")[0]
    told = asyncio.run(RICH.complete(Request("q", "1", "", shown=prefix)))
    assert "Step 1" not in told.reasoning
    assert "Step 2" in told.reasoning and "Step 3" in told.reasoning
    assert told.answer is not None


def test_answers_depend_on_the_draw_and_on_nothing_else() -> None:
    ask = Request("q", "1", "any prompt", cue="\nAnswer:")

    async def texts() -> list[str]:
        return [(await RICH.complete(replace(ask, draw=d))).text for d in (*range(8), 0)]

    first, again = asyncio.run(texts()), asyncio.run(texts())
    assert first == again and first[0] == first[-1]
    assert len(set(first)) > 3


def test_the_carried_share_is_what_was_planted() -> None:
    # delete takes away 0.7 of the effect: sum(c) p1 = 0.28, TE = 0.4
    model = SimulatedReasoner(direct=0.12 + 0.28 * 0, contributions=(0.28,), sound=(0.0, 1.0))
    assert model.cell(1, 1) - model.cell(0, 0) == pytest.approx(0.4)
    assert model.carried_share() == pytest.approx(0.7)
    assert model.cell(1, 1, edit="paraphrase") == model.cell(1, 1)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"base": 0.9}, "outside"),
        ({"sound": (0.2, 1.2)}, "outside"),
        ({"arms": ("a", "a")}, "arms"),
    ],
)
def test_impossible_reasoners_are_refused(fields: dict, word: str) -> None:
    with pytest.raises(SpecError, match=word):
        SimulatedReasoner(**fields)


def test_gumbel_draws_have_the_law_of_the_softmax() -> None:
    law = np.array([0.1, 0.2, 0.7])
    rng = np.random.default_rng(1)
    drawn = np.bincount([gumbel_argmax(np.log(law) - 3, 1.0, rng) for _ in range(4000)])
    assert np.abs(drawn / 4000 - law).max() < 0.03
    hot = law**2 / (law**2).sum()
    drawn = np.bincount([gumbel_argmax(np.log(law), 0.5, rng) for _ in range(4000)])
    assert np.abs(drawn / 4000 - hot).max() < 0.03


def test_a_recording_answers_like_the_model(tmp_path: Path) -> None:
    asked = tuple(Question(f"q{i}", answer=str(RICH.question(f"q{i}").gold)) for i in range(5))
    arms = (Template("0", "{id}"), Template("1", "{id}!"))
    plan = Plan(asked, arms, four_cells("0", "1"), traces=2, readouts=2)
    live = collect_now(plan, RICH, log=tmp_path / "a.jsonl")
    model = RecordedModel.from_log(tmp_path / "a.jsonl")
    again = collect_now(plan, model, log=tmp_path / "b.jsonl")
    assert live.made == again.made == plan.size == 5 * 2 * 2 + 4 * 5 * 2 * 2
    lines = [sorted((tmp_path / f).read_text().splitlines()) for f in ("a.jsonl", "b.jsonl")]
    assert lines[0] == lines[1]
    with pytest.raises(DesignError, match="draw 7"):
        asyncio.run(model.complete(Request("q0", "0", "q0", draw=7)))


needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch or transformers is not here")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of two layers with a character tokenizer, made here."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<eos>", *"abcdefghij 0123456789:\nAnswer?+=."]
    vocabulary = {c: i for i, c in enumerate(dict.fromkeys(letters))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    folder = tmp_path_factory.mktemp("tiny")
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=96, eos_token_id=0, bos_token_id=0,
        pad_token_id=0, initializer_range=0.4,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@needs_torch
def test_choice_probabilities_are_exact(tiny: Path) -> None:
    import torch

    from crossworld.reasoning.models.transformers import TransformersModel

    model = TransformersModel(tiny)
    loaded, tokenizer = model._load()
    ask = Request("q", "a", "2+3?", shown="ab", cue="\nAnswer:", choices=("5", "12"))
    told = asyncio.run(model.complete(ask))
    scores = []
    for choice in ask.choices:  # the chain rule, one token and one forward pass at a time
        ids, total = tokenizer("2+3?ab\nAnswer:")["input_ids"], 0.0
        for token in tokenizer(f" {choice}")["input_ids"]:
            with torch.inference_mode():
                logits = loaded(input_ids=torch.tensor([ids])).logits[0, -1].double()
            total += float(logits[token] - torch.logsumexp(logits, 0))
            ids = [*ids, token]
        scores.append(total)
    law = np.exp(scores) / np.exp(scores).sum()
    assert list(told.probabilities.values()) == pytest.approx(law.tolist(), abs=1e-6)
    draws = [asyncio.run(model.complete(replace(ask, draw=d))).answer for d in range(300)]
    assert np.mean([a == "5" for a in draws]) == pytest.approx(law[0], abs=0.1)


@needs_torch
def test_two_arms_share_their_noise_and_draws_do_not(tiny: Path) -> None:
    from crossworld.reasoning.models.transformers import TransformersModel

    model = TransformersModel(tiny)

    def write(arm: str, draw: int, prompt: str = "ab", heat: float = 1.0) -> str:
        ask = Request("q", arm, prompt, draw=draw, max_tokens=12, temperature=heat)
        return asyncio.run(model.complete(ask)).text

    assert write("a", 0) == write("b", 0)
    assert len({write("a", d) for d in range(6)}) > 3
    assert write("a", 0, heat=0.0) == write("a", 1, heat=0.0)
    pairs = [
        (write("a", d, "ab"), write("b", d, "ac"), write("b", d + 50, "ac")) for d in range(40)
    ]
    shared = np.mean([x[:1] == y[:1] for x, y, _ in pairs])
    apart = np.mean([x[:1] == z[:1] for x, _, z in pairs])
    assert shared > apart


@needs_torch
def test_what_does_not_fit_a_local_model_is_refused(tiny: Path) -> None:
    from crossworld.reasoning.models.transformers import TransformersModel

    with pytest.raises(DesignError, match="200 characters does not fit the model's limit of 96"):
        asyncio.run(TransformersModel(tiny).complete(Request("q", "a", "a" * 200)))
    with pytest.raises(DesignError, match="safetensors"):
        TransformersModel(tiny.parent)


def test_replay_modes_are_declared_by_provider() -> None:
    assert modes_of("vllm-completions/m") == {"continuation"}
    assert "final-message" in modes_of("openai-api/local/m")
    assert "prefill" in modes_of("anthropic/claude-3-5-sonnet-latest")
    assert "prefill" in modes_of("anthropic/claude-sonnet-4-20250514")
    for model in ("anthropic/claude-sonnet-4-6", "anthropic/claude-opus-5", "openai/gpt-5"):
        assert modes_of(model) == {"user-turn"}


needs_inspect = pytest.mark.skipif(not HAS_INSPECT, reason="inspect_ai is not here")


def told_by(content: Any, tokens: Sequence[tuple[str, float]] = (), thought: int = 0) -> Any:
    """What inspect_ai returns, as far as it is read."""
    top = [SimpleNamespace(token=t, logprob=np.log(p)) for t, p in tokens]
    logprobs = SimpleNamespace(content=[SimpleNamespace(top_logprobs=top)])
    message = SimpleNamespace(content=content)
    usage = SimpleNamespace(input_tokens=4, output_tokens=60, reasoning_tokens=thought)
    return SimpleNamespace(
        choices=[SimpleNamespace(message=message, logprobs=logprobs if tokens else None)],
        completion=content,
        usage=usage,
        stop_reason="stop",
        model="m-1",
    )


def test_a_choice_that_was_not_reported_is_not_a_zero() -> None:
    ask = Request("q", "a", "x", shown="", cue="Answer:", choices=("A", "B"))
    seen = told_by(" A", [(" A", 0.5), ("A", 0.1), (" B", 0.2), ("C", 0.1)])
    told = completion_of(seen, ask)
    assert told.answer == "A" and told.probabilities == pytest.approx({"A": 0.75, "B": 0.25})
    assert completion_of(told_by(" A", [(" A", 0.9)]), ask).probabilities is None
    assert completion_of(told_by(" A"), ask).probabilities is None


def test_reasoning_that_is_charged_for_and_not_shown_is_hidden() -> None:
    ask = Request("q", "a", "x", cue="\nAnswer:")
    assert completion_of(told_by("Answer: 5", thought=50), ask).hidden
    plain = completion_of(told_by("2+3=5\nAnswer: 5"), ask)
    assert not plain.hidden and (plain.reasoning, plain.answer) == ("2+3=5", "5")


def counted(output: Any) -> Any:
    """Fill in the usage, which the mock model would else count with a table it downloads."""
    from inspect_ai.model import ModelUsage

    output.usage = ModelUsage(input_tokens=3, output_tokens=2, total_tokens=5)
    return output


@needs_inspect
def test_inspect_refuses_a_mode_it_cannot_do() -> None:
    from crossworld.reasoning.models.inspect import InspectModel

    with pytest.raises(DesignError, match=r"cannot replay.*'prefill'.*user-turn"):
        InspectModel("openai/gpt-5", "prefill")


@needs_inspect
@pytest.mark.parametrize("mode", ["continuation", "final-message", "prefill", "user-turn"])
def test_inspect_puts_the_reasoning_where_the_mode_says(mode: str) -> None:
    from inspect_ai.model import ModelOutput

    from crossworld.reasoning.models.inspect import InspectModel

    seen = []

    def answer(input: list, tools: object, tool_choice: object, config: object) -> ModelOutput:
        seen.append(([(m.role, m.text) for m in input], config))
        return counted(ModelOutput.from_content("mock", " 5.\nmore"))

    model = InspectModel("mockllm/model", mode, options={"custom_outputs": answer})
    ask = Request("q", "a", "2+3?", shown="2+3=5", cue="\nAnswer:", max_tokens=9, temperature=0.3)
    told = asyncio.run(model.complete(ask))
    (messages, config), where = (
        seen[0],
        {
            "continuation": [("user", "2+3?2+3=5\nAnswer:")],
            "final-message": [("user", "2+3?"), ("assistant", "2+3=5\nAnswer:")],
            "prefill": [("user", "2+3?"), ("assistant", "2+3=5\nAnswer:")],
        },
    )
    if mode == "user-turn":
        assert messages[0][1].startswith("2+3?") and "<reasoning>\n2+3=5\n</" in messages[0][1]
    else:
        assert messages == where[mode]
    assert (config.max_tokens, config.temperature) == (9, 0.3)
    assert bool(config.extra_body) == (mode == "final-message")
    assert told.answer == "5" and not told.hidden


@needs_inspect
@pytest.mark.parametrize(("signature", "redacted"), [("abc", False), (None, True), (None, False)])
def test_hidden_reasoning_refuses_an_indirect_effect(
    signature: str | None, redacted: bool, tmp_path: Path
) -> None:
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ContentReasoning,
        ContentText,
        ModelOutput,
    )

    from crossworld.errors import NotIdentifiedError
    from crossworld.reasoning.models.inspect import InspectModel

    def answer(*_: object) -> ModelOutput:
        thought = ContentReasoning(reasoning="2+3=5", signature=signature, redacted=redacted)
        said = ChatMessageAssistant(content=[thought, ContentText(text="Answer: 5")])
        return counted(ModelOutput(model="m", choices=[ChatCompletionChoice(message=said)]))

    model = InspectModel("mockllm/model", "prefill", options={"custom_outputs": answer})
    arms = (Template("a", "{question}"), Template("b", "{question}"))
    plan = Plan((Question("q", "2+3?", "5"),), arms, four_cells("a", "b"))
    if signature is None and not redacted:
        assert collect_now(plan, model, log=tmp_path / "a.jsonl").complete
        return
    with pytest.raises(NotIdentifiedError, match="hidden or signed") as error:
        collect_now(plan, model, log=tmp_path / "a.jsonl")
    assert error.value.exit_code == 3
    assert collect_now(replace(plan, cells=()), model, log=tmp_path / "b.jsonl").complete


@needs_inspect
def test_the_draw_is_in_the_cache_of_inspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path))
    from inspect_ai.model import ModelOutput

    from crossworld.reasoning.models.inspect import InspectModel

    count = itertools.count()

    def answer(*_: object) -> ModelOutput:
        return counted(ModelOutput.from_content("mock", f"Answer: {next(count)}"))

    options = {"custom_outputs": answer}
    model = InspectModel("mockllm/model", "prefill", options=options, cache=True)

    async def ask(draw: int) -> Completion:
        return await model.complete(Request("q", "a", "x", cue="\nAnswer:", draw=draw))

    told = [asyncio.run(ask(d)).answer for d in (0, 1, 2, 0, 1, 2)]
    assert len(set(told[:3])) == 3 and told[3:] == told[:3]
