"""What an attempt to break an answer found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from crossworld.core.analysis import Analysis
    from crossworld.core.table import EffectTable


@dataclass(frozen=True, slots=True)
class Refutation:
    """One attempt to break one effect.

    Parameters
    ----------
    name
        The refuter's name in a spec, such as ``"placebo"``.
    term
        The effect it tried to break; empty when it concerns the whole analysis.
    passed
        False when the answer did not survive; None when the attempt could not decide, or gives a
        range where a verdict would be arbitrary.
    original, refuted
        The estimate before and after (or the statistic of the attempt).
    detail
        What was done and found, with numbers.
    shows
        What passing does and does not show.
    data
        Tables behind the sentence, ready for JSON.
    """

    name: str
    term: str
    passed: bool | None
    original: float | None
    refuted: float | None
    detail: str
    shows: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


class Refuter(Protocol):
    """The configuration of an attempt; it works on any study that offers what it changes."""

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Try to break ``result``, which ``analysis`` gave."""
