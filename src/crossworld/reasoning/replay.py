"""Effects of a prompt through the reasoning and past it, by replaying reasoning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossworld.core.expression import Cell
from crossworld.core.fits import Given
from crossworld.core.protocols import Fit
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.cells import Mode, chosen
from crossworld.reasoning.diagnostics import Asked, diagnose
from crossworld.reasoning.pairing import pair
from crossworld.reasoning.study import ReasoningStudy


@dataclass(frozen=True, slots=True)
class Replay:
    r"""Natural direct and indirect effects by experiment, paired within questions.

    The cell :math:`Y(a, M(b))` of question :math:`q` is the mean over the draws of the outcome read
    out under prompt :math:`a` with reasoning sampled under prompt :math:`b` shown,

    .. math:: \hat g_q(a, b) = \frac{1}{K} \sum_k \frac{1}{R} \sum_r Y_{qkr}(a, m_{qk}(b)),
              \qquad \hat g(a, b) = \frac{1}{Q} \sum_q \hat g_q(a, b),

    and a contrast has the standard error of its :math:`Q` paired question values with Student's t
    on :math:`Q - 1` degrees of freedom, whatever the number of draws.

    Parameters
    ----------
    own
        Which readouts stand for a prompt with its own reasoning in a question that has both:
        ``"replayed"`` (shown like all other reasoning) or ``"natural"`` (written in the same call).
    readout
        Column with the text of the readout, or its length in characters, for compliance.
    longest
        Longest readout, in characters, that still counts as an answer.
    flags
        Columns of 0 and 1 that mark reasoning; the effects with and without it are reported. By
        default ``leaked`` (contains the answer) and ``names_treatment``, where the table has them.
    shown
        Column with the text shown, to count empty reasoning; ``shown`` by default, where present.

    Notes
    -----
    Assumptions: those of the study's identification (replay consistency, the text is the whole
    channel, compatibility, the same readout). An answer that could not be parsed (missing outcome)
    scores 0, with the worst-case bounds in ``diagnostics.missing_answers``. A question that lacks
    a requested cell is left out, counted and listed. With a crossed ``cluster`` (models) a question
    counts once however many models answered it, questions are the clusters, and
    ``diagnostics.cluster`` holds standard errors clustered by question and model.

    References
    ----------
    Robins and Greenland (1992), Epidemiology 3. Bao et al. (2025), COLING.

    Examples
    --------
    >>> import numpy as np
    >>> from crossworld.core.analysis import estimate
    >>> from crossworld.reasoning.study import ReasoningStudy
    >>> rng = np.random.default_rng(1)
    >>> arm, shown, id_ = (v.ravel() for v in np.meshgrid([0, 1], [0, 1], np.arange(100)))
    >>> cells = {"id": id_, "arm": arm, "shown": shown}
    >>> cells["correct"] = rng.random(400) < 0.3 + 0.1 * arm + 0.4 * shown
    >>> study = ReasoningStudy.from_cells(
    ...     cells, question="id", prompt="arm", reasoning="shown", outcome="correct"
    ... )
    >>> effects = estimate(study, Replay())
    >>> effects["nie"].conf_low < 0.4 < effects["nie"].conf_high
    True
    """

    own: Mode = "replayed"
    readout: str | None = None
    longest: int = 120
    flags: tuple[str, ...] | None = None
    shown: str | None = None

    def __post_init__(self) -> None:
        if self.own not in ("replayed", "natural"):
            raise SpecError.unknown("own of Replay", str(self.own), ("replayed", "natural"))
        if isinstance(self.longest, bool) or self.longest < 1:
            raise SpecError(f"longest is a number of characters, at least 1, got {self.longest!r}")
        if isinstance(self.flags, str):
            raise SpecError(f"flags is a list of columns, got {self.flags!r}")
        if self.flags is not None:
            object.__setattr__(self, "flags", tuple(self.flags))

    def scores(self, study: ReasoningStudy, cells: Sequence[Cell]) -> Scores:
        """Return the mean of every question in every cell.

        Raises
        ------
        DesignError
            If a cell has no readout or no parsed answer, or fewer than two questions have all the
            cells.
        """
        if not isinstance(study, ReasoningStudy):
            raise DesignError(
                f"Replay needs a study of replayed reasoning, got {type(study).__name__}; build "
                "one with ReasoningStudy.from_cells"
            )
        study.check(cells)
        asked = self.asked(study, cells)
        paired = pair(study, asked.masks, asked.outcome)
        if paired.kept.size > 1 and np.unique(paired.cluster).size < 2:
            raise DesignError(
                f"all {paired.kept.size} questions belong to one value of the cluster column "
                f"{study.origin.roles.get('cluster')!r}, and an interval needs at least 2 "
                "clusters; leave cluster= out, and questions are the clusters"
            )
        if np.unique(paired.cluster).size < 2:
            each = ", ".join(
                f"{c}: {int((~paired.absent[:, j]).sum())}" for j, c in enumerate(asked.cells)
            )
            raise DesignError(
                f"{paired.kept.size} questions have a readout in all of the cells asked for, and "
                f"at least 2 independent ones are needed (questions with each: {each})"
            )
        found = diagnose(
            asked,
            paired,
            readout=self.readout,
            longest=self.longest,
            flags=self.flags,
            shown=self.shown,
        )
        return replace(paired.as_scores(asked.cells), diagnostics=found)

    def prepare(self, study: ReasoningStudy, cells: Sequence[Cell]) -> Fit:
        """Score once; resampling questions reweights their scores."""
        return Given(self.scores(study, cells))

    def asked(self, study: ReasoningStudy, cells: Sequence[Cell]) -> Asked:
        """Return the rows that stand for every cell.

        Raises
        ------
        DesignError
            If the outcome was not measured in a cell.
        """
        places = tuple(study.place(cell) for cell in cells)
        inside = study.inside()
        masks = tuple(inside & chosen(study.table, place, self.own) for place in places)
        lost = np.isnan(study.table.outcome)
        for cell, mask in zip(cells, masks, strict=True):
            if mask.any() and lost[mask].all():
                raise DesignError(
                    f"the outcome is missing in all {int(mask.sum())} readouts of {cell}: it was "
                    "not measured there, which is not the same as an answer that cannot be parsed"
                )
        outcome = np.where(lost, 0.0, study.table.outcome)
        return Asked(study, tuple(cells), places, masks, outcome)
