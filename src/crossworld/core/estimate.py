"""A number that remembers its influence function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossworld.core.student import critical, two_sided
from crossworld.errors import EstimationError

Vector: TypeAlias = NDArray[np.float64]  # (n,)
Codes: TypeAlias = NDArray[np.int64]  # (n,), 0..J-1


def by_cluster(values: Vector, cluster: Codes) -> Vector:
    """Sum of the values in each cluster, (J,)."""
    return np.asarray(np.bincount(cluster, weights=values), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    r"""A point estimate and the influence of each unit on it.

    With influence values :math:`\phi_i` (mean zero, per unit of :math:`1/n`),

    .. math:: \widehat{\operatorname{se}}^2 = \frac{1}{n^2} \sum_i \phi_i^2
              \quad\text{or}\quad
              \frac{J}{J-1}\frac{1}{n^2} \sum_j \Big(\sum_{i \in j} \phi_i\Big)^2,

    the second with declared clusters, whose intervals use Student's t with J - 1 degrees of
    freedom. Arithmetic applies the delta method, so any smooth contrast of estimates from the
    same units has an exact first-order standard error.

    Parameters
    ----------
    value
        The point estimate.
    influence
        Influence of each unit, shape (n,); weights are already inside.
    cluster
        Cluster codes 0..J-1, shape (n,), or None when rows are the units.

    Examples
    --------
    >>> import numpy as np
    >>> x = Estimate(2.0, np.array([-1.0, 1.0]))
    >>> (1.0 - x).influence
    array([ 1., -1.])
    >>> round((x * x).std_error, 3)
    2.828
    """

    value: float
    influence: Vector
    cluster: Codes | None = None

    @property
    def df(self) -> float:
        """Degrees of freedom: J - 1 with declared clusters, else infinite."""
        return math.inf if self.cluster is None else max(int(self.cluster.max()), 1)

    @property
    def std_error(self) -> float:
        """Sandwich standard error; with declared clusters J / (J - 1) is included."""
        return math.sqrt(max(self.covariance(self), 0.0))

    def covariance(self, other: Estimate) -> float:
        """Sampling covariance with another estimate from the same units."""
        self._same_units(other)
        mine, theirs, factor = self.influence, other.influence, 1.0
        if self.cluster is not None:
            groups = int(self.cluster.max()) + 1
            mine, theirs = by_cluster(mine, self.cluster), by_cluster(theirs, self.cluster)
            factor = groups / max(groups - 1, 1)
        return float(mine @ theirs) * factor / self.influence.size**2

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Wald interval at ``level``."""
        half = critical(level, self.df) * self.std_error
        return self.value - half, self.value + half

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p value of the null value; NaN when the standard error is 0."""
        error = self.std_error
        return math.nan if error == 0.0 else two_sided((self.value - null) / error, self.df)

    def apply(self, function: Callable[[float], float], slope: float) -> Estimate:
        """Apply a smooth function whose derivative at the value is ``slope``."""
        return replace(self, value=function(self.value), influence=slope * self.influence)

    def log(self) -> Estimate:
        """Natural logarithm; the value must be positive."""
        if self.value <= 0.0:
            raise EstimationError(f"cannot take the logarithm of {self.value:.6g}")
        return self.apply(math.log, 1.0 / self.value)

    def _same_units(self, other: Estimate) -> None:
        if self.influence.shape != other.influence.shape:
            raise EstimationError(
                f"estimates from {self.influence.size} and {other.influence.size} units cannot be "
                "combined; both must come from the same scores"
            )

    def _join(self, other: Estimate, value: float, mine: float, theirs: float) -> Estimate:
        self._same_units(other)
        return replace(
            self, value=value, influence=mine * self.influence + theirs * other.influence
        )

    def __add__(self, other: Estimate | float) -> Estimate:
        if isinstance(other, Estimate):
            return self._join(other, self.value + other.value, 1.0, 1.0)
        return replace(self, value=self.value + other)

    def __neg__(self) -> Estimate:
        return replace(self, value=-self.value, influence=-self.influence)

    def __sub__(self, other: Estimate | float) -> Estimate:
        return self + (-other)

    def __mul__(self, other: Estimate | float) -> Estimate:
        if isinstance(other, Estimate):
            return self._join(other, self.value * other.value, other.value, self.value)
        return replace(self, value=self.value * other, influence=other * self.influence)

    def __truediv__(self, other: Estimate | float) -> Estimate:
        divisor = other.value if isinstance(other, Estimate) else other
        if divisor == 0.0:
            raise EstimationError("an effect is divided by an estimate that is exactly 0")
        if not isinstance(other, Estimate):
            return self * (1.0 / other)
        ratio = self.value / divisor
        return self._join(other, ratio, 1.0 / divisor, -ratio / divisor)

    def __radd__(self, other: float) -> Estimate:
        return self + other

    def __rsub__(self, other: float) -> Estimate:
        return -self + other

    def __rmul__(self, other: float) -> Estimate:
        return self * other

    def __rtruediv__(self, other: float) -> Estimate:
        if self.value == 0.0:
            raise EstimationError("an effect is divided by an estimate that is exactly 0")
        return self.apply(lambda value: other / value, -other / self.value**2)
