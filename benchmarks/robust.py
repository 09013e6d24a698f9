"""Measure the multiply robust estimator beside its own nuisance fits and beside med_bench.

    python benchmarks/robust.py [--med-bench-python PATH] [--jobs a,b,c] [--turns 3] [--quick]
                                [--json FILE]

Jobs: (a) CPU seconds of an analysis of five effects divided by those of its distinct nuisance
fits and the predictions they need, made by hand with the same learners on the same folds; (b) 20
covariates and many rows with boosting: seconds and peak memory beside the same fits by hand, and
the peak of traced allocations as cells and folds are added, in copies of the data; (c) the
Python package ``med_bench`` with the same learners on the same folds: seconds, and both
estimates beside the exact truth. It is not on the registry; ``--med-bench-python`` is an
interpreter that can import it, and without one it is named and skipped.

Per fold, the four natural cells of one mediator need eight fits: treatment given covariates,
treatment given covariates and mediator, and for each arm the outcome given covariates, the
outcome given covariates and mediator, and the mean of the latter given covariates in the other
arm. Predictions are needed at the test rows, and of the second at the other arm's training rows
besides. In (a) the contestants take turns in one process after a warm-up, learners run in one
thread, and the time by hand includes the slicing of rows but not the scores; the effects that
follow from it are compared with ours. Ratios are medians of the ratios of neighbouring turns. In
(c) the ratio is med_bench / ours; med_bench fits as many models, but the outcome given covariates
and mediator on one half of the training rows and the nested means on the other, and it computes
no standard errors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDS = 5
TARGET = 1.15
TREES = 20
TRIM = 0.01
MOST_TURNS = 25
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
LEARNERS = ("linear", "boosting", "forest")
TERMS = ("te", "nde", "nie", "tnde", "pnie")
TRUTH = {"te": 1.1, "nde": 0.5, "nie": 0.6, "tnde": 0.68, "pnie": 0.42}
Run = dict[str, Any]


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# What workers do: numpy, scikit-learn and the contestants are imported in their processes only.


def draw(rows: int, covariates: int, seed: int) -> Run:
    """Draw confounded data, linear in each arm, whose effects are `TRUTH`."""
    import numpy as np

    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, covariates + 1))
    chance = 1.0 / (1.0 + np.exp(0.3 * z[:, 1] - 0.5 * z[:, 0]))
    a = (rng.random(rows) < chance).astype(np.float64)
    z[:, -1] += 0.6 * a + 0.4 * z[:, 0] - 0.3 * z[:, 1]
    m = z[:, -1]
    y = 0.5 * a + 0.7 * m + 0.3 * a * m + 0.4 * z[:, 0] + 0.2 * z[:, 1] + rng.normal(size=rows)
    return {"z": z, "a": a, "y": y}


def learners(name: str, rounds: int) -> tuple[Any, Any]:
    """Return unfitted learners of the outcome and of the treatment."""
    if name == "linear":
        from sklearn.linear_model import LinearRegression, LogisticRegression

        return LinearRegression(), LogisticRegression()
    if name == "boosting":
        from sklearn.ensemble import HistGradientBoostingClassifier as Classifier
        from sklearn.ensemble import HistGradientBoostingRegressor as Regressor

        options: Run = {"max_iter": rounds, "random_state": 0}
    else:
        from sklearn.ensemble import RandomForestClassifier as Classifier
        from sklearn.ensemble import RandomForestRegressor as Regressor

        options = {"n_estimators": TREES, "min_samples_leaf": 10, "random_state": 0}
    return Regressor(**options), Classifier(**options)


def blocks(rows: int) -> Any:
    """Folds of neighbouring rows, as med_bench cuts them."""
    import numpy as np
    from sklearn.model_selection import KFold

    ids = np.empty(rows, dtype=np.int64)
    for fold, (_, test) in enumerate(KFold(FOLDS).split(ids)):
        ids[test] = fold
    return ids


def our_study(data: Run, ids: Any = None) -> Any:
    """Declare the data to crossworld."""
    import crossworld as xw

    names = [f"x{j}" for j in range(data["z"].shape[1] - 1)]
    columns = dict(zip([*names, "m"], data["z"].T, strict=True)) | {"a": data["a"], "y": data["y"]}
    if ids is not None:
        columns["fold"] = ids
    return xw.TableStudy.from_frame(columns, "a -> m -> y", adjust=names, levels=(0, 1))


def our_call(study: Any, job: Run, folds: int | str) -> Callable[[], Run]:
    """Return the analysis that is measured; it returns estimates and standard errors by term."""
    import crossworld as xw

    outcome, treatment = learners(job["learner"], job["rounds"])
    method = xw.MultiplyRobust(outcome=outcome, treatment=treatment, folds=folds, trim=TRIM)
    asked = [xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE]
    if job.get("cells") == 1:
        asked = [xw.Estimand("cell", xw.Y(1, xw.M(0)))]

    def call() -> Run:
        effects = xw.estimate(study, method, asked)
        return {row.term: [float(row.estimate), float(row.std_error)] for row in effects}

    return call


def by_hand(data: Run, ids: Any, job: Run) -> Run:
    """Fit the distinct nuisances and make the predictions that are needed: the floor."""
    import numpy as np
    from sklearn.base import clone

    outcome, treatment = learners(job["learner"], job["rounds"])
    z, a, y = data["z"], data["a"], data["y"]
    x = z[:, :-1]
    names = ["p", "pm", *(f"{stage}{arm}" for stage in ("mu", "mum", "nested") for arm in (0, 1))]
    found = {name: np.empty(len(y)) for name in names}
    for fold in range(int(ids.max()) + 1):
        test, train = np.flatnonzero(ids == fold), np.flatnonzero(ids != fold)
        for name, given in (("p", x), ("pm", z)):
            fitted = clone(treatment).fit(given[train], a[train])
            found[name][test] = fitted.predict_proba(given[test])[:, 1]
        for arm in (0, 1):
            own, other = train[a[train] == arm], train[a[train] != arm]
            found[f"mu{arm}"][test] = clone(outcome).fit(x[own], y[own]).predict(x[test])
            fitted = clone(outcome).fit(z[own], y[own])
            found[f"mum{arm}"][test] = fitted.predict(z[test])
            nested = clone(outcome).fit(x[other], fitted.predict(z[other]))
            found[f"nested{arm}"][test] = nested.predict(x[test])
    return found


def effects_of(found: Run, data: Run) -> dict[str, float]:
    """Effects from nuisances made by hand, to tell that the same thing was fitted."""
    import numpy as np

    a, y, cells = data["a"], data["y"], {}
    p = {b: np.maximum(found["p"] if b else 1 - found["p"], TRIM) for b in (0, 1)}
    pm = {b: np.maximum(found["pm"] if b else 1 - found["pm"], TRIM) for b in (0, 1)}
    for b in (0, 1):
        c, mu, mum, nested = 1 - b, found[f"mu{b}"], found[f"mum{b}"], found[f"nested{b}"]
        own, first = (a == b) / p[b], (a == c) / p[c]
        second = (a == b) * pm[c] / (pm[b] * p[c])
        cells[b, b] = np.mean(mu + own / own.mean() * (y - mu))
        parts = first / first.mean() * (mum - nested) + second / second.mean() * (y - mum)
        cells[b, c] = np.mean(nested + parts)
    pairs = [((1, 1), (0, 0)), ((1, 0), (0, 0)), ((1, 1), (1, 0)), ((1, 1), (0, 1))]
    pairs.append(((0, 1), (0, 0)))
    return {t: float(cells[u] - cells[v]) for t, (u, v) in zip(TERMS, pairs, strict=True)}


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, wall seconds and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def take_turns(job: Run) -> Run:
    """Analysis and fits by hand, in turns; the faster ones more often."""
    import numpy as np

    from crossworld.tables.robust.folds import fold_ids

    data = draw(job["rows"], job["covariates"], 1)
    study = our_study(data)
    ids = fold_ids(study, FOLDS, np.random.SeedSequence(0).spawn(1)[0])
    calls = {"hand": lambda: by_hand(data, ids, job), "ours": our_call(study, job, FOLDS)}
    warm = draw(1000, job["covariates"], 2)
    our_call(our_study(warm), job, FOLDS)()
    cpu: dict[str, list[float]] = {who: [] for who in calls}
    found, turn, turns = {}, 0, 1
    while turn < turns:
        for who in sorted(calls, reverse=bool(turn % 2)):
            found[who], _, seconds = timed(calls[who])
            cpu[who].append(seconds)
        turn += 1
        turns = max(job["turns"], min(MOST_TURNS, int(5.0 / cpu["ours"][0])))
    hand = effects_of(found["hand"], data)
    gap = max(abs(found["ours"][term][0] - hand[term]) for term in TERMS)
    return {"cpu": cpu, "gap": gap, "estimates": found["ours"]}


def status(field: str) -> int:
    """Bytes of a field of the process's status; 0 where the kernel does not show it."""
    path = Path("/proc/self/status")
    found = re.search(rf"{field}:\s*(\d+) kB", path.read_text()) if path.exists() else None
    return int(found[1]) * 1024 if found else 0


