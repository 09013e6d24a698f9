"""Pairs of a study in batches that run together, with everything a run of them needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crossworld.errors import DesignError
from crossworld.internals.inputs import Batch
from crossworld.internals.metrics import Rows, reads_last
from crossworld.internals.site import Site
from crossworld.internals.study import Ints, PatchStudy
from crossworld.internals.subject import TorchSubject
from crossworld.internals.wiring import Wiring, wire


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A few pairs of one shape, and one draw of the noise.

    Parameters
    ----------
    study
        The study.
    at
        Their positions in it.
    batches
        Inputs of every level.
    base
        Writes that make an input what it is (noise), by level.
    reference
        Final output under the clean input, where the metric compares with it.
    draw, draws
        Which draw of the noise, of how many.
    """

    study: PatchStudy
    at: Ints
    batches: Mapping[int, Batch]
    base: Mapping[int, Mapping[Site, Any]]
    reference: Any = None
    draw: int = 0
    draws: int = 1

    @property
    def network(self) -> TorchSubject:
        """The network as a torch module.

        Raises
        ------
        DesignError
            If the subject is of another kind.
        """
        if not isinstance(self.study.subject, TorchSubject):
            raise DesignError(
                "attribution differentiates a torch module: make the study with TorchSubject, got "
                f"a {type(self.study.subject).__name__}"
            )
        return self.study.subject

    @property
    def last(self) -> bool:
        """Whether logits of the last position are all that the metric needs."""
        return all(reads_last(self.study.metric, b) for b in self.batches.values())

    def score(self, output: Any, batch: Batch) -> Any:
        """Metric of an output, (B,)."""
        study = self.study
        assert study.units is not None
        units, pairs = study.units[self.at], study.pairs
        answer = None if pairs.answer is None else pairs.answer[units]
        wrong = None if pairs.wrong is None else pairs.wrong[units]
        final = study.metric.final(output, batch)
        return study.metric(final, Rows(answer, wrong, self.reference, units))


def frames(study: PatchStudy, size: int, *, levels: tuple[int, ...] = (0, 1)) -> Iterator[Frame]:
    """Yield the pairs of a study in batches.

    Parameters
    ----------
    study
        The study.
    size
        Most pairs that run together.
    levels
        Which inputs are needed.
    """
    assert study.units is not None
    draws = 1 if study.noise is None else study.noise.draws
    for at in study.pairs.groups(study.units, size):
        units = study.units[at]
        batches = {level: study.pairs.batch(units, level) for level in levels}
        base: dict[int, dict[Site, Any]] = {level: {} for level in levels}
        held = Frame(study, at, batches, base, draws=draws)
        reference = None
        if study.metric.name == "kl" or type(study.metric).__name__ == "Custom":
            clean = batches.get(0, study.pairs.batch(units, 0))
            run = study.subject.run(clean, last=held.last)
            reference = study.metric.final(run.output, clean)
        for draw in range(draws):
            made = dict(base)
            if study.noise is not None and 1 in batches:
                made[1] = study.noise.write(
                    study.subject, batches[1], units=units.tolist(), draw=draw
                )
            yield replace(held, base=made, reference=reference, draw=draw)


def wiring_of(frame: Frame) -> Wiring:
    """Graph of the network, read off a run of one pair."""
    study = frame.study
    assert study.units is not None
    return wire(study.subject, study.pairs.batch(study.units[frame.at[:1]], 0))


def check_aligned(frame: Frame) -> None:
    """Refuse pairs whose inputs are not equally long: their positions do not correspond.

    Raises
    ------
    DesignError
        If the inputs of a pair differ in length.
    """
    one, two = frame.batches.get(0), frame.batches.get(1)
    if one is None or two is None or one.count is None or two.count is None:
        return
    assert frame.study.units is not None
    bad = np.asarray(one.count != two.count)
    first = [np.asarray(b.first) for b in (one, two)]
    if bad.any() or one.length != two.length or not np.array_equal(first[0], first[1]):
        at = int(np.flatnonzero(bad)[0]) if bad.any() else 0
        raise DesignError(
            f"the inputs of pair {int(frame.study.units[frame.at[at]])} have {int(one.count[at])} "
            f"and {int(two.count[at])} tokens, or pads on different sides; edges carry every "
            "position, so both inputs of a pair must be equally long"
        )
