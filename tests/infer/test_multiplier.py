"""Simultaneous bands: their critical value, their rows, their seeds, their coverage."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import crossworld as xw
from crossworld.core.analysis import contrast
from crossworld.core.effects import NATURAL, NDE, NIE, PM, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.protocols import Inferred
from crossworld.core.regime import M
from crossworld.core.scores import Scores
from crossworld.core.student import critical
from crossworld.errors import DesignError, FitWarning, RatioWarning, SmallSampleWarning, SpecError
from crossworld.infer.fieller import invert
from crossworld.infer.multiplier import KINDS, Multiplier
from crossworld.infer.wald import Wald

from .fakes import CELLS, MeansFit, skewed_fit

LEVELS = [Estimand(str(cell), 1.0 * cell) for cell in CELLS]


def band(
    fit: MeansFit, asked: list[Estimand], inference: Multiplier | None = None, level: float = 0.95
) -> Inferred:
    return (inference or Multiplier()).infer(fit, asked, level=level)


def critical_value(found: Inferred) -> float:
    return float(found.diagnostics["critical_value"])


def correlation(fit: MeansFit, asked: list[Estimand]) -> np.ndarray:
    return np.corrcoef([e.expr.evaluate(fit.scores.mean).influence for e in asked])


def inside(c: float, corr: np.ndarray) -> float:
    """Exact probability that every |Z_j| is at most c (Genz and Bretz)."""
    law = scipy.stats.multivariate_normal(np.zeros(len(corr)), corr, seed=0, abseps=1e-6)
    return float(law.cdf(np.full(len(corr), c), lower_limit=np.full(len(corr), -c)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_critical_value_is_the_exact_equicoordinate_quantile(kind: str, level: float) -> None:
    draws = 8000
    fit = skewed_fit(n=3000)
    c = critical_value(band(fit, LEVELS, Multiplier(draws, kind, seed=1), level=level))
    error = math.sqrt(level * (1 - level) / draws)
    assert inside(c, correlation(fit, LEVELS)) == pytest.approx(level, abs=4 * error)
    assert c > critical(level) + 0.1


def test_a_family_with_te_twice_over_is_no_wider() -> None:
    """te = nde + nie is linearly dependent, and a repeated effect adds nothing."""
    fit = skewed_fit(n=300)
    one = band(fit, [NDE, NIE, TE], Multiplier(4000))
    two = band(fit, [NDE, NIE, TE, TE.named("again")], Multiplier(4000))
    assert critical_value(one) == pytest.approx(critical_value(two), abs=0.06)


@pytest.mark.parametrize("cluster", [None, np.arange(60) % 8])
def test_a_family_of_one_is_walds_interval(cluster: np.ndarray | None) -> None:
    fit = skewed_fit(cluster=cluster)
    found = band(fit, [TE], Multiplier(20_000))
    assert [kind for kind, _ in found.warnings] == [SmallSampleWarning] * (cluster is not None)
    (theirs,) = Wald().infer(fit, [TE], level=0.95).rows
    (row,) = found.rows
    assert row.std_error == theirs.std_error
    assert row.conf_low == pytest.approx(theirs.conf_low, abs=0.04 * row.std_error)
    assert row.conf_low <= theirs.conf_low
    assert row.conf_high >= theirs.conf_high
    assert row.p_value >= theirs.p_value
    assert row.conf_method == "simultaneous"


@pytest.mark.parametrize("kind", KINDS)
def test_limits_leave_out_the_null_exactly_when_p_is_small(kind: str) -> None:
    for seed in range(12):
        fit = skewed_fit(n=40, seed=seed)
        values = fit.scores.values - np.array([0.0, 0.75, 1.15])  # effects near the margin
        fit = MeansFit(replace(fit.scores, values=values))
        asked = [TE, NDE, NIE, PM, TE.ratio()]
        found = band(fit, asked, Multiplier(199, kind, seed), level=0.9)
        for estimand, row in zip(asked, found.rows, strict=True):
            if row.conf_low is None:
                continue  # a quotient whose set is unbounded
            outside = not row.conf_low <= estimand.null <= row.conf_high
            assert outside == (row.p_value <= 0.1 + 1e-12)


def test_limits_are_the_estimate_and_the_critical_value() -> None:
    fit = skewed_fit(n=150)
    found = band(fit, [TE, NIE.ratio(), PM])
    c = critical_value(found)
    te, ratio, share = found.rows
    assert te.conf_high == pytest.approx(te.estimate + c * te.std_error)
    log = NIE.ratio().expr.evaluate(fit.scores.mean).log()
    assert ratio.estimate == pytest.approx(math.exp(log.value))
    assert ratio.conf_low == pytest.approx(math.exp(log.value - c * log.std_error))
    assert ratio.conf_high == pytest.approx(math.exp(log.value + c * log.std_error))
    sides = [e.expr.evaluate(fit.scores.mean) for e in (NIE, TE)]
    set_ = invert(*sides, c)
    assert (share.conf_low, share.conf_high) == (set_.low, set_.high)
    assert share.conf_low < PM.expr.evaluate(fit.scores.mean).value < share.conf_high


def test_the_p_value_is_the_share_of_draws_that_reach_the_statistic() -> None:
    fit = skewed_fit(n=3000)
    values = fit.scores.values - fit.scores.means() + np.array([0.0, 0.04, 0.06])
    found = band(MeansFit(replace(fit.scores, values=values)), LEVELS, Multiplier(20_000))
    corr = correlation(fit, LEVELS)
    for row in found.rows[1:]:
        exact = 1.0 - inside(row.estimate / row.std_error, corr)
        assert 0.0005 < exact < 0.9
        assert row.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000) + 1e-4)


def test_a_cluster_has_one_multiplier() -> None:
    """Rows of a cluster moved together give the same draws as their sums would."""
    rng = np.random.default_rng(3)
    whole = rng.normal(size=(40, 3)) + np.array([0.0, 1.0, 2.0])
    split = np.repeat(whole, 3, axis=0)
    cluster = np.repeat(np.arange(40), 3)
    one = Scores(whole, CELLS, np.arange(40))
    two = Scores(split, CELLS, cluster)
    for kind in KINDS:
        rows = [band(MeansFit(s), [TE, NIE], Multiplier(500, kind)).rows for s in (one, two)]
        for a, b in zip(*rows, strict=True):
            assert (a.std_error, a.conf_low, a.p_value) == pytest.approx(
                (b.std_error, b.conf_low, b.p_value)
            )


def test_clusters_widen_by_the_t_distribution() -> None:
    fit = skewed_fit(n=60, cluster=np.arange(60) % 12)
    found = band(fit, [TE, NDE, NIE], Multiplier(20_000))
    sums = np.array(
        [
            np.bincount(fit.scores.cluster, e.expr.evaluate(fit.scores.mean).influence)
            for e in (NDE, NIE)
        ]
    )
    rho = np.corrcoef(sums)[0, 1]
    c = critical_value(found)
    # bivariate t with 11 degrees of freedom bounds the family of nde and nie from below
    shape = np.array([[1.0, rho], [rho, 1.0]])
    law = scipy.stats.multivariate_t(np.zeros(2), shape, df=11, seed=0)
    box = law.cdf([c, c], lower_limit=[-c, -c], maxpts=200_000)
    assert box > 0.95 - 0.01
    assert c > critical(0.95, 11)
    errors = [row.std_error for row in Wald().infer(fit, [TE, NDE, NIE], level=0.95).rows]
    assert [row.std_error for row in found.rows] == errors


def test_weights_enter_through_the_influence() -> None:
    rng = np.random.default_rng(5)
    fit = skewed_fit(n=200, weights=rng.uniform(0.2, 3.0, 200))
    found = band(fit, [TE, NIE])
    theirs = Wald().infer(fit, [TE, NIE], level=0.95).rows
    for mine, row in zip(found.rows, theirs, strict=True):
        assert (mine.estimate, mine.std_error) == (row.estimate, row.std_error)
        assert mine.conf_low < row.conf_low


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_do_not_depend_on_the_workers(kind: str) -> None:
    fit = skewed_fit(n=700)
    one, many = (
        band(fit, [TE, NIE, PM], Multiplier(300, kind, seed=9, workers=w)).rows for w in (1, 3)
    )
    assert one == many
    assert one != band(fit, [TE, NIE, PM], Multiplier(300, kind, seed=10)).rows


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_memory_does_not_grow_with_the_draws(kind: str) -> None:
    fit = skewed_fit(n=60_000)
    peaks = []
    for draws in (20, 160):
        tracemalloc.start()
        band(fit, [TE, NIE], Multiplier(draws, kind))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    fit = skewed_fit(n=5000)
    Multiplier(50, "mammen").infer(
        fit, [TE, NIE], level=0.9, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (50, 50)
    assert len(seen) > 1


def test_plug_in_scores_are_refused() -> None:
    with pytest.raises(DesignError, match="plug-in"):
        band(skewed_fit().plug_in(), [TE])


def test_one_cluster_is_refused() -> None:
    with pytest.raises(DesignError, match="at least 2 clusters, found 1"):
        band(skewed_fit(cluster=np.zeros(60, dtype=np.int64)), [TE])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gausian"}, "Did you mean 'gaussian'"),
        ({"draws": 5}, "at least 20, got 5"),
        ({"draws": 2.5}, "got 2.5"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Multiplier(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"seed": -1}, {"workers": 0}])
def test_bad_seeds_and_workers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="whole number of at least"):
        band(skewed_fit(), [TE], Multiplier(**options))


def test_too_few_draws_for_the_level_are_refused() -> None:
    with pytest.raises(SpecError, match="draws of at least 999"):
        band(skewed_fit(), [TE], Multiplier(500), level=0.999)
    assert band(skewed_fit(), [TE], Multiplier(999), level=0.999).rows


def test_an_unbounded_quotient_says_so() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3))
    fit = MeansFit(Scores(values - values.mean(axis=0) + np.array([0.0, 0.1, 0.05]), CELLS))
    with pytest.warns(RatioWarning, match="simultaneous interval of its denominator"):
        found = contrast(fit.scores, [TE, PM], inference=Multiplier())
    assert found["pm"].conf_low is None
    assert found["pm"].p_value is not None


def test_a_ratio_that_is_not_positive_is_left_out_of_the_family() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3)) + np.array([-5.0, 1.0, 5.0])
    with pytest.warns(RatioWarning, match="left out of the family"):
        found = contrast(Scores(values, CELLS), [TE, TE.ratio()], inference=Multiplier())
    row = found["te.ratio"]
    assert (row.conf_low, row.conf_high, row.p_value) == (None, None, None)
    assert found.diagnostics["simultaneous"]["family"] == ["te"]


def test_an_effect_that_does_not_vary_is_left_out_of_the_family() -> None:
    values = skewed_fit(n=50).scores.values.copy()
    values[:, 1] = values[:, 2]
    with pytest.warns(FitWarning, match="nie is fixed by the models"):
        found = contrast(Scores(values, CELLS), [TE, NIE], inference=Multiplier())
    assert found["nie"].p_value is None
    assert found.diagnostics["simultaneous"]["family"] == ["te"]
    with pytest.warns(FitWarning, match="nie is fixed by the models"):
        contrast(Scores(values, CELLS), [NIE], inference=Multiplier())


def test_rounding_is_no_member_of_the_family() -> None:
    """Without an interaction in the models, int_med is 0 up to rounding."""
    study = xw.datasets.linear(n=200, seed=1).study()
    with pytest.warns(FitWarning, match="int_med is fixed by the models"):
        found = xw.estimate(study, xw.Regression(), [TE, xw.INT_MED], inference=Multiplier())
    assert found["int_med"].p_value is None
    assert found.diagnostics["simultaneous"]["family"] == ["te"]


def test_the_result_says_how_it_was_adjusted(tmp_path: Path) -> None:
    study = xw.datasets.interaction(n=200, seed=1).study()
    table = xw.estimate(study, xw.Regression(), inference=xw.Multiplier(draws=200, kind="mammen"))
    told = table.to_dict()["diagnostics"]
    assert told["simultaneous"]["adjustment"] == "single-step max-t"
    assert told["simultaneous"]["family"] == ["te", "nde", "nie"]
    assert told["critical_value"] > told["simultaneous"]["pointwise_critical_value"]
    assert table.spec["inference"] == {"name": "Multiplier", "draws": 200, "kind": "mammen"}
    table.report(tmp_path / "report.html")
    assert "max-t" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_command_and_the_spec_know_it(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from crossworld.cli.main import app

    data = xw.datasets.interaction(n=200, seed=1).frame
    header = ",".join(data)
    np.savetxt(
        tmp_path / "d.csv", np.column_stack(list(data.values())), "%.17g", ",", header=header,
        comments="",
    )  # fmt: skip
    file = tmp_path / "r.json"
    arguments = ["mediate", str(tmp_path / "d.csv"), "a -> m -> y", "--adjust", "x"]
    arguments += ["--inference", "Multiplier", "--draws", "1000", "--json", str(file)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    again = xw.load_spec(file).run()
    assert again.rows == xw.EffectTable.from_json(file).rows
    assert {row.conf_method for row in again} == {"simultaneous"}


def test_pointwise_intervals_do_not_hold_at_once() -> None:
    """The quick form of the study below: normal scores, four effects, 200 samples."""
    covered, pointwise = coverage(200, 120, Multiplier(400))
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 200))
    assert pointwise < covered - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clustered", [False, True])
def test_bands_cover_all_effects_at_once(kind: str, clustered: bool) -> None:
    covered, _ = coverage(1000, 400, Multiplier(1000, kind), clustered=clustered)  # type: ignore[arg-type]
    assert 0.93 <= covered <= 0.97


def coverage(
    samples: int, n: int, inference: Multiplier, clustered: bool = False
) -> tuple[float, float]:
    """Share of samples in which all intervals cover: of the band, and of Wald."""
    centre, hit, alone = np.array([0.0, 1.0, 2.0]), 0, 0
    cluster = np.arange(n) // 10 if clustered else None
    truth = {"te": 2.0, "nde": 1.0, "nie": 1.0, "pm": 0.5}
    asked = [*NATURAL, PM]
    for seed in range(samples):
        rng = np.random.default_rng([seed, n])
        values = centre + rng.normal(size=(n, 3)) + rng.exponential(size=(n, 1)) - 1.0
        if cluster is not None:
            values = values + 0.5 * rng.normal(size=(n // 10, 3))[cluster]
        fit = MeansFit(Scores(values, (Y(0), Y(1, M(0)), Y(1)), cluster))
        own = replace(inference, seed=seed)
        rows, theirs = (i.infer(fit, asked, level=0.95).rows for i in (own, Wald()))
        hit += all(r.conf_low <= truth[r.term] <= r.conf_high for r in rows)
        alone += all(r.conf_low <= truth[r.term] <= r.conf_high for r in theirs)
    return hit / samples, alone / samples
