"""The append-only log of readouts: one JSON line each, safe against kill -9 and second writers.

A line is written by one system call, so that killing the process leaves whole lines; a machine
that dies can still tear the last one. A torn last line is recognised when the log is opened for
writing: it is moved to a neighbour file that ends in ``.torn`` and its call is made again. Every
other damage is refused by line number.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, final

from crossworld.errors import DesignError
from crossworld.reasoning.rows import Readout


def read_log(file: str | Path) -> list[Readout]:
    """Read every whole row of a log; a torn last line is passed over, nothing is written.

    Raises
    ------
    DesignError
        If the file is not there, a line is damaged, or two lines are the same readout.
    """
    path = Path(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DesignError(f"cannot read the log {str(path)!r}: {error.strerror}") from None
    rows = list(_parse(data, path)[0])
    _refuse_duplicates(rows, path)
    return rows


def is_log(file: str | Path) -> bool:
    """Whether a file begins as a log does: a line of JSON with every field of a readout."""
    try:
        with Path(file).open("rb") as held:
            first = json.loads(held.readline(2**24))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and {"key", *(f.name for f in fields(Readout))} <= set(first)


def columns(rows: Sequence[Readout]) -> dict[str, list[Any]]:
    """Return rows as the columns of the cell table, ready for a data frame."""
    return {f.name: [getattr(row, f.name) for row in rows] for f in fields(Readout)}


@final
class ReadoutLog:
    """A log that is open for appending; a context manager.

    Parameters
    ----------
    file
        Path of the log; a new one is made when there is none.
    sync
        Seconds between two calls of fsync; 0 after every row. A killed process loses nothing
        either way, a machine that dies loses at most the rows of this time.

    Raises
    ------
    DesignError
        If the folder is not there, another process writes to the same log, or a line that is not
        the last is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, ReadoutLog(f"{folder}/a.jsonl") as log:
    ...     len(log.rows)
    0
    """

    __slots__ = ("_handle", "_held", "_rows", "_sync", "_synced", "path")

    def __init__(self, file: str | Path, *, sync: float = 1.0) -> None:
        self.path = Path(file)
        self._sync, self._synced = sync, time.monotonic()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            self._handle = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise DesignError(f"cannot write the log {str(file)!r}: {error.strerror}") from None
        try:
            self._lock()
            self._rows = self._repair()
        except BaseException:
            os.close(self._handle)
            raise
        self._held = {row.key for row in self._rows}

    @property
    def rows(self) -> tuple[Readout, ...]:
        """All rows, in the order they were written."""
        return tuple(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def __enter__(self) -> ReadoutLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def append(self, row: Readout) -> None:
        """Write one row.

        Raises
        ------
        DesignError
            If the log holds this readout already.
        """
        key = row.key
        if key in self._held:
            raise DesignError(
                f"the log {str(self.path)!r} already holds question {row.question!r}, prompt "
                f"{row.prompt!r}, trace {row.trace!r}, edit {row.edit!r}, draw {row.draw}"
            )
        self._write(row.line(key).encode())
        self._held.add(key)
        self._rows.append(row)
        if time.monotonic() - self._synced >= self._sync:
            self.flush()

    def flush(self) -> None:
        """Make sure that everything written survives a machine that dies."""
        os.fsync(self._handle)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Flush and let go of the file; closing twice does nothing."""
        if self._handle >= 0:
            self.flush()
            os.close(self._handle)
            self._handle = -1

    def _write(self, data: bytes) -> None:
        if self._handle < 0:
            raise DesignError(f"the log {str(self.path)!r} is closed")
        start, done = os.fstat(self._handle).st_size, 0
        try:
            while done < len(data):
                done += os.write(self._handle, data[done:])
        except OSError as error:
            os.ftruncate(self._handle, start)
            raise DesignError(
                f"cannot write the log {str(self.path)!r}: {error.strerror}"
            ) from None

    def _lock(self) -> None:
        busy = f"another process writes to the log {str(self.path)!r}; stop it or use another file"
        if sys.platform == "win32":
            import msvcrt

            try:
                os.lseek(self._handle, 2**40, os.SEEK_SET)
                msvcrt.locking(self._handle, msvcrt.LK_NBLCK, 1)
            except OSError:
                raise DesignError(busy) from None
            return
        import fcntl

        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DesignError(busy) from None

    def _repair(self) -> list[Readout]:
        data = self.path.read_bytes()
        rows, whole, unfinished = _parse(data, self.path)
        if data[whole:]:
            with Path(f"{self.path}.torn").open("ab") as torn:
                torn.write(data[whole:] + b"\n")
            os.ftruncate(self._handle, whole)
        if unfinished:
            self._write(b"\n")
        _refuse_duplicates(rows, self.path)
        return rows


def _parse(data: bytes, path: Path) -> tuple[list[Readout], int, bool]:
    """Rows, the length of the part that is whole, and whether only its last newline is missing."""
    rows: list[Readout] = []
    at = 0
    for number, line in enumerate(_lines(data), start=1):
        where = f"line {number} of {str(path)!r}"
        finished = line.endswith(b"\n")
        try:
            parsed = json.loads(line)
        except ValueError:
            if not finished:
                return rows, at, False
            raise DesignError(f"{where} is not JSON: {line[:60]!r}") from None
        if not isinstance(parsed, dict):
            if not finished:
                return rows, at, False
            raise DesignError(f"{where} is no readout: {line[:60]!r}")
        rows.append(Readout.from_json(parsed, where))
        at += len(line)
        if not finished:
            return rows, at, True
    return rows, at, False


def _lines(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _refuse_duplicates(rows: Iterable[Readout], path: Path) -> None:
    first: dict[str, int] = {}
    twice = []
    for number, row in enumerate(rows, start=1):
        if row.key in first:
            twice.append(f"{first[row.key]} and {number}")
        first.setdefault(row.key, number)
    if twice:
        shown = ", ".join(twice[:5]) + (f", ... ({len(twice)} in all)" if len(twice) > 5 else "")
        raise DesignError(f"{str(path)!r} holds the same readout twice, on lines {shown}")
