"""What can go wrong with a call, and whether trying again may help."""

from __future__ import annotations

from crossworld.errors import DesignError


class TransientError(Exception):
    """A call failed for a reason that may pass: busy, dropped, timed out, garbled.

    Parameters
    ----------
    message
        What happened.
    retry_after
        Seconds after which the server asks to be tried again; None when it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RefusedError(DesignError):
    """A call was refused for good: too long, not allowed, not understood."""

    @classmethod
    def too_long(cls, characters: int, limit: int, unit: str = "tokens") -> RefusedError:
        """Say how long the text is and what the model takes; nothing is ever cut."""
        return cls(
            f"a request of {characters} characters does not fit the model's limit of {limit} {unit}"
            "; nothing is cut, so use a model with a longer context or shorter reasoning"
        )
