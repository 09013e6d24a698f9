"""Measure crossworld's table estimators beside their peers, in one run.

    python benchmarks/tables.py [--statspai-python PATH] [--rscript Rscript] [--repeat 3]
                                [--statsmodels-reps 100] [--statspai-reps 100] [--jobs a,b,c,d]
                                [--only all|ours|peers] [--json FILE]

Jobs: (a) jobs data, linear mediator and outcome, bootstrap 1,000; (b) linear mediator and logit
outcome, 1,000 rows, bootstrap 1,000; (c) the same with 10,000 rows, quasi-Bayesian 1,000; (d) our
peak memory in (b) as draws grow from 1,000 to 10,000.

Every call runs in a process of its own, which times its inner call after a warm-up, without
start-up and imports; the contestants take turns, so that a busy machine is shared fairly. Printed
are medians of wall and CPU seconds, ratios peer / ours, and what each contestant found, because
the time of a different answer is worth nothing. A peer that is missing is named and skipped. The
R library that holds ``mediation`` is found through R_LIBS.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DRAWS = 1000
MEMORY_DRAWS = (1000, 10_000)
OURS = "crossworld"
Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One task that every contestant is given."""

    key: str
    title: str
    treatment: str
    mediator: str
    outcome: str
    adjust: str
    family: str
    method: str
    rows: int | None
    peers: tuple[str, ...]

    def arguments(self, data: Path, draws: int, seed: int) -> list[str]:
        """Arguments of every worker script."""
        roles = [self.treatment, self.mediator, self.outcome, self.adjust]
        return [str(data), *roles, self.family, self.method, str(draws), str(seed)]


SYNTHETIC = ("a", "m", "y", "x1,x2", "logit")
JOBS = (
    Job(
        *("a", "jobs, linear / linear, bootstrap 1,000", "treat", "job_seek", "depress2"),
        *("econ_hard,sex,age", "gaussian", "bootstrap", None),
        peers=("statsmodels", "StatsPAI", "R mediation"),
    ),
    Job(
        *("b", "1,000 rows, linear / logit, bootstrap 1,000", *SYNTHETIC, "bootstrap", 1000),
        peers=("StatsPAI", "R mediation"),
    ),
    Job(
        *("c", "10,000 rows, linear / logit, quasi-Bayes 1,000", *SYNTHETIC, "simulation", 10_000),
        peers=("R mediation",),
    ),
)


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def shared_table(name: str) -> Path | None:
    """Find a data file of the shared folder, if there is one."""
    root = os.environ.get("CROSSWORLD_SHARED")
    folder = Path(root) if root else HERE.parents[1] / "shared"
    path = folder / "data" / "tables" / name
    return path if path.exists() else None


def write_synthetic(path: Path, rows: int) -> None:
    """Draw a randomised treatment, a linear mediator and a logit outcome."""
    draw = random.Random(rows)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "m", "y", "x1", "x2"])
        for _ in range(rows):
            x1, x2, a = draw.gauss(), draw.gauss(), draw.getrandbits(1)
            m = 0.3 + 0.6 * a + 0.4 * x1 - 0.3 * x2 + draw.gauss()
            logit = -0.5 + 0.4 * a + 0.7 * m + 0.3 * x1 + 0.2 * x2
            writer.writerow([a, m, int(draw.random() < 1 / (1 + exp(-logit))), x1, x2])


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """How each contestant is started; StatsPAI only where its interpreter is given."""
    known = {
        OURS: [sys.executable, str(HERE / "ours.py")],
        "statsmodels": [sys.executable, str(HERE / "peers" / "statsmodels_mediation.py")],
        "R mediation": [options.rscript, str(HERE / "peers" / "mediate.R")],
    }
    if options.statspai_python:
        known["StatsPAI"] = [options.statspai_python, str(HERE / "peers" / "statspai_mediate.py")]
    return known


def draws_for(who: str, job: Job, options: argparse.Namespace) -> int:
    """Draws a contestant is asked for: slow ones get fewer, and their seconds are scaled."""
    if who == "statsmodels":
        return int(options.statsmodels_reps)
    if who == "StatsPAI" and job.family == "logit":
        return int(options.statspai_reps)
    return DRAWS


def complaint(stderr: str) -> str:
    """Pick the line that says what went wrong out of an R or a Python traceback."""
    lines = [line for line in stderr.splitlines() if line[:1].strip()]
    errors = [line for line in lines if line.startswith("Error")]
    return (errors or lines[-1:] or [""])[0].rstrip(".")


