"""Resilience: how often a step's content comes back after it was taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Y
from crossworld.core.protocols import Array
from crossworld.core.regime import M
from crossworld.errors import DesignError
from crossworld.reasoning.segment import segment
from crossworld.reasoning.steps.gather import (
    Codes,
    Measured,
    coded,
    column,
    numeric,
    question_scores,
)
from crossworld.reasoning.steps.similarity import Similarity, TfIdf


def reappears(
    original: Sequence[str],
    downstream: Sequence[str],
    *,
    similarity: Similarity | None = None,
    threshold: float = 0.6,
) -> NDArray[np.bool_]:
    """Say whether any later sentence says what a step said.

    Parameters
    ----------
    original
        The step that was taken out, one per rollout.
    downstream
        What was written in its place and after it.
    similarity
        `TfIdf` by default.
    threshold
        A sentence says the same from this similarity on. Sensible values depend on the measure;
        compare with `by_chance`.

    Examples
    --------
    >>> reappears(["2 + 3 = 5."], ["A cat. So 2 + 3 = 5."], threshold=0.5).tolist()
    [True]
    """
    measure = TfIdf() if similarity is None else similarity
    later = [[s.body for s in segment(text, "sentences") if not s.is_blank] for text in downstream]
    owner = np.repeat(np.arange(len(later)), [len(s) for s in later])
    found = np.zeros(len(later), dtype=bool)
    if owner.size:
        alike = measure([original[int(i)] for i in owner], [s for part in later for s in part])
        np.logical_or.at(found, owner, alike >= threshold)
    return found


def by_chance(original: Sequence[str], question: Sequence[Any], *, seed: int = 0) -> list[str]:
    """Give every rollout the step of another question: what reappears then does so by chance.

    All rows that hold the same step of the same question get the same other step.

    Raises
    ------
    DesignError
        If there is one question only.

    Examples
    --------
    >>> by_chance(["a", "a", "b"], ["q1", "q1", "q2"])
    ['b', 'b', 'a']
    """
    own = [str(q) for q in question]
    held = sorted({*zip(own, original, strict=True)})
    if len({q for q, _ in held}) < 2:
        raise DesignError("another question's steps are needed, and there is one question")
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    other: dict[tuple[str, str], str] = {}
    for pair in held:
        texts = [text for q, text in held if q != pair[0]]
        other[pair] = texts[int(rng.integers(len(texts)))]
    return [other[pair] for pair in zip(own, original, strict=True)]


def resilience(
    table: Any,
    *,
    question: str,
    step: str,
    round: str,
    reappears: str,
    by_chance: str | None = None,
) -> Measured:
    r"""Rounds of resampling until a step's content no longer comes back.

    In round 1 the step is sampled anew; where its content reappears later on, the text is cut
    there and sampled anew in round 2, and so on. With R rounds at most,

    .. math:: \text{resilience}_i = E[\min(T_i, R)], \qquad
              T_i = \text{first round in which the content does not reappear},

    a restricted mean: chains that are still alive after R rounds count R and are counted in the
    diagnostics. It is at least 1. Chains of one question and step are averaged, then questions.

    Parameters
    ----------
    table
        One row per question, step and round; several chains of a step as several rows of equal
        keys are read in the order of the rows.
    question, step, round, reappears
        Names of the columns; rounds count from 1, ``reappears`` is 0 or 1 (see the function).
    by_chance
        Column that says whether the content of another question's step "reappears" in the same
        text: it makes the null floor and the effects ``resilience above floor(i)``.

    Raises
    ------
    DesignError
        If a round is missing before the last one of a chain.

    References
    ----------
    Macar, Bogdan, Rajamanoharan and Nanda (2025). Thought Branches. arXiv:2510.27484.

    Examples
    --------
    >>> from crossworld.infer.wald import Wald
    >>> rows = {"q": list("aab"), "s": [0] * 3, "r": [1, 2, 1], "back": [1, 0, 0]}
    >>> held = resilience(rows, question="q", step="s", round="r", reappears="back")
    >>> held.scores.means().tolist()
    [1.5]
    """
    codes, labels = coded(column(table, question, "question"))
    steps, at = np.unique(numeric(table, step, "step"), return_inverse=True)
    rounds = numeric(table, round, "round").astype(np.int64)
    chains = _chains(codes, at.astype(np.int64), rounds)
    shape = (len(labels), steps.size)
    back = numeric(table, reappears, "reappears") > 0
    limit = int(rounds.max())
    values, alive = _rounds(chains, back, shape, limit=limit)
    names = [f"{s:g}" for s in steps]
    cells: list[Cell] = [Y(1, M(1, f"resample {n}")) for n in names]
    asked = [Estimand(f"resilience({n})", c) for n, c in zip(names, cells, strict=True)]
    told: dict[str, Any] = {"rounds": limit, "chains": len(chains), "still_alive": alive}
    if by_chance is not None:
        chance = numeric(table, by_chance, "by_chance") > 0
        floor, _ = _rounds(chains, chance, shape, limit=limit)
        told["floors"] = dict(zip((e.name for e in asked), np.nanmean(floor, axis=0), strict=True))
        lower = [Y(1, M(1, f"by chance {n}")) for n in names]
        asked += [
            Estimand(f"resilience above floor({n})", c - f)
            for n, c, f in zip(names, cells, lower, strict=True)
        ]
        values, cells = np.column_stack([values, floor]), [*cells, *lower]
    return Measured(question_scores(values, cells, told), tuple(asked))


def _chains(question: Codes, step: Codes, rounds: Codes) -> list[tuple[int, int, list[int]]]:
    """Rows of every chain in the order of its rounds, as (question, step, rows)."""
    open_chains: dict[tuple[int, int], list[list[int]]] = {}
    order = np.lexsort((rounds, step, question))
    for i in order:
        held = open_chains.setdefault((int(question[i]), int(step[i])), [])
        if rounds[i] == 1:
            held.append([int(i)])
            continue
        waiting = [c for c in held if len(c) == rounds[i] - 1]
        if not waiting:
            raise DesignError(
                f"round {int(rounds[i])} of step {int(step[i])} has no round before it in the same "
                "chain; rounds count from 1 without gaps"
            )
        waiting[0].append(int(i))
    return [(q, s, rows) for (q, s), held in open_chains.items() for rows in held]


def _rounds(
    chains: Sequence[tuple[int, int, list[int]]],
    back: NDArray[np.bool_],
    shape: tuple[int, int],
    *,
    limit: int,
) -> tuple[Array, int]:
    """Mean restricted rounds, (questions, steps), and how many chains outlived the last round."""
    total, count, alive = np.zeros(shape), np.zeros(shape), 0
    for q, s, rows in chains:
        gone = np.flatnonzero(~back[rows])
        alive += gone.size == 0
        total[q, s] += gone[0] + 1 if gone.size else limit
        count[q, s] += 1
    found = np.full(shape, np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found, int(alive)
