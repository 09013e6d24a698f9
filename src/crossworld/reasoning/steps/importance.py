"""Counterfactual importance: what a step does to the answer, by sampling it anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Y
from crossworld.core.protocols import Array
from crossworld.core.regime import M
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.steps.gather import (
    Codes,
    Measured,
    Unit,
    cell_means,
    coded,
    question_scores,
    rollout_scores,
)
from crossworld.reasoning.steps.rollouts import Rollouts

JEFFREYS = 0.5
FULL, NONE = Y(1), Y(1, M(1, "truncate(0)"))


def kept(step: int) -> Cell:
    """Return the cell in which the trace up to and with a step is kept and the rest is new."""
    return Y(1, M(1, f"keep {step}"))


def replaced(step: int) -> Cell:
    """Return the cell in which a step and all after it are new."""
    return Y(1, M(1, f"replace {step}"))


def importance(
    rollouts: Rollouts, *, target: str | None = None, unit: Unit = "question"
) -> Measured:
    r"""Signed importance of every step, and the share of the reasoning's effect it carries.

    .. math:: D_i = E[Y \mid S_{\le i}] - E[Y \mid S_{<i}, T_i \not\approx S_i], \qquad
              \text{share}_i = D_i / (E[Y \mid S_{<n}] - E[Y \mid \varnothing])

    with :math:`S` the trace, :math:`T_i` the step in the place of :math:`S_i`, and everything
    after it sampled anew too: the total effect of the step, not what it does with the later steps
    held. Where the rollouts were not compared (`Rollouts.compared`) every :math:`T_i` counts and
    this is resampling importance, which a step that the model writes again and again lacks.

    Parameters
    ----------
    rollouts
        Rollouts at every step of interest and at the one after it; for the shares also at step 0
        and at the end of the traces.
    target
        The answer that is followed, where outcomes are texts.
    unit
        ``"question"``: questions are drawn from a population, and steps are compared between them
        by their position. ``"rollout"``: these questions, or this one trace, and no others.

    Returns
    -------
    Measured
        Effects ``step(i)`` and, where both ends are there, ``share(i)``. A question counts in
        step i when it has rollouts that keep and that replace it; how many do is in the
        diagnostics, as are the questions without a single changed rollout.

    Raises
    ------
    DesignError
        If no step has rollouts both ways.

    References
    ----------
    Bogdan, Macar, Nanda and Conmy (2025). Thought Anchors. arXiv:2506.19143.

    Examples
    --------
    >>> from crossworld.infer.wald import Wald
    >>> table = {"q": list("aabbccaabbcc"), "at": [0] * 6 + [1] * 6, "y": [0, 1] * 3 + [1] * 6}
    >>> held = Rollouts.from_frame(table, question="q", step="at", outcome="y")
    >>> round(importance(held, unit="rollout").effects(Wald(), only="step")["step(0)"].estimate, 3)
    0.5
    """
    if unit not in ("question", "rollout"):
        raise SpecError.unknown("unit", str(unit), ("question", "rollout"))
    outcome = rollouts.numbers(target)
    steps, row, cell = entries(rollouts)
    cells: list[Cell] = [c for i in steps for c in (kept(i), replaced(i))]
    estimands = [Estimand(f"step({i})", kept(i) - replaced(i)) for i in steps]
    ends = _ends(rollouts)
    if ends is not None:
        row = np.concatenate([row, *ends])
        cell = np.concatenate(
            [cell, *(np.full(e.size, len(cells) + j) for j, e in enumerate(ends))]
        )
        cells += [FULL, NONE]
        estimands += [
            Estimand(f"share({i})", (kept(i) - replaced(i)) / (FULL - NONE)) for i in steps
        ]
    question = rollouts.question[row]
    table = cell_means(question, cell, outcome[row], (len(rollouts.questions), len(cells)))
    told = _counts(rollouts, steps, table)
    if unit == "question":
        return Measured(question_scores(table, cells, told), tuple(estimands))
    scores = rollout_scores((row, question, cell), outcome, cells=cells, diagnostics=told)
    return Measured(scores, tuple(estimands))


def entries(rollouts: Rollouts) -> tuple[list[int], Codes, Codes]:
    """Lay out (steps, row, cell): cell 2j keeps step j of the list, cell 2j + 1 replaces it.

    Only (question, step) pairs with both are left, so that differences are paired; a rollout that
    keeps one step may replace the next.
    """
    new = np.ones(len(rollouts), dtype=bool) if rollouts.changed is None else rollouts.changed
    size = int(rollouts.step.max()) + 2
    flat, length = rollouts.question * size + rollouts.step, len(rollouts.questions) * size
    any_at = np.bincount(flat, minlength=length).reshape(-1, size) > 0
    new_at = np.bincount(flat[new], minlength=length).reshape(-1, size) > 0
    both = new_at[:, :-1] & any_at[:, 1:]
    steps = np.flatnonzero(both.any(axis=0))
    if steps.size == 0:
        raise DesignError(
            "no step has rollouts that replace it and rollouts that keep it; rollouts at step i "
            "replace it, rollouts at step i + 1 keep it"
        )
    place = np.full(size, -1, dtype=np.int64)
    place[steps] = np.arange(steps.size)
    before = np.maximum(rollouts.step - 1, 0)
    keeps = np.flatnonzero((rollouts.step > 0) & both[rollouts.question, before])
    replaces = np.flatnonzero(new & both[rollouts.question, rollouts.step])
    row = np.concatenate([keeps, replaces])
    cell = np.concatenate([2 * place[before[keeps]], 2 * place[rollouts.step[replaces]] + 1])
    return [int(i) for i in steps], row, cell


def _ends(rollouts: Rollouts) -> tuple[Codes, Codes] | None:
    """Rows with all of the trace and rows with none of it, where every question has both."""
    last = rollouts.last
    begun = np.zeros(len(rollouts.questions), dtype=bool)
    begun[rollouts.question[rollouts.step == 0]] = True
    begun &= last > 0
    if not begun.all():
        return None
    full = np.flatnonzero(rollouts.step == last[rollouts.question])
    return full, np.flatnonzero(rollouts.step == 0)


def _counts(rollouts: Rollouts, steps: Sequence[int], table: Array) -> dict[str, Any]:
    used = np.isfinite(table[:, : 2 * len(steps) : 2]).sum(axis=0)
    told: dict[str, Any] = {"questions_per_step": dict(zip(steps, used.tolist(), strict=True))}
    if rollouts.changed is not None:
        inner = rollouts.step < rollouts.last[rollouts.question]
        size = int(rollouts.step.max()) + 1
        pairs = np.unique(rollouts.question[inner] * size + rollouts.step[inner]).size
        told["changed_share"] = float(rollouts.changed[inner].mean())
        told["steps_without_a_changed_rollout"] = int(pairs - used.sum())
    return told


def divergence(rollouts: Rollouts, *, draws: int = 500, seed: int = 0) -> Measured:
    r"""Counterfactual importance of every step as a divergence, above its null floor.

    With counts :math:`n_c` of the answers of a question's rollouts that replace the step, and of
    those that keep it, smoothed as :math:`p_c = (n_c + 1/2) / (n + C/2)` (Jeffreys),

    .. math:: \mathrm{KL}_i = \sum_c p_c^{\text{replace}}
              \log (p_c^{\text{replace}} / p_c^{\text{keep}}) \; - \; \text{floor}_i .

    A divergence is positive without any effect. Its floor is the mean divergence, question by
    question, when the rollouts of both kinds are dealt out at random; what is left has mean 0
    where the step does nothing. It is given in nats, averaged over questions, at the numbers of
    rollouts there are: smoothing and floor pull a large divergence down.

    Where a step does nothing, divergences are so skewed that the spread between few questions is
    often too small, so no standard error is smaller than that of the deals; bands then err on the
    side of caution. The deals also give a test: the diagnostics hold ``permutation_p``, the share
    of deals whose largest standardised mean over all steps reaches that of the step, one added to
    both counts. It is adjusted for all steps; neighbours that share rollouts are dealt out apart.

    Parameters
    ----------
    rollouts
        As in `importance`; outcomes are answers, or numbers with few values.
    draws
        Random deals per question and step.
    seed
        Seed of the deals.

    Returns
    -------
    Measured
        Effects ``kl(i)`` with questions as clusters; the mean floors are in the diagnostics.

    Raises
    ------
    DesignError
        As in `importance`, or if there are more than 50 different answers.

    References
    ----------
    Bogdan, Macar, Nanda and Conmy (2025). Thought Anchors. arXiv:2506.19143. Their code smooths by
    1e-9, with which one cell without an answer decides the value.
    """
    answers, labels = coded(rollouts.outcome)
    if len(labels) > 50:
        raise DesignError(
            f"{len(labels)} different answers are too many for a divergence from few rollouts; "
            "code them first, for instance as right, wrong and none"
        )
    steps, row, cell = entries(rollouts)
    shape = (len(rollouts.questions), 2 * len(steps), len(labels))
    flat = (rollouts.question[row] * shape[1] + cell) * shape[2] + answers[row]
    counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    keep, new = counts[:, 0::2], counts[:, 1::2]
    there = (keep.sum(axis=2) > 0) & (new.sum(axis=2) > 0)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    excess, floor = np.full(there.shape, np.nan), np.full(there.shape, np.nan)
    chance = np.zeros((draws, len(steps)))
    for q in range(shape[0]):
        at = there[q]
        total = (keep + new)[q, at]
        dealt = deal(total, new[q, at].sum(axis=1), draws, rng=rng)
        by_chance = smoothed_kl(dealt, total - dealt)
        floor[q, at] = by_chance.mean(axis=0)
        excess[q, at] = smoothed_kl(new[q, at], keep[q, at]) - floor[q, at]
        chance[:, at] += (by_chance - floor[q, at]) / there[:, at].sum(axis=0)
    cells = [replaced(i) for i in steps]
    question_scores(excess, cells)  # refuses a step that a single question has
    mean, count = np.nanmean(excess, axis=0), there.sum(axis=0)
    spread = np.nanstd(excess, axis=0, ddof=1) / np.sqrt(count)
    widen = np.maximum(1.0, chance.std(axis=0) / np.where(spread > 0.0, spread, np.inf))
    names = [f"kl({i})" for i in steps]
    told = {
        "unit": "nats",
        "floors": dict(zip(names, np.nanmean(floor, axis=0).tolist(), strict=True)),
        "permutation_p": dict(zip(names, _adjusted(mean, chance), strict=True)),
    }
    asked = tuple(Estimand(n, c) for n, c in zip(names, cells, strict=True))
    return Measured(question_scores(mean + widen * (excess - mean), cells, told), asked)


def deal(total: Codes, size: Codes, draws: int, *, rng: np.random.Generator) -> Codes:
    """Draw hands without replacement from urns: shape (draws, urns, answers).

    Parameters
    ----------
    total
        Balls by urn and answer, shape (urns, answers).
    size
        Balls drawn from every urn, shape (urns,).
    draws
        Number of hands.
    rng
        Generator.

    Examples
    --------
    >>> urn = np.array([[3, 0, 2]])
    >>> deal(urn, np.array([5]), 1, rng=np.random.default_rng(0)).tolist()
    [[[3, 0, 2]]]
    """
    hands = np.zeros((draws, *total.shape), dtype=np.int64)
    left = np.broadcast_to(size, (draws, size.size)).copy()
    rest = total.sum(axis=1)
    for c in range(total.shape[1]):
        rest = rest - total[:, c]
        hands[:, :, c] = rng.hypergeometric(total[:, c], rest, left)
        left -= hands[:, :, c]
    return hands


def _adjusted(found: Array, chance: Array) -> list[float]:
    """Single-step max p values of means (steps,) from what they are by chance (draws, steps)."""
    spread = chance.std(axis=0)
    spread = np.where(spread > 0.0, spread, np.inf)
    largest = (chance / spread).max(axis=1)
    reached = (largest[:, None] >= found / spread).sum(axis=0)
    return [float(p) for p in (1.0 + reached) / (1.0 + largest.size)]


def smoothed_kl(left: Codes, right: Codes) -> Array:
    """Kullback-Leibler divergence of two laws from their counts, last axis, Jeffreys-smoothed.

    Parameters
    ----------
    left, right
        Counts, shape (..., answers).

    Returns
    -------
    array
        In nats, shape (...).

    Examples
    --------
    >>> smoothed_kl(np.array([50, 0]), np.array([0, 50])).round(2).item()
    4.52
    """
    size = left.shape[-1] * JEFFREYS
    p = (left + JEFFREYS) / (left.sum(axis=-1, keepdims=True) + size)
    r = (right + JEFFREYS) / (right.sum(axis=-1, keepdims=True) + size)
    return np.asarray((p * np.log(p / r)).sum(axis=-1))
