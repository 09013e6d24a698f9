"""``crossworld audit``: collect, resume, what a table holds, effects."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from crossworld import SimulatedReasoner

PLAN = """
[model]
name = "simulated"
[arms]
0 = "{question}"
1 = "{question} Think step by step."
[plan]
questions = "questions.csv"
traces = 2
edits = ["delete"]
[limits]
concurrency = 4
"""


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossworld.cli.main", "audit", *words],
        capture_output=True,
        text=True,
    )


def prepare(folder: Path, plan: str = PLAN, count: int = 12) -> None:
    model = SimulatedReasoner()
    with (folder / "questions.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "text", "answer"])
        for k in range(count):
            writer.writerow([f"q{k}", f"sum {k}", model.question(f"q{k}").gold])
    (folder / "plan.toml").write_text(plan)


ROLES = ["--column", "draw=draw", "--column", "edit=edit", "--column", "replayed=replayed"]


def test_collect_resume_estimate(tmp_path: Path) -> None:
    prepare(tmp_path)
    dry = command("collect", "plan.toml", "--log", "log.jsonl", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    total = int(dry.stdout.split()[0].replace(",", ""))
    assert not (tmp_path / "log.jsonl").exists()
    first = command("collect", "plan.toml", "--log", "log.jsonl")
    assert first.returncode == 0, first.stdout + first.stderr
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len({json.loads(line)["key"] for line in lines}) == len(lines) == total
    (tmp_path / "log.jsonl").write_text("\n".join(lines[: total // 2]) + "\n")
    again = command("collect", "plan.toml", "--log", "log.jsonl")
    assert again.returncode == 0, again.stderr
    after = (tmp_path / "log.jsonl").read_text().splitlines()
    assert after[: total // 2] == lines[: total // 2]
    assert {json.loads(line)["key"] for line in after} == {
        json.loads(line)["key"] for line in lines
    }
    assert "(0 new)" in command("collect", "plan.toml", "--log", "log.jsonl").stdout
    held = command("holds", "log.jsonl", *ROLES)
    assert "effects it can give: te, nde, nie" in held.stdout
    done = command("estimate", "log.jsonl", *ROLES, "--json", "r.json", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert [e["term"] for e in found["effects"]] == ["te", "nde", "nie"]
    assert found["identification"]["by"] == "experiment"
    parts = {e["term"]: e["estimate"] for e in found["effects"]}
    assert parts["te"] == pytest.approx(parts["nde"] + parts["nie"])
    assert "<!doctype html>" in (tmp_path / "r.html").read_text()
    again = command("report", "r.json", "--report", "again.html")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.html").read_text() == (tmp_path / "r.html").read_text()
    assert command("report", "plan.toml").returncode == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[plan]", "[plann]"), "unknown table of the plan file 'plann'. Did you mean 'plan'"),
        (('questions = "questions.csv"', 'questions = "none.csv"'), "none.csv"),
        (("traces = 2", "trces = 2"), "'trces'. Did you mean 'traces'"),
        (('"delete"', '"delte"'), "unknown edit 'delte'. Did you mean 'delete'"),
        (("concurrency = 4", "concurrency = 0"), "concurrency must be at least 1"),
        (('name = "simulated"', ""), "[model] needs a name"),
        (('name = "simulated"', 'name = "simulated"\nbasse = 1'), "basse"),
        (("[arms]", "[arms"), "not valid TOML"),
    ],
)
def test_plans_that_are_wrong_ask_nothing(
    change: tuple[str, str], told: str, tmp_path: Path
) -> None:
    prepare(tmp_path, PLAN.replace(*change))
    done = command("collect", "plan.toml", "--log", "log.jsonl")
    assert done.returncode == 2, done.stdout
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("t.csv", "--question", "idd"), "Did you mean 'id'"),
        (("t.csv", "--question", "id", "--levels", "0,7"), "7"),
        (("t.csv", "--question", "id", "--where", "id"), "name=value"),
        (("t.csv", "--question", "id", "--effects", "nde"), "Y(1, M(0))"),
    ],
)
def test_tables_that_are_wrong(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    rows = ["id,prompt,reasoning,correct"]
    rows += [f"q{k},{a},{a},{(k + a) % 2}" for k in range(12) for a in (0, 1)]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    done = command("estimate", *words)
    assert done.returncode == 2, done.stdout
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_of_ours_needs_no_roles_and_says_what_is_to_come(tmp_path: Path) -> None:
    prepare(tmp_path, PLAN + "prices = [2.5, 10.0]\n")
    assert command("collect", "plan.toml", "--log", "log.jsonl").returncode == 0
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join(lines[:50]) + "\n")
    dry = command("collect", "plan.toml", "--log", "log.jsonl", "--dry-run").stdout
    assert dry.startswith(f"{len(lines)} calls, 50 in the log, {len(lines) - 50} to go")
    assert "to come" in dry
    assert command("collect", "plan.toml", "--log", "log.jsonl").returncode == 0
    plain = command("estimate", "log.jsonl", "--json", "a.json")
    assert plain.returncode == 0, plain.stderr
    command("estimate", "log.jsonl", *ROLES, "--json", "b.json")
    one, other = (json.loads((tmp_path / f).read_text())["effects"] for f in ("a.json", "b.json"))
    assert one == other
    unknown = PLAN.replace('"simulated"', '"simulatd"')
    (tmp_path / "plan.toml").write_text(unknown)
    told = command("collect", "plan.toml", "--log", "x.jsonl")
    assert (told.returncode, "Did you mean 'simulated'" in told.stderr) == (2, True)
    assert not (tmp_path / "x.jsonl").exists()
