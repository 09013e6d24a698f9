"""Outcomes of a readout: functions of columns that return a column.

Every function takes columns of equal length and returns an array of shape (n,), NaN where the
answer could not be parsed (None), ready to be the outcome column of a study.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Estimate
from crossworld.errors import DesignError
from crossworld.reasoning.reader import is_missing, label

Array = NDArray[np.float64]
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def matches(answer: Sequence[Any], target: Sequence[Any]) -> Array:
    """1 where the answer is the target, 0 where it is another, NaN where either is missing.

    With the right answer as target it is ``correct``; with the answer that a hint points to it is
    "followed the hint". Texts are compared without case and surrounding space, ``7.0`` is ``7``.

    Examples
    --------
    >>> matches(["B", " b", "A", None], ["b", "B", "B", "B"])
    array([ 1.,  1.,  0., nan])
    """
    _same_length(answer=answer, target=target)
    found = [
        math.nan if is_missing(a) or is_missing(t) else float(_plain(a) == _plain(t))
        for a, t in zip(answer, target, strict=True)
    ]
    return np.array(found, dtype=np.float64)


def of_question(question: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Give every row of a question the one value that some of its rows have.

    A hint's target is often written only in the rows that show the hint; the rows without it need
    the same target to be compared with.

    Raises
    ------
    DesignError
        If rows of one question have different values.

    Examples
    --------
    >>> of_question(["q1", "q1", "q2"], [None, "B", None])
    ['B', 'B', None]
    """
    _same_length(question=question, values=values)
    found: dict[Any, Any] = {}
    for q, v in zip(question, values, strict=True):
        if is_missing(v):
            continue
        if found.setdefault(q, v) != v:
            raise DesignError(f"question {q!r} has the values {found[q]!r} and {v!r}; it needs one")
    return [found.get(q) for q in question]


def changed(question: Sequence[Any], answer: Sequence[Any], reference: Sequence[bool]) -> Array:
    """1 where the answer is not the most frequent answer of the question's reference rows.

    Parameters
    ----------
    question, answer
        Columns of the table; an answer that is None is missing.
    reference
        Which rows are the reference, such as the natural readouts of arm 0. Ties go to the answer
        that stands first in the table.

    Returns
    -------
    array of shape (n,)
        NaN where the answer is missing or the question has no parsed reference answer. The mean
        over the reference cell itself is above 0 when draws differ: it is the floor.

    Examples
    --------
    >>> changed(["q", "q", "q"], ["A", "B", None], [True, False, False])
    array([ 0.,  1., nan])
    """
    _same_length(question=question, answer=answer, reference=reference)
    counts: dict[Any, dict[str, int]] = {}
    for q, a, is_reference in zip(question, answer, reference, strict=True):
        if is_reference and not is_missing(a):
            of = counts.setdefault(q, {})
            of[_plain(a)] = of.get(_plain(a), 0) + 1
    usual = {q: max(of, key=lambda a: of[a]) for q, of in counts.items()}
    return 1.0 - matches(answer, [usual.get(q) for q in question])


def probability(values: Sequence[Any]) -> Array:
    """Return probabilities of an answer as they are, refusing what is none.

    Raises
    ------
    DesignError
        If a value lies outside [0, 1].
    """
    found = np.array([math.nan if is_missing(v) else float(v) for v in values], dtype=np.float64)
    outside = found[(found < 0.0) | (found > 1.0)]
    if outside.size:
        raise DesignError(
            f"{outside.size} values are no probabilities, such as {outside[0]:g}; log "
            "probabilities are exponentiated first"
        )
    return found


def brier(probabilities: Sequence[Mapping[str, float] | None], truth: Sequence[Any]) -> Array:
    r"""Brier score of probabilities over answers: :math:`\sum_c (p_c - 1\{c = \text{truth}\})^2`.

    It is 0 for certainty in the truth and 2 for certainty in one other answer. Probabilities are
    taken as they are: mass on answers outside the choices counts as no mass.

    Raises
    ------
    DesignError
        If a value lies outside [0, 1], or they sum to more than 1.

    References
    ----------
    Brier (1950). Verification of forecasts expressed in terms of probability.

    Examples
    --------
    >>> brier([{"A": 0.8, "B": 0.2}, None], ["A", "A"]).round(2)
    array([0.08,  nan])
    """
    _same_length(probabilities=probabilities, truth=truth)
    found = np.full(len(truth), np.nan)
    for i, (held, right) in enumerate(zip(probabilities, truth, strict=True)):
        if held is None or is_missing(right):
            continue
        p = probability(list(held.values()))
        if p.sum() > 1.0 + 1e-6:
            raise DesignError(f"the probabilities of row {i} sum to {p.sum():.6g}, more than 1")
        hit = np.array([_plain(c) == _plain(right) for c in held])
        found[i] = float(((p - hit) ** 2).sum()) + (0.0 if hit.any() else 1.0)
    return found


def numeric(answer: Sequence[Any]) -> Array:
    """Read answers as numbers: the last number of a text, NaN where there is none.

    Examples
    --------
    >>> numeric(["The total is $1,250.50.", 7, "none", None])
    array([1250.5,    7. ,    nan,    nan])
    """
    found = np.full(len(answer), np.nan)
    for i, value in enumerate(answer):
        if is_missing(value):
            continue
        if isinstance(value, int | float):
            found[i] = float(value)
            continue
        numbers = _NUMBER.findall(str(value))
        if numbers:
            found[i] = float(numbers[-1].replace(",", ""))
    return found


