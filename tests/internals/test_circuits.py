"""Circuits: how they are found, run, measured, compared, kept and drawn."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.internals.networks import network, study

torch = pytest.importorskip("torch", reason="the internals of networks need torch")

from crossworld.core.expression import Y  # noqa: E402
from crossworld.errors import (  # noqa: E402
    DesignError,
    EstimationError,
    SpecError,
)
from crossworld.infer.multiplier import Multiplier  # noqa: E402
from crossworld.internals import search  # noqa: E402
from crossworld.internals.circuit import Circuit  # noqa: E402
from crossworld.internals.circuits import (  # noqa: E402
    CircuitRun,
    circuit_curve,
    completeness,
    faithfulness,
    minimality,
)
from crossworld.internals.edges import EdgeAttribution  # noqa: E402
from crossworld.internals.edgescores import EdgeScores  # noqa: E402
from crossworld.internals.frames import frames, wiring_of  # noqa: E402
from crossworld.internals.overlap import CircuitTask, lost, overlap, selectivity  # noqa: E402
from crossworld.internals.wiring import Reader  # noqa: E402
from tests.internals import slow_edges  # noqa: E402

some_networks = pytest.mark.parametrize(
    "name", ["gpt2", "qwen3", "gemma2", "olmo2", "phi", "pythia-serial"]
)


def whole(held: Any) -> Circuit:
    (frame, *_) = frames(held, 64)
    wiring = wiring_of(frame)
    kept = np.zeros((len(wiring.senders), len(wiring.readers)), dtype=bool)
    made = Circuit(wiring.senders, wiring.readers, kept)
    return replace(made, kept=made.allowed)


def by_force(held: Any, kept: Any) -> Any:
    """The metric of a circuit, block by block, with the network's own modules on split streams."""
    (frame,) = frames(held, 64)
    wiring, subject = wiring_of(frame), held.subject
    own, other = (slow_edges.contributions(subject, wiring, frame.batches[i]) for i in (0, 1))
    now = own.clone()  # what senders write in the circuit's run, filled in order
    writes: dict[Any, Any] = {}
    from crossworld.internals.site import Site

    def stream(x: Any, v: int) -> Any:
        """What reader v gets: x is the stream of this run, so only cut senders are exchanged."""
        seen = wiring.readers[v].senders
        cut = torch.as_tensor(wiring_allowed(wiring)[:seen, v] & ~kept[:seen, v])
        gap = (other - now)[:, :seen][:, cut].sum(1)
        return x + gap

    for stage in wiring.stages:
        at = wiring.readers_of(stage.index).start
        if stage.projections is not None:
            x = subject.run(frame.batches[0], write=writes, read=[stage.stream]).values[
                stage.stream
            ]
            norm = stage.stream.where.removesuffix(".in")
            outputs: dict[str, Any] = {}
            for path, columns in zip(stage.projections, stage.columns, strict=True):
                for row in columns.tolist():
                    given = stream(x, at)
                    if stage.norm is not None:
                        given = subject.modules[norm].forward(given)
                    made = subject.modules[path].forward(given)
                    held_out = outputs.setdefault(path, made.clone())
                    held_out[..., row] = made[..., row]
                    at += 1
            writes.update({Site(p): v.detach() for p, v in outputs.items()})
            now = fill(held, wiring, frame, writes, now, stage, heads=True)
        if stage.feed is not None:
            x = subject.run(frame.batches[0], write=writes, read=[stage.feed]).values[stage.feed]
            given = stream(x, at)
            if stage.feed_norm is not None:
                given = subject.modules[stage.feed_norm].forward(given)
            writes[stage.core] = given.detach()
            now = fill(held, wiring, frame, writes, now, stage, heads=False)
    x = subject.run(frame.batches[0], write=writes, read=[wiring.final]).values[wiring.final]
    writes[wiring.final] = stream(x, len(wiring.readers) - 1).detach()
    run = subject.run(frame.batches[0], write=writes)
    return frame.score(run.output, frame.batches[0]).detach().numpy()


def wiring_allowed(wiring: Any) -> Any:
    before = np.array([r.senders for r in wiring.readers])
    return np.arange(len(wiring.senders))[:, None] < before[None, :]


def fill(
    held: Any, wiring: Any, frame: Any, writes: Any, now: Any, stage: Any, *, heads: bool
) -> Any:
    """Contributions of a block's heads or MLP as they are with everything written so far."""

    class Written:
        """The subject with the writes of the circuit so far."""

        modules = held.subject.modules

        @staticmethod
        def run(batch: Any, read: Any) -> Any:
            return held.subject.run(batch, read=read, write=writes)

    made = slow_edges.contributions(Written, wiring, frame.batches[0])
    new = now.clone()
    i = stage.index
    if heads:
        rows = slice(wiring.heads_at[i], wiring.heads_at[i] + wiring.queries)
    else:
        rows = slice(wiring.feeds_at[i], wiring.feeds_at[i] + 1)
    new[:, rows] = made[:, rows]
    return new


