"""Every path, every edge: effects of linear networks as products of matrices, and of random ones
as nested counterfactuals that are computed the slow way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crossworld.errors import SpecError
from crossworld.internals.paths import PathPatch
from crossworld.internals.study import PatchStudy
from crossworld.internals.subject import TorchSubject
from tests.internals import linear_paths
from tests.internals.brute_paths import NAMES, Written, double_network
from tests.internals.linear_paths import Products
from tests.internals.networks import study
from tests.internals.streams import owners
from tests.internals.zoo import torch

REL = 1e-6
LINEAR: dict[str, Callable[[], Any]] = {
    "serial": linear_paths.serial,
    "deep serial": lambda: linear_paths.serial(layers=3, seed=4),
    "parallel": lambda: linear_paths.parallel(seed=1),
}
every_linear = pytest.mark.parametrize("name", LINEAR)
every_random = pytest.mark.parametrize("name", NAMES)


def close(found: Any, expected: Any, names: Any, *, floor: float = 1e-12) -> None:
    """Equal to 1e-6 of each number (or 1e-12 of the largest, where it is 0)."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape and len(names) == len(found)
    gap = np.abs(found - expected) - REL * np.abs(expected) - floor * np.abs(expected).max()
    worst = np.unravel_index(gap.argmax(), gap.shape)
    assert gap[worst] <= 0.0, f"{names[worst[0]]}: {found[worst]} is not {expected[worst]}"


def effects(method: PathPatch, held: PatchStudy, sets: Any) -> np.ndarray:
    """Effect of every set of edges for every pair, (sets, n)."""
    named = {str(i): [tuple(e) for e in edges] for i, edges in enumerate(sets)}
    values = method.scores(held, named).values
    return (values[:, 2:] - values[:, :1]).T


# linear networks


def linear(name: str) -> tuple[PatchStudy, Products]:
    model, pairs = LINEAR[name](), linear_paths.pairs()
    known = Products(model, pairs)
    return PatchStudy(TorchSubject(model), pairs, "logit_difference"), known


@every_linear
def test_every_path_is_its_product_of_matrices(name: str) -> None:
    held, known = linear(name)
    every = known.paths()
    by_heads = 1 + 3 * known.queries  # past attention, or in by q, k or v and out by a head
    by_block = by_heads + 1 if name == "parallel" else 2 * by_heads
    assert len(every) == by_block ** len(known.layers)
    if name == "deep serial":  # of 2744, every path that carries something, and some others
        carries = [np.abs(effect).max() > 0.0 for _, effect in every]
        every = [p for i, p in enumerate(every) if carries[i] or i % 31 == 0]
    found = effects(PathPatch("paths"), held, [edges for edges, _ in every])
    expected = np.stack([effect for _, effect in every])
    close(found, expected, [edges for edges, _ in every])
    moved = np.abs(expected).max(axis=1) > 0.0
    by_value = [all(".q" not in v and ".k" not in v for _, v in edges) for edges, _ in every]
    assert moved.tolist() == by_value  # the others have no effect, in the network too
    values = PathPatch("paths").scores(held, {"direct": [("input", "logits")]}).values
    close([values[:, 1] - values[:, 0]], [expected.sum(axis=0)], ["te"])


@every_linear
def test_an_edge_into_a_reader_is_all_paths_to_it_times_all_paths_behind(name: str) -> None:
    held, known = linear(name)
    edges = [(u, v) for v, seen in known.before.items() for u in seen]
    wrote = known.corrupt_change()
    frozen = [known.into(v, wrote[u]) for u, v in edges]
    close(effects(PathPatch(), held, [[e] for e in edges]), frozen, edges)
    close(effects(PathPatch("edges"), held, [[e] for e in edges]), frozen, edges)
    chains = [known.into(v, known.through_mlps(u, v, wrote[u])) for u, v in edges]
    method = PathPatch(mlps="recomputed")
    close(effects(method, held, [[e] for e in edges]), chains, edges)
    # frozen and recomputed are one effect exactly where no MLP stands between
    for (u, v), one, other in zip(edges, frozen, chains, strict=True):
        if np.abs(one).max() > 0.0:
            same = np.allclose(one, other, rtol=1e-9)
            assert same == (not known.mlps_between(u, v)), (u, v)


