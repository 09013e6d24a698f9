"""DAS and boundless DAS find what was planted, and not what was not; controls; training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.internals.alignment.align import align
from crossworld.internals.alignment.controls import alignment_controls, fresh
from crossworld.internals.alignment.interchange import interchange_accuracy
from crossworld.internals.alignment.rivals import rank_programs
from crossworld.internals.alignment.search import DAS, BoundlessDAS
from crossworld.internals.alignment.task import interchanges
from crossworld.internals.alignment.training import (
    InterchangeTraining,
    compare_training,
    interchange_training,
)
from crossworld.internals.basis import Subspace
from crossworld.internals.subject import TorchSubject

QUICK = DAS(epochs=25, restarts=1, rate=0.05, patience=6)


def drawn(task, n_train: int = 160, n_test: int = 300):
    train = interchanges(task.program, n_train, seed=1)
    return train, interchanges(task.program, n_test, seed=2, without=train)


@pytest.fixture(scope="module")
def found(planted):
    train, test = drawn(planted.task)
    return align(
        planted.subject, planted.task, site="hidden", train=train, test=test,
        method=replace(QUICK, restarts=2),
    )  # fmt: skip


def test_das_finds_the_planted_subspace(found, planted) -> None:
    assert found.held_out.iia.estimate > 0.99
    assert found.held_out.iia.conf_low > 0.98
    direction = found.bases["s"].matrix[:, 0]
    assert abs(direction @ planted.directions[0]) > 0.9
    assert str(found.sites["s"]) == "hidden[s]"
    again = interchange_accuracy(
        found.subject, planted.task, sites=found.sites, pairs=found.held_out.pairs
    )
    assert again.hits.tolist() == found.held_out.hits.tolist()


def test_a_search_is_repeatable_and_leaves_torch_alone(planted) -> None:
    torch = pytest.importorskip("torch")
    train, test = drawn(planted.task, 60, 20)
    quick = DAS(epochs=3, restarts=1)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one, two = (
        align(planted.subject, planted.task, site="hidden", train=train, test=test, method=quick)
        for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(one.bases["s"].matrix, two.bases["s"].matrix)
    assert all(p.grad is None for p in planted.subject.model.parameters())


def test_the_planted_subspace_is_no_illusion(found) -> None:
    assert found.illusions["s"].fired is False
    assert "no illusion" in str(found)


def test_boundless_das_also_finds_its_size(planted) -> None:
    train, test = drawn(planted.task)
    method = BoundlessDAS(epochs=45, restarts=1, rate=0.03, penalty=0.5)
    found = align(
        planted.subject, planted.task, site="hidden", train=train, test=test, method=method
    )
    assert found.held_out.iia.estimate > 0.99
    assert found.bases["s"].matrix.shape[1] <= 3
    inside = np.linalg.norm(found.bases["s"].matrix.T @ planted.directions[0])
    assert inside > 0.85


def test_two_variables_get_subspaces_that_do_not_overlap(planted) -> None:
    task = planted.rival({"s": lambda a, b: a ^ b, "k": lambda c: c, "out": lambda s, k: s & k})
    train = interchanges(task.program, 240, variables=["s", "k", ("s", "k")], seed=1)
    test = interchanges(task.program, 200, variables=["s", "k", ("s", "k")], seed=2, without=train)
    found = align(
        planted.subject, task, site="hidden", train=train, test=test,
        method=replace(QUICK, size={"s": 1, "k": 1}),
    )  # fmt: skip
    assert found.held_out.iia.estimate > 0.97
    assert abs(float(found.bases["s"].matrix[:, 0] @ found.bases["k"].matrix[:, 0])) < 1e-6
    assert abs(found.bases["k"].matrix[:, 0] @ planted.directions[1]) > 0.9
    assert set(found.illusions) == {"s", "k"}


def test_three_wrong_programs_are_ruled_out(found, planted) -> None:
    rivals = {
        "u = a": planted.rival({"u": lambda a: a, "out": lambda u, b, c: (u ^ b) & c}),
        "u = b and c": planted.rival({"u": lambda b, c: b & c, "out": lambda u, a, c: u ^ (a & c)}),
        "u = b": planted.rival({"u": lambda b: b, "out": lambda u, a, c: (u ^ a) & c}),
    }
    results = {"s = a xor b": found.held_out}
    for name, task in rivals.items():
        train, test = drawn(task)
        one = align(planted.subject, task, site="hidden", train=train, test=test, method=QUICK)
        results[name] = one.held_out
    ranking = rank_programs(results)
    assert ranking.order[0] == "s = a xor b"
    for name in rivals:
        assert ranking.table[f"iia[{name}]"].conf_high < 0.9
    assert set(ranking.ruled_out) == set(rivals)


def test_controls_reach_less(found) -> None:
    table = alignment_controls(found, draws=10)
    for kind in ("arbitrary", "random"):
        assert table[f"control[{kind}]"].conf_high < 0.9
        assert table[f"iia - control[{kind}]"].conf_low > 0.05
    assert table["control[untrained]"].estimate < 1.0
    one = alignment_controls(found, kinds=["random"], draws=10)
    assert one["control[random]"].estimate == table["control[random]"].estimate
    with pytest.raises(SpecError, match="unknown control 'placebo'"):
        alignment_controls(found, kinds=["placebo"])


def test_fresh_weights_are_other_weights_of_the_same_kind() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    one, two = fresh(model, 3), fresh(model, 3)
    for name, p in model.named_parameters():
        assert torch.equal(one.get_parameter(name), two.get_parameter(name))
        if p.ndim == 2:
            assert not torch.equal(one.get_parameter(name), p)
            assert one.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.4)


def test_a_search_refuses_what_it_cannot_do(planted) -> None:
    train, test = drawn(planted.task, 40, 10)
    go = {"train": train, "test": test, "method": QUICK}
    with pytest.raises(DesignError, match="leave out the"):
        align(planted.subject, planted.task, site="hidden[s]", **go)
    with pytest.raises(DesignError, match="do not fit in a site of 8"):
        align(planted.subject, planted.task, site="hidden", **{**go, "method": DAS(size=9)})
    with pytest.raises(SpecError, match=r"method is DAS\(...\) or BoundlessDAS"):
        align(planted.subject, planted.task, site="hidden", **{**go, "method": "das"})
    with pytest.raises(DesignError, match="too few"):
        align(planted.subject, planted.task, site="hidden", **{**go, "train": train[:1]})
    other = planted.rival({"s": lambda a: a, "k": lambda c: c, "out": lambda s, k: s & k})
    more = interchanges(other.program, 5, variables=["k"])
    with pytest.raises(DesignError, match="which no training pair does"):
        align(planted.subject, other, site="hidden", **{**go, "test": more})
    with pytest.raises(SpecError, match="epochs is a whole number"):
        DAS(epochs=0)
    with pytest.raises(SpecError, match="temperature falls"):
        BoundlessDAS(temperature=(0.1, 1.0))


@pytest.fixture(scope="module")
def untrained() -> TorchSubject:
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = torch.nn.Sequential(
            torch.nn.Linear(6, 24), torch.nn.ReLU(), torch.nn.Linear(24, 12), torch.nn.ReLU(),
            torch.nn.Linear(12, 2),
        )  # fmt: skip
    return TorchSubject(net, bases={"half": Subspace(np.eye(12)[:, :4])})


def test_interchange_training_beats_plain_training(planted, untrained) -> None:
    task = replace(
        planted.task, encode=lambda x: np.array([x[n] for n in "abcdef"], dtype=np.float32)
    )
    train, test = drawn(task, 400, 250)
    options = InterchangeTraining(epochs=40, rate=5e-3, seed=3)
    before = [p.clone() for p in untrained.model.parameters()]
    found = compare_training(
        untrained, task, sites={"s": "2[half]"}, train=train, test=test, options=options
    )
    assert found.table["behaviour[plain]"].estimate > 0.97
    assert found.table["behaviour[interchange]"].estimate > 0.95
    assert found.table["iia[interchange]"].conf_low > 0.85
    assert found.table["iia[interchange] - iia[plain]"].conf_low > 0.1
    after = list(untrained.model.parameters())
    assert all(bool((a == b).all()) for a, b in zip(before, after, strict=True))
    assert found.plain.losses[0][1] == 0.0


def test_training_is_repeatable(planted, untrained) -> None:
    task = replace(
        planted.task, encode=lambda x: np.array([x[n] for n in "abcdef"], dtype=np.float32)
    )
    train, _ = drawn(task, 60, 5)
    options = InterchangeTraining(epochs=2, seed=3)
    runs = [
        interchange_training(untrained, task, sites={"s": "2[half]"}, pairs=train, options=options)
        for _ in range(2)
    ]
    assert runs[0].losses == runs[1].losses
    other = interchange_training(
        untrained,
        task,
        sites={"s": "2[half]"},
        pairs=train,
        options=InterchangeTraining(epochs=2, seed=4),
    )
    assert other.losses != runs[0].losses
    with pytest.raises(SpecError, match="rate is above 0"):
        InterchangeTraining(rate=0.0)
