"""Rho against R, against generalised least squares by brute force, and against known truths."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import crossworld as xw
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.rho import rho
from crossworld.sensitivity.rho_data import triple
from crossworld.sensitivity.rho_models import probit_mediator, probit_outcome

Array = NDArray[np.float64]
SHARED = Path(os.environ.get("CROSSWORLD_SHARED", Path(__file__).parents[3] / "shared"))
TABLES = SHARED / "data" / "tables"
needs_data = pytest.mark.skipif(
    not (TABLES / "golden_references.json").is_file(),
    reason="shared data is absent (set CROSSWORLD_SHARED)",
)
ALL = (xw.NIE, xw.PNIE, xw.NDE, xw.TNDE)


def jobs(path: str = "treat -> job_seek -> depress2") -> xw.TableStudy:
    return xw.TableStudy.from_frame(
        TABLES / "mediation__jobs.csv", path, adjust=["econ_hard", "sex", "age"], levels=(0, 1)
    )


def sample(n: int, corr: float, kind: str, *, seed: int, bend: float = 0.0) -> dict[str, Array]:
    """Correlated normal errors; the outcome's product coefficient is ``bend``."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=n), rng.integers(0, 2, n).astype(float)
    e2 = rng.normal(size=n)
    e3 = corr * e2 + np.sqrt(1.0 - corr**2) * rng.normal(size=n)

    def mediator(a: Array | float) -> Array:
        latent = -0.3 + 0.8 * a + 0.4 * x + e2
        return np.asarray((latent > 0).astype(float) if kind == "probit mediator" else latent)

    def outcome(a: Array | float, m: Array) -> Array:
        latent = -0.2 + 0.5 * a + 0.7 * m + bend * a * m + 0.3 * x + e3
        return np.asarray((latent > 0).astype(float) if kind == "probit outcome" else latent)

    m = mediator(t)
    held = {"t": t, "m": m, "y": outcome(t, m), "x": x}
    cells = {(a, b): float(outcome(a, mediator(b)).mean()) for a in (0.0, 1.0) for b in (0.0, 1.0)}
    truth = {
        "nie": cells[1, 1] - cells[1, 0],
        "pnie": cells[0, 1] - cells[0, 0],
        "nde": cells[1, 0] - cells[0, 0],
        "tnde": cells[1, 1] - cells[0, 1],
    }
    return {**held, **{k: np.array(v) for k, v in truth.items()}}


def study(held: dict[str, Array], **change: Any) -> xw.TableStudy:
    columns = {k: held[k] for k in ("t", "m", "y", "x", "w", "g") if k in held}
    return xw.TableStudy.from_frame(columns, "t -> m -> y", adjust=["x"], **change)


# R mediation 4.5.1, medsens(effect.type="both"), which stops when the squared change of its
# coefficients is under 1.5e-8: rho, d0, lower, upper, z0, lower, upper
MEDSENS = (
    (-0.9, 0.0985904, -0.0526973, 0.2498782, -0.1545998, -0.3495197, 0.0403202),
    (-0.5, 0.0162282, -0.0089290, 0.0413854, -0.0722375, -0.1704013, 0.0259262),
    (-0.3, 0.0016712, -0.0027664, 0.0061087, -0.0576805, -0.1468110, 0.0314499),
    (0.0, -0.0157446, -0.0401681, 0.0086788, -0.0402647, -0.1252969, 0.0447675),
    (0.4, -0.0399138, -0.1012513, 0.0214237, -0.0160955, -0.1088591, 0.0766680),
    (0.9, -0.1300797, -0.3296636, 0.0695042, 0.0740704, -0.1208496, 0.2689903),
)
# with the product: rho, d0, lower, upper, d1, lower, upper, z0
MEDSENS_PRODUCT = (
    (-0.5, 0.0121588, -0.0076282, 0.0319458, 0.0179025, -0.0098974, 0.0457023, -0.0739157),
    (0.0, -0.0197777, -0.0508284, 0.0112731, -0.0140340, -0.0359903, 0.0079224, -0.0419792),
    (0.4, -0.0439193, -0.1116175, 0.0237788, -0.0381756, -0.0968980, 0.0205468, -0.0178376),
)


