"""An exactly linear transformer: every effect is a sum over paths, and attribution is exact."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from crossworld.datasets.networks.build import frozen, torch_or_error
from crossworld.datasets.networks.known import KnownNetwork, outcome
from crossworld.datasets.networks.structure import INPUT, Array, Node, Structure
from crossworld.errors import DesignError

KINDS = 20


def linear_residual(
    *, layers: int = 2, positions: int = 3, width: int = 5, n: int = 4, seed: int = 0
) -> KnownNetwork:
    r"""Build a residual network without any nonlinearity.

    With token embeddings :math:`h_0 \in \mathbb{R}^{T \times d}`, fixed causal mixing
    :math:`P_l` of positions and weights :math:`V_l, W_l`,

    .. math::
        a_l = P_l h_l V_l^\top, \qquad m_l = (h_l + a_l) W_l^\top, \qquad h_{l+1} = h_l + a_l + m_l,
        \qquad y = c^\top h_L[T]

    so a natural effect is the sum of the products along its paths, direct and indirect effects add
    up without interaction, and edge attribution (the change of the sender times the gradient at
    the receiver) equals path patching exactly, with any number of integration steps.

    Parameters
    ----------
    layers, positions, width
        L, T and d.
    n
        Pairs of prompts of random tokens; there are 20 kinds, with standard normal embeddings.
    seed
        Seed of weights and inputs.

    Returns
    -------
    KnownNetwork
        Mediators ``embed, attn0, mlp0, attn1, ...`` at ``embed``, ``layers.0.attn``,
        ``layers.0.mlp``, ...; the output has shape (n, T, 1). ``vectors`` holds the transfer of
        every mediator to the outcome, shape (T, d).
    """
    if min(layers, positions, width, n) < 1:
        raise DesignError("layers, positions, width and n are at least 1")
    rng = np.random.default_rng(seed)
    mixing = np.tril(rng.uniform(0.2, 1.0, size=(layers, positions, positions)))
    mixing /= mixing.sum(axis=2, keepdims=True)
    value, weight = rng.normal(size=(2, layers, width, width)) / np.sqrt(width)
    readout = rng.normal(size=width)
    tokens = rng.normal(size=(KINDS, width))
    clean, corrupt = rng.integers(KINDS, size=(2, n, positions))
    torch = torch_or_error()
    module = frozen(lambda: _module_class()(tokens, mixing, value, weight, readout))
    blocks = product(range(layers), ("attn", "mlp"))
    return KnownNetwork(
        module,
        torch.from_numpy(clean),
        torch.from_numpy(corrupt),
        outcome,
        {"embed": "embed", **{f"{part}{at}": f"layers.{at}.{part}" for at, part in blocks}},
        Structure(
            _nodes(tokens, mixing, value, weight, readout),
            clean.astype(np.float64),
            corrupt.astype(np.float64),
        ),
        vectors=_transfers(mixing, value, weight, readout),
    )


def _nodes(
    tokens: Array, mixing: Array, value: Array, weight: Array, readout: Array
) -> tuple[Node, ...]:
    nodes = [Node("embed", (INPUT,), lambda ids: tokens[ids.astype(np.int64)])]
    before = ["embed"]
    for layer in range(len(mixing)):
        nodes.append(Node(f"attn{layer}", tuple(before), _mixed(mixing[layer], value[layer])))
        before.append(f"attn{layer}")
        nodes.append(Node(f"mlp{layer}", tuple(before), _mapped(weight[layer])))
        before.append(f"mlp{layer}")
    nodes.append(Node("y", tuple(before), lambda *parts: sum(parts)[:, -1] @ readout))
    return tuple(nodes)


def _mixed(mixing: Array, value: Array) -> Callable[..., Array]:
    return lambda *parts: np.asarray(mixing @ sum(parts) @ value.T)


def _mapped(weight: Array) -> Callable[..., Array]:
    return lambda *parts: np.asarray(sum(parts) @ weight.T)


def _transfers(mixing: Array, value: Array, weight: Array, readout: Array) -> dict[str, Array]:
    """Derivative of the outcome in the output of every mediator, backwards."""
    stream = np.zeros((mixing.shape[1], readout.size))
    stream[-1] = readout
    found: dict[str, Array] = {}
    for layer in reversed(range(len(mixing))):
        found[f"mlp{layer}"] = stream
        stream = stream + stream @ weight[layer]
        found[f"attn{layer}"] = stream
        stream = stream + mixing[layer].T @ stream @ value[layer]
    return {**found, "embed": stream}


@cache
def _module_class() -> Any:
    torch = torch_or_error()

    class Mixing(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Fixed averages over earlier positions, then a linear map."""

        def __init__(self, mixing: Array, value: Array) -> None:
            super().__init__()
            self.register_buffer("mixing", torch.from_numpy(mixing))
            self.value = linear_map(value)

        def forward(self, stream: Any) -> Any:
            return torch.einsum("st,ntd->nsd", self.mixing, self.value(stream))

    class Block(torch.nn.Module):  # type: ignore[misc, name-defined]
        """Adds what its parts return to the residual stream."""

        def __init__(self, mixing: Array, value: Array, weight: Array) -> None:
            super().__init__()
            self.attn = Mixing(mixing, value)
            self.mlp = linear_map(weight)

        def forward(self, stream: Any) -> Any:
            stream = stream + self.attn(stream)
            return stream + self.mlp(stream)

    class LinearResidual(torch.nn.Module):  # type: ignore[misc, name-defined]
        """An embedding, a stack of linear blocks and a readout."""

        causal = True

        def __init__(
            self, tokens: Array, mixing: Array, value: Array, weight: Array, readout: Array
        ) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding.from_pretrained(torch.from_numpy(tokens))
            parts = zip(mixing, value, weight, strict=True)
            self.layers = torch.nn.ModuleList([Block(*part) for part in parts])
            self.head = linear_map(readout[None])

        def forward(self, input_ids: Any) -> Any:
            stream = self.embed(input_ids)
            for layer in self.layers:
                stream = layer(stream)
            return self.head(stream)

    return LinearResidual


def linear_map(weight: Array, bias: Array | None = None) -> Any:
    """Return a ``torch.nn.Linear`` in double precision with given weights (out, in)."""
    torch = torch_or_error()
    made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if bias is not None:
            made.bias.copy_(torch.from_numpy(np.asarray(bias, dtype=np.float64)))
    return made
