"""The same step changed by the model itself and by hand, contrasted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Expr, Y
from crossworld.core.regime import M
from crossworld.errors import DesignError
from crossworld.reasoning.steps.gather import Codes, Measured, cell_means, question_scores
from crossworld.reasoning.steps.importance import entries, kept, replaced
from crossworld.reasoning.steps.rollouts import Rollouts


def edited(step: int) -> Cell:
    """Return the cell in which a step was rewritten from outside and what follows is new."""
    return Y(1, M(1, f"edit {step}"))


def policies(on: Rollouts, off: Rollouts, *, target: str | None = None) -> Measured:
    r"""Effect of a step changed on-policy, off-policy, and their difference.

    .. math:: \text{on}_i = E[Y \mid S_{\le i}] - E[Y \mid S_{<i}, T_i], \quad
              \text{off}_i = E[Y \mid S_{\le i}] - E[Y \mid S_{<i}, e(S_i)], \quad
              \text{off} - \text{on} = E[Y \mid S_{<i}, T_i] - E[Y \mid S_{<i}, e(S_i)]

    An edit puts text there that the model would not have written; it may repair or flag it, so
    that the off-policy effect is smaller, or stumble over it, so that it is larger. Only steps and
    questions with both are compared.

    Parameters
    ----------
    on
        On-policy rollouts, as in `importance`; compared ones count where the step changed.
    off
        Rollouts that go on from the first steps and the edited one, at the step that was edited.
    target
        The answer that is followed, where outcomes are texts.

    Returns
    -------
    Measured
        ``on(i)``, ``off(i)`` and ``off - on(i)`` for every step, and their means over steps, each
        step with equal weight, ``on``, ``off`` and ``off - on``. Questions are the clusters.

    Raises
    ------
    DesignError
        If no step of any question was changed both ways.
    """
    steps, row, cell = entries(on)
    shape = (len(on.questions), 2 * len(steps))
    ours = cell_means(on.question[row], cell, on.numbers(target)[row], shape)
    place = {i: j for j, i in enumerate(steps)}
    theirs = _matched(off, on, place)
    outside = cell_means(
        theirs.question, theirs.step, theirs.numbers(target), (shape[0], len(steps))
    )
    both = np.isfinite(ours[:, 0::2]) & np.isfinite(outside)
    there = [j for j in range(len(steps)) if both[:, j].sum() >= 2]
    if not there:
        raise DesignError("no step was changed on-policy and off-policy in at least 2 questions")
    values = np.column_stack(
        [
            np.where(
                both[:, [j]], np.column_stack([ours[:, 2 * j : 2 * j + 2], outside[:, j]]), np.nan
            )
            for j in there
        ]
    )
    held = np.isfinite(values).any(axis=1)
    used = [steps[j] for j in there]
    cells = [c for i in used for c in (kept(i), replaced(i), edited(i))]
    scores = question_scores(values[held], cells, {"questions_left_out": int((~held).sum())})
    return Measured(scores, _asked(used))


def _matched(off: Rollouts, on: Rollouts, place: dict[int, int]) -> Rollouts:
    """Off-policy rollouts of the questions and steps that the on-policy ones have, recoded."""
    known = {label: q for q, label in enumerate(on.questions)}
    code = np.array([known.get(label, -1) for label in off.questions], dtype=np.int64)
    at: Codes = np.array([place.get(int(i), -1) for i in off.step], dtype=np.int64)
    kept_rows = (code[off.question] >= 0) & (at >= 0)
    return replace(
        off,
        question=code[off.question][kept_rows],
        questions=on.questions,
        step=at[kept_rows],
        outcome=off.outcome[kept_rows],
        resampled=None,
        original=None,
        changed=None,
    )


def _asked(steps: list[int]) -> tuple[Estimand, ...]:
    parts: dict[str, list[Expr]] = {
        "on": [kept(i) - replaced(i) for i in steps],
        "off": [kept(i) - edited(i) for i in steps],
        "off - on": [replaced(i) - edited(i) for i in steps],
    }
    asked = []
    for name, effects in parts.items():
        asked += [Estimand(f"{name}({i})", e) for i, e in zip(steps, effects, strict=True)]
        total = effects[0]
        for effect in effects[1:]:
            total = total + effect
        asked.append(Estimand(name, total / len(steps)))
    return tuple(asked)
