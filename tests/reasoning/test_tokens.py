"""Token effects of the pocket reasoner, against loops, finite differences and attention by hand."""

from __future__ import annotations

import asyncio
import importlib.util
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crossworld import Multiplier, Wald
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.pocket import CHOICES, CUE, PocketReasoner
from crossworld.reasoning.pocket.model import WEIGHTS
from crossworld.reasoning.steps import TokenPlan, token_effects, token_readouts

HAS_TORCH = all(importlib.util.find_spec(m) for m in ("torch", "transformers"))
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch or transformers is not here")
PROMPT, SHOWN = "careful: 3+8+5\n", "3+8=1\n1+5=6"
ASK = Request("q", "careful", PROMPT, shown=SHOWN, cue=CUE, choices=CHOICES, max_tokens=40)
TARGET = {"q": "6"}
POCKET = PocketReasoner()


@pytest.fixture(scope="module")
def model() -> Any:
    from crossworld.reasoning.models.transformers import TransformersModel

    return TransformersModel(WEIGHTS, lead="")


def right(shown: str, heat: float = 1.0) -> float:
    """Probability of the target after a text, asked of the pocket reasoner in words."""
    asked = replace(ASK, shown=shown, temperature=heat)
    law = asyncio.run(POCKET.complete(asked)).probabilities
    assert law is not None
    return law["6"]


def rows(table: dict[str, list[Any]], **where: Any) -> list[dict[str, Any]]:
    listed = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return [r for r in listed if all(r[k] == v for k, v in where.items())]


@needs_torch
def test_all_other_tokens_with_their_probability_are_what_a_loop_finds(model: Any) -> None:
    import torch

    loaded, tokenizer = model.parts()
    table = token_readouts(model, [ASK], targets=TARGET, plan=TokenPlan(draws=None))
    for k in (0, 2, 4, 10):
        before = tokenizer(PROMPT + SHOWN[:k])["input_ids"]
        with torch.inference_mode():
            law = loaded(input_ids=torch.tensor([before])).logits[0, -1].double().softmax(0)
        total = weight = 0.0
        for letter, code in tokenizer.get_vocab().items():
            if letter == SHOWN[k] or code in tokenizer.all_special_ids:
                continue
            total += float(law[code]) * right(SHOWN[:k] + letter + SHOWN[k + 1 :])
            weight += float(law[code])
        (found,) = rows(table, edit="replace", position=k)
        assert found["p_target"] == pytest.approx(total / weight, abs=1e-5)
        assert found["text"] == SHOWN[k] and found["from_end"] == len(SHOWN) - 1 - k
    (whole,) = rows(table, edit="whole", position=-1)
    (empty,) = rows(table, edit="empty")
    assert whole["p_target"] == pytest.approx(right(SHOWN), abs=1e-6)
    assert empty["p_target"] == pytest.approx(right(""), abs=1e-6)
    assert len(rows(table, edit="replace")) == len(SHOWN)


@needs_torch
def test_drawn_replacements_have_the_mean_of_all_of_them(model: Any) -> None:
    exact = token_readouts(model, [ASK], targets=TARGET, plan=TokenPlan(draws=None))
    drawn = token_readouts(model, [ASK], targets=TARGET, plan=TokenPlan(draws=150))
    for k in (4, 10):
        values = [r["p_target"] for r in rows(drawn, edit="replace", position=k)]
        (mean,) = rows(exact, edit="replace", position=k)
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert abs(np.mean(values) - mean["p_target"]) < 4.0 * error
        held = rows(drawn, edit="replace", position=k)
        assert all(r["written"] != SHOWN[k] and r["log_probability"] < 0.0 for r in held)
    (last,) = rows(exact, edit="replace", position=10)
    assert right(SHOWN) - last["p_target"] > 0.3


@needs_torch
def test_removing_and_covering_are_edits_of_the_text(model: Any) -> None:
    plan = TokenPlan(edits=("remove", "occlude"), filler="x")
    table = token_readouts(model, [ASK], targets=TARGET, plan=plan)
    for k in range(len(SHOWN)):
        (gone,) = rows(table, edit="remove", position=k)
        (covered,) = rows(table, edit="occlude", position=k)
        assert gone["p_target"] == pytest.approx(right(SHOWN[:k] + SHOWN[k + 1 :]), abs=1e-5)
        assert covered["p_target"] == pytest.approx(
            right(SHOWN[:k] + "x" + SHOWN[k + 1 :]), abs=1e-5
        )
    plan = TokenPlan(edits=("remove",), unit="step")
    steps = token_readouts(model, [replace(ASK, shown="3+8=1\n1+5=6\n")], targets=TARGET, plan=plan)
    texts = [r["text"] for r in rows(steps, edit="remove")]
    assert "".join(texts) == "3+8=1\n1+5=6\n"


