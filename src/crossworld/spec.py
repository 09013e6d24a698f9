"""One document for Python, the command line, the service and every result: spec <-> Analysis.

A spec is a TOML or JSON document with the tables ``[study]``, ``[estimator]``, ``[inference]`` and
``[ask]`` (DESIGN 3.2, docs/spec.md). Strings become values here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from inspect import signature
from itertools import permutations
from pathlib import Path
from typing import Any

from crossworld import catalog
from crossworld.core.analysis import Analysis, check_confidence
from crossworld.core.estimand import Estimand
from crossworld.core.fits import portable
from crossworld.core.parse import estimand
from crossworld.core.table import SCHEMA
from crossworld.document import is_file, read_document
from crossworld.errors import SpecError
from crossworld.internals.described import study_from
from crossworld.reasoning.study import ReasoningStudy
from crossworld.tables.study import TableStudy

SECTIONS = ("study", "estimator", "inference", "ask")
KINDS = ("table", "reasoning", "internals")
FRONT_ENDS = {
    "table": ("tables", "Regression"),
    "reasoning": ("reasoning", "Replay"),
    "internals": ("internals", "Patch"),
}
DEFAULT_EFFECTS = ("te", "nde", "nie")
_KINDS_OF_VALUES: dict[Any, str] = {str: "text", list: "a list", Mapping: "a table"}
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
}


def load_spec(source: str | Path | Mapping[str, Any]) -> Analysis[Any]:
    """Read a spec and return the analysis it describes.

    Parameters
    ----------
    source
        A ``.toml`` or ``.json`` file (a result file will do: its spec is taken), or the document
        as a mapping. Data paths are relative to the file.

    Raises
    ------
    SpecError
        If a key, name or value is not known; the message names the nearest known one.
    DesignError
        If the study does not fit its data.
    """
    if isinstance(source, Mapping):
        return from_document(source, Path())
    if not isinstance(source, str | Path):
        raise SpecError(f"a spec is a file or a document, got {source!r}")
    file = Path(source)
    return from_document(read_document(file), file.parent)


def from_document(document: Mapping[str, Any], folder: Path, *, data: Any = None) -> Analysis[Any]:
    """Build the analysis of a document whose data paths are relative to ``folder``.

    ``data``, when given, is read in place of the file that the document names.
    """
    document, kind = _sections(document)
    study = _study_of(kind, document["study"], folder, data)
    return Analysis(study, *_recipe(document, kind))


def check_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Check all of a document that can be checked without its data.

    Returns
    -------
    dict
        The document as a spec: the one of a result document is taken out.

    Raises
    ------
    SpecError
        If a key, name or value is not known; the message names the nearest known one.

    Examples
    --------
    >>> check_document({"study": {"data": "t.csv", "path": "a -> m -> y"}})["study"]["data"]
    't.csv'
    """
    document, kind = _sections(document)
    if kind == "internals":
        raise SpecError("a study of kind 'internals' runs beside its network: crossworld run SPEC")
    (_reasoning_options if kind == "reasoning" else _study_options)(document["study"])
    _estimator, asked, _inference, level, *_rest = _recipe(document, kind)
    check_confidence(level)
    if not asked:
        raise SpecError("no effect was asked for; try te, nde, nie")
    return dict(document)


