"""A network whose hidden layer holds two variables in directions that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from crossworld.internals.alignment.program import CausalProgram
from crossworld.internals.alignment.task import AlignmentTask
from crossworld.internals.subject import TorchSubject

BITS = dict.fromkeys("abcdef", (0, 1))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Planted:
    """(a xor b) and c: s lives along ``directions[0]``, c along ``directions[1]``, f nowhere."""

    subject: TorchSubject
    task: AlignmentTask
    directions: np.ndarray

    def rival(self, variables: dict[str, Any]) -> AlignmentTask:
        """The same task under another program."""
        program = CausalProgram(BITS, variables, "out")
        return AlignmentTask(program, self.task.encode, self.task.answers)


@pytest.fixture(scope="session")
def planted() -> Planted:
    torch = pytest.importorskip("torch")
    d = 8
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(d, d)))[0]

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = torch.nn.Identity()
            self.back = torch.nn.Linear(d, d, bias=False)
            self.back.weight.data.copy_(torch.from_numpy(turn.T))
            self.register_buffer("turn", torch.from_numpy(turn).float())

        def forward(self, x: Any) -> Any:
            x = x.float()
            z = torch.zeros(len(x), d)
            z[:, 0] = 2.0 * (x[:, 0] != x[:, 1]).float() - 1.0
            z[:, 1] = 2.0 * x[:, 2] - 1.0
            z[:, 2] = x[:, 0]
            z[:, 3:6] = x[:, 3:6]
            u = torch.tanh(3.0 * self.back(self.hidden(z @ self.turn.T)))
            return 4.0 * torch.minimum(u[:, 0], u[:, 1])[:, None]

    program = CausalProgram(
        BITS, {"s": lambda a, b: a ^ b, "out": lambda s, c: s & c}, "out"
    )  # fmt: skip
    task = AlignmentTask(program, lambda x: [x[name] for name in BITS], (0, 1))
    return Planted(TorchSubject(Net()), task, turn.T)
