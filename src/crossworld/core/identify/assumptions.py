"""The assumptions under which an effect is identified, each with what would decide it."""

from __future__ import annotations

from collections.abc import Sequence

from crossworld.core.identification import Assumption
from crossworld.core.identify import words
from crossworld.core.identify.roles import Roles
from crossworld.core.identify.worlds import World


def assumptions(
    roles: Roles,
    asked: Sequence[World],
    given: Sequence[str],
    *,
    split: bool = False,
    door: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
) -> tuple[Assumption, ...]:
    """Assumptions of cells in a graph.

    Parameters
    ----------
    given
        The covariates conditioned on.
    split
        Whether the effect is separable: the treatment is thought of as two components.
    door
        Mediators and covariates of a front-door formula.
    """
    a, y = roles.treatment, roles.outcome
    about = any(w.crosses or w.fixed or w.random for w in asked)
    m = words.listed(roles.mediators, "") if about else ""
    held = ", ".join(given)
    found = [words.consistency(a, m, y), words.of_the_graph(roles.mixed)]
    if door is not None:
        return (*found, *_door(a, words.listed(door[0]), y, held))
    found.append(words.unconfounded(a, y, held, kind="treatment-outcome"))
    if m:
        if any(w.crosses or w.random for w in asked):
            found.append(words.unconfounded(a, m, held, kind="treatment-mediator"))
        also = ", ".join([*given, a])
        found.append(words.unconfounded(m, y, also, kind="mediator-outcome"))
    found.append(words.positivity(a, m, held))
    if split:
        found += _components(a, m, y)
    elif any(w.crosses for w in asked):
        found.append(words.cross_world(a, m, y))
    return tuple(found)


def _components(a: str, m: str, y: str) -> list[Assumption]:
    return [
        Assumption(
            "separable components",
            f"{a} consists of one component that acts on {m} and one that acts on {y}, which "
            "could be given apart",
            True,
            "a trial with four arms that gives the components separately",
        ),
        Assumption(
            "isolation",
            f"the component of {y} reaches {m} by no path of its own, and the component of {m} "
            f"reaches {y} through {m} and what was assigned to it alone",
            True,
            "the same four-arm trial",
        ),
    ]


def _door(a: str, m: str, y: str, held: str) -> list[Assumption]:
    given = held or "nothing"
    return [
        Assumption(
            "full mediation",
            f"all of the effect of {a} on {y} passes through {m}",
            True,
            f"an experiment on {a} that holds {m} fixed",
        ),
        words.unconfounded(a, m, held, kind="treatment-mediator"),
        words.unconfounded(m, y, f"{given}, {a}" if held else a, kind="mediator-outcome"),
        Assumption(
            "positivity",
            f"every value of {m} occurs at both levels of {a}",
            True,
            "the overlap diagnostics of the estimate",
        ),
    ]
