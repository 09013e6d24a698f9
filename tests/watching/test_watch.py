"""Watching is running: every window is what ``run`` would say of its rows alone."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pytest

import crossworld as xw
from crossworld.errors import DesignError, NotIdentifiedError, SpecError
from crossworld.watching.drift import evidence, widened

from .streams import LOG_SPEC, SPEC, add, lines, readouts, spec, table

TERMS = ("te", "nde", "nie")


def alone(frame: pd.DataFrame, document: dict = SPEC) -> xw.EffectTable:
    options = {k: v for k, v in document["study"].items() if k not in ("data", "path")}
    study = xw.TableStudy.from_frame(frame, document["study"]["path"], **options)
    return xw.estimate(study, xw.Regression())


def test_every_window_is_what_run_says_of_its_rows(tmp_path: Path) -> None:
    frame = table(500)
    add(frame, tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), xw.Windows(200, step=100))
    assert [(w.start, w.end, w.apart) for w in seen.windows] == [
        (0, 200, True), (100, 300, False), (200, 400, True), (300, 500, False),
    ]  # fmt: skip
    for w in seen.windows:
        expected = alone(frame[int(w.start) : int(w.end)])
        for row in expected:
            held = w.effect(row.term)
            assert held is not None
            assert held.estimate == pytest.approx(row.estimate, abs=1e-12)
            assert held.std_error == pytest.approx(row.std_error, abs=1e-12)
            assert (held.conf_low, held.p_value) == (
                pytest.approx(row.conf_low), pytest.approx(row.p_value),
            )  # fmt: skip


def test_the_evidence_is_that_of_windows_that_share_no_row(tmp_path: Path) -> None:
    add(table(800, moves_at=400), tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), xw.Windows(200, step=100))
    apart = [w for w in seen.windows if w.apart]
    assert [w.start for w in apart] == [0, 200, 400, 600]
    for term in TERMS:
        held = [w.effect(term) for w in apart]
        points = [(e.estimate, widened(e.std_error, 199)) for e in held]
        for n in (1, 2, 3):
            values, errors = zip(*points[1 : n + 1], strict=True)
            found = evidence(values, errors, reference=points[0])
            assert held[n].log_e == pytest.approx(found.log_e)
            assert held[n].since == apart[1 + found.since].index
        assert held[0].log_e is None
    assert all(e.log_e is None for w in seen.windows if not w.apart for e in w.effects)


def test_a_shift_of_the_indirect_effect_raises_its_alarm_and_no_other(tmp_path: Path) -> None:
    add(table(2400, moves_at=1200), tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), 200)
    nie, nde = seen.alarm("nie"), seen.alarm("nde")
    assert nie.raised and nie.at is not None and nie.at >= 6
    assert nie.since == 6
    assert nie.shift == pytest.approx(0.6, abs=0.25)
    assert not nde.raised
    assert seen.threshold == pytest.approx(60.0)
    frame = seen.to_frame()
    raised = frame[frame.alarm & (frame.term == "nie")]
    assert list(raised.window) == list(range(nie.at, 12))
    assert "ALARM nie: moved by about" in str(seen)
    assert "from rows 1,201-1,400 on" in str(seen)


def test_nothing_moves_no_alarm(tmp_path: Path) -> None:
    add(table(2400, seed=1), tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), 200)
    assert not any(a.raised for a in seen.alarms)
    assert "no alarm (evidence below 60" in str(seen)


def test_a_table_that_grows_gives_what_it_gives_at_once(tmp_path: Path) -> None:
    frame = table(900, moves_at=450)
    file = tmp_path / "t.csv"
    add(frame[:130], file)
    seen = xw.watch(spec(tmp_path), xw.Windows(200, step=70), state=tmp_path / "s.json")
    assert len(seen) == 0 and seen.waiting.startswith("rows up to number 200; 130 so far")
    for start in range(130, 900, 110):
        add(frame[start : start + 110], file)
        seen = xw.watch(spec(tmp_path), xw.Windows(200, step=70), state=tmp_path / "s.json")
    at_once = xw.watch(spec(tmp_path), xw.Windows(200, step=70))
    assert json.dumps(seen.to_dict()) == json.dumps(at_once.to_dict())
    assert len(seen) == 11
    assert len(seen.cursor.pending) < 200


def test_update_looks_again_and_leaves_the_old_value(tmp_path: Path) -> None:
    frame = table(400)
    add(frame[:250], tmp_path / "t.csv")
    first = xw.watch(spec(tmp_path), 200)
    add(frame[250:], tmp_path / "t.csv")
    assert (len(first), len(first.update())) == (1, 2)
    assert len(first) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.windows = ()  # type: ignore[misc]


def test_a_rotated_table_goes_on_across_restarts(tmp_path: Path) -> None:
    frame = table(600)
    file, state = tmp_path / "t.csv", tmp_path / "s.json"
    add(frame[:250], file)
    xw.watch(spec(tmp_path), 200, state=state)
    add(frame[250:330], file)
    file.rename(tmp_path / "t.csv.1")
    add(frame[330:], file)
    seen = xw.watch(spec(tmp_path), 200, state=state)
    whole = tmp_path / "whole"
    whole.mkdir()
    add(frame, whole / "t.csv")
    expected = xw.watch(spec(whole), 200)
    assert [w.effects for w in seen.windows] == [w.effects for w in expected.windows]
    assert "rotated after row 250: 80 more rows" in seen.notes[0]


@pytest.mark.parametrize("step", [None, "1d"])
def test_windows_of_time(tmp_path: Path, step: str | None) -> None:
    frame = table(24 * 9)
    add(frame, tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), xw.Windows("2d", step=step, time="t"))
    assert len(seen) == (4 if step is None else 7)
    assert seen.span(seen.windows[1]) == (
        "2026-03-03 to 2026-03-05" if step is None else "2026-03-02 to 2026-03-04"
    )
    second = frame[48:96] if step is None else frame[24:72]
    held = seen.windows[1].effect("nie")
    assert held is not None
    assert held.estimate == pytest.approx(alone(second)["nie"].estimate, abs=1e-12)
    assert str(seen.to_frame().start[3])[:10] == ("2026-03-03" if step is None else "2026-03-02")
    assert "a row at or after 2026-03-" in seen.waiting


def test_rows_that_come_late_are_counted_and_not_used(tmp_path: Path) -> None:
    frame = table(24 * 5)
    add(frame[:100], tmp_path / "t.csv")
    windows = xw.Windows("2d", time="t")
    state = tmp_path / "s.json"
    first = xw.watch(spec(tmp_path), windows, state=state)
    add(frame[3:9], tmp_path / "t.csv")
    add(frame[100:], tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), windows, state=state)
    assert seen.cursor.late == 6
    assert "6 rows came after their window was closed" in str(seen)
    assert seen.windows[:2] == first.windows[:2]


def test_a_log_is_cut_by_questions_that_have_every_cell(tmp_path: Path) -> None:
    rows = readouts(80)
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "log.jsonl").write_text(lines(rows))
    expected = xw.watch(spec(whole, LOG_SPEC), 20)
    assert len(expected) == 4
    assert expected.span(expected.windows[1]) == "questions 21-40"
    for k, w in enumerate(expected.windows):
        held = pd.DataFrame(rows[60 * k : 60 * k + 60])
        study = xw.ReasoningStudy.from_cells(
            held, question="q", prompt="arm", reasoning="shown", outcome="right"
        )
        alone = xw.estimate(study, xw.Replay())
        assert [e.estimate for e in w.effects] == [pytest.approx(r.estimate) for r in alone]
        assert (w.n_units, w.df) == (20, 19)
    # arm by arm in blocks of ten, and one question that is never finished
    blocks = [rows[30 * b : 30 * b + 30] for b in range(8)]
    order = [r for block in blocks for arm in range(3) for r in block[arm::3]]
    order.insert(5, {"q": "stuck", "arm": 0, "shown": 0, "right": 1})
    file, state = tmp_path / "log.jsonl", tmp_path / "s.json"
    for start in range(0, len(order), 37):
        with file.open("a") as out:
            out.write(lines(order[start : start + 37]))
        seen = xw.watch(spec(tmp_path, LOG_SPEC), 20, state=state)
    assert [w.effects for w in seen.windows] == [w.effects for w in expected.windows]
    assert "have every cell that is asked for" in seen.waiting


def test_a_question_waits_for_its_replayed_readout_where_the_log_has_such(tmp_path: Path) -> None:
    """Its natural readout comes first; the replayed one is what the estimator takes."""
    rows = []
    for row in readouts(20):
        if row["arm"] == row["shown"]:
            rows.append({**row, "right": 0, "replayed": 0})
        rows.append({**row, "replayed": 1})
    (tmp_path / "log.jsonl").write_text(lines(rows))
    document = {"study": {**LOG_SPEC["study"], "replayed": "replayed"}}
    seen = xw.watch(spec(tmp_path, document), 10)
    for k, w in enumerate(seen.windows):
        study = xw.ReasoningStudy.from_cells(
            pd.DataFrame(rows[50 * k : 50 * k + 50]), question="q", prompt="arm",
            reasoning="shown", outcome="right", replayed="replayed",
        )  # fmt: skip
        expected = xw.estimate(study, xw.Replay())
        assert [e.estimate for e in w.effects] == [pytest.approx(r.estimate) for r in expected]
    assert len(seen) == 2


def test_parquet_across_restarts(tmp_path: Path) -> None:
    frame = table(500)
    document = {"study": {**SPEC["study"], "data": "t.parquet"}}
    file, state = tmp_path / "t.parquet", tmp_path / "s.json"
    frame[:250].to_parquet(file)
    assert len(xw.watch(spec(tmp_path, document), 200, state=state)) == 1
    frame.to_parquet(file)
    seen = xw.watch(spec(tmp_path, document), 200, state=state)
    expected = alone(frame[200:400])
    held = seen.windows[1].effect("te")
    assert held is not None
    assert held.estimate == pytest.approx(expected["te"].estimate, abs=1e-12)


def test_a_result_can_be_the_reference(tmp_path: Path) -> None:
    trial = alone(table(1000, seed=3))
    trial.to_json(tmp_path / "trial.json")
    add(table(1000, moves_at=0), tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), 200, reference=tmp_path / "trial.json")
    assert seen.reference is None
    first = seen.windows[0].effect("nie")
    assert first is not None
    expected = evidence(
        [first.estimate],
        [widened(first.std_error, 199)],
        reference=(trial["nie"].estimate, widened(trial["nie"].std_error, 999)),
    )
    assert first.log_e == pytest.approx(expected.log_e)
    assert seen.alarm("nie").raised
    assert seen.alarm("nie").reference == trial["nie"].estimate


def test_a_ratio_is_compared_by_logarithms_and_a_proportion_not_at_all(tmp_path: Path) -> None:
    document = {**SPEC, "ask": {"effects": ["te", "pm", "Y(1) / Y(0)"]}}
    frame = table(400)
    frame["y"] += 20.0
    add(frame, tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path, document), 200)
    assert dict(seen.compared) == {"te": "identity", "pm": "", "Y(1) / Y(0)": "log"}
    assert seen.threshold == pytest.approx(40.0)
    first, second = (w.effect("Y(1) / Y(0)") for w in seen.windows)
    logs = [(math.log(e.estimate), widened(e.std_error / e.estimate, 199)) for e in (first, second)]
    expected = evidence([logs[1][0]], [logs[1][1]], reference=logs[0])
    assert second.log_e == pytest.approx(expected.log_e)
    with pytest.raises(KeyError, match="no alarm watches 'pm'"):
        seen.alarm("pm")


def test_a_window_without_an_estimate_is_told_and_passed_over(tmp_path: Path) -> None:
    frame = table(800)
    frame.loc[200:399, "a"] = 0
    add(frame, tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), 200)
    assert "a" in (seen.windows[1].failed or "")
    assert [w.apart for w in seen.windows] == [True, False, True, True]
    assert seen.windows[3].effect("te").log_e is not None
    assert list(seen.to_frame().estimate.isna()[3:6]) == [True] * 3


def test_a_model_that_changes_by_itself_is_told(tmp_path: Path) -> None:
    frame = table(400)
    frame["m"] = frame["m"].round().clip(-2, 2)
    frame.loc[200:, "m"] = (frame.loc[200:, "m"] > 0).astype(float)
    add(frame, tmp_path / "t.csv")
    seen = xw.watch(spec(tmp_path), 200)
    assert "the model of m is not that of the first window" in seen.windows[1].warnings[0]


def test_the_first_window_has_to_give_an_estimate(tmp_path: Path) -> None:
    add(table(300), tmp_path / "t.csv")
    document = {"study": {**SPEC["study"], "adjust": ["z"]}}
    with pytest.raises(DesignError, match=r"first window \(rows 1-200\).*'z' is not in the table"):
        xw.watch(spec(tmp_path, document), 200, state=tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


def test_what_is_not_identified_is_not_watched(tmp_path: Path) -> None:
    add(table(300), tmp_path / "t.csv")
    graph = "a -> m; m -> y; a -> y; m <-> y; x -> y"
    document = {"study": {**SPEC["study"], "graph": graph}}
    with pytest.raises(NotIdentifiedError):
        xw.watch(spec(tmp_path, document), 200)


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    add(table(300), tmp_path / "t.csv")
    file, state = spec(tmp_path), tmp_path / "s.json"
    xw.watch(file, 200, state=state)
    before = state.read_bytes()
    for options, told in (
        ({"windows": 100}, 'window = {"size": 200}, not {"size": 100}'),
        ({"alpha": 0.01}, "alpha = 0.05, not 0.01"),
    ):
        with pytest.raises(SpecError, match="made with") as refused:
            xw.watch(file, **{"windows": 200, "state": state, **options})
        assert told in str(refused.value)
    state.write_text("{}")
    with pytest.raises(SpecError, match="no state of a watch"):
        xw.watch(file, 200, state=state)
    held = json.loads(before)
    del held["reading"]["lines"]
    state.write_text(json.dumps(held))
    with pytest.raises(SpecError, match="is damaged"):
        xw.watch(file, 200, state=state)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "no \\[study\\]"),
        ({"study": {"path": "a -> m -> y"}}, "needs data"),
        ({"study": {"data": None}}, "needs data"),
        ({"study": {"kind": "internals", "data": "x"}}, "watch takes table and reasoning"),
        (7, "a spec is a file or a document"),
    ],
)
def test_specs_that_cannot_be_watched(document: object, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        xw.watch(document, 200)  # type: ignore[arg-type]


def test_refuters_of_the_spec_are_left_out(tmp_path: Path) -> None:
    add(table(300), tmp_path / "t.csv")
    document = {**SPEC, "ask": {"effects": ["te"], "refute": ["all"]}}
    assert len(xw.watch(spec(tmp_path, document), 200)) == 1


def test_a_wrong_name_is_seen_before_the_first_window_is_full(tmp_path: Path) -> None:
    add(table(50), tmp_path / "t.csv")
    document = {"study": {**SPEC["study"], "adjust": ["z"]}}
    seen = xw.watch(spec(tmp_path, document), 200)
    assert "50 so far (as it is now: adjustment column 'z' is not in the table" in seen.waiting
    for section, told in (
        ({"estimator": {"name": "Regresion"}}, "Did you mean 'Regression'"),
        ({"asks": {}}, "unknown section of the spec"),
    ):
        with pytest.raises(SpecError, match=told):
            xw.watch(spec(tmp_path, {**SPEC, **section}), 200)
    assert "as it is now" not in xw.watch(spec(tmp_path), 200).waiting
