"""Text as mediators and as covariates, without replay."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crossworld as xw
from crossworld.errors import DesignError, IdentificationWarning, SpecError
from crossworld.reasoning.observational.distill import (
    DistantSupervision,
    NullspaceProjection,
    SalientFeatures,
    SimilarPassages,
    distill,
)
from crossworld.reasoning.observational.embedding import embed, sentence_clusters
from crossworld.reasoning.observational.front_door import front_door_table
from crossworld.reasoning.observational.leakage import leakage
from crossworld.reasoning.observational.table import as_table, natural_traces, to_table
from crossworld.reasoning.pocket import pocket_recording
from crossworld.tables.front_door import FrontDoor

ROLES: dict[str, Any] = {
    "question": "question",
    "prompt": "prompt",
    "reasoning": "reasoning",
    "outcome": "outcome",
    "draw": "draw",
    "replayed": "replayed",
}
DIRECT, CARRIED, SHIFT, HARD = 0.1, 0.5, 0.4, 0.2
GOOD, BAD = "We add with care. Then we check.", "We guess some number. Done."


def planted(questions: int = 500, draws: int = 4, seed: int = 1) -> pd.DataFrame:
    """Traces are good or bad: P(good) = 0.3 + SHIFT a - HARD d, Y has mean b0 + DIRECT a + ...

    ``nde`` is DIRECT and ``nie`` is CARRIED * SHIFT, whatever the difficulty d.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for q, a, k in product(range(questions), (0, 1), range(draws)):
        hard = q % 2
        good = rng.random() < 0.3 + SHIFT * a - HARD * hard
        mean = 0.2 - 0.15 * hard + DIRECT * a + CARRIED * good
        rows.append((f"q{q}", a, a, k, 0, GOOD if good else BAD, mean, hard, len(GOOD) + 20 * a))
    names = ["question", "prompt", "reasoning", "draw", "replayed", "shown", "outcome"]
    frame = pd.DataFrame(rows, columns=[*names, "hard", "prompt_length"])
    frame["outcome"] += 0.1 * rng.standard_normal(len(frame))
    frame["temperature"] = rng.choice([0.5, 1.0], len(frame))
    return frame


def study_of(frame: pd.DataFrame, **more: Any) -> xw.ReasoningStudy:
    return xw.ReasoningStudy.from_cells(frame, **ROLES, **more)


@pytest.fixture(scope="module")
def planted_study() -> xw.ReasoningStudy:
    return study_of(planted())


def near(effects: xw.EffectTable, name: str, truth: float) -> None:
    row = effects[name]
    assert row.estimate is not None and row.std_error is not None
    assert abs(row.estimate - truth) < 4 * row.std_error
    assert row.std_error < 0.02


@pytest.mark.parametrize("kind", ["components", "clusters"])
def test_planted_effects_are_found(planted_study: xw.ReasoningStudy, kind: Any) -> None:
    table = to_table(planted_study, kind=kind, components=2, covariates=["hard"])
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    effects = xw.estimate(table, method, [xw.TE, xw.NDE, xw.NIE])
    near(effects, "nde", DIRECT)
    near(effects, "nie", CARRIED * SHIFT)
    assert table.cluster is not None and int(table.cluster.max()) == 499


def test_regression_takes_the_components(planted_study: xw.ReasoningStudy) -> None:
    table = to_table(planted_study, components=1, covariates=["hard"])
    effects = xw.estimate(table, xw.Regression(), [xw.NDE, xw.NIE])
    near(effects, "nde", DIRECT)
    near(effects, "nie", CARRIED * SHIFT)


def test_components_do_not_look_at_prompt_or_outcome() -> None:
    frame = planted(60)
    other = frame.assign(outcome=-(frame["outcome"].to_numpy() ** 2))
    flipped = other.assign(prompt=1 - other["prompt"], reasoning=1 - other["reasoning"])
    tables = [to_table(study_of(f), components=3) for f in (frame, flipped)]
    for name in tables[0].path.mediators:
        np.testing.assert_array_equal(*(t.table[name].values for t in tables))


def test_the_embedder_is_what_counts(planted_study: xw.ReasoningStudy) -> None:
    def blind(texts: list[str]) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((len(texts), 2))

    method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    effects = xw.estimate(to_table(planted_study, embedder=blind), method, [xw.NDE, xw.NIE])
    near(effects, "nie", 0.0)
    near(effects, "nde", DIRECT + CARRIED * SHIFT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda texts: np.zeros(len(texts)), "shape"),
        (lambda texts: np.full((len(texts), 2), np.nan), "not finite"),
        (lambda texts: np.ones((len(texts), 2)), "look the same"),
    ],
)
def test_wrong_embedders_are_refused(
    planted_study: xw.ReasoningStudy, wrong: Any, message: str
) -> None:
    with pytest.raises(DesignError, match=message):
        to_table(planted_study, embedder=wrong)


