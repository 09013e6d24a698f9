"""Patch gives the exact effects of networks whose effects are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from crossworld import INT_MED, NDE, NIE, PNIE, TE, TNDE, M, Y, set_
from crossworld.core.analysis import estimate, needed
from crossworld.core.estimand import Estimand
from crossworld.datasets.networks import (
    KnownNetwork,
    and_gate,
    backup,
    gaussian_relu,
    illusion,
    induction_gpt2,
    linear_residual,
    train_digits,
)
from crossworld.internals.basis import Subspace
from crossworld.internals.patch import Patch
from crossworld.internals.study import PatchStudy
from crossworld.internals.subject import TorchSubject
from tests.internals.known import NETWORKS, every_network

EFFECTS = (TE, NDE, NIE, TNDE, PNIE, INT_MED)
CELLS = (Y(0), Y(1), Y(0, M(1)), Y(1, M(0)), Y(0, set_(0)), Y(1, set_(0)))
EXACT = 1e-6


def study_of(known: KnownNetwork, of: Sequence[str], **more: object) -> PatchStudy:
    subject = TorchSubject(known.module)
    sites = [known.sites[name] for name in of]
    return PatchStudy(subject, known.pairs, known.metric, sites=sites, **more)


def effects(study: PatchStudy, patch: Patch, asked: Sequence[Estimand]) -> dict[str, float]:
    """Estimates alone: the effects of these networks often have no variance to infer from."""
    bound = [e.bind(study.blocks) for e in asked]
    scores = patch.scores(study, needed(bound))
    return {e.name: e.expr.evaluate(lambda c: scores.mean(c).value) for e in bound}


# the output projection of the idle head is 0 and the gate's first input is 0, so that nothing the
# mediator is set to there can reach the output
@every_network
def test_effects_of_each_mediator(name: str) -> None:
    known = NETWORKS[name]()
    for mediator in known.mediators:
        found = Patch(check=name != "gate" and mediator != "idle").scores(
            study_of(known, [mediator]), CELLS
        )
        for cell, values in zip(CELLS, found.values.T, strict=True):
            expected = known.truths(cell, mediator)
            np.testing.assert_allclose(values, expected, atol=EXACT, err_msg=f"{cell}, {mediator}")


@every_network
def test_effects_of_all_mediators_together(name: str) -> None:
    known = NETWORKS[name]()
    found = effects(study_of(known, known.mediators), Patch(check=False), EFFECTS)
    assert found == pytest.approx({e.name: known.effect(e) for e in EFFECTS}, abs=EXACT)


@every_network
def test_one_site_moves_while_the_others_respond(name: str) -> None:
    """A sweep over sites of one study, against each mediator alone."""
    known = NETWORKS[name]()
    study = study_of(known, known.mediators)
    cells = [Y(a, **{known.sites[m]: 1 - a}) for m in known.mediators for a in (0, 1)]
    found = Patch(check=False).scores(study, cells)
    at = 0
    for mediator in known.mediators:
        for a in (0, 1):
            expected = known.truths(Y(a, M(1 - a)), mediator)
            np.testing.assert_allclose(found.values[:, at], expected, atol=EXACT, err_msg=mediator)
            at += 1


@pytest.mark.parametrize("name", ["linear", "deep linear"])
def test_positions_of_a_linear_network_add_up(name: str) -> None:
    """Effects of the positions of one place, from transfers, sum to the effect of the place."""
    known = NETWORKS[name]()
    last = len(known.module.layers) - 1
    for mediator in ("embed", f"attn{last}", "mlp0"):
        change = known.structure.run(1)[mediator] - known.structure.run(0)[mediator]
        expected = (change * known.vectors[mediator]).sum(axis=2)
        where = known.sites[mediator]
        places = [f"{where} @ {p}" for p in range(change.shape[1])]
        study = PatchStudy(TorchSubject(known.module), known.pairs, known.metric, sites=places)
        scores = Patch(check=False).scores(study, [Y(0), *(Y(0, **{p: 1}) for p in places)])
        found = scores.values[:, 1:] - scores.values[:, :1]
        np.testing.assert_allclose(found, expected, atol=EXACT)


def test_only_the_position_after_the_first_occurrence_matters_to_induction() -> None:
    """Head 0.0 writes another token there alone, and the whole effect hangs on it."""
    known = induction_gpt2(n=12, seed=6)
    length = known.clean.shape[1]
    places = [f"layers.0.heads.0 @ {p}" for p in range(length)]
    study = PatchStudy(TorchSubject(known.module), known.pairs, known.metric, sites=places)
    scores = Patch().scores(study, [Y(0), *(Y(0, **{p: 1}) for p in places)])
    found = scores.values[:, 1:] - scores.values[:, :1]
    expected = np.where(known.clean.numpy() == known.answer[:, None], -10.0, 0.0)
    assert (expected.sum(axis=1) == -10.0).all()
    np.testing.assert_allclose(found, expected, atol=EXACT)


def test_noising_and_denoising_disagree_on_the_gate() -> None:
    found = effects(study_of(and_gate(), ["copy"]), Patch(check=False), [PNIE, NIE, INT_MED])
    assert found == pytest.approx({"pnie": 0.0, "nie": 1.0, "int_med": 1.0}, abs=EXACT)


def test_the_backup_is_seen_when_it_is_held() -> None:
    """Severing the repair shows the direct path of the component it repairs."""
    known = backup()
    study = study_of(known, ["main"])
    free = effects(study, Patch(), [PNIE])["pnie"]
    severed = effects(study, Patch(hold=("spare",)), [PNIE])["pnie"]
    assert free == pytest.approx(0.0, abs=EXACT)
    assert severed == pytest.approx(float(known.structure.edges({("main", "y")})[0]), abs=EXACT)


def test_path_through_one_mediator_by_holding_the_others() -> None:
    known = linear_residual(layers=2, seed=6)
    held = [known.sites[m] for m in known.mediators if m != "attn0"]
    study = study_of(known, ["attn0"])
    found = effects(study, Patch(hold=tuple(held)), [PNIE])["pnie"]
    expected = known.structure.along("input", "embed", "attn0", "y").mean()
    assert found == pytest.approx(float(expected), abs=EXACT)


@pytest.mark.parametrize("known", [illusion(), illusion(width=7, n=6, seed=2)])
def test_directions_of_the_illusion(known: KnownNetwork) -> None:
    bases = {
        name: Subspace(known.vectors[name][:, None])
        for name in ("true", "illusory", "disconnected", "dormant")
    }
    subject = TorchSubject(known.module, bases=bases)
    te = known.effect(TE)
    for name, share in known.facts.items():
        study = PatchStudy(subject, known.pairs, known.metric, sites=[f"hidden[{name}]"])
        found = effects(study, Patch(check=False), [PNIE, NIE])
        assert found["pnie"] == pytest.approx(share * te, abs=EXACT), name
        assert found["nie"] == pytest.approx(share * te, abs=EXACT), name


def test_templates_are_clusters() -> None:
    known = gaussian_relu(n=120, templates=12, shared=0.8, seed=3)
    table = estimate(study_of(known, ["mediator"]), Patch(), [PNIE])
    assert table.diagnostics["n_clusters"] == 12
    effect = known.truths(Y(0, M(1))) - known.truths(Y(0))
    sums = np.bincount(known.cluster, weights=effect - effect.mean())
    expected = np.sqrt((sums**2).sum() * 12 / 11) / 120
    assert table["pnie"].std_error == pytest.approx(expected, rel=1e-6)


def test_channels_of_a_vision_network() -> None:
    """Each channel alone by plain hooks, all channels together the whole layer."""
    net = train_digits(seed=2, steps=120, n=24)
    subject = TorchSubject(net.module)
    study = PatchStudy(subject, net.pairs, net.metric, sites=["conv2.channels.*"])
    names = [name for block in study.blocks for name in block]
    assert names == [f"conv2.channels.{c}" for c in range(16)]
    cells = [Y(0), Y(1), Y(0, M(1)), *(Y(0, **{name: 1}) for name in names)]
    found = Patch().scores(study, cells).values
    np.testing.assert_allclose(found[:, 2], found[:, 1], atol=1e-4)
    rows = np.arange(len(net))

    def difference(images: object) -> np.ndarray:
        logits = net.module(images)
        return (logits[rows, net.answer] - logits[rows, net.wrong]).numpy()

    seen: list[object] = []
    handle = net.module.conv2.register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    difference(net.corrupt)
    handle.remove()
    for channel in range(16):

        def put(module: object, args: object, out: object, channel: int = channel) -> object:
            out = out.clone()
            out[:, channel] = seen[0][:, channel]
            return out

        handle = net.module.conv2.register_forward_hook(put)
        expected = difference(net.clean)
        handle.remove()
        np.testing.assert_allclose(found[:, 3 + channel], expected, atol=1e-4)
    assert np.abs(found[:, 3:] - found[:, :1]).max() > 0.5
