"""``crossworld demo``: one command, five answers, a report, and files to go on from."""

from __future__ import annotations

import csv
import json
import os
import select
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import crossworld as xw
from crossworld.cli import beside
from crossworld.cli import reasoning_example as analysis
from crossworld.reasoning.pocket import check_sums, pocket_recording

from .command import Run, crossworld, done, misused, numbers, refused

WRITTEN = [
    "analysis.py", "comparison.csv", "embedded.csv", "identification.json", "mediation.toml",
    "models.txt", "reasoning.csv", "reference.csv", "replay.csv", "replay.html", "replay.toml",
    "report.html",
]  # fmt: skip
N = 80
COMMAND = [sys.executable, "-W", "error", "-m", "crossworld.cli.main"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """One small run, shared by the tests that only look at it."""
    out = tmp_path_factory.mktemp("demo") / "d"
    return crossworld("demo", "--n", N, "--embedder", "tfidf", "--out", out), out


@pytest.fixture
def out(ran: tuple[Run, Path], tmp_path: Path) -> Path:
    """A copy of its folder."""
    return Path(shutil.copytree(ran[1], tmp_path / "copy"))


def compared(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    rows = csv.DictReader((folder / "comparison.csv").read_text(encoding="utf-8").splitlines())
    return {
        (row.pop("method"), row.pop("term")): {k: float(v) for k, v in row.items()} for row in rows
    }


def test_it_writes_report_data_specs_script_and_identification(ran: tuple[Run, Path]) -> None:
    out = done(ran[0])
    assert sorted(p.name for p in ran[1].iterdir()) == WRITTEN
    for words in (
        "statsmodels OLS",
        "shallow neural network",
        "multiply robust",
        "replay",
        "naive",
    ):
        assert f"\n{words}" in out
    assert f"report:   {ran[1] / 'report.html'}" in out
    for page in ("report.html", "replay.html"):
        text = (ran[1] / page).read_text(encoding="utf-8")
        assert text.lower().startswith("<!doctype html>")
    told = json.loads((ran[1] / "identification.json").read_text(encoding="utf-8"))
    assert told["observational"]["by"] == "adjustment"
    assert told["replay"]["by"] == "experiment"
    assert "attempts to break it" in out
    assert "Omitted confounder" in out


def test_the_specs_run_again_to_the_same_numbers(ran: tuple[Run, Path], out: Path) -> None:
    again = done(crossworld("run", out / "mediation.toml", "--json", "r.json"))
    assert again.strip() in ran[0].out
    rows = compared(out)
    for term, told in numbers("r.json").items():
        row = rows["statsmodels OLS, mediation formula", term]
        assert told[:2] == pytest.approx([row["estimate"], row["std_error"]], rel=1e-6)
    done(crossworld("run", out / "replay.toml", "--json", "p.json"))
    for term, told in numbers("p.json").items():
        row = rows["replay", term]
        assert told[:2] == pytest.approx([row["estimate"], row["std_error"]], rel=1e-9)


def test_the_script_runs_by_itself_and_finds_the_same(out: Path) -> None:
    kept = (out / "comparison.csv").read_bytes()
    (out / "comparison.csv").unlink()
    run = subprocess.run(
        [sys.executable, "-W", "error", "analysis.py"],
        capture_output=True, text=True, timeout=120, check=False, cwd=out,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert (out / "comparison.csv").read_bytes() == kept
    assert f"{len(analysis.STEPS)}/{len(analysis.STEPS)}" in run.stdout


def test_statsmodels_row_is_the_mediation_formula_of_plain_least_squares(out: Path) -> None:
    """By hand, from the file that the demo wrote: numpy alone."""
    d = pd.read_csv(out / "embedded.csv")
    a = (d["prompt"] == "careful").to_numpy(float)
    x = pd.get_dummies(d["difficulty"], drop_first=True).to_numpy(float)
    m = d.filter(like="text_").to_numpy()
    first = np.linalg.lstsq(np.column_stack([np.ones(len(d)), a, x]), m, rcond=None)[0]
    last = np.linalg.lstsq(
        np.column_stack([np.ones(len(d)), a, m, a[:, None] * m, x]), d["correct"], rcond=None
    )[0]

    def cell(one: float, two: float) -> float:
        means = np.column_stack([np.ones(len(d)), np.full(len(d), two), x]) @ first
        arm = np.full(len(d), one)
        rows = np.column_stack([np.ones(len(d)), arm, means, arm[:, None] * means, x])
        return float((rows @ last).mean())

    rows = compared(out)
    method = "statsmodels OLS, mediation formula"
    assert rows[method, "nde"]["estimate"] == pytest.approx(cell(1, 0) - cell(0, 0), abs=1e-8)
    assert rows[method, "nie"]["estimate"] == pytest.approx(cell(1, 1) - cell(1, 0), abs=1e-8)
    assert "OLS Regression Results" in (out / "models.txt").read_text(encoding="utf-8")


def test_the_naive_row_is_a_difference_of_differences_of_means(out: Path) -> None:
    d = pd.read_csv(out / "reasoning.csv")
    hard = ~d["difficulty"].isin(["2 terms", "3 terms"])
    mean = d.groupby([hard, "prompt"])["correct"].mean()
    raw = (mean[True, "careful"] - mean[True, "hasty"]) - (
        mean[False, "careful"] - mean[False, "hasty"]
    )
    row = compared(out)["naive difference in differences", "nie"]
    assert row["estimate"] == pytest.approx(raw, abs=1e-9)
    # four independent halves of 2N rows: p(1 - p) / rows, which clusters by question change little
    error = np.sqrt(sum(p * (1 - p) / (N / 2) for p in mean))
    assert row["std_error"] == pytest.approx(error, rel=0.3)


def test_replay_is_the_experiment_on_the_same_questions(out: Path) -> None:
    rows = pocket_recording("hasty-careful")
    kept = rows[rows["question"].isin(pd.read_csv(out / "reasoning.csv")["question"])]
    assert kept["question"].nunique() == N
    cell = kept[kept["replayed"] == 1].fillna({"p_answer": 0.0})
    mean = cell.groupby(["prompt", "reasoning"])["p_answer"].mean()
    row = compared(out)["replay", "nie"]
    assert row["estimate"] == pytest.approx(mean["careful", "careful"] - mean["careful", "hasty"])


def test_numbers_that_know_come_from_the_texts(out: Path) -> None:
    d = pd.read_csv(out / "reasoning.csv", keep_default_na=False)
    block = check_sums(d["reasoning"].tolist())
    columns = {f"m{j}": block[:, j] for j in range(4)}
    study = xw.TableStudy.from_frame(
        {**{k: d[k].tolist() for k in ("prompt", "correct", "difficulty", "question")}, **columns},
        "prompt -> m* -> correct",
        adjust=["difficulty"],
        levels=("hasty", "careful"),
        cluster="question",
    )
    method = xw.MultiplyRobust(outcome="boosting", treatment="boosting")
    found = xw.estimate(study, method)
    row = compared(out)["multiply robust, sums checked", "nie"]
    assert row["estimate"] == pytest.approx(found["nie"].estimate, abs=1e-6)


def test_components_are_fixed_before_the_analysed_texts_are_seen(out: Path) -> None:
    """Half of the rows get the same numbers as all of them."""
    whole = pd.read_csv(out / "embedded.csv")
    raw = pd.read_csv(out / "reasoning.csv", keep_default_na=False)
    raw.head(N).to_csv(out / "reasoning.csv", index=False)
    half, told = analysis.embedded(analysis.Case(out, embedder="tfidf"))
    assert "fixed in advance" in told
    left, right = (f.filter(like="text_").to_numpy()[:N] for f in (half, whole))
    assert left == pytest.approx(right)
    other = pd.read_csv(out / "reference.csv", keep_default_na=False)["shown"]
    assert len(other) > N  # traces that are not analysed


def test_other_traces_in_the_place_of_ours(out: Path) -> None:
    """As the head of the script says: another csv, no replay, no reference."""
    data = xw.datasets.reasoning_texts(150, seed=2)
    frame = data.frame.rename(columns={"id": "question"})
    frame = frame.drop(columns="prompt").rename(columns={"arm": "prompt"})
    frame["difficulty"] = frame["steps"].astype(str)
    frame[["question", "prompt", "reasoning", "correct", "difficulty"]].to_csv(
        out / "reasoning.csv", index=False
    )
    run = [sys.executable, "-W", "error", "analysis.py"]
    with_old = subprocess.run(run, capture_output=True, text=True, cwd=out, check=False)
    assert with_old.returncode != 0
    assert "delete reference.csv" in with_old.stderr
    for name in ("reference.csv", "replay.csv", "replay.toml"):
        (out / name).unlink()
    swapped = subprocess.run(run, capture_output=True, text=True, cwd=out, check=False)
    assert (swapped.returncode, swapped.stderr) == (0, "")
    assert "Nobody replayed these texts" in swapped.stdout
    assert "learned from these texts alone" in swapped.stdout
    assert "\nreplay" not in swapped.stdout


def row(method: str, estimate: float, error: float = 0.01) -> dict[str, Any]:
    told = {"method": method, "term": "nie", "estimate": estimate, "std_error": error}
    return {**told, "conf_low": estimate - 2 * error, "conf_high": estimate + 2 * error}


def test_the_verdict_depends_on_the_numbers() -> None:
    truth, known, naive = beside.REPLAY, beside.KNOWING, beside.NAIVE
    together = beside.verdict([row("a", 0.1), row("b", 0.11), row(known, 0.2), row(truth, 0.2)])
    assert "miss the experiment together" in together
    assert "With the sums checked the models find" in together
    assert "  a: -0.100 (7.1 standard errors)" in together
    still = beside.verdict([row("a", 0.1), row(known, 0.1), row(truth, 0.2)])
    assert "finds what the experiment finds" not in still
    alone = beside.verdict([row("a", 0.1), row("b", 0.2), row(truth, 0.2)])
    assert "Off by more than chance: a." in alone
    fine = beside.verdict([row("a", 0.21), row("b", 0.2), row(truth, 0.2)])
    assert "No model is further from the experiment than chance allows" in fine
    far = beside.verdict([row("a", 0.2), row(naive, 0.05), row(truth, 0.2)])
    assert "naive difference would be right if" in far
    assert "naive difference would be right if" not in beside.verdict(
        [row(naive, 0.2), row(truth, 0.2)]
    )


def test_the_report_shows_the_comparison_and_the_contours(ran: tuple[Run, Path]) -> None:
    rows = [row("a", 0.1), row(beside.KNOWING, 0.2), row(beside.REPLAY, 0.2)]
    shown = beside.side_by_side(rows)
    assert (shown.methods, shown.truth) == (("a", beside.KNOWING, beside.REPLAY), beside.REPLAY)
    assert beside.side_by_side(rows[:1]).truth == ""
    told = beside.story("Does it?", "8 numbers", rows)
    assert any("miss the experiment together" in text for text in told.text)
    for page in ("report.html", "replay.html"):
        text = (ran[1] / page).read_text(encoding="utf-8")
        assert analysis.QUESTION in text or "exhibits" not in text


def test_it_says_so_when_dowhy_is_left_out(ran: tuple[Run, Path]) -> None:
    missing = find_spec("dowhy") is None
    assert ("pip install 'crossworld[dowhy]'" in ran[0].out) == missing
    assert ("\nDoWhy " in ran[0].out) != missing


def test_dowhy_finds_the_same_inside(out: Path) -> None:
    pytest.importorskip("dowhy", reason="the dowhy extra is not installed")
    rows, ols = compared(out), "statsmodels OLS, mediation formula"
    for term in ("te", "nde", "nie"):
        inside, beside = rows["DoWhy", term], rows[ols, term]
        assert inside["estimate"] == pytest.approx(beside["estimate"], abs=1e-6)
        assert inside["std_error"] == pytest.approx(beside["std_error"], rel=0.15)


def test_it_runs_again_in_its_folder_and_not_over_other_files(ran: tuple[Run, Path]) -> None:
    again = done(crossworld("demo", "--n", N, "--embedder", "tfidf", "--out", ran[1]))
    assert again == ran[0].out
    refused(crossworld("demo", "--n", N + 1, "--out", ran[1]), "reasoning.csv", "--out")


@pytest.mark.parametrize("name", WRITTEN)
def test_nobodys_file_is_written_over(name: str) -> None:
    """The default folder is the working folder, where a report.html may well be somebody's."""
    Path(name).write_text("mine\n")
    refused(crossworld("demo", "--n", N), name, "--out")
    assert [p.name for p in Path().iterdir()] == [name]
    assert Path(name).read_text() == "mine\n"


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("--n", 39), ["--n is 40 to 1,000", "39"]),
        (("--n", 1001), ["--n is 40 to 1,000", "1001"]),
        (("--seed", -1), ["--seed is 0 or more", "-1"]),
        (("--batch-size", 0), ["--batch-size is 1 or more", "0"]),
    ],
)
def test_flags_that_cannot_be_meant(words: tuple[Any, ...], fragments: list[str]) -> None:
    refused(crossworld("demo", *words, "--out", "d"), *fragments)
    assert not list(Path("d").iterdir())


