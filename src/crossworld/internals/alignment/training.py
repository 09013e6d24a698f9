"""Interchange intervention training: make a network follow its program, not only its answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossworld.core.options import check_whole_fields
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.internals.alignment.interchange import Agreement, interchange_accuracy, swapped
from crossworld.internals.alignment.search import seeded
from crossworld.internals.alignment.task import (
    AlignmentTask,
    Interchange,
    Places,
    check_pairs,
    chunks,
    places,
)
from crossworld.internals.backend import torch
from crossworld.internals.rates import paired_difference, rate, tabled
from crossworld.internals.subject import TorchSubject


@dataclass(frozen=True, slots=True)
class InterchangeTraining:
    r"""How a network is trained.

    .. math:: L = \mathrm{CE}\big(y(b), P(b)\big) + \lambda\, \mathrm{CE}\big(y(b; z_v \leftarrow
              z_v(s_v)),\ P(b; v \leftarrow v(s_v))\big)

    Gradients pass through base and source runs alike.

    Parameters
    ----------
    weight
        :math:`\lambda`; 0 is plain training on the base inputs.
    epochs, rate, batch
        Passes over the pairs, AdamW's learning rate, pairs per step.
    decay
        Weight decay.
    seed
        Seed of the order; the network's weights are those it is given with.
    """

    weight: float = 1.0
    epochs: int = 30
    rate: float = 3e-3
    batch: int = 64
    decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole_fields(self, {"epochs": 1, "batch": 1})
        if not self.rate > 0.0 or self.weight < 0.0 or self.decay < 0.0:
            raise SpecError(
                "rate is above 0, weight and decay are at least 0, got "
                f"{self.rate!r}, {self.weight!r}, {self.decay!r}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained copy of a network.

    Parameters
    ----------
    subject
        The trained network, in evaluation mode.
    losses
        Mean answer loss and mean interchange loss of every pass.
    options
        How it was trained.
    """

    subject: TorchSubject
    losses: tuple[tuple[float, float], ...]
    options: InterchangeTraining


def interchange_training(
    subject: TorchSubject,
    task: AlignmentTask,
    *,
    sites: Mapping[str, Any],
    pairs: Sequence[Interchange],
    options: InterchangeTraining | None = None,
) -> Trained:
    """Train a copy of a network to answer as its program does, interchanged or not.

    Parameters
    ----------
    subject
        The network; it is left as it is.
    task
        The program and how its inputs and answers look to the network.
    sites
        Variable -> where it is to live.
    pairs
        Interchanges; their base inputs are the training inputs of the plain loss.
    options
        How to train.

    Returns
    -------
    Trained
        The same weights, pairs and seed give the same result, to the last bit on one machine.

    Raises
    ------
    EstimationError
        If the loss is not finite.

    Notes
    -----
    Dropout is off while it is trained, so that base and source runs are functions of their inputs.

    References
    ----------
    Geiger, Wu, Lu, Rozner, Kreiss, Icard, Goodman & Potts (2022). Inducing causal structure for
    interpretable neural networks. ICML.
    """
    t, chosen = torch(), InterchangeTraining() if options is None else options
    where = places(sites, task)
    check_pairs(pairs, where)
    copied = replace(subject, model=copy.deepcopy(subject.model))
    parameters = list(copied.model.parameters())
    if not parameters:
        raise DesignError("the network has no parameters to train")
    for p in parameters:
        p.requires_grad_(True)
    rng = np.random.default_rng(chosen.seed)
    adam = t.optim.AdamW(parameters, lr=chosen.rate, weight_decay=chosen.decay)
    losses = []
    with seeded(chosen.seed):
        for _ in range(chosen.epochs):
            order = rng.permutation(len(pairs))
            losses.append(_epoch(copied, task, where, (pairs, order), (adam, chosen)))
            if not all(np.isfinite(losses[-1])):
                raise EstimationError(
                    f"the loss is {losses[-1]} after {len(losses)} passes; lower the rate "
                    f"{chosen.rate:g}"
                )
    for p, given in zip(parameters, subject.model.parameters(), strict=True):
        p.requires_grad_(given.requires_grad)
    copied.model.eval()
    return Trained(copied, tuple(losses), chosen)


