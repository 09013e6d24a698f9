"""Reading an answer out of what a model wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence


def split_answer(text: str, cue: str) -> tuple[str, str | None]:
    r"""Split what a model wrote into its reasoning and what follows the last cue.

    Without the cue everything is reasoning and there is no answer.

    Examples
    --------
    >>> split_answer("2 + 3 = 5.\nAnswer: 5", "\nAnswer:")
    ('2 + 3 = 5.', ' 5')
    >>> split_answer("Answer: 5", "\nAnswer:")
    ('', ' 5')
    >>> split_answer("It is five.", "\nAnswer:")
    ('It is five.', None)
    """
    mark = cue.strip()
    at = text.lower().rfind(mark.lower()) if mark else -1
    if at < 0:
        return text, None
    before = cue[: len(cue) - len(cue.lstrip())]
    reasoning = text[:at]
    return (reasoning.removesuffix(before) if before else reasoning), text[at + len(mark) :]


def read_answer(text: str | None, choices: Sequence[str] = ()) -> str | None:
    r"""Return the answer a readout gives: its first line, or the choice that comes first in it.

    Examples
    --------
    >>> read_answer(" 42.\nBecause"), read_answer("\n\n"), read_answer("(B), I think", ["A", "B"])
    ('42', None, 'B')
    >>> read_answer("neither", ["A", "B"]) is None
    True
    """
    if text is None:
        return None
    if choices:
        found = []
        for choice in choices:
            hit = re.search(rf"(?<!\w){re.escape(choice)}(?!\w)", text)
            if hit:
                found.append((hit.start(), -len(choice), choice))
        return min(found)[2] if found else None
    lines = [line.strip().strip("*`$").strip() for line in text.splitlines()]
    first = next((line for line in lines if line), "")
    return first.rstrip(".").strip() or None
