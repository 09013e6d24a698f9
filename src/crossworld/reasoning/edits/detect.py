"""What a reasoning text gives away: the answer, or which treatment was given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from crossworld.errors import SpecError
from crossworld.reasoning.edits.numbers import Number, as_number, numbers

_LATEX = re.compile(r"\\(?:boxed|text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_CHOICE = re.compile(r"\(?([A-Za-z])[).]?\Z")
_GAP = r"[\s\-\u2010-\u2015_*`~]+"


def contains_answer(text: str, answer: str) -> bool:
    r"""Say whether a text states an answer.

    Parameters
    ----------
    text
        The reasoning.
    answer
        The answer. A number is found in any format (``1,250``, ``1250.00``, ``$1250``, in words,
        with its sign); the letter of a choice only where it is marked as one (``(B)``,
        ``option B``, ``answer is B``, ``\boxed{B}``), as a lone ``A`` is an article; any other
        text as whole words, whatever its case, white space, hyphens and emphasis.

    Returns
    -------
    bool
        Whether it is there. A number that only happens to equal the answer counts too: this is a
        flag for what could be read off, not a claim that the text concludes it.

    Raises
    ------
    SpecError
        If the answer is empty.

    Examples
    --------
    >>> contains_answer("So there are one thousand two hundred fifty eggs.", "1,250")
    True
    >>> contains_answer("A train leaves.", "A"), contains_answer("It must be (A).", "A")
    (False, True)
    """
    if not answer.strip():
        raise SpecError("no answer to look for: the text given is empty")
    plain = _plain(text)
    wanted = as_number(answer)
    if wanted is not None:
        found = numbers(plain, size=abs(wanted))
        return any(_signed(plain, n) == wanted for n in found if n.kind != "label")
    letter = _CHOICE.match(_plain(answer).strip())
    if letter is not None:
        return _names_choice(plain, letter[1].upper())
    return _phrase(_plain(answer)).search(plain) is not None


def names_treatment(text: str, words: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a treatment that a text names, in the order given.

    Reasoning that names its treatment ("the professor says") cannot be replayed under another
    prompt as if it were that prompt's own.

    Parameters
    ----------
    text
        The reasoning.
    words
        Words or phrases that only the treatment would bring up. They are found as whole words
        whatever their case, white space, hyphens and emphasis, with plural and possessive; a
        number also in words.

    Raises
    ------
    SpecError
        If no words are given, or an empty one.

    Examples
    --------
    >>> names_treatment("The *Stanford professor's* hint", ["stanford-professor", "persona"])
    ('stanford-professor',)
    """
    if not words or isinstance(words, str) or not all(w.strip() for w in words):
        raise SpecError(f"give the words that name the treatment as a list of texts, got {words!r}")
    plain = _plain(text)
    return tuple(w for w in words if _is_named(plain, w))


def _is_named(plain: str, word: str) -> bool:
    if as_number(word) is not None:
        return contains_answer(plain, word)
    return _phrase(word, inflected=True).search(plain) is not None


def _plain(text: str) -> str:
    """Take LaTeX boxes and emphasis off, and write one apostrophe and one minus."""
    for _ in range(3):
        text = _LATEX.sub(_unboxed, text)
    text = text.replace("{,}", ",").replace("\\,", "").replace("\\%", "%").replace("\\$", "$")
    text = text.replace("\u2019", "'").replace("\u2212", "-")
    return re.sub(r"\*\*|__|`", "", text)


def _unboxed(match: re.Match[str]) -> str:
    """Return what stands in a box; a lone letter stays marked, as the letter of a choice."""
    inside = match[1].strip()
    return f" ({inside}) " if len(inside) == 1 and inside.isalpha() else f" {inside} "


def _phrase(words: str, *, inflected: bool = False) -> re.Pattern[str]:
    parts = [re.escape(w) for w in re.split(_GAP, words.strip(" \t\n*_`.")) if w]
    ending = r"(?:'s|s'|es|s)?" if inflected else ""
    return re.compile(rf"(?<!\w){_GAP.join(parts)}{ending}(?!\w)", re.IGNORECASE)


def _signed(text: str, number: Number) -> Decimal:
    """Return the value with a minus sign that belongs to it, not one that subtracts."""
    before = text[max(0, number.start - 12) : number.start]
    if re.search(r"(?:\A|[\s(=$:,])-\s?\$?\Z", before) and not re.search(
        r"[\w)]\s*- \$?\Z", before
    ):
        return -number.value
    return -number.value if re.search(r"\bminus \Z", before, re.IGNORECASE) else number.value


def _names_choice(text: str, letter: str) -> bool:
    marked = rf"\({letter}\)|(?<![A-Za-z0-9(]){letter}\)"
    told = (
        r"(?i:option|choice|answer|select|choose|pick|letter|candidate|statement|scenario)"
        rf"(?i:\s+is|\s+must\s+be|\s+should\s+be)?\s*[:=]?\s*[*\"'(]*{letter}(?![A-Za-z0-9'])"
    )
    alone = rf"^\s*{letter}\s*[.:]?\s*$" if letter not in "AI" else rf"\A\s*{letter}\s*[.:]?\s*\Z"
    return any(re.search(p, text, re.MULTILINE) for p in (marked, told, alone))