def launch(command: list[str], arguments: list[str]) -> Run | str:
    """Run one worker; its report, or the reason why there is none."""
    try:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode != 0:
        return complaint(done.stderr) or f"exit status {done.returncode}"
    report: Run = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def measure(job: Job, data: Path, options: argparse.Namespace) -> dict[str, list[Run]]:
    """Let the contestants take turns ``repeat`` times; those that cannot run are named."""
    known = commands(options)
    names = [OURS] * (options.only != "peers") + list(job.peers) * (options.only != "ours")
    runs: dict[str, list[Run]] = {}
    missing: set[str] = set()
    for turn in range(options.repeat):
        for who in names:
            if who in missing:
                continue
            draws = draws_for(who, job, options)
            result = (
                launch(known[who], job.arguments(data, draws, 1 + turn))
                if who in known
                else "--statspai-python names no interpreter"
            )
            if isinstance(result, str):
                missing.add(who)
                say(f"  {who} is not measured: {result}.")
                continue
            scale = DRAWS / draws
            result |= {"wall": scale * result["wall"], "cpu": scale * result["cpu"], "draws": draws}
            runs.setdefault(who, []).append(result)
    return runs


def median(runs: list[Run], field: str) -> float:
    """Median of one field over the repeats."""
    return float(statistics.median(run[field] for run in runs))


def tell(job: Job, runs: dict[str, list[Run]]) -> None:
    """Print medians, ratios and answers of one job."""
    if not runs:
        return
    say(f"  {'':<13}{'wall s':>9}{'cpu s':>9}{'wall ratio':>12}{'cpu ratio':>11}   nie [95 %]; nde")
    ours = runs.get(OURS)
    for who, mine in runs.items():
        ratios = ["-", "-"]
        if ours and who != OURS:
            ratios = [f"{median(mine, f) / median(ours, f):,.1f}" for f in ("wall", "cpu")]
        estimate, low, high = mine[0]["estimates"]["nie"]
        direct = mine[0]["estimates"]["nde"][0]
        say(
            f"  {who:<13}{median(mine, 'wall'):>9.3f}{median(mine, 'cpu'):>9.3f}"
            f"{ratios[0]:>12}{ratios[1]:>11}   {estimate:.4f} [{low:.4f}, {high:.4f}]; {direct:.4f}"
        )
    for who, mine in runs.items():
        draws = mine[0]["draws"]
        if draws != DRAWS:
            say(f"  {who}: measured with {draws} draws and scaled linearly to {DRAWS:,}.")
    if job.key == "b" and ours:
        error = ours[0]["quadrature_error"]
        told = "not told by the result" if error is None else json.dumps(error)
        say(f"  Our quadrature error relative to a replicate's standard error: {told}.")


def measure_memory(job: Job, data: Path, options: argparse.Namespace) -> list[Run]:
    """Print how our peak memory grows with the number of draws."""
    runs = []
    for draws in MEMORY_DRAWS:
        result = launch(commands(options)[OURS], job.arguments(data, draws, 1))
        if isinstance(result, str):
            say(f"  {OURS} is not measured: {result}.")
            return []
        runs.append(result | {"draws": draws})
        peak, own = result["peak"] / 1e6, (result["peak"] - result["peak_before"]) / 1e6
        say(f"  {draws:>6,} draws: peak {peak:.0f} MB, {own:.1f} MB of it added by the call")
    say(f"  ratio of peaks {runs[1]['peak'] / runs[0]['peak']:.2f}")
    return runs


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="crossworld's table estimators beside their peers")
    parser.add_argument("--statspai-python", help="interpreter of an environment with StatsPAI")
    parser.add_argument("--rscript", default="Rscript", help="Rscript to run R mediation with")
    parser.add_argument("--repeat", type=int, default=3, help="turns; medians are printed")
    scaled: dict[str, Any] = {"type": int, "default": 100}
    parser.add_argument("--statsmodels-reps", **scaled, help="its replicates; seconds are scaled")
    parser.add_argument("--statspai-reps", **scaled, help="its logit replicates, scaled likewise")
    parser.add_argument("--jobs", default="a,b,c,d", help="jobs to run")
    parser.add_argument("--only", choices=("all", "ours", "peers"), default="all")
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the jobs that are asked for."""
    options = parse(arguments)
    wanted = options.jobs.split(",")
    record: Run = {"python": platform.python_version(), "cores": os.cpu_count(), "jobs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for job in JOBS:
            if job.key not in wanted:
                continue
            say(f"({job.key}) {job.title}, turns: {options.repeat}")
            if job.rows is None:
                data = shared_table("mediation__jobs.csv")
            else:
                data = Path(folder) / f"{job.key}.csv"
                write_synthetic(data, job.rows)
            if data is None:
                say("  The jobs data is not here: set CROSSWORLD_SHARED to the shared folder.")
                continue
            runs = measure(job, data, options)
            tell(job, runs)
            record["jobs"][job.key] = runs
        if "d" in wanted and options.only != "peers":
            say("(d) our peak memory in (b)")
            data = Path(folder) / "memory.csv"
            write_synthetic(data, 1000)
            record["jobs"]["d"] = measure_memory(JOBS[1], data, options)
    versions = {r[0]["version"] for k, j in record["jobs"].items() if k != "d" for r in j.values()}
    told = ", ".join(sorted(versions)) or "nothing was measured"
    say(f"{told}; Python {record['python']}, {record['cores']} cores")
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
