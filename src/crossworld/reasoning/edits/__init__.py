"""Edits of reasoning texts: mediator interventions, each with the edit it is compared with.

An edit is a frozen value that turns a `Trace` into another `Trace`, or into `NotApplicable` with
the reason: it never hands back the same text. What it draws is fixed by its seed and the trace's
id. Effects of edits are effects of setting the reasoning, asked by cells such as
``Y(1, M(1, "shuffle"))``; they are not indirect effects.
"""

from crossworld.reasoning.edits.carried import CARRIED, carried_share
from crossworld.reasoning.edits.detect import contains_answer, names_treatment
from crossworld.reasoning.edits.logic import InvertLogic, NegatePremise, ReverseFact
from crossworld.reasoning.edits.mistake import NumberInWords, NumericMistake
from crossworld.reasoning.edits.order import Shuffle, Swap
from crossworld.reasoning.edits.paraphrase import Paraphrase, SurfaceParaphrase
from crossworld.reasoning.edits.protocol import Applied, Edit, Edited, NotApplicable, apply
from crossworld.reasoning.edits.remove import DeleteStep, Filler, Occlude, Truncate
from crossworld.reasoning.edits.strip import StripConclusion, StripHint

__all__ = [
    "CARRIED",
    "Applied",
    "DeleteStep",
    "Edit",
    "Edited",
    "Filler",
    "InvertLogic",
    "NegatePremise",
    "NotApplicable",
    "NumberInWords",
    "NumericMistake",
    "Occlude",
    "Paraphrase",
    "ReverseFact",
    "Shuffle",
    "StripConclusion",
    "StripHint",
    "SurfaceParaphrase",
    "Swap",
    "Truncate",
    "apply",
    "carried_share",
    "contains_answer",
    "names_treatment",
]
