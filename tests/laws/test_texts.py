"""Texts with exact cells: simulation that shares no code, the texts read back, truth recovered."""

from __future__ import annotations

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.effects import NDE, NIE, PNIE, TE
from crossworld.datasets import read_reasoning, reasoning_texts
from crossworld.datasets.puzzles import CHANGES, Puzzle, draw_puzzle, spoil
from crossworld.reasoning.observational.fixed import learn_components


@pytest.mark.parametrize("slips", [False, True])
def test_cells_agree_with_a_simulation_written_apart(slips: bool) -> None:
    rng, n = np.random.default_rng(0), 1_000_000
    words = rng.random(n) < 0.5
    steps = rng.choice([2, 3, 4], n, p=[0.4, 0.35, 0.25])

    def mediator(arm: int) -> tuple[np.ndarray, ...]:
        on, check, slip = (0.93, 0.6, 0.05) if arm else (0.78, 0.25, 0.12)
        done = np.zeros(n, int)
        going = np.ones(n, bool)
        for j in range(4):
            going &= (rng.random(n) < on) & (j < steps)
            done += going
        wrong = (rng.random((n, 4)) < slip * slips) & (np.arange(4) < done[:, None])
        return done, wrong.any(axis=1), rng.random(n) < check

    def mean(arm: int, text: tuple[np.ndarray, ...]) -> tuple[float, float]:
        done, wrong, checked = text
        p = 0.34 - 0.07 * (steps - 2) - 0.06 * words + 0.05 * arm
        p = p + (0.9 + 0.1 * arm) * (0.13 * done * ~wrong + 0.13 * checked)
        assert p.min() > 0 and p.max() < 1
        return float(p.mean()), float(p.std() / np.sqrt(n))

    data = reasoning_texts(2, slips=slips)
    texts = [mediator(0), mediator(1)]
    for a in (0, 1):
        for b in (0, 1):
            value, error = mean(a, texts[b])
            assert abs(data.truth(xw.Y(a, xw.M(b))) - value) < 5 * error, (a, b)
    assert data.effect(TE) == pytest.approx(data.effect(NDE) + data.effect(NIE))
    assert data.effect(PNIE) != pytest.approx(data.effect(NIE))


def test_texts_say_what_the_numbers_say() -> None:
    data = reasoning_texts(400, seed=1, slips=True)
    assert np.array_equal(read_reasoning(data.frame["reasoning"].tolist()), data.hidden)
    assert data.hidden[:, 1].mean() > 0.1
    frame = data.frame
    assert frame["id"].value_counts().eq(2).all()
    assert frame.groupby("id")["prompt"].nunique().eq(1).all()
    assert frame["arm"].tolist() == ["hasty", "careful"] * 400
    assert set(frame["kind"]) == {"arithmetic", "words"}


def test_frequencies_are_those_of_the_model() -> None:
    data = reasoning_texts(20_000, seed=3, slips=True)
    for level, arm in enumerate(("hasty", "careful")):
        share = data.frame["correct"][data.frame["arm"] == arm].mean()
        assert abs(share - data.truth(xw.Y(level))) < 4 * np.sqrt(0.25 / 20_000)


def test_right_answers_are_right() -> None:
    """Sums by Python's own arithmetic; the words by hand."""
    frame = reasoning_texts(300, seed=2).frame
    for row in frame[frame["kind"] == "arithmetic"].itertuples():
        expected = eval(row.prompt.removeprefix("What is ").removesuffix("?"))
        assert expected >= 0
        assert (row.answer == str(expected)) == row.correct
    assert Puzzle("garden", ("reverse it", "drop the first letter")).answer == "edrag"
    assert Puzzle("island", ("swap the first two letters", "double the last letter")).answer == (
        "silandd"
    )
    assert Puzzle(
        "pocket", ("move the first letter to the end", "drop the last letter")
    ).answer == ("ocket")
    words = frame[frame["kind"] == "words"]
    whole = words[(words["correct"] == 1) & words["reasoning"].str.contains("Step 4")]
    assert len(whole) > 5
    for row in whole.itertuples():
        last = [line for line in row.reasoning.splitlines() if line.startswith("Step")][-1]
        assert last.endswith(f"-> {row.answer}.")
    rng = np.random.default_rng(0)
    for right in ("7", "0", "63", "edrag", "a"):
        assert all(spoil(right, rng) != right for _ in range(50))
    assert len(draw_puzzle(True, 4, rng).changes) == 4
    assert set(draw_puzzle(True, 4, rng).changes) <= set(CHANGES)


def test_words_tell_all_that_matters_unless_steps_may_be_wrong() -> None:
    method = xw.LearnedMediator(outcome="linear")
    robust = xw.MultiplyRobust(outcome="boosting", treatment="boosting")
    gaps = {}
    for slips in (False, True):
        other = reasoning_texts(800, seed=99, slips=slips).frame["reasoning"].tolist()
        data = reasoning_texts(1000, seed=5, slips=slips)
        texts = data.frame["reasoning"].tolist()
        found = xw.estimate(data.study(learn_components(other)(texts)), method, [NIE])["nie"]
        gaps[slips] = (found.estimate - data.effect(NIE)) / found.std_error
        numbers = read_reasoning(texts)
        expert = data.study(numbers[:, numbers.std(axis=0) > 0])
        known = xw.estimate(expert, robust, [TE, NDE, NIE])
        for effect in (TE, NDE, NIE):
            row = known[effect.name]
            assert abs(row.estimate - data.effect(effect)) < 3 * row.std_error, effect.name
    assert abs(gaps[False]) < 2.5
    assert gaps[True] < -1.5


def test_what_cannot_be_drawn_or_studied() -> None:
    for n in (0, True, 2.0):
        with pytest.raises(xw.errors.SpecError, match="at least 1"):
            reasoning_texts(n)
    data = reasoning_texts(5)
    for numbers in (np.zeros((3, 2)), np.zeros(10), np.full((10, 1), np.nan)):
        with pytest.raises(xw.errors.DesignError, match="10 traces"):
            data.study(numbers)
    first, second = (reasoning_texts(5, seed=1).frame for _ in range(2))
    assert first.equals(second)
