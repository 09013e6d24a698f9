"""Pictures and tables that producers attach to a result: plain values, drawn by the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crossworld.core.exhibits.base import Exhibit as Exhibit
from crossworld.core.exhibits.base import build
from crossworld.core.exhibits.charts import Arm as Arm
from crossworld.core.exhibits.charts import Compared as Compared
from crossworld.core.exhibits.charts import Comparison as Comparison
from crossworld.core.exhibits.charts import Contour as Contour
from crossworld.core.exhibits.charts import Curve as Curve
from crossworld.core.exhibits.charts import Distributions as Distributions
from crossworld.core.exhibits.charts import Mark as Mark
from crossworld.core.exhibits.charts import Series as Series
from crossworld.core.exhibits.charts import TwoSample as TwoSample
from crossworld.core.exhibits.charts import Variable as Variable
from crossworld.core.exhibits.maps import Circuit as Circuit
from crossworld.core.exhibits.maps import Heatmap as Heatmap
from crossworld.core.exhibits.maps import Link as Link
from crossworld.core.exhibits.maps import Node as Node
from crossworld.core.exhibits.maps import Step as Step
from crossworld.core.exhibits.maps import Steps as Steps
from crossworld.core.exhibits.words import CausalGraph as CausalGraph
from crossworld.core.exhibits.words import Story as Story
from crossworld.core.exhibits.words import Table as Table
from crossworld.errors import SpecError

KINDS: dict[str, type[Any]] = {
    held.kind: held
    for held in (
        Story, Comparison, Distributions, CausalGraph, Contour, Curve, Steps, Heatmap, Circuit,
        Table,
    )
}  # fmt: skip


def read(held: Exhibit | Mapping[str, Any]) -> Exhibit:
    """Return an exhibit as a value of its class, with everything in it checked.

    Parameters
    ----------
    held
        An exhibit, or its plain form with ``kind`` and the fields of the class.

    Raises
    ------
    SpecError
        If the kind is not known, or the values do not fit it.

    Examples
    --------
    >>> read({"kind": "story", "question": "Why?"}).question
    'Why?'
    """
    if isinstance(held, tuple(KINDS.values())):
        return held  # type: ignore[return-value]
    if not isinstance(held, Mapping):
        raise SpecError(f"an exhibit is a value of crossworld.exhibits, got {held!r:.60}")
    kind = held.get("kind")
    if kind not in KINDS:
        raise SpecError.unknown("kind of exhibit", str(kind), tuple(KINDS))
    fields = {key: value for key, value in held.items() if key != "kind"}
    made: Exhibit = build(KINDS[str(kind)], fields, f"an exhibit of kind {kind!r}")
    return made


def known(held: Iterable[Any]) -> tuple[Exhibit, ...]:
    """Read the exhibits of a result; kinds that a later version may add are left out.

    Raises
    ------
    SpecError
        If one of a known kind is damaged.
    """
    return tuple(
        read(one) for one in held if not isinstance(one, Mapping) or one.get("kind") in KINDS
    )
