"""Analyses run again with one thing changed: the same numbers whatever the number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from crossworld.core.analysis import Analysis
from crossworld.core.estimand import Estimand, needed
from crossworld.core.estimate import Estimate
from crossworld.core.fits import Given, portable, prepare
from crossworld.core.options import check_whole
from crossworld.core.scores import Scores
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import CrossworldError
from crossworld.infer.wald import Wald
from crossworld.tables.robust import reuse

T = TypeVar("T")
SAME = 1e-10  # relative movement that is rounding
UNUSED = (
    "the estimates did not change in the last digit: the estimator does not use the covariate that "
    "was added, so nothing was tried"
)


@dataclass(frozen=True, slots=True)
class Attempts(Generic[T]):
    """What came of the reruns, in the order of their seeds.

    Parameters
    ----------
    done
        Results of the reruns that went through.
    failed
        Why the others did not.
    """

    done: tuple[T, ...]
    failed: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many reruns were tried."""
        return len(self.done) + len(self.failed)

    def told(self) -> str:
        """Say how many reruns failed, and why the first did; empty when none did."""
        if not self.failed:
            return ""
        return f" {len(self.failed)} of {self.total} reruns failed ({self.failed[0]})."


def attempt(tasks: Sequence[Callable[[], T]], *, workers: int = 1) -> Attempts[T]:
    """Run tasks on threads; an error of a fit is kept with the others, never dropped."""
    check_whole("workers", workers, 1)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        if workers == 1 or len(tasks) < 2:
            found = [_tried(task) for task in tasks]
        else:
            from joblib import Parallel, delayed

            found = Parallel(n_jobs=workers, prefer="threads")(
                delayed(copy_context().run)(_tried, task) for task in tasks
            )
    return Attempts(
        tuple(result for result, error in found if error is None),
        tuple(error for _, error in found if error is not None),
    )


def _tried(task: Callable[[], T]) -> tuple[Any, str | None]:
    try:
        return task(), None
    except (CrossworldError, np.linalg.LinAlgError, FloatingPointError) as error:
        return None, str(error)


def generators(seed: int, count: int) -> list[np.random.Generator]:
    """One generator for each rerun; the first ones do not depend on how many there are."""
    check_whole("seed", seed, 0)
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(count)]


def bound(analysis: Analysis[Any]) -> tuple[Estimand, ...]:
    """Return the questions in terms of the study's mediators."""
    return tuple(e.bind(analysis.study.blocks) for e in analysis.estimands)


def scored(analysis: Analysis[Any], asked: Sequence[Estimand]) -> Scores:
    """Scores of the cells that questions need.

    Raises
    ------
    CrossworldError
        If the study lacks something or a fit fails.
    """
    cells = needed(asked)
    analysis.study.check(cells)
    return prepare(analysis.estimator, analysis.study, cells).scores


def effects(analysis: Analysis[Any], asked: Sequence[Estimand]) -> dict[str, Effect]:
    """Estimate again; limits are Wald's, and None where scores are no influence function.

    Raises
    ------
    CrossworldError
        If the study lacks something or a fit fails.
    """
    scores = scored(analysis, asked)
    if not scores.influence:
        return {e.name: _point(e, scores) for e in asked}
    own = analysis.inference
    inference = own if isinstance(own, Wald) else Wald()
    found = inference.infer(Given(scores), asked, level=analysis.level)
    return {row.term: row for row in found.rows}


def _point(estimand: Estimand, scores: Scores) -> Effect:
    found = estimand.expr.evaluate(scores.mean)
    value = found.value if isinstance(found, Estimate) else float(found)
    return Effect(estimand.name, value, None, None, None, None, "none")


@contextmanager
def original_fits(analysis: Analysis[Any], asked: Sequence[Estimand]) -> Iterator[reuse.Fits]:
    """Keep the learners of the analysis as it was asked, for reruns that leave their data alone."""
    held = reuse.active()
    if held is None:
        with reuse.remembering() as fresh:
            _record(fresh, analysis, asked)
            yield fresh
        return
    _record(held, analysis, asked)
    yield held


def _record(fits: reuse.Fits, analysis: Analysis[Any], asked: Sequence[Estimand]) -> None:
    with fits.recording():
        attempt([lambda: scored(analysis, asked)])


def with_covariate(estimator: Any, name: str) -> Any:
    """Return the estimator with a covariate in the formulas that people wrote, if it has any.

    Formulas made by default take every covariate of the study; written ones take what they name.
    """
    if not is_dataclass(estimator):
        return estimator
    told: Any = portable(estimator)
    changed = {}
    for field in ("mediator", "outcome", "treatment"):
        held = getattr(told, field, None)
        grown = _grown(held, name)
        if grown is not held:
            changed[field] = grown
    return replace(told, **changed) if changed else estimator


def _grown(held: Any, name: str) -> Any:
    if isinstance(held, str) and "~" in held:
        return f"{held} + {name}"
    if isinstance(held, dict):
        return {k: _grown(v, name) for k, v in held.items()}
    if isinstance(held, list | tuple) and any(isinstance(v, str) for v in held):
        return type(held)(_grown(v, name) for v in held)
    return held


def unused(
    runs: Sequence[Mapping[str, Effect]], result: EffectTable, *, within: float = SAME
) -> bool:
    """Whether no rerun moved any effect by more than rounding: what was changed is not used."""
    for run in runs:
        for term, row in run.items():
            before = result[term].estimate
            if before is None or row.estimate is None:
                continue
            if abs(row.estimate - before) > within * max(abs(before), 1e-300):
                return False
    return True
