"""Heads, attention and MLPs are what sites say in networks that lay them out in their own ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld import M, Y
from crossworld.errors import DesignError
from crossworld.internals.inputs import batch
from crossworld.internals.site import Site
from tests.internals.zoo import COMMON, rows, tf, tokens, torch

pytestmark = pytest.mark.filterwarnings("ignore:only .* clusters")
PLAIN = {k: v for k, v in COMMON.items() if k != "num_key_value_heads"}
OLD = {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
       "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
SIDED = {"vocab_size": 97, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
         "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
         "decoder_ffn_dim": 64, "max_position_embeddings": 64}  # fmt: skip
FALCON = {**PLAIN, "alibi": False, "bias": True}
OPT = {k: v for k, v in PLAIN.items() if k != "intermediate_size"}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "falcon-7b": ("Falcon", "ForCausalLM", {**FALCON, "multi_query": True}),
    "falcon-40b": ("Falcon", "ForCausalLM", {**FALCON, "new_decoder_architecture": True,
                                             "num_kv_heads": 2}),
    "falcon-rw": ("Falcon", "ForCausalLM", {**FALCON, "multi_query": False,
                                            "parallel_attn": False}),
    "bigcode": ("GPTBigCode", "ForCausalLM", {**OLD, "multi_query": True}),
    "bigcode-mha": ("GPTBigCode", "ForCausalLM", {**OLD, "multi_query": False}),
    "bloom": ("Bloom", "ForCausalLM", {**PLAIN, "n_layer": 2, "n_head": 4}),
    "mpt": ("Mpt", "ForCausalLM", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64,
                                   "vocab_size": 97, "expansion_ratio": 2}),
    "opt": ("OPT", "ForCausalLM", {**OPT, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gptj": ("GPTJ", "ForCausalLM", {**OLD, "rotary_dim": 4, "n_inner": 64}),
    "gpt-neo": ("GPTNeo", "ForCausalLM", {**PLAIN, "num_layers": 2, "num_heads": 4,
                                          "attention_types": [[["global"], 2]]}),
    "glm4": ("Glm4", "ForCausalLM", {**COMMON, "head_dim": 8}),
    "persimmon": ("Persimmon", "ForCausalLM", PLAIN),
    "modernbert": ("ModernBert", "ForMaskedLM", PLAIN),
    "stablelm": ("StableLm", "ForCausalLM", COMMON),
}  # fmt: skip


def network(name: str) -> Any:
    family, task, config = KINDS[name]
    torch.manual_seed(0)
    made = getattr(tf, family + task)(getattr(tf, f"{family}Config")(**config)).eval().double()
    for p in made.parameters():
        p.data.mul_(4.0 if p.ndim > 1 else 1.0)
    return made


@pytest.mark.parametrize("name", KINDS)
def test_attention_and_mlp_are_what_is_added_to_the_stream(name: str) -> None:
    subject = xw.TorchSubject(network(name))
    for layer in (0, 1):
        texts = [f"layers.{layer}.{p}" for p in ("resid_pre", "attn", "mlp", "resid")]
        held = subject.run(batch(list(tokens(2))), read=texts).values
        before, attn, mlp, after = (held[Site(t)] for t in texts)
        torch.testing.assert_close(before + attn + mlp, after, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_a_head_is_moved_by_its_own_query_key_and_value(name: str) -> None:
    subject = xw.TorchSubject(network(name))
    one, other = batch(list(tokens(2))), batch(list(tokens(2, seed=1)))
    heads = subject.sites("layers.1.heads.*")
    parts = {s: subject.sites(f"layers.1.heads.*.{s}") for s in "qkv"}
    theirs = subject.run(other, read=(*heads, *parts["q"], *parts["k"], *parts["v"])).values
    mine = subject.run(one, read=heads).values
    for stream, places in parts.items():
        size = len(heads) // len(places)
        for at, place in enumerate(places):
            found = subject.run(one, write={place: theirs[place]}, read=heads).values
            moved = [i for i, h in enumerate(heads) if not torch.allclose(found[h], mine[h])]
            assert moved == list(range(at * size, (at + 1) * size)), (stream, at)
    all_parts = {s: theirs[s] for places in parts.values() for s in places}
    found = subject.run(one, write=all_parts, read=heads).values
    for head in heads:
        torch.testing.assert_close(found[head], theirs[head], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["opt", "bloom", "falcon-40b"])
def test_a_sweep_is_that_of_plain_hooks(name: str) -> None:
    made, given = network(name), rows(3)
    subject = xw.TorchSubject(made)
    study = xw.PatchStudy(subject, given, "logit_difference",
                          sites=["layers.*.mlp @ *", "layers.*.attn @ *"])  # fmt: skip
    found = xw.sweep(study, xw.PNIE)
    clean, corrupt = (torch.as_tensor(np.stack([r[k] for r in given])) for k in
                      ("clean", "corrupt"))  # fmt: skip

    def score(ids) -> float:
        with torch.no_grad():
            logits = made(ids).logits[:, -1]
        return float((logits[:, 3] - logits[:, 5]).mean())

    before = score(clean)
    for text, at in (("layers.0.mlp", 4), ("layers.1.attn", 6), ("layers.1.mlp", 6)):
        module, kept = made.get_submodule(subject.port(Site(text)).path), []

        def keep(m, a, o, kept=kept):
            kept.append((o[0] if isinstance(o, tuple) else o).clone())

        def put(m, a, o, kept=kept, at=at):
            new = (o[0] if isinstance(o, tuple) else o).clone()
            new.view(3, 7, -1)[:, at] = kept[0].view(3, 7, -1)[:, at]
            return (new, *o[1:]) if isinstance(o, tuple) else new

        hook = module.register_forward_hook(keep)
        score(corrupt)
        hook.remove()
        hook = module.register_forward_hook(put)
        truth = score(clean) - before
        hook.remove()
        assert abs(truth) > 1e-6
        assert found[f"pnie[{text} @ {at}]"].estimate == pytest.approx(truth, abs=1e-9)


def test_heads_that_are_not_side_by_side_are_refused() -> None:
    codegen = tf.CodeGenForCausalLM(tf.CodeGenConfig(**OLD, rotary_dim=4))
    with pytest.raises(DesignError, match="in an order of its own"):
        xw.TorchSubject(codegen).sites("layers.0.heads.1.k")
    gated = tf.Qwen3NextForCausalLM(tf.Qwen3NextConfig(
        **COMMON, head_dim=8, layer_types=["full_attention"] * 2, num_experts=2,
        num_experts_per_tok=1, moe_intermediate_size=16, shared_expert_intermediate_size=16,
    ))  # fmt: skip
    with pytest.raises(DesignError, match="64 features where heads side by side would have 32"):
        xw.TorchSubject(gated).sites("layers.0.heads.1.q")
    assert xw.TorchSubject(gated).sites("layers.0.heads.1.v", "layers.0.heads.1")


def test_attention_that_is_not_exchangeable_says_so() -> None:
    subject = xw.TorchSubject(network("gptj"))
    site = Site("layers.0.heads.0.pattern")
    with pytest.raises(xw.errors.EstimationError, match="attention interface of transformers"):
        subject.run(batch(list(tokens(1))), read=[site])


class TestChangesInPlace:
    """Falcon adds attention into the output of its MLP, where values may be kept."""

    def test_one_cell_leaves_the_values_of_the_next_alone(self) -> None:
        subject = xw.TorchSubject(network("falcon-7b"))
        study = xw.PatchStudy(subject, rows(3), "logit_difference",
                              sites=["layers.0.mlp", "layers.1.mlp"])  # fmt: skip
        first = Y(0, **{"layers.0.mlp": M(1)})
        both = Y(0, **{"layers.0.mlp": M(1), "layers.1.mlp": M(1)})
        together = xw.Patch(check=False).scores(study, [first, both]).values
        for at, cell in enumerate((first, both)):
            alone = xw.Patch(check=False).scores(study, [cell]).values[:, 0]
            np.testing.assert_allclose(together[:, at], alone, atol=1e-12)

    def test_slopes_are_taken_before_what_follows_in_place(self) -> None:
        torch.manual_seed(0)
        first, last = torch.nn.Linear(4, 4).double(), torch.nn.Linear(4, 1).double()
        net = torch.nn.Sequential(first, torch.nn.ReLU(inplace=True), last)
        found = np.random.default_rng(0).normal(size=(2, 12, 4))
        study = xw.PatchStudy(xw.TorchSubject(net), (found[0], found[1]), lambda y: y[:, 0],
                              sites=["0"])  # fmt: skip
        scores = xw.Attribution(check=1).scores(study, [Y(0, M(1)), Y(0)]).values
        with torch.no_grad():
            clean, corrupt = (first(torch.as_tensor(x)) for x in found)
            slope = (clean > 0) * last.weight[0]
            truth = ((corrupt - clean) * slope).sum(1)
        np.testing.assert_allclose(scores[:, 0] - scores[:, 1], truth.numpy(), atol=1e-9)

    def test_edges_of_small_changes_are_those_of_patching(self) -> None:
        subject = xw.TorchSubject(network("falcon-40b"))
        found = subject.modules[subject.layout.embed](torch.as_tensor(tokens(4))).detach()
        moved = found + 1e-6 * torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
        given = [{"clean": {"inputs_embeds": a}, "corrupt": {"inputs_embeds": b}, "answer": 3,
                  "wrong": 5} for a, b in zip(found, moved, strict=True)]  # fmt: skip
        study = xw.PatchStudy(subject, given, "logit_difference")
        told = xw.EdgeAttribution("eap", check=30).scores(study).agreement["random"]
        assert told.relative_error < 0.01
        assert told.rank_correlation > 0.99


class TestEncodersAndDecoders:
    def test_which_stack_has_to_be_said(self) -> None:
        bart = tf.BartForConditionalGeneration(tf.BartConfig(**SIDED))
        with pytest.raises(DesignError, match=r"model.encoder.layers, model.decoder.layers; say"):
            xw.TorchSubject(bart).sites("layers.*.resid")
        subject = xw.TorchSubject(bart, blocks="model.decoder.layers")
        assert subject.layout.blocks[1].mlp == "model.decoder.layers.1.fc2"
        with pytest.raises(DesignError, match="'model.decoder' is a BartDecoder"):
            xw.TorchSubject(bart, blocks="model.decoder")

    def test_positions_are_those_of_the_decoder(self) -> None:
        torch.manual_seed(0)
        config = tf.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        made = tf.T5ForConditionalGeneration(config).eval().double()
        for p in made.parameters():
            p.data.mul_(3.0)
        given = [
            {level: {"input_ids": row[level], "decoder_input_ids": np.array([0, i + 4, k + 7])}
             for k, level in enumerate(("clean", "corrupt"))} | {"answer": 3, "wrong": 5}
            for i, row in enumerate(rows(4))
        ]  # fmt: skip
        subject = xw.TorchSubject(made, blocks="decoder.block")
        study = xw.PatchStudy(subject, given, "logit_difference", sites=["layers.1.resid @ -1"])
        found = xw.estimate(study, xw.Patch(), [xw.TE, xw.PNIE])
        with torch.no_grad():
            scores = [
                made(**{k: torch.as_tensor(np.stack([r[level][k] for r in given]))
                        for k in given[0][level]}).logits[:, -1]
                for level in ("clean", "corrupt")
            ]  # fmt: skip
        truth = float((scores[1] - scores[0])[:, 3].mean() - (scores[1] - scores[0])[:, 5].mean())
        assert abs(truth) > 1e-3
        assert found["te"].estimate == pytest.approx(truth, abs=1e-9)
        assert found["pnie"].estimate == pytest.approx(truth, abs=1e-9)  # all passes there
        encoder = xw.PatchStudy(subject, given, "logit_difference", sites=["encoder.block.0 @ -1"])
        with pytest.raises(DesignError, match="names a position among the 3 tokens"):
            xw.estimate(encoder, xw.Patch(), [xw.PNIE])


class TestShapes:
    def test_a_recurrent_network_that_puts_time_first_has_no_positions(self) -> None:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.lstm = torch.nn.Embedding(97, 8), torch.nn.LSTM(8, 8)
                self.out = torch.nn.Linear(8, 97)

            def forward(self, x):
                return self.out(self.lstm(self.embed(x).transpose(0, 1))[0].transpose(0, 1))

        torch.manual_seed(0)
        given = rows(7)  # as many pairs as tokens: nothing but the meaning of axes is wrong
        study = xw.PatchStudy(xw.TorchSubject(Net()), given, "logit", sites=["lstm @ -1"])
        with pytest.raises(DesignError, match=r"lstm holds a tensor of shape \(7, 1, 8\)"):
            xw.sweep(study)

    def test_values_are_made_to_fit_or_refused(self) -> None:
        subject = xw.TorchSubject(network("stablelm").float())
        one = batch(list(tokens(2)))
        zero = subject.run(one, write={Site("layers.0.mlp"): torch.zeros_like}).output
        for value in (0.0, np.zeros((2, 7, 32)), torch.zeros(32, dtype=torch.float64)):
            assert torch.equal(subject.run(one, write={"layers.0.mlp": value}).output, zero)
        with pytest.raises(DesignError, match=r"cannot be set to a value of shape \(2, 7, 31\)"):
            subject.run(one, write={"layers.0.mlp": torch.zeros(2, 7, 31)})

    def test_masked_roberta_counts_positions_as_it_was_taught(self) -> None:
        keep = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                "num_attention_heads", "max_position_embeddings")  # fmt: skip
        torch.manual_seed(0)
        config = tf.RobertaConfig(**{k: COMMON[k] for k in keep}, pad_token_id=1)
        made = tf.RobertaForMaskedLM(config).eval().double()
        made.roberta.embeddings.position_embeddings.weight.data.mul_(50.0)
        ids, ones = tokens(1)[0], np.ones(7, dtype=np.int64)
        plain = xw.TorchSubject(made).run(batch([ids])).output
        for before, after in ((2, 0), (0, 3)):
            padded = np.pad(ids, (before, after), constant_values=1)
            mask = np.pad(ones, (before, after))
            held = batch([{"input_ids": padded, "attention_mask": mask}])
            found = xw.TorchSubject(made).run(held).output[:, before : before + 7]
            torch.testing.assert_close(found, plain, rtol=1e-9, atol=1e-9)