@some_networks
@pytest.mark.parametrize("seed", [0, 1])
def test_random_circuits_are_run_as_by_brute_force(name: str, seed: int) -> None:
    held = study(network(name), n=2)
    every = whole(held)
    rng = np.random.default_rng(seed)
    kept = every.allowed & (rng.random(every.allowed.shape) < (0.5, 0.85)[seed])
    found = CircuitRun(batch_size=1).scores(held, {"c": replace(every, kept=kept)})
    model, empty, circuit = found.values.T
    slow = by_force(held, kept)
    assert min(np.abs(slow - model).max(), np.abs(slow - empty).max()) > 1e-5
    np.testing.assert_allclose(circuit, slow, atol=3e-6 * max(1.0, np.abs(model).max()))


@some_networks
def test_all_edges_are_the_model_and_none_the_other_input(name: str) -> None:
    held = study(network(name), n=10)
    every = whole(held)
    circuits = {"all": every, "none": every.complement()}
    found = CircuitRun().scores(held, circuits)
    (frame,) = frames(held, 64)
    values = [frame.score(held.subject.run(b).output, b).numpy() for b in frame.batches.values()]
    for name_, expected in (("model", 0), ("all", 0), ("empty", 1), ("none", 1)):
        got = found.select([Y(name_)]).values[:, 0]
        np.testing.assert_allclose(got, values[expected], atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no difference, so no test
        table = faithfulness(held, every)
    assert table["faithfulness"].estimate == pytest.approx(1.0)
    assert table["missing"].estimate == pytest.approx(0.0)


def made(values: Any, readers: Any) -> EdgeScores:
    senders = ("input", "layers.0.mlp", "layers.1.mlp")
    return EdgeScores(senders, readers, np.asarray(values, np.float32)[None], np.zeros(1))


CHAIN = (
    Reader("layers.0.mlp", 0, 1, (1,)),
    Reader("layers.1.mlp", 1, 2, (2,)),
    Reader("logits", 2, 3),
)
VALUES = [[9.0, 2.0, -4.0], [0.0, 1.0, 0.5], [0.0, 0.0, 3.0]]


def test_top_takes_the_largest_and_prunes_what_leads_nowhere() -> None:
    scores = made(VALUES, CHAIN)
    raw = Circuit.top(scores, 3, prune=False)
    assert [str(e) for e in raw.edges] == [
        "input -> layers.0.mlp", "input -> logits", "layers.1.mlp -> logits",
    ]  # fmt: skip
    assert [str(e) for e in Circuit.top(scores, 3).edges] == ["input -> logits"]
    signed = Circuit.top(scores, 2, absolute=False, prune=False)
    assert [str(e) for e in signed.edges] == ["input -> layers.0.mlp", "layers.1.mlp -> logits"]


def test_greedy_grows_from_the_logits() -> None:
    scores = made(VALUES, CHAIN)
    steps = [[str(e) for e in Circuit.greedy(scores, n, prune=False).edges] for n in range(1, 5)]
    assert steps[0] == ["input -> logits"]
    assert set(steps[1]) - set(steps[0]) == {"layers.1.mlp -> logits"}
    assert set(steps[2]) - set(steps[1]) == {"input -> layers.1.mlp"}
    assert set(steps[3]) - set(steps[2]) == {"layers.0.mlp -> layers.1.mlp"}


def test_pruning_keeps_exactly_the_edges_on_paths() -> None:
    """Against enumeration of all paths, over random sets of edges of a real graph."""
    held = study(network("llama"))
    every = whole(held)
    owners = search.ownership(every.readers, len(every.senders))
    rng = np.random.default_rng(0)
    for _ in range(30):
        kept = every.allowed & (rng.random(every.allowed.shape) < 0.12)
        used = np.zeros_like(kept)

        def walk(sender: int, path: list[tuple[int, int]], kept: Any, used: Any) -> None:
            for v in np.flatnonzero(kept[sender]):
                here = [*path, (sender, int(v))]
                if v == kept.shape[1] - 1:
                    for u, r in here:
                        used[u, r] = True
                for owner in np.flatnonzero(owners[v]):
                    walk(int(owner), here, kept, used)

        walk(0, [], kept, used)
        np.testing.assert_array_equal(search.prune(kept, every.readers), used)


def test_a_band_keeps_what_is_surely_not_nothing() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(40, 3, 3)).astype(np.float32)
    values[:, 0, 2] += 3.0
    scores = EdgeScores(("input", "layers.0.mlp", "layers.1.mlp"), CHAIN, values, np.zeros(40))
    assert [str(e) for e in Circuit.band(scores, Multiplier(draws=500)).edges] == [
        "input -> logits"
    ]


