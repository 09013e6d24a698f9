"""What every exhibit has: a kind, a title, a note; and how its values are checked and written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from typing import Any, ClassVar, Protocol, TypeVar

from crossworld.core.late import late
from crossworld.errors import SpecError, hint

Number = float | None
Row = tuple[Number, ...]
Grid = tuple[Row, ...]
T = TypeVar("T")
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "int | None": ((int, type(None)), "a whole number or null"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "bool | None": ((bool, type(None)), "true, false or null"),
    "Mapping[str, str]": ((Mapping,), "a table of texts"),
}


class Exhibit(Protocol):
    """Something a producer attaches to a result, that every form of the report shows.

    An exhibit holds plain values only. It is computed where the data are; the report draws it and
    never asks where it came from. `to_dict` and `read` are inverse to each other.
    """

    __slots__ = ()
    kind: ClassVar[str]
    nested: ClassVar[Mapping[str, type]] = {}

    @property
    def title(self) -> str:
        """What it shows, in a few words."""

    @property
    def note(self) -> str:
        """What has to be known to read it."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the kind."""
        return {"kind": self.kind, **plain(self)}

    def plot(self, ax: Any = None) -> Any:
        """Draw it with matplotlib; returns the axes (a tuple of them where it takes several)."""
        return late("report.pictures").draw(self, ax=ax)


def plain(held: Any) -> dict[str, Any]:
    """Write the fields of a dataclass as JSON values; nested dataclasses and tuples too."""

    def value(given: Any) -> Any:
        if is_dataclass(given) and not isinstance(given, type):
            return plain(given)
        if isinstance(given, tuple):
            return [value(v) for v in given]
        if isinstance(given, Mapping):
            return {str(k): value(v) for k, v in given.items()}
        return given

    return {f.name: value(getattr(held, f.name)) for f in fields(held)}


def build(cls: type[T], held: Any, where: str) -> T:
    """Make a dataclass of a mapping; unknown and missing keys are named.

    Raises
    ------
    SpecError
        If the mapping does not fit the class.
    """
    if isinstance(held, cls):
        return held
    if not isinstance(held, Mapping):
        raise SpecError(f"{where} is a table of keys and values, got {_seen(held)}")
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in held:
        if key not in known:
            raise SpecError(f"{where} has no key {key!r}. {hint(str(key), list(known))}")
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    lacking = [n for n in needed if n not in held]
    if lacking:
        raise SpecError(f"{where} lacks {', '.join(map(repr, lacking))}")
    for key, value in held.items():
        kinds, what = _TYPES.get(str(known[key].type), ((object,), ""))
        wrong = isinstance(value, bool) and bool not in kinds and object not in kinds
        if wrong or not isinstance(value, kinds):
            raise SpecError(f"{key} of {where} is {what}, got {_seen(value)}")
    return cls(**held)


def put(held: Any, values: Mapping[str, Any]) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(held, name, value)


def text(value: Any, what: str) -> str:
    """Return a text, or refuse what is none."""
    if not isinstance(value, str):
        raise SpecError(f"{what} is a text, got {_seen(value)}")
    return value


def texts(values: Any, what: str) -> tuple[str, ...]:
    """Return several texts; numbers are written."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SpecError(f"{what} is a list of texts, got {_seen(values)}")
    return tuple(v if isinstance(v, str) else f"{v:g}" if _real(v) else str(v) for v in values)


def number(value: Any, what: str) -> Number:
    """Return a finite float, or None for what is missing, NaN or infinite."""
    if value is None:
        return None
    if hasattr(value, "item"):
        value = value.item()
    if not _real(value):
        raise SpecError(f"{what} is a number or null, got {_seen(value)}")
    return float(value) if math.isfinite(value) else None


def numbers(values: Any, what: str, *, size: int | None = None) -> Row:
    """Return a row of numbers of a given size."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise SpecError(f"{what} is a list of numbers, got {_seen(values)}")
    if size is not None and len(values) != size:
        raise SpecError(f"{what} has {len(values)} values where {size} are needed")
    return tuple(number(v, what) for v in values)


def increasing(values: Any, what: str, *, least: int) -> tuple[float, ...]:
    """Return at least so many finite numbers that increase."""
    row = numbers(values, what)
    found = tuple(v for v in row if v is not None)
    if len(found) < len(row) or len(found) < least:
        raise SpecError(f"{what} needs at least {least} finite numbers, got {_seen(values)}")
    if any(b <= a for a, b in pairwise(found)):
        raise SpecError(f"{what} must increase, got {_seen(values)}")
    return found


def grid(values: Any, what: str, shape: tuple[int, int]) -> Grid:
    """Return rows of numbers of a given shape; NaN becomes None."""
    rows = _rows(values, what, shape[0])
    return tuple(numbers(row, what, size=shape[1]) for row in rows)


def flags(values: Any, what: str, shape: tuple[int, int]) -> tuple[tuple[bool, ...], ...]:
    """Return rows of yes and no of a given shape."""
    found = []
    for row in _rows(values, what, shape[0]):
        held = row.tolist() if hasattr(row, "tolist") else row
        if len(held) != shape[1] or any(not isinstance(v, bool) for v in held):
            raise SpecError(f"{what} holds rows of {shape[1]} true or false")
        found.append(tuple(held))
    return tuple(found)


def parts(cls: type[T], values: Any, what: str, *, least: int = 0) -> tuple[T, ...]:
    """Return several nested parts, made of mappings where they are not made yet."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise SpecError(f"{what} is a list, got {_seen(values)}")
    found = tuple(build(cls, v, f"{what}[{k}]") for k, v in enumerate(values))
    if len(found) < least:
        raise SpecError(f"{what} is empty; it needs at least {least}")
    return found


def _rows(values: Any, what: str, count: int) -> Sequence[Any]:
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != count:
        raise SpecError(f"{what} is a list of {count} rows, got {_seen(values)}")
    if any(isinstance(r, str) or not hasattr(r, "__len__") for r in values):
        raise SpecError(f"{what} is a list of rows, got {_seen(values)}")
    return values


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seen(value: Any) -> str:
    return repr(value)[:60]
