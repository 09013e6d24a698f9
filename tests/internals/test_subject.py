"""Activations of every architecture are read and set where the sites say."""

from __future__ import annotations

import numpy as np
import pytest

from crossworld.errors import DesignError, EstimationError
from crossworld.internals.basis import Feature, Subspace
from crossworld.internals.inputs import batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from tests.internals.zoo import MODELS, every_model, model, tokens, torch

PLACES = ("embed", "layers.*.attn @ -1", "layers.*.mlp", "layers.*.resid", "layers.*.resid_pre @ 2",
          "layers.1.heads.*", "layers.1.heads.*.q", "layers.*.heads.*.k", "layers.0.heads.*.v @ -1",
          "layers.0.heads.*.pattern @ -1", "layers.1.mlp.neurons.3")  # fmt: skip


def places(name: str) -> tuple[str, ...]:
    return ("embed", "layers.*.mixer", "layers.*.resid @ -1") if name == "mamba" else PLACES


def patterns(site: Site) -> tuple[Site, ...]:
    """Attention with hooks differs from the fused kernel in the last digits: run both with it."""
    return (site,) if site.stream == "pattern" else ()


@every_model
def test_what_is_there_changes_nothing_and_something_else_does(name: str) -> None:
    subject = TorchSubject(model(name))
    one, other = batch(list(tokens(2))), batch(list(tokens(2, seed=1)))
    sites = subject.sites(*places(name))
    for site in sites:
        mine, theirs = (subject.run(b, read=(site,)).values[site] for b in (one, other))
        same = subject.run(one, write={site: mine}, read=patterns(site)).output
        reference = subject.run(one, read=patterns(site)).output
        assert torch.equal(same, reference), site
        moved = subject.run(one, write={site: theirs}, read=patterns(site)).output
        assert not torch.allclose(moved, reference, atol=1e-7), site


@every_model
def test_the_whole_stream_carries_everything(name: str) -> None:
    subject = TorchSubject(model(name))
    one, other = batch(list(tokens(2))), batch(list(tokens(2, seed=1)))
    for text in ("embed", "layers.0.resid", "layers.1.resid_pre", "layers.1.resid"):
        site = Site.parse(text)
        value = subject.run(other, read=(site,)).values[site]
        patched = subject.run(one, write={site: value}).output
        torch.testing.assert_close(patched, subject.run(other).output, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen3", "gpt2", "pythia", "phi3", "bert"])
def test_heads_together_are_the_input_of_the_projection(name: str) -> None:
    subject = TorchSubject(model(name))
    one, other = batch(list(tokens(1))), batch(list(tokens(1, seed=1)))
    heads = subject.sites("layers.1.heads.*")
    out = subject.layout.blocks[1].out
    whole = Site(f"{out}.in")
    values = subject.run(other, read=(*heads, whole)).values
    by_head = subject.run(one, write={h: values[h] for h in heads}).output
    torch.testing.assert_close(by_head, subject.run(one, write={whole: values[whole]}).output)
    joined = torch.cat([values[h] for h in heads], -1)
    assert torch.equal(joined, values[whole])


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("mamba",)])
def test_queries_keys_and_values_together_fix_a_head(name: str) -> None:
    """Setting q, k and v of a layer from another input sets its head outputs to that input's."""
    subject = TorchSubject(model(name))
    one, other = batch(list(tokens(1))), batch(list(tokens(1, seed=1)))
    inner = subject.sites("layers.1.heads.*.q", "layers.1.heads.*.k", "layers.1.heads.*.v")
    heads = subject.sites("layers.1.heads.*")
    values = subject.run(other, read=(*inner, *heads)).values
    run = subject.run(one, write={s: values[s] for s in inner}, read=heads)
    for head in heads:
        torch.testing.assert_close(run.values[head], values[head], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "phi", "bert"])
def test_attention_weights_are_those_the_model_reports(name: str) -> None:
    network = model(name)
    subject = TorchSubject(network)
    one = batch(list(tokens(2)))
    sites = subject.sites("layers.1.heads.*.pattern")
    read = subject.run(one, read=sites).values
    network.set_attn_implementation("eager")
    with torch.no_grad():
        reported = network(one.inputs, output_attentions=True).attentions[1]
    for head, site in enumerate(sites):
        torch.testing.assert_close(read[site], reported[:, head], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("bert", "mamba")])
def test_left_padding_changes_nothing(name: str) -> None:
    subject = TorchSubject(model(name))
    plain = tokens(1)[0]
    padded = np.concatenate([[0, 0, 0], plain])
    mask = np.array([0, 0, 0, *[1] * plain.size])
    one = batch([plain])
    two = batch([{"input_ids": padded, "attention_mask": mask}])
    sites = subject.sites("layers.0.mlp @ 2", "layers.1.resid @ -1", "layers.1.heads.2.q @ 3")
    a, b = subject.run(one, read=sites), subject.run(two, read=sites)
    torch.testing.assert_close(a.output[:, -1], b.output[:, -1], rtol=1e-4, atol=1e-5)
    for site in sites:
        torch.testing.assert_close(a.values[site], b.values[site], rtol=1e-4, atol=1e-5)
    write = {sites[0]: a.values[sites[0]] + 1.0}
    torch.testing.assert_close(
        subject.run(one, write=write).output[:, -1],
        subject.run(two, write=write).output[:, -1],
        rtol=1e-4,
        atol=1e-5,
    )