def test_unknown_words() -> None:
    misused(crossworld("demo", "--example", "resoning"), "reasoning")


def test_an_embedder_that_is_not_here() -> None:
    run = crossworld("demo", "--n", N, "--embedder", "no-such-model", "--out", "d")
    if find_spec("sentence_transformers") is None:
        refused(run, "no-such-model", "pip install 'crossworld[embed]'")
    else:
        refused(run, "no-such-model", "is not on this machine")
    assert not list(Path("d").iterdir())


def test_another_seed_draws_other_prompts(ran: tuple[Run, Path]) -> None:
    from crossworld.cli.demo import Settings, inputs

    first, second = (
        inputs(Settings(N, False, "tfidf", None, seed), "")["reasoning.csv"] for seed in (0, 3)
    )
    assert first == (ran[1] / "reasoning.csv").read_text(encoding="utf-8")
    one, two = ({line.split(",")[0] for line in t.splitlines()[1:]} for t in (first, second))
    assert len(one) >= N
    assert one != two


def test_live_asks_the_model_that_was_recorded() -> None:
    pytest.importorskip("torch", reason="the local extra is not installed")
    pytest.importorskip("transformers", reason="the local extra is not installed")
    from crossworld.cli.demo import Settings, inputs

    live = inputs(Settings(40, True, "tfidf", None, 0), "")
    recorded = inputs(Settings(40, False, "tfidf", None, 0), "")
    assert live["reasoning.csv"] == recorded["reasoning.csv"]
    assert live["replay.csv"] != recorded["replay.csv"]  # one wording and draw, not four
    other = inputs(Settings(40, True, "tfidf", None, 7), "")
    assert other["reasoning.csv"] != live["reasoning.csv"]


