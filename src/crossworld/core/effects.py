"""The shipped questions: total, direct, indirect, controlled, interventional, path-specific.

With 0 the reference and 1 the active level:

=========  ==========================  =======================================================
name       cells                       also known as
=========  ==========================  =======================================================
te         Y(1) - Y(0)                 total effect
nde        Y(1, M(0)) - Y(0)           pure direct; ADE (control)
tnde       Y(1) - Y(0, M(1))           total direct; ADE (treated)
nie        Y(1) - Y(1, M(0))           total indirect; ACME (treated)
pnie       Y(0, M(1)) - Y(0)           pure indirect; ACME (control)
pm         nie / te                    proportion mediated
cde(m)     Y(1, set_(m)) - Y(0, ...)   controlled direct
ide, iie   with G in the place of M    randomised interventional analogues; oe is their sum
int_ref    nde - cde(0)                reference interaction (VanderWeele 2014)
int_med    te - nde - pnie             mediated interaction
pse(m2)    only paths through m2       path-specific, ordered mediators (Zhou 2022)
=========  ==========================  =======================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Blocks, Cell, Expr, Y
from crossworld.core.regime import Fixed, G, Level, M, Settings, set_, show
from crossworld.errors import SpecError, hint

T = TypeVar("T")

TE = Estimand("te", Y(1) - Y(0))
NDE = Estimand("nde", Y(1, M(0)) - Y(0))
TNDE = Estimand("tnde", Y(1) - Y(0, M(1)))
NIE = Estimand("nie", Y(1) - Y(1, M(0)))
PNIE = Estimand("pnie", Y(0, M(1)) - Y(0))
PM = Estimand("pm", (Y(1) - Y(1, M(0))) / (Y(1) - Y(0)))
IDE = Estimand("ide", Y(1, G(0)) - Y(0, G(0)))
IIE = Estimand("iie", Y(1, G(1)) - Y(1, G(0)))
OE = Estimand("oe", Y(1, G(1)) - Y(0, G(0)))
INT_MED = Estimand("int_med", Y(1) - Y(1, M(0)) - (Y(0, M(1)) - Y(0)))
NATURAL = (TE, NDE, NIE)


def _settings(
    where: str, everywhere: tuple[Level, ...], named: dict[str, Level]
) -> tuple[Fixed | Settings, str]:
    if not everywhere and not named:
        raise SpecError(
            f"{where} needs the value the mediator is held at: {where}(0) or {where}(m=0)"
        )
    inside = [show(v) for v in everywhere] + [f"{k}={show(v)}" for k, v in named.items()]
    return set_(*everywhere, **named), f"{where}({', '.join(inside)})"


def CDE(*everywhere: Level, **named: Level) -> Estimand:  # noqa: N802 - an estimand
    """Build the controlled direct effect with the mediators held at given values.

    Examples
    --------
    >>> print(CDE(anxiety=3))
    cde(anxiety=3) = Y(1, set_(anxiety=3)) - Y(0, set_(anxiety=3))
    """
    held, name = _settings("cde", everywhere, named)
    return Estimand(name, Y(1, held) - Y(0, held))


def INT_REF(*everywhere: Level, **named: Level) -> Estimand:  # noqa: N802 - an estimand
    """Build the reference interaction ``nde - cde(m)``; the mediators are held at 0 by default."""
    if not everywhere and not named:
        return INT_REF(0).named("int_ref")
    held, name = _settings("int_ref", everywhere, named)
    return Estimand(name, Y(1, M(0)) - Y(0) - (Y(1, held) - Y(0, held)))


def four_way(*everywhere: Level, **named: Level) -> tuple[Estimand, Estimand, Estimand, Estimand]:
    """Decompose the total effect into ``cde + int_ref + int_med + pnie`` (VanderWeele 2014).

    Parameters
    ----------
    *everywhere, **named
        The value the mediators are held at in the controlled direct effect.

    Examples
    --------
    >>> [e.name for e in four_way(m=0)]
    ['cde(m=0)', 'int_ref(m=0)', 'int_med', 'pnie']
    """
    return CDE(*everywhere, **named), INT_REF(*everywhere, **named), INT_MED, PNIE


@dataclass(frozen=True, slots=True)
class _Serial(Expr):
    """The cells of a path-specific effect; concrete once a study names its ordered blocks."""

    mediator: str
    type: Literal[1, 2]
    deferred: ClassVar[bool] = True

    def cells(self) -> frozenset[Cell]:
        raise SpecError(f"pse({self.mediator}) has no cells before a study orders its mediators")

    def evaluate(self, mean: Callable[[Cell], T]) -> T:
        raise SpecError(f"pse({self.mediator}) cannot be computed before a study is given")

    def map(self, change: Callable[[Cell], Expr]) -> Expr:
        raise SpecError(f"pse({self.mediator}) has no other scale before a study is given")

    def bind(self, blocks: Blocks) -> Expr:
        names = [name for block in blocks for name in block]
        if self.mediator not in names:
            raise SpecError(
                f"{self.mediator!r} is not a mediator of this study. {hint(self.mediator, names)}"
            )
        at = next(i for i, block in enumerate(blocks) if self.mediator in block)
        early = {name: 0 for block in blocks[:at] for name in block}
        through = {name: 0 for block in blocks[: at + 1] for name in block}
        if self.type == 1:
            return (Y(1, **early) - Y(1, **through)).bind(blocks)
        early_on = dict.fromkeys(early, 1)
        through_on = dict.fromkeys(through, 1)
        return (Y(0, **through_on) - Y(0, **early_on)).bind(blocks)

    def __str__(self) -> str:
        return f"pse({self.mediator}{'' if self.type == 1 else ', type=2'})"


def PSE(mediator: str, *, type: Literal[1, 2] = 1) -> Estimand:  # noqa: N802
    """Build the effect along the paths that enter the outcome side through one mediator.

    With causally ordered mediators ``m1 .. mK`` and ``theta(a1 .. aK, a)`` the cell in which
    mediator ``k`` follows level ``ak`` and the outcome sees ``a`` (Zhou 2022, JRSS-B):

    - type 1: ``theta(0..0, 1_k, 1..1, 1) - theta(0..0, 0_k, 1..1, 1)``
    - type 2: ``theta(1..1, 1_k, 0..0, 0) - theta(1..1, 0_k, 0..0, 0)``

    Either set of path-specific effects and its direct effect add up to ``te``: type 1 with
    ``nde``, type 2 with ``tnde``.

    Parameters
    ----------
    mediator
        A mediator; its whole joint block moves together.
    type
        Which of the two decompositions.
    """
    if type not in (1, 2):
        raise SpecError(f"pse comes in type 1 and type 2, got type={type!r}")
    effect = _Serial(mediator, type)
    return Estimand(str(effect), effect)


CONSTANTS = {e.name: e for e in (TE, NDE, TNDE, NIE, PNIE, PM, IDE, IIE, OE, INT_MED, INT_REF())}
FUNCTIONS = {"cde": CDE, "int_ref": INT_REF, "pse": PSE}
