"""Every shipped effect: its identity, its scales, its binding to a study's mediators."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from crossworld.core import effects as fx
from crossworld.core.effects import CONSTANTS, PSE, four_way
from crossworld.core.estimand import Estimand, needed
from crossworld.core.expression import Cell, Y
from crossworld.core.parse import estimand
from crossworld.core.regime import ALL, Draw, G, M, Random, set_
from crossworld.errors import SpecError

ONE = (("job",),)
ORDERED = (("m1",), ("m2",), ("m3",))
MIXED = (("m1", "m2"), ("m3",))


class World:
    """Random cell values in (0, 1), drawn when a cell is first asked for."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.means: dict[Cell, float] = {}

    def __call__(self, cell: Cell) -> float:
        return self.means.setdefault(cell, float(self.rng.uniform(0.05, 0.95)))

    def value(self, asked: Estimand | str, blocks=ONE) -> float:
        question = estimand(asked) if isinstance(asked, str) else asked
        return float(question.bind(blocks).expr.evaluate(self))


@pytest.fixture(params=range(5))
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.mark.parametrize("blocks", [ONE, ORDERED, MIXED], ids=["one", "ordered", "mixed"])
@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("te", ["nde", "nie"]),
        ("te", ["tnde", "pnie"]),
        ("oe", ["ide", "iie"]),
        ("te", ["nde", "pnie", "int_med"]),
        ("nde", ["cde(0)", "int_ref"]),
        ("te", ["cde(0)", "int_ref", "int_med", "pnie"]),
        ("te", ["cde(2.5)", "int_ref(2.5)", "int_med", "pnie"]),
        ("tnde", ["nde", "int_med"]),
        ("nie", ["pnie", "int_med"]),
    ],
)
def test_decompositions_add_up(world: World, blocks, whole: str, parts: list[str]) -> None:
    total = sum(world.value(part, blocks) for part in parts)
    assert total == pytest.approx(world.value(whole, blocks), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("te", lambda y: y(Y(1)) - y(Y(0))),
        ("nde", lambda y: y(Y(1, M(0))) - y(Y(0))),
        ("tnde", lambda y: y(Y(1)) - y(Y(0, M(1)))),
        ("nie", lambda y: y(Y(1)) - y(Y(1, M(0)))),
        ("pnie", lambda y: y(Y(0, M(1))) - y(Y(0))),
        ("ide", lambda y: y(Y(1, G(0))) - y(Y(0, G(0)))),
        ("iie", lambda y: y(Y(1, G(1))) - y(Y(1, G(0)))),
        ("oe", lambda y: y(Y(1, G(1))) - y(Y(0, G(0)))),
        ("pm", lambda y: (y(Y(1)) - y(Y(1, M(0)))) / (y(Y(1)) - y(Y(0)))),
        ("cde(3)", lambda y: y(Y(1, set_(3))) - y(Y(0, set_(3)))),
        ("cde(m=3)", lambda y: y(Y(1, set_(3))) - y(Y(0, set_(3)))),
        ("cde(job='on')", lambda y: y(Y(1, set_("on"))) - y(Y(0, set_("on")))),
    ],
)
def test_definitions(world: World, name: str, formula: Callable) -> None:
    assert world.value(name) == pytest.approx(formula(world), abs=1e-12)


def test_pm_is_nie_over_te(world: World) -> None:
    assert world.value("pm") == pytest.approx(world.value("nie") / world.value("te"))


def theta(world: World, *levels: int) -> float:
    """The cell in which mediator k follows level k and the outcome sees the last level."""
    *own, a = levels
    names = [f"m{k + 1}" for k in range(len(own))]
    blocks = tuple((name,) for name in names)
    return world(Y(a, **dict(zip(names, own, strict=True))).bind(blocks))