def _epoch(
    subject: TorchSubject,
    task: AlignmentTask,
    where: Places,
    data: tuple[Sequence[Interchange], Any],
    how: tuple[Any, InterchangeTraining],
) -> tuple[float, float]:
    t, (pairs, order), (adam, options) = torch(), data, how
    totals = np.zeros(2)
    for chunk in chunks(task, pairs, options.batch, order):
        some = [pairs[r] for r in chunk.rows.tolist()]
        before = t.tensor([task.target(p.base) for p in some])
        after = t.tensor([task.target(p.base, p.sources) for p in some])
        logits = task.logits(subject.run(chunk.base, grad=True).output)
        loss = t.nn.functional.cross_entropy(logits, before.to(logits.device))
        totals[0] += float(loss.detach()) * len(some)
        if options.weight > 0.0:
            moved = task.logits(swapped(subject, chunk, where, grad=True))
            more = t.nn.functional.cross_entropy(moved, after.to(logits.device))
            totals[1] += float(more.detach()) * len(some)
            loss = loss + options.weight * more
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    plain, interchanged = (totals / len(pairs)).tolist()
    return plain, interchanged


@dataclass(frozen=True, slots=True, eq=False)
class TrainingComparison:
    """A network trained with and without interchanges.

    Parameters
    ----------
    table
        ``behaviour[...]`` and ``iia[...]`` of both on the same held-out pairs, and the paired
        differences; all intervals hold at once.
    plain, interchange
        The trained networks.
    agreements
        Their agreement with the program.
    """

    table: EffectTable
    plain: Trained
    interchange: Trained
    agreements: Mapping[str, Agreement]

    def __str__(self) -> str:
        return str(self.table)


def compare_training(
    subject: TorchSubject,
    task: AlignmentTask,
    *,
    sites: Mapping[str, Any],
    train: Sequence[Interchange],
    test: Sequence[Interchange],
    options: InterchangeTraining | None = None,
) -> TrainingComparison:
    """Train a network from the same weights with interchanges and without, and compare.

    Parameters
    ----------
    subject, task, sites
        As in `interchange_training`.
    train, test
        Pairs to train on, and pairs to judge on.
    options
        How to train; the plain network is trained with ``weight=0`` and all else equal.

    Returns
    -------
    TrainingComparison
        Exact intervals of shares, Bonett-Price (or t over clusters) of differences, Sidak over
        all six.
    """
    chosen = InterchangeTraining() if options is None else options
    made = {
        name: interchange_training(subject, task, sites=sites, pairs=train,
                                   options=replace(chosen, weight=weight))
        for name, weight in (("plain", 0.0), ("interchange", chosen.weight))
    }  # fmt: skip
    judged = {
        name: interchange_accuracy(one.subject, task, sites=sites, pairs=test)
        for name, one in made.items()
    }
    rows, family = [], 6
    cluster = judged["plain"].cluster
    for what in ("behaviour", "iia"):
        hits = {n: j.hits if what == "iia" else (j.natural == j.before).astype(np.float64)
                for n, j in judged.items()}  # fmt: skip
        rows += [rate(f"{what}[{n}]", h, cluster=cluster, family=family) for n, h in hits.items()]
        rows.append(paired_difference(f"{what}[interchange] - {what}[plain]", hits["interchange"],
                                      hits["plain"], cluster=cluster, family=family))  # fmt: skip
    table = tabled(rows, "interchange against plain training, held-out pairs",
                   units=(len(test), cluster), family=family)  # fmt: skip
    return TrainingComparison(table, made["plain"], made["interchange"], judged)
