"""A tiny transformer that adds digits in writing, and a recording of what it wrote."""

from crossworld.reasoning.pocket.checked import check_sums
from crossworld.reasoning.pocket.live import pocket_live
from crossworld.reasoning.pocket.model import PocketReasoner
from crossworld.reasoning.pocket.pairs import pocket_pairs
from crossworld.reasoning.pocket.recorded import (
    STUDIES,
    PocketStudy,
    pocket_plan,
    pocket_recording,
    reference_cells,
)
from crossworld.reasoning.pocket.tasks import (
    ARMS,
    CHOICES,
    CUE,
    PocketQuestion,
    pocket_prompt,
    pocket_questions,
)

__all__ = [
    "ARMS",
    "CHOICES",
    "CUE",
    "STUDIES",
    "PocketQuestion",
    "PocketReasoner",
    "PocketStudy",
    "check_sums",
    "pocket_live",
    "pocket_pairs",
    "pocket_plan",
    "pocket_prompt",
    "pocket_questions",
    "pocket_recording",
    "reference_cells",
]
