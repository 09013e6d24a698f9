"""Names and expressions as people type them, and what is told when they mistype."""

from __future__ import annotations

import pytest

from crossworld.core.effects import CDE, CONSTANTS, INT_REF, NIE, PSE, TE
from crossworld.core.expression import Y
from crossworld.core.parse import cell, estimand
from crossworld.core.regime import G, M, set_
from crossworld.errors import CrossworldError, SpecError


@pytest.mark.parametrize("name", [*CONSTANTS])
def test_names_are_the_shipped_effects(name: str) -> None:
    assert estimand(name) == CONSTANTS[name]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("cde(m=3)", CDE(m=3)),
        ("cde(3)", CDE(3)),
        ("cde(m=-1.5)", CDE(m=-1.5)),
        ("cde(m='low')", CDE(m="low")),
        ("cde(m=low)", CDE(m="low")),
        ("int_ref(m=2)", INT_REF(m=2)),
        ("pse(m2)", PSE("m2")),
        ("pse('m2')", PSE("m2")),
        ("pse(m2, type=2)", PSE("m2", type=2)),
        ("nie.ratio", NIE.ratio()),
        ("nie.ratio()", NIE.ratio()),
        ("nie.odds_ratio", NIE.odds_ratio()),
        ("te.excess_ratio", TE.excess_ratio()),
        ("cde(m=3).ratio", CDE(m=3).ratio()),
        ("pse(m2, type=2).odds_ratio", PSE("m2", type=2).odds_ratio()),
    ],
)
def test_names_with_arguments_and_scales(text: str, same) -> None:
    read = estimand(text)
    assert (read.expr, read.scale) == (same.expr, same.scale)
    assert read.name == text


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ("Y(1) - Y(0, M(1))", Y(1) - Y(0, M(1))),
        ("Y(1)-Y(0,M(1))", Y(1) - Y(0, M(1))),
        ("Y('high') - Y('low')", Y("high") - Y("low")),
        ("Y(high) - Y(low)", Y("high") - Y("low")),
        ("Y(1, anxiety=0, anger=1)", Y(1, anxiety=0, anger=1)),
        ("Y(1, G(0)) / Y(0, G(0))", Y(1, G(0)) / Y(0, G(0))),
        ("Y(1, set_(anxiety=3.0))", Y(1, set_(anxiety=3.0))),
        ("Y(1, M(0, 'shuffle'))", Y(1, M(0, "shuffle"))),
        ("Y(1, M('gold'))", Y(1, M("gold"))),
        ("nde + nie", CONSTANTS["nde"] + NIE),
        ("2 * nie", 2.0 * NIE.expr),
        ("nie - 1", NIE - 1.0),
        ("Y(1).quantile(0.9) - Y(0).quantile(0.9)", Y(1).quantile(0.9) - Y(0).quantile(0.9)),
        ("Y(1, M(0)).cdf(-2)", Y(1, M(0)).cdf(-2)),
    ],
)
def test_expressions(text: str, expr) -> None:
    assert estimand(text).expr == expr
    assert estimand(f"  {text}\n").name == text


def test_scale_of_an_expression() -> None:
    read = estimand("(Y(1) - Y(1, M(0))).ratio")
    assert (read.expr, read.scale) == (NIE.ratio().expr, "ratio")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nei", "unknown effect 'nei'. Did you mean 'nie'?"),
        ("NIE", "Did you mean 'nie'?"),
        ("nie.ration", "unknown scale 'ration'. Did you mean 'ratio'?"),
        ("cdee(m=1)", "Did you mean 'cde'?"),
        ("y(1) - y(0)", "Did you mean 'Y'?"),
        ("Y(1).quantle(0.5)", "quantile"),
        ("", "''"),
        ("te +", "'te +'"),
        ("Y(1", "'Y(1'"),
        ("3", "not an effect"),
        ("'te'", "not an effect"),
        ("M(0)", "not an effect"),
        ("-3", "not an effect"),
        ("te - M(0)", "te - M(0)"),
        ("M(0) + M(1)", "M(0) + M(1)"),
        ("'te' - 'nie'", "'te' - 'nie'"),
        ("-'a'", "-'a'"),
        ("-M(0)", "-M(0)"),
        ("te ** 2", "te ** 2"),
        ("te and nie", "te and nie"),
        ("te if 1 else nie", "te if 1 else nie"),
        ("[te]", "[te]"),
        ("te == nie", "te == nie"),
        ("lambda: te", "lambda"),
        ("Y()", "Y()"),
        ("Y(1, 0)", "M(0)"),
        ("Y(1, M())", "M()"),
        ("Y(1, M(Y(0)))", "M("),
        ("cde()", "cde"),
        ("cde(m=Y(1))", "cde"),
        ("pse()", "pse"),
        ("pse(m2, type=3)", "type=3"),
        ("pse(m2, kind=2)", "pse"),
        ("pse(3)", "pse"),
        ("te(1)", "te"),
        ("Y(1).quantile()", "quantile"),
        ("Y(1).quantile('a')", "quantile"),
        ("Y(1).quantile(1.5)", "between 0 and 1"),
        ("nie.ratio(2)", "ratio"),
        ("'x'.ratio", "ratio"),
        ("__import__('os').system('true')", "__import__"),
        ("te.__class__", "__class__"),
        ("Y(1).bind([])", "bind"),
        ("Y(*[1])", "Y(*[1])"),
        ("Y(**{'treatment': 1})", "Y("),
        ("te\x00", "te"),
        ("(" * 300 + "te" + ")" * 300, "(("),
        ("-" * 50_000 + "te", "--"),
        ("te" + " + te" * 5_000, "te + te"),
        ("9" * 5_000, "999"),
        ("1e999 * te", "1e999"),
        ("cde(m=1e999)", "1e999"),
    ],
    ids=lambda text: text[:24].encode("ascii", "backslashreplace").decode().replace("\x00", "0"),
)
def test_what_cannot_be_read_is_refused_with_a_message(text: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        estimand(text)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("text", ["", "Y(1", "Y(1) - Y(0)", "te", "3", "Y(1).ratio", "Y(1); 2"])
def test_a_cell_is_one_cell(text: str) -> None:
    with pytest.raises(CrossworldError):
        cell(text)


@pytest.mark.parametrize("value", [None, 3, ["te"]], ids=repr)
def test_only_text_is_read(value: object) -> None:
    with pytest.raises(CrossworldError):
        estimand(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["pse(blood pressure)", "cde(blood pressure=1)", "int_ref(a.b=0)"])
def test_a_name_with_a_space_is_told_how_to_be_quoted(text: str) -> None:
    with pytest.raises(SpecError, match=r"is quoted: pse\('my m'\), cde\(\*\*\{'my m': 0\}\)"):
        estimand(text)
    assert estimand("pse('blood pressure')").name == "pse('blood pressure')"
