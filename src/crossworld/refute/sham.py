"""One role permuted many times: effects that have to vanish, and whether they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossworld.core.analysis import Analysis
from crossworld.core.estimand import Estimand
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refutation
from crossworld.core.table import Effect, EffectTable, number
from crossworld.refute.expected import Key, beside_total, is_null
from crossworld.refute.judge import FEWEST, Centre, Rejections, centre, rejections
from crossworld.refute.protocols import Permutes, lacking
from crossworld.refute.rerun import (
    Attempts,
    attempt,
    bound,
    effects,
    generators,
    original_fits,
)

NULL = (
    "{} is no contrast that is 0 by itself when the {} carries nothing (a quotient of two zeros, \
for instance), so there is nothing to compare it with"
)
UNTOUCHED = "{} does not involve the mediators, so permuting them says nothing about it"


@dataclass(frozen=True, slots=True)
class Sham:
    """What is permuted, and what it takes away.

    Parameters
    ----------
    name
        The refuter's name.
    role
        ``treatment``, ``mediator`` or ``outcome``.
    key
        Which cells become the same.
    shows
        What passing does and does not show.
    draws, seed
        Permutations; seed.
    reuses
        Whether fits of the original analysis may serve again.
    """

    name: str
    role: str
    key: Key
    shows: str
    draws: int
    seed: int
    reuses: bool


@dataclass(frozen=True, slots=True)
class Question:
    """An effect, and the contrast of it that has to be at its null; None where there is none."""

    asked: Estimand
    checked: Estimand | None
    reason: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the effect itself has to be at its null."""
        return self.checked is self.asked


def check_sham(draws: int, seed: int) -> None:
    """Refuse numbers of draws from which nothing can be judged."""
    check_whole("draws", draws, FEWEST)
    check_whole("seed", seed, 0)


def try_sham(
    sham: Sham, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
) -> tuple[Refutation, ...]:
    """Permute a role ``draws`` times and judge every effect.

    An effect passes unless its placebo estimates are centred elsewhere than its null (a t test at
    0.2 %, and by more than a quarter of their standard deviation), or the intervals exclude the
    null too often (a binomial test at 0.2 %, and more than twice as often as their level says).
    """
    study, blocks = analysis.study, analysis.study.blocks
    if not isinstance(study, Permutes):
        reason = lacking(study, f"has no {sham.role} that can be permuted")
        return tuple(
            Refutation(sham.name, e.name, None, result[e.name].estimate, None, reason)
            for e in analysis.estimands
        )
    questions = [_question(e, sham, blocks) for e in bound(analysis)]
    asked = [e for q in questions for e in _asked(q)]
    if not asked:
        return tuple(_undecided(sham, q, result, q.reason) for q in questions)

    def once(rng: np.random.Generator) -> dict[str, Effect]:
        changed = replace(analysis, study=study.permuted(sham.role, rng), refuters=())
        return effects(changed, asked)

    with original_fits(analysis, asked) if sham.reuses else nullcontext() as fits:
        before = 0 if fits is None else fits.reused
        tasks = [lambda rng=rng: once(rng) for rng in generators(sham.seed, sham.draws)]
        found = attempt(tasks, workers=workers)
        reused = 0 if fits is None else fits.reused - before
    return tuple(
        _judged(sham, q, found, result, level=analysis.level, reused=reused) for q in questions
    )


def _question(estimand: Estimand, sham: Sham, blocks: Sequence[Sequence[str]]) -> Question:
    if is_null(estimand, sham.key):
        return Question(estimand, estimand)
    if sham.role != "mediator":
        return Question(estimand, None, NULL.format(estimand.name, sham.role))
    rest = beside_total(estimand, blocks)
    if rest is not None:
        return Question(estimand, rest.named(f"{estimand.name} beside its total"))
    linear = estimand.expr.linear() is not None
    reason = UNTOUCHED if linear and estimand.scale == "difference" else NULL
    return Question(estimand, None, reason.format(estimand.name, sham.role))


