"""What of a site the rest of the network reads: a linear read-out, or the Jacobian on data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.errors import DesignError
from crossworld.internals.backend import torch
from crossworld.internals.inputs import Batch
from crossworld.internals.ports import Port, take
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

Matrix = NDArray[np.float64]
KEEP = 0.999
_SKETCHES = 8


def row_space(matrix: Matrix, *, tolerance: float = 1e-5) -> Matrix:
    """Orthonormal basis (d, rank) of the row space of a matrix (m, d)."""
    _, sizes, rows = np.linalg.svd(np.asarray(matrix, dtype=np.float64), full_matrices=False)
    kept = sizes > tolerance * max(float(sizes.max(initial=0.0)), 1e-300)
    return np.asarray(rows[kept].T)


def leading_space(gram: Matrix, *, keep: float = KEEP) -> Matrix:
    r"""Fewest eigenvectors of :math:`E[J^\top J]` that carry a share ``keep`` of its trace."""
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.clip(values[::-1], 0.0, None), vectors[:, ::-1]
    total = float(values.sum())
    if total <= 0.0:
        return np.zeros((gram.shape[0], 0))
    count = int(np.searchsorted(np.cumsum(values) / total, keep - 1e-12)) + 1
    return np.asarray(vectors[:, : min(count, len(values))])


def read_space(
    subject: TorchSubject, site: Site, batches: Sequence[Batch], downstream: Any
) -> tuple[Matrix, str]:
    """Directions of a site that what follows can see, and in words how they were found.

    Parameters
    ----------
    subject, site
        The network and the site (its basis is ignored).
    batches
        Inputs at which Jacobians are taken.
    downstream
        A matrix (m, d) that reads the activation; ``"output"`` for the Jacobian of the network's
        output; None for the linear layers that read the site where they are all that does, else
        the Jacobian.
    """
    if downstream is not None and not isinstance(downstream, str):
        matrix = np.atleast_2d(np.asarray(downstream, dtype=np.float64))
        return row_space(matrix), "the read-out given"
    if downstream not in (None, "output"):
        raise DesignError(f"downstream is a matrix (m, d), 'output' or None, got {downstream!r}")
    port = subject.port(site)
    if downstream is None and port.end != "weights":
        found = linear_reader(subject, site, batches[0])
        if found is not None:
            return row_space(found[0]), f"the linear read-out {found[1]}"
    return leading_space(jacobian_gram(subject, site, batches)), "the Jacobian of the output"


def linear_reader(subject: TorchSubject, site: Site, batch: Batch) -> tuple[Matrix, str] | None:
    r"""Weights (m, d) of the linear layers that read a site, if nothing else does.

    Whether anything else does is decided by the chain rule: the gradient at the site must equal
    :math:`\sum_j W_j^\top g_j` with the gradients :math:`g_j` at the outputs of those layers.
    """
    port = subject.port(site)
    if port.end == "in":
        weight = _weight(subject.modules[port.path])
        return None if weight is None else (_columns(weight, port), port.path)
    t = torch()
    seen: list[tuple[str, Any, Any]] = []
    handles = []
    for name, module in subject.modules.items():
        if _weight(module) is not None:
            handles.append(module.register_forward_hook(_witness(seen, name)))
    try:
        run = subject.run(batch, read=[Site(site.where)], grad=True)
    finally:
        for handle in handles:
            handle.remove()
    hidden = run.whole[port.plug]
    readers = [(n, out) for n, given, out in seen if given is hidden and n != port.path]
    if not readers or not run.output.requires_grad:
        return None
    probe = t.randn(run.output.shape, generator=t.Generator().manual_seed(0), dtype=t.float64)
    total = (run.output * probe.to(run.output)).sum()
    here, *there = t.autograd.grad(total, [hidden, *(out for _, out in readers)], allow_unused=True)
    if here is None or any(g is None for g in there):
        return None
    weights = [_weight(subject.modules[name]) for name, _ in readers]
    through = sum(g.double() @ w for g, w in zip(there, weights, strict=True))
    size = float(here.double().abs().max())
    if not t.allclose(here.double(), through, rtol=1e-3, atol=1e-4 * max(size, 1e-12)):
        return None
    stacked = t.cat(weights)
    return _columns(stacked, port), " and ".join(name for name, _ in readers)


def jacobian_gram(subject: TorchSubject, site: Site, batches: Sequence[Batch]) -> Matrix:
    r"""Mean over inputs and positions of :math:`J^\top J`, J the output's Jacobian at a site.

    .. math:: E[J^\top J] = E_x E_u\big[(u^\top J)^\top (u^\top J)\big],\quad u_j = \pm 1

    so that a few backward passes with random signs are unbiased for it.
    """
    t, port = torch(), subject.port(site)
    plain = Site(site.where, site.position)
    generator = t.Generator().manual_seed(0)
    total: Any = 0.0
    count = 0
    for held in batches:
        run = subject.run(held, read=[plain], grad=True)
        hidden = run.whole[port.plug]
        if not run.output.requires_grad:
            raise DesignError(f"the output does not depend on {site}, as far as gradients see")
        places = held.positions(site.position)
        at = None if places is None else t.from_numpy(places).to(hidden.device)
        for k in range(_SKETCHES):
            signs = t.randint(0, 2, run.output.shape, generator=generator) * 2 - 1
            (grad,) = t.autograd.grad(
                (run.output * signs.to(run.output)).sum(), hidden, retain_graph=k < _SKETCHES - 1
            )
            part = take(grad, port, at).double()
            flat = part.reshape(-1, part.shape[-1])
            total = total + flat.T @ flat
            count += held.size
    return np.asarray((total / count).cpu().numpy())


def _witness(seen: list[tuple[str, Any, Any]], name: str) -> Any:
    def hook(module: Any, args: tuple[Any, ...], output: Any) -> None:
        if args:
            seen.append((name, args[0], output))

    return hook


def _weight(module: Any) -> Any:
    """Weight (m, d) of a linear module in double precision, None for any other module."""
    kind = type(module).__name__
    weight = getattr(module, "weight", None)
    if weight is not None and isinstance(module, torch().nn.Linear):
        return weight.detach().double()
    if kind == "Conv1D" and weight is not None and weight.ndim == 2:
        return weight.detach().double().T
    return None


def _columns(weight: Any, port: Port) -> Matrix:
    held = weight if port.columns is None else weight[:, list(port.columns)]
    return np.asarray(held.cpu().numpy())
