"""Numbers as people and models write them: digits with marks, words, years and ordinals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

Kind = Literal["number", "year", "ordinal", "label"]

_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_VALUES = {
    **{w: i for i, w in enumerate(_UNITS)},
    **{w: 10 * (i + 2) for i, w in enumerate(_TENS)},
}
_ONE_WORD = "|".join([*_VALUES, "hundred", *_SCALES])
_WORDS = re.compile(
    rf"\b(?:{'|'.join(_VALUES)})\b(?:(?:[ -]|[ -]and[ -])(?:{_ONE_WORD})\b)*", re.IGNORECASE
)
_DIGITS = re.compile(
    r"(?<![\w.])(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?P<ordinal>(?:st|nd|rd|th)\b)?(?![\d])"
)
_LABEL_BEFORE = re.compile(
    r"(?:^[ \t]*(?:\*\*|#{1,6}[ \t]*)?\(?|\b(?:step|case|question|problem|figure|fig\.|table|eq\.|"
    r"equation|section|chapter|part|option|line|no\.|item|premise|thought)[ \t]*#?)\Z",
    re.IGNORECASE | re.MULTILINE,
)
_MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
]  # fmt: skip
_YEAR_BEFORE = re.compile(
    rf"\b(?:in|since|until|by|year|during|before|after|from|of|{'|'.join(_MONTHS)})"
    r"[ \t]+(?:\d{1,2},?[ \t]+)?\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text: where it stands, what it is worth, how it is written.

    Parameters
    ----------
    start, end
        Offsets in characters.
    value
        Its exact value.
    kind
        ``"number"``; ``"year"`` (1000 to 2199 after a word of time); ``"ordinal"`` (3rd);
        ``"label"`` (``Step 2``, the number that starts a list line).
    words
        Whether it is written in words.
    """

    start: int
    end: int
    value: Decimal
    kind: Kind
    words: bool = False


def numbers(text: str, *, size: Decimal | None = None) -> tuple[Number, ...]:
    """Find the numbers of a text, in digits and in English words, in order.

    With ``size`` only those of that absolute value, which is faster.

    Examples
    --------
    >>> [(str(n.value), n.kind) for n in numbers("In 1999 the 3rd of 1,250.5 was forty-two.")]
    [('1999', 'year'), ('3', 'ordinal'), ('1250.5', 'number'), ('42', 'number')]
    """
    found = [*_written_in_digits(text, size), *_written_in_words(text)]
    return tuple(sorted((n for n in found if size in (None, n.value)), key=_start))


def _start(number: Number) -> int:
    return number.start


def _written_in_digits(text: str, size: Decimal | None) -> Iterator[Number]:
    for match in _DIGITS.finditer(text):
        value = Decimal(match["number"].replace(",", ""))
        if size not in (None, value):
            continue
        before = text[max(0, match.start() - 40) : match.start()]
        start, end = match.span("number")
        if match["ordinal"]:
            yield Number(start, end, value, "ordinal")
        elif _is_label(text, before, end):
            yield Number(start, end, value, "label")
        elif _is_year(match["number"], before):
            yield Number(start, end, value, "year")
        else:
            yield Number(start, end, value, "number")


def _is_label(text: str, before: str, end: int) -> bool:
    found = _LABEL_BEFORE.search(before)
    if found is None:
        return False
    if re.search(r"[a-z]", found.group(), re.IGNORECASE):
        return True
    return re.match(r"(?:\*\*)?[.):](?:\*\*)?(?:\s|\Z)", text[end : end + 8]) is not None


def _is_year(digits: str, before: str) -> bool:
    return (
        len(digits) == 4
        and digits.isdigit()
        and 1000 <= int(digits) < 2200
        and _YEAR_BEFORE.search(before) is not None
    )


def _written_in_words(text: str) -> Iterator[Number]:
    for match in _WORDS.finditer(text):
        value = from_words(match.group())
        if value is not None:
            yield Number(*match.span(), Decimal(value), "number", words=True)


def from_words(text: str) -> int | None:
    """Read a number in English words; None when the words make no number.

    Examples
    --------
    >>> from_words("one hundred and five thousand, two")
    >>> from_words("one hundred and five thousand two")
    105002
    """
    total, group, last = 0, 0, 1000
    scale_left = 10**15
    for word in re.split(r"[ -]+", text.strip().lower()):
        if word == "and":
            continue
        if word in _VALUES:
            value = _VALUES[word]
            units_after_tens = 0 < value < 10 and 20 <= last < 100
            if last < 100 and not units_after_tens:
                return None
            group, last = group + value, value
        elif word == "hundred":
            if not 0 < group < 100:
                return None
            group, last = group * 100, 100
        elif word in _SCALES and group > 0 and _SCALES[word] < scale_left:
            total, group, last = total + group * _SCALES[word], 0, 1000
            scale_left = _SCALES[word]
        else:
            return None
    return total + group


def in_words(value: int) -> str:
    """Write a whole number below 10**15 in English words.

    Examples
    --------
    >>> in_words(-1042)
    'minus one thousand forty-two'
    """
    if value < 0:
        return f"minus {in_words(-value)}"
    if value < 20:
        return _UNITS[value]
    if value < 100:
        tens, rest = divmod(value, 10)
        return _TENS[tens - 2] + (f"-{_UNITS[rest]}" if rest else "")
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        return f"{_UNITS[hundreds]} hundred" + (f" {in_words(rest)}" if rest else "")
    scale, size = max(((w, s) for w, s in _SCALES.items() if s <= value), key=lambda p: p[1])
    high, rest = divmod(value, size)
    return f"{in_words(high)} {scale}" + (f" {in_words(rest)}" if rest else "")


def as_number(text: str) -> Decimal | None:
    """Read a whole text as one number: ``"$1,250.00"``, ``"42%"``, ``"forty-two"``, ``"-3"``.

    Examples
    --------
    >>> as_number("$1,250.00") == 1250, as_number("a dozen")
    (True, None)
    """
    bare = text.strip().strip("$\u20ac\u00a3%*\\ ").rstrip(".").replace(",", "")
    bare = bare.replace("\u2212", "-")
    try:
        value = Decimal(bare)
    except InvalidOperation:
        sign, words = (-1, bare[6:]) if bare.lower().startswith("minus ") else (1, bare)
        found = from_words(words) if words else None
        return None if found is None else Decimal(sign * found)
    return value if value.is_finite() else None
