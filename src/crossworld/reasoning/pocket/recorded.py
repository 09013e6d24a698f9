"""The recording of the pocket reasoner that ships with the package; reading it needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crossworld.errors import SpecError
from crossworld.reasoning.pocket.tasks import ARMS, CHOICES, CUE, pocket_questions, template_text

if TYPE_CHECKING:
    from crossworld.reasoning.plan import Plan

__all__ = [
    "COLUMNS",
    "EDITED",
    "EDITS",
    "RECORDING",
    "REFERENCE",
    "STUDIES",
    "PocketStudy",
    "pocket_plan",
    "pocket_recording",
    "reference_cells",
]


@dataclass(frozen=True, slots=True)
class PocketStudy:
    """Two arms, how many questions were asked, and traces of each question, arm and wording.

    Parameters
    ----------
    reference, active : str
        Arms.
    questions, traces : int
        Counts.
    """

    reference: str
    active: str
    questions: int
    traces: int

    @property
    def arms(self) -> tuple[str, str]:
        """Reference and active arm, the levels 0 and 1."""
        return self.reference, self.active


EDITS: Final = Path(__file__).parent / "edits.parquet"
EDITED: Final = "edits-careful"
REFERENCE: Final = Path(__file__).parent / "reference.json"
RECORDING: Final = Path(__file__).parent / "recording.parquet"
STUDIES: Final[dict[str, PocketStudy]] = {
    "hasty-careful": PocketStudy("hasty", "careful", questions=1000, traces=2),
    "silent-careful": PocketStudy("silent", "careful", questions=1000, traces=1),
    "hint-careful": PocketStudy("careful", "careful-hint", questions=400, traces=2),
    "hint-hasty": PocketStudy("hasty", "hasty-hint", questions=400, traces=1),
    "hint-silent": PocketStudy("silent", "silent-hint", questions=400, traces=1),
}
COLUMNS: Final[tuple[str, ...]] = (
    "question", "wording", "prompt", "reasoning", "trace", "draw", "edit", "replayed", "readout",
    "shown", "answer", "correct", "p_answer", "tokens_in", "tokens_out", "model", "template",
    "leaked", "named", "difficulty", "target", "hinted",
    *(f"p_{digit}" for digit in range(10)),
)  # fmt: skip


def pocket_recording(study: str | None = None) -> Any:
    """Read what the pocket reasoner wrote and answered, one row a readout.

    A natural row (``replayed`` 0) holds a reasoning that the model wrote under ``prompt`` and the
    answer it went on to. A replayed row holds the answer to the same text shown under ``prompt``,
    its own arm's or the other's. Answers are drawn from the probabilities in ``p_0`` ... ``p_9``,
    which are exact: averaging ``p_answer`` over rows removes the noise of the readout.

    Parameters
    ----------
    study : str or None
        One of ``hasty-careful`` (1,000 questions; two wordings of each arm and two traces of each,
        all four cells), ``silent-careful`` (the same questions; nothing is written in the silent
        arm, so only replay says anything), ``hint-careful``, ``hint-hasty`` and ``hint-silent``
        (400 questions with and without a misleading hint). None gives every row of these.
        ``edits-careful`` has one trace of each question of ``hasty-careful`` (first wording), and
        the careful arm's own reasoning shown again after each of `pocket_edits`, by name in
        ``edit``; an edit that does not apply to a trace has no row for it.

    Returns
    -------
    pandas.DataFrame
        Columns of the cell table, with ``p_answer`` the probability of the right answer,
        ``leaked`` 1 where the reasoning ends in the answer that its author gave, ``named`` 1 where
        it speaks of the hint, ``difficulty`` the number of terms, ``target`` the right answer and
        ``hinted`` the digit that a hint names, whether or not the arm has one.

    Raises
    ------
    SpecError
        For a study that was not recorded.

    Examples
    --------
    >>> rows = pocket_recording("hasty-careful")
    >>> rows["question"].nunique(), len(rows)
    (1000, 24000)
    """
    import pandas as pd

    if study == EDITED:
        plain = pocket_recording("hasty-careful")
        same = (plain["draw"] == 0) & (plain["wording"] == "0")
        parts = [plain[same], pd.read_parquet(EDITS)]
        return pd.concat([p.astype({"edit": object}) for p in parts], ignore_index=True)
    if study is not None and study not in STUDIES:
        raise SpecError.unknown("recorded study", study, [*STUDIES, EDITED])
    rows = pd.read_parquet(RECORDING)
    if study is None:
        return rows
    asked = STUDIES[study]
    kept = rows["prompt"].isin(asked.arms) & rows["reasoning"].isin(asked.arms)
    ids = [question.id for question in pocket_questions(asked.questions)]
    kept &= rows["question"].isin(ids) & (rows["draw"] < asked.traces)
    return rows[kept].reset_index(drop=True)


def reference_cells() -> dict[str, tuple[float, float]]:
    """Cells of ``hasty-careful`` from many more traces than were recorded.

    Returns
    -------
    dict of str to (float, float)
        For ``"careful, M(hasty)"`` and the other three, the mean probability of the right answer
        over the recorded questions, and the standard error that the traces leave.

    Examples
    --------
    >>> cells = reference_cells()
    >>> cells["careful, M(careful)"][0] > cells["hasty, M(hasty)"][0]
    True
    """
    held = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return {name: (float(mean), float(error)) for name, (mean, error) in held["cells"].items()}


def pocket_plan(study: str = "hasty-careful", *, questions: int | None = None) -> Plan:
    """Plan that the recording carried out, to be collected anew from `PocketReasoner`.

    Parameters
    ----------
    study : str
        One of `STUDIES`, or ``edits-careful``.
    questions : int or None
        Only the first so many questions; None for all of them.

    Returns
    -------
    Plan
        Both arms in both wordings, their four replayed cells, answers restricted to the digits.

    Raises
    ------
    SpecError
        For a study that was not recorded.

    Examples
    --------
    >>> pocket_plan("hint-careful", questions=5).size
    120
    """
    from crossworld.reasoning.plan import Plan, Question, Replayed, Template, four_cells
    from crossworld.reasoning.pocket.edits import pocket_edits

    if study not in STUDIES and study != EDITED:
        raise SpecError.unknown("recorded study", study, [*STUDIES, EDITED])
    asked = STUDIES["hasty-careful" if study == EDITED else study]
    edits = pocket_edits() if study == EDITED else ()
    return Plan(
        tuple(
            Question(it.id, it.text, it.answer, CHOICES, {"hint": str(it.wrong)})
            for it in pocket_questions(asked.questions if questions is None else questions)
        ),
        tuple(
            Template(arm, template_text(arm, wording=wording), str(wording))
            for arm in ARMS
            if arm in asked.arms
            for wording in ((0,) if edits else (0, 1))
        ),
        (*four_cells(*asked.arms), *(Replayed("careful", "careful", e.name) for e in edits)),
        traces=1 if edits else asked.traces,
        edits=edits,
        readout="choice",
        cue=CUE,
        max_tokens=64,
    )
