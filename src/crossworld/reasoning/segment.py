"""Cutting reasoning into steps that keep every character: joined, they are the text again."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from crossworld.errors import SpecError

How = Literal["auto", "sentences", "lines", "paragraphs", "numbered", "bullets", "labelled"]

_ABBREVIATIONS = frozenset({
    "e.g", "i.e", "cf", "vs", "al", "approx", "resp", "viz", "fig", "figs", "eq", "eqs", "sec",
    "ch", "no", "nos", "vol", "pp", "ed", "eds", "dr", "mr", "mrs", "ms", "prof", "st", "jr",
    "sr", "inc", "ltd", "co", "corp", "dept", "univ", "gen", "col", "lt", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "tues", "wed",
    "thu", "thurs", "fri", "sat", "sun", "ca", "thm", "lem", "def", "prop",
})  # fmt: skip
# abbreviations that also end sentences: no boundary only where the next word is in lower case
_EITHER = frozenset({
    "etc", "a.m", "p.m", "ph.d", "u.s", "u.k", "u.n", "e.u",
})  # fmt: skip
_LABELS = frozenset({
    "option", "choice", "answer", "case", "part", "figure", "type", "plan", "point", "line",
    "angle", "table", "set", "class", "group", "team", "vitamin", "letter", "appendix", "section",
    "side", "statement", "scenario", "person", "player", "candidate",
})  # fmt: skip
PROTECTED = re.compile(
    r"```.*?(?:```|\Z)"  # fenced code; an open fence runs to the end
    r"|`[^`\n]+`"
    r"|\$\$.+?\$\$"
    r"|\\\[.+?\\\]|\\\(.+?\\\)"
    r"|\\begin\{(\w+\*?)\}.*?\\end\{\1\}"
    r"|(?<![\\$\w])\$(?=[^\s$])[^$\n]*?(?<=[^\s\\$])\$(?![\d$])",  # $5 and $6 are money
    re.DOTALL,
)
_TERMINAL = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f]+[\"'\u201d\u2019)\]*_]*(?=\s|\Z)|[\u3002\uff01\uff1f]+"
)
_WORD_BEFORE = re.compile(r"[^\s(\[\"'\u201c]+\Z")
_ENUMERATOR = re.compile(r"^[ \t]*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})[.)]\Z", re.MULTILINE)
_LIST_START = re.compile(r"[ \t]*(?:[-*+\u2022\u2013]|\(?\d{1,3}[.)]|#{1,6})[ \t]+\S")
_BREAKS, _BLANKS = re.compile(r"[\n\r]*"), re.compile(r"[ \t\r]*")
_MARKS: dict[str, re.Pattern[str]] = {
    "numbered": re.compile(r"^[ \t]*(?:\*\*)?\(?\d{1,3}[.)](?:\*\*)?[ \t]+(?=\S)", re.MULTILINE),
    "bullets": re.compile(r"^[ \t]*[-*+\u2022\u2013][ \t]+(?=\S)", re.MULTILINE),
    "labelled": re.compile(
        r"^[ \t]*(?:#{1,6}[ \t]*)?(?:\*\*)?(?:step|thought|premise|claim)[ \t]*#?\d{1,3}"
        r"[ \t]*(?:\*\*)?[ \t]*[:.)\u2014-]",
        re.MULTILINE | re.IGNORECASE,
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a text and where it stands: ``text[start:end]``.

    Parameters
    ----------
    text
        The characters of the step, with the white space around it.
    start, end
        Offsets in characters.

    Examples
    --------
    >>> [s.body for s in segment("One. Two.")]
    ['One.', 'Two.']
    """

    text: str
    start: int
    end: int

    @property
    def body(self) -> str:
        """The step without the white space around it."""
        return self.text.strip()

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but white space."""
        return not self.text.strip()

    def with_body(self, body: str) -> str:
        """Return the characters with another body between the same white space."""
        lead = len(self.text) - len(self.text.lstrip())
        return self.text[:lead] + body + self.text[lead + len(self.body) :]


def segment(text: str, how: How = "auto") -> tuple[Step, ...]:
    r"""Cut a text into steps.

    The steps partition the text: ``"".join(s.text for s in segment(text)) == text``, byte for
    byte. Line breaks between two steps belong to the earlier one; no step is blank unless the
    whole text is. Nothing is cut inside code (fenced or inline) or LaTeX.

    Parameters
    ----------
    text
        Any text. The empty text has no steps.
    how
        ``"sentences"``: rules for English and code-like text (below). ``"lines"``: every line that
        is not blank. ``"paragraphs"``: at blank lines. ``"numbered"``: at lines that start with
        ``1.`` or ``2)``. ``"bullets"``: at lines that start with ``-``, ``*`` or a bullet.
        ``"labelled"``: at lines that start with ``Step 3:``. ``"auto"``: labelled when
        two such lines are there, numbered or bullets when at least two are and they are half of
        all lines, else sentences.

    Returns
    -------
    tuple of Step
        In the order of the text.

    Raises
    ------
    SpecError
        If ``how`` is not known.

    Notes
    -----
    A sentence ends at ``. ! ?`` (with closing quotes and brackets) before white space, and at a
    line break unless the next line goes on in lower case. It does not end after an abbreviation
    (``e.g.``, ``Fig.``), an initial (``J. Smith``; but ``option B.`` ends), an enumerator at the
    start of a line, or before a word in lower case. Text before the first marked line is a step of
    its own.

    Examples
    --------
    >>> [s.body for s in segment("Dr. Ho has 3.5 kg, i.e. 3500 g. Is $x. Y$ odd? No.")]
    ['Dr. Ho has 3.5 kg, i.e. 3500 g.', 'Is $x. Y$ odd?', 'No.']
    >>> len(segment("Step 1: add. Then go on.\nStep 2: divide."))
    2
    """
    if how not in get_args(How):
        raise SpecError.unknown("way of cutting a text", str(how), get_args(How))
    if not text:
        return ()
    held = [m.span() for m in PROTECTED.finditer(text)]
    if how == "auto":
        how = _layout(text, held)
    if how in _MARKS:
        cuts = _marked(text, how, held)
    elif how == "sentences":
        cuts = _sentence_cuts(text, held)
    else:
        pattern = r"\n[ \t]*\n\s*" if how == "paragraphs" else r"\n"
        cuts = [m.end() for m in re.finditer(pattern, text)]
        cuts = _outside(cuts, held)
    return _steps(text, cuts)


def join(steps: Iterable[Step | str]) -> str:
    """Put steps, or the texts they became, together again."""
    return "".join(s if isinstance(s, str) else s.text for s in steps)


def _layout(text: str, held: Sequence[tuple[int, int]]) -> How:
    """Labelled steps wherever there are two; lists where they are most of the text's lines."""
    if len(_marked(text, "labelled", held)) >= 2:
        return "labelled"
    lines = len(re.findall(r"^[ \t]*\S", text, re.MULTILINE))
    if 2 * len(_marked(text, "numbered", held)) >= max(lines, 4):
        return "numbered"
    if 2 * len(_marked(text, "bullets", held)) >= max(lines, 4):
        return "bullets"
    return "sentences"


