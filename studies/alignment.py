"""Alignment search on networks where the answer is planted, and coverage of its intervals.

    python studies/alignment.py [--networks 12] [--replicates 2000] [--csv studies/alignment.csv]

It goes on where an earlier run stopped.

Networks: hidden layer ``h = Q z`` with Q a random rotation of d dimensions, ``z`` = (a xor b, c, a,
three bits that nothing reads, zeros), output 4 min(tanh 3 z0, tanh 3 z1): the program
``s = a xor b, out = s and c`` is planted along the first column of Q. Rows of the table:

- ``das``, ``boundless``: interchange accuracy on 300 pairs that were not trained on, cosine of
  the found direction (or subspace) with the planted one, dimensions, verdict of the diagnostic;
- ``rival``: upper limit of three wrong programs, aligned with the same effort;
- ``illusion``: the diagnostic on the planted direction of the illusion of Makelov et al. and on the
  illusory one, in random bases of d dimensions;
- ``coverage``: share of 95 % intervals of ``iia`` that cover, for pairs drawn from all pairs of a
  network whose subspace is wrong by an angle, so that its accuracy is known by enumeration.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import crossworld as xw
from crossworld.internals.basis import Subspace
from crossworld.internals.rates import rate
from crossworld.internals.subject import TorchSubject

BITS = "abcdef"
PROGRAM = xw.CausalProgram(
    dict.fromkeys(BITS, (0, 1)), {"s": lambda a, b: a ^ b, "out": lambda s, c: s & c}, "out"
)
RIVALS = {
    "u = a": {"u": lambda a: a, "out": lambda u, b, c: (u ^ b) & c},
    "u = b": {"u": lambda b: b, "out": lambda u, a, c: (u ^ a) & c},
    "u = b and c": {"u": lambda b, c: b & c, "out": lambda u, a, c: u ^ (a & c)},
}
FIELDS = ("what", "width", "seed", "name", "value", "detail")
WIDTHS = (8, 16, 32)


def encode(x: Any) -> list[int]:
    """Turn a setting of the program into an input of the network."""
    return [x[name] for name in BITS]


TASK = xw.AlignmentTask(PROGRAM, encode, (0, 1))


class Planted(torch.nn.Module):
    """The network of the docstring."""

    def __init__(self, turn: np.ndarray) -> None:
        super().__init__()
        self.hidden = torch.nn.Identity()
        self.back = torch.nn.Linear(len(turn), len(turn), bias=False)
        self.back.weight.data.copy_(torch.from_numpy(turn.T))
        self.register_buffer("turn", torch.from_numpy(turn).float())

    def forward(self, x: Any) -> Any:
        """Return one logit."""
        z = torch.zeros(len(x), len(self.turn))
        z[:, 0] = 2.0 * (x[:, 0] != x[:, 1]).float() - 1.0
        z[:, 1] = 2.0 * x[:, 2] - 1.0
        z[:, 2] = x[:, 0]
        z[:, 3:6] = x[:, 3:6]
        u = torch.tanh(3.0 * self.back(self.hidden(z @ self.turn.T)))
        return 4.0 * torch.minimum(u[:, 0], u[:, 1])[:, None]


def planted(width: int, seed: int) -> tuple[TorchSubject, np.ndarray]:
    """Return a network and the planted direction."""
    turn = np.linalg.qr(np.random.default_rng((width, seed)).normal(size=(width, width)))[0]
    return TorchSubject(Planted(turn)), turn[:, 0]


def searched(width: int, seed: int) -> list[dict[str, Any]]:
    """Search the right program and three wrong ones in one network."""
    subject, direction = planted(width, seed)
    train = xw.interchanges(PROGRAM, 300, seed=2 * seed)
    test = xw.interchanges(PROGRAM, 300, seed=2 * seed + 1, without=train)
    rows = []
    methods = {"das": xw.DAS(restarts=2, seed=seed), "boundless": xw.BoundlessDAS(seed=seed)}
    for name, method in methods.items():
        found = xw.align(subject, TASK, site="hidden", train=train, test=test, method=method)
        basis = found.bases["s"].matrix
        told = {
            "iia": found.held_out.iia.estimate,
            "cosine": float(np.linalg.norm(basis.T @ direction)),
            "dimensions": basis.shape[1],
            "illusion": found.illusions["s"].fired,
        }
        rows += [_row(name, width, seed, k, v) for k, v in told.items()]
    for name, variables in RIVALS.items():
        task = replace(TASK, program=xw.CausalProgram(PROGRAM.inputs, variables, "out"))
        pairs = xw.interchanges(task.program, 300, seed=2 * seed)
        held = xw.interchanges(task.program, 300, seed=2 * seed + 1, without=pairs)
        one = xw.align(subject, task, site="hidden", train=pairs, test=held, method=methods["das"])
        rows.append(_row("rival", width, seed, name, one.held_out.iia.conf_high))
    return rows


def diagnosed(width: int, seed: int) -> list[dict[str, Any]]:
    """Diagnose the true and the illusory direction of one random illusion."""
    rng = np.random.default_rng((width, seed, 1))
    first, second, third = np.linalg.qr(rng.normal(size=(width, 3)))[0].T
    net = torch.nn.Sequential(
        torch.nn.Linear(1, width, bias=False), torch.nn.Linear(width, 2, bias=False)
    ).double()
    net[0].weight.data.copy_(torch.from_numpy((first + third)[:, None]))
    net[1].weight.data.copy_(torch.from_numpy(np.stack([2.0 * second, third])))
    bases = {"true": Subspace(third), "illusory": Subspace(first + second)}
    subject = TorchSubject(net, bases=bases)
    couples = xw.Couples.of((rng.normal(size=(30, 1)), rng.normal(size=(30, 1))))
    found = {
        name: xw.illusion(subject, f"0[{name}]", couples=couples, score=lambda y, rows: y.sum(1))
        for name in bases
    }
    return [_row("illusion", width, seed, n, one.fired, one.reason) for n, one in found.items()]


def covered(angle: float, replicates: int) -> list[dict[str, Any]]:
    """Coverage of the interval where the accuracy is known by running every pair."""
    subject, _ = planted(8, 0)
    turn = np.linalg.qr(np.random.default_rng((8, 0)).normal(size=(8, 8)))[0]
    wrong = np.cos(angle) * turn[:, 0] + np.sin(angle) * turn[:, 1]
    subject = replace(subject, bases={"s": Subspace(wrong)})
    every = PROGRAM.all()
    pairs = [xw.Interchange(b, {"s": s}) for b, s in itertools.product(every, every)]
    found = xw.interchange_accuracy(
        subject, TASK, sites={"s": "hidden[s]"}, pairs=pairs, batch=4096
    )
    hits, moved = found.hits, found.target != found.before
    truth = 0.5 * float(hits[moved].mean()) + 0.5 * float(hits[~moved].mean())
    rng, rows = np.random.default_rng(5), []
    for n in (50, 200):
        inside = 0
        for _ in range(replicates):
            side = rng.random(n) < 0.5
            drawn = np.where(side, rng.choice(hits[moved], n), rng.choice(hits[~moved], n))
            one = rate("iia", drawn)
            inside += one.conf_low <= truth <= one.conf_high
        detail = f"true iia {truth:.4f}, n = {n}, {replicates} replicates"
        rows.append(_row("coverage", 8, 0, f"angle {angle:g}", inside / replicates, detail))
    return rows


def _row(what: str, width: int, seed: int, name: str, value: Any, detail: str = "") -> Any:
    return dict(zip(FIELDS, (what, width, seed, name, value, detail), strict=True))


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--csv", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    if options.csv.exists():
        with options.csv.open(encoding="utf-8") as held:
            rows = list(csv.DictReader(held))
    done = {int(row["seed"]) for row in rows if row["what"] == "das"}
    if not any(row["what"] == "coverage" for row in rows):
        for angle in (0.0, 0.2, 0.4, 0.8):
            rows += covered(angle, options.replicates)
    for seed in range(options.networks):
        if seed in done:
            continue
        width = WIDTHS[seed % len(WIDTHS)]
        rows += diagnosed(width, seed) + searched(width, seed)
        with options.csv.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{seed + 1} of {options.networks} networks", flush=True)


if __name__ == "__main__":
    main()
