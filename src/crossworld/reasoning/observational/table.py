"""A reasoning study as a table: natural traces, their text as a block of mediators."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError, IdentificationWarning, SpecError
from crossworld.reasoning.observational.embedding import Embedder, embed, sentence_clusters
from crossworld.reasoning.study import ReasoningStudy
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Kind = Literal["components", "clusters"]
SILENT = 0.05  # share of traces with any text below which a prompt writes none
WRITES = 0.5  # share above which the other prompt writes
MOVED = 5.0  # paired t statistic above which a covariate moves with the prompt


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """Readouts in which the model wrote its own reasoning, under one of the two prompts.

    Parameters
    ----------
    rows
        Their positions in the study's table, shape (n,).
    texts
        The reasoning; missing text is empty.
    arm
        0 and 1, shape (n,).
    outcome
        Shape (n,); an answer that could not be parsed counts as 0, as it does in `Replay`.
    question
        Codes of questions, shape (n,).
    """

    rows: Index
    texts: list[str]
    arm: Index
    outcome: Array
    question: Index


def natural_traces(study: ReasoningStudy, *, text: str = "shown") -> Traces:
    """Natural traces of a study.

    Raises
    ------
    DesignError
        If there is no column of texts, or a prompt has no natural trace.
    """
    if not isinstance(study, ReasoningStudy):
        raise DesignError(f"a ReasoningStudy is needed, got {type(study).__name__}")
    table = study.table
    codes = [table.prompt.code(label) for label in study.levels]
    natural = ~table.replayed & (table.edit.codes == -1) & study.inside()
    rows = np.flatnonzero(natural & np.isin(table.prompt.codes, codes))
    arm = (table.prompt.codes[rows] == codes[1]).astype(np.int64)
    for level, label in enumerate(study.levels):
        if not (arm == level).any():
            raise DesignError(
                f"no natural trace under prompt {label!r}: all its readouts were shown a reasoning;"
                " name the column of 0 and 1 that tells them apart with replayed="
            )
    held = study.column(text, "text")
    texts = ["" if held[i] is None else str(held[i]) for i in rows]
    outcome = np.nan_to_num(table.outcome[rows], nan=0.0)
    return Traces(rows, texts, arm, outcome, table.question.codes[rows])


def to_table(
    study: ReasoningStudy,
    *,
    kind: Kind = "components",
    embedder: Embedder | None = None,
    components: int = 16,
    covariates: Sequence[str] = (),
    text: str = "shown",
) -> TableStudy:
    """Turn natural traces into a table study whose mediators are numbers made of the text.

    One row per trace that the model wrote and answered itself (replayed rows are left out). The
    prompt is the treatment, the text a joint block of mediators, the question the cluster.

    Parameters
    ----------
    study
        Readouts with the text in a column.
    kind
        ``"components"``: the first components of the embedding of the whole text.
        ``"clusters"``: one indicator for each cluster of sentences, 1 where the text has a member.
    embedder
        Maps a list of texts to an array (n, d). None: TF-IDF and truncated SVD. For sentence
        transformers pass ``SentenceTransformer("all-MiniLM-L6-v2").encode``.
    components
        Number of components, or of clusters.
    covariates
        Columns fixed before the model wrote: difficulty, length of the question, frequency of its
        tokens, temperature.
    text
        Column of the reasoning.

    Returns
    -------
    TableStudy
        For `MultiplyRobust`, `Regression` and every other method of tables.

    Raises
    ------
    DesignError
        If one prompt writes (nearly) no text, so that the text determines the prompt; if there is
        no such column, a covariate is missing, or all texts look the same.

    Warns
    -----
    IdentificationWarning
        If a covariate moves with the prompt within questions, such as the length of the prompt.

    Notes
    -----
    The numbers are a function of the texts alone, fixed before any fold is cut: no treatment and
    no outcome enters, so the outcomes and prompts of a held-out fold cannot leak into the models
    fitted without it, although its texts helped to choose the components.

    Assumptions beyond those of replay: nothing unmeasured affects both text and answer (a harder
    question gives a worse text and a worse answer), and the numbers hold all of the text that the
    answer depends on. What they miss is counted as a direct effect.

    Examples
    --------
    >>> from crossworld.reasoning.pocket import pocket_recording
    >>> rows = pocket_recording("hasty-careful")
    >>> study = ReasoningStudy.from_cells(
    ...     rows[rows["question"] < "q0050"], question="question", prompt="prompt",
    ...     reasoning="reasoning", outcome="p_answer", draw="draw", wording="wording",
    ...     replayed="replayed", levels=("hasty", "careful"),
    ... )
    >>> table = to_table(study, components=4, covariates=["difficulty"])
    >>> print(table.describe())
    prompt -> text_1 + text_2 + text_3 + text_4 -> p_answer, adjusting for difficulty, levels \
