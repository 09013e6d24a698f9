"""Estimators of crossworld as a DoWhy estimator; found as `crossworld.interop.dowhy`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature
from typing import Any

from crossworld.core.analysis import Analysis
from crossworld.core.effects import NDE, NIE, TE
from crossworld.core.estimand import Estimand
from crossworld.core.fits import prepare
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import DesignError, EstimationError, MissingExtraError, SpecError
from crossworld.tables.study import TableStudy

KEY = "mediation"  # DoWhy's name of the identification of natural effects
Mediators = str | Sequence[str] | None
_EFFECTS = {"nonparametric-nde": NDE, "nonparametric-nie": NIE, "nonparametric-ate": TE}
_UNITS = {"ate": "all", "att": "treated", "atc": "control"}
_ROLES = ("adjust", "cluster", "weights", "missing", "event")
_SENT = {"crossworld_estimator", "fit_params", "init_params"}  # DoWhy adds or passes these itself


@dataclass(frozen=True, slots=True)
class Question:
    """What `identify_effect` writes into DoWhy's estimand beside its expression.

    Parameters
    ----------
    effect
        The effect asked for.
    mediators
        The middle of a path: ``"m1 + m2"`` or ``"m1 -> m2"``.
    """

    effect: Estimand
    mediators: str


class _Recipe:
    """What `MediationEstimator` adds to DoWhy's ``CausalEstimator``, its next base."""

    _target_estimand: Any
    _control_value: Any
    _treatment_value: Any
    confidence_level: float
    reset_encoders: Any
    update_input: Any
    _set_effect_modifiers: Any
    _accepted: tuple[str, ...]

    def __init__(
        self,
        identified_estimand: Any,
        *,
        method: Any = None,
        inference: Any = None,
        mediators: Mediators = None,
        roles: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        _check_names("option", options, self._accepted)
        held = dict(roles or {})
        _check_names("role", held, _ROLES)
        super().__init__(identified_estimand, **options)  # type: ignore[call-arg]
        self._question = _complete(identified_estimand, mediators, held.pop("adjust", None))
        self._roles = held
        self._method = _regression() if method is None else method
        self._inference = inference
        self._options = options
        self._rows: Any = None
        self._analysis: Any = None
        self._tables: dict[float, EffectTable] = {}
        self._replicate = False

    def get_new_estimator_object(
        self,
        identified_estimand: Any,
        test_significance: Any = False,
        evaluate_effect_strength: bool = False,
        confidence_intervals: Any = None,
    ) -> Any:
        """Return the same recipe for another estimand, without a fit; for replicates."""
        told = {
            **self._options,
            "test_significance": test_significance,
            "evaluate_effect_strength": evaluate_effect_strength,
            "confidence_intervals": confidence_intervals,
        }
        new = type(self)(
            identified_estimand,
            method=self._method,
            inference=self._inference,
            mediators=self._question.mediators,
            roles=self._roles,
            **told,
        )
        new._replicate = True
        return new

    def fit(self, data: Any, effect_modifier_names: Any = None, **_: Any) -> Any:
        """Keep the rows; models are fitted once the levels of the treatment are known."""
        self.reset_encoders()
        self._set_effect_modifiers(data, effect_modifier_names)
        self._rows, self._analysis, self._tables = data, None, {}
        return self

    def estimate_effect(
        self,
        data: Any,
        treatment_value: Any = 1,
        control_value: Any = 0,
        target_units: Any = "ate",
        **_: Any,
    ) -> Any:
        """Estimate; the result's ``effects`` is crossworld's own table."""
        if self._rows is None or (data is not self._rows and not data.equals(self._rows)):
            raise DesignError(
                "crossworld's models are fitted to the rows whose effect is estimated; call "
                "fit with these data first (fit_estimator=True)"
            )
        self.update_input(treatment_value, control_value, target_units)
        target = self._target_estimand
        study = _study(self._rows, target, self._question, self._roles, self._levels())
        method = _for_units(self._method, target_units)
        self._tables = {}
        self._analysis = Analysis(study, method, (self._question.effect,))
        if self._inference is not None:
            self._analysis = replace(self._analysis, inference=self._inference)
        table = None if self._replicate else self._run(self.confidence_level)
        told = study.describe() if table is None else "\n".join(table.heading)
        made = _estimates()(
            data=data,
            treatment_name=target.treatment_variable,
            outcome_name=target.outcome_variable,
            estimate=_value(self._analysis) if table is None else self._row().estimate,
            target_estimand=target,
            realized_estimand_expr=told,
            control_value=control_value,
            treatment_value=treatment_value,
            effects=table,
        )
        made.add_estimator(self)
        return made

    def _levels(self) -> tuple[Any, Any]:
        return self._control_value, self._treatment_value

    def _run(self, level: float) -> EffectTable:
        """Our table at one confidence level, made once."""
        if self._analysis is None:
            raise EstimationError("no effect was estimated yet; call estimate_effect first")
        if level not in self._tables:
            self._tables[level] = replace(self._analysis, level=level).run()
        return self._tables[level]

    def _row(self, level: float | None = None) -> Effect:
        asked = self.confidence_level if level is None else level
        return self._run(asked)[self._question.effect.name]

    def _estimate_confidence_intervals(
        self, confidence_level: Any = None, method: Any = None, **_: Any
    ) -> tuple[float | None, float | None]:
        _check_method(method)
        row = self._row(confidence_level)
        return row.conf_low, row.conf_high

    def _estimate_std_error(self, method: Any = None, **_: Any) -> float | None:
        _check_method(method)
        return self._row().std_error

    def _test_significance(
        self, estimate_value: Any, method: Any = None, **_: Any
    ) -> dict[str, float | None]:
        _check_method(method)
        return {"p_value": self._row().p_value}


@cache
def made() -> Any:
    """Make the estimator class; its base lives in DoWhy."""
    try:
        from dowhy.causal_estimator import CausalEstimator
    except ModuleNotFoundError:
        raise MissingExtraError.for_feature("estimating inside DoWhy", "dowhy") from None

    accepted = [*signature(CausalEstimator.__init__).parameters][2:-1]

    class MediationEstimator(_Recipe, CausalEstimator):  # type: ignore[misc]
        """Any estimator of crossworld as a DoWhy ``CausalEstimator``.

        Parameters
        ----------
        identified_estimand
            From `identify_effect`; or DoWhy's own mediation estimand, which then needs
            ``mediators`` and ``roles={"adjust": [...]}`` and is completed for DoWhy's refuters.
        method
            An estimator, ``xw.Regression()`` by default.
        inference
            ``xw.Wald()`` by default. It gives intervals, standard errors and p values; DoWhy's
            own bootstrap is ``confidence_intervals="bootstrap"``.
        mediators
            Names or path text; by default those of the estimand.
        roles
            Further arguments of `TableStudy.from_frame`: cluster, weights, missing, event.
        options
            What every DoWhy estimator takes: ``confidence_intervals``, ``confidence_level``, ...
        """

        _accepted = ("method", "inference", "mediators", "roles", *accepted)

    # pickle and DoWhy find the class by this name
    MediationEstimator.__module__ = "crossworld.interop.dowhy"
    MediationEstimator.__qualname__ = "MediationEstimator"
    return MediationEstimator


def _complete(target: Any, mediators: Mediators, adjust: Sequence[str] | None) -> Question:
    """Find the question in an estimand; give DoWhy's own the adjustment set its refuters look for.

    Raises
    ------
    SpecError
        If DoWhy's own estimand comes without mediators or covariates.
    """
    told = (target.estimands.get(KEY) or {}).get("crossworld")
    if isinstance(told, Question):
        if adjust is not None:
            raise SpecError("the estimand holds its adjustment set; leave 'adjust' out of roles")
        return told
    kind = target.estimand_type
    effect = _EFFECTS.get(str(getattr(kind, "value", kind)))
    known = target.default_backdoor_id == KEY  # completed before; a refuter may have changed it
    if effect is None or mediators is None or (adjust is None and not known):
        raise SpecError(
            "DoWhy's estimand names one mediator, whichever it met first, and no adjustment set "
            "for natural effects. Identify with crossworld.interop.dowhy.identify_effect(model, "
            "xw.NIE), or pass method_params={'mediators': [...], 'roles': {'adjust': [...]}} with "
            f"a nonparametric-nde or -nie estimand; got {kind}"
        )
    middle = mediators if isinstance(mediators, str) else " + ".join(mediators)
    if adjust is not None:
        target.backdoor_variables = {**(target.backdoor_variables or {}), KEY: list(adjust)}
        target.default_backdoor_id = KEY
    return Question(effect, middle)


def _study(
    data: Any,
    target: Any,
    question: Question,
    roles: Mapping[str, Any],
    levels: tuple[Any, Any],
) -> TableStudy:
    """Build the study of one (perhaps perturbed) table; refuters change names in the estimand."""
    (a,), (y,) = target.treatment_variable, target.outcome_variable
    adjust = list(dict.fromkeys(target.backdoor_variables[KEY]))
    path = f"{a} -> {question.mediators} -> {y}"
    return TableStudy.from_frame(data, path, adjust=adjust, levels=levels, **roles)


def _value(analysis: Analysis[Any]) -> float:
    """Point estimate alone, for replicates whose interval nobody asks for."""
    study = analysis.study
    asked = analysis.estimands[0].bind(study.blocks)
    cells = tuple(sorted(asked.cells(), key=str))
    study.check(cells)
    means = dict(zip(cells, prepare(analysis.estimator, study, cells).scores.means(), strict=True))
    return float(asked.expr.evaluate(means.__getitem__))


def _for_units(method: Any, units: Any) -> Any:
    """Aim a method at DoWhy's target units."""
    wanted = _UNITS.get(units) if isinstance(units, str) else None
    if wanted is None:
        raise SpecError(f"target_units is 'ate', 'att' or 'atc', got {units!r}; subset the data")
    if wanted == "all":
        return method
    if not hasattr(method, "population"):
        raise SpecError(
            f"{type(method).__name__} averages over all rows; target_units={units!r} needs "
            "xw.Regression()"
        )
    return replace(method, population=wanted)


def _check_names(kind: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known and name not in _SENT]
    if unknown:
        raise SpecError.unknown(f"{kind} of MediationEstimator", unknown[0], known)


def _check_method(method: Any) -> None:
    if method not in (None, True, "default"):
        raise SpecError(
            f"DoWhy's method is 'default' (crossworld's inference) or 'bootstrap', got {method!r}"
        )


def _regression() -> Any:
    from crossworld.tables.regression import Regression

    return Regression()


def _estimates() -> Any:
    from dowhy.causal_estimator import CausalEstimate

    return CausalEstimate
