"""Networks whose activations can be read and set: the protocol, and any torch module by hooks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

from crossworld.errors import DesignError, hint
from crossworld.internals.backend import torch
from crossworld.internals.basis import Basis
from crossworld.internals.expand import expand
from crossworld.internals.inputs import Batch
from crossworld.internals.layout import Layout, read_layout
from crossworld.internals.loading import load
from crossworld.internals.ports import Port, Value, resolve
from crossworld.internals.session import Session, evaluating
from crossworld.internals.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One pass through a network.

    Parameters
    ----------
    output
        Logits (B, T, V), or whatever the network returns.
    values
        Activations at the sites that were read, in the order in which the pass reached them:
        (B, k, d), with positions; else as they are.
    whole
        With gradients: the whole tensor of every plug, to differentiate with respect to.
    """

    output: Any
    values: Mapping[Site, Any]
    whole: Mapping[tuple[str, str], Any] = field(default_factory=dict)


class Subject(Protocol):
    """A network whose activations can be read and set."""

    @property
    def layout(self) -> Layout:
        """Where its parts are."""

    def sites(self, *patterns: str | Site, length: int | None = None) -> tuple[Site, ...]:
        """All sites that patterns such as ``layers.*.mlp @ -1`` stand for."""

    def port(self, site: Site) -> Port:
        """Where a site lives; raise DesignError naming the nearest when there is no such site."""

    def run(
        self,
        batch: Batch,
        *,
        read: Sequence[Site] = (),
        write: Mapping[Site, Value] | None = None,
        grad: bool = False,
        last: bool = False,
    ) -> Run:
        """Run inputs; set activations; return output and activations."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class TorchSubject:
    """Any torch module, read and set by plain hooks; it is not rewritten.

    Runs are made in evaluation mode. Writes are made in the order given, reads see what was
    written. A hook that never ran, or ran more than once in a pass, is an error: an intervention
    cannot be lost in silence.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, such as a transformers model.
    tokenizer
        A transformers tokenizer, needed for prompts given as text.
    bases
        Named subspaces and features: ``layers.3.resid[gender]``.
    blocks
        Path of the list of blocks, where it is not found by itself.
    source
        Folder or name the model came from, for the spec.

    Raises
    ------
    DesignError
        If the model is no module.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> subject = TorchSubject(net)
    >>> [str(s) for s in subject.sites("0.neurons.*")]
    ['0.neurons.0', '0.neurons.1', '0.neurons.2']
    """

    model: Any
    tokenizer: Any = None
    bases: Mapping[str, Basis] = field(default_factory=dict)
    blocks: str | None = None
    source: str | None = None
    _held: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.model, torch().nn.Module):
            raise DesignError(
                f"a subject is a torch module, got a {type(self.model).__name__}; objects of "
                "TransformerLens, nnsight and pyvene are taken by crossworld.interop.networks"
            )
        if self.blocks is not None and self.blocks not in dict(self.model.named_modules()):
            known = [n for n, _ in self.model.named_modules() if n]
            raise DesignError(f"there is no module {self.blocks!r}. {hint(self.blocks, known)}")

    @classmethod
    def load(cls, folder: str | Path) -> TorchSubject:
        """Read a causal language model of the transformers library from a folder or a hub.

        Raises
        ------
        MissingExtraError
            If transformers is not installed.
        DesignError
            If the folder holds no model in safetensors.
        """
        model, tokenizer = load(folder)
        return cls(model, tokenizer, source=str(folder))

    @property
    def layout(self) -> Layout:
        """Where its parts are."""
        if "layout" not in self._held:
            self._held["layout"] = read_layout(self.model, blocks=self.blocks)
        held: Layout = self._held["layout"]
        return held

    @property
    def modules(self) -> Mapping[str, Any]:
        """Modules by path."""
        if "modules" not in self._held:
            self._held["modules"] = dict(self.model.named_modules())
        held: Mapping[str, Any] = self._held["modules"]
        return held

    @property
    def device(self) -> Any:
        """Where the weights are."""
        first = next(self.model.parameters(), None)
        return torch().device("cpu") if first is None else first.device

    def sites(self, *patterns: str | Site, length: int | None = None) -> tuple[Site, ...]:
        """All sites that patterns stand for, pattern by pattern.

        Parameters
        ----------
        *patterns
            Sites, or texts with ``*`` for every layer, head, neuron, channel or position.
        length
            Number of positions, needed for ``@ *``.
        """
        return expand(patterns, self.layout, self.modules, length)

    def port(self, site: Site) -> Port:
        """Where a site lives."""
        if site.basis is not None and site.basis not in self.bases:
            raise DesignError(
                f"no subspace or feature is called {site.basis!r} in {site}; name it in "
                f"TorchSubject(bases={{...}}). {hint(site.basis, self.bases)}"
            )
        ports = self._held.setdefault("ports", {})
        if site not in ports:
            ports[site] = resolve(site, self.layout, self.modules)
        found: Port = ports[site]
        return found

    def run(
        self,
        batch: Batch,
        *,
        read: Sequence[Site] = (),
        write: Mapping[Site, Value] | None = None,
        grad: bool = False,
        last: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Run:
        """Run inputs through the network.

        Parameters
        ----------
        batch
            The inputs.
        read
            Sites whose activations are returned.
        write
            Site -> the activation it is set to (B, k, d), or a function of the present one.
        grad
            Keep the graph, so that the output can be differentiated at the sites read.
        last
            Compute logits of the last position alone, where the network can.
        options
            Further arguments of the network's forward call.

        Raises
        ------
        EstimationError
            If a site was not reached, or more than once.
        """
        session = Session(self, batch, tuple(read), dict(write or {}), grad)
        context = nullcontext() if grad else torch().no_grad()
        with context, evaluating(self.model), session.attached():
            output = self.forward(batch, last=last, options=options)
        session.check()
        return Run(output, session.values, session.whole)

    def forward(
        self, batch: Batch, *, last: bool = False, options: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the module and return its logits or its output."""
        kwargs = _options(self.model, batch, last)
        inputs = _moved(batch.inputs, self.device)
        kwargs.update(options or {})
        named = isinstance(inputs, Mapping)
        found = self.model(**inputs, **kwargs) if named else self.model(inputs, **kwargs)
        if hasattr(found, "logits"):
            return found.logits
        return found[0] if isinstance(found, tuple) else found


def _options(model: Any, batch: Batch, last: bool) -> dict[str, Any]:
    """Arguments of the forward call that the module knows."""
    takes = inspect.signature(model.forward).parameters
    found: dict[str, Any] = {}
    if "use_cache" in takes:
        found["use_cache"] = False
    if last and "logits_to_keep" in takes:
        found["logits_to_keep"] = 1
    mask = batch.inputs.get("attention_mask") if isinstance(batch.inputs, Mapping) else None
    if mask is not None and "position_ids" in takes and "position_ids" not in batch.inputs:
        device = next(model.parameters()).device
        found["position_ids"] = (mask.long().cumsum(-1) - 1).clamp(min=0).to(device)
    return found


def _moved(inputs: Any, device: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {k: v.to(device) for k, v in inputs.items()}
    return inputs.to(device)
