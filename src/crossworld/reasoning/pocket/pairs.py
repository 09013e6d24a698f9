"""Pairs of whole texts of the pocket reasoner, equally long, for patching inside the network."""

from __future__ import annotations

from typing import Any, Final

from crossworld.errors import SpecError
from crossworld.reasoning.pocket.recorded import EDITED, pocket_recording
from crossworld.reasoning.pocket.tasks import CUE, pocket_prompt, pocket_questions

__all__ = ["CONTRASTS", "pocket_pairs"]

CONTRASTS: Final[tuple[str, ...]] = (
    "hasty-careful", "prompt-only", "mistake-right", "filler-steps",
)  # fmt: skip
_EDIT: Final = {"mistake-right": "mistake(result)", "filler-steps": "filler"}
_HASTY, _CAREFUL = ("hasty", 1), ("careful", 0)  # "quickly" and "careful": seven characters each


def pocket_pairs(contrast: str = "hasty-careful", *, questions: int = 1000) -> list[dict[str, Any]]:
    r"""Pair recorded texts that are equally long, character by character, up to the answer.

    Parameters
    ----------
    contrast : str
        ``"hasty-careful"``: clean is a hasty prompt with the reasoning it led to, corrupt a careful
        prompt with its own; the prompts begin with ``quickly`` and ``careful``, and a question
        counts when texts of the two arms are equally long and differ (the first such pair of the
        recording). ``"prompt-only"``: the same two prompts with one text, the careful one.
        ``"mistake-right"``: the careful prompt with a wrong digit in a line, against the text as
        it was written. ``"filler-steps"``: the careful prompt with dots, against the text.
    questions : int
        The first so many of the recorded questions.

    Returns
    -------
    list of dict
        Rows for `crossworld.PatchStudy`: ``clean`` and ``corrupt`` texts, the right digit as
        ``answer``, the question as ``cluster``, and ``spans`` in characters: ``prompt``,
        ``reasoning``, its last character ``last``, what comes before that ``earlier``, and ``cue``.

    Raises
    ------
    SpecError
        For a contrast that does not exist.

    Examples
    --------
    >>> row = pocket_pairs("mistake-right", questions=1)[0]
    >>> row["clean"], row["corrupt"]
    ('careful: 3+6\n3+6=5\nanswer:', 'careful: 3+6\n3+6=9\nanswer:')
    """
    if contrast not in CONTRASTS:
        raise SpecError.unknown("contrast of the pocket reasoner", contrast, CONTRASTS)
    held = _edited(_EDIT[contrast]) if contrast in _EDIT else _written()
    found = []
    for question in pocket_questions(questions):
        texts = held.get(question.id)
        if texts is None:
            continue
        if contrast == "prompt-only":
            texts = (texts[1], texts[1])
        arm, wording = _CAREFUL if contrast in _EDIT else _HASTY
        start = pocket_prompt(question, arm, wording=wording)
        other = pocket_prompt(question, "careful")
        found.append(
            {
                "clean": start + texts[0] + CUE,
                "corrupt": other + texts[1] + CUE,
                "answer": question.answer,
                "cluster": question.id,
                "spans": _spans(len(other), len(texts[1])),
            }
        )
    return found


def _spans(prompt: int, written: int) -> dict[str, list[int]]:
    """Start and stop of the parts of a text, in characters."""
    end = prompt + written
    return {
        "prompt": [0, prompt],
        "reasoning": [prompt, end],
        "earlier": [prompt, end - 1],
        "last": [end - 1, end],
        "cue": [end, end + len(CUE)],
    }


def _written() -> dict[str, tuple[str, str]]:
    """Question -> hasty and careful text, equally long and different."""
    rows = pocket_recording("hasty-careful")
    rows = rows[rows["replayed"] == 0]
    texts: dict[str, dict[str, list[str]]] = {}
    for arm, wording in (_HASTY, _CAREFUL):
        own = rows[(rows["prompt"] == arm) & (rows["wording"] == str(wording))].sort_values("draw")
        for question, text in zip(own["question"], own["shown"], strict=True):
            texts.setdefault(question, {}).setdefault(arm, []).append(text)
    pairs = {}
    for question, by_arm in texts.items():
        fit = [(h, c) for c in by_arm["careful"] for h in by_arm["hasty"] if _alike(h, c)]
        if fit:
            pairs[question] = fit[0]
    return pairs


def _alike(one: str, other: str) -> bool:
    """Whether two texts are equally long, long enough to have parts, and different."""
    broken = CUE.strip() in one + other
    return len(one) == len(other) > 1 and one != other and not broken


def _edited(edit: str) -> dict[str, tuple[str, str]]:
    """Question -> edited careful text and the text itself, where they are equally long."""
    rows = pocket_recording(EDITED)
    careful = (rows["prompt"] == "careful") & (rows["reasoning"] == "careful")
    own = rows[careful & (rows["replayed"] == 0)].set_index("question")["shown"]
    changed = rows[rows["edit"] == edit].set_index("question")["shown"]
    both = {q: (text, own[q]) for q, text in changed.items()}
    return {q: texts for q, texts in both.items() if _alike(*texts)}
