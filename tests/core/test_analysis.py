"""What an analysis refuses before it computes anything."""

from __future__ import annotations

import numpy as np
import pytest

from crossworld.core.analysis import Analysis, describe, estimate
from crossworld.core.effects import NIE, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.scores import Scores
from crossworld.errors import SpecError
from crossworld.infer.bootstrap import Bootstrap
from crossworld.infer.wald import Wald
from crossworld.tables.study import TableStudy


class Nothing:
    """An estimator that must never be reached."""

    def scores(self, study: TableStudy, cells: object) -> Scores:
        raise AssertionError("estimated although the question was wrong")


def study() -> TableStudy:
    rng = np.random.default_rng(0)
    a, m = rng.integers(0, 2, 40), rng.normal(size=40)
    return TableStudy.from_frame({"a": a, "m": m, "y": a + m}, "a -> m -> y")


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 95, float("nan")])
def test_level_is_a_probability(level: float) -> None:
    with pytest.raises(SpecError, match="between"):
        Analysis(study(), Nothing(), level=level)


def test_at_least_one_question_each_asked_once() -> None:
    with pytest.raises(SpecError, match="no effect"):
        Analysis(study(), Nothing(), ())
    with pytest.raises(SpecError, match="asked twice: te"):
        Analysis(study(), Nothing(), (TE, NIE, TE))


@pytest.mark.parametrize("asked", [["nie"], "nie", [NIE, Y(1)], [3]])
def test_python_takes_values_not_text(asked: object) -> None:
    with pytest.raises(SpecError, match=r"xw.NIE|not an estimand"):
        estimate(study(), Nothing(), asked)  # type: ignore[arg-type]


def test_an_estimator_has_scores() -> None:
    with pytest.raises(SpecError, match="not an estimator"):
        estimate(study(), "Regression", [NIE])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "question",
    [
        Estimand("odd", Y(2) - Y(0)),
        Estimand("odd", Y("high") - Y(0)),
        Estimand("odd", Y(1, k=0) - Y(0)),
        Estimand("odd", Y(1, m=7) - Y(0)),
    ],
)
def test_questions_the_study_cannot_hold_are_refused_first(question: Estimand) -> None:
    with pytest.raises(ValueError, match=r"not a level|not a mediator"):
        estimate(study(), Nothing(), [question])


def test_values_describe_what_differs_from_their_defaults() -> None:
    assert describe(Wald()) == "Wald()"
    assert describe(Wald(vcov="classic")) == "Wald(vcov='classic')"
    assert describe(Bootstrap(draws=50, seed=3)) == "Bootstrap(draws=50, seed=3)"
    assert describe("text") == "text"
