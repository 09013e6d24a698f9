"""The service behind its routes: keys, limits, jobs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from crossworld.serve.keys import Key, find_key, read_keys
from crossworld.serve.metrics import Metrics
from crossworld.serve.model.folder import Model, read_model
from crossworld.serve.need import EXPORT, need
from crossworld.serve.rate import Rate
from crossworld.serve.refusal import RefusedError, too_many
from crossworld.serve.runner import Runner
from crossworld.serve.settings import Settings
from crossworld.serve.store import ENDED, ID, WAITING, Job, Store
from crossworld.serve.workers import Workers


class Service:
    """Everything the routes share.

    Parameters
    ----------
    settings
        Where the files are, and what is allowed.

    Raises
    ------
    DesignError
        If the data folder or the model cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = settings.limits
        self.model = None if settings.model is None else _opened(settings.model)
        self.store = Store(settings.data)
        self.metrics = Metrics(self._counts)
        self.workers = Workers(settings.data.resolve() / "cache")
        self.runner = Runner(
            self.store,
            self.limits,
            workers=self.workers,
            slots=settings.workers,
            ended=self.metrics.ended,
        )
        self._rate = Rate(self.limits.rate)
        self._keys: tuple[Key, ...] = ()
        self._read_at: tuple[int, int] | None = None

    def start(self) -> None:
        """Begin to work."""
        self.workers.begin()
        self.runner.start()

    def stop(self) -> None:
        """Stop the work, and let another server have the data folder."""
        self.runner.stop()
        self.workers.end()
        self.store.close()

    def _counts(self) -> dict[str, int]:
        held = Counter(j.status for j in self.store.jobs())
        return {status: held[status] for status in (*WAITING, *ENDED)}

    def caller(self, authorization: str | None) -> Key:
        """Find who asks, and take one of their requests.

        Raises
        ------
        RefusedError
            401 without a known key, 429 when they ask too often.
        """
        scheme, _, secret = (authorization or "").strip().partition(" ")
        key = find_key(self._current_keys(), secret.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            given = "the key is not known" if secret else "there is no key"
            raise RefusedError(
                401,
                f"{given}; send the header 'Authorization: Bearer KEY'",
                headers={"WWW-Authenticate": "Bearer"},
            )
        wait = self._rate.wait(key.name)
        if wait > 0.0:
            raise too_many(f"more than {self.limits.rate} requests a minute", wait)
        return key

    def _current_keys(self) -> tuple[Key, ...]:
        """Keys as they stand in the file now: a key that was removed ends at once."""
        file = self.settings.data / "keys.json"
        try:
            stat = file.stat()
            at = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            return ()
        if at != self._read_at:
            self._keys, self._read_at = read_keys(self.settings.data), at
        return self._keys

    def check_room(self, key: Key) -> None:
        """Refuse a new job of a key that has too many.

        Raises
        ------
        RefusedError
            429.
        """
        own = self.store.jobs(key.name)
        pending = sum(j.status in WAITING for j in own)
        if pending >= self.limits.pending:
            raise too_many(f"{pending} analyses wait already; wait for them, or delete some", 10.0)
        if len(own) >= self.limits.kept:
            raise too_many(f"{len(own):,} analyses are kept already; delete some first", 60.0)

    def job(self, name: str, key: Key) -> Job:
        """Find a caller's job.

        Raises
        ------
        RefusedError
            404, also when the job is somebody else's.
        """
        job = self.store.get(name, key.name) if re.fullmatch(ID, name) else None
        if job is None:
            raise RefusedError(404, f"there is no analysis {name[:40]!r} of this key")
        return job

    def draft(self) -> Path:
        """Make a folder for what is being sent."""
        return self.store.draft()


def _opened(folder: Path) -> Model:
    need("serving a model", EXPORT)
    return read_model(folder)


def told(job: Job) -> dict[str, Any]:
    """Return a job as its owner sees it.

    Examples
    --------
    >>> told(Job("0" * 32, "ann", "jobs.csv", "2026-01-01T00:00:00.000+00:00"))["status"]
    'queued'
    """
    return {
        "id": job.id,
        "status": job.status,
        "table": job.table,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "attempts": job.attempts,
        "error": None if job.error is None else dict(job.error),
    }
