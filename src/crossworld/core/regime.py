"""How a mediator gets its value in a cell: drawn under a level, drawn at random, or set."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from crossworld.errors import SpecError

Level = int | float | str
ALL = "*"


def check_level(level: object, what: str = "a level or value") -> None:
    """Refuse what can be no level of a treatment and no value of a mediator."""
    if not isinstance(level, Real | str):
        seen = str(level) if isinstance(level, Draw | Random | Fixed) else repr(level)[:80]
        raise SpecError(f"{what} is a number or a text, got {seen}")


def show(level: Level) -> str:
    """Write a level as it is typed in an expression."""
    check_level(level)
    if isinstance(level, str):
        return repr(level)
    whole = abs(level) < 1e15 and float(level).is_integer()
    return str(int(level)) if whole else repr(float(level))


@dataclass(frozen=True, slots=True)
class Draw:
    """The value the mediator would have had under ``level``, possibly edited."""

    level: Level
    edit: str | None = None

    def __post_init__(self) -> None:
        check_level(self.level)

    def __str__(self) -> str:
        return f"M({show(self.level)}{'' if self.edit is None else f', {self.edit!r}'})"


@dataclass(frozen=True, slots=True)
class Random:
    """A random draw from the mediator's law under ``level`` given the covariates."""

    level: Level

    def __post_init__(self) -> None:
        check_level(self.level)

    def __str__(self) -> str:
        return f"G({show(self.level)})"


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value chosen by us, the same for every unit."""

    value: Level

    def __post_init__(self) -> None:
        check_level(self.value)

    def __str__(self) -> str:
        return f"set_({show(self.value)})"


Regime = Draw | Random | Fixed


@dataclass(frozen=True, slots=True)
class Settings:
    """Several mediators fixed by name."""

    values: tuple[tuple[str, Fixed], ...]


def M(level: Level, edit: str | None = None) -> Draw:  # noqa: N802 - mathematical notation
    """Return the mediator as it would be under ``level``; ``edit`` names a change made to it."""
    return Draw(level, edit)


def G(level: Level) -> Random:  # noqa: N802 - mathematical notation
    """Return a random draw of the mediator from its law under ``level`` given covariates."""
    return Random(level)


def set_(*everywhere: Level, **named: Level) -> Fixed | Settings:
    """Fix mediators: ``set_(anxiety=3.0)`` by name, ``set_(0)`` all of them.

    Raises
    ------
    SpecError
        If neither or both forms are used.
    """
    if len(everywhere) + bool(named) != 1:
        raise SpecError("set_ takes one value for every mediator, or name=value pairs, not both")
    if everywhere:
        return Fixed(everywhere[0])
    return Settings(tuple(sorted((name, Fixed(value)) for name, value in named.items())))
