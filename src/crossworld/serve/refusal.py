"""What a caller is told when a request is refused: a status, a kind, a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    401: "Unauthorized",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "TooSlow",
    409: "NotReady",
    413: "TooLarge",
    415: "UnsupportedMediaType",
    422: "SpecError",
    429: "TooMany",
    500: "Bug",
    503: "Busy",
}


class RefusedError(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status
        The HTTP status.
    message
        What is wrong, the value seen, the likely fix.
    kind
        The kind of error; by default that of the status.
    headers
        Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.kind = kind or KINDS[status]
        self.headers = dict(headers or {})


def body(kind: str, message: str) -> dict[str, Any]:
    """Return the document of an error.

    Examples
    --------
    >>> body("SpecError", "unknown effect 'nei'")["error"]["kind"]
    'SpecError'
    """
    return {"error": {"kind": kind, "message": message}}


def too_many(message: str, seconds: float) -> RefusedError:
    """Refuse for now, and say when to come again."""
    return RefusedError(429, message, headers={"Retry-After": str(max(1, round(seconds + 0.5)))})