@needs_data
def test_golden_figures_of_medsens() -> None:
    golden = json.loads((TABLES / "golden_references.json").read_text())["medsens_jobs"]
    found = rho(jobs())
    for at, value in golden["acme_by_rho"].items():
        assert round(found.at(float(at))[0], 4) == pytest.approx(value, abs=1e-12)
    assert found["nie"].zero == pytest.approx(golden["acme_zero_rho"], abs=1e-7)
    left = (1.0 - found.r2_mediator) * (1.0 - found.r2_outcome)
    assert 0.09 * left == pytest.approx(golden["R2_tilde_at_grid_zero"], abs=1e-8)
    star, tilde = found.r2_at_zero() or (0.0, 0.0)
    assert (star, tilde) == pytest.approx((0.2734697**2, 0.2734697**2 * left), abs=1e-6)


@needs_data
def test_classic_limits_are_those_of_medsens() -> None:
    found = rho(jobs(), vcov="classic")
    for at, *figures in MEDSENS:
        ours = [*found.at(at)[:1], *found.at(at)[2:], *found.at(at, "nde")[:1]]
        ours += found.at(at, "nde")[2:]
        assert ours == pytest.approx(figures, abs=4e-5 if abs(at) > 0.5 else 2e-6)
    product = rho(jobs(), vcov="classic", interaction=True)
    for at, *figures in MEDSENS_PRODUCT:
        ours = [v for term in ("pnie", "nie") for v in np.delete(product.at(at, term), 1)]
        assert [*ours, product.at(at, "nde")[0]] == pytest.approx(figures, abs=2e-6)


@needs_data
def test_wider_adjustment_of_the_reference_analysis() -> None:
    wide = ["depress1", "econ_hard", "sex", "age", "occp", "marital", "nonwhite", "educ", "income"]
    held = xw.TableStudy.from_frame(
        TABLES / "mediation__jobs.csv", "treat -> job_seek -> depress2", adjust=wide, levels=(0, 1)
    )
    found = rho(held)
    figures = {-0.5: 0.023186, -0.25: 0.002777, 0.0: -0.013733, 0.25: -0.030244, 0.5: -0.050653}
    for at, value in figures.items():
        assert found.at(at)[0] == pytest.approx(value, abs=1e-6)
    assert found["nie"].zero == pytest.approx(-0.209977, abs=1e-6)
    assert (found.r2_mediator, found.r2_outcome) == pytest.approx((0.1243, 0.2537), abs=5e-5)
    assert found.at(0.0, "nde")[0] == pytest.approx(-0.036789, abs=1e-6)
    product = rho(held, interaction=True)
    assert product.at(0.0, "pnie")[0] == pytest.approx(-0.018543, abs=1e-6)
    assert product.at(0.0, "nie")[0] == pytest.approx(-0.011741, abs=1e-6)


