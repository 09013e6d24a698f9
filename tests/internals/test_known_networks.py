"""Hand-built networks: the module, run with plain hooks, gives what the equations say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from math import exp

import numpy as np
import pytest

from crossworld import INT_MED, NDE, NIE, PNIE, TE, TNDE, M, Y, set_
from crossworld.datasets.networks import (
    KnownNetwork,
    and_gate,
    backup,
    gaussian_relu,
    illusion,
    induction_gpt2,
    linear_residual,
    saturated,
)
from crossworld.errors import DesignError, SpecError
from tests.internals.known import NETWORKS, every_network, torch


def outcomes(known: KnownNetwork, output: object) -> np.ndarray:
    """The metric of every pair, by hand."""
    if callable(known.metric):
        return known.metric(output).numpy()
    last = output.logits[:, -1]
    rows = torch.arange(len(last))
    return (last[rows, known.answer] - last[rows, known.wrong]).numpy()


@contextmanager
def hooked(known: KnownNetwork, mediator: str, act: Callable[[object], object]):
    """Replace what a mediator holds by what ``act`` makes of it, with one plain hook."""
    where = known.sites[mediator]
    if ".heads." in where:
        layer, head = int(where.split(".")[1]), int(where.split(".")[3])
        out = known.module.transformer.h[layer].attn.c_proj
        width = known.module.config.n_embd // known.module.config.n_head
        mine = slice(head * width, (head + 1) * width)

        def change(module, args):
            held = args[0].clone()
            held[..., mine] = act(args[0][..., mine])
            return (held,)

        handle = out.register_forward_pre_hook(change)
    else:
        handle = known.module.get_submodule(where).register_forward_hook(
            lambda module, args, output: act(output)
        )
    try:
        yield
    finally:
        handle.remove()


def run(known: KnownNetwork, level: int, held: dict[str, object]) -> np.ndarray:
    """Outcomes of one input with some mediators replaced, one hook each."""
    inputs = known.corrupt if level else known.clean
    names = list(held)

    def nested(at: int) -> np.ndarray:
        if at == len(names):
            return outcomes(known, known.module(inputs))
        with hooked(known, names[at], lambda seen: held[names[at]]):
            return nested(at + 1)

    return nested(0)


def read(known: KnownNetwork, level: int, mediator: str) -> object:
    seen = []
    with hooked(known, mediator, lambda value: seen.append(value.clone()) or value):
        known.module(known.corrupt if level else known.clean)
    return seen[0]


@every_network
def test_natural_cells_are_what_the_module_gives(name: str) -> None:
    known = NETWORKS[name]()
    for level in (0, 1):
        np.testing.assert_allclose(run(known, level, {}), known.truths(Y(level)), atol=1e-10)


@every_network
def test_patched_cells_are_what_the_module_gives(name: str) -> None:
    known = NETWORKS[name]()
    for mediator in known.mediators:
        for a, b in ((0, 1), (1, 0)):
            found = run(known, a, {mediator: read(known, b, mediator)})
            np.testing.assert_allclose(
                found, known.truths(Y(a, M(b)), mediator), atol=1e-10, err_msg=mediator
            )


@every_network
def test_patching_all_mediators_together(name: str) -> None:
    known = NETWORKS[name]()
    held = {m: read(known, 1, m) for m in known.mediators}
    np.testing.assert_allclose(run(known, 0, held), known.truths(Y(0, M(1))), atol=1e-10)


@every_network
def test_zero_ablation_of_each_mediator(name: str) -> None:
    known = NETWORKS[name]()
    for mediator in known.mediators:
        zero = torch.zeros_like(read(known, 0, mediator))
        found = run(known, 0, {mediator: zero})
        np.testing.assert_allclose(found, known.truths(Y(0, set_(0)), mediator), atol=1e-10)


@every_network
def test_effects_add_up(name: str) -> None:
    known = NETWORKS[name]()
    for mediator in known.mediators:
        te, nde, nie, tnde, pnie, both = (
            known.effect(e, mediator) for e in (TE, NDE, NIE, TNDE, PNIE, INT_MED)
        )
        assert nde + nie == pytest.approx(te, abs=1e-12)
        assert tnde + pnie == pytest.approx(te, abs=1e-12)
        assert te - nde - pnie == pytest.approx(both, abs=1e-12)


def test_linear_effects_are_sums_over_paths() -> None:
    """Two layers without attention to earlier positions, written out."""
    known = linear_residual(layers=1, positions=1, width=4, n=3, seed=2)
    module = known.module
    v, w = module.layers[0].attn.value.weight.numpy(), module.layers[0].mlp.weight.numpy()
    c = module.head.weight.numpy()[0]
    dx = (module.embed(known.corrupt) - module.embed(known.clean)).numpy()[:, 0]
    direct, through_attn = dx @ c, dx @ v.T @ c
    through_mlp, through_both = dx @ w.T @ c, dx @ v.T @ w.T @ c
    te = (direct + through_attn + through_mlp + through_both).mean()
    assert known.effect(TE) == pytest.approx(te, abs=1e-12)
    assert known.effect(PNIE, "attn0") == pytest.approx((through_attn + through_both).mean())
    assert known.effect(NDE, "attn0") == pytest.approx((direct + through_mlp).mean())
    assert known.effect(PNIE, "mlp0") == pytest.approx((through_mlp + through_both).mean())
    alone = known.structure.along
    np.testing.assert_allclose(alone("input", "embed", "y"), direct, atol=1e-12)
    np.testing.assert_allclose(alone("input", "embed", "attn0", "y"), through_attn, atol=1e-12)
    np.testing.assert_allclose(
        alone("input", "embed", "attn0", "mlp0", "y"), through_both, atol=1e-12
    )
    np.testing.assert_allclose(known.structure.edges({("attn0", "mlp0")}), through_both)


def test_paths_of_a_linear_network_sum_to_the_total_effect() -> None:
    known = linear_residual(layers=2, seed=1)
    parents = {node.name: node.parents for node in known.structure.nodes}

    def paths(name: str) -> list[tuple[str, ...]]:
        if name == "input":
            return [("input",)]
        return [(*before, name) for parent in parents[name] for before in paths(parent)]

    every = paths("y")
    assert len(every) == 2**4
    total = sum(known.structure.along(*path) for path in every)
    np.testing.assert_allclose(total, known.truths(Y(1)) - known.truths(Y(0)), atol=1e-12)


def test_edge_attribution_of_a_linear_network_is_path_patching() -> None:
    """(z' - z) . dy/d(input of the receiver), with autograd's gradient."""
    known = linear_residual(layers=2, positions=4, seed=7)
    module = known.module
    change = read(known, 1, "attn0") - read(known, 0, "attn0")
    seen = []

    def split(mod, args):
        entering = args[0].detach().requires_grad_(True)
        seen.append(entering)
        return (entering,)

    # everything that enters the second block's attention, and nothing else, is differentiated
    stream = {}
    handles = [
        module.layers[1].attn.register_forward_pre_hook(split),
        module.layers[1].register_forward_pre_hook(lambda m, a: stream.setdefault("in", a[0])),
    ]
    known.metric(module(known.clean)).sum().backward()
    for handle in handles:
        handle.remove()
    score = (change * seen[0].grad).sum(dim=(1, 2)).numpy()
    np.testing.assert_allclose(score, known.structure.edges({("attn0", "attn1")}), atol=1e-12)


def test_transfers_are_gradients() -> None:
    known = linear_residual(layers=3)
    for mediator in known.mediators:
        leaf = read(known, 0, mediator).requires_grad_(True)
        with hooked(known, mediator, lambda seen: leaf):
            known.metric(known.module(known.clean)).sum().backward()
        np.testing.assert_allclose(leaf.grad[0].numpy(), known.vectors[mediator], atol=1e-12)


@pytest.mark.parametrize(
    ("estimand", "value"),
    [(TE, 1.0), (NDE, 0.0), (PNIE, 0.0), (NIE, 1.0), (TNDE, 1.0), (INT_MED, 1.0)],
)
def test_gate_is_all_interaction(estimand, value: float) -> None:
    assert and_gate().effect(estimand) == value


def test_gate_between_other_levels() -> None:
    gate = and_gate(low=(2.0,), high=(5.0,))
    expected = {"te": 21.0, "nde": 6.0, "pnie": 6.0, "nie": 15.0, "int_med": 9.0}
    found = {e.name: gate.effect(e) for e in (TE, NDE, PNIE, NIE, INT_MED)}
    assert found == expected


def test_backup_hides_the_component_it_repairs() -> None:
    known = backup()
    assert known.effect(PNIE, "main") == 0.0
    assert known.structure.edges({("main", "y")}) == [-1.0]
    assert known.structure.edges({("main", "spare")}) == [1.0]
    assert known.effect(PNIE, "spare") == 1.0
    assert known.effect(NDE, "spare") == -1.0


def test_saturation_fools_the_gradient_at_the_clean_end() -> None:
    known = saturated()
    logit = known.clean.clone().requires_grad_(True)
    known.metric(known.module(logit)).sum().backward()
    attribution = float((known.corrupt - known.clean) * logit.grad)
    assert attribution == pytest.approx(known.facts["attribution"], rel=1e-9)
    assert abs(attribution) < 1e-6
    assert known.effect(PNIE) == pytest.approx(known.facts["te"], abs=1e-15)
    assert known.facts["te"] == pytest.approx(0.5 - 1 / (1 + exp(-20.0)), abs=1e-15)


@pytest.mark.parametrize("known", [illusion(), illusion(width=9, n=6, seed=8)])
def test_illusion_shares(known: KnownNetwork) -> None:
    """Patches along one direction, by hand."""
    base, source = read(known, 0, "hidden"), read(known, 1, "hidden")
    te = known.truths(Y(1)) - known.truths(Y(0))
    for name, share in known.facts.items():
        direction = torch.from_numpy(known.vectors[name])
        assert float(direction @ direction) == pytest.approx(1.0)
        moved = base + ((source - base) @ direction)[:, None] * direction
        found = run(known, 0, {"hidden": moved}) - known.truths(Y(0))
        np.testing.assert_allclose(found, share * te, atol=1e-12, err_msg=name)


def test_gaussian_population_is_the_limit_of_samples() -> None:
    """Published constants of the closed form, and a large sample within five standard errors."""
    known = gaussian_relu(n=400_000, seed=1)
    expected = {"pnie": 0.68573, "nde": 0.31038, "te": 1.15157, "int_med": 0.15546}
    for estimand in (PNIE, NDE, TE, INT_MED):
        assert known.facts[estimand.name] == pytest.approx(expected[estimand.name], abs=1e-5)
        assert known.effect(estimand) == pytest.approx(known.facts[estimand.name], abs=0.005)


def test_templates_share_a_part_of_the_noise() -> None:
    known = gaussian_relu(n=4000, templates=200, shared=0.6)
    noise = known.clean[:, 1].numpy()
    assert known.cluster.max() == 199
    means = np.array([noise[known.cluster == c].mean() for c in range(200)])
    assert noise.var() == pytest.approx(1.0, abs=0.15)
    assert means.var() == pytest.approx(0.6 + 0.4 / 20, abs=0.15)


def test_induction_circuit() -> None:
    known = induction_gpt2(n=20, seed=9)
    assert known.effect(TE) == pytest.approx(-10.0, abs=1e-9)
    for name, value in known.facts.items():
        effect = {"te": TE, "pnie": PNIE, "nde": NDE}[name.split("[")[0]]
        of = name.partition("[")[2].rstrip("]") or None
        assert known.effect(effect, of) == pytest.approx(value, abs=1e-9), name
    path = known.structure.along("input", "embed", "previous", "induction", "y")
    np.testing.assert_allclose(path, -10.0, atol=1e-9)
    for idle in ("carry", "idle"):
        assert known.effect(PNIE, idle) == pytest.approx(0.0, abs=1e-12)
    said = known.module(known.clean).logits[:, -1].argmax(dim=-1).numpy()
    np.testing.assert_array_equal(said, known.answer)


def test_induction_pairs_differ_in_one_token() -> None:
    known = induction_gpt2(length=8, vocabulary=8, n=30, seed=2)
    assert ((known.clean != known.corrupt).sum(dim=1) == 1).all()
    assert (known.answer != known.wrong).all()
    assert (known.answer != known.clean[:, -1].numpy()).all()
    assert not (known.corrupt[:, :-1] == known.clean[:, -1:]).any()


def test_pairs_carry_their_labels() -> None:
    known = induction_gpt2(n=3)
    first = known.pairs[0]
    assert sorted(first) == ["answer", "clean", "corrupt", "wrong"]
    assert len(known.pairs) == len(known) == 3
    assert gaussian_relu(n=4, templates=2).pairs[3]["cluster"] == 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: linear_residual(layers=0), "at least 1"),
        (lambda: and_gate(low=(1.0,), high=()), "1 and 0"),
        (lambda: illusion(width=2), "at least 3, got 2"),
        (lambda: induction_gpt2(length=4), "at least 5"),
        (lambda: induction_gpt2(length=12, vocabulary=11), "12 and 11"),
        (lambda: gaussian_relu(n=0), "at least 1"),
    ],
)
def test_impossible_networks_are_refused(make, told: str) -> None:
    with pytest.raises(DesignError, match=told):
        make()


def test_unknown_mediators_edges_and_levels_are_named() -> None:
    known = backup()
    with pytest.raises(SpecError, match="main"):
        known.effect(TE, "mian")
    with pytest.raises(SpecError, match="no edge input -> spare"):
        known.structure.along("input", "spare", "y")
    with pytest.raises(SpecError, match="main -> spare"):
        known.structure.edges({("main", "sparse")})
    with pytest.raises(DesignError, match="got 2"):
        known.truth(Y(2))


def test_building_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    induction_gpt2()
    linear_residual()
    illusion()
    assert torch.equal(before, torch.get_rng_state())
