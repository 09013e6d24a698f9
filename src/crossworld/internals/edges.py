"""Edge attribution: how much every edge of a network carries, approximately and at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from crossworld.core.options import check_whole_fields
from crossworld.core.protocols import Progress
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.internals.agreement import agreement, drawn
from crossworld.internals.backend import torch
from crossworld.internals.eap import accumulate, bounds, contributions, mask, products, spans
from crossworld.internals.edgescores import EdgeScores
from crossworld.internals.exact import edge_effects
from crossworld.internals.frames import Frame, check_aligned, frames, wiring_of
from crossworld.internals.study import PatchStudy
from crossworld.internals.tape import ENTRY, Slopes, Tape, sloped, tape, written
from crossworld.internals.wiring import Wiring

METHODS = ("eap", "ig-inputs", "ig-activations", "ig-pooled", "clean-corrupt")
RULES = ("published", "midpoint")
Tensor = Any


@final
@dataclass(frozen=True, slots=True)
class EdgeAttribution:
    r"""Approximate effects of all edges, from a few passes.

    An edge leads from a sender (the input of the stream, a head, an MLP) to a reader (query, key
    or value input of a head, an MLP, the logits) behind it. Its effect is what the metric changes
    when the reader alone sees the sender's other value. To first order it is

    .. math:: I_{u \to v} \approx \sum_t (c_u' - c_u)_t \cdot
              \frac{\partial y}{\partial \mathrm{in}_v}\Big|_t

    with :math:`c_u` what the sender adds to the stream under the clean input and :math:`c_u'` its
    other value. Behind a norm after attention (Gemma 2, OLMo 2) it is the normed share.

    ``eap`` takes the slope at the clean input. ``clean-corrupt`` averages it with the slope at the
    corrupt one. ``ig-inputs`` averages it over runs whose stream starts between corrupt and clean
    input. ``ig-activations`` averages over runs in which the sender's part (all heads of a block
    together) lies between its two values, so that all edges out of a block's heads, or out of an
    MLP, sum to its exact effect as steps grow; ``ig-pooled`` uses the average over all parts for
    every edge, as the reference package does.

    Parameters
    ----------
    method
        One of the above.
    steps
        Steps of the integrated gradients.
    rule
        ``published``: left end points from the corrupt input (``ig-inputs``), right ones
        (``ig-activations``), as in the papers' code. ``midpoint`` has a smaller error.
    positions
        Keep the scores of every position of the reader.
    batch_size
        Pairs that run together.
    memory
        Megabytes that what senders write may take at once.
    check
        How many edges, half drawn at random and half the largest, are compared with exact patching
        on the first batch of pairs; 0 for none.
    seed
        Seed of that draw.

    Raises
    ------
    DesignError
        If the network has no residual stream, or the inputs of a pair differ in length.

    References
    ----------
    Syed, Rager and Conmy (2023). Attribution patching outperforms automated circuit discovery.
    Hanna, Pezzelle and Belinkov (2024). Have faith in faithfulness.

    Examples
    --------
    >>> EdgeAttribution("ig-inputs", steps=5).method
    'ig-inputs'
    """

    method: Literal["eap", "ig-inputs", "ig-activations", "ig-pooled", "clean-corrupt"] = "eap"
    steps: int = 5
    rule: Literal["published", "midpoint"] = "published"
    positions: bool = False
    batch_size: int = 8
    memory: int = 512
    check: int = 16
    seed: int = 0
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SpecError.unknown("method of EdgeAttribution", str(self.method), METHODS)
        if self.rule not in RULES:
            raise SpecError.unknown("rule of EdgeAttribution", str(self.rule), RULES)
        least = {"steps": 1, "batch_size": 1, "memory": 1, "check": 0, "seed": 0}
        check_whole_fields(self, least)

    def scores(self, study: PatchStudy) -> EdgeScores:
        """Score every edge for every pair.

        Parameters
        ----------
        study
            Pairs, metric and network; its sites are not used. ``source`` may be ``other``,
            ``zero`` or ``mean``.
        """
        check_source(study)
        if self.method == "ig-inputs" and study.source == "zero":
            raise DesignError(
                "ig-inputs starts the stream between its other and its clean value, and an empty "
                "stream has no norm; use eap or ig-activations with source='zero'"
            )
        reference = Reference(study, self.batch_size)
        wiring: Wiring | None = None
        values: Any = None
        ends = np.full((len(study), 2), np.nan)
        for done, frame in enumerate(frames(study, self.batch_size), start=1):
            check_aligned(frame)
            wiring = wiring_of(frame) if wiring is None else wiring
            found, clean = self._frame(frame, wiring, reference)
            if values is None:
                values = np.zeros((len(study), *found.shape[1:]), dtype=np.float32)
            if found.shape[1:] != values.shape[1:]:
                raise DesignError("scores by position need inputs of one length; group the pairs")
            values[frame.at] += found / frame.draws
            ends[frame.at, 0] = clean
            if self.progress is not None:
                self.progress(done * self.batch_size, len(study) * frame.draws)
        assert wiring is not None
        if not np.isfinite(values).all():
            raise EstimationError("the scores of some edges are not finite; look at the metric")
        scores = EdgeScores(
            wiring.senders, wiring.readers, values, ends[:, 0], study.clusters(), str(self.method)
        )
        return self._compared(study, wiring, reference, scores)

    def _frame(self, frame: Frame, wiring: Wiring, reference: Reference) -> tuple[Any, Any]:
        """Scores (b, s, r) of a frame's pairs, and their metric under the clean input."""
        subject, clean = frame.network, frame.batches[0]
        other = reference.tape(frame, wiring)
        run = _Run(frame, wiring, self)
        slopes, own = run.slopes(clean, frame.base[0])
        shape: tuple[int, ...] = (clean.size, len(wiring.senders), len(wiring.readers))
        if self.positions:
            shape = (clean.size, int(own.entry.shape[1]), *shape[1:])
        into = torch().zeros(shape, dtype=own.entry.dtype, device=own.entry.device)
        differences = other - own
        if self.method == "ig-activations":
            run.one_by_one(own, other, into)
        else:
            held = _Held(subject, wiring, differences, self.memory * 2**20)
            count = 0
            for slope in run.path(slopes, own, other):
                held.add(slope, into)
                count += 1
            into /= count
        into *= mask(wiring).to(into)
        return into.double().cpu().numpy(), slopes.value.double().cpu().numpy()

    def _compared(
        self, study: PatchStudy, wiring: Wiring, reference: Reference, scores: EdgeScores
    ) -> EdgeScores:
        """Add how far the scores are from exact patching."""
        if self.check == 0:
            return scores
        edges = scores.edges
        frame = next(iter(frames(study, self.batch_size)))
        mean = scores.total[frame.at].mean(axis=0)[scores.allowed]
        some = drawn(len(edges), (self.check + 1) // 2, self.seed)
        large = np.sort(np.argsort(-np.abs(mean), kind="stable")[: self.check // 2])
        at = np.unique(np.concatenate([some, large]))
        asked = [edges[i] for i in at]
        exact = edge_effects(frame, wiring, reference.tape(frame, wiring), asked).mean(axis=0)
        found = dict(zip(at.tolist(), exact, strict=True))
        told = {
            name: agreement(
                [str(edges[i]) for i in index], mean[index],
                np.array([found[int(i)] for i in index]), (len(edges), self.seed),
            )
            for name, index in (("random", some), ("largest", large)) if index.size
        }  # fmt: skip
        return scores.compared(told)


def check_source(study: PatchStudy) -> None:
    """Refuse what edges cannot be set to."""
    if study.source not in ("other", "zero", "mean"):
        raise DesignError(
            f"edges carry their sender's other, zero or mean value, not {study.source!r}; make the "
            "study with source='other'"
        )


class Reference:
    """What senders write instead: under the other input, nothing, or the mean over pairs."""

    def __init__(self, study: PatchStudy, size: int, level: int = 1) -> None:
        self.study, self.size, self.level = study, size, level
        self._mean: Tape | None = None

    def tape(self, frame: Frame, wiring: Wiring) -> Tape:
        """For the pairs of a frame."""
        if self.study.source == "other":
            return self.other(frame, wiring, self.level)
        if self.study.source == "zero":
            own = self.other(frame, wiring, 0)
            return own - own
        if self._mean is None:
            self._mean = self._average(wiring)
        held = self._mean
        if held.entry.shape[1] != frame.batches[0].length:
            raise DesignError("the mean over pairs needs inputs of one length")
        size = frame.batches[0].size
        return held.rows(np.zeros(size, dtype=np.int64))

    @staticmethod
    def other(frame: Frame, wiring: Wiring, level: int) -> Tape:
        """What senders write under the input of a level."""
        batch, base = frame.batches[level], frame.base[level]
        run = frame.study.subject.run(batch, read=written(wiring), write=base, last=True)
        return tape(wiring, run.values)

    def _average(self, wiring: Wiring) -> Tape:
        total: Tape | None = None
        count = 0
        for frame in frames(self.study, self.size):
            one = self.other(frame, wiring, self.level if 1 in frame.batches else 0)
            if total is not None and one.entry.shape[1:] != total.entry.shape[1:]:
                raise DesignError("the mean over pairs needs inputs of one length")
            summed = one.sum()
            total = summed if total is None else total + summed
            count += frame.batches[0].size
        assert total is not None
        return total.scaled(1.0 / count)


class _Held:
    """Contributions of all senders, kept over steps where they fit, else made again."""

    def __init__(self, subject: Any, wiring: Wiring, differences: Tape, budget: int) -> None:
        self.subject, self.wiring = subject, wiring
        self.differences, self.budget = differences, budget
        shape = tuple(differences.entry.shape)
        self.blocks = list(spans(wiring, shape, budget, differences.entry.element_size()))
        self.made: Tensor = None
        if len(self.blocks) == 1:
            self.made = contributions(subject, wiring, differences, self.blocks[0][1])

    def add(self, slopes: Slopes, into: Tensor) -> None:
        if self.made is None:
            accumulate(
                self.subject, self.wiring, self.differences, slopes, into, budget=self.budget
            )
            return
        part, layers = self.blocks[0]
        products(self.subject, self.wiring, (self.made, layers, part), slopes, into)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Passes with gradients of one frame."""

    frame: Frame
    wiring: Wiring
    how: EdgeAttribution

    def slopes(
        self, batch: Any, base: Mapping[Any, Any], write: Mapping[Any, Any] | None = None
    ) -> tuple[Slopes, Tape]:
        taps = {**base, **dict(write or {})}
        return sloped(
            self.frame.network, self.wiring, batch, self.frame.score,
            last=self.frame.last, write=taps,
        )  # fmt: skip

    def path(self, clean: Slopes, own: Tape, other: Tape) -> Iterator[Slopes]:
        """Slopes that are averaged."""
        frame, how = self.frame, self.how
        if how.method == "eap":
            yield clean
        elif how.method == "clean-corrupt":
            yield clean
            yield self.slopes(frame.batches[1], frame.base[1])[0]
        elif how.method == "ig-inputs":
            for share in self.shares(from_clean=False):
                entry = other.entry + share * (own.entry - other.entry)
                yield self.slopes(frame.batches[0], frame.base[0], {ENTRY: entry})[0]
        else:
            for site, one, two, _ in self.parts(own, other):
                for share in self.shares(from_clean=True):
                    mixed = two + share * (one - two)
                    yield self.slopes(frame.batches[0], frame.base[0], {site: mixed})[0]

    def shares(self, *, from_clean: bool) -> list[float]:
        """Shares of the clean value at which slopes are taken."""
        steps = self.how.steps
        if self.how.rule == "midpoint":
            return [(k + 0.5) / steps for k in range(steps)]
        return [k / steps for k in (range(1, steps + 1) if from_clean else range(steps))]

    def parts(
        self, own: Tape, other: Tape
    ) -> Iterator[tuple[Any, Tensor, Tensor, tuple[int, int]]]:
        """Sites that are interpolated one at a time, both values, and the senders they hold."""
        wiring, subject = self.wiring, self.frame.network
        yield ENTRY, own.entry, other.entry, (0, 1)
        for stage in wiring.stages:
            i = stage.index
            if stage.wrote is not None:
                first = wiring.heads_at[i]
                gap = contributions(subject, wiring, other - own, range(i, i + 1))
                at = first - bounds(wiring, range(i, i + 1))[0]
                change = gap[at : at + wiring.queries].sum(0)
                run = subject.run(
                    self.frame.batches[0], read=(stage.wrote,), write=self.frame.base[0], last=True
                )
                held = run.values[stage.wrote]
                yield stage.wrote, held, held + change, (first, first + wiring.queries)
            if stage.fed is not None:
                at = wiring.feeds_at[i]
                yield stage.fed, own.feeds[i], other.feeds[i], (at, at + 1)

    def one_by_one(self, own: Tape, other: Tape, into: Tensor) -> None:
        """Interpolate one part at a time; each counts for the edges out of itself."""
        subject, wiring = self.frame.network, self.wiring
        for site, one, two, (first, stop) in self.parts(own, other):
            layer = next((s.index for s in wiring.stages if site in (s.wrote, s.fed)), 0)
            layers = range(layer, layer + 1)
            made = contributions(subject, wiring, other - own, layers)
            scratch = torch().zeros_like(into)
            shares = self.shares(from_clean=True)
            for share in shares:
                slopes, _ = self.slopes(
                    self.frame.batches[0], self.frame.base[0], {site: two + share * (one - two)}
                )
                products(subject, wiring, (made, layers, slice(None)), slopes, scratch)
            into[..., first:stop, :] += scratch[..., first:stop, :] / len(shares)
