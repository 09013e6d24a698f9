"""Effects along paths, against runs that are set up by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.internals.networks import network, study

torch = pytest.importorskip("torch", reason="the internals of networks need torch")

from crossworld.core.expression import Y  # noqa: E402
from crossworld.errors import DesignError, SpecError  # noqa: E402
from crossworld.internals.edgescores import Edge  # noqa: E402
from crossworld.internals.frames import frames, wiring_of  # noqa: E402
from crossworld.internals.paths import PathPatch  # noqa: E402
from crossworld.internals.site import Site  # noqa: E402
from tests.internals import slow_edges  # noqa: E402

some_networks = pytest.mark.parametrize(
    "name", ["gpt2", "qwen3", "gemma2", "olmo2", "phi", "pythia"]
)


def parts(name: str, n: int = 3) -> tuple[Any, Any, Any, Any]:
    """A study, its frame, its wiring, and what senders write under both inputs."""
    held = study(network(name), n=n)
    (frame,) = frames(held, 64)
    wiring = wiring_of(frame)
    wrote = [slow_edges.contributions(held.subject, wiring, frame.batches[i]) for i in (0, 1)]
    return held, frame, wiring, wrote


def value(held: Any, frame: Any, level: int, write: Any = None) -> Any:
    run = held.subject.run(frame.batches[level], write=write)
    return frame.score(run.output, frame.batches[level]).numpy()


@some_networks
def test_all_edges_as_paths_are_the_total_effect(name: str) -> None:
    held, frame, wiring, _ = parts(name)
    every = [Edge(u, r.name) for r in wiring.readers for u in wiring.senders[: r.senders]]
    found = PathPatch("paths").scores(held, {"all": every}).values
    np.testing.assert_allclose(found[:, 0], value(held, frame, 0), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], value(held, frame, 1), atol=1e-6)
    np.testing.assert_allclose(found[:, 2], found[:, 1], atol=1e-6)
    assert np.abs(found[:, 1] - found[:, 0]).max() > 1e-3


@some_networks
def test_direct_edges_into_the_logits_only_change_what_the_last_norm_reads(name: str) -> None:
    held, frame, wiring, (clean, corrupt) = parts(name)
    senders = ["layers.0.heads.1", "layers.1.mlp"]
    at = [wiring.sender(s) for s in senders]
    change = (corrupt - clean)[:, at].sum(1)
    by_hand = value(held, frame, 0, {wiring.final: lambda x: x + change})
    edges = [f"{s} -> logits" for s in senders]
    table = PathPatch().scores(held, {"direct": edges})
    np.testing.assert_allclose(table.values[:, 2], by_hand, atol=1e-6)
    assert np.abs(by_hand - table.values[:, 0]).max() > 1e-5


@some_networks
def test_a_path_of_two_edges_carries_what_the_middle_makes_of_the_first(name: str) -> None:
    """input -> layers.0.mlp -> logits, computed with the block's own modules."""
    held, frame, wiring, (clean, corrupt) = parts(name)
    stage, subject = wiring.stages[0], held.subject
    change = (corrupt - clean)[:, 0]  # of the input of the stream
    place = stage.feed if stage.feed != stage.stream else stage.core
    seen: dict[str, Any] = {}

    def into(x: Any) -> Any:
        if stage.feed == stage.stream:  # one norm for attention and MLP
            return subject.modules[stage.feed_norm].forward(seen["stream"] + change)
        return x + change

    taps: dict[Any, Any] = {} if stage.stream is None else {
        stage.stream: lambda x: seen.setdefault("stream", x)
    }  # fmt: skip
    taps[place] = into
    made = subject.run(frame.batches[0], write=taps, read=[stage.fed]).values[stage.fed]
    more = made - clean[:, wiring.feeds_at[0]]
    by_hand = value(held, frame, 0, {wiring.final: lambda x: x + more})
    path = ["input -> layers.0.mlp", "layers.0.mlp -> logits"]
    found = PathPatch("paths").scores(held, {"path": path}).values
    np.testing.assert_allclose(found[:, 2], by_hand, atol=1e-6)
    assert np.abs(by_hand - found[:, 0]).max() > 1e-5


