"""What the variance of a replayed contrast is made of: questions, traces and readouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.cells import Array, Coded, Index, Mask
from crossworld.reasoning.reader import label
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Per question, what the components are computed from; nq questions.

    Parameters
    ----------
    contrast
        Value of the contrast, shape (nq,).
    spread
        Variance over traces of what a trace contributes, one column for every group of cells that
        share their traces, shape (nq, b); NaN with one trace.
    traces
        Number of traces, shape (nq, b).
    noise
        Variance over readouts of one trace, one column for every cell, shape (nq, k); NaN when no
        trace was read out twice.
    share
        Mean over traces of one over the number of readouts, shape (nq, k).
    group
        Column of ``spread`` that each cell belongs to, length k.
    weights
        Coefficients of the cells, shape (k,).
    """

    contrast: Array
    spread: Array
    traces: Array
    noise: Array
    share: Array
    group: tuple[int, ...]
    weights: Array

    def take(self, index: Index) -> Moments:
        """Questions by position."""
        return replace(
            self,
            contrast=self.contrast[index],
            spread=self.spread[index],
            traces=self.traces[index],
            noise=self.noise[index],
            share=self.share[index],
        )

    def variances(self) -> tuple[float, float, float]:
        """Question, trace and readout variance, none below 0; what cannot be told goes up."""
        noise, spread = _filled(self.noise), _filled(self.spread)
        squares = self.weights**2
        total = float(self.contrast.var(ddof=1))
        readout = 0.0 if noise is None else float(squares @ noise.mean(axis=0))
        per_trace = 0.0 if noise is None else float(squares @ (noise * self.share).mean(axis=0))
        if spread is not None:
            trace = float(spread.mean(axis=0).sum()) - per_trace
            question = total - float((spread / self.traces).mean(axis=0).sum())
        else:
            trace = 0.0
            count = self.traces[:, list(self.group)]
            left = 0.0 if noise is None else (noise * self.share / count).mean(axis=0) @ squares
            question = total - float(left)
        return max(question, 0.0), max(trace, 0.0), readout


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    r"""Variance components of a paired contrast.

    With Q questions, K traces of every source of reasoning and R readouts of a trace in a cell,

    .. math:: \operatorname{Var} = \frac{\sigma^2_Q}{Q} + \frac{\sigma^2_M}{QK}
              + \frac{\sigma^2_Y}{QKR} .

    Parameters
    ----------
    question, trace, readout
        :math:`\sigma^2_Q, \sigma^2_M, \sigma^2_Y`, in the squared unit of the outcome.
    questions, traces, readouts
        Size of the pilot: questions, and the mean numbers of traces and readouts.
    sources, cells
        How many sets of traces and how many cells the contrast needs; cells that share a source of
        reasoning share its traces, unless the pilot gave each traces of its own.
    notes
        What the pilot cannot tell apart.
    moments
        What they were computed from, question by question.
    """

    question: float
    trace: float
    readout: float
    questions: int
    traces: float
    readouts: float
    sources: int
    cells: int
    notes: tuple[str, ...] = ()
    moments: Moments | None = field(default=None, repr=False)

    def per_question(self, traces: int, readouts: int) -> float:
        """Variance of the contrast of one question with K traces and R readouts of each."""
        return self.question + (self.trace + self.readout / readouts) / traces


