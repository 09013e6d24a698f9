"""From a study and a method to scores, and from estimates to a table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from crossworld.core.estimand import Estimand, needed
from crossworld.core.estimate import Estimate
from crossworld.core.fits import describe
from crossworld.core.provenance import Provenance
from crossworld.core.scores import Scores
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, FitWarning, NotIdentifiedError, SpecError
from crossworld.forwhom.columns import Told
from crossworld.infer.multiplier import METHOD, Multiplier, max_t
from crossworld.infer.wald import Wald, sampling_error

Named = Sequence[tuple[str, Estimate]]
Method = Wald | Multiplier | None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What was asked of a study, scored once, and what is to be told about it."""

    estimands: tuple[Estimand, ...]
    scores: Scores
    heading: tuple[str, ...]
    identification: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    told: Told = field(default_factory=list)
    start: float = field(default_factory=perf_counter)

    @property
    def inherited(self) -> int:
        """How many of the things told come with the scores, and were told when they were made."""
        return len(self.scores.diagnostics.get("warnings", ()))


def ask(study: Any, source: Any, estimands: Sequence[Estimand]) -> Question:
    """Score the effects' cells once, or take the scores of a result.

    Parameters
    ----------
    study
        Whose units the scores belong to, row by row.
    source
        An estimator; or an `EffectTable` or `Scores` of the same study, so nothing is fitted.

    Raises
    ------
    DesignError
        If the scores are not this study's.
    NotIdentifiedError
        If an effect has no answer from this design.
    """
    if not hasattr(study, "blocks"):
        raise DesignError(
            f"{study!r} is not a study; build one with "
            "xw.TableStudy.from_frame(data, 'a -> m -> y')"
        )
    wrong = [e for e in estimands if not isinstance(e, Estimand)]
    if wrong:
        raise SpecError(f"{wrong[0]!r} is not an estimand; pass values such as xw.NIE")
    if not estimands:
        raise SpecError("no effect was asked for; try [xw.NIE]")
    start = perf_counter()
    bound = tuple(e.bind(study.blocks) for e in estimands)
    cells = needed(bound)
    study.check(cells)
    identification = study.identify(bound)
    if not identification.identified:
        raise NotIdentifiedError(identification.reason or "the effect is not identified")
    scores, method = _scores(study, source, cells)
    if len(scores) != len(study):
        raise DesignError(
            f"the scores have {len(scores)} rows and the study {len(study)}; they must be of the "
            "same study, row by row"
        )
    heading = (study.describe(), f"{method}, {len(scores):,} units")
    told: Told = [(FitWarning, text) for text in scores.diagnostics.get("warnings", ())]
    return Question(bound, scores, heading, identification.to_dict(), study.sha256(), told, start)


def _scores(study: Any, source: Any, cells: Sequence[Any]) -> tuple[Scores, str]:
    if isinstance(source, Scores):
        return source, "given scores"
    if isinstance(source, EffectTable):
        if source.scores is None:
            raise DesignError(
                "this result was read from a file and holds no scores; estimate again"
            )
        return source.scores, "scores of a result"
    if not hasattr(source, "scores"):
        raise SpecError(f"{source!r} is no estimator, result or scores; try xw.MultiplyRobust()")
    return source.scores(study, cells), describe(source)


def given(source: Scores | EffectTable, estimands: Sequence[Estimand]) -> Question:
    """Take scores as they are, without a study."""
    scores = source.scores if isinstance(source, EffectTable) else source
    if not isinstance(scores, Scores):
        raise DesignError(f"scores or a result that holds scores are needed, got {source!r}")
    told: Told = [(FitWarning, text) for text in scores.diagnostics.get("warnings", ())]
    return Question(tuple(estimands), scores, (f"{len(scores):,} units",), told=told)


def rows(
    named: Named, inference: Method, *, level: float, told: Told
) -> tuple[list[Effect], dict[str, Any]]:
    """Rows of estimates whose null is 0: pointwise, or in one simultaneous band."""
    if not 0.0 < level < 1.0:
        raise SpecError(f"level must lie between 0 and 1, got {level!r}; try 0.95")
    still = [name for name, e in named if e.std_error == 0.0]
    if still:
        told.append((FitWarning, f"{', '.join(still)} does not vary over units: no test"))
    if isinstance(inference, Multiplier):
        band = max_t([e for _, e in named], inference, level=level)
        terms = [name for name, e in named if e.std_error > 0.0]
        found = []
        for name, e in named:
            half, error = band.critical_value * e.std_error, e.std_error
            p_value = band.p_value(e.value / error) if error > 0.0 else None
            found.append(
                Effect(name, e.value, error, e.value - half, e.value + half, p_value, METHOD)
            )
        return found, band.diagnostics(terms, inference)
    if inference is not None and inference != Wald():
        raise SpecError(
            f"conditional effects take Wald() or Multiplier(), got {describe(inference)}"
        )
    return [_pointwise(name, e, level) for name, e in named], {}


def _pointwise(name: str, e: Estimate, level: float) -> Effect:
    p_value = e.p_value()
    low, high = e.interval(level)
    return Effect(
        name, e.value, e.std_error, low, high, None if math.isnan(p_value) else p_value, "wald"
    )


def table(
    question: Question,
    found: Sequence[Effect],
    level: float,
    *,
    heading: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> EffectTable:
    """Assemble the result and issue its warnings."""
    scores = question.scores
    told = [*question.told, *sampling_error(scores)]
    for category, text in told[question.inherited :]:
        warnings.warn(text, category, stacklevel=3)
    lines = (*question.heading, *heading)
    diagnostics = {
        "warnings": [text for _, text in told],
        "n_units": len(scores),
        "n_clusters": scores.n_clusters,
        "overlap": scores.diagnostics.get("overlap"),
        "failed_replicates": 0,
        "level": level,
        "heading": list(lines),
        **(extra or {}),
    }
    seconds = perf_counter() - question.start
    return EffectTable(
        tuple(found),
        level,
        lines,
        (),
        scores,
        identification=question.identification,
        diagnostics=diagnostics,
        provenance=Provenance.now(question.sha256, None, seconds).to_dict(),
    )
