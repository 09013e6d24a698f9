"""From columns in their roles to the cell table, refusing what contradicts itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crossworld.core.regime import Level
from crossworld.errors import DesignError
from crossworld.reasoning.cells import Array, CellTable, Coded, Mask
from crossworld.reasoning.reader import Readouts, label, truth_label, truth_labels


def build_table(
    source: Readouts, named: Mapping[str, str], sources: Mapping[str, Level]
) -> CellTable:
    """Turn the columns in their roles into the cell table.

    Parameters
    ----------
    source
        The table as it was read.
    named
        Name of the column of every role.
    sources
        Labels of the reasoning column that stand for a prompt arm.

    Raises
    ------
    DesignError
        If a key is missing, contradicts another, or the outcome is no number.
    """
    keys = {role: _labels(source, named, role) for role in named if role != "outcome"}
    for role in ("question", "prompt", "draw", "cluster", "wording"):
        count = sum(v is None for v in keys.get(role, ()))
        if count:
            raise DesignError(
                f"{role} column {named[role]!r} is missing in {count} of {len(source)} rows"
            )
    edits = keys.get("edit", [None] * len(source))
    prompts = [str(p) for p in keys["prompt"]]
    renamed = {label(k): label(v) for k, v in sources.items()}
    known = {t for t in keys["reasoning"] if t is not None}
    strange = sorted(set(renamed) - known)
    if strange:
        raise DesignError(
            f"sources renames {strange[0]!r}, which column {named['reasoning']!r} does not hold; "
            f"it holds {', '.join(map(repr, sorted(known)))}"
        )
    shown = [None if t is None else renamed.get(t, t) for t in keys["reasoning"]]
    if "replayed" in keys:
        replayed = _flags(keys["replayed"], named["replayed"])
    else:
        replayed = np.array(
            [
                t not in (None, p) or e is not None
                for t, p, e in zip(shown, prompts, edits, strict=True)
            ]
        )
    arms = set(prompts)
    reasoning = [
        _reasoning(t, prompts[i], edits[i], replayed=bool(replayed[i]), arms=arms)
        for i, t in enumerate(shown)
    ]
    coded = {role: Coded.of(keys[role]) for role in ("cluster", "wording", "draw") if role in keys}
    return CellTable(
        Coded.of(keys["question"]),
        Coded.of(prompts),
        Coded.of(reasoning),
        Coded.of(edits),
        replayed,
        _outcome(source, named["outcome"]),
        coded.get("cluster"),
        coded.get("wording"),
        coded.get("draw"),
    )


def _labels(source: Readouts, named: Mapping[str, str], role: str) -> list[str | None]:
    held = source.values(named[role], role)
    texts = [
        None if v is None else (v if role == "question" and isinstance(v, str) else label(v))
        for v in held
    ]
    return truth_labels(texts) if role in ("prompt", "reasoning", "replayed") else texts


def _flags(labels: Sequence[str | None], name: str) -> Mask:
    strange = sorted({str(v) for v in labels} - {"0", "1"})
    if strange:
        raise DesignError(
            f"replayed column {name!r} holds {strange[0]!r}; it is 0 or 1 in all rows"
        )
    return np.array([v == "1" for v in labels])


def _reasoning(
    shown: str | None, prompt: str, edit: str | None, *, replayed: bool, arms: set[str]
) -> str:
    """Label of the reasoning of one row; a natural readout has its own."""
    if not replayed:
        if edit is not None:
            raise DesignError(
                f"a row that is not replayed has the edit {edit!r}; edited reasoning is shown, "
                "not written, so its replayed is 1"
            )
        if shown in arms and shown != prompt:
            raise DesignError(
                f"a row answered under {prompt!r} is not replayed but shows reasoning of "
                f"{shown!r}; a natural readout has its own reasoning"
            )
        return prompt
    if shown is None:
        raise DesignError(
            "a replayed row does not say whose reasoning it shows; fill the reasoning column"
        )
    return shown


def _outcome(source: Readouts, name: str) -> Array:
    """The outcome as numbers, NaN where missing."""
    held = source.values(name, "outcome")
    values = np.full(len(held), np.nan)
    for i, v in enumerate(held):
        if v is None:
            continue
        text = {"true": 1.0, "false": 0.0}.get(v.lower(), v) if isinstance(v, str) else v
        try:
            values[i] = float(text)
        except (TypeError, ValueError):
            raise DesignError(
                f"outcome column {name!r} holds {v!r}, which is no number; build a numeric outcome "
                "with crossworld.reasoning.outcomes, and leave unparsable answers empty"
            ) from None
    if np.isinf(values).any():
        raise DesignError(f"outcome column {name!r} holds infinite values")
    lost = np.isnan(values)
    if lost.all():
        raise DesignError(f"outcome column {name!r} is missing in every row")
    if lost.any() and not ((values[~lost] >= 0.0) & (values[~lost] <= 1.0)).all():
        raise DesignError(
            f"outcome column {name!r} is missing in {int(lost.sum())} rows and does not lie in "
            "[0, 1], so a missing answer has no worst case; give those rows a value"
        )
    return values


def read_levels(table: CellTable, levels: tuple[Level, Level], prompt: str) -> tuple[str, str]:
    """Labels of the reference and the active prompt arm.

    Raises
    ------
    DesignError
        If they are not two different labels of the table.
    """
    if isinstance(levels, str) or len(tuple(levels)) != 2:
        raise DesignError(f"levels are the reference and the active prompt arm, got {levels!r}")
    known = table.prompt.labels
    low, high = (truth_label(v, set(known)) for v in levels)
    for one in (low, high):
        if one not in known and one not in table.reasoning.labels:
            raise DesignError(
                f"{one!r} is no prompt arm of column {prompt!r}, whose values are "
                f"{', '.join(map(repr, known))}; give levels=(reference, active)"
            )
    if low == high:
        raise DesignError(f"the reference and the active level are both {low!r}")
    return low, high
