"""What a shared pass allocates stays within the memory that was allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld import Y
from crossworld.internals import engine
from tests.internals.zoo import COMMON, MODELS, tf, torch

KINDS = 50_000


def allocated(profile: Any, file: Path) -> int:
    """Most bytes held at once, of those allocated since the profile began."""
    profile.export_chrome_trace(str(file))
    trace = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    events = [(e["ts"], e["args"]["Bytes"]) for e in trace if e.get("name") == "[memory]"]
    assert events
    return int(max(np.cumsum([size for _, size in sorted(events, key=lambda e: e[0])])))


class Passes:
    """Rows and bytes of every shared pass, the metric's part included."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.bytes: list[int] = []
        whole, cpu = engine.Joined.run, [torch.profiler.ProfilerActivity.CPU]

        def run(joined: Any) -> Iterator[Any]:
            with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
                yield from whole(joined)
            self.rows.append(len(joined.jobs) * joined.batch.size)
            self.bytes.append(allocated(profile, folder / f"{len(self.rows)}.json"))

        monkeypatch.setattr(engine.Joined, "run", run)


def study(model: Any, length: int, metric: Any, sites: list[str], size: int = 2) -> xw.PatchStudy:
    rng = np.random.default_rng(0)
    clean, corrupt = rng.integers(3, 90, (2, size, length))
    rows = [{"clean": a, "corrupt": b, "answer": 3, "wrong": 5}
            for a, b in zip(clean, corrupt, strict=True)]  # fmt: skip
    return xw.PatchStudy(xw.TorchSubject(model), rows, metric, sites=sites)


def spread(output: Any) -> Any:
    """A metric of all positions, which makes another tensor as large as the output."""
    return output.log_softmax(-1)[:, 1:, 7].sum(1)


def swept(held: xw.PatchStudy, memory: int) -> np.ndarray:
    cells = [Y(0), *(Y(0, **{str(s): 1}) for s in held.sites)]
    return xw.Patch(memory=memory, check=False).scores(held, cells).values


@pytest.mark.parametrize("at", ["", " @ 8"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_outputs_of_a_large_vocabulary_are_counted(
    name: str, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {**COMMON, "vocab_size": KINDS}
    torch.manual_seed(0)
    model = {
        "gpt2": lambda: tf.GPT2LMHeadModel(
            tf.GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=KINDS, n_positions=64)
        ),
        "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**common)),
        "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**common, head_dim=8)),
    }[name]().eval()
    held = study(model, 16, spread, [f"layers.0.mlp.neurons.{j}{at}" for j in range(24)])
    passes, memory = Passes(tmp_path, monkeypatch), 64
    values = swept(held, memory)
    assert max(passes.bytes) <= memory * 2**20
    assert len(passes.rows) > 2 and max(passes.rows) > 2  # more than one cell, not all of them
    most = max(zip(passes.rows, passes.bytes, strict=True))
    assert most[1] >= 0.4 * memory * 2**20  # and the memory is used
    per_row = np.prod(held.subject.run(held.pairs.batch([0], 0)).output.shape) * 4
    assert 48 * per_row * (0.5 if at else 1.0) > memory * 2**20  # all at once would not fit
    np.testing.assert_allclose(values, swept(held, 4000), atol=2e-2 if name == "gemma2" else 1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "gemma2"])
def test_attention_scores_of_long_inputs_are_counted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    length, common = 300, {**COMMON, "max_position_embeddings": 300}
    model = {
        "gpt2": lambda: tf.GPT2LMHeadModel(
            tf.GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=97, n_positions=300)
        ),
        "llama": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**common)),
        "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**common, head_dim=8)),
        "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**common, head_dim=8)),
    }[name]().eval()
    model.set_attn_implementation("eager")
    sites = [f"layers.0.mlp.neurons.{j}" for j in range(24)]
    held = study(model, length, "logit_difference", sites)
    passes, memory = Passes(tmp_path, monkeypatch), 48
    swept(held, memory)
    assert max(passes.bytes) <= memory * 2**20
    assert len(passes.rows) > 2 and max(passes.rows) > 2
    assert max(passes.bytes) >= 0.4 * memory * 2**20
    assert 48 * 4 * length**2 * 4 > memory * 2**20  # one copy of all scores would not fit


@pytest.mark.parametrize("first", [0, 20, 37])
@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_takes_less_than_is_counted(
    name: str, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    part = "mixer" if name == "mamba" else "mlp"
    held = study(
        MODELS[name]().eval(), 40, "logit_difference",
        [f"layers.{i}.{part} @ {p}" for i in (0, 1) for p in range(first, 40)],
    )  # fmt: skip
    passes, counted = Passes(tmp_path, monkeypatch), []
    chunks = engine.chunks

    def noted(study: Any, batch: Any, jobs: Any, recorded: Any, *, memory: int) -> Iterator[Any]:
        for chunk in chunks(study, batch, jobs, recorded, memory=memory):
            at = recorded.first(study, batch, chunk[0].writes)
            took = recorded.footprint
            rows = len(chunk) * batch.size
            counted.append(rows * took.row(at) + took.apart_from_rows(batch.size))
            yield chunk

    monkeypatch.setattr(engine, "chunks", noted)
    swept(held, 512)
    # the first pass is the trial that makes sure that rows can join
    assert len(passes.bytes) == len(counted) + 1
    assert (np.array(passes.bytes[1:]) <= np.array(counted)).all()


def test_a_cell_that_does_not_fit_runs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tf.GPT2LMHeadModel(
        tf.GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=KINDS, n_positions=64)
    ).eval()
    held = study(model, 16, spread, [f"layers.0.mlp.neurons.{j}" for j in range(3)])
    passes = Passes(tmp_path, monkeypatch)
    swept(held, 1)
    assert passes.rows == [2, 2, 2, 2]
