"""Functionals as LaTeX, with the level of the treatment in every factor."""

from __future__ import annotations

from collections.abc import Mapping

from crossworld.core.identify.functional import (
    At,
    Functional,
    Mean,
    Prob,
    Product,
    Ratio,
    Sum,
)
from crossworld.core.regime import Level

Held = Mapping[str, str]


def latex(f: Functional, held: Held | None = None) -> str:
    """Write a functional; ``held`` shows nodes at their values."""
    held = held or {}
    if isinstance(f, Prob):
        return _law("P", f.of, f.given, held)
    if isinstance(f, Mean):
        if f.body is None:
            return _law("E", (f.node,), f.given, held, brackets="[]")
        return (
            rf"\sum_{{{name(f.node)}}} {name(f.node)}\, {_factor(f.body, _unheld(held, (f.node,)))}"
        )
    if isinstance(f, Product):
        return r"\, ".join(_factor(g, held) for g in f.factors) or "1"
    if isinstance(f, Sum):
        inner = _unheld(held, f.over)
        return rf"\sum_{{{', '.join(map(name, f.over))}}} {_factor(f.body, inner, last=True)}"
    if isinstance(f, Ratio):
        return rf"\frac{{{latex(f.top, held)}}}{{{latex(f.bottom, held)}}}"
    return latex(f.body, {**held, **{n: value(v) for n, v in f.values}})


def name(node: str) -> str:
    """A node's name: one letter as it is, a word upright, with its underscores."""
    if len(node) == 1 and node.isascii() and node.isalpha():
        return node
    if node.isascii() and node[0].isalpha() and node[1:].isdigit():
        return f"{node[0]}_{{{node[1:]}}}"
    return rf"\mathrm{{{_escaped(node)}}}"


def value(level: Level) -> str:
    """A level's value."""
    if isinstance(level, str):
        return rf"\mathrm{{{_escaped(level)}}}"
    whole = abs(level) < 1e15 and float(level).is_integer()
    return str(int(level)) if whole else repr(float(level))


def _escaped(text: str) -> str:
    found = "".join(rf"\{c}" if c in "_&%$#{}" else c for c in text if c not in "\\^~")
    return found.replace(" ", r"\ ")


def _law(
    symbol: str, of: tuple[str, ...], given: tuple[str, ...], held: Held, *, brackets: str = "()"
) -> str:
    left = ", ".join(_atom(n, held) for n in of)
    right = ", ".join(_atom(n, held) for n in given)
    inside = rf"{left} \mid {right}" if right else left
    return f"{symbol}{brackets[0]}{inside}{brackets[1]}"


def _atom(node: str, held: Held) -> str:
    return f"{name(node)}={held[node]}" if node in held else name(node)


def _factor(f: Functional, held: Held, *, last: bool = False) -> str:
    """Write a factor, a sum among factors in brackets."""
    text = latex(f, held)
    inner = f.body if isinstance(f, At) else f
    bracketed = isinstance(inner, Sum | Mean) and not (
        isinstance(inner, Mean) and inner.body is None
    )
    product = (
        isinstance(inner, Product) and not last and any(isinstance(g, Sum) for g in inner.factors)
    )
    return rf"\Bigl({text}\Bigr)" if (bracketed and not last) or product else text


def _unheld(held: Held, names: tuple[str, ...]) -> Held:
    return {n: v for n, v in held.items() if n not in names}
