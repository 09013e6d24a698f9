"""Causal programs: running, setting, interchanging, and what they refuse."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from crossworld.errors import DesignError, SpecError
from crossworld.internals.alignment.program import CausalProgram
from crossworld.internals.alignment.task import AlignmentTask, Interchange, interchanges

DIGITS = {name: range(10) for name in "xyz"}
ADDER = CausalProgram(
    DIGITS, {"w": lambda x, y: x + y, "t": lambda z: 2 * z, "out": lambda w, t: w - t}, "out"
)


def test_it_computes_in_order() -> None:
    assert ADDER.run({"x": 1, "y": 2, "z": 3}) == {
        "x": 1, "y": 2, "z": 3, "w": 3, "t": 6, "out": -3,
    }  # fmt: skip
    assert ADDER.parents("out") == ("w", "t")
    assert ADDER.mediators == ("w", "t")


def test_do_cuts_a_variable_from_its_parents() -> None:
    assert ADDER.answer({"x": 1, "y": 2, "z": 3}, {"w": 10}) == 4
    assert ADDER.run({"x": 1, "y": 2, "z": 3}, {"x": 5})["w"] == 7


def test_each_variable_has_a_source_of_its_own() -> None:
    base = {"x": 1, "y": 1, "z": 1}
    one, two = {"x": 9, "y": 9, "z": 0}, {"x": 0, "y": 0, "z": 4}
    assert ADDER.interchange(base, {"w": one})["out"] == 18 - 2
    assert ADDER.interchange(base, {"t": two})["out"] == 2 - 8
    assert ADDER.interchange(base, {"w": one, "t": two})["out"] == 18 - 8


def test_a_later_variable_sees_an_earlier_interchange() -> None:
    chain = CausalProgram(
        {"x": range(5)},
        {"u": lambda x: x + 1, "v": lambda u: 10 * u, "out": lambda v, x: v + x},
        "out",
    )
    held = chain.interchange({"x": 0}, {"u": {"x": 3}})
    assert held["v"] == 40
    assert held["out"] == 40


def test_programs_written_as_steps_are_taken_over() -> None:
    steps = SimpleNamespace(
        steps=(
            SimpleNamespace(name="w", parents=("x", "y"), compute=np.add),
            SimpleNamespace(name="out", parents=("w", "z"), compute=lambda a, b: a * b),
        )
    )
    program = CausalProgram.from_steps(steps, inputs=DIGITS)
    assert program.run({"x": 2, "y": 3, "z": 4})["out"] == 20
    assert program.parents("out") == ("w", "z")


def test_all_and_draw_cover_the_inputs() -> None:
    program = CausalProgram({"a": (0, 1), "b": "xyz"}, {"out": lambda a, b: (a, b)}, "out")
    assert len(program.all()) == 6
    assert {program.answer(x) for x in program.draw(200, seed=1)} == {
        (a, b) for a in (0, 1) for b in "xyz"
    }
    assert program.draw(5, seed=3) == program.draw(5, seed=3)


@pytest.mark.parametrize(
    ("inputs", "variables", "output", "message"),
    [
        ({"a": (0, 1)}, {"out": lambda b: b}, "out", "computed from 'b'"),
        ({"a": (0, 1)}, {"out": lambda a: a}, "end", "the output 'end' is no variable"),
        ({"a": ()}, {"out": lambda a: a}, "out", "no possible value"),
        ({}, {"out": lambda: 1}, "out", "map each name"),
        ({"a": (0, 1)}, {"a": lambda a: a}, "a", "computed twice"),
        ({"a": (0, 1)}, {"out": lambda *a: a}, "out", "name each parent"),
    ],
)
def test_programs_that_do_not_hold_together(inputs, variables, output, message) -> None:
    with pytest.raises(DesignError, match=message):
        CausalProgram(inputs, variables, output)


def test_missing_and_unknown_values() -> None:
    with pytest.raises(DesignError, match="no value is given for the input 'y'"):
        ADDER.run({"x": 1, "z": 1})
    with pytest.raises(SpecError, match="unknown variable of the program 'q'"):
        ADDER.run({"x": 1, "y": 1, "z": 1}, {"q": 1})


def test_interchanges_are_balanced_and_held_out() -> None:
    program = CausalProgram(
        dict.fromkeys("abc", (0, 1)),
        {"s": lambda a, b: a & b, "out": lambda s, c: s | c},
        "out",
    )
    train = interchanges(program, 30, seed=1)
    test = interchanges(program, 400, seed=2, without=train, changed=0.25)
    moved = [program.interchange(p.base, p.sources)["out"] != program.answer(p.base) for p in test]
    assert 0.18 < np.mean(moved) < 0.32
    assert not {p.key for p in test} & {p.key for p in train}
    joint = interchanges(ADDER, 20, variables=[("w", "t")], seed=0)
    assert all(p.variables == ("w", "t") and p.sources["w"] != p.sources["t"] for p in joint)


def test_interchanges_that_cannot_be_drawn() -> None:
    program = CausalProgram({"a": (0, 1)}, {"s": lambda a: a, "out": lambda s: 0 * s}, "out")
    with pytest.raises(DesignError, match="changes the program's answer"):
        interchanges(program, 3)
    everything = [
        Interchange({"a": a}, {"s": {"a": b}}) for a in (0, 1) for b in (0, 1)
    ]  # fmt: skip
    with pytest.raises(DesignError, match="exclude fewer"):
        interchanges(program, 1, without=everything, changed=None)
    with pytest.raises(DesignError, match="no variable between"):
        interchanges(CausalProgram({"a": (0, 1)}, {"out": lambda a: a}, "out"), 3)


def test_a_task_names_answers_it_does_not_know() -> None:
    task = AlignmentTask(ADDER, lambda x: [x["x"]], tuple(range(5)))
    with pytest.raises(DesignError, match="the program answers -18"):
        task.target({"x": 0, "y": 0, "z": 9})
    with pytest.raises(DesignError, match="two or more answers"):
        AlignmentTask(ADDER, lambda x: [x["x"]], (1,))
