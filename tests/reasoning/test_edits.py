"""Edits do what their names say, never nothing, and the same thing every time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossworld import M, Scores, Y, contrast
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.infer.wald import Wald
from crossworld.reasoning.edits import (
    CARRIED,
    DeleteStep,
    Edit,
    Filler,
    InvertLogic,
    NegatePremise,
    NotApplicable,
    NumberInWords,
    NumericMistake,
    Occlude,
    Paraphrase,
    ReverseFact,
    Shuffle,
    StripConclusion,
    StripHint,
    SurfaceParaphrase,
    Swap,
    Truncate,
    apply,
    carried_share,
    contains_answer,
    names_treatment,
)
from crossworld.reasoning.edits.numbers import as_number, from_words, in_words, numbers
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.segment import segment
from crossworld.reasoning.trace import Trace

TEXT = (
    "The professor said option B. In 1999 the 3rd shop had 48 apples. It sold 12 of them because "
    "it's open. Ann is taller than Bob. 48 - 12 = 36. Therefore the answer is 36."
)
TRACE = Trace(TEXT, "q1", answer="36")
EDITS: tuple[Edit, ...] = (
    DeleteStep(), DeleteStep(-1), Occlude(), Swap(), Swap(0, second=2), Shuffle(),
    Shuffle("tokens"), Truncate(0.5), Truncate(0.0), Filler(), Filler(unit="characters"),
    NumericMistake(),
    NumericMistake("result"), NumberInWords(), NegatePremise(), InvertLogic(), ReverseFact(),
    SurfaceParaphrase(), StripConclusion(), StripConclusion(everywhere=True),
    StripHint(["professor"]),
)  # fmt: skip
every_edit = pytest.mark.parametrize("edit", EDITS, ids=lambda e: f"{type(e).__name__}-{e.name}")


def made(edit: Edit, text: str, answer: str | None = None) -> str:
    found = edit(Trace(text, "q", answer=answer))
    assert isinstance(found, Trace), found
    return found.text


def refused(edit: Edit, text: str, answer: str | None = None) -> str:
    found = edit(Trace(text, "q", answer=answer))
    assert isinstance(found, NotApplicable), found
    assert found.trace.text == text and found.edit == edit.name
    return found.reason


@every_edit
def test_an_edit_changes_the_text_and_signs_it(edit: Edit) -> None:
    found = edit(TRACE)
    assert isinstance(found, Trace)
    assert found.text != TEXT
    assert (found.id, found.question, found.edits) == (TRACE.id, "q1", (edit.name,))
    assert found == edit(TRACE)


@every_edit
@given(text=st.text(alphabet="aB1.\n -?=2", max_size=40))
def test_an_edit_never_returns_the_same_text(edit: Edit, text: str) -> None:
    found = edit(Trace(text))
    assert isinstance(found, NotApplicable) or found.text != text


@every_edit
def test_an_empty_trace_is_refused_in_words(edit: Edit) -> None:
    assert len(refused(edit, "")) > 10


@every_edit
def test_a_control_is_another_edit(edit: Edit) -> None:
    assert edit.control is None or edit.control.name != edit.name


def test_names_are_those_of_cells() -> None:
    names = [e.name for e in EDITS]
    assert "truncate(0.5)" in names and "shuffle" in names and "delete(-1)" in names
    assert str(Y(1, M(1, Truncate(0.5).name))) == "Y(1, M(1, 'truncate(0.5)'))"


@pytest.mark.parametrize("edit", [DeleteStep(), Shuffle(), Shuffle("tokens"), NumericMistake()])
def test_draws_belong_to_trace_and_seed(edit: Edit) -> None:
    texts = {made(replace(edit, seed=s), TEXT) for s in range(12)}  # type: ignore[type-var]
    assert len(texts) > 2
    traces = [Trace(TEXT, f"q{i}") for i in range(12)]
    one = [t.text for t in apply(edit, traces).traces]
    other = [t.text for t in apply(edit, traces[::-1]).traces][::-1]
    assert one == other and len(set(one)) > 2


def test_apply_keeps_account() -> None:
    done = apply(StripHint(["professor"]), [TRACE, Trace("No hint here.", "q2")])
    assert [t.question for t in done.traces] == ["q1"]
    assert [r.trace.question for r in done.refused] == ["q2"]


def test_removals() -> None:
    assert made(DeleteStep(1), "One. Two.\n\nThree.") == "One. Three."
    assert made(DeleteStep(-1), "One. Two. Three.") == "One. Two. "
    assert "3 steps" in refused(DeleteStep(3), "One. Two. Three.")
    assert made(Occlude(0, mask="x"), "Ab c. Two.") == "xx xx Two."
    assert made(Truncate(0.0), "One. Two.") == ""
    assert made(Truncate(0.3), "A b. C d. E f. G h. I j.") == "A b. C d. "
    assert made(Filler(), "a b\nc") == "... ... ..."
    assert len(made(Filler(unit="characters"), TEXT)) == len(TEXT)
    with pytest.raises(SpecError, match="1.5"):
        Truncate(1.5)


def test_orders_keep_every_word_and_the_white_space() -> None:
    assert made(Swap(0, second=-1), "One. Two.\nThree.") == "Three. Two.\nOne."
    for edit in (Shuffle(), Shuffle("tokens"), Swap()):
        text = made(edit, TEXT)
        assert Counter(text.split()) == Counter(TEXT.split())
        assert [c for c in text if c.isspace()] == [c for c in TEXT if c.isspace()]
    steps = [s.body for s in segment(made(Shuffle(), TEXT), "sentences")]
    assert Counter(steps) == Counter(s.body for s in segment(TEXT, "sentences"))
    assert "different" in refused(Shuffle(), "Same. Same. Same.")
    assert made(Shuffle(), "A b. C d.") == "C d. A b."


def test_a_numeric_mistake_changes_one_number_and_keeps_its_format() -> None:
    for seed in range(40):
        text = made(NumericMistake(seed=seed), TEXT)
        assert "1999" in text and "3rd" in text and text.endswith("Therefore the answer is 36.")
        old, new = ([n.value for n in numbers(t) if n.kind == "number"] for t in (TEXT, text))
        assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
    assert made(NumericMistake("result", seed=3), TEXT).startswith(TEXT[: TEXT.index("36")])
    text = made(NumericMistake(seed=5, spare_last=False), "It is 1,250.50 now.")
    (number,) = numbers(text)
    assert number.value != 1250.5 and text[number.start : number.end][-3] == "."
    assert "," in text[number.start : number.end]
    assert "no number" in refused(NumericMistake(), "In 1999 he came 3rd. Step 2: go.")
    assert "no number" in refused(NumericMistake("result"), "There are 3 of 4. Good.")


def test_the_control_of_a_mistake_rewrites_the_same_number() -> None:
    for seed in range(10):
        edit = NumericMistake(seed=seed)
        assert edit.control is not None
        wrong, same = made(edit, TEXT), made(edit.control, TEXT)
        at = next(i for i, (a, b) in enumerate(zip(wrong, TEXT, strict=False)) if a != b)
        start = max(n.start for n in numbers(TEXT) if n.start <= at)
        assert same[:start] == TEXT[:start] == wrong[:start]
        assert [n.value for n in numbers(same)] == [n.value for n in numbers(TEXT)]
    assert (
        made(NumberInWords(spare_last=False), "It is 3.05 m.") == "It is three point zero five m."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cats are mammals. So it is yes.", "Cats are not mammals. So it is yes."),
        ("The box isn't red. Therefore no.", "The box is red. Therefore no."),
        ("We can't fly. Thus no.", "We can fly. Thus no."),
        ("He did not go. Hence no.", "He did go. Hence no."),
        ("She can swim well. Thus yes.", "She cannot swim well. Thus yes."),
        ("She bought 3 apples. Thus 3.", "It is not the case that she bought 3 apples. Thus 3."),
    ],
)  # fmt: skip
def test_negation(text: str, expected: str) -> None:
    assert made(NegatePremise(), text) == expected


@pytest.mark.parametrize(
    "text", ["Is it red?", "Let's add them up.", "2 + 3 = 5", "So the answer is 5.", "Wait, no."]
)
def test_what_is_no_premise_is_not_negated(text: str) -> None:
    assert "no premise" in refused(NegatePremise(), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 is greater than 3.", "5 is less than 3."),
        ("We add 3 to it.", "We subtract 3 to it."),
        ("x < 3 holds.", "x > 3 holds."),
        ("48 - 12 = 36.", "48 + 12 = 36."),
        ("If it rains we stay.", "Unless it rains we stay."),
        ("At least two and more.", "At most two and more."),
        ("Ham and eggs are there.", "Ham or eggs are there."),
    ],
)
def test_inversion(text: str, expected: str) -> None:
    assert made(InvertLogic(), text) == expected


def test_what_has_no_logic_is_not_inverted() -> None:
    assert "no comparison" in refused(InvertLogic(), "I am not sure if so. Plus, we like it.")
    assert "no comparison" in refused(
        InvertLogic(), "The options are A, B or C. Is it more than 2?"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ann is taller than Bob.", "Bob is taller than Ann."),
        ("The cat is heavier than a dog.", "A dog is heavier than the cat."),
        ("Smoking causes cancer.", "Cancer causes Smoking."),
        ("Paris is the capital of France.", "France is the capital of Paris."),
        ("The sum is even.", "The sum is odd."),
        ("That claim is not valid, so stop.", "That claim is not invalid, so stop."),
    ],
)
def test_reversal(text: str, expected: str) -> None:
    assert made(ReverseFact(), text) == expected


@pytest.mark.parametrize("text", ["It is nice.", "Is 3 odd?", "If 3 is odd, go.", "Ann met Bob."])
def test_what_claims_nothing_is_not_reversed(text: str) -> None:
    assert "no claim" in refused(ReverseFact(), text)


def test_stripping() -> None:
    text = "6 * 7 = 42. Add 1 to get 43. So the answer is 43."
    assert made(StripConclusion(), text, "43") == "6 * 7 = 42. "
    assert made(StripConclusion(), text) == "6 * 7 = 42. Add 1 to get 43. "
    first = "The correct answer is 7. Because 3 + 4 is that. We are done."
    assert "last step" in refused(StripConclusion(), first, "7")
    assert (
        made(StripConclusion(everywhere=True), first, "7") == "Because 3 + 4 is that. We are done."
    )
    assert (
        made(StripHint(["Stanford professor"]), "A Stanford-Professor says B. 1 + 1.") == "1 + 1."
    )
    assert "no step names" in refused(StripHint(["professor"]), "Professional work. Done.")
    with pytest.raises(SpecError, match="list"):
        StripHint("professor")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 1,250 in all", "1250"), ("so 1250.00", "1,250"), ("$1,250.", "1250"),
        ("one thousand two hundred and fifty", "1250"), ("it is forty-two", "42"),
        ("it is -3 then", "-3"), ("x = \u22123", "-3"), ("equals minus three", "-3"),
        ("\\boxed{42}", "42"), ("42%", "42"), ("the answer is (B)", "B"), ("Option B.", "(B)"),
        ("So\n**B**\n", "b"), ("\\boxed{\\text{B}}", "B"),
    ],
)  # fmt: skip
def test_answers_are_found(text: str, answer: str) -> None:
    assert contains_answer(text, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 12501 in all", "1250"), ("so 42.5", "42"), ("it is 3 then", "-3"), ("x = -3", "3"),
        ("A train leaves", "A"), ("I think so", "I"), ("forty-two", "40"), ("Step 5: go", "5"),
        ("the Parisian", "Paris"), ("option BC", "B"), ("plan B9", "B"),
    ],
)  # fmt: skip
def test_other_texts_are_not_answers(text: str, answer: str) -> None:
    assert not contains_answer(text, answer)


def test_subtraction_is_no_sign() -> None:
    assert contains_answer("9 - 3 = 6", "3") and not contains_answer("9 - 3 = 6", "-3")
    assert contains_answer("New\nYork it is", "new york")
    with pytest.raises(SpecError, match="empty"):
        contains_answer("a", " ")


def test_treatments_are_named() -> None:
    words = ["professor", "Stanford hint", "7"]
    assert names_treatment("The **professors'** view; a Stanford_hint", words) == tuple(words[:2])
    assert names_treatment("seven of them", words) == ("7",)
    assert names_treatment("professorial, 17 or 7.5", words) == ()
    with pytest.raises(SpecError, match="list"):
        names_treatment("a", "a")


@given(st.integers(0, 10**15 - 1))
def test_numbers_in_words_are_read_back(value: int) -> None:
    assert from_words(in_words(value)) == value
    assert as_number(f"{value:,}") == value


def test_no_number() -> None:
    for text in ("one two", "hundred", "seven thousand million", "twenty zero", "five ten"):
        assert from_words(text) is None


class Rewriter:
    """Answers every request with one text and remembers what it was asked."""

    name, modes = "rewriter", frozenset()

    def __init__(self, text: str, finish: str = "stop") -> None:
        self.text, self.finish, self.asked = text, finish, list[Request]()

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        return Completion(self.text, finish=self.finish)


def test_a_model_paraphrases() -> None:
    model = Rewriter(" 3 more than 4 makes 7. ")
    found = Paraphrase(model)(Trace("4 + 3 = 7. {odd}", "q", draw=5, answer="7"))
    assert isinstance(found, Trace) and found.text == "3 more than 4 makes 7."
    assert "4 + 3 = 7. {odd}" in model.asked[0].prompt
    assert (model.asked[0].question, model.asked[0].draw) == ("q", 5)


def test_a_paraphrase_that_is_another_mediator_is_refused() -> None:
    trace = Trace("4 + 3 = 7.", "q", answer="7")
    assert "lost" in Paraphrase(Rewriter("Add them."))(trace).reason  # type: ignore[union-attr]
    told = Paraphrase(Rewriter("It is 8."))(replace(trace, answer="8"))
    assert isinstance(told, NotApplicable) and "states an answer" in told.reason
    assert isinstance(Paraphrase(Rewriter("4 + 3 = 7."))(trace), NotApplicable)
    assert isinstance(Paraphrase(Rewriter("7 it", "length"))(trace), NotApplicable)
    assert isinstance(Paraphrase(Rewriter("  "))(trace), NotApplicable)


def test_a_running_loop_is_told_to_await() -> None:
    async def inside() -> None:
        edit = Paraphrase(Rewriter("It makes 7."))
        assert isinstance(await edit.rewrite(Trace("4 + 3 = 7.")), Trace)
        with pytest.raises(EstimationError, match="await"):
            edit(Trace("4 + 3 = 7."))

    asyncio.run(inside())
    with pytest.raises(DesignError, match="{text}"):
        Paraphrase(Rewriter(""), prompt="Rewrite.")


def test_surface_paraphrase_keeps_numbers_formulas_and_code() -> None:
    text = "Therefore $x$ is equal to 5. `because` it's so. \\[ thus \\]"
    found = made(SurfaceParaphrase(), text)
    assert "equals 5" in found and "`because`" in found and "\\[ thus \\]" in found
    assert "it is so" in found and found.split()[0] in ("Hence", "Thus", "Consequently")


CELLS = (Y(1), Y(0), Y(1, M(1, "shuffle")), Y(1, M(1, "paraphrase")))


def test_the_carried_share_is_what_its_formula_says() -> None:
    values = np.random.default_rng(3).binomial(4, [0.8, 0.3, 0.4, 0.75], (60, 4)) / 4
    scores = Scores(values, CELLS, np.arange(60))
    table = carried_share(scores, edit="shuffle")
    one, zero, edited, control = values.mean(axis=0)
    te = one - zero
    row = table["carried(shuffle, paraphrase)"]
    assert row.estimate == pytest.approx((one - edited) / te - (one - control) / te)
    assert row.estimate is not None and row.estimate > 0.4
    assert row.conf_method == "fieller"
    for limit in (row.conf_low, row.conf_high):
        gap = values[:, 3] - values[:, 2] - float(limit or 0.0) * (values[:, 0] - values[:, 1])
        t = gap.mean() / (gap.std(ddof=1) / 60**0.5)
        assert abs(t) == pytest.approx(2.0009953780882716, rel=1e-6)
    parts = [table[t].estimate for t in ("carried(shuffle)", "carried(paraphrase)")]
    assert row.estimate == pytest.approx((parts[0] or 0.0) - (parts[1] or 0.0))


def test_the_carried_share_of_the_control_itself_is_refused() -> None:
    with pytest.raises(SpecError, match="own control"):
        CARRIED("paraphrase")
    assert CARRIED("shuffle", control=None).cells() == {Y(1), Y(0), Y(1, M(1, "shuffle"))}
    scores = Scores(np.eye(3), CELLS[:3], np.arange(3))
    with pytest.raises(DesignError, match="paraphrase"):
        contrast(scores, [CARRIED("shuffle")], inference=Wald())
