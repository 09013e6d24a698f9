"""Effects that stay identified when the treatment affects mediator-outcome confounders."""

from __future__ import annotations

from collections.abc import Sequence

from crossworld.core.estimand import Estimand
from crossworld.core.identification import Identification
from crossworld.core.identify.adjustment import blocks
from crossworld.core.identify.assumptions import assumptions
from crossworld.core.identify.cells import Obstacle, functional, interventional
from crossworld.core.identify.formulas import written
from crossworld.core.identify.functional import sort
from crossworld.core.identify.instead import worlds
from crossworld.core.identify.roles import Roles


def confounders(roles: Roles) -> tuple[str, ...]:
    """Measured effects of the treatment that affect mediators and, by another route, the outcome.

    A superset of those is as good, so everything between the treatment and any mediator that
    reaches the outcome without the mediators counts.
    """
    mixed, a, y = roles.mixed, roles.treatment, roles.outcome
    outside = frozenset(mixed.order) - frozenset(roles.mediators)
    after = mixed.descendants([a]) - {a, y, *roles.mediators}
    to_outcome = mixed.ancestors([y], outside)
    to_mediator = mixed.ancestors(roles.mediators)
    return sort(mixed, after & to_outcome & to_mediator)


def sequential(
    roles: Roles, effect: Estimand, adjust: Sequence[str], intermediate: Sequence[str]
) -> Identification | None:
    """Identify total, controlled and interventional effects given both kinds of confounders.

    Given the covariates nothing confounds the treatment; given these, the treatment and the
    intermediate confounders, nothing confounds mediators and outcome. None where that does not
    hold or an effect crosses worlds.
    """
    mixed, a, y = roles.mixed, roles.treatment, roles.outcome
    asked = worlds(roles, effect)
    given, later = frozenset(adjust), frozenset(intermediate)
    if any(w.crosses for w in asked) or not given | later <= set(mixed.order):
        return None
    targets = (y, *later, *(roles.mediators if any(w.random for w in asked) else ()))
    if not blocks(mixed, [(frozenset({a}), v) for v in targets], given):
        return None
    if any(w.fixed or w.random for w in asked):
        middle = frozenset(roles.mediators)
        cut = mixed.without((m, c) for m in middle for c in mixed.children[m])
        if not cut.separated(middle, [y], given | later | {a}):
            return None
    laws = []
    for w in asked:
        f = interventional(roles, w, given) if w.random else functional(roles, w)
        if isinstance(f, Obstacle):
            return None
        laws.append((w, f))
    told = assumptions(roles, asked, sort(mixed, given))
    return Identification(True, "g-formula", tuple(adjust), told, written(roles, laws))
