"""Specify, identify, estimate, infer: one frozen recipe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Generic

from crossworld.core.effects import NATURAL
from crossworld.core.estimand import Estimand, needed
from crossworld.core.fits import Given, describe, prepare
from crossworld.core.identification import Identification
from crossworld.core.late import late
from crossworld.core.protocols import Estimator, Identifies, Inference, Inferred, Progress, S
from crossworld.core.provenance import Provenance
from crossworld.core.refutation import Refuter
from crossworld.core.scores import Scores
from crossworld.core.table import EffectTable
from crossworld.errors import (
    DesignError,
    IdentificationWarning,
    NotIdentifiedError,
    SpecError,
)

MANY_ALIKE = 3  # effects of which the same is said one by one


def _wald() -> Inference:
    inference: Inference = late("infer.wald").Wald()
    return inference


@dataclass(frozen=True, slots=True)
class Analysis(Generic[S]):
    """A study, a method, the questions and how uncertainty is measured.

    Parameters
    ----------
    study
        What was observed.
    estimator
        A configured method.
    estimands
        The questions; te, nde, nie by default.
    inference
        Wald intervals by default.
    level
        Confidence level in (0, 1).
    refuters
        Attempts to break the answer, made after it is found.
    assume
        Estimate an effect that is not identified as if it were, and say so in the result.
    """

    study: S
    estimator: Estimator[S]
    estimands: tuple[Estimand, ...] = NATURAL
    inference: Inference = field(default_factory=_wald)
    level: float = 0.95
    refuters: tuple[Refuter, ...] = ()
    assume: bool = False

    def __post_init__(self) -> None:
        check_confidence(self.level)
        if not self.estimands:
            raise SpecError("no effect was asked for; try te, nde, nie")
        names = [e.name for e in self.estimands]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise SpecError(f"effects are asked twice: {', '.join(twice)}")

    def run(self, *, progress: Progress | None = None) -> EffectTable:
        """Identify, estimate, infer.

        Raises
        ------
        DesignError
            If an effect asks for something the study does not have.
        NotIdentifiedError
            If an effect has no answer from this design.
        EstimationError
            If a fit fails.
        """
        start = perf_counter()
        bound = tuple(e.bind(self.study.blocks) for e in self.estimands)
        cells = needed(bound)
        if not cells:
            raise DesignError("the effects asked for involve no counterfactual cell")
        self.study.check(cells)
        licence = self.identify(bound)
        fit = prepare(self.estimator, self.study, cells)
        inferred = self.inference.infer(fit, bound, level=self.level, progress=progress)
        inferred = replace(inferred, warnings=condensed(inferred.warnings, [e.name for e in bound]))
        if not licence.identified:
            inferred = inferred.warned(
                IdentificationWarning,
                f"assumed, not identified: {licence.reason or 'the effect is not identified'}",
            )
        for category, text in inferred.warnings:
            warnings.warn(text, category, stacklevel=3)
        table = self._table(inferred, licence, bound, perf_counter() - start)
        if not self.refuters:
            return table
        plain = replace(self, refuters=())
        workers = getattr(self.inference, "workers", 1)
        run = late("refute.run").refute
        attacked: EffectTable = run(plain, self.refuters, result=table, workers=workers)
        told = {**table.provenance, "seconds": perf_counter() - start}
        return replace(attacked, spec=table.spec, provenance=told)

    def identify(self, bound: Sequence[Estimand]) -> Identification:
        """Say why the effects have an answer; refuse them when they have none.

        An estimator that rests on other assumptions than its study's tells them itself.

        Raises
        ------
        NotIdentifiedError
            If they have none and `assume` is False.
        """
        own = isinstance(self.estimator, Identifies)
        licence: Identification = (
            self.estimator.identification(self.study, bound)  # type: ignore[attr-defined]
            if own
            else self.study.identify(bound)
        )
        if not licence.identified and not self.assume:
            raise NotIdentifiedError(licence.reason or "the effect is not identified")
        return licence

    def _table(
        self,
        inferred: Inferred,
        identification: Identification,
        bound: tuple[Estimand, ...],
        seconds: float,
    ) -> EffectTable:
        scores = inferred.scores
        heading = self._heading(scores)
        diagnostics = _diagnostics(inferred, bound, self.level, heading)
        provenance = Provenance.now(
            self.study.sha256(), getattr(self.inference, "seed", None), seconds
        )
        return EffectTable(
            inferred.rows,
            self.level,
            heading,
            bound,
            scores,
            late("spec").to_spec(self),
            identification.to_dict(),
            diagnostics,
            (),
            provenance.to_dict(),
            self,
        )

    def _heading(self, scores: Scores) -> tuple[str, ...]:
        units = _units(scores)
        models = scores.diagnostics.get("models", {})
        lines = [
            self.study.describe(),
            f"{describe(self.estimator)}, {describe(self.inference)}, {units}",
        ]
        return (*lines, *(f"  {name}: {model}" for name, model in models.items()))


def estimate(
    study: S,
    estimator: Estimator[S],
    estimands: Sequence[Estimand] = NATURAL,
    *,
    inference: Inference | None = None,
    level: float = 0.95,
    refute: Sequence[Refuter] = (),
    assume: bool = False,
) -> EffectTable:
    """Estimate effects in ``study`` with ``estimator``.

    Parameters
    ----------
    study
        A `TableStudy`, `ReasoningStudy` or `PatchStudy`.
    estimator
        A configured method for that kind of study.
    estimands
        Questions such as ``xw.NIE`` or ``Estimand("mine", Y(1) - Y(1, M(0)))``.
    inference
        `Wald` (default), `Bootstrap`, `Simulation` or `Multiplier`.
    level
        Confidence level.
    refute
        Attempts to break the answer, such as ``xw.PlaceboTreatment()``.
    assume
        Estimate effects that are not identified as if they were; the result says so.

    Returns
    -------
    EffectTable
        One row per estimand.
    """
    asked = _questions(estimands)
    if not hasattr(study, "identify") or isinstance(study, type):
        raise DesignError(
            f"{_seen(study)} is not a study; build one with "
            "xw.TableStudy.from_frame(data, 'a -> m -> y')"
        )
    if isinstance(estimator, type) or not hasattr(estimator, "scores"):
        raise SpecError(f"{_seen(estimator)} is not an estimator; try xw.Regression()")
    if inference is not None and (isinstance(inference, type) or not hasattr(inference, "infer")):
        raise SpecError(
            f"{_seen(inference)} is not an inference; try xw.Wald() or xw.Bootstrap(draws=1000)"
        )
    chosen = _wald() if inference is None else inference
    return Analysis(study, estimator, asked, chosen, level, tuple(refute), assume).run()


def _seen(given: object) -> str:
    """Name what was given in one line: a class, a plain value, or the kind of anything else."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    plain = given is None or isinstance(given, str | int | float)
    return repr(given)[:80] if plain else f"a {type(given).__name__}"


