"""Rival programs of the trained networks, ranked by interchange accuracy."""

from __future__ import annotations

import numpy as np
import pytest

import crossworld as xw

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("crossworld.internals.alignment")

from crossworld.datasets import networks  # noqa: E402


def ranked(net: networks.TrainedNetwork, kinds: int, *, search: bool) -> dict[str, object]:
    """Agreement of every program at module ``first``: as it is, or in the best subspace found."""
    subject, found = xw.TorchSubject(net.module), {}
    for steps in net.programs:
        inputs = {name: tuple(range(kinds)) for name in steps.inputs}
        program = xw.CausalProgram.from_steps(steps, inputs=inputs)

        def encode(given: dict[str, int], names: tuple[str, ...] = steps.inputs) -> np.ndarray:
            return np.array([given[name] for name in names], dtype=np.float32)

        task = xw.AlignmentTask(program, encode=encode, answers=tuple(range(len(net.words))))
        many = (1000, 400) if kinds > 2 else (120, 100)
        train = xw.interchanges(program, many[0], variables=["u"], seed=1)
        test = xw.interchanges(program, many[1], variables=["u"], seed=2, without=train)
        if search:
            method = xw.DAS(size=4, restarts=1)
            aligned = xw.align(subject, task, site="first", train=train, test=test, method=method)
            found[steps.name] = aligned.held_out
        else:
            found[steps.name] = xw.interchange_accuracy(
                subject, task, sites={"u": "first"}, pairs=test
            )
    return found


@pytest.mark.parametrize(
    ("name", "kinds", "search"), [("adder", 10, False), ("adder", 10, True), ("bits", 2, False)]
)
def test_the_right_program_wins_and_three_rivals_are_ruled_out(
    name: str, kinds: int, search: bool
) -> None:
    """Above 0.99 for the right one; even the best subspace leaves each rival under 0.9."""
    net = networks.train_adder() if name == "adder" else networks.train_boolean()
    found = ranked(net, kinds, search=search)
    right, *rivals = (program.name for program in net.programs)
    assert found[right].iia.estimate > 0.99
    assert len(rivals) == 3
    for rival in rivals:
        assert found[rival].iia.conf_high < 0.9
    ranking = xw.rank_programs(found)
    assert set(ranking.ruled_out) == set(rivals)