'hasty' and 'careful'
    >>> len(table)
    400
    """
    if kind not in get_args(Kind):
        raise SpecError.unknown("kind of mediator", str(kind), get_args(Kind))
    traces = natural_traces(study, text=text)
    refuse_silence(study, traces)
    if kind == "components":
        stem, block = "text", embed(traces.texts, embedder=embedder, components=components)
    else:
        stem = "cluster"
        block = sentence_clusters(traces.texts, embedder=embedder, clusters=components)
    mediators = {f"{stem}_{j + 1}": column for j, column in enumerate(block.T)}
    return as_table(study, traces, mediators, covariates)


def refuse_silence(study: ReasoningStudy, traces: Traces) -> None:
    """Refuse traces of which one arm writes and the other (nearly) never does.

    Raises
    ------
    DesignError
        Saying how many traces of each prompt hold any text.
    """
    written = np.array([bool(t.strip()) for t in traces.texts])
    share = [float(written[traces.arm == level].mean()) for level in (0, 1)]
    low, high = (0, 1) if share[0] < share[1] else (1, 0)
    if share[low] < SILENT and share[high] > WRITES:
        raise DesignError(
            f"reasoning appears under one prompt only ({share[high]:.1%} of the traces under "
            f"{study.levels[high]!r} and {share[low]:.1%} under {study.levels[low]!r} hold any "
            "text): the text determines the prompt, so there is no overlap; use Replay"
        )


def as_table(
    study: ReasoningStudy,
    traces: Traces,
    mediators: Mapping[str, Any],
    covariates: Sequence[str],
) -> TableStudy:
    """Put traces, mediators and covariates into a table study clustered by question."""
    if isinstance(covariates, str):
        raise SpecError(f"covariates is a list of column names, got {covariates!r}; write it in []")
    roles = study.origin.roles
    prompt = roles["prompt"] if roles["prompt"].isidentifier() else "prompt"
    outcome = roles["outcome"] if roles["outcome"].isidentifier() else "outcome"
    columns: dict[str, Any] = {
        prompt: [study.levels[a] for a in traces.arm],
        outcome: traces.outcome,
        "question_": traces.question.astype(str).tolist(),
    }
    for name in covariates:
        columns[name] = _covariate(study, traces, name)
    twice = sorted(set(mediators) & set(columns))
    if twice:
        raise DesignError(f"column {twice[0]!r} has the name of a mediator made of text; rename it")
    columns.update(mediators)
    return TableStudy.from_frame(
        columns,
        f"{prompt} -> {' + '.join(mediators)} -> {outcome}",
        adjust=list(covariates),
        levels=(study.levels[0], study.levels[1]),
        cluster="question_",
    )


def _covariate(study: ReasoningStudy, traces: Traces, name: str) -> list[Any]:
    held = study.column(name, "covariate")
    values = [held[i] for i in traces.rows]
    if any(v is None for v in values):
        count = sum(v is None for v in values)
        raise DesignError(f"covariate {name!r} is missing in {count:,} of {len(values):,} traces")
    if not any(isinstance(v, str) for v in values):
        t = _moves(np.array(values, dtype=np.float64), traces)
        if abs(t) > MOVED:
            warnings.warn(
                f"covariate {name!r} differs between the two prompts of a question (paired t = "
                f"{t:.1f}), so it is set by the prompt; adjusting for it hides part of the effect "
                "and costs overlap. Use a column that describes the question",
                IdentificationWarning,
                stacklevel=4,
            )
    return values


def _moves(values: Array, traces: Traces) -> float:
    """Paired t statistic of a covariate's difference between prompts within questions."""
    size = int(traces.question.max()) + 1
    means = []
    for level in (0, 1):
        at = traces.arm == level
        count = np.bincount(traces.question[at], minlength=size)
        total = np.bincount(traces.question[at], weights=values[at], minlength=size)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    gap = (means[1] - means[0])[~np.isnan(means[1] - means[0])]
    if gap.size < 2 or not np.any(gap):
        return 0.0
    error = float(gap.std(ddof=1)) / np.sqrt(gap.size)
    return float(gap.mean()) / error if error > 0.0 else float(np.copysign(np.inf, gap.mean()))
