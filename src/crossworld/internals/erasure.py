"""Taking a concept out of representations so that no linear model can find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Leace:
    r"""Least-squares concept erasure in closed form.

    .. math:: r(x) = x - W^+ P\, W\, (x - \mu),\qquad W = (\Sigma_{xx}^{1/2})^+,\quad
              P = (W \Sigma_{xz})(W \Sigma_{xz})^+

    Of all affine maps after which x and z are uncorrelated, so that no linear classifier beats a
    constant, it changes x least in mean square, whatever the inner product.

    Parameters
    ----------
    tolerance
        Directions of x with less variance than this share of the largest count as constant, and
        those of :math:`W \Sigma_{xz}` under this share of its largest singular value as nothing.

    References
    ----------
    Belrose, Schneider-Joseph, Ravfogel, Cotterell, Raff & Biderman (2023). LEACE: perfect linear
    concept erasure in closed form. NeurIPS.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.random(500) < 0.5
    >>> x = rng.normal(size=(500, 3)) + np.outer(z, [1.0, 2.0, 0.0])
    >>> erased = Leace().fit(x, z)(x)
    >>> bool(np.abs(erased[z].mean(axis=0) - erased[~z].mean(axis=0)).max() < 1e-10)
    True
    """

    tolerance: float = 1e-10

    def fit(self, data: Any, labels: Any) -> Callable[[Any], Array]:
        """Learn the erasure from representations (n, d) and a concept (n,) or (n, k).

        Of several categories give indicators (n, k): a column of codes is erased as a number.

        Raises
        ------
        DesignError
            If the concept does not vary, or shapes do not fit.
        """
        x = np.asarray(data, dtype=np.float64)
        z = np.asarray(labels, dtype=np.float64)
        z = z[:, None] if z.ndim == 1 else z
        if x.ndim != 2 or len(x) != len(z):
            raise DesignError(
                f"erasure takes representations (n, d) and a concept (n,) or (n, k), got "
                f"{x.shape} and {np.shape(labels)}"
            )
        if not np.isfinite(x).all() or not np.isfinite(z).all():
            raise DesignError("erasure takes finite representations and concepts")
        centre = x.mean(axis=0)
        a, b = x - centre, z - z.mean(axis=0)
        if not np.any(np.abs(b) > 0.0):
            raise DesignError("the concept has one value, so there is nothing to erase")
        values, vectors = np.linalg.eigh(a.T @ a / len(x))
        kept = values > self.tolerance * max(float(values.max()), 1e-300)
        basis, root = vectors[:, kept], np.sqrt(values[kept])
        whiten = (basis / root) @ basis.T
        colour = (basis * root) @ basis.T
        left, sizes, _ = np.linalg.svd(whiten @ (a.T @ b / len(x)), full_matrices=False)
        held = left[:, sizes > self.tolerance * max(float(sizes.max(initial=0.0)), 1e-300)]
        remove = colour @ held
        find = held.T @ whiten

        def change(rows: Any) -> Array:
            given = np.asarray(rows, dtype=np.float64)
            return np.asarray(given - ((given - centre) @ find.T) @ remove.T)

        return change
