"""Reuse of fitted learners between runs that hand a learner the same numbers.

A refutation changes one thing about a study. A learner whose inputs did not change would be fitted
again to the same end, so inside `remembering` a fit is found by what determines it: the learner's
class and options, the rows, the target and the weights. Outside, nothing is hashed or kept.

Only fits made under `Fits.recording` are kept, those of the analysis as it was asked: memory is
that of one analysis, and never more than ``limit`` fits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LIMIT = 512


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """Fitted learners by the digest of what they were fitted to; safe to share between threads.

    Parameters
    ----------
    limit
        Most fits that are kept; later ones are fitted and forgotten.
    """

    limit: int = LIMIT
    kept: dict[bytes, Any] = field(default_factory=dict)
    found: list[int] = field(default_factory=lambda: [0])
    lock: Lock = field(default_factory=Lock)

    @property
    def reused(self) -> int:
        """How many fits were found instead of made, so far."""
        return self.found[0]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the fits made inside."""
        token = _RECORDING.set(True)
        try:
            yield
        finally:
            _RECORDING.reset(token)

    def find(self, key: bytes) -> Any:
        """Return the fit of a digest, or None."""
        with self.lock:
            held = self.kept.get(key)
            if held is not None and not _RECORDING.get():
                self.found[0] += 1
            return held

    def keep(self, key: bytes, fitted: Any) -> None:
        """Keep a fit if fits are being recorded and there is room."""
        if not _RECORDING.get():
            return
        with self.lock:
            if len(self.kept) < self.limit:
                self.kept[key] = fitted


_ACTIVE: ContextVar[Fits | None] = ContextVar("crossworld_fits", default=None)
_RECORDING: ContextVar[bool] = ContextVar("crossworld_recording", default=False)


def active() -> Fits | None:
    """Return the fits that may be reused here, or None."""
    return _ACTIVE.get()


@contextmanager
def remembering(*, limit: int = LIMIT) -> Iterator[Fits]:
    """Let fits be reused inside, in this thread and in threads started with a copy of its context.

    Parameters
    ----------
    limit
        Most fits that are kept.

    Examples
    --------
    >>> import crossworld as xw
    >>> method = xw.MultiplyRobust(outcome="linear", treatment="logistic", folds=2)
    >>> study = xw.datasets.linear(n=200, seed=1).study()
    >>> with remembering() as fits:
    ...     with fits.recording():
    ...         first = xw.estimate(study, method)
    ...     again = xw.estimate(study, method)
    >>> fits.reused == len(fits.kept) and again["nie"] == first["nie"]
    True
    """
    fits = Fits(limit)
    token = _ACTIVE.set(fits)
    try:
        yield fits
    finally:
        _ACTIVE.reset(token)


def digest(learner: Any, x: Array, y: Array, weights: Array | None) -> bytes | None:
    """Fingerprint of everything a fit depends on; None when a learner's options cannot be written.

    A learner that draws without a seed, or from a generator object, is never reused.
    """
    told = _told(learner)
    if told is None:
        return None
    held = hashlib.blake2b(told.encode(), digest_size=32)
    for array in (x, y, weights):
        if array is None:
            held.update(b"none")
            continue
        held.update(f"{array.shape}{array.dtype.str}".encode())
        held.update(np.ascontiguousarray(array).data)
    return held.digest()


def _told(value: Any) -> str | None:
    """Write an option so that equal texts mean equal options, or None where that is not sure."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return None
        return f"array{value.shape}{value.dtype.str}:{value.tobytes().hex()}"
    if isinstance(value, list | tuple):
        return _joined(type(value).__name__, [_told(v) for v in value])
    if isinstance(value, dict):
        pairs = [_joined(repr(k), [_told(v)]) for k, v in sorted(value.items(), key=repr)]
        return _joined("dict", pairs)
    named = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "get_params") and not isinstance(value, type):
        options = value.get_params(deep=False)
        return None if _draws(named, options) else _joined(named, [_told(options)])
    return None


def _draws(named: str, options: Mapping[str, Any]) -> bool:
    """Whether a learner draws numbers that no seed fixes."""
    if "random_state" not in options or options["random_state"] is not None:
        return False
    exact = named.startswith("sklearn.linear_model.")
    return not exact or options.get("solver") in ("sag", "saga", "liblinear")


def _joined(name: str, parts: list[str | None]) -> str | None:
    kept = [part for part in parts if part is not None]
    return f"{name}({','.join(kept)})" if len(kept) == len(parts) else None
