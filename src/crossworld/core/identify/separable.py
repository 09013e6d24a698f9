"""Separable effects: the treatment split into a part for each route (the interventionist view)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossworld.core.identify.roles import Roles
from crossworld.core.identify.worlds import World, levels
from crossworld.errors import DesignError, SpecError, hint

Part = Literal["direct", "indirect"]
PARTS = ("direct", "indirect")
_TEXT = re.compile(r"(sde|sie)\s*(?:\((.*)\))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SeparableEffect:
    """The effect of one component of the treatment, the other held (Robins et al. 2022).

    The treatment is thought of as two components that have always gone together: one acts on the
    outcome, the other on the mediators. Nodes that the treatment affects besides belong to either.

    Parameters
    ----------
    part
        ``"direct"``: ``E[Y(n=1, o=0)] - E[Y(n=0, o=0)]``; ``"indirect"``: ``E[Y(n=1, o=1)] -
        E[Y(n=1, o=0)]``, with n the component of the outcome and o that of the mediators.
    components
        Which component acts on other effects of the treatment: pairs (node, ``"direct"`` or
        ``"indirect"``).
    """

    part: Part
    components: tuple[tuple[str, Part], ...] = ()

    @property
    def name(self) -> str:
        """The effect as it is typed."""
        inside = ", ".join(f"{node}={part}" for node, part in self.components)
        return ("sde" if self.part == "direct" else "sie") + (f"({inside})" if inside else "")


def SDE(**components: Part) -> SeparableEffect:  # noqa: N802 - an estimand
    """Build the separable direct effect, saying on which part other effects depend.

    Examples
    --------
    >>> SDE(l="direct").name
    'sde(l=direct)'
    """
    return _checked("direct", components)


def SIE(**components: Part) -> SeparableEffect:  # noqa: N802 - an estimand
    """Build the separable indirect effect; see `SDE`."""
    return _checked("indirect", components)


def separable(text: str) -> SeparableEffect | None:
    """Read ``sde(l=direct)`` or ``sie``; None for any other text."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        return None
    found: dict[str, str] = {}
    for piece in filter(None, (p.strip() for p in (match.group(2) or "").split(","))):
        node, sign, part = (p.strip().strip("'\"") for p in piece.partition("="))
        if not sign:
            raise SpecError(f"cannot read {piece!r} in {text!r}; write sde(l=direct)")
        found[node] = part
    return _checked("direct" if match.group(1) == "sde" else "indirect", found)


def _checked(part: Part, components: Mapping[str, str]) -> SeparableEffect:
    for node, which in components.items():
        if which not in PARTS:
            raise SpecError(
                f"{node}={which!r}: a node depends on the 'direct' or the 'indirect' component of "
                "the treatment"
            )
    pairs = tuple((node, which) for node, which in components.items())
    return SeparableEffect(part, pairs)  # type: ignore[arg-type]


def assigned(
    question: SeparableEffect, roles: Roles
) -> tuple[tuple[World, World], tuple[str, ...]]:
    """The two worlds of the contrast, and the nodes that still need a component."""
    if not roles.mediators:
        raise DesignError(f"{question.name} needs mediators; say which nodes they are")
    children = roles.graph.children[roles.treatment]
    for node, _ in question.components:
        if node not in children or node in (*roles.mediators, roles.outcome):
            others = [c for c in children if c not in (*roles.mediators, roles.outcome)]
            raise DesignError(
                f"{question.name} gives {node!r} a component, but only direct effects of "
                f"{roles.treatment!r} other than mediators and outcome take one. "
                f"{hint(node, others)}"
            )
    first, second = ((1, 0), (0, 0)) if question.part == "direct" else ((1, 1), (1, 0))
    pair = (_world(question, roles, *first), _world(question, roles, *second))
    probe = _world(question, roles, 1, 0)
    carried = levels(roles.graph.children, roles.treatment, probe, roles.outcome)
    return pair, tuple(node for node, need in carried.items() if len(need) > 1)


def _world(question: SeparableEffect, roles: Roles, direct: int, indirect: int) -> World:
    drawn = dict.fromkeys(roles.mediators, indirect)
    for node, part in question.components:
        drawn[node] = direct if part == "direct" else indirect
    return World(direct, drawn, {}, {})
