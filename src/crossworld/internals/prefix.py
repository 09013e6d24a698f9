"""Keys and values of the positions that a patch cannot change."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossworld.decoders import cache_argument
from crossworld.internals.backend import torch
from crossworld.internals.causality import is_causal
from crossworld.internals.inputs import Batch

if TYPE_CHECKING:
    from crossworld.internals.study import PatchStudy


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Keys and values of the unpatched run.

    Parameters
    ----------
    keys, values
        Of every block, (B, heads, T, width).
    model
        The network, for the kind of cache it takes.
    """

    keys: tuple[Any, ...]
    values: tuple[Any, ...]
    model: Any

    def row_bytes(self, queries: int) -> int:
        """Bytes that one row's copies take in one block.

        Keys and values are lent and joined to the row's own, and once more repeated where several
        of the heads of queries share one.
        """
        _, heads, length, width = self.keys[0].shape
        copies = 4 * heads + (2 * queries if queries > heads else 0)
        return int(copies * length * width * self.keys[0].element_size())

    def cache_bytes(self) -> int:
        """Bytes of one row's keys and values in all blocks."""
        one = self.keys[0][:1]
        return int(2 * len(self.keys) * one.numel() * one.element_size())

    def options(self, first: int, jobs: Callable[[int], int]) -> dict[str, Any]:
        """Arguments that make the network start at a position.

        Parameters
        ----------
        first
            The position.
        jobs
            Rows in a block, in multiples of the batch.
        """
        takes = inspect.signature(self.model.forward).parameters
        device, length = self.keys[0].device, self.keys[0].shape[2]
        name = cache_argument(self.model)
        assert name is not None  # keys and values came from it
        found: dict[str, Any] = {name: self._cache(first, jobs), "use_cache": True}
        if "position_ids" in takes:
            found["position_ids"] = torch().arange(first, length, device=device)[None]
        return found

    def _cache(self, first: int, jobs: Callable[[int], int]) -> Any:
        from transformers import DynamicCache

        held = [(k[:, :, :first], v[:, :, :first]) for k, v in zip(self.keys, self.values,
                                                                   strict=True)]  # fmt: skip

        class Lent(DynamicCache):  # type: ignore[misc]
            """Lends the prefix to as many rows as there are, and keeps nothing."""

            def update(
                self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kw: Any
            ) -> tuple[Any, Any]:
                if first == 0:
                    return key_states, value_states
                count = jobs(layer_idx)
                keys, values = held[layer_idx]
                return (
                    torch().cat([_lent(keys, count), key_states], 2),
                    torch().cat([_lent(values, count), value_states], 2),
                )

        cache = Lent(config=self.model.config)
        if first:
            for block, (keys, values) in enumerate(held):
                DynamicCache.update(cache, keys[:1], values[:1], block)
        return cache


def _lent(held: Any, count: int) -> Any:
    return held[:1] if count == 0 else held.repeat(count, 1, 1, 1)


def cache_for(study: PatchStudy, batch: Batch) -> tuple[Any, dict[str, Any]]:
    """Return an empty cache and the arguments that fill it; None and nothing where none fits.

    A model that is not causal, that keeps another kind of state, or whose attention window is
    shorter than the inputs, has no prefix to lend.
    """
    subject: Any = study.subject
    model = subject.model
    name, config = cache_argument(model), getattr(model, "config", None)
    if name is None or config is None:
        return None, {}
    if batch.length is None or _window(config) < batch.length or batch.length < 2:
        return None, {}
    if not is_causal(subject, batch):
        return None, {}
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    return cache, {name: cache, "use_cache": True}


def prefix_of(study: PatchStudy, batch: Batch, cache: Any) -> Prefix | None:
    """Take keys and values from a filled cache."""
    subject: Any = study.subject
    layers = getattr(cache, "layers", ())
    if cache is None or len(layers) != len(subject.layout.blocks):
        return None
    keys = tuple(getattr(layer, "keys", None) for layer in layers)
    values = tuple(getattr(layer, "values", None) for layer in layers)
    if any(k is None or k.ndim != 4 or k.shape[2] != batch.length for k in keys):
        return None
    return Prefix(keys, values, subject.model)


def _window(config: Any) -> int:
    width = getattr(config, "sliding_window", None)
    return width if isinstance(width, int) and width > 0 else 2**31
