"""The coefficients of learned models, and what they predict."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """One hidden layer of tanh units that adds to a linear mediator model.

    ``tanh([arm, x] @ enter + bias) @ leave + shift`` on raw columns: all scaling is folded in.
    Shapes (..., k + p, h), (..., h), (..., h, d), (..., d).
    """

    enter: Array
    bias: Array
    leave: Array
    shift: Array

    def __call__(self, inputs: Array) -> Array:
        """What the layer adds, (..., n, d), from (n, k + p) inputs."""
        inner = np.tanh(inputs @ self.enter + self.bias[..., None, :])
        return np.asarray(inner @ self.leave + self.shift[..., None, :])


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """Coefficients of a mediator and an outcome model, with any leading axes (replicates).

    With k + 1 treatment levels, p covariates and d mediators:

    Parameters
    ----------
    mediator
        Shape (..., 1 + k + p, d): intercept, treatment indicators, covariates.
    hidden
        What a network adds to it, or None.
    outcome
        Shape (..., 1 + k + d + k d + p): intercept, treatment indicators, mediators, their
        products with each indicator (all mediators of the first indicator first), covariates.
    arms
        k.
    """

    mediator: Array
    hidden: Hidden | None
    outcome: Array
    arms: int

    def means(self, arm: Array, x: Array) -> Array:
        """Mediator means under one level, (..., n, d)."""
        k = self.arms
        start = self.mediator[..., :1, :] + (arm @ self.mediator[..., 1 : 1 + k, :])[..., None, :]
        linear = start + x @ self.mediator[..., 1 + k :, :]
        if self.hidden is None:
            return np.asarray(linear)
        inputs = np.column_stack([np.broadcast_to(arm, (len(x), k)), x])
        return np.asarray(linear + self.hidden(inputs))

    def pieces(self) -> tuple[Array, Array, Array, Array, Array]:
        """Outcome coefficients: intercept, treatment, mediators, products (k, d), covariates."""
        k, d = self.arms, self.mediator.shape[-1]
        p = self.mediator.shape[-2] - 1 - k
        ends = list(accumulate((1, k, d, k * d, p)))
        starts = (0, *ends[:-1])
        one, arm, m, product, x = (
            self.outcome[..., a:b] for a, b in zip(starts, ends, strict=True)
        )
        return one[..., 0], arm, m, product.reshape(*product.shape[:-1], k, d), x

    def pull(self, arm: Array) -> Array:
        """Coefficient of each mediator under one level, (..., d)."""
        _, _, m, product, _ = self.pieces()
        return np.asarray(m + np.einsum("k,...kd->...d", arm, product))

    def predictor(self, arm: Array, m: Array, x: Array) -> Array:
        """Linear predictor of the outcome, (..., n), at mediators (..., n, d)."""
        one, own, _, _, slopes = self.pieces()
        start = one + own @ arm
        inner = (m @ self.pull(arm)[..., None])[..., 0]
        outer = (x @ slopes[..., None])[..., 0]
        return np.asarray(start[..., None] + inner + outer)


def stacked(parts: list[Coefficients]) -> Coefficients:
    """Put fits on a leading axis."""
    hidden = [c.hidden for c in parts if c.hidden is not None]
    layer = None
    if hidden:
        names = ("enter", "bias", "leave", "shift")
        layer = Hidden(*(np.stack([getattr(h, n) for h in hidden]) for n in names))
    return Coefficients(
        np.stack([c.mediator for c in parts]),
        layer,
        np.stack([c.outcome for c in parts]),
        parts[0].arms,
    )
