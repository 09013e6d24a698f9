"""On-policy rollouts: what the model wrote and answered when a step was sampled anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.protocols import Array
from crossworld.errors import DesignError, SpecError
from crossworld.reasoning.steps.gather import Codes, coded, column
from crossworld.reasoning.steps.similarity import Similarity, TfIdf


@dataclass(frozen=True, slots=True, eq=False)
class Rollouts:
    """One row per rollout.

    A rollout *at step i* goes on from the first i steps of the question's trace: its first
    sentence stands in the place of step i (counted from 0). Rollouts at step i + 1 therefore keep
    step i, and those at step n, of a trace of n steps, keep all of it.

    Parameters
    ----------
    question
        Codes of the questions (one trace each), shape (n,).
    questions
        Their ids.
    step
        The step that was sampled anew, shape (n,).
    outcome
        Numbers (1 for the answer of interest) or answers as text, shape (n,).
    resampled, original
        The text that came in the step's place and the text that stood there, shape (n,), or None.
    changed
        Whether the two say different things, shape (n,), or None before they are compared.
    """

    question: Codes
    questions: tuple[str, ...]
    step: Codes
    outcome: NDArray[Any]
    resampled: NDArray[Any] | None = None
    original: NDArray[Any] | None = None
    changed: NDArray[np.bool_] | None = None

    @classmethod
    def from_frame(
        cls,
        table: Any,
        *,
        question: str,
        step: str,
        outcome: str,
        resampled: str | None = None,
        original: str | None = None,
    ) -> Rollouts:
        """Read a long table.

        Parameters
        ----------
        table
            A data frame, or a mapping of columns.
        question, step, outcome
            Names of the columns.
        resampled, original
            Names of the columns of the new and the old text of the step. Rows at the end of a
            trace, where no step is left, may hold anything there.

        Raises
        ------
        DesignError
            If a column is missing, a step is no whole number from 0, or an outcome is missing.

        Examples
        --------
        >>> held = Rollouts.from_frame(
        ...     {"q": ["a", "a"], "at": [0, 1], "y": [0, 1]}, question="q", step="at", outcome="y"
        ... )
        >>> held.questions, held.last.tolist()
        (('a',), [1])
        """
        codes, labels = coded(column(table, question, "question"))
        at = column(table, step, "step")
        if at.dtype.kind not in "iuf" or (at != np.floor(at)).any() or (at < 0).any():
            raise DesignError(f"step column {step!r} holds whole numbers from 0")
        held = column(table, outcome, "outcome")
        lacking = np.array([v is None or v != v for v in held.tolist()])
        if lacking.any():
            raise DesignError(
                f"outcome column {outcome!r} lacks {int(lacking.sum())} of {held.size} values; "
                "give unparsable answers a value of their own, such as 'none' or 0"
            )
        texts = [None if n is None else column(table, n, "text") for n in (resampled, original)]
        return cls(codes, labels, at.astype(np.int64), held, *texts)

    def __len__(self) -> int:
        return int(self.question.size)

    @property
    def last(self) -> Codes:
        """The last step of every question: where the whole trace is kept."""
        end = np.zeros(len(self.questions), dtype=np.int64)
        np.maximum.at(end, self.question, self.step)
        return end

    def compared(
        self,
        similarity: Similarity | None = None,
        *,
        threshold: float | Literal["median"] = "median",
    ) -> Rollouts:
        """Mark the rollouts whose new step differs from the old one.

        Parameters
        ----------
        similarity
            `TfIdf` by default; `Embedded` takes any embedding.
        threshold
            A step has changed when its similarity is below it; ``"median"`` of all of them, as in
            Thought Anchors' paper (their code uses 0.8 with sentence embeddings).

        Raises
        ------
        DesignError
            If the texts are not there.
        """
        if self.resampled is None or self.original is None:
            raise DesignError(
                "steps cannot be compared: give the columns resampled= and original= to from_frame"
            )
        if threshold != "median" and not isinstance(threshold, int | float):
            raise SpecError(f"a threshold is a number or 'median', got {threshold!r}")
        inner = self.step < self.last[self.question]
        measure = TfIdf() if similarity is None else similarity
        alike = np.ones(len(self))
        new, old = (a[inner].astype(str).tolist() for a in (self.resampled, self.original))
        alike[inner] = measure(new, old)
        cut = float(np.median(alike[inner])) if threshold == "median" else float(threshold)
        return replace(self, changed=inner & (alike < cut))

    def numbers(self, target: str | None = None) -> Array:
        """Outcomes as numbers: as they are, or 1 where the answer is the target."""
        if target is not None:
            return np.asarray(self.outcome.astype(str) == target, dtype=np.float64)
        if self.outcome.dtype.kind not in "fiub":
            raise DesignError(
                f"outcomes are answers such as {self.outcome[0]!r}; say with target= which answer "
                "is followed"
            )
        return np.asarray(self.outcome, dtype=np.float64)
