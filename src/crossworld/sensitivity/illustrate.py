"""What a report shows of sensitivity when nobody asked: a result is enough, no data is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossworld.core.exhibits import Contour
from crossworld.errors import CrossworldError
from crossworld.sensitivity.bias_formulas import bias_formulas

if TYPE_CHECKING:
    from crossworld.core.table import EffectTable

_TERMS = ("nie", "pnie", "nde")


def contours(result: EffectTable) -> tuple[Contour, ...]:
    """How strong an unmeasured mediator-outcome confounder would have to be (VanderWeele 2010).

    The first of nie, pnie and nde that the result has is corrected for a confounder of every pair
    of strengths. Nothing is shown where the effect follows from an experiment, or the formulas do
    not apply.

    Examples
    --------
    >>> import crossworld as xw
    >>> result = xw.estimate(xw.datasets.linear(n=500, seed=1).study(), xw.Regression())
    >>> contours(result)[0].title
    'nie, corrected for mediator-outcome confounding'
    """
    if result.identification.get("by") != "adjustment":
        return ()
    asked = {row.term for row in result}
    for term in _TERMS:
        if term not in asked:
            continue
        try:
            found = bias_formulas(result, term=term)
            return (found.contours().exhibit(note=_note(term, found.removes)),)
        except CrossworldError:
            continue
    return ()


def _note(term: str, removes: float | None) -> str:
    text = (
        f"Each line joins confounders that would make {term} the value written on it. A confounder "
        "U of mediator and outcome is described by its effect on the outcome (gamma, across) and "
        "by how much it differs between the groups among units with the same mediator (delta, "
        "upwards)."
    )
    if removes is None:
        return text
    return f"{text} {term} would be 0 where gamma times delta is {removes:.4g}."
