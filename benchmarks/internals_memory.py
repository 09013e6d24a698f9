"""What a patch costs in memory: peaks of exact sweeps over more and more sites.

Run: ``python benchmarks/internals_memory.py [--layers 12] [--length 64] [--batch 2]``.
A random network of GPT-2-small's shape, by config; nothing is downloaded. Each row is a process of
its own: it loads the network, runs both inputs once, gives back what is free and notes the memory
it holds; then it sweeps, and by how much its memory rose at most is printed. ``loop`` is a pass per
cell with plain hooks that keeps the residual stream of the clean input, which any patching needs.
Slope: megabytes added per further patch, from the smallest to the largest sweep.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

FEW, SEED = 8, 3


def resident(what: str) -> float:
    """MiB of this process: resident now (``VmRSS``) or at most since the last reset (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads /proc/self/status, so it needs Linux")


def settle() -> float:
    """Give back what is free, forget the peak so far, and return what is held."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident("VmRSS")


def keep_streams(study: Any, level: int) -> tuple[Any, dict[int, Any]]:
    """Run one input with the residual stream before every block kept, by plain hooks."""
    import torch

    model = study.subject.model
    kept: dict[int, Any] = {}
    batch = study.pairs.batch(study.units, level)
    handles = [
        block.register_forward_pre_hook(lambda m, args, i=i: kept.__setitem__(i, args[0]))
        for i, block in enumerate(model.transformer.h)
    ]
    with torch.no_grad():
        model(batch.inputs, use_cache=False, logits_to_keep=1)
    for handle in handles:
        handle.remove()
    return batch, kept


def by_loop(study: Any, chosen: list[tuple[int, int]]) -> None:
    """Patch one place at a time with plain hooks."""
    import torch

    model = study.subject.model
    clean = keep_streams(study, 0)[1]
    inputs = study.pairs.batch(study.units, 1).inputs
    for layer, at in chosen:

        def put(module: Any, args: Any, layer: int = layer, at: int = at) -> Any:
            stream = args[0].clone()
            stream[:, at] = clean[layer][:, at]
            return (stream, *args[1:])

        handle = model.transformer.h[layer].register_forward_pre_hook(put)
        with torch.no_grad():
            model(inputs, use_cache=False, logits_to_keep=1)
        handle.remove()


def child(asked: argparse.Namespace) -> None:
    """Print by how much one sweep raises the peak."""
    import numpy as np
    import torch
    from internals_eap import network, study_of

    from crossworld.core.expression import Y
    from crossworld.internals.patch import Patch

    torch.set_num_threads(1)
    study = study_of(network(asked.layers), asked.batch, asked.length)
    grid = [(i, p) for i in range(asked.layers) for p in range(asked.length)]
    rng = np.random.default_rng(SEED)
    chosen = [grid[i] for i in sorted(rng.permutation(len(grid))[: asked.cells])]
    for level in (0, 1):
        keep_streams(study, level)
    before = settle()
    if asked.method == "loop":
        by_loop(study, chosen)
    else:
        cells = [Y(1, **{f"layers.{layer}.resid_pre @ {p}": 0}) for layer, p in chosen]
        Patch(memory=asked.memory).scores(study, cells)
    sys.stdout.write(f"{resident('VmHWM') - before:.1f}\n")


def rise(asked: argparse.Namespace, method: str, cells: int, memory: int) -> float:
    """Run a child."""
    command = [
        sys.executable, __file__, "--method", method, "--cells", str(cells),
        "--memory", str(memory), "--layers", str(asked.layers), "--batch", str(asked.batch),
        "--length", str(asked.length),
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print a table: rows are methods, columns are numbers of patches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--memory", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--cells", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.method:
        child(asked)
        return
    most = asked.layers * asked.length
    counts = sorted({FEW, most // 8, most // 4, most // 2, most})
    rows = [("loop", 0), ("crossworld", 64), ("crossworld", 512)]
    out = sys.stdout
    out.write(f"{asked.layers} layers x {asked.length} positions, {asked.batch} pairs; MiB added\n")
    out.write(f"{'patches':28s}" + "".join(f"{n:>8d}" for n in counts) + "   slope\n")
    for method, memory in rows:
        found = []
        for cells in counts:
            if method == "loop" and cells > most // 4:
                break  # one pass after another: its memory cannot grow further
            found.append(rise(asked, method, cells, memory))
        slope = (found[-1] - found[0]) / (counts[len(found) - 1] - counts[0])
        name = method if method == "loop" else f"{method}, memory={memory}"
        cells_ = "".join(f"{v:8.1f}" for v in found).ljust(8 * len(counts))
        out.write(f"{name:28s}{cells_}{slope:8.3f}\n")
        out.flush()


if __name__ == "__main__":
    main()
