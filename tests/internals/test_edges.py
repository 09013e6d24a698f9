"""Edge attribution on every architecture, against autograd on a graph split by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.internals.networks import EDGED, network, study, tokens

torch = pytest.importorskip("torch", reason="the internals of networks need torch")

from crossworld.errors import DesignError, SpecError  # noqa: E402
from crossworld.infer.multiplier import Multiplier  # noqa: E402
from crossworld.internals.eap import mask  # noqa: E402
from crossworld.internals.edges import METHODS, EdgeAttribution, Reference  # noqa: E402
from crossworld.internals.edgescores import Edge  # noqa: E402
from crossworld.internals.exact import edge_effects, rewired  # noqa: E402
from crossworld.internals.frames import frames  # noqa: E402
from crossworld.internals.patch import Patch  # noqa: E402
from crossworld.internals.site import Site  # noqa: E402
from crossworld.internals.wiring import wire  # noqa: E402
from tests.internals import slow_edges  # noqa: E402

every_network = pytest.mark.parametrize("name", EDGED)


def only_frame(held: Any) -> Any:
    (frame,) = frames(held, 64)
    return frame


@every_network
def test_scores_are_those_of_autograd_on_the_split_graph(name: str) -> None:
    held = study(network(name))
    frame = only_frame(held)
    wiring = wire(held.subject, frame.batches[0])
    slow = slow_edges.edge_scores(
        held.subject, wiring, frame.batches[0], frame.batches[1], frame.score
    )
    slow = (slow * mask(wiring)).detach().numpy()
    found = EdgeAttribution(check=0).scores(held)
    assert np.abs(slow).max() > 1e-4
    np.testing.assert_allclose(found.values, slow, atol=2e-6 * np.abs(slow).max(), rtol=0)


@every_network
def test_edges_out_of_a_sender_add_up_to_its_node_score(name: str) -> None:
    """The slope at what a sender adds to the stream is one number per place, by autograd alone."""
    held = study(network(name))
    frame = only_frame(held)
    wiring = wire(held.subject, frame.batches[0])
    clean, corrupt = frame.batches
    change = (slow_edges.contributions(held.subject, wiring, frame.batches[corrupt])
              - slow_edges.contributions(held.subject, wiring, frame.batches[clean]))  # fmt: skip
    sites = [Site("layers.0.resid_pre")]
    sites += [s for stage in wiring.stages for s in (stage.wrote, stage.fed) if s is not None]
    taps = {s: (lambda x: x.view_as(x)) for s in sites}
    run = held.subject.run(frame.batches[0], read=sites, write=taps, grad=True)
    plugs = [held.subject.port(s).plug for s in sites]
    value = frame.score(run.output, frame.batches[0]).sum()
    slopes = dict(
        zip(sites, torch.autograd.grad(value, [run.whole[p] for p in plugs]), strict=True)
    )
    nodes = EdgeAttribution(check=0).scores(held).nodes()
    for j, sender in enumerate(wiring.senders):
        layer = int(sender.split(".")[1]) if "." in sender else 0
        stage = wiring.stages[layer]
        place = sites[0] if j == 0 else stage.wrote if ".heads." in sender else stage.fed
        expected = (change[:, j] * slopes[place]).flatten(1).sum(1).detach().numpy()
        scale = max(np.abs(v).max() for v in nodes.values())
        np.testing.assert_allclose(nodes[sender], expected, atol=3e-6 * scale, rtol=0)


@every_network
def test_cutting_no_edge_is_the_clean_run_and_cutting_all_is_the_corrupt_one(name: str) -> None:
    held = study(network(name))
    frame = only_frame(held)
    wiring = wire(held.subject, frame.batches[0])
    other = Reference.other(frame, wiring, 1)
    own = Reference.other(frame, wiring, 0)
    values = {
        level: frame.score(held.subject.run(batch).output, batch).numpy()
        for level, batch in frame.batches.items()
    }
    assert np.abs(values[1] - values[0]).max() > 1e-3
    none = torch.zeros_like(mask(wiring))
    near = {"atol": 1e-6, "rtol": 1e-6}
    np.testing.assert_allclose(rewired(frame, wiring, other, mask(wiring)), values[0], **near)
    np.testing.assert_allclose(rewired(frame, wiring, other, none), values[1], **near)
    np.testing.assert_allclose(rewired(frame, wiring, own, none), values[0], **near)


@every_network
def test_one_edge_rewired_is_what_the_split_graph_gives(name: str) -> None:
    """Every fifth edge, exactly, by giving one reader's own modules another stream."""
    held = study(network(name), n=2)
    frame = only_frame(held)
    wiring = wire(held.subject, frame.batches[0])
    other = Reference.other(frame, wiring, 1)
    change = (slow_edges.contributions(held.subject, wiring, frame.batches[1])
              - slow_edges.contributions(held.subject, wiring, frame.batches[0]))  # fmt: skip
    clean = frame.score(held.subject.run(frame.batches[0]).output, frame.batches[0]).numpy()
    couples = np.argwhere(mask(wiring).numpy())[::5]
    edges = [Edge(wiring.senders[u], wiring.readers[v].name) for u, v in couples]
    found = edge_effects(frame, wiring, other, edges)
    slow = np.stack(
        [_by_hand(held, wiring, frame, change[:, u], int(v)) - clean for u, v in couples], axis=1
    )
    assert np.abs(slow).max() > 1e-5
    np.testing.assert_allclose(found, slow, atol=2e-6 * max(1.0, np.abs(slow).max()), rtol=0)


