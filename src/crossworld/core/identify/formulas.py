"""Identifying functionals of cells by adjustment, and effects written out in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from crossworld.core.identify.functional import (
    At,
    Functional,
    Mean,
    Prob,
    Sum,
    product,
    sort,
)
from crossworld.core.identify.latex import latex, name, value
from crossworld.core.identify.roles import Roles
from crossworld.core.identify.worlds import World


def adjusted(roles: Roles, asked: World, given: Sequence[str]) -> Functional:
    """``sum over z, m of E[Y | a, m, z] P(m | b, z) P(z)`` and its relatives.

    A world in which every mediator follows the treatment is ``sum over z of E[Y | a, z] P(z)``.
    """
    a, y, mixed = roles.treatment, roles.outcome, roles.mixed
    here = ((a, asked.treatment),)
    middle = sort(mixed, asked.drawn) if asked.crosses else ()
    held = tuple(asked.fixed.items())
    outcome = Mean(y, sort(mixed, {a, *middle, *asked.fixed, *given}))
    factors: list[Functional] = [At(outcome, here + held)]
    joint = len({asked.drawn[m] for m in middle}) == 1
    if middle and joint:
        law = Prob(middle, sort(mixed, {a, *given}))
        factors.append(At(law, ((a, asked.drawn[middle[0]]),)))
    for k, m in enumerate(middle if not joint else ()):
        law = Prob((m,), sort(mixed, {a, *middle[:k], *given}))
        factors.append(At(law, ((a, asked.drawn[m]),)))
    if given:
        factors.append(Prob(tuple(given)))
    over = (*given, *middle)
    body = product(factors)
    return Sum(over, body) if over else body


def cell_text(roles: Roles, asked: World, *, components: bool = False) -> str:
    """Write a cell in LaTeX, with the names of the graph."""
    y, a = name(roles.outcome), value(asked.treatment)
    if components:
        low = next((v for m, v in asked.drawn.items() if m in roles.mediators), asked.treatment)
        return rf"E[{y}(n={a}, o={value(low)})]"
    told = []
    for m in roles.mediators:
        if m in asked.fixed:
            told.append(f"{name(m)}={value(asked.fixed[m])}")
        elif m in asked.random:
            told.append(f"G_{{{name(m)}}}({value(asked.random[m])})")
        elif asked.drawn[m] != asked.treatment or asked.fixed or asked.random or asked.crosses:
            told.append(f"{name(m)}({value(asked.drawn[m])})")
    return rf"E[{y}({', '.join([a, *told])})]"


def written(
    roles: Roles, cells: Sequence[tuple[World, Functional]], *, components: bool = False
) -> str:
    """Write every cell of an effect with its functional."""
    lines = [f"{cell_text(roles, w, components=components)} = {latex(f)}" for w, f in cells]
    return r",\qquad ".join(dict.fromkeys(lines))
