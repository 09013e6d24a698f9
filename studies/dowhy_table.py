"""DoWhy's effects and crossworld's inside DoWhy, on the same data, as Markdown tables.

    pip install 'crossworld[dowhy]'
    python studies/dowhy_table.py [--simulations 399] [--replicates 100]

Which of several mediators DoWhy names depends on the order of a Python set, thus on the process'
hash seed; its part is run under two of them. The jobs data (R package mediation) are used where
they are found: ``$CROSSWORLD_SHARED/data/tables/mediation__jobs.csv``.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import crossworld as xw
from crossworld.datasets import ordered

FILE = Path(__file__).with_name("dowhy_table.csv")
FIELDS = ("data", "method", "effect", "estimate", "conf_low", "conf_high", "truth")
SHARED = Path(os.environ.get("CROSSWORLD_SHARED", Path(__file__).parents[1] / "shared"))
JOBS = SHARED / "data" / "tables" / "mediation__jobs.csv"
HASH_SEEDS = ("0", "6")  # under these DoWhy 0.14 names m2 and m1
OURS = "mediation.crossworld.interop.dowhy.MediationEstimator"
EFFECTS = (xw.TE, xw.NDE, xw.NIE)
REFUTERS = (
    ("random_common_cause", {}),
    ("placebo_treatment_refuter", {"placebo_type": "permute"}),
    ("data_subset_refuter", {}),
    ("bootstrap_refuter", {}),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One data set with its graph: covariates before treatment before mediators before outcome."""

    name: str
    frame: Any
    covariates: tuple[str, ...]
    treatment: str
    mediators: tuple[str, ...]
    outcome: str
    truth: dict[str, float]

    def model(self) -> Any:
        import networkx as nx
        from dowhy import CausalModel

        later = (self.treatment, *self.mediators, self.outcome)
        edges = [(x, n) for x in self.covariates for n in later]
        edges += [(u, v) for k, u in enumerate(later) for v in later[k + 1 :]]
        return CausalModel(self.frame, self.treatment, self.outcome, graph=nx.DiGraph(edges))


def settings() -> list[Setting]:
    """Return the data sets that are here."""
    import pandas as pd

    data = ordered(n=2000, seed=1)
    truth = {e.name: data.effect(e) for e in EFFECTS}
    found = [Setting("two mediators", data.to_pandas(), ("x",), "a", ("m1", "m2"), "y", truth)]
    if JOBS.is_file():
        columns = ("econ_hard", "sex", "age")
        names = [*columns, "treat", "job_seek", "depress2"]
        frame = pd.read_csv(JOBS)[names]
        found.insert(0, Setting("jobs", frame, columns, "treat", ("job_seek",), "depress2", {}))
    return found


def row(setting: Setting, method: str, effect: str, estimate: Any, draws: int = 0) -> Any:
    """One line of the table; ``draws`` of DoWhy's bootstrap where it has no interval of its own."""
    options = {"method": "bootstrap", "num_simulations": draws} if draws else {}
    low, high = np.ravel(estimate.get_confidence_intervals(**options))
    return {
        "data": setting.name,
        "method": method,
        "effect": effect,
        "estimate": float(estimate.value),
        "conf_low": float(low),
        "conf_high": float(high),
        "truth": setting.truth.get(effect),
    }


def theirs(setting: Setting, simulations: int) -> list[dict[str, Any]]:
    """DoWhy's total effect, and its two-stage regression with the mediator that it names."""
    from dowhy.causal_estimators.linear_regression_estimator import LinearRegressionEstimator

    model = setting.model()
    total = model.estimate_effect(
        model.identify_effect(proceed_when_unidentifiable=True),
        method_name="backdoor.linear_regression",
        confidence_intervals=True,
    )
    rows = [row(setting, "DoWhy `backdoor.linear_regression`: the total effect", "te", total)]
    stages = {f"{k}_stage_model": LinearRegressionEstimator for k in ("first", "second")}
    for effect in ("nde", "nie"):
        asked = model.identify_effect(f"nonparametric-{effect}", proceed_when_unidentifiable=True)
        found = model.estimate_effect(
            asked, method_name="mediation.two_stage_regression", method_params=stages
        )
        (mediator,) = asked.get_mediator_variables()
        method = f"DoWhy `mediation.two_stage_regression`, through `{mediator}`"
        rows.append(row(setting, method, effect, found, simulations))
        for name, options in REFUTERS:
            try:
                model.refute_estimate(asked, found, method_name=name, num_simulations=2, **options)
            except KeyError:
                continue
            raise SystemExit(f"DoWhy's {name} works on its mediation estimand now; mend the page")
    return rows