def components(
    study: ReasoningStudy, effect: Estimand, *, trace: str = "trace", replay: Replay | None = None
) -> Components:
    r"""Estimate the variance components of an effect from a pilot by the method of moments.

    A trace of source :math:`b` is shown in every cell that needs that source, so what it
    contributes is one number,

    .. math:: d_{qk}(b) = \sum_{j : b_j = b} c_j \bar Y_{qkj}, \qquad
              D_q = \sum_b \frac{1}{K} \sum_k d_{qk}(b) .

    For the direct effect :math:`Y(1, M(0)) - Y(0)` both cells share the traces of arm 0, whose
    common part cancels; for the indirect and the total effect the two cells have traces of their
    own. Readouts are independent throughout. Hence, with :math:`S^2` the variance over traces in a
    question and :math:`s^2_j` that over readouts in a trace,
    :math:`\hat\sigma^2_Y = \sum_j c_j^2 \overline{s^2_j}`,
    :math:`\hat\sigma^2_M = \sum_b \overline{S^2_b} - \sum_j c_j^2 \overline{s^2_j / R}` and
    :math:`\hat\sigma^2_Q = \operatorname{var}(D_q) - \sum_b \overline{S^2_b / K}`. Each is unbiased
    before it is cut off at 0.

    Parameters
    ----------
    study
        The pilot.
    effect
        A difference of cells, such as TE, NDE or NIE.
    trace
        Column that tells traces of one question and source apart: a name of its own or a number.
    replay
        Which readouts stand for a cell; by default replayed ones where there are any.

    Notes
    -----
    With several wordings of a prompt, those are part of a trace, and their spread of its variance.
    A trace that lacks one of the cells is left out. With one trace everywhere, the variance of
    traces stays in that of questions; with one readout, that of readouts in that of traces. So the
    components err on the side of too many questions, and ``notes`` says so.

    Raises
    ------
    SpecError
        If the effect is not a difference of cells.
    DesignError
        If a cell or the column is missing, the study has a second cluster, or fewer than two
        questions have every cell.

    References
    ----------
    Searle, Casella and McCulloch (1992). Variance Components.
    """
    weights = effect.bind(study.blocks).expr.linear()
    if weights is None or len(weights) < 2 or effect.is_ratio:
        raise SpecError(
            f"{effect} is no difference of cells, and a budget is advised for those: ask for te, "
            "nde, nie or another sum of cells"
        )
    if study.table.group is not None:
        raise DesignError(
            "the study has a second cluster, whose variance is no part of a budget; read the pilot "
            "of one cluster with where={...} and without cluster="
        )
    cells = tuple(weights)
    study.check(cells)
    asked = (replay or Replay()).asked(study, cells)
    ids = _trace_ids(study, trace)
    sources = [place.reasoning for place in asked.places]
    moments = _moments(study, asked.masks, asked.outcome, (ids, sources, [*weights.values()]))
    question, between, readout = moments.variances()
    return Components(
        question,
        between,
        readout,
        moments.contrast.size,
        float(moments.traces.mean()),
        float(1.0 / moments.share.mean()),
        max(moments.group) + 1,
        len(cells),
        _notes(moments, cells),
        moments,
    )


def _trace_ids(study: ReasoningStudy, trace: str) -> Index:
    """Code of the trace of every readout: question, source, wording and id."""
    named = study.column(trace, "trace")
    lost = sum(v is None for v in named)
    if lost:
        raise DesignError(
            f"column {trace!r} has no trace for {lost} of {len(named)} readouts; every readout "
            "needs the id of the reasoning it followed"
        )
    table = study.table
    wording = np.zeros(len(table), np.int64) if table.wording is None else table.wording.codes
    own = Coded.of([label(v) for v in named]).codes
    keys = np.column_stack([table.question.codes, table.reasoning.codes, wording, own])
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _moments(
    study: ReasoningStudy,
    masks: Sequence[Mask],
    outcome: Array,
    keys: tuple[Index, Sequence[str], Sequence[float]],
) -> Moments:
    """Reduce the readouts to what every question contributes."""
    ids, sources, weights = keys
    unit, questions, _ = study.table.units()
    size, n = int(ids.max()) + 1, questions.size
    owner = np.zeros(size, dtype=np.int64)
    owner[ids] = unit
    count = np.array([np.bincount(ids[m], minlength=size) for m in masks])
    total = np.array([np.bincount(ids[m], outcome[m], size) for m in masks])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    group = _groups(sources, count > 0)
    held = np.empty(count.shape, dtype=bool)
    for b in set(group):
        inside = [j for j, g in enumerate(group) if g == b]
        held[inside] = (count[inside] > 0).all(axis=0)
    noise, share = np.full((n, len(masks)), np.nan), np.full((n, len(masks)), np.nan)
    for j, mask in enumerate(masks):
        rows = mask & held[j][ids]
        squares = np.bincount(unit[rows], (outcome[rows] - mean[j][ids[rows]]) ** 2, n)
        spare = np.bincount(owner[held[j]], count[j][held[j]] - 1, n)
        np.divide(squares, spare, out=noise[:, j], where=spare > 0)
        shown = np.bincount(owner[held[j]], minlength=n)
        inverse = np.bincount(owner[held[j]], 1.0 / count[j][held[j]], n)
        np.divide(inverse, shown, out=share[:, j], where=shown > 0)
    spread: list[Array] = []
    traces: list[Array] = []
    value = np.zeros(n)
    for b in range(max(group) + 1):
        inside = [j for j, g in enumerate(group) if g == b]
        use = held[inside[0]]
        each = np.array([weights[j] for j in inside]) @ mean[inside][:, use]
        mine, varies, many = _within(owner[use], each, n)
        value = value + mine
        spread.append(varies)
        traces.append(many)
    kept = study.units[np.isfinite(value[study.units])]
    if np.unique(kept).size < 2:
        raise DesignError(
            f"{np.unique(kept).size} questions of the pilot have every cell that is asked for, and "
            "at least 2 are needed"
        )
    stacked = (np.column_stack(spread), np.column_stack(traces))
    whole = Moments(value, *stacked, noise, share, group=group, weights=np.array(weights))
    return whole.take(kept)