def iterated_gls(held: dict[str, Array], corr: float, product: bool) -> tuple[Array, Array]:
    """Generalised least squares of both equations with the correlation held, to convergence."""
    one, t, m, x = np.ones(held["t"].size), held["t"], held["m"], held["x"]
    z = np.column_stack([one, t, x])
    d = np.column_stack([one, t, m, x, *([t * m] if product else [])])
    b, c = np.linalg.lstsq(z, m, rcond=None)[0], np.linalg.lstsq(d, held["y"], rcond=None)[0]
    for _ in range(500):
        e2, e3 = m - z @ b, held["y"] - d @ c
        s2, s3 = np.sqrt(np.mean(e2**2)), np.sqrt(np.mean(e3**2))
        inverse = np.linalg.inv([[s2**2, corr * s2 * s3], [corr * s2 * s3, s3**2]])
        blocks = [[inverse[0, 0] * z.T @ z, inverse[0, 1] * z.T @ d]]
        blocks += [[inverse[1, 0] * d.T @ z, inverse[1, 1] * d.T @ d]]
        right = [
            z.T @ (inverse[0, 0] * m + inverse[0, 1] * held["y"]),
            d.T @ (inverse[1, 0] * m + inverse[1, 1] * held["y"]),
        ]
        solved = np.linalg.solve(np.block(blocks), np.concatenate(right))
        change = np.abs(solved - np.concatenate([b, c])).max()
        b, c = solved[:3], solved[3:]
        if change < 1e-14:
            break
    return b, c


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("corr", [-0.8, -0.3, 0.6])
def test_linear_effects_are_where_iterated_gls_ends(product: bool, corr: float) -> None:
    held = sample(300, 0.3, "linear", seed=5, bend=-0.4)
    found = rho(study(held), interaction=product)
    b, c = iterated_gls(held, corr, product)
    kappa = c[4] if product else 0.0
    mean0 = float(np.mean(b[0] + b[2] * held["x"]))
    assert found.at(corr, "nie")[0] == pytest.approx(b[1] * (c[2] + kappa), abs=1e-9)
    assert found.at(corr, "nde")[0] == pytest.approx(c[1] + kappa * mean0, abs=1e-9)
    if product:
        assert found.at(corr, "pnie")[0] == pytest.approx(b[1] * c[2], abs=1e-9)


def test_printed_formula_of_linear_models() -> None:
    held = sample(400, 0.2, "linear", seed=2)
    z = np.column_stack([np.ones(400), held["x"], held["t"]])
    b, b1 = (np.linalg.lstsq(z, held[k], rcond=None)[0] for k in ("m", "y"))
    e1, e2 = held["y"] - z @ b1, held["m"] - z @ b
    reduced = float(np.corrcoef(e1, e2)[0, 1])
    found = rho(study(held))
    for corr in (-0.6, 0.35):
        root = np.sqrt((1.0 - reduced**2) / (1.0 - corr**2))
        expected = b[-1] * e1.std() / e2.std() * (reduced - corr * root)
        assert found.at(corr)[0] == pytest.approx(expected, abs=1e-12)
    assert found["nie"].zero == pytest.approx(reduced, abs=1e-12)
    te = found.at(0.4)[0] + found.at(0.4, "nde")[0]
    assert te == pytest.approx(b1[-1], abs=1e-12)


@pytest.mark.parametrize("kind", ["linear", "probit outcome", "probit mediator"])
@pytest.mark.parametrize("product", [False, True])
def test_at_zero_it_is_the_ordinary_estimate(kind: str, product: bool) -> None:
    held = study(sample(500, 0.3, kind, seed=8, bend=-0.3))
    found = rho(held, interaction=product)
    families = {
        "mediator_family": "probit" if kind == "probit mediator" else "gaussian",
        "outcome_family": "probit" if kind == "probit outcome" else "gaussian",
    }
    ordinary = xw.estimate(held, xw.Regression(interaction=product, **families), ALL)
    for curve in found.curves:
        row = ordinary[curve.term]
        figures = (row.estimate, row.std_error, row.conf_low, row.conf_high)
        assert found.at(0.0, curve.term) == pytest.approx(figures, abs=1e-9)


@pytest.mark.parametrize("kind", ["linear", "probit outcome", "probit mediator"])
@pytest.mark.parametrize(("corr", "bend"), [(0.5, 0.0), (-0.5, -0.4)])
def test_truth_is_recovered_at_the_true_correlation(kind: str, corr: float, bend: float) -> None:
    held = sample(40_000, corr, kind, seed=11, bend=bend)
    data, chosen = triple(study(held), ("auto", "auto"), interaction=bend != 0.0)
    model: Any
    if kind == "linear":
        model = rho(study(held), interaction=bend != 0.0).model
    else:
        model = probit_outcome(data) if kind == "probit outcome" else probit_mediator(data)
    assert kind == "linear" or "probit" in chosen
    for term in model.terms:
        right, wrong = model.effect(term, corr), model.effect(term, -corr)
        assert abs(right.value - held[term]) < 4.0 * right.std_error, term
        assert abs(wrong.value - held[term]) > 8.0 * right.std_error, term


