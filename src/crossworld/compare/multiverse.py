"""One effect over a grid of models, adjustment sets and learners: the specification curve."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.compare.figure import curve
from crossworld.core.analysis import Analysis
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate
from crossworld.core.fits import describe
from crossworld.core.late import late
from crossworld.core.table import EffectTable, number, probability
from crossworld.errors import CrossworldWarning, DesignError, SpecError
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
LEVEL = 0.95
DRAWS = 5000
MOST = 2000  # specifications a grid may have
Sets = Sequence[Sequence[str]] | Literal["full", "leave-one-out"]


@dataclass(frozen=True, slots=True)
class Specification:
    """One estimate of one effect, and the choices behind it.

    Parameters
    ----------
    term
        The effect.
    estimator
        The method's name in the grid.
    adjust
        Covariates adjusted for.
    interaction
        The method's ``interaction`` option, or None when it has none.
    estimate, std_error, conf_low, conf_high, p_value, failure
        As in `Effect`, None when the specification failed; why it did, or empty.
    """

    term: str
    estimator: str
    adjust: tuple[str, ...]
    interaction: bool | None
    estimate: float | None = None
    std_error: float | None = None
    conf_low: float | None = None
    conf_high: float | None = None
    p_value: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """All specifications of one effect in one breath.

    Parameters
    ----------
    term
        The effect.
    count, failed
        Specifications with an estimate, and without.
    median, lowest, highest
        Of the estimates.
    same_sign
        Share of estimates on the side of the null that most are on.
    significant
        Share significant at 5 % on that side.
    mean, std_error
        Mean over specifications and its standard error, the same units behind all of them
        accounted for; None where a method has no influence function.
    p_values
        Of no effect in any specification, by the statistic: the median's distance from the null,
        the share significant on one side, the largest t.
    """

    term: str
    count: int
    failed: int
    median: float | None
    lowest: float | None
    highest: float | None
    same_sign: float | None
    significant: float | None
    mean: float | None
    std_error: float | None
    p_values: Mapping[str, float]

    def __str__(self) -> str:
        if not self.count:
            return f"{self.term}: all {self.failed} specifications failed"
        text = f"{self.term}: {self.count} specifications, median {number(self.median)}, from "
        text += f"{number(self.lowest)} to {number(self.highest)}; {self.same_sign:.0%} on one "
        text += f"side of the null, {self.significant:.0%} significant there"
        if self.mean is not None:
            text += f"; mean {number(self.mean)} (se {number(self.std_error)})"
        told = [f"{k} p {probability(p)}" for k, p in self.p_values.items()]
        text += f"; no effect in any: {', '.join(told)}" if told else ""
        return text + (f"; {self.failed} failed" if self.failed else "")


@dataclass(frozen=True, slots=True, eq=False)
class Multiverse:
    """Estimates over a grid of specifications.

    Parameters
    ----------
    specifications
        All of them, failures too, in the order of the grid.
    statements
        One per effect.
    nulls
        Value of no effect, by effect.
    """

    specifications: tuple[Specification, ...]
    statements: tuple[Statement, ...]
    nulls: Mapping[str, float] = field(default_factory=dict)

    def of(self, term: str) -> tuple[Specification, ...]:
        """Specifications of one effect that have an estimate, by its size.

        Raises
        ------
        KeyError
            If the effect was not asked.
        """
        if term not in self.nulls:
            raise KeyError(f"{term!r} was not asked; there are {', '.join(self.nulls)}")
        held = [s for s in self.specifications if s.term == term and s.estimate is not None]
        return tuple(sorted(held, key=lambda s: s.estimate or 0.0))

    @property
    def failures(self) -> tuple[Specification, ...]:
        """Specifications without an estimate."""
        return tuple(s for s in self.specifications if s.failure)

    def to_frame(self) -> Any:
        """Return one row per specification and effect as a pandas frame."""
        names = [f.name for f in fields(Specification)]
        columns = {n: [getattr(s, n) for s in self.specifications] for n in names}
        return late("io").frame({**columns, "adjust": list(map(" + ".join, columns["adjust"]))})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        held = [{**asdict(s), "adjust": list(s.adjust)} for s in self.specifications]
        told = [{**asdict(s), "p_values": dict(s.p_values)} for s in self.statements]
        return {"specifications": held, "statements": told, "nulls": dict(self.nulls)}

    def __str__(self) -> str:
        why: dict[tuple[str, str], list[Specification]] = {}
        for s in self.failures:
            why.setdefault((s.term, s.failure), []).append(s)
        failed = [
            f"! {term} failed in {len(ones)}, first {_choices(ones[0])}: {reason}"
            for (term, reason), ones in why.items()
        ]
        return "\n".join([*map(str, self.statements), *failed])

    def plot(self, term: str | None = None) -> Any:
        """Draw the specification curve of an effect, the first by default: a matplotlib figure.

        Above, sorted estimates with 95 % intervals, filled where the interval leaves the null out;
        below, the choices behind each.
        """
        name = next(iter(self.nulls)) if term is None else term
        held = self.of(name)
        if not held:
            raise DesignError(f"no specification of {name!r} has an estimate to draw")
        return curve(name, held, self.nulls[name])

    def svg(self, term: str | None = None) -> str:
        """Return the figure as SVG text; the same result always gives the same text."""
        import matplotlib

        out = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": "crossworld", "svg.fonttype": "none"}):
            self.plot(term).savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()


def multiverse(
    study: TableStudy,
    estimands: Sequence[Estimand],
    *,
    estimators: Sequence[Any] | Mapping[str, Any] | None = None,
    adjust: Sets = "full",
    interaction: Sequence[bool] = (),
    workers: int = 1,
) -> Multiverse:
    r"""Estimate effects under every combination of methods, adjustment sets and interaction.

    The joint statement tests no effect in any specification. With :math:`t` the vector of z
    statistics of the S specifications, whose null law is :math:`N(0, R)` with :math:`R` the
    correlation of their influence functions, it refers the statistics of Simonsohn, Simmons and
    Nelson (2020), the median's distance from the null, the share significant on one side, and the
    largest :math:`|t|`, to draws of that law. (Their permutations have no counterpart for an
    indirect effect, whose null does not say which of its two arms is absent.)

    Parameters
    ----------
    study
        The study; its ``adjust`` is the full set.
    estimands
        The effects.
    estimators
        Methods, or a mapping from names to methods; `Regression()` by default.
    adjust
        Sets of columns, ``"full"``, or ``"leave-one-out"``: the full set and each one less.
    interaction
        Values of the option ``interaction`` to try in every method that has it; none: as given.
    workers
        Threads. Results do not depend on it.

    Raises
    ------
    SpecError, DesignError
        If the grid is empty, too large, or names a column that is not there. A specification that
        fails is listed with its reason, never dropped.

    References
    ----------
    Simonsohn, Simmons and Nelson (2020), Nature Human Behaviour 4. Steegen, Tuerlinckx, Gelman and
    Vanpaemel (2016), Perspectives on Psychological Science 11.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> methods = [xw.Regression(), xw.Weighting()]
    >>> found = multiverse(study, [xw.NIE], estimators=methods, adjust="leave-one-out")
    >>> [s.count for s in found.statements]
    [4]
    """
    terms = tuple(estimands)
    if not terms:
        raise SpecError("no effect was asked for; try [xw.NDE, xw.NIE]")
    grid = _grid(study, _methods(estimators), adjust, tuple(interaction))
    from joblib import Parallel, delayed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossworldWarning)
        found = Parallel(n_jobs=workers, prefer="threads")(
            delayed(_run)(_with(study, one.adjust), method, terms) for one, method in grid
        )
    rows, estimates = [], dict[str, list[Estimate | None]]()
    for (one, _), result in zip(grid, found, strict=True):
        for term in terms:
            held = replace(one, term=term.name)
            rows.append(_filled(held, result))
            estimates.setdefault(term.name, []).append(_estimate(result, term))
    nulls = {t.name: t.null for t in terms}
    told = tuple(
        _statement(t, [r for r in rows if r.term == t.name], estimates[t.name]) for t in terms
    )
    return Multiverse(tuple(rows), told, nulls)


def _methods(given: Sequence[Any] | Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        from crossworld.tables.regression import Regression

        given = [Regression()]
    methods = list(given.values() if isinstance(given, Mapping) else given)
    wrong = [m for m in methods if isinstance(m, type) or not hasattr(m, "scores")]
    if wrong or not methods:
        shown = repr(wrong[0]) if wrong else "an empty list"
        raise SpecError(f"estimators are configured methods such as xw.Regression(), got {shown}")
    return dict(given) if isinstance(given, Mapping) else {describe(m): m for m in methods}


def _grid(
    study: TableStudy, methods: Mapping[str, Any], adjust: Sets, crossed: tuple[bool, ...]
) -> list[tuple[Specification, Any]]:
    full = study.adjust
    if isinstance(adjust, str):
        if adjust not in ("full", "leave-one-out"):
            raise SpecError.unknown("adjust", adjust, ("full", "leave-one-out"))
        less = [tuple(n for n in full if n != name) for name in full]
        sets = [full, *(less if adjust == "leave-one-out" else [])]
    else:
        sets = [tuple(one) for one in adjust]
        if any(isinstance(one, str) for one in adjust) or not sets:
            raise SpecError(f"adjust is a list of lists of columns, got {adjust!r}")
    grid = []
    for name, method in methods.items():
        has = is_dataclass(method) and "interaction" in {f.name for f in fields(method)}
        for value in crossed if has and crossed else (None,):
            own: Any = method if value is None else replace(method, interaction=value)
            shown = getattr(own, "interaction", None) if has else None
            grid += [(Specification("", name, one, shown), own) for one in dict.fromkeys(sets)]
    if len(grid) > MOST:
        raise SpecError(f"the grid has {len(grid)} specifications, more than {MOST}; make it less")
    return grid


def _with(study: TableStudy, adjust: tuple[str, ...]) -> TableStudy:
    added = {n: study.column(n, "adjust") for n in adjust if n not in study.table}
    left = {n: c for n, c in study.table.items() if n not in study.adjust or n in adjust}
    return replace(study, adjust=adjust, table={**left, **added})


def _run(study: TableStudy, method: Any, terms: tuple[Estimand, ...]) -> EffectTable | str:
    try:
        return Analysis(study, method, terms, level=LEVEL).run()
    except ValueError as error:
        return str(error)


def _filled(one: Specification, result: EffectTable | str) -> Specification:
    if isinstance(result, str):
        return replace(one, failure=result)
    row = result[one.term]
    if row.estimate is None:
        return replace(one, failure="the effect has no estimate")
    numbers = (row.estimate, row.std_error, row.conf_low, row.conf_high, row.p_value)
    return Specification(one.term, one.estimator, one.adjust, one.interaction, *numbers)


def _estimate(result: EffectTable | str, term: Estimand) -> Estimate | None:
    """Estimate with its influence."""
    if isinstance(result, str) or result.scores is None or not result.scores.influence:
        return None
    bound = next(e for e in result.estimands if e.name == term.name)
    found = bound.expr.evaluate(result.scores.mean)
    return found if isinstance(found, Estimate) and found.std_error > 0.0 else None


def _statement(
    term: Estimand, rows: Sequence[Specification], estimates: Sequence[Estimate | None]
) -> Statement:
    values = np.array([r.estimate for r in rows if r.estimate is not None])
    failed = len(rows) - values.size
    if not values.size:
        gone = (None, None, None, None, None, None, None)
        return Statement(term.name, 0, failed, *gone, {})
    up = bool((values > term.null).mean() >= 0.5)
    p_values = [r.p_value for r in rows if r.estimate is not None]
    side = values > term.null if up else values < term.null
    found = [p is not None and p < 0.05 and s for p, s in zip(p_values, side, strict=True)]
    mean, error, joint = None, None, dict[str, float]()
    known = [e for e in estimates if e is not None]
    if len(known) == values.size:
        whole = sum(known[1:], start=known[0]) / len(known)
        mean, error = whole.value, whole.std_error
        joint = _joint(*_on_test_scale(term, known))
    return Statement(
        term.name,
        int(values.size),
        failed,
        float(np.median(values)),
        float(values.min()),
        float(values.max()),
        float(side.mean()),
        float(np.mean(found)),
        mean,
        error,
        joint,
    )


def _on_test_scale(term: Estimand, known: list[Estimate]) -> tuple[list[Estimate], float]:
    """Ratios are tested by their logarithms."""
    if term.is_ratio and all(e.value > 0.0 for e in known):
        return [e.log() for e in known], math.log(term.null)
    return known, term.null


def _joint(known: Sequence[Estimate], null: float) -> dict[str, float]:
    """P values of no effect in any specification, from the joint normal law of the estimates."""
    errors = np.array([e.std_error for e in known])
    covariance = np.array([[one.covariance(other) for other in known] for one in known])
    correlation = covariance / np.outer(errors, errors)
    values, basis = np.linalg.eigh(correlation)
    root = basis * np.sqrt(np.maximum(values, 0.0))
    rng = np.random.default_rng(np.random.SeedSequence(len(known)))
    drawn = rng.standard_normal((DRAWS, len(known))) @ root.T
    observed = (np.array([e.value for e in known]) - null) / errors
    both = np.vstack([observed, drawn])
    held = {
        "median": np.abs(np.median(both * errors, axis=1)),
        "share significant": np.maximum((both > 1.96).mean(axis=1), (both < -1.96).mean(axis=1)),
        "largest t": np.abs(both).max(axis=1),
    }
    slack = 1.0 - 1e-12
    return {k: float((1 + (v[1:] >= v[0] * slack).sum()) / (1 + DRAWS)) for k, v in held.items()}


def _choices(one: Specification) -> str:
    told = f"{one.estimator} adjusting for {' + '.join(one.adjust) or 'nothing'}"
    return told if one.interaction is None else f"{told}, interaction={one.interaction}"
