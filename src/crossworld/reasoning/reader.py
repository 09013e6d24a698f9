"""Any long table of readouts, as columns of plain values."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

Value = int | float | str
_WHOLE = re.compile(r"[-+]?\d+\.0+")
_JSON = (".jsonl", ".ndjson", ".json")


def label(value: object) -> str:
    """Write a value as a label: ``1``, ``1.0``, ``True`` and ``"1.0"`` are all ``"1"``.

    Examples
    --------
    >>> [label(v) for v in (1, 1.0, True, "1.0", "cot", "007")]
    ['1', '1', '1', '1', 'cot', '007']
    """
    if isinstance(value, str):
        return value.split(".")[0] if _WHOLE.fullmatch(value) else value
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def is_missing(value: object) -> bool:
    """Whether a value of a table is none at all: None, NaN, NA or an empty field."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


@dataclass(frozen=True, slots=True, eq=False)
class Readouts:
    """A table that was read, and the rows that count.

    Parameters
    ----------
    native
        The frame, as narwhals sees it.
    names
        Its column names.
    rows
        Positions of the rows that are kept, or None for all.
    file, sha256
        Where it came from, when it came from a file.
    """

    native: Any
    names: tuple[str, ...]
    rows: NDArray[np.int64] | None = None
    file: str | None = None
    sha256: str | None = None

    def __len__(self) -> int:
        return int(self.native.shape[0]) if self.rows is None else int(self.rows.size)

    def values(self, name: str, role: str) -> list[Any]:
        """Return one column as a list, missing values as None.

        Raises
        ------
        DesignError
            If there is no such column; the message names the nearest one.
        """
        if not isinstance(name, str) or name not in self.names:
            raise DesignError.missing_column(str(name), role, self.names)
        held = self.native[name].to_list()
        kept = held if self.rows is None else [held[i] for i in self.rows]
        blank = self.file is not None
        return [None if is_missing(v) or (blank and v == "") else v for v in kept]

    def where(self, asked: Mapping[str, Any]) -> Readouts:
        """Keep the rows whose columns have the values asked for (a list: any of them).

        Raises
        ------
        DesignError
            If a column is not there, or a value does not occur in the rows left by then.
        """
        kept = self
        for name, wanted in asked.items():
            options = wanted if isinstance(wanted, list | tuple | set) else [wanted]
            held = kept.values(name, "where")
            labels = truth_labels([None if v is None else label(v) for v in held])
            known = {t for t in labels if t is not None}
            texts = {truth_label(v, known) for v in options}
            strange = sorted(texts - known)
            if strange:
                some = ", ".join(repr(t) for t in sorted(known)[:8])
                asked_so_far = "" if kept is self else " of those asked for so far"
                raise DesignError(
                    f"where asks for {name} = {strange[0]!r}, which no row{asked_so_far} has; "
                    f"they have {some}"
                )
            old = np.arange(len(kept)) if kept.rows is None else kept.rows
            rows = old[np.array([t in texts for t in labels])]
            kept = replace(kept, rows=rows)
        return kept


def truth_labels(labels: Sequence[str | None]) -> list[str | None]:
    """Write a column of nothing but true and false as 1 and 0."""
    kept = {t.lower() for t in labels if t is not None}
    if not kept or not kept <= {"true", "false"}:
        return list(labels)
    return [None if t is None else str(int(t.lower() == "true")) for t in labels]


def truth_label(value: object, known: set[str]) -> str:
    """Write a level that a person gave as it stands among known labels."""
    text = label(value)
    if text not in known and text.lower() in ("true", "false"):
        return str(int(text.lower() == "true"))
    return text