@pytest.mark.parametrize("kind", ["linear", "probit outcome", "probit mediator"])
def test_influence_is_the_slope_in_a_units_weight(kind: str) -> None:
    """Move one unit's weight: the slope of the effect is its influence divided by n."""
    held, step = sample(120, 0.3, kind, seed=4, bend=-0.3), 1e-4
    base = np.linspace(0.5, 1.5, 120)
    for unit in (3, 70):
        found = []
        for sign in (1.0, 0.0, -1.0):
            weights = base.copy()
            weights[unit] += sign * step
            # the study rescales weights to mean 1, so their sum, a parameter of n - p, is restored
            weighted = study({**held, "w": weights}, weights="w")
            data, _ = triple(weighted, ("auto", "auto"), interaction=True)
            result = rho(weighted, interaction=True)
            found.append([result.model.effect(t, 0.6) for t in result.model.terms])
            assert data.weights.sum() == pytest.approx(120.0)
        for up, middle, down in zip(*found, strict=True):
            slope = (up.value - down.value) / (2.0 * step)
            expected = middle.influence[unit] / base[unit] / 120.0
            assert slope == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("kind", ["linear", "probit outcome", "probit mediator"])
def test_zeros_and_ranges_are_exact(kind: str) -> None:
    held = study(sample(800, 0.3, kind, seed=21))
    found = rho(held, level=0.9)
    for curve in found.curves:
        assert curve.zero is not None
        assert abs(found.at(curve.zero, curve.term)[0]) < 1e-9
        assert any(low < curve.zero < high for low, high in curve.covers)
        for low, high in curve.covers:
            for end, outward in ((low, -1e-5), (high, 1e-5)):
                if abs(end) >= found.model.reach:
                    continue
                _, _, lower, upper = found.at(end, curve.term)
                assert min(abs(lower), abs(upper)) < 1e-8
                _, _, lower, upper = found.at(end + outward, curve.term)
                assert not lower < 0.0 < upper
                _, _, lower, upper = found.at(end - outward, curve.term)
                assert lower < 0.0 < upper


def test_zero_of_a_probit_outcome_has_its_closed_form() -> None:
    held = sample(600, 0.3, "probit outcome", seed=9)
    found = rho(study(held))
    z = np.column_stack([np.ones(600), held["x"], held["t"]])
    residual = held["m"] - z @ np.linalg.lstsq(z, held["m"], rcond=None)[0]
    sigma = np.sqrt(residual @ residual / (600 - 3))
    gamma = found.model.values[6]  # type: ignore[attr-defined]
    expected = sigma * gamma / np.sqrt(1.0 + (sigma * gamma) ** 2)
    assert found["nie"].zero == pytest.approx(expected, abs=1e-9)
    assert found["pnie"].zero == pytest.approx(expected, abs=1e-9)


def test_when_the_treatment_does_not_move_the_mediator_every_rho_covers() -> None:
    rng = np.random.default_rng(0)
    t, x = rng.integers(0, 2, 400).astype(float), rng.normal(size=400)
    held = {"t": t, "x": x, "m": x + rng.normal(size=400), "y": t + rng.normal(size=400)}
    assert rho(study(held))["nie"].covers == ((-1.0, 1.0),)


def test_clusters_and_copies() -> None:
    held = sample(200, 0.3, "linear", seed=6)
    whole = np.random.default_rng(1).integers(1, 4, 200)
    copied = {k: np.repeat(held[k], whole) for k in ("t", "m", "y", "x")}
    once = rho(study({**held, "w": whole.astype(float)}, weights="w"))
    units = np.repeat(np.arange(200.0), whole)
    many = rho(study({**copied, "g": units}, cluster="g"))
    one, other = once.at(0.4), many.at(0.4)
    assert one[0] == pytest.approx(other[0], abs=1e-12)
    assert one[1] * np.sqrt(200 / 199) == pytest.approx(other[1], rel=1e-9)
    classic = [
        rho(study(h, **w), vcov="classic")
        for h, w in (({**held, "w": whole.astype(float)}, {"weights": "w"}), (copied, {}))
    ]
    assert classic[0].at(0.4) == pytest.approx(classic[1].at(0.4), rel=1e-9)