def once(job: Run) -> Run:
    """One call of one contestant: its seconds, memory and estimates."""
    import numpy as np

    who, rows = job["who"], job["rows"]
    data = draw(rows, job["covariates"], job.get("seed", 1))
    ids = blocks(rows) if job.get("blocks") else np.arange(rows) % job.get("folds", FOLDS)
    warm = draw(1000, job["covariates"], 2)
    call: Callable[[], Any]
    if who == "ours":
        folds: int | str = "fold" if job.get("blocks") else job.get("folds", FOLDS)
        study = our_study(data, ids if job.get("blocks") else None)
        call = our_call(study, job, folds)
        our_call(our_study(warm), job, FOLDS)()
    elif who == "hand":
        call = lambda: by_hand(data, ids, job)  # noqa: E731
        by_hand(warm, blocks(1000), job)
    else:
        call = med_bench_call(data, job)
        med_bench_call(warm, job)()
    if job.get("traced"):
        tracemalloc.start()
        call()
        return {"copies": tracemalloc.get_traced_memory()[1] / data["z"].nbytes}
    before = status("VmRSS")
    result, wall, cpu = timed(call)
    estimates = {} if who == "hand" else result
    peak = status("VmHWM")
    return {"wall": wall, "cpu": cpu, "before": before, "peak": peak, "estimates": estimates}


