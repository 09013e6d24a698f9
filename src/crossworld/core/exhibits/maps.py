"""Exhibits that say where an effect sits: heat maps, steps of a text, circuits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from crossworld.core.exhibits import base
from crossworld.core.exhibits.base import Exhibit, Grid, Number, put
from crossworld.errors import SpecError

if TYPE_CHECKING:
    from crossworld.core.table import EffectTable

Scale = Literal["share", "difference"]


@dataclass(frozen=True, slots=True)
class Heatmap(Exhibit):
    """Values on a grid: layers by positions, layers by heads.

    Parameters
    ----------
    rows, columns
        Labels.
    values
        Rows of numbers; None where there is none.
    low, high
        Limits of the intervals, in the same shape, or empty.
    significant
        Whether a cell is told from no effect (say in the note how many tests that allows for), in
        the same shape, or empty.
    row_name, column_name, value_name
        What rows, columns and values are.
    null
        Value of no effect: where colours change.

    Examples
    --------
    >>> Heatmap(("0", "1"), ("the", "cat"), [[0.0, 0.2], [0.1, 0.9]], row_name="layer").kind
    'heatmap'
    """

    kind: ClassVar[str] = "heatmap"
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Grid
    low: Grid = ()
    high: Grid = ()
    significant: tuple[tuple[bool, ...], ...] = ()
    row_name: str = "row"
    column_name: str = "column"
    value_name: str = "effect"
    null: float = 0.0
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        rows, columns = base.texts(self.rows, "rows"), base.texts(self.columns, "columns")
        if not rows or not columns:
            raise SpecError("a heat map needs at least one row and one column")
        shape = (len(rows), len(columns))
        put(
            self,
            {"rows": rows, "columns": columns, "values": base.grid(self.values, "values", shape)},
        )
        if (len(self.low) == 0) != (len(self.high) == 0):
            raise SpecError("a heat map has limits low and high, or neither")
        for name in ("low", "high"):
            held = getattr(self, name)
            put(self, {name: base.grid(held, name, shape) if len(held) else ()})
        told = self.significant
        put(self, {"significant": base.flags(told, "significant", shape) if len(told) else ()})


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of a text and what it carries; no estimate where it was not measured."""

    text: str
    estimate: Number = None
    conf_low: Number = None
    conf_high: Number = None
    significant: bool | None = None

    def __post_init__(self) -> None:
        put(self, {"text": base.text(self.text, "text")})
        for name in ("estimate", "conf_low", "conf_high"):
            put(self, {name: base.number(getattr(self, name), name)})


@dataclass(frozen=True, slots=True)
class Steps(Exhibit):
    """A reasoning text, piece by piece: "this step carries 31 % [12 %, 50 %]".

    Parameters
    ----------
    steps
        The pieces in order; together they are the text.
    value_name
        What a piece carries, such as ``"of the reasoning's effect"``.
    scale
        ``"share"`` is shown in percent, ``"difference"`` as numbers.
    question
        What was asked.
    answer
        What was answered.

    Examples
    --------
    >>> Steps((Step("3 + 6 = 9.", 0.31, 0.12, 0.5), Step("So 9."))).steps[0].conf_high
    0.5
    """

    kind: ClassVar[str] = "steps"
    steps: tuple[Step, ...]
    value_name: str = "of the reasoning's effect"
    scale: Scale = "share"
    question: str = ""
    answer: str = ""
    title: str = "What each step carries"
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"steps": base.parts(Step, self.steps, "steps", least=1)})
        if self.scale not in ("share", "difference"):
            raise SpecError.unknown("scale", str(self.scale), ("share", "difference"))

    @classmethod
    def of(
        cls,
        table: EffectTable,
        texts: Sequence[str],
        *,
        name: str = "share",
        question: str = "",
        answer: str = "",
        note: str = "",
    ) -> Self:
        """Put the rows ``share(i)`` of a result beside the text of step i, counted from 0.

        Parameters
        ----------
        table
            A result, for instance that of ``importance(...).effects(Multiplier(), only="share")``.
        texts
            The steps.
        name
            What stands before the brackets; anything but ``"share"`` is a difference.
        question, answer, note
            As for the class.

        Raises
        ------
        SpecError
            If the result has no such row for any of the texts.

        Examples
        --------
        >>> from crossworld.core.table import Effect, EffectTable
        >>> rows = (Effect("share(1)", 0.4, 0.1, 0.2, 0.6, 0.001, "wald"),)
        >>> [s.estimate for s in Steps.of(EffectTable(rows, 0.95), ["3 + 6 = 9.", "So 9."]).steps]
        [None, 0.4]
        """
        rows = {row.term: row for row in table}
        made = []
        for k, said in enumerate(texts):
            row = rows.get(f"{name}({k})")
            if row is None:
                made.append(Step(said))
                continue
            low, high = row.conf_low, row.conf_high
            sure = None if low is None or high is None else not low <= 0.0 <= high
            made.append(Step(said, row.estimate, low, high, sure))
        if all(step.estimate is None for step in made):
            asked = ", ".join(list(rows)[:6])
            raise SpecError(f"the result has no row {name}(i) for these steps; it has {asked}")
        shares = name == "share"
        return cls(
            tuple(made),
            "of the reasoning's effect" if shares else "of the outcome",
            "share" if shares else "difference",
            question,
            answer,
            note=note,
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a circuit, in a column (its layer) from 0; rows are found where none is given."""

    name: str
    column: int
    row: Number = None
    label: str = ""
    value: Number = None

    def __post_init__(self) -> None:
        if isinstance(self.column, bool) or not isinstance(self.column, int) or self.column < 0:
            raise SpecError(f"node {self.name!r}: column counts from 0, got {self.column!r}")
        put(self, {"row": base.number(self.row, "row"), "value": base.number(self.value, "value")})


@dataclass(frozen=True, slots=True)
class Link:
    """An edge of a circuit with its effect; those that are not kept are drawn faint."""

    source: str
    target: str
    value: Number = None
    conf_low: Number = None
    conf_high: Number = None
    kept: bool = True

    def __post_init__(self) -> None:
        for name in ("value", "conf_low", "conf_high"):
            put(self, {name: base.number(getattr(self, name), name)})


@dataclass(frozen=True, slots=True)
class Circuit(Exhibit):
    """Parts of a network and the effects that run between them.

    Examples
    --------
    >>> nodes = (Node("input", 0), Node("head 0.1", 1), Node("logit", 2))
    >>> held = Circuit(nodes, (Link("input", "head 0.1", 0.4), Link("head 0.1", "logit", 0.3)))
    >>> len(held.links)
    2
    """

    kind: ClassVar[str] = "circuit"
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    columns: tuple[str, ...] = ()
    value_name: str = "effect"
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        put(self, {"nodes": base.parts(Node, self.nodes, "nodes", least=1)})
        put(self, {"links": base.parts(Link, self.links, "links")})
        put(self, {"columns": base.texts(self.columns, "columns")})
        names = [node.name for node in self.nodes]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SpecError(f"two nodes are named {twice[0]!r}")
        known = set(names)
        for link in self.links:
            for end in (link.source, link.target):
                if end not in known:
                    raise SpecError(f"a link ends at {end!r}, which is no node")
