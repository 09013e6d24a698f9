"""The parent of all workers: it imports what they need once, and forks one per order.

``python -m crossworld.serve.zygote ALIVE`` reads orders from standard input, a JSON object a line:
``{"id", "mode", "folder", "attempt", "limits"}`` or ``{"stop": id}``, and writes ``{"id", "code"}``
to standard output when a worker ended. ``ALIVE`` is a pipe that only the server holds open: workers
end when it closes. No thread runs here, so that forking is safe; statsmodels is not imported before
the fork, because it imports polars, which starts one.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from crossworld.serve import worker
from crossworld.spec import check_document

LOOK = 0.01  # seconds between looks at the workers, while there are any
PRELOADED = (
    "crossworld.report.html", "crossworld.report.markdown", "crossworld.tables.study",
    "formulaic", "jinja2", "joblib", "matplotlib.figure", "narwhals.stable.v2", "pandas", "pyarrow",
    "pyarrow.parquet", "scipy.stats", "sklearn.linear_model", "sklearn.ensemble",
)  # fmt: skip
STUDIES = (
    {"data": "table.csv", "path": "a -> m -> y"},
    {
        "kind": "reasoning",
        "data": "table.csv",
        **dict.fromkeys(("question", "prompt", "reasoning", "outcome"), "column"),
    },
)


def preload() -> None:
    """Import what analyses need."""
    for name in PRELOADED:
        import_module(name)
    for study in STUDIES:  # names of estimators, inferences and refuters are looked up in all
        check_document({"study": study, "ask": {"refute": ["placebo"]}})


def fork(order: dict[str, Any], alive: int) -> int:
    """Start a worker and return its process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        folder = Path(order["folder"])
        os.umask(0o077)
        log = os.open(folder / order["attempt"] / "log.txt", os.O_WRONLY | os.O_CREAT, 0o600)
        for source, target in ((nothing, 0), (nothing, 1), (log, 2)):
            os.dup2(source, target)
        os.chdir(folder)
        worker.main(order["mode"], order["limits"], Path(order["attempt"]), alive)
    finally:
        os._exit(1)
    return 0


def main() -> None:
    """Serve orders until the server is gone."""
    preload()
    alive, held, ended = int(sys.argv[1]), b"", False
    running: dict[int, str] = {}
    while not ended or running:
        waiting = [] if ended else [0]
        ready, _, _ = select.select(waiting, [], [], LOOK if running else None)
        if ready:
            chunk = os.read(0, 65536)
            if not chunk:
                ended = True
                for process in running:
                    os.killpg(process, signal.SIGKILL)
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                _obey(json.loads(line), running, alive)
        _reap(running)


def _obey(order: dict[str, Any], running: dict[int, str], alive: int) -> None:
    if "stop" not in order:
        running[fork(order, alive)] = order["id"]
        return
    for process, name in running.items():
        if name == order["stop"]:
            try:
                os.killpg(process, signal.SIGKILL)
            except ProcessLookupError:  # it has not made its own group yet
                os.kill(process, signal.SIGKILL)


def _reap(running: dict[int, str]) -> None:
    for process in list(running):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            told = {"id": running.pop(process), "code": os.waitstatus_to_exitcode(status)}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