def read(data: Any) -> Readouts:
    """Open a frame of any library, a dict of columns, or a csv, jsonl or parquet file (or .gz).

    Fields of a csv file stay text, so that labels such as ``none`` or ``007`` are kept as they are.
    `Readouts` are returned as they are.

    Raises
    ------
    DesignError
        If it is no table, has no rows, or names a column twice.
    """
    import narwhals.stable.v2 as nw
    import pandas as pd

    if isinstance(data, Readouts):
        return data
    file = digest = None
    if isinstance(data, str | Path):
        file = str(data)
        data, digest = _read_file(Path(data))
    elif isinstance(data, Mapping):
        try:
            data = pd.DataFrame({str(k): list(v) for k, v in data.items()})
        except (ValueError, TypeError) as error:
            raise DesignError(f"the columns do not form a table: {error}") from None
    if isinstance(data, pd.DataFrame):
        data = data.rename(columns=str)
        if not data.columns.is_unique:
            twice = sorted(name for name, count in Counter(data.columns).items() if count > 1)
            raise DesignError(f"the table has more than one column named {twice[0]!r}; rename one")
    try:
        native: Any = nw.from_native(data)
    except TypeError:
        raise DesignError(
            "a table of readouts is a pandas, polars or pyarrow frame, a dict of columns, or a "
            f"csv, jsonl or parquet file; got {type(data).__name__}"
        ) from None
    native = native.collect() if isinstance(native, nw.LazyFrame) else native
    if not isinstance(native, nw.DataFrame) or native.shape[0] == 0 or not native.columns:
        raise DesignError(f"the table of readouts {file or ''} has no rows".replace("  ", " "))
    return Readouts(native, tuple(map(str, native.columns)), None, file, digest)


def _read_file(file: Path) -> tuple[Any, str]:
    try:
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        near = sorted(p.name for p in file.parent.glob(f"*{file.suffix}"))[:5] if file.name else []
        listed = f"; the folder holds {', '.join(near)}" if near else ""
        why = getattr(error, "strerror", None) or str(error)
        raise DesignError(f"cannot read {str(file)[:200]!r}: {why}{listed}") from None
    return _parse(content, file), hashlib.sha256(content).hexdigest()


def read_content(content: bytes, file: Path) -> Readouts:
    """Read what a file holds, or a part of it, as `read` does; errors name ``file``.

    Raises
    ------
    DesignError
        If it is no table or has no rows.
    """
    return replace(read(_parse(content, file)), file=str(file))


def _parse(content: bytes, file: Path) -> Any:
    if content[:4] == b"PAR1":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(pa.BufferReader(content))
        except pa.ArrowException as error:
            raise DesignError(f"{str(file)!r} is not a readable parquet file: {error}") from None
    try:
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        text = plain.decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error):
        raise DesignError(
            f"{str(file)!r} is not a table; crossworld reads csv, jsonl (UTF-8, also .gz), parquet"
        ) from None
    if not text.strip():
        raise DesignError(f"{str(file)!r} is empty")
    suffixes = [s.lower() for s in file.suffixes]
    lines = text.lstrip().startswith("{") or any(s in _JSON for s in suffixes)
    return _from_lines(text, file) if lines else _from_csv(text, file)


def _from_lines(text: str, file: Path) -> Any:
    import pandas as pd

    rows = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            cut = "; the last line was cut off, so collect again to complete the log"
            torn = cut if number == len(lines) else ""
            raise DesignError(
                f"line {number} of {str(file)!r} is not JSON: {error}{torn}"
            ) from None
        if not isinstance(row, dict):
            raise DesignError(f"line {number} of {str(file)!r} is no object with named fields")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {n: pd.Series([r.get(n) for r in rows], dtype=object) for n in names}
    return pd.DataFrame(columns)


def _from_csv(text: str, file: Path) -> Any:
    import pandas as pd

    first = text.lstrip("\n\r").splitlines()[0]
    separator = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator))]
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise DesignError(f"{str(file)!r} has more than one column named {twice[0]!r}; rename one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False
            )
    except pd.errors.ParserWarning:
        raise DesignError(
            f"{str(file)!r} is not a table: its rows have more fields than its first line has names"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DesignError(f"{str(file)!r} is not a table: {str(error).strip()}") from None
