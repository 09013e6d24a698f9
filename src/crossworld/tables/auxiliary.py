"""A second table in which the mediator was set at random, beside the one where it arose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.expression import MEAN, Cell
from crossworld.core.identification import Assumption, Identification
from crossworld.core.protocols import Fit
from crossworld.core.regime import Draw, Random
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, NotIdentifiedError, SpecError
from crossworld.tables.robust.data import arrays
from crossworld.tables.robust.engine import check_options, recipes
from crossworld.tables.robust.folds import check_arms, fold_ids
from crossworld.tables.robust.nuisance import cross_fit
from crossworld.tables.robust.overlap import describe_overlap
from crossworld.tables.robust.pooled import Pooled, TwoTableForm, pool, pool_clusters
from crossworld.tables.robust.weights import Work, aggregate
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
Asked = tuple[int, int | None, bool]  # outcome level, mediator level, whether naturally drawn
FORMULA = r"E[Y(a, G(b))] = \int\!\int E_2[Y \mid a, m, x]\, dP_1(m \mid b, x)\, dP_1(x)"


@dataclass(frozen=True, slots=True)
class Auxiliary:
    r"""Effects through a mediator that shares unmeasured causes with the outcome.

    The study's own table (1) shows what the treatment does to the mediator; in the second table (2)
    treatment and mediator were set at random given covariates, so it shows what they do to the
    outcome. With :math:`\mu_a(m, x) = E_2[Y \mid a, m, x]`,

    .. math::
        E[Y(a, G(b))] = \int\!\int \mu_a(m, x)\, dP_1(m \mid b, x)\, dP_1(x),

    scored by its influence function with one row per unit of either table:
    see `crossworld.tables.robust.pooled`.

    Parameters
    ----------
    experiment
        The second table: a `TableStudy` with the same roles, a frame, or a csv or parquet file with
        the study's columns. A file's name is relative to the working directory or to the folder
        of the study's own file. Rows and clusters of the two tables are independent.
    no_interaction
        Also answer natural effects, as
        ``Y(a, M(b)) = Y(b) + Y(a, G(b)) - Y(b, G(b))``, which holds when unmeasured causes of
        mediator and outcome do not change how the effect of the treatment on the outcome varies
        with the mediator.
    outcome, treatment
        A scikit-learn learner, or ``linear``, ``logistic``, ``boosting``, ``forest``, ``auto``. The
        treatment's learner also tells the two tables apart.
    folds
        Number of folds (clusters are kept whole) or the name of a column of fold ids in both
        tables.
    repeats
        Number of different splits; cells are aggregated by their median.
    normalize
        Divide weights by their mean (Hajek).
    trim
        Probabilities are held at least this far from 0 where they are inverted.
    seed
        Seed of the folds and of learners made from a name.
    workers
        Threads over folds.

    Raises
    ------
    DesignError
        If there is no second table, its roles differ, or a cell sets the mediator.
    NotIdentifiedError
        If a cell draws the mediator naturally under another level and ``no_interaction`` is False.

    Notes
    -----
    Assumptions: given covariates, no unmeasured cause of treatment and mediator in the first table;
    treatment and mediator randomised in the second; setting the mediator does what its arising by
    itself does; given covariates, the same means of the outcome in both tables; every mediator
    value that arises can be set. Covariates are averaged over those of the first table, whose
    outcomes are used for ``Y(a)`` alone. The scores of ``Y(a, G(b))`` are consistent when the
    outcome regressions or the classifier of the tables are, and the treatment model or the nested
    regressions are.

    ``no_interaction`` holds when the individual effect of the treatment on the outcome does
    not depend on the mediator (Imai, Tingley and Yamamoto 2013, assumption 3), and also when the
    mediator's effect does not depend on its unmeasured causes. It is not testable with these data.

    References
    ----------
    Imai, Tingley and Yamamoto (2013), JRSS-A 176. Rudolph and van der Laan (2017), JRSS-B 79,
    on transporting effects between tables.

    Examples
    --------
    >>> import crossworld as xw
    >>> from crossworld.datasets.hidden import auxiliary
    >>> data = auxiliary(n=2000, seed=1)
    >>> method = Auxiliary(data.second(), outcome="linear", treatment="logistic", folds=2)
    >>> effects = xw.estimate(data.study(), method, [xw.IDE, xw.IIE])
    >>> abs(effects["iie"].estimate - data.effect(xw.IIE)) < 4 * effects["iie"].std_error
    True
    """

    experiment: Any = None
    no_interaction: bool = False
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
        if not isinstance(self.no_interaction, bool):
            raise SpecError(f"no_interaction is True or False, got {self.no_interaction!r}")

    def portable(self) -> Auxiliary:
        """Return the same recipe with the second table as the file it was read from."""
        if isinstance(self.experiment, TableStudy) and self.experiment.origin.data is not None:
            return replace(self, experiment=self.experiment.origin.data)
        if isinstance(self.experiment, Path):
            return replace(self, experiment=str(self.experiment))
        return self

    def prepare(self, study: TableStudy, cells: Sequence[Cell]) -> Fit:
        """Fit once; replicates resample the units of both tables."""
        second = second_table(study, self.experiment)
        own = replace(self, experiment=second)
        return _TwoTables(own, study, tuple(cells), own.scores(study, cells))

    def scores(self, study: TableStudy, cells: Sequence[Cell]) -> Scores:
        """Score every cell: the rows of the first table, then those of the second."""
        if not isinstance(study, TableStudy):
            raise DesignError(f"Auxiliary needs a TableStudy, got {type(study).__name__}")
        if study.intermediate:
            raise DesignError(
                f"Auxiliary needs no intermediate variables, got {', '.join(study.intermediate)}: "
                "where the mediator is randomised they confound nothing; leave them out"
            )
        second = second_table(study, self.experiment)
        asked = [_asked(study, cell, self.no_interaction) for cell in cells]
        pooled = pool(arrays(study, "Auxiliary"), arrays(second, "Auxiliary"))
        form = TwoTableForm(pooled, len(study.blocks))
        keys = [key for each in asked for a, b in _parts(each) for key in form.keys(a, b)]
        works, fits = [], 0
        for split in np.random.SeedSequence(self.seed).spawn(self.repeats):
            ids = self._folds(study, second, split)
            nuisances, count = cross_fit(
                pooled.data,
                recipes(self),
                ids=ids,
                keys=keys,
                workers=self.workers,
                extra=form.extra,
            )
            works.append(Work(pooled.data, nuisances, self.trim, self.normalize))
            fits += count
        parts = [np.column_stack([_score(form, work, each) for each in asked]) for work in works]
        values = aggregate(parts, pooled.data.weights)
        return Scores(
            values,
            tuple(cells),
            pool_clusters(study.cluster, second.cluster, (len(study), len(second))),
            pooled.data.weights,
            diagnostics=self._told(works[0], values, pooled, fits),
        )

    def _folds(
        self, study: TableStudy, second: TableStudy, split: np.random.SeedSequence
    ) -> NDArray[np.int64]:
        found = []
        for table, seed in zip((study, second), split.spawn(2), strict=True):
            ids = fold_ids(table, self.folds, seed)
            check_arms(ids, table.treatment.values, study.levels, study.path.treatment)
            found.append(ids)
        if found[0].max() != found[1].max():
            raise DesignError(
                f"the folds of {self.folds!r} number {found[0].max() + 1} in the study's table and "
                f"{found[1].max() + 1} in the second; give both the same number"
            )
        return np.concatenate(found)

    def _told(self, work: Work, values: Array, pooled: Pooled, fits: int) -> dict[str, Any]:
        told = describe_overlap(work.overlap, values, work.data, (0.0, 1.0), self.trim)
        told["overlap"].pop("units_at_level")
        chosen = recipes(self)
        told["models"] = {
            "outcome": chosen.outcome.describe(),
            "treatment": chosen.treatment.describe(),
        }
        told["units"] = {"first": pooled.first, "second": len(values) - pooled.first}
        told["nuisance_fits"] = fits
        return told

    def identification(self, study: TableStudy, estimands: Sequence[Estimand]) -> Identification:
        """Say what the two tables identify."""
        crossing = sorted({e.name for e in estimands if any(c.crosses_worlds for c in e.cells())})
        if crossing and not self.no_interaction:
            return Identification(
                identified=False,
                by="experiment",
                adjust=study.adjust,
                reason=(
                    f"unmeasured causes of mediator and outcome are allowed, so "
                    f"{', '.join(crossing)} is not identified unless they leave the direct effect "
                    "alone (no_interaction=True); te, ide, iie and oe are identified"
                ),
                instead=("te", "ide", "iie", "oe"),
            )
        return Identification(
            identified=True,
            by="experiment",
            adjust=study.adjust,
            assumptions=_assumptions(study, bool(crossing)),
            formula=FORMULA,
        )


def second_table(study: TableStudy, experiment: Any) -> TableStudy:
    """Return the second table in the roles of the first.

    Raises
    ------
    DesignError
        If it is missing, or its roles, levels or categories are not those of the first.
    """
    if experiment is None:
        raise DesignError(
            "Auxiliary needs the table in which the mediator was randomised: experiment=, a study, "
            "a frame or a file"
        )
    if isinstance(experiment, TableStudy):
        second = experiment
    else:
        second = TableStudy.from_frame(
            _beside(study, experiment),
            study.origin.path or str(study.path),
            adjust=study.adjust,
            levels=tuple(study.spec()["levels"]),
            missing=study.origin.missing,  # type: ignore[arg-type]
            event=study.origin.event,
        )
    for role in ("path", "adjust", "intermediate", "levels"):
        one, two = getattr(study, role), getattr(second, role)
        if one != two:
            raise DesignError(
                f"the two tables differ in {role}: {one} in the study, {two} in the experiment; "
                "give both the same roles"
            )
    for name, column in study.table.items():
        if column.labels != second.table[name].labels:
            raise DesignError(
                f"the categories of {name!r} differ between the tables: {column.labels} and "
                f"{second.table[name].labels}"
            )
    odd = set(second.treatment.distinct()) - set(study.treatment.distinct())
    if odd:
        raise DesignError(
            f"the experiment has {study.path.treatment!r} at {sorted(odd)[0]:g}, which the study's "
            "table lacks; leave those rows out"
        )
    return second


def _beside(study: TableStudy, experiment: Any) -> Any:
    """A file beside the study's own, where the name leads nowhere by itself."""
    if not isinstance(experiment, str | Path) or Path(experiment).exists():
        return experiment
    near = Path(study.origin.data or "").parent / experiment
    return near if near.exists() else experiment


