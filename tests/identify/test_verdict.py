"""What graphs identify: named cases of the literature, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

import crossworld as xw
from crossworld import Graph
from crossworld.errors import DesignError

PLAIN = "x -> a; x -> m; x -> y; a -> m -> y; a -> y"
WITNESS = "a -> l -> m -> y; a -> m; a -> y; l -> y"
HIDDEN = "a -> m -> y; a -> y; u -> m; u -> y; u [latent]"


def of(graph: str, effect: Any, mediators: tuple[str, ...] = ("m",), **more: Any) -> Any:
    return xw.identify(graph, effect, treatment="a", mediators=list(mediators), outcome="y", **more)


@pytest.mark.parametrize(
    ("graph", "effect", "by", "adjust"),
    [
        (PLAIN, xw.NIE, "adjustment", ("x",)),
        (PLAIN, xw.TE, "adjustment", ("x",)),
        (PLAIN, xw.CDE(m=1), "adjustment", ("x",)),
        (PLAIN, xw.IIE, "adjustment", ("x",)),
        ("a -> m -> y; a -> y", xw.NDE, "adjustment", ()),
        ("a -> m -> y; a -> y; v -> m; w -> y", xw.NIE, "adjustment", ()),
        ("x1 -> a; x1 -> m; x2 -> m; x2 -> y; a -> m -> y", xw.NIE, "adjustment", ("x1", "x2")),
        (WITNESS, xw.CDE(m=0), "g-formula", ()),
        (WITNESS, xw.TE, "adjustment", ()),
        (WITNESS, xw.IIE, "adjustment", ()),
        (WITNESS, xw.SDE(l="direct"), "adjustment", ()),
        (WITNESS, xw.SIE(l="indirect"), "adjustment", ()),
        ("a -> m -> y; a <-> y", xw.TE, "front-door", ()),
        ("a -> m -> y; a <-> y", xw.NIE, "g-formula", ()),
        ("a -> m -> y", xw.NDE, "g-formula", ()),
        # a collider between mediator and outcome confounds nothing until it is conditioned on
        ("a -> m -> y; a -> y; m <-> z; z <-> y", xw.NIE, "adjustment", ()),
    ],
)
def test_identified(graph: str, effect: Any, by: str, adjust: tuple[str, ...]) -> None:
    found = of(graph, effect)
    assert (found.identified, found.by, found.adjust) == (True, by, adjust)
    assert found.formula
    assert found.reason is None
    assert found.assumptions
    assert all(a.decided_by for a in found.assumptions)


@pytest.mark.parametrize(
    ("graph", "effect", "told", "offending", "instead"),
    [
        ("a -> m -> y; a -> y; m <-> y", xw.NIE, "mediator-outcome", "m <-> y", "te"),
        (HIDDEN, xw.NDE, "unmeasured u affects both m and y", "u", "te"),
        (WITNESS, xw.NDE, "recanting witness", "l", "iie"),
        (WITNESS, xw.NIE, "recanting witness", "l", "sde(l=direct)"),
        (WITNESS, xw.SDE(), "which component", "l", "sde(l=indirect)"),
        ("a -> m -> y; a -> y; a <-> m", xw.NIE, "treatment-mediator", "a <-> m", "cde"),
        ("a -> m -> y; a -> y; a <-> y", xw.NIE, "treatment-outcome", "a <-> y", ""),
        ("a -> k -> l -> m -> y; l -> y; a -> y", xw.NIE, "l is affected by a", "l", "iie"),
    ],
)
def test_not_identified(graph: str, effect: Any, told: str, offending: str, instead: str) -> None:
    found = of(graph, effect)
    assert not found.identified
    assert found.by is None
    assert found.formula is None
    assert told in found.reason
    assert offending in found.offending
    assert instead in (*found.instead, "")


def test_every_factor_shows_the_level_it_is_taken_at() -> None:
    formula = of(PLAIN, xw.NIE).formula
    assert r"E[y(1, m(0))] = \sum_{x, m} E[y \mid x, a=1, m]\, P(m \mid x, a=0)\, P(x)" in formula
    later = of(WITNESS, xw.SDE(l="direct")).formula
    assert r"P(l \mid a=1)\, P(m \mid a=0, l)" in later
    earlier = of(WITNESS, xw.SDE(l="indirect")).formula
    assert r"P(l, m \mid a=0)" in earlier


def test_an_effect_along_no_path_is_zero() -> None:
    assert of("a -> m -> y; m <-> y", xw.NDE).formula == r"\mathrm{nde} = 0"


def test_minimal_sets_and_the_efficient_one() -> None:
    found = of("z1 -> a; z1 -> z2; z2 -> y; a -> m -> y; w -> a; v -> y", xw.TE, ())
    assert found.sets == (("z1",), ("z2",))
    assert set(found.efficient) == {"z2", "v"}
    assert of("v -> a; a -> m -> y; a -> y", xw.NIE).efficient == ()
    assert of("a -> m -> y; a -> y; v -> y", xw.NIE).efficient is None


def test_covariates_can_be_checked() -> None:
    assert of(PLAIN, xw.NIE, adjust=["x"]).identified
    wrong = of(PLAIN, xw.NIE, adjust=[])
    assert not wrong.identified
    assert "leaves the path a - x - y open" in wrong.reason
    assert "adjust for x" in wrong.reason
    late = of(PLAIN + "; m -> d", xw.NIE, adjust=["x", "d"])
    assert not late.identified
    assert late.offending == ("d",)
    with pytest.raises(DesignError, match="adjust names q"):
        of(PLAIN, xw.NIE, adjust=["q"])


def test_napkin() -> None:
    found = of("w -> r -> a -> y; w <-> a; w <-> y", xw.TE, ())
    assert found.by == "g-formula"
    assert r"\frac{\sum_{w}" in found.formula


def test_paths_of_ordered_mediators() -> None:
    graph = "a -> m1 -> m2 -> y; a -> y; a -> m2; m1 -> y"
    assert of(graph, xw.PSE("m2"), ("m1", "m2")).identified
    hidden = of(graph + "; m1 <-> m2", xw.PSE("m2"), ("m1", "m2"))
    assert not hidden.identified
    assert of(graph + "; m1 <-> m2", xw.NIE, ("m1", "m2")).identified


def test_roles_may_be_marked_in_the_text() -> None:
    marked = "dag { a [exposure] y [outcome] m [mediator] a -> m -> y; a -> y }"
    assert xw.identify(marked, xw.NIE).identified
    assert xw.identify(Graph.parse(marked), xw.NIE).graph == str(Graph.parse(marked))


@pytest.mark.parametrize(
    ("graph", "roles", "told"),
    [
        (PLAIN, {"treatment": "q"}, "treatment 'q' is not a node"),
        (
            PLAIN,
            {"mediators": ["mm"]},
            "mediator 'mm' is not a node of the graph. Did you mean 'm'",
        ),
        (PLAIN, {"mediators": "m"}, "write ['m']"),
        (PLAIN, {"outcome": "a"}, "more than one role"),
        (PLAIN, {"mediators": ["x"]}, "it comes before the treatment (x -> a)"),
        (
            "y -> z -> a -> m; m [mediator]",
            {},
            "comes after the outcome 'y' in the graph (y -> z -> a)",
        ),
        ("a -> m; a -> y", {}, "on no directed path from 'a' to 'y': it does not affect 'y'"),
        ("m -> y; a -> y", {}, "'a' does not affect it"),
        ("a -> y -> m", {}, "after the outcome (y -> m)"),
        ("a -> m -> y; m [latent]", {}, "marked latent"),
    ],
)
def test_roles_that_do_not_fit_are_refused(graph: str, roles: dict[str, Any], told: str) -> None:
    given = {"treatment": "a", "mediators": ["m"], "outcome": "y", **roles}
    with pytest.raises(DesignError) as error:
        xw.identify(graph, xw.NIE, **given)
    assert told in str(error.value)


def test_an_effect_through_mediators_needs_them() -> None:
    with pytest.raises(DesignError, match="nie needs mediators"):
        xw.identify("a -> m -> y", xw.NIE, treatment="a", outcome="y")
    assert xw.identify("a -> m -> y", xw.TE, treatment="a", outcome="y").identified


def test_many_covariates_are_no_trouble() -> None:
    names = [f"x{k}" for k in range(30)]
    edges = "; ".join(f"{x} -> {{a m y}}" for x in names) + "; a -> m -> y; a -> y"
    found = of(edges, xw.NIE)
    assert found.identified
    assert set(found.adjust) == set(names)