def test_wrong_requests_are_refused(planted_study: xw.ReasoningStudy) -> None:
    with pytest.raises(SpecError, match="components"):
        to_table(planted_study, components=0)
    with pytest.raises(SpecError, match="kind"):
        to_table(planted_study, kind="sentences")  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="hardness"):
        to_table(planted_study, covariates=["hardness"])
    with pytest.raises(SpecError, match="list"):
        to_table(planted_study, covariates="hard")
    frame = planted(20)
    frame["replayed"] = 1
    with pytest.raises(DesignError, match="no natural trace"):
        to_table(study_of(frame))


def test_a_covariate_set_by_the_prompt_is_told(planted_study: xw.ReasoningStudy) -> None:
    with pytest.warns(IdentificationWarning, match="'prompt_length' differs between"):
        to_table(planted_study, covariates=["prompt_length"])
    to_table(planted_study, covariates=["hard", "temperature"])


def test_text_in_one_arm_only_is_refused() -> None:
    rows = pocket_recording("silent-careful")
    study = xw.ReasoningStudy.from_cells(
        rows, **{**ROLES, "outcome": "p_answer"}, wording="wording", levels=("silent", "careful")
    )
    with pytest.raises(DesignError, match="the text determines the prompt.*use Replay"):
        to_table(study, covariates=["difficulty"])
    with pytest.raises(DesignError, match="under one prompt only"):
        front_door_table(study)
    traces = natural_traces(study)
    columns = {f"m{j}": c for j, c in enumerate(embed(traces.texts, components=4).T)}
    table = as_table(study, traces, columns, ["difficulty"])
    method = xw.MultiplyRobust(outcome="linear", treatment="boosting", folds=2)
    told = xw.estimate(table, method, [xw.NIE]).diagnostics["warnings"]
    assert any(re.search("overlap: [0-9]+ units have a probability", w) for w in told)


def test_answers_that_cannot_be_parsed_count_as_zero() -> None:
    frame = planted(20)
    frame["outcome"] = np.where(frame["outcome"] > 0.3, 1.0, 0.0)
    frame.loc[frame.index[:5], "outcome"] = np.nan
    traces = natural_traces(study_of(frame))
    assert (traces.outcome[:5] == 0.0).all()
    assert len(traces.texts) == len(frame)


def test_replayed_rows_are_no_traces() -> None:
    frame = planted(20)
    frame.loc[frame["draw"] == 3, "replayed"] = 1
    assert len(to_table(study_of(frame), components=1)) == 20 * 2 * 3


def test_clusters_of_sentences() -> None:
    found = sentence_clusters(["One. Two.", "One.", "Two.", ""], clusters=2)
    assert found.shape == (4, 2)
    assert found.sum(axis=1).tolist() == [2, 1, 1, 0]
    assert not np.array_equal(found[1], found[2])


def front_door_rows(direct: float, seed: int = 3) -> pd.DataFrame:
    natural = planted(400, 2, seed)
    natural["outcome"] -= (DIRECT - direct) * natural["prompt"]
    shown = [natural.assign(replayed=1, prompt=a) for a in (0, 1)]
    for a, rows in enumerate(shown):
        rows["outcome"] += direct * (a - rows["reasoning"])
        rows["outcome"] += 0.05 * np.random.default_rng(a).standard_normal(len(rows))
    return pd.concat([natural, *shown], ignore_index=True)


def test_front_door_finds_the_carried_effect_and_replay_tests_it() -> None:
    found = front_door_table(study_of(front_door_rows(0.0)), clusters=2, covariates=["hard"])
    assert "not refuted by replay" in str(found)
    method = FrontDoor(outcome="linear", treatment="logistic", folds=2)
    near(xw.estimate(found.table, method, [xw.TE]), "te", CARRIED * SHIFT)
    bent = front_door_table(study_of(front_door_rows(DIRECT)), clusters=2, covariates=["hard"])
    assert re.search(r"; refuted by replay: nde \+0\.(09|10)", str(bent))
    # with a direct effect the formula still gives the carried part, which is not the total effect
    near(xw.estimate(bent.table, method, [xw.TE]), "te", CARRIED * SHIFT)


def test_front_door_without_replays_is_untested(planted_study: xw.ReasoningStudy) -> None:
    found = front_door_table(planted_study, clusters=2)
    assert found.direct is None
    assert "untested: no readout stands for" in str(found)


