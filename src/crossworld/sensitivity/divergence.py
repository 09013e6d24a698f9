r"""Means that an f-divergence ball allows, by convex duality.

With ``P`` the outcome's law at a treatment level and ``Q`` its law had all had the level,
:math:`Q = e P + (1 - e) R` for some ``R``, so that :math:`D_f(P \| Q) \le B_f(e) = e f(1/e) +
(1 - e) f(0)` (Jung and Kang 2026). The largest mean in that ball is

.. math:: \inf_{\lambda > 0,\, u}\; \lambda B_f(e) + u + \lambda E_P[g^*((Y - u) / \lambda)],
          \qquad g(s) = s f(1 / s).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import SpecError

Array = NDArray[np.float64]
TINY = 1e-14


@dataclass(frozen=True, slots=True)
class Divergence:
    """One f-divergence.

    Parameters
    ----------
    name
        Its key.
    generator
        ``f``, for checks.
    radius, slope
        ``B_f(e)`` and its derivative.
    conjugate
        ``g*`` below its cap.
    cap
        Where the conjugate becomes infinite.
    """

    name: str
    generator: Callable[[float], float]
    radius: Callable[[float], float]
    slope: Callable[[float], float]
    conjugate: Callable[[Array], Array]
    cap: float


def _js(t: float) -> float:
    inner = t * math.log(t) if t > 0.0 else 0.0
    return 0.5 * (inner - (1.0 + t) * math.log((1.0 + t) / 2.0))


def _xlogx(t: float) -> float:
    return t * math.log(t) if t > 0.0 else 0.0


DIVERGENCES = {
    d.name: d
    for d in (
        Divergence(
            "kl",
            _xlogx,
            lambda e: -math.log(e),
            lambda e: -1.0 / e,
            lambda t: -1.0 - np.log(np.maximum(-t, TINY)),
            0.0,
        ),
        Divergence(
            "hellinger",
            lambda t: 0.5 * (math.sqrt(t) - 1.0) ** 2,
            lambda e: 1.0 - math.sqrt(e),
            lambda e: -0.5 / math.sqrt(e),
            lambda t: t / np.maximum(1.0 - 2.0 * t, TINY),
            0.5,
        ),
        Divergence(
            "chi2",
            lambda t: 0.5 * (t - 1.0) ** 2,
            lambda e: 0.5 * (1.0 - e) / e,
            lambda e: -0.5 / e**2,
            lambda t: 1.0 - np.sqrt(np.maximum(1.0 - 2.0 * t, 0.0)),
            0.5,
        ),
        Divergence(
            "tv",
            lambda t: 0.5 * abs(t - 1.0),
            lambda e: 1.0 - e,
            lambda e: -1.0,
            lambda t: np.maximum(t, -0.5),
            0.5,
        ),
        Divergence(
            "js",
            _js,
            lambda e: 0.5 * (math.log(4.0) + e * math.log(e) - (1.0 + e) * math.log1p(e)),
            lambda e: 0.5 * (math.log(e) - math.log1p(e)),
            lambda t: -0.5 * np.log(np.maximum(2.0 - np.exp(2.0 * np.minimum(t, 1.0)), TINY)),
            0.5 * math.log(2.0),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Dual:
    """A solution of the dual: the largest mean and the numbers that attain it.

    Parameters
    ----------
    value
        The largest mean.
    scale, shift
        ``lambda`` and ``u``.
    """

    value: float
    scale: float
    shift: float


def named(name: str) -> Divergence:
    """Return a divergence by its key."""
    if name not in DIVERGENCES:
        raise SpecError.unknown("divergence", name, DIVERGENCES)
    return DIVERGENCES[name]


def dual(values: Array, chances: Array, e: float, *, divergence: Divergence, top: float) -> Dual:
    r"""Largest mean in the ball, for an outcome that can reach ``top``.

    Parameters
    ----------
    values, chances
        The outcome's values and their probabilities under ``P``, (k,).
    e
        Probability of the treatment level, in (0, 1].
    divergence
        The divergence.
    top
        Largest value in the support of ``P``: the conjugate has to be finite there, whether or
        not the sample reaches it.

    Notes
    -----
    Jointly convex in :math:`(\lambda, u)`, minimised over ``u`` within :math:`\lambda`. Whatever
    pair the search stops at gives a valid bound.
    """
    from scipy.optimize import minimize_scalar

    width = max(top - float(values.min()), 0.0)
    if width <= 0.0 or e >= 1.0:
        return Dual(float(chances @ values), 0.0, float(chances @ values))
    radius, y = divergence.radius(e), (values - top) / width  # in [-1, 0]

    def at(scale: float, gap: float) -> float:
        shift = gap - divergence.cap * scale
        found = chances @ divergence.conjugate((y - shift) / scale)
        return float(scale * radius + shift + scale * found)

    def over_gap(scale: float) -> tuple[float, float]:
        best = minimize_scalar(
            lambda g: at(scale, math.exp(g)),
            bounds=(-32.0, 8.0),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return float(best.fun), math.exp(float(best.x))

    best = minimize_scalar(
        lambda s: over_gap(math.exp(s))[0],
        bounds=(-16.0, 12.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    scale = math.exp(float(best.x))
    value, gap = over_gap(scale)
    return Dual(top + width * value, width * scale, top + width * (gap - divergence.cap * scale))
