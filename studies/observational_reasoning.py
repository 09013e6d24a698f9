"""Effects through the reasoning from natural traces alone, against replay.

    python studies/observational_reasoning.py

The packaged recording of the pocket reasoner, careful against hasty, P(right answer). Replay shows
the text of either arm under either prompt. The other rows use the traces that the model wrote and
answered itself: the text becomes numbers, the number of terms of the sum is a covariate, and the
effects are multiply robust with gradient boosting (or front-door adjusted with clusters).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crossworld as xw
from crossworld.reasoning.observational.front_door import front_door_table
from crossworld.reasoning.observational.table import to_table
from crossworld.reasoning.pocket import check_sums, pocket_recording
from crossworld.tables.front_door import FrontDoor

ASKED = (xw.TE, xw.NDE, xw.NIE)
FIELDS = ("method", "effect", "estimate", "std_error", "conf_low", "conf_high")
COVARIATES = ("difficulty",)


def recorded() -> Any:
    """Return the study of the worked example."""
    return xw.ReasoningStudy.from_cells(
        pocket_recording("hasty-careful"),
        question="question",
        prompt="prompt",
        reasoning="reasoning",
        outcome="p_answer",
        draw="draw",
        wording="wording",
        replayed="replayed",
        levels=("hasty", "careful"),
    )


def results(study: Any) -> Iterator[tuple[str, Any]]:
    """Effects by every method."""
    robust = xw.MultiplyRobust(outcome="boosting", treatment="boosting")
    yield "replay", xw.estimate(study, xw.Replay(), ASKED)
    ways: dict[str, dict[str, Any]] = {
        "TF-IDF, 8 components": {"components": 8},
        "TF-IDF, 16 components": {"components": 16},
        "TF-IDF, 64 components": {"components": 64},
        "16 clusters of lines": {"kind": "clusters"},
        "64 clusters of lines": {"kind": "clusters", "components": 64},
        "the sums checked": {"embedder": check_sums},
    }
    for name, how in ways.items():
        table = to_table(study, covariates=COVARIATES, **how)
        yield name, xw.estimate(table, robust, ASKED)
    plain = to_table(study, embedder=check_sums)
    yield "the sums checked, no covariate", xw.estimate(plain, robust, ASKED)
    front = FrontDoor(outcome="boosting", treatment="boosting")
    for name, embedder in (("TF-IDF", None), ("the sums checked", check_sums)):
        found = front_door_table(study, embedder=embedder, covariates=COVARIATES)
        yield f"front door, 16 clusters, {name}", xw.estimate(found.table, front, [xw.TE])


def main() -> None:
    """Run and write the table."""
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        for name, effects in results(recorded()):
            for row in effects:
                told = (row.estimate, row.std_error, row.conf_low, row.conf_high)
                writer.writerow([name, row.term, *(f"{v:.4f}" for v in told)])


if __name__ == "__main__":
    main()
