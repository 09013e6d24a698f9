"""Networks whose activations can be read and set: the protocol, and any torch module by hooks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
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
        for name, basis in self.bases.items():
            if not hasattr(basis, "read") or not hasattr(basis, "write"):
                raise DesignError(
                    f"the basis {name!r} is a Subspace or a Feature, got a {type(basis).__name__}; "
                    "wrap directions: xw.Subspace(matrix), one column each"
                )
        if self.blocks is not None and self.blocks not in dict(self.model.named_modules()):
            known = [n for n, _ in self.model.named_modules() if n]
            raise DesignError(f"there is no module {self.blocks!r}. {hint(self.blocks, known)}")
        if self.blocks is not None and not hasattr(
            self.model.get_submodule(self.blocks), "__len__"
        ):
            kind = type(self.model.get_submodule(self.blocks)).__name__
            raise DesignError(f"blocks names a list of blocks, {self.blocks!r} is a {kind}")

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
        sites = tuple(_site(s) for s in read)
        writes = {_site(s): value for s, value in (write or {}).items()}
        last = last and not any(map(_behind_blocks, (*sites, *writes)))
        context = nullcontext() if grad else torch().no_grad()
        for copies in (False, True):
            session = Session(self, batch, sites, writes, grad, copies=copies)
            with context, evaluating(self.model), session.attached():
                output = self.forward(batch, last=last, options=options)
            if not session.is_spoiled:
                break
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
        try:
            with _side_by_side(self.model) if last else nullcontext():
                found = self.model(**inputs, **kwargs) if named else self.model(inputs, **kwargs)
        except IndexError as error:
            raise DesignError(_not_looked_up(self, batch, error)) from error
        if hasattr(found, "logits"):
            return found.logits
        return found[0] if isinstance(found, tuple) else found


@contextmanager
def _side_by_side(model: Any) -> Iterator[None]:
    """Let the head that makes logits have its rows side by side in memory.

    Last positions are cut out of longer rows, and torch multiplies frozen weights by such rows one
    by one, reading all of the vocabulary for each.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is None:
        yield
        return

    def gather(module: Any, args: tuple[Any, ...]) -> Any:
        return (args[0].contiguous(), *args[1:])

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def _not_looked_up(subject: TorchSubject, batch: Batch, error: IndexError) -> str:
    """Say why inputs may not be found in the tables of a network."""
    inputs = batch.inputs
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else inputs
    told = f"these inputs have {batch.length} tokens"
    if ids is not None and not ids.is_floating_point():
        told += f", ids {int(ids.min())} to {int(ids.max())}"
    embed = subject.layout.embed
    rows = None if embed is None else getattr(subject.modules[embed], "num_embeddings", None)
    has = "" if rows is None else f"; its embedding has {rows} rows"
    return (
        f"the network looks up what it does not have ({error}): {told}{has}. A token that it does "
        "not know, or more tokens than it has positions for"
    )


def _site(given: Site | str) -> Site:
    return given if isinstance(given, Site) else Site.parse(given)


def _behind_blocks(site: Site) -> bool:
    """Whether a site may be at one of the positions that are left out for the last one's logits."""
    return site.position is not None and site.layer is None and site.where != "embed"


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
        found["position_ids"] = _positions(model, mask).to(device)
    return found


def _positions(model: Any, mask: Any) -> Any:
    """Positions of tokens among the real ones, from 0; where a table has a row for pads, after it.

    RoBERTa and its kin count from the row after that of pads.
    """
    real = (mask > 0).long()
    for name, module in model.named_modules():
        if "position" in name and getattr(module, "padding_idx", None) is not None:
            return real.cumsum(-1) * real + module.padding_idx
    return (real.cumsum(-1) - 1).clamp(min=0)


def _moved(inputs: Any, device: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {k: v.to(device) for k, v in inputs.items()}
    return inputs.to(device)
