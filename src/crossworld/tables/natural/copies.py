"""Copies of the data in which the treatment stands twice, and the natural effect model on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.expression import MEAN, Cell
from crossworld.core.regime import Draw, Level, Random
from crossworld.errors import DesignError, SpecError
from crossworld.tables.frame import Column
from crossworld.tables.parametric.design import Design, Rows, Source, build
from crossworld.tables.parametric.families import Family, Gaussian, Logit, Poisson
from crossworld.tables.parametric.formulas import RightSide, quoted, right_side, written
from crossworld.tables.roles import DISCRETE
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
LINKS: dict[str, Family] = {"identity": Gaussian(), "logit": Logit(), "log": Poisson()}
SPACED = 5  # values a continuous treatment takes in the copies when no grid is given
_NAMES = re.compile(r"`[^`]*`|[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Names:
    """The study's columns and the two copies of its treatment.

    Parameters
    ----------
    direct
        Column of the treatment that the outcome sees, the study's name followed by 0.
    indirect
        Column of the treatment that the mediators follow, the study's name followed by 1.
    """

    treatment: str
    direct: str
    indirect: str


def names_of(study: TableStudy) -> Names:
    """Name the two copies of the treatment.

    Raises
    ------
    DesignError
        If a column of the study has such a name already.
    """
    own = study.path.treatment
    found = Names(own, f"{own}0", f"{own}1")
    for name in (found.direct, found.indirect):
        if name in study.table:
            raise DesignError(
                f"the natural effect model calls the two copies of the treatment {found.direct!r} "
                f"and {found.indirect!r}, but the study has a column {name!r}; rename it"
            )
    return found


def effect_formula(study: TableStudy, names: Names, given: str | None) -> tuple[str, RightSide]:
    """Formula of the natural effect model, checked; by default both copies and their product.

    Raises
    ------
    SpecError, DesignError
        If it is no formula for the outcome, or uses anything but the two copies and covariates.
    """
    outcome = study.path.outcome
    direct, indirect = quoted(names.direct), quoted(names.indirect)
    if given is None:
        covariates = [quoted(v) for v in study.adjust]
        given = written(outcome, [direct, indirect, f"{direct}:{indirect}", *covariates])
    if not isinstance(given, str):
        raise SpecError(f"formula is a text such as '{outcome} ~ {direct} * {indirect}'")
    known = {*study.table, names.direct, names.indirect}
    right = right_side(given, outcome, frozenset(known))
    for name in sorted(right.variables):
        if name == names.treatment:
            raise SpecError(
                f"the natural effect model {given!r} uses {name!r}; write {direct} for the "
                f"treatment that the outcome sees and {indirect} for the one that the mediators "
                "follow"
            )
        if name in study.path.mediators:
            raise SpecError(
                f"the natural effect model {given!r} uses the mediator {name!r}, but it describes "
                "nested counterfactuals given covariates alone; mediators enter the working model"
            )
    return given, right


def grid_of(study: TableStudy, given: Sequence[Level] | None) -> Array:
    """Values the treatment takes in the copies of every row.

    Raises
    ------
    SpecError, DesignError
        If the grid is no sequence of treatment values, or has fewer than two.
    """
    column = study.treatment
    values = column.distinct()
    discrete = column.is_text or len(values) <= DISCRETE
    if given is None:
        low, high = study.levels
        return np.array(values) if discrete else np.linspace(low, high, SPACED)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise SpecError(f"grid is a sequence of treatment values, got {given!r}")
    codes = [column.code(level) for level in given]
    for level, code in zip(given, codes, strict=True):
        if code is None or (discrete and code not in values):
            shown = ", ".join(column.show(v) for v in values[:8])
            raise DesignError(
                f"the grid has {level!r}, which is no value of the treatment "
                f"{study.path.treatment!r}; its values are {shown}"
            )
    if len(set(codes)) < 2:
        raise DesignError("the grid needs at least two values of the treatment to contrast")
    return np.array(sorted(c for c in set(codes) if c is not None))


def crossed(study: TableStudy, cell: Cell) -> tuple[float, float]:
    """Treatment values that the outcome and the mediators see in a cell.

    Raises
    ------
    DesignError
        If the mediators do not all follow one level, or the cell is no mean.
    """
    method = "NaturalEffects"
    if cell.functional != MEAN:
        raise DesignError(f"{method} estimates means; {cell} asks for another functional")
    regimes = [cell.regime(name) for name in study.path.mediators]
    together = cell.is_joint
    levels = set()
    for regime in regimes:
        if isinstance(regime, Draw) or (isinstance(regime, Random) and together):
            levels.add(study.level(regime.level))
        elif isinstance(regime, Random):
            raise DesignError(
                f"{method} takes the mediators jointly; {cell} draws some of them apart. Use "
                "Regression"
            )
        else:
            raise DesignError(f"{method} does not fix mediators; use Regression for {cell}")
    if len(levels) > 1:
        raise DesignError(
            f"{method} takes the mediators jointly, so they all follow one treatment level; {cell} "
            "is path-specific. Use Regression or MultiplyRobust"
        )
    return study.level(cell.treatment), levels.pop()


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """K copies of n rows and the natural effect model's design on them, copy after copy.

    Parameters
    ----------
    names
        Names of the two treatment columns.
    grid
        Values that one of the two takes, one per copy; the other stays as observed.
    design
        Design of the natural effect model on the K n stacked rows.
    family
        The link, and a working variance for which the score is linear in the response.
    link
        Name of the link.
    weights
        Row weights, (n,).
    """

    names: Names
    grid: Array
    design: Design
    family: Family
    link: str
    weights: Array

    def at(self, direct: float, indirect: float, held: dict[str, float] | None = None) -> Array:
        """Design of the n rows with both treatments, and some covariates, set: (n, p)."""
        values = {self.names.direct: direct, self.names.indirect: indirect, **(held or {})}
        x = self.design.raw([values])
        return self.design.coordinates(x)


def expand(
    study: TableStudy,
    formula: tuple[str, RightSide],
    *,
    link: str,
    grid: Array,
    weights: Array,
    varied: str,
) -> Expansion:
    """Copy the rows once per value of the grid and build the natural effect model's design.

    Parameters
    ----------
    study
        The study.
    formula
        Of the natural effect model.
    link
        Name of the link.
    grid
        Values of the treatment.
    weights
        Row weights.
    varied
        ``direct`` when the outcome's treatment runs over the grid (imputation), ``indirect`` when
        the mediators' does (weighting).
    """
    names, n = names_of(study), len(study)
    text, right = formula
    labels = study.treatment.labels
    run = Column(np.repeat(grid, n), labels)
    stay = Column(np.tile(study.treatment.values, grid.size), labels)
    direct, indirect = (run, stay) if varied == "direct" else (stay, run)
    used = [v for v in study.adjust if v in right.variables]
    columns = {
        v: replace(study.table[v], values=np.tile(study.table[v].values, grid.size)) for v in used
    }
    columns |= {names.direct: direct, names.indirect: indirect}
    own = Column(study.treatment.values, labels)
    rows = Rows({**study.table, names.direct: own, names.indirect: own}, n)
    source = Source(columns, rows, names.direct, np.tile(weights, grid.size))
    design = build(text, right, source=source, parents=())
    return Expansion(names, grid, design, LINKS[link], link, weights)


def working_terms(study: TableStudy, names: Names, effects: RightSide) -> list[str]:
    """Terms of the default outcome model: what the natural effect model needs to be unattenuated.

    Each term of the natural effect model, with the direct treatment as the treatment and the
    indirect one as each mediator in turn; and the treatment, mediators and covariates themselves
    where no such term stands for one alone.
    """
    mapped = []
    for term in effects.formula:
        factors = [(str(f.expr), f.eval_method.value) for f in term.factors]
        if not factors or all(kind == "literal" for _, kind in factors):
            continue
        follows = any(names.indirect in _used(text, kind) for text, kind in factors)
        for mediator in study.path.mediators if follows else ("",):
            plain = bool(mediator) and _is_plain(study, mediator)
            parts = [_mapped(text, kind, names, (mediator, plain)) for text, kind in factors]
            mapped.append(":".join(parts))
    variables = (study.path.treatment, *study.path.mediators, *study.adjust)
    alone = {name for t in mapped if ":" not in t for name in _used(t, "") & {*variables}}
    own = [quoted(name) for name in variables if name not in alone]
    return list(dict.fromkeys([*own, *mapped]))


def _is_plain(study: TableStudy, mediator: str) -> bool:
    """Whether no transformation of a mediator says more than the mediator itself."""
    column = study.table[mediator]
    return column.is_text or len(column.distinct()) == 2


def _used(text: str, kind: str) -> set[str]:
    return {text} if kind == "lookup" else {n.strip("`") for n in _NAMES.findall(text)}


def _mapped(text: str, kind: str, names: Names, mediator: tuple[str, bool]) -> str:
    """Write one factor of the natural effect model as a factor of the working model."""
    into = {names.direct: names.treatment, names.indirect: mediator[0]}
    if kind == "lookup":
        return quoted(into.get(text, text))
    if names.indirect in _used(text, kind) and (mediator[1] or text.startswith("C(")):
        return quoted(mediator[0])

    def change(match: Any) -> str:
        name = match.group().strip("`")
        return quoted(into[name]) if name in into else str(match.group())

    return _NAMES.sub(change, text)


def missing_structure(
    names: Names, mediators: Sequence[str], effects: RightSide, working: RightSide
) -> list[str]:
    """Terms of the natural effect model that the imputation model has no counterpart of."""
    lacking = []
    for term, used in zip(map(str, effects.formula), effects.terms, strict=True):
        plain = used - {names.direct, names.indirect}
        if names.direct in used:
            plain = plain | {names.treatment}
        follows = names.indirect in used
        found = any(
            plain <= other and (not follows or other & set(mediators)) for other in working.terms
        )
        if used and not found:
            lacking.append(term)
    return lacking