def contains(text: Sequence[Any], phrases: Sequence[Any]) -> Array:
    """1 where a text contains its row's phrase as a whole word, 0 where not (or no text).

    With the model's own answer as phrase it marks reasoning that already contains the answer
    (``leaked``); with words of the treatment, such as the hint's author, reasoning that names it. A
    row whose phrase is missing is 0. Commas inside numbers are ignored.

    Examples
    --------
    >>> contains(["so 1,200 in all", "so 12000", None], ["1200", "1200", "1200"])
    array([1., 0., 0.])
    """
    _same_length(text=text, phrases=phrases)
    found = np.zeros(len(text))
    for i, (t, phrase) in enumerate(zip(text, phrases, strict=True)):
        if is_missing(t) or is_missing(phrase) or not _plain(phrase):
            continue
        inside = re.escape(_commas(_plain(phrase)))
        found[i] = float(
            re.search(rf"(?<![\w.]){inside}(?!\w|\.\d)", _commas(_plain(t))) is not None
        )
    return found


@dataclass(frozen=True, slots=True)
class TotalVariation:
    """Distance between the answers of two cells, beside what chance alone would show.

    Parameters
    ----------
    estimate
        Mean over questions of the total variation distance between the two answer distributions.
    floor
        Its mean when the labels of the two cells are exchanged at random within a question.
    excess
        ``estimate - floor``; with its 95 % interval over questions (Student's t).
    conf_low, conf_high, std_error
        Of ``excess``.
    questions
        How many questions have answers in both cells.
    """

    estimate: float
    floor: float
    excess: float
    std_error: float
    conf_low: float
    conf_high: float
    questions: int


def total_variation(
    question: Sequence[Any],
    answer: Sequence[Any],
    *,
    first: Sequence[bool],
    second: Sequence[bool],
    draws: int = 200,
    seed: int = 0,
) -> TotalVariation:
    r"""Total variation between the answers in two cells, with its null floor.

    For question :math:`q` with :math:`C` answers seen in either cell and counts :math:`n_c`, the
    distributions are smoothed by Jeffreys' prior, :math:`p_c = (n_c + 1/2) / (n + C/2)`, and

    .. math:: \mathrm{TV}_q = \tfrac12 \sum_c |p_c - p'_c| .

    It is positive by chance alone, so the mean over random exchanges of the draws between the two
    cells is subtracted within every question.

    Parameters
    ----------
    question, answer
        Columns of the table. An unparsable answer (None) is an answer of its own.
    first, second
        Which rows belong to either cell.
    draws, seed
        Random exchanges per question.

    Raises
    ------
    DesignError
        If fewer than two questions have answers in both cells.

    Examples
    --------
    >>> q = [i for i in range(40) for _ in range(10)]
    >>> first = [j < 5 for _ in range(40) for j in range(10)]
    >>> same = total_variation(q, ["A", "B"] * 200, first=first, second=[not f for f in first])
    >>> same.conf_low < 0.0 < same.conf_high or abs(same.excess) < same.floor
    True
    """
    _same_length(question=question, answer=answer, first=first, second=second)
    sides: dict[Any, tuple[list[str], list[str]]] = {}
    for q, a, one, two in zip(question, answer, first, second, strict=True):
        text = "\0" if is_missing(a) else _plain(a)
        for k, inside in enumerate((one, two)):
            if inside:
                sides.setdefault(q, ([], []))[k].append(text)
    both = [pair for pair in sides.values() if pair[0] and pair[1]]
    if len(both) < 2:
        raise DesignError(
            f"{len(both)} questions have answers in both cells; at least 2 are needed"
        )
    seeds = np.random.SeedSequence(seed).spawn(len(both))
    found = np.array(
        [
            _distances(*pair, draws, np.random.default_rng(s))
            for pair, s in zip(both, seeds, strict=True)
        ]
    )
    excess = found[:, 0] - found[:, 1]
    value = Estimate(float(excess.mean()), excess - excess.mean(), np.arange(excess.size))
    low, high = value.interval(0.95)
    estimate, floor = found.mean(axis=0)
    return TotalVariation(
        float(estimate), float(floor), value.value, value.std_error, low, high, excess.size
    )


def _distances(
    one: Sequence[str], two: Sequence[str], draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Distance of a question, and its mean under random exchanges."""
    labels = {a: j for j, a in enumerate(dict.fromkeys([*one, *two]))}
    hits = np.zeros((len(one) + len(two), len(labels)))
    hits[np.arange(len(hits)), [labels[a] for a in [*one, *two]]] = 1.0
    inside = np.zeros((draws + 1, len(hits)))
    inside[0, : len(one)] = 1.0
    inside[1:] = rng.permuted(np.tile(inside[0], (draws, 1)), axis=1)
    counts = inside @ hits
    other = hits.sum(axis=0) - counts
    half = 0.5 * len(labels)
    p = (counts + 0.5) / (len(one) + half) - (other + 0.5) / (len(two) + half)
    distance = 0.5 * np.abs(p).sum(axis=1)
    return float(distance[0]), float(distance[1:].mean())


def _plain(value: Any) -> str:
    return label(value.strip() if isinstance(value, str) else value).casefold()


def _commas(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)


def _same_length(**columns: Sequence[Any]) -> None:
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise DesignError(f"the columns differ in length: {told}")
