"""What a command leaves behind: its files, and its text.

A reader may leave early: ``crossworld ... | head`` is no error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from crossworld.core.table import EffectTable

Beside = tuple[Path | None, Callable[[Path], object]]


def say(text: object) -> None:
    """Print; when nobody reads on, go on in silence."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(
    result: EffectTable,
    json_file: Path | None,
    report_file: Path | None,
    *,
    beside: Iterable[Beside] = (),
) -> None:
    """Write the files that were asked for.

    Parameters
    ----------
    result
        What was found.
    json_file, report_file
        Where its document and its report go.
    beside
        Further files, each with what writes it.
    """
    if json_file is not None:
        result.to_json()  # whatever cannot be written is found before anything is
    for file, save in beside:
        if file is not None:
            save(file)
    if report_file is not None:
        result.report(report_file)
    if json_file is not None:
        result.to_json(json_file)


def show(result: EffectTable, report_file: Path | None) -> None:
    """Print a result and where its report is."""
    say(result)
    if report_file is not None:
        say(f"\nreport: {report_file}")
