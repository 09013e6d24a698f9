"""TOML and JSON files that people write, read with a message for everything that can be wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from crossworld.core.table import SCHEMA
from crossworld.errors import SpecError

DIGITS = 400  # of a whole number; no finite float has more


def is_file(file: Path) -> bool:
    """Whether a name, however odd, is that of a file."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def read_document(file: Path) -> dict[str, Any]:
    """Read a TOML or JSON file."""
    if not is_file(file):
        raise SpecError(f"there is no spec file {str(file)[:200]!r}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{str(file)!r} cannot be read as text: {error}") from None
    is_json = file.suffix == ".json" or text.lstrip().startswith("{")
    try:
        document = (
            json.loads(text, object_pairs_hook=_pairs, parse_int=_integer)
            if is_json
            else tomllib.loads(text)
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise SpecError(f"{str(file)!r} is not valid JSON: {error}") from None
        kind = "JSON" if is_json else "TOML"
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise SpecError(f"{str(file)!r} is not valid {kind}: {why}") from None
    if not isinstance(document, dict):
        raise SpecError(f"{str(file)!r} is not a spec: its top level is no table")
    return document


def is_result(file: Path) -> bool:
    """Whether a file is a result document, which carries its spec."""
    try:
        return read_document(file).get("schema") == SCHEMA
    except SpecError:
        return False


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"the document says {', '.join(map(repr, twice))} twice")
    endless = [name for name, value in pairs if isinstance(value, _Endless)]
    if endless:
        raise SpecError(f"the number {endless[0]!r} has too many digits")
    return dict(pairs)


class _Endless(float):
    """A whole number with more digits than Python reads."""


def _integer(text: str) -> int | _Endless:
    return int(text) if len(text) <= DIGITS else _Endless("inf")
