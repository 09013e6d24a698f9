"""Graphs as people write them: arrows in a line, DOT, dagitty."""

from __future__ import annotations

import re
from typing import NoReturn

from crossworld.core.graph.dag import Edge, Graph
from crossworld.errors import DesignError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
      | (?P<line>\n)
      | (?P<arrow><->|->|<-|--|<--|-->|<-->|@-@|@->|<-@)
      | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<mark>[{}\[\];,=:])
      | (?P<word>(?:[^\s{}\[\];,=:<>"'\-]|-(?![->]))+)""",
    re.VERBOSE | re.DOTALL,
)
_HEADS = ("dag", "digraph", "graph", "pdag", "mag", "pag", "strict")
_DEFAULTS = ("node", "edge", "graph")
_LATENT = {"latent", "unobserved", "hidden"}
_EXPOSURE = {"exposure", "treatment"}
_ARROWS = {"-->": "->", "<--": "<-", "<-->": "<->"}
Token = tuple[str, str, int]


def read(text: str) -> Graph:
    """Read a graph; see `Graph.parse`."""
    if not isinstance(text, str):
        raise DesignError(f"a graph is written as text, got {text!r}")
    found = _Reader(text, _tokens(text))
    found.document()
    return found.graph()


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            _refuse(text, at, "cannot be read")
        kind = str(match.lastgroup)
        if kind != "space":
            value = match.group()
            if kind == "quoted":
                kind, value = "word", re.sub(r"\\(.)", r"\1", value[1:-1])
            elif kind == "line":
                kind, value = "mark", "\n"
            found.append((kind, _ARROWS.get(value, value) if kind == "arrow" else value, at))
        at = match.end()
    return found


def _refuse(text: str, at: int, why: str) -> NoReturn:
    line = text.count("\n", 0, at) + 1
    near = " ".join(text[max(0, at - 12) : at + 24].split())
    where = f" in line {line}" if "\n" in text.strip() else ""
    raise DesignError(
        f"the graph {why}{where}, near {near!r}; write 'a -> m -> y; a -> y; m <-> y', DOT or "
        "dagitty"
    )


class _Reader:
    """The state of reading one text."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.at = 0
        self.nodes: dict[str, None] = {}
        self.edges: dict[Edge, None] = {}
        self.both: dict[Edge, None] = {}
        self.marks: dict[str, set[str]] = {}

    def document(self) -> None:
        self._skip("\n;")
        start = self.at
        while self._peek() in _HEADS and self._kind(1) != "arrow":
            self.at += 1
        if self.at > start and self._kind() == "word" and self._peek(1) == "{":
            self.at += 1  # the graph's own name
        if self.at > start and self._peek() == "\n":
            self._skip("\n")
        if self._peek() == "{" and (self.at > start or start == self.at == 0):
            if self.at > start or not self._is_group():
                self.at += 1
                self.statements("}")
                self._expect("}")
                self._skip("\n;")
                if self.at < len(self.tokens):
                    self._stop("goes on after its closing brace")
                return
        else:
            self.at = start
        self.statements("")

    def statements(self, end: str) -> None:
        while self.at < len(self.tokens) and self._peek() != end:
            if self._peek() in ("\n", ";", ","):
                self.at += 1
            elif self._peek() in _DEFAULTS and self._peek(1) == "[":
                self.at += 1
                self._attributes()
            elif self._kind() == "word" and self._peek(1) == "=":
                self.at += 3  # an attribute of the drawing, such as rankdir=LR
            elif self._peek() == "bb" or self._peek() == "layout":
                self.at += 1
            else:
                self._chain()

    def _chain(self) -> None:
        groups, arrows = [self._group()], []
        while self._kind() == "arrow":
            arrows.append(self._peek())
            self.at += 1
            self._skip("\n")
            groups.append(self._group())
        told = self._attributes() if self._peek() == "[" else {}
        if not arrows:
            for name in groups[0]:
                self.marks.setdefault(name, set()).update(_meanings(told))
        for arrow, left, right in zip(arrows, groups, groups[1:], strict=False):
            two_headed = arrow == "<->" or told.get("dir", "") == "both"
            for a in left:
                for b in right:
                    self._join(a, b, "<->" if two_headed else arrow)

    def _join(self, a: str, b: str, arrow: str) -> None:
        if arrow == "->":
            self.edges[(a, b)] = None
        elif arrow == "<-":
            self.edges[(b, a)] = None
        elif arrow == "<->":
            self.both[(a, b) if a <= b else (b, a)] = None
        else:
            self._stop(f"has the undirected edge {a} {arrow} {b}; a causal graph needs its arrow")

    def _group(self) -> list[str]:
        if self._peek() == "subgraph":
            self.at += 1
            if self._kind() == "word":
                self.at += 1
        if self._peek() == "{":
            self.at += 1
            before = list(self.nodes)
            found: list[str] = []
            while self.at < len(self.tokens) and self._peek() != "}":
                if self._peek() in ("\n", ";", ","):
                    self.at += 1
                else:
                    mark = len(self.tokens) - self.at
                    name = self._group()
                    found += name
                    if self._kind() == "arrow":
                        self.at = len(self.tokens) - mark
                        self._chain()
                        found += [n for n in self.nodes if n not in before]
            self._expect("}")
            return list(dict.fromkeys(found))
        names = [self._name()]
        while self._peek() == "," and self._kind(1) == "word":
            self.at += 1
            names.append(self._name())
        return names

    def _name(self) -> str:
        if self._kind() != "word":
            self._stop("lacks a name")
        name = self._peek()
        self.at += 1
        if self._peek() == ":" and self._kind(1) == "word":
            self.at += 2  # a DOT port says where an arrow touches the drawing
        self.nodes[name] = None
        return name

    def _attributes(self) -> dict[str, str]:
        self._expect("[")
        told: dict[str, str] = {}
        while self.at < len(self.tokens) and self._peek() != "]":
            if self._kind() != "word":
                self.at += 1
                continue
            key = self._peek().lower()
            self.at += 1
            if self._peek() == "=":
                told[key] = self._peek(1).lower()
                self.at += 2
            else:
                told[key] = "yes"
        self._expect("]")
        return told

    def graph(self) -> Graph:
        if not self.nodes:
            self._stop("has no nodes")
        having = {
            role: tuple(n for n in self.nodes if role in self.marks.get(n, ()))
            for role in ("latent", "treatment", "mediator", "outcome")
        }
        for role in ("treatment", "outcome"):
            if len(having[role]) > 1:
                raise DesignError(f"the graph marks {' and '.join(having[role])} as the {role}")
        return Graph(
            tuple(self.nodes),
            tuple(self.edges),
            tuple(self.both),
            frozenset(having["latent"]),
            next(iter(having["treatment"]), None),
            having["mediator"],
            next(iter(having["outcome"]), None),
        )

    def _is_group(self) -> bool:
        depth = 0
        for k in range(self.at, len(self.tokens)):
            depth += {"{": 1, "}": -1}.get(self.tokens[k][1], 0)
            if depth == 0:
                return k + 1 < len(self.tokens) and self.tokens[k + 1][0] == "arrow"
        return False

    def _peek(self, ahead: int = 0) -> str:
        k = self.at + ahead
        return self.tokens[k][1] if k < len(self.tokens) else ""

    def _kind(self, ahead: int = 0) -> str:
        k = self.at + ahead
        return self.tokens[k][0] if k < len(self.tokens) else ""

    def _skip(self, marks: str) -> None:
        while self._peek() and self._peek() in marks and self._kind() == "mark":
            self.at += 1

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            self._stop(f"lacks {mark!r}")
        self.at += 1

    def _stop(self, why: str) -> NoReturn:
        at = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)
        _refuse(self.text, at, why)


def _meanings(told: dict[str, str]) -> set[str]:
    """Roles that attributes give a node."""
    yes = {k for k, v in told.items() if v in ("yes", "true", "1", "")}
    no = {k for k, v in told.items() if v in ("no", "false", "0")}
    role = told.get("role", "")
    found = set()
    if yes & _LATENT or "observed" in no or role in _LATENT:
        found.add("latent")
    if yes & _EXPOSURE or role in _EXPOSURE:
        found.add("treatment")
    found |= {name for name in ("outcome", "mediator") if name in yes or role == name}
    return found
