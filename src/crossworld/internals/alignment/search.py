"""Searches for the subspaces where the variables of a program live: DAS and boundless DAS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from crossworld.core.options import check_whole_fields
from crossworld.errors import DesignError, SpecError
from crossworld.internals.alignment.problem import Candidate, Directions, Problem
from crossworld.internals.backend import torch


class Method(Protocol):
    """A search for subspaces."""

    @property
    def restarts(self) -> int:
        """Number of starts, each with a seed of its own."""

    @property
    def validation(self) -> float:
        """Share of the training pairs that is set aside."""

    @property
    def seed(self) -> int:
        """Seed of split, starts and order."""

    @property
    def batch(self) -> int:
        """Pairs per step."""

    def search(self, problem: Problem, seed: int) -> Candidate:
        """Search from one start."""


def split_of(method: Method) -> tuple[float, int, int]:
    """Share of validation pairs, seed, pairs per step."""
    return method.validation, method.seed, method.batch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a seed, and leave the generator of the process as it was."""
    t = torch()
    with t.random.fork_rng(devices=[]):
        t.manual_seed(seed)
        yield


def rotation(width: int, size: int, like: Any) -> Any:
    """Return a linear map whose weight (size, width) keeps orthonormal rows while it is trained."""
    t = torch()
    linear = t.nn.Linear(width, size, bias=False, dtype=like.dtype, device=like.device)
    t.nn.init.orthogonal_(linear.weight)
    return t.nn.utils.parametrizations.orthogonal(linear)


@final
@dataclass(frozen=True, slots=True)
class DAS:
    r"""Distributed alignment search: subspaces of a given size, found by gradient descent.

    .. math:: \min_R \sum_i \mathrm{CE}\big(y(b_i;\ h \leftarrow h_{b} +
              \textstyle\sum_v B_v B_v^\top (h_{s_v} - h_{b})),\ P(b_i; v \leftarrow v(s_{iv}))\big)

    where the :math:`B_v` are consecutive columns of one orthogonal map R (torch's orthogonal
    parametrisation).

    Parameters
    ----------
    size
        Dimensions of each variable's subspace, or a mapping from variable to dimensions.
    epochs, rate, batch
        Most passes over the training pairs, Adam's learning rate, pairs per step.
    patience
        Passes without a better validation loss after which a start ends.
    validation
        Share of the training pairs that is set aside to choose when to stop, and the start.
    restarts
        Number of starts; the one with the best validation accuracy (then loss) is kept.
    seed
        Seed of split, starts and order.

    References
    ----------
    Geiger, Wu, Potts, Icard & Goodman (2024). Finding alignments between interpretable causal
    variables and distributed neural representations. CLeaR.
    """

    size: int | Mapping[str, int] = 1
    epochs: int = 60
    rate: float = 0.02
    batch: int = 64
    patience: int = 10
    validation: float = 0.2
    restarts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self)

    def sizes(self, variables: tuple[str, ...], width: int) -> dict[str, int]:
        """Dimensions of each variable."""
        given = self.size if isinstance(self.size, Mapping) else dict.fromkeys(variables, self.size)
        missing = [v for v in variables if v not in given]
        if missing:
            raise DesignError(f"size does not say how many dimensions {missing[0]!r} has")
        found = {v: int(given[v]) for v in variables}
        if min(found.values()) < 1 or sum(found.values()) > width:
            raise DesignError(
                f"subspaces of {', '.join(map(str, found.values()))} dimensions do not fit in a "
                f"site of {width}"
            )
        return found

    def search(self, problem: Problem, seed: int) -> Candidate:
        """Search from one start."""
        sizes = self.sizes(problem.variables, problem.width)
        with seeded(seed):
            turn = rotation(problem.width, sum(sizes.values()), problem.example)

            def directions() -> Directions:
                columns, found, start = turn.weight.T, {}, 0
                for name, size in sizes.items():
                    found[name] = (columns[:, start : start + size], None)
                    start += size
                return found

            groups = [{"params": list(turn.parameters()), "lr": self.rate}]
            return descend(problem, self, seed, groups, directions, lambda share: None)


