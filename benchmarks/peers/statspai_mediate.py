"""One timed call of StatsPAI's ``mediate``; called by ``benchmarks/tables.py``.

Run with the interpreter of an environment that has StatsPAI. The arguments are those of
``mediate.R``; the last line printed is a JSON object. Reading the data and a warm-up call
come before the clock starts.
"""

import json
import sys
import time
import warnings

import pandas as pd
import statspai

WARM_UP_DRAWS = 40  # fewer than 20 are refused
NAMES = {
    "ACME (indirect)": "nie",
    "ADE (direct)": "nde",
    "Total Effect": "te",
    "NIE": "nie",
    "NDE": "nde",
    "TE": "te",
    "PNIE": "pnie",
    "TNDE": "tnde",
}


def main(arguments: list[str]) -> None:
    """Run one call and print its cost and its estimates."""
    path, treatment, mediator, outcome, adjust, family, method, draws, seed = arguments
    if method != "bootstrap":
        sys.exit(f"StatsPAI has no {method}")
    warnings.simplefilter("ignore")
    data = pd.read_csv(path)
    options = {
        "y": outcome,
        "treat": treatment,
        "mediator": mediator,
        "covariates": adjust.split(","),
        "inference": "bootstrap",
        "outcome_model": "logit" if family == "logit" else "linear",
        "seed": int(seed),
    }
    statspai.mediate(data, n_boot=WARM_UP_DRAWS, **options)
    wall, cpu = time.perf_counter(), time.process_time()
    result = statspai.mediate(data, n_boot=int(draws), **options)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    estimates = {
        NAMES[row.effect]: [float(row.estimate), float(row.ci_lower), float(row.ci_upper)]
        for row in result.detail.itertuples()
        if row.effect in NAMES
    }
    version = f"StatsPAI {statspai.__version__}"
    sys.stdout.write(
        json.dumps({"wall": wall, "cpu": cpu, "version": version, "estimates": estimates}) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
