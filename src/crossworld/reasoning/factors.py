"""Factors of the input as treatments: operands, operators, surface form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossworld.core.regime import Level
from crossworld.errors import DesignError
from crossworld.reasoning.reader import Readouts, label, read, truth_label, truth_labels
from crossworld.reasoning.study import ReasoningStudy

SOURCE = "reasoning_factor"
DRAW = "factor_draw"


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor of the question, and where the cell table tells it.

    Parameters
    ----------
    column
        Column of the factor's level in the question that was asked.
    family
        Column of the family (template, story) of that question.
    levels
        Reference and active level.
    shown
        Column of the factor's level in the question that the shown reasoning was written for.
        Without it the level is looked up by trace: that of the natural readout in which the trace
        was written.

    Examples
    --------
    >>> Factor("operator", family="story", levels=("+", "-")).levels
    ('+', '-')
    """

    column: str
    family: str
    levels: tuple[Level, Level] = (0, 1)
    shown: str | None = None


def factor_study(
    frame: Any,
    factor: Factor,
    *,
    outcome: str,
    roles: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
) -> ReasoningStudy:
    r"""Build a study in which a factor of the question is the treatment.

    Questions come in families (one template, one story) whose members differ in a factor: the
    operands, the operator, the surface form. The family is the unit and the factor takes the place
    of the prompt arm, so :math:`Y(a, M(b))` is the outcome when the member at level :math:`a` is
    asked and reasoning sampled for the member at level :math:`b` is shown, and te, nde and nie
    follow by replay as for a prompt. Members of a family at one level are averaged.

    Parameters
    ----------
    frame
        A cell table: a frame, a dict of columns or a file.
    factor
        The factor, the column of families and the two levels.
    outcome
        Column of the outcome.
    roles
        Names of further columns, by role: ``question`` (member of the family), ``trace``, ``draw``,
        ``edit``, ``replayed``, ``cluster``, ``wording``. By default those of the same names, where
        the table has them; no cluster.
    where
        Keep the rows whose columns have these values, such as one prompt arm.

    Returns
    -------
    ReasoningStudy
        Ready for `Replay`; ``holds()`` says which effects it can give.

    Notes
    -----
    The total effect is that of asking another question: with an outcome such as ``correct`` every
    member is held to its own right answer. The direct effect holds the text fixed, so the text has
    to make sense under the other member. It does where the factor is surface form; reasoning about
    other operands contradicts the question, which the direct effect then measures. Members are
    exchangeable within a family and level by construction of the template, not by randomisation.

    Raises
    ------
    DesignError
        If a column is missing, the factor varies within a question, fewer than two families have
        both levels, or the level of a shown trace cannot be found.

    References
    ----------
    Stolfo, Jin, Shridhar, Schoelkopf and Sachan (2023). A causal framework to quantify the
    robustness of mathematical reasoning with language models. ACL.

    Examples
    --------
    >>> cells = {
    ...     "story": ["s1", "s1", "s1", "s2", "s2", "s2"],
    ...     "operator": ["+", "-", "-", "+", "-", "-"],
    ...     "written_for": ["+", "-", "+", "+", "-", "+"],
    ...     "correct": [1, 0, 0, 1, 1, 0],
    ... }
    >>> operator = Factor("operator", family="story", levels=("+", "-"), shown="written_for")
    >>> study = factor_study(cells, operator, outcome="correct")
    >>> study.holds().can[:3]
    ('te', 'nde', 'nie')
    """
    source = read(frame)
    if where:
        source = source.where(where)
    named = _roles(source, roles or {}, {factor.family, factor.column, outcome})
    asked = _levels(source, factor.column)
    families = [None if v is None else label(v) for v in source.values(factor.family, "family")]
    _check_families(families, asked, factor)
    if "question" in named:
        _check_members(source, named["question"], (families, asked))
    columns = {name: source.values(name, "table") for name in source.names}
    columns[factor.column] = list(asked)
    if factor.shown is not None:
        columns[SOURCE] = list(_levels(source, factor.shown))
    else:
        columns[SOURCE] = _written_for(source, named, families, asked)
    draw = [named[role] for role in ("question", "trace", "draw") if role in named]
    if draw:
        told = zip(*(columns[name] for name in draw), strict=True)
        columns[DRAW] = ["|".join(map(str, row)) for row in told]
    optional = {r: named[r] for r in ("edit", "replayed", "cluster", "wording") if r in named}
    return ReasoningStudy.from_cells(
        columns,
        question=factor.family,
        prompt=factor.column,
        reasoning=SOURCE,
        outcome=outcome,
        draw=DRAW if draw else None,
        edit=optional.get("edit"),
        replayed=optional.get("replayed"),
        cluster=optional.get("cluster"),
        wording=optional.get("wording"),
        levels=factor.levels,
    )


