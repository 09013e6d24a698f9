"""Effects of steps against hand counts, exact laws and published curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossworld import M, Multiplier, Y
from crossworld.errors import DesignError, EstimationError, SmallSampleWarning, SpecError
from crossworld.infer.wald import Wald
from crossworld.reasoning.steps import (
    Ariadne,
    Embedded,
    Measured,
    Rollouts,
    TfIdf,
    by_chance,
    divergence,
    early_answering,
    importance,
    policies,
    reappears,
    resilience,
    transplant,
)
from crossworld.reasoning.steps.gather import question_scores, rollout_scores
from crossworld.reasoning.steps.importance import deal, kept, replaced, smoothed_kl

P = np.array([0.2, 0.2, 0.75, 0.75])  # after 0, 1, 2, 3 steps: step 1 carries it all


def simulated(
    questions: int, readouts: int, *, p: Any = P, changed: float = 1.0, seed: int = 0
) -> Rollouts:
    """Rollouts at every step; those that do not change a step are as good as those that keep it."""
    rng = np.random.default_rng(seed)
    question, step, _ = (a.ravel() for a in np.indices((questions, len(p), readouts)))
    new = (rng.random(question.size) < changed) & (step < len(p) - 1)
    after = np.where(new | (step == len(p) - 1), step, step + 1)
    y = (rng.random(question.size) < np.asarray(p)[after]).astype(float)
    names = tuple(f"{q:03d}" for q in range(questions))
    return Rollouts(question, names, step, y, changed=new if changed < 1.0 else None)


def values(measured: Measured) -> dict[str, float]:
    return {e.name: e.expr.evaluate(measured.scores.mean).value for e in measured.estimands}


def test_importance_finds_the_step_and_its_sign() -> None:
    table = importance(simulated(80, 20, seed=1)).effects(Multiplier(draws=499))
    for term, truth in {
        "step(0)": 0.0, "step(1)": 0.55, "step(2)": 0.0,
        "share(0)": 0.0, "share(1)": 1.0, "share(2)": 0.0,
    }.items():  # fmt: skip
        row = table[term]
        assert row.conf_low is not None and row.conf_high is not None
        assert row.conf_low <= truth <= row.conf_high
        assert row.conf_high - row.conf_low < 0.3
    assert table["step(1)"].conf_low > 0.45  # type: ignore[operator]
    assert table.diagnostics["critical_value"] > 2.0


def test_a_step_that_comes_back_is_seen_by_its_changed_rollouts_only() -> None:
    held = simulated(150, 40, changed=0.25)
    changed = values(importance(held))
    every = values(importance(Rollouts(held.question, held.questions, held.step, held.outcome)))
    assert changed["step(1)"] == pytest.approx(0.55, abs=0.05)
    assert every["step(1)"] == pytest.approx(0.25 * 0.55, abs=0.05)
    told = importance(held).scores.diagnostics
    assert told["changed_share"] == pytest.approx(0.25, abs=0.03)
    assert told["questions_per_step"] == {0: 150, 1: 150, 2: 150}


def test_importance_is_the_paired_mean_by_hand() -> None:
    rows = pd.DataFrame(
        {
            "q": list("aaaaabbbbbccc"),
            "at": [0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 0, 0, 1],
            "y": [0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0],
        }
    )
    measured = importance(Rollouts.from_frame(rows, question="q", step="at", outcome="y"))
    found = {e.name: e.expr.evaluate(measured.scores.mean) for e in measured.estimands}
    differences = np.array([0.5, 0.5, -1.0])
    assert found["step(0)"].value == pytest.approx(differences.mean())
    assert found["step(0)"].std_error == pytest.approx(differences.std(ddof=1) / 3**0.5)
    assert found["step(1)"].value == pytest.approx((0.0 - 0.5) / 2)  # a and b have it
    assert found["step(1)"].std_error == pytest.approx(0.5 / 2**0.5 / 2**0.5)
    ends = np.array([0.5, 0.0, -1.0])
    assert found["share(0)"].value == pytest.approx(differences.mean() / ends.mean())


def test_one_trace_has_the_variance_of_its_rollouts() -> None:
    held = simulated(1, 60, seed=4)
    measured = importance(held, unit="rollout")
    found = {e.name: e.expr.evaluate(measured.scores.mean) for e in measured.estimands}
    p = [held.outcome[held.step == i].mean() for i in range(4)]
    for i in range(3):
        assert found[f"step({i})"].value == pytest.approx(p[i + 1] - p[i])
        variance = sum(q * (1 - q) / 59 for q in (p[i], p[i + 1]))
        assert found[f"step({i})"].std_error == pytest.approx(variance**0.5)
    # the rollouts after step 0 keep it and replace step 1: one of the two steps gains by them
    expected = -p[1] * (1 - p[1]) / 59
    assert found["step(0)"].covariance(found["step(1)"]) == pytest.approx(expected)
    with pytest.raises(EstimationError, match="2 questions"):
        importance(held)
    with pytest.raises(EstimationError, match="at least 2"):
        importance(simulated(1, 1), unit="rollout")


def test_question_scores_reduce_to_plain_means() -> None:
    full = np.random.default_rng(0).normal(size=(12, 2))
    cells = (Y(1), Y(0))
    held = question_scores(full, cells)
    assert held.values == pytest.approx(full)
    holes = full.copy()
    holes[:4, 1] = np.nan
    few = question_scores(holes, cells)
    assert few.mean(Y(0)).value == pytest.approx(full[4:, 1].mean())
    assert few.mean(Y(0)).std_error == pytest.approx(full[4:, 1].std(ddof=1) / 8**0.5)
    assert "fewer than 10" in few.diagnostics["warnings"][0]


def test_rollout_scores_average_questions() -> None:
    y = np.array([0.0, 1.0, 1.0, 4.0, 6.0])
    row, question = np.arange(5), np.array([0, 0, 0, 1, 1])
    held = rollout_scores((row, question, np.zeros(5, dtype=int)), y, cells=(Y(1),))
    assert held.mean(Y(1)).value == pytest.approx((2 / 3 + 5) / 2)
    expected = (np.var(y[:3], ddof=1) / 3 + np.var(y[3:], ddof=1) / 2) / 4
    assert held.mean(Y(1)).std_error ** 2 == pytest.approx(expected)


def test_texts_are_compared() -> None:
    rows = {
        "q": ["a"] * 4 + ["b"] * 4, "at": [0, 0, 1, 1] * 2, "y": list("xyxxyyxy"),
        "new": ["add 2 and 3", "a cat", "", "", "add 2 and 3", "no way", "", ""],
        "old": ["add 2 and 3"] * 2 + [""] * 2 + ["add 2 and 3"] * 2 + [""] * 2,
    }  # fmt: skip
    names = {"question": "q", "step": "at", "outcome": "y", "resampled": "new", "original": "old"}
    held = Rollouts.from_frame(rows, **names)
    changed = held.compared(threshold=0.5)
    assert changed.changed is not None
    assert changed.changed.tolist() == [False, True, False, False, False, True, False, False]
    found = values(importance(changed, target="x"))
    assert found["step(0)"] == pytest.approx((1.0 + 0.5) / 2)
    with pytest.raises(DesignError, match="target="):
        importance(changed)
    with pytest.raises(DesignError, match="resampled="):
        simulated(2, 2).compared()
    with pytest.raises(DesignError, match="'y2'"):
        Rollouts.from_frame(rows, question="q", step="at", outcome="y2")
    with pytest.raises(DesignError, match="lacks 1 of 8"):
        Rollouts.from_frame({**rows, "y": [None, *"yxxyyxy"]}, **names)


def test_similarities() -> None:
    left, right = ["2 + 3 = 5", "a b c"], ["2 + 3 = 6", "a b c"]
    near, same = TfIdf()(left, right)
    assert 0.2 < near < 1.0 and same == 1.0
    lookup = {"x": [1.0, 0.0], "y": [1.0, 1.0], "z": [-1.0, 0.0]}
    cosine = Embedded(lambda texts: np.array([lookup[t] for t in texts]))
    assert cosine(["x", "x"], ["y", "z"]) == pytest.approx([0.5**0.5, -1.0])
    with pytest.raises(EstimationError, match="shape"):
        Embedded(lambda _: np.zeros(3))(["x"], ["y"])


def test_the_divergence_is_jeffreys_smoothed() -> None:
    p, r = np.array([3.5, 1.5]) / 5, np.array([0.5, 4.5]) / 5
    expected = (p * np.log(p / r)).sum()
    assert smoothed_kl(np.array([3, 1]), np.array([0, 4])) == pytest.approx(expected)
    assert smoothed_kl(np.array([0, 4]), np.array([3, 1])) != pytest.approx(expected)


def test_hands_are_dealt_without_replacement() -> None:
    total, size = np.array([[5, 3, 2], [0, 4, 4]]), np.array([4, 3])
    hands = deal(total, size, 20_000, rng=np.random.default_rng(0))
    assert (hands.sum(axis=2) == size).all() and (hands <= total).all()
    share, n = total / total.sum(axis=1, keepdims=True), total.sum(axis=1)
    spread = (size * (n - size) / (n - 1))[:, None] * share * (1 - share)
    assert hands.mean(axis=0) == pytest.approx(size[:, None] * share, abs=0.03)
    assert hands.var(axis=0) == pytest.approx(spread, abs=0.03)


def test_a_divergence_has_its_null_at_zero() -> None:
    null = divergence(simulated(200, 20, p=[0.4, 0.4, 0.4], seed=1))
    table = null.effects(Multiplier(draws=499))
    for row in table:
        assert row.conf_low is not None and row.conf_high is not None
        assert row.conf_low < 0.0 < row.conf_high and row.conf_high - row.conf_low < 0.06
    assert all(0.02 < f < 0.06 for f in null.scores.diagnostics["floors"].values())
    assert min(null.scores.diagnostics["permutation_p"].values()) > 0.05
    step = divergence(simulated(60, 20, seed=2))
    moved = step.effects(Multiplier(draws=499))
    assert moved["kl(1)"].conf_low > 0.3  # type: ignore[operator]
    assert moved["kl(0)"].conf_low < 0.0 < moved["kl(0)"].conf_high  # type: ignore[operator]
    p = step.scores.diagnostics["permutation_p"]
    assert p["kl(1)"] == 1 / 501 and min(p["kl(0)"], p["kl(2)"]) > 0.05
    again = divergence(simulated(60, 20)).scores.values
    assert (again == divergence(simulated(60, 20)).scores.values).all()


def test_the_transplant_curve_of_thought_branches(shared_data: Path) -> None:
    """P(cue) .321 after the first sentence, .994 at the end: +.673 +- .075 (1.96 SE)."""
    file = shared_data / "reasoning/thought_branches_faith/faith_counterfactual_qwen-14b.csv"
    rows = pd.read_csv(file)
    held = transplant(rows, question="pn", position="sentence_num", outcome="cue_p")
    table = held.effects(Wald())
    assert len(held.scores) == 47
    assert table["curve(0)"].estimate == pytest.approx(0.321, abs=5e-4)
    assert table["curve(1)"].estimate == pytest.approx(0.994, abs=5e-4)
    rise = table["rise(0, 1)"]
    assert rise.estimate == pytest.approx(0.673, abs=5e-4)
    assert 1.96 * (rise.std_error or 0.0) == pytest.approx(0.0746, abs=1e-4)
    shares = held.effects(Multiplier(draws=999), only="share")
    assert sum(r.estimate or 0.0 for r in shares) == pytest.approx(1.0)
    assert len(shares) == 10
    assert all(r.conf_low is not None and r.conf_low < (r.estimate or 0.0) for r in shares)
    some, none = shares["share(0.5, 0.6)"], shares["share(0, 0.1)"]
    assert some.estimate == pytest.approx(0.1541, abs=1e-4)
    assert some.conf_low is not None and some.conf_low > 0.03
    assert none.conf_high is not None and none.conf_high < 0.1


def test_a_curve_is_straight_between_its_positions() -> None:
    rows = {"q": list("aaabb"), "at": [3, 4, 5, 0, 2], "y": [0.0, 0.8, 1.0, 0.5, 0.1]}
    held = transplant(rows, question="q", position="at", outcome="y", grid=(0, 0.25, 1))
    assert held.scores.values[:, held.scores.cells.index(Y(0, M(1, "first 0.25")))].tolist() == (
        pytest.approx([0.4, 0.4])
    )
    assert values(held)["rise(0.25, 1)"] == pytest.approx((0.6 - 0.3) / 2)
    with pytest.raises(SpecError, match="increases"):
        transplant(rows, question="q", position="at", outcome="y", grid=(0, 0))
    with pytest.raises(DesignError, match="one position"):
        transplant({"q": ["a"], "at": [0], "y": [1]}, question="q", position="at", outcome="y")


def test_the_area_over_the_curve() -> None:
    rows = {"q": list("aaabb"), "x": [0, 0.5, 0.75, 0, 0.2], "same": [0.0, 0.4, 1.0, 1.0, 0.0]}
    found = values(early_answering(rows, question="q", share="x", agrees="same"))
    areas = [0.5 * 0.2 + 0.25 * 0.7 + 0.25, 0.2 * 0.5 + 0.8 * 0.5]
    assert found["aoc"] == pytest.approx(1.0 - np.mean(areas))
    assert found["agree(0)"] == pytest.approx(0.5)
    again = {**rows, "q": list("aaabbab"), "x": [*rows["x"], 1, 1], "same": [*rows["same"], 0.8, 1]}
    held = early_answering(again, question="q", share="x", agrees="same")
    areas[0] -= 0.25 * 0.1
    assert values(held)["aoc"] == pytest.approx(1.0 - np.mean(areas))
    assert values(held)["aoc above floor"] == pytest.approx(0.9 - np.mean(areas))
    assert held.scores.diagnostics["floors"]["aoc"] == pytest.approx(0.1)
    with pytest.raises(DesignError, match="share 0"):
        early_answering({"q": ["a"], "x": [0.5], "s": [1]}, question="q", share="x", agrees="s")
    with pytest.raises(DesignError, match="'b'"):
        early_answering(
            {"q": ["a", "b"], "x": [0, 0.5], "s": [1, 1]}, question="q", share="x", agrees="s"
        )


def test_resilience_counts_rounds_until_the_content_is_gone() -> None:
    rows = pd.DataFrame(
        {  # gone in round 3; a second chain, gone at once; alive after 3
            "q": ["a", "a", "a", "a", "b", "b", "b"],
            "s": 0,
            "r": [1, 2, 3, 1, 1, 2, 3],
            "back": [1, 1, 0, 0, 1, 1, 1],
            "chance": [0, 0, 0, 0, 1, 0, 0],
        }
    )
    names = {"question": "q", "step": "s", "round": "r", "reappears": "back"}
    held = resilience(rows, **names, by_chance="chance")
    found = values(held)
    assert found["resilience(0)"] == pytest.approx(((3 + 1) / 2 + 3) / 2)
    assert found["resilience above floor(0)"] == pytest.approx(2.5 - ((1 + 1) / 2 + 2) / 2)
    assert held.scores.diagnostics["still_alive"] == 1
    assert held.scores.diagnostics["chains"] == 3
    with pytest.raises(DesignError, match="round 3"):
        resilience(rows.drop(index=1), **names)


def test_what_reappears() -> None:
    texts = ["It rains. We then add 2 and 3.", "", "Nothing of it."]
    steps = ["We add 2 and 3.", "We add 2 and 3.", "We add 2 and 3."]
    assert reappears(steps, texts, threshold=0.5).tolist() == [True, False, False]
    others = by_chance(["a", "b", "c", "c"], ["q1", "q1", "q2", "q3"], seed=2)
    assert others[0] == "c" and others[1] == "c" and others[2] in "abc"
    with pytest.raises(DesignError, match="one question"):
        by_chance(["a"], ["q"])


def test_ariadne() -> None:
    rows = {
        "q": list("aabbcc"), "done": [1, 0] * 3, "s": [0.9, 1.0, 0.8, 0.9, 0.2, 1.0],
        "no": [1, 0, 0, 0, 1, 0], "size": [20, 20, 30, 5, 40, 30],
    }  # fmt: skip
    names = {"question": "q", "similarity": "s", "intervened": "done"}
    phi = values(Ariadne().phi(rows, **names))
    assert phi["phi"] == pytest.approx((0.1 + 0.2 + 0.8) / 3)
    assert phi["phi above floor"] == pytest.approx(1.1 / 3 - 0.1 / 3)
    found = values(Ariadne().violations(rows, **names, contradicts="no", length="size"))
    assert found["violation"] == pytest.approx(1 / 3)
    assert found["violation floor"] == pytest.approx(2 / 3)
    assert values(Ariadne(tau=0.85).violations(rows, **names))["violation"] == pytest.approx(1 / 3)
    with pytest.raises(DesignError, match="-0.1"):
        Ariadne().phi({"q": ["a"], "s": [-0.1]}, question="q", similarity="s")
    with pytest.raises(SpecError, match="tau"):
        Ariadne(tau=80)


def test_on_and_off_policy_are_contrasted() -> None:
    on = simulated(120, 20, seed=2)
    rng = np.random.default_rng(9)
    question, step, _ = (a.ravel() for a in np.indices((120, 3, 20)))
    p = np.array([0.2, 0.6, 0.75])[step]  # by hand, step 1 loses 0.15 and not 0.55
    y = (rng.random(step.size) < p).astype(float)
    keep = (step < 2) | (question < 100)
    names = tuple(f"{q:03d}" for q in range(120))
    off = Rollouts(question[keep], names, step[keep], y[keep])
    table = policies(on, off).effects(Multiplier(draws=499))
    for term, truth in {"on(1)": 0.55, "off(1)": 0.15, "off - on(1)": -0.4, "on(0)": 0.0}.items():
        row = table[term]
        assert row.conf_low is not None and row.conf_high is not None
        assert row.conf_low <= truth <= row.conf_high < truth + 0.1
    assert table["off - on"].estimate == pytest.approx(
        (table["off"].estimate or 0.0) - (table["on"].estimate or 0.0)
    )
    assert table["off - on"].estimate == pytest.approx(-0.4 / 3, abs=0.03)
    with pytest.raises(DesignError, match="both|off-policy"):
        policies(on, Rollouts(off.question, tuple(f"z{q}" for q in range(120)), off.step, y[keep]))


def test_effects_say_what_is_missing() -> None:
    held = importance(simulated(12, 4))
    with pytest.raises(DesignError, match=r"step\(0\)"):
        held.effects(Wald(), only="nothing")
    with pytest.raises(DesignError, match="no step"):
        importance(Rollouts.from_frame({"q": ["a"], "s": [0], "y": [1]}, question="q", step="s",
                                       outcome="y"))  # fmt: skip
    with pytest.warns(SmallSampleWarning):
        importance(simulated(5, 4)).effects(Wald(), only="step")
    assert str(kept(3) - replaced(3)) == "Y(1, M(1, 'keep 3')) - Y(1, M(1, 'replace 3'))"


@pytest.mark.slow
def test_bands_hold_for_all_steps_at_once() -> None:
    """Family-wise coverage over 20 steps; pointwise intervals would all hold in under half."""
    held = 0
    for seed in range(200):
        rollouts = simulated(50, 10, p=np.full(21, 0.5), seed=seed)
        band = Multiplier(draws=499, seed=seed)
        table = importance(rollouts).effects(band, only="step")
        assert len(table) == 20
        held += all(r.conf_low <= 0.0 <= r.conf_high for r in table)  # type: ignore[operator]
    assert 0.90 <= held / 200 <= 0.99