def _by_hand(held: Any, wiring: Any, frame: Any, change: Any, reader: int) -> Any:
    """The metric when one reader's stream is changed, by the modules behind it."""
    layer, subject = wiring.readers[reader].layer, held.subject
    if layer == len(wiring.stages):
        run = subject.run(frame.batches[0], write={wiring.final: lambda x: x + change})
        return frame.score(run.output, frame.batches[0]).numpy()
    stage = wiring.stages[layer]
    name = wiring.readers[reader].name
    seen: dict[str, Any] = {}
    if ".heads." not in name:
        if stage.feed == stage.stream:
            norm = subject.modules[stage.feed_norm]
            taps = {stage.stream: lambda x: seen.setdefault("x", x),
                    stage.core: lambda x: norm.forward(seen["x"] + change)}  # fmt: skip
        else:
            taps = {stage.feed: lambda x: x + change}
        run = subject.run(frame.batches[0], write=taps)
        return frame.score(run.output, frame.batches[0]).numpy()
    port = subject.port(Site(name))
    columns = list(port.columns)

    def project(present: Any) -> Any:
        stream = seen["x"] + change
        norm = stage.stream.where.removesuffix(".in")
        normed = stream if stage.norm is None else subject.modules[norm].forward(stream)
        new = present.clone()
        new[..., columns] = subject.modules[port.path].forward(normed)[..., columns]
        return new

    taps = {stage.stream: lambda x: seen.setdefault("x", x), Site(port.path): project}
    run = subject.run(frame.batches[0], write=taps)
    return frame.score(run.output, frame.batches[0]).numpy()


@pytest.mark.parametrize("name", ["gpt2", "qwen3", "gemma2", "phi"])
@pytest.mark.parametrize("method", METHODS)
def test_clean_into_clean_is_nothing(name: str, method: Any) -> None:
    held = study(network(name))
    same = replace(held, pairs=replace(held.pairs, corrupt=held.pairs.clean))
    found = EdgeAttribution(method, steps=2, check=0).scores(same)
    assert np.abs(found.values).max() < 1e-9


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "olmo2", "pythia"])
@pytest.mark.parametrize("method", METHODS)
def test_batches_blocks_and_positions_change_nothing(name: str, method: Any) -> None:
    held = study(network(name), n=5)
    how = EdgeAttribution(method, steps=2, check=0)
    one = how.scores(held)
    scale = 1e-6 * np.abs(one.values).max()
    for other in (replace(how, batch_size=1), replace(how, batch_size=2)):
        np.testing.assert_allclose(other.scores(held).values, one.values, atol=scale, rtol=0)
    by_position = replace(how, positions=True).scores(held)
    assert by_position.values.shape == (5, 7, *one.values.shape[1:])
    np.testing.assert_allclose(by_position.total, one.values, atol=3 * scale, rtol=0)


