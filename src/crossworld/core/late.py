"""The one arrow that points right.

Values of the core know how to show and save themselves; the code that does it needs heavy
libraries and lives in `io`, `infer` and `report`, which are imported when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def late(module: str) -> Any:
    """Import ``crossworld.<module>`` now, at call time."""
    return import_module(f"crossworld.{module}")
