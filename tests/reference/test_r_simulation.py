"""Simulated and bootstrapped intervals against R ``mediation`` (``r_mediation.json``).

``integrated`` holds 200,000 draws of the same coefficient law with exact cells, made in R; R's own
``quasi_bayes`` figures carry the noise of simulated mediators on top. Agreement is judged by
Monte-Carlo error, four standard deviations of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossworld as xw
from tests.reference.test_golden import CASES, framing, jobs, pytestmark  # noqa: F401

HELD: dict[str, Any] = json.loads((Path(__file__).parent / "r_mediation.json").read_text())
NAMES = {
    "acme_control": "pnie",
    "acme_treated": "nie",
    "ade_control": "nde",
    "ade_treated": "tnde",
    "te": "te",
}
EFFECTS = (xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE)
DRAWS = 20_000
MODELS = {
    **CASES,
    "jobs_lm_probit_interaction": (
        jobs,
        ("work1", "psyemp"),
        xw.Regression(outcome_family="probit", interaction=True),
    ),
}


def compare(found: xw.EffectTable, reference: dict[str, Any], draws: int) -> None:
    """Quantiles and spread agree within the Monte-Carlo error of both runs."""
    both = 1.0 / draws + 1.0 / reference["sims"]
    for theirs, ours in NAMES.items():
        row, figure = found[ours], reference[theirs]
        sd = figure["sd"]
        assert row.std_error == pytest.approx(sd, rel=4.0 * np.sqrt(both / 2.0) + 0.01), ours
        tail = 4.0 * np.sqrt(0.025 * 0.975 * both) / 0.0584 * sd  # density of N(0, 1) at 1.96
        skew = 1.6  # a longer tail than the normal's widens the error of its quantile
        assert row.conf_low == pytest.approx(figure["low"], abs=skew * tail), ours
        assert row.conf_high == pytest.approx(figure["high"], abs=skew * tail), ours


@pytest.mark.parametrize("name", [n for n in MODELS if "integrated" in HELD.get(n, {})])
def test_quasi_bayesian_draws(name: str) -> None:
    build, arguments, method = MODELS[name]
    found = xw.estimate(
        build(*arguments), method, EFFECTS, inference=xw.Simulation(draws=DRAWS, seed=4)
    )
    compare(found, HELD[name]["integrated"], DRAWS)


@pytest.mark.parametrize("name", ["jobs_lm_lm", "jobs_lm_lm_interaction"])
def test_quasi_bayesian_intervals_of_mediate_itself(name: str) -> None:
    build, arguments, method = MODELS[name]
    found = xw.estimate(
        build(*arguments), method, EFFECTS, inference=xw.Simulation(draws=5000, seed=4)
    )
    compare(found, HELD[name]["quasi_bayes"], 5000)


@pytest.mark.parametrize("name", [n for n in MODELS if "bootstrap" in HELD.get(n, {})])
def test_bootstrap_intervals_of_mediate(name: str) -> None:
    """R averages its replicates over the original rows, so probit effects vary a little less."""
    build, arguments, method = MODELS[name]
    found = xw.estimate(
        build(*arguments), method, EFFECTS, inference=xw.Bootstrap(draws=5000, seed=4)
    )
    compare(found, HELD[name]["bootstrap"], 5000)
