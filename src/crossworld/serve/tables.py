"""Tables that callers send: measured before they are read, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError
from crossworld.serve.settings import MIB, Limits

CHUNK = 2**18
FOOTER = 8 * MIB  # bytes of a parquet file's own description
NAMES = 200  # characters of a column's name, on average, that a header may have


class TooLargeError(DesignError):
    """Something that was sent is larger than the service allows."""


def stored_name(head: bytes) -> str:
    """Name the file of a table by its first bytes.

    Examples
    --------
    >>> stored_name(b"PAR1"), stored_name(b"a,m,y")
    ('table.parquet', 'table.csv')
    """
    if head[:4] == b"PAR1":
        return "table.parquet"
    return "table.csv.gz" if head[:2] == b"\x1f\x8b" else "table.csv"


def measure(file: Path, limits: Limits) -> None:
    """Refuse a table that is larger than the limits, without reading it whole.

    Raises
    ------
    TooLargeError
        If it has too many rows, columns, or bytes once decompressed.
    DesignError
        If it is no table.
    """
    if file.suffix == ".parquet":
        _measure_parquet(file, limits)
        return
    rows, size, header, first = 0, 0, b"", True
    most_header = limits.columns * NAMES
    for chunk in _plain(file, limits):
        size += len(chunk)
        if size > limits.plain:
            raise TooLargeError(
                f"the table has more than {limits.plain:,} bytes once it is decompressed"
            )
        rows += chunk.count(b"\n")
        if first:
            head, line_ends, _ = (header + chunk).lstrip(b"\r\n").partition(b"\n")
            header = head
            _check_width(header, most_header, limits)
            first = not line_ends
        if rows > limits.rows + 1:
            raise TooLargeError(f"the table has more than {limits.rows:,} rows")


def _check_width(header: bytes, most: int, limits: Limits) -> None:
    width = 1 + max(header.count(mark) for mark in (b",", b";", b"\t"))
    if width > limits.columns:
        raise TooLargeError(
            f"the table has more than {limits.columns:,} columns; send those that have a role"
        )
    if len(header) > most:
        raise TooLargeError(f"the first line of the table has more than {most:,} bytes")


def _plain(file: Path, limits: Limits) -> Iterator[bytes]:
    """Yield the bytes of a csv file, decompressed, a little at a time."""
    with file.open("rb") as source:
        if file.suffix != ".gz":
            while chunk := source.read(CHUNK):
                yield chunk
            return
        while source.peek(1):
            yield from _member(source)


def _member(source: Any) -> Iterator[bytes]:
    """Decompress one member of a gzip file and leave the source behind it."""
    opened = zlib.decompressobj(wbits=31)
    while not opened.eof:
        chunk = opened.unconsumed_tail or source.read(CHUNK)
        if not chunk:
            raise DesignError("the table is a damaged gzip file: it ends too early")
        try:
            yield opened.decompress(chunk, CHUNK)
        except zlib.error as error:
            raise DesignError(f"the table is a damaged gzip file: {error}") from None
    source.seek(-len(opened.unused_data), 1)


def _measure_parquet(file: Path, limits: Limits) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open("rb") as source:
        source.seek(0, 2)
        end = source.tell()
        source.seek(max(end - 8, 0))
        tail = source.read(8)
    footer = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or footer > end:
        raise DesignError("the table is a damaged parquet file: it has no footer")
    if footer > FOOTER:
        raise TooLargeError(f"the footer of the parquet file has {footer:,} bytes")
    try:
        with pq.ParquetFile(
            file, thrift_string_size_limit=FOOTER, thrift_container_size_limit=10 * limits.columns
        ) as opened:
            told = opened.metadata
            schema = opened.schema_arrow
    except (OSError, pa.ArrowException) as error:
        raise DesignError(f"the table is not a readable parquet file: {error}") from None
    if len(schema.names) > limits.columns or told.num_columns > limits.columns:
        raise TooLargeError(
            f"the table has more than {limits.columns:,} columns; send those that have a role"
        )
    if told.num_rows > limits.rows:
        raise TooLargeError(f"the table has more than {limits.rows:,} rows")
    groups = [told.row_group(j) for j in range(told.num_row_groups)]
    size = sum(g.column(j).total_uncompressed_size for g in groups for j in range(g.num_columns))
    if size > limits.plain:
        raise TooLargeError(
            f"the table has {size:,} bytes once it is decompressed; {limits.plain:,} are allowed"
        )


def write_columns(columns: dict[str, Any], file: Path, limits: Limits) -> None:
    """Write columns that came inside a document as a parquet file.

    Raises
    ------
    DesignError
        If they do not form a table.
    TooLargeError
        If there are too many rows or columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(columns) > limits.columns:
        raise TooLargeError(
            f"the table has more than {limits.columns:,} columns; send those that have a role"
        )
    lengths = {name: len(v) if isinstance(v, list) else None for name, v in columns.items()}
    odd = [name for name, length in lengths.items() if length is None]
    if odd or not columns:
        raise DesignError(
            f"column {odd[0][:80]!r} of the table is no list of values"
            if odd
            else "the table has no columns"
        )
    if len(set(lengths.values())) > 1:
        least, most = (f(lengths, key=lambda n: lengths[n] or 0) for f in (min, max))
        raise DesignError(
            f"the columns differ in length: {least[:80]!r} has {lengths[least]} values and "
            f"{most[:80]!r} has {lengths[most]}"
        )
    if max(v or 0 for v in lengths.values()) > limits.rows:
        raise TooLargeError(f"the table has more than {limits.rows:,} rows")
    arrays = {name: _array(name, values) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), file)


def _array(name: str, values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(v) for v in values if v is not None}
    if not (kinds <= {int, float} or kinds <= {str} or kinds <= {bool}):
        told = ", ".join(sorted(k.__name__ for k in kinds))
        raise DesignError(
            f"column {name[:80]!r} of the table mixes {told}; a column holds numbers, texts or "
            "truth values, and null where one is missing"
        )
    wanted = pa.float64() if kinds == {int, float} else None
    try:
        return pa.array(values, wanted)
    except (pa.ArrowException, OverflowError) as error:
        raise DesignError(f"column {name[:80]!r} of the table: {error}") from None
