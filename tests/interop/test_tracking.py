"""Trackers keep what was found: offline, and read back from what they wrote."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from crossworld.errors import MissingExtraError, SpecError, TrackingError
from crossworld.interop import tracking
from crossworld.interop.tracking import Record, metrics, parameters, track, tracker
from crossworld.interop.tracking_mlflow import allowed
from tests.cli.command import columns, crossworld, done, refused, write

MIXED = "Y(1) - Y(0, M(1))"


@pytest.fixture(scope="module")
def result() -> xw.EffectTable:
    study = xw.TableStudy.from_frame(columns(), "a -> m -> y", adjust=["x"], levels=(0, 1))
    asked = [xw.TE, xw.NIE, xw.estimand(MIXED)]
    return xw.estimate(study, xw.Regression(), asked, refute=[xw.PlaceboTreatment()])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return tmp_path


class Held:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.found: dict[str, bytes] = {}

    def keep(self, record: Record) -> str:
        self.records.append(record)
        self.found = {f.name: f.read_bytes() for f in (*record.files, *record.pictures)}
        return "here"


def test_a_record_holds_the_spec_every_effect_and_every_refutation(
    result: xw.EffectTable, tmp_path: Path
) -> None:
    more = tmp_path / "data.csv"
    more.write_text("a\n1\n")
    held = Held()
    assert track(result, held, files=[more]) == "here"
    (record,) = held.records
    assert record.name == "crossworld: a -> m -> y"
    assert record.parameters["study.path"] == "a -> m -> y"
    assert record.parameters["study.levels"] == "[0, 1]"
    assert record.parameters["estimator.name"] == "Regression"
    assert record.parameters["ask.effects"] == json.dumps(["te", "nie", MIXED])
    assert record.parameters["ask.level"] == 0.95
    assert len(record.parameters["provenance.data_sha256"]) == 64
    for row in result:
        for name in ("estimate", "std_error", "conf_low", "conf_high", "p_value"):
            assert record.metrics[f"{row.term}/{name}"] == getattr(row, name)
    assert len(record.metrics) == 16
    assert [row[:3] for row in record.refutations] == [
        (r["name"], r["term"], r["passed"]) for r in result.refutations
    ]
    assert len(record.refutations) == 3
    assert set(held.found) == {"report.html", "result.json", "effects.png", "data.csv"}
    assert held.found["report.html"].startswith(b"<!doctype html>")
    assert json.loads(held.found["result.json"])["effects"][0]["term"] == "te"
    assert held.found["effects.png"].startswith(b"\x89PNG")
    assert not record.files[0].exists(), "temporary files are gone"


def test_values_that_do_not_exist_and_long_ones() -> None:
    rows = (xw.Effect("pm", 0.5, None, None, None, None, "fieller"),)
    table = xw.EffectTable(rows, 0.95, spec={"study": {"adjust": ["x" * 90] * 9, "event": None}})
    assert metrics(table) == {"pm/estimate": 0.5, "n_units": 0.0}
    told = parameters(table)
    assert list(told) == ["study.adjust"]
    assert len(told["study.adjust"]) == 500 and told["study.adjust"].endswith("...")


def test_a_tracker_that_fails_is_told_and_costs_nothing_else(result: xw.EffectTable) -> None:
    class Broken:
        def keep(self, record: Record) -> str:
            raise ConnectionError("the server\nis away")

    before = result.to_json()
    with pytest.raises(TrackingError, match=r"Broken did not take the result \(the server is away"):
        track(result, Broken())
    assert result.to_json() == before
    with pytest.raises(SpecError, match="Did you mean 'mlflow'"):
        track(result, "mlfow")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_before_any_work(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    command = f"pip install 'crossworld[{name}]'"
    with pytest.raises(MissingExtraError, match="needs an optional dependency"):
        tracker(name)
    table = write(columns())
    words = ("mediate", table, "a -> m -> y", "--track", name, "--json", "out.json")
    refused(crossworld(*words), command)
    assert not Path("out.json").exists()


def test_mlflow_takes_odd_names_apart() -> None:
    found = allowed({"a(1)/x": 1.0, "a[1]/x": 2.0, "nie/estimate": 3.0})
    assert sorted(found.values()) == [1.0, 2.0, 3.0]
    assert found["nie/estimate"] == 3.0
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz_/123") for name in found)


def test_mlflow_keeps_a_run(result: xw.EffectTable, folder: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    where = track(result, "mlflow", name="first")
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "crossworld"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id in where
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params["study.path"] == "a -> m -> y"
    assert run.data.params == {k: str(v) for k, v in parameters(result).items()}
    assert run.data.metrics["nie/estimate"] == result["nie"].estimate
    assert run.data.metrics[f"{'Y_1_ - Y_0_ M_1_'}/p_value"] == result[MIXED].p_value
    assert run.data.metrics == allowed(metrics(result))
    kept = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert kept == {"report.html", "result.json", "effects.png", "refutations.json"}
    folder_of = Path(run.info.artifact_uri.removeprefix("file://"))
    table = json.loads((folder_of / "refutations.json").read_text())
    assert table["columns"] == list(tracking.COLUMNS)
    assert [row[:2] for row in table["data"]] == [["placebo", r.term] for r in result]
    assert mlflow.active_run() is None


def test_mlflow_in_a_database_and_another_experiment(
    result: xw.EffectTable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'kept.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    track(result, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'kept.db'}")
    mine = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([mine.experiment_id])
    assert run.data.metrics["te/std_error"] == pytest.approx(result["te"].std_error)


def test_mlflow_marks_a_run_that_failed(
    result: xw.EffectTable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", refuse)
    with pytest.raises(TrackingError, match="the disk is full"):
        track(result, "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("crossworld").experiment_id])
    assert run.info.status == "FAILED"


def records(file: Path) -> Iterator[Any]:
    """Every record of an offline run: LevelDB's log format after seven bytes of W&B's own."""
    from wandb.proto.wandb_internal_pb2 import Record as Kept

    data, at, parts = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:  # the rest of a block that holds no head
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or its last part
            one = Kept()
            one.ParseFromString(parts)
            yield one
            parts = b""


def test_wandb_keeps_a_run_offline(
    result: xw.EffectTable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    where = track(result, "wandb", name="first")
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert str(file.parent) in where
    kept = list(records(file))
    (run,) = [r.run for r in kept if r.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name) == ("mine", "first")
    config = {i.key: json.loads(i.value_json) for i in run.config.update}
    assert parameters(result).items() <= config.items()
    logged = {
        i.key or "/".join(i.nested_key): json.loads(i.value_json)
        for r in kept
        for i in r.history.item
    }
    assert metrics(result).items() <= logged.items()
    assert logged["effects/_type"] == "image-file"
    assert logged["report/_type"] == "html-file"
    assert logged["refutations/nrows"] == 3
    media = folder.glob("wandb/offline-run-*/files/media/table/refutations*.json")
    table = json.loads(next(iter(media)).read_text())
    assert [row[:2] for row in table["data"]] == [["placebo", r.term] for r in result]
    (artifact,) = [r.artifact for r in kept if r.artifact.type == "analysis"]
    files = {entry.path for entry in artifact.manifest.contents}
    assert files == {"report.html", "result.json", "effects.png"}


@pytest.mark.parametrize("door", ["mediate", "run", "audit"])
def test_every_command_that_estimates_can_be_tracked(
    door: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(tracking, "find_spec", lambda _: True)
    monkeypatch.setattr("crossworld.interop.tracking_wandb.Wandb", lambda: held)
    table = write(columns())
    spec = {"study": {"data": table, "path": "a -> m -> y", "adjust": ["x"]}}
    Path("spec.json").write_text(json.dumps(spec))
    rng = np.random.default_rng(0)
    arm, shown = np.repeat([0, 1, 1], 40), np.repeat([0, 0, 1], 40)
    cells = {"question": np.tile(np.arange(40), 3), "prompt": arm, "reasoning": shown}
    readouts = write({**cells, "correct": rng.integers(0, 2, 120)}, "cells.csv")
    words = {
        "mediate": ("mediate", table, "a -> m -> y", "--adjust", "x"),
        "run": ("run", "spec.json"),
        "audit": ("audit", "estimate", readouts),
    }[door]
    out = done(crossworld(*words, "--track", "wandb", "--json", "out.json"))
    assert out.endswith("\ntracked: here\n")
    kept = json.loads(Path("out.json").read_text())["effects"]
    (record,) = held.records
    assert record.metrics["nie/estimate"] == next(e for e in kept if e["term"] == "nie")["estimate"]


def test_a_failing_tracker_loses_neither_print_nor_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def keep(self, record: Record) -> str:
            raise ConnectionError("no route")

    monkeypatch.setattr(tracking, "find_spec", lambda _: True)
    monkeypatch.setattr("crossworld.interop.tracking_wandb.Wandb", Broken)
    words = ("mediate", write(columns()), "a -> m -> y", "--json", "o.json", "--report", "o.html")
    plain = done(crossworld(*words))
    run = crossworld(*words, "--track", "wandb")
    assert (run.code, run.out) == (2, plain)
    assert run.err.startswith("error: Broken did not take the result (no route); what was printed")
    assert run.err.count("\n") == 1
    assert Path("o.json").exists() and Path("o.html").exists()
