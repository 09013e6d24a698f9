"""DoWhy both ways: its models become studies, our estimators answer inside its estimate_effect.

DoWhy 0.14 is imported when one of these functions is called. `MediationEstimator`, a subclass of
DoWhy's ``CausalEstimator``, is made the first time it is asked for.
"""

from __future__ import annotations

from typing import Any

from crossworld.core.effects import NDE, NIE, PNIE, TE, TNDE
from crossworld.core.estimand import Estimand
from crossworld.core.graph.dag import Graph
from crossworld.core.identification import Identification
from crossworld.core.identify.verdict import identify
from crossworld.core.regime import Level
from crossworld.errors import DesignError, MissingExtraError, NotIdentifiedError, SpecError
from crossworld.interop.dowhy_estimator import KEY, Mediators, Question, made
from crossworld.interop.graphs import from_dowhy
from crossworld.tables.study import TableStudy

_KINDS = {
    TE: "nonparametric-ate",
    NDE: "nonparametric-nde",
    TNDE: "nonparametric-nde",
    NIE: "nonparametric-nie",
    PNIE: "nonparametric-nie",
}


def study_from_dowhy(
    model: Any,
    *,
    mediators: Mediators = None,
    data: Any = None,
    treatment: str | None = None,
    outcome: str | None = None,
    levels: tuple[Level, Level] | None = None,
) -> TableStudy:
    """Read a study, its roles and its graph from a DoWhy model.

    Parameters
    ----------
    model
        A ``CausalModel``, or a gcm model, which needs ``data``, ``treatment`` and ``outcome``.
    mediators
        Names that act jointly, or text such as ``"m1 -> m2"`` for causally ordered ones. By
        default every measured node on a directed path from treatment to outcome, jointly.
    data
        A table; by default the model's own.
    treatment, outcome
        By default the model's own.
    levels
        Reference and active level of the treatment, needed unless it has two values.

    Returns
    -------
    TableStudy
        With the graph, which chooses the covariates and has to identify every effect asked.
        For clusters, weights or missing values pass `interop.graphs.from_dowhy` of the model to
        `TableStudy.from_frame` as ``graph=``.

    Raises
    ------
    DesignError
        If a role or the data are missing, or the graph and the data do not fit.

    Examples
    --------
    >>> study = study_from_dowhy(causal_model, mediators=["m1", "m2"])  # doctest: +SKIP
    >>> xw.estimate(study, xw.Regression())  # doctest: +SKIP
    """
    graph = from_dowhy(model)
    a, y = _end(graph, "treatment", treatment), _end(graph, "outcome", outcome)
    table = getattr(model, "_data", None) if data is None else data
    if table is None:
        raise DesignError(f"{type(model).__name__} holds no data; say data=...")
    path = f"{a} -> {_middle(graph, mediators, (a, y))} -> {y}"
    return TableStudy.from_frame(table, path, levels=levels, graph=graph)


def identify_effect(
    model: Any,
    effect: Estimand = NIE,
    *,
    mediators: Mediators = None,
    treatment: str | None = None,
    outcome: str | None = None,
) -> Any:
    """Identify an effect with crossworld's graph engine, as an estimand that DoWhy works with.

    DoWhy's own mediation estimand holds one mediator, whichever it meets first, and no adjustment
    set that its refuters can find. This one holds them all.

    Parameters
    ----------
    model
        A ``CausalModel``, or a gcm model, which needs ``treatment`` and ``outcome``.
    effect
        ``xw.NIE``, ``xw.NDE``, ``xw.PNIE``, ``xw.TNDE`` or ``xw.TE``.
    mediators, treatment, outcome
        As in `study_from_dowhy`.

    Returns
    -------
    dowhy.causal_identifier.IdentifiedEstimand
        With identifier name ``"mediation"``, for ``CausalModel.estimate_effect``, for
        ``dowhy.causal_estimator.estimate_effect``, and for every refuter of DoWhy.

    Raises
    ------
    MissingExtraError
        If DoWhy is not installed.
    NotIdentifiedError
        If the graph does not identify the effect by adjustment; the message says why.
    SpecError
        If the effect is none of these five: DoWhy's refuters take differences alone.

    Examples
    --------
    >>> identified = identify_effect(causal_model, xw.NIE)  # doctest: +SKIP
    >>> estimate = causal_model.estimate_effect(  # doctest: +SKIP
    ...     identified,
    ...     method_name="mediation.crossworld.interop.dowhy.MediationEstimator",
    ...     method_params={"method": xw.MultiplyRobust()},
    ...     confidence_intervals=True,
    ... )
    """
    kinds, estimand = _identifier()
    if effect not in _KINDS:
        known = ", ".join(e.name for e in _KINDS)
        raise SpecError(f"inside DoWhy the effects are {known}; got {effect}")
    graph = from_dowhy(model)
    a, y = _end(graph, "treatment", treatment), _end(graph, "outcome", outcome)
    middle = _middle(graph, mediators, (a, y))
    names = [n.strip() for block in middle.split("->") for n in block.split("+")]
    found = identify(graph, effect, treatment=a, mediators=names, outcome=y)
    if not found.identified:
        raise NotIdentifiedError(found.reason or f"{effect.name} is not identified")
    if found.by != "adjustment":
        raise NotIdentifiedError(
            f"{effect.name} is identified, but not by adjustment: {found.formula}. Inside DoWhy "
            "crossworld adjusts for covariates; use study_from_dowhy and an estimator made for it"
        )
    return estimand(
        None,
        [a],
        [y],
        estimand_type=kinds(_KINDS[effect]),
        estimands={KEY: _expression(effect, middle, found)},
        backdoor_variables={KEY: list(found.adjust)},
        mediator_variables=names,
        default_backdoor_id=KEY,
        identifier_method=KEY,
    )


def __getattr__(name: str) -> Any:
    if name == "MediationEstimator":
        return made()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _expression(effect: Estimand, middle: str, found: Identification) -> dict[str, Any]:
    """Write the entry of DoWhy's estimand."""
    import sympy

    return {
        "estimand": sympy.Symbol(f"{effect.expr} with M = {middle}"),
        "assumptions": {a.name: a.statement for a in found.assumptions},
        "crossworld": Question(effect, middle),
    }


def _end(graph: Graph, role: str, given: str | None) -> str:
    name = given or getattr(graph, role)
    if name is None:
        raise DesignError(f"the model does not say which node is the {role}; say {role}=...")
    if name not in graph.nodes:
        raise DesignError.missing_column(name, role, graph.nodes)
    return str(name)


def _middle(graph: Graph, mediators: Mediators, ends: tuple[str, str]) -> str:
    """Write the mediators as the middle of a path."""
    if isinstance(mediators, str):
        return mediators
    if mediators is None:
        a, y = ends
        between = graph.descendants([a]) & graph.ancestors([y])
        mediators = [n for n in graph.observed if n in between and n not in ends]
        if not mediators:
            raise DesignError(f"no measured node lies on a directed path from {a!r} to {y!r}")
    return " + ".join(mediators)


def _identifier() -> tuple[Any, Any]:
    try:
        from dowhy.causal_identifier import EstimandType
        from dowhy.causal_identifier.identified_estimand import IdentifiedEstimand
    except ModuleNotFoundError:
        raise MissingExtraError.for_feature("an estimand for DoWhy", "dowhy") from None
    return EstimandType, IdentifiedEstimand
