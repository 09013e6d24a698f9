"""Length of reasoning: counted, as a mediator in a table, and contrasted within questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, TE
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.lengths import length_contrast, length_table, lengths, with_lengths
from crossworld.reasoning.pocket import pocket_recording
from crossworld.reasoning.study import ReasoningStudy
from crossworld.tables.regression import Regression

ROLES = {"question": "id", "prompt": "arm", "reasoning": "shown_of", "outcome": "score"}


def written(questions: int, traces: int, *, seed: int) -> dict[str, Any]:
    """Traces 8 longer under arm 1 and 5 longer per unit of difficulty, which costs 0.3 of score."""
    rng = np.random.default_rng(seed)
    hard = np.repeat(rng.integers(0, 4, questions), 2 * traces)
    arm = np.tile(np.repeat([0, 1], traces), questions)
    words = 10 + 8 * arm + 5 * hard + rng.integers(0, 9, arm.size)
    score = 1 + 0.1 * arm + 0.02 * words - 0.3 * hard + rng.normal(0, 0.1, arm.size)
    return {
        "id": np.repeat([f"q{i}" for i in range(questions)], 2 * traces),
        "arm": arm,
        "shown_of": arm,
        "draw": np.tile(np.arange(traces), 2 * questions),
        "words": words,
        "hard": hard,
        "score": score,
    }


def study(table: dict[str, Any], **roles: Any) -> ReasoningStudy:
    return ReasoningStudy.from_cells(table, **{**ROLES, "draw": "draw", **roles})


def test_lengths_of_texts() -> None:
    texts = ["Add 2 and 3.\n\nThat is 5. ", "", "naïve é", None, float("nan")]
    np.testing.assert_array_equal(lengths(texts), [7, 0, 2, np.nan, np.nan])
    np.testing.assert_array_equal(lengths(texts, "characters"), [26 - 1, 0, 7, np.nan, np.nan])
    np.testing.assert_array_equal(lengths(texts, "steps"), [2, 0, 1, np.nan, np.nan])
    with pytest.raises(SpecError, match="unit of length 'token'"):
        lengths(texts, "token")  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="row 1"):
        lengths(["a", 3])


def test_lengths_become_columns_of_a_cell_table() -> None:
    cells = pocket_recording("hasty-careful")
    added = with_lengths(cells[cells["question"] < "q0060"])
    assert set(added) == {*cells.columns, "characters", "words", "steps"}
    steps = np.array(added["steps"])
    own = np.array([t.count("\n") + 1 if t else 0 for t in added["shown"]])
    assert (steps == own).mean() > 0.99  # the pocket reasoner writes a step on a line
    with pytest.raises(DesignError, match="'words' already"):
        with_lengths(added, units=["words"])


def test_length_as_a_mediator_is_recovered_with_its_confounder() -> None:
    made = study(written(800, 2, seed=4))
    adjusted = estimate(
        length_table(made, length="words", adjust=["hard"]), Regression(), [TE, NDE, NIE]
    )
    for name, value in {"te": 0.26, "nde": 0.1, "nie": 0.16}.items():
        error = adjusted[name].std_error or 0.0
        assert abs((adjusted[name].estimate or 0.0) - value) < 3.5 * error < 0.05
    naive = estimate(length_table(made, length="words"), Regression(), [NIE])["nie"]
    assert (naive.conf_high or 0.0) < 0.1  # harder questions have longer traces and lower scores


def test_only_natural_rows_are_taken_and_questions_are_clusters() -> None:
    table = written(30, 2, seed=1)
    replays = {n: v.copy() for n, v in table.items()}
    replays["arm"] = 1 - replays["arm"]
    replays["score"] = replays["score"] + 100
    both = {n: np.concatenate([table[n], replays[n]]) for n in table}
    both["replayed"] = np.repeat([0, 1], len(table["arm"]))
    made = length_table(study(both, replayed="replayed"), length="words", adjust=["hard"])
    assert len(made) == 120
    assert made.outcome.max() < 100
    assert made.cluster is not None
    assert made.cluster.max() == 29
    both["replayed"][:] = 1
    both["draw"] = np.arange(240)
    with pytest.raises(DesignError, match="no natural readout of prompt '0'"):
        length_table(study(both, replayed="replayed"), length="words")


def test_longer_against_shorter_within_questions() -> None:
    """Within a question a word is worth 0.02; across questions longer traces score lower."""
    table = written(300, 6, seed=2)
    made = length_contrast(study(table), length="words")
    gap = made.longer - made.shorter
    assert made.estimate.value == pytest.approx(0.02 * gap, abs=4 * made.estimate.std_error)
    assert made.estimate.interval()[0] > 0.04
    one = table["arm"] == 1
    words, score = table["words"][one], table["score"][one]
    long = words > np.median(words)
    assert score[long].mean() - score[~long].mean() < -0.1
    assert made.questions + made.left_out == 300
    assert "observational" in str(made)


def test_the_contrast_by_hand_with_a_cut() -> None:
    table = {
        "id": ["a"] * 3 + ["b"] * 3 + ["c"] * 3,
        "arm": [1] * 8 + [0],
        "shown_of": [1] * 8 + [0],
        "draw": [0, 1, 2] * 3,
        "words": [5, 10, 30, 10, 20, 40, 1, 2, 90],
        "score": [0.0, 0.5, 1.0, 0.2, 0.4, 0.9, 0.0, 1.0, 0.0],
    }
    made = length_contrast(study(table), length="words", cut=10)
    # a: 1 - (0 + 0.5) / 2 = 0.75; b: (0.4 + 0.9) / 2 - 0.2 = 0.45; c has only shorter ones
    assert made.estimate.value == pytest.approx(0.6)
    assert (made.questions, made.left_out) == (2, 1)
    assert (made.longer, made.shorter) == pytest.approx((30.0, 8.75))
    # half the range of two values is their standard error; t with 1 degree of freedom
    assert made.estimate.interval()[1] == pytest.approx(0.6 + 12.7062 * 0.15, abs=1e-3)
    with pytest.raises(DesignError, match="0 questions have natural traces"):
        length_contrast(study(table), length="words", cut=1000)
    with pytest.raises(DesignError, match="0 questions have natural traces"):
        length_contrast(study(table), length="words", prompt=0)


def test_bad_columns_are_refused_in_words() -> None:
    table = written(10, 2, seed=1)
    with pytest.raises(DesignError, match="length column 'word'"):
        length_table(study(table), length="word")
    with pytest.raises(DesignError, match="varies within question"):
        length_table(study(table | {"later": table["score"]}), length="words", adjust=["later"])
    texts = table | {"text": ["so"] * 40}
    with pytest.raises(DesignError, match="holds texts"):
        length_table(study(texts), length="text")
    gaps = table | {"tokens": [None, *range(39)]}
    with pytest.raises(DesignError, match="missing in 1 natural"):
        length_contrast(study(gaps), length="tokens", prompt=0)
    with pytest.raises(DesignError, match="own columns"):
        length_table(study(table), length="words", adjust=["words"])
