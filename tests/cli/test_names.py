"""Columns with names that mean something elsewhere: to formulas, to Python, to the path grammar."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pytest

import crossworld as xw

from .command import columns, crossworld, done, numbers, refused

NAMES = [
    "my col", "it's", 'say "hi"', "a+b", "x-y", "x*y", "x:y", "x^2", "x|y", "x%y", "x.y", "x,y",
    "(x)", "x[0]", "x{0}", "~", "-", "=", "#x", "?", "%", "'",
    "\u00e9", "\u5909\u6570", "\U0001f642",
    "log", "I", "C", "Q", "np", "exp", "poly", "center", "contr", "contr.sum", "np.log",
    "C(x)", "log(x)", "I(x)", "Y", "M", "G", "te", "nie", "Intercept", "const", "data", "treatment",
    "self", "eval", "class", "lambda", "if", "in", "True", "None", "NaN", "nan", "inf", "e", "j",
    "0", "1", "2", "-1", "1.0", "01", "1e5", "1x", "T.1", "a[T.1]", "...", "_", "__x__", "m1*",
    "[ab]", "emb_*", "x" * 300, "x\ty", "line\nbreak", "a-", "*",
]  # fmt: skip
# defect: the formulas that are written for these columns cannot be read, and the message is about
# the formula, not about the name.
UNREADABLE = ["`tick`", "a`b", "\\", "back\\slash", "."]
ROLES = ("a", "m", "y", "x")


def effects(names: dict[str, str]) -> xw.EffectTable:
    table: dict[str, Any] = {names.get(k, k): v for k, v in columns().items()}
    a, m, y, x = (names.get(role, role) for role in ROLES)
    study = xw.TableStudy.from_frame(table, f"{a} -> {m} -> {y}", adjust=[x])
    return xw.estimate(study, xw.Regression(interaction=True))


@cache
def plain() -> tuple[tuple[float | None, float | None], ...]:
    return tuple((r.estimate, r.std_error) for r in effects({}))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_changes_no_number(name: str, role: str) -> None:
    # defect: a column named 1 is read as the intercept: effects of 0, a covariate left out.
    for row, (estimate, error) in zip(effects({role: name}), plain(), strict=True):
        assert row.estimate == pytest.approx(estimate, rel=1e-9)
        assert row.std_error == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("role", ROLES)
def test_a_name_that_no_formula_can_hold_is_itself_the_message(name: str, role: str) -> None:
    try:
        found = [row.estimate for row in effects({role: name})]
    except xw.errors.CrossworldError as error:
        message = str(error)
    else:
        assert found == pytest.approx([estimate for estimate, _ in plain()], rel=1e-9)
        return
    assert repr(name) in message
    assert "rename" in message
    assert "formula" not in message


@pytest.mark.parametrize("name", ["a->b", "", "  "])
@pytest.mark.parametrize("role", ["a", "m", "y"])
def test_a_name_the_path_cannot_hold_is_refused(name: str, role: str) -> None:
    with pytest.raises(xw.errors.DesignError, match=r"not in the table|a path reads"):
        effects({role: name})


def test_an_empty_covariate_name_is_refused_as_such() -> None:
    # defect: "cannot read the formula 'm ~ a + ``': Operator `+` has insuffient arguments".
    with pytest.raises(xw.errors.DesignError, match="name"):
        effects({"x": ""})


@pytest.mark.parametrize("name", ["my col", "a+b", "\u5909\u6570", "log", "2"])
def test_names_on_the_command_line(name: str) -> None:
    frame = pd.DataFrame(columns())
    frame.to_csv("plain.csv", index=False)
    frame.rename(columns={"m": name, "x": f"{name} x"}).to_csv("t.csv", index=False)
    done(crossworld("mediate", "plain.csv", "a -> m -> y", "--adjust", "x", "--json", "plain.json"))
    words = ["mediate", "t.csv", f"a -> {name} -> y", "--adjust", f"{name} x", "--json", "t.json"]
    out = done(crossworld(*words, "--report", "t.html"))
    assert f"{name}: gaussian" in out.replace("`", "")
    for term, row in numbers("plain.json").items():
        assert numbers("t.json")[term] == pytest.approx(row, rel=1e-9)


def test_a_comma_in_a_name_is_quoted_on_the_command_line() -> None:
    # defect: the quotes stay in the name: "column \"'x,y'\" is not in the table".
    pd.DataFrame(columns()).rename(columns={"x": "x,y"}).to_csv("t.csv", index=False)
    out = done(crossworld("mediate", "t.csv", "a -> m -> y", "--adjust", "'x,y',w"))
    assert "adjusting for x,y, w" in out


def test_a_mediator_is_fixed_by_its_name_whatever_the_name() -> None:
    """``cde(m=0)`` where ``m`` is the only mediator; its own name where Python can hold it."""
    pd.DataFrame(columns()).rename(columns={"m": "my col"}).to_csv("t.csv", index=False)
    done(crossworld("mediate", "t.csv", "a -> my col -> y", "--effects", "cde(m=0),cde(0)"))
    refused(
        crossworld("mediate", "t.csv", "a -> my col -> y", "--effects", "cde(my col=0)"), "my col"
    )