def ours(setting: Setting, replicates: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ours, through DoWhy's estimate_effect; and DoWhy's refuters on the first method's."""
    from crossworld.interop.dowhy import identify_effect

    model, several = setting.model(), len(setting.mediators) > 1
    methods = [
        xw.Regression(interaction=several),
        xw.MultiplyRobust(outcome="linear", treatment="logistic", seed=1),
    ]
    rows, refuted = [], []
    for method in methods:
        named = "crossworld " + type(method).__name__ + ("(interaction=True)" if several else "")
        named = named if isinstance(method, xw.Regression) else "crossworld MultiplyRobust"
        through = ", ".join(f"`{m}`" for m in setting.mediators)
        for effect in EFFECTS:
            asked = identify_effect(model, effect, mediators=" -> ".join(setting.mediators))
            found = model.estimate_effect(asked, method_name=OURS, method_params={"method": method})
            where = named if effect is xw.TE else f"{named}, through {through}"
            rows.append(row(setting, where, effect.name, found))
            if effect is xw.TE or method is not methods[0]:
                continue
            for name, options in REFUTERS:
                refuted.append(
                    refutation(model, asked, found, name, (effect.name, replicates, options))
                )
    return rows, refuted


def refutation(model: Any, asked: Any, found: Any, name: str, told: Any) -> dict[str, Any]:
    """One line of the table of DoWhy's refuters; told are effect, replicates and options."""
    effect, replicates, options = told
    seed = np.random.RandomState(1)
    result = model.refute_estimate(
        asked, found, method_name=name, num_simulations=replicates, random_state=seed, **options
    )
    return {
        "refuter": name,
        "effect": effect,
        "estimate": found.value,
        "new effect": float(result.new_effect),
        "p": float(result.refutation_result["p_value"]),
    }


def in_process(arguments: Sequence[str], hash_seed: str) -> list[dict[str, Any]]:
    """Run DoWhy's part in an interpreter of one hash seed."""
    run = subprocess.run(
        [sys.executable, __file__, "--theirs", *arguments],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return found


def shown(value: float | None) -> str:
    """Write a figure of the table."""
    return "" if value is None else f"{value:.3f}"


def main() -> None:
    """Run both, keep the figures, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", default="399", help="of DoWhy's bootstrap")
    parser.add_argument("--replicates", default="100", help="of DoWhy's refuters")
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    if chosen.theirs:
        np.random.seed(1)  # noqa: NPY002 - DoWhy draws from the global generator
        found = [r for s in settings() for r in theirs(s, int(chosen.simulations))]
        print(json.dumps(found))
        return
    rows: list[dict[str, Any]] = []
    for seed in HASH_SEEDS:
        rows += in_process(["--simulations", chosen.simulations], seed)
    refuted: list[tuple[str, dict[str, Any]]] = []
    for setting in settings():
        own, broken = ours(setting, int(chosen.replicates))
        rows += own
        refuted += [(setting.name, r) for r in broken]
    unique = {(r["data"], r["method"], r["effect"]): r for r in rows}
    order = [s.name for s in settings()]
    rows = sorted(unique.values(), key=lambda r: order.index(r["data"]))
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    print(
        "| data | method | effect | estimate | 95 % interval | truth |\n|---|---|---|---|---|---|"
    )
    for r in rows:
        span = f"[{shown(r['conf_low'])}, {shown(r['conf_high'])}]"
        cells = (r["data"], r["method"], r["effect"], shown(r["estimate"]), span, shown(r["truth"]))
        print(f"| {' | '.join(cells)} |")
    print(
        "\n| data | DoWhy's refuter | effect | estimate | refuted | p |\n|---|---|---|---|---|---|"
    )
    for name, r in refuted:
        figures = (shown(r["estimate"]), shown(r["new effect"]), f"{r['p']:.2f}")
        print(f"| {' | '.join((name, '`' + r['refuter'] + '`', r['effect'], *figures))} |")


if __name__ == "__main__":
    main()
