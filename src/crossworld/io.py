"""Files: written whole or not at all; parquet and frames live here, beside the core."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from crossworld.core.scores import FORMAT, Scores
from crossworld.errors import DesignError


@contextmanager
def whole_file(file: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of ``file`` and move it into place when all went well.

    Raises
    ------
    DesignError
        If the folder does not exist or cannot be written.
    """
    file = file.resolve() if file.is_symlink() else file
    if file.exists() and not file.is_file() and not file.is_dir():
        with file.open(mode) as device:  # a pipe or a device is written to, never replaced
            yield device
        return
    if not file.parent.is_dir():
        raise DesignError(
            f"cannot write {str(file)!r}: the folder {str(file.parent)!r} is not there"
        )
    if file.is_dir():
        raise DesignError(f"cannot write {str(file)!r}: it is a folder")
    encoding = None if "b" in mode else "utf-8"
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise DesignError(f"cannot write {str(file)!r}: {error.strerror}") from None
    try:
        with os.fdopen(handle, mode, encoding=encoding) as out:
            yield out
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink()
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(file: Path, text: str) -> None:
    """Write a text file whole."""
    with whole_file(file) as out:
        out.write(text)


def frame(columns: Mapping[str, Any]) -> Any:
    """Return columns as a pandas frame."""
    import pandas as pd

    return pd.DataFrame(dict(columns))


def write_scores_parquet(scores: Scores, file: Path) -> None:
    """Write scores as parquet: one column per cell, ``cluster``, ``weights``, and metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [str(c) for c in scores.cells]
    arrays: dict[str, Any] = {name: scores.values[:, j] for j, name in enumerate(names)}
    if scores.cluster is not None:
        arrays["cluster"] = scores.cluster
    if scores.weights is not None:
        arrays["weights"] = scores.weights
    extra = {
        "format": FORMAT,
        "cells": json.dumps(names),
        "influence": json.dumps(scores.influence),
        "classic": json.dumps(None if scores.classic is None else scores.classic.tolist()),
    }
    table = pa.table(arrays).replace_schema_metadata(extra)
    with whole_file(file, "wb") as out:
        pq.write_table(table, out)


def read_scores_parquet(file: Path) -> Scores:
    """Read scores from parquet; without metadata every other column must be named as a cell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise DesignError(f"{str(file)!r} is not a scores file: {error}") from None
    told = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    try:
        return _scores_of(table, told, str(file))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DesignError(f"{str(file)!r} is not a scores file: {error!r}") from None


def _scores_of(table: Any, told: Mapping[str, str], source: str) -> Scores:
    roles = ("cluster", "weights")
    cells = (
        json.loads(told["cells"])
        if "cells" in told
        else [name for name in table.column_names if name not in roles]
    )
    found: dict[str, Any] = {r: table[r].to_numpy() for r in roles if r in table.column_names}
    found["cells"] = np.array(cells)
    found["values"] = np.column_stack([table[c].to_numpy() for c in cells])
    found["format"] = told.get("format", FORMAT)
    found["influence"] = json.loads(told.get("influence", "true"))
    classic = json.loads(told.get("classic", "null"))
    if classic is not None:
        found["classic"] = np.array(classic)
    return Scores.from_arrays(found, source)
