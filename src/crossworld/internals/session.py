"""The hooks of one run: what is read, what is written, and that all of it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

from crossworld.errors import DesignError, EstimationError
from crossworld.internals.attention import hooked
from crossworld.internals.backend import torch
from crossworld.internals.basis import Basis
from crossworld.internals.inputs import Batch
from crossworld.internals.ports import Port, Value, Write, apply, key_index, take
from crossworld.internals.site import Site

Change = Callable[[Any], Any]  # a tensor -> the tensor that goes on


class Hookable(Protocol):
    """What a session has to know of a subject."""

    @property
    def model(self) -> Any:
        """The module."""

    @property
    def modules(self) -> Mapping[str, Any]:
        """Modules by path."""

    @property
    def bases(self) -> Mapping[str, Basis]:
        """Named subspaces and features."""

    @property
    def device(self) -> Any:
        """Where the weights are."""

    def port(self, site: Site) -> Port:
        """Where a site lives."""


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off for a while."""
    training = [m for m in model.modules() if m.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class Session:
    """The hooks of one run."""

    def __init__(
        self,
        subject: Hookable,
        batch: Batch,
        read: tuple[Site, ...],
        write: dict[Site, Value],
        grad: bool,
    ) -> None:
        self.subject, self.batch, self.grad = subject, batch, grad
        self.values: dict[Site, Any] = {}
        self.whole: dict[tuple[str, str], Any] = {}
        self.fired: dict[tuple[str, str], int] = {}
        self.written: set[Site] = set()
        self.reads: dict[tuple[str, str], list[tuple[Site, Port, Any]]] = {}
        self.writes: dict[tuple[str, str], list[Write]] = {}
        for site in read:
            port = subject.port(site)
            self.reads.setdefault(port.plug, []).append((site, port, self._at(site.position)))
        for site, value in write.items():
            port = subject.port(site)
            keys = self._at(site.keys)
            entry = (site, port, self._at(site.position), keys, value)
            self.writes.setdefault(port.plug, []).append(entry)

    def _at(self, position: str | None) -> Any:
        found = self.batch.positions(position)
        return None if found is None else torch().from_numpy(found).to(self.subject.device)

    @property
    def plugs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys([*self.reads, *self.writes]))

    def pass_through(self, plug: tuple[str, str], tensor: Any) -> Any:
        """Make the writes of a plug, then its reads; return the tensor that goes on."""
        if not isinstance(tensor, torch().Tensor):
            raise DesignError(
                f"{plug[0]} gives a {type(tensor).__name__}, no tensor; name a module inside it"
            )
        self.fired[plug] = self.fired.get(plug, 0) + 1
        if self.grad and not tensor.requires_grad:
            tensor = tensor.clone().requires_grad_(True)
        if plug in self.writes:
            tensor = apply(tensor, self.writes[plug], self.subject.bases, self.written.add)
        if self.grad:
            self.whole[plug] = tensor
        for site, port, positions in self.reads.get(plug, ()):
            part = take(tensor, port, positions)
            keys = self._at(site.keys)
            if keys is not None:
                part = part.gather(2, key_index(part, keys))
            if site.basis is not None:
                part = self.subject.bases[site.basis].read(part)
            self.values[site] = part if self.grad else part.detach().clone()
        return tensor

    @contextmanager
    def attached(self) -> Iterator[None]:
        handles, weights = [], {}
        try:
            for plug in self.plugs:
                path, end = plug
                module = self.subject.modules[path]
                change = partial(self.pass_through, plug)
                if end == "weights":
                    weights[module] = change
                elif end == "in":
                    hook = input_hook(path, change)
                    handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
                else:
                    handles.append(module.register_forward_hook(output_hook(change)))
            with hooked(self.subject.model, weights) if weights else nullcontext():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def check(self) -> None:
        """Raise unless every hook ran exactly once and every write was made."""
        for plug in self.plugs:
            times = self.fired.get(plug, 0)
            if times != 1:
                sites = [
                    str(s) for s, *_ in (*self.reads.get(plug, ()), *self.writes.get(plug, ()))
                ]
                how = "did not run" if times == 0 else f"ran {times} times"
                raise EstimationError(
                    f"the module {plug[0]!r} {how} in one pass, so {', '.join(sites[:4])} "
                    "cannot be read or set there; name a module that runs exactly once"
                )


def input_hook(path: str, change: Change) -> Callable[..., Any]:
    """Build a hook that changes the first tensor a module takes, named or not."""

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        name = next((k for k, v in kwargs.items() if hasattr(v, "ndim")), None)
        if name is None:
            raise DesignError(f"{path} takes no tensor")
        return args, {**kwargs, name: change(kwargs[name])}

    return hook


def output_hook(change: Change) -> Callable[..., Any]:
    """Build a hook that changes what a module gives, or the first of what it gives."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    return hook
