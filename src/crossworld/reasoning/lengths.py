"""Length of reasoning: as a column, as a mediator, and as an observational treatment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from crossworld.core.estimate import Estimate
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.cells import Array, Index, Mask
from crossworld.reasoning.reader import is_missing, read
from crossworld.reasoning.segment import segment
from crossworld.reasoning.study import ReasoningStudy
from crossworld.tables.study import TableStudy

Unit = Literal["characters", "words", "steps"]


def lengths(texts: Sequence[Any], unit: Unit = "words") -> Array:
    r"""Length of every text, NaN where there is none; an empty text has length 0.

    Parameters
    ----------
    texts
        Texts of traces.
    unit
        ``"characters"`` (code points), ``"words"`` (runs without white space) or ``"steps"`` (as
        `segment` cuts them). Tokens are the model's to count: use the column of the log.

    Raises
    ------
    SpecError
        If the unit is not known.
    DesignError
        If a value is no text.

    Examples
    --------
    >>> lengths(["2 plus 3 is 5. Done.", "", None], "steps")
    array([ 2.,  0., nan])
    """
    if unit not in get_args(Unit):
        raise SpecError.unknown("unit of length", str(unit), get_args(Unit))
    found = np.full(len(texts), np.nan)
    known: dict[str, float] = {}
    for i, text in enumerate(texts):
        if is_missing(text):
            continue
        if not isinstance(text, str):
            raise DesignError(f"a trace is a text, got {text!r} in row {i}")
        if text not in known:
            known[text] = float(_measure(text, unit))
        found[i] = known[text]
    return found


def _measure(text: str, unit: Unit) -> int:
    if unit == "characters":
        return len(text)
    if unit == "words":
        return len(text.split())
    return sum(not step.is_blank for step in segment(text))


def with_lengths(
    frame: Any,
    *,
    text: str = "shown",
    units: Sequence[Unit] = ("characters", "words", "steps"),
) -> dict[str, list[Any]]:
    """Add columns with the length of the reasoning to a cell table.

    Parameters
    ----------
    frame
        A frame, a dict of columns or a file, as `ReasoningStudy.from_cells` reads them.
    text
        Column with the reasoning.
    units
        Which lengths; each becomes a column of that name.

    Returns
    -------
    dict of str to list
        The table's columns and the new ones, ready for `ReasoningStudy.from_cells`.

    Raises
    ------
    DesignError
        If there is no such text, or a column of the new name is there already.

    Examples
    --------
    >>> with_lengths({"id": ["a"], "shown": ["one two"]}, units=["words"])
    {'id': ['a'], 'shown': ['one two'], 'words': [2.0]}
    """
    source = read(frame)
    taken = [u for u in units if u in source.names]
    if taken:
        raise DesignError(f"the table has a column {taken[0]!r} already; rename it")
    texts = source.values(text, "text")
    held = {name: source.values(name, "table") for name in source.names}
    return held | {unit: lengths(texts, unit).tolist() for unit in units}


def length_table(study: ReasoningStudy, *, length: str, adjust: Sequence[str] = ()) -> TableStudy:
    r"""Natural readouts as a table study with the path prompt, length of reasoning, outcome.

    Any estimator of tables then splits the effect of the prompt into the part through the length
    and the rest. One row is a trace that the model wrote with the answer it went on to; questions
    are the clusters; an answer that could not be parsed scores 0.

    Parameters
    ----------
    study
        A study with natural readouts (not replayed, not edited) under both prompts.
    length
        Column of lengths, from `with_lengths` or the log's token counts.
    adjust
        Columns of the question (difficulty, length of the prompt) that move length and outcome.

    Notes
    -----
    The prompt is set by experiment, the length is not. The indirect effect through the length is
    identified only if, given prompt and ``adjust``, nothing else moves both length and outcome. The
    rest of the text does both, and the prompt changes it: unless length stands for all that the
    text contributes, the answer describes an association. What the text as a whole carries needs
    no such assumption: replay it (`Replay`).

    Raises
    ------
    DesignError
        If a column is missing or not constant within a question, or there are no natural readouts
        under one of the prompts.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld.reasoning.study import ReasoningStudy
    >>> rng = np.random.default_rng(0)
    >>> arm = np.tile([0, 1], 200)
    >>> words = 20 + 30 * arm + rng.integers(0, 9, 400)
    >>> cells = {"id": np.repeat(np.arange(200), 2), "arm": arm, "words": words}
    >>> cells["correct"] = rng.random(400) < 0.01 * words
    >>> natural = ReasoningStudy.from_cells(
    ...     cells, question="id", prompt="arm", reasoning="arm", outcome="correct"
    ... )
    >>> print(length_table(natural, length="words").describe())
    prompt -> words -> outcome, no covariates, levels '0' and '1'
    """
    if np.unique(study.units).size < study.units.size:
        raise DesignError("the study is a resample; make the table first and resample that")
    chosen = np.concatenate([_natural(study, arm) for arm in study.levels])
    table = study.table
    grouped = table.group is not None and not table.crossed and study.by_group
    measured = _numbers(study, length, chosen)
    clash = {length, *adjust} & {"prompt", "outcome", "question", "cluster"}
    if clash or length in adjust:
        raise DesignError(
            "the table has its own columns prompt, outcome, question and cluster, and length and "
            f"adjust are others; got length {length!r} and adjust {list(adjust)!r}"
        )
    columns: dict[str, Any] = {
        "prompt": np.array(table.prompt.labels)[table.prompt.codes[chosen]].tolist(),
        length: measured.tolist(),
        "outcome": np.nan_to_num(table.outcome[chosen]).tolist(),
        "question": np.array(table.question.labels)[table.question.codes[chosen]].tolist(),
    }
    if grouped and table.group is not None:
        columns["cluster"] = np.array(table.group.labels)[table.group.codes[chosen]].tolist()
    for name in adjust:
        values = study.column(name, "adjust")
        columns[name] = [values[i] for i in chosen]
        _check_constant(columns["question"], columns[name], name)
    return TableStudy.from_frame(
        columns,
        f"prompt -> {length} -> outcome",
        adjust=adjust,
        levels=study.levels,
        cluster="cluster" if grouped else "question",
    )


@dataclass(frozen=True, slots=True, eq=False)
class LengthContrast:
    """Outcome after longer less after shorter reasoning of the same question and prompt.

    Parameters
    ----------
    estimate
        The mean over questions, with questions as the clusters of its interval.
    prompt
        The prompt.
    questions, left_out
        Questions with traces on both sides of the cut, and without.
    longer, shorter
        Mean length on either side.
    """

    estimate: Estimate
    prompt: str
    questions: int
    left_out: int
    longer: float
    shorter: float
    name: str = "longer minus shorter (observational)"

    def __str__(self) -> str:
        low, high = self.estimate.interval()
        return (
            f"{self.name} under {self.prompt}: {self.estimate.value:.4g} [{low:.4g}, {high:.4g}], "
            f"{self.questions} questions ({self.left_out} with traces of one side only), mean "
            f"lengths {self.longer:.4g} and {self.shorter:.4g}"
        )


def length_contrast(
    study: ReasoningStudy, *, length: str, prompt: str | int = 1, cut: float | None = None
) -> LengthContrast:
    r"""Contrast longer with shorter reasoning of the same question under the same prompt.

    .. math:: \hat\Delta = \frac{1}{Q} \sum_q \big( \bar Y_q(L > c_q) - \bar Y_q(L \le c_q) \big)

    over natural readouts, with Student's t on Q - 1 degrees of freedom.

    Parameters
    ----------
    study
        A study with several natural readouts of a question under the prompt.
    length
        Column of lengths.
    prompt
        The prompt, by label or as 0 and 1.
    cut
        A length :math:`c`; by default the median of the question's own traces.

    Notes
    -----
    This is an association, and is named so: question and prompt are held fixed, but a trace that
    happens to be longer differs in content too. Only a prompt that sets the length makes length a
    treatment by experiment; that is an arm of its own, with te, nde and nie by replay.

    Raises
    ------
    DesignError
        If a column is missing, or fewer than two questions have traces on both sides of the cut.

    References
    ----------
    Fixed-effects comparison within units: Wooldridge (2010), Econometric Analysis, chapter 10.

    Examples
    --------
    >>> cells = {
    ...     "id": ["a", "a", "b", "b", "c", "c"],
    ...     "arm": [1] * 5 + [0],
    ...     "words": [10, 30, 50, 90, 70, 70],
    ...     "draw": [0, 1] * 3,
    ...     "correct": [0, 1, 0, 0, 1, 1],
    ... }
    >>> natural = ReasoningStudy.from_cells(
    ...     cells, question="id", prompt="arm", reasoning="arm", draw="draw", outcome="correct"
    ... )
    >>> length_contrast(natural, length="words").estimate.value
    0.5
    """
    if cut is not None and not np.isfinite(cut):
        raise SpecError(f"cut is a finite length, got {cut!r}")
    label = study.level(prompt, study.table.prompt.labels)
    rows = _natural(study, label)
    measured = _numbers(study, length, rows)
    outcome = np.nan_to_num(study.table.outcome[rows])
    unit = study.table.units()[0][rows]
    units = np.unique(unit)
    differences, sides, codes = [], [], []
    for u in units:
        at = unit == u
        long = measured[at] > (np.median(measured[at]) if cut is None else cut)
        if not long.any() or long.all():
            continue
        differences.append(_gap(outcome[at], long))
        sides.append([measured[at][long].mean(), measured[at][~long].mean()])
        codes.append(int(u))
    times = np.bincount(study.units, minlength=int(units.max()) + 1)[codes]
    if len(codes) < 2:
        where = "the median of its own" if cut is None else f"{cut:g}"
        raise DesignError(
            f"{len(codes)} questions have natural traces of {label!r} on both sides of {where}, "
            "and at least 2 are needed; draw more traces of a question, or move the cut"
        )
    values = np.repeat(differences, times)
    groups, cluster = _clusters(study, np.repeat(codes, times))
    if groups < 2:
        raise DesignError("the traces on both sides of the cut come from 1 cluster; 2 are needed")
    mean = float(values.mean())
    longer, shorter = np.repeat(np.array(sides), times, axis=0).mean(axis=0)
    left_out = int(units.size - len(codes))
    return LengthContrast(
        Estimate(mean, values - mean, cluster), label, len(codes), left_out, longer, shorter
    )


def _gap(outcome: Array, long: Mask) -> float:
    return float(outcome[long].mean() - outcome[~long].mean())


def _clusters(study: ReasoningStudy, units: Index) -> tuple[int, Index]:
    """Independent groups of the units: questions, or the groups that hold them."""
    table = study.table
    _, questions, groups = table.units()
    code = units
    if groups is not None:
        nested = not table.crossed and study.by_group
        code = groups[units] if nested else questions[units]
    elif np.unique(units).size < units.size:
        code = np.arange(units.size)  # every copy of a question in a resample is one of its own
    held, at = np.unique(code, return_inverse=True)
    return int(held.size), at.reshape(-1).astype(np.int64)


def _natural(study: ReasoningStudy, label: str) -> Index:
    """Rows in which the model wrote its own reasoning under a prompt."""
    table = study.table
    code = table.prompt.code(label)
    own = np.isin(table.reasoning.codes, (table.reasoning.code(label), -1))
    mask = (table.prompt.codes == code) & own & (table.edit.codes < 0) & ~table.replayed
    rows = np.flatnonzero(mask & study.inside())
    if rows.size == 0:
        raise DesignError(
            f"no natural readout of prompt {label!r}: all its reasoning was shown, none written in "
            "the same call; length is a matter of what the model wrote for itself"
        )
    return rows


def _numbers(study: ReasoningStudy, name: str, rows: Index) -> Array:
    values = study.column(name, "length")
    try:
        found = np.array([np.nan if values[i] is None else float(values[i]) for i in rows])
    except (TypeError, ValueError):
        raise DesignError(
            f"length column {name!r} holds texts, not lengths; add lengths with with_lengths"
        ) from None
    lost = int((~np.isfinite(found)).sum())
    if lost:
        raise DesignError(f"length column {name!r} is missing in {lost} natural readouts")
    return found


def _check_constant(questions: Sequence[str], values: Sequence[Any], name: str) -> None:
    held: Mapping[str, Any] = dict(zip(questions, values, strict=True))
    for question, value in zip(questions, values, strict=True):
        if held[question] != value:
            raise DesignError(
                f"column {name!r} varies within question {question!r} ({held[question]!r} and "
                f"{value!r}); only what the prompt cannot change may be adjusted for"
            )
