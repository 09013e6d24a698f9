"""What linear probes read from activations along token positions, beside what they could learn."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.options import check_whole
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.internals.curves import drawn
from crossworld.internals.pairs import Pairs
from crossworld.internals.rates import codes, paired_difference, rate, tabled
from crossworld.internals.site import Site, sites
from crossworld.internals.subject import TorchSubject

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Probing:
    """How probes are fitted.

    Parameters
    ----------
    folds
        Every input is judged by a probe that did not see it, nor its cluster, nor an equal input.
    penalty
        Inverse strength C of the quadratic penalty; activations are standardised.
    level
        Probability with which all intervals of a result hold.
    seed
        Seed of folds and control labels.
    """

    folds: int = 5
    penalty: float = 1.0
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("folds", self.folds, 2)
        if not self.penalty > 0.0:
            raise SpecError(f"penalty is above 0, got {self.penalty!r}")


def probe(
    subject: TorchSubject,
    inputs: Sequence[Any],
    *,
    labels: Sequence[Any],
    sites: Sequence[str | Site],
    cluster: Sequence[Hashable] | None = None,
    options: Probing | None = None,
) -> EffectTable:
    r"""Accuracy of cross-fitted logistic probes at sites, such as every token position.

    Parameters
    ----------
    subject
        The network.
    inputs
        Token ids, texts or arrays.
    labels
        What is to be read, one value per input.
    sites
        Sites or patterns (``"layers.3.resid @ *"`` for every position of inputs of one length).
    cluster
        Labels of inputs that are not independent; a cluster is never split over folds.
    options
        How probes are fitted.

    Returns
    -------
    EffectTable
        For each site ``accuracy[site]``; ``control[site]``, the accuracy for labels that were drawn
        at random for each kind of input; ``selectivity[site]``, their difference; and ``majority``,
        the share of the most frequent label. Shares have exact intervals, selectivity paired ones
        (Bonett-Price, or t over clusters); all hold at once (Sidak).

    Notes
    -----
    Control labels have the frequencies of the real ones. They belong to the token at the site's
    position where at least four different tokens stand there, else to the whole input: what the
    probe reads of them it has memorised. Intervals are of the inputs, given the fitted probes.
    A probe shows what can be read, not what the network uses: see `steer` and interchanges.

    References
    ----------
    Hewitt & Liang (2019). Designing and interpreting probes with control tasks. EMNLP.
    """
    chosen = Probing() if options is None else options
    held = Pairs.of([(one, one) for one in inputs], subject.tokenizer)
    given = np.asarray(labels)
    if given.shape != (len(held),):
        raise DesignError(f"there are {len(held)} inputs and labels of shape {given.shape}")
    classes, y = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise DesignError(f"the label has one value, {classes[0]!r}; a probe needs two or more")
    group = codes(list(cluster)) if cluster is not None else None
    places = subject.sites(*_asked(sites), length=held.length())
    states = activations(subject, held, places)
    kinds = _kinds(held)
    fold = _folds(group if group is not None else kinds, chosen)
    family = 3 * len(places) + 1
    how: dict[str, Any] = {"cluster": group, "level": chosen.level, "family": family}
    share = (y == np.bincount(y).argmax()).astype(np.float64)
    rows = [rate("majority", share, **how)]
    for site in places:
        control = _control(y, _tokens(held, site, kinds), chosen.seed)
        hits = [cross_fitted(states[site], goal, fold, chosen) for goal in (y, control)]
        rows.append(rate(f"accuracy[{site}]", hits[0], **how))
        rows.append(rate(f"control[{site}]", hits[1], **how))
        rows.append(paired_difference(f"selectivity[{site}]", *hits, **how))
    heading = f"logistic probes of {len(classes)} classes at {len(places)} sites"
    table = tabled(rows, heading, units=(len(held), group), level=chosen.level, family=family)
    return _along_positions(table, places)


def _along_positions(table: EffectTable, places: Sequence[Site]) -> EffectTable:
    """Draw accuracy and control along the numbered positions of each part."""
    for where in dict.fromkeys(site.where for site in places):
        numbered = [
            (float(site.position or 0), str(site)) for site in places
            if site.where == where and (site.position or "x").lstrip("-").isdigit()
        ]  # fmt: skip
        lines = {
            name: [(x, f"{name}[{site}]") for x, site in numbered]
            for name in ("accuracy", "control")
        }
        table = drawn(
            table, lines, names=("position", "share read rightly"), title=f"probes at {where}"
        )
    return table


def activations(subject: TorchSubject, held: Pairs, places: Sequence[Site]) -> Mapping[Site, Array]:
    """Activations of every input at each site, flattened to (n, d)."""
    found: dict[Site, list[Any]] = {site: [None] * len(held) for site in places}
    for rows in held.groups(np.arange(len(held)), 64):
        run = subject.run(held.batch(rows.tolist(), 0), read=places)
        for site in places:
            flat = run.values[site].double().reshape(len(rows), -1).cpu().numpy()
            for row, one in zip(rows.tolist(), flat, strict=True):
                found[site][row] = one
    for site, rows_of in found.items():
        if len({len(one) for one in rows_of}) > 1:
            raise DesignError(
                f"{site} has activations of unequal size; name a position, such as -1"
            )
    return {site: np.stack(rows_of) for site, rows_of in found.items()}


def cross_fitted(x: Array, y: Ints, fold: Ints, options: Probing) -> Array:
    """Whether each row is classified rightly by a probe fitted without its fold, (n,)."""
    from sklearn.linear_model import LogisticRegression

    hits = np.zeros(len(y))
    for k in np.unique(fold):
        rest, here = fold != k, fold == k
        seen = np.unique(y[rest])
        if len(seen) == 1:
            hits[here] = y[here] == seen[0]
            continue
        centre, scale = x[rest].mean(axis=0), x[rest].std(axis=0)
        scale = np.where(scale > 1e-9 * max(float(np.abs(x[rest]).max()), 1e-300), scale, np.inf)
        fitted = LogisticRegression(C=options.penalty, max_iter=2000, tol=1e-4)
        fitted.fit((x[rest] - centre) / scale, y[rest])
        hits[here] = fitted.predict((x[here] - centre) / scale) == y[here]
    return hits


def _asked(given: Sequence[str | Site]) -> tuple[Site, ...]:
    return sites(given) if isinstance(given, str | Site) else sites(*given)


def _folds(group: Ints | Codes, options: Probing) -> Ints:
    groups = int(group.max()) + 1
    if groups < options.folds:
        raise DesignError(
            f"{groups} different inputs (or clusters) cannot be split into {options.folds} folds"
        )
    order = np.random.default_rng(options.seed).permutation(groups)
    return np.asarray((order % options.folds)[group], dtype=np.int64)


def _kinds(held: Pairs) -> Ints:
    """Code of each distinct input."""
    order: dict[Any, int] = {}
    found = []
    for one in held.clean:
        parts = one.values() if isinstance(one, Mapping) else [one]
        name = tuple((np.shape(p), np.asarray(p).tobytes()) for p in parts)
        found.append(order.setdefault(name, len(order)))
    return np.array(found, dtype=np.int64)


def _tokens(held: Pairs, site: Site, kinds: Ints) -> Ints:
    """Kind of each input at a site: the token there, or the whole input."""
    if site.position is None or held.length() is None:
        return kinds
    first = held.batch(list(range(len(held))), 0)
    at = first.positions(site.position)
    ids = first.inputs["input_ids"] if isinstance(first.inputs, Mapping) else first.inputs
    if at is None or at.shape[1] != 1 or ids.ndim != 2:
        return kinds
    token = ids.cpu().numpy()[np.arange(len(held)), at[:, 0]]
    found = np.unique(token, return_inverse=True)[1]
    return np.asarray(found if found.max() >= 3 else kinds, dtype=np.int64)


def _control(y: Ints, kinds: Ints, seed: int) -> Ints:
    """Random labels, one for each kind, with the frequencies of the real ones."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))
    return np.asarray(rng.choice(y, size=int(kinds.max()) + 1)[kinds], dtype=np.int64)
