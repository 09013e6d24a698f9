"""Separable effects: a treatment whose two components could be given apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossworld.core.estimand import Estimand
from crossworld.core.expression import MEAN, Cell, Y
from crossworld.core.identification import Assumption, Identification
from crossworld.core.regime import Draw, Level
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.tables.graphs import separable_obstacle
from crossworld.tables.path import Path
from crossworld.tables.robust.engine import RatioForm, check_options, cross_fitted_scores
from crossworld.tables.study import TableStudy

COMPONENTS = ("direct", "indirect")


@dataclass(frozen=True, slots=True)
class Separable:
    r"""Separable direct and indirect effects, with intermediate variables behind one component.

    The treatment A is thought of as two components that the data always show together: N acts on
    the outcome other than through the mediators, O acts on the mediators. ``Y(n, M(o))`` is
    read as the mean outcome in a trial that sets N to n and O to o: no mediator is set, and no
    cross-world assumption is made. An intermediate variable L that the treatment affects
    follows N (``"direct"``) or O (``"indirect"``), as you say; with l the level of its
    component,

    .. math::
        E[Y(n, o)] = \int E[Y \mid n, \ell, m, x]\, dP(m \mid o, \ell, x)\,
        dP(\ell \mid l, x)\, dP(x).

    Scores are those of `MultiplyRobust` with L as a mediator block of its own level in front of the
    mediators.

    Parameters
    ----------
    assign
        The component behind each of the study's intermediate variables, such as
        ``{"l": "direct"}``; one word stands for all of them.
    outcome, treatment
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids.
    repeats
        Number of different splits; cells are aggregated by their median.
    normalize
        Divide each stage's weights by their mean (Hajek).
    trim
        Treatment probabilities are held at least this far from 0; who was held is reported.
    seed
        Seed of the folds and of learners made from a name.
    workers
        Threads over folds.

    Raises
    ------
    DesignError
        If an intermediate variable has no component, or a cell does not draw its mediators.

    Notes
    -----
    Assumptions: those of `MultiplyRobust` for the outcome, mediators and intermediate variables in
    causal order, each variable affected by one component alone (dismissible components), and
    nothing unmeasured that affects variables behind different components. Intermediate variables
    precede the mediators, in the order in which the study names them. A variable that responds
    to both components leaves the effects without an answer. Without intermediate variables the
    functional is that of the natural effects.

    References
    ----------
    Robins, Richardson and Shpitser (2022), in Probabilistic and Causal Inference: The Works of
    Judea Pearl. Stensrud, Hernan, Tchetgen Tchetgen, Robins, Didelez and Young (2021), Lifetime
    Data Analysis 27. Zhou (2022), JRSS-B 84.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.datasets.hidden import separable
    >>> data = separable(n=2000, seed=1, assign="direct")
    >>> method = Separable({"l": "direct"}, outcome="linear", treatment="logistic", folds=2)
    >>> scores = method.scores(data.study(), [xw.Y(1, xw.M(0))])
    >>> found = scores.mean(xw.Y(1, xw.M(0)))
    >>> abs(found.value - data.truth(xw.Y(1, xw.M(0)))) < 4 * found.std_error
    True
    """

    assign: Mapping[str, str] | str | None = None
    outcome: Any = "auto"
    treatment: Any = "auto"
    folds: int | str = 5
    repeats: int = 1
    normalize: bool = True
    trim: float = 0.01
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        check_options(self)
        given = self.assign if isinstance(self.assign, Mapping) else {"": self.assign or "direct"}
        for name, component in given.items():
            if component not in COMPONENTS:
                where = f"component of {name!r}" if name else "assign of Separable"
                raise SpecError.unknown(where, str(component), COMPONENTS)

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell from shared nuisances."""
        if not isinstance(study, TableStudy):
            raise DesignError(f"Separable needs a TableStudy, got {type(study).__name__}")
        parts = components(study, self.assign)
        ordered = in_order(study)
        asked = [as_path(cell, study, parts).bind(ordered.blocks) for cell in cells]
        distinct = list(dict.fromkeys(asked))
        found = cross_fitted_scores(self, RatioForm(), ordered, distinct)
        at = [distinct.index(cell) for cell in asked]
        told = {**found.diagnostics, "components": dict(parts)}
        return replace(found, values=found.values[:, at], cells=tuple(cells), diagnostics=told)

    def identification(self, study: TableStudy, estimands: Sequence[Estimand]) -> Identification:
        """Say what setting the two components apart needs."""
        parts = components(study, self.assign)
        split = [e.name for e in estimands if not all(_is_drawn(c) for c in e.cells())]
        if split:
            return Identification(
                identified=False,
                by="adjustment",
                adjust=study.adjust,
                reason=(
                    f"a trial of the two components sets no mediator, so {', '.join(split)} is "
                    "none of its effects; ask te, nde, nie, tnde or pnie"
                ),
                instead=("te", "nde", "nie", "tnde", "pnie"),
            )
        refusal = separable_obstacle(study.graph, study.adjust, parts)
        if refusal is not None:
            return refusal
        return Identification(
            identified=True,
            by="adjustment",
            adjust=study.adjust,
            assumptions=_assumptions(study, parts),
            formula=_formula(study, parts),
        )


