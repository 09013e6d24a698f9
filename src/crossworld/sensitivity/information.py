r"""Bounds of total effects from divergences, beside the plain bounds from the outcome's support.

Treatment and outcome are confounded by something unmeasured. Given covariates, ``e`` of the units
show the outcome under the level asked about; a divergence ball around what they show bounds the
mean had all had it (Jung and Kang 2026). The ball contains every law that holds at least the share
``e`` of what is seen, so its bound is never narrower than Manski's with the same support,

.. math:: e E[Y \mid a, x] + (1 - e) \sup Y,

and for an outcome without a finite support it is infinite: the conjugates of all five divergences
are infinite beyond a cap, and finite figures come from the sample's largest value alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.errors import DesignError, SpecError
from crossworld.sensitivity.divergence import DIVERGENCES, Divergence, dual, named
from crossworld.sensitivity.interval import Bounds
from crossworld.sensitivity.pseudo import averaged, ends, split_cells
from crossworld.sensitivity.support import check_support
from crossworld.sensitivity.tabular import aligned, asked, check_level, plain
from crossworld.tables.robust.data import Arrays, arrays
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
MANSKI = "manski"
NEVER = "Manski's bound with the same support is never wider than a divergence bound"
INFINITE = (
    "infinite: the outcome has no finite support, and a divergence ball allows a little mass "
    "arbitrarily far out; give support=(low, high) if the outcome is bounded"
)


@dataclass(frozen=True, slots=True, eq=False)
class InformationBounds:
    """Divergence bounds and Manski's: the result of `information_bounds`.

    Parameters
    ----------
    terms
        The effects asked.
    methods
        The divergences, then ``"manski"``.
    bounds
        By effect and method; empty when the support is not finite.
    level
        Confidence level of the limits.
    heading
        The study in a line.
    reason
        Why there are no bounds, or nothing.
    """

    terms: tuple[str, ...]
    methods: tuple[str, ...]
    bounds: dict[tuple[str, str], Bounds]
    level: float
    heading: str = ""
    reason: str = ""

    def __getitem__(self, key: tuple[str, str]) -> Bounds:
        if key not in self.bounds:
            known = [f"{t}, {m}" for t, m in self.bounds]
            raise SpecError(
                f"there are no bounds of {key!r}. " + (self.reason or f"Known: {'; '.join(known)}")
            )
        return self.bounds[key]

    def rows(self) -> list[dict[str, Any]]:
        """One row per effect and method; null ends are infinite, with the reason."""
        found: list[dict[str, Any]] = []
        for term in self.terms:
            for method in self.methods:
                row: dict[str, Any] = {"term": term, "method": method}
                held = self.bounds.get((term, method))
                low, high = (None, None) if held is None else held.limits(self.level)
                row["bound_low"] = None if held is None else held.low.value
                row["bound_high"] = None if held is None else held.high.value
                row |= {"limit_low": low, "limit_high": high, "reason": self.reason}
                found.append(row)
        return found

    def to_frame(self) -> Any:
        """Rows as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        found = {"level": self.level, "effects": self.rows(), "note": NEVER}
        return {str(k): plain(v) for k, v in found.items()}

    def plot(self, ax: Axes | None = None, *, term: str | None = None) -> Axes:
        """Bounds of one effect (the first by default), a bar for each method."""
        from matplotlib import pyplot as plt

        name = self.terms[0] if term is None else term
        height = 1.0 + 0.4 * len(self.methods)
        ax = plt.subplots(figsize=(5.6, height))[1] if ax is None else ax
        for j, method in enumerate(reversed(self.methods)):
            held = self[name, method]
            limits = held.limits(self.level)
            ax.plot(limits, [j, j], color="#76808c", lw=1.5)
            color = "#d55e00" if method == MANSKI else "#1f86c7"
            ends_ = [held.low.value, held.high.value]
            ax.plot(ends_, [j, j], color=color, lw=7, solid_capstyle="butt")
        ax.axvline(0.0, color="#76808c", lw=0.8, ls=":")
        ax.set_yticks(range(len(self.methods)), list(reversed(self.methods)))
        ax.set_title(f"{name}: divergence bounds", loc="left")
        return ax

    def __str__(self) -> str:
        columns = ("term", "method", "bound_low", "bound_high", "limit_low", "limit_high")
        lines = [f"Divergence bounds; limits at {self.level:.0%}", self.heading]
        lines += [aligned(self.rows(), columns), f"{NEVER}.", self.reason]
        return "\n".join(line for line in lines if line)


