"""The path grammar: ``a -> m1 + m2 -> y``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from crossworld.errors import DesignError, hint

_FORM = "a path reads 'treatment -> mediator -> outcome'"


@dataclass(frozen=True, slots=True)
class Path:
    """A treatment, mediators in causally ordered blocks, an outcome.

    Parameters
    ----------
    treatment, outcome
        Column names.
    blocks
        Blocks in causal order; mediators of one block act jointly.
    """

    treatment: str
    blocks: tuple[tuple[str, ...], ...]
    outcome: str

    @property
    def mediators(self) -> tuple[str, ...]:
        """All mediators in the order written."""
        return tuple(name for block in self.blocks for name in block)

    def __str__(self) -> str:
        middle = [_short(block) for block in self.blocks]
        return " -> ".join([self.treatment, *middle, self.outcome])


def _short(block: tuple[str, ...]) -> str:
    if len(block) <= 8:
        return " + ".join(block)
    return f"{block[0]} + ... + {block[-1]} ({len(block)} columns)"


def parse_path(
    text: str, columns: Sequence[str], taken: Collection[str | None] = frozenset()
) -> Path:
    """Read a path and check its columns.

    Parameters
    ----------
    text
        ``a -> m -> y``; ``a -> m1 + m2 -> y`` for a joint block; ``a -> m1 -> m2 -> y`` for
        ordered mediators; ``a -> emb_* -> y`` for every column that matches and has no other role.
    columns
        The columns of the table.

    taken
        Columns with other roles, which a pattern passes over.

    Raises
    ------
    DesignError
        If the text is no path, a column is unknown, or a column has two roles.
    """
    if not isinstance(text, str):
        raise DesignError(f"{_FORM}, got {text!r}")
    parts = [p.strip() for p in text.split("->")]
    if len(parts) < 3 or not all(parts):
        raise DesignError(f"{_FORM}, got {text!r}")
    treatment, outcome = parts[0], parts[-1]
    for name, role in ((treatment, "treatment"), (outcome, "outcome")):
        if name not in columns:
            raise DesignError.missing_column(name, role, columns)
    ends = {treatment, outcome, *(name for name in taken if isinstance(name, str))}
    blocks = tuple(_block(part, columns, ends) for part in parts[1:-1])
    names = [treatment, *(n for block in blocks for n in block), outcome]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DesignError(f"{', '.join(map(repr, twice))} occurs twice in the path {text!r}")
    return Path(treatment, blocks, outcome)


def _block(text: str, columns: Sequence[str], ends: set[str]) -> tuple[str, ...]:
    names: list[str] = []
    for raw in text.split("+") if text not in columns else [text]:
        name = raw.strip()
        if name in columns:
            names.append(name)
        elif any(mark in name for mark in "*?["):
            matched = [c for c in columns if fnmatchcase(c, name) and c not in ends]
            if not matched:
                raise DesignError(f"no column matches the pattern {name!r}. {hint(name, columns)}")
            names += matched
        elif not name:
            raise DesignError(f"{_FORM}; a mediator is missing in {text!r}")
        else:
            raise DesignError.missing_column(name, "mediator", columns)
    return tuple(names)
