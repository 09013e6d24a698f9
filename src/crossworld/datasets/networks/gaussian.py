"""A network with a random mediator and a kink, whose population effects have a closed form."""

from __future__ import annotations

from functools import cache
from math import erf, exp, pi, sqrt
from typing import Any

import numpy as np

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.datasets.networks.build import frozen, torch_or_error
from crossworld.datasets.networks.known import KnownNetwork, outcome
from crossworld.datasets.networks.linear import linear_map
from crossworld.datasets.networks.structure import INPUT, Array, Node, Structure
from crossworld.errors import DesignError

SLOPE, OUTCOME, DIRECT = 1.2, 0.8, 0.5


def gaussian_relu(
    *, n: int = 100, templates: int | None = None, shared: float = 0.5, seed: int = 0
) -> KnownNetwork:
    r"""Draw prompts for a fixed network with :math:`m = 1.2 x + e`, :math:`y = (0.8 m + 0.5 x)_+`.

    The input of a pair is :math:`(x, e)` with the same :math:`e \sim N(0, 1)` and x = 0 clean,
    x = 1 corrupt. Over the population of pairs

    .. math:: E\, Y(a, M(b)) = \mu \Phi(\mu / \sigma) + \sigma \phi(\mu / \sigma), \qquad
              \mu = 0.8 \cdot 1.2\, b + 0.5\, a, \quad \sigma = 0.8

    Parameters
    ----------
    n
        Pairs.
    templates
        Number of templates the pairs come from, in turn; None makes them independent.
    shared
        Share of the variance of e that pairs of one template have in common.
    seed
        Seed of the pairs.

    Returns
    -------
    KnownNetwork
        Mediator ``mediator``; ``facts`` holds the population values of te, nde, nie, tnde, pnie
        and int_med.
    """
    if n < 1 or (templates is not None and templates < 1) or not 0.0 <= shared <= 1.0:
        raise DesignError("n and templates are at least 1, shared lies between 0 and 1")
    rng = np.random.default_rng(seed)
    template = np.arange(n) if templates is None else np.arange(n) % templates
    noise = rng.standard_normal(n)
    if templates is not None:
        noise = sqrt(shared) * rng.standard_normal(templates)[template] + sqrt(1 - shared) * noise
    clean, corrupt = (np.column_stack([np.full(n, level), noise]) for level in (0.0, 1.0))
    nodes = (
        Node("mediator", (INPUT,), lambda x: SLOPE * x[:, :1] + x[:, 1:]),
        Node("y", (INPUT, "mediator"), _outcome),
    )
    torch = torch_or_error()
    return KnownNetwork(
        frozen(_module_class()),
        torch.from_numpy(clean),
        torch.from_numpy(corrupt),
        outcome,
        {"mediator": "mediator"},
        Structure(nodes, clean, corrupt),
        {name: population(estimand) for name, estimand in _effects().items()},
        cluster=None if templates is None else template,
    )


def population(estimand: Estimand) -> float:
    """Return the value of an estimand over all pairs of `gaussian_relu`, in closed form."""
    return float(estimand.bind((("mediator",),)).expr.evaluate(_mean))


def _mean(cell: Cell) -> float:
    regime = cell.regime("mediator")
    centre = OUTCOME * SLOPE * float(regime.level) + DIRECT * float(cell.treatment)  # type: ignore[union-attr]
    z = centre / OUTCOME
    below, density = 0.5 * (1.0 + erf(z / sqrt(2.0))), exp(-z * z / 2.0) / sqrt(2.0 * pi)
    return centre * below + OUTCOME * density


def _outcome(x: Array, m: Array) -> Array:
    return np.asarray(np.maximum(OUTCOME * m[:, 0] + DIRECT * x[:, 0], 0.0))


def _effects() -> dict[str, Estimand]:
    from crossworld.core.effects import INT_MED, NDE, NIE, PNIE, TE, TNDE

    return {e.name: e for e in (TE, NDE, NIE, TNDE, PNIE, INT_MED)}


@cache
def _module_class() -> Any:
    torch = torch_or_error()

    class GaussianRelu(torch.nn.Module):  # type: ignore[misc, name-defined]
        """A linear mediator, a linear direct path, a kink."""

        def __init__(self) -> None:
            super().__init__()
            self.mediator = linear_map(np.array([[SLOPE, 1.0]]))
            self.direct = linear_map(np.array([[DIRECT, 0.0]]))

        def forward(self, x: Any) -> Any:
            return torch.relu(OUTCOME * self.mediator(x) + self.direct(x))

    return GaussianRelu