def med_bench_call(data: Run, job: Run) -> Callable[[], Run]:
    """Return med_bench's cross-fitted multiply robust analysis."""
    from med_bench.estimation.mediation_mr import MultiplyRobust

    outcome, treatment = learners(job["learner"], job["rounds"])
    method = MultiplyRobust(outcome, treatment, clip=TRIM, trim=0.0, verbose=False)
    names = ("total_effect", "direct_effect_control", "indirect_effect_treated")
    names += ("direct_effect_treated", "indirect_effect_control")
    z = data["z"]

    def call() -> Run:
        found = method.cross_fit_estimate(data["a"], z[:, -1:], z[:, :-1], data["y"], FOLDS)
        return {t: [float(found[name]), None] for t, name in zip(TERMS, names, strict=True)}

    return call


# What the parent does.


def launch(job: Run, python: str = sys.executable) -> Run | str:
    """Run a job in a process of its own; its report, or the reason why there is none."""
    command = [python, str(Path(__file__).resolve()), "--worker", json.dumps(job)]
    env = os.environ | ONE_THREAD
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line[:1].strip()]
        return (lines or [f"exit status {done.returncode}"])[-1].rstrip(".")
    report: Run = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def middle(values: list[float]) -> float:
    """Median."""
    return float(statistics.median(values))


def ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of neighbouring turns."""
    return middle([a / b for a, b in zip(above, below, strict=True)])


def cost(options: argparse.Namespace) -> list[Run]:
    """Print what an analysis costs beside its fits."""
    say(f"(a) CPU seconds of an analysis / of its fits and predictions, target {TARGET}")
    say(f"  {'learner':<10}{'rows':>8}{'turns':>7}{'ours s':>9}{'hand s':>9}{'ratio':>8}   largest")
    say(f"  {'':<10}{'':>8}{'':>7}{'':>9}{'':>9}{'':>8}   difference of effects")
    found = []
    for learner in LEARNERS:
        for rows in (2000,) if options.quick else (2000, 20_000):
            job = {"task": "turns", "learner": learner, "rows": rows, "covariates": 10}
            result = launch(job | {"rounds": 100, "turns": options.turns})
            if isinstance(result, str):
                say(f"  {learner} is not measured: {result}.")
                continue
            ours, hand = result["cpu"]["ours"], result["cpu"]["hand"]
            result |= {"ratio": ratio(ours, hand)} | job
            found.append(result)
            say(
                f"  {learner:<10}{rows:>8,}{len(ours):>7}{middle(ours):>9.3f}{middle(hand):>9.3f}"
                f"{result['ratio']:>8.3f}{' ' if result['ratio'] <= TARGET else '*'}"
                f"  {result['gap']:.0e}"
            )
    return found


def memory(options: argparse.Namespace) -> list[Run]:
    """Print seconds and peak memory with many rows, and what adds to the peak."""
    rows, covariates = 10_000 if options.quick else 100_000, 20
    job: Run = {"task": "once", "learner": "boosting", "rows": rows, "covariates": covariates}
    size = rows * (covariates + 1) * 8 / 1e6
    say(f"(b) {rows:,} rows, {covariates} covariates ({size:.1f} MB), boosting, {FOLDS} folds")
    say(f"  {'':<8}{'wall s':>9}{'cpu s':>9}{'before MB':>11}{'peak MB':>9}{'added MB':>10}")
    found: list[Run] = []
    runs: dict[str, Run] = {}
    for who in ("ours", "hand"):
        result = launch(job | {"who": who, "rounds": 100})
        if isinstance(result, str):
            say(f"  {who} is not measured: {result}.")
            return found
        runs[who] = result | {"added": result["peak"] - result["before"]}
        found.append({"who": who} | runs[who])
        before, peak = result["before"] / 1e6, result["peak"] / 1e6
        say(
            f"  {who:<8}{result['wall']:>9.1f}{result['cpu']:>9.1f}{before:>11.0f}{peak:>9.0f}"
            f"{peak - before:>10.0f}"
        )
    parts = [runs["ours"][f] / runs["hand"][f] for f in ("wall", "cpu", "before", "peak", "added")]
    say("  {:<8}{:>9.2f}{:>9.2f}{:>11.2f}{:>9.2f}{:>10.2f}".format("ratio", *parts))
    say("  Peak of traced allocations, in copies of the data (100,000 rows, 2 rounds):")
    small = {"rounds": 2, "traced": True, "rows": 100_000}
    plans = (("ours", 1, 5), ("ours", 4, 5), ("hand", 4, 5), ("ours", 4, 10), ("hand", 4, 10))
    for who, cells, folds in plans:
        result = launch(job | small | {"who": who, "cells": cells, "folds": folds})
        if isinstance(result, str):
            say(f"  {who} is not measured: {result}.")
            continue
        found.append({"who": who, "cells": cells, "folds": folds} | result)
        say(f"  {who:<6}{cells} cell{'s' * (cells > 1):<3}{folds:>3} folds{result['copies']:>8.2f}")
    return found


def peer(options: argparse.Namespace) -> list[Run]:
    """Print med_bench beside ours: seconds, and estimates beside the truth."""
    say(f"(c) beside med_bench, 10 covariates, {FOLDS} folds of neighbouring rows, CPU seconds")
    pythons = {"ours": sys.executable, "med_bench": options.med_bench_python}
    if not options.med_bench_python:
        say("  med_bench is not measured: --med-bench-python names no interpreter.")
        return []
    say(f"  truth: {', '.join(f'{term} {value}' for term, value in TRUTH.items())}")
    header = "".join(f"{term:>9}" for term in TERMS)
    say(f"  {'learner':<10}{'rows':>7} {'':<11}{'cpu s':>7}{'ratio':>7}{header}   worst error")
    found: list[Run] = []
    for learner in LEARNERS:
        for rows in (2000,) if options.quick else (2000, 20_000):
            job = {"task": "once", "learner": learner, "rows": rows, "covariates": 10}
            job |= {"rounds": 100, "blocks": True}
            runs: dict[str, list[Run]] = {who: [] for who in pythons}
            for turn in range(options.turns):
                for who in sorted(pythons, reverse=bool(turn % 2)):
                    result = launch(job | {"who": who}, pythons[who])
                    if isinstance(result, str):
                        say(f"  {who} is not measured: {result}.")
                        return found
                    runs[who].append(result)
            found.append({"learner": learner, "rows": rows, "runs": runs})
            tell_peer(learner, rows, runs)
    return found


def tell_peer(learner: str, rows: int, runs: dict[str, list[Run]]) -> None:
    """Print one comparison."""
    ours = [run["cpu"] for run in runs["ours"]]
    for who, mine in runs.items():
        cpu = [run["cpu"] for run in mine]
        told = "-" if who == "ours" else f"{ratio(cpu, ours):.2f}"
        estimates = {term: mine[0]["estimates"][term][0] for term in TERMS}
        row = "".join(f"{value:>9.4f}" for value in estimates.values())
        worst = max(abs(estimates[term] - TRUTH[term]) for term in TERMS)
        label = f"{learner:<10}{rows:>7,}" if who == "ours" else " " * 17
        say(f"  {label} {who:<11}{middle(cpu):>7.3f}{told:>7}{row}   {worst:.4f}")
    errors = "".join(f"{runs['ours'][0]['estimates'][term][1]:>9.4f}" for term in TERMS)
    say(f"  {'':<17} {'our error':<11}{'':>7}{'':>7}{errors}")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="the multiply robust estimator beside its fits")
    parser.add_argument("--med-bench-python", help="interpreter that can import med_bench")
    parser.add_argument("--jobs", default="a,b,c", help="jobs to run")
    parser.add_argument("--turns", type=int, default=3, help="least number of turns")
    parser.add_argument("--quick", action="store_true", help="small tables only")
    parser.add_argument("--json", type=Path, help="file for every single measurement")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the jobs that are asked for, or one of them as a worker."""
    options = parse(arguments)
    if options.worker:
        job = json.loads(options.worker)
        report = take_turns(job) if job["task"] == "turns" else once(job)
        sys.stdout.write(json.dumps(report) + "\n")
        return 0
    jobs = {"a": cost, "b": memory, "c": peer}
    record: Run = {"python": platform.python_version(), "cores": os.cpu_count()}
    record["jobs"] = {key: jobs[key](options) for key in options.jobs.split(",")}
    say(f"Python {record['python']}, {record['cores']} cores, learners in one thread")
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
