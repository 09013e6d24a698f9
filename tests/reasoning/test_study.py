"""Reading a cell table: roles, levels, sources, and everything that is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, TE, TNDE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import G, M, set_
from crossworld.errors import DesignError, SmallSampleWarning
from crossworld.reasoning.reader import label
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy
from tests.reasoning.readouts import ROLES, crossed


def study(frame: Any, **changes: Any) -> ReasoningStudy:
    return ReasoningStudy.from_cells(frame, **{**ROLES, "draw": "draw", **changes})


def small(**columns: Any) -> dict[str, list[Any]]:
    """Two questions with the cells Y(0), Y(1, M(0)) and Y(1)."""
    told: dict[str, list[Any]] = {
        "id": ["a", "a", "a", "b", "b", "b"],
        "arm": [0, 1, 1, 0, 1, 1],
        "shown_arm": [0, 0, 1, 0, 0, 1],
        "correct": [0, 0, 1, 0, 1, 1],
    }
    return {**told, **columns}


def test_frames_files_and_dicts_read_the_same(tmp_path: Path) -> None:
    frame = crossed(12)
    frame["correct"] = frame["correct"].where(frame.index % 17 > 0)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv.gz", index=False)
    frame.to_parquet(tmp_path / "c.parquet")
    frame.to_json(tmp_path / "d.jsonl", orient="records", lines=True)
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress((tmp_path / "d.jsonl").read_bytes()))
    import pyarrow as pa

    sources: list[Any] = [frame, frame.to_dict("list"), pa.Table.from_pandas(frame)]
    sources += sorted(tmp_path.iterdir())
    assert len(sources) == 8
    found = [estimate(study(s), Replay(), [TE, NDE]) for s in sources]
    for table in found[1:]:
        assert [r.estimate for r in table] == [r.estimate for r in found[0]]
        assert table.diagnostics["missing_answers"] == found[0].diagnostics["missing_answers"]
    assert found[0].diagnostics["missing_answers"]["count"] > 0


def test_levels_are_labels_and_zero_one_stand_for_them() -> None:
    frame = crossed(12).replace({"arm": {0: "hasty", 1: "careful"}})
    frame["shown_arm"] = frame["shown_arm"].map({0: "hasty", 1: "careful"})
    held = study(frame, levels=("hasty", "careful"))
    asked = [NIE, Estimand("named", Y("careful") - Y("careful", M("hasty")))]
    found = estimate(held, Replay(), asked)
    assert found["nie"].estimate == found["named"].estimate
    assert found["nie"].estimate == pytest.approx(
        estimate(study(crossed(12)), Replay())["nie"].estimate
    )
    turned = estimate(study(frame, levels=("careful", "hasty")), Replay(), [TE, TNDE])
    plain = estimate(held, Replay(), [TE, NDE])
    assert turned["te"].estimate == pytest.approx(-plain["te"].estimate)
    assert turned["tnde"].estimate == pytest.approx(-plain["nde"].estimate)


def test_true_and_false_are_levels() -> None:
    frame = crossed(12)
    flags = frame.assign(arm=frame["arm"] == 1, shown_arm=frame["shown_arm"] == 1)
    texts = flags.assign(arm=flags["arm"].astype(str), shown_arm=flags["shown_arm"].astype(str))
    for told in (flags, texts):
        for levels in ((0, 1), (False, True)):
            found = estimate(study(told, levels=levels), Replay(), [NDE])
            assert found["nde"].estimate == estimate(study(frame), Replay(), [NDE])["nde"].estimate
    assert [label(v) for v in (np.float64(2.0), np.int64(2), "2.00", "2.5")] == [
        "2",
        "2",
        "2",
        "2.5",
    ]


def test_a_natural_readout_has_its_own_reasoning_whatever_it_is_called() -> None:
    told = small(shown_arm=["none", "old", "self", "none", "old", "self"], replayed=[0, 1, 0] * 2)
    held = ReasoningStudy.from_cells(told, **ROLES, replayed="replayed", sources={"old": 0})
    assert set(held.holds().cells) == {"Y(0)", "Y(1)", "Y(1, M(0))"}
    assert held.holds().can == ("te", "nde", "nie", "ide", "iie", "oe")


def test_what_is_no_arm_is_a_named_source() -> None:
    told = small(shown_arm=[0, "gold", 1, 0, "gold", 1])
    held = ReasoningStudy.from_cells(told, **ROLES)
    with pytest.warns(SmallSampleWarning, match="only 2 clusters"):
        found = estimate(held, Replay(), [Estimand("gold", Y(1, M("gold")) - Y(1))])
    assert found["gold"].estimate == -0.5
    names = [a["name"] for a in found.identification["assumptions"]]
    assert "mediator intervention" in names


def test_missing_cells_are_named_and_so_is_what_is_there() -> None:
    frame = crossed(12)
    held = study(frame[(frame["arm"] == 1) <= (frame["shown_arm"] == 0)])
    assert held.holds().can == ("nde", "pnie", "ide")
    assert held.holds().cannot["te"] == ("Y(1)",)
    with pytest.raises(
        DesignError, match=r"no readout stands for Y\(1\) \(prompt '1' with its own"
    ):
        estimate(held, Replay(), [TE])
    with pytest.raises(DesignError, match="it can give nde, pnie, ide"):
        estimate(held, Replay(), [NIE])
    assert "not te: no Y(1)" in str(held.holds())


def test_a_random_draw_is_the_same_experiment() -> None:
    found = estimate(study(crossed(12)), Replay(), [NDE, Estimand("ide", Y(1, G(0)) - Y(0, G(0)))])
    assert found["ide"].estimate == found["nde"].estimate


@pytest.mark.parametrize(
    ("effect", "message"),
    [
        (Y(1, set_(0)), "named source"),
        (Y(1).quantile(0.5), "outcome column"),
        (Y(1, M("gould")), "no prompt arm and no source"),
        (Y("third"), "no prompt arm"),
        (Y(1, M(1, "shuffle")), "edited by 'shuffle'"),
    ],
)
def test_cells_that_make_no_sense_are_refused(effect: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        estimate(study(crossed(12)), Replay(), [Estimand("odd", effect - Y(0))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "ids"}, "question column 'ids' is not in the table. Did you mean 'id'"),
        ({"outcome": "corect"}, "Did you mean 'correct'"),
        ({"levels": (0, 2)}, "'2' is no prompt arm of column 'arm', whose values are '0', '1'"),
        ({"levels": (1, 1)}, "both '1'"),
        ({"where": {"arm": 7}}, "arm = 7|arm = '7'"),
        ({"where": {"arms": 1}}, "Did you mean 'arm'"),
        ({"where": {"id": "a"}}, "holds 1 question"),
        ({"sources": {"default": 1}}, "sources renames 'default'"),
    ],
)
def test_roles_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        ReasoningStudy.from_cells(small(), **{**ROLES, **changes})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", None, "a", "b", "b", "b"]}, "question column 'id' is missing in 1 of 6"),
        ({"correct": [0, 0, "yes", 0, 1, 1]}, "'yes', which is no number"),
        ({"correct": [0, 0, 5.0, None, 1, 1]}, "no worst case"),
        ({"correct": [None] * 6}, "missing in every row"),
        ({"replayed": [0, 0, 0, 0, 1, 0]}, "not replayed but shows reasoning of '0'"),
        ({"replayed": [0, 2, 0, 0, 1, 0]}, "it is 0 or 1"),
        ({"shown_arm": [0, None, 1, 0, 0, 1], "replayed": [0, 1, 0, 0, 1, 0]}, "whose reasoning"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(columns: dict[str, Any], message: str) -> None:
    roles = {**ROLES, "replayed": "replayed"} if "replayed" in columns else ROLES
    with pytest.raises(DesignError, match=message):
        ReasoningStudy.from_cells(small(**columns), **roles)


def test_duplicates_are_listed() -> None:
    frame = crossed(12, 2)
    with pytest.raises(DesignError) as caught:
        ReasoningStudy.from_cells(frame, **ROLES)
    assert "48 readouts are in the table more than once" in str(caught.value)
    assert "question 'q0', prompt '0', reasoning '0', natural (2 rows)" in str(caught.value)
    assert "draw=" in str(caught.value)
    again = pd.concat([frame, frame.iloc[[5]]])
    with pytest.raises(DesignError, match="1 readouts.*remove the copies"):
        study(again)


def test_where_takes_one_value_or_several() -> None:
    frame = pd.concat([crossed(12).assign(model="a"), crossed(12, seed=1).assign(model="b")])
    one = study(frame, where={"model": "b"})
    assert estimate(one, Replay(), [TE])["te"].estimate == (
        estimate(study(crossed(12, seed=1)), Replay(), [TE])["te"].estimate
    )
    both = study(frame, where={"model": ["a", "b"]}, cluster="model")
    assert len(both) == 24
    assert one.spec()["where"] == {"model": "b"}
    with pytest.raises(DesignError, match="more than once"):
        study(frame)


def test_the_spec_builds_the_study_again(tmp_path: Path) -> None:
    file = tmp_path / "cells.csv"
    crossed(12).assign(model="m").to_csv(file, index=False)
    held = study(file, where={"model": "m"})
    told = held.spec()
    assert told.pop("kind") == "reasoning"
    again = ReasoningStudy.from_cells(told.pop("data"), **{**told, "levels": tuple(told["levels"])})
    assert again.sha256() == held.sha256()
    assert again.spec() == held.spec()
    found = [estimate(s, Replay(), [NDE])["nde"] for s in (held, again)]
    assert found[0] == found[1]


def test_the_fingerprint_sees_the_data() -> None:
    frame = crossed(12)
    other = frame.assign(correct=1.0 - frame["correct"])
    assert study(frame).sha256() == study(frame).sha256() != study(other).sha256()


def test_take_keeps_questions_and_repeats_them() -> None:
    held = study(crossed(12))
    scores = Replay().scores(held, [Y(1), Y(0)])
    index = np.array([3, 3, 7, 0])
    part = Replay().scores(held.take(index), [Y(1), Y(0)])
    np.testing.assert_array_equal(part.values, scores.values[index])
    assert part.n_clusters == 4
    assert len(held.take(index).take(np.array([0, 2]))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1}\nnot json\n', "line 2 of .* is not JSON"),
        ('{"id": 1}\n{"id": 2, "arm"', "line 2 of .* cut off, so collect again"),
        ("[1, 2]\n", "no object"),
        ("  \n", "is empty"),
    ],
)
def test_broken_json_lines_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text(text)
    with pytest.raises(DesignError, match=message):
        ReasoningStudy.from_cells(file, **ROLES)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match="cannot read"):
        ReasoningStudy.from_cells(tmp_path / "none.csv", **ROLES)
    (tmp_path / "a.csv").write_text("id,id,arm\n1,2,3\n")
    with pytest.raises(DesignError, match="more than one column named 'id'"):
        ReasoningStudy.from_cells(tmp_path / "a.csv", **ROLES)
    with pytest.raises(DesignError, match="got int"):
        ReasoningStudy.from_cells(7, **ROLES)
