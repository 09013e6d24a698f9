"""Names and expressions as people type them: ``nie.ratio``, ``cde(m=3)``, ``Y(1) - Y(0, M(1))``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from crossworld.core.effects import CONSTANTS, FUNCTIONS
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Expr, Y
from crossworld.core.regime import G, M, set_
from crossworld.errors import SpecError

SCALES = ("ratio", "odds_ratio", "excess_ratio")
FUNCTIONALS = ("quantile", "cdf", "survival", "rmst")
_BUILDERS: dict[str, Callable[..., Any]] = {"Y": Y, "M": M, "G": G, "set_": set_, **FUNCTIONS}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def estimand(text: str) -> Estimand:
    """Read an estimand; its name is exactly the text.

    Parameters
    ----------
    text
        A name (``nie``), a name with arguments (``cde(m=3)``, ``pse(m2, type=2)``), either with a
        scale (``nie.ratio``, ``te.odds_ratio``), or an expression over cells and names.

    Raises
    ------
    SpecError
        If the text is not one of these; the message names the nearest known effect.

    Examples
    --------
    >>> estimand("Y(1) - Y(0, M(1))").expr == estimand("tnde").expr
    True
    """
    text = text.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise SpecError(f"cannot read the effect {text!r}: {_syntax(error)}") from None
    value = _read(tree, text)
    if isinstance(value, Estimand):
        return value.named(text)
    if isinstance(value, Expr):
        return Estimand(text, value)
    raise SpecError(f"{text!r} is not an effect; try nie, cde(m=0) or Y(1) - Y(1, M(0))")


def cell(text: str) -> Cell:
    """Read one cell, as written by ``str(cell)``."""
    value = _read(ast.parse(text, mode="eval").body, text)
    if not isinstance(value, Cell):
        raise SpecError(f"{text!r} is not a cell such as Y(1, M(0))")
    return value


def _syntax(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) and error.msg else "not an expression"


def _read(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        return node.value
    if isinstance(node, ast.Name):
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        raise SpecError.unknown("effect", node.id, [*CONSTANTS, *FUNCTIONS])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _read(node.operand, text)
        return -(value.expr if isinstance(value, Estimand) else value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_read(side, text) for side in (node.left, node.right))
        if isinstance(left, Estimand):
            left = left.expr
        try:
            return _OPERATORS[type(node.op)](
                left, right.expr if isinstance(right, Estimand) else right
            )
        except TypeError:
            raise SpecError(f"cannot combine the parts of {text!r}") from None
    if isinstance(node, ast.Attribute):
        return _scaled(node, text)
    if isinstance(node, ast.Call):
        return _call(node, text)
    raise SpecError(f"cannot read {ast.unparse(node)!r} in the effect {text!r}")


def _scaled(node: ast.Attribute, text: str) -> Estimand:
    base = _read(node.value, text)
    if node.attr not in SCALES:
        raise SpecError.unknown("scale", node.attr, SCALES)
    question = base if isinstance(base, Estimand) else Estimand(ast.unparse(node.value), base)
    scaled: Estimand = getattr(question, node.attr)()
    return scaled


def _call(node: ast.Call, text: str) -> Any:
    named = {k.arg: _argument(k.value, text) for k in node.keywords if k.arg is not None}
    if len(named) != len(node.keywords):
        raise SpecError(f"cannot read {ast.unparse(node)!r} in the effect {text!r}")
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in SCALES and not node.args and not named:
            return _scaled(node.func, text)
        return _functional(node, text)
    if not isinstance(node.func, ast.Name) or node.func.id not in _BUILDERS:
        raise SpecError.unknown("effect", ast.unparse(node.func), [*_BUILDERS, *CONSTANTS])
    name = node.func.id
    arguments = [_argument(a, text) for a in node.args]
    try:
        return _BUILDERS[name](*arguments, **named)
    except TypeError:
        raise SpecError(f"cannot read the arguments of {ast.unparse(node)!r}") from None


def _functional(node: ast.Call, text: str) -> Cell:
    assert isinstance(node.func, ast.Attribute)
    base = _read(node.func.value, text)
    if not isinstance(base, Cell) or node.func.attr not in FUNCTIONALS or len(node.args) != 1:
        raise SpecError(
            f"cannot read {ast.unparse(node)!r}; a cell takes .{'(..), .'.join(FUNCTIONALS)}(..)"
        )
    functional: Cell = getattr(base, node.func.attr)(_read(node.args[0], text))
    return functional


def _argument(node: ast.expr, text: str) -> Any:
    """Read an argument: a bare word is text (a mediator's name or a level's label)."""
    if isinstance(node, ast.Name):
        return node.id
    return _read(node, text)
