"""What users do that examples do not: pads, resumed runs, spans, noise, half precision."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld import M, Y
from crossworld.errors import DesignError, FitWarning, SpecError
from crossworld.internals.inputs import batch
from crossworld.internals.metrics import Rows
from tests.internals.zoo import COMMON, model, rows, tf, tokens, torch

pytestmark = pytest.mark.filterwarnings("ignore:only .* clusters")


class TestRuns:
    def padded(self, ids: np.ndarray, side: str) -> dict[str, np.ndarray]:
        pads, ones = np.zeros(3, dtype=np.int64), np.ones(ids.size, dtype=np.int64)
        order = [(pads, ids), (pads, ones)] if side == "left" else [(ids, pads), (ones, pads)]
        return dict(zip(("input_ids", "attention_mask"), map(np.concatenate, order), strict=True))

    @pytest.mark.parametrize("name", ["gpt2", "llama"])
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_pads_on_either_side_change_nothing(self, name: str, side: str) -> None:
        subject, plain = xw.TorchSubject(model(name).double()), rows(4)
        padded = [
            row | {key: self.padded(row[key], side) for key in ("clean", "corrupt")}
            for row in plain
        ]
        sites = ["layers.*.resid @ 2", "layers.*.mlp @ -1", "layers.1.heads.*.k @ 3"]
        one, two = (
            xw.sweep(xw.PatchStudy(subject, p, "logit_difference", sites=sites), [xw.TE, xw.NIE])
            for p in (plain, padded)
        )
        assert abs(one["te"].estimate) > 1e-4
        for a, b in zip(one, two, strict=True):
            assert b.estimate == pytest.approx(a.estimate, abs=1e-9)

    def test_a_mask_with_a_gap_is_refused(self) -> None:
        mask = np.array([1, 1, 0, 1, 1, 1, 1])
        given = [{"clean": {"input_ids": t, "attention_mask": mask}, "answer": 3}
                 for t in tokens(3)]  # fmt: skip
        study = xw.PatchStudy(xw.TorchSubject(model("gpt2")), given, "probability")
        with pytest.raises(DesignError, match="gap between real tokens"):
            xw.Patch().scores(study, [Y(0)])

    def test_a_kept_file_is_that_of_one_source_seed_and_network(self, tmp_path) -> None:
        def study(source: str = "other", seed: int = 1) -> xw.PatchStudy:
            subject = xw.TorchSubject(model("gpt2", seed))
            return xw.PatchStudy(subject, rows(6), "probability", sites="layers.0.mlp",
                                 source=source)  # fmt: skip

        class Stop(Exception):
            pass

        def stop(done: int, total: int) -> None:
            if done > 2:
                raise Stop

        def patch(**more) -> xw.Patch:
            return xw.Patch(batch_size=2, resume=str(tmp_path / "kept.npz"), **more)

        with pytest.raises(Stop):
            xw.estimate(study(), patch(progress=stop), [xw.NIE])
        others = [(study("zero"), patch()), (study(seed=2), patch()), (study(), patch(seed=5)),
                  (study(), patch(hold=("layers.1.attn",)))]  # fmt: skip
        for held, method in others:
            with pytest.raises(DesignError, match="kept for other"):
                xw.estimate(held, method, [xw.NIE])
        resumed = xw.estimate(study(), patch(), [xw.NIE])["nie"].estimate
        assert resumed == xw.estimate(study(), xw.Patch(batch_size=2), [xw.NIE])["nie"].estimate

    def test_spans_of_another_length_mean_their_last_token_in_all_pairs(self) -> None:
        given = rows(6)
        for i, row in enumerate(given):
            row["spans"] = {"it": [[1, 3], [1, 4] if i == 0 else [2, 4]]}
        subject = xw.TorchSubject(model("gpt2").double())
        sites = ["layers.0.resid @ it", "layers.0.resid @ it[-1]", "layers.0.resid @ it[0]"]
        study = xw.PatchStudy(subject, given, "logit_difference", sites=sites)
        whole, last, first = (r.estimate for r in xw.sweep(study, xw.PNIE))
        assert whole == pytest.approx(last, abs=1e-12)

        def by_hand(at: tuple[int, int]) -> float:
            block, moved = subject.model.transformer.h[0], []
            for i, row in enumerate(given):
                held = []
                keep = block.register_forward_hook(lambda m, a, o, h=held: h.append(o))
                with torch.no_grad():
                    before = subject.model(torch.as_tensor(row["clean"])[None]).logits[0, -1]
                    subject.model(torch.as_tensor(row["corrupt"])[None])
                keep.remove()

                def put(m, a, o, held=held, i=i):
                    new = o.clone()
                    source = at[1] + (1 if i else 0) if at[1] == 1 else at[1]
                    new[0, at[0]] = held[1][0, source]
                    return new

                hook = block.register_forward_hook(put)
                with torch.no_grad():
                    after = subject.model(torch.as_tensor(row["clean"])[None]).logits[0, -1]
                hook.remove()
                moved.append(float((after[3] - after[5]) - (before[3] - before[5])))
            return float(np.mean(moved))

        assert last == pytest.approx(by_hand((2, 3)), abs=1e-9)
        assert first == pytest.approx(by_hand((1, 1)), abs=1e-9)
        assert abs(last - first) > 1e-6

    def test_a_span_beyond_the_input_is_refused(self) -> None:
        given = rows(4, spans={"it": [5, 12]})
        study = xw.PatchStudy(xw.TorchSubject(model("gpt2")), given, "probability",
                              sites="layers.0.resid @ it")  # fmt: skip
        with pytest.raises(DesignError, match="reaches to token 12 of inputs with 7 tokens"):
            xw.sweep(study)

    def test_the_mean_of_noised_inputs_is_theirs(self) -> None:
        subject = xw.TorchSubject(model("gpt2").double())
        given = [{k: v for k, v in row.items() if k != "corrupt"} for row in rows(6)]
        noise = xw.Noise("embed", draws=2, seed=4)
        study = xw.PatchStudy(subject, given, "logit_difference", sites="layers.0.resid @ 2",
                              noise=noise)  # fmt: skip
        cells = [Y(0, M("mean")), Y(0, M(1, "mean"))]
        clean, noised = xw.Patch(batch_size=4).scores(study, cells).values.T
        site, held = study.sites[0], study.pairs.batch(range(6), 0)
        truth = np.zeros(6)
        for draw in range(2):
            write = noise.write(subject, held, units=range(6), draw=draw)
            mean = subject.run(held, read=[site], write=write).values[site].mean(0, keepdim=True)
            logits = subject.run(held, write={site: mean}).output[:, -1]
            truth += (logits[:, 3] - logits[:, 5]).numpy() / 2
        np.testing.assert_allclose(noised, truth, atol=1e-9)
        assert np.abs(clean - noised).max() > 1e-6

    def test_half_precision_does_not_drown_a_divergence(self) -> None:
        generator = torch.Generator().manual_seed(0)
        before = torch.randn(4, 5000, generator=generator).bfloat16()
        after = (before + 0.1 * torch.randn(4, 5000, generator=generator)).bfloat16()
        laws = [z.double().log_softmax(-1) for z in (before, after)]
        truth = (laws[0].exp() * (laws[0] - laws[1])).sum(-1)
        found = xw.Metric("kl")(after, Rows(reference=before)).double()
        torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-6)


def by_hand(network, given, path: str, *, at: int) -> float:
    """Mean pnie of one position of a module, by plain hooks, one pair at a time."""
    module, moved = network.get_submodule(path), []
    for row in given:
        held = []

        def keep(m, a, o, held=held):
            held.append(o[0] if isinstance(o, tuple) else o)

        def put(m, a, o, held=held):
            new = (o[0] if isinstance(o, tuple) else o).clone()
            new[:, at] = held[1][:, at]
            return (new, *o[1:]) if isinstance(o, tuple) else new

        keeping = module.register_forward_hook(keep)
        with torch.no_grad():
            before = network(torch.as_tensor(row["clean"])[None]).logits[0, -1]
            network(torch.as_tensor(row["corrupt"])[None])
        keeping.remove()
        putting = module.register_forward_hook(put)
        with torch.no_grad():
            after = network(torch.as_tensor(row["clean"])[None]).logits[0, -1]
        putting.remove()
        moved.append(float((after[3] - after[5]) - (before[3] - before[5])))
    return float(np.mean(moved))


def bidirectional() -> dict[str, Any]:
    """Networks that call themselves causal language models, and let tokens see later ones."""
    small = {k: v for k, v in COMMON.items() if k != "num_key_value_heads"}
    gemma = tf.Gemma3TextConfig(**COMMON, head_dim=8, use_bidirectional_attention=True)
    return {
        "gemma3": lambda: tf.Gemma3ForCausalLM(gemma),
        "bert": lambda: tf.BertLMHeadModel(tf.BertConfig(**small)),
    }


class TestOrderOfPositions:
    @pytest.mark.parametrize(("name", "stack"), [("gemma3", "model.layers"),
                                                 ("bert", "bert.encoder.layer")])  # fmt: skip
    def test_a_name_does_not_make_a_network_causal(self, name: str, stack: str) -> None:
        torch.manual_seed(0)
        network = bidirectional()[name]().eval().double()
        for p in network.parameters():
            p.data.mul_(4.0 if p.ndim > 1 else 1.0)
        given = rows(3)
        for row in given:
            row["corrupt"][:4] = row["clean"][:4]  # nothing differs before the fifth token
        study = xw.PatchStudy(xw.TorchSubject(network), given, "logit_difference",
                              sites=["layers.*.resid @ *"])  # fmt: skip
        found = xw.sweep(study, xw.PNIE)
        for layer, at in ((0, 2), (0, 5), (1, 6), (1, 2)):
            truth = by_hand(network, given, f"{stack}.{layer}", at=at)
            assert found[f"pnie[layers.{layer}.resid @ {at}]"].estimate == pytest.approx(
                truth, abs=1e-8
            )
        assert abs(by_hand(network, given, f"{stack}.0", at=2)) > 1e-6

    def test_an_mlp_that_mixes_positions_is_not_beside_the_metric(self) -> None:
        torch.manual_seed(0)
        config = tf.RwkvConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2,
                               context_length=64, intermediate_size=64)  # fmt: skip
        network = tf.RwkvForCausalLM(config).eval().double()
        for p in network.parameters():
            p.data.mul_(4.0 if p.ndim == 2 else 1.0)
        given = rows(3)
        study = xw.PatchStudy(xw.TorchSubject(network), given, "logit_difference",
                              sites=["layers.1.attn @ *", "layers.1.resid @ *"])  # fmt: skip
        found = xw.sweep(study, xw.PNIE)
        truth = by_hand(network, given, "rwkv.blocks.1.attention", at=5)
        assert abs(truth) > 1e-6
        assert found["pnie[layers.1.attn @ 5]"].estimate == pytest.approx(truth, abs=1e-8)
        assert found["pnie[layers.1.resid @ 5]"].estimate == 0.0


class TestRefusals:
    """Each of these was a traceback, or a number that meant nothing."""

    def study(self, site: str = "layers.0.resid @ -1", **more: Any) -> xw.PatchStudy:
        given = {"metric": "probability", "bases": {}, "pairs": rows(4)} | more
        subject = xw.TorchSubject(model("gpt2"), bases=given.pop("bases"))
        return xw.PatchStudy(subject, sites=[site], **given)

    @pytest.mark.parametrize(("site", "near"), [("layers.0.heads.1.patern", "heads.1.pattern"),
                                                ("layers.0.heads.1.x", "heads.1.z")])  # fmt: skip
    def test_streams_of_a_head_that_are_not_there(self, site: str, near: str) -> None:
        with pytest.raises(DesignError, match=rf"Did you mean 'layers.0.{near}'"):
            self.study(site)

    def test_metrics_of_three_arguments_and_of_no_position(self) -> None:
        with pytest.raises(SpecError, match="takes 3 arguments"):
            self.study(metric=lambda a, b, c: a)
        with pytest.raises(SpecError, match="'x x'"):
            xw.Metric("logit", at="x x")

    def test_defaults_of_a_metric_are_its_own_and_rows_are_given(self) -> None:
        at = xw.Patch().scores(self.study(metric=lambda z, k=3: z[:, -1, k]), [Y(0)]).values
        by_name = xw.Patch().scores(self.study(metric="logit"), [Y(0)]).values
        given = self.study(metric=lambda z, rows=None: z[:, -1, int(rows.answer[0])])
        np.testing.assert_array_equal(at, by_name)
        np.testing.assert_array_equal(xw.Patch().scores(given, [Y(0)]).values, by_name)

    def test_tokens_that_the_network_does_not_have(self) -> None:
        unknown = [row | {"clean": row["clean"] + 200} for row in rows(4)]
        with pytest.raises(DesignError, match="its embedding has 97 rows"):
            xw.sweep(self.study(pairs=unknown))

    def test_noise_and_bases_of_another_kind(self) -> None:
        with pytest.raises(SpecError, match=r"noise is Noise\('embed @ subject'\)"):
            self.study(noise="embed")
        with pytest.raises(DesignError, match="the basis 'v' is a Subspace or a Feature"):
            self.study(bases={"v": np.ones((32, 1))})

    def test_directions_of_another_width(self) -> None:
        held = self.study("layers.0.heads.0 @ -1", bases={"v": xw.Subspace(np.ones(32))})
        with pytest.raises(DesignError, match="'v' has 32 features, the activation .* 8"):
            xw.Patch().scores(held, [Y(0, M(0, "add(v, 3)"))])

    def test_features_that_do_not_fit_or_do_nothing(self) -> None:
        one, bias = np.ones((32, 1)), np.zeros(1)
        with pytest.raises(DesignError, match=r"a threshold of shape \(1,\), got \(7,\)"):
            xw.Feature(one, bias, one.T, threshold=np.ones(7))
        with pytest.raises(DesignError, match="one column a feature"):
            xw.Feature(one[:, 0], bias, one.T)
        with pytest.raises(DesignError, match="the bias of a feature is finite"):
            xw.Feature(one, bias * np.nan, one.T)
        with pytest.raises(DesignError, match="adds nothing"):
            xw.Feature(one, bias, 0 * one.T)
        held = self.study("layers.0.heads.0[f]", bases={"f": xw.Feature(one, bias, one.T)})
        with pytest.raises(DesignError, match="32 dimensions does not fit activations of 8"):
            xw.sweep(held)

    def test_positions_behind_the_blocks_are_kept(self) -> None:
        found = xw.sweep(self.study("lm_head @ -1"), [xw.TE, xw.NIE])
        assert found["nie[lm_head @ -1]"].estimate == pytest.approx(found["te"].estimate)
        assert abs(found["te"].estimate) > 1e-6


class TestTexts:
    """Files of pairs, read with a tokenizer that does not know everything."""

    @pytest.fixture
    def subject(self) -> xw.TorchSubject:
        from crossworld.reasoning.pocket.model import WEIGHTS

        return xw.TorchSubject.load(WEIGHTS)

    def row(self, **more: str) -> dict[str, str]:
        return {"clean": "careful: 3+6\n3+6=5\nanswer:", "corrupt": "careful: 3+6\n3+6=9\nanswer:",
                "answer": "9"} | more  # fmt: skip

    def test_an_unknown_answer_is_not_measured(self, subject: xw.TorchSubject) -> None:
        with pytest.raises(DesignError, match="answer of pair 0, 'Q', is no token of this"):
            xw.PatchStudy(subject, [self.row(answer="Q")], "probability")

    def test_unknown_text_is_told(self, subject: xw.TorchSubject) -> None:
        with pytest.warns(FitWarning, match="1 inputs hold what the tokenizer does not know"):
            study = xw.PatchStudy(subject, [self.row(clean="careful: Ä+6"), self.row()],
                                  "probability")  # fmt: skip
        assert study.describe().endswith("1 inputs hold text that the tokenizer does not know")

    def test_a_key_that_is_given_twice_is_refused(self, subject, tmp_path) -> None:
        file = tmp_path / "pairs.jsonl"
        file.write_text('{"clean": "1", "clean": "2", "answer": "1"}\n')
        with pytest.raises(DesignError, match="line 1 of .* the key 'clean' is given more than"):
            xw.PatchStudy(subject, file, "probability")

    def test_one_pair_has_numbers_and_no_interval(self, subject: xw.TorchSubject) -> None:
        study = xw.PatchStudy(subject, [self.row()], "probability", sites="layers.1.resid")
        assert xw.Patch().scores(study, [Y(0), Y(1)]).values.shape == (1, 2)
        with pytest.raises(DesignError, match="there is one pair; give more"):
            xw.estimate(study, xw.Patch(), [xw.TE])
        shared = [self.row(cluster="a"), self.row(cluster="a")]
        study = xw.PatchStudy(subject, shared, "probability", sites="layers.1.resid")
        with pytest.raises(DesignError, match="all pairs share one cluster"):
            xw.sweep(study)

    def test_a_path_of_no_edges_is_refused(self) -> None:
        study = xw.PatchStudy(xw.TorchSubject(model("gpt2")), rows(4), "logit_difference")
        with pytest.raises(SpecError, match="'direct' names no edge"):
            xw.PathPatch("paths").effects(study, {"direct": []})


class TestShared:
    """Interventions, erasure and steering that are put to a use they were not made for."""

    def test_other_weights_are_told(self, tmp_path) -> None:
        made = xw.Intervention((xw.Change("layers.1.resid", "add", np.ones(32)),))
        file = made.save(tmp_path / "one", subject=xw.TorchSubject(model("gpt2")))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            xw.Intervention.load(file, subject=xw.TorchSubject(model("gpt2")))
        with pytest.warns(FitWarning, match="saved for a GPT2LMHeadModel with other weights"):
            xw.Intervention.load(file, subject=xw.TorchSubject(model("gpt2", seed=2)))

    def test_values_for_another_number_of_positions(self) -> None:
        change = xw.Change("layers.1.resid @ 1:3", "set", np.ones((3, 32)))
        subject = xw.TorchSubject(model("gpt2"))
        with pytest.raises(DesignError, match="is for 3 positions, the activation has 2"):
            subject.run(batch(list(tokens(2))), write=xw.Intervention((change,)).writes())

    def test_erasure_of_what_is_not_finite(self) -> None:
        with pytest.raises(DesignError, match="finite representations"):
            xw.Leace().fit(np.full((10, 3), np.nan), np.arange(10) % 2)

    def test_steering_says_that_side_effects_were_not_measured(self) -> None:
        table = xw.steer(
            xw.TorchSubject(model("gpt2")), [{"clean": one, "answer": 7} for one in tokens(12)],
            along=("layers.1.resid", np.ones(32)), doses=[1.0], metric="probability",
        )  # fmt: skip
        assert "no side effects were measured" in str(table)
