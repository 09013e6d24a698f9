"""Probes along positions, steering and its side effects, against what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.internals.inputs import batch
from crossworld.internals.probes import Probing, probe
from crossworld.internals.side_effects import Aside, side_effects
from crossworld.internals.steering import steer
from crossworld.internals.subject import TorchSubject


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Known:
    """Logits (B, T, 6): each token's embedding plus the sum of those before it."""

    @staticmethod
    def subject() -> TorchSubject:
        torch = pytest.importorskip("torch")

        class Net(torch.nn.Module):
            causal = True

            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(0)
                self.embed = torch.nn.Embedding(6, 6)
                self.mix = torch.nn.Identity()
                self.out = torch.nn.Linear(6, 6, bias=False)

            def forward(self, ids: Any) -> Any:
                return self.out(self.mix(self.embed(ids).cumsum(1)))

        return TorchSubject(Net())


@pytest.fixture(scope="module")
def subject() -> TorchSubject:
    return Known.subject()


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 6, size=(240, 4))


def test_probes_read_what_is_there_from_where_it_is_there(subject, ids) -> None:
    """The third token's class is in the stream from the third position on."""
    labels = ids[:, 2] < 3
    table = probe(subject, list(ids), labels=labels, sites=["embed @ *", "mix @ *"])
    assert table["accuracy[embed @ 2]"].estimate == 1.0
    for place in ("embed @ 0", "embed @ 1", "embed @ 3", "mix @ 0", "mix @ 1"):
        assert table[f"accuracy[{place}]"].conf_low < 0.5 < table[f"accuracy[{place}]"].conf_high
    assert table["accuracy[mix @ 2]"].conf_low > 0.6
    assert table["majority"].estimate == pytest.approx(max(labels.mean(), 1 - labels.mean()))
    row = table["selectivity[embed @ 2]"]
    control = table["control[embed @ 2]"].estimate
    assert row.estimate == pytest.approx(1.0 - control)