def test_faithfulness_is_a_quotient_of_means_with_fieller() -> None:
    held = study(network("llama"), n=10)
    circuit = Circuit.top(EdgeAttribution(check=0).scores(held), 40)
    found = CircuitRun().scores(held, {"circuit": circuit})
    model, empty, mine = found.means()
    table = faithfulness(held, circuit)
    row = table["faithfulness"]
    assert row.estimate == pytest.approx((mine - empty) / (model - empty))
    assert row.conf_method == "fieller"
    n = found.values[:, 2] - found.values[:, 1]
    d = found.values[:, 0] - found.values[:, 1]
    for limit in (row.conf_low, row.conf_high):  # the test of this quotient is at its edge there
        if limit is not None:
            z = n - limit * d
            t = abs(z.mean()) / (z.std(ddof=1) / np.sqrt(10))
            assert t == pytest.approx(2.262157, abs=1e-4)  # Student's, 9 degrees of freedom


def test_curve_has_the_areas_of_the_benchmark() -> None:
    held = study(network("llama"), n=10)
    scores = EdgeAttribution(check=0).scores(held)
    at = (0.05, 0.2, 0.5, 1.0)
    for how in ("top", "greedy"):
        table = circuit_curve(held, scores, fractions=at, search=how)  # type: ignore[arg-type]
        f = np.array([table[f"faithfulness[{k:g}]"].estimate for k in at])
        assert table["cpr"].estimate == pytest.approx(np.trapezoid(f, at))
        assert table["cmd"].estimate == pytest.approx(np.trapezoid(np.abs(1 - f), at))
        assert f[-1] == pytest.approx(1.0)
        assert table.diagnostics["curve"]["edges"]["1"] == int(scores.allowed.sum())
        assert table["cpr"].std_error > 0


def test_completeness_and_minimality_take_nodes_out() -> None:
    held = study(network("llama"), n=10)
    every = whole(held)
    circuit = Circuit.top(EdgeAttribution(check=0).scores(held), 30)
    sets = [("layers.0.mlp",), ("layers.1.heads.0", "layers.1.mlp")]
    table = completeness(held, circuit, sets=sets)
    for j, nodes in enumerate(sets, start=1):
        cells = CircuitRun().scores(held, {"a": circuit.without(nodes), "b": every.without(nodes)})
        *_, a, b = cells.means()
        assert table[f"completeness[K{j}]"].estimate == pytest.approx(a - b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # differences that are 0 for every pair have no test
        assert all(abs(r.estimate) < 1e-9 for r in completeness(held, every, sets=3))
    small = minimality(held, circuit, nodes=["layers.0.mlp"], given=["layers.1.mlp"])
    left = circuit.without(["layers.1.mlp"])
    cells = CircuitRun().scores(held, {"a": left, "b": left.without(["layers.0.mlp"])})
    *_, a, b = cells.means()
    assert small["minimality[layers.0.mlp]"].estimate == pytest.approx(a - b)


def test_nodes_taken_out_have_no_edges_left() -> None:
    every = whole(study(network("llama")))
    out = every.without(["layers.0.heads.1", "layers.1.mlp"])
    for edge in out.edges:
        assert not edge.sender.startswith(("layers.0.heads.1", "layers.1.mlp"))
        assert not edge.reader.startswith(("layers.0.heads.1.q", "layers.1.mlp"))
    # heads 0 and 1 share keys and values: they stay as long as one of them reads
    assert any(e.reader == "layers.0.heads.0.k" for e in out.edges)


def test_overlap_and_its_chance() -> None:
    from scipy.stats import fisher_exact

    every = whole(study(network("gpt2")))
    at = np.argwhere(every.allowed)
    one, two = np.zeros_like(every.allowed), np.zeros_like(every.allowed)
    one[tuple(at[:30].T)] = True
    two[tuple(at[20:60].T)] = True
    found = overlap(replace(every, kept=one), replace(every, kept=two))
    assert (found.shared, found.first, found.second) == (10, 30, 40)
    assert found.jaccard == pytest.approx(10 / 60)
    n = len(at)
    expected = fisher_exact([[10, 20], [30, n - 60]], alternative="greater")[1]
    assert found.p_value == pytest.approx(expected)
    assert overlap(every, every).p_value is None
    with pytest.raises(DesignError, match="different parts"):
        overlap(every, whole(study(network("llama"))))


def test_selectivity_finds_a_double_dissociation() -> None:
    """Two tasks of one network: what the input says directly, and what an MLP makes of it."""
    model = network("gpt2", scale=8.0)
    held = study(model, n=24)
    every = whole(held)
    run = CircuitRun()
    cells = run.scores(held, {"c": every.complement()})
    circuit = Circuit.top(EdgeAttribution(check=0).scores(held), 60)
    other = study(model, n=16, metric="probability")
    found = selectivity({"c": circuit, "rest": circuit.complement()},
                        {"a": CircuitTask(held, -3.0), "b": CircuitTask(other)})  # fmt: skip
    rest = run.scores(held, {"c": circuit.complement()})
    model_mean, _, left = rest.means()
    row = found["lost[c on a]"]
    assert row.estimate == pytest.approx((model_mean - left) / (model_mean + 3.0))
    one, two = found["lost[c on a]"], found["lost[c on b]"]
    difference = found["selective[c: a - b]"]
    assert difference.estimate == pytest.approx(one.estimate - two.estimate)
    # tasks are independent samples: variances add
    assert difference.std_error == pytest.approx(np.hypot(one.std_error, two.std_error))
    alone = lost(circuit, CircuitTask(held, -3.0))["lost"]
    assert alone.estimate == pytest.approx(row.estimate)
    assert alone.std_error == pytest.approx(row.std_error)
    assert (alone.conf_low, alone.conf_high) == pytest.approx((row.conf_low, row.conf_high))
    assert cells.means().size == 3


def test_double_dissociations_are_read_off_both_intervals() -> None:
    from crossworld.internals.overlap import Gap, _double

    for a, b in itertools.product((0.9, -0.9, 0.05), repeat=2):
        differences = {("c", "t", "s"): Gap(a, 0.1, 90.0), ("d", "t", "s"): Gap(b, 0.1, 90.0)}
        found = _double(differences, ["c", "d"], 0.95)
        assert bool(found) == (a * b < 0 and min(abs(a), abs(b)) > 0.5)


def test_a_circuit_is_kept_as_json(tmp_path: Path) -> None:
    held = study(network("llama"))
    circuit = Circuit.top(EdgeAttribution(check=0).scores(held), 25)
    circuit.save(tmp_path / "c.json")
    again = Circuit.load(tmp_path / "c.json")
    assert again.readers == circuit.readers and again.senders == circuit.senders
    np.testing.assert_array_equal(again.kept, circuit.kept)
    np.testing.assert_allclose(again.scores[circuit.kept], circuit.scores[circuit.kept])
    assert str(again) == str(circuit)
    text = (tmp_path / "c.json").read_text().replace("crossworld-circuit/1", "x")
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DesignError, match="no circuit"):
        Circuit.load(tmp_path / "bad.json")
    broken = json.loads((tmp_path / "c.json").read_text())
    del broken["readers"]
    (tmp_path / "bad.json").write_text(json.dumps(broken))
    with pytest.raises(DesignError, match="damaged"):
        Circuit.load(tmp_path / "bad.json")