def test_area_and_interval_under_no_leakage_and_binormal() -> None:
    from scipy.stats import norm

    covered, areas, gap = 0, [], 1.0
    truth = float(norm.cdf(gap / np.sqrt(2)))
    for seed in range(60):
        rng = np.random.default_rng(seed)
        arm = np.arange(600) % 2
        x = rng.standard_normal((600, 1)) + gap * arm[:, None]
        told = leakage(x, arm, seed=seed)
        areas.append(told.auc)
        covered += told.conf_low < truth < told.conf_high
    assert abs(np.mean(areas) - truth) < 0.006
    assert 53 <= covered <= 60
    rng = np.random.default_rng(0)
    none = leakage(rng.standard_normal((600, 3)), np.arange(600) % 2)
    assert none.conf_low < 0.5 < none.conf_high


def test_copies_in_a_cluster_add_no_precision() -> None:
    rng = np.random.default_rng(5)
    arm = np.arange(200) % 2
    x = rng.standard_normal((200, 2)) + 0.8 * arm[:, None]
    once = leakage(x, arm)
    copied = leakage(np.repeat(x, 4, axis=0), np.repeat(arm, 4), cluster=np.repeat(range(200), 4))
    assert copied.clusters == 200
    assert copied.std_error == pytest.approx(once.std_error, rel=0.05)


def leaking(n: int = 300, seed: int = 2) -> tuple[list[str], np.ndarray]:
    """Content is independent of the treatment; one sentence names it."""
    rng = np.random.default_rng(seed)
    arm = np.arange(n) % 2
    words = np.array(["fever", "pain", "sleep", "walking", "shock", "reading"])
    texts = [
        f"Today {' and '.join(rng.choice(words, 3))}. "
        f"{'Started the new drug.' if a else 'Usual care was kept.'} "
        f"Later {rng.choice(words)} was seen."
        for a in arm
    ]
    return texts, arm


@pytest.mark.parametrize(
    "method",
    [
        SimilarPassages(("Started the new drug.", "Usual care was kept."), 0.8),
        DistantSupervision(0.8),
        SalientFeatures(8),
    ],
)
def test_texts_are_distilled(method: Any) -> None:
    texts, arm = leaking()
    found = distill(texts, arm, method=method)
    assert found.before.auc > 0.999
    assert found.after.conf_low < 0.5 < found.after.conf_high
    # what does not tell the treatment is still there
    assert all("Today" in text and "seen" in text for text in found.data)
    assert not any("drug" in text or "Usual" in text for text in found.data)
    assert 0.2 < found.removed < 0.5


def test_embeddings_are_projected() -> None:
    rng = np.random.default_rng(4)
    arm = np.arange(500) % 2
    x = rng.standard_normal((500, 6))
    x[:, 2] += 3.0 * arm
    found = distill(x, arm, method=NullspaceProjection(1))
    assert found.before.auc > 0.97
    assert found.after.auc < 0.65
    again = distill(x, arm, method=NullspaceProjection(2))
    assert again.after.auc < found.after.auc - 0.04
    assert again.after.conf_low < 0.55
    left = np.linalg.matrix_rank(found.data - found.data.mean(axis=0))
    assert left == 5
    kept = [abs(np.corrcoef(x[:, j], found.data[:, j])[0, 1]) for j in (0, 1, 3, 4, 5)]
    assert min(kept) > 0.95


def test_wrong_distillation_is_refused() -> None:
    texts, arm = leaking(40)
    with pytest.raises(DesignError, match="needs embeddings"):
        distill(texts, arm, method=NullspaceProjection(1))
    with pytest.raises(DesignError, match="works on texts"):
        distill(np.ones((40, 2)), arm, method=SalientFeatures(1))
    with pytest.raises(DesignError, match="two values|1 values"):
        leakage(texts, np.zeros(40))
    with pytest.raises(SpecError, match="threshold"):
        DistantSupervision(0.4)
    with pytest.raises(DesignError, match="list of texts"):
        leakage("one text", [1])


def test_leakage_of_a_study_is_that_of_its_natural_traces() -> None:
    frame = planted(200, 2)
    study = study_of(frame)
    told = leakage(study)
    same = leakage(frame["shown"].tolist(), frame["prompt"], cluster=frame["question"])
    assert told.clusters == 200
    assert told.auc == pytest.approx(same.auc, abs=0.03)
    # P(good) is 0.2 and 0.6 on average: AUC of a two-valued score is one half and half the gap
    assert told.conf_low < 0.5 + SHIFT / 2 < told.conf_high
    with pytest.raises(DesignError, match="own prompts"):
        leakage(study, frame["prompt"])
