"""The torch module inside objects of TransformerLens, nnsight and pyvene.

Their versions exclude one another, so none of them is imported: an object is known by what it has.
"""

from __future__ import annotations

import copy
from typing import Any

from crossworld.errors import DesignError
from crossworld.internals.backend import torch
from crossworld.internals.subject import TorchSubject

__all__ = ["network_of", "subject_from"]


def network_of(held: Any) -> Any:
    """Take the torch module out of an object that holds one.

    ===================================================  ===================================
    object                                               module
    ===================================================  ===================================
    TransformerLens ``TransformerBridge``                ``original_model``, its parts unwrapped
    nnsight ``NNsight``, ``LanguageModel``               ``_module`` or ``_model``
    pyvene ``IntervenableModel``                         ``model``
    what ``torch.compile`` returns                       ``_orig_mod``
    any torch module, TransformerLens's own among them   itself
    ===================================================  ===================================

    Weights are shared, not copied. Parts that TransformerLens has wrapped run as they were before.

    Raises
    ------
    DesignError
        If there is no module in it, its weights are not loaded yet, or TransformerLens has
        rewritten them (compatibility mode).

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> class Lens:
    ...     def __init__(self, module): self.original_model = module
    >>> network_of(Lens(torch.nn.Linear(2, 1)))
    Linear(in_features=2, out_features=1, bias=True)
    """
    if _ask(held, "compatibility_mode") is True:
        raise DesignError(
            f"this {type(held).__name__} is in compatibility mode, so its weights are no longer "
            "those of the model; take the network before enable_compatibility_mode()"
        )
    found, seen = held, list[Any]()
    while (inner := _inside(found)) is not None and not any(inner is s for s in seen):
        seen.append(found)
        found = inner
    if not isinstance(found, torch().nn.Module):
        raise DesignError(
            f"there is no torch module in a {type(held).__name__}; a torch module is taken as it "
            "is, and so are TransformerLens's TransformerBridge, nnsight's NNsight and "
            "LanguageModel, and pyvene's IntervenableModel"
        )
    unloaded = [name for name, p in found.named_parameters() if p.device.type == "meta"]
    if unloaded:
        raise DesignError(
            f"the weights of this {type(held).__name__} are not loaded ({unloaded[0]} is on the "
            "meta device); in nnsight: LanguageModel(..., dispatch=True)"
        )
    return _bare(found, {})


def _bare(module: Any, done: dict[int, Any]) -> Any:
    """Return a module without the wrappers around its parts; itself where there are none."""
    key = id(module)
    if key not in done:
        inner = module
        while "_original_component" in inner._modules:
            inner = inner._modules["_original_component"]
        parts = {n: m if m is None else _bare(m, done) for n, m in inner._modules.items()}
        if any(m is not inner._modules[n] for n, m in parts.items()):
            inner = copy.copy(inner)
            inner.__dict__["_modules"] = parts
            for name in ("_forward_hooks", "_forward_pre_hooks"):
                inner.__dict__[name] = inner.__dict__[name].copy()
            for name in ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs"):
                inner.__dict__[name] = inner.__dict__[name].copy()
        done[key] = inner
    return done[key]


def _inside(held: Any) -> Any:
    """Return the module that an object of another library holds; None where it holds none."""
    module = torch().nn.Module
    names = ["original_model", "_orig_mod"]
    if not isinstance(held, module):
        names += ["_module", "_model"]  # nnsight
    own = _ask(held, "__dict__") or {}
    if "interventions" in {**own, **own.get("_modules", {})}:
        names.append("model")  # pyvene
    for name in names:
        found = _ask(held, name)
        if isinstance(found, module) and found is not held:
            return found
    return None


def _ask(held: Any, name: str) -> Any:
    """Return an attribute, None where there is none: a proxy may raise anything."""
    try:
        return getattr(held, name, None)
    except Exception:
        return None


def subject_from(held: Any, tokenizer: Any = None, *, blocks: str | None = None) -> TorchSubject:
    """Make a subject of an object that holds a torch module.

    Parameters
    ----------
    held
        What `network_of` takes.
    tokenizer
        A transformers tokenizer; that of the object by default.
    blocks
        Path of the list of blocks, where it is not found by itself.

    Raises
    ------
    DesignError
        If there is no module in it.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> subject = subject_from(torch.nn.Sequential(torch.nn.Linear(2, 1)))
    >>> [str(s) for s in subject.sites("0.neurons.*")]
    ['0.neurons.0']
    """
    own = (_ask(held, "__dict__") or {}).get("tokenizer")
    return TorchSubject(network_of(held), own if tokenizer is None else tokenizer, blocks=blocks)
