"""A table of readouts whose prompts, reasoning or outcomes carry nothing: placebos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossworld.errors import SpecError
from crossworld.reasoning.cells import CellTable, Index

ROLES = ("treatment", "mediator", "outcome")


def permuted(table: CellTable, role: str, rng: np.random.Generator) -> CellTable:
    """Exchange what readouts are called, or how they turned out.

    All readouts of a question in one cell and mode form a block and stay together, so that draws
    of one trace stay draws of one trace. ``treatment`` exchanges the cells of the blocks of a
    question at random: neither the prompt answered under nor the one the reasoning was sampled
    under says anything. ``mediator`` does so among blocks of a question and prompt: whose
    reasoning was shown, and its edit, say nothing. ``outcome`` exchanges outcomes over all
    readouts.

    Raises
    ------
    SpecError
        If the role is none of the three.
    """
    if role == "outcome":
        return replace(table, outcome=table.outcome[rng.permutation(len(table))])
    if role not in ROLES:
        raise SpecError.unknown("role", role, ROLES)
    unit, _, _ = table.units()
    columns = (table.prompt.codes, table.reasoning.codes, table.edit.codes, table.replayed)
    keys = np.column_stack([unit, *columns]).astype(np.int64)
    blocks, block = np.unique(keys, axis=0, return_inverse=True)
    within = blocks[:, :1] if role == "treatment" else blocks[:, :2]
    label = blocks[exchanged(within, rng)][block.reshape(-1)]
    return replace(
        table,
        prompt=replace(table.prompt, codes=label[:, 1]),
        reasoning=replace(table.reasoning, codes=label[:, 2]),
        edit=replace(table.edit, codes=label[:, 3]),
        replayed=label[:, 4].astype(bool),
    )


def exchanged(groups: Index, rng: np.random.Generator) -> Index:
    """Return positions, permuted at random inside equal rows of ``groups``, shape (n,).

    Examples
    --------
    >>> groups = np.array([[0], [1], [0], [1]])
    >>> sorted(exchanged(groups, np.random.default_rng(0))[[0, 2]].tolist())
    [0, 2]
    """
    of = np.unique(groups, axis=0, return_inverse=True)[1].reshape(-1)
    found = np.empty(of.size, dtype=np.int64)
    found[np.argsort(of, kind="stable")] = np.lexsort((rng.random(of.size), of))
    return found
