"""A spec as text that can be saved and run again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def spec_text(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Return the file format (``toml`` or ``json``) and the text of a spec.

    TOML has no null, so keys without a value are left out; a spec TOML cannot hold is JSON.

    Parameters
    ----------
    spec
        The ``spec`` of a result document: plain values.

    Examples
    --------
    >>> print(spec_text({"study": {"path": "a -> m -> y", "levels": [0, 1]}})[1])
    [study]
    path = "a -> m -> y"
    levels = [0, 1]
    """
    try:
        return "toml", "\n".join(_table(spec, ())).strip()
    except TypeError:
        return "json", json.dumps(spec, indent=2, ensure_ascii=False, default=str)


def _table(values: Mapping[str, Any], at: tuple[str, ...]) -> list[str]:
    """Plain keys first: whatever follows a header belongs to it."""
    inner = {k: v for k, v in values.items() if isinstance(v, Mapping)}
    lines = [
        f"{_key(k)} = {_value(v)}" for k, v in values.items() if k not in inner and v is not None
    ]
    for key, held in inner.items():
        path = (*at, _key(key))
        lines += ["", f"[{'.'.join(path)}]", *_table(held, path)]
    return lines


def _key(key: str) -> str:
    return key if key and set(key) <= _BARE else _string(key)


def _string(text: str) -> str:
    """JSON escapes are TOML escapes, except that TOML wants DEL escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        held = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{{held}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_value(v) for v in value)}]"
    raise TypeError(f"TOML has no form for {value!r}")