def _asked(study: TableStudy, cell: Cell, no_interaction: bool) -> Asked:
    if cell.functional != MEAN:
        raise DesignError(f"Auxiliary estimates means; {cell} asks for another functional")
    regimes = {cell.regime(name) for name in study.path.mediators}
    regime = regimes.pop()
    if regimes or not isinstance(regime, Draw | Random):
        raise DesignError(
            f"Auxiliary scores cells that draw all mediators under one level; {cell} does not. For "
            "a controlled effect analyse the second table with Regression"
        )
    levels = study.treatment.distinct()
    a = levels.index(study.level(cell.treatment))
    b = levels.index(study.level(regime.level))
    if isinstance(regime, Random):
        return a, b, False
    if a == b:
        return a, None, True
    if not no_interaction:
        raise NotIdentifiedError(
            f"{cell} is not identified when mediator and outcome share unmeasured causes; ask ide "
            "and iie, or assume that they leave the direct effect alone: no_interaction=True"
        )
    return a, b, True


def _parts(asked: Asked) -> list[tuple[int, int | None]]:
    a, b, natural = asked
    return [(b, None), (a, b), (b, b)] if natural and b is not None else [(a, b)]


def _score(form: TwoTableForm, work: Work, asked: Asked) -> Array:
    a, b, natural = asked
    if b is None:
        value, influence = form.natural(work, a)
        return value + influence
    value, influence = form.drawn(work, a, b)
    if natural:
        for sign, (part, moved) in (
            (1.0, form.natural(work, b)),
            (-1.0, form.drawn(work, b, b)),
        ):
            value, influence = value + sign * part, influence + sign * moved
    return value + influence


