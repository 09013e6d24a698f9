"""A table of readouts with causal roles: prompts, the reasoning shown, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from crossworld.core.effects import IDE, IIE, INT_MED, NDE, NIE, OE, PNIE, TE, TNDE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import MEAN, Cell
from crossworld.core.identification import Identification
from crossworld.core.provenance import fingerprint
from crossworld.core.regime import Draw, Level, Random
from crossworld.errors import DesignError
from crossworld.reasoning.build import build_table, read_levels
from crossworld.reasoning.cells import CellTable, Index, Mask, Place, as_cell, check_duplicates
from crossworld.reasoning.licence import licence
from crossworld.reasoning.permute import permuted
from crossworld.reasoning.reader import Readouts, read, truth_label

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

BLOCKS = (("reasoning",),)
EFFECTS = (TE, NDE, NIE, TNDE, PNIE, INT_MED, IDE, IIE, OE)
LISTED = 12


@dataclass(frozen=True, slots=True)
class Origin:
    """Which column has which role, and which rows were asked for."""

    data: str | None = None
    sha256: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holdings:
    """Which cells a table of readouts holds, and which effects follow.

    Parameters
    ----------
    cells
        Every cell with the number of its questions and readouts.
    can
        Shipped effects whose cells are all there.
    cannot
        The other shipped effects, each with the cells that are missing.
    """

    cells: Mapping[str, tuple[int, int]]
    can: tuple[str, ...]
    cannot: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        lines = ["cell  questions  readouts"]
        lines += [f"{cell}  {q:,}  {n:,}" for cell, (q, n) in self.cells.items()]
        lines.append(f"effects it can give: {', '.join(self.can) or 'none'}")
        lines += [f"not {name}: no {', '.join(cells)}" for name, cells in self.cannot.items()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class ReasoningStudy:
    """Readouts of a language model under prompts that show it one reasoning or another.

    Build it with `from_cells`. The unit is the question: draws are averaged within a cell, cells
    are paired within a question.

    Parameters
    ----------
    table
        One entry per readout.
    levels
        Labels of the reference and the active prompt arm.
    units
        Positions, in the table's units, of the questions in the study (repeats allowed).
    source
        The table as it was read, for columns without a role that a method asks for by name.
    origin
        How it was read.
    by_group
        Whether a ``cluster`` that is constant within questions is the cluster of the intervals.
    """

    table: CellTable
    levels: tuple[str, str]
    units: Index
    source: Readouts
    origin: Origin = field(default_factory=Origin)
    by_group: bool = True

    @classmethod
    def from_cells(
        cls,
        frame: Any,
        *,
        question: str,
        prompt: str,
        reasoning: str,
        outcome: str,
        draw: str | None = None,
        edit: str | None = None,
        replayed: str | None = None,
        cluster: str | None = None,
        wording: str | None = None,
        levels: tuple[Level, Level] = (0, 1),
        sources: Mapping[str, Level] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read the roles of the columns of a long table, one row per readout.

        Parameters
        ----------
        frame
            A pandas, polars or pyarrow frame, a dict of columns, or a csv, jsonl or parquet file
            (also ``.gz``).
        question
            Column of question ids.
        prompt
            Column of the prompt arm that the model answered under.
        reasoning
            Column of the prompt arm under which the reasoning shown was sampled; a value that is
            no prompt arm is a named source, asked for as ``M("gold")``. Of a natural readout, in
            which the model wrote its own reasoning, it may be missing.
        outcome
            Column of the outcome; missing where the answer could not be parsed.
        draw
            Column that numbers independent draws of one cell.
        edit
            Column that names the edit made to the reasoning, missing where there was none.
        replayed
            Column of 0 and 1: 1 where the reasoning was shown to the model, 0 where it wrote the
            reasoning in the same call. Without it rows under their own prompt count as natural.
        cluster
            Column of a second label: crossed with questions (models), the unit becomes a question
            in one of them and questions stay the clusters; constant within a question (a family
            of questions), it replaces the question as the cluster.
        wording
            Column of the wording of the prompt, a second clustering whose spread is reported.
        levels
            Reference and active prompt arm, the 0 and 1 of a cell.
        sources
            Labels of the reasoning column that stand for a prompt arm: ``{"default": "cot"}``.
        where
            Keep the rows whose columns have these values: ``{"model": "gpt-3.5-turbo"}``.

        Raises
        ------
        DesignError
            If a column or level is not there, a key is missing, a readout stands there twice, or
            fewer than two questions are left.

        Examples
        --------
        >>> cells = {
        ...     "id": ["a", "a", "a", "b", "b", "b"],
        ...     "arm": [0, 1, 1, 0, 1, 1],
        ...     "shown": [0, 0, 1, 0, 0, 1],
        ...     "correct": [0, 0, 1, 0, 1, 1],
        ... }
        >>> study = ReasoningStudy.from_cells(
        ...     cells, question="id", prompt="arm", reasoning="shown", outcome="correct"
        ... )
        >>> print(study.describe())
        2 questions, 6 readouts of correct, prompts 0 and 1 in 'arm', reasoning in 'shown'
        >>> study.holds().can[:3]
        ('te', 'nde', 'nie')
        """
        source = read(frame)
        if where:
            source = source.where(where)
        roles = {
            "question": question,
            "prompt": prompt,
            "reasoning": reasoning,
            "outcome": outcome,
            "draw": draw,
            "edit": edit,
            "replayed": replayed,
            "cluster": cluster,
            "wording": wording,
        }
        named = {role: name for role, name in roles.items() if name is not None}
        table = build_table(source, named, sources or {})
        pair = read_levels(table, levels, prompt)
        if len(table.question.labels) < 2:
            raise DesignError(
                f"column {question!r} holds 1 question ({table.question.labels[0]!r}); questions "
                "are the units, so at least 2 are needed and 30 are advisable"
            )
        check_duplicates(table)
        origin = Origin(source.file, source.sha256, named, dict(where or {}), dict(sources or {}))
        units = np.arange(table.units()[1].size)
        return cls(table, pair, units, source, origin)

    def __len__(self) -> int:
        return int(self.units.size)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """The one mediator: the reasoning."""
        return BLOCKS

    def level(self, level: Level, known: Sequence[str]) -> str:
        """Label that a level of a cell stands for.

        Raises
        ------
        DesignError
            If it is no label of the column.
        """
        if not isinstance(level, str) and level in (0, 1):
            return self.levels[int(level)]
        text = truth_label(level, set(known))
        if text not in known:
            raise DesignError(
                f"{level!r} is no prompt arm and no source of reasoning in this table, which has "
                f"{', '.join(map(repr, known))}; 0 and 1 stand for {self.levels[0]!r} and "
                f"{self.levels[1]!r}"
            )
        return text

    def place(self, cell: Cell) -> Place:
        """Labels of a cell.

        Raises
        ------
        DesignError
            If the cell fixes the reasoning at a value, or asks for more than a mean.
        """
        if cell.functional != MEAN:
            raise DesignError(
                f"{cell} asks for a {cell.functional.name}; replayed cells are means, so build an "
                "outcome column for it (see crossworld.reasoning.outcomes)"
            )
        regime = cell.regime(BLOCKS[0][0])
        if not isinstance(regime, Draw | Random):
            raise DesignError(
                f"{cell} sets the reasoning to a value; show a text to every question as a named "
                "source and ask for M('its name')"
            )
        arms = self.table.prompt.labels
        shown = tuple(dict.fromkeys([*arms, *self.table.reasoning.labels]))
        edit = regime.edit if isinstance(regime, Draw) else None
        return Place(self.level(cell.treatment, arms), self.level(regime.level, shown), edit)

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise DesignError naming every cell that no readout of the table stands for."""
        places = {cell: self.place(cell) for cell in cells}
        missing = [c for c, p in places.items() if not self.table.rows(p).any()]
        if not missing:
            return
        held = self.holds()
        told = [f"{c} ({_words(places[c])})" for c in missing]
        names = list(held.cells)
        more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
        raise DesignError(
            f"no readout stands for {'; '.join(told)}. This table holds "
            f"{', '.join(names[:LISTED])}{more}, so it can give "
            f"{', '.join(held.can) or 'none of the shipped effects'}; collect the missing readouts "
            "or ask for another effect"
        )

    def holds(self) -> Holdings:
        """Say which cells the table holds, and so which effects it can and cannot give."""
        unit, _, _ = self.table.units()
        found: dict[Cell, tuple[int, int]] = {}
        for place in self.table.places():
            rows = self.table.rows(place)
            found[as_cell(place, self.levels)] = (int(np.unique(unit[rows]).size), int(rows.sum()))
        can, cannot = [], {}
        places = set(self.table.places())
        for effect in EFFECTS:
            asked = effect.bind(self.blocks).cells()
            missing = sorted(str(c) for c in asked if self.place(c) not in places)
            if missing:
                cannot[effect.name] = tuple(missing)
            else:
                can.append(effect.name)
        return Holdings({str(c): n for c, n in found.items()}, tuple(can), cannot)

    def identify(self, estimands: Sequence[Estimand]) -> Identification:
        """Say which assumptions the experiment rests on, and what would decide each."""
        asked = sorted({self.place(c) for e in estimands for c in e.cells()}, key=str)
        return licence(self.table, asked)

    def take(self, index: Index) -> Self:
        """Questions by position; repeats are allowed and stay in their cluster."""
        return replace(self, units=self.units[np.asarray(index, dtype=np.int64)])

    def permuted(self, role: str, rng: np.random.Generator) -> Self:
        """Return the study with prompts, reasoning or outcomes that carry nothing, for placebos.

        See `crossworld.reasoning.permute.permuted`. No text is shown again: labels of readouts are
        exchanged within questions.
        """
        return replace(self, table=permuted(self.table, role, rng))

    def inside(self) -> Mask:
        """Which readouts belong to a question in the study, shape (readouts,)."""
        return np.isin(self.table.units()[0], self.units)

    def column(self, name: str, role: str) -> list[Any]:
        """Read a column of the readouts by name, missing values as None.

        Raises
        ------
        DesignError
            If the table has no such column.
        """
        return self.source.values(name, role)

    def to_table(
        self,
        *,
        kind: Literal["components", "clusters"] = "components",
        embedder: Any = None,
        components: int = 16,
        covariates: Sequence[str] = (),
    ) -> TableStudy:
        """Return the natural traces as a table: the prompt, a block of text features, the outcome.

        What an observational study would see; see
        `crossworld.reasoning.observational.table.to_table`, which says what it assumes and refuses.
        """
        from crossworld.reasoning.observational.table import to_table

        return to_table(
            self, kind=kind, embedder=embedder, components=components, covariates=covariates
        )

    def describe(self) -> str:
        """One line for the head of a result."""
        roles = self.origin.roles
        _, questions, groups = self.table.units()
        count = np.unique(questions[self.units]).size if groups is not None else self.units.size
        text = (
            f"{count:,} questions, {int(self.inside().sum()):,} readouts of {roles['outcome']}, "
            f"prompts {self.levels[0]} and {self.levels[1]} in {roles['prompt']!r}, "
            f"reasoning in {roles['reasoning']!r}"
        )
        if self.table.group is not None:
            text += f", {len(self.table.group.labels)} of {roles['cluster']!r}"
        where = ", ".join(f"{k} = {v}" for k, v in self.origin.where.items())
        return f"{text}; where {where}" if where else text

    def spec(self) -> dict[str, Any]:
        """Return the ``[study]`` table that builds this study from its file."""
        o = self.origin
        told: dict[str, Any] = {"kind": "reasoning", "data": o.data, **o.roles}
        told["levels"] = [int(v) if v in ("0", "1") else v for v in self.levels]
        if o.sources:
            told["sources"] = dict(o.sources)
        if o.where:
            told["where"] = dict(o.where)
        return told

    def sha256(self) -> str:
        """SHA-256 of the file the readouts came from, or of the keys and outcomes in use."""
        if self.origin.sha256 is not None:
            return self.origin.sha256
        t = self.table
        keys = [t.question, t.prompt, t.reasoning, t.edit, t.group, t.wording, t.draw]
        named = [(f"{j}{c.labels}", c.codes) for j, c in enumerate(keys) if c is not None]
        return fingerprint([*named, ("replayed", t.replayed), ("outcome", t.outcome)])


def _words(place: Place) -> str:
    edited = "" if place.edit is None else f" edited by {place.edit!r}"
    if place.own:
        return f"prompt {place.prompt!r} with its own reasoning"
    return f"prompt {place.prompt!r} shown reasoning of {place.reasoning!r}{edited}"
