"""What is printed beside every effect of replayed reasoning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossworld.core.effects import INT_MED, NDE, NIE, PNIE, TE, TNDE
from crossworld.core.expression import Cell, Expr
from crossworld.errors import DesignError
from crossworld.reasoning.cells import Array, Coded, Index, Mask, Place, unit_means
from crossworld.reasoning.pairing import (
    Paired,
    by_second,
    estimate_of,
    pair,
    told,
    two_way,
)

if TYPE_CHECKING:
    from crossworld.reasoning.study import ReasoningStudy

FLAGS = ("leaked", "names_treatment")
LISTED = 20
MANY = 0.1
STUCK = 0.9
Told = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The cells of a question with the rows that stand for them.

    Parameters
    ----------
    study
        The study.
    cells, places
        The k cells, and their labels.
    masks
        The rows of each, k arrays of shape (readouts,).
    outcome
        Shape (readouts,), missing answers scored 0.
    """

    study: ReasoningStudy
    cells: tuple[Cell, ...]
    places: tuple[Place, ...]
    masks: tuple[Mask, ...]
    outcome: Array

    def contrasts(self) -> dict[str, tuple[Expr, dict[int, float]]]:
        """Effects that the cells hold: the shipped ones, and each intervention beside its own."""
        found: dict[str, tuple[Expr, dict[int, float]]] = {}
        for effect in (TE, NDE, NIE, TNDE, PNIE, INT_MED):
            expr = effect.bind(self.study.blocks).expr
            terms = expr.linear() or {}
            if set(terms) <= set(self.cells):
                found[effect.name] = (expr, {self.cells.index(c): v for c, v in terms.items()})
        arms = set(self.study.table.prompt.labels)
        own = {p.prompt: j for j, p in enumerate(self.places) if p.own}
        for j, place in enumerate(self.places):
            changed = place.edit is not None or place.reasoning not in arms
            base = own.get(place.prompt)
            if changed and base is not None:
                expr = self.cells[j] - self.cells[base]
                found[str(expr)] = (expr, {j: 1.0, base: -1.0})
        return found

    def shares(self, marked: Mask) -> dict[str, float]:
        """Share of marked readouts in every cell."""
        return {
            str(c): float(marked[m].mean()) if m.any() else 0.0
            for c, m in zip(self.cells, self.masks, strict=True)
        }


def diagnose(
    asked: Asked,
    paired: Paired,
    *,
    readout: str | None,
    longest: int,
    flags: Sequence[str] | None,
    shown: str | None,
) -> Told:
    """Everything a reader needs beside the effects; ``warnings`` lists what to mind."""
    warnings: list[str] = []
    found: Told = {
        "diagnostics_level": 0.95,
        "readouts": _modes(asked, warnings),
        "replay_floor": _floors(asked, paired, warnings),
        "left_out": _left_out(asked, paired, warnings),
        "edited_in_part": _edited_in_part(asked, warnings),
        "missing_answers": _missing(asked, warnings),
        "ceiling": _ceiling(asked, paired, warnings),
        "empty_reasoning": _empty(asked, shown),
    }
    if readout is not None:
        found["compliance"] = _compliance(asked, readout, longest, warnings)
    found["flags"] = {name: _flag(asked, name, warnings) for name in _present(asked.study, flags)}
    for role, second in (("wording", asked.study.table.wording), ("cluster", _crossing(asked))):
        if second is not None:
            found[role] = _second(asked, second)
    return {"warnings": warnings, **found}


def _present(study: ReasoningStudy, flags: Sequence[str] | None) -> list[str]:
    names = study.source.names
    return [f for f in FLAGS if f in names] if flags is None else list(flags)


def _crossing(asked: Asked) -> Coded | None:
    table = asked.study.table
    if table.group is None or not table.crossed:
        return None
    several = np.unique(table.group.codes[asked.study.inside()]).size > 1
    return table.group if several else None


