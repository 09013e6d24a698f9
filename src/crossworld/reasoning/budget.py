"""Budget advice: how many questions, traces and readouts for a wanted interval and a price."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.student import critical
from crossworld.errors import DesignError, SmallSampleWarning, SpecError
from crossworld.reasoning.components import Components, components, token_means
from crossworld.reasoning.study import ReasoningStudy

FEW = 10
RESAMPLES = 100
MILLION = 1e6
DIGITS = 1e-24


@dataclass(frozen=True, slots=True)
class Costs:
    """What a study costs, in any one unit (money, seconds, calls).

    Parameters
    ----------
    question
        Of a question, whatever is asked about it (writing and checking it).
    trace
        Of writing one trace under one prompt.
    readout
        Of one answer to one trace shown.

    Raises
    ------
    SpecError
        If a cost is negative or all are 0.

    Examples
    --------
    >>> Costs(trace=4.0).of(questions=100, traces=2, readouts=1, sources=2, cells=3)
    2200.0
    """

    question: float = 0.0
    trace: float = 1.0
    readout: float = 1.0

    def __post_init__(self) -> None:
        held = (self.question, self.trace, self.readout)
        if not all(math.isfinite(v) and v >= 0.0 for v in held) or sum(held) == 0.0:
            raise SpecError(f"costs are not negative and not all 0, got {self}")

    @classmethod
    def from_prices(
        cls,
        study: ReasoningStudy,
        prices: tuple[float, float],
        *,
        tokens: tuple[str, str] = ("tokens_in", "tokens_out"),
    ) -> Self:
        """Price a trace by the natural readouts of a pilot and a readout by the replayed ones.

        Parameters
        ----------
        study
            The pilot.
        prices
            Of a million tokens in and out.
        tokens
            Columns that count them.

        Raises
        ------
        DesignError
            If a column is not there, or the pilot has no natural or no replayed readout.
        """
        found = {}
        for name, means in token_means(study, tokens).items():
            if means is None:
                kind = "natural" if name == "trace" else "replayed"
                raise DesignError(
                    f"the pilot has no {kind} readout with {tokens[0]!r} and {tokens[1]!r}, so a "
                    f"{name} has no price; give Costs(trace=..., readout=...)"
                )
            found[name] = (means[0] * prices[0] + means[1] * prices[1]) / MILLION
        return cls(0.0, **found)

    def of(self, *, questions: int, traces: int, readouts: int, sources: int, cells: int) -> float:
        """Cost of a design: Q (question + K (sources x trace + cells x R x readout))."""
        each = sources * self.trace + cells * readouts * self.readout
        return questions * (self.question + traces * each)


@dataclass(frozen=True, slots=True)
class Search:
    """Which designs are looked at.

    Parameters
    ----------
    traces, readouts
        Numbers per question and source, and per trace and cell.
    questions
        Fewest and most questions; None for as many as it takes.
    level
        Level of the interval.
    resamples, seed
        Resamples of the pilot's questions for the uncertainty of the advice.
    trace
        Column of trace ids in the pilot.

    Raises
    ------
    SpecError
        If a number is out of range.
    """

    traces: tuple[int, ...] = tuple(range(1, 11))
    readouts: tuple[int, ...] = (1, 2, 3, 5, 10)
    questions: tuple[int, int | None] = (FEW, None)
    level: float = 0.95
    resamples: int = 400
    seed: int = 0
    trace: str = "trace"

    def __post_init__(self) -> None:
        if not self.traces or not self.readouts or min(*self.traces, *self.readouts, 1) < 1:
            raise SpecError("traces and readouts are numbers of at least 1, one or more of each")
        fewest, most = self.questions
        if fewest < 2 or (most is not None and most < fewest):
            raise SpecError(
                f"questions are at least 2 and the most not below the fewest, got {self.questions}"
            )
        if not 0.0 < self.level < 1.0:
            raise SpecError(f"level lies between 0 and 1, got {self.level!r}")
        if self.resamples < RESAMPLES:
            raise SpecError(f"resamples is at least {RESAMPLES}, got {self.resamples!r}")


@dataclass(frozen=True, slots=True)
class Design:
    """A size of a study, its expected interval width (upper minus lower limit) and its cost."""

    questions: int
    traces: int
    readouts: int
    width: float
    cost: float

    def __str__(self) -> str:
        return (
            f"{self.questions:,}  {self.traces}  {self.readouts}  {self.width:.4g}  {self.cost:.6g}"
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """The advised design, the others that were looked at, and how sure the pilot makes it.

    Parameters
    ----------
    effect
        The effect.
    best
        The cheapest design of the wanted width, or the narrowest of the given cost.
    designs
        The best one of every number of traces and readouts, best first.
    components
        Variance components of the pilot.
    uncertainty
        95 % percentile intervals over resampled questions of the pilot: of the components, of the
        width that ``best`` will have, and, for a wanted width, of the questions that its traces and
        readouts need.
    notes
        What the pilot cannot tell.
    """

    effect: Estimand
    best: Design
    designs: tuple[Design, ...]
    components: Components
    uncertainty: dict[str, tuple[float, float]]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        c = self.components
        lines = [
            f"{self.effect}",
            f"variance of questions {c.question:.4g}, traces {c.trace:.4g}, readouts "
            f"{c.readout:.4g} (pilot: {c.questions} questions, {c.traces:.3g} traces, "
            f"{c.readouts:.3g} readouts)",
            "questions  traces  readouts  width  cost",
            *map(str, self.designs[:8]),
        ]
        lines += [f"{k}: 95 % from {a:.4g} to {b:.4g}" for k, (a, b) in self.uncertainty.items()]
        return "\n".join([*lines, *self.notes])


def budget(
    study: ReasoningStudy,
    effect: Estimand,
    *,
    width: float | None = None,
    spend: float | None = None,
    costs: Costs | None = None,
    search: Search | None = None,
) -> Advice:
    r"""Advise how many questions, traces and readouts, from a pilot.

    With the variance components of `components`, the interval of Q questions has the width

    .. math:: w = 2\, t_{Q-1} \sqrt{\big(\sigma^2_Q + (\sigma^2_M + \sigma^2_Y / R) / K\big) / Q} .

    For every K and R the fewest questions with :math:`w` at most ``width`` are found, and the
    cheapest design is advised; or the most questions that ``spend`` buys, and the narrowest.

    Parameters
    ----------
    study
        The pilot: replayed readouts with a column of trace ids.
    effect
        A difference of cells, such as TE, NDE or NIE.
    width
        Wanted width of the interval, upper minus lower limit, in the outcome's unit.
    spend
        What the study may cost; one of ``width`` and ``spend`` is given.
    costs
        Unit costs; by default a trace and a readout cost 1 each. See `Costs.from_prices`.
    search
        Which designs are looked at, the level, the column of trace ids.

    Returns
    -------
    Advice
        Printing it shows the designs as a table.

    Notes
    -----
    The design that is advised must be the pilot's: the same prompts, the same way of replaying,
    traces shown in every cell of their source. A component that the pilot cannot tell apart is
    counted at the higher level, with a SmallSampleWarning.

    Raises
    ------
    SpecError
        If not one of ``width`` and ``spend`` is given, or the effect is no difference of cells.
    DesignError
        If the pilot lacks a cell or trace ids, the effect does not vary in it, or no design that is
        looked at will do.

    References
    ----------
    Snijders and Bosker (1993). Standard errors and sample sizes for two-level research. Journal
    of Educational Statistics 18.

    Examples
    --------
    >>> from crossworld.core.effects import NIE
    >>> from crossworld.reasoning.models.simulated import SimulatedReasoner
    >>> pilot = ReasoningStudy.from_cells(
    ...     SimulatedReasoner().table(40, traces=3, readouts=3, seed=1),
    ...     question="question", prompt="prompt", reasoning="reasoning", outcome="correct",
    ...     draw="draw", replayed="replayed",
    ... )
    >>> advice = budget(pilot, NIE, width=0.1, costs=Costs(question=5.0))
    >>> advice.best.width <= 0.1 < advice.best.questions
    True
    """
    if (width is None) == (spend is None):
        raise SpecError("give either the wanted width or what the study may spend")
    for name, value in (("width", width), ("spend", spend)):
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise SpecError(f"{name} is a positive number, got {value!r}")
    search, costs = search or Search(), costs or Costs()
    found = components(study, effect, trace=search.trace)
    if found.per_question(1, 1) <= DIGITS:
        raise DesignError(
            f"{effect} is the same in all {found.questions} questions of the pilot, so its spread "
            "is not known; a pilot of harder or more questions is needed"
        )
    designs = tuple(_designs(found, costs, search, width=width, spend=spend))
    if not designs:
        raise DesignError(_refusal(found, costs, search, width=width, spend=spend))
    best = designs[0]
    notes = list(found.notes)
    if found.questions < FEW:
        notes.append(f"the pilot has {found.questions} questions, so this advice is a guess")
    for note in notes:
        warnings.warn(note, SmallSampleWarning, stacklevel=2)
    unsure = _uncertainty(found, best, search, width)
    return Advice(effect, best, designs, replace(found, moments=None), unsure, tuple(notes))


@cache
def _t(level: float, questions: int) -> float:
    return critical(level, questions - 1)


def _width(variance: float, questions: int, level: float) -> float:
    return 2.0 * _t(level, questions) * math.sqrt(variance / questions)


def _needed(variance: float, width: float, search: Search) -> int:
    """Fewest questions whose interval is no wider."""
    least = 4.0 * critical(search.level) ** 2 * variance / width**2
    questions = max(search.questions[0], math.ceil(least))
    while _width(variance, questions, search.level) > width:
        questions += 1
    return questions


def _designs(
    found: Components,
    costs: Costs,
    search: Search,
    *,
    width: float | None,
    spend: float | None,
) -> Iterable[Design]:
    """Every number of traces and readouts with the questions it needs or can buy, best first."""
    fewest, most = search.questions
    designs = []
    for k in sorted(set(search.traces)):
        for r in sorted(set(search.readouts)):
            size = {"traces": k, "readouts": r, "sources": found.sources, "cells": found.cells}
            variance = found.per_question(k, r)
            if width is not None:
                questions = _needed(variance, width, search)
            else:
                assert spend is not None
                each = costs.of(questions=1, **size)
                questions = int(spend / each * (1 + 1e-12)) if each > 0.0 else most or 0
                questions = questions if most is None else min(questions, most)
            if questions < fewest or (most is not None and questions > most):
                continue
            cost = costs.of(questions=questions, **size)
            reached = _width(variance, questions, search.level)
            designs.append(Design(questions, k, r, reached, cost))
    if width is not None:
        return sorted(designs, key=lambda d: (d.cost, d.width))
    return sorted(designs, key=lambda d: (d.width, d.cost))


def _refusal(
    found: Components,
    costs: Costs,
    search: Search,
    *,
    width: float | None,
    spend: float | None,
) -> str:
    k, r = max(search.traces), max(search.readouts)
    if width is not None:
        most = search.questions[1] or 0
        reached = _width(found.per_question(k, r), most, search.level)
        return (
            f"no design with at most {most} questions has an interval as narrow as {width:g}; "
            f"{most} questions with {k} traces and {r} readouts reach {reached:.4g}. Accept a "
            "wider interval or find more questions"
        )
    size = {"sources": found.sources, "cells": found.cells}
    least = costs.of(
        questions=search.questions[0], traces=min(search.traces), readouts=min(search.readouts),
        **size,
    )  # fmt: skip
    return (
        f"{spend:g} does not pay for {search.questions[0]} questions, which cost at least "
        f"{least:.6g}"
    )


def _uncertainty(
    found: Components, best: Design, search: Search, width: float | None
) -> dict[str, tuple[float, float]]:
    """Percentile intervals over resampled questions of the pilot."""
    assert found.moments is not None
    rng = np.random.default_rng(np.random.SeedSequence(search.seed))
    rows = []
    for _ in range(search.resamples):
        drawn = found.moments.take(rng.integers(found.questions, size=found.questions))
        question, trace, readout = drawn.variances()
        again = replace(found, question=question, trace=trace, readout=readout)
        variance = again.per_question(best.traces, best.readouts)
        row = [question, trace, readout, _width(variance, best.questions, search.level)]
        rows.append(row if width is None else [*row, float(_needed(variance, width, search))])
    names = ("question", "trace", "readout", "width", "questions")
    limits = np.quantile(np.array(rows), [0.025, 0.975], axis=0).T
    return {n: (float(a), float(b)) for n, (a, b) in zip(names, limits, strict=False)}
