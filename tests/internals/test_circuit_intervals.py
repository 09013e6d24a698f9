"""Intervals of circuits: curves that touch 1, and tasks with different numbers of pairs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.internals.networks import network, study

torch = pytest.importorskip("torch", reason="the internals of networks need torch")

from crossworld.core.analysis import contrast  # noqa: E402
from crossworld.core.expression import Y  # noqa: E402
from crossworld.core.scores import Scores  # noqa: E402
from crossworld.core.table import EffectTable  # noqa: E402
from crossworld.errors import RatioWarning  # noqa: E402
from crossworld.infer.fieller import fieller  # noqa: E402
from crossworld.infer.multiplier import Multiplier  # noqa: E402
from crossworld.internals.circuit import Circuit  # noqa: E402
from crossworld.internals.circuits import EMPTY, MODEL, CircuitRun, circuit_curve  # noqa: E402
from crossworld.internals.edges import EdgeAttribution  # noqa: E402
from crossworld.internals.edgescores import EdgeScores  # noqa: E402
from crossworld.internals.overlap import CircuitTask, selectivity  # noqa: E402
from crossworld.internals.wiring import Reader  # noqa: E402

AT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
READERS = (Reader("layers.0.mlp", 0, 1, (1,)), Reader("logits", 1, 2))
EDGES = EdgeScores(
    ("input", "layers.0.mlp"), READERS, np.ones((1, 2, 2), np.float32), np.zeros(1)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known(CircuitRun):
    """Gives values that were made up, in the order of model, empty and circuits."""

    def scores(self, study: Any, circuits: Mapping[str, Circuit]) -> Scores:
        names = (MODEL, EMPTY, *circuits)
        return Scores(np.asarray(study), tuple(Y(n) for n in names), np.arange(len(study)))


def sample(f: np.ndarray, n: int, rng: np.random.Generator, effect: float = 2.0) -> np.ndarray:
    """Pairs of a network whose circuits have the faithfulness f, each with noise of its own."""
    empty = rng.normal(size=n)
    model = empty + effect + 0.5 * rng.normal(size=n)
    off = 0.3 * rng.normal(size=(n, len(f)))
    circuits = empty[:, None] + f * (model - empty)[:, None] + off
    circuits[:, -1] = model  # all edges
    return np.column_stack([model, empty, circuits])


def curve(values: np.ndarray, how: Known) -> EffectTable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all edges do not vary
        return circuit_curve(values, EDGES, fractions=AT, how=how)  # type: ignore[arg-type]


def signs_as_found(table: EffectTable) -> Any:
    """The row of cmd as its expression alone has it."""
    assert table.scores is not None
    (asked,) = (e for e in table.estimands if e.name == "cmd")
    return contrast(table.scores, [asked])["cmd"]


def test_cmd_covers_and_its_test_holds_where_all_circuits_are_faithful() -> None:
    """The truth is 0; signs as found give an interval that leaves it out, and a small p value."""
    rng = np.random.default_rng(0)
    covered, wrong, bands = np.zeros(2), np.zeros(2), 0
    many = 200
    for seed in range(many):
        values = sample(np.ones(len(AT)), 60, rng)
        table = curve(values, Known())
        for j, row in enumerate((table["cmd"], signs_as_found(table))):
            covered[j] += row.conf_low <= 0.0 <= row.conf_high
            wrong[j] += row.p_value < 0.05
        band = curve(values, Known(inference=Multiplier(draws=200, seed=seed)))
        bands += band["cmd"].conf_low <= 0.0 <= band["cmd"].conf_high
    assert covered[1] / many < 0.8
    assert wrong[1] / many > 0.2
    assert covered[0] / many >= 0.95
    assert wrong[0] / many <= 0.09
    assert bands / many >= 0.92


def test_cmd_covers_between_clear_and_unclear_signs() -> None:
    f = np.array([0.3, 0.7, 0.97, 1.02, 1.0, 0.99, 1.01, 1.0, 1.0, 1.0])
    truth = float(np.trapezoid(np.abs(1 - f), AT))
    rng = np.random.default_rng(1)
    held = np.zeros(2)
    for _ in range(200):
        table = curve(sample(f, 60, rng), Known())
        band = curve(sample(f, 60, rng), Known(inference=Multiplier(draws=200)))
        held += [t["cmd"].conf_low <= truth <= t["cmd"].conf_high for t in (table, band)]
    assert held.min() / 200 >= 0.93


def test_the_row_of_cmd_is_what_it_says() -> None:
    """Clear signs give Fieller's set; a band is projected by hand; p values are Bonferroni's."""
    from scipy.stats import ttest_1samp

    f = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.3, 1.4, 1.0])
    values = sample(f, 80, np.random.default_rng(2))
    table = curve(values, Known())
    row, old = table["cmd"], signs_as_found(table)
    assert (row.estimate, row.std_error) == pytest.approx((old.estimate, old.std_error))
    assert table.scores is not None
    (asked,) = (e for e in table.estimands if e.name == "cmd")
    above, below = (s.evaluate(table.scores.mean) for s in (asked.expr.left, asked.expr.right))  # type: ignore[attr-defined]
    given = fieller(above, below, 0.955)
    assert (row.conf_low, row.conf_high) == pytest.approx((given.low, given.high))
    assert row.conf_method == "fieller"
    near = sample(np.ones(10), 80, np.random.default_rng(3))
    tests = [ttest_1samp(near[:, 0] - near[:, 2 + k], 0.0).pvalue for k in range(9)]
    table = curve(near, Known(inference=Multiplier(draws=300)))
    assert table["cmd"].p_value == pytest.approx(min(1.0, 9 * min(tests)), rel=1e-6)
    weights = [0.05, *[0.1] * 8, 0.05]
    sides = [table[f"faithfulness[{k:g}]"] for k in AT]
    high = sum(
        w * max(abs(r.conf_low - 1), abs(r.conf_high - 1))  # type: ignore[operator]
        for w, r in zip(weights, sides, strict=True)
    )
    assert table["cmd"].conf_high == pytest.approx(high)
    assert table["cmd"].conf_low == 0.0
    assert "cmd" not in table.diagnostics["simultaneous"]["family"]
    assert [e.name for e in table.estimands] == [r.term for r in table]
    assert "cmd" in table.diagnostics["expressions"]


def test_cmd_is_unbounded_when_there_may_be_no_effect() -> None:
    values = sample(np.full(10, 0.5), 25, np.random.default_rng(0))
    values[:, 0] += 0.05 - (values[:, 0] - values[:, 1]).mean()  # beside an error of 0.1
    for how in (Known(), Known(inference=Multiplier(draws=200))):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            table = circuit_curve(values, EDGES, fractions=AT, how=how)  # type: ignore[arg-type]
        said = [str(w.message) for w in told if w.category is RatioWarning]
        assert "cmd: every value from 0 up is compatible with the data" in said
        assert "cmd: every value from 0 up is compatible with the data" in table.warnings
        assert table["cmd"].conf_low is None
        assert table["cmd"].conf_high is None


def test_cmd_of_a_network() -> None:
    """The values that circuits really have go in: by hand from the scores of the table."""
    held = study(network("llama"), n=12)
    scores = EdgeAttribution(check=0).scores(held)
    at = (0.05, 0.2, 0.5, 0.9, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = circuit_curve(held, scores, fractions=at)
        old = signs_as_found(table)
    row = table["cmd"]
    assert 0.0 <= row.conf_low <= row.estimate <= row.conf_high  # type: ignore[operator]
    assert row.conf_low <= max(old.conf_low, 0.0) and row.conf_high >= old.conf_high  # type: ignore[operator]
    f = np.array([table[f"faithfulness[{k:g}]"].estimate for k in at])
    assert row.estimate == pytest.approx(np.trapezoid(np.abs(1 - f), at))


def test_tasks_with_different_numbers_of_pairs_are_compared_by_welch() -> None:
    """Without the circuit two tasks lose shares whose exact t intervals are known."""
    from scipy.stats import t as student
    from scipy.stats import ttest_1samp, ttest_ind

    rng = np.random.default_rng(4)
    kept = np.array([[True, False], [False, True]])
    circuit = Circuit(EDGES.senders, EDGES.readers, kept)
    left = {"few": 0.4 + 0.5 * rng.normal(size=8), "many": 0.7 + 0.1 * rng.normal(size=300)}
    tasks = {
        name: CircuitTask(np.column_stack([np.ones(len(x)), np.zeros(len(x)), x]))  # type: ignore[arg-type]
        for name, x in left.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = selectivity({"c": circuit}, tasks, how=Known())
    for name, x in left.items():
        row, exact = found[f"lost[c on {name}]"], ttest_1samp(1.0 - x, 0.0)
        ci = exact.confidence_interval(0.95)
        assert (row.conf_low, row.conf_high) == pytest.approx((ci.low, ci.high))
        assert row.p_value == pytest.approx(exact.pvalue, rel=1e-6)
    row = found["selective[c: few - many]"]
    exact = ttest_ind(1.0 - left["few"], 1.0 - left["many"], equal_var=False)
    assert row.estimate / row.std_error == pytest.approx(exact.statistic)  # type: ignore[operator]
    df = math.floor(exact.df)
    assert df == 7
    half = student.ppf(0.975, df) * row.std_error
    assert row.conf_high == pytest.approx(row.estimate + half)
    assert row.p_value == pytest.approx(2 * student.sf(abs(exact.statistic), df), rel=1e-6)
