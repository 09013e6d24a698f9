"""The cell table: which readouts stand for which cell, and the mean of a question in a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import Cell, Y
from crossworld.core.regime import M
from crossworld.errors import DesignError

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Mode = Literal["replayed", "natural"]
SHOWN_DUPLICATES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """One key of the table.

    Parameters
    ----------
    codes
        Shape (n,), positions in ``labels``; -1 where a row has none.
    labels
        The distinct labels, in order of first appearance.
    """

    codes: Index
    labels: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Coded:
        """Code a column of labels."""
        labels = tuple(dict.fromkeys(v for v in values if v is not None))
        at = {v: j for j, v in enumerate(labels)}
        codes = np.array([-1 if v is None else at[v] for v in values], dtype=np.int64)
        return cls(codes, labels)

    def code(self, label: str) -> int:
        """Position of a label; -2, which no row has, when it is not there."""
        return self.labels.index(label) if label in self.labels else -2

    def show(self, code: int) -> str | None:
        """Label of a code."""
        return None if code < 0 else self.labels[code]


@dataclass(frozen=True, slots=True)
class Place:
    """Labels of a cell: the prompt answered under, whose reasoning was shown, how edited."""

    prompt: str
    reasoning: str
    edit: str | None = None

    @property
    def own(self) -> bool:
        """Whether the model's own unedited reasoning is shown."""
        return self.prompt == self.reasoning and self.edit is None


@dataclass(frozen=True, slots=True, eq=False)
class CellTable:
    """Readouts with their keys; every array has shape (n,), one entry per readout.

    Parameters
    ----------
    question
        The question.
    group
        A second label that questions are crossed with or nested in (a model, a task), or None.
    prompt, reasoning, edit
        The prompt answered under, the arm or source of the reasoning shown, its edit (-1: none).
    replayed
        Whether the reasoning was shown to the model rather than written in the same call.
    outcome
        The outcome, NaN where the answer could not be parsed.
    wording, draw
        Which wording of the prompt, and which independent draw; None when there is but one.
    """

    question: Coded
    prompt: Coded
    reasoning: Coded
    edit: Coded
    replayed: Mask
    outcome: Array
    group: Coded | None = None
    wording: Coded | None = None
    draw: Coded | None = None

    def __len__(self) -> int:
        return int(self.outcome.size)

    @property
    def crossed(self) -> bool:
        """Whether some question occurs in more than one group."""
        if self.group is None:
            return False
        pairs = np.unique(np.column_stack([self.question.codes, self.group.codes]), axis=0)
        return len(pairs) > len(self.question.labels)

    def units(self) -> tuple[Index, Index, Index | None]:
        """Unit of every row, question of every unit, group of every unit.

        The unit is the question; with a crossed group it is a question in one group.
        """
        if self.group is None:
            questions = np.arange(len(self.question.labels))
            return self.question.codes, questions, None
        pairs = np.column_stack([self.question.codes, self.group.codes])
        held, unit = np.unique(pairs, axis=0, return_inverse=True)
        return unit.astype(np.int64).reshape(-1), held[:, 0], held[:, 1]

    def rows(self, place: Place) -> Mask:
        """Rows that were read out in a cell, in whatever mode."""
        edit = -1 if place.edit is None else self.edit.code(place.edit)
        mask: Mask = (
            (self.prompt.codes == self.prompt.code(place.prompt))
            & (self.reasoning.codes == self.reasoning.code(place.reasoning))
            & (self.edit.codes == edit)
        )
        return mask

    def places(self) -> list[Place]:
        """Every cell that has a readout."""
        keys = np.column_stack([self.prompt.codes, self.reasoning.codes, self.edit.codes])
        return [
            Place(self.prompt.labels[p], self.reasoning.labels[r], self.edit.show(int(e)))
            for p, r, e in np.unique(keys, axis=0)
        ]


def check_duplicates(table: CellTable) -> None:
    """Refuse rows that are equal on every key, and list them.

    Raises
    ------
    DesignError
        If a readout stands in the table twice, or draws are not told apart.
    """
    named = {
        "question": table.question,
        "cluster": table.group,
        "prompt": table.prompt,
        "reasoning": table.reasoning,
        "edit": table.edit,
        "wording": table.wording,
        "draw": table.draw,
    }
    keys = {name: coded for name, coded in named.items() if coded is not None}
    columns = [*(c.codes for c in keys.values()), table.replayed.astype(np.int64)]
    held, count = np.unique(np.column_stack(columns), axis=0, return_counts=True)
    twice = np.flatnonzero(count > 1)
    if twice.size == 0:
        return
    listed = []
    for k in twice[:SHOWN_DUPLICATES]:
        parts = [
            f"{name} {coded.show(int(code))!r}"
            for (name, coded), code in zip(keys.items(), held[k], strict=False)
            if code >= 0
        ]
        mode = "replayed" if held[k, -1] else "natural"
        listed.append(f"{', '.join(parts)}, {mode} ({count[k]} rows)")
    more = f"; and {twice.size - len(listed)} more" if twice.size > len(listed) else ""
    fix = (
        "remove the copies"
        if table.draw is not None
        else "name the column that tells draws apart with draw=, or filter with where="
    )
    raise DesignError(
        f"{twice.size} readouts are in the table more than once: {'; '.join(listed)}{more}; {fix}"
    )


def chosen(table: CellTable, place: Place, own: Mode) -> Mask:
    """Rows that stand for a cell: of a unit that has both modes, those of the mode asked for."""
    mask = table.rows(place)
    if not place.own:
        return mask
    unit, questions, _ = table.units()
    wanted = mask & (table.replayed if own == "replayed" else ~table.replayed)
    has = np.zeros(questions.size, dtype=bool)
    has[unit[wanted]] = True
    return np.asarray(wanted | (mask & ~has[unit]))


def row_weights(table: CellTable, mask: Mask) -> Array:
    """Weights of rows that sum to 1 in every unit that has some, shape (n,).

    Draws weigh equally in a wording, wordings equally in a unit.
    """
    unit, questions, _ = table.units()
    rows = np.flatnonzero(mask)
    of = unit[rows]
    wordings = 1 if table.wording is None else len(table.wording.labels) + 1
    inside = 0 if table.wording is None else table.wording.codes[rows] + 1
    pair = of * wordings + inside
    held, at, draws = np.unique(pair, return_inverse=True, return_counts=True)
    spread = np.bincount(held // wordings, minlength=questions.size)
    weights = np.zeros(len(table))
    weights[rows] = 1.0 / (draws[at] * spread[of])
    return weights


def unit_means(table: CellTable, mask: Mask, outcome: Array) -> Array:
    """Mean outcome of every unit over the rows of a mask, shape (units,); NaN where none."""
    unit, questions, _ = table.units()
    weights = row_weights(table, mask)
    values = np.where(mask, outcome, 0.0)
    total = np.bincount(unit, weights=weights * values, minlength=questions.size)
    there = np.bincount(unit[mask], minlength=questions.size) > 0
    return np.where(there, total, np.nan)


def as_cell(place: Place, levels: tuple[str, str]) -> Cell:
    """Write a place as a cell, with 0 and 1 for the reference and the active level."""
    short: dict[str, int | str] = {levels[0]: 0, levels[1]: 1}
    prompt = short.get(place.prompt, place.prompt)
    if place.own:
        return Y(prompt)
    return Y(prompt, M(short.get(place.reasoning, place.reasoning), place.edit))
