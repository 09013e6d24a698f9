"""Replay against scipy and statsmodels, and everything that is printed beside an effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crossworld.core.analysis import estimate
from crossworld.core.effects import INT_MED, NDE, NIE, PM, PNIE, TE, TNDE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import M
from crossworld.errors import DesignError, SmallSampleWarning, SpecError
from crossworld.infer.bootstrap import Bootstrap
from crossworld.infer.multiplier import Multiplier
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.several import by_model
from crossworld.reasoning.study import ReasoningStudy
from tests.reasoning.readouts import ROLES, crossed

SIDES = {"te": ((1, 1), (0, 0)), "nde": ((1, 0), (0, 0)), "nie": ((1, 1), (1, 0))}


def study(frame: Any, **changes: Any) -> ReasoningStudy:
    return ReasoningStudy.from_cells(frame, **{**ROLES, "draw": "draw", **changes})


def question_means(frame: pd.DataFrame, arm: int, shown: int) -> pd.Series:
    rows = frame[(frame["arm"] == arm) & (frame["shown_arm"] == shown)]
    return rows.groupby("id")["correct"].mean()


def test_the_interval_is_that_of_a_paired_t_test_over_questions() -> None:
    frame = crossed(25, 4)
    frame = frame.drop(frame.sample(60, random_state=1).index)  # unequal numbers of draws
    found = estimate(study(frame), Replay(), [TE, NDE, NIE], level=0.9)
    assert found.diagnostics["left_out"]["count"] == 0
    for term, (one, two) in SIDES.items():
        differences = question_means(frame, *one) - question_means(frame, *two)
        test = stats.ttest_1samp(differences, 0.0)
        low, high = test.confidence_interval(0.9)
        row = found[term]
        assert row.estimate == pytest.approx(differences.mean(), abs=1e-12)
        assert (row.conf_low, row.conf_high) == pytest.approx((low, high), abs=1e-9)
        assert row.p_value == pytest.approx(test.pvalue, abs=1e-9)


def test_the_effects_add_up_and_have_the_signs_of_the_law() -> None:
    found = estimate(study(crossed(2000, 2)), Replay(), [TE, NDE, NIE, TNDE, PNIE, INT_MED, PM])
    value = {row.term: row.estimate or 0.0 for row in found}
    assert value["te"] == pytest.approx(value["nde"] + value["nie"])
    assert value["te"] == pytest.approx(value["tnde"] + value["pnie"])
    for term, truth in {"te": 0.55, "nde": 0.15, "nie": 0.4, "pnie": 0.4, "int_med": 0.0}.items():
        row = found[term]
        assert abs(value[term] - truth) < 4.0 * (row.std_error or 0.0)
    assert found["pm"].conf_method == "fieller"
    assert found["pm"].conf_low < 0.4 / 0.55 < found["pm"].conf_high


def test_every_inference_takes_it_and_resampling_is_resampling() -> None:
    held = study(crossed(30, 2))
    wald = estimate(held, Replay(), [NDE])["nde"]
    boot = estimate(held, Replay(), [NDE], inference=Bootstrap(draws=2000))["nde"]
    band = estimate(held, Replay(), [NDE], inference=Multiplier(draws=500))["nde"]
    assert wald.estimate == boot.estimate == band.estimate
    assert boot.std_error == pytest.approx(wald.std_error, rel=0.08)
    counts = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=3).astype(float)
    cells = [Y(1), Y(0)]
    fast = Replay().prepare(held, cells).resampled(counts)
    for count, means in zip(counts, fast, strict=True):
        rows = np.repeat(np.arange(30), count.astype(int))
        np.testing.assert_allclose(Replay().scores(held.take(rows), cells).means(), means)


def test_own_reasoning_replayed_stands_for_itself_and_the_floor_is_told() -> None:
    frame = crossed(60, 2)
    natural = frame[frame["arm"] == frame["shown_arm"]].copy()
    natural["correct"] = np.random.default_rng(9).random(len(natural)) < 0.5
    both = pd.concat([frame.assign(replayed=1), natural.assign(replayed=0)])
    held = study(both, replayed="replayed")
    shown, written = (estimate(held, Replay(own), [TE, NDE]) for own in ("replayed", "natural"))
    plain = estimate(study(frame), Replay(), [TE, NDE])
    assert [r.estimate for r in shown] == pytest.approx([r.estimate for r in plain])
    alone = estimate(study(natural), Replay(), [TE])
    assert written["te"].estimate == pytest.approx(alone["te"].estimate)
    assert shown["te"].estimate != written["te"].estimate
    for table in (shown, written):
        for arm in (0, 1):
            floor = table.diagnostics["replay_floor"][str(arm)]
            d = question_means(natural, arm, arm) - question_means(frame, arm, arm)
            low, high = stats.ttest_1samp(d, 0.0).confidence_interval()
            assert floor["estimate"] == pytest.approx(d.mean())
            assert (floor["conf_low"], floor["conf_high"]) == pytest.approx((low, high))
    assert "natural readouts stand for Y(0)" in written.warnings[0]
    assert not any("natural readouts stand" in w for w in shown.warnings)
    assert any("no larger than the replay floor" in w for w in shown.warnings)


def test_a_question_without_a_cell_is_left_out_counted_and_listed() -> None:
    frame = crossed(20, 2)
    lacks = (frame["id"].isin(["q3", "q7"])) & (frame["arm"] == 1) & (frame["shown_arm"] == 0)
    found = estimate(study(frame[~lacks]), Replay(), [TE, NDE])
    assert found.diagnostics["left_out"] == {
        "count": 2,
        "questions": ["q3", "q7"],
        "lacking": {"Y(1, M(0))": 2},
    }
    assert found.diagnostics["n_units"] == 18
    assert "2 of 20 questions" in " ".join(found.warnings)
    rest = estimate(study(frame[~frame["id"].isin(["q3", "q7"])]), Replay(), [TE, NDE])
    assert found["te"] == rest["te"]
    assert estimate(study(frame[~lacks]), Replay(), [TE]).diagnostics["n_units"] == 20


def test_few_questions_warn_and_one_is_refused() -> None:
    with pytest.warns(SmallSampleWarning, match="only 9 clusters"):
        few = estimate(study(crossed(9)), Replay(), [TE])["te"]
    half = (few.conf_high - few.conf_low) / 2.0
    assert half == pytest.approx(stats.t.ppf(0.975, 8) * few.std_error)
    frame = crossed(10)
    only = frame[(frame["id"] == "q0") | (frame["arm"] == 0)]
    with pytest.raises(DesignError, match=r"1 questions have a readout in all .*Y\(1\): 1"):
        estimate(study(only), Replay(), [TE])


def test_an_answer_that_cannot_be_parsed_scores_0_with_bounds() -> None:
    frame = crossed(30, 1)
    lost = frame.index[(frame["arm"] == 1) & (frame["shown_arm"] == 0)][:6]
    holes = frame.copy()
    holes.loc[lost, "correct"] = np.nan
    found = estimate(study(holes), Replay(), [NDE, NIE])
    told = found.diagnostics["missing_answers"]
    zeros, ones = frame.copy(), frame.copy()
    zeros.loc[lost, "correct"], ones.loc[lost, "correct"] = 0.0, 1.0
    worst = [estimate(study(f), Replay(), [NDE, NIE]) for f in (zeros, ones)]
    assert found["nde"] == worst[0]["nde"]
    assert told["count"] == told["cells"]["Y(1, M(0))"] == 6
    assert told["bounds"]["nde"] == pytest.approx([t["nde"].estimate for t in worst])
    assert told["bounds"]["nie"] == pytest.approx([t["nie"].estimate for t in worst[::-1]])
    assert any("6 answers could not be parsed" in w for w in found.warnings)
    holes.loc[(holes["arm"] == 1) & (holes["shown_arm"] == 0), "correct"] = np.nan
    with pytest.raises(DesignError, match="not measured there"):
        estimate(study(holes), Replay(), [NDE])


def test_marked_reasoning_is_counted_and_taken_out() -> None:
    frame = crossed(40, 3)
    rng = np.random.default_rng(4)
    frame["leaked"] = (rng.random(len(frame)) < np.where(frame["shown_arm"] == 1, 0.7, 0.1)) * 1
    found = estimate(study(frame), Replay(), [NIE])
    told = found.diagnostics["flags"]["leaked"]
    for cell, arm, shown in (("Y(1)", 1, 1), ("Y(1, M(0))", 1, 0)):
        rows = frame[(frame["arm"] == arm) & (frame["shown_arm"] == shown)]
        assert told["share"][cell] == pytest.approx(rows["leaked"].mean())
    for word, value in (("without", 0), ("only", 1)):
        part = estimate(study(frame[frame["leaked"] == value]), Replay(), [NIE])
        held = told[word]["nie"]
        assert held["estimate"] == pytest.approx(part["nie"].estimate)
        assert held["conf_low"] == pytest.approx(part["nie"].conf_low)
        assert held["questions"] == part.diagnostics["n_units"] < 40
    assert any("marked 'leaked'" in w for w in found.warnings)
    assert estimate(study(frame), Replay(flags=()), [NIE]).diagnostics["flags"] == {}
    with pytest.raises(DesignError, match="flag column 'leak' is not in the table"):
        estimate(study(frame), Replay(flags=("leak",)), [NIE])
    with pytest.raises(DesignError, match="it is 0 or 1"):
        estimate(study(frame), Replay(flags=("id",)), [NIE])


@pytest.mark.parametrize("as_text", [True, False])
def test_readouts_that_reason_again_are_reported(as_text: bool) -> None:
    frame = crossed(40, 2)
    natural = frame["arm"] == frame["shown_arm"]  # these are long because they reason first
    length = np.where((frame["arm"] == 1) & (frame.index % 3 == 0) | natural, 500, 20)
    frame["readout"] = ["x" * n for n in length] if as_text else length
    found = estimate(study(frame), Replay(readout="readout", longest=100), [NDE])
    shares = found.diagnostics["compliance"]["long"]
    rows = frame[(frame["arm"] == 1) & (frame["shown_arm"] == 0)]
    assert shares["Y(1, M(0))"] == pytest.approx((rows.index % 3 == 0).mean())
    assert shares["Y(0)"] == 0.0
    assert any("reasons again" in w for w in found.warnings)
    short = estimate(study(frame[(length < 100) | natural]), Replay(), [NDE])["nde"].estimate
    assert found.diagnostics["compliance"]["without"]["nde"]["estimate"] == pytest.approx(short)
    calm = estimate(study(frame), Replay(readout="readout", longest=1000), [NDE])
    assert not any("reasons again" in w for w in calm.warnings)


def test_an_empty_text_is_a_value_and_is_counted() -> None:
    frame = crossed(20, 1).assign(shown="because")
    frame.loc[(frame["shown_arm"] == 0) & (frame["arm"] == 1), "shown"] = ""
    found = estimate(study(frame), Replay(), [NDE])
    assert found.diagnostics["empty_reasoning"] == {"Y(0)": 0, "Y(1, M(0))": 20}
    assert found.diagnostics["n_units"] == 20
    without = estimate(study(frame.drop(columns="shown")), Replay(), [NDE])
    assert found["nde"] == without["nde"]


def test_questions_that_cannot_move_are_counted() -> None:
    frame = crossed(30, 1)
    frame.loc[(frame["arm"] == 0) & (frame["shown_arm"] == 0), "correct"] = 1.0
    found = estimate(study(frame), Replay(), [TE])
    told = found.diagnostics["ceiling"]
    rows = frame[(frame["arm"] == 1) & (frame["shown_arm"] == 1)]["correct"]
    assert told["cells"]["Y(0)"] == {"at_0": 0, "at_1": 30}
    assert told["effects"]["te"] == {
        "questions": 30,
        "moved_up": 0,
        "moved_down": int((rows == 0).sum()),
    }
    assert any("Y(0) is at the ceiling in 30 of 30" in w for w in found.warnings)


def test_edits_are_cells_of_their_own() -> None:
    frame = crossed(40, 2).assign(edit=None)
    shuffled = frame[(frame["arm"] == 1) & (frame["shown_arm"] == 1)].copy()
    shuffled["edit"], shuffled["correct"] = "shuffle", shuffled["correct"] * 0.25
    held = study(pd.concat([frame, shuffled]), edit="edit")
    asked = Estimand("kept", Y(1, M(1, "shuffle")) - Y(1))
    found = estimate(held, Replay(), [asked, TE])
    own = question_means(frame, 1, 1).mean()
    assert found["kept"].estimate == pytest.approx(-0.75 * own)
    assert found["te"] == estimate(study(frame), Replay(), [TE])["te"]
    assert "Y(1, M(1, 'shuffle'))" in held.holds().cells
    named = {a["name"]: a for a in found.identification["assumptions"]}
    assert found.identification["by"] == "experiment"
    assert "'shuffle'" in named["mediator intervention"]["statement"]
    assert named["R1 replay consistency"]["testable"]
    assert not named["R2 the text is the whole channel"]["testable"]
    assert all(a["decided_by"] for a in named.values())


def test_wordings_weigh_equally_and_their_spread_is_told() -> None:
    one = crossed(30, 3).assign(wording="w1")
    two = crossed(30, 1, seed=5).assign(wording="w2")
    both = pd.concat([one, two])
    found = estimate(study(both, wording="wording"), Replay(), [NIE])
    alone = [estimate(study(f), Replay(), [NIE])["nie"].estimate for f in (one, two)]
    assert found["nie"].estimate == pytest.approx(np.mean(alone))
    told = found.diagnostics["wording"]["effects"]["nie"]
    assert list(told["each"].values()) == pytest.approx(alone)
    assert told["two_way"]["spread"] == pytest.approx(np.std(alone, ddof=1))
    assert told["two_way"]["clusters"] == 2


def several(unbalanced: bool = False) -> pd.DataFrame:
    parts = [crossed(24, 1, seed=s).assign(model=f"m{s}") for s in range(5)]
    frame = pd.concat(parts)
    if unbalanced:
        frame = frame[~((frame["model"] == "m4") & frame["id"].isin([f"q{i}" for i in range(9)]))]
    return frame


def test_two_way_clusters_agree_with_statsmodels() -> None:
    import statsmodels.api as sm
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    frame = several()
    keys = ["id", "model"]
    one = frame[(frame["arm"] == 1) & (frame["shown_arm"] == 1)].set_index(keys)["correct"]
    two = frame[(frame["arm"] == 0) & (frame["shown_arm"] == 0)].set_index(keys)["correct"]
    d = (one - two).reset_index()
    fit = sm.OLS(d["correct"], np.ones(len(d))).fit()
    codes = [pd.factorize(d[key])[0] for key in keys]
    both, by_q, by_m = (float(np.squeeze(v)) for v in cov_cluster_2groups(fit, *codes))
    found = by_model(study(frame, cluster="model"), [TE])
    told = found.two_way["te"]
    assert told["estimate"] == pytest.approx(fit.params.iloc[0])
    assert told["std_error"] ** 2 == pytest.approx(max(both, by_q, by_m), rel=1e-9)
    half = stats.t.ppf(0.975, 4) * told["std_error"]
    assert told["conf_high"] - told["estimate"] == pytest.approx(half)
    assert found.pooled["te"].std_error ** 2 == pytest.approx(by_q, rel=1e-9)


def test_models_have_their_own_effects_and_share_a_family() -> None:
    frame = several()
    found = by_model(study(frame, cluster="model"), [TE, NIE])
    assert [r.model for r in found.rows if r.term == "te"] == [f"m{s}" for s in range(5)]
    for name, part in frame.groupby("model"):
        alone = estimate(study(part), Replay(), [TE, NIE])
        assert found.tables[str(name)]["nie"] == alone["nie"]
        assert found.tables[str(name)].diagnostics["ceiling"] == alone.diagnostics["ceiling"]
    from statsmodels.stats.multitest import multipletests

    p = [r.p_value for r in found.rows if r.term == "nie"]
    held = [r.p_adjusted for r in found.rows if r.term == "nie"]
    np.testing.assert_allclose(held, multipletests(p, method="holm")[1])
    assert list(found.to_frame()["model"].unique()) == [f"m{s}" for s in range(5)]
    assert found.tables["m2"].spec["study"]["where"] == {"model": "m2"}


def test_max_t_is_that_of_the_multiplier_bootstrap() -> None:
    from crossworld.core.estimate import Estimate
    from crossworld.infer.multiplier import max_t

    frame = several()
    found = by_model(study(frame, cluster="model"), [NDE], adjust="max-t")
    family = []
    for _, part in frame.groupby("model"):
        d = question_means(part, 1, 0) - question_means(part, 0, 0)
        family.append(Estimate(d.mean(), (d - d.mean()).to_numpy(), np.arange(24)))
    band = max_t(family, Multiplier(draws=20_000, seed=3), level=0.95)
    assert found.bands["nde"] == pytest.approx(band.critical_value, rel=0.02)
    assert found.bands["nde"] > stats.t.ppf(0.975, 23)
    for row, one in zip(found.rows, family, strict=True):
        assert row.p_adjusted == pytest.approx(band.p_value(one.value / one.std_error), abs=0.015)
        assert row.p_adjusted >= row.p_value
    wide = by_model(study(several(unbalanced=True), cluster="model"), [NDE], adjust="max-t")
    assert all(r.p_adjusted >= r.p_value for r in wide.rows)
    assert [r.questions for r in wide.rows] == [24, 24, 24, 24, 15]
    with pytest.raises(SpecError, match="sums of cells"):
        by_model(study(frame, cluster="model"), [PM], adjust="max-t")


def test_a_question_counts_once_however_many_models_answered_it() -> None:
    frame = several(unbalanced=True)
    found = by_model(study(frame, cluster="model"), [TE])
    one = frame[(frame["arm"] == 1) & (frame["shown_arm"] == 1)].groupby("id")["correct"].mean()
    two = frame[(frame["arm"] == 0) & (frame["shown_arm"] == 0)].groupby("id")["correct"].mean()
    assert found.pooled["te"].estimate == pytest.approx((one - two).mean())
    assert found.two_way["te"]["estimate"] == pytest.approx((one - two).mean())
    test = stats.ttest_1samp(one - two, 0.0).confidence_interval()
    assert found.pooled["te"].conf_low == pytest.approx(test.low)


def test_a_model_without_a_cell_is_named() -> None:
    frame = several()
    frame = frame[(frame["model"] != "m1") | (frame["arm"] == 0)]
    found = by_model(study(frame, cluster="model"), [TE])
    assert list(found.absent) == ["m1"]
    assert "0 questions have a readout in all" in found.absent["m1"]
    assert len(found.rows) == 4
    with pytest.raises(DesignError, match="one model"):
        by_model(study(crossed(20)), [TE])


def test_a_cluster_that_questions_lie_in_takes_their_place() -> None:
    frame = crossed(40, 1)
    frame["family"] = frame["id"].str[1:].astype(int) // 2
    found = estimate(study(frame, cluster="family"), Replay(), [NIE])
    d = question_means(frame, 1, 1) - question_means(frame, 1, 0)
    sums = (d - d.mean()).groupby(d.index.str[1:].astype(int) // 2).sum()
    assert found.diagnostics["n_clusters"] == 20
    expected = np.sqrt((sums**2).sum() * 20 / 19) / 40
    assert found["nie"].std_error == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"own": "naturl"}, "natural"), ({"longest": 0}, "at least 1"), ({"flags": "leaked"}, "list")],
)
def test_odd_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Replay(**options)


def test_a_table_study_is_refused() -> None:
    from crossworld import datasets

    with pytest.raises(DesignError, match="from_cells"):
        Replay().scores(datasets.linear(n=50).study(), [Y(1)])  # type: ignore[arg-type]


def test_an_edit_of_part_of_the_traces_is_told() -> None:
    whole = [(q, 1, 1, None, draw, float(draw)) for q in range(12) for draw in (0, 1)]
    cut = [(q, 1, 1, "cut", 0, 0.0) for q in range(12)]
    cut += [(q, 1, 1, "cut", 1, 1.0) for q in range(5)]
    names = ("question", "prompt", "reasoning", "edit", "draw", "y")
    rows = [*whole, *cut, ("z", 0, 0, None, 0, 0.0)]
    table = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    table["replayed"] = [1] * len(rows)
    roles = {n: n for n in names[:-1]}
    study = ReasoningStudy.from_cells(table, **roles, outcome="y", replayed="replayed")
    cells = (Y(1), Y(1, M(1, "cut")))
    found = Replay().scores(study, cells).diagnostics
    assert found["edited_in_part"] == {"Y(1, M(1, 'cut'))": 7}
    assert any("in 7 questions only part of the readouts" in w for w in found["warnings"])
    every = {n: [v for v, e, d in zip(c, table["edit"], table["draw"], strict=True) if d == 0]
             for n, c in table.items()}  # fmt: skip
    again = ReasoningStudy.from_cells(every, **roles, outcome="y", replayed="replayed")
    assert Replay().scores(again, cells).diagnostics["edited_in_part"] == {}


def test_one_model_is_no_cluster() -> None:
    alone = crossed(12).assign(model="gpt")
    study = ReasoningStudy.from_cells(alone, **ROLES, draw="draw", cluster="model")
    with pytest.raises(DesignError, match="all 12 questions belong to one value of .*'model'"):
        estimate(study, Replay(), [TE])
    plain = ReasoningStudy.from_cells(alone, **ROLES, draw="draw")
    assert estimate(plain, Replay(), [TE])["te"].std_error is not None


@pytest.mark.parametrize(
    "odd", ["\u8d28\u95ee {}", "{}\u200b", "a\n{}", "\U0001f600 {}", "{}" + "x" * 3000]
)
def test_ids_may_be_any_text(odd: str) -> None:
    told = crossed(15)
    plain = estimate(ReasoningStudy.from_cells(told, **ROLES, draw="draw"), Replay(), [TE])["te"]
    named = told.assign(id=[odd.format(v) for v in told["id"]])
    study = ReasoningStudy.from_cells(named, **ROLES, draw="draw")
    assert estimate(study, Replay(), [TE])["te"] == plain
    arms = {0: odd.format("no"), 1: odd.format("yes")}
    named = named.assign(arm=named["arm"].map(arms), shown_arm=named["shown_arm"].map(arms))
    study = ReasoningStudy.from_cells(named, **ROLES, draw="draw", levels=(arms[0], arms[1]))
    assert estimate(study, Replay(), [TE])["te"] == plain


@pytest.mark.parametrize("kinds", [(int, str), (float, int), (bool, str), (str, float)])
def test_levels_of_one_value_and_two_types_are_one_level(kinds: tuple[Any, Any]) -> None:
    told = crossed(15)
    plain = estimate(ReasoningStudy.from_cells(told, **ROLES, draw="draw"), Replay())
    mixed = {c: list(told[c]) for c in told}
    mixed["arm"] = [kinds[0](v) for v in mixed["arm"]]
    mixed["shown_arm"] = [kinds[1](v) for v in mixed["shown_arm"]]
    found = estimate(ReasoningStudy.from_cells(mixed, **ROLES, draw="draw"), Replay())
    assert list(found) == list(plain)
