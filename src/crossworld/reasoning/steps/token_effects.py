"""Effects of single tokens on the answer with bands, beside attention and gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Y
from crossworld.core.protocols import Array
from crossworld.core.regime import M
from crossworld.core.scores import Scores
from crossworld.core.student import critical
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.steps.gather import (
    Codes,
    Measured,
    Unit,
    cell_means,
    coded,
    column,
    numeric,
    question_scores,
    rollout_scores,
)
from crossworld.reasoning.steps.importance import FULL, NONE
from crossworld.reasoning.steps.tokens import EMPTY, NAIVE, WHOLE

SIGNED = frozenset({"grad_input"})
SHORTEST = 4  # positions under which ranks say nothing


def whole(position: int) -> Cell:
    """Return the cell of the reasoning as it is, over questions that have a position."""
    return Y(1, M(1, f"{WHOLE} {position}"))


def changed(edit: str, position: int) -> Cell:
    """Return the cell in which the token at a position was changed."""
    return Y(1, M(1, f"{edit} {position}"))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a naive score ranks the positions of a reasoning, beside their effects.

    Parameters
    ----------
    naive
        The score. ``grad_input`` has a sign and is compared with signed effects, the others with
        their size.
    correlation
        Spearman's rank correlation within a trace, averaged over traces and then over questions.
    conf_low, conf_high
        Student's t interval over questions; None with fewer than two of them.
    questions, left_out
        Questions behind it, and those whose traces have fewer than 4 positions or no variation.
    """

    naive: str
    correlation: float | None
    conf_low: float | None
    conf_high: float | None
    questions: int
    left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class TokenEffects:
    """Effects of positions, and the naive scores of the same positions.

    Parameters
    ----------
    measured
        Scores and estimands: ``token(i)`` and, where there are rows without reasoning,
        ``share(i)``.
    positions
        The positions, in order.
    naive
        Mean of every naive score over questions, by name, one value a position.
    agreement
        Rank correlation of each naive score with the effects.
    questions
        Questions that have each position.
    """

    measured: Measured
    positions: tuple[int, ...]
    naive: dict[str, tuple[float, ...]]
    agreement: tuple[Agreement, ...]
    questions: tuple[int, ...]

    def effects(self, inference: Any, *, only: str = "token", level: float = 0.95) -> EffectTable:
        """Compute the effects; ``Multiplier()`` for bands that hold for all positions at once."""
        return self.measured.effects(inference, only=only, level=level)

    def beside(self, effects: EffectTable) -> dict[str, list[Any]]:
        """Lay effects and naive scores side by side, one entry a position."""
        rows = list(effects)
        if len(rows) != len(self.positions):
            raise DesignError(f"{len(rows)} effects do not fit {len(self.positions)} positions")
        told: dict[str, list[Any]] = {
            "position": list(self.positions),
            "questions": list(self.questions),
        }
        for name in ("term", "estimate", "conf_low", "conf_high"):
            told[name] = [getattr(row, name) for row in rows]
        return told | {name: list(values) for name, values in self.naive.items()}


