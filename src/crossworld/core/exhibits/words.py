"""Exhibits in words: the story of a study, a table, a causal graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from crossworld.core.exhibits import base
from crossworld.core.exhibits.base import Exhibit, Number, put
from crossworld.errors import SpecError

Entry = str | Number


@dataclass(frozen=True, slots=True)
class Story(Exhibit):
    """The question of a study in a reader's words; it takes the place of the one made of names.

    Examples
    --------
    >>> Story("Does the chain of thought matter?", ("A small model was asked twice.",)).kind
    'story'
    """

    kind: ClassVar[str] = "story"
    question: str
    text: tuple[str, ...] = ()
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"question": base.text(self.question, "question")})
        given: Any = self.text
        put(self, {"text": base.texts((given,) if isinstance(given, str) else given, "text")})


@dataclass(frozen=True, slots=True)
class Table(Exhibit):
    """Rows and columns of anything else; the first column names the row.

    Examples
    --------
    >>> Table(("effect", "estimate"), (("nie", 0.19),)).rows
    (('nie', 0.19),)
    """

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"columns": base.texts(self.columns, "columns")})
        if not self.columns:
            raise SpecError("a table needs at least one column")
        if isinstance(self.rows, str) or not isinstance(self.rows, Iterable):
            raise SpecError("rows is a list of rows")
        put(self, {"rows": tuple(self._row(k, row) for k, row in enumerate(self.rows))})

    def _row(self, k: int, row: Any) -> tuple[Entry, ...]:
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != len(self.columns):
            raise SpecError(f"rows[{k}] has to hold {len(self.columns)} entries, got {row!r:.60}")
        return tuple(
            v if isinstance(v, str) else base.number(v, f"an entry of rows[{k}]") for v in row
        )


@dataclass(frozen=True, slots=True)
class CausalGraph(Exhibit):
    """A causal graph in any text form that `crossworld.Graph.parse` reads."""

    kind: ClassVar[str] = "graph"
    graph: str
    title: str = "Causal graph"
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"graph": base.text(self.graph, "graph")})
