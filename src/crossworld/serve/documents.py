"""Documents that callers send: small, shallow, and saying only what a caller may say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossworld.core.graph.dag import Graph
from crossworld.errors import CrossworldError, SpecError
from crossworld.serve.settings import Limits
from crossworld.spec import check_document

MARKS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
KINDS = ("table", "reasoning")  # of studies; others read files of the machine
FILES = ("experiment",)  # options of estimators that name a second file
DIGITS = 400
MOST_BACKGROUND = 80  # characters of a value that a message repeats


def read_json(body: bytes, depth: int) -> Any:
    """Read JSON that is nested at most ``depth`` deep; the text is looked at before it is read.

    Raises
    ------
    SpecError
        If it is not JSON, names a key twice, holds NaN, or is nested too deeply.

    Examples
    --------
    >>> read_json(b'{"a": [1, 2]}', 3)
    {'a': [1, 2]}
    """
    check_depth(body, depth)
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_real,
        )
    except SpecError:
        raise
    except UnicodeDecodeError:
        raise SpecError("the document is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the document is not valid JSON: {str(error)[:200]}") from None


def check_depth(body: bytes, depth: int) -> None:
    """Refuse a text whose brackets are nested too deeply."""
    level = 0
    for found in MARKS.finditer(body):
        mark = found.group()
        if mark in (b"[", b"{"):
            level += 1
            if level > depth:
                raise SpecError(f"the document is nested too deeply: more than {depth} levels")
        elif mark in (b"]", b"}"):
            level -= 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise SpecError(f"the document says {twice[:MOST_BACKGROUND]!r} twice")
    return held


def _constant(text: str) -> Any:
    raise SpecError(f"{text} is not a number; leave the value out, or write null")


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise SpecError(f"a number of the document has {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise SpecError(f"the number {text[:MOST_BACKGROUND]} is too large")
    return value


def read_spec(body: bytes, depth: int) -> dict[str, Any]:
    """Read a spec sent as JSON or TOML text.

    Raises
    ------
    SpecError
        If it is neither.

    Examples
    --------
    >>> read_spec(b'study = {path = "a -> m -> y"}', 5)
    {'study': {'path': 'a -> m -> y'}}
    """
    if body.lstrip()[:1] == b"{":
        held = read_json(body, depth)
    else:
        check_depth(body, depth)
        try:
            held = tomllib.loads(body.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise SpecError("the spec is not UTF-8 text") from None
        except (ValueError, RecursionError) as error:
            raise SpecError(
                f"the spec is neither JSON nor valid TOML: {str(error)[:200]}"
            ) from None
    if not isinstance(held, dict):
        raise SpecError("the spec is a document with a [study]")
    return held


def admitted(document: Any, name: str, table: str, limits: Limits) -> dict[str, Any]:
    """Check a spec and return it with the stored table as its data.

    Parameters
    ----------
    document
        What the caller sent.
    name
        The caller's name of the table that was sent along; all that ``data`` may say.
    table
        The name under which the table is stored in the job's folder.
    limits
        The service's limits.

    Raises
    ------
    SpecError
        If a key, name or value is not known, or the spec names another file.
    """
    if not isinstance(document, Mapping):
        raise SpecError("spec is a document with a [study]; see docs/spec.md")
    spec = document.get("spec", document) if "schema" in document else document
    study = spec.get("study") if isinstance(spec, Mapping) else None
    if isinstance(study, Mapping):
        if study.get("kind") not in (None, *KINDS):
            kind = repr(study.get("kind"))[:MOST_BACKGROUND]
            raise SpecError(f"kind in [study] is {kind}; the service takes {' and '.join(KINDS)}")
        told = study.get("data")
        if told is not None and told != name:
            raise SpecError(
                f"data in [study] is {repr(told)[:MOST_BACKGROUND]}, but the table sent along is "
                f"{name!r}; the service reads that table only, so leave data out"
            )
        study = {**study, "data": table}
        if isinstance(study.get("graph"), str):
            study["graph"] = _graph(study["graph"])
        document = {**spec, "study": study}
    held = check_document(document)
    _check_options(held, limits)
    return held


def _graph(text: str) -> str:
    """Check a graph, and end it with a new line: no such text is taken for a file's name."""
    try:
        Graph.parse(text)
    except CrossworldError as error:
        raise SpecError(f"graph in [study] is no graph: {error}; write it out, as text") from None
    return text if "\n" in text else f"{text}\n"


def _check_options(spec: Mapping[str, Any], limits: Limits) -> None:
    for section in ("estimator", "inference"):
        options = spec.get(section, {})
        for key in FILES:
            if options.get(key) is not None:
                raise SpecError(
                    f"{key} of {options.get('name')} names a second table, which the service does "
                    "not take; run this analysis with 'crossworld run'"
                )
        workers = options.get("workers", 1)
        if isinstance(workers, int) and workers > limits.threads:
            raise SpecError(f"workers is {workers}; the service allows {limits.threads}")


def file_name(given: str | None) -> str:
    """Return the last part of a file's name as a caller gave it.

    Examples
    --------
    >>> file_name("../../etc/jobs.csv")
    'jobs.csv'
    """
    return Path((given or "").replace("\\", "/")).name[:200] or "table"
