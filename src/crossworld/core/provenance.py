"""Where a result came from: versions, data fingerprint, seed, time."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "scikit-learn", "formulaic")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is needed to run an analysis again and see the same numbers."""

    version: str
    data_sha256: str | None
    seed: int | None
    seconds: float
    python: str
    packages: dict[str, str]

    @classmethod
    def now(cls, data_sha256: str | None, seed: int | None, seconds: float) -> Provenance:
        """Collect versions from the running interpreter."""
        loaded = {
            p: installed(p) for p in PACKAGES if p.replace("scikit-learn", "sklearn") in sys.modules
        }
        return cls(
            installed("crossworld"), data_sha256, seed, seconds, platform.python_version(), loaded
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


@cache
def installed(package: str) -> str:
    """Return the installed version of a package, or 'unknown'."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def fingerprint(arrays: Iterable[tuple[str, np.ndarray[Any, Any]]]) -> str:
    """SHA-256 over named arrays: names, types, shapes and bytes, in the order given."""
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
