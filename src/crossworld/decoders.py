"""How language models take and return their keys and values.

Transformers called both ``past_key_values`` until version 5.23 and ``cache`` since 5.24.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

NAMES = ("cache", "past_key_values")


def cache_argument(model: Any) -> str | None:
    """Name under which a model takes its keys and values; None where it keeps none.

    Parameters
    ----------
    model
        A torch module.
    """
    return _argument(getattr(model.forward, "__func__", model.forward))


@lru_cache(maxsize=64)  # asked for every token that is written
def _argument(forward: Callable[..., Any]) -> str | None:
    takes = inspect.signature(forward).parameters
    return next((name for name in NAMES if name in takes), None)


def read_on(model: Any, tokens: Any, cache: Any) -> tuple[Any, Any]:
    """Let a model read further tokens.

    Parameters
    ----------
    model
        A causal language model of transformers.
    tokens
        The next tokens, (B, T).
    cache
        What the last call returned, None at first.

    Returns
    -------
    logits, cache
        Logits of these tokens, (B, T, V), and the keys and values so far.

    Raises
    ------
    TypeError
        If the model keeps no keys and values.
    """
    name = cache_argument(model)
    if name is None:
        raise TypeError(f"{type(model).__name__} keeps no keys and values")
    out = model(input_ids=tokens, use_cache=True, **{name: cache})
    return out.logits, out[name]
