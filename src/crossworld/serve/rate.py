"""How often a key may ask: a bucket that fills at a steady rate."""

from __future__ import annotations

from threading import Lock
from time import monotonic


class Rate:
    """A token bucket per name: ``per_minute`` tokens a minute, as many at once.

    Parameters
    ----------
    per_minute
        Requests per minute.
    """

    def __init__(self, per_minute: int) -> None:
        self._speed = per_minute / 60.0
        self._most = float(per_minute)
        self._held: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    def wait(self, name: str, now: float | None = None) -> float:
        """Take a token: 0 when there was one, else the seconds until there is.

        Examples
        --------
        >>> rate = Rate(60)
        >>> sum(rate.wait("ann", 0.0) > 0.0 for _ in range(62))
        2
        >>> rate.wait("ann", 1.5)
        0.0
        """
        at = monotonic() if now is None else now
        with self._lock:
            tokens, before = self._held.get(name, (self._most, at))
            tokens = min(self._most, tokens + (at - before) * self._speed)
            if tokens >= 1.0:
                self._held[name] = (tokens - 1.0, at)
                return 0.0
            self._held[name] = (tokens, at)
            return (1.0 - tokens) / self._speed
