"""Names and expressions as people type them: ``nie.ratio``, ``cde(m=3)``, ``Y(1) - Y(0, M(1))``."""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from crossworld.core.effects import CONSTANTS, FUNCTIONS
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell, Expr, Log, Y, lift
from crossworld.core.regime import G, M, set_
from crossworld.errors import SpecError

LONGEST = 2000
SCALES = ("ratio", "odds_ratio", "excess_ratio")
FUNCTIONALS = ("quantile", "cdf", "survival", "rmst")
# an effect through one mediator: nie[layers.3.mlp @ -1], nie[layers.3.resid[v]].ratio
_THROUGH = re.compile(
    r"([a-z_]+)\[((?:[^\[\]]|\[[^\[\]]*\])+)\](\.(?:ratio|odds_ratio|excess_ratio)(?:\(\))?)?"
)
_BUILDERS: dict[str, Callable[..., Any]] = {
    "Y": Y,
    "M": M,
    "G": G,
    "set_": set_,
    "log": Log,
    **FUNCTIONS,
}
_USAGE = {
    "Y": "Y(1) or Y(1, M(0)), the level of the treatment first",
    "M": "M(0), the level of the treatment that the mediator sees",
    "G": "G(0), the level of the treatment that the mediator's law sees",
    "log": "log(Y(1)), of one expression",
    "pse": "pse(m2), the name of a mediator",
}
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
        A name (``nie``), one through a mediator (``nie[m2]``), a name with arguments
        (``cde(m=3)``, ``pse(m2, type=2)``), any of them with a scale (``nie.ratio``,
        ``te.odds_ratio``), or an expression over cells and names.

    Raises
    ------
    SpecError
        If the text is not one of these; the message names the nearest known effect.

    Examples
    --------
    >>> estimand("Y(1) - Y(0, M(1))").expr == estimand("tnde").expr
    True
    """
    value = _whole(text)
    if isinstance(value, Estimand):
        return value.named(text.strip())
    if isinstance(value, Expr):
        return Estimand(text.strip(), value)
    raise SpecError(f"{_short(text)} is not an effect; try nie, cde(m=0) or Y(1) - Y(1, M(0))")


def cell(text: str) -> Cell:
    """Read one cell, as written by ``str(cell)``."""
    value = _whole(text)
    if not isinstance(value, Cell):
        raise SpecError(f"{_short(text)} is not a cell such as Y(1, M(0))")
    return value


def _whole(text: str) -> Any:
    if not isinstance(text, str):
        raise SpecError(f"an effect is written as text, got {text!r}")
    through = _THROUGH.fullmatch(text.strip())
    if through and len(text) <= LONGEST:
        value = _whole(through[1])
        if not isinstance(value, Estimand):
            raise SpecError(f"{through[1]!r} in {_short(text)} is no effect; try nie[{through[2]}]")
        found = value.at(through[2].strip())
        if found.expr == value.expr:
            raise SpecError(f"{through[1]} involves no mediator, so {_short(text)} is no effect")
        return getattr(found, through[3][1:].removesuffix("()"))() if through[3] else found
    if not text.strip():
        raise SpecError(f"the effect {text!r} is empty; try nie, cde(m=0) or Y(1) - Y(1, M(0))")
    if len(text) > LONGEST:
        raise SpecError(f"the effect {_short(text)} has {len(text)} characters, too many to read")
    try:
        return _read(ast.parse(text.strip(), mode="eval").body, text.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        told = error.msg if isinstance(error, SyntaxError) and error.msg else "not an expression"
        named = re.match(r"\s*(cde|int_ref|pse)\(", text)
        quoted = "; a name that is no Python name is quoted: pse('my m'), cde(**{'my m': 0})"
        raise SpecError(
            f"cannot read the effect {_short(text)}: {told[:80]}{quoted if named else ''}"
        ) from None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:60]}...")


def _read(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise SpecError(f"{ast.unparse(node)} in {_short(text)} is not a finite number")
        return node.value
    if isinstance(node, ast.Name):
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        if node.id in FUNCTIONS:
            raise SpecError(f"{node.id!r} needs a mediator or its value: cde(m=0), pse(m2)")
        raise SpecError.unknown("effect", node.id, [*CONSTANTS, *FUNCTIONS])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_operand(node.operand, text)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _operand(node.left, text), _operand(node.right, text)
        try:
            return _OPERATORS[type(node.op)](left, right)
        except ZeroDivisionError:
            raise SpecError(f"{text!r} divides by zero") from None
    if isinstance(node, ast.Attribute):
        return _scaled(node, text)
    if isinstance(node, ast.Call):
        return _call(node, text)
    raise SpecError(f"cannot read {ast.unparse(node)!r} in the effect {text!r}")


def _operand(node: ast.expr, text: str) -> Expr | float:
    """Read one side of an operation: a cell, an effect or a number."""
    value = _read(node, text)
    if isinstance(value, Estimand):
        return value.expr
    if isinstance(value, Expr):
        return value
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:
        return float(value)
    raise SpecError(f"{ast.unparse(node)!r} in {text!r} is neither a cell, an effect nor a number")


def _scaled(node: ast.Attribute, text: str) -> Estimand:
    base = _read(node.value, text)
    if node.attr not in SCALES:
        raise SpecError.unknown("scale", node.attr, SCALES)
    if not isinstance(base, Estimand | Expr):
        raise SpecError(f"{ast.unparse(node.value)!r} is no effect, so it has no {node.attr}")
    question = base if isinstance(base, Estimand) else Estimand(ast.unparse(node.value), base)
    scaled: Estimand = getattr(question, node.attr)()
    return scaled


def _call(node: ast.Call, text: str) -> Any:
    named = _named(node, text)
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in SCALES and not node.args and not named:
            return _scaled(node.func, text)
        return _functional(node, text)
    if isinstance(node.func, ast.Name) and node.func.id in {*CONSTANTS} - {*_BUILDERS}:
        raise SpecError(f"{node.func.id!r} is written without brackets: {node.func.id}")
    if not isinstance(node.func, ast.Name) or node.func.id not in _BUILDERS:
        raise SpecError.unknown("effect", ast.unparse(node.func), [*_BUILDERS, *CONSTANTS])
    name = node.func.id
    arguments = [_argument(a, text) for a in node.args]
    if name == "log":
        return Log(lift(_operand(node.args[0], text))) if len(node.args) == 1 else _refuse(node)
    wrong = [a for a in (*arguments, *named.values()) if isinstance(a, Expr | Estimand)]
    if wrong or (name == "pse" and not all(isinstance(a, str) for a in arguments)):
        _refuse(node)
    try:
        return _BUILDERS[name](*arguments, **named)
    except TypeError:
        _refuse(node)


def _named(node: ast.Call, text: str) -> dict[str, Any]:
    """Read named arguments; ``**{'a name': 0}`` holds those that are no Python names."""
    found: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is not None:
            found[keyword.arg] = _argument(keyword.value, text)
            continue
        inner = keyword.value
        if not isinstance(inner, ast.Dict):
            _refuse(node)
        for key, value in zip(inner.keys, inner.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                _refuse(node)
            found[key.value] = _argument(value, text)
    return found


def _refuse(node: ast.expr) -> NoReturn:
    told = ast.unparse(node)
    name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    usage = f"; write {_USAGE[name]}" if name in _USAGE else ""
    raise SpecError(f"cannot read the arguments of {_short(told)}{usage}") from None


def _functional(node: ast.Call, text: str) -> Cell:
    assert isinstance(node.func, ast.Attribute)
    base = _read(node.func.value, text)
    if not isinstance(base, Cell) or node.func.attr not in FUNCTIONALS or len(node.args) != 1:
        raise SpecError(
            f"cannot read {ast.unparse(node)!r}; a cell takes .{'(..), .'.join(FUNCTIONALS)}(..)"
        )
    argument = _operand(node.args[0], text)
    if isinstance(argument, Expr):
        _refuse(node)
    functional: Cell = getattr(base, node.func.attr)(argument)
    return functional


def _argument(node: ast.expr, text: str) -> Any:
    """Read an argument: a bare word is text (a mediator's name or a level's label)."""
    if isinstance(node, ast.Name):
        return node.id
    return _read(node, text)