@some_networks
def test_receivers_respond_and_so_does_everything_behind_them(name: str) -> None:
    """input -> layers.0.mlp: the MLP sees the corrupt input, the rest runs on."""
    held, frame, wiring, (clean, corrupt) = parts(name)
    stage, subject = wiring.stages[0], held.subject
    change = (corrupt - clean)[:, 0]
    seen: dict[str, Any] = {}
    if stage.feed == stage.stream:
        norm = subject.modules[stage.feed_norm]
        taps = {stage.stream: lambda x: seen.setdefault("x", x),
                stage.core: lambda x: norm.forward(seen["x"] + change)}  # fmt: skip
    else:
        taps = {stage.feed: lambda x: x + change}
    by_hand = value(held, frame, 0, taps)
    found = PathPatch().scores(held, {"edge": ["input -> layers.0.mlp"]}).values
    np.testing.assert_allclose(found[:, 2], by_hand, atol=1e-6)
    assert np.abs(by_hand - found[:, 0]).max() > 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_recomputed_mlps_are_those_of_heads_frozen_and_mlps_free(name: str) -> None:
    """Wang et al.'s first pass: a head is patched, all others keep their values, MLPs respond."""
    held, frame, wiring, (clean, corrupt) = parts(name)
    subject = held.subject
    u = wiring.sender("layers.0.heads.2")
    change = (corrupt - clean)[:, u]
    second, last = wiring.stages[1], len(wiring.stages)
    frozen: dict[Any, Any] = {}
    values = subject.run(frame.batches[0], read=[s.wrote for s in wiring.stages]).values
    for stage in wiring.stages:
        frozen[stage.wrote] = values[stage.wrote] + (change if stage.index == 0 else 0.0)
    run = subject.run(frame.batches[0], write=frozen, read=[wiring.final])
    by_hand = frame.score(run.output, frame.batches[0]).numpy()  # receiver: the logits
    found = PathPatch(mlps="recomputed").scores(held, {"p": ["layers.0.heads.2 -> logits"]}).values
    np.testing.assert_allclose(found[:, 2], by_hand, atol=1e-6)
    direct = PathPatch().scores(held, {"p": ["layers.0.heads.2 -> logits"]}).values
    assert np.abs(direct[:, 2] - by_hand).max() > 1e-5
    assert second.index == last - 1
    # receiver: a query of block 1 sees the head and the MLP that responded; then all is run again
    stream = subject.run(frame.batches[0], write=frozen, read=[second.stream]).values[second.stream]
    name_q = "layers.1.heads.1.q"
    port = subject.port(Site(name_q))
    columns = list(port.columns)

    def query(present: Any) -> Any:
        norm = second.stream.where.removesuffix(".in")
        new = present.clone()
        normed = stream if second.norm is None else subject.modules[norm].forward(stream)
        new[..., columns] = subject.modules[port.path].forward(normed)[..., columns]
        return new

    by_hand = value(held, frame, 0, {Site(port.path): query})
    edge = {"p": [f"layers.0.heads.2 -> {name_q}"]}
    found = PathPatch(mlps="recomputed").scores(held, edge).values
    np.testing.assert_allclose(found[:, 2], by_hand, atol=1e-6)
    assert np.abs(by_hand - found[:, 0]).max() > 1e-6


@pytest.mark.filterwarnings("ignore:only .* clusters")
def test_effects_have_intervals_over_pairs() -> None:
    held = study(network("llama"), n=8)
    path = {"direct": ["layers.1.mlp -> logits"], "in": ["input -> logits"]}
    table = PathPatch(batch_size=3).effects(held, path)
    values = PathPatch().scores(held, path)
    assert [r.term for r in table] == ["te", "pse[direct]", "pse[in]"]
    one = values.values[:, 2] - values.values[:, 0]
    assert table["pse[direct]"].estimate == pytest.approx(one.mean())
    assert table["pse[direct]"].std_error == pytest.approx(one.std(ddof=1) / np.sqrt(8))
    assert values.cells[0] == Y(0) and values.cells[1] == Y(1)


def test_bad_paths_are_refused() -> None:
    held = study(network("gpt2"))
    with pytest.raises(DesignError, match="no path"):
        PathPatch("paths").scores(held, {"p": ["input -> layers.0.mlp"]})
    with pytest.raises(DesignError, match="no edge"):
        PathPatch().scores(held, {"p": ["layers.1.mlp -> layers.0.mlp"]})
    with pytest.raises(SpecError, match="sender"):
        PathPatch().scores(held, {"p": ["layers.0.head.1 -> logits"]})
    with pytest.raises(SpecError, match="no path was named"):
        PathPatch().scores(held, {})
    with pytest.raises(SpecError, match="carry"):
        PathPatch("receiver")  # type: ignore[arg-type]
    both = ["input -> logits", "layers.0.mlp -> logits"]
    with pytest.raises(DesignError, match="lies between"):
        PathPatch(mlps="recomputed").scores(held, {"p": both})
