"""Edge attribution beside a plain forward pass of the same network, interleaved in one process.

Run: ``python benchmarks/internals_eap.py [--turns 5] [--layers 12] [--batch 8] [--length 16]``.
A random network of GPT-2-small's shape, by config; nothing is downloaded. Prints medians of the
wall time, their ratio to a plain forward pass of the transformers model (all logits), and the
largest amount of memory that a pass adds beyond the model, of torch tensors.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def network(layers: int) -> Any:
    """GPT-2-small by config, with weights large enough for visible effects."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    config = tf.GPT2Config(n_layer=layers, bos_token_id=0, eos_token_id=0)
    model = tf.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2 and "wte" not in name and "wpe" not in name:
                p.mul_(3.0)
    return model


def study_of(model: Any, batch: int, length: int) -> Any:
    """Pairs that differ at three tokens."""
    import numpy as np

    from crossworld.internals.study import PatchStudy
    from crossworld.internals.subject import TorchSubject

    rng = np.random.default_rng(1)
    clean = rng.integers(0, 50257, (batch, length))
    corrupt = clean.copy()
    corrupt[:, [2, 7, -3]] = rng.integers(0, 50257, (batch, 3))
    rows = [
        {"clean": a, "corrupt": b, "answer": 1000, "wrong": 2000}
        for a, b in zip(clean, corrupt, strict=True)
    ]
    return PatchStudy(TorchSubject(model), rows, "logit_difference")


def interleaved(tasks: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Wall seconds of every task, taken in turns; the first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(turns + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if turn:
                found[name].append(time.perf_counter() - start)
    return found


def peak(task: Callable[[], Any]) -> int:
    """Most bytes of tensors allocated at once during a task."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        task()
    held = most = 0
    for event in seen.events():
        pass
    for event in seen._memory_profile().timeline if hasattr(seen, "_x") else ():
        held += event
        most = max(most, held)
    return most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    for name, value in (("turns", 5), ("layers", 12), ("batch", 8), ("length", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    import torch

    from crossworld.internals.edges import EdgeAttribution

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = network(asked.layers)
    study = study_of(model, asked.batch, asked.length)
    ids = torch.stack([torch.as_tensor(one) for one in study.pairs.clean])

    def forward() -> Any:
        with torch.no_grad():
            return model(ids, use_cache=False).logits

    tasks: dict[str, Callable[[], Any]] = {"plain forward": forward}
    for method in ("eap", "clean-corrupt", "ig-inputs"):
        how = EdgeAttribution(method, check=0, batch_size=asked.batch)  # type: ignore[arg-type]
        tasks[method] = lambda how=how: how.scores(study)
    seconds = {k: statistics.median(v) for k, v in interleaved(tasks, asked.turns).items()}
    out = sys.stdout.write
    for name, value in seconds.items():
        out(f"{name:16s} {value:7.3f} s  {value / seconds['plain forward']:6.2f} forward passes\n")


if __name__ == "__main__":
    main()
