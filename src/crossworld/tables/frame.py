"""Any table, as named columns of floats or category codes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

LARGEST = 1e100  # numbers beyond this overflow when they are squared
MOSTLY = 0.9  # share of numbers among a text column's values that makes the others suspect


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column: numbers, or codes into the labels of its categories.

    Parameters
    ----------
    values
        Shape (n,), float64. Missing values are NaN. For categories the codes 0..C-1.
    labels
        The categories in order (sorted, or as the table declares them), or None for numbers.
    """

    values: NDArray[np.float64]
    labels: tuple[str, ...] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the values are category codes."""
        return self.labels is not None

    def take(self, index: NDArray[np.int64]) -> Column:
        """Rows by position."""
        return Column(self.values[index], self.labels)

    def kept(self, index: NDArray[np.int64]) -> Column:
        """Rows that an analysis keeps: categories of the others are forgotten."""
        if self.labels is None:
            return self.take(index)
        values = self.values[index]
        there = ~np.isnan(values)
        seen, codes = np.unique(values[there], return_inverse=True)
        values[there] = codes
        return Column(values, tuple(self.labels[int(code)] for code in seen))

    def distinct(self) -> list[float]:
        """Sorted distinct values that are not missing."""
        kept = self.values[~np.isnan(self.values)]
        return [float(v) for v in np.unique(kept)]

    def show(self, value: float) -> str:
        """Write one value as it stands in the table."""
        return repr(self.labels[int(value)]) if self.labels is not None else f"{value:.15g}"

    def code(self, level: object) -> float | None:
        """Value that stands for a level given by a person, or None when it cannot occur."""
        if self.labels is not None:
            return float(self.labels.index(str(level))) if str(level) in self.labels else None
        level = {"true": 1.0, "false": 0.0}.get(str(level).lower(), level)
        try:
            number = float(level)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        return number if abs(number) <= LARGEST else None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A table that was read: its column names, and how to get one column."""

    native: Any
    names: tuple[str, ...]
    source: str | None = None
    file_sha256: str | None = None

    def column(self, name: str) -> Column:
        """Read one column."""
        return _column(self.native[name], name)

    def labels(self, name: str) -> Column:
        """Read one column as labels of groups: equal values share a code, missing ones are NaN."""
        values = self.native[name].to_list()
        at = {
            v: float(j) for j, v in enumerate(dict.fromkeys(v for v in values if not _missing(v)))
        }
        return Column(np.array([np.nan if _missing(v) else at[v] for v in values]))


def read(data: Any) -> Table:
    """Open a frame of any library, a dict of columns, or a csv or parquet file.

    A `Table` is returned as it is.

    Raises
    ------
    DesignError
        If it is no table, has no rows, or names a column twice.
    """
    import narwhals.stable.v2 as nw

    source = digest = None
    if isinstance(data, Table):
        return data
    if isinstance(data, str | Path):
        source = str(data)
        data, digest = _read_file(Path(data))
    elif isinstance(data, Mapping):
        data = _from_mapping(data)
    if (
        hasattr(data, "iloc")
        and hasattr(data, "columns")
        and not all(isinstance(c, str) for c in data.columns)
    ):
        data = data.rename(columns=str)
    _refuse_duplicates(data)
    try:
        native: Any = nw.from_native(data)
    except TypeError:
        raise DesignError(
            f"a table is a pandas, polars or pyarrow frame, a dict of columns, or a csv or parquet "
            f"file; got {type(data).__name__}"
        ) from None
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    if not isinstance(native, nw.DataFrame):
        raise DesignError(f"a table has rows and columns; got {type(data).__name__}")
    names = tuple(str(c) for c in native.columns)
    if native.shape[0] == 0 or not names:
        raise DesignError(f"the table {source or ''} has no rows".replace("  ", " "))
    return Table(native, names, source, digest)


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _refuse_duplicates(data: Any) -> None:
    if hasattr(data, "collect_schema"):
        return  # a lazy frame names no column twice
    names = [str(c) for c in getattr(data, "column_names", getattr(data, "columns", ()))]
    twice = repeated(names)
    if twice:
        raise DesignError(
            f"the table has more than one column named {', '.join(map(repr, twice))}; rename them"
        )


def _from_mapping(data: Mapping[str, Any]) -> Any:
    import pandas as pd

    try:
        return pd.DataFrame({str(k): v for k, v in data.items()})
    except ValueError as error:
        raise DesignError(f"the columns do not form a table: {error}") from None


def _read_file(file: Path) -> tuple[Any, str]:
    try:
        there = file.is_file()
    except OSError as error:
        raise DesignError(f"cannot read {str(file)[:100]!r}: {error.strerror}") from None
    if file.is_dir():
        raise DesignError(f"there is no file {str(file)!r}: it is a folder; name a file in it")
    if not there:
        near = sorted(p.name for p in file.parent.glob(f"*{file.suffix}")) if file.suffix else []
        listed = f"; the folder holds {', '.join(near[:5])}" if near else ""
        raise DesignError(f"there is no file {str(file)!r}{listed}")
    content = file.read_bytes()
    if not content.strip():
        raise DesignError(f"{str(file)!r} is empty")
    digest = hashlib.sha256(content).hexdigest()
    if ".parquet" in file.suffixes or content[:4] == b"PAR1":
        return _read_parquet(file), digest
    return read_csv(file, content), digest


