"""The one place that imports torch."""

from __future__ import annotations

import importlib.util
from typing import Any

from crossworld.errors import MissingExtraError


def torch() -> Any:
    """Import torch.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError.for_feature("the internals of a network", "local")
    import torch as found

    return found
