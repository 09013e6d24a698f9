"""API keys: shown once when they are made, kept as hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError, SpecError, hint
from crossworld.io import whole_file

NAME = "[a-z0-9][a-z0-9_-]{0,39}"
LONGEST = 200  # characters of a key that is looked at


@dataclass(frozen=True, slots=True)
class Key:
    """One caller: a name, and the SHA-256 of its secret.

    A secret has 256 random bits, so that a fast hash is as good as a slow one.
    """

    name: str
    sha256: str
    created: str


def make_key(folder: Path, name: str) -> str:
    """Add a key and return it; only its hash is kept.

    Raises
    ------
    SpecError
        If the name is not one, or is taken.
    """
    if not re.fullmatch(NAME, name):
        raise SpecError(f"a key's name is small letters, digits, '-' and '_'; got {name!r}")
    held = read_keys(folder)
    if any(key.name == name for key in held):
        raise SpecError(f"there is a key named {name!r} already; remove it first, or use another")
    secret = f"xw_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _write(folder, (*held, Key(name, digest(secret), now)))
    return secret


def remove_key(folder: Path, name: str) -> None:
    """Forget a key.

    Raises
    ------
    SpecError
        If there is none of that name.
    """
    held = read_keys(folder)
    if all(key.name != name for key in held):
        raise SpecError(f"there is no key named {name!r}. {hint(name, [k.name for k in held])}")
    _write(folder, tuple(key for key in held if key.name != name))


def read_keys(folder: Path) -> tuple[Key, ...]:
    """Read the keys of a data folder; there are none when it is new.

    Raises
    ------
    DesignError
        If the file of keys is damaged.
    """
    file = folder / "keys.json"
    if not file.exists():
        return ()
    try:
        held: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Key(str(k["name"]), str(k["sha256"]), str(k["created"])) for k in held)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DesignError(f"the file of keys {str(file)!r} is damaged: {error}") from None


def digest(secret: str) -> str:
    """Hash a key.

    Examples
    --------
    >>> len(digest("xw_secret"))
    64
    """
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def find_key(keys: tuple[Key, ...], secret: str) -> Key | None:
    """Return the key with this secret; the time taken does not depend on which one it is."""
    given, found = digest(secret[:LONGEST]), None
    for key in keys:
        if hmac.compare_digest(key.sha256, given):
            found = key
    return found


def _write(folder: Path, keys: tuple[Key, ...]) -> None:
    with whole_file(folder / "keys.json") as out:
        json.dump([asdict(key) for key in keys], out, indent=1)
    (folder / "keys.json").chmod(0o600)