def _sections(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return a spec whose sections are tables, and the kind of its study."""
    if document.get("schema") == SCHEMA and "spec" in document:
        document = document["spec"]
    if not isinstance(document, Mapping):
        raise SpecError(f"a spec is a document with a [study], got {document!r}")
    _known_keys(document, SECTIONS, "section of the spec")
    for name in SECTIONS:
        if not isinstance(document.get(name, {}), Mapping):
            raise SpecError(f"[{name}] is a table of keys, got {document[name]!r}")
    if "study" not in document:
        raise SpecError("the spec has no [study]; it needs at least data and path")
    kind = document["study"].get("kind", "table")
    if kind not in KINDS:
        raise SpecError.unknown("kind of study", str(kind), KINDS)
    return document, kind


def _recipe(document: Mapping[str, Any], kind: str) -> tuple[Any, ...]:
    """Build what an analysis holds beside its study, in the order of its fields."""
    front_end, default = FRONT_ENDS[kind]
    default = "Saved" if document["study"].get("scores") is not None else default
    estimator = _named(
        document.get("estimator", {"name": default}), catalog.estimators(front_end), "estimator"
    )
    measured = inference(document.get("inference", {"name": "Wald"}))
    ask = document.get("ask", {})
    _known_keys(ask, ("effects", "refute", "level", "assume"), "key of [ask]")
    refuters = tuple(_refuters(ask.get("refute", [])))
    assume = ask.get("assume", False)
    if not isinstance(assume, bool):
        raise SpecError(f"assume is true or false, got {assume!r}")
    effects = _texts(ask.get("effects", DEFAULT_EFFECTS), "effects")
    level = ask.get("level", 0.95)
    if isinstance(level, bool) or not isinstance(level, int | float):
        raise SpecError(f"level is a number between 0 and 1, got {level!r}")
    return estimator, tuple(map(estimand, effects)), measured, float(level), refuters, assume


def inference(table: Mapping[str, Any]) -> Any:
    """Build the inference that an ``[inference]`` table describes.

    Examples
    --------
    >>> inference({"name": "Bootstrap", "draws": 200}).draws
    200
    """
    return _named(table, catalog.inferences(), "inference")


def _study_of(kind: str, table: Mapping[str, Any], folder: Path, data: Any) -> Any:
    if kind == "internals":
        return study_from(table, folder, data)
    return (_reasoning if kind == "reasoning" else _study)(table, folder, data)


def to_spec(analysis: Analysis[Any]) -> dict[str, Any]:
    """Return the document that describes an analysis.

    The data of a study built from a frame in memory is null; its fingerprint is in the provenance.
    """
    return {
        "study": dict(analysis.study.spec()),
        "estimator": _told(analysis.estimator),
        "inference": _told(analysis.inference),
        "ask": {
            "effects": [_effect_text(e) for e in analysis.estimands],
            "refute": [_refuter_text(r) for r in analysis.refuters],
            "level": analysis.level,
            **({"assume": True} if analysis.assume else {}),
        },
    }


def _refuters(given: Any) -> Iterator[Any]:
    """Build refuters from their names, or from tables with a name and fields."""
    known = {c.key: c for c in catalog.refuters()}  # type: ignore[attr-defined]
    for one in _list(given, "refute"):
        table = {"name": one} if isinstance(one, str) else one
        if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
            raise SpecError(f"refute is a list of names, or of tables with a name; got {one!r}")
        name = table["name"]
        if name == "all":
            yield from (known[key]() for key in sorted(known))
        elif name not in known:
            raise SpecError.unknown("refuter", name, ("all", *sorted(known)))
        else:
            named = {**table, "name": known[name].__name__}
            yield _named(named, (known[name],), "refute")


def _refuter_text(refuter: Any) -> Any:
    told = {**_told(refuter), "name": refuter.key}
    return refuter.key if len(told) == 1 else told


def _effect_text(asked: Estimand) -> str:
    for text in (asked.name, *_scaled_texts(asked)):
        try:
            read = estimand(text)
        except SpecError:
            continue
        if read.expr == asked.expr and read.scale == asked.scale:
            return text
    return str(asked.expr)


def _scaled_texts(asked: Estimand) -> Iterator[str]:
    """Differences of two cells that may be the question on its scale."""
    if asked.scale in ("ratio", "odds_ratio") and not asked.expr.deferred:
        for one, other in permutations(sorted(asked.cells(), key=str), 2):
            yield f"({one} - {other}).{asked.scale}"


def _study_options(table: Mapping[str, Any]) -> dict[str, Any]:
    """Check the keys of a table study and return its options."""
    keys = [k for k in signature(TableStudy.from_frame).parameters if k not in ("frame", "path")]
    _known_keys(table, ("kind", "data", "path", *keys), "key of [study]")
    for name in ("data", "path"):
        if name not in table:
            raise SpecError(f"[study] needs {name} as text")
        if name == "data" and table[name] is None:
            raise SpecError(
                "[study] needs data as text; the result came from a frame in memory, so say which "
                "file holds it"
            )
        if not isinstance(table[name], str):
            raise SpecError(f"[study] needs {name} as text, got {repr(table[name])[:80]}")
    if not table["data"].strip():
        raise SpecError(f"data in [study] names the file of the table, got {table['data']!r}")
    for name in ("cluster", "weights", "missing", "graph"):
        if name in table and not isinstance(table[name], str):
            raise SpecError(f"{name} in [study] is text, got {table[name]!r}")
    options: dict[str, Any] = {k: table[k] for k in keys if k in table}
    for name in ("adjust", "intermediate"):
        if name in options:
            options[name] = _texts(options[name], name)
    if "levels" in options:
        options["levels"] = tuple(_list(options["levels"], "levels"))
    return options


def _study(table: Mapping[str, Any], folder: Path, data: Any = None) -> TableStudy:
    options = _study_options(table)
    if "graph" in options and is_file(folder / options["graph"]):
        options["graph"] = folder / options["graph"]
    file = data_file(table["data"], folder)
    study = TableStudy.from_frame(file if data is None else data, table["path"], **options)
    return replace(study, origin=replace(study.origin, data=str(file)))


def data_file(name: str, folder: Path) -> Path:
    """Return the file that ``data`` in a spec names, relative to the folder of the spec."""
    file = folder / name
    if not file.exists() and Path(name).exists():
        return Path(name)  # a result written elsewhere than where it was computed
    return file


def _reasoning_options(table: Mapping[str, Any]) -> dict[str, Any]:
    """Check the keys of a reasoning study and return its options."""
    keys = [k for k in signature(ReasoningStudy.from_cells).parameters if k != "frame"]
    _known_keys(table, ("kind", "data", *keys), "key of [study]")
    for name in ("data", "question", "prompt", "reasoning", "outcome"):
        if not isinstance(table.get(name), str):
            raise SpecError(f"[study] of kind 'reasoning' needs {name} as text")
    options: dict[str, Any] = {k: table[k] for k in keys if k in table}
    for name, value in options.items():
        wanted = {"levels": list, "where": Mapping, "sources": Mapping}.get(name, str)
        if not isinstance(value, wanted):
            raise SpecError(f"{name} in [study] is {_KINDS_OF_VALUES[wanted]}, got {value!r}")
    if "levels" in options:
        options["levels"] = tuple(options["levels"])
    return options


def _reasoning(table: Mapping[str, Any], folder: Path, data: Any = None) -> ReasoningStudy:
    options = _reasoning_options(table)
    file = data_file(table["data"], folder)
    study = ReasoningStudy.from_cells(file if data is None else data, **options)
    return replace(study, origin=replace(study.origin, data=str(file)))


def _named(table: Mapping[str, Any], classes: Iterable[type], kind: str) -> Any:
    """Build a configured value from its name and fields."""
    known = {c.__name__: c for c in classes}
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise SpecError(f"[{kind}] needs a name; known are: {', '.join(sorted(known))}")
    if name not in known:
        raise SpecError.unknown(kind, name, sorted(known))
    held = {f.name: f for f in fields(known[name]) if f.init}
    _known_keys(options, tuple(held), f"key of {name}")
    for key, value in options.items():
        wanted = _TYPES.get(str(held[key].type))
        wrong = wanted is not None and not isinstance(value, wanted)
        if wrong or (isinstance(value, bool) and wanted is not None and bool not in wanted):
            raise SpecError(f"{key} of {name} is {held[key].type}, got {value!r}")
    return known[name](**options)


def _told(value: Any) -> dict[str, Any]:
    """Return the name of a configured value and the fields that differ from their defaults."""
    told: dict[str, Any] = {"name": type(value).__name__}
    value = portable(value)
    for f in fields(value) if hasattr(value, "__dataclass_fields__") else ():
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        held = _plain(getattr(value, f.name))
        if held != _plain(default):
            told[f.name] = held
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__name__}>"


def _known_keys(table: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    for key in table:
        if key not in known:
            raise SpecError.unknown(kind, str(key), known)


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise SpecError(f"{name} is a list, got {value!r}")
    return list(value)


def _texts(value: Any, name: str) -> list[str]:
    found = _list(value, name)
    wrong = [v for v in found if not isinstance(v, str)]
    if wrong:
        raise SpecError(f"{name} is a list of texts, got {wrong[0]!r}")
    return found