def test_two_valued_text_and_scaled_treatment() -> None:
    held = sample(300, 0.3, "probit mediator", seed=3)
    named = {**held, "m": np.where(held["m"] == 1.0, "yes", "no")}
    assert rho(study(named)).at(0.3) == pytest.approx(rho(study(held)).at(0.3), abs=1e-12)
    doubled = {**held, "t": 2.0 * held["t"]}
    assert rho(study(doubled)).at(0.3) == pytest.approx(rho(study(held)).at(0.3), abs=1e-9)
    flipped = rho(study(held, levels=(1, 0)))
    assert flipped.at(0.3)[0] == pytest.approx(-rho(study(held)).at(0.3)[0], abs=1e-9)


def test_contours_follow_the_sign_and_the_shares() -> None:
    found = rho(study(sample(300, 0.3, "linear", seed=7)))
    same, opposite = found.contours(sign=1, points=5), found.contours(sign=-1, points=5)
    x, y = same.x[2], same.y[3]
    assert same.values[3, 2] == pytest.approx(found.at(float(np.sqrt(x * y)))[0], abs=1e-9)
    assert opposite.values[3, 2] == pytest.approx(found.at(-float(np.sqrt(x * y)))[0], abs=1e-9)
    total = found.contours(of="total", value="conf_high", points=5)
    x, y = total.x[2], total.y[3]
    at = np.sqrt(x * y / ((1.0 - found.r2_mediator) * (1.0 - found.r2_outcome)))
    assert total.values[3, 2] == pytest.approx(found.at(float(at))[3], abs=1e-9)
    total.svg()


def test_result_is_told_in_every_form() -> None:
    found = rho(study(sample(300, 0.3, "probit mediator", seed=7)), grid=(-0.5, 0.0, 0.5))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [e["term"] for e in told["effects"]] == ["nie", "nde"]
    assert told["effects"][0]["estimate"][1] == found.at(0.0)[0]
    assert list(found.to_frame()["rho"]) == [-0.5, 0.0, 0.5] * 2
    assert f"zero at rho = {found['nie'].zero:.4f}" in str(found)
    assert found.plot().get_ylabel() == "nie"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"grid": (0.0, 1.0)}, SpecError, "inside"),
        ({"families": ("auto", "logit")}, SpecError, "'logit'"),
        ({"families": ("probit", "auto")}, DesignError, "two values"),
        ({"families": "probit"}, SpecError, "names two"),
        ({"vcov": "robust"}, SpecError, "'robust'"),
        ({"level": 95}, SpecError, "0.95"),
    ],
)
def test_bad_options_are_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        rho(study(sample(100, 0.0, "linear", seed=1)), **change)


def test_studies_that_do_not_fit_are_refused() -> None:
    held = sample(100, 0.0, "probit mediator", seed=1)
    both = {**held, "y": (held["y"] > 0).astype(float)}
    with pytest.raises(DesignError, match="both binary"):
        rho(study(both))
    two = xw.TableStudy.from_frame({**held, "n": held["x"] + held["y"]}, "t -> m -> n -> y")
    with pytest.raises(DesignError, match="one mediator"):
        rho(two)
    with pytest.raises(DesignError, match="adjust"):
        rho(xw.TableStudy.from_frame(held, "t -> m -> y", intermediate=["x"]))
    with pytest.raises(DesignError, match=r"within ±0\.99"):
        rho(study(held)).at(0.995)
    with pytest.raises(SpecError, match="'te'"):
        rho(study(held)).at(0.1, "te")
    with pytest.raises(SpecError, match="two linear"):
        rho(study(held), vcov="classic")
