"""Interventions are saved, read again, and refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, FitWarning, SpecError
from crossworld.internals.basis import Feature, Subspace
from crossworld.internals.inputs import batch
from crossworld.internals.interventions import Change, Intervention
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject
from crossworld.internals.widths import width

pytest.importorskip("safetensors")


def model(width: int = 8, layers: int = 2, vocabulary: int = 12) -> TorchSubject:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(width)
    config = transformers.GPT2Config(
        vocab_size=vocabulary, n_positions=8, n_embd=width, n_layer=layers, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return TorchSubject(transformers.GPT2LMHeadModel(config).eval())


@pytest.fixture
def made() -> Intervention:
    rng = np.random.default_rng(0)
    feature = Feature(
        rng.normal(size=(8, 2)), rng.normal(size=2), rng.normal(size=(2, 8)), rng.normal(size=8)
    )
    rows = (Effect("iia", 0.9, 0.1, 0.7, 0.99, None, "exact"),)
    result = EffectTable(rows, 0.95, diagnostics={"warnings": ["few pairs"], "level": 0.95})
    return Intervention(
        (
            Change("layers.1.resid[gender] @ -1", "set", np.array([2.0, -1.0])),
            Change("layers.0.mlp", "add", np.arange(8.0, dtype=np.float32)),
            Change("layers.0.mlp", "scale", np.array(0.5)),
            Change("layers.0.resid[loud]", "add", np.array([1.0, 0.0])),
        ),
        {"gender": Subspace(rng.normal(size=(8, 2))), "loud": feature},
        "from a test",
        result,
    )


def logits(subject: TorchSubject, intervention: Intervention) -> np.ndarray:
    held = batch([np.array([1, 2, 3])])
    ready = intervention.on(subject)
    return ready.run(held, write=intervention.writes()).output.numpy()


def test_what_is_read_is_what_was_saved(made, tmp_path: Path) -> None:
    subject = model()
    file = made.save(tmp_path / "loud", subject=subject)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loud.json", "loud.safetensors"]
    again = Intervention.load(file, subject=subject)
    assert again.digest == made.digest
    assert [str(c.site) for c in again.changes] == [str(c.site) for c in made.changes]
    assert np.array_equal(again.bases["gender"].matrix, made.bases["gender"].matrix)
    assert again.bases["loud"].threshold is None
    assert again.result is not None
    assert again.result["iia"] == made.result["iia"]
    assert again.result.warnings == ("few pairs",)
    assert again.provenance["version"]
    assert np.array_equal(logits(subject, again), logits(subject, made))
    made.save(tmp_path / "twice", subject=subject)
    for end in (".json", ".safetensors"):
        first, second = (tmp_path / f"{n}{end}" for n in ("loud", "twice"))
        assert first.read_bytes() == second.read_bytes()


def test_changes_do_what_they_say() -> None:
    torch = pytest.importorskip("torch")
    subject, held = model(), batch([np.array([1, 2, 3])])
    site = Site.parse("layers.0.mlp")
    plain = subject.run(held, read=[site]).values[site]
    values = np.arange(8.0)
    for changes, expected in (
        ((Change(site, "add", values), Change(site, "scale", np.array(2.0))),
         2.0 * (plain + torch.from_numpy(values).float())),
        ((Change(site, "scale", np.array(2.0)), Change(site, "add", values)),
         2.0 * plain + torch.from_numpy(values).float()),
        ((Change(site, "set", values),),
         torch.from_numpy(values).float().expand_as(plain)),
    ):  # fmt: skip
        written = Intervention(changes).writes()
        run = subject.run(held, read=[site], write=written)
        torch.testing.assert_close(run.values[site], expected)


def test_a_network_it_does_not_fit_is_refused_by_name(made, tmp_path: Path) -> None:
    file = made.save(tmp_path / "a", subject=model())
    with pytest.raises(DesignError, match=r"'gender' at layers.1.resid\[gender\] @ -1 has 8 feat"):
        Intervention.load(file, subject=model(width=16))
    with pytest.raises(DesignError, match="layers.1.resid of this GPT2LMHeadModel has 16"):
        made.save(tmp_path / "b", subject=model(width=16))
    assert not (tmp_path / "b.json").exists()
    with pytest.raises(DesignError, match="there is no layer 1"):
        Intervention.load(file, subject=model(layers=1))
    with pytest.warns(FitWarning, match="saved for a GPT2LMHeadModel with other parameters"):
        Intervention.load(file, subject=model(vocabulary=13))


def test_damaged_files_are_refused(made, tmp_path: Path) -> None:
    file = made.save(tmp_path / "a")
    text, tensors = file.read_text(), file.with_suffix(".safetensors")
    for change, message in (
        (lambda d: d | {"note": "other"}, "not as they were saved"),
        (lambda d: d | {"changes": d["changes"][:1]}, "not as they were saved"),
        (lambda d: d | {"format": "crossworld-intervention/9"}, "of format"),
        (lambda d: {}, "of format"),
    ):
        file.write_text(json.dumps(change(json.loads(text))))
        with pytest.raises(DesignError, match=message):
            Intervention.load(file)
    file.write_text(text)
    held = bytearray(tensors.read_bytes())
    held[-3] ^= 1
    tensors.write_bytes(bytes(held))
    with pytest.raises(DesignError, match="not as they were saved"):
        Intervention.load(file)
    tensors.write_bytes(b"nothing")
    with pytest.raises(DesignError, match="is no saved intervention"):
        Intervention.load(file)
    tensors.unlink()
    with pytest.raises(DesignError, match="is no saved intervention"):
        Intervention.load(file)


def test_interventions_that_make_no_sense() -> None:
    with pytest.raises(SpecError, match="unknown action 'steer'"):
        Change("layers.0.mlp", "steer", np.ones(8))
    with pytest.raises(DesignError, match="finite numbers"):
        Change("layers.0.mlp", "add", np.array([np.nan]))
    with pytest.raises(SpecError, match="unknown subspace or feature 'gender'"):
        Intervention((Change("layers.0.mlp[gender]", "set", np.ones(1)),))
    with pytest.raises(DesignError, match="has 2 coordinates, its value 3"):
        Intervention(
            (Change("layers.0.mlp[g]", "set", np.ones(3)),), {"g": Subspace(np.eye(8)[:, :2])}
        )


def test_widths_are_those_of_a_run() -> None:
    subject, held = model(), batch([np.array([1, 2, 3])])
    for text in ("embed", "layers.0.resid_pre", "layers.1.resid", "layers.0.attn", "layers.0.mlp",
                 "layers.0.heads.1", "layers.0.heads.1.q", "layers.1.mlp.neurons.3", "lm_head",
                 "transformer.h.0.mlp.c_fc", "transformer.h.0.mlp.c_fc.in"):  # fmt: skip
        site = Site.parse(text)
        assert width(subject, site) == subject.run(held, read=[site]).values[site].shape[-1], text
