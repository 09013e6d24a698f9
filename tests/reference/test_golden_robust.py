"""Golden figures of multiply robust, weighting and imputation estimators.

``dml_farbmacher`` and ``huber_ipw`` are causalweight 1.1.5; ``paths_tatar_lm`` is paths 0.1.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import crossworld as xw

from .test_golden import TABLES, golden, pytestmark  # noqa: F401

X = [f"x{i}" for i in range(1, 6)]
EFFECTS = (xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE)
OURS = {
    "total": "te",
    "dir.treat(theta1)": "tnde",
    "dir.control(theta0)": "nde",
    "indir.treat(delta1)": "nie",
    "indir.control(delta0)": "pnie",
}
DML: dict[str, Any] = {
    "outcome": "linear",
    "treatment": "logistic",
    "folds": "fold_sample",
    "trim": 0.0,
}


def simulated(path: str) -> xw.TableStudy:
    return xw.TableStudy.from_frame(TABLES / "golden_dml_n2000.csv", path, adjust=X)


@pytest.mark.parametrize("normalize", [True, False])
def test_farbmacher(normalize: bool) -> None:
    reference = golden("dml_farbmacher")
    found = xw.estimate(
        simulated("d -> mc -> yc"), xw.MultiplyRobust(**DML, normalize=normalize), EFFECTS
    )
    kind = "normalized" if normalize else "unnormalized"
    for figure, value in reference[f"{kind}_shared_train"].items():
        assert found[OURS[figure]].estimate == pytest.approx(value, abs=1e-8)
    if normalize:
        for figure, value in reference["se"].items():
            assert found[OURS[figure]].std_error == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("normalize", [True, False])
def test_density_ratio_form(normalize: bool) -> None:
    reference = golden("dml_tts_binary_correct_ratio")
    method = xw.MultiplyRobust(**DML, mediator="logistic", normalize=normalize)
    found = xw.estimate(simulated("d -> m -> y"), method, EFFECTS)
    for figure, value in reference["normalized" if normalize else "unnormalized"].items():
        assert found[OURS[figure]].estimate == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_huber(link: str) -> None:
    found = xw.estimate(simulated("d -> mc -> yc"), xw.Weighting(link=link), EFFECTS)
    for figure, value in golden("huber_ipw")[f"{link}_trim0"].items():
        assert found[OURS[figure]].estimate == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_paths(weighted: bool) -> None:
    reference = golden("paths_tatar_lm")
    blocks = reference["roles"]["mediator_blocks_in_order"]
    path = " -> ".join(["violence", *(" + ".join(b) for b in blocks), "annex"])
    study = xw.TableStudy.from_frame(
        TABLES / "paths__tatar.csv", path, adjust=reference["roles"]["adjust"]
    )
    method = xw.Imputation(outcome="linear", weighted=weighted)
    names = {f"M{k}": block[0] for k, block in enumerate(blocks, start=1)}
    one = [xw.TE, xw.NDE, *(xw.PSE(m) for m in names.values())]
    two = [xw.TNDE, *(xw.PSE(m, type=2) for m in names.values())]
    found = xw.estimate(study, method, [*one, *two])
    wanted = reference["hybrid_typeI" if weighted else "typeI"]
    assert found["nde"].estimate == pytest.approx(wanted["direct"], abs=1e-8)
    for figure, mediator in names.items():
        assert found[f"pse({mediator})"].estimate == pytest.approx(wanted[figure], abs=1e-8)
    if not weighted:
        assert found["te"].estimate == pytest.approx(wanted["total"], abs=1e-8)
        second = reference["typeII"]
        assert found["tnde"].estimate == pytest.approx(second["direct"], abs=1e-8)
        for figure, mediator in names.items():
            term = f"pse({mediator}, type=2)"
            assert found[term].estimate == pytest.approx(second[figure], abs=1e-8)
    parts = [found["nde"], *(found[f"pse({m})"] for m in names.values())]
    assert np.isclose(sum(p.estimate for p in parts), found["te"].estimate)
