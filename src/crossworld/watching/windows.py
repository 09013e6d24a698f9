"""Which rows a window holds, and when it is closed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, SpecError

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Span = int | float | str
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Windows:
    """How a growing table is cut.

    Parameters
    ----------
    size
        Rows of a window (questions, in a study of reasoning). With ``time``, how long it lasts: a
        text such as ``"30min"``, ``"12h"``, ``"7d"``, or a number in the unit of the column.
    step
        From the start of one window to that of the next; ``size`` by default. A smaller one makes
        windows overlap.
    time
        Column of times (ISO 8601, or numbers), or None to count rows.
    lag
        How much has to follow a window before it is closed, in the unit of ``size``: room for rows
        that arrive late.

    Examples
    --------
    >>> Windows(500, step=100).told()
    {'size': 500, 'step': 100}
    """

    size: Span
    step: Span | None = None
    time: str | None = None
    lag: Span = 0

    def __post_init__(self) -> None:
        for name in ("size", "step", "lag"):
            given = getattr(self, name)
            if given is not None:
                self._check(name, given)
        if self.time is None and isinstance(self.size, int) and self.size < 2:
            raise SpecError(f"a window has at least 2 rows, got {self.size!r}; try 500")

    def _check(self, name: str, given: Any) -> None:
        if self.time is None:
            whole = isinstance(given, int | np.integer) and not isinstance(given, bool)
            if not whole or given < (0 if name == "lag" else 1):
                raise SpecError(
                    f"{name} of the windows is a whole number of rows, got {given!r}; for windows "
                    "of time name the column of times"
                )
            object.__setattr__(self, name, int(given))
        elif amount(given) < 0.0 or (amount(given) == 0.0 and name != "lag"):
            raise SpecError(f"{name} of the windows is a time above 0, got {given!r}")

    @property
    def stride(self) -> Span:
        """From the start of one window to that of the next."""
        return self.size if self.step is None else self.step

    def told(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        held = {"size": self.size, "step": self.step, "time": self.time, "lag": self.lag}
        return {k: v for k, v in held.items() if v is not None and not (k == "lag" and v == 0)}


@dataclass(frozen=True, slots=True)
class Cut:
    """One window: its number, where it starts and ends, and positions of its rows.

    ``start`` and ``end`` are numbers of rows (or questions) from 0, end exclusive, or times.
    """

    index: int
    start: float
    end: float
    rows: Index


def amount(span: Any) -> float:
    """Return a duration in seconds, or a plain number as it is.

    Examples
    --------
    >>> amount("12h"), amount(3)
    (43200.0, 3.0)
    """
    if isinstance(span, str):
        found = _DURATION.fullmatch(span.strip())
        if found is not None:
            return float(found[1]) * _UNITS[found[2].lower()]
        if _NUMBER.fullmatch(span.strip()):
            return float(span)
    elif isinstance(span, int | float) and not isinstance(span, bool) and math.isfinite(span):
        return float(span)
    raise SpecError(
        f"a length of time is a number, or text such as '30min', '12h', '7d', '2w'; got {span!r}"
    )


def times(values: Sequence[Any], name: str, *, first_row: int = 0) -> tuple[Array, bool]:
    """Read a column of times: seconds since 1970 (UTC where no zone is said), or plain numbers.

    Returns
    -------
    tuple
        The times, shape (n,), and whether they are dates.

    Raises
    ------
    DesignError
        If a value is missing or is no time; the message names the row.
    """
    import pandas as pd

    column = pd.Series(list(values), dtype=object)
    blank = column.isna() | column.map(lambda v: isinstance(v, str) and not v.strip())
    if blank.any():
        row = first_row + int(np.flatnonzero(blank.to_numpy())[0]) + 1
        raise DesignError(f"row {row} has no time in column {name!r}; windows of time need one")
    numbers = [v for v in column if isinstance(v, str) and _NUMBER.fullmatch(v.strip())]
    plain = [v for v in column if isinstance(v, int | float | np.number)]
    if len(numbers) + len(plain) == len(column):
        return np.array([float(v) for v in column], dtype=np.float64), False
    read = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    wrong = read.isna().to_numpy()
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise DesignError(
            f"row {first_row + at + 1} has {str(column[at])[:60]!r} in column {name!r}, which is "
            "no time; write ISO 8601 (2026-03-01T12:00:00Z) or numbers"
        )
    since = (read - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return since.to_numpy(dtype=np.float64), True


def origin(first: float, stride: float, dates: bool) -> float:
    """Start of the first window: the first time, rounded down to a day, hour or minute.

    Dates are rounded to the largest of these that the step is not shorter than.
    """
    if not dates:
        return first
    unit = next((u for u in (86400.0, 3600.0, 60.0) if stride >= u), 1.0)
    return math.floor(first / unit) * unit


def by_count(
    order: Index, windows: Windows, *, closed: Index, start: int, index: int
) -> Iterator[Cut]:
    """Yield the closed windows of units that are counted.

    Parameters
    ----------
    order
        Number of the unit of every row, or -1 where it is not settled yet, shape (n,).
    windows
        How to cut.
    closed
        Position of the row that settled a unit, for the settled units in order, the last of which
        has the largest number in ``order``. A window sees no row after the one that closes it.
    start
        Where the next window starts.
    index
        Its number.
    """
    size, stride, lag = int(windows.size), int(windows.stride), int(windows.lag)
    settled = int(order.max()) + 1 if order.size else 0
    place = np.arange(order.size)
    while settled >= start + size + lag:
        end = int(closed[start + size + lag - 1 - settled])
        inside = (order >= start) & (order < start + size) & (place <= end)
        yield Cut(index, start, start + size, np.flatnonzero(inside))
        start, index = start + stride, index + 1


def by_time(at: Array, windows: Windows, *, start: float, index: int) -> Iterator[Cut]:
    """Yield the closed windows of time; those without a row are passed over.

    Parameters
    ----------
    at
        Time of every row, shape (n,).
    windows, start, index
        As in `by_count`.
    """
    size, stride, lag = amount(windows.size), amount(windows.stride), amount(windows.lag)
    seen = float(at.max()) if at.size else -math.inf
    while seen >= start + size + lag:
        inside = np.flatnonzero((at >= start) & (at < start + size))
        if inside.size:
            yield Cut(index, start, start + size, inside)
            index += 1
            start += stride
            continue
        following = at[at >= start + size]
        steps = 1 if not following.size else (float(following.min()) - start - size) // stride + 1
        start += max(steps, 1) * stride
