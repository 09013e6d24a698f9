"""The few forms of LaTeX that identification formulas use, as MathML."""

from __future__ import annotations

import re
from html import escape

_TOKEN = re.compile(
    r"\\mathrm\{(?:[^{}\\]|\\.)*\}|\\[A-Za-z]+|\\[,;:! ]|\d+(?:\.\d+)?|[A-Za-z]|[^\s]"
)
_SIGNS = {
    r"\mid": "\N{DIVIDES}",
    r"\cdot": "⋅",
    r"\times": "\N{MULTIPLICATION SIGN}",
    r"\ldots": "…",
    r"\dots": "…",
    r"\in": "∈",
    r"\sim": "\N{TILDE OPERATOR}",
}
_LARGE = {r"\int": "∫", r"\iint": "∬", r"\sum": "∑", r"\prod": "∏"}
_GREEK = {r"\theta": "θ", r"\pi": "π", r"\mu": "μ", r"\tau": "τ", r"\psi": "ψ"}
_SIZES = (r"\Bigl", r"\Bigr", r"\bigl", r"\bigr")
_SPACES = {r"\,": "0.167em", r"\:": "0.222em", r"\;": "0.278em", r"\ ": "0.333em"}
_PLAIN = frozenset("=()[]+-,/|;:<>*.'")
_PRIME = {"-": "\N{MINUS SIGN}", "*": "\N{ASTERISK OPERATOR}", "'": "\N{PRIME}"}


class _UnknownFormError(ValueError):
    """A command that the converter does not know."""


def mathml(latex: str) -> str | None:
    r"""Convert LaTeX to a MathML element, or return None for a form that is not known.

    Parameters
    ----------
    latex
        Letters, numbers, brackets, ``_`` and ``^``, and
        ``\int \iint \sum \frac \mathrm \Bigl \mid \, \ldots``.

    Examples
    --------
    >>> print(mathml("m_1")[:60])
    <math display="block"><semantics><mrow><msub><mi>m</mi><mn>1
    >>> mathml(r"\unknown{x}") is None
    True
    """
    tokens = _TOKEN.findall(latex)
    try:
        body, rest = _row(tokens, 0)
    except _UnknownFormError:
        return None
    if rest != len(tokens) or not body:
        return None
    source = escape(latex, quote=False)
    return (
        f'<math display="block"><semantics><mrow>{"".join(body)}</mrow>'
        f'<annotation encoding="application/x-tex">{source}</annotation></semantics></math>'
    )


def _row(tokens: list[str], at: int) -> tuple[list[str], int]:
    """Read up to the end or a closing brace."""
    found: list[str] = []
    while at < len(tokens) and tokens[at] != "}":
        if tokens[at] in "_^":
            if not found:
                raise _UnknownFormError(tokens[at])
            tag = "msub" if tokens[at] == "_" else "msup"
            if "∑" in found[-1]:
                tag = "munder" if tag == "msub" else "mover"
            index, at = _one(tokens, at + 1)
            found[-1] = f"<{tag}>{found[-1]}{index}</{tag}>"
        else:
            item, at = _one(tokens, at)
            found.append(item)
    return found, at


def _one(tokens: list[str], at: int) -> tuple[str, int]:
    """Read one atom or one group in braces."""
    if at >= len(tokens):
        raise _UnknownFormError("end")
    token = tokens[at]
    if token == r"\frac":
        top, at = _one(tokens, at + 1)
        bottom, at = _one(tokens, at)
        return f"<mfrac>{top}{bottom}</mfrac>", at
    if token in _SIZES:
        return _one(tokens, at + 1)
    if token == "{":
        inner, end = _row(tokens, at + 1)
        if end >= len(tokens):
            raise _UnknownFormError(token)
        return f"<mrow>{''.join(inner)}</mrow>", end + 1
    return _atom(token), at + 1


def _atom(token: str) -> str:
    if token.startswith(r"\mathrm{"):
        word = re.sub(r"\\(.)", r"\1", token[len(r"\mathrm{") : -1])
        return f'<mi mathvariant="normal">{escape(word)}</mi>'
    if token in _SPACES:
        return f'<mspace width="{_SPACES[token]}"></mspace>'
    if token in _LARGE:
        return f"<mo>{_LARGE[token]}</mo>"
    if token == r"\ldots" or token == r"\dots":
        return f"<mi>{_SIGNS[token]}</mi>"
    if token in _SIGNS:
        return f"<mo>{_SIGNS[token]}</mo>"
    if token in _GREEK:
        return f"<mi>{_GREEK[token]}</mi>"
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token.isascii() and token.isalpha():
        return f"<mi>{token}</mi>"
    if token in _PLAIN:
        stretchy = ' stretchy="false"' if token in "()[]|" else ""
        return f"<mo{stretchy}>{escape(_PRIME.get(token, token))}</mo>"
    raise _UnknownFormError(token)
