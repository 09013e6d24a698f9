"""Every error and warning a user can meet, as two trees.

CrossworldError(ValueError)
|-- DesignError          the question does not fit the data (a column, a role, a level)
|-- SpecError            a name or a key that crossworld does not know
|-- NotIdentifiedError   the question has no answer from this design
|-- EstimationError      the question is fine, the fit is not
|-- MissingExtraError    an optional dependency is not installed
`-- TrackingError        an experiment tracker did not take a result

CrossworldWarning(UserWarning)
|-- RatioWarning         a denominator that may be zero
|-- SmallSampleWarning   few clusters or few replicates behind an interval
|-- FitWarning           a fit that succeeded but deserves a look
`-- IdentificationWarning an effect that is estimated although it is not identified

A message says what is wrong, the value seen, and the likely fix.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CrossworldError(ValueError):
    """Base class of all errors raised on purpose."""

    exit_code = 2


class DesignError(CrossworldError):
    """The design does not fit the data."""

    @classmethod
    def missing_column(cls, name: str, role: str, available: Iterable[str]) -> DesignError:
        """Name a column that is not there and the nearest one that is."""
        return cls(f"{role} column {name!r} is not in the table. {hint(name, available)}")


class SpecError(CrossworldError):
    """A name, key or value of a spec, command or expression is not known."""

    @classmethod
    def unknown(cls, kind: str, name: str, known: Iterable[str]) -> SpecError:
        """Name something unknown and the nearest known thing."""
        return cls(f"unknown {kind} {name!r}. {hint(name, known)}")


class NotIdentifiedError(CrossworldError):
    """The estimand cannot be written as a functional of what is observed."""

    exit_code = 3


class EstimationError(CrossworldError):
    """A fit failed or produced non-finite scores."""


class MissingExtraError(CrossworldError):
    """An optional dependency is missing."""

    @classmethod
    def for_feature(cls, feature: str, extra: str) -> MissingExtraError:
        """Say which install command brings the feature."""
        return cls(f"{feature} needs an optional dependency: pip install 'crossworld[{extra}]'")


class TrackingError(CrossworldError):
    """An experiment tracker did not take a result, which is complete without it."""


class CrossworldWarning(UserWarning):
    """Base class of all warnings issued on purpose."""


class RatioWarning(CrossworldWarning):
    """A quotient whose denominator is not clearly different from zero."""


class SmallSampleWarning(CrossworldWarning):
    """Few clusters or few usable replicates behind an interval."""


class FitWarning(CrossworldWarning):
    """A fit that went through but deserves a look."""


class IdentificationWarning(CrossworldWarning):
    """An effect that is estimated although its design does not identify it."""


def hint(name: str, available: Iterable[str]) -> str:
    """Suggest the nearest known name, or list what there is."""
    names = [str(a) for a in available]
    lowered = {n.lower(): n for n in names}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {lowered[near[0]]!r}?"
    shown = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return f"Known are: {shown}." if names else "There are none."
