"""Small networks where simple summaries go wrong: interaction, self-repair, saturation."""

from __future__ import annotations

from functools import cache
from math import exp
from typing import Any

import numpy as np

from crossworld.datasets.networks.build import frozen, torch_or_error
from crossworld.datasets.networks.known import KnownNetwork, outcome
from crossworld.datasets.networks.linear import linear_map
from crossworld.datasets.networks.structure import INPUT, Array, Node, Structure
from crossworld.errors import DesignError


def and_gate(*, low: tuple[float, ...] = (0.0,), high: tuple[float, ...] = (1.0,)) -> KnownNetwork:
    r"""Build the gate :math:`y = x\, m` with :math:`m = x`: all of the effect is interaction.

    From :math:`x = l` to :math:`h`: ``te`` :math:`h^2 - l^2`, ``nde`` = ``pnie``
    :math:`l (h - l)`, ``nie`` = ``tnde`` :math:`h (h - l)`, ``int_med`` :math:`(h - l)^2`. With
    0 and 1 noising finds nothing, denoising finds everything, and both are right.

    Parameters
    ----------
    low, high
        Clean and corrupt input of every pair.
    """
    clean, corrupt = _columns(low, high)
    copy = Node("copy", (INPUT,), lambda x: x)
    gate = Node("y", (INPUT, "copy"), lambda x, m: (x * m)[:, 0])
    return _known("Gate", Structure((copy, gate), clean, corrupt), {"copy": "copy"})


def backup(*, low: tuple[float, ...] = (1.0,), high: tuple[float, ...] = (0.0,)) -> KnownNetwork:
    r"""Build self-repair: :math:`y = h + \max(1 - h, 0)` with :math:`h = x`.

    Ablating ``main`` (1 to 0) changes nothing, because ``spare`` makes up for it: its ``pnie`` is
    0 and its path past ``spare`` is -1. Where a value exceeds 1 the spare is silent.

    Parameters
    ----------
    low, high
        Clean and corrupt input of every pair.

    References
    ----------
    McGrath et al. (2023), The hydra effect, arXiv 2307.15771.
    """
    clean, corrupt = _columns(low, high)
    nodes = (
        Node("main", (INPUT,), lambda x: x),
        Node("spare", ("main",), lambda h: np.maximum(1.0 - h, 0.0)),
        Node("y", ("main", "spare"), lambda h, b: (h + b)[:, 0]),
    )
    known = {"main": "main", "spare": "spare"}
    return _known("Backup", Structure(nodes, clean, corrupt), known)


def saturated(*, clean: float = 20.0, corrupt: float = 0.0) -> KnownNetwork:
    r"""Build a saturated attention: :math:`y = \mathrm{softmax}((z, 0)) \cdot (1, 0)`.

    The effect of the logit ``z`` is :math:`\sigma(z') - \sigma(z)`. Attribution at the clean end,
    :math:`\sigma(z) (1 - \sigma(z)) (z' - z)`, misses it; integrated gradients do not.

    Parameters
    ----------
    clean, corrupt
        The logit of either input.

    Returns
    -------
    KnownNetwork
        One mediator, ``logit``; ``facts`` holds ``te``, ``attribution`` (gradient at the clean
        end) and ``attribution_corrupt`` (at the other).
    """
    low, high = np.array([[clean]]), np.array([[corrupt]])
    nodes = (
        Node("logit", (INPUT,), lambda x: x),
        Node("y", ("logit",), lambda z: _sigmoid(z)[:, 0]),
    )
    s, t = (1.0 / (1.0 + exp(-z)) for z in (clean, corrupt))
    facts = {
        "te": t - s,
        "attribution": s * (1.0 - s) * (corrupt - clean),
        "attribution_corrupt": t * (1.0 - t) * (corrupt - clean),
    }
    return _known("Saturated", Structure(nodes, low, high), {"logit": "logit"}, facts)


