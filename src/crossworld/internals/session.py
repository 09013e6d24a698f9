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
        *,
        copies: bool = False,
    ) -> None:
        self.subject, self.batch, self.grad, self.copies = subject, batch, grad, copies
        self.versions: dict[tuple[str, str], int] = {}
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
        is_flat = self._is_flat(tensor)
        if is_flat:
            tensor = tensor.unflatten(0, (self.batch.size, self.batch.length))
        self._check_positions(plug, tensor)
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
        if self.grad:
            self.versions[plug] = tensor._version
            tensor = tensor.clone() if self.copies else tensor
        return tensor.flatten(0, 1) if is_flat else tensor

    @property
    def is_spoiled(self) -> bool:
        """Whether the network changed, in place, a tensor that gradients are taken at."""
        return any(self.whole[p]._version != v for p, v in self.versions.items())

    def _is_flat(self, tensor: Any) -> bool:
        """Whether inputs and tokens share one axis, as in the MLP of OPT."""
        size, length = self.batch.size, self.batch.length
        if tensor.ndim != 2 or length is None or length < 2:
            return False
        return bool(tensor.shape[0] == size * length)

    def _check_positions(self, plug: tuple[str, str], tensor: Any) -> None:
        """Refuse positions in a tensor that is not laid out as the inputs are."""
        named = [s for s, *_ in (*self.reads.get(plug, ()), *self.writes.get(plug, ()))
                 if s.position is not None]  # fmt: skip
        size, length = self.batch.size, self.batch.length
        axis = 2 if plug[1] == "weights" else 1
        is_stream = tensor.ndim == (4 if plug[1] == "weights" else 3)
        shape = tuple(tensor.shape)
        if not named or (is_stream and shape[0] == size and shape[axis] == length):
            return
        raise DesignError(
            f"{named[0]} names a position among the {length} tokens of {size} inputs, but "
            f"{plug[0]} holds a tensor of shape {shape}, not (inputs, tokens, features); leave out "
            "the @, or name another module"
        )

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
                if times == 0 and plug[1] == "weights":
                    raise EstimationError(
                        f"{plug[0]!r} does not compute its attention through the attention "
                        f"interface of transformers, so {', '.join(sites[:4])} cannot be read or "
                        "set; use the heads' q, k, v and z"
                    )
                how = "did not run" if times == 0 else f"ran {times} times"
                raise EstimationError(
                    f"the module {plug[0]!r} {how} in one pass, so {', '.join(sites[:4])} "
                    "cannot be read or set there; name a module that runs exactly once"
                )


def first(output: Any) -> Any:
    """Return the tensor of a module's output that sites mean: the first of several."""
    return output[0] if isinstance(output, tuple | list) and output else output


def with_first(output: Any, new: Any) -> Any:
    """Return a module's output with that tensor replaced."""
    if not isinstance(output, tuple | list) or not output:
        return new
    held = (new, *output[1:])
    return type(output)(*held) if hasattr(output, "_fields") else type(output)(held)


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
        return with_first(output, change(first(output)))

    return hook
