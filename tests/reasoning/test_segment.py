"""Steps keep every character and stand where readers put them."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.segment import How, join, segment
from crossworld.reasoning.trace import Trace

PIECES = st.sampled_from([
    "Dr. ", "e.g. ", "3.14", "\n", "\n\n", "Step 2: ", "- ", "1. ", "2) ", "$x. Y$", "`a. B`",
    "```", " ", "So it is. ", "Is it? ", "etc. ", "\r\n", "\\[ a. B \\]", "\u3002", "...",
    "5 * 4 = 20",
])  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))


def bodies(text: str, how: How = "sentences") -> list[str]:
    return [s.body for s in segment(text, how)]


@given(TEXTS, st.sampled_from(get_args(How)))
@example("", "auto")
@example(" \n ", "lines")
def test_steps_partition_the_text(text: str, how: How) -> None:
    steps = segment(text, how)
    assert join(steps) == text
    assert [s.start for s in steps] == [0, *[s.end for s in steps[:-1]]][: len(steps)]
    assert all(text[s.start : s.end] == s.text for s in steps)
    assert not any(s.is_blank for s in steps) or len(steps) == 1


@given(TEXTS)
def test_a_body_can_be_put_back(text: str) -> None:
    assert all(s.with_body(s.body) == s.text for s in segment(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Ho has 3.5 kg, i.e. 3500 g. Good.", ["Dr. Ho has 3.5 kg, i.e. 3500 g.", "Good."]),
        ("See Fig. 3 and Eq. 2. Then go.", ["See Fig. 3 and Eq. 2.", "Then go."]),
        ("J. Smith won. John F. Kennedy lost.", ["J. Smith won.", "John F. Kennedy lost."]),
        ("It is option B. Then stop.", ["It is option B.", "Then stop."]),
        ("So the answer is C. We stop.", ["So the answer is C.", "We stop."]),
        ("He said \u201cno.\u201d Then left.", ["He said \u201cno.\u201d", "Then left."]),
        ("(Two is even.) So is 4.", ["(Two is even.)", "So is 4."]),
        ("Is $f(x). G$ odd? No.", ["Is $f(x). G$ odd?", "No."]),
        ("It costs $5. She pays $6. Done.", ["It costs $5.", "She pays $6.", "Done."]),
        ("Run `a. B`. Then stop.", ["Run `a. B`.", "Then stop."]),
        ("```\nx = 1. Y\n\nz = 2\n```\nDone.", ["```\nx = 1. Y\n\nz = 2\n```", "Done."]),
        ("Hmm... maybe. Wait... No.", ["Hmm... maybe.", "Wait...", "No."]),
        ("2 + 3 = 5\n5 * 4 = 20\nso 20", ["2 + 3 = 5", "5 * 4 = 20\nso 20"]),
        ("a:\n- one\n- two. Three", ["a:", "- one", "- two.", "Three"]),
        ("1. Add. Then\n2. Divide.", ["1. Add.", "Then", "2. Divide."]),
        ("apples, pears, etc. Then none. He is from the U.S. navy.",
         ["apples, pears, etc.", "Then none.", "He is from the U.S. navy."]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert bodies(text) == expected


def test_layouts() -> None:
    labelled = "Plan first.\nStep 1: add. Then go on.\nIt is 5.\n**Step 2:** divide."
    assert bodies(labelled, "auto") == [
        "Plan first.", "Step 1: add. Then go on.\nIt is 5.", "**Step 2:** divide."
    ]  # fmt: skip
    assert bodies("1. a b. C\n2) d\n3. e", "auto") == ["1. a b. C", "2) d", "3. e"]
    assert bodies("- a. B\n* c\n\u2022 d", "auto") == ["- a. B", "* c", "\u2022 d"]
    assert bodies("a\nb\n\nc", "paragraphs") == ["a\nb", "c"]
    assert bodies("a. B\n\nc", "lines") == ["a. B", "c"]
    prose = "The options are:\n- A\n- B\n\nFirst, think. Then think.\nLong.\nLonger.\nDone."
    assert "First, think." in bodies(prose, "auto")


def test_speed_is_linear_enough() -> None:
    text = "The sum is 3.5. Then we add $x$ and go on, e.g. here.\n" * 2000
    assert len(segment(text)) == 4000


def test_bad_input_is_refused() -> None:
    with pytest.raises(SpecError, match="sentences"):
        segment("a", "sentence")  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="''"):
        Trace(None)  # type: ignore[arg-type]


def test_a_trace_keeps_its_identity() -> None:
    trace = Trace("a", "q", "careful", 3)
    changed = trace.edited("b", "shuffle")
    assert (trace.id, changed.id) == ("q/careful/3",) * 2
    assert (changed.text, changed.edits, trace.edits) == ("b", ("shuffle",), ())
    assert re.fullmatch(r"x", Trace("", id="x").id)
