"""Budget advice: exact variance components, and designs whose intervals are as wide as promised."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, PM, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.regime import Draw, M
from crossworld.errors import DesignError, SmallSampleWarning, SpecError
from crossworld.reasoning.budget import Costs, Search, budget
from crossworld.reasoning.components import components
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.study import ReasoningStudy

MODEL = SimulatedReasoner(
    base=0.1,
    direct=0.05,
    difficulty=0.05,
    contributions=(0.15, 0.05),
    interaction=3.0,
    sound=(0.4, 0.6),
    slip=0.3,
)
ROLES: dict[str, Any] = {
    "question": "question",
    "prompt": "prompt",
    "reasoning": "reasoning",
    "outcome": "correct",
    "draw": "draw",
    "replayed": "replayed",
}


def pilot(table: dict[str, Any], **roles: Any) -> ReasoningStudy:
    return ReasoningStudy.from_cells(table, **ROLES, **roles)


def enumerated(effect: Estimand) -> tuple[float, float, float]:
    """Exact components, by going through every difficulty and every trace."""
    weights = effect.bind((("reasoning",),)).expr.linear()
    assert weights is not None
    cells: list[tuple[Any, Any, float]] = []
    for cell, w in weights.items():
        regime = cell.regime("reasoning")
        assert isinstance(regime, Draw)
        cells.append((cell.treatment, regime.level, w))
    means, between, noise = [], [], []
    for level in range(MODEL.levels):
        d = MODEL.hardness(level)
        mean = variance = readout = 0.0
        for source in {b for _, b, _ in cells}:
            law = []
            for steps in product((0, 1), repeat=2):
                sound = MODEL.sound[int(source)] - MODEL.slip * d
                chance = np.prod([sound if s else 1 - sound for s in steps])
                law.append((float(chance), steps))
            value = [
                sum(w * float(MODEL.chance(d, a, t)) for a, b, w in cells if b == source)
                for _, t in law
            ]
            p = np.array([c for c, _ in law])
            mean += float(p @ value)
            variance += float(p @ np.square(value) - (p @ value) ** 2)
            for a, b, w in cells:
                y = np.array([float(MODEL.chance(d, a, t)) for _, t in law])
                readout += w**2 * float(p @ (y * (1 - y))) * (b == source)
        means.append(mean)
        between.append(variance)
        noise.append(readout)
    return float(np.var(means)), float(np.mean(between)), float(np.mean(noise))


@pytest.mark.parametrize("effect", [TE, NDE, NIE], ids=lambda e: e.name)
def test_components_are_those_of_the_model(effect: Estimand) -> None:
    study = pilot(MODEL.table(3000, traces=6, readouts=2, seed=5))
    found = components(study, effect)
    exact = enumerated(effect)
    assert (exact[0] < 1e-12) == (effect is NIE)  # the slips of the two arms cancel
    assert min(exact[1:]) > 0.04
    error = np.sqrt(2 / 3000) * found.per_question(6, 2)  # of the question variance, if normal
    assert abs(found.question - exact[0]) < 3 * error < 0.006
    assert (found.trace, found.readout) == pytest.approx(exact[1:], rel=0.08)
    assert (found.sources, found.cells) == ((1, 2) if effect is NDE else (2, 2))
    assert (found.traces, found.readouts, found.notes) == (6.0, 2.0, ())


def test_shared_traces_cancel_in_the_direct_effect() -> None:
    """Without interaction a trace moves both cells alike: nothing is left of its variance."""
    model = SimulatedReasoner(contributions=(0.2, 0.2), sound=(0.5, 0.5))
    table = model.table(1500, traces=4, readouts=2, seed=2)
    assert components(pilot(table), NDE).trace < 0.01
    alone = dict(table)
    prompt, natural = np.asarray(table["prompt"]), np.asarray(table["replayed"]) == 0
    alone["trace"] = np.where(natural, "n", prompt).astype(object) + table["trace"].astype(str)
    # the same readouts, told to be of traces of their own: the spread of a trace counts twice
    assert components(pilot(alone), NDE).trace == pytest.approx(2 * 2 * 0.2**2 * 0.25, rel=0.15)


@pytest.mark.parametrize("effect", [TE, NDE], ids=lambda e: e.name)
def test_the_components_add_up_to_the_standard_error(effect: Estimand) -> None:
    table: dict[str, Any] = dict(MODEL.table(300, traces=3, readouts=2, seed=7))
    correct = np.asarray(table["correct"], dtype=float)
    table["correct"] = np.where(
        np.random.default_rng(0).random(correct.size) < 0.1, np.nan, correct
    )
    found = components(pilot(table), effect)
    assert min(found.question, found.trace, found.readout) > 0
    row = estimate(pilot(table), Replay(), [effect])[effect.name]
    assert np.sqrt(found.per_question(3, 2) / 300) == pytest.approx(row.std_error, rel=1e-9)
    design = budget(pilot(table), effect, width=0.3, search=Search(level=0.9)).best
    spread = found.per_question(design.traces, design.readouts) / design.questions
    half = stats.t.ppf(0.95, design.questions - 1) * np.sqrt(spread)
    assert design.width == pytest.approx(2 * half, rel=1e-9)


def test_cells_that_half_share_their_traces_are_refused() -> None:
    cells = [(0, 0, None), (1, 0, None), (1, 0, "delete")]
    table: dict[str, Any] = dict(MODEL.table(20, traces=2, seed=1, cells=cells))
    edited = np.array([e is not None for e in table["edit"]])
    prompt, k = np.asarray(table["prompt"]), np.asarray(table["trace"])
    keep = np.where(k == 0, ~edited, edited | (prompt == "1"))
    halves = pilot({n: v[keep] for n, v in table.items()}, edit="edit")
    effect = Estimand("e", Y(1, M(0)) - 0.5 * Y(0) - 0.5 * Y(1, M(0, "delete")))
    with pytest.raises(DesignError, match="no trace of '0' was shown in all 3 cells"):
        components(halves, effect)


def test_an_unbalanced_pilot_gives_the_same_components() -> None:
    table = MODEL.table(3000, traces=6, readouts=3, seed=6)
    rng = np.random.default_rng(1)
    drop = {(q, k) for q in range(3000) for k in range(6) if rng.random() < 0.3 and k}
    names, k = table["question"], table["trace"]
    keep = np.array([(int(q[1:]), int(t)) not in drop for q, t in zip(names, k, strict=True)])
    keep &= (np.asarray(table["draw"]) < 20_000) | (rng.random(len(keep)) < 0.6)
    found = components(pilot({n: v[keep] for n, v in table.items()}), NIE)
    assert 4.0 < found.traces < 5.0
    assert 2.0 < found.readouts < 3.0
    exact = enumerated(NIE)
    error = np.sqrt(2 / 3000) * found.per_question(4, 2)
    assert abs(found.question - exact[0]) < 3 * error
    assert (found.trace, found.readout) == pytest.approx(exact[1:], rel=0.1)


@pytest.mark.parametrize(("effect", "width"), [(NIE, 0.12), (NDE, 0.15)], ids=["nie", "nde"])
def test_the_advised_design_is_as_wide_as_wanted(effect: Estimand, width: float) -> None:
    study = pilot(MODEL.table(400, traces=4, readouts=4, seed=8))
    advice = budget(study, effect, width=width, costs=Costs(question=4.0, trace=3.0))
    best = advice.best
    assert best.traces > 1
    widths = []
    for seed in range(12):
        table = MODEL.table(best.questions, best.traces, readouts=best.readouts, seed=100 + seed)
        row = estimate(pilot(table), Replay(), [effect])[effect.name]
        widths.append((row.conf_high or 0.0) - (row.conf_low or 0.0))
    assert np.mean(widths) == pytest.approx(width, rel=0.1)
    assert best.width == pytest.approx(width, rel=0.02)
    assert advice.uncertainty["width"][0] < width < advice.uncertainty["width"][1]


def test_the_cheapest_design_follows_the_costs() -> None:
    study = pilot(MODEL.table(400, traces=4, readouts=4, seed=8))
    per_call = budget(study, NIE, width=0.1).best
    dear = budget(study, NIE, width=0.1, costs=Costs(question=50.0)).best
    written = budget(study, NIE, width=0.1, costs=Costs(trace=50.0)).best
    assert dear.traces > per_call.traces
    assert dear.questions < per_call.questions
    assert written.readouts > per_call.readouts
    advice = budget(study, NIE, width=0.1)
    assert all(d.width <= 0.1 and d.cost >= advice.best.cost for d in advice.designs)
    for d in advice.designs[:3]:
        assert d.cost == 2 * d.questions * d.traces * (1 + d.readouts)
    assert f"{advice.best.questions:,}  {advice.best.traces}" in str(advice)


def test_spending_gives_the_narrowest_and_agrees_with_the_width() -> None:
    study = pilot(MODEL.table(300, traces=3, readouts=3, seed=9))
    wanted = budget(study, TE, width=0.1)
    bought = budget(study, TE, spend=wanted.best.cost)
    assert bought.best.width <= wanted.best.width + 1e-12
    assert bought.best.cost <= wanted.best.cost
    assert all(d.width >= bought.best.width for d in bought.designs)
    with pytest.raises(DesignError, match="does not pay for 10 questions"):
        budget(study, TE, spend=20.0)
    with pytest.raises(DesignError, match="at most 30 questions has an interval as narrow"):
        budget(study, TE, width=0.01, search=Search(questions=(10, 30)))


def test_what_the_pilot_cannot_tell_is_counted_higher_and_said() -> None:
    table = MODEL.table(1200, traces=3, readouts=3, seed=4)
    full = components(pilot(table), NIE)
    one_trace = {n: v[table["trace"] == 0] for n, v in table.items()}
    once = {n: v[table["draw"] < 10_000] for n, v in table.items()}
    with pytest.warns(SmallSampleWarning, match="one trace"):
        advice = budget(pilot(one_trace), NIE, width=0.1)
    lumped = advice.components
    assert lumped.trace == 0.0
    assert lumped.question == pytest.approx(full.question + full.trace, rel=0.15)
    assert lumped.readout == pytest.approx(full.readout, rel=0.1)
    assert advice.best.questions > budget(pilot(table), NIE, width=0.1).best.questions - 60
    with pytest.warns(SmallSampleWarning, match=r"once in Y\(1\)"):
        lumped = budget(pilot(once), NIE, width=0.1).components
    assert lumped.readout == 0.0
    assert lumped.trace == pytest.approx(full.trace + full.readout, rel=0.1)
    assert lumped.question == pytest.approx(full.question, rel=0.5, abs=0.01)


def test_the_pilot_says_how_sure_it_is() -> None:
    small = budget(pilot(MODEL.table(30, traces=3, readouts=3, seed=1)), NIE, width=0.15)
    large = budget(pilot(MODEL.table(600, traces=3, readouts=3, seed=1)), NIE, width=0.15)
    spans = [a.uncertainty["questions"][1] / a.uncertainty["questions"][0] for a in (small, large)]
    assert spans[0] - 1 > 2.5 * (spans[1] - 1) > 0.05
    again = budget(pilot(MODEL.table(30, traces=3, readouts=3, seed=1)), NIE, width=0.15)
    assert again.uncertainty == small.uncertainty
    with pytest.warns(SmallSampleWarning, match="8 questions"):
        budget(pilot(MODEL.table(8, traces=3, readouts=3, seed=1)), NIE, width=0.15)


def test_prices_come_from_the_pilots_tokens() -> None:
    table: dict[str, Any] = dict(MODEL.table(20, traces=2, readouts=2, seed=1))
    replayed = np.asarray(table["replayed"]) == 1
    table["tokens_in"] = np.where(replayed, 300, 100)
    table["tokens_out"] = np.where(replayed, 2, 200)
    costs = Costs.from_prices(pilot(table), (2.5, 10.0))
    assert (costs.trace, costs.readout) == pytest.approx((0.00225, 0.00077))
    shown = {n: v[replayed] for n, v in table.items()}
    with pytest.raises(DesignError, match="no natural readout"):
        Costs.from_prices(pilot(shown), (2.5, 10.0))


def test_bad_input_is_refused_in_words() -> None:
    study = pilot(MODEL.table(20, traces=2, readouts=2, seed=1))
    with pytest.raises(SpecError, match="either"):
        budget(study, NIE)
    with pytest.raises(SpecError, match="positive"):
        budget(study, NIE, width=-1.0)
    with pytest.raises(SpecError, match="no difference of cells"):
        budget(study, PM, width=0.1)
    with pytest.raises(DesignError, match="trace column 'chain'"):
        budget(study, NIE, width=0.1, search=Search(trace="chain"))
    with pytest.raises(DesignError, match="no source of reasoning"):
        budget(study, Estimand("gold", Y(1, M("gold")) - Y(1)), width=0.1)
    with pytest.raises(SpecError, match="at least 1"):
        Search(traces=(0,))
    with pytest.raises(SpecError, match="not all 0"):
        Costs(0.0, 0.0, 0.0)
    table: dict[str, Any] = dict(MODEL.table(20, traces=2, readouts=2, seed=1))
    table["trace"] = [None, *list(table["trace"])[1:]]
    with pytest.raises(DesignError, match="1 of 400 readouts"):
        budget(pilot(table), NIE, width=0.1)
    table = dict(MODEL.table(20, traces=2, readouts=2, seed=1))
    table["correct"] = np.ones(400)
    with pytest.raises(DesignError, match="the same in all 20 questions"):
        budget(pilot(table), NIE, width=0.1)
    table["family"] = table["question"]
    with pytest.raises(DesignError, match="second cluster"):
        budget(pilot(table, cluster="family"), NIE, width=0.1)