def test_it_says_on_a_terminal_what_happens_and_nothing_in_a_pipe(ran: tuple[Run, Path]) -> None:
    assert ran[0].err == ""
    pty = pytest.importorskip("pty", reason="no terminals here")
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        [*COMMAND, "demo", "--n", "40", "--embedder", "tfidf", "--out", "e"],
        stdout=subprocess.PIPE, stderr=theirs,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
    )  # fmt: skip
    seen = b""
    while job.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            seen += os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    assert job.stdout is not None
    with job.stdout as printed:
        assert b"\x1b" not in printed.read()
    assert job.returncode == 0
    for words in ("turning the reasoning into numbers", "shallow neural network", "refuters"):
        assert words in seen.decode(errors="replace")


# -- the plain table


def test_the_table_example_writes_a_report_data_and_a_spec_that_runs_again() -> None:
    out = done(crossworld("demo", "--example", "diabetes", "--out", "d"))
    assert sorted(p.name for p in Path("d").iterdir()) == [
        "diabetes.csv", "diabetes.toml", "report.html"
    ]  # fmt: skip
    for name in ("te ", "nde ", "nie ", "pm "):
        assert f"\n{name}" in out
    assert "report:  d/report.html" in out
    again = next(line for line in out.splitlines() if line.startswith("again:"))
    words = again.removeprefix("again:").split()
    assert words == ["crossworld", "run", "d/diabetes.toml"]
    table = done(crossworld(*words[1:], "--json", "r.json"))
    assert table.strip() in out
    assert Path("d/report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_the_table_example_prints_what_python_computes() -> None:
    done(crossworld("demo", "--example", "diabetes", "--out", "d"))
    done(crossworld("run", "d/diabetes.toml", "--json", "r.json"))
    mediators = [
        "cholesterol", "ldl", "hdl", "cholesterol_hdl_ratio", "log_triglycerides", "glucose"
    ]  # fmt: skip
    study = xw.TableStudy.from_frame(
        xw.datasets.diabetes(),
        f"bmi -> {' + '.join(mediators)} -> progression",
        adjust=["age", "sex"],
        levels=(25, 30),
    )
    found = xw.estimate(study, xw.Regression(), [xw.TE, xw.NDE, xw.NIE, xw.PM])
    for row in found:
        told = numbers("r.json")[row.term]
        assert told[:2] == pytest.approx([row.estimate, row.std_error], rel=1e-9)


def test_the_table_example_needs_no_folder() -> None:
    out = done(crossworld("demo", "--example", "diabetes"))
    assert Path("report.html").is_file()
    assert "crossworld run diabetes.toml" in out
    done(crossworld("demo", "--example", "diabetes"))


def test_the_table_example_is_quick_from_a_cold_start() -> None:
    command = [*COMMAND[:1], *COMMAND[3:], "demo", "--example", "diabetes", "--out", "d"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_folder_that_is_made_on_the_way() -> None:
    done(crossworld("demo", "--example", "diabetes", "--out", "new/deep"))
    assert Path("new/deep/report.html").is_file()


@pytest.mark.parametrize("example", ["reasoning", "diabetes"])
@pytest.mark.parametrize(
    ("target", "fragments"),
    [
        ("taken", ["--out 'taken' is a file"]),
        # defect: NotADirectoryError, FileNotFoundError and OSError, exit 1.
        ("taken/below", ["taken/below"]),
        ("/proc/none", ["/proc/none"]),
        ("x" * 300, ["xxx"]),
    ],
)
def test_where_the_demo_cannot_write(example: str, target: str, fragments: list[str]) -> None:
    Path("taken").write_text("")
    refused(crossworld("demo", "--example", example, "--out", target), *fragments)


@pytest.mark.parametrize("name", ["diabetes.csv", "report.html"])
def test_the_table_example_does_not_write_over_a_file_of_that_name(name: str) -> None:
    """The default folder is the working folder, and diabetes.csv a likely name in it."""
    # defect: the file is replaced without a word.
    Path(name).write_text("mine\n")
    refused(crossworld("demo", "--example", "diabetes"), name, "--out")
    assert Path(name).read_text() == "mine\n"
