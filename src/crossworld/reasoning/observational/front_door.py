"""Front-door adjustment with clusters of reasoning, beside the replay that tests it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE
from crossworld.core.table import Effect
from crossworld.errors import DesignError
from crossworld.reasoning.observational.embedding import Embedder, embed, groups
from crossworld.reasoning.observational.table import as_table, natural_traces, refuse_silence
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy
from crossworld.tables.study import TableStudy


@dataclass(frozen=True, slots=True, eq=False)
class ReasoningFrontDoor:
    """A table for `FrontDoor`, and what replay says of its assumption.

    Parameters
    ----------
    table
        Natural traces; the one mediator is the cluster of the reasoning, a category.
    direct
        The natural direct effect by replay, which full mediation says is 0; None where the cells
        to tell are missing.
    untested
        Why there is none.
    """

    table: TableStudy
    direct: Effect | None
    untested: str = ""

    def __str__(self) -> str:
        claim = "front-door adjustment assumes that the prompt acts through the reasoning alone"
        if self.direct is None:
            return f"{claim}; untested: {self.untested}"
        e = self.direct
        if e.p_value is None or e.conf_low is None or e.conf_high is None:
            return f"{claim}; replay: nde {e.estimate}"
        verdict = "refuted by" if e.conf_low > 0 or e.conf_high < 0 else "not refuted by"
        return (
            f"{claim}; {verdict} replay: nde {e.estimate:+.3f} "
            f"[{e.conf_low:+.3f}, {e.conf_high:+.3f}]"
        )


def front_door_table(
    study: ReasoningStudy,
    *,
    clusters: int = 16,
    embedder: Embedder | None = None,
    covariates: Sequence[str] = (),
    text: str = "shown",
) -> ReasoningFrontDoor:
    r"""Make a front-door study of clusters of reasoning ("causal prompting"), and test it.

    With r the cluster of the reasoning, `FrontDoor` estimates

    .. math:: E[Y(b)] = \sum_r P(r \mid b) \sum_{a} P(a)\, E[Y \mid a, r],

    which needs no measured cause of prompt and answer, but that the prompt acts on the answer
    through r alone. Replay can test half of that: a natural direct effect, the answer to the same
    text under either prompt, has to be 0. That r holds all of the text that matters is the other
    half, and replay does not test it.

    Parameters
    ----------
    study
        Readouts; for the test also replays.
    clusters
        Number of clusters (k-means on embeddings of whole texts).
    embedder, covariates, text
        As in `crossworld.reasoning.observational.table.to_table`.

    Raises
    ------
    DesignError
        As in `to_table`.

    References
    ----------
    Pearl (1995), Biometrika 82. Zhang et al. (2024), Causal prompting, arXiv 2403.02738.

    Examples
    --------
    >>> from crossworld.reasoning.pocket import pocket_recording
    >>> rows = pocket_recording("hasty-careful")
    >>> study = ReasoningStudy.from_cells(
    ...     rows[rows["question"] < "q0200"], question="question", prompt="prompt",
    ...     reasoning="reasoning", outcome="p_answer", draw="draw", wording="wording",
    ...     replayed="replayed", levels=("hasty", "careful"),
    ... )
    >>> str(front_door_table(study, clusters=6)).split("; ")[1][:30]
    'refuted by replay: nde +0.030 '
    """
    traces = natural_traces(study, text=text)
    refuse_silence(study, traces)
    wide = embed(traces.texts, embedder=embedder, components=max(2 * clusters, 8))
    names = np.array([f"r{g + 1:03d}" for g in groups(wide, clusters)])
    table = as_table(study, traces, {"reasoning_cluster": names.tolist()}, covariates)
    try:
        direct = estimate(study, Replay(), [NDE])["nde"]
    except DesignError as refused:
        return ReasoningFrontDoor(table, None, str(refused))
    return ReasoningFrontDoor(table, direct)