def information_bounds(
    study: TableStudy,
    *,
    effects: Sequence[str | Estimand] | str = "te",
    support: tuple[float, float] | None = None,
    divergences: Sequence[str] = tuple(DIVERGENCES),
    level: float = 0.95,
) -> InformationBounds:
    r"""Bound total effects under unmeasured confounding of treatment and outcome by divergences.

    Parameters
    ----------
    study
        Covariates that take few values together: laws are taken within their strata.
    effects
        Names or estimands of cells ``Y(a)``.
    support
        Least and largest value that the outcome can take; (0, 1) for a 0/1 outcome. Without it
        the bounds of any other outcome are infinite, and null with that reason.
    divergences
        Any of ``kl``, ``hellinger``, ``chi2``, ``tv``, ``js``.
    level
        Confidence level.

    Returns
    -------
    InformationBounds
        Bounds of each divergence, and Manski's, which are never wider.

    Raises
    ------
    DesignError
        If an effect has a cell ``Y(a, M(b))``, covariates take many values, or a stratum lacks a
        level.

    Notes
    -----
    Assumes that each stratum has both levels, and the support; nothing else. Within a stratum the
    score of the upper end of ``Y(a)`` is that of
    :math:`\lambda B_f(e) + u + \lambda E[g^*((Y-u)/\lambda) \mid a]` with the minimising pair held,
    which by the envelope theorem is its influence function.

    References
    ----------
    Jung and Kang (2026), "Information-theoretic causal bounds under unmeasured confounding",
    CLeaR. Manski (1990), American Economic Review 80.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.sensitivity.information import information_bounds
    >>> rng = np.random.default_rng(1)
    >>> table = {name: (rng.random(200) < 0.5).astype(float) for name in ("a", "m", "y")}
    >>> found = information_bounds(xw.TableStudy.from_frame(table, "a -> m -> y"))
    >>> found["te", "kl"].high.value >= found["te", "manski"].high.value
    True
    """
    check_level(level)
    questions = asked(study, effects, "information_bounds")
    known, crossed = split_cells(study, questions, "information_bounds")
    if crossed:
        raise DesignError(
            f"information_bounds is about Y(a); for {', '.join(map(str, crossed))} use "
            "support_bounds, marginal_bounds or omitted_confounding"
        )
    chosen = [named(name) for name in dict.fromkeys(divergences)]
    methods = (*(d.name for d in chosen), MANSKI)
    terms = tuple(q.name for q in questions)
    if support is None and not np.isin(study.outcome, (0.0, 1.0)).all():
        return InformationBounds(terms, methods, {}, level, study.describe(), INFINITE)
    support = check_support(study, support)
    data = arrays(study, "information_bounds")
    strata = _strata(study, data)
    found: dict[tuple[str, str], Bounds] = {}
    for method, divergence in zip(methods, [*chosen, None], strict=True):
        low: dict[Cell, Array] = {}
        high: dict[Cell, Array] = {}
        for cell, path in known.items():
            own = data.arm == path.levels[0]
            high[cell] = largest(data, own, strata, divergence=divergence, top=support[1])
            low[cell] = -largest(
                data, own, strata, divergence=divergence, top=-support[0], sign=-1.0
            )
        held = ends(questions, low, high)
        for j, term in enumerate(terms):
            least, most = (averaged(held[:, 2 * j + side], study) for side in (0, 1))
            found[term, method] = Bounds(term, least, most)
    return InformationBounds(terms, methods, found, level, study.describe())


def largest(
    data: Arrays,
    own: NDArray[np.bool_],
    strata: NDArray[np.int64],
    *,
    divergence: Divergence | None,
    top: float,
    sign: float = 1.0,
) -> Array:
    """Scores of the largest mean of ``sign * Y`` at a level, by strata; Manski's without one."""
    y, score = sign * data.y, np.empty(data.y.size)
    rows = np.ones(y.size) if data.weights is None else data.weights
    for code in range(int(strata.max()) + 1):
        here = strata == code
        seen = here & own
        e = float(np.average(own[here], weights=rows[here]))
        chances = rows[seen] / rows[seen].sum()
        gone = own[here] - e
        if divergence is None:
            score[here] = own[here] * y[here] + (1.0 - own[here]) * top
            continue
        values, where = np.unique(y[seen], return_inverse=True)
        held = np.bincount(where.reshape(-1), weights=chances).astype(np.float64)
        found = dual(values, held, e, divergence=divergence, top=top)
        value = found.value
        if found.scale == 0.0:  # nothing but one value, or all units at the level
            score[here] = value + own[here] / e * (y[here] - value)
            continue
        z = found.scale * divergence.conjugate((y[here] - found.shift) / found.scale)
        mean = float(np.average(z[own[here]], weights=rows[seen]))
        score[here] = value + own[here] / e * (z - mean)
        score[here] += found.scale * divergence.slope(e) * gone
    return score


def _strata(study: TableStudy, data: Arrays) -> NDArray[np.int64]:
    """Stratum of each row: the joint value of the covariates."""
    found, codes = np.unique(data.given(0), axis=0, return_inverse=True)
    most = DISCRETE**2
    if len(found) > most:
        raise DesignError(
            f"information_bounds takes the covariates' joint values as strata; there are "
            f"{len(found)}, more than {most}. Cut them into groups, or adjust for fewer"
        )
    codes = codes.reshape(-1).astype(np.int64)
    for level in study.levels:
        seen = np.bincount(codes, weights=data.arm == level)
        if (seen == 0).any():
            raise DesignError(
                f"{int((seen == 0).sum())} of {len(found)} strata of the covariates have no row "
                f"with the treatment at {level:g}; join strata"
            )
    return codes