def _roles(source: Readouts, given: Mapping[str, str], taken: set[str]) -> dict[str, str]:
    known = ("question", "trace", "draw", "edit", "replayed", "cluster", "wording")
    strange = sorted(set(given) - set(known))
    if strange:
        raise DesignError(f"roles are {', '.join(known)}; got {strange[0]!r}")
    for role, name in given.items():
        if name not in source.names:
            raise DesignError.missing_column(str(name), role, source.names)
    clash = sorted({SOURCE, DRAW} & set(source.names))
    if clash:
        raise DesignError(f"the table has a column {clash[0]!r} already; rename it")
    usual = {r: r for r in known if r in source.names and r != "cluster" and r not in taken}
    return {**usual, **given}


def _levels(source: Readouts, name: str) -> list[str | None]:
    values = source.values(name, "factor")
    return truth_labels([None if v is None else label(v) for v in values])


def _check_families(
    families: Sequence[str | None], asked: Sequence[str | None], factor: Factor
) -> None:
    lost = sum(f is None or a is None for f, a in zip(families, asked, strict=True))
    if lost:
        raise DesignError(f"family or factor is missing in {lost} of {len(families)} rows")
    held: dict[str | None, set[str | None]] = {}
    for f, a in zip(families, asked, strict=True):
        held.setdefault(f, set()).add(a)
    pair = {truth_label(v, {a for a in asked if a is not None}) for v in factor.levels}
    both = sum(pair <= members for members in held.values())
    if both < 2:
        raise DesignError(
            f"{both} of {len(held)} families in column {factor.family!r} have questions at both "
            f"levels, {factor.levels[0]!r} and {factor.levels[1]!r}, and at least 2 are needed: "
            "the factor is compared within families"
        )


def _check_members(
    source: Readouts, name: str, of: tuple[Sequence[str | None], Sequence[str | None]]
) -> None:
    """A question lies in one family and has one level."""
    found: dict[Any, tuple[str | None, str | None]] = {}
    for question, *place in zip(source.values(name, "question"), *of, strict=True):
        told = (place[0], place[1])
        first = found.setdefault(question, told)
        if first != told:
            raise DesignError(
                f"question {question!r} stands in the table as {first} and as {told}; a question "
                "has one family and one level of the factor"
            )


def _written_for(
    source: Readouts,
    named: Mapping[str, str],
    families: Sequence[str | None],
    asked: Sequence[str | None],
) -> list[str | None]:
    """Level of the question in whose natural readout each trace was written."""
    if "trace" not in named or "replayed" not in named:
        raise DesignError(
            "the question that a trace was written for is not known: name the column of its level "
            "with Factor(shown=...), or columns of trace ids and of natural readouts with "
            "roles={'trace': ..., 'replayed': ...}"
        )
    traces = source.values(named["trace"], "trace")
    flags = truth_labels([label(v) for v in source.values(named["replayed"], "replayed")])
    written: dict[Any, tuple[str | None, str | None]] = {}
    for trace, flag, place in zip(traces, flags, zip(families, asked, strict=True), strict=True):
        if flag == "0" and trace is not None and written.setdefault(trace, place) != place:
            raise DesignError(
                f"trace {trace!r} was written for {written[trace]} and for {place}; trace ids must "
                "tell traces of the whole table apart"
            )
    found: list[str | None] = []
    for trace, own in zip(traces, families, strict=True):
        if trace not in written:
            raise DesignError(
                f"trace {trace!r} has no natural readout, so the question it was written for is "
                "not known; name the column of its level with Factor(shown=...)"
            )
        if written[trace][0] != own:
            raise DesignError(
                f"trace {trace!r} of family {written[trace][0]!r} is shown in family {own!r}; "
                "effects of a factor are paired within families"
            )
        found.append(written[trace][1])
    return found