@needs_torch
def test_what_is_resampled_is_what_the_model_writes_on(model: Any) -> None:
    greedy = replace(ASK, temperature=0.0)
    plan = TokenPlan(edits=("resample",), draws=1)
    table = token_readouts(model, [greedy], targets=TARGET, plan=plan)
    loaded, tokenizer = model.parts()
    import torch

    for k in (0, 4, 8):
        ids = tokenizer(PROMPT + SHOWN[:k])["input_ids"]
        with torch.no_grad():
            logits = loaded(input_ids=torch.tensor([ids])).logits[0, -1]
        own = tokenizer(SHOWN[k])["input_ids"][0]
        logits[[own, *tokenizer.all_special_ids]] = -torch.inf
        other = tokenizer.decode([int(logits.argmax())])
        begun = replace(ASK, prompt=PROMPT + SHOWN[:k] + other, shown=None, temperature=0.0)
        written = SHOWN[:k] + other + asyncio.run(POCKET.complete(begun)).text
        (found,) = rows(table, edit="resample", position=k)
        assert found["written"] == other
        assert found["p_target"] == pytest.approx(right(written.partition(CUE)[0]), abs=1e-5)


@needs_torch
def test_a_resampled_step_is_another_step(model: Any) -> None:
    plan = TokenPlan(edits=("resample",), unit="step", draws=6)
    table = token_readouts(model, [ASK], targets=TARGET, plan=plan)
    for row in rows(table, edit="resample"):
        assert row["written"].strip() != row["text"].strip()


@needs_torch
def test_gradients_are_finite_differences(model: Any) -> None:
    import torch

    table = token_readouts(model, [ASK], targets=TARGET, plan=TokenPlan(edits=("remove",)))
    loaded, tokenizer = model.parts()
    ids = tokenizer(PROMPT + SHOWN + CUE)["input_ids"]
    codes = [tokenizer(c)["input_ids"][0] for c in CHOICES]
    embedded = loaded.get_input_embeddings()(torch.tensor([ids])).detach().double()
    double = loaded.double()
    try:

        def score(inputs: Any) -> float:
            with torch.inference_mode():
                logits = double(inputs_embeds=inputs).logits[0, -1]
            return float(torch.log_softmax(logits[codes], 0)[6])

        for k in (4, 10):
            at, h = len(PROMPT) + k, 4e-3
            moved = [embedded.clone(), embedded.clone()]
            for sign, held in zip((1, -1), moved, strict=True):
                held[0, at] *= 1.0 + sign * h
            along = (score(moved[0]) - score(moved[1])) / (2 * h)
            parts = []
            for j in range(embedded.shape[2]):
                moved = [embedded.clone(), embedded.clone()]
                moved[0][0, at, j] += h
                moved[1][0, at, j] -= h
                parts.append((score(moved[0]) - score(moved[1])) / (2 * h))
            (found,) = rows(table, edit="whole", position=k)
            assert found["grad_input"] == pytest.approx(along, rel=0.03, abs=2e-3)
            assert found["gradient"] == pytest.approx(np.linalg.norm(parts), rel=0.03)
    finally:
        loaded.float()


