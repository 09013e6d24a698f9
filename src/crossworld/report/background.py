"""Where a result came from, how to run it again, how to cite it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossworld.report.specfile import spec_text
from crossworld.report.words import clean

Pairs = tuple[tuple[str, str], ...]
_LABELS = {
    "version": "crossworld",
    "data_sha256": "SHA-256 of the data",
    "seed": "Seed",
    "seconds": "Seconds",
    "python": "Python",
    "packages": "Packages",
}


@dataclass(frozen=True, slots=True)
class Background:
    """Provenance, the spec as a file, the steps to run it again, the citation.

    Parameters
    ----------
    provenance
        Labels and values.
    spec_format, spec
        ``toml`` or ``json``, and the text; the text is empty when no spec was recorded.
    steps
        What to do, in order; a step that is a command has it apart.
    citation, bibtex
        How to cite the software.
    """

    provenance: Pairs
    spec_format: str
    spec: str
    steps: tuple[tuple[str, str], ...]
    citation: str
    bibtex: str


def background(spec: Mapping[str, Any], provenance: Mapping[str, Any]) -> Background:
    """Collect the background of a result from its document."""
    version = clean(provenance.get("version") or "unknown")
    known = version != "unknown"
    form, text = spec_text(spec) if spec else ("toml", "")
    told = f"version {version}" if known else "version not recorded"
    bibtex = [
        "@software{crossworld,",
        "  author = {{The crossworld developers}},",
        "  title = {crossworld: causal mediation analysis},",
        *([f"  version = {{{version}}},"] if known else []),
        "}",
    ]
    return Background(
        tuple((_LABELS.get(k, label(k)), _provenance(k, v)) for k, v in provenance.items()),
        form,
        text,
        _steps(spec, form, version if known else "") if text else (),
        f"The crossworld developers. crossworld: causal mediation analysis ({told}). "
        "Computer software.",
        "\n".join(bibtex),
    )


def shown(value: object, *, none: str = "not recorded") -> str:
    """Write any plain value for people."""
    if value is None:
        return none
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(k)}: {shown(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(shown(v) for v in value) or "none"
    return clean(value)


def count(value: object) -> str:
    """Write a number of things, with its thousands apart."""
    return f"{value:,}" if isinstance(value, int) else shown(value)


def pairs(held: object) -> Pairs:
    """Write a mapping as labels and values; anything else as one unnamed value."""
    if not held:
        return ()
    if isinstance(held, Mapping):
        return tuple((clean(k), shown(v)) for k, v in held.items())
    return (("", shown(held)),)


def method_name(entry: object) -> str:
    """Write a spec's table of a configured class: its name and the fields given."""
    if not isinstance(entry, Mapping):
        return shown(entry)
    name = shown(entry.get("name"))
    fields = [
        f"{clean(k)} = {shown(v, none='none')}"
        for k, v in entry.items()
        if k != "name" and v is not None
    ]
    return f"{name} ({', '.join(fields)})" if fields else name


def label(key: str) -> str:
    """Write a key of a document as words."""
    return clean(key).replace("_", " ").capitalize()


def _provenance(key: str, value: object) -> str:
    if key == "seed":
        return shown(value, none="none was needed")
    if key == "packages" and isinstance(value, Mapping):
        return ", ".join(f"{clean(k)} {clean(v)}" for k, v in value.items()) or "none"
    return shown(value)


def _steps(spec: Mapping[str, Any], form: str, version: str) -> tuple[tuple[str, str], ...]:
    study = spec.get("study")
    data = study.get("data") if isinstance(study, Mapping) else None
    file = f"analysis.{form}"
    place = (
        f"Save the specification below as {file} in a folder from which {clean(data)} is found."
        if data
        else f"The data were given in memory: write them to a csv or parquet file, save the "
        f"specification below as {file} beside it, and add the file's name as data under [study]."
    )
    install = f"pip install crossworld=={version}" if version else "pip install crossworld"
    return (
        ("Install the version that made this report.", install),
        (place, ""),
        (
            "Run it. Every number but the seconds it took comes out the same.",
            f"crossworld run {file} --report report.html",
        ),
    )
