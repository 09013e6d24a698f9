"""How the networks are made: torch where it is needed, seeds that leave no trace."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from crossworld.errors import MissingExtraError


def torch_or_error(library: str = "torch") -> Any:
    """Import torch (or transformers), or say how to get it.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError.for_feature("crossworld.datasets.networks", "local")
    return import_module(library)


@contextmanager
def seeded(seed: int) -> Iterator[Any]:
    """Run torch from a seed and on one thread, and leave its generator and threads as they were.

    Yields
    ------
    torch.Generator
        A generator of its own for the data.
    """
    torch = torch_or_error()
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield torch.Generator().manual_seed(seed + 1)
        finally:
            torch.set_num_threads(threads)


def frozen(make: Callable[[], Any]) -> Any:
    """Build a module in double precision and evaluation mode, without gradients of weights."""
    with seeded(0):
        return make().double().eval().requires_grad_(False)