@final
@dataclass(frozen=True, slots=True)
class BoundlessDAS:
    r"""Alignment search that also learns how many dimensions each variable has.

    The rotated coordinate i belongs to variable v with weight

    .. math:: m_v(i) = \sigma\!\Big(\frac{i + 1/2 - l_v}{T}\Big)\,
                       \sigma\!\Big(\frac{u_v - i - 1/2}{T}\Big) ,

    whose limits :math:`l_v, u_v` are trained with the rotation while the temperature T falls
    geometrically; ``penalty`` times the share of dimensions used is added to the loss. In the end
    coordinates with a weight of at least 1/2 make the subspace.

    Parameters
    ----------
    penalty
        Price of using all dimensions, in nats.
    temperature
        T in the first pass and when it has fallen, in coordinates.
    epochs, rate, batch, validation, restarts, seed
        As in `DAS`; the temperature has fallen after two thirds of the passes.

    References
    ----------
    Wu, Geiger, Icard, Potts & Goodman (2023). Interpretability at scale: identifying causal
    mechanisms in Alpaca. NeurIPS.
    """

    penalty: float = 0.3
    temperature: tuple[float, float] = (2.0, 0.05)
    epochs: int = 90
    rate: float = 0.02
    batch: int = 64
    validation: float = 0.2
    restarts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self)
        if not (self.temperature[0] >= self.temperature[1] > 0.0 and self.penalty >= 0.0):
            raise SpecError(
                "temperature falls from a first to a last value above 0 and penalty is at least "
                f"0, got {self.temperature!r} and {self.penalty!r}"
            )

    @property
    def patience(self) -> int:
        """No start ends before its temperature has fallen."""
        return self.epochs

    def search(self, problem: Problem, seed: int) -> Candidate:
        """Search from one start."""
        t, d, names = torch(), problem.width, problem.variables
        with seeded(seed):
            turn = rotation(d, d, problem.example)
            raw = t.zeros(len(names) + 1, dtype=problem.example.dtype,
                          device=problem.example.device, requires_grad=True)  # fmt: skip
            at = t.arange(d, dtype=raw.dtype, device=raw.device) + 0.5

            def limits() -> tuple[Any, Any]:
                widths = d * raw.softmax(0)[:-1]
                upper = widths.cumsum(0)
                return upper - widths, upper

            def penalty(share: float) -> Any:
                low, high = limits()
                return self.penalty * (high - low).sum() / d

            def soft(share: float) -> Directions:
                first, last = self.temperature
                heat = first * (last / first) ** min(1.5 * share, 1.0)
                low, high = limits()
                return {
                    name: (turn.weight.T, t.sigmoid((at - low[j]) / heat)
                           * t.sigmoid((high[j] - at) / heat))
                    for j, name in enumerate(names)
                }  # fmt: skip

            def hard() -> Directions:
                low, high = limits()
                found = {}
                for j, name in enumerate(names):
                    mask = (at >= low[j]) & (at <= high[j])
                    if not bool(mask.any()):
                        mask[int(((low[j] + high[j]) / 2).clamp(0, d - 1))] = True
                    found[name] = (turn.weight.T[:, mask], None)
                return found

            groups = [{"params": list(turn.parameters()), "lr": self.rate},
                      {"params": [raw], "lr": 2.5 * self.rate}]  # fmt: skip
            return descend(problem, self, seed, groups, hard, penalty, soft)


def descend(
    problem: Problem,
    method: Any,
    seed: int,
    groups: list[dict[str, Any]],
    directions: Callable[[], Directions],
    *extra: Callable[[float], Any],
) -> Candidate:
    """Train by Adam, keep the best state by validation, stop early.

    ``extra`` are a penalty by the share of passes made, and the directions that are trained where
    they are not those that are judged; such softened starts are judged when two thirds are over.
    """
    t, rng = torch(), np.random.default_rng(seed)
    penalty, soft = extra[0], extra[1] if len(extra) > 1 else None
    adam = t.optim.Adam(groups)
    best: Candidate | None = None
    losses: list[float] = []
    waited = 0
    for epoch in range(method.epochs):
        share, total, count = epoch / max(method.epochs - 1, 1), 0.0, 0
        for chunk in problem.steps(rng):
            logits = problem.output(chunk, directions() if soft is None else soft(share), grad=True)
            target = t.from_numpy(problem.target[chunk.rows]).to(logits.device)
            loss = t.nn.functional.cross_entropy(logits, target)
            total, count = total + float(loss.detach()) * len(target), count + len(target)
            price = penalty(share)
            step(adam, groups, loss if price is None else loss + price)
        losses.append(total / count)
        if soft is not None and share < 2 / 3 and epoch < method.epochs - 1:
            continue
        with t.no_grad():
            held = {k: (c.detach(), w) for k, (c, w) in directions().items()}
            accuracy, loss_now = problem.judge(held, problem.valid)
        used = sum(c.shape[1] for c, _ in held.values())
        rank = (accuracy, -used if soft is not None else 0, -loss_now)
        if best is None or rank > _rank(best, soft is not None):
            best = Candidate(_arrays(held), accuracy, loss_now, (), seed)
            waited = 0
        else:
            waited += 1
            if waited >= method.patience:
                break
    assert best is not None
    return Candidate(best.bases, best.accuracy, best.loss, tuple(losses), seed)


def _rank(found: Candidate, sized: bool) -> tuple[float, int, float]:
    used = sum(b.shape[1] for b in found.bases.values())
    return found.accuracy, -used if sized else 0, -found.loss


def step(adam: Any, groups: list[dict[str, Any]], loss: Any) -> None:
    """Make one step on the searched parameters alone; the network's stay as they are."""
    t = torch()
    parameters = [p for group in groups for p in group["params"]]
    for p, g in zip(parameters, t.autograd.grad(loss, parameters), strict=True):
        p.grad = g
    adam.step()


def _arrays(directions: Directions) -> dict[str, Any]:
    return {k: c.double().cpu().numpy().copy() for k, (c, _) in directions.items()}


def _check(method: Any) -> None:
    check_whole_fields(method, {"epochs": 1, "batch": 1, "restarts": 1})
    if not 0.0 < method.validation < 1.0:
        raise SpecError(f"validation is a share between 0 and 1, got {method.validation!r}")
    if not method.rate > 0.0:
        raise SpecError(f"rate is above 0, got {method.rate!r}")
