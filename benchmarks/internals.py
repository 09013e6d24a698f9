"""Measure exact patching sweeps beside their peers, in one run.

    python benchmarks/internals.py [--transformerlens-python PATH] [--nnsight-python PATH]
                                   [--pyvene-python PATH] [--repeat 3] [--threads 1] [--layers 12]
                                   [--positions 16] [--json FILE]

A GPT-2 small with random weights (by its configuration; nothing is downloaded) and one pair of
prompts are written to a folder. Every contestant runs in a process of its own, with its own
interpreter because their requirements exclude one another, and sweeps the residual stream over
layers and positions; they take turns, so that a busy machine is shared fairly. Start-up, loading
and a first round are not counted. Printed are the medians of wall and CPU seconds, ratios peer /
ours, and the largest difference of any cell from the pass-per-cell loop of plain hooks, because the
time of a different answer is worth nothing. A peer without an interpreter is named and skipped.

Two tasks: ``general`` (prompts differ in three tokens, the first early) and ``minimal`` (prompts
differ in one token two thirds in, as in minimal pairs, so that earlier positions cannot matter).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
OURS, LOOP = "crossworld", "plain hooks, a pass per cell"
PEERS = {
    "transformerlens": "patching_transformerlens.py",
    "nnsight": "patching_nnsight.py",
    "pyvene": "patching_pyvene.py",
}
TASKS = ("general", "minimal")
Run = dict[str, Any]


def write_network(folder: Path, layers: int, positions: int) -> None:
    """Write a random GPT-2, a tokenizer that knows its tokens by number."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers, n_positions=max(positions, 64), resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # fresh weights are so small that patches would hardly show
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "wte" not in name and "wpe" not in name:
                weight.mul_(3.0)
    model.save_pretrained(folder)
    words = {f"t{i}": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "t0")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def write_task(folder: Path, kind: str, positions: int, threads: int) -> None:
    """Write the prompts: random tokens that differ at some positions."""
    import torch

    drawn = torch.randint(0, 50257, (positions,), generator=torch.Generator().manual_seed(1))
    clean, corrupt = drawn.tolist(), drawn.tolist()
    general = (positions // 8, positions * 7 // 16, positions - 3)
    for at in general if kind == "general" else (positions * 2 // 3,):
        corrupt[at] = (clean[at] + 777) % 50257
    task = {"clean": clean, "corrupt": corrupt, "answer": 1000, "wrong": 2000, "threads": threads}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")


def build(task: Any) -> dict[str, Callable[[], Any]]:
    """Our sweep, and the loop that everything is compared to."""
    import torch

    from crossworld.core.expression import Y
    from crossworld.internals.patch import Patch
    from crossworld.internals.study import PatchStudy
    from crossworld.internals.subject import TorchSubject

    model = task.model()
    layers, length = model.config.n_layer, task.length
    pair = {
        "clean": task.clean[0], "corrupt": task.corrupt[0],
        "answer": task.answer, "wrong": task.wrong,
    }  # fmt: skip
    places = [f"layers.{layer}.resid_pre @ {p}" for layer in range(layers) for p in range(length)]

    def ours() -> Any:
        study = PatchStudy(
            TorchSubject(model), [pair], "logit_difference", sites=["layers.*.resid_pre @ *"]
        )
        cells = [Y(1, **{place: 0}) for place in places]
        return Patch().scores(study, cells).values[0].reshape(layers, length)

    def loop() -> Any:
        blocks, seen, grid = model.transformer.h, {}, torch.zeros(layers, length)

        def keep(layer: int) -> Callable[..., None]:
            return lambda module, args: seen.__setitem__(layer, args[0])

        def put(layer: int, position: int) -> Callable[..., Any]:
            def change(module: Any, args: Any) -> Any:
                stream = args[0].clone()
                stream[:, position] = seen[layer][:, position]
                return (stream, *args[1:])

            return change

        with torch.inference_mode():
            handles = [b.register_forward_pre_hook(keep(i)) for i, b in enumerate(blocks)]
            model(task.clean, use_cache=False)
            for handle in handles:
                handle.remove()
            for layer in range(layers):
                for position in range(length):
                    handle = blocks[layer].register_forward_pre_hook(put(layer, position))
                    logits = model(task.corrupt, use_cache=False).logits
                    handle.remove()
                    grid[layer, position] = task.metric(logits)[0]
        return grid

    return {OURS: ours, LOOP: loop}


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A process that runs methods on request."""

    process: subprocess.Popen[str]
    methods: tuple[str, ...]
    version: str

    @classmethod
    def start(cls, command: list[str]) -> Contestant | str:
        """Start it; the reason why not, where it does not."""
        with tempfile.TemporaryFile("w+") as log:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            try:
                process = subprocess.Popen(command, text=True, **pipes)
            except OSError as error:
                return error.strerror or str(error)
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                log.seek(0)
                lines = [one for one in log.read().splitlines() if one.strip()]
                return lines[-1] if lines else f"exit status {process.returncode}"
        told = json.loads(line)
        return cls(process, tuple(told["ready"]), told["version"])

    def run(self, method: str) -> Run:
        """Run a method once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{method}\n")
        self.process.stdin.flush()
        told: Run = json.loads(self.process.stdout.readline())
        return told

    def stop(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def start_all(folder: Path, asked: argparse.Namespace, kind: str) -> dict[str, Contestant]:
    """Start ours, and for the general task the peers that have an interpreter."""
    commands = {OURS: [sys.executable, str(HERE / "internals.py"), "--serve"]}
    for name, script in PEERS.items():
        python = getattr(asked, f"{name}_python")
        if kind == "general" and python:
            commands[name] = [python, str(HERE / "peers" / script)]
        elif kind == "general":
            say(f"{name} is skipped: give --{name}-python")
    found = {}
    for name, command in commands.items():
        started = Contestant.start([*command, str(folder)])
        if isinstance(started, str):
            say(f"{name} is skipped: {started}")
        else:
            found[name] = started
    return found


def measure(folder: Path, asked: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Let all methods of all contestants take turns."""
    held = start_all(folder, asked, kind)
    turns = [(who, method) for who, one in held.items() for method in one.methods]
    runs: dict[str, list[Run]] = {}
    try:
        for turn in range(asked.repeat + 1):
            for who, method in turns:
                run = held[who].run(method)
                if turn:  # the first round is a warm-up
                    runs.setdefault(_title(who, method), []).append(run)
    finally:
        for one in held.values():
            one.stop()
    versions = {who: one.version for who, one in held.items()}
    return {"versions": versions, "methods": {k: summary(v, runs) for k, v in runs.items()}}


def _title(who: str, method: str) -> str:
    return method if who == OURS else f"{who}, {method}"


def summary(own: list[Run], runs: dict[str, list[Run]]) -> Run:
    """Medians of one method, ratios to ours and the largest difference from the loop."""
    told: Run = {}
    for what in ("seconds", "cpu"):
        told[what] = statistics.median(run[what] for run in own)
        told[f"{what}_ratio"] = told[what] / statistics.median(run[what] for run in runs[OURS])
    exact = [v for row in runs[LOOP][-1]["grid"] for v in row]
    found = [v for row in own[-1]["grid"] for v in row]
    told["peak_mb"] = own[-1]["peak_mb"]
    told["difference"] = max(abs(a - b) for a, b in zip(exact, found, strict=True))
    return told


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def report(kind: str, found: dict[str, Any], asked: argparse.Namespace) -> None:
    """Print one task."""
    say(f"{kind}: {asked.layers} layers x {asked.positions} positions, {asked.threads} thread(s)")
    say(f"{'':38s} {'wall s':>8s} {'/ ours':>7s} {'cpu s':>8s} {'/ ours':>7s}  difference")
    for name, told in found["methods"].items():
        say(
            f"{name:38s} {told['seconds']:8.2f} {told['seconds_ratio']:7.2f} {told['cpu']:8.2f} "
            f"{told['cpu_ratio']:7.2f}  {told['difference']:.1e}"
        )
    say()


def main() -> None:
    """Measure both tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in PEERS:
        parser.add_argument(f"--{name}-python")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--positions", type=int, default=16)
    parser.add_argument("--task", choices=TASKS, action="append")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_network(Path(folder), asked.layers, asked.positions)
        for kind in asked.task or TASKS:
            write_task(Path(folder), kind, asked.positions, asked.threads)
            results[kind] = measure(Path(folder), asked, kind)
            report(kind, results[kind], asked)
    say(f"Python {platform.python_version()}; {json.dumps(results[kind]['versions'])}")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    if "--serve" in sys.argv:
        from importlib.metadata import version

        from patching_common import serve

        sys.argv.remove("--serve")
        serve(build, f"crossworld {version('crossworld')}, torch {version('torch')}")
    else:
        main()
