"""Effect of a concept on a classifier: erased from a representation, or set in its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError
from crossworld.internals.backend import torch
from crossworld.internals.erasure import Leace
from crossworld.internals.inputs import Batch
from crossworld.internals.metrics import Measure, Rows, measure
from crossworld.internals.pairs import Pairs
from crossworld.internals.rates import codes, mean, mean_effect, tabled
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Eraser(Protocol):
    """A method that takes a concept out of representations.

    `Leace` and `crossworld.reasoning.observational.distill.NullspaceProjection` are such.
    """

    def fit(self, data: Any, labels: Any) -> Callable[[Any], Any]:
        """Learn from representations (n, d) and labels (n,); return the change of rows."""


def concept_effects(
    subject: TorchSubject,
    pairs: Any,
    *,
    site: str | Site,
    metric: Any,
    eraser: Eraser | None = None,
    observed: tuple[Sequence[Any], Sequence[Any]] | None = None,
) -> EffectTable:
    r"""Effect of a concept on a metric of the output, measured three ways on the same pairs.

    The pairs are matched: the corrupt input has the concept, the clean one has not, and nothing
    else differs. With metric y and activations h at the site, averaged over pairs,

    - ``counterfactual`` :math:`y(x_1) - y(x_0)`: the total effect of the concept;
    - ``interchange`` :math:`\tfrac12 [y(x_0; h \leftarrow h(x_1)) - y(x_0)] + \tfrac12 [y(x_1) -
      y(x_1; h \leftarrow h(x_0))]`: what of it passes the site, in both directions;
    - ``erasure`` :math:`[y(x_1) - y(x_0)] - [y(x_1; r(h)) - y(x_0; r(h))]`: what of it is gone once
      the concept is erased at the site by r;

    and the differences of the last two from the others.

    Parameters
    ----------
    subject
        The classifier.
    pairs
        `Pairs`, or anything that `Pairs.of` reads.
    site
        Where the concept is represented.
    metric
        As of a `PatchStudy`.
    eraser
        `Leace()` by default.
    observed
        Inputs and their labels (True with the concept) to learn the erasure from. By default it is
        learned from the pairs themselves, in five folds, each erased by what the others taught.

    Returns
    -------
    EffectTable
        t intervals over pairs (over clusters where pairs have them), given the erasure that was
        learned.

    Notes
    -----
    Erasure removes everything that is linearly correlated with the concept where it was learned.
    Where other features go along with the concept in ``observed``, their effect is removed too, and
    ``erasure`` is no effect of the concept alone: ``erasure - interchange`` shows by how much.

    References
    ----------
    Feder, Oved, Shalit & Reichart (2021). CausaLM. Computational Linguistics. Elazar, Ravfogel,
    Jacovi & Goldberg (2021). Amnesic probing. TACL.
    """
    held = Pairs.of(pairs, subject.tokenizer)
    held.inputs(1)
    where = Site.parse(site) if isinstance(site, str) else site
    found = measure(metric)
    missing = [name for name in found.needs if getattr(held, name) is None]
    if missing:
        raise DesignError(f"the metric {found.name} needs {' and '.join(missing)} of each pair")
    runner = _Runner(subject, held, where, found)
    cluster = codes(held.cluster)
    method: Eraser = Leace() if eraser is None else eraser
    if observed is None:
        erased = _crossfitted(runner, method, cluster)
    else:
        change = _taught(subject, where, method, observed)
        everything = np.arange(len(held))
        erased = np.stack([runner.erased(level, change, everything) for level in (0, 1)])
    plain = np.stack([runner.values(level) for level in (0, 1)])
    swapped = np.stack([runner.swapped(level) for level in (0, 1)])
    total = plain[1] - plain[0]
    interchange = 0.5 * ((swapped[0] - plain[0]) + (plain[1] - swapped[1]))
    erasure = total - (erased[1] - erased[0])
    columns = {
        "counterfactual": total,
        "interchange": interchange,
        "erasure": erasure,
        "erasure - interchange": erasure - interchange,
        "erasure - counterfactual": erasure - total,
    }
    rows = [mean_effect(term, mean(v, cluster)) for term, v in columns.items()]
    taught = "across the pairs, by folds" if observed is None else f"on {len(observed[0]):,} inputs"
    heading = f"a concept at {where}, erased by {type(method).__name__} learned {taught}"
    return tabled(rows, heading, units=(len(held), cluster))


def _crossfitted(runner: _Runner, method: Eraser, cluster: Codes | None) -> Array:
    """Metric of both inputs of every pair, erased by what pairs of other folds taught, (2, n)."""
    n = len(runner.pairs)
    group = np.arange(n) if cluster is None else cluster
    groups = int(group.max()) + 1
    if groups < 2:
        raise DesignError("an erasure needs two or more pairs, or clusters, to learn from others")
    order = np.random.default_rng(0).permutation(groups)
    fold = (order % min(5, groups))[group]
    states = [runner.activations(level) for level in (0, 1)]
    found = np.zeros((2, n))
    for k in np.unique(fold):
        rest, rows = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        data = np.concatenate([states[level][i] for level in (0, 1) for i in rest])
        labels = np.concatenate(
            [np.full(len(states[level][i]), level == 1) for level in (0, 1) for i in rest]
        )
        change = method.fit(data, labels)
        for level in (0, 1):
            found[level, rows] = runner.erased(level, change, rows)
    return found


def _taught(
    subject: TorchSubject,
    site: Site,
    method: Eraser,
    observed: tuple[Sequence[Any], Sequence[Any]],
) -> Callable[[Any], Any]:
    inputs, given = list(observed[0]), np.asarray(observed[1])
    if len(inputs) != len(given):
        raise DesignError(f"there are {len(inputs)} observed inputs and {len(given)} labels")
    if len(np.unique(given)) != 2:
        raise DesignError(f"labels have two values, got {np.unique(given)[:6].tolist()}")
    both = Pairs.of(list(zip(inputs, inputs, strict=True)), subject.tokenizer)
    data, labels = [], []
    for rows in both.groups(np.arange(len(both)), 64):
        states = subject.run(both.batch(rows.tolist(), 0), read=[site]).values[site]
        flat = _flat(states)
        data += flat
        labels += [np.full(len(one), given[r] == np.max(given))
                   for one, r in zip(flat, rows, strict=True)]  # fmt: skip
    return method.fit(np.concatenate(data), np.concatenate(labels))


class _Runner:
    """Runs pairs with the site as it is, interchanged or erased."""

    def __init__(self, subject: TorchSubject, pairs: Pairs, site: Site, metric: Measure) -> None:
        self.subject, self.pairs, self.site, self.metric = subject, pairs, site, metric

    def _metric(self, output: Any, held: Batch, units: Ints) -> Array:
        pairs = self.pairs
        rows = Rows(
            None if pairs.answer is None else pairs.answer[units],
            None if pairs.wrong is None else pairs.wrong[units],
            None,
            units,
        )
        found = self.metric(self.metric.final(output, held), rows)
        return np.asarray(found.detach().double().cpu().numpy())

    def _each(self, level: int, rows: Ints | None, write: Callable[[Ints], Any]) -> Array:
        asked = np.arange(len(self.pairs)) if rows is None else rows
        found = np.zeros(len(asked))
        for at in self.pairs.groups(asked, 64):
            units = asked[at]
            held = self.pairs.batch(units.tolist(), level)
            value = write(units)
            writes = None if value is None else {self.site: value}
            output = self.subject.run(held, write=writes).output
            found[at] = self._metric(output, held, units)
        return found

    def values(self, level: int) -> Array:
        """Metric without intervention, (n,)."""
        return self._each(level, None, lambda units: None)

    def swapped(self, level: int) -> Array:
        """Metric with the site as under the other input, (n,)."""

        def other(units: Ints) -> Any:
            held = self.pairs.batch(units.tolist(), 1 - level)
            return self.subject.run(held, read=[self.site]).values[self.site]

        return self._each(level, None, other)

    def activations(self, level: int) -> list[Array]:
        """Rows (k, d) of every input."""
        found: list[Array] = [np.empty(0)] * len(self.pairs)
        for rows in self.pairs.groups(np.arange(len(self.pairs)), 64):
            held = self.pairs.batch(rows.tolist(), level)
            states = self.subject.run(held, read=[self.site]).values[self.site]
            for row, one in zip(rows.tolist(), _flat(states), strict=True):
                found[row] = one
        return found

    def erased(self, level: int, change: Callable[[Any], Any], rows: Ints) -> Array:
        """Metric with the concept erased, (len(rows),)."""
        t = torch()

        def write(hidden: Any) -> Any:
            flat = hidden.double().reshape(-1, hidden.shape[-1]).cpu().numpy()
            new = t.from_numpy(np.ascontiguousarray(change(flat)))
            return new.to(hidden).reshape(hidden.shape)

        return self._each(level, rows, lambda units: write)


def _flat(states: Any) -> list[Array]:
    if states.ndim not in (2, 3):
        raise DesignError(
            f"a concept is erased among features (B, d) or tokens (B, k, d), not {states.ndim} axes"
        )
    held = states.double().cpu().numpy()
    return [one.reshape(-1, one.shape[-1]) for one in held]