def test_a_small_budget_of_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossworld.internals import eap, edges

    held = study(network("llama"), n=4)
    one = EdgeAttribution(check=0).scores(held)
    monkeypatch.setattr(edges, "spans", lambda w, s, b, n: eap.spans(w, s, 1, n))
    monkeypatch.setattr(eap, "spans", lambda w, s, b, n, of=eap.spans: of(w, s, 1, n))
    two = EdgeAttribution(check=0).scores(held)
    np.testing.assert_allclose(two.values, one.values, atol=1e-6 * np.abs(one.values).max(), rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "gemma2", "olmo2", "phi3", "pythia"])
def test_padding_on_the_left_changes_nothing(name: str) -> None:
    """Inputs padded on the left, with their mask, give the scores of inputs without pads."""
    from crossworld.internals.study import PatchStudy
    from crossworld.internals.subject import TorchSubject

    # Gemma 2 of transformers 5 itself gives NaN at pads in double precision
    model = network(name, dtype=torch.float32 if name == "gemma2" else None)
    clean, corrupt = tokens(3, 6)
    plain = [{"clean": a, "corrupt": b, "answer": 5, "wrong": 9}
             for a, b in zip(clean, corrupt, strict=True)]  # fmt: skip

    def padded(ids: Any) -> dict[str, Any]:
        return {
            "input_ids": np.concatenate([[0, 0, 0], ids]),
            "attention_mask": np.array([0] * 3 + [1] * len(ids)),
        }

    rows = [{**row, "clean": padded(row["clean"]), "corrupt": padded(row["corrupt"])}
            for row in plain]  # fmt: skip
    how = EdgeAttribution("ig-inputs", steps=2, check=0)
    one = how.scores(PatchStudy(TorchSubject(model), plain, "logit_difference"))
    two = how.scores(PatchStudy(TorchSubject(model), rows, "logit_difference"))
    scale = np.abs(one.values).max()
    assert scale > 1e-4
    near = 1e-3 if name == "gemma2" else 1e-5
    np.testing.assert_allclose(two.values, one.values, atol=near * scale, rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "pythia"])
def test_activation_paths_add_up_to_exact_effects(name: str) -> None:
    """Integrated over a sender's own values, the edges out of it sum to patching it."""
    held = study(network(name), n=2, sites=["layers.*.mlp", "layers.*.attn"])
    found = EdgeAttribution(
        "ig-activations", steps=60, rule="midpoint", check=0
    ).scores(held).nodes()  # fmt: skip
    from crossworld.core.expression import Y

    names = [str(s) for s in held.sites]
    cells = [c.bind(held.blocks) for c in (Y(0), *(Y(0, **{n: 1}) for n in names))]
    values = Patch(check=False).scores(held, cells).values
    for j, where in enumerate(names, start=1):
        exact = values[:, j] - values[:, 0]
        mine = [v for k, v in found.items() if k == where or (
            where.endswith(".attn") and k.startswith(where.replace("attn", "heads."))
        )]  # fmt: skip
        scale = np.abs(values[:, 1:] - values[:, :1]).max()
        np.testing.assert_allclose(np.sum(mine, axis=0), exact, atol=2e-3 * scale, rtol=0)


def test_integrated_gradients_take_the_points_of_their_rule() -> None:
    how = EdgeAttribution("ig-inputs", steps=4)
    from crossworld.internals.edges import _Run

    def run(rule: Any) -> Any:
        return _Run(None, None, replace(how, rule=rule))  # type: ignore[arg-type]

    assert run("published").shares(from_clean=False) == [0.0, 0.25, 0.5, 0.75]
    assert run("published").shares(from_clean=True) == [0.25, 0.5, 0.75, 1.0]
    assert run("midpoint").shares(from_clean=True) == [0.125, 0.375, 0.625, 0.875]


