"""A plan as a TOML file: which model is asked what, and how hard."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.edits.protocol import Edit
from crossworld.reasoning.limits import Limits
from crossworld.reasoning.models.protocol import LanguageModel
from crossworld.reasoning.plan import Plan, Question, Replayed, Template, four_cells

EDIT_FILES = ("remove", "order", "strip", "mistake", "logic", "paraphrase")
TABLES = ("model", "plan", "arms", "limits")
OWN = ("questions", "templates", "cells", "sources", "judge", "edits")


@dataclass(frozen=True, slots=True)
class Collection:
    """A plan, the model it is put to, and the limits."""

    plan: Plan
    model: LanguageModel
    limits: Limits


def read_collection(file: str | Path) -> Collection:
    """Read a plan file.

    Parameters
    ----------
    file
        TOML with the tables ``[model]`` (``name``: ``pocket``, ``simulated``, ``local:FOLDER``,
        ``log:FILE`` or a provider and model of Inspect such as ``openai/gpt-4o``; other keys are
        its options), ``[arms]`` (one template, or a list of wordings, for each arm; the reference
        first), ``[plan]`` (``questions``: a csv with the columns ``id``, ``text``, ``answer`` and
        perhaps ``choices`` separated by ``|``; ``edits``: names; other keys as in `Plan`) and
        ``[limits]``. Files are relative to it.

    Raises
    ------
    SpecError, DesignError
        If a key or a name is not known, or a file cannot be read.
    """
    path = Path(file)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SpecError(f"there is no plan file {str(path)!r} ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{str(path)!r} is not valid TOML: {error}") from None
    for key in document:
        if key not in TABLES:
            raise SpecError.unknown("table of the plan file", key, TABLES)
    for name in ("model", "plan", "arms"):
        if not isinstance(document.get(name), Mapping):
            raise SpecError(f"the plan file needs the table [{name}]")
    plan = _plan(document["plan"], document["arms"], path.parent)
    limits = Limits(**_known(document.get("limits", {}), Limits, "limits"))
    return Collection(plan, _model(document["model"], path.parent), limits)


def _plan(table: Mapping[str, Any], arms: Mapping[str, Any], folder: Path) -> Plan:
    if not isinstance(table.get("questions"), str):
        raise SpecError("[plan] needs questions, the name of a csv file")
    named = dict(table)
    questions = _questions(folder / named.pop("questions"))
    chosen = named.pop("edits", [])
    if not isinstance(chosen, list):
        raise SpecError(f"edits in [plan] is a list of names, got {chosen!r}")
    edits = tuple(_edit(name) for name in chosen)
    templates = tuple(
        Template(arm, text, str(k))
        for arm, given in arms.items()
        for k, text in enumerate(given if isinstance(given, list) else [given])
    )
    names = list(arms)
    cells = four_cells(names[0], names[1]) if len(names) == 2 else ()
    if len(names) == 2:
        cells += tuple(Replayed(names[1], names[1], e.name) for e in edits)
    return Plan(questions, templates, cells, edits=edits, **_known(named, Plan, "plan"))


def _known(table: Mapping[str, Any], kind: type, where: str) -> dict[str, Any]:
    """Keys that are fields of a dataclass; lists become tuples."""
    allowed = [f.name for f in fields(kind) if kind is not Plan or f.name not in OWN]
    for key in table:
        if key not in allowed:
            raise SpecError.unknown(f"key of [{where}]", key, allowed)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def _questions(file: Path) -> tuple[Question, ...]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as held:
            rows = list(csv.DictReader(held))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DesignError(f"the questions {str(file)!r} cannot be read: {error}") from None
    if not rows or not {"id", "text"} <= set(rows[0]):
        seen = ", ".join(str(n)[:40] for n in list(rows[0])[:6]) if rows else "no rows"
        raise DesignError(
            f"the questions {str(file)!r} need the columns id and text; it has {seen}"
        )
    found = []
    for row in rows:
        choices = tuple(c for c in (row.pop("choices", "") or "").split("|") if c)
        own = (row.pop("id"), row.pop("text"), row.pop("answer", None) or None)
        extra = {k: v for k, v in row.items() if k is not None and v is not None}
        found.append(Question(own[0], own[1], own[2], choices, extra))
    return tuple(found)


def edits_by_name() -> dict[str, type[Any]]:
    """Return the edits that need no model, by the name of their default form."""
    found = {}
    for file in EDIT_FILES:
        module = import_module(f"crossworld.reasoning.edits.{file}")
        for thing in vars(module).values():
            own = isinstance(thing, type) and thing.__module__ == module.__name__
            if own and callable(thing) and hasattr(thing, "control"):
                try:
                    found[thing().name] = thing
                except TypeError:
                    continue  # it has to be told something, such as a language model
    return dict(sorted(found.items()))


def _edit(name: Any) -> Edit:
    known = edits_by_name()
    if name not in known:
        raise SpecError.unknown("edit", str(name), known)
    made: Edit = known[name]()
    return made


def _model(table: Mapping[str, Any], folder: Path) -> LanguageModel:
    options = dict(table)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise SpecError("[model] needs a name, such as 'pocket' or 'openai/gpt-4o'")
    kind, _, rest = name.partition(":")
    places = {
        "pocket": ("pocket.model", "PocketReasoner", ()),
        "simulated": ("models.simulated", "SimulatedReasoner", ()),
        "local": ("models.transformers", "TransformersModel", (str(folder / rest),)),
        "log": ("models.recorded", "RecordedModel", (str(folder / rest),)),
    }
    if kind not in places and "/" not in name:
        known = ["pocket", "simulated", "local:FOLDER", "log:FILE", "PROVIDER/MODEL"]
        raise SpecError.unknown("model", name, known)
    module, thing, given = places.get(kind, ("models.inspect", "InspectModel", (name,)))
    made = getattr(import_module(f"crossworld.reasoning.{module}"), thing)
    if kind == "log":
        made = made.from_log
    try:
        model: LanguageModel = made(*given, **options)
    except TypeError as error:
        raise SpecError(f"[model] {name!r}: {error}") from None
    return model
