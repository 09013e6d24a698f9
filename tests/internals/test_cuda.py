"""On a graphics card the same numbers, wherever inputs, values and masks come from."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.internals.inputs import batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from tests.internals.zoo import model, rows, tokens, torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card")
PLACES = (
    "embed @ -1",
    "layers.*.resid @ 3",
    "layers.*.attn",
    "layers.*.mlp @ -1",
    "layers.1.heads.* @ -1",
    "layers.0.heads.*.q",
    "layers.*.mlp.neurons.3 @ 2:5",
)


def both(name: str) -> tuple[TorchSubject, TorchSubject]:
    net = model(name).double()
    return TorchSubject(net), TorchSubject(copy.deepcopy(net).cuda())


def estimates(subject: TorchSubject, pairs: Any, **options: Any) -> np.ndarray:
    study = xw.PatchStudy(subject, pairs, "logit_difference", sites=PLACES, **options)
    return np.array([row.estimate for row in xw.sweep(study, [xw.TE, xw.NIE, xw.PNIE])])


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "pythia", "bert"])
@pytest.mark.parametrize("source", ["other", "zero", "mean", "resample"])
def test_a_sweep_gives_the_same_numbers(name: str, source: str) -> None:
    on_cpu, on_card = both(name)
    found = estimates(on_card, rows(4), source=source)
    np.testing.assert_allclose(found, estimates(on_cpu, rows(4), source=source), atol=1e-9)
    assert np.abs(found).max() > 1e-4


def test_noise_patterns_and_knockouts_give_the_same_numbers() -> None:
    on_cpu, on_card = both("llama")
    clean = [{k: v for k, v in row.items() if k != "corrupt"} for row in rows(4)]
    noise = xw.Noise("embed @ 2:4", draws=2)
    found = [estimates(s, clean, noise=noise) for s in (on_cpu, on_card)]
    np.testing.assert_allclose(*found, atol=1e-9)
    asked = [xw.NIE, xw.estimand("Y(1, M('knockout')) - Y(1)")]
    cut = []
    for subject in (on_cpu, on_card):
        study = xw.PatchStudy(subject, rows(4), "kl", sites="layers.1.heads.*.pattern @ -1 <- 1")
        cut.append([row.estimate for row in xw.estimate(study, xw.Patch(), asked)])
    np.testing.assert_allclose(*cut, atol=1e-9)


def test_inputs_values_and_masks_may_be_anywhere() -> None:
    _, subject = both("gpt2")
    ids = torch.as_tensor(tokens(2))
    masked = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    masked["attention_mask"][:, :2] = 0
    outputs = []
    for place in ("cpu", "cuda"):
        given = [{k: v[i].to(place) for k, v in masked.items()} for i in range(2)]
        value = {Site.parse("layers.0.mlp @ -1"): torch.zeros(2, 1, 32, device=place)}
        outputs.append(subject.run(batch(given), write=value).output)
    torch.testing.assert_close(*outputs)
    pairs = (ids.cuda(), ids.flip(0).cuda())
    study = xw.PatchStudy(subject, pairs, lambda y: y[:, -1, 3], sites="layers.0.mlp @ -1")
    assert xw.estimate(study, xw.Patch(), [xw.NIE])["nie"].estimate is not None
    assert study.to_table(components=1).table["metric"].values.shape == (4,)
