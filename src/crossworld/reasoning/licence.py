"""Why replayed reasoning identifies an effect: the assumptions, and what decides each."""

from __future__ import annotations

from collections.abc import Sequence

from crossworld.core.identification import Assumption, Identification
from crossworld.reasoning.cells import CellTable, Place

FORMULA = (
    r"E[Y(a, M(b))] = \frac{1}{Q} \sum_{q=1}^{Q} \frac{1}{K_q} \sum_{k=1}^{K_q} "
    r"Y_q\bigl(a, m_{qk}\bigr),\qquad m_{qk} \sim P(M \mid q, b)"
)


def licence(table: CellTable, asked: Sequence[Place]) -> Identification:
    """Identification by experiment, with the assumptions that the cells asked for need.

    Reasoning is sampled under one prompt, frozen, and shown under another: the cross-world cells
    are run, not assumed. What is left to assume is that a replayed readout is a readout.
    """
    shown = [p for p in asked if not p.own]
    own = {p for p in asked if p.own and table.rows(p).any()}
    replays = bool(shown) or any(bool(table.replayed[table.rows(p)].any()) for p in own)
    assumptions = [_sampled()]
    if replays:
        both = [p.prompt for p in own if len(set(table.replayed[table.rows(p)].tolist())) == 2]
        assumptions += [_consistency(both), _channel(), _compatibility(), _readout()]
    changed = sorted(
        {
            f"reasoning of {p.reasoning!r}" if p.edit is None else f"edit {p.edit!r}"
            for p in shown
            if p.edit is not None or p.reasoning not in table.prompt.labels
        }
    )
    if changed:
        assumptions.append(_intervention(changed))
    return Identification(True, "experiment", assumptions=tuple(assumptions), formula=FORMULA)


def _sampled() -> Assumption:
    return Assumption(
        "fresh draws",
        "every reasoning and every answer is a fresh, independent draw of the model given the "
        "question and the prompt, made by the experimenter, so nothing confounds reasoning and "
        "answer; the questions are a sample of those the result is about",
        testable=True,
        decided_by="identical texts in repeated draws of one cell betray a cache",
    )


def _consistency(both: Sequence[str]) -> Assumption:
    measured = (
        f"the replay floor, measured here under {', '.join(map(repr, both))}: own reasoning "
        "replayed minus the natural readout"
        if both
        else "the replay floor, own reasoning replayed minus the natural readout; this table "
        "lacks one of the two, so it was not measured"
    )
    return Assumption(
        "R1 replay consistency",
        "showing a model its own reasoning gives the answers it would have given had it just "
        "written that reasoning",
        testable=True,
        decided_by=measured,
    )


def _channel() -> Assumption:
    return Assumption(
        "R2 the text is the whole channel",
        "the prompt acts on the answer through nothing written before it but the text shown: no "
        "hidden or summarised reasoning, no state of tools",
        testable=False,
        decided_by="a fact about the provider, not the data: open weights or raw completions have "
        "it, encrypted or summarised reasoning does not",
    )


def _compatibility() -> Assumption:
    return Assumption(
        "R3 compatibility",
        "reasoning sampled under one prompt is a text that could stand under the other: it does "
        "not name the treatment or otherwise contradict the prompt it is shown under",
        testable=True,
        decided_by="the share of traces that name the treatment, and the effects with and without "
        "them",
    )


def _readout() -> Assumption:
    return Assumption(
        "R4 the same readout",
        "the answer is read out in the same way in every cell, and the model answers rather than "
        "reasons again",
        testable=True,
        decided_by="readout compliance: the share of readouts longer than an answer",
    )


def _intervention(changed: Sequence[str]) -> Assumption:
    return Assumption(
        "mediator intervention",
        f"{', '.join(changed)}: such a cell shows reasoning that the model would write under "
        "neither prompt, so its contrast with other cells is the effect of that replacement, not a "
        "natural indirect effect",
        testable=False,
        decided_by="a matter of definition",
    )
