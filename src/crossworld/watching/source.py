"""Follow a file that grows: csv, jsonl or parquet, cut-off last lines, rotated files."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

Index = NDArray[np.int64]
PROBE = 512  # bytes that are compared to know a file again
JSON = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read.

    Parameters
    ----------
    offset
        Bytes of whole records that were read (of parquet: rows).
    rows
        Rows read from this file and from those that it replaced.
    inode
        Number of the file, by which one that was renamed is found again.
    known
        SHA-256 of the first bytes and of the last bytes before ``offset``.
    header
        First line of a csv file.
    """

    offset: int = 0
    rows: int = 0
    inode: int = 0
    known: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows that were read and are still needed.

    Parameters
    ----------
    numbers
        Number of every row in the stream, from 0, shape (n,).
    lines
        Its text, for csv and jsonl.
    table
        The rows as an Arrow table, for parquet.
    """

    numbers: Index = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    lines: tuple[bytes, ...] = ()
    table: Any = None

    def __len__(self) -> int:
        return int(self.numbers.size)

    def take(self, rows: Index) -> Rows:
        """Return some of the rows by position."""
        lines = tuple(self.lines[int(i)] for i in rows) if self.lines else ()
        table = None if self.table is None else self.table.take(rows)
        return Rows(self.numbers[rows], lines, table)

    def joined(self, more: Rows) -> Rows:
        """Return these rows and then others."""
        if not len(self) or not len(more):
            return more if not len(self) else self
        numbers = np.concatenate([self.numbers, more.numbers])
        if self.table is None:
            return Rows(numbers, self.lines + more.lines)
        import pyarrow as pa

        if self.table.schema.names != more.table.schema.names:
            raise DesignError("the parquet file has other columns than the one it replaced")
        return Rows(numbers, (), pa.concat_tables([self.table, more.table.cast(self.table.schema)]))


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a file found: new rows, how far it got, and what a person should know."""

    rows: Rows
    position: Position
    notes: tuple[str, ...] = ()
    unfinished: int = 0


def read_on(file: Path, position: Position) -> Reading:
    """Read what was added to a file since it was last looked at.

    A last line that is not finished is left for the next time. A file that no longer begins with
    what was read is taken for a new one (rotated, or cut short): what is left of the old one is
    read first where it lies renamed in the same folder, and a note says so.

    Raises
    ------
    DesignError
        If the file cannot be read, is compressed, or has other columns than before.
    """
    with _opened(file) as opened:
        magic = opened.read(4)
        if magic == b"PAR1":
            return _parquet(file, magic + opened.read(), position)
        if magic[:2] == b"\x1f\x8b":
            raise DesignError(
                f"{str(file)!r} is compressed, so nothing can be added to it; unpack it to watch "
                "it, or use crossworld run"
            )
        if position.offset == 0 or _fingerprint(opened, position.offset) == position.known:
            return _text(file, opened, position)
        left, note = _left_behind(file, position)
        found = _text(file, opened, replace(position, offset=0, rows=left.position.rows))
        rows = left.rows.joined(found.rows)
        notes = (*left.notes, note, *found.notes)
        return Reading(rows, found.position, notes, found.unfinished)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        opened = file.open("rb")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DesignError(f"cannot read {str(file)[:200]!r}: {why}") from None
    with opened:
        yield opened


def _fingerprint(opened: BinaryIO, offset: int) -> str:
    """Fingerprint of what was read; empty when there is less of it now."""
    if os.fstat(opened.fileno()).st_size < offset:
        return ""
    size = min(PROBE, offset)
    opened.seek(0)
    first = opened.read(size)
    opened.seek(offset - size)
    return hashlib.sha256(first + b"|" + opened.read(size)).hexdigest()


def _left_behind(file: Path, position: Position) -> tuple[Reading, str]:
    """Rows of the file that was replaced, when it is still there under another name."""
    name, rows = str(file), position.rows
    for other in sorted(file.parent.iterdir()):
        try:
            fits = other.stat().st_ino == position.inode and other.is_file() and other != file
        except OSError:
            continue
        if not fits:
            continue
        with _opened(other) as opened:
            if _fingerprint(opened, position.offset) != position.known:
                continue
            found = _text(other, opened, position)
        return found, (
            f"{name!r} was rotated after row {rows:,}: {len(found.rows):,} more rows were read "
            f"from {other.name!r}, then the new file from its start"
        )
    return Reading(Rows(), position), (
        f"{name!r} was replaced or cut short after row {rows:,}: reading goes on with the first "
        "row of what is there now; rows added to the old file after the last look are not seen"
    )


def _text(file: Path, opened: BinaryIO, position: Position) -> Reading:
    """Whole records of a csv or jsonl file from an offset on."""
    opened.seek(position.offset)
    content = opened.read()
    skip = 3 if position.offset == 0 and content[:3] == b"\xef\xbb\xbf" else 0
    header = position.header
    json_lines = not header and (
        content[skip:].lstrip()[:1] == b"{" or any(s.lower() in JSON for s in file.suffixes)
    )
    top = header or content[skip:].lstrip().split(b"\n", 1)[0].decode("latin-1")
    records = list(_records(content, skip, "" if json_lines else _separator(top)))
    end = position.offset + skip + sum(map(len, records))
    if position.offset == 0 and not json_lines:
        records, header = _headed(file, records, header)
    kept = [line for line in records if line.strip()]
    lines, notes = _sound(file, kept, header=header, row=position.rows)
    numbers = np.arange(position.rows, position.rows + len(lines), dtype=np.int64)
    inode, known = os.fstat(opened.fileno()).st_ino, _fingerprint(opened, end)
    found = Position(end, position.rows + len(lines), inode, known, header)
    return Reading(Rows(numbers, lines), found, notes, position.offset + len(content) - end)


