r"""Cells whose mediators are drawn at random while the treatment affects a confounder.

One of the two blocks, intermediate variables Z or mediators M, is summed over and has few values
(S below); the other (O) may be of any kind. With :math:`b_s(o, w) = E[Y \mid a, s, o, w]`, the
law :math:`\lambda_s(w)` of S (under a for Z, under b for M) and
:math:`h_s(w) = E[b_s(O, w) \mid A = t, w]` (t = b when S is Z, a when S is M),

.. math:: v = \sum_s \lambda_s h_s, \qquad
          \{u, \eta\} = \{h_S,\ \textstyle\sum_s \lambda_s b_s\}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.tables.robust import learners
from crossworld.tables.robust.nuisance import Extra, Fold, Key
from crossworld.tables.robust.overlap import clip
from crossworld.tables.robust.weights import Work

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class InterventionForm:
    """How a cell with randomly drawn mediators is scored.

    Parameters
    ----------
    summed
        Which of the two is summed over: ``"intermediate"`` or ``"mediator"``.
    codes
        Its value in every row, 0..C-1.
    count
        C.
    other
        Number of blocks of the other one; they come first in the arrays.
    """

    summed: Literal["intermediate", "mediator"]
    codes: Codes
    count: int
    other: int

    @property
    def extra(self) -> Mapping[str, Extra]:
        """The nuisances beside those of treatment and outcome."""
        return {
            "law": lambda fold, key: law(fold, self, key[1], key[2]),
            "surface": lambda fold, key: surface(fold, self, key[1])(fold.test),
            "stage": lambda fold, key: stage(fold, self, key[1], key[2]),
        }

    def under(self, a: float, b: float) -> tuple[float, float]:
        """Levels at which S follows its law and at which O is averaged."""
        return (a, b) if self.summed == "intermediate" else (b, a)

    def keys(self, a: float, b: float) -> list[Key]:
        """Nuisances of the cell with outcome level ``a`` and mediator level ``b``."""
        own, averaged = self.under(a, b)
        found: list[Key] = [("treatment", 0), ("law", own, 0), ("law", a, self.other)]
        if self.summed == "intermediate":
            found.append(("treatment", self.other))
        return [*found, ("surface", a), ("stage", a, averaged)]

    def score(self, work: Work, a: float, b: float) -> Array:
        r"""Score of ``Y(a, G(b))``, (n,).

        .. math::
            \frac{1\{A = a\}}{g_a} [c\, \{Y - b(Z, M, W)\} + u(Z, W) - v(W)]
            + \frac{1\{A = b\}}{g_b} \{\eta(M, W) - v(W)\} + v(W), \qquad
            c = \frac{p(M \mid b, W)}{p(M \mid a, Z, W)}

        (Diaz, Hejazi, Rudolph and van der Laan 2021).
        """
        own, averaged = self.under(a, b)
        here = np.arange(self.codes.size)
        chances = work.nuisances["law", own, 0]
        means, held = work.nuisances["surface", a], work.nuisances["stage", a, averaged]
        v = (chances * held).sum(axis=1)
        over, own_mean = (chances * means).sum(axis=1), held[here, self.codes]
        u, eta = (own_mean, over) if self.summed == "intermediate" else (over, own_mean)
        among = work.nuisances["law", a, self.other][here, self.codes]
        ratio = chances[here, self.codes] / clip(among, work.trim, (a, -1), work.overlap)
        if self.summed == "intermediate":
            ratio = ratio * work.chance(a, 0) / work.chance(b, 0)
            ratio = ratio * work.chance(b, self.other) / work.chance(a, self.other)
        at_a = (work.data.arm == a) / work.chance(a, 0)
        at_b = (work.data.arm == b) / work.chance(b, 0)
        for name, weight in (("outcome", at_a * ratio), (own, at_a), (averaged, at_b)):
            work.overlap.weights[a, b, name] = weight
        first = work.scaled(at_a * ratio) * (work.data.y - means[here, self.codes])
        return np.asarray(first + work.scaled(at_a) * (u - v) + work.scaled(at_b) * (eta - v) + v)


def law(fold: Fold, form: InterventionForm, level: float, blocks: int) -> Array:
    """P(S = s | A = level, X, first blocks) at the test rows, (t, C)."""
    rows = fold.train[fold.data.arm[fold.train] == level]
    target, x = form.codes[rows].astype(np.float64), fold.data.given(blocks)
    classes = np.arange(form.count, dtype=np.float64)
    if x.shape[1] == 0 or np.unique(target).size == 1:
        share = [np.average(target == c, weights=fold.weights(rows)) for c in classes]
        return np.tile(share, (fold.test.size, 1))
    made = fold.recipes.treatment.make(probability=True, rows=rows.size)
    fitted = learners.fit(made, x[rows], target, fold.weights(rows), form.summed)
    fold.fits.append(f"{form.summed} | level {level:g}, {blocks} blocks")
    return learners.probabilities(fitted, x[fold.test], classes, form.summed)


def surface(fold: Fold, form: InterventionForm, level: float) -> Callable[[Codes], Array]:
    """Outcome regressions under ``level``, one for each value of S: rows -> (rows, C).

    Raises
    ------
    DesignError
        If a value of S does not occur among the training rows at that level.
    """
    key: Key = ("surface fit", level)
    if key not in fold.held:
        found = []
        for code in range(form.count):
            at = (fold.data.arm[fold.train] == level) & (form.codes[fold.train] == code)
            rows = fold.train[at]
            if rows.size == 0:
                raise DesignError(
                    f"no training row has the treatment at {level:g} and value number {code} of "
                    f"the {form.summed} variables; use fewer folds, or join rare values"
                )
            found.append(fold.regression(rows, fold.data.y[rows], form.other))
            fold.fits.append(f"outcome | level {level:g}, {form.summed} {code}")
        fold.held[key] = found
    fitted: list[Callable[[Array], Array]] = fold.held[key]
    x = fold.data.given(form.other)
    return lambda rows: np.column_stack([predict(x[rows]) for predict in fitted])


def stage(fold: Fold, form: InterventionForm, level: float, averaged: float) -> Array:
    """Mean of each surface over O at level ``averaged``, given X, at the test rows, (t, C)."""
    rows = fold.train[fold.data.arm[fold.train] == averaged]
    targets = surface(fold, form, level)(rows)
    fold.fits.append(f"stage | levels {level:g}, {averaged:g}")
    x = fold.data.given(0)[fold.test]
    return np.column_stack(
        [fold.regression(rows, target, 0, nested=True)(x) for target in targets.T]
    )