def _edited_in_part(asked: Asked, warnings: list[str]) -> Told:
    """Questions in which an edit was made to some traces of the unedited cell and not to others."""
    table, found = asked.study.table, {}
    own = {p.prompt: j for j, p in enumerate(asked.places) if p.own}
    keys = [np.zeros(len(table), dtype=np.int64) if c is None else c.codes + 1
            for c in (table.wording, table.draw)]  # fmt: skip
    unit, questions, _ = table.units()
    size = int(keys[1].max()) + 1
    reads = (unit * (int(keys[0].max()) + 1) + keys[0]) * size + keys[1]
    per = size * (int(keys[0].max()) + 1)

    def count(mask: Mask) -> Index:
        return np.bincount(np.unique(reads[mask]) // per, minlength=questions.size)

    for cell, place, mask in zip(asked.cells, asked.places, asked.masks, strict=True):
        base = own.get(place.prompt)
        if place.edit is None or base is None or place.reasoning != place.prompt:
            continue
        edited, whole = count(mask), count(asked.masks[base])
        partly = int(((edited > 0) & (edited < whole)).sum())
        if partly:
            found[str(cell)] = partly
            warnings.append(
                f"{cell}: in {partly:,} questions only part of the readouts of "
                f"{asked.cells[base]} has an edited one beside it, so their difference also "
                "compares different traces; keep the traces that were edited, in both cells"
            )
    return found


def _modes(asked: Asked, warnings: list[str]) -> Told:
    """How many readouts of every cell are replayed and natural."""
    found, own = {}, {}
    for cell, place, mask in zip(asked.cells, asked.places, asked.masks, strict=True):
        replayed = int((mask & asked.study.table.replayed).sum())
        found[str(cell)] = {"replayed": replayed, "natural": int(mask.sum()) - replayed}
        if place.own:
            own[str(cell)] = found[str(cell)]
    natural = [c for c, n in own.items() if n["natural"]]
    replayed_in = [c for c, n in found.items() if n["replayed"]]
    if natural and replayed_in:
        warnings.append(
            f"natural readouts stand for {', '.join(natural)}, replayed ones for "
            f"{', '.join(replayed_in)}: what replaying itself does is part of every difference "
            "between them"
        )
    return found


def _floors(asked: Asked, paired: Paired, warnings: list[str]) -> Told:
    """Natural minus own replayed, under every prompt asked about that has both."""
    table, found = asked.study.table, {}
    for arm in dict.fromkeys(p.prompt for p in asked.places):
        rows = table.rows(Place(arm, arm)) & asked.study.inside()
        masks = (rows & ~table.replayed, rows & table.replayed)
        if not all(m.any() for m in masks):
            continue
        both = pair(asked.study, masks, asked.outcome)
        if both.kept.size == 0:
            continue
        cells = asked.cells[:1]
        difference = (both.values[:, 0] - both.values[:, 1])[:, None]
        scores = Paired(difference, both.kept, both.absent, both.cluster, both.weights)
        found[arm] = told(estimate_of(cells[0], scores.as_scores(cells)), both.kept.size)
    largest = max((abs(f["estimate"] or 0.0) for f in found.values()), default=0.0)
    scores_ = paired.as_scores(asked.cells)
    small = [
        name
        for name, (expr, _) in asked.contrasts().items()
        if found and abs(estimate_of(expr, scores_).value) <= largest
    ]
    if small:
        warnings.append(
            f"{', '.join(small)} is no larger than the replay floor ({largest:.3g}): replaying the "
            "model's own reasoning changes the outcome as much"
        )
    return found


def _left_out(asked: Asked, paired: Paired, warnings: list[str]) -> Told:
    """Questions without a readout in some cell."""
    study = asked.study
    lost = np.flatnonzero(paired.absent.any(axis=1))
    _, questions, groups = study.table.units()
    units = study.units[lost]
    names = [study.table.question.labels[q] for q in questions[units]]
    if groups is not None and study.table.group is not None:
        labels = study.table.group.labels
        names = [f"{name} ({labels[groups[u]]})" for name, u in zip(names, units, strict=True)]
    lacking = {
        str(c): int(n) for c, n in zip(asked.cells, paired.absent.sum(axis=0), strict=True) if n
    }
    if lost.size:
        listed = ", ".join(names[:5]) + (", ..." if lost.size > 5 else "")
        warnings.append(
            f"{lost.size:,} of {len(study):,} questions lack a readout in some cell and are left "
            f"out: {listed}"
        )
    return {"count": int(lost.size), "questions": names[:LISTED], "lacking": lacking}


def _missing(asked: Asked, warnings: list[str]) -> Told:
    """Answers that could not be parsed score 0; the worst they could hide are bounds."""
    lost = np.isnan(asked.study.table.outcome)
    counts = {str(c): int((m & lost).sum()) for c, m in zip(asked.cells, asked.masks, strict=True)}
    total = sum(counts.values())
    if total == 0:
        return {"count": 0}
    bounds: dict[str, list[float]] = {}
    for name, (_, weights) in asked.contrasts().items():
        bounds[name] = [
            float(sum(v * _mean_with(asked, j, float((v > 0) == up)) for j, v in weights.items()))
            for up in (False, True)
        ]
    told_ = "; ".join(f"{k} in [{low:.3f}, {high:.3f}]" for k, (low, high) in bounds.items())
    warnings.append(
        f"{total:,} answers could not be parsed and score 0; with any other score {told_}"
    )
    return {"count": total, "cells": counts, "bounds": bounds}


def _mean_with(asked: Asked, j: int, value: float) -> float:
    """Mean of a cell over the complete questions, missing answers at a value."""
    held = asked.study.table.outcome
    outcome = np.where(np.isnan(held), value, held)
    return float(pair(asked.study, asked.masks, outcome).as_scores(asked.cells).means()[j])


def _ceiling(asked: Asked, paired: Paired, warnings: list[str]) -> Told:
    """Questions that cannot move, because a cell sits at an end of the scale."""
    values = paired.values
    if values.size == 0 or values.min() < 0.0 or values.max() > 1.0:
        return {}
    cells = {
        str(c): {"at_0": int((v <= 0.0).sum()), "at_1": int((v >= 1.0).sum())}
        for c, v in zip(asked.cells, values.T, strict=True)
    }
    effects: dict[str, dict[str, int]] = {}
    for name, (_, weights) in asked.contrasts().items():
        total = values[:, list(weights)] @ np.array(list(weights.values()))
        effects[name] = {
            "questions": len(values),
            "moved_up": int((total > 1e-12).sum()),
            "moved_down": int((total < -1e-12).sum()),
        }
    for cell, ends in cells.items():
        for end, word in (("at_1", "ceiling"), ("at_0", "floor")):
            if ends[end] > STUCK * len(values):
                warnings.append(
                    f"{cell} is at the {word} in {ends[end]:,} of {len(values):,} questions, which "
                    f"cannot move {'up' if word == 'ceiling' else 'down'} from there"
                )
    return {"cells": cells, "effects": effects}


def _empty(asked: Asked, shown: str | None) -> Told:
    """How many readouts of every cell go with an empty text, which is a value like any other."""
    name = shown if shown is not None else "shown"
    if shown is None and name not in asked.study.source.names:
        return {}
    texts = asked.study.column(name, "shown")
    replayed = asked.study.table.replayed  # a natural readout without a text may have had one
    empty = np.array(
        [r if t is None else not str(t).strip() for t, r in zip(texts, replayed, strict=True)]
    )
    return {str(c): int((m & empty).sum()) for c, m in zip(asked.cells, asked.masks, strict=True)}


def _compliance(asked: Asked, readout: str, longest: int, warnings: list[str]) -> Told:
    """Share of readouts too long to be an answer: the model reasons again instead."""
    lengths = _lengths(asked.study.column(readout, "readout"))
    natural = ~asked.study.table.replayed
    long = (lengths > longest) & ~natural
    shares = asked.shares(long)
    often = {c: s for c, s in shares.items() if s > MANY}
    if often:
        told_ = ", ".join(f"{s:.0%} in {c}" for c, s in often.items())
        warnings.append(
            f"replayed readouts are longer than {longest} characters ({told_}): the model reasons "
            "again instead of answering, so these cells do not measure what the shown reasoning did"
        )
    return {"longest": longest, "long": shares, **_strata(asked, long)}


def _lengths(values: Sequence[Any]) -> Array:
    """Lengths of texts, or the lengths a column already holds."""
    numbers = []
    for v in values:
        try:
            numbers.append(0.0 if v is None else float(v))
        except (TypeError, ValueError):
            return np.array([len(str(t or "")) for t in values], dtype=np.float64)
    return np.array(numbers)


def _flag(asked: Asked, name: str, warnings: list[str]) -> Told:
    """Share of traces with a mark, and the effects with and without them."""
    held = asked.study.column(name, "flag")
    texts = [str(v).lower().removesuffix(".0") for v in held]
    strange = sorted(set(texts) - {"0", "1", "true", "false", "none"})
    if strange:
        raise DesignError(
            f"flag column {name!r} holds {strange[0]!r}; it is 0 or 1 for every trace"
        )
    marked = np.array([t in ("1", "true") for t in texts])
    shares = asked.shares(marked)
    strata = _strata(asked, marked)
    if any(s > 0.0 for s in shares.values()):
        worst = max(shares, key=lambda c: shares[c])
        warnings.append(
            f"{shares[worst]:.0%} of the readouts of {worst} show reasoning marked {name!r}; the "
            "effects without it are in diagnostics.flags (strata that nobody randomised)"
        )
    return {"share": shares, **strata}


def _strata(asked: Asked, marked: Mask) -> Told:
    """The effects from the readouts without a mark, and from those with it."""
    found: Told = {}
    rules: Mapping[str, Callable[[Mask], Mask]] = {
        "without": lambda m: m & ~marked,
        "only": lambda m: m & marked,
    }
    for word, keep in rules.items():
        effects: dict[str, Any] = {}
        for name, (expr, weights) in asked.contrasts().items():
            used = list(weights)
            part = pair(asked.study, [keep(asked.masks[j]) for j in used], asked.outcome)
            if part.kept.size == 0:
                effects[name] = None
                continue
            scores = part.as_scores([asked.cells[j] for j in used])
            effects[name] = told(estimate_of(expr, scores), part.kept.size)
        found[word] = effects
    return found


def _second(asked: Asked, second: Coded) -> Told:
    """The effects over a second cluster: from each alone, their spread, two-way intervals."""
    found: Told = {"labels": list(second.labels), "effects": {}}
    for name, (_, weights) in asked.contrasts().items():
        found["effects"][name] = {
            "each": by_second(
                asked.study, asked.masks, asked.outcome, weights=weights, second=second
            ),
            "two_way": two_way(
                asked.study, asked.masks, asked.outcome, weights=weights, second=second
            ),
        }
    found["cells"] = _cells_by(asked, second)
    return found


def _cells_by(asked: Asked, second: Coded) -> Told:
    """Mean of every cell from the readouts of each second cluster."""
    units: Index = asked.study.units
    found: Told = {}
    for cell, mask in zip(asked.cells, asked.masks, strict=True):
        means = {}
        for code, name in enumerate(second.labels):
            held = unit_means(asked.study.table, mask & (second.codes == code), asked.outcome)[
                units
            ]
            means[name] = float(np.nanmean(held)) if np.isfinite(held).any() else None
        found[str(cell)] = means
    return found