def test_one_step_at_either_end_is_the_slope_there() -> None:
    held = study(network("llama"))
    swapped = replace(
        held, pairs=replace(held.pairs, clean=held.pairs.corrupt, corrupt=held.pairs.clean)
    )
    eap = EdgeAttribution(check=0)
    clean, corrupt = eap.scores(held).values, -eap.scores(swapped).values
    both = replace(eap, method="clean-corrupt").scores(held).values
    first = replace(eap, method="ig-inputs", steps=1).scores(held).values
    scale = 1e-6 * np.abs(clean).max()
    np.testing.assert_allclose(both, (clean + corrupt) / 2, atol=scale, rtol=0)
    np.testing.assert_allclose(first, corrupt, atol=scale, rtol=0)
    assert np.abs(clean - corrupt).max() > 1e3 * scale


def test_scores_tell_their_error_beside_exact_patching() -> None:
    held = study(network("llama", scale=2.0), n=6)
    found = EdgeAttribution("ig-inputs", steps=8, rule="midpoint", check=40).scores(held)
    for told in found.agreement.values():
        assert told.population == len(found.edges) and len(told.places) == 20
    frame = only_frame(held)
    wiring = wire(held.subject, frame.batches[0])
    told = found.agreement["largest"]
    edges = [Edge.parse(p) for p in told.places]
    exact = edge_effects(frame, wiring, Reference.other(frame, wiring, 1), edges).mean(axis=0)
    np.testing.assert_allclose(told.exact, exact, atol=1e-9)
    approximate = np.array([found.of(e).mean() for e in edges])
    np.testing.assert_allclose(told.approximate, approximate, atol=1e-6)
    error = np.linalg.norm(approximate - exact) / np.linalg.norm(exact)
    assert told.relative_error == pytest.approx(error, rel=1e-6)
    assert told.rank_correlation is not None and told.rank_correlation > 0.8


def test_intervals_and_bands() -> None:
    held = study(network("llama"), n=12)
    found = EdgeAttribution(check=0).scores(held)
    table = found.table(4)
    top = found.order()[0]
    values = found.of(top)
    row = table[f"pnie[{top}]"]
    assert row.estimate == pytest.approx(values.mean())
    assert row.std_error == pytest.approx(values.std(ddof=1) / np.sqrt(values.size))
    band = found.table(4, inference=Multiplier(draws=400))
    assert band[f"pnie[{top}]"].conf_low < row.conf_low
    assert band.diagnostics["critical_value"] > 2.5
    outside = found.outside_band(Multiplier(draws=400))
    assert outside.sum() <= (np.abs(found.mean()) > 1.96 * found.std_error()).sum()


def test_clusters_widen_what_they_should() -> None:
    held = study(network("llama"), n=12)
    twice = replace(held, units=np.repeat(np.arange(12), 2))
    labels = tuple(str(i) for i in range(12))
    grouped = replace(twice, pairs=replace(held.pairs, cluster=labels))
    how = EdgeAttribution(check=0)
    single, copies, clustered = (how.scores(s) for s in (held, twice, grouped))
    edge = single.order()[0]
    one, two, three = (s.table([edge]).rows[0].std_error for s in (single, copies, clustered))
    assert two == pytest.approx(one)  # a pair that is taken twice stays one unit
    assert three == pytest.approx(one)
    fewer = replace(held, pairs=replace(held.pairs, cluster=tuple(str(i % 10) for i in range(12))))
    assert how.scores(fewer).table([edge]).rows[0].std_error != pytest.approx(one)