def test_control_labels_belong_to_tokens_and_can_be_memorised(subject, ids) -> None:
    """One-hot embeddings: any label of a token can be read, so selectivity is 0."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        subject.model.embed.weight.copy_(10.0 * torch.eye(6))
    labels = ids[:, 1] < 3
    table = probe(subject, list(ids), labels=labels, sites=["embed @ 1"])
    assert table["accuracy[embed @ 1]"].estimate == 1.0
    assert table["control[embed @ 1]"].estimate == 1.0
    assert table["selectivity[embed @ 1]"].conf_low > -0.05
    assert table["selectivity[embed @ 1]"].conf_high < 0.05


def test_noise_cannot_be_read(subject, ids) -> None:
    labels = np.random.default_rng(5).random(240) < 0.5
    table = probe(subject, list(ids), labels=labels, sites="mix @ -1")
    row = table["accuracy[mix @ -1]"]
    assert row.conf_low < 0.5 < row.conf_high


def test_equal_inputs_and_clusters_stay_in_one_fold(subject) -> None:
    """Labels at random for each of twelve inputs, each given twenty times: nothing to learn."""
    rng = np.random.default_rng(3)
    few = rng.integers(0, 6, size=(12, 4))
    labels = rng.random(12) < 0.5
    ids, seen = np.repeat(few, 20, axis=0), np.repeat(labels, 20)
    table = probe(subject, list(ids), labels=seen, sites=["mix @ -1"])
    assert table["accuracy[mix @ -1]"].estimate < 0.9
    grouped = probe(
        subject, list(ids), labels=seen, sites=["mix @ -1"], cluster=np.repeat(range(12), 20)
    )
    wide = grouped["accuracy[mix @ -1]"]
    assert wide.conf_high - wide.conf_low > 0.4


def test_probes_refuse(subject, ids) -> None:
    with pytest.raises(DesignError, match="one value"):
        probe(subject, list(ids), labels=np.ones(240), sites=["mix @ -1"])
    with pytest.raises(DesignError, match="240 inputs and labels of shape"):
        probe(subject, list(ids), labels=np.ones(3), sites=["mix @ -1"])
    with pytest.raises(DesignError, match="cannot be split into 5 folds"):
        probe(subject, list(ids[:3]), labels=[0, 1, 0], sites=["mix @ -1"])
    with pytest.raises(SpecError, match="at least 2"):
        Probing(folds=1)


def test_steering_moves_logits_as_algebra_says(subject, ids) -> None:
    """logits = W (h + dose v): the response is linear with slope W v."""
    weight = subject.model.out.weight.detach().double().numpy()
    v = np.arange(6.0)
    pairs = [{"clean": one, "answer": 3} for one in ids[:20]]
    table = steer(
        subject, pairs, along=("mix @ -1", v), doses=[-1.0, 0.5, 2.0], metric="logit", aside=None
    )
    slope = float(weight[3] @ v)
    for dose in (-1.0, 0.5, 2.0):
        assert table[f"change[{dose:g}]"].estimate == pytest.approx(dose * slope, rel=1e-5)
    assert table["slope"].estimate == pytest.approx(slope, rel=1e-5)
    assert "no side effects were measured" in table.warnings[0]


def test_side_effects_are_those_of_a_loop_by_hand(subject, ids) -> None:
    torch = pytest.importorskip("torch")
    v = np.linspace(-1.0, 1.0, 6)
    texts, prompts = list(ids[:9]), list(ids[9:14])
    pairs = [{"clean": one, "answer": 3} for one in ids[:20]]
    table = steer(
        subject, pairs, along=("mix @ -1", v), doses=[1.5], metric="logit",
        aside=Aside(texts=texts, prompts=prompts),
    )  # fmt: skip

    def logits(one: np.ndarray, shift: float) -> Any:
        hidden = subject.model.embed(torch.from_numpy(one)).cumsum(0).detach()
        return (hidden + shift * torch.from_numpy(v)).float() @ subject.model.out.weight.detach().T

    losses = []
    for shift in (0.0, 1.5):
        lost = [
            float(-logits(one, shift)[:-1].log_softmax(-1)[range(3), one[1:]].sum())
            for one in texts
        ]
        losses.append(sum(lost) / 27)
    assert table["perplexity[1.5]"].estimate == pytest.approx(np.exp(losses[1]), rel=1e-5)
    ratio = table["perplexity ratio[1.5]"]
    assert ratio.estimate == pytest.approx(np.exp(losses[1] - losses[0]), rel=1e-5)
    assert ratio.conf_low < ratio.estimate < ratio.conf_high
    drift = []
    for one in prompts:
        p, q = (logits(one, s)[-1].double().log_softmax(-1) for s in (0.0, 1.5))
        drift.append(float((p.exp() * (p - q)).sum()))
    assert table["kl[1.5]"].estimate == pytest.approx(np.mean(drift), rel=1e-4)


def test_no_intervention_has_no_side_effects(subject, ids) -> None:
    same = side_effects(
        subject, {"mix": lambda h: h}, aside=Aside(texts=list(ids[:6]), prompts=list(ids[:6]))
    )
    assert same["perplexity[ratio]"].estimate == pytest.approx(1.0)
    assert same["kl"].estimate == pytest.approx(0.0, abs=1e-9)


def test_padded_texts_have_the_perplexity_of_texts(ids) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=6, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    model = TorchSubject(transformers.GPT2LMHeadModel(config).eval())
    plain = side_effects(model, {"embed": lambda h: h}, aside=Aside(texts=list(ids[:5])))
    padded = [
        {"input_ids": np.r_[0, 0, one], "attention_mask": np.r_[0, 0, 1, 1, 1, 1]}
        for one in ids[:5]
    ]
    other = side_effects(model, {"embed": lambda h: h}, aside=Aside(texts=padded))
    name = "perplexity[before]"
    assert other[name].estimate == pytest.approx(plain[name].estimate, rel=1e-4)


def test_steering_refuses(subject, ids) -> None:
    pairs = [{"clean": one, "answer": 3} for one in ids[:3]]
    go = {"along": ("mix", np.ones(6)), "doses": [1.0], "metric": "logit", "aside": None}
    with pytest.raises(DesignError, match="doses are numbers other than 0"):
        steer(subject, pairs, **{**go, "doses": [0.0]})
    with pytest.raises(DesignError, match="the direction has shape"):
        steer(subject, pairs, **{**go, "along": ("mix", np.ones(5))})
    with pytest.raises(DesignError, match="needs answer"):
        steer(subject, [(ids[0], ids[1])], **go)
    with pytest.raises(DesignError, match="held-out texts, prompts"):
        Aside()
    assert batch([ids[0]]).length == 4
