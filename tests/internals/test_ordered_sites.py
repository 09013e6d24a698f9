"""Cells that set several sites, and path-specific effects over sites in their order.

The reference is a loop of plain hooks: record what the modules give under both inputs, put it into
the runs that are asked for, one hook a site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise, permutations, product
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld import PSE, M, Y
from crossworld.core.analysis import needed
from crossworld.datasets.networks import linear_residual
from crossworld.errors import DesignError
from tests.internals.brute_paths import double_network
from tests.internals.networks import network, study
from tests.internals.zoo import torch

pytestmark = pytest.mark.filterwarnings("ignore:only .* clusters")
SITES: Mapping[str, tuple[str, int | None]] = {  # in the order of the network: module, position
    "layers.0.attn": ("0.attn", None),
    "layers.0.mlp": ("0.mlp", None),
    "layers.1.attn @ -1": ("1.attn", -1),
    "layers.1.mlp @ 3": ("1.mlp", 3),  # reaches nothing that the metric reads
    "layers.1.mlp @ -1": ("1.mlp", -1),
}
MODULES = {"gpt2": ("transformer.h", "attn"), "llama": ("model.layers", "self_attn")}
every_network = pytest.mark.parametrize("name", MODULES)
Held = dict[str, Any]


class Loop:
    """A network and its pairs, run with plain hooks."""

    def __init__(self, name: str) -> None:
        self.model = network(name) if name == "gpt2" else double_network(name)
        blocks, attn = MODULES[name]
        self.paths = {
            site: f"{blocks}.{where.replace('attn', attn)}" for site, (where, _) in SITES.items()
        }
        self.pairs = study(self.model, n=4).pairs
        self.ids = [torch.as_tensor(np.stack(p)) for p in (self.pairs.clean, self.pairs.corrupt)]
        self.natural = [self.run(level, {})[1] for level in (0, 1)]

    def study(self, *sites: str) -> xw.PatchStudy:
        return xw.PatchStudy(
            xw.TorchSubject(self.model), self.pairs, "logit_difference", sites=sites
        )

    @torch.no_grad()
    def run(self, level: int, held: Held) -> tuple[np.ndarray, Held]:
        """Metric of one input with some sites replaced, and what every site held."""
        seen: Held = {}

        def hook(site: str) -> Callable[..., Any]:
            at = slice(None) if SITES[site][1] is None else [SITES[site][1]]

            def act(module: Any, args: Any, output: Any) -> Any:
                out = (output[0] if isinstance(output, tuple) else output).clone()
                if site in held:
                    out[:, at] = held[site][:, at]
                seen[site] = out.clone()
                return (out, *output[1:]) if isinstance(output, tuple) else out

            return act

        handles = [
            self.model.get_submodule(path).register_forward_hook(hook(site))
            for site, path in self.paths.items()
        ]
        logits = self.model(self.ids[level]).logits[:, -1]
        for handle in handles:
            handle.remove()
        rows = np.arange(len(logits))
        return (logits[rows, self.pairs.answer] - logits[rows, self.pairs.wrong]).numpy(), seen

    def cell(self, level: int, regimes: Mapping[str, int]) -> np.ndarray:
        """One input runs; sites of the other level hold what they hold when that runs by itself."""
        held = {s: self.natural[b][s] for s, b in regimes.items() if b != level}
        return self.run(level, held)[0]


@pytest.fixture(scope="module")
def loops() -> dict[str, Loop]:
    return {name: Loop(name) for name in MODULES}


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@every_network
def test_every_cell_over_ordered_sites_is_a_loop_of_hooks(
    name: str, loops: dict[str, Loop]
) -> None:
    loop = loops[name]
    held = loop.study(*SITES)
    asked = [(a, dict(zip(SITES, levels, strict=True)))
             for a, levels in product((0, 1), product((0, 1), repeat=len(SITES)))]  # fmt: skip
    expected = np.stack([loop.cell(a, regimes) for a, regimes in asked], axis=1)
    cells = [Y(a, **regimes) for a, regimes in asked]
    assert len(dict.fromkeys(str(c.bind(held.blocks)) for c in cells)) == len(cells) == 64
    same(xw.Patch().scores(held, cells).values, expected)
    same(xw.Patch().scores(held, [c.bind(held.blocks) for c in cells]).values, expected)
    assert np.unique(expected[0].round(9)).size >= 32  # 2^6, where one site reaches nothing


@every_network
def test_a_named_site_is_set_and_all_behind_it_respond(name: str, loops: dict[str, Loop]) -> None:
    loop = loops[name]
    first, second = "layers.0.mlp", "layers.1.mlp @ -1"
    held = loop.study(first, second)
    cell = Y(1, **{first: 0, second: 1})
    by_hand, seen = loop.run(1, {first: loop.natural[0][first]})
    for one in (cell, Y(1, **{first: 0}), cell.bind(held.blocks)):
        same(xw.Patch().scores(held, [one]).values[:, 0], by_hand)
    moved = (seen[second] - loop.natural[1][second])[:, -1].abs().max()
    assert moved > 1e-3  # it did respond: neither its value under 0 nor that under 1
    # set to level 0, a later site holds what input 0 gives it by itself, whatever came before
    crossed = xw.Patch().scores(held, [Y(1, **{second: 0})]).values[:, 0]
    same(crossed, loop.run(1, {second: loop.natural[0][second]})[0])
    nested = loop.run(0, {first: loop.natural[1][first]})[1]
    assert np.abs(crossed - loop.run(1, {second: nested[second]})[0]).max() > 1e-3


@every_network
@pytest.mark.parametrize("kind", [1, 2])
def test_path_specific_effects_go_by_the_order_of_the_network(
    name: str, kind: int, loops: dict[str, Loop]
) -> None:
    loop = loops[name]
    order = ["layers.0.attn", "layers.0.mlp", "layers.1.attn @ -1", "layers.1.mlp @ -1"]
    on, off = (1, 0) if kind == 1 else (0, 1)
    ladder = [loop.cell(on, dict.fromkeys(order[:k], off)) for k in range(len(order) + 1)]
    parts = [one - two for one, two in pairwise(ladder)]
    if kind == 2:
        parts = [-p for p in parts]
    for given in list(permutations(order))[::7]:
        held = loop.study(*given)
        assert [block[0] for block in held.blocks] == order
        found = xw.estimate(held, xw.Patch(), [PSE(s, type=kind) for s in given])
        for site in given:
            term = f"pse({site})" if kind == 1 else f"pse({site}, type=2)"
            same(found[term].estimate, parts[order.index(site)].mean())
    direct = xw.NDE if kind == 1 else xw.TNDE
    found = xw.estimate(loop.study(*given), xw.Patch(), [xw.TE, direct])
    assert found["te"].estimate == pytest.approx(
        found[direct.name].estimate + sum(p.mean() for p in parts), abs=1e-9
    )
    assert min(np.abs(p).max() for p in parts) > 1e-4


def test_patterns_are_put_in_the_order_of_the_network(loops: dict[str, Loop]) -> None:
    held = loops["llama"].study("layers.*.mlp", "layers.*.attn", "layers.1.heads.*.q", "embed")
    queries = tuple(f"layers.1.heads.{h}.q" for h in range(4))
    assert held.blocks == (
        ("embed",), ("layers.0.attn",), ("layers.0.mlp",), queries, ("layers.1.attn",),
        ("layers.1.mlp",),
    )  # fmt: skip
    assert [str(s) for s in held.sites][:2] == ["layers.0.mlp", "layers.1.mlp"]


@pytest.mark.filterwarnings("ignore:.* is fixed by the models")
def test_modules_are_ordered_by_when_they_run_not_by_where_they_are_declared() -> None:
    class Backwards(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = torch.nn.Linear(2, 1), torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.last(torch.tanh(self.first(x))) + x[:, :1]

    torch.manual_seed(0)
    net = Backwards().double()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 12, 2))
    held = xw.PatchStudy(
        xw.TorchSubject(net), (x[0], x[1]), lambda y: y[:, 0], sites=["last", "first"]
    )
    assert held.blocks == (("first",), ("last",))
    w, b = net.first.weight.detach().numpy(), net.first.bias.detach().numpy()
    v, c = net.last.weight.detach().numpy()[0], net.last.bias.detach().numpy()[0]
    out = [np.tanh(z @ w.T + b) @ v + c for z in x]
    found = xw.estimate(held, xw.Patch(), [PSE("first"), PSE("last"), xw.NDE])
    assert found["pse(first)"].estimate == pytest.approx((out[1] - out[0]).mean())
    assert found["pse(last)"].estimate == pytest.approx(0.0, abs=1e-12)  # all of it came in before
    assert found["nde"].estimate == pytest.approx((x[1] - x[0])[:, 0].mean())


def products(known: Any) -> dict[tuple[str, ...], np.ndarray]:
    """Effect (n,) of every path of a linear residual network, by the mediators that it passes."""
    module = known.module
    maps: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = []
    for i, layer in enumerate(module.layers):
        mixing, value = layer.attn.mixing.numpy(), layer.attn.value.weight.numpy()
        weight = layer.mlp.weight.numpy()
        maps.append((f"attn{i}", lambda x, p=mixing, v=value: p @ x @ v.T))
        maps.append((f"mlp{i}", lambda x, w=weight: x @ w.T))
    change = (module.embed(known.corrupt) - module.embed(known.clean)).numpy()
    found = {}
    for passed in product((False, True), repeat=len(maps)):
        x, names = change, []
        for (name, through), taken in zip(maps, passed, strict=True):
            if taken:
                x, names = through(x), [*names, name]
        found[tuple(names)] = x[:, -1] @ module.head.weight.numpy()[0]
    return found


@pytest.mark.parametrize("layers", [2, 3])
def test_linear_path_specific_effects_are_sums_of_products(layers: int) -> None:
    """Through a site and none before it: over the paths whose first site it is."""
    known = linear_residual(layers=layers, positions=4, n=6, seed=8)
    every = products(known)
    assert len(every) == 4**layers
    rng = np.random.default_rng(layers)
    inner = [m for m in known.mediators if m != "embed"]
    for size in (1, 2, len(inner)):
        chosen = rng.permutation(inner)[:size].tolist()
        sites = {m: known.sites[m] for m in chosen}
        held = xw.PatchStudy(
            xw.TorchSubject(known.module), known.pairs, known.metric, sites=list(sites.values())
        )
        asked = [PSE(sites[m], type=kind) for m in chosen for kind in (1, 2)]
        asked += [xw.NDE, xw.TNDE]
        bound = [e.bind(held.blocks) for e in asked]
        scores = xw.Patch().scores(held, needed(bound))
        values = [e.expr.evaluate(lambda c: scores.mean(c).value) for e in bound]
        first = {path: next((m for m in path if m in chosen), None) for path in every}
        expected = [
            sum(v.mean() for p, v in every.items() if first[p] == m)
            for m in [*(m for m in chosen for _ in (1, 2)), None, None]
        ]
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_holding_all_other_sites_leaves_the_paths_that_end_in_one() -> None:
    known = linear_residual(layers=2, positions=4, n=6, seed=9)
    every = products(known)
    for mediator in (m for m in known.mediators if m != "embed"):
        others = [known.sites[m] for m in known.mediators if m not in ("embed", mediator)]
        held = xw.PatchStudy(
            xw.TorchSubject(known.module), known.pairs, known.metric, sites=known.sites[mediator]
        )
        found = xw.Patch(hold=tuple(others)).scores(held, [Y(0, M(1)), Y(0)]).values
        expected = sum(v for path, v in every.items() if path[-1:] == (mediator,))
        np.testing.assert_allclose(found[:, 0] - found[:, 1], expected, rtol=1e-6)


def test_saved_scores_have_no_order(tmp_path: Any, loops: dict[str, Loop]) -> None:
    """A site that no cell names would be left out of the order without a word."""
    held = loops["gpt2"].study("layers.0.attn", "layers.0.mlp", "layers.1.mlp @ -1")
    effects = [xw.estimand("pse('layers.0.mlp')"), xw.NIE]
    found = xw.estimate(held, xw.Patch(), effects)
    file = tmp_path / "scores.npz"
    found.scores.save(file)

    def again(*asked: str) -> Any:
        told = {"study": {"kind": "internals", "scores": str(file)}, "ask": {"effects": [*asked]}}
        return xw.load_spec(told).run()

    with pytest.raises(DesignError, match="in which order"):
        again("pse('layers.0.mlp')")
    cells = "Y(1, **{'layers.0.attn': 0}) - Y(1, **{'layers.0.attn': 0, 'layers.0.mlp': 0})"
    assert again(cells)[cells].estimate == found["pse('layers.0.mlp')"].estimate
    assert again("nie")["nie"].estimate == found["nie"].estimate
