"""The csv of a study, which goes on where it stopped: designs it holds are not run again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

KEYS = 3  # columns that tell a design, the first ones


def started(file: Path, fields: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the designs that a file holds; write one with a heading where there is none."""
    if not file.exists():
        with file.open("w", newline="", encoding="utf-8") as out:
            csv.DictWriter(out, fields).writeheader()
        return set()
    with file.open(encoding="utf-8") as held:
        return {tuple(row[name] for name in fields[:KEYS]) for row in csv.DictReader(held)}


def add(file: Path, fields: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write the rows of a design at the end."""
    with file.open("a", newline="", encoding="utf-8") as out:
        csv.DictWriter(out, fields).writerows(rows)
