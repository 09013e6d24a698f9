"""Edges: the scores of the reference package, and the circuit that was set by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("crossworld.internals.edges")

from crossworld.datasets.networks import induction_gpt2  # noqa: E402
from crossworld.internals.edges import EdgeAttribution  # noqa: E402
from crossworld.internals.paths import PathPatch  # noqa: E402
from crossworld.internals.study import PatchStudy  # noqa: E402
from crossworld.internals.subject import TorchSubject  # noqa: E402

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "eap_ig.json").read_text(encoding="utf-8")
)
METHODS = {
    "eap": "EAP",
    "ig-inputs": "EAP-IG-inputs",
    "ig-pooled": "EAP-IG-activations",
    "clean-corrupt": "clean-corrupted",
}


def reference_study() -> PatchStudy:
    """The network of benchmarks/peers/eap_ig.py: weights by numpy, in the order of their names."""
    told = REFERENCE["network"]
    config = transformers.GPT2Config(
        vocab_size=told["kinds"], n_positions=told["length"], n_embd=told["width"],
        n_layer=told["layers"], n_head=told["heads"], resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).double().eval()
    rng = np.random.default_rng(told["seed"])
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            values = 0.3 * rng.standard_normal(tuple(weight.shape))
            is_gain = ".ln_" in name and name.endswith("weight")
            weight.copy_(torch.from_numpy(1.0 + values if is_gain else values))
    task = REFERENCE["task"]
    keys = ("clean", "corrupt", "answer", "wrong")
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*(task[k] for k in keys), strict=True)]
    return PatchStudy(TorchSubject(model), rows, "logit_difference")


def ours(edge: str) -> str:
    """``a0.h1->a1.h0<k>`` as we write it."""
    sender, reader = edge.split("->")
    part, _, stream = reader.partition("<")
    names = [_place(sender), _place(part) + (f".{stream[:-1]}" if stream else "")]
    return " -> ".join(names)


def _place(name: str) -> str:
    if name in ("input", "logits"):
        return name
    if name[0] == "m":
        return f"layers.{name[1:]}.mlp"
    layer, head = name[1:].split(".h")
    return f"layers.{layer}.heads.{head}"


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_reference_package(method: Any) -> None:
    """To 1e-5 of the largest; its scores are kept in single precision."""
    expected = {ours(k): v for k, v in REFERENCE["scores"][METHODS[method]].items()}
    steps = REFERENCE["network"]["steps"]
    found = EdgeAttribution(method, steps=steps, check=0).scores(reference_study())
    mine = {str(edge): float(found.of(edge).mean()) for edge in found.edges}
    assert set(mine) == set(expected)
    largest = max(abs(v) for v in expected.values())
    assert mine == pytest.approx(expected, abs=1e-5 * largest)


def test_path_patching_is_that_of_the_reference_package() -> None:
    """Its ``exact`` removes one edge at a time: the effect of that edge alone."""
    expected = {ours(k): v for k, v in REFERENCE["scores"]["exact"].items()}
    scores = PathPatch().scores(reference_study(), {edge: [edge] for edge in expected})
    effects = scores.values[:, 2:] - scores.values[:, :1]
    largest = max(abs(v) for v in expected.values())
    mine = dict(zip(expected, effects.mean(axis=0).tolist(), strict=True))
    assert mine == pytest.approx(expected, abs=1e-5 * largest)


def test_the_circuit_set_by_hand_runs_along_one_edge() -> None:
    known = induction_gpt2(n=10, seed=3)
    study = PatchStudy(TorchSubject(known.module), known.pairs, known.metric)
    circuit = "layers.0.heads.0 -> layers.1.heads.0.k"
    others = (
        "layers.0.heads.0 -> layers.1.heads.0.q",
        "layers.0.heads.0 -> layers.1.heads.0.v",
        "layers.0.heads.0 -> logits",
        "layers.0.heads.1 -> layers.1.heads.0.k",
        "layers.0.heads.1 -> layers.1.heads.1.v",
    )
    scores = PathPatch().scores(study, {edge: [edge] for edge in (circuit, *others)})
    effects = scores.values[:, 2:] - scores.values[:, :1]
    expected = known.structure.edges({("previous", "induction")})
    np.testing.assert_allclose(effects[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(effects[:, 1:], 0.0, atol=1e-6)


def test_attribution_misses_a_saturated_circuit_and_says_so() -> None:
    """The slope of a softmax at its flat end is next to nothing; exact patching shows the error."""
    known = induction_gpt2(n=6, seed=5)
    study = PatchStudy(TorchSubject(known.module), known.pairs, known.metric)
    found = EdgeAttribution(check=1000).scores(study)
    circuit = found.of("layers.0.heads.0 -> layers.1.heads.0.k")
    assert np.abs(circuit).max() < 1e-3
    gaps = [np.subtract(a.exact, a.approximate) for a in found.agreement.values()]
    assert max(np.abs(gap).max() for gap in gaps) > 9.0
