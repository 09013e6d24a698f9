"""The state of a watch in one JSON file, written whole: stop whenever, go on later."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from crossworld.errors import SpecError
from crossworld.io import write_text
from crossworld.spec import data_file
from crossworld.watching.result import Watched
from crossworld.watching.source import Position, Rows, restored
from crossworld.watching.values import SCHEMA, Cursor, Setup, read_window


def save(watched: Watched, file: Path) -> None:
    """Write everything that is needed to go on: windows, position, rows that are still needed."""
    cursor = watched.cursor
    rows = cursor.pending
    reading = {
        "position": asdict(cursor.position),
        "start": cursor.start,
        "base": cursor.base,
        "late": cursor.late,
        "dates": cursor.dates,
        "numbers": rows.numbers.tolist(),
        "lines": [line.decode("utf-8", "surrogateescape") for line in rows.lines],
        "parquet": rows.table is not None,
    }
    held = {**watched.to_dict(), "reading": reading}
    write_text(file, json.dumps(held, indent=1, allow_nan=False) + "\n")


def resume(setup: Setup, file: Path) -> Watched:
    """Go on from a state, or begin when there is none.

    Raises
    ------
    SpecError
        If the file is no state, or belongs to other settings; the message names the setting.
    """
    if not file.exists():
        return Watched(setup)
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{str(file)!r} is no state of a watch: {error}") from None
    if not isinstance(held, dict) or held.get("schema") != SCHEMA or "reading" not in held:
        raise SpecError(f"{str(file)!r} is no state of a watch; name another file")
    for name, now in setup.told().items():
        if held.get(name) != now:
            was, new = (json.dumps(value)[:150] for value in (held.get(name), now))
            raise SpecError(
                f"the state {str(file)!r} was made with {name} = {was}, not {new}; remove it to "
                "begin anew, or name another file"
            )
    try:
        return _watched(setup, held)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"the state {str(file)!r} is damaged: {error!r}") from None


def _watched(setup: Setup, held: Mapping[str, Any]) -> Watched:
    reading = held["reading"]
    position = Position(**reading["position"])
    numbers = np.array(reading["numbers"], dtype=np.int64)
    lines = tuple(line.encode("utf-8", "surrogateescape") for line in reading["lines"])
    notes = tuple(held["notes"])
    pending: Rows | None = Rows(numbers, lines)
    if reading["parquet"] and numbers.size:
        file = data_file(setup.document["study"]["data"], Path(setup.folder))
        pending = restored(file, position, numbers)
        if pending is None:
            notes = (
                *notes,
                f"{str(file)!r} was replaced since the last look: the {numbers.size:,} rows of the "
                "unfinished window are gone",
            )
    elif numbers.size != len(lines):
        raise ValueError(f"{numbers.size} row numbers for {len(lines)} lines")
    start = reading["start"]
    if start is not None and not math.isfinite(start):
        raise ValueError(f"the next window starts at {start}")
    cursor = Cursor(
        position,
        Rows() if pending is None else pending,
        start,
        reading["base"],
        reading["dates"],
        reading["late"],
    )
    windows = tuple(read_window(w) for w in held["windows"])
    return Watched(setup, windows, held["compared"], notes, held["waiting"], cursor)