def test_path_specific_effects_follow_the_published_chains(world: World) -> None:
    """Zhou (2022): type 1 switches mediators off from the left, type 2 on from the left."""
    pse = {(m, t): world.value(PSE(m, type=t), ORDERED) for m in ("m1", "m2", "m3") for t in (1, 2)}
    assert pse["m1", 1] == pytest.approx(theta(world, 1, 1, 1, 1) - theta(world, 0, 1, 1, 1))
    assert pse["m2", 1] == pytest.approx(theta(world, 0, 1, 1, 1) - theta(world, 0, 0, 1, 1))
    assert pse["m3", 1] == pytest.approx(theta(world, 0, 0, 1, 1) - theta(world, 0, 0, 0, 1))
    assert pse["m1", 2] == pytest.approx(theta(world, 1, 0, 0, 0) - theta(world, 0, 0, 0, 0))
    assert pse["m2", 2] == pytest.approx(theta(world, 1, 1, 0, 0) - theta(world, 1, 0, 0, 0))
    assert pse["m3", 2] == pytest.approx(theta(world, 1, 1, 1, 0) - theta(world, 1, 1, 0, 0))


@pytest.mark.parametrize(("type_", "direct"), [(1, "nde"), (2, "tnde")])
@pytest.mark.parametrize(
    ("blocks", "leaders"), [(ORDERED, "m1 m2 m3"), (MIXED, "m2 m3"), ((("m1",), ("m2",)), "m1 m2")]
)
def test_path_specific_effects_and_a_direct_effect_add_up_to_te(
    world: World, blocks, leaders: str, type_: int, direct: str
) -> None:
    paths = sum(world.value(PSE(m, type=type_), blocks) for m in leaders.split())
    assert paths + world.value(direct, blocks) == pytest.approx(world.value("te", blocks))


def test_with_one_mediator_pse_is_the_indirect_effect(world: World) -> None:
    assert world.value(PSE("job")) == pytest.approx(world.value("nie"))
    assert world.value(PSE("job", type=2)) == pytest.approx(world.value("pnie"))


def odds(p: float) -> float:
    return p / (1 - p)


@pytest.mark.parametrize("name", ["te", "nde", "tnde", "nie", "pnie", "ide", "iie", "cde(1)"])
def test_scales_of_contrasts(world: World, name: str) -> None:
    bound = estimand(name).bind(ONE)
    signs = bound.expr.linear()
    plus, minus = (world(next(c for c, v in signs.items() if v == s)) for s in (1.0, -1.0))
    assert world.value(name) == pytest.approx(plus - minus)
    assert world.value(f"{name}.ratio") == pytest.approx(plus / minus)
    assert world.value(f"{name}.odds_ratio") == pytest.approx(odds(plus) / odds(minus))
    assert world.value(f"{name}.excess_ratio") == pytest.approx((plus - minus) / world(Y(0)))


def test_ratios_multiply_where_differences_add(world: World) -> None:
    for scale in ("ratio", "odds_ratio"):
        product = world.value(f"nde.{scale}") * world.value(f"nie.{scale}")
        assert product == pytest.approx(world.value(f"te.{scale}"))


def test_ratio_scale_of_longer_sums_is_a_share_of_the_excess(world: World) -> None:
    """VanderWeele (2014): the parts of RR - 1 add up to RR - 1."""
    parts = ["cde(0).excess_ratio", "int_ref.ratio", "int_med.ratio", "pnie.excess_ratio"]
    assert sum(world.value(p) for p in parts) == pytest.approx(world.value("te.ratio") - 1)


@pytest.mark.parametrize("scale", ["ratio", "odds_ratio"])
def test_pse_changes_scale_when_bound(world: World, scale: str) -> None:
    y = odds if scale == "odds_ratio" else float
    expected = y(theta(world, 0, 1, 1, 1)) / y(theta(world, 0, 0, 1, 1))
    assert world.value(f"pse(m2).{scale}", ORDERED) == pytest.approx(expected)
    assert estimand(f"pse(m2).{scale}").null == 1.0