def token_effects(
    table: Any,
    *,
    edit: str = "replace",
    by: str = "position",
    unit: Unit = "question",
    fewest: int = 20,
) -> TokenEffects:
    r"""Effect of every token of a reasoning on the probability of an answer.

    .. math:: D_i = E[P(y \mid m) - P(y \mid m^{(i)})], \qquad
              \text{share}_i = D_i / (E[P(y \mid m)] - E[P(y \mid \varnothing)])

    with :math:`m^{(i)}` the reasoning whose token at position i was changed. A mediator
    intervention: with later tokens held it is what the token does past them, with ``resample`` it
    is its total effect. Shares of tokens need not add up to 1.

    Parameters
    ----------
    table
        What `token_readouts` returned, or any table with its columns.
    edit
        Which of its edits; ``"resample - replace"`` and the like contrast two: the effect by the
        first minus the effect by the second, on the questions and positions that have both.
    by
        Column that says which tokens of different questions belong together: ``position`` (from
        the start), ``from_end``, or one of your own with whole numbers.
    unit
        ``"question"``: questions are drawn from a population. ``"rollout"``: these traces, and
        only the drawn replacements vary.
    fewest
        Positions that fewer questions have are left out and listed in the diagnostics.

    Raises
    ------
    DesignError
        If a column lacks, an edit is not in the table, or no position has enough questions.

    References
    ----------
    Jain and Wallace (2019). Attention is not explanation. NAACL. Sundararajan, Taly and Yan (2017).
    Axiomatic attribution for deep networks. ICML.

    Examples
    --------
    >>> from crossworld.infer.wald import Wald
    >>> names, n = ("question", "trace", "position", "edit", "draw", "p_target"), range(20)
    >>> rows = [(q, q, 0, "whole", 0, 0.9) for q in n] + [(q, q, 0, "remove", 0, 0.4) for q in n]
    >>> table = dict(zip(names, map(list, zip(*rows)))) | {name: [0.1] * 40 for name in NAIVE}
    >>> found = token_effects(table, edit="remove")
    >>> round(found.effects(Wald())["token(0)"].estimate, 3)
    0.5
    """
    if unit not in ("question", "rollout"):
        raise SpecError.unknown("unit", str(unit), ("question", "rollout"))
    held = _read(table, by)
    first, _, second = (part.strip() for part in edit.partition(" - "))
    for name in filter(None, (first, second)):
        if name in (WHOLE, EMPTY) or not (held.edit == name).any():
            known = sorted(set(held.edit.tolist()) - {WHOLE, EMPTY})
            raise SpecError.unknown("edit of the table", name, known)
    names = [WHOLE, first, *([second] if second else [])]
    values = np.stack([held.means(name) for name in names])  # (edits, questions, positions)
    values[:, ~np.isfinite(values).all(axis=0)] = np.nan
    count = np.isfinite(values[0]).sum(axis=0)
    used = np.flatnonzero(count >= max(fewest, 2 if unit == "question" else 1))
    if not used.size:
        raise DesignError(
            f"no position is in {max(fewest, 2)} questions with {edit!r} beside the whole reasoning"
            f" (at most {int(count.max(initial=0))}); lower fewest= or align positions with by="
        )
    positions = [int(held.positions[k]) for k in used]
    told = {
        "questions": dict(zip(map(str, positions), count[used].tolist(), strict=True)),
        "positions_left_out": [int(p) for p in np.delete(held.positions, used)],
    }
    measured = _measured(held, names, used, values=values, unit=unit, told=told)
    effect = values[2] - values[1] if second else values[0] - values[1]
    naive = {n: tuple(_mean(held.naive[n][:, k], effect[:, k]) for k in used) for n in NAIVE}
    agreement = tuple(_agreement(held, names, n) for n in NAIVE)
    return TokenEffects(measured, tuple(positions), naive, agreement, tuple(count[used].tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Columns, coded; ``naive`` by name of shape (questions, positions)."""

    question: Codes
    questions: tuple[str, ...]
    trace: Codes
    place: Codes
    positions: Codes
    edit: Any
    outcome: Array
    naive: dict[str, Array]
    raw: dict[str, Array]

    def means(self, edit: str) -> Array:
        """Means over draws, then over the traces of a question: (questions, positions)."""
        return self.over(edit, self.outcome)

    def over(self, edit: str, values: Array) -> Array:
        """Do the same for any column."""
        rows = np.flatnonzero((self.edit == edit) & (self.place >= 0))
        traces = int(self.trace.max()) + 1
        each = cell_means(
            self.trace[rows], self.place[rows], values[rows], (traces, self.positions.size)
        )
        owner = np.zeros(traces, dtype=np.int64)
        owner[self.trace] = self.question
        t, p = np.nonzero(np.isfinite(each))
        return cell_means(owner[t], p, each[t, p], (len(self.questions), self.positions.size))


def _read(table: Any, by: str) -> _Held:
    question, labels = coded(column(table, "question", "question"))
    trace = column(table, "trace", "trace").astype(str)
    pairs = np.char.add(np.char.add(question.astype(str), "/"), trace)
    edit = column(table, "edit", "edit").astype(str)
    at = numeric(table, by, "position")
    if (at != np.floor(at)).any():
        raise DesignError(f"column {by!r} holds whole numbers, and -1 where there is no position")
    inner = (at >= 0) & (edit != EMPTY)
    positions, place = np.unique(at[inner].astype(np.int64), return_inverse=True)
    places = np.full(edit.size, -1, dtype=np.int64)
    places[inner] = place
    outcome = numeric(table, "p_target", "outcome")
    base = (edit == WHOLE) & inner
    raw = {}
    for name in NAIVE:
        given = np.asarray(column(table, name, "naive score"), dtype=object)
        there = [math.nan if v is None else float(v) for v in given]
        raw[name] = np.where(base, np.array(there), math.nan)
    codes = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
    held = _Held(question, labels, codes, places, positions, edit, outcome, {}, raw)
    for name, values in raw.items():
        held.naive[name] = held.over(WHOLE, values)
    return held


def _measured(
    held: _Held,
    names: Sequence[str],
    used: Codes,
    *,
    values: Array,
    unit: Unit,
    told: dict[str, Any],
) -> Measured:
    """Scores of the cells and the estimands over them; ends where the table has them."""
    at = [int(held.positions[k]) for k in used]
    cells = [whole(i) if n == WHOLE else changed(n, i) for i in at for n in names]
    minus = (changed(names[2], i) for i in at) if len(names) == 3 else map(whole, at)
    effects = [m - changed(names[1], i) for m, i in zip(minus, at, strict=True)]
    asked = [Estimand(f"token({i})", e) for i, e in zip(at, effects, strict=True)]
    laid = values[:, :, used].transpose(1, 2, 0).reshape(values.shape[1], -1)
    ends = _ends(held)
    if ends is not None and len(names) == 2:
        laid, cells = np.column_stack([laid, ends]), [*cells, FULL, NONE]
        asked += [
            Estimand(f"share({i})", e / (FULL - NONE)) for i, e in zip(at, effects, strict=True)
        ]
    if unit == "question":
        kept = np.isfinite(laid).any(axis=1)
        return Measured(question_scores(laid[kept], cells, told), tuple(asked))
    return Measured(_draws(held, names, used, laid=laid, cells=cells, told=told), tuple(asked))


def _ends(held: _Held) -> Array | None:
    """Probability with all and with none of the reasoning, by question; None where one lacks."""
    size = (len(held.questions), 1)
    found = []
    for name in (WHOLE, EMPTY):
        rows = np.flatnonzero(held.edit == name)
        one = np.unique(held.trace[rows], return_index=True)[1]
        rows = rows[one]
        zero = np.zeros(rows.size, dtype=np.int64)
        found.append(cell_means(held.question[rows], zero, held.outcome[rows], size)[:, 0])
    ends = np.column_stack(found)
    return ends if np.isfinite(ends).all() else None


def _draws(
    held: _Held,
    names: Sequence[str],
    used: Codes,
    *,
    laid: Array,
    cells: list[Cell],
    told: dict[str, Any],
) -> Any:
    """Scores of the drawn replacements of these questions; what is not drawn does not vary."""
    place = np.full(held.positions.size, -1, dtype=np.int64)
    place[used] = np.arange(used.size)
    row, cell = [], []
    for j, name in enumerate(names[1:], start=1):
        there = (held.edit == name) & (held.place >= 0)
        rows = np.flatnonzero(there & (place[np.maximum(held.place, 0)] >= 0))
        rows = rows[np.isfinite(laid[held.question[rows], place[held.place[rows]] * len(names)])]
        row.append(rows)
        cell.append(place[held.place[rows]] * len(names) + j)
    entries, columns = np.concatenate(row), np.concatenate(cell)
    drawn, at = np.unique(columns, return_inverse=True)
    made = rollout_scores(
        (np.arange(entries.size), held.question[entries], at.astype(np.int64)),
        held.outcome[entries],
        cells=[cells[int(k)] for k in drawn],
    )
    full = np.tile(np.nanmean(laid, axis=0), (entries.size, 1))
    full[:, drawn] = made.values
    return Scores(full, tuple(cells), diagnostics=told)


def _mean(values: Array, there: Array) -> float:
    kept = values[np.isfinite(values) & np.isfinite(there)]
    return float(kept.mean()) if kept.size else math.nan


def _agreement(held: _Held, names: Sequence[str], naive: str) -> Agreement:
    """Spearman within traces, averaged over traces and questions, t interval over questions."""
    shape = (int(held.trace.max()) + 1, held.positions.size)
    each = []
    for name in names:
        rows = np.flatnonzero((held.edit == name) & (held.place >= 0))
        each.append(cell_means(held.trace[rows], held.place[rows], held.outcome[rows], shape))
    effect = each[2] - each[1] if len(each) == 3 else each[0] - each[1]
    rows = np.flatnonzero((held.edit == WHOLE) & np.isfinite(held.raw[naive]))
    score = cell_means(held.trace[rows], held.place[rows], held.raw[naive][rows], shape)
    owner = np.zeros(shape[0], dtype=np.int64)
    owner[held.trace] = held.question
    found: dict[int, list[float]] = {}
    for t in range(shape[0]):
        both = np.isfinite(effect[t]) & np.isfinite(score[t])
        moved = effect[t, both] if naive in SIGNED else np.abs(effect[t, both])
        rho = _spearman(moved, score[t, both])
        if rho is not None:
            found.setdefault(int(owner[t]), []).append(rho)
    left = len(held.questions) - len(found)
    if not found:
        return Agreement(naive, None, None, None, 0, left)
    values = np.array([np.mean(v) for v in found.values()])
    mean, size = float(values.mean()), values.size
    if size < 2:
        return Agreement(naive, mean, None, None, size, left)
    half = critical(0.95, size - 1) * float(values.std(ddof=1)) / math.sqrt(size)
    return Agreement(naive, mean, max(mean - half, -1.0), min(mean + half, 1.0), size, left)


def _spearman(x: Array, y: Array) -> float | None:
    """Rank correlation; None where it does not exist."""
    if x.size < SHORTEST or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return None
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
