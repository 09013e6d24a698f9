"""Gauges as Prometheus reads them, from a file and over HTTP; and the figure."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import crossworld as xw
from crossworld.errors import DesignError
from crossworld.watching.gauges import HOST, TYPE, served

from .streams import SPEC, add, spec, table


@pytest.fixture
def seen(tmp_path: Path) -> xw.Watched:
    add(table(1800, moves_at=800), tmp_path / "t.csv")
    document = {**SPEC, "ask": {"effects": ["te", "nde", "nie", "pm"]}}
    return xw.watch(spec(tmp_path, document), xw.Windows(200, step=100))


def families(text: str) -> dict[str, Any]:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is absent")
    return {f.name: f for f in parser.text_string_to_metric_families(text)}


def test_the_gauges_are_those_of_the_latest_window(seen: xw.Watched) -> None:
    found = families(seen.gauges())
    assert {f.type for f in found.values()} == {"gauge"}
    assert all(f.documentation for f in found.values())
    held = {s.labels["term"]: s.value for s in found["crossworld_effect"].samples}
    assert held == {e.term: e.estimate for e in seen.windows[-1].effects}
    alarm = {s.labels["term"]: s.value for s in found["crossworld_drift_alarm"].samples}
    assert alarm == {"te": float(seen.alarm("te").raised), "nde": 0.0, "nie": 1.0}
    evidence = {s.labels["term"]: s.value for s in found["crossworld_drift_evidence"].samples}
    assert evidence["nie"] == seen.alarm("nie").e_value > 60 > evidence["nde"]
    (limit,) = found["crossworld_drift_threshold"].samples
    assert (limit.value, limit.labels) == (pytest.approx(60.0), {"study": "a -> m -> y"})
    assert "at most 0.05" in found["crossworld_drift_threshold"].documentation
    (rows,) = found["crossworld_rows"].samples
    assert rows.value == 1800


def test_names_with_quotes_and_numbers_that_do_not_exist(seen: xw.Watched) -> None:
    from dataclasses import replace

    last = seen.windows[-1]
    odd = replace(last.effects[0], term='te "x"\\\n', conf_low=None)
    changed = replace(seen, windows=(*seen.windows[:-1], replace(last, effects=(odd,))))
    found = families(changed.gauges())
    (sample,) = found["crossworld_effect"].samples
    assert sample.labels["term"] == 'te "x"\\\n'
    assert "crossworld_effect_conf_low" not in found


def test_before_the_first_window_there_are_gauges_too(tmp_path: Path) -> None:
    add(table(50), tmp_path / "t.csv")
    found = families(xw.watch(spec(tmp_path), 200).gauges())
    assert set(found) == {
        "crossworld_windows", "crossworld_windows_failed", "crossworld_rows",
        "crossworld_rows_late",
    }  # fmt: skip


def test_gauges_over_http_are_the_latest(seen: xw.Watched) -> None:
    texts = ["one 1\n"]
    with served(0, lambda: texts[-1]) as port:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
            assert (answer.read(), answer.headers["Content-Type"]) == (b"one 1\n", TYPE)
        texts.append(seen.gauges())
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as answer:
            assert answer.read().decode() == seen.gauges()
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            urllib.request.urlopen(f"http://{HOST}:{port}/etc/passwd")
        missing.value.close()
        with pytest.raises(DesignError, match="cannot serve gauges"), served(port, str):
            pass
    with socket.socket() as again:
        assert again.connect_ex((HOST, port)) != 0


def test_the_figure_shows_every_window_reference_and_line(seen: xw.Watched, tmp_path: Path) -> None:
    figure = seen.plot()
    figure.savefig(tmp_path / "w.svg")
    *effects, evidence = figure.axes
    assert [ax.get_ylabel() for ax in effects] == ["te", "nde", "nie", "pm"]
    marks = [line for line in effects[2].lines if line.get_linestyle() == "None"]
    assert [m.get_ydata()[0] for m in marks] == [w.effect("nie").estimate for w in seen.windows]
    filled = [m.get_markerfacecolor() != "white" for m in marks]
    assert filled == [w.apart for w in seen.windows]
    assert effects[3].get_title(loc="right") == "raises no alarm"
    line = next(line for line in evidence.lines if len(set(line.get_ydata())) == 1)
    assert 10 ** line.get_ydata()[0] == pytest.approx(seen.threshold)
    texts = {t.get_text() for t in evidence.texts}
    assert texts == {"alarm: any false one, ever, with probability at most 0.05"}


def test_there_is_no_figure_of_nothing(tmp_path: Path) -> None:
    add(table(50), tmp_path / "t.csv")
    with pytest.raises(DesignError, match="no window to draw yet: rows up to number 200"):
        xw.watch(spec(tmp_path), 200).plot()