def test_pm_on_the_ratio_scale_is_itself(world: World) -> None:
    assert world.value("pm.ratio") == pytest.approx(world.value("pm"))
    assert estimand("pm.ratio").null == 0.0
    nie = odds(world(Y(1))) - odds(world(Y(1, M(0))))
    te = odds(world(Y(1))) - odds(world(Y(0)))
    assert world.value("pm.odds_ratio") == pytest.approx(nie / te)


@pytest.mark.parametrize(
    ("name", "null"),
    [
        ("te", 0.0),
        ("pm", 0.0),
        ("te.ratio", 1.0),
        ("nie.odds_ratio", 1.0),
        ("te.excess_ratio", 0.0),
        ("int_med.ratio", 0.0),
        ("Y(1) - Y(0)", 0.0),
    ],
)
def test_null_values(name: str, null: float) -> None:
    assert estimand(name).null == null


@pytest.mark.parametrize(
    "text", ["te.ratio.ratio", "te.ratio.odds_ratio", "pm.excess_ratio", "te.excess_ratio.ratio"]
)
def test_a_scale_is_chosen_once_and_for_contrasts(text: str) -> None:
    with pytest.raises(SpecError):
        estimand(text)


@pytest.mark.parametrize("text", ["(Y(1) + Y(0)).ratio", "(Y(1) * Y(0)).ratio", "Y(1).ratio"])
def test_what_is_no_contrast_has_no_ratio(text: str) -> None:
    with pytest.raises(SpecError, match=r"no contrast|no ratio"):
        estimand(text)


def test_four_way_names_its_parts() -> None:
    assert [e.name for e in four_way(m=0)] == ["cde(m=0)", "int_ref(m=0)", "int_med", "pnie"]
    assert [e.name for e in four_way(1)] == ["cde(1)", "int_ref(1)", "int_med", "pnie"]


def test_constants_know_their_names() -> None:
    assert all(name == question.name for name, question in CONSTANTS.items())
    expected = {"te", "nde", "tnde", "nie", "pnie", "pm", "ide", "iie", "oe", "int_med", "int_ref"}
    assert set(CONSTANTS) == expected
    assert [e.name for e in fx.NATURAL] == ["te", "nde", "nie"]


class TestBind:
    def test_named_sole_mediator_is_every_mediator(self) -> None:
        for text in ("Y(1, job=0)", "Y(1, m=0)", "Y(1, M(0))"):
            assert estimand(text).bind(ONE).expr == Y(1, M(0))

    def test_every_mediator_named_alike_is_every_mediator(self) -> None:
        cell = Y(1, m1=0, m2=0, m3=M(0))
        assert cell.bind(ORDERED) == Y(1, M(0))
        assert Y(1, M(0), m2=1).bind((("m1",), ("m2",))) == Y(1, m1=0).bind((("m1",), ("m2",)))

    def test_own_level_is_the_default(self) -> None:
        assert Y(1, m2=1).bind(ORDERED) == Y(1)
        assert Y(1, M(1)).bind(ORDERED) == Y(1)

    def test_bound_cells_print_what_differs_from_their_own_level(self) -> None:
        assert str(Y(1, M(0), m2=1, m3=1).bind(ORDERED)) == "Y(1, m1=0)"
        assert str(Y(0, M(1), m2=0).bind(ORDERED)) == "Y(0, m1=1, m3=1)"
        assert str(Y(1, m1=G(0), m2=G(0), m3=1).bind(ORDERED)) == "Y(1, m1=G(0), m2=G(0))"

    def test_equal_cells_are_equal_however_written(self) -> None:
        for own in itertools.product((0, 1), repeat=3):
            named = Y(1, **{f"m{k + 1}": v for k, v in enumerate(own)})
            through = Y(1, M(0), **{f"m{k + 1}": v for k, v in enumerate(own) if v})
            assert named.bind(ORDERED) == through.bind(ORDERED)
            assert hash(named.bind(ORDERED)) == hash(through.bind(ORDERED))

    def test_binding_twice_changes_nothing(self) -> None:
        for cell in (Y(1, m1=0), Y(1, G(0)), Y(1, set_(m1=3)), Y(1, m1=G(0), m2=G(0)), Y(0)):
            once = cell.bind(ORDERED)
            assert once.bind(ORDERED) == once

    def test_joint_random_draw_differs_from_separate_draws(self) -> None:
        joint = Y(1, G(0)).bind((("m1",), ("m2",)))
        separate = Y(1, m1=G(0), m2=G(0)).bind((("m1",), ("m2",)))
        assert joint != separate
        assert dict(joint.regimes) == {ALL: Random(0)}
        assert Y(1, job=G(0)).bind(ONE) == Y(1, G(0))

    def test_m_stands_for_the_only_mediator_alone(self) -> None:
        with pytest.raises(SpecError, match="'m' is not a mediator"):
            Y(1, m=0).bind(ORDERED)
        assert Y(1, m=0).bind((("m", "k"),)).regime("m") == Draw(0)

    def test_unknown_mediator_suggests_the_nearest(self) -> None:
        with pytest.raises(SpecError, match=r"'jbo' is not a mediator.*'job'"):
            Y(1, jbo=0).bind(ONE)
        with pytest.raises(SpecError, match=r"'m_2' is not a mediator.*Did you mean 'm2'"):
            PSE("m_2").bind(ORDERED)

    def test_functionals_survive(self) -> None:
        assert Y(1, job=0).quantile(0.5).bind(ONE) == Y(1, M(0)).quantile(0.5)

    def test_pse_needs_a_study(self) -> None:
        for act in (PSE("m1").cells, lambda: PSE("m1").expr.evaluate(float)):
            with pytest.raises(SpecError, match="before a study"):
                act()
        with pytest.raises(SpecError, match="type=3"):
            PSE("m1", type=3)  # type: ignore[arg-type]


