"""What a search finds where there is nothing to find: the controls of an alignment."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.table import Effect, EffectTable
from crossworld.errors import SpecError
from crossworld.internals.alignment.align import Aligned, registered, starts_of
from crossworld.internals.alignment.interchange import agreement
from crossworld.internals.alignment.problem import problem
from crossworld.internals.alignment.search import seeded, split_of
from crossworld.internals.alignment.task import chunks, distinct
from crossworld.internals.backend import torch
from crossworld.internals.basis import Subspace
from crossworld.internals.rates import mean, mean_effect, paired_difference, rate, tabled
from crossworld.internals.subject import TorchSubject

Vector = NDArray[np.float64]
KINDS = ("arbitrary", "untrained", "random")


def alignment_controls(
    found: Aligned,
    *,
    kinds: Sequence[str] = KINDS,
    draws: int = 20,
    seed: int = 0,
    untrained: Callable[[], Any] | None = None,
    level: float = 0.95,
) -> EffectTable:
    r"""Accuracy of an alignment beside what the same effort reaches where nothing is to be found.

    - ``arbitrary``: the counterfactual answers are permuted among the distinct pairs before the
      search, and the permuted answers are predicted on the test pairs. What it reaches above the
      largest class is memory, or freedom of the search.
    - ``untrained``: the same search in the same network with fresh weights, for the program's
      answers.
    - ``random``: random subspaces of the same sizes whose change of the activation is scaled to
      the norm of the found one's, :math:`Q Q^\top \delta \cdot \|B B^\top \delta\| / \|Q Q^\top
      \delta\|`; averaged over draws.

    Parameters
    ----------
    found
        What `align` found.
    kinds
        Which controls.
    draws
        Random subspaces.
    seed
        Seed of permutation, fresh weights and subspaces.
    untrained
        Makes the network with fresh weights. By default a transformers model is built from its
        configuration; of other networks a copy is taken whose modules are reset by their
        ``reset_parameters``, and whose remaining parameters are permuted within themselves.
    level
        Probability with which all intervals hold (Sidak).

    Returns
    -------
    EffectTable
        ``iia``, ``control[kind]`` and ``iia - control[kind]``: shares have exact, their paired
        differences Bonett-Price intervals; ``random``, a mean of shares, and its difference t.

    References
    ----------
    Arora, Jurafsky & Potts (2024). CausalGym. ACL. Hewitt & Liang (2019). Designing and
    interpreting probes with control tasks. EMNLP.
    """
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise SpecError.unknown("control", str(unknown[0]), KINDS)
    family, hits = 2 * len(kinds) + 1, found.held_out.hits
    cluster = found.held_out.cluster
    rows = [rate("iia", hits, cluster=cluster, level=level, family=family)]
    for kind in kinds:
        if kind == "random":
            other = random_subspaces(found, draws, seed)
        elif kind == "arbitrary":
            other = arbitrary_labels(found, seed)
        else:
            model = fresh(found.subject.model, seed) if untrained is None else untrained()
            other = in_another(found, model)
        rows += _compared(kind, hits, other, cluster, (level, family))
    heading = f"controls of {type(found.method).__name__} at {found.site}, held-out pairs"
    return tabled(rows, heading, units=(len(hits), cluster), level=level, family=family)


def _compared(
    kind: str, hits: Vector, other: Vector, cluster: Codes | None, how: tuple[float, int]
) -> list[Effect]:
    level, family = how
    names = f"control[{kind}]", f"iia - control[{kind}]"
    if kind == "random":
        pair = (mean(other, cluster), mean(hits - other, cluster))
        return [
            mean_effect(name, one, level=level, family=family)
            for name, one in zip(names, pair, strict=True)
        ]
    return [
        rate(names[0], other, cluster=cluster, level=level, family=family),
        paired_difference(names[1], hits, other, cluster=cluster, level=level, family=family),
    ]


def arbitrary_labels(found: Aligned, seed: int) -> Vector:
    """Hits on the test pairs of a search for permuted answers."""
    test = found.held_out.pairs
    both = [*found.train, *test]
    code = distinct(both)
    first = np.unique(code, return_index=True)[1]
    answers = np.array([found.task.target(both[i].base, both[i].sources) for i in first])
    labels = np.random.default_rng(seed).permutation(answers)[code].astype(np.int64)
    held = problem(found.subject, found.task, found.site, pairs=found.train,
                   target=labels[: len(found.train)], split=split_of(found.method))  # fmt: skip
    searched = _searched(found, held, found.subject)
    return np.asarray(searched.answers == labels[len(found.train) :], dtype=np.float64)


def in_another(found: Aligned, model: Any) -> Vector:
    """Hits on the test pairs of the same search in another network."""
    subject = replace(found.subject, model=model)
    held = problem(subject, found.task, found.site, pairs=found.train, split=split_of(found.method))
    return np.asarray(_searched(found, held, subject).hits)


def _searched(found: Aligned, held: Any, subject: TorchSubject) -> Any:
    best = max(starts_of(held, found.method), key=lambda c: (c.accuracy, -c.loss))
    bases = {name: Subspace(matrix) for name, matrix in best.bases.items()}
    sites = {name: replace(found.site, basis=name) for name in bases}
    return agreement(
        registered(subject, bases), found.task, sites=sites, pairs=found.held_out.pairs
    )


def random_subspaces(found: Aligned, draws: int, seed: int) -> Vector:
    """Share of draws in which a pair is a hit with norm-matched random subspaces, (n,)."""
    t, rng = torch(), np.random.default_rng(seed)
    pairs, site = found.held_out.pairs, found.site
    hits = np.zeros(len(pairs))
    width = next(iter(found.bases.values())).matrix.shape[0]
    total = sum(b.matrix.shape[1] for b in found.bases.values())
    drawn = [np.linalg.qr(rng.standard_normal((width, total)))[0] for _ in range(draws)]
    for chunk in chunks(found.task, pairs, 256):
        sources = {v: found.subject.run(b, read=[site]).values[site]
                   for v, b in chunk.sources.items()}  # fmt: skip
        for matrix in drawn:
            start, change = 0, []
            for name, basis in found.bases.items():
                size = basis.matrix.shape[1]
                if name in sources:
                    like = sources[name]
                    held = [t.as_tensor(m, dtype=like.dtype, device=like.device)
                            for m in (basis.matrix, matrix[:, start : start + size])]  # fmt: skip
                    change.append((like, *held))
                start += size
            run = found.subject.run(chunk.base, write={site: _matched(change)})
            answers = found.task.logits(run.output).argmax(-1).cpu().numpy()
            hits[chunk.rows] += answers == found.held_out.target[chunk.rows]
    return hits / draws


def _matched(change: list[tuple[Any, Any, Any]]) -> Callable[[Any], Any]:
    def write(hidden: Any) -> Any:
        new = hidden
        for source, basis, columns in change:
            moved = source - hidden
            size = (moved @ basis).norm(dim=-1, keepdim=True)
            other = moved @ columns
            scale = size / other.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            new = new + (other * scale) @ columns.T
        return new

    return write


def fresh(model: Any, seed: int) -> Any:
    """Return a network like another one, with fresh weights."""
    t = torch()
    with seeded(seed):
        if hasattr(model, "config") and hasattr(model, "init_weights"):
            made = type(model)(copy.deepcopy(model.config))
            first = next(model.parameters())
            return made.to(device=first.device, dtype=first.dtype).eval()
        made, reset = copy.deepcopy(model), set()
        for module in made.modules():
            if callable(getattr(module, "reset_parameters", None)):
                module.reset_parameters()
                reset |= {id(p) for p in module.parameters(recurse=False)}
        with t.no_grad():
            for p in made.parameters():
                if id(p) not in reset:
                    p.copy_(p.flatten()[t.randperm(p.numel())].reshape(p.shape))
    return made
