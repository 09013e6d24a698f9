"""Has an effect moved since the reference? An e-process over windows that share no row.

The alarm's promise is Ville's inequality (1939): a non-negative martingale that starts at 1 reaches
``1 / alpha`` with probability at most ``alpha``, at whatever time one looks and however long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.student import critical
from crossworld.errors import SpecError

Array = NDArray[np.float64]
SCALES = (0.5, 1.0, 2.0, 4.0)  # sizes of a shift, in standard errors of the first window
TAIL = 0.999  # where Student's and the normal quantile are compared


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence against "the effect is what it was in the reference".

    Parameters
    ----------
    log_e
        Natural logarithm of the e-process; what it would be without a shift has mean 1 at most.
    since
        Position, among the windows compared, of the first one after the most likely shift.
    shift, std_error
        Mean of the windows from there on minus that of the reference and the windows before.
    """

    log_e: float
    since: int
    shift: float
    std_error: float


def evidence(estimates: Any, std_errors: Any, *, reference: tuple[float, float]) -> Evidence:
    r"""Weigh independent estimates against a reference that is itself estimated.

    Write :math:`\hat\theta_0, s_0` for the reference, :math:`\hat\theta_j, s_j` for window
    :math:`j = 1..n`, :math:`w_j = s_j^{-2}`. The differences :math:`D_j = \hat\theta_j -
    \hat\theta_0` are what is left when the unknown common effect is removed; without a shift they
    are :math:`N(0, \operatorname{diag}(s_j^2) + s_0^2 1 1^\top)`, so the error of the reference is
    part of the law. Against a shift of size :math:`\delta \sim N(0, v)` from window :math:`\tau` on
    their likelihood ratio is

    .. math:: L_{\tau}(v) = (1 + vA)^{-1/2} \exp\Big(\frac{v B^2}{2 (1 + vA)}\Big),
              \quad A = T - T^2 / W, \quad B = R - T R_1 / W,

    with :math:`T = \sum_{j \ge \tau} w_j`, :math:`R = \sum_{j \ge \tau} w_j D_j`, :math:`R_1` the
    same over all windows and :math:`W = \sum_{j \ge 0} w_j`: ``B / A`` is the mean after minus the
    mean before, reference included. The e-process is

    .. math:: E_n = \frac{1}{n + 1} + \sum_{\tau = 1}^{n} \frac{1}{\tau (\tau + 1)}
              \operatorname{mean}_v L_{\tau}(v), \qquad P(\exists n: E_n \ge 1/\alpha) \le \alpha,

    the mean over ``v = (c s_1)^2`` for ``c`` in `SCALES`.

    Parameters
    ----------
    estimates, std_errors
        Shape (n,), in the order of time; windows that share no unit.
    reference
        Estimate and standard error; a standard error of 0 is a value known without error.

    Returns
    -------
    Evidence
        After the last window.

    Notes
    -----
    Assumptions: estimates are normal about their effect with the standard errors given (windows
    large enough for that; see `widened`), and independent of one another.

    References
    ----------
    Ville (1939); Robbins (1970), Ann. Math. Stat. 41, for mixtures over the size; Shin, Ramdas and
    Rinaldo (2024), "E-detectors", NEJSDS 2, for mixtures over the time of a change; Perez-Ortiz,
    Lardy, de Heide and Grunwald (2024), Ann. Statist. 52, for removing what is common.

    Examples
    --------
    >>> still = evidence([0.1, -0.2, 0.0], [0.2, 0.2, 0.2], reference=(0.0, 0.2))
    >>> moved = evidence([0.0, 1.5, 1.4], [0.2, 0.2, 0.2], reference=(0.0, 0.2))
    >>> still.log_e < 0 < moved.log_e
    True
    >>> moved.since, round(moved.shift, 2)
    (1, 1.45)
    """
    theta, s = np.asarray(estimates, dtype=np.float64), np.asarray(std_errors, dtype=np.float64)
    by_time, score, precision = by_change(theta, s, *map(np.float64, reference))
    best = int(by_time.argmax())
    return Evidence(
        float(total(by_time)),
        best,
        float(score[best] / precision[best]),
        float(precision[best] ** -0.5),
    )


def by_change(theta: Array, s: Array, value: Any, error: Any) -> tuple[Array, Array, Array]:
    """Weigh every time at which the shift may have begun; streams may run along leading axes.

    Parameters
    ----------
    theta, s
        Estimates and standard errors, shape (..., n).
    value, error
        Those of the reference, shape (...); an error of 0 is a value known without error.

    Returns
    -------
    tuple
        Logarithm of prior times mixed likelihood ratio, score ``B`` and precision ``A`` of a shift
        from every window on, each of shape (..., n).
    """
    weights = s**-2.0
    moved = weights * (theta - np.asarray(value)[..., None])
    after, sums = _from_the_end(weights), _from_the_end(moved)
    with np.errstate(divide="ignore"):
        share = 1.0 / (np.asarray(error)[..., None] ** -2.0 + after[..., :1])
    precision = after * (1.0 - after * share)
    score = sums - after * sums[..., :1] * share
    place = np.arange(1, theta.shape[-1] + 1)
    v = np.multiply.outer(np.array(SCALES), s[..., :1]) ** 2
    inside = 1.0 + v * precision
    log_ratios = 0.5 * v * score**2 / inside - 0.5 * np.log(inside)
    log_prior = -np.log(place) - np.log(place + 1.0)
    return log_prior + _log_mean(log_ratios), score, precision


def total(by_time: Array) -> Any:
    """Logarithm of the e-process: the sum over times, and ``1 / (n + 1)`` for a shift to come."""
    rest = -math.log(by_time.shape[-1] + 1.0)
    top = np.maximum(by_time.max(axis=-1), rest)
    return top + np.log(np.exp(by_time - top[..., None]).sum(axis=-1) + np.exp(rest - top))


def widened(std_error: float, df: float) -> float:
    """Widen a standard error with ``df`` degrees of freedom so that normal tails cover Student's.

    The factor is the ratio of the two quantiles at 99.9 % (two-sided): 1.006 with 499 degrees of
    freedom, 1.06 with 49, 1.45 with 9.

    Examples
    --------
    >>> round(widened(1.0, 9), 2)
    1.45
    """
    return std_error * _factor(df)


@cache
def _factor(df: float) -> float:
    return critical(TAIL, df) / critical(TAIL)


def threshold(alpha: float, effects: int) -> float:
    """Value of the e-process that raises the alarm of one of several effects (Bonferroni).

    Raises
    ------
    SpecError
        If ``alpha`` is no probability.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0.0 < alpha < 1.0:
        raise SpecError(
            f"alpha is the probability of any false alarm, between 0 and 1, got {alpha!r}; try 0.05"
        )
    return max(effects, 1) / float(alpha)


def _from_the_end(values: Array) -> Array:
    """Sum of the values from every position on."""
    return np.asarray(np.cumsum(values[..., ::-1], axis=-1)[..., ::-1], dtype=np.float64)


def _log_mean(logs: Array) -> Array:
    """Logarithm of the mean over the first axis of exponentials."""
    top = logs.max(axis=0)
    return np.asarray(top + np.log(np.exp(logs - top).mean(axis=0)), dtype=np.float64)
