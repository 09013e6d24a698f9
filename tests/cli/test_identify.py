"""``crossworld identify`` and ``--graph``: verdicts, exit codes, files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

KEYS = {"identified", "by", "adjust", "assumptions", "formula", "reason", "offending", "instead"}
PLAIN = "x -> a; x -> m; x -> y; a -> m -> y; a -> y"
ROLES = ["--treatment", "a", "--mediators", "m", "--outcome", "y"]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossworld.cli.main", *words], capture_output=True, text=True
    )


def test_an_identified_effect_exits_zero_and_writes_everything(tmp_path: Path) -> None:
    done = command("identify", PLAIN, "nie", *ROLES, "--json", "i.json", "--svg", "g.svg")
    assert done.returncode == 0, done.stderr
    assert "nie is identified by adjusting for x" in done.stdout
    assert "decided by" in done.stdout
    held = json.loads((tmp_path / "i.json").read_text())
    assert set(held) >= KEYS
    assert held["identified"] is True
    assert held["adjust"] == ["x"]
    assert held["instead"] == []
    assert held["assumptions"][0].keys() == {"name", "statement", "testable", "decided_by"}
    assert (tmp_path / "g.svg").read_text().startswith("<svg")


def test_an_effect_that_is_not_identified_exits_three_and_writes_too(tmp_path: Path) -> None:
    done = command("identify", PLAIN + "; m <-> y", "nie", *ROLES, "--json", "i.json")
    assert done.returncode == 3
    assert done.stderr == ""
    held = json.loads((tmp_path / "i.json").read_text())
    assert held["identified"] is False
    assert "m <-> y" in held["offending"]
    assert "te" in held["instead"]
    assert held["formula"] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((PLAIN, "nib", *ROLES), "unknown effect 'nib'"),
        (("nowhere.dot", "nie", *ROLES), "no graph file 'nowhere.dot'"),
        ((PLAIN, "nie", "--treatment", "a", "--outcome", "y"), "nie needs mediators"),
        ((PLAIN, "nie", "--mediators", "m", "--outcome", "y"), "which node is the treatment?"),
        (("a -> m -> y -> a", "nie", *ROLES), "cycle"),
        ((PLAIN, "sde(q=direct)", *ROLES), "'q' a component"),
        ((PLAIN, "sde(q=sideways)", *ROLES), "'direct' or the 'indirect'"),
    ],
)
def test_wrong_input_exits_two(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = command("identify", *words, "--json", "i.json")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "i.json").exists()


def test_a_graph_in_a_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text(PLAIN)
    assert command("identify", "g.txt", "nie", *ROLES).returncode == 0
    done = command("identify", "g.txt", "nie", *ROLES, "--json", "g.txt")
    assert done.returncode == 2
    assert (tmp_path / "g.txt").read_text() == PLAIN


def _table(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    a = rng.binomial(1, 1 / (1 + np.exp(-x)))
    m = a + x + rng.normal(size=300)
    y = a + m + x + rng.normal(size=300)
    rows = [f"{p},{q},{r},{s}" for p, q, r, s in zip(x, a, m, y, strict=True)]
    (folder / "t.csv").write_text("\n".join(["x,a,m,y", *rows]) + "\n")


def test_mediate_takes_its_covariates_from_the_graph(tmp_path: Path) -> None:
    _table(tmp_path)
    by_graph = command("mediate", "t.csv", "a -> m -> y", "--graph", PLAIN, "--json", "g.json")
    assert by_graph.returncode == 0, by_graph.stderr
    by_hand = command("mediate", "t.csv", "a -> m -> y", "--adjust", "x", "--json", "h.json")
    assert by_hand.returncode == 0
    one, other = (json.loads((tmp_path / f).read_text()) for f in ("g.json", "h.json"))
    assert one["effects"] == other["effects"]
    assert one["identification"]["adjust"] == ["x"]
    again = command("run", "g.json", "--json", "again.json")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "again.json").read_text())["spec"] == one["spec"]


def test_mediate_refuses_what_the_graph_does_not_identify(tmp_path: Path) -> None:
    _table(tmp_path)
    graph = PLAIN + "; m <-> y"
    done = command("mediate", "t.csv", "a -> m -> y", "--graph", graph, "--json", "r.json")
    assert done.returncode == 3
    assert "mediator-outcome confounding" in done.stderr
    assert not (tmp_path / "r.json").exists()
    told = command(
        "mediate", "t.csv", "a -> m -> y", "--graph", graph, "--assume", "--json", "r.json"
    )
    assert told.returncode == 0
    held = json.loads((tmp_path / "r.json").read_text())
    assert held["identification"]["identified"] is False
    assert any("assumed, not identified" in w for w in held["diagnostics"]["warnings"])
    assert held["spec"]["ask"]["assume"] is True


def test_a_graph_must_fit_the_table(tmp_path: Path) -> None:
    _table(tmp_path)
    done = command("mediate", "t.csv", "a -> m -> y", "--graph", PLAIN + "; q -> y")
    assert done.returncode == 2
    assert "'q'" in done.stderr
    assert "[latent]" in done.stderr
    wrong = command("mediate", "t.csv", "a -> m -> y", "--graph", PLAIN, "--adjust", "q")
    assert wrong.returncode == 2