def test_gradients_are_those_of_autograd_and_of_small_steps() -> None:
    subject = TorchSubject(model("gpt2").double())
    one = batch(list(tokens(2)))
    site = Site.parse("layers.0.mlp")
    run = subject.run(one, read=(site,), grad=True)
    total = run.output[:, -1, 3].sum()
    plug = subject.port(site).plug
    (slope,) = torch.autograd.grad(total, [run.whole[plug]])
    step = torch.zeros_like(slope)
    step[1, 4, 7] = 1e-5
    up = subject.run(one, write={site: lambda h: h + step}).output[:, -1, 3].sum()
    down = subject.run(one, write={site: lambda h: h - step}).output[:, -1, 3].sum()
    assert abs(float((up - down) / 2e-5 - slope[1, 4, 7])) < 1e-8


def test_frozen_parameters_have_gradients_of_activations() -> None:
    network = model("gpt2")
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    subject = TorchSubject(network)
    site = Site.parse("layers.0.resid")
    run = subject.run(batch(list(tokens(1))), read=(site,), grad=True)
    plug = subject.port(site).plug
    (slope,) = torch.autograd.grad(run.output[:, -1, 3].sum(), [run.whole[plug]])
    assert float(slope.abs().max()) > 0


def test_a_subspace_is_set_and_the_rest_is_kept() -> None:
    rng = np.random.default_rng(0)
    basis = Subspace(rng.normal(size=(32, 3)))
    subject = TorchSubject(model("gpt2").double(), bases={"v": basis})
    one = batch(list(tokens(2)))
    site, whole = Site.parse("layers.0.resid[v] @ 3"), Site.parse("layers.0.resid @ 3")
    target = torch.tensor(rng.normal(size=(2, 1, 3)))
    before = subject.run(one, read=(whole,)).values[whole]
    after = subject.run(one, write={site: target}, read=(whole, site)).values
    torch.testing.assert_close(after[site], target)
    columns = torch.as_tensor(basis.matrix)
    rest = torch.eye(32, dtype=torch.float64) - columns @ columns.T
    torch.testing.assert_close(after[whole] @ rest, before @ rest)


def test_a_feature_is_set_along_its_decoder() -> None:
    rng = np.random.default_rng(0)
    encoder, decoder = rng.normal(size=(32, 1)), rng.normal(size=(1, 32))
    subject = TorchSubject(
        model("gpt2").double(), bases={"f": Feature(encoder, np.zeros(1), decoder)}
    )
    one = batch(list(tokens(1)))
    site, whole = Site.parse("layers.0.resid[f] @ 3"), Site.parse("layers.0.resid @ 3")
    before = subject.run(one, read=(whole, site)).values
    active = torch.relu(before[whole] @ torch.as_tensor(encoder))
    torch.testing.assert_close(before[site], active)
    after = subject.run(one, write={site: before[site] + 2.0}, read=(whole,)).values[whole]
    torch.testing.assert_close(after - before[whole], 2.0 * torch.as_tensor(decoder)[None])


class TestSilentFailures:
    def test_a_module_that_does_not_run(self) -> None:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.used, self.idle = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

            def forward(self, x):
                return self.used(x)

        subject = TorchSubject(Net())
        with pytest.raises(EstimationError, match="'idle' did not run"):
            subject.run(batch([np.zeros(2, np.float32)]), read=(Site("idle"),))

    def test_a_module_that_runs_twice(self) -> None:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.twice = torch.nn.Linear(2, 2)

            def forward(self, x):
                return self.twice(self.twice(x))

        with pytest.raises(EstimationError, match="ran 2 times"):
            TorchSubject(Net()).run(batch([np.zeros(2, np.float32)]), read=(Site("twice"),))

    def test_hooks_are_gone_afterwards_even_after_an_error(self) -> None:
        network = model("gpt2")
        subject = TorchSubject(network)
        one = batch(list(tokens(1)))
        before = subject.run(one).output
        site = Site.parse("layers.0.mlp @ 99")
        with pytest.raises(DesignError, match="no position 99"):
            subject.run(one, read=(site,))
        assert torch.equal(subject.run(one).output, before)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())

    def test_training_mode_comes_back(self) -> None:
        network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)).train()
        subject = TorchSubject(network)
        one = batch([np.ones(2, np.float32)])
        assert torch.equal(subject.run(one).output, subject.run(one).output)
        assert all(m.training for m in network.modules())

    def test_what_is_no_module_is_refused(self) -> None:
        with pytest.raises(DesignError, match="a subject is a torch module, got a dict"):
            TorchSubject({})


def test_channels_of_an_image_network() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(108, 2)
    )
    subject = TorchSubject(net)
    one = batch([np.random.default_rng(i).normal(size=(1, 8, 8)).astype(np.float32)
                 for i in range(2)])  # fmt: skip
    sites = subject.sites("0.channels.*")
    assert len(sites) == 3
    whole = subject.run(one, read=(Site("0"),)).values[Site("0")]
    read = subject.run(one, read=sites).values
    for channel, site in enumerate(sites):
        assert torch.equal(read[site], whole[:, [channel]])
    zeroed = subject.run(one, write={sites[1]: torch.zeros_like}).output
    kept = whole.clone()
    kept[:, 1] = 0
    with torch.no_grad():
        torch.testing.assert_close(zeroed, net[1:](kept))
