"""Formulas as MathML; what is not understood is left alone."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from crossworld.report.mathml import mathml

from .samples import FORMULA


def shown(latex: str) -> str:
    """The visible characters of the converted formula."""
    text = mathml(latex)
    assert text is not None
    row = ElementTree.fromstring(text).find("semantics/mrow")
    assert row is not None
    return "".join(row.itertext())


def test_the_formula_of_an_adjustment() -> None:
    assert shown(FORMULA) == ("E[Y(a,M(b))]=∫∫E[Y\N{DIVIDES}a,m,x]dP(m\N{DIVIDES}b,x)dP(x)")


def test_subscripts_take_a_number_or_a_group() -> None:
    text = mathml(r"M_{k}(b_12)")
    assert text is not None
    assert "<msub><mi>M</mi><mrow><mi>k</mi></mrow></msub>" in text
    assert "<msub><mi>b</mi><mn>12</mn></msub>" in text


@pytest.mark.parametrize(
    "latex",
    [
        r"E[Y(a, G(b))] = \int \iint E[Y \mid a, l, m, x]\, dP(l \mid a, x)\, dP(m \mid b, x)",
        r"E[Y(a, M_1(b_1), \ldots)] = \int E[Y \mid a, m]\, dP(m_1 \mid b_1)",
    ],
)
def test_the_other_forms_are_well_formed(latex: str) -> None:
    assert shown(latex).startswith("E[Y(a,")


def test_the_source_goes_with_it() -> None:
    text = mathml(r"a < b \, c")
    assert text is not None
    note = ElementTree.fromstring(text).find("semantics/annotation")
    assert note is not None and note.text == r"a < b \, c"


@pytest.mark.parametrize(
    "latex", [r"\sqrt{a}", r"\frac{a}", "{a", "a}", "_b", "a_", "a & b", "", "<é>"]
)
def test_unknown_forms_are_none(latex: str) -> None:
    assert mathml(latex) is None