def _marked(text: str, how: str, held: Sequence[tuple[int, int]]) -> list[int]:
    return _outside([m.start() for m in _MARKS[how].finditer(text)], held)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return the offset after what the pattern, which may match nothing, takes at ``at``."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _outside(cuts: Iterable[int], held: Sequence[tuple[int, int]]) -> list[int]:
    starts = [start for start, _ in held]
    return [c for c in cuts if not within(held, starts, c - 1) or not within(held, starts, c)]


def within(held: Sequence[tuple[int, int]], starts: Sequence[int], at: int) -> bool:
    """Whether a character lies in one of the spans, which are in order and apart."""
    last = bisect_right(starts, at) - 1
    return last >= 0 and at < held[last][1]


def _steps(text: str, cuts: Iterable[int]) -> tuple[Step, ...]:
    """Cut at the offsets; white space goes to the step before, blank pieces to a neighbour."""
    edges, visible = [0], len(text.rstrip())
    for cut in sorted(set(cuts)):
        moved = _skip(_BREAKS, text, cut)
        if edges[-1] < moved < visible and text[edges[-1] : moved].strip():
            edges.append(moved)
    edges.append(len(text))
    return tuple(Step(text[a:b], a, b) for a, b in pairwise(edges))


def _sentence_cuts(text: str, held: Sequence[tuple[int, int]]) -> list[int]:
    cuts: list[int] = []
    start, starts = 0, [a for a, _ in held]
    for match in _TERMINAL.finditer(text):
        at = match.end()
        if within(held, starts, match.start()):
            continue
        follows = _skip(_BLANKS, text, at)
        if _ends(text, match, text[follows : follows + 1], start):
            cuts.append(follows)
            start = follows
    cuts += [m.end() for m in re.finditer(r"\n", text) if _line_ends(text, m.end())]
    return _outside(cuts, held)


def _line_ends(text: str, at: int) -> bool:
    """Whether the line break before ``at`` ends a sentence: the next line does not go on."""
    first = _skip(_BLANKS, text, at)
    if first == len(text) or text[first] in "\r\n" or _LIST_START.match(text, at):
        return True
    return not text[first].islower() or text[max(at - 80, 0) : at].rstrip().endswith((*".!?:;",))


def _ends(text: str, match: re.Match[str], following: str, start: int) -> bool:
    """Whether terminal punctuation ends a sentence, given the next character that shows."""
    mark = match.group()
    if mark[0] != "." and not mark.startswith("\u2026"):
        return True
    if following.islower() or following in (",", ";", ":"):
        return False
    if mark.startswith(("...", "\u2026")):
        return True
    before = text[start : match.start()]
    word = _WORD_BEFORE.search(before)
    if word is None:
        return bool(before.strip())
    token = word.group().lower().strip("*_")
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start() + 1]
    if _ENUMERATOR.match(line):
        return False
    if token in _ABBREVIATIONS and not (token == "no" and not following.isdigit()):
        return False
    if token in _EITHER:
        return True
    return not _is_initial(word.group(), before[: word.start()], following)


def _is_initial(word: str, before: str, following: str) -> bool:
    """Whether a capital and a period are the initial of a name rather than a label's end."""
    if not (len(word) == 1 and word.isupper() and following.isupper()):
        return False
    previous = before.split()
    if not previous:
        return True
    return previous[-1][0].isupper() and previous[-1].lower().strip("*_") not in _LABELS