def components(study: TableStudy, assign: Mapping[str, str] | str | None) -> dict[str, str]:
    """Component of every intermediate variable.

    Raises
    ------
    DesignError
        If one has none, or one is named that the study does not have.
    """
    names = study.intermediate
    if isinstance(assign, str):
        return dict.fromkeys(names, assign)
    given = dict(assign or {})
    odd = [name for name in given if name not in names]
    if odd:
        listed = ", ".join(names) or "none"
        raise DesignError(
            f"assign names {odd[0]!r}, which is no intermediate variable of the study; they are: "
            f"{listed}"
        )
    lacking = [name for name in names if name not in given]
    if lacking:
        raise DesignError(
            f"say which component of the treatment {lacking[0]!r} responds to: "
            f"assign={{{lacking[0]!r}: 'direct'}} or 'indirect'"
        )
    return {name: given[name] for name in names}


def in_order(study: TableStudy) -> TableStudy:
    """Return the study with its intermediate variables as mediator blocks before the others."""
    path = study.path
    before = tuple((name,) for name in study.intermediate)
    return replace(
        study, path=Path(path.treatment, (*before, *path.blocks), path.outcome), intermediate=()
    )


def as_path(cell: Cell, study: TableStudy, parts: Mapping[str, str]) -> Cell:
    """Write ``Y(n, M(o))`` as a cell of the ordered study.

    Raises
    ------
    DesignError
        If the cell does not draw its mediators, or, behind the indirect component, puts them under
        different levels.
    """
    if cell.functional != MEAN:
        raise DesignError(f"Separable estimates means; {cell} asks for another functional")
    if not _is_drawn(cell):
        raise DesignError(
            f"Separable sets the treatment's components, not the mediators; {cell} does. Ask cells "
            "such as Y(1, M(0)), or use Interventional"
        )
    levels: dict[str, Level] = {}
    for name in study.path.mediators:
        regime = cell.regime(name)
        assert isinstance(regime, Draw)
        levels[name] = regime.level
    if "indirect" in parts.values() and len({study.level(v) for v in levels.values()}) > 1:
        raise DesignError(
            f"{cell} puts mediators under different levels, so the indirect component has none of "
            "its own; assign the intermediate variables to 'direct', or ask nde and nie"
        )
    through = next(iter(levels.values()))
    own = {name: cell.treatment if parts[name] == "direct" else through for name in parts}
    return Y(cell.treatment, **own, **levels)


def _is_drawn(cell: Cell) -> bool:
    return all(isinstance(r, Draw) for _, r in cell.regimes)


def _assumptions(study: TableStudy, parts: Mapping[str, str]) -> tuple[Assumption, ...]:
    a, m, y = study.path.treatment, ", ".join(study.path.mediators[:6]), study.path.outcome
    given = f"given {', '.join(study.adjust[:12])}" if study.adjust else "without any covariate"
    everything = ", ".join([*parts, m, y])
    sides = {side: [name for name in parts if parts[name] == side] for side in COMPONENTS}
    direct, indirect = ", ".join([*sides["direct"], y]), ", ".join([*sides["indirect"], m])
    return (
        Assumption(
            "components",
            f"{a} consists of two components that could be given apart, and giving both is "
            f"giving {a}; a trial with four arms would show every effect asked for",
        ),
        Assumption(
            "dismissible components",
            f"one component acts on {direct} directly, the other on {indirect}, and nothing "
            "responds directly to both",
        ),
        Assumption(
            "no treatment confounding",
            f"{given}, nothing unmeasured affects {a} and any of {everything}",
        ),
        Assumption(
            "no confounding across components",
            f"{given}, nothing unmeasured affects both one of {direct} and one of {indirect}",
        ),
        Assumption(
            "positivity",
            f"every value of the covariates occurs with both levels of {a}, with every value of "
            f"{', '.join([*parts, m])} that the other level brings about",
            testable=True,
        ),
    )


def _formula(study: TableStudy, parts: Mapping[str, str]) -> str:
    given = ", x" if study.adjust else ""
    held = "".join(rf", l_{{{k}}}" for k in range(1, len(parts) + 1))
    laws = "".join(
        rf"\, dP(l_{{{k}}} \mid {'n' if side == 'direct' else 'o'}"
        rf"{''.join(rf', l_{{{j}}}' for j in range(1, k))}{given})"
        for k, side in enumerate(parts.values(), start=1)
    )
    over = r"\, dP(x)" if study.adjust else ""
    return rf"E[Y(n, o)] = \int E[Y \mid n{held}, m{given}]\, dP(m \mid o{held}{given}){laws}{over}"