def _sound(
    file: Path, records: list[bytes], *, header: str, row: int
) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Leave out records that are no rows, with a note: one of them would spoil its whole window."""
    lines: list[bytes] = []
    broken: list[str] = []
    for record in records:
        wrong = _wrong(record, header)
        parts = record.splitlines(keepends=True)
        if wrong and header and len(parts) > 1:  # a stray quote has drawn several lines together
            lines += [part for part in parts if not _wrong(part, header)]
            wrong = next(filter(None, (_wrong(part, header) for part in parts)), "")
        elif not wrong:
            lines.append(record)
        if wrong:
            broken.append(f"after row {row + len(lines):,}: {wrong}, in {_shown(record)}")
    if not broken:
        return tuple(lines), ()
    more = f" and {len(broken) - 1:,} more" if len(broken) > 1 else ""
    return tuple(lines), (f"a line of {str(file)!r} is left out{more}, {broken[0]}",)


def _wrong(record: bytes, header: str) -> str:
    """Say why a record is no row; empty when it is one."""
    if header:
        separator = _separator(header)
        text = record.decode("latin-1").strip("\r\n")
        if '"' not in text:
            rows = [text.split(separator)]
        elif _quoted(text, False, separator):
            return "a quote that is not closed"
        else:
            try:
                rows = list(csv.reader([text], delimiter=separator))
            except csv.Error as error:
                return "" if "field larger" in str(error) else str(error)
        count, most = max(map(len, rows), default=0), _names(header)
        return f"{count} fields under {most} names" if count > most else ""
    try:
        return "" if isinstance(json.loads(record), dict) else "no object with named fields"
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error})"


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


@cache
def _names(header: str) -> int:
    """Number of names in the first line of a csv file."""
    return len(next(csv.reader([header.strip("\r\n")], delimiter=_separator(header)), ()))


def _shown(record: bytes) -> str:
    return repr(record[:60].decode("utf-8", "backslashreplace").strip())


def _headed(file: Path, records: list[bytes], header: str) -> tuple[list[bytes], str]:
    """Split the first line of a csv file off; it may not change when the file is replaced."""
    while records and not records[0].strip():
        records = records[1:]
    if not records:
        return [], header
    first = records[0].decode("utf-8", "surrogateescape")
    if header and first.split() != header.split():
        raise DesignError(
            f"{str(file)!r} now begins with {first.strip()[:80]!r}, no longer with "
            f"{header.strip()[:80]!r}: rows under other columns are another table; watch it with a "
            "new state"
        )
    return records[1:], header or first


def _records(content: bytes, start: int, separator: str) -> Iterator[bytes]:
    """Yield whole records; in a csv file a line break inside quotes does not end one."""
    begin, quoted = start, False
    while True:
        newline = content.find(b"\n", start)
        if newline < 0:
            return
        if separator and content.find(b'"', start, newline) >= 0:
            quoted = _quoted(content[start:newline].decode("latin-1"), quoted, separator)
        start = newline + 1
        if not quoted:
            yield content[begin:start]
            begin = start


def _quoted(line: str, quoted: bool, separator: str) -> bool:
    """Whether a field is still open at the end of a line: a quote opens one at its start only."""
    opens = not quoted  # where a quote opens a field: at its start, and right after one closed
    for mark in line:
        if quoted:
            quoted, opens = mark != '"', mark == '"'
        else:
            quoted, opens = mark == '"' and opens, mark == separator
    return quoted


def _parquet(file: Path, content: bytes, position: Position) -> Reading:
    """Rows of a parquet file, which is written anew when it grows, after those that were read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise DesignError(
            f"{str(file)!r} is not a readable parquet file ({error}); if it was just being "
            "written, look again"
        ) from None
    known = _first_row(table)
    notes: tuple[str, ...] = ()
    offset = position.offset
    if offset and (table.num_rows < offset or known != position.known):
        notes = (
            f"{str(file)!r} was replaced after row {position.rows:,}: reading goes on with the "
            "first row of what is there now",
        )
        offset = 0
    new = table.slice(offset)
    numbers = np.arange(position.rows, position.rows + new.num_rows, dtype=np.int64)
    found = Position(table.num_rows, position.rows + new.num_rows, 0, known)
    return Reading(Rows(numbers, (), new), found, notes)


def _first_row(table: Any) -> str:
    """Fingerprint of the columns and the first row."""
    told = repr((table.schema.names, table.slice(0, 1).to_pylist()))
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()


def restored(file: Path, position: Position, numbers: Index) -> Rows | None:
    """Read rows of a parquet file again by their numbers; None when they are not there any more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    before = position.rows - position.offset
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):
        return None
    if (numbers < before).any() or table.num_rows < position.offset:
        return None
    if _first_row(table) != position.known:
        return None
    return Rows(numbers, (), table.take(numbers - before))


def parsed(rows: Rows, *, header: str, file: Path, reasoning: bool) -> Any:
    """Read rows as the study of their kind would read a file that holds nothing else."""
    from crossworld.reasoning.reader import read, read_content
    from crossworld.tables.frame import read_csv

    if rows.table is not None:
        return replace(read(rows.table), file=str(file)) if reasoning else rows.table
    content = header.encode("utf-8", "surrogateescape") + b"".join(rows.lines)
    return read_content(content, file) if reasoning else read_csv(file, content)
