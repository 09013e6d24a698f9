"""Formulas: what they may say, what they may not do, and what is told when they are wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import crossworld as xw
from crossworld.tables.parametric.formulas import FUNCTIONS

from .command import OUTPUTS, PATH, Ask, columns, crossworld, done, refused, refuses, write

LETTER = np.array(["u", "v", "z"])[np.random.default_rng(3).integers(0, 3, 60)]
TABLE = columns(c=LETTER)
STUDY = {"adjust": ["x", "c"]}

WRONG = {
    # not a formula
    "a + x": ["'response ~ terms'", "'a + x'"],
    "": ["'response ~ terms'"],
    "~ a": ["'~ a'"],
    "m ~ a ~ x": ["'m ~ a ~ x'"],
    "m ~ a | x": ["more than one part"],
    "m ~ a + (x": ["'m ~ a + (x'"],
    "m ~ a + 'x'": ["'x'"],
    "m ~ a + x # comment": ["#"],
    "m ~ a + x\nimport os": ["import"],
    # a formula for something else
    "y ~ a": ["models 'y'", "no mediator"],
    "q ~ a": ["models 'q'", "no mediator"],
    "M ~ a": ["models 'M'", "Did you mean 'm'?"],
    "log(m) ~ a": ["log(m)"],
    "m + y ~ a": ["m + y"],
    "m ~ m + a": ["response on both sides"],
    "m ~ a + log(m)": ["response on both sides"],
    "m ~ a + y": ["'y'", "before"],
    # columns
    "m ~ a + q": ["'q'", "no role", "adjust"],
    "m ~ a + X": ["'X'", "Did you mean 'x'?"],
    "m ~ a + w": ["'w'", "no role", "adjust"],
    "m ~ a + `my col`": ["'my col'", "no role"],
    "m ~ a + np": ["'np'", "no role"],
    # values
    "m ~ a + log(x)": ["'log(x)'", "not finite in 28 rows"],
    "m ~ a + exp(1000 * x)": ["not finite in 14 rows"],
    "m ~ a + poly(x, 99)": ["101 parameters but only 60 rows"],
    "m ~ a + bs(x, df=-1)": ["df"],
    "m ~ a + C(c, contr.treatment('w'))": ["'w'", "levels"],
    "m ~ a + x + I(2 * x)": ["collinearity", "'x'", "I(2 * x)"],
    "m ~ a + C(a)": ["collinearity", "'a'"],
    # code
    "m ~ a + __import__('os').system('touch pwned')": ["__import__"],
    "m ~ a + {open('pwned', 'w')}": ["unknown function", "'open'"],
    "m ~ {open('pwned', 'w')}": ["unknown function", "'open'"],
    "m ~ a + open('pwned', 'w')": ["unknown function", "'open'"],
    "m ~ a + eval('1')": ["unknown function", "'eval'"],
    "m ~ a + exec('1')": ["unknown function", "'exec'"],
    "m ~ a + sin(x)": ["unknown function", "'sin'"],
    "m ~ a + np.load('x')": ["'np.load'", "not allowed"],
    "m ~ a + np.save('pwned', x)": ["'np.save'", "not allowed"],
    "m ~ a + I(np.pi * x)": ["'np.pi'", "not allowed"],
    "m ~ a + I(x.values)": ["'x.values'", "not allowed"],
    "m ~ a + I(x.__class__)": ["'x.__class__'", "not allowed"],
    "m ~ a + I((lambda: x)())": ["not allowed"],
    "m ~ a + I([v for v in x])": ["not allowed"],
    "m ~ a + I(x if a else x)": ["not allowed"],
    "m ~ a + I(f'{x}')": ["not allowed"],
    "m ~ a + I(x := x)": ["formula"],
    # defect: a KeyError, exit 1.
    "m ~ 0": ["'m ~ 0'"],
    # defect: "could not convert string to float", exit 1.
    "m ~ a + np.where(a, x, c)": ["np.where(a, x, c)"],
    # defect: read as an intercept alone, without a word.
    "m ~": ["'m ~'"],
    # defect: `out=` makes numpy write into the columns that other terms read.
    "m ~ a + x + np.maximum(x, 0, out=x)": ["out"],
    # defect: unknown categories become a column of zeros, with DataMismatchWarnings on stderr.
    "m ~ a + C(c, levels=['u'])": ["'v'"],
    # defect: pages of formulaic's advice about its own contexts.
    "m ~ .": ["'.'", "adjust"],
}


@pytest.mark.parametrize("formula", WRONG)
def test_wrong_formulas(formula: str) -> None:
    words = ["mediate", write(TABLE), PATH, "--adjust", "x,c", "--set", f"mediator={formula}"]
    message = refused(crossworld(*words, *OUTPUTS), *WRONG[formula])
    assert "__formulaic" not in message
    assert [p.name for p in Path().iterdir()] == ["t.csv"]


@pytest.mark.parametrize("formula", ["m ~ a + q", "y ~ a", "m ~ {open('pwned', 'w')}", "m ~ a ~ x"])
def test_wrong_formulas_through_every_door(door: str, formula: str) -> None:
    ask = Ask(TABLE, study=STUDY, estimator={"mediator": formula})
    refuses(door, ask, *WRONG[formula])


@pytest.mark.parametrize(("given", "seen"), [(7, "7"), (True, "True"), ([7], "7"), ({"m": 7}, "7")])
def test_a_formula_is_text(door: str, given: object, seen: str) -> None:
    refuses(door, Ask(estimator={"mediator": given}), "formula", seen)


def test_formulas_of_ordered_mediators(door: str) -> None:
    """A model sees what comes before it, and nothing that comes after."""
    ask = Ask(path="a -> m -> x -> y", estimator={"mediator": ["m ~ a + x", "x ~ a + m"]})
    refuses(door, ask, "'m ~ a + x'", "'x'", "before", "a -> m -> x -> y")


def test_an_earlier_mediator_may_enter_a_later_model() -> None:
    ask = Ask(path="a -> m -> x -> y", estimator={"mediator": ["m ~ a", "x ~ a * m"]})
    assert "x: gaussian, x ~ a * m" in done(crossworld(*ask.words()))


def test_two_formulas_for_one_mediator(door: str) -> None:
    # defect: the last one wins without a word.
    ask = Ask(TABLE, study=STUDY, estimator={"mediator": ["m ~ a", "m ~ a + x"]})
    refuses(door, ask, "'m'", "two formulas")


def test_a_formula_under_the_name_of_another_mediator(door: str) -> None:
    # defect: the key is not compared with the response of its formula.
    named = {"m": "x ~ a", "x": "m ~ a"}
    refuses(door, Ask(path="a -> m + x -> y", estimator={"mediator": named}), "'x ~ a'", "'m'")


def test_the_outcome_formula_is_for_the_outcome(door: str) -> None:
    refuses(door, Ask(estimator={"outcome": "m ~ a"}), "models 'm'", "outcome", "'y'")


@pytest.mark.parametrize("power", ["m ~ (a + x + c)**50", "m ~ a + I(x * 9**9**9**9)"])
def test_a_formula_cannot_keep_the_machine_busy(power: str) -> None:
    """Formulas arrive over HTTP too: what they cost has a bound."""
    # unbounded powers of constants or terms would run for many minutes
    words = ["mediate", write(TABLE), PATH, "--adjust", "x,c", "--set", f"mediator={power}"]
    command = [sys.executable, "-m", "crossworld.cli.main", *words]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{power!r} was still running after 60 seconds")
    assert run.returncode in (0, 2), run.stderr[-500:]


FINE = {
    "I": "I(x ** 2)", "C": "C(c)", "Q": "Q('x')", "bs": "bs(x, df=4)", "cc": "cc(x, df=3)",
    "cr": "cr(x, df=3)", "cs": "cs(x, df=3)", "center": "center(x)", "scale": "scale(x)",
    "standardize": "standardize(x)", "poly": "poly(x, 2)", "lag": None,
    **{f: f"{f}(x ** 2 + 1)" for f in ("log", "log10", "log2", "sqrt", "abs")},
    **{f: f"{f}(x)" for f in ("exp", "exp10", "exp2")},
}  # fmt: skip


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_that_is_offered_works(function: str) -> None:
    """The hint of an unknown function lists these."""
    # defect: sqrt and abs are "not defined", Q cannot find its column.
    assert function in FINE, "a new function needs an example here"
    term = FINE[function]
    if term is not None:
        ask = Ask(TABLE, study=STUDY, estimator={"mediator": f"m ~ 0 + a + {term}"})
        done(crossworld(*ask.words()))


@pytest.mark.parametrize(
    ("outcome", "same"),
    [
        ("y ~ a * m + x", "y ~ a + m + a:m + x"),
        ("y ~ a + center(m) + x", "y ~ a + m + x"),
        ("y ~ a * scale(m) + x", "y ~ a * m + x"),
        ("y ~ a + poly(m, 2) + x", "y ~ a + m + I(m ** 2) + x"),
        ("y ~ a + I(3 * m) + x", "y ~ a + m + x"),
        ("y ~ a + `m` + x", "y ~ a + m + x"),
        ("y ~ C(a) + m + x", "y ~ a + m + x"),
        ("y ~ (a + m) ** 2 + x", "y ~ a * m + x"),
        ("y ~ a + np.square(m) + m + x", "y ~ a + m + I(m ** 2) + x"),
        ("y ~ a ++ m + x", "y ~ a + m + x"),
        ("y ~ m + x + a - 1 + 1", "y ~ a + m + x"),
    ],
)
def test_two_ways_to_write_one_model(outcome: str, same: str) -> None:
    """Transformations keep what they learned from the sample when mediators change."""
    study = xw.TableStudy.from_frame(TABLE, PATH, adjust=["x"])
    ask = (xw.TE, xw.NDE, xw.NIE, xw.CDE(0.5))
    one, two = (xw.estimate(study, xw.Regression(outcome=text), ask) for text in (outcome, same))
    for left, right in zip(one, two, strict=True):
        assert left.estimate == pytest.approx(right.estimate, rel=1e-7, abs=1e-10)
        assert left.std_error == pytest.approx(right.std_error, rel=1e-6)


def test_a_formula_leaves_the_table_as_it_was() -> None:
    table = columns()
    study = xw.TableStudy.from_frame(table, PATH, adjust=["x"])
    before = {name: column.values.copy() for name, column in study.table.items()}
    for text in ("m ~ a + np.maximum(x, 0)", "m ~ a + scale(x)"):
        xw.estimate(study, xw.Regression(mediator=text))
    for name, values in before.items():
        np.testing.assert_array_equal(study.table[name].values, values)
        np.testing.assert_array_equal(table[name], values)
