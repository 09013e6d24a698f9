"""A quotient whose denominator is exactly 0: no value, Fieller's set in words, no failure."""

from __future__ import annotations

import numpy as np
import pytest

from crossworld import PM, TE, Bootstrap, M, Multiplier, Scores, Wald, Y, contrast
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.student import critical
from crossworld.errors import RatioWarning
from crossworld.infer.fieller import fieller, invert

UP = np.array([0.1, 0.7, 0.3, 0.9, 0.2, 0.8] * 5)


def held(direct: float) -> Scores:
    """Scores with te exactly 0 and nde ``-nie``."""
    middle = UP[::-1] + direct + 0.3 * np.sin(np.arange(UP.size))
    return Scores(np.column_stack([UP, middle, np.roll(UP, 1)]), (Y(0), Y(1, M(0)), Y(1)))


@pytest.mark.parametrize("inference", [Wald(), Multiplier(draws=99), Bootstrap(draws=50)])
def test_there_is_no_value_and_the_other_effects_stay(inference: object) -> None:
    with pytest.warns(RatioWarning, match="pm: its denominator is exactly 0"):
        table = contrast(held(0.2), [TE, PM], inference=inference)  # type: ignore[arg-type]
    assert table["te"].estimate == pytest.approx(0.0, abs=1e-15)
    row = table["pm"]
    assert (row.estimate, row.std_error, row.conf_low, row.conf_high) == (None,) * 4
    assert any("pm: its denominator" in w for w in table.diagnostics["warnings"])
    assert '"pm"' in table.to_json()
    assert "NaN" not in table.to_json()


def test_the_p_value_tests_the_numerator_and_the_words_give_the_set() -> None:
    with pytest.warns(RatioWarning, match="outside"):
        row = contrast(held(0.5), [PM])["pm"]
    numerator = contrast(held(0.5), [Estimand("nie", Y(1) - Y(1, M(0)))])["nie"]
    assert row.p_value == numerator.p_value
    with pytest.warns(RatioWarning, match="every value is compatible"):
        contrast(held(0.0), [PM])


def test_a_ratio_over_nothing_has_no_value() -> None:
    scores = Scores(np.column_stack([0.0 * UP, UP]), (Y(0), Y(1)))
    with pytest.warns(RatioWarning, match="te.ratio: its denominator is exactly 0"):
        row = contrast(scores, [TE.ratio()])["te.ratio"]
    assert row.estimate is None and row.p_value is None


@pytest.mark.parametrize("value", [0.0, 0.04, 1.0])
def test_the_set_with_denominator_0_is_what_the_test_does_not_reject(value: float) -> None:
    rng = np.random.default_rng(4)
    n = Estimate(value, rng.normal(size=40))
    d = Estimate(0.0, rng.normal(size=40) + 0.5 * n.influence)
    found = fieller(n, d)
    assert found.low is None and found.high is None
    grid = np.linspace(-40.0, 40.0, 160_001)
    spread = np.array([(n - d * float(r)).std_error for r in grid[::40]])
    accepted = np.abs(value) <= critical(0.95) * spread
    if accepted.all():
        assert found.reason == "every value is compatible with the data"
    else:
        gap = grid[::40][~accepted]
        assert found.reason == (
            f"every value outside ({gap.min():.4g}, {gap.max():.4g}) is compatible with the data"
        ) or np.allclose(
            [float(v) for v in found.reason.split("(")[1].split(")")[0].split(",")],  # type: ignore[union-attr]
            [gap.min(), gap.max()],
            atol=0.03,
        )


def test_sets_without_a_square_term() -> None:
    still = Estimate(0.0, np.zeros(4))
    u = np.array([-1.0, 1.0, -1.0, 1.0])
    assert invert(Estimate(5.0, u), still, 1.96).reason == "no value is compatible with the data"
    assert invert(Estimate(0.1, u), still, 1.96).reason == "every value is compatible with the data"
    # D = c se(D): b = 2 + 0.5 and c = 4 - 0.25, so that rho >= 3.75 / 5
    d = Estimate(1.0, u)
    found = invert(Estimate(2.0, -0.5 * u), d, 1.0 / d.std_error)
    assert found.reason == "every value above 0.75 is compatible with the data"