def contrast(
    scores: Scores,
    estimands: Sequence[Estimand],
    *,
    inference: Inference | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Compute effects from scores alone, wherever they came from.

    Parameters
    ----------
    scores
        Scores of any study, for instance read with `Scores.load`.
    estimands
        Questions over the cells that the scores hold.
    inference
        `Wald` by default. `Bootstrap` resamples the scores, without refitting what made them.
    level
        Confidence level.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld import TE, Scores, Y
    >>> scores = Scores(np.array([[1.0, 0.0], [3.0, 1.0], [2.0, 2.0]]), (Y(1), Y(0)))
    >>> contrast(scores, [TE])["te"].estimate
    1.0
    """
    start = perf_counter()
    asked = _questions(estimands)
    check_confidence(level)
    chosen = _wald() if inference is None else inference
    inferred = chosen.infer(Given(scores), asked, level=level)
    for category, text in inferred.warnings:
        warnings.warn(text, category, stacklevel=2)
    heading = (f"{_units(scores)}, {describe(chosen)}",)
    diagnostics = _diagnostics(inferred, asked, level, heading)
    provenance = Provenance.now(None, getattr(chosen, "seed", None), perf_counter() - start)
    return EffectTable(
        inferred.rows,
        level,
        heading,
        asked,
        scores,
        diagnostics=diagnostics,
        provenance=provenance.to_dict(),
    )


def condensed(
    told: Sequence[tuple[type[Warning], str]], names: Sequence[str]
) -> tuple[tuple[type[Warning], str], ...]:
    """Say once what would be said of many effects in the same words.

    Examples
    --------
    >>> told = [(UserWarning, f"e{i} has no test") for i in range(9)]
    >>> condensed(told, [f"e{i}" for i in range(9)])[0][1]
    'e0 (and 8 others) has no test'
    """
    groups: dict[tuple[type[Warning], str, str], list[str]] = {}
    for category, text in told:
        name = next(
            (n for n in sorted(names, key=len, reverse=True) if text.startswith(f"{n} ")), ""
        )
        rest = text.removeprefix(name)
        groups.setdefault((category, rest, "" if name else text), []).append(name)
    found: list[tuple[type[Warning], str]] = []
    for (category, rest, _), held in groups.items():
        if len(held) > MANY_ALIKE:
            found.append((category, f"{held[0]} (and {len(held) - 1} others){rest}"))
        else:
            found += [(category, f"{name}{rest}") for name in held]
    return tuple(found)


def _diagnostics(
    inferred: Inferred, asked: Sequence[Estimand], level: float, heading: Sequence[str]
) -> dict[str, Any]:
    """Gather what every result tells, and what the estimator and the inference add."""
    scores = inferred.scores
    own = dict(scores.diagnostics)
    told = [*own.pop("warnings", ()), *(text for _, text in inferred.warnings)]
    return {
        "warnings": told,
        "n_units": len(scores),
        "n_clusters": scores.n_clusters,
        "overlap": own.pop("overlap", None),
        "failed_replicates": inferred.failed_replicates,
        "level": level,
        "heading": list(heading),
        "expressions": {
            e.name: {"expression": str(e.expr), "scale": e.scale, "null": e.null} for e in asked
        },
        **own,
        **inferred.diagnostics,
    }


def _questions(estimands: Sequence[Estimand] | Estimand) -> tuple[Estimand, ...]:
    asked = (estimands,) if isinstance(estimands, Estimand) else tuple(estimands)
    wrong = [e for e in asked if not isinstance(e, Estimand)]
    if wrong:
        raise SpecError(
            f"{wrong[0]!r} is not an estimand; in Python pass values such as xw.NIE or "
            "xw.Estimand('mine', Y(1) - Y(1, M(0))), or read text with xw.estimand('nie')"
        )
    return asked


def check_confidence(level: float) -> None:
    """Refuse a confidence level outside (0, 1)."""
    if (
        isinstance(level, bool)
        or not isinstance(level, int | float)
        or not 0.0 < level < 1.0 - 1e-9
    ):
        raise SpecError(f"level must lie between 0 and 1, got {level!r}; try 0.95")


def _units(scores: Scores) -> str:
    units = f"{len(scores):,} units"
    return units if scores.cluster is None else f"{units} in {scores.n_clusters:,} clusters"