def _read_parquet(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise DesignError(f"{str(file)!r} is not a readable parquet file: {error}") from None


def read_csv(file: Path, content: bytes) -> Any:
    """Read the content of a csv file (UTF-8, also gzipped) as a pandas frame; errors name ``file``.

    Raises
    ------
    DesignError
        If it is no text table.
    """
    import pandas as pd

    try:
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        text = plain.decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError, zlib.error):
        raise DesignError(
            f"{str(file)!r} is not a text table; crossworld reads csv (UTF-8), csv.gz and parquet"
        ) from None
    if "\0" in text[:4096]:
        raise DesignError(f"{str(file)!r} is not a text table; crossworld reads csv and parquet")
    if not text.strip():
        raise DesignError(f"{str(file)!r} is empty")
    if _is_json(text):
        raise DesignError(f"{str(file)!r} is JSON; crossworld reads csv and parquet")
    first = text.lstrip("\n\r").splitlines()[0]
    separator = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator))]
    twice = repeated(header)
    if twice:
        raise DesignError(
            f"{str(file)!r} has more than one column named {', '.join(map(repr, twice))}; "
            "rename them"
        )
    if len(header) < 2:
        raise DesignError(
            f"{str(file)!r} is not a table: its first line has one field, {first[:60]!r}; a csv "
            "starts with a line of column names"
        )
    from io import StringIO

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            found = pd.read_csv(
                StringIO(text),
                sep=separator,
                skipinitialspace=True,
                low_memory=False,
                index_col=False,
            )
            return found.rename(columns=str.strip)
    except pd.errors.ParserWarning:
        raise DesignError(
            f"{str(file)!r} is not a table: its rows have more fields than its first line has names"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise DesignError(f"{str(file)!r} is not a table: {str(error).strip()}") from None


def _is_json(text: str) -> bool:
    """Whether a text is a JSON list or object; a csv may begin with a bracket, too."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _column(series: Any, name: str) -> Column:
    """Turn a narwhals series into numbers or category codes."""
    import narwhals.stable.v2 as nw

    kind = series.dtype
    if kind.is_numeric() or kind == nw.Boolean:
        return Column(_numbers(series))
    if kind == nw.Categorical and series.implementation.is_polars():
        return _codes(series.to_list(), None)
    if kind in (nw.Categorical, nw.Enum):
        declared = series.cat.get_categories().to_list()
        return _codes(series.to_list(), [str(c) for c in declared])
    if kind == nw.String:
        values = series.to_list()
        _refuse_broken_numbers(values, name)
        return _codes(values, None)
    if kind == nw.Object:
        return _objects(series.to_list(), name)
    raise DesignError(
        f"column {name!r} has type {kind}; crossworld takes numbers, booleans and text"
    )


def _numbers(series: Any) -> NDArray[np.float64]:
    import narwhals.stable.v2 as nw

    if series.null_count() == 0:
        try:
            return np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
        except ValueError:  # pyarrow casts no decimals of few digits
            pass
    held = [np.nan if _missing(v) else float(v) for v in series.to_list()]
    return np.array(held, dtype=np.float64)


def _missing(value: object) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value


def _refuse_broken_numbers(values: list[Any], name: str) -> None:
    """Refuse a column of numbers that a few odd entries have turned into text."""
    kept = [v.strip() for v in values if not _missing(v)]
    numbers = [v for v in kept if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", v)]
    commas = [v for v in kept if re.fullmatch(r"[-+]?\d+,\d+", v)]
    if len(commas) > MOSTLY * len(kept):
        raise DesignError(
            f"column {name!r} has decimal commas ({commas[0]!r}); write its numbers with a point"
        )
    if MOSTLY * len(kept) < len(numbers) < len(kept):
        odd = sorted(set(kept) - set(numbers))
        raise DesignError(
            f"column {name!r} would be numbers but for {', '.join(map(repr, odd[:4]))} "
            f"({len(kept) - len(numbers)} of {len(kept)} rows); mend them, or leave them empty"
        )


def _codes(values: list[Any], declared: list[str] | None) -> Column:
    seen = {str(v) for v in values if not _missing(v)}
    labels = sorted(seen) if declared is None else [c for c in declared if c in seen]
    at = {label: float(j) for j, label in enumerate(labels)}
    codes = [np.nan if _missing(v) else at[str(v)] for v in values]
    return Column(np.array(codes, dtype=np.float64), tuple(labels))


def _objects(values: list[Any], name: str) -> Column:
    kept = [v for v in values if not _missing(v)]
    if all(isinstance(v, str) for v in kept):
        _refuse_broken_numbers(values, name)
        return _codes(values, None)
    try:
        if any(isinstance(v, str) for v in kept):
            raise TypeError
        numbers = [np.nan if _missing(v) else float(v) for v in values]
    except (TypeError, ValueError):
        kinds = sorted({type(v).__name__ for v in kept})
        raise DesignError(
            f"column {name!r} mixes {', '.join(kinds)}; crossworld takes numbers or text"
        ) from None
    return Column(np.array(numbers, dtype=np.float64))
