"""What people type: lists, values, and the files they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from crossworld.errors import DesignError, SpecError


def check_writable(inputs: tuple[Path, ...], *files: Path | None) -> None:
    """Refuse a file that cannot be written, or that holds the input, before any work is done."""
    outputs = [file for file in files if file is not None]
    for file in outputs:
        if str(file) == ".":
            raise DesignError("cannot write '' or '.': neither is the name of a file")
        try:
            fine = file.parent.is_dir() and not file.is_dir() and file.name != ""
        except OSError:
            fine = False
        if not fine or len(file.name.encode()) > 200:
            raise DesignError(f"cannot write {str(file)[:100]!r}: no such folder, or no file name")
        if any(_same(file, other) for other in inputs):
            raise DesignError(
                f"{str(file)!r} holds the input data; name another file for the output"
            )
    if len(outputs) == 2 and _same(*outputs):
        raise DesignError(f"--json and --report name the same file {str(outputs[0])!r}")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() and (not one.exists() or one.is_file())
    except OSError:
        return False


def split(text: str) -> list[str]:
    """Split a list at the commas that stand outside brackets and quotes.

    Examples
    --------
    >>> split("te, cde(m=3, n=0),nie")
    ['te', 'cde(m=3, n=0)', 'nie']
    """
    parts, depth, quote, part = [], 0, "", ""
    for mark in text:
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        depth += (mark in "([") - (mark in ")]") if not quote else 0
        if mark == "," and depth == 0 and not quote:
            parts.append(part.strip())
            part = ""
        else:
            part += mark
    parts.append(part.strip())
    return [p for p in parts if p]


def names(text: str) -> list[str]:
    """Split a list of names; one that holds a comma stands in quotes.

    Examples
    --------
    >>> names("'x,y', w")
    ['x,y', 'w']
    """
    return [
        p[1:-1] if len(p) > 2 and p[0] in "'\"" and p.find(p[0], 1) == len(p) - 1 else p
        for p in split(text)
    ]


def value(text: str) -> Any:
    """Read a value typed on the command line: a number, true/false, JSON, else text.

    Examples
    --------
    >>> value("3"), value("true"), value("psyemp")
    (3, True, 'psyemp')
    """
    try:
        return json.loads(text)
    except ValueError:
        return text


def whole(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None


def real(text: str | float) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


def label(text: str) -> int | float | str:
    """Read a level or an event: a number when it is written as one, else the text as it is.

    Examples
    --------
    >>> label("1"), label("-0.5"), label("1.50"), label("true")
    (1, -0.5, '1.50', 'true')
    """
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text:
            return number
    return text


def assignments(given: list[str]) -> dict[str, Any]:
    """Read ``field=value`` pairs."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, right = text.partition("=")
        if not equals:
            raise SpecError(f"--set takes field=value, got {text!r}")
        found[name.strip()] = value(right.strip())
    return found
