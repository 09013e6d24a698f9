"""Fits that serve again: the same bits, counted, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.core.analysis import Analysis
from crossworld.refute.dummy_outcome import DummyOutcome
from crossworld.refute.placebo import PlaceboTreatment
from crossworld.refute.placebo_mediator import PlaceboMediator
from crossworld.tables.robust import learners, reuse

FOLDS = 2
METHOD = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=FOLDS)
DRAWS = 10


def analysis(method: Any = METHOD, n: int = 200) -> Analysis[Any]:
    return Analysis(xw.datasets.linear(n=n, seed=1).study(), method)


def without_reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "digest", lambda *_: None)


@pytest.mark.parametrize("refuter", [DummyOutcome(DRAWS), PlaceboMediator(DRAWS)])
@pytest.mark.parametrize("workers", [1, 3])
def test_findings_are_the_same_bits_with_and_without(
    refuter: Any, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = analysis()
    result = question.run()
    first = refuter.refute(question, result, workers=workers)
    without_reuse(monkeypatch)
    second = refuter.refute(question, result)
    assert first[-1].data["reused_fits"] > 0 == second[-1].data["reused_fits"]
    for one, two in zip(first, second, strict=True):
        plain = {k: v for k, v in one.data.items() if k != "reused_fits"}
        other = {k: v for k, v in two.data.items() if k != "reused_fits"}
        assert replace(one, data=plain) == replace(two, data=other)


def test_what_a_refutation_leaves_alone_is_counted() -> None:
    """Cells Y(1), Y(0), Y(1, M(0)): five regressions of the outcome, two of the treatment."""
    question = analysis()
    result = question.run()
    dummy = DummyOutcome(DRAWS).refute(question, result)[0].data["reused_fits"]
    assert dummy == DRAWS * FOLDS * 2  # P(A | X) and P(A | X, M)
    placebo = PlaceboMediator(DRAWS).refute(question, result)[-1].data["reused_fits"]
    assert placebo == DRAWS * FOLDS * 3  # P(A | X), E[Y | 1, X] and E[Y | 0, X]
    assert PlaceboTreatment(DRAWS).refute(question, result)[0].data["reused_fits"] == 0


def test_estimators_with_threads_of_their_own_find_them_too() -> None:
    question = analysis(replace(METHOD, workers=2))
    (first, *_) = DummyOutcome(DRAWS).refute(question, question.run())
    assert first.data["reused_fits"] == DRAWS * FOLDS * 2


def test_nothing_is_kept_or_hashed_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> bytes:
        raise AssertionError("hashed")

    monkeypatch.setattr(reuse, "digest", refuse)
    analysis().run()
    assert reuse.active() is None


def test_only_fits_of_the_original_are_kept_and_never_more_than_the_limit() -> None:
    question = analysis()
    with reuse.remembering() as fits:
        question.run()
        assert not fits.kept
        with fits.recording():
            question.run()
        kept = len(fits.kept)
        assert kept == FOLDS * 6
        DummyOutcome(DRAWS).refute(question, question.run())
        assert len(fits.kept) == kept
    with reuse.remembering(limit=5) as few, few.recording():
        question.run()
    assert len(few.kept) == 5


def test_a_digest_tells_everything_apart() -> None:
    from sklearn.linear_model import LogisticRegression, Ridge

    rng = np.random.default_rng(0)
    x, y, w = rng.standard_normal((20, 3)), rng.standard_normal(20), rng.random(20)
    moved = x.copy()
    moved[3, 1] += 1e-15
    keys = [
        reuse.digest(Ridge(), x, y, None),
        reuse.digest(Ridge(alpha=2.0), x, y, None),
        reuse.digest(LogisticRegression(), x, y, None),
        reuse.digest(Ridge(), moved, y, None),
        reuse.digest(Ridge(), x, y + 1.0, None),
        reuse.digest(Ridge(), x, y, w),
        reuse.digest(Ridge(), x, y, 2.0 * w),
        reuse.digest(Ridge(), x.reshape(30, 2), y, None),
    ]
    assert None not in keys and len(set(keys)) == len(keys)
    assert keys[0] == reuse.digest(Ridge(), np.asfortranarray(x), y.copy(), None)


def test_options_inside_options_count() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    x, y = np.ones((4, 1)), np.ones(4)

    def key(*steps: Any) -> bytes | None:
        return reuse.digest(make_pipeline(*steps), x, y, None)

    scaled = key(StandardScaler(), Ridge())
    assert scaled is not None and scaled != key(StandardScaler(), Ridge(alpha=3.0))
    assert key(FunctionTransformer(np.log), Ridge()) is None  # what a function does is not seen


def test_learners_that_draw_without_a_seed_are_never_reused() -> None:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LogisticRegression

    x, y = np.ones((4, 1)), np.ones(4)
    forest = RandomForestRegressor
    assert reuse.digest(forest(), x, y, None) is None
    generator = np.random.RandomState(0)
    assert reuse.digest(forest(random_state=generator), x, y, None) is None
    assert reuse.digest(forest(random_state=0), x, y, None) is not None
    assert reuse.digest(LogisticRegression(), x, y, None) is not None
    assert reuse.digest(LogisticRegression(solver="saga"), x, y, None) is None


@pytest.mark.parametrize("name", ["linear", "logistic", "boosting", "forest", "auto"])
def test_every_named_learner_can_be_reused(name: str) -> None:
    recipe = learners.Recipe(name, "outcome", 0)
    x = np.random.default_rng(0).standard_normal((500, 2))
    y = (x[:, 0] > 0).astype(float)
    made = recipe.make(probability=name != "linear", rows=500)
    assert reuse.digest(made, x, y, None) is not None