def _groups(sources: Sequence[str], there: Mask) -> tuple[int, ...]:
    """Cells that share traces: those of one source, unless each cell has traces of its own."""
    found: dict[object, int] = {}
    for j, source in enumerate(sources):
        mates = [k for k, other in enumerate(sources) if other == source]
        shared = there[mates].all(axis=0).any()
        apart = not shared and there[mates].sum(axis=0).max() == 1
        if not shared and not apart:
            raise DesignError(
                f"no trace of {source!r} was shown in all {len(mates)} cells that need it, though "
                "some were in several; show every trace in every cell of its source"
            )
        found[j] = j if apart else mates[0]
    order = {key: b for b, key in enumerate(dict.fromkeys(found.values()))}
    return tuple(order[found[j]] for j in range(len(sources)))


def _within(owner: Index, each: Array, n: int) -> tuple[Array, Array, Array]:
    """Mean, variance and number over the traces of a question; NaN where there are too few."""
    count = np.bincount(owner, minlength=n).astype(np.float64)
    mean, spread = np.full(n, np.nan), np.full(n, np.nan)
    np.divide(np.bincount(owner, each, n), count, out=mean, where=count > 0)
    squares = np.bincount(owner, (each - mean[owner]) ** 2, n)
    np.divide(squares, count - 1, out=spread, where=count > 1)
    return mean, spread, count


def _filled(values: Array) -> Array | None:
    """Give a question without a value the mean of the others; None where a column has none."""
    known = np.isfinite(values)
    if not known.any(axis=0).all():
        return None
    mean = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return np.where(known, values, mean)


def _notes(moments: Moments, cells: Sequence[Cell]) -> tuple[str, ...]:
    notes = []
    if _filled(moments.spread) is None:
        notes.append(
            "the pilot has one trace of a question and source, so the variance of traces is counted"
            " as that of questions: more traces may be worth more than this says"
        )
    once = [c for c, v in zip(cells, moments.noise.T, strict=True) if not np.isfinite(v).any()]
    if once:
        named = ", ".join(map(str, once))
        higher = "traces" if _filled(moments.spread) is not None else "questions"
        notes.append(
            f"the pilot reads a trace out once in {named}, so the variance of readouts is counted "
            f"as that of {higher}: more readouts may be worth more than this says"
        )
    return tuple(notes)


def token_means(
    study: ReasoningStudy, tokens: tuple[str, str]
) -> Mapping[str, tuple[float, float] | None]:
    """Mean tokens in and out of a natural readout (``trace``) and of a replayed one."""
    read = [study.column(name, "tokens") for name in tokens]
    counts = np.array([[np.nan if v is None else float(v) for v in column] for column in read])
    inside = study.inside() & np.isfinite(counts).all(axis=0)
    found: dict[str, tuple[float, float] | None] = {}
    for name, mask in (
        ("trace", inside & ~study.table.replayed),
        ("readout", inside & study.table.replayed),
    ):
        means = counts[:, mask].mean(axis=1) if mask.any() else None
        found[name] = None if means is None else (float(means[0]), float(means[1]))
    return found