@every_linear
def test_the_effects_of_one_path_differ_by_what_else_may_respond(name: str) -> None:
    """Edges of a whole path: as a path, into readers, and with readers that respond."""
    held, known = linear(name)
    wrote = known.corrupt_change()
    every = [(edges, effect) for edges, effect in known.paths() if np.abs(effect).max() > 0.0]
    every = every[:: max(1, len(every) // 40)]
    sets = [edges for edges, _ in every]
    # the logits are a reader: they get the last sender's corrupt writes and do not respond else
    last = [known.at_logits(wrote[edges[-1][0]]) for edges in sets]
    close(effects(PathPatch(), held, sets), last, sets)
    close(effects(PathPatch("edges"), held, sets), [responding(known, s) for s in sets], sets)
    as_path = effects(PathPatch("paths"), held, sets)
    longer = [len(s) > 2 for s in sets]
    coincide = np.isclose(as_path, last, rtol=1e-9).all(axis=1)
    assert coincide[[s == [("input", "logits")] for s in sets]].all()
    assert not coincide[longer].any()


def responding(known: Products, edges: list[tuple[str, str]]) -> np.ndarray:
    """Chosen edges carry the corrupt change, all others the change of this run."""
    wrote, chosen = known.corrupt_change(), set(edges)
    made = {u: np.zeros_like(known.entry) for u in known.senders}
    for v, seen in known.before.items():
        got = np.sum([wrote[u] if (u, v) in chosen else made[u] for u in seen], axis=0)
        if v == "logits":
            return known.at_logits(got)
        for owner in owners(v, known.queries // known.keys):
            made[owner] = made[owner] + known.through((v, owner), got)
    raise AssertionError


@every_linear
def test_all_edges_out_of_a_sender_are_the_sender(name: str) -> None:
    held, known = linear(name)
    wrote = known.corrupt_change()
    sets = [[(u, v) for v, seen in known.before.items() if u in seen] for u in known.senders]
    expected = [known.behind(u, wrote[u]) for u in known.senders]
    close(effects(PathPatch("edges"), held, sets), expected, known.senders)
    # as readers that do not respond to one another, they are the direct edge into the logits
    direct = [known.at_logits(wrote[u]) for u in known.senders]
    close(effects(PathPatch(), held, sets), direct, known.senders)


# random networks with RMS norms, groups and, in one, norms behind attention and MLP


class Random:
    """A random network, its pairs, and the reference."""

    def __init__(self, name: str) -> None:
        self.model = double_network(name)
        self.study = study(self.model, n=3)
        self.written = Written(self.model)
        pairs = self.study.pairs
        self.ids = tuple(torch.as_tensor(np.stack(p)) for p in (pairs.clean, pairs.corrupt))
        self.base = self.metric(self.written.natural(self.ids[0])[0])

    def metric(self, logits: Any) -> np.ndarray:
        rows, pairs = np.arange(len(logits)), self.study.pairs
        return (logits[rows, pairs.answer] - logits[rows, pairs.wrong]).numpy()

    def slow(self, how: str, *asked: Any) -> np.ndarray:
        return self.metric(getattr(self.written, how)(*self.ids, *asked)) - self.base


@pytest.fixture(scope="module")
def networks() -> dict[str, Random]:
    with torch.no_grad():
        return {name: Random(name) for name in NAMES}


@every_random
@torch.no_grad()
def test_the_reference_is_the_network(name: str, networks: dict[str, Random]) -> None:
    held = networks[name]
    for level in (0, 1):
        logits = held.model(held.ids[level]).logits[:, -1]
        torch.testing.assert_close(
            held.written.natural(held.ids[level])[0], logits, rtol=1e-11, atol=1e-11
        )


@every_random
@torch.no_grad()
def test_every_path_is_its_nested_counterfactual(name: str, networks: dict[str, Random]) -> None:
    held = networks[name]
    every = held.written.paths()
    assert len(every) == (13 * 2) ** 2  # none, 4 queries, 2 keys and 2 values of 2 heads each; MLP
    some = every if name == "llama" else every[::5]
    expected = [held.slow("along", edges) for edges in some]
    close(effects(PathPatch("paths"), held.study, some), expected, some)
    assert np.abs(expected).min() > 0.0


@every_random
@torch.no_grad()
def test_sets_of_paths_are_nested_counterfactuals(name: str, networks: dict[str, Random]) -> None:
    held, rng = networks[name], np.random.default_rng(3)
    every = held.written.paths()
    sets = []
    for _ in range(20):
        chosen = rng.choice(len(every), size=int(rng.integers(2, 6)), replace=False)
        sets.append(sorted({edge for i in chosen for edge in every[i]}))
    expected = [held.slow("along", edges) for edges in sets]
    close(effects(PathPatch("paths"), held.study, sets), expected, sets)


@every_random
@torch.no_grad()
def test_every_edge_into_a_reader(name: str, networks: dict[str, Random]) -> None:
    held = networks[name]
    edges = held.written.edges()
    frozen = np.stack([held.slow("received", [e]) for e in edges])
    passed = np.stack([held.slow("recomputed", [u], [v]) for u, v in edges])
    responds = np.stack([held.slow("responding", [e]) for e in edges])
    sets = [[e] for e in edges]
    close(effects(PathPatch(), held.study, sets), frozen, edges)
    close(effects(PathPatch(mlps="recomputed"), held.study, sets), passed, edges)
    close(effects(PathPatch("edges"), held.study, sets), responds, edges)
    np.testing.assert_allclose(responds, frozen, atol=1e-11)  # one edge: nothing else to respond to
    assert (np.abs(passed - frozen).max(axis=1) > 1e-9).sum() > len(edges) // 4


@every_random
@torch.no_grad()
def test_readers_in_series_do_not_respond_to_one_another(
    name: str, networks: dict[str, Random]
) -> None:
    """As in the IOI study, whose receivers are queries of heads in several layers."""
    held, rng = networks[name], np.random.default_rng(5)
    edges = held.written.edges()
    sets = [[edges[i] for i in rng.choice(len(edges), size=6, replace=False)] for _ in range(20)]
    frozen = np.stack([held.slow("received", s) for s in sets])
    responds = np.stack([held.slow("responding", s) for s in sets])
    close(effects(PathPatch(), held.study, sets), frozen, sets)
    close(effects(PathPatch("edges"), held.study, sets), responds, sets)
    assert (np.abs(frozen - responds).max(axis=1) > 1e-6).any()


IN_SERIES = [
    (["layers.0.heads.1"], ["layers.1.heads.0.q", "logits"]),
    (["input"], ["layers.0.heads.0.q", "layers.1.heads.0.v"]),
    (["input"], ["layers.0.mlp", "layers.1.heads.0.v"]),
    (["input"], ["layers.0.mlp", "layers.1.mlp", "layers.1.heads.3.q"]),
    (["layers.0.heads.0", "layers.0.heads.3"], ["layers.1.heads.2.q", "layers.1.heads.0.k"]),
    (["layers.0.heads.2", "input"], ["layers.1.mlp", "logits"]),
    (["layers.0.mlp"], ["layers.1.heads.1.v", "layers.1.mlp"]),
]


@every_random
@torch.no_grad()
def test_several_senders_and_readers_as_in_the_ioi_study(
    name: str, networks: dict[str, Random]
) -> None:
    held = networks[name]
    expected = [held.slow("recomputed", *asked) for asked in IN_SERIES]
    sets = [[(u, v) for u in senders for v in readers] for senders, readers in IN_SERIES]
    close(effects(PathPatch(mlps="recomputed"), held.study, sets), expected, IN_SERIES)
    assert np.abs(expected).min() > 0.0


@every_random
@torch.no_grad()
def test_all_edges_out_of_a_head_are_the_head_patched(
    name: str, networks: dict[str, Random]
) -> None:
    """Everything responds: one sender's writes are exchanged for all that read them."""
    held = networks[name]
    written = held.written
    sets = [[(u, v) for v, seen in written.before.items() if u in seen] for u in written.senders]
    other = written.natural(held.ids[1])[1]
    expected = [
        held.metric(
            written.run(
                written.entry(held.ids[0]), lambda u, v, made: made[u], wrote={u: other[u]}
            )[0]
        ) - held.base
        for u in written.senders
    ]  # fmt: skip
    close(effects(PathPatch("edges"), held.study, sets), expected, written.senders)


def test_mlps_respond_for_receivers_alone() -> None:
    for carry in ("paths", "edges"):
        with pytest.raises(SpecError, match=f"carry='{carry}' name the edges through MLPs"):
            PathPatch(carry, mlps="recomputed")  # type: ignore[arg-type]
