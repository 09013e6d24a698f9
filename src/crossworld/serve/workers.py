"""The server's side of the workers: start them, wait for them, stop them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from threading import Event, Lock, Thread
from typing import Any

from crossworld.serve.settings import Limits

KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
NO_THREADS = {"MPLBACKEND": "Agg", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LOST = -9  # code of a worker whose end nobody saw
PATIENCE = 10.0  # seconds for a stopped worker to end


class Worker:
    """A worker that was started.

    Parameters
    ----------
    name
        What its parent calls it.
    workers
        Where it came from.
    """

    def __init__(self, name: str, workers: Workers) -> None:
        self._name, self._workers, self._ended = name, workers, Event()
        self.code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; return its exit code, or None when it takes longer."""
        return self.code if self._ended.wait(seconds) else None

    def stop(self) -> None:
        """End it."""
        if not self._ended.is_set():
            self._workers.tell({"stop": self._name})
            if not self._ended.wait(PATIENCE):
                self.note(LOST)

    def note(self, code: int) -> None:
        """Learn that it ended."""
        if self.code is None:
            self.code = code
        self._ended.set()


class Workers:
    """Starts workers by way of a parent that has imported everything (`zygote`).

    Parameters
    ----------
    cache
        Folder of what libraries keep between runs, such as a list of fonts.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock = Lock()
        self._parent: subprocess.Popen[bytes] | None = None
        self._held: dict[str, Worker] = {}
        self._pipe = os.pipe()

    def begin(self) -> None:
        """Start the parent, so that it is ready when a job comes."""
        with self._lock:
            self._ready()

    def start(self, mode: str, folder: Path, attempt: str, limits: Limits) -> Worker:
        """Start a worker in a job's folder; its results go to the folder ``attempt`` in it."""
        (folder / attempt).mkdir(mode=0o700, exist_ok=True)
        (folder / attempt / "outcome.json").unlink(missing_ok=True)
        name = token_hex(8)
        worker = Worker(name, self)
        told = {"folder": str(folder), "attempt": attempt, "limits": asdict(limits)}
        with self._lock:
            self._ready()
            self._held[name] = worker
        self.tell({"id": name, "mode": mode, **told})
        return worker

    def tell(self, order: dict[str, Any]) -> None:
        """Send an order to the parent."""
        with self._lock:
            try:
                assert self._parent is not None
                assert self._parent.stdin is not None
                self._parent.stdin.write(json.dumps(order).encode() + b"\n")
                self._parent.stdin.flush()
            except (BrokenPipeError, ValueError):
                pass  # the parent died; who listens to it notes the end of its workers

    def end(self) -> None:
        """Stop the parent and all workers."""
        with self._lock:
            parent, self._parent = self._parent, None
        for handle in self._pipe:
            os.close(handle)
        if parent is not None:  # its workers end by themselves: the pipe they watch is closed
            parent.kill()
            parent.wait()
            if parent.stdin is not None:
                parent.stdin.close()

    def _ready(self) -> None:
        """Start the parent if there is none. The lock is held."""
        if self._parent is not None and self._parent.poll() is None:
            return
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        variables = {k: os.environ[k] for k in KEPT if k in os.environ}
        variables |= dict.fromkeys(ONE_THREAD, "1") | NO_THREADS
        variables |= dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR"), str(self._cache))
        command = [sys.executable, "-m", "crossworld.serve.zygote", str(self._pipe[0])]
        self._parent = subprocess.Popen(
            command,
            cwd=self._cache,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self._pipe[0],),
            start_new_session=True,
        )
        Thread(target=self._listen, args=(self._parent,), daemon=True).start()

    def _listen(self, parent: subprocess.Popen[bytes]) -> None:
        """Note the ends of workers, and of all when their parent dies."""
        assert parent.stdout is not None
        for line in parent.stdout:
            told = json.loads(line)
            worker = self._held.pop(told["id"], None)
            if worker is not None:
                worker.note(told["code"])
        parent.stdout.close()
        parent.wait()
        with self._lock:
            lost, self._held = self._held, {}
        for worker in lost.values():
            worker.note(LOST)
