"""Coordinates inside an activation: linear subspaces and features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.internals.backend import torch


class Basis(Protocol):
    """Coordinates of activations that can be read and set."""

    def read(self, hidden: Any) -> Any:
        """Coordinates (..., r) of activations (..., d)."""

    def write(self, hidden: Any, value: Any) -> Any:
        """Activations with these coordinates set and everything else kept."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    r"""A linear subspace with orthonormal columns.

    .. math:: h \leftarrow h + B\,(v - B^\top h)

    Parameters
    ----------
    matrix
        Shape (d, r); columns are made orthonormal.

    References
    ----------
    Geiger et al. (2023). Finding alignments between interpretable causal variables and distributed
    neural representations.

    Examples
    --------
    >>> import numpy as np
    >>> Subspace(np.array([[3.0], [4.0]])).matrix.ravel().round(1).tolist()
    [0.6, 0.8]
    """

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        given = np.asarray(self.matrix, dtype=np.float64)
        if given.ndim == 1:
            given = given[:, None]
        if given.ndim != 2 or given.shape[1] > given.shape[0] or not np.isfinite(given).all():
            raise DesignError(
                f"a subspace is a finite (d, r) matrix with r <= d, got shape {given.shape}"
            )
        if np.allclose(given.T @ given, np.eye(given.shape[1]), rtol=0.0, atol=1e-13):
            object.__setattr__(self, "matrix", given)  # saved and read again it stays as it is
            return
        columns, upper = np.linalg.qr(given)
        size = np.abs(np.diag(upper))
        if size.min() <= 1e-10 * max(size.max(), 1e-300):
            raise DesignError("the columns of a subspace are linearly independent, these are not")
        object.__setattr__(self, "matrix", columns * np.sign(np.diag(upper)))

    def _columns(self, hidden: Any) -> Any:
        if hidden.shape[-1] != self.matrix.shape[0]:
            raise DesignError(
                f"a subspace of {self.matrix.shape[0]} dimensions does not fit activations of "
                f"{hidden.shape[-1]}"
            )
        return torch().as_tensor(self.matrix, dtype=hidden.dtype, device=hidden.device)

    def read(self, hidden: Any) -> Any:
        return hidden @ self._columns(hidden)

    def write(self, hidden: Any, value: Any) -> Any:
        columns = self._columns(hidden)
        return hidden + (value - hidden @ columns) @ columns.T


@final
@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    r"""Features of a dictionary such as a sparse autoencoder, set without its error.

    .. math:: f(h) = \operatorname{relu}(E^\top (h - c) + b),\qquad
              h \leftarrow h + (v - f(h))\, D

    Parameters
    ----------
    encoder
        Shape (d, r): encoding directions of the r features that are meant.
    bias
        Shape (r,).
    decoder
        Shape (r, d): what each adds to the activation.
    centre
        Shape (d,), subtracted before encoding; None for none.
    threshold
        Shape (r,): a jump ReLU keeps what exceeds it; None for a plain ReLU.
    """

    encoder: NDArray[np.float64]
    bias: NDArray[np.float64]
    decoder: NDArray[np.float64]
    centre: NDArray[np.float64] | None = None
    threshold: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in ("encoder", "bias", "decoder", "centre", "threshold"):
            given = getattr(self, name)
            held = None if given is None else np.asarray(given, dtype=np.float64)
            if held is not None and not np.isfinite(held).all():
                raise DesignError(f"the {name} of a feature is finite numbers")
            object.__setattr__(self, name, held)
        shape = np.shape(self.encoder)
        if len(shape) != 2:
            raise DesignError(f"an encoder is a (d, r) matrix, one column a feature, got {shape}")
        d, r = shape
        wanted = {"decoder": (r, d), "bias": (r,), "centre": (d,), "threshold": (r,)}
        for name, right in wanted.items():
            held = getattr(self, name)
            if held is not None and held.shape != right:
                raise DesignError(
                    f"an encoder of shape {shape} needs a {name} of shape {right}, got {held.shape}"
                )
        if not self.decoder.any(axis=1).all():
            raise DesignError("a feature whose decoder is 0 adds nothing, so it cannot be set")

    def read(self, hidden: Any) -> Any:
        def put(array: Any) -> Any:
            return torch().as_tensor(array, dtype=hidden.dtype, device=hidden.device)

        if hidden.shape[-1] != self.encoder.shape[0]:
            raise DesignError(
                f"a feature of {self.encoder.shape[0]} dimensions does not fit activations of "
                f"{hidden.shape[-1]}"
            )
        centred = hidden if self.centre is None else hidden - put(self.centre)
        before = centred @ put(self.encoder) + put(self.bias)
        if self.threshold is not None:
            return before * (before > put(self.threshold))
        return before.clamp(min=0.0)

    def write(self, hidden: Any, value: Any) -> Any:
        decoder = torch().as_tensor(self.decoder, dtype=hidden.dtype, device=hidden.device)
        return hidden + (value - self.read(hidden)) @ decoder
