"""Model formulas: the default ones, and those people write, read safely."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from crossworld.errors import DesignError, SpecError, hint

# What a formula may call. Formulas arrive over HTTP too, so nothing else is evaluated.
FUNCTIONS = frozenset(
    {
        "I",
        "C",
        "bs",
        "cc",
        "cr",
        "cs",
        "center",
        "scale",
        "standardize",
        "poly",
        "lag",
        "log",
        "log10",
        "log2",
        "exp",
        "exp10",
        "exp2",
        "sqrt",
        "abs",
    }
)
ATTRIBUTES = frozenset(
    {
        "np.log",
        "np.log1p",
        "np.log2",
        "np.log10",
        "np.exp",
        "np.expm1",
        "np.sqrt",
        "np.abs",
        "np.sin",
        "np.cos",
        "np.tanh",
        "np.arctan",
        "np.square",
        "np.power",
        "np.maximum",
        "np.minimum",
        "np.where",
        "np.clip",
        "np.sign",
        "contr.treatment",
        "contr.sum",
        "contr.poly",
        "contr.helmert",
        "contr.diff",
        "contr.SAS",
    }
)
KEYWORDS = frozenset(
    {
        "df",
        "degree",
        "knots",
        "lower_bound",
        "upper_bound",
        "include_intercept",
        "extrapolation",
        "contrasts",
        "levels",
        "base",
        "constraints",
        "center",
        "scale",
        "ddof",
        "raw",
        "reference",
    }
)
_ALLOWED_NODES = (
    ast.Expression,
    ast.Name,
    ast.Load,
    ast.Call,
    ast.keyword,
    ast.Constant,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.List,
    ast.Tuple,
    ast.Attribute,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)


_INTERCEPT = "1\u2060"  # a column named 1, which a formula would read as the intercept


def inner(name: str) -> str:
    """Name of a column inside formulas and their frames."""
    return _INTERCEPT if name == "1" else name


def outer(text: str) -> str:
    """Text about formulas with the names that columns have in the table."""
    return text.replace(_INTERCEPT, "1")


def quoted(name: str) -> str:
    """Write a column name so that a formula reads it as one name."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f"`{name}`"


@lru_cache(maxsize=4096)
def holds(name: str) -> bool:
    """Whether a formula reads a quoted name as that one column."""
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        terms = list(Formula(f"0 + {quoted(name)}"))
    except (FormulaicError, SyntaxError, ValueError):
        return False
    factors = [f for term in terms for f in term.factors]
    return len(factors) == 1 and (factors[0].expr, factors[0].eval_method.value) == (name, "lookup")


def written(response: str, terms: Sequence[str]) -> str:
    """Write a formula from its response and its terms."""
    return f"{quoted(response)} ~ {' + '.join(terms) if terms else '1'}"


@dataclass(frozen=True, slots=True)
class RightSide:
    """A checked right side: the formulaic formula, and the columns each of its terms uses."""

    formula: Any
    terms: tuple[frozenset[str], ...]

    @property
    def variables(self) -> frozenset[str]:
        """All columns in use."""
        return frozenset[str]().union(*self.terms)


@lru_cache(maxsize=256)
def right_side(
    text: str, response: str, columns: frozenset[str], *, later: frozenset[str] = frozenset()
) -> RightSide:
    """Check a formula and return its right side; columns that come later are not offered.

    Raises
    ------
    SpecError
        If it is not a formula for ``response`` or calls something it may not.
    DesignError
        If it uses a column that has no role in the study.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    if not text.partition("~")[2].strip():
        raise SpecError(
            f"the formula {text!r} has nothing after ~; write {quoted(response)} ~ 1 for an "
            "intercept alone"
        )
    if re.search(r"(?<![\w.`)\]])\.(?![\w.])", re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "q", text)):
        raise SpecError(
            f"the formula {text!r} says '.', which stands for no columns here; name them, or leave "
            "the formula out: by default the columns of adjust=[...] enter every model"
        )
    if len(text) > 5000 or re.search(r"(\*\*|\^)\s*([5-9]|\d\d)", text):
        raise SpecError(f"the formula {text[:80]!r} is too long, or has a power above 4")
    try:
        formula: Any = Formula(text.replace("`1`", f"`{_INTERCEPT}`"))
    except (FormulaicError, SyntaxError, ValueError) as error:
        plain = outer(re.sub(r"\x1b\[[0-9;]*m|[⧛⧚]", "", str(error)).splitlines()[0])
        raise SpecError(f"cannot read the formula {text!r}: {plain}") from None
    left = getattr(formula, "lhs", None)
    if left is None:
        raise SpecError(f"the formula {text!r} has no response; write '{quoted(response)} ~ ...'")
    if [outer(str(t).strip("`")) for t in left] != [response]:
        raise SpecError(
            f"the formula {text!r} models {', '.join(map(str, left))}, but it stands for "
            f"{response!r}; transform the column in the table before building the study"
        )
    right = formula.rhs
    if not hasattr(right, "required_variables"):
        raise SpecError(f"the formula {text!r} has more than one part; one right side is needed")
    terms = tuple(
        frozenset[str]().union(
            *(
                {outer(v) for v in _variables(str(f.expr), f.eval_method.value, text)}
                for f in term.factors
            )
        )
        for term in right
    )
    known = columns - {response}
    for name in sorted(frozenset[str]().union(*terms)):
        if name == response:
            raise SpecError(f"the formula {text!r} uses the response on both sides")
        if name not in known:
            raise DesignError(
                f"the formula {text!r} uses {name!r}, which has no role in the study. "
                f"{hint(name, sorted(known - later))} "
                "Columns enter through the path or adjust=[...]."
            )
    return RightSide(right, terms)


def _small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (0.5, 1, 2, 3, 4)


def _holds_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(s, ast.Constant) and isinstance(s.value, str) for s in sides)


def _variables(expression: str, method: str, text: str) -> set[str]:
    """Columns a factor uses.

    Columns, arithmetic and known functions are allowed; everything else Python can do is refused.
    """
    if method == "lookup":
        return {expression}
    if method != "python":
        return set()
    found = re.findall(r"`([^`]*)`", expression)
    try:
        tree = ast.parse(re.sub(r"`[^`]*`", "1", expression), mode="eval")
    except SyntaxError:
        raise SpecError(f"cannot read {expression!r} in the formula {text!r}") from None
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED_NODES):
            raise SpecError(f"{expression!r} in the formula {text!r} is not allowed")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _small(node.right):
            raise SpecError(f"{expression[:80]!r} in the formula: powers go up to 4")
        if isinstance(node, ast.BinOp) and _holds_text(node):
            raise SpecError(f"{expression[:80]!r} in the formula computes with text")
        if isinstance(node, ast.keyword) and node.arg not in KEYWORDS:
            raise SpecError(f"{node.arg!r} in the formula {text!r} is not allowed")
        if isinstance(node, ast.Attribute) and ast.unparse(node) not in ATTRIBUTES:
            raise SpecError(f"{ast.unparse(node)!r} in the formula {text!r} is not allowed")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in FUNCTIONS:
                raise SpecError.unknown(
                    f"function in the formula {text!r}", node.func.id, sorted(FUNCTIONS)
                )
        elif isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            raise SpecError(f"{expression!r} in the formula {text!r} is not allowed")
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    modules = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    return {*found, *(n.id for n in names if id(n) not in called | modules)}