def illusion(*, width: int = 3, n: int = 4, seed: int | None = None) -> KnownNetwork:
    r"""Build the subspace illusion: a direction whose patch works although nothing runs through it.

    .. math:: h = Q^\top (x, 0, x), \qquad y = (0, 2, 0) Q h + (0, 0, 1) Q h

    with orthonormal rows Q. The first coordinate goes along with ``x`` and is read by nothing
    (disconnected), the second is read and never moves (dormant), the third is the mediator. A
    patch along the sum of the first two has the whole effect.

    Parameters
    ----------
    width
        Dimension of ``h``, at least 3.
    n
        Pairs of standard normal scalars.
    seed
        Seed of Q and of the inputs; None takes unit vectors for Q and the inputs 0 and 1.

    Returns
    -------
    KnownNetwork
        Mediator ``hidden``; ``vectors`` holds the unit directions ``true`` and ``illusory`` and
        the parts of the latter, ``disconnected`` and ``dormant``; ``facts`` the share of the total
        effect that a patch along each of them has.

    References
    ----------
    Makelov, Lange, Nanda (2024), Is this the subspace you are looking for? ICLR, arXiv 2311.17030.
    """
    if width < 3:
        raise DesignError(f"width is at least 3, got {width!r}")
    if seed is None:
        basis, low, high = np.eye(3, width), np.zeros((1, 1)), np.ones((1, 1))
    else:
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.normal(size=(width, 3)))[0].T
        low, high = rng.normal(size=(2, n, 1))
    first, second, third = basis
    write, read = first + third, np.stack([2.0 * second, third])
    nodes = (
        Node("hidden", (INPUT,), lambda x: x * write),
        Node("y", ("hidden",), lambda h: (h @ read.T).sum(axis=1)),
    )
    vectors = {
        "true": third,
        "illusory": (first + second) / np.sqrt(2.0),
        "disconnected": first,
        "dormant": second,
        "write": write,
        "read": read,
    }
    shares = {"true": 1.0, "illusory": 1.0, "disconnected": 0.0, "dormant": 0.0}
    known = _known("Illusion", Structure(nodes, low, high), {"hidden": "hidden"}, shares, vectors)
    return known


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z))


def _columns(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[Array, Array]:
    if not low or len(low) != len(high):
        raise DesignError(f"low and high pair up, got {len(low)} and {len(high)} values")
    return np.array(low, dtype=float)[:, None], np.array(high, dtype=float)[:, None]


def _known(
    kind: str,
    structure: Structure,
    sites: dict[str, str],
    facts: dict[str, float] | None = None,
    vectors: dict[str, Array] | None = None,
) -> KnownNetwork:
    torch = torch_or_error()
    made = _classes()[kind]
    weights = () if vectors is None else (vectors["write"], vectors["read"])
    return KnownNetwork(
        frozen(lambda: made(*weights)),
        torch.from_numpy(structure.clean),
        torch.from_numpy(structure.corrupt),
        outcome,
        sites,
        structure,
        facts or {},
        vectors or {},
    )


@cache
def _classes() -> dict[str, Any]:
    torch = torch_or_error()

    class Gate(torch.nn.Module):  # type: ignore[misc, name-defined]
        """The input times a copy of it."""

        def __init__(self) -> None:
            super().__init__()
            self.copy = torch.nn.Identity()

        def forward(self, x: Any) -> Any:
            return x * self.copy(x)

    class Backup(torch.nn.Module):  # type: ignore[misc, name-defined]
        """A component and another that makes up for it."""

        def __init__(self) -> None:
            super().__init__()
            self.main = torch.nn.Identity()
            weight, bias = np.array([[-1.0]]), np.array([1.0])
            self.spare = torch.nn.Sequential(linear_map(weight, bias), torch.nn.ReLU())

        def forward(self, x: Any) -> Any:
            main = self.main(x)
            return main + self.spare(main)

    class Saturated(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Attention over two keys, of which the first has the value 1."""

        def __init__(self) -> None:
            super().__init__()
            self.logit = torch.nn.Identity()

        def forward(self, x: Any) -> Any:
            score = self.logit(x)
            return torch.cat([score, torch.zeros_like(score)], dim=1).softmax(dim=1)[:, :1]

    class Illusion(torch.nn.Module):  # type: ignore[misc, name-defined]
        """A hidden layer that is written and read by hand."""

        def __init__(self, write: Array, read: Array) -> None:
            super().__init__()
            self.hidden = linear_map(write[:, None])
            self.out = linear_map(read)

        def forward(self, x: Any) -> Any:
            return self.out(self.hidden(x)).sum(dim=1, keepdim=True)

    return {kind.__name__: kind for kind in (Gate, Backup, Saturated, Illusion)}