def test_a_circuit_is_drawn_and_told() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    held = study(network("llama"))
    circuit = Circuit.top(EdgeAttribution(check=0).scores(held), 25)
    shown = json.loads(json.dumps(circuit.exhibit()))
    names = {n["name"] for n in shown["nodes"]}
    assert {"input", "logits", *circuit.nodes} == names
    assert all(link["source"] in names and link["target"] in names for link in shown["links"])
    into = sum(link["value"] for link in shown["links"] if link["target"] == "logits")
    assert into == pytest.approx(circuit.scores[:, -1][circuit.kept[:, -1]].sum())
    column = {n["name"]: n["column"] for n in shown["nodes"]}
    assert all(column[e["source"]] < column[e["target"]] for e in shown["links"])
    ax = circuit.plot()
    assert {t.get_text() for t in ax.texts} == {n["label"] for n in shown["nodes"]}
    mpl.pyplot.close(ax.figure)


def test_bad_circuits_are_refused() -> None:
    held = study(network("gpt2"))
    every = whole(held)
    scores = EdgeAttribution(check=0).scores(held)
    with pytest.raises(SpecError, match="edges, got"):
        Circuit.top(scores, 10_000)
    with pytest.raises(DesignError, match="not before"):
        Circuit.of(every.senders, every.readers, edges=["layers.1.mlp -> layers.0.mlp"])
    with pytest.raises(SpecError, match="node"):
        every.without(["layers.7.mlp"])
    with pytest.raises(DesignError, match="belongs to a network"):
        faithfulness(held, whole(study(network("llama"))))
    with pytest.raises(SpecError, match="increase"):
        circuit_curve(held, scores, fractions=(0.5, 0.1))
    with pytest.raises(SpecError, match="call the circuit else"):
        CircuitRun().scores(held, {"model": every})
    same = replace(held, pairs=replace(held.pairs, corrupt=held.pairs.clean))
    with pytest.raises(EstimationError, match="all edges and with none"):
        circuit_curve(same, scores)
