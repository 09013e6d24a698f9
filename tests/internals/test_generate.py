"""Shared-noise generation: exact without a change, the right law with one."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from crossworld.errors import DesignError, SpecError
from crossworld.internals.generate import Sampling, World, counterfactual, generate, pinned
from crossworld.internals.gumbel import choose, hindsight
from crossworld.internals.inputs import batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(vocabulary: int, kind: str = "gpt2") -> TorchSubject:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shared = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "llama":
        config = transformers.LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.5, **shared,
        )  # fmt: skip
        return TorchSubject(transformers.LlamaForCausalLM(config).eval())
    config = transformers.GPT2Config(
        n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5, **shared
    )
    return TorchSubject(transformers.GPT2LMHeadModel(config).eval())


@pytest.fixture(scope="module")
def push() -> Any:
    torch = pytest.importorskip("torch")
    shift = torch.randn(16, generator=torch.Generator().manual_seed(3))
    return lambda hidden: hidden + 1.5 * shift


def test_hindsight_noise_is_noise_given_the_winner() -> None:
    """Drawing a token and then its noise in hindsight gives independent standard Gumbels."""
    rng = np.random.default_rng(0)
    logits = np.array([0.3, -1.0, 1.2, 0.0])
    prior = [rng.gumbel(size=4) for _ in range(20_000)]
    tokens = [choose(logits, g) for g in prior]
    shares = np.bincount(tokens, minlength=4)
    law = np.exp(logits) / np.exp(logits).sum()
    assert stats.chisquare(shares, 20_000 * law).pvalue > 0.001
    noise = np.stack([hindsight(logits, k, rng) for k in tokens])
    assert [choose(logits, g) for g in noise] == tokens
    for column in noise.T:
        assert stats.kstest(column, "gumbel_r").pvalue > 0.001
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.03
    for k in range(4):  # and given the winner, it is what rejection leaves
        kept = np.stack([g for g, t in zip(prior, tokens, strict=True) if t == k])
        seen = noise[np.array(tokens) == k]
        for j in range(4):
            assert stats.ks_2samp(kept[:, j], seen[:, j]).pvalue > 0.001


def test_impossible_tokens() -> None:
    rng = np.random.default_rng(0)
    logits = np.array([0.0, -np.inf, 1.0])
    assert np.isfinite(hindsight(logits, 2, rng)).all()
    with pytest.raises(DesignError, match="token 1 has probability 0"):
        hindsight(logits, 1, rng)
    with pytest.raises(DesignError, match="there is no token 5"):
        hindsight(logits, 5, rng)


@pytest.mark.parametrize("cache", [False, True])
def test_a_thousand_texts_come_out_as_they_were(cache: bool) -> None:
    subject, world = small(40), World([5, 1, 2])
    options = Sampling(length=5, stop=7, batch=500, cache=cache, seed=1)
    texts = generate(subject, world, count=1000, options=options)
    again = counterfactual(
        subject, world, tokens=texts, instead=world, options=replace(options, seed=2)
    )
    assert int(again.same.sum()) == 1000
    assert np.array_equal(again.tokens, texts)
    ended = (texts == 7).any(axis=1)
    assert 0.02 < ended.mean() < 0.9
    after = np.cumsum(texts == 7, axis=1)[:, :-1] > 0
    assert (texts[:, 1:][after] == -1).all()


def test_texts_of_someone_else_come_out_as_they_were() -> None:
    """Texts the model finds unlikely, of unequal length, at another temperature."""
    subject, rng = small(40), np.random.default_rng(4)
    texts = [rng.integers(40, size=k).tolist() for k in (1, 3, 6, 2, 6)]
    found = counterfactual(
        subject, World([3]), tokens=texts, instead=World([3]),
        options=Sampling(temperature=0.5, batch=2),
    )  # fmt: skip
    assert found.same.all()
    assert found.tokens.shape == (5, 6)


def exact_law(subject: TorchSubject, world: World, vocabulary: int, length: int) -> np.ndarray:
    """Probability of every text, from one run of each."""
    prompt = list(world.prompt)
    write = {Site.parse(k): v for k, v in world.write.items()}
    found = []
    for text in itertools.product(range(vocabulary), repeat=length):
        held = batch([np.array([*prompt, *text])])
        law = subject.run(held, write=write).output[0].double().log_softmax(-1)
        at = len(prompt) - 1
        found.append(sum(float(law[at + t, k]) for t, k in enumerate(text)))
    law = np.exp(found)
    assert law.sum() == pytest.approx(1.0, abs=1e-6)
    return np.asarray(law / law.sum())


def test_under_an_intervention_the_law_is_that_of_direct_sampling(push) -> None:
    subject, vocabulary, length, n = small(4), 4, 3, 4000
    world = World([1, 2])
    instead = World([1, 2], {"layers.0.resid": push})
    options = Sampling(length=length, batch=1000, seed=3)
    before, after = (exact_law(subject, w, vocabulary, length) for w in (world, instead))
    assert np.abs(before - after).sum() > 0.3
    texts = generate(subject, world, count=n, options=options)
    found = counterfactual(subject, world, tokens=texts, instead=instead, options=options)
    direct = generate(subject, instead, count=n, options=replace(options, seed=9))
    places = vocabulary ** np.arange(length - 1, -1, -1)
    counts = {
        name: np.bincount(t @ places, minlength=vocabulary**length)
        for name, t in (("factual", texts), ("other", found.tokens), ("direct", direct))
    }
    assert stats.chisquare(counts["factual"], n * before).pvalue > 0.001
    assert stats.chisquare(counts["other"], n * after).pvalue > 0.001
    assert stats.chisquare(counts["direct"], n * after).pvalue > 0.001
    assert stats.chisquare(counts["factual"], n * after).pvalue < 1e-10
    together = stats.chi2_contingency(np.stack([counts["other"], counts["direct"]]) + 1)
    assert together.pvalue > 0.001
    # the noise is shared: far more texts stay the same than by chance
    assert found.same.mean() > (texts == direct).all(axis=1).mean() + 0.2


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_cache_changes_nothing(kind: str, push) -> None:
    subject = small(30, kind)
    write = {"layers.0.resid": push, "layers.1.mlp @ 1": lambda h: 0.0 * h,
             "layers.1.heads.1.q @ -1": lambda h: 2.0 * h}  # fmt: skip
    world = World([4, 9, 2], write)
    one, two = (
        generate(subject, world, count=40, options=Sampling(length=6, cache=c, seed=5))
        for c in (False, True)
    )
    assert np.array_equal(one, two)


def test_positions_stay_where_they_are_in_the_prompt() -> None:
    """A write at ``@ -1`` acts on the last prompt token in every step, not on the newest."""
    torch = pytest.importorskip("torch")
    subject = small(30)
    seen = []

    def watch(hidden: Any) -> Any:
        seen.append(hidden.shape)
        return torch.zeros_like(hidden)

    world = World([4, 9, 2], {"layers.0.resid @ -1": watch, "layers.1.mlp @ tail": watch},
                  {"tail": (1, 3)})  # fmt: skip
    fixed, always = pinned(world, np.array([4, 9, 2]))
    assert [str(s) for s in fixed] == ["layers.0.resid @ 2", "layers.1.mlp @ 1:3"]
    assert not always
    texts = generate(subject, world, count=1, options=Sampling(length=3, seed=0))
    assert seen == [(1, 1, 16), (1, 2, 16)] * 3
    held = batch([np.array([4, 9, 2, *texts[0, :2]])])
    write = {Site.parse("layers.0.resid @ 2"): torch.zeros_like,
             Site.parse("layers.1.mlp @ 1:3"): torch.zeros_like}  # fmt: skip
    logits = subject.run(held, write=write).output[0, -1].double().numpy()
    rng = np.random.default_rng(np.random.SeedSequence((0, 0, 0)))
    noise = [rng.gumbel(size=30) for _ in range(3)][-1]
    assert choose(logits, noise) == texts[0, 2]


def test_effects_of_the_other_world(push) -> None:
    subject, world = small(30), World([1, 2])
    options = Sampling(length=5, seed=1)
    texts = generate(subject, world, count=60, options=options)
    found = counterfactual(
        subject, world, tokens=texts, instead=World([1, 3], {"layers.1.resid": push}),
        options=options, cluster=[i // 2 for i in range(60)],
    )  # fmt: skip
    table = found.effects(lambda text: float(np.mean(text)))
    assert table["changed"].estimate == pytest.approx(1.0 - found.same.mean())
    difference = found.tokens.mean(axis=1) - texts.mean(axis=1)
    assert table["difference"].estimate == pytest.approx(difference.mean())
    assert table.diagnostics["n_clusters"] == 30


def test_what_it_refuses(push) -> None:
    subject = small(30)
    with pytest.raises(SpecError, match="temperature is above 0"):
        Sampling(temperature=0.0)
    with pytest.raises(DesignError, match="one list of token ids"):
        generate(subject, World([[1, 2]]))
    pattern = {"layers.0.heads.0.pattern": lambda w: w}
    with pytest.raises(DesignError, match="leave out cache=True"):
        generate(subject, World([1], pattern), options=Sampling(cache=True))
    with pytest.raises(DesignError, match="there is no position 4"):
        generate(subject, World([1, 2], {"layers.0.resid @ 4": push}))
    with pytest.raises(DesignError, match="there is no token 99"):
        counterfactual(subject, World([1]), tokens=[[99]], instead=World([1]))
