"""What the patching peers share: the network and task in a folder, and turns on request.

A peer's script is started with the folder as its only argument and stays alive, so that
contestants can take turns: it writes ``{"ready": [methods], "version": ...}``, then for every line
``name`` on its input runs that method once and writes ``{"seconds", "cpu", "peak_mb", "grid"}``,
until its input ends.

The folder holds what ``save_pretrained`` writes for a GPT-2 and its tokenizer, and ``task.json``
with ``clean``, ``corrupt`` (token ids), ``answer``, ``wrong`` and ``threads``. A grid has one row
per layer and one column per position: the logit difference at the end of the corrupt input when
the residual stream before that layer, at that position, is that of the clean input.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

Sweep = Callable[[], Any]


class Task:
    """A network and one pair of inputs.

    Parameters
    ----------
    folder
        Where they are.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        told = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        torch.set_num_threads(int(told["threads"]))
        self.folder = folder
        self.clean = torch.tensor([told["clean"]])
        self.corrupt = torch.tensor([told["corrupt"]])
        self.answer, self.wrong = int(told["answer"]), int(told["wrong"])
        self.length = len(told["clean"])

    def model(self) -> Any:
        """Return the network as transformers loads it, with explicit attention."""
        from transformers import GPT2LMHeadModel

        held = GPT2LMHeadModel.from_pretrained(self.folder, attn_implementation="eager")
        return held.eval().requires_grad_(False)

    def tokenizer(self) -> Any:
        """Return its tokenizer, which some peers will not start without."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    def metric(self, logits: Any) -> Any:
        """Logit differences at the last position, (B,)."""
        return logits[:, -1, self.answer] - logits[:, -1, self.wrong]


def serve(build: Callable[[Task], dict[str, Sweep]], version: str) -> None:
    """Build the methods, then run them when asked."""
    task = Task(Path(sys.argv[1]))
    with contextlib.redirect_stdout(sys.stderr):
        methods = build(task)
    say({"ready": list(methods), "version": version})
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(sys.stderr):
            grid = methods[line.strip()]()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows = [[float(v) for v in row] for row in grid]
        say({"seconds": wall, "cpu": cpu, "peak_mb": peak, "grid": rows})


def say(told: dict[str, Any]) -> None:
    """Write one line of JSON at once."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