def test_needed_cells_are_each_listed_once_in_a_stable_order() -> None:
    cells = needed([fx.TE, fx.NDE, fx.NIE, fx.PM])
    assert cells == needed([fx.PM, fx.NIE, fx.NDE, fx.TE])
    assert set(cells) == {Y(0), Y(1), Y(1, M(0))}
    assert len(cells) == 3


def test_estimands_combine_into_expressions(world: World) -> None:
    expr = (fx.NDE + fx.NIE) / fx.TE - 1.0
    assert expr.evaluate(world) == pytest.approx(0.0, abs=1e-12)
    assert (fx.NIE * 2.0).evaluate(world) == pytest.approx(2 * world.value("nie"))
    log = fx.TE.ratio().expr.log()
    assert log.evaluate(world) == pytest.approx(math.log(world.value("te.ratio")))


def test_printed_names() -> None:
    assert str(fx.NIE) == "nie = Y(1) - Y(1, M(0))"
    assert str(fx.NIE.ratio()) == "nie.ratio = Y(1) / Y(1, M(0))"
    assert (
        str(fx.CDE(anxiety=3)) == "cde(anxiety=3) = Y(1, set_(anxiety=3)) - Y(0, set_(anxiety=3))"
    )
    assert str(PSE("m2", type=2)) == "pse(m2, type=2) = pse(m2, type=2)"


@pytest.mark.parametrize("make", [fx.CDE, set_, lambda: set_(1, m=2)])
def test_controlled_effects_need_one_value(make: Callable) -> None:
    with pytest.raises(SpecError):
        make()


@pytest.mark.parametrize("q", [0.0, 1.0, -0.5, 2.0])
def test_quantiles_lie_between_0_and_1(q: float) -> None:
    with pytest.raises(SpecError, match="between 0 and 1"):
        Y(1).quantile(q)


def test_a_mediator_may_be_called_anything() -> None:
    """``treatment`` is a likely column name."""
    cell = Y(1, **{"treatment": 0})
    assert cell.bind((("treatment",),)) == Y(1, M(0))


@pytest.mark.parametrize("bad", [0, "M(0)", None])
def test_a_bare_level_is_no_regime(bad: object) -> None:
    with pytest.raises(SpecError, match=r"M\(\.\.\.\)"):
        Y(1, bad)  # type: ignore[arg-type]
