"""Jobs on disk: one folder each, written so that a crash at any moment loses none."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

from crossworld.errors import DesignError

ID = "[0-9a-f]{32}"
WAITING = ("queued", "running")
ENDED = ("done", "not_identified", "failed")
FILES = {"json": "result.json", "html": "report.html", "md": "report.md"}


@dataclass(frozen=True, slots=True)
class Job:
    """An analysis that was accepted."""

    id: str
    owner: str
    table: str
    created: str
    status: str = "queued"
    attempts: int = 0
    started: str | None = None
    finished: str | None = None
    error: Mapping[str, str] | None = None


def now() -> str:
    """Return the time in UTC, in ISO 8601.

    Examples
    --------
    >>> now()[-6:]
    '+00:00'
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """The jobs of a data folder. One server at a time may hold it.

    Parameters
    ----------
    folder
        The data folder.

    Raises
    ------
    DesignError
        If it cannot be written, or another server holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve() / "jobs"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._hold = _held(folder.resolve() / "lock")
        except OSError as error:
            raise DesignError(
                f"cannot use the data folder {str(folder)!r}: {error.strerror}"
            ) from None
        self._lock = RLock()
        self._jobs: dict[str, Job] = {}
        for path in sorted(self._folder.iterdir()):
            if not re.fullmatch(ID, path.name):
                shutil.rmtree(path, ignore_errors=True)  # an upload or a removal cut short
            else:
                self._load(path)

    def close(self) -> None:
        """Let another server have the folder."""
        os.close(self._hold)

    def _load(self, path: Path) -> None:
        try:
            job = Job(**json.loads((path / "job.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DesignError(f"the job in {str(path)!r} is damaged: {error}") from None
        self._jobs[job.id] = job
        if job.status == "running":  # its server died
            self._put(replace(job, status="queued"))

    def draft(self) -> Path:
        """Make a folder for a job that is not accepted yet."""
        path = self._folder / f"new-{secrets.token_hex(16)}"
        path.mkdir(mode=0o700)
        return path

    def accept(self, draft: Path, owner: str, table: str) -> Job:
        """Turn a draft into a job; from here on it is never lost."""
        job = Job(draft.name.removeprefix("new-"), owner, table, now())
        _write(draft / "job.json", asdict(job))
        for file in draft.iterdir():
            _sync(file)
        _sync(draft)
        draft.rename(self._folder / job.id)
        _sync(self._folder)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def folder(self, job: Job) -> Path:
        """Return the folder of a job."""
        return self._folder / job.id

    def get(self, name: str, owner: str | None = None) -> Job | None:
        """Return a job by its id, if it exists and is the owner's."""
        with self._lock:
            job = self._jobs.get(name)
        return job if job is not None and owner in (None, job.owner) else None

    def jobs(self, owner: str | None = None) -> list[Job]:
        """Return jobs, newest first."""
        with self._lock:
            held = [j for j in self._jobs.values() if owner in (None, j.owner)]
        return sorted(held, key=lambda j: (j.created, j.id), reverse=True)

    def change(self, job: Job, changes: Mapping[str, Any]) -> Job | None:
        """Note a change; None when the job was removed in the meantime."""
        with self._lock:
            if job.id not in self._jobs:
                return None
            return self._put(replace(self._jobs[job.id], **dict(changes)))

    def keep(self, job: Job, attempt: Path) -> None:
        """Move the results of an attempt to their place."""
        for name in FILES.values():
            if (attempt / name).is_file():
                _sync(attempt / name)
                (attempt / name).replace(self.folder(job) / name)
        _sync(self.folder(job))

    def remove(self, job: Job) -> None:
        """Forget a job and its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
        gone = self._folder / f"old-{job.id}"
        try:
            self.folder(job).rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone, ignore_errors=True)

    def result(self, job: Job, kind: str) -> bytes | None:
        """Return a result file, or None when there is none."""
        try:
            return (self.folder(job) / FILES[kind]).read_bytes()
        except FileNotFoundError:
            return None

    def _put(self, job: Job) -> Job:
        self._jobs[job.id] = job
        _write(self.folder(job) / "job.json", asdict(job))
        return job


def _held(file: Path) -> int:
    """Take the lock of a folder; it is let go when the process ends, however it ends."""
    import fcntl

    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise DesignError(
            f"the data folder {str(file.parent)!r} is in use by another server; stop it, or name "
            "another folder with --data"
        ) from None
    return handle


def _write(file: Path, held: Mapping[str, Any]) -> None:
    """Write a document so that it is the old one or the new one after a crash."""
    new = file.with_name(f".{file.name}.new")
    with new.open("w", encoding="utf-8") as out:
        json.dump(held, out)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
