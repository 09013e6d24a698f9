"""Outcome columns: what is a match, what is missing, and distances between answers."""

from __future__ import annotations

import numpy as np
import pytest

from crossworld.errors import DesignError
from crossworld.reasoning import outcomes


def test_matches_ignore_case_space_and_the_way_a_number_is_written() -> None:
    found = outcomes.matches([" Yes", 7, "7.0", "07", "a", None], ["yes", "7", 7.0, "7", "b", "c"])
    np.testing.assert_array_equal(found, [1.0, 1.0, 1.0, 0.0, 0.0, np.nan])
    with pytest.raises(DesignError, match="answer 1, target 2"):
        outcomes.matches(["a"], ["a", "b"])


def test_a_question_has_one_target() -> None:
    with pytest.raises(DesignError, match="'q' has the values 'A' and 'B'"):
        outcomes.of_question(["q", "q"], ["A", "B"])


def test_changed_is_against_the_usual_answer_of_the_reference() -> None:
    question = ["q"] * 5 + ["r"] * 2
    answer = ["A", "B", "A", "B", "A", None, "C"]
    reference = [True, True, True, False, False, True, False]
    found = outcomes.changed(question, answer, reference)
    np.testing.assert_array_equal(found, [0.0, 1.0, 0.0, 1.0, 0.0, np.nan, np.nan])


def test_brier_of_certainty_and_ignorance() -> None:
    held = [{"A": 1.0, "B": 0.0}, {"A": 0.0, "B": 1.0}, {"A": 0.25, "B": 0.25}, {"B": 0.5}]
    found = outcomes.brier(held, ["a"] * 4)
    np.testing.assert_allclose(found, [0.0, 2.0, 0.75**2 + 0.25**2, 0.25 + 1.0])
    with pytest.raises(DesignError, match="sum to 1.2"):
        outcomes.brier([{"A": 0.6, "B": 0.6}], ["A"])
    with pytest.raises(DesignError, match="log"):
        outcomes.probability([-0.3])


@pytest.mark.parametrize(
    ("text", "number"),
    [("#### 1,024", 1024.0), ("x = -3.5e2.", -350.0), ("12 or 13", 13.0), ("", np.nan), (4, 4.0)],
)
def test_numbers_are_read_from_the_end(text: str | int, number: float) -> None:
    np.testing.assert_array_equal(outcomes.numeric([text]), [number])


@pytest.mark.parametrize(
    ("text", "phrase", "inside"),
    [
        ("The sum is 937,764.", "937764", 1.0),
        ("The sum is 9377645", "937764", 0.0),
        ("it is 3.5", "3", 0.0),
        ("it is 3.", "3", 1.0),
        ("The Professor says", "professor", 1.0),
        ("1+1", "+", 0.0),
        ("anything", None, 0.0),
    ],
)
def test_contains_looks_for_whole_words(text: str, phrase: str | None, inside: float) -> None:
    assert outcomes.contains([text], [phrase])[0] == inside


def distance(p: float, q: float, draws: int, *, questions: int = 200) -> outcomes.TotalVariation:
    rng = np.random.default_rng(3)
    question = np.repeat(np.arange(questions), 2 * draws)
    first = np.tile(np.arange(2 * draws) < draws, questions)
    chance = np.where(first, p, q)
    answer = np.where(rng.random(question.size) < chance, "A", "B")
    return outcomes.total_variation(
        list(question), list(answer), first=list(first), second=list(~first)
    )


def test_total_variation_has_a_floor_and_sees_what_is_above_it() -> None:
    same = distance(0.5, 0.5, 10)
    assert same.floor > 0.08
    assert same.conf_low < 0.0 < same.conf_high
    apart = distance(0.9, 0.4, 10)
    assert apart.conf_low > 0.2
    assert apart.estimate < 0.5  # Jeffreys' prior shrinks it from the true distance
    many = distance(0.9, 0.4, 200, questions=20)
    assert many.estimate == pytest.approx(0.5, abs=0.03)
    assert distance(0.9, 0.4, 10) == apart


def test_total_variation_of_one_draw_by_hand() -> None:
    found = outcomes.total_variation(
        ["q", "q", "r", "r"],
        ["A", "B", "A", "A"],
        first=[True, False] * 2,
        second=[False, True] * 2,
    )
    # q: (1.5, 0.5) / 2 against (0.5, 1.5) / 2, whichever way round; r: one answer in all
    assert found.estimate == pytest.approx(0.25)
    assert found.excess == pytest.approx(0.0)
    with pytest.raises(DesignError, match="1 questions have answers in both"):
        outcomes.total_variation(["q"] * 2, ["A"] * 2, first=[True, False], second=[False, True])
