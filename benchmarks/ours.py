"""One timed call of crossworld; called by ``benchmarks/tables.py``.

The arguments are those of ``peers/mediate.R``; the last line printed is a JSON object. Imports,
reading the data and a warm-up call come before the clock starts. Besides the seconds it reports
the peak resident memory before and after the measured call.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import crossworld as xw

WARM_UP_DRAWS = 100


def peak_bytes() -> int:
    """Peak resident memory of this process.

    Linux hands the peak of the parent at the time of the fork on to ``ru_maxrss``, so the
    process's own high-water mark is preferred where the kernel shows it.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def version() -> str:
    """Installed version, or a word for a source tree that is only on the path."""
    try:
        return importlib.metadata.version("crossworld")
    except importlib.metadata.PackageNotFoundError:
        return "from source"


def quadrature_error(diagnostics: Mapping[str, Any]) -> object:
    """Find what the result says about quadrature in replicates, at any depth."""
    for key, value in diagnostics.items():
        if "quadrature" in key:
            return value.get("replicate_error", value) if isinstance(value, Mapping) else value
        if isinstance(value, Mapping) and (inner := quadrature_error(value)) is not None:
            return inner
    return None


def main(arguments: list[str]) -> None:
    """Run one call and print its cost and its estimates."""
    path, treatment, mediator, outcome, adjust, family, method, draws, seed = arguments
    study = xw.TableStudy.from_frame(
        pd.read_csv(path),
        f"{treatment} -> {mediator} -> {outcome}",
        adjust=adjust.split(","),
        levels=(0, 1),
    )
    estimator = xw.Regression(mediator_family="gaussian", outcome_family=family)
    asked = [xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE]
    inference = xw.Bootstrap if method == "bootstrap" else xw.Simulation

    def call(size: int) -> xw.EffectTable:
        return xw.estimate(study, estimator, asked, inference=inference(draws=size, seed=int(seed)))

    call(WARM_UP_DRAWS)
    before = peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    effects = call(int(draws))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = {term: effects[term] for term in ("te", "nde", "nie", "tnde", "pnie")}
    report = {
        "wall": wall,
        "cpu": cpu,
        "version": f"crossworld {version()}",
        "estimates": {k: [r.estimate, r.conf_low, r.conf_high] for k, r in rows.items()},
        "peak_before": before,
        "peak": peak_bytes(),
        "quadrature_error": quadrature_error(effects.diagnostics),
    }
    sys.stdout.write(json.dumps(report, default=float) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
