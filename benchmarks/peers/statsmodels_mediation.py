"""One timed call of statsmodels' ``Mediation``; called by ``benchmarks/tables.py``.

The formula path is measured: it is the one the manual shows, and the only one that can handle any
formula. The arguments are those of ``mediate.R``; the last line printed is a JSON object. Reading
the data and a call with three replicates come before the clock starts.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import statsmodels
import statsmodels.api as sm
from statsmodels.stats.mediation import Mediation

DRAWS_OF = {
    "pnie": "ACME_ctrl",
    "nie": "ACME_tx",
    "nde": "ADE_ctrl",
    "tnde": "ADE_tx",
    "te": "total_effect",
}


def main(arguments: list[str]) -> None:
    """Run one call and print its cost and its estimates."""
    path, treatment, mediator, outcome, adjust, family, method, draws, seed = arguments
    warnings.simplefilter("ignore")
    data = pd.read_csv(path)
    covariates = adjust.replace(",", " + ")
    formula_y = f"{outcome} ~ {treatment} + {mediator} + {covariates}"
    if family == "logit":
        model_y = sm.GLM.from_formula(formula_y, data, family=sm.families.Binomial())
    else:
        model_y = sm.OLS.from_formula(formula_y, data)
    model_m = sm.OLS.from_formula(f"{mediator} ~ {treatment} + {covariates}", data)
    mediation = Mediation(model_y, model_m, treatment, mediator)
    kind = "bootstrap" if method == "bootstrap" else "parametric"
    mediation.fit(method=kind, n_rep=3, rng=np.random.default_rng(int(seed)))
    wall, cpu = time.perf_counter(), time.process_time()
    result = mediation.fit(method=kind, n_rep=int(draws), rng=np.random.default_rng(int(seed)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    estimates = {}
    for term, attribute in DRAWS_OF.items():
        values = np.asarray(getattr(result, attribute))
        low, high = np.percentile(values, [2.5, 97.5])
        estimates[term] = [float(values.mean()), float(low), float(high)]
    version = f"statsmodels {statsmodels.__version__}"
    sys.stdout.write(
        json.dumps({"wall": wall, "cpu": cpu, "version": version, "estimates": estimates}) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