@dataclass(frozen=True, slots=True)
class _TwoTables:
    """The `Fit` of two tables: replicates run the method on resampled units of both."""

    estimator: Auxiliary
    study: TableStudy
    cells: tuple[Cell, ...]
    scores: Scores

    def resampled(self, counts: Array) -> Array:
        means = np.full((counts.shape[0], len(self.cells)), np.nan)
        first = len(self.study)
        for b, count in enumerate(counts.astype(np.int64)):
            one = np.repeat(np.arange(first), count[:first])
            two = np.repeat(np.arange(count.size - first), count[first:])
            try:
                method = replace(self.estimator, experiment=self.estimator.experiment.take(two))
                means[b] = method.scores(self.study.take(one), self.cells).means()
            except ValueError:
                continue
        return means

    def redrawn(self, seed: np.random.SeedSequence, draws: int) -> Array:
        raise SpecError("Auxiliary has no coefficients to draw; use Bootstrap or Wald")


def _assumptions(study: TableStudy, crossing: bool) -> tuple[Assumption, ...]:
    a, m, y = study.path.treatment, ", ".join(study.path.mediators[:6]), study.path.outcome
    given = f"given {', '.join(study.adjust[:12])}" if study.adjust else "without any covariate"
    found = [
        Assumption(
            "consistency",
            f"setting {m} does to {y} what {m} does when it arises by itself, and units do not "
            "affect one another",
        ),
        Assumption(
            "no treatment confounding in the first table",
            f"{given}, nothing unmeasured affects {a} and either {m} or {y} there; unmeasured "
            f"causes of {m} and {y} are allowed",
        ),
        Assumption(
            "randomisation in the second table",
            f"{given}, {a} and {m} were set at random there",
        ),
        Assumption(
            "the same response in both tables",
            f"{given}, {y} has the same mean in both tables at the same {a} and {m}",
        ),
        Assumption(
            "positivity",
            f"every {m} that arises in the first table occurs with both levels of {a} in the "
            f"second, {given}",
            testable=True,
        ),
    ]
    if crossing:
        found.append(
            Assumption(
                "no interaction with unmeasured causes",
                f"{given}, unmeasured causes of {m} and {y} do not change how the effect of {a} "
                f"on {y} varies with {m}; neither table can check this",
            )
        )
    return tuple(found)
