"""Workers: a queue of jobs, a thread per slot, a process per attempt."""

from __future__ import annotations

import json
import signal
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Any

from crossworld.serve.settings import Limits
from crossworld.serve.store import Job, Store, now
from crossworld.serve.workers import Worker, Workers

Ended = Callable[[str, float], None]


def outcome(folder: Path, attempt: str) -> dict[str, Any] | None:
    """Read how an attempt went; None when the worker died before it could tell."""
    try:
        held: dict[str, Any] = json.loads((folder / attempt / "outcome.json").read_bytes())
    except (OSError, ValueError):
        return None
    return held


def check(workers: Workers, folder: Path, limits: Limits) -> Mapping[str, str] | None:
    """Check the table and the spec in a draft's folder; return what is wrong, or None.

    Raises
    ------
    TimeoutError
        If the check takes too long.
    """
    process = workers.start("check", folder, "check", limits)
    late = process.wait(limits.checking) is None
    process.stop()
    told = outcome(folder, "check")
    if told is not None:
        return told["error"]  # type: ignore[no-any-return]
    if late or process.code == -signal.SIGXCPU:
        raise TimeoutError(f"checking the table takes more than {limits.checking} s")
    return {
        "kind": "TooLarge",
        "message": f"the table cannot be read with {limits.memory:,} bytes of memory",
    }


class Runner:
    """Runs the jobs of a store, oldest first.

    Parameters
    ----------
    store
        Where the jobs are.
    limits
        What a job may use.
    workers
        Starts workers.
    slots
        Jobs at the same time.
    ended
        Told the status and the seconds of every job that ends.
    """

    def __init__(
        self, store: Store, limits: Limits, *, workers: Workers, slots: int, ended: Ended
    ) -> None:
        self._store, self._limits, self._ended, self._workers = store, limits, ended, workers
        self._turn = Condition()
        self._stopping = False
        self._running: dict[str, Worker] = {}
        waiting = [j.id for j in reversed(store.jobs()) if j.status == "queued"]
        self._queue = deque(waiting)
        self._threads = [Thread(target=self._loop, daemon=True) for _ in range(slots)]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        with self._turn:
            self._queue.append(job.id)
            self._turn.notify()

    def cancel(self, job: Job) -> None:
        """Remove a job, whatever its state; a running worker is stopped."""
        with self._turn:
            self._store.remove(job)
            process = self._running.get(job.id)
            if process is not None:
                process.stop()

    def running(self) -> int:
        """Count the jobs that run now."""
        return len(self._running)

    def stop(self) -> None:
        """Stop the workers; what they had begun is queued again, and counts as no attempt."""
        with self._turn:
            self._stopping = True
            for process in self._running.values():
                process.stop()
            self._turn.notify_all()
        for thread in self._threads:
            thread.join()

    def _loop(self) -> None:
        while True:
            with self._turn:
                while not self._queue and not self._stopping:
                    self._turn.wait()
                if self._stopping:
                    return
                job = self._store.get(self._queue.popleft())
            if job is not None:
                self._attempt(job)

    def _attempt(self, job: Job) -> None:
        if job.attempts >= self._limits.attempts:
            self._end(job, 0.0, _died(job.attempts))
            return
        begun = self._store.change(
            job,
            {"status": "running", "attempts": job.attempts + 1, "started": now(), "error": None},
        )
        if begun is None:
            return
        again = {"status": "queued", "attempts": job.attempts}
        folder, name, clock = self._store.folder(begun), f"attempt-{begun.attempts}", monotonic()
        with self._turn:
            if self._stopping or self._store.get(job.id) is None:
                self._store.change(begun, again)
                return
            process = self._workers.start("run", folder, name, self._limits)
            self._running[job.id] = process
        late = process.wait(self._limits.seconds) is None
        process.stop()
        with self._turn:
            del self._running[job.id]
            stopping = self._stopping
        told = outcome(folder, name)
        late = late or (told is None and process.code == -signal.SIGXCPU)
        if told is None and stopping:
            self._store.change(begun, again)
        elif told is None and not late and begun.attempts < self._limits.attempts:
            queued = self._store.change(begun, {"status": "queued"})
            if queued is not None:
                self.submit(queued)
        else:
            told = told or (_late(self._limits.seconds) if late else _died(begun.attempts))
            self._finish(begun, folder / name, told)
            self._ended(told["status"], monotonic() - clock)

    def _finish(self, job: Job, attempt: Path, told: Mapping[str, Any]) -> None:
        with self._turn:
            if self._store.get(job.id) is None:
                return
            if told["status"] != "failed":
                self._store.keep(job, attempt)
            self._store.change(job, {**told, "finished": now()})

    def _end(self, job: Job, seconds: float, told: Mapping[str, Any]) -> None:
        self._store.change(job, {**told, "finished": now()})
        self._ended(told["status"], seconds)


def _died(attempts: int) -> dict[str, Any]:
    message = f"the worker died {attempts} times without saying why; the job was given up"
    return {"status": "failed", "error": {"kind": "WorkerDied", "message": message}}


def _late(seconds: int) -> dict[str, Any]:
    message = (
        f"the analysis took more than {seconds} s; ask for fewer replicates or send fewer rows"
    )
    return {"status": "failed", "error": {"kind": "TimedOut", "message": message}}