def _asked(question: Question) -> list[Estimand]:
    if question.checked is None:
        return []
    return [question.asked] if question.is_whole else [question.asked, question.checked]


def _judged(
    sham: Sham,
    question: Question,
    found: Attempts[dict[str, Effect]],
    result: EffectTable,
    *,
    level: float,
    reused: int,
) -> Refutation:
    if question.checked is None:
        return _undecided(sham, question, result, question.reason)
    checked, term = question.checked, question.asked.name
    rows = [run[checked.name] for run in found.done]
    values = [_on_scale(row.estimate, checked) for row in rows]
    kept = np.array([v for v in values if v is not None])
    lost = len(found.failed) + len(values) - kept.size
    if kept.size < FEWEST:
        text = f"only {kept.size} of {found.total} reruns gave an estimate.{found.told()}"
        return _undecided(sham, question, result, text)
    where = centre(kept, 0.0, level)
    tested = [row for row in rows if row.conf_low is not None and row.conf_high is not None]
    beyond = [not row.conf_low <= checked.null <= row.conf_high for row in tested]  # type: ignore[operator]
    counted = rejections(beyond, level) if len(beyond) >= FEWEST else None
    original = result[term].estimate
    share = _beyond(original, question, kept)
    own = np.array([run[term].estimate for run in found.done], dtype=np.float64)
    refuted = _back(where.mean, checked) if question.is_whole else float(own.mean())
    passed = not where.off and (counted is None or not counted.too_many)
    return Refutation(
        sham.name,
        term,
        passed,
        original,
        refuted,
        _detail(sham, question, where, counted, share=share, draws=kept.size)
        + (found.told() if found.failed else ""),
        sham.shows,
        {
            "draws": int(kept.size),
            "failed": int(lost),
            "centre": _back(where.mean, checked),
            "low": _back(where.low, checked),
            "high": _back(where.high, checked),
            "centre_p_value": where.p_value,
            "rejected": None if counted is None else counted.count,
            "rejected_of": None if counted is None else counted.total,
            "rejection_p_value": None if counted is None else counted.p_value,
            "permutation_p_value": share,
            "reused_fits": reused,
        },
    )


def _on_scale(value: float | None, estimand: Estimand) -> float | None:
    """Distance from the null, on the log scale for ratios; None where it does not exist."""
    if value is None or not math.isfinite(value):
        return None
    if estimand.is_ratio:
        return math.log(value) if value > 0.0 else None
    return value - estimand.null


def _back(value: float, estimand: Estimand) -> float:
    return math.exp(value) if estimand.is_ratio else value + estimand.null


def _beyond(original: float | None, question: Question, kept: np.ndarray[Any, Any]) -> float | None:
    """Permutation p value of the estimate: how many placebo estimates are at least as far off."""
    mine = _on_scale(original, question.asked) if question.is_whole else None
    if mine is None:
        return None
    return float((1 + int((np.abs(kept) >= abs(mine)).sum())) / (1 + kept.size))


def _detail(
    sham: Sham,
    question: Question,
    where: Centre,
    counted: Rejections | None,
    *,
    share: float | None,
    draws: int,
) -> str:
    checked = question.checked or question.asked
    name = question.asked.name if question.is_whole else f"{question.asked.name} minus its total"
    mean, low, high = (number(_back(v, checked)) for v in (where.mean, where.low, where.high))
    text = (
        f"With the {sham.role} permuted {draws} times, {name} averaged {mean} (central range {low} "
        f"to {high}), where {checked.null:g} is right"
    )
    if where.off:
        text += ": off by more than chance"
    if counted is not None:
        text += f"; intervals excluded it {counted.count} times of {counted.total}"
        text += ", too often" if counted.too_many else ""
    if share is not None:
        text += f". Placebo estimates were as far from it as the original in {share:.1%} of cases"
    return f"{text}."


def _undecided(sham: Sham, question: Question, result: EffectTable, text: str) -> Refutation:
    term = question.asked.name
    return Refutation(sham.name, term, None, result[term].estimate, None, text, sham.shows)
