"""Attribution patching and AtP*: where they are exact, and that they say where they are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.internals.networks import BUILD, network, study

torch = pytest.importorskip("torch", reason="the internals of networks need torch")

import crossworld as xw  # noqa: E402
from crossworld.core.expression import Y  # noqa: E402
from crossworld.core.regime import M  # noqa: E402
from crossworld.errors import DesignError, SpecError  # noqa: E402
from crossworld.infer.multiplier import Multiplier  # noqa: E402
from crossworld.internals.agreement import agreement, spearman  # noqa: E402
from crossworld.internals.atpstar import AtPStar  # noqa: E402
from crossworld.internals.attribution import Attribution  # noqa: E402
from crossworld.internals.frames import frames  # noqa: E402
from crossworld.internals.linear import Linear  # noqa: E402
from crossworld.internals.patch import Patch  # noqa: E402
from crossworld.internals.study import PatchStudy  # noqa: E402
from crossworld.internals.subject import TorchSubject  # noqa: E402

SITES = (
    "layers.*.resid @ -1", "layers.*.mlp @ 3", "layers.*.attn", "layers.*.heads.*.z @ -1",
    "layers.*.heads.*.q", "layers.*.heads.*.k @ 3", "layers.*.heads.*.v", "layers.0.mlp.neurons.5",
)  # fmt: skip


def cells_of(held: Any) -> list[Any]:
    cells = [Y(0), Y(1), *(Y(0, **{str(s): 1}) for s in held.sites)]
    cells += [Y(1, **{str(s): 0}) for s in held.sites]
    return list(dict.fromkeys(c.bind(held.blocks) for c in cells))


@pytest.mark.parametrize("name", [n for n in BUILD if n != "mamba"])
def test_slopes_are_those_of_small_exact_patches(name: str) -> None:
    """Patch a site a thousandth of the way, exactly; attribution is the limit."""
    sites = SITES if name != "bert" else SITES[:7]
    metric: Any = "logit_difference"
    held = study(network(name), sites=sites, metric=metric)
    frame = next(iter(frames(held, 64)))
    linear = Linear.at(frame, 0, held.sites)
    step = 1e-2  # some norms compute in single precision, whatever the network is in
    run = held.subject.run
    scale, errors = 0.0, []
    for site in held.sites[::3]:
        own, other = linear.natural[0][site], linear.natural[1][site]
        ends = []
        for sign in (1.0, -1.0):
            output = run(frame.batches[0], write={site: own + sign * step * (other - own)}).output
            ends.append(frame.score(output, frame.batches[0]))
        slow = (ends[0] - ends[1]) / (2 * step)
        from crossworld.internals.sources import Source

        found = linear.effect(site, Source("level", 1))
        scale = max(scale, float(slow.abs().max()))
        errors.append(float((found - slow).abs().max()))
    assert scale > 1e-3
    assert max(errors) < 5e-3 * scale


def test_a_linear_network_has_no_error_in_any_cell() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    rng = np.random.default_rng(0)
    pairs = (rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32))
    held = PatchStudy(TorchSubject(net), pairs, lambda y: y[:, 0],
                      sites=["0.neurons.1", "1", "0.neurons.2"])  # fmt: skip
    cells = cells_of(held)
    joint = [Y(0, M(1)), Y(1, M(0)), Y(0, **{"0.neurons.1": 1, "1": 1}), Y(0, M("zero"))]
    cells += [c.bind(held.blocks) for c in joint]
    exact = Patch(check=False).scores(held, cells).values
    found = Attribution().scores(held, cells)
    np.testing.assert_allclose(found.values, exact, atol=1e-5)
    assert np.abs(exact - exact[:, :1]).max() > 0.1
    assert found.diagnostics["approximation"]["relative_error"] < 1e-4


def test_joint_cells_hold_later_sites_fixed() -> None:
    """Setting a site and one behind it: what the first does through the second does not count."""
    held = study(network("llama", scale=2.0), sites=["layers.0.resid", "layers.1.resid"])
    cells = [c.bind(held.blocks) for c in (Y(0), Y(1), Y(0, M(1)))]
    found = Attribution(check=0).scores(held, cells).values
    # all of the last block's stream comes from the corrupt input: the first site adds nothing
    alone = [Y(0), Y(0, **{"layers.1.resid": 1})]
    single = Attribution(check=0).scores(held, [c.bind(held.blocks) for c in alone]).values
    np.testing.assert_allclose(found[:, 2], single[:, 1], atol=1e-9)


def test_pairs_of_equal_inputs_have_no_effect() -> None:
    held = study(network("gpt2"), sites=SITES)
    same = replace(held, pairs=replace(held.pairs, corrupt=held.pairs.clean))
    values = Attribution(qk_fix=True, check=0).scores(same, cells_of(same)).values
    np.testing.assert_allclose(values, np.repeat(values[:, :1], values.shape[1], 1), atol=1e-12)
    assert np.abs(AtPStar(check=0).sizes(same)).max() < 1e-12


@pytest.mark.parametrize("how", [Attribution(check=0), Attribution(qk_fix=True, check=0)])
def test_batches_change_nothing(how: Attribution) -> None:
    held = study(network("gemma2"), n=5, sites=SITES)
    cells = cells_of(held)
    one = how.scores(held, cells).values
    two = replace(how, batch_size=2).scores(held, cells).values
    np.testing.assert_allclose(one, two, atol=2e-6 * np.abs(one).max())


def test_estimate_reads_like_patch_and_tells_the_error() -> None:
    held = study(network("llama", scale=2.0), n=12, sites=[
        "layers.0.mlp @ 3", "layers.*.mlp @ -1", "layers.*.attn @ -1", "layers.*.heads.*.z @ -1",
    ])  # fmt: skip
    asked = [xw.PNIE.at(str(s)) for s in held.sites]
    found = xw.estimate(held, Attribution(check=8), asked, inference=Multiplier(draws=300))
    exact = xw.estimate(held, Patch(check=False), asked)
    told = found.diagnostics["approximation"]
    assert len(told["places"]) == 8 and told["population"] == len(held.sites) and told["seed"] == 0
    by_cell = {str(Y(0, **{str(s): 1}).bind(held.blocks)): r for s, r in zip(held.sites, exact)}  # noqa: B905
    for place, value in zip(told["places"], told["exact"], strict=True):
        assert value == pytest.approx(by_cell[place].estimate, abs=1e-9)
    assert any("rank correlation" in line for line in found.heading)
    other = xw.estimate(held, Attribution(check=8, seed=3), asked[:1])
    assert other.diagnostics["approximation"]["seed"] == 3


def read_out(held: Any, frame: Any, site: Any) -> tuple[Any, Any, Any]:
    """Effect of a site on a fixed linear function of a block's attention output.

    Exactly, by the slope at the site, and with the softmax recomputed.
    """
    from crossworld.internals.site import Site
    from crossworld.internals.sources import Source

    out = Site(f"{held.subject.layout.blocks[site.layer].out}.in")
    generator = torch.Generator().manual_seed(0)
    slope = torch.randn(32, generator=generator, dtype=torch.float64)
    seen: dict[str, Any] = {}

    def keep(x: Any) -> Any:
        seen["z"] = x
        return x.view_as(x)

    linear = Linear.at(frame, 0, [site], qk_fix=True)
    pattern = Site(f"layers.{site.layer}.heads.0.pattern")
    taps = {site: lambda x: x.clone(), out: keep}
    run = held.subject.run(frame.batches[0], read=[pattern, site], write=taps, grad=True)
    plugs = [held.subject.port(s).plug for s in (pattern, site)]
    value = (seen["z"] @ slope).sum(1)
    found = torch.autograd.grad(value.sum(), [run.whole[p] for p in plugs])
    linear = replace(linear, slopes=dict(zip(plugs, found, strict=True)))
    moved = held.subject.run(
        frame.batches[0], read=[out], write={site: linear.natural[1][site]}
    ).values[out]
    exact = (moved @ slope).sum(1) - value.detach()
    by_slope = replace(linear, attention={}).effect(site, Source("level", 1))
    fixed = linear.effect(site, Source("level", 1))
    return exact.numpy(), by_slope.detach().numpy(), fixed.detach().numpy()


def test_a_saturated_softmax_is_missed_by_slopes_and_seen_by_the_fix() -> None:
    """A query that moves all attention to another token, where its slope is nearly 0."""
    model = network("gpt2")
    with torch.no_grad():
        model.transformer.wte.weight *= 40.0  # tokens, not positions, decide what is looked at
        block = model.transformer.h[0]
        block.ln_1.bias.zero_()
        block.attn.c_attn.bias.zero_()
        block.attn.c_attn.weight[:, :16] *= 40.0  # queries of heads 0 and 1
    held = study(model, n=8, sites=["layers.0.heads.0.q @ -1"])
    (frame,) = frames(held, 64)
    exact, by_slope, fixed = read_out(held, frame, held.sites[0])
    assert np.abs(exact).max() > 1.0
    largest = np.abs(exact).argmax()
    assert abs(by_slope[largest]) < 0.3 * abs(exact[largest])
    assert np.linalg.norm(by_slope - exact) > 0.5 * np.linalg.norm(exact)
    np.testing.assert_allclose(fixed, exact, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "qwen3", "gemma2", "gemma3", "phi", "pythia"])
@pytest.mark.parametrize("where", ["q @ -1", "q", "k @ 3", "k", "k @ 1:4"])
def test_the_fix_is_exact_where_attention_is_all_that_is_not_linear(name: str, where: str) -> None:
    """With the metric a fixed linear function of the attention output, only the softmax bends."""
    held = study(network(name), sites=[f"layers.1.heads.*.{where}"])
    (frame,) = frames(held, 64)
    largest = 0.0
    for site in held.sites:
        exact, _, fixed = read_out(held, frame, site)
        largest = max(largest, float(np.abs(exact).max()))
        np.testing.assert_allclose(fixed, exact, atol=2e-5 * max(1.0, largest))
    assert largest > 1e-3


def test_queries_normed_together_are_refused() -> None:
    held = study(network("olmo2"), sites=["layers.1.heads.0.q"])
    with pytest.raises(DesignError, match="norms all heads together"):
        AtPStar().rank(held)


def test_dropping_gradients_is_cutting_what_a_block_adds() -> None:
    """Slopes without a block are those of a network that holds what the block adds fixed."""
    held = study(network("llama"), sites=["layers.0.mlp", "layers.0.attn", "layers.0.resid_pre"])
    from crossworld.internals.site import Site
    from crossworld.internals.sources import Source

    sizes = AtPStar(check=0).sizes(held)
    frame = next(iter(frames(held, 64)))
    plain = Linear.at(frame, 0, held.sites)
    total = np.zeros_like(sizes)
    for layer in (0, 1):
        parts = [Site(f"layers.{layer}.attn"), Site(f"layers.{layer}.mlp")]
        fixed = held.subject.run(frame.batches[0], read=parts).values
        for j, site in enumerate(held.sites):
            if site in parts:
                continue  # a site inside the block that is dropped has no slope
            own, other = plain.natural[0][site], plain.natural[1][site]
            ends = [
                frame.score(
                    held.subject.run(
                        frame.batches[0], write={site: own + s * 1e-2 * (other - own), **fixed}
                    ).output, frame.batches[0],
                )
                for s in (1.0, -1.0)
            ]  # fmt: skip
            total[:, j] += ((ends[0] - ends[1]) / 2e-2).abs().numpy()
        assert plain.effect(held.sites[0], Source("level", 1)).shape == (3,)
    np.testing.assert_allclose(sizes, total, atol=5e-3 * np.abs(total).max())


def test_ranking_has_rows_by_size_and_rank_error() -> None:
    held = study(network("llama", scale=2.0), n=8, sites=["layers.*.mlp @ *", "layers.*.attn @ *"])
    how = AtPStar(grad_drop=False, check=10)  # two blocks are too few to drop one
    table = how.rank(held)
    sizes = [r.estimate for r in table]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == len(held.sites)
    assert table.diagnostics["approximation"]["rank_correlation"] > 0.5
    assert table.rows[0].p_value is None
    band = replace(how, check=0).rank(held, inference=Multiplier(draws=300))
    assert band.rows[0].conf_high > table.rows[0].conf_high


def test_a_spec_names_what_scores_cells_and_nothing_else() -> None:
    from crossworld.catalog import estimators

    names = {found.__name__ for found in estimators("internals")}
    assert {"Attribution", "Patch"} <= names
    assert not names & {"EdgeAttribution", "PathPatch", "CircuitRun", "Attention"}


def test_agreement_is_what_it_says() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=20), rng.normal(size=20)
    a[3] = a[4]
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    found = agreement([str(i) for i in range(20)], a, b, (99, 7))
    assert found.relative_error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b))
    wrong = np.abs(b)[np.sign(a) != np.sign(b)].sum() / np.abs(b).sum()
    assert found.wrong_sign == pytest.approx(wrong)
    assert type(found).from_dict(found.to_dict()) == found
    flat = agreement(["a", "b", "c"], np.ones(3), np.zeros(3), (3, 0))
    assert flat.rank_correlation is None and flat.relative_error is None


def test_bad_input_is_refused() -> None:
    held = study(network("gpt2"), sites=["layers.*.mlp"])
    cells = [c.bind(held.blocks) for c in (Y(0), Y(0, M("resample")))]
    with pytest.raises(DesignError, match="resample"):
        Attribution().scores(held, cells)
    with pytest.raises(SpecError, match="batch_size"):
        Attribution(batch_size=0)
    with pytest.raises(DesignError, match="no derivative"):
        Attribution().scores(replace(held, metric="accuracy"), cells_of(held))
    with pytest.raises(DesignError, match="no sites"):
        AtPStar().rank(replace(held, sites=()))