def test_zero_and_mean_sources() -> None:
    model = network("llama")
    held = study(model, n=4, source="zero")
    frame = only_frame(held)
    wiring = wire(held.subject, frame.batches[0])
    own = slow_edges.contributions(held.subject, wiring, frame.batches[0])
    slopes = slow_edges.slopes(held.subject, wiring, frame.batches[0], frame.score)
    slow = torch.einsum("bstd,brtd->bsr", -own, slopes) * mask(wiring)
    found = EdgeAttribution(check=0).scores(held).values
    np.testing.assert_allclose(found, slow.detach(), atol=2e-6 * float(slow.abs().max()), rtol=0)
    mean = study(model, n=4, source="mean")
    other = slow_edges.contributions(mean.subject, wiring, frame.batches[1]).mean(0, keepdim=True)
    slow = torch.einsum("bstd,brtd->bsr", other - own, slopes) * mask(wiring)
    for size in (1, 4):
        found = EdgeAttribution(check=0, batch_size=size).scores(mean).values
        np.testing.assert_allclose(
            found, slow.detach(), atol=2e-6 * float(slow.abs().max()), rtol=0
        )


def test_a_linear_network_has_no_error() -> None:
    """Without softmax, norms and kinks the edges into the logits sum to the total effect."""
    model = linear_network()
    from crossworld.internals.study import PatchStudy
    from crossworld.internals.subject import TorchSubject

    clean, corrupt = tokens(4, 5)
    rows = [{"clean": a, "corrupt": b} for a, b in zip(clean, corrupt, strict=True)]
    held = PatchStudy(TorchSubject(model), rows, lambda y: y[:, -1, 5] - y[:, -1, 9])
    found = EdgeAttribution(check=10).scores(held)
    frame = only_frame(held)
    total = [frame.score(model(b.inputs), b).detach().numpy() for b in frame.batches.values()]
    into = found.total[:, :, -1].sum(axis=1)
    np.testing.assert_allclose(into, total[1] - total[0], rtol=1e-5)
    assert found.agreement["largest"].relative_error < 1e-5


def linear_network() -> Any:
    """A stack of linear MLPs on a stream, a constant scale in the place of the norms."""

    class Scale(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(12, dtype=torch.float64) + 0.5)

        def forward(self, x: Any) -> Any:
            return x * self.weight

    class Norm(Scale):
        pass

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = Norm()
            self.mlp = torch.nn.Linear(12, 12, dtype=torch.float64)

        def forward(self, x: Any) -> Any:
            return x + self.mlp(self.norm(x))

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(97, 12, dtype=torch.float64)
            self.layers = torch.nn.ModuleList([Block(), Block(), Block()])
            self.final_norm = Norm()
            self.head = torch.nn.Linear(12, 97, dtype=torch.float64)

        def forward(self, input_ids: Any) -> Any:
            x = self.embed(input_ids)
            for layer in self.layers:
                x = layer(x)
            return self.head(self.final_norm(x))

    torch.manual_seed(0)
    return Net()


def test_bert_is_refused_in_words() -> None:
    with pytest.raises(DesignError, match="norm after the sum"):
        EdgeAttribution().scores(study(network("bert"), metric=lambda y: y[:, -1, 5]))


def test_bad_input_is_refused() -> None:
    held = study(network("gpt2"))
    with pytest.raises(SpecError, match="ig-inputs"):
        EdgeAttribution("ig-input")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="steps"):
        EdgeAttribution(steps=0)
    with pytest.raises(DesignError, match="no derivative"):
        EdgeAttribution().scores(replace(held, metric="accuracy"))
    with pytest.raises(DesignError, match="resample"):
        EdgeAttribution().scores(replace(held, source="resample"))
    with pytest.raises(DesignError, match="empty stream"):
        EdgeAttribution("ig-inputs").scores(replace(held, source="zero"))
    scores = EdgeAttribution(check=0).scores(held)
    with pytest.raises(SpecError, match="layers"):
        scores.of("layers.0.heads.9 -> logits")
    with pytest.raises(DesignError, match="no edge"):
        scores.of("layers.1.heads.0 -> layers.0.mlp")
    with pytest.raises(SpecError, match="written"):
        scores.of("layers.0.mlp")
    uneven = [{"clean": [3, 4, 5], "corrupt": [3, 4], "answer": 5, "wrong": 9}]
    with pytest.raises(DesignError, match="equally long"):
        EdgeAttribution().scores(replace(held, pairs=uneven, units=None))