@needs_torch
def test_attention_is_what_queries_and_keys_give_by_hand(model: Any) -> None:
    import torch

    table = token_readouts(model, [ASK], targets=TARGET, plan=TokenPlan(edits=("remove",)))
    loaded, tokenizer = model.parts()
    ids = tokenizer(PROMPT + SHOWN + CUE)["input_ids"]
    states = []
    hooks = [
        layer.input_layernorm.register_forward_hook(lambda _m, _i, out: states.append(out[0]))
        for layer in loaded.model.layers
    ]
    with torch.inference_mode():
        loaded(input_ids=torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    heads, width = 4, 24
    turn = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angle = torch.outer(torch.arange(len(ids)), turn)
    cos, sin = torch.cat([angle.cos()] * 2, 1), torch.cat([angle.sin()] * 2, 1)

    def turned(x: Any) -> Any:
        half = torch.cat([-x[..., width // 2 :], x[..., : width // 2]], -1)
        return x * cos + half * sin

    weights = []
    for layer, state in zip(loaded.model.layers, states, strict=True):
        with torch.inference_mode():
            q = layer.self_attn.q_proj(state).view(-1, heads, width).transpose(0, 1)
            k = layer.self_attn.k_proj(state).view(-1, heads, width).transpose(0, 1)
            weights.append((turned(q)[:, -1:] @ turned(k).mT / width**0.5).softmax(-1)[:, 0])
    expected = torch.stack(weights).mean((0, 1))
    for k in range(len(SHOWN)):
        (found,) = rows(table, edit="whole", position=k)
        assert found["attention"] == pytest.approx(float(expected[len(PROMPT) + k]), abs=1e-6)
    assert loaded.config._attn_implementation != "eager"


@needs_torch
def test_tokens_of_several_letters_are_found_in_the_text(tmp_path: Any) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from crossworld.reasoning.models.transformers import TransformersModel

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    texts = ["so the sum is ten. then ten and two is twelve. answer: twelve"] * 4
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<eos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>").save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=core.get_vocab_size(), hidden_size=16, intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=128,
        eos_token_id=0, bos_token_id=0, pad_token_id=0, initializer_range=0.4,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    local = TransformersModel(tmp_path)
    ask = Request("q", "a", "think", shown=" so the sum is ten.", cue=" answer:", max_tokens=20)
    plan = TokenPlan(edits=("remove", "replace", "resample"), draws=2)
    table = token_readouts(local, [ask], targets={"q": "twelve"}, plan=plan)
    whole = [r for r in rows(table, edit="whole") if r["position"] >= 0]
    assert "".join(r["text"] for r in whole) == ask.shown and len(whole) < len(str(ask.shown))
    loaded, tokenizer = local.parts()
    ids = tokenizer("think so the sum is ten. answer:")["input_ids"]
    end = tokenizer(" twelve")["input_ids"]
    first = len(tokenizer("think")["input_ids"])
    for row in rows(table, edit="remove"):
        at = first + row["position"]
        fed, total = [*ids[:at], *ids[at + 1 :]], 0.0
        for token in end:
            with torch.inference_mode():
                law = loaded(input_ids=torch.tensor([fed])).logits[0, -1].double().log_softmax(0)
            total += float(law[token])
            fed = [*fed, token]
        assert row["p_target"] == pytest.approx(math.exp(total), rel=1e-4)


def planted(seed: int, questions: int = 60, positions: int = 24) -> tuple[dict[str, Any], Any]:
    """A table of questions of different lengths with effects that are known."""
    rng = np.random.default_rng(seed)
    truth = np.where(np.arange(positions) % 6 == 3, 0.2, 0.0)
    names = ("question", "trace", "position", "edit", "draw", "p_target")
    naive = ("attention", "gradient", "grad_input")
    table: dict[str, list[Any]] = {n: [] for n in (*names, *naive)}

    def put(*values: Any, scores: tuple[float | None, ...] = (None, None, None)) -> None:
        for name, value in zip(table, (*values, *scores), strict=True):
            table[name].append(value)

    for q in range(questions):
        length = int(rng.integers(positions // 2, positions + 1)) if q else positions
        base = 0.5 + 0.2 * rng.standard_normal()
        put(f"q{q}", q, -1, "whole", 0, base)
        put(f"q{q}", q, -1, "empty", 0, base - 0.4 + 0.1 * rng.standard_normal())
        for i in range(length):
            effect = truth[i] + 0.1 * rng.standard_normal()
            put(f"q{q}", q, i, "whole", 0, base, scores=(abs(effect), 2.0, -effect))
            for draw in range(2):
                noise = 0.05 * rng.standard_normal()
                put(f"q{q}", q, i, "replace", draw, base - effect + noise)
                put(f"q{q}", q, i, "remove", draw, base - 0.5 * effect)
    return table, truth


def test_bands_over_24_tokens_hold_all_at_once_and_shares_too() -> None:
    held = alone = shares = 0
    replicates = 60
    for seed in range(replicates):
        table, truth = planted(seed)
        found = token_effects(table)
        band = found.effects(Multiplier(seed=seed))
        exact = truth[list(found.positions)]
        inside = [r.conf_low <= t <= r.conf_high for r, t in zip(band, exact, strict=True)]  # type: ignore[operator]
        held += all(inside)
        wald = found.effects(Wald())
        alone += all(r.conf_low <= t <= r.conf_high for r, t in zip(wald, exact, strict=True))  # type: ignore[operator]
        carried = found.effects(Multiplier(seed=seed), only="share")
        shares += all(
            r.conf_low <= t / 0.4 <= r.conf_high for r, t in zip(carried, exact, strict=True)
        )  # type: ignore[operator]
    assert held / replicates > 0.85 and shares / replicates > 0.85
    assert alone / replicates < 0.7


def test_rank_correlations_are_those_within_traces() -> None:
    from scipy.stats import spearmanr

    table, _ = planted(3, questions=12)
    found = token_effects(table, edit="remove", fewest=2)
    attention, gradient, product = found.agreement
    assert attention.correlation == pytest.approx(1.0)
    assert gradient.correlation is None and gradient.left_out == 12
    assert product.correlation == pytest.approx(-1.0)
    noisy = token_effects(table, edit="replace", fewest=2).agreement[2]
    each = []
    for q in range(12):
        names = ("question", "position", "edit", "p_target", "grad_input")
        mine = [r for r in zip(*(table[n] for n in names), strict=True) if r[0] == f"q{q}"]
        keep = {
            edit: [(i, p, s) for _, i, k, p, s in mine if k == edit and i >= 0]
            for edit in ("whole", "replace")
        }
        base = {i: (p, s) for i, p, s in keep["whole"]}
        drawn = {i: [p for j, p, _ in keep["replace"] if j == i] for i in base}
        effects = [base[i][0] - np.mean(drawn[i]) for i in base]
        each.append(spearmanr(effects, [base[i][1] for i in base]).statistic)
    half = 2.2009852 * np.std(each, ddof=1) / math.sqrt(12)
    assert noisy.correlation == pytest.approx(np.mean(each))
    assert noisy.conf_high == pytest.approx(min(np.mean(each) + half, 1.0))
    assert noisy.conf_low == pytest.approx(max(np.mean(each) - half, -1.0), abs=1e-9)


def test_two_edits_are_contrasted_on_what_both_have() -> None:
    table, truth = planted(5, questions=80)
    found = token_effects(table, edit="replace - remove")
    off, on = token_effects(table), token_effects(table, edit="remove")
    for row in found.effects(Wald()):
        pair = [t.effects(Wald())[row.term].estimate for t in (off, on)]
        assert row.estimate == pytest.approx(pair[0] - pair[1])
    assert found.effects(Wald())["token(3)"].estimate == pytest.approx(truth[3] / 2, abs=0.05)


def test_one_trace_alone_has_the_spread_of_its_draws() -> None:
    table, _ = planted(6, questions=1)
    found = token_effects(table, unit="rollout", fewest=1).effects(Wald())
    drawn = [
        p
        for i, e, p in zip(table["position"], table["edit"], table["p_target"], strict=True)
        if (i, e) == (4, "replace")
    ]
    base = table["p_target"][0]
    assert found["token(4)"].estimate == pytest.approx(base - np.mean(drawn))
    assert found["token(4)"].std_error == pytest.approx(np.std(drawn, ddof=1) / math.sqrt(2))


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(SpecError, match="unknown edit of tokens 'swap'"):
        TokenPlan(edits=("swap",))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="for one token"):
        TokenPlan(unit="step")
    with pytest.raises(SpecError, match="give draws="):
        TokenPlan(edits=("resample",), draws=None)
    table, _ = planted(1, questions=5)
    with pytest.raises(DesignError, match="lower fewest="):
        token_effects(table)
    with pytest.raises(SpecError, match="unknown edit of the table 'occlude'"):
        token_effects(table, edit="occlude", fewest=2)
    with pytest.raises(DesignError, match="'attention' is not in the table"):
        token_effects({k: v for k, v in table.items() if k != "attention"})


@needs_torch
def test_requests_that_make_no_sense_are_refused(model: Any) -> None:
    with pytest.raises(DesignError, match="no answer to follow for question 'q'"):
        token_readouts(model, [ASK], targets={})
    with pytest.raises(DesignError, match="none of its choices"):
        token_readouts(model, [ASK], targets={"q": "12"})
    with pytest.raises(DesignError, match="shows no reasoning"):
        token_readouts(model, [replace(ASK, shown=None)], targets=TARGET)
    with pytest.raises(DesignError, match="two requests are equal"):
        token_readouts(model, [ASK, ASK], targets=TARGET)
    with pytest.raises(DesignError, match="nothing is cut"):
        token_readouts(model, [replace(ASK, shown="1" * 300)], targets=TARGET)
    table = token_readouts(model, [replace(ASK, shown="")], targets=TARGET)
    assert table["edit"] == ["whole", "empty"] and table["p_target"][0] == table["p_target"][1]
