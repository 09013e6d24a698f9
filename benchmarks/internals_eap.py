"""Edge attribution beside a plain forward pass of the same network, interleaved in one process.

Run: ``python benchmarks/internals_eap.py [--turns 5] [--layers 12] [--batch 8] [--length 16]``.
A random network of GPT-2-small's shape, by config; nothing is downloaded. Prints medians of wall
and CPU seconds, their ratio to a plain forward pass of the transformers model (all logits), and by
how much the memory of a process of its own rises.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

Seconds = tuple[float, float]
Method = Literal["eap", "clean-corrupt", "ig-inputs"]
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


def interleaved(tasks: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[Seconds]]:
    """Wall and CPU seconds of every task, taken in turns; the first turn is not counted."""
    found: dict[str, list[Seconds]] = {name: [] for name in tasks}
    for turn in range(turns + 1):
        for name, task in tasks.items():
            wall, cpu = time.perf_counter(), time.process_time()
            task()
            if turn:
                found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return found


def added(method: str, asked: argparse.Namespace) -> float:
    """Rise of resident memory in a process that runs a method, at its peak, in MiB."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import internals_eap as b; "
    code += "b.once(*sys.argv[2:])"
    here = str(Path(__file__).parent)
    sizes = [str(asked.layers), str(asked.batch), str(asked.length)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, here, method, *sizes],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.strip().splitlines()[-1]) / 1024


def once(method: str, layers: str, batch: str, length: str) -> None:
    """Run one method and print by how many KiB resident memory rose during it (Linux)."""
    logging.disable(logging.WARNING)
    model = network(int(layers))
    tasks = tasks_of(model, int(batch), int(length))
    tasks["plain forward"]()  # what is loaded once does not count
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    tasks[method]()
    sys.stdout.write(f"{resident('VmHWM') - before}\n")


def resident(name: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def tasks_of(model: Any, batch: int, length: int) -> dict[str, Callable[[], Any]]:
    """What is measured."""
    import torch

    from crossworld.internals.edges import EdgeAttribution

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    study = study_of(model, batch, length)
    ids = torch.stack([torch.as_tensor(one) for one in study.pairs.clean])

    def forward() -> Any:
        with torch.no_grad():
            return model(ids, use_cache=False).logits

    tasks: dict[str, Callable[[], Any]] = {"plain forward": forward}
    methods: tuple[Method, ...] = ("eap", "clean-corrupt", "ig-inputs")
    for method in methods:
        tasks[method] = partial(EdgeAttribution(method, check=0, batch_size=batch).scores, study)
    small = EdgeAttribution(check=0, batch_size=batch, memory=16)
    tasks["eap, 16 MB"] = partial(small.scores, study)
    return tasks


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    for name, value in (("turns", 5), ("layers", 12), ("batch", 8), ("length", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    tasks = tasks_of(network(asked.layers), asked.batch, asked.length)
    out = sys.stdout.write
    times = {
        name: tuple(statistics.median(column) for column in zip(*held, strict=True))
        for name, held in interleaved(tasks, asked.turns).items()
    }
    base = times["plain forward"]
    out("                wall s  CPU s   plain forward passes (wall, CPU)   memory added at peak\n")
    for name, (wall, cpu) in times.items():
        more = added(name, asked)
        out(f"{name:15s} {wall:6.3f} {cpu:6.3f}  {wall / base[0]:6.2f} {cpu / base[1]:6.2f}"
            f"                {more:8.0f} MiB\n")  # fmt: skip


if __name__ == "__main__":
    main()
