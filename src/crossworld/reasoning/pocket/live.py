"""Run the pocket reasoner on a recorded study's plan, in batches, and return the readouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.plan import Call, Question
from crossworld.reasoning.pocket.model import PocketReasoner
from crossworld.reasoning.pocket.recorded import pocket_plan
from crossworld.reasoning.pocket.tasks import CHOICES, PocketQuestion, pocket_questions

__all__ = ["pocket_live"]

Progress = Callable[[int, int], None]
CHUNK = 1024  # requests between two reports of progress


def pocket_live(
    study: str = "hasty-careful",
    *,
    questions: int | Sequence[PocketQuestion] = 200,
    seed: int = 0,
    replays: bool = True,
    progress: Progress | None = None,
) -> Any:
    """Ask the model: one trace of each question and arm in the first wording, and its replays.

    Parameters
    ----------
    study : str
        One of `STUDIES`.
    questions : int or sequence of PocketQuestion
        The first so many of the recorded questions, or questions of your own.
    seed : int
        Seed of what the model writes and answers.
    replays : bool
        Whether every reasoning is shown under both prompts too.
    progress : callable or None
        Called with requests answered and requests in all.

    Returns
    -------
    pandas.DataFrame
        Columns ``question, wording, prompt, reasoning, draw, replayed, shown, answer, correct,
        p_answer, difficulty, target`` as in `pocket_recording`.

    Raises
    ------
    MissingExtraError
        When torch or transformers are not installed.
    SpecError, DesignError
        For a study that does not exist, or no questions.
    """
    import pandas as pd

    if isinstance(questions, int):
        if isinstance(questions, bool) or questions < 1:
            raise SpecError(f"questions is at least 1, got {questions!r}")
        questions = pocket_questions(questions)
    if not questions:
        raise DesignError("there are no questions to ask")
    plan = pocket_plan(study, questions=1)
    plan = replace(
        plan,
        questions=tuple(
            Question(q.id, q.text, q.answer, CHOICES, {"hint": str(q.wrong)}) for q in questions
        ),
        templates=tuple(t for t in plan.templates if t.wording == "0"),
        cells=plan.cells if replays else (),
        traces=1,
    )
    calls, model = list(plan.calls()), PocketReasoner(seed=seed)
    own = [call for call in calls if call.replay is None]
    again = [call for call in calls if call.replay is not None]
    wrote = _answered(model, [plan.request(c, None) for c in own], (0, len(calls)), progress)
    text = {call.trace: done.reasoning for call, done in zip(own, wrote, strict=True)}
    shown = [plan.request(call, text[call.trace]) for call in again]
    told = _answered(model, shown, (len(own), len(calls)), progress)
    rows = [_row(call, done) for call, done in zip([*own, *again], [*wrote, *told], strict=True)]
    return pd.DataFrame(rows)


def _answered(
    model: PocketReasoner,
    requests: Sequence[Request],
    counted: tuple[int, int],
    progress: Progress | None,
) -> list[Completion]:
    """Answer requests chunk by chunk; ``counted`` are those done before and those in all."""
    before, total = counted
    found: list[Completion] = []
    for start in range(0, len(requests), CHUNK):
        found += model.complete_many(requests[start : start + CHUNK])
        if progress is not None:
            progress(before + len(found), total)
    return found


def _row(call: Call, done: Completion) -> dict[str, Any]:
    """One readout."""
    question, law = call.question, done.probabilities or {}
    return {
        "question": question.id,
        "wording": call.template.wording,
        "prompt": call.template.arm,
        "reasoning": call.replay.reasoning if call.replay else call.template.arm,
        "draw": call.k,
        "replayed": int(call.replay is not None),
        "shown": done.reasoning,
        "answer": done.answer,
        "correct": int(done.answer == question.answer),
        "p_answer": law.get(str(question.answer)),
        "difficulty": question.text.count("+") + 1,
        "target": question.answer,
    }
