"""From the ``[study]`` table of a spec to a patching study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from crossworld.errors import DesignError, SpecError
from crossworld.internals.metrics import Metric
from crossworld.internals.noise import Noise
from crossworld.internals.pairs import Pairs
from crossworld.internals.saved import SavedStudy
from crossworld.internals.study import PatchStudy
from crossworld.internals.subject import TorchSubject

KEYS = ("kind", "model", "pairs", "metric", "at", "sites", "source", "noise", "scores")


def study_from(table: Mapping[str, Any], folder: Path, data: Any = None) -> PatchStudy | SavedStudy:
    """Build the study that a table of a spec describes; files are relative to the folder.

    It names its own files, so no ``data`` can stand for them.

    Raises
    ------
    SpecError
        If a key is unknown or of the wrong type.
    DesignError
        If a file is not there or does not fit.
    """
    if data is not None:
        raise SpecError("a study of kind 'internals' names its own files; no data can replace them")
    for key in table:
        if key not in KEYS:
            raise SpecError.unknown("key of [study]", str(key), KEYS)
    for key in ("model", "pairs", "metric", "at", "source", "scores"):
        if table.get(key) is not None and not isinstance(table[key], str):
            raise SpecError(f"{key} in [study] is text, got {table[key]!r}")
    if table.get("scores") is not None:
        extra = [k for k in table if k not in ("kind", "scores")]
        if extra:
            raise SpecError(f"[study] with scores takes nothing else, got {', '.join(extra)}")
        return SavedStudy.load(_file(table["scores"], folder))
    for key in ("model", "pairs"):
        if table.get(key) is None:
            raise SpecError(
                f"[study] of kind 'internals' needs {key} as text, or scores = 'file.npz'"
            )
    file = _file(table["pairs"], folder)
    if not file.is_file():
        raise DesignError(f"there is no file of pairs {str(table['pairs'])!r}")
    subject = TorchSubject.load(_model(table["model"], folder))
    metric = Metric(table.get("metric", "logit_difference"), table.get("at", "-1"))
    sites = table.get("sites", ())
    if not isinstance(sites, list | tuple | str) or not all(isinstance(s, str) for s in sites):
        raise SpecError(f"sites in [study] is a list of texts, got {sites!r}")
    pairs = Pairs.of(file, subject.tokenizer)
    study = PatchStudy(
        replace(subject, source=table["model"]),
        pairs,
        metric,
        sites=sites,
        source=table.get("source", "other"),
        noise=_noise(table.get("noise")),
    )
    return study


def _file(name: str, folder: Path) -> Path:
    file = folder / name
    return Path(name) if not file.exists() and Path(name).exists() else file


def _model(name: str, folder: Path) -> str:
    """Return a folder beside the spec, a folder, or the name of a model on a hub."""
    for place in (folder / name, Path(name)):
        if place.is_dir():
            return str(place)
    return name


def _noise(given: Any) -> Noise | None:
    if given is None:
        return None
    known = tuple(f.name for f in fields(Noise))
    if not isinstance(given, Mapping) or "at" not in given:
        raise SpecError(f"noise in [study] is a table with at = 'embed @ subject', got {given!r}")
    for key in given:
        if key not in known:
            raise SpecError.unknown("key of noise", str(key), known)
    return Noise(**given)
