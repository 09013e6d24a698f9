"""Networks that compute in two stages, and the programs one might think they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from crossworld.datasets.networks.build import torch_or_error
from crossworld.datasets.networks.programs import Program, Step
from crossworld.datasets.networks.trained import TrainedNetwork, train
from crossworld.errors import DesignError

BITS, DIGITS = ("p", "q", "r", "s"), ("x", "y", "z")
STAGES = {"bits": ((0, 1), (2, 3)), "digits": ((0, 1), (2,))}


def train_boolean(*, seed: int = 0, steps: int = 1500, n: int = 64) -> TrainedNetwork:
    r"""Train :math:`(p = q) = (r = s)` on four bits, in a network that has to pair them.

    Module ``first`` sees p and q alone, ``second`` r and s, ``out`` what they return. The function
    is symmetric in the four bits, so the rivals, which pair p with r, or p with s, or take p by
    itself, compute the very same outputs; only interventions on ``first`` tell them apart.

    Parameters
    ----------
    seed
        Seed of weights, batches and pairs.
    steps
        Training steps of 128 inputs.
    n
        Pairs of inputs with different outputs.

    Returns
    -------
    TrainedNetwork
        Inputs of shape (n, 4); variable ``u`` of every program is aligned with ``first``.

    References
    ----------
    Geiger, Wu, Potts, Icard, Goodman (2024), Finding alignments between interpretable causal
    variables and distributed neural representations, CLeaR, arXiv 2303.02536.
    """
    return _train("bits", boolean_programs(), seed=seed, steps=steps, n=n)


def train_adder(*, seed: int = 0, steps: int = 3000, n: int = 64) -> TrainedNetwork:
    r"""Train the sum of three digits, in a network that adds the first two first.

    Module ``first`` sees x and y alone, ``second`` z, ``out`` what they return. The rivals add y
    and z first, or x and z, or carry x alone.

    Parameters
    ----------
    seed
        Seed of weights, batches and pairs.
    steps
        Training steps of 128 inputs.
    n
        Pairs of inputs with different sums.

    Returns
    -------
    TrainedNetwork
        Inputs of shape (n, 3), outputs the 28 sums; variable ``u`` of every program is aligned
        with ``first``.

    References
    ----------
    Geiger, Lu, Icard, Potts (2021), Causal abstractions of neural networks, NeurIPS, arXiv
    2106.02997.
    """
    return _train("digits", adder_programs(), seed=seed, steps=steps, n=n)


def boolean_programs() -> tuple[Program, ...]:
    """Return the program that `train_boolean` makes the network run, and three rivals."""
    return (
        _program("u = (p = q)", BITS, ("p", "q"), _equal),
        _program("u = (p = r)", BITS, ("p", "r"), _equal, right=False),
        _program("u = (p = s)", BITS, ("p", "s"), _equal, right=False),
        _program("u = p", BITS, ("p",), _equal, right=False),
    )


def adder_programs() -> tuple[Program, ...]:
    """Return the program that `train_adder` makes the network run, and three rivals."""
    return (
        _program("u = x + y", DIGITS, ("x", "y"), _sum),
        _program("u = y + z", DIGITS, ("y", "z"), _sum, right=False),
        _program("u = x + z", DIGITS, ("x", "z"), _sum, right=False),
        _program("u = x", DIGITS, ("x",), _sum, right=False),
    )


def _program(
    name: str,
    inputs: tuple[str, ...],
    first: tuple[str, ...],
    combine: Callable[..., Any],
    *,
    right: bool = True,
) -> Program:
    """Combine some inputs into ``u``, the others into ``v``, and the two into the output."""
    rest = tuple(name for name in inputs if name not in first)
    steps = (Step("u", first, combine), Step("v", rest, combine), Step("out", ("u", "v"), combine))
    return Program(name, inputs, steps, right)


def _equal(*bits: Any) -> Any:
    """Whether an even number of bits is 0: equality of two, identity of one."""
    return (sum(bits) + len(bits) + 1) % 2


def _sum(*terms: Any) -> Any:
    return sum(terms)


def _train(
    kind: str, programs: tuple[Program, ...], *, seed: int, steps: int, n: int
) -> TrainedNetwork:
    if n < 2:
        raise DesignError(f"n must be at least 2, got {n!r}")
    torch = torch_or_error()
    right, stages = programs[0], STAGES[kind]
    kinds = 2 if kind == "bits" else 10
    every = np.array(list(product(range(kinds), repeat=len(right.inputs))), dtype=np.float64)
    target = _outputs(right, every)
    outputs = int(target.max()) + 1
    known, labels = torch.from_numpy(every).float(), torch.from_numpy(target)

    def loss(module: Any, generator: Any) -> Any:
        at = torch.randint(len(known), (128,), generator=generator)
        return torch.nn.functional.cross_entropy(module(known[at]), labels[at])

    def make() -> Any:
        return _module_class()(kinds, stages, outputs)

    module = train(make, loss, steps=steps, rate=5e-3, seed=seed)
    with torch.no_grad():
        said = module(known).argmax(dim=-1).numpy()
    rng = np.random.default_rng(seed)
    clean, corrupt = rng.integers(len(every), size=(2, 40 * n))
    kept = np.flatnonzero(target[clean] != target[corrupt])[:n]
    clean, corrupt = clean[kept], corrupt[kept]
    return TrainedNetwork(
        module,
        known[torch.from_numpy(clean)],
        known[torch.from_numpy(corrupt)],
        "logit_difference",
        float((said == target).mean()),
        np.arange(n),
        target[clean],
        target[corrupt],
        tuple(map(str, range(outputs))),
        programs,
    )


def _outputs(program: Program, inputs: Any) -> Any:
    columns = inputs.astype(np.int64).T
    return program.run(dict(zip(program.inputs, columns, strict=True)))[program.output]


@cache
def _module_class() -> Any:
    torch = torch_or_error()
    nn = torch.nn

    class Staged(nn.Module):  # type: ignore[misc, name-defined]
        """Two MLPs, each of some of the inputs, and one of what they return.

        While training, noise on what the first two return makes anything that the third does not
        need a waste, so that they come to carry one variable each.
        """

        def __init__(
            self, kinds: int, stages: Sequence[Sequence[int]], outputs: int, width: int = 8
        ) -> None:
            super().__init__()
            self.kinds, self.stages = kinds, stages
            self.first, self.second = (
                nn.Sequential(
                    nn.Linear(kinds * len(stage), 64), nn.ReLU(), nn.Linear(64, width), nn.Tanh()
                )
                for stage in stages
            )
            self.out = nn.Sequential(nn.Linear(2 * width, 128), nn.ReLU(), nn.Linear(128, outputs))

        def forward(self, inputs: Any) -> Any:
            hot = nn.functional.one_hot(inputs.long(), self.kinds).float()
            parts = [
                part(hot[:, list(stage)].flatten(1))
                for part, stage in zip((self.first, self.second), self.stages, strict=True)
            ]
            joined = torch.cat(parts, dim=1)
            if self.training:
                joined = joined + 0.1 * torch.randn_like(joined)
            return self.out(joined)

    return Staged
