"""Why patched cells identify an effect: they were run. What is left to assume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossworld.core.identification import Assumption, Identification

if TYPE_CHECKING:
    from crossworld.internals.study import Forced

FORMULA = (
    r"E[Y(a, M(b))] = \frac{1}{n} \sum_{i=1}^{n} "
    r"y\bigl(f(x_i^{(a)}; \mathrm{do}(z_s = z_s(x_i^{(b)}), s \in S))\bigr)"
)


def licence(forced: Sequence[Forced], *, noised: bool) -> Identification:
    """Identification by experiment, with the assumptions that the cells asked for need."""
    kinds = {source.kind for one in forced for _, source in one.writes}
    assumptions = [_run(), _population(noised)]
    if "level" in kinds:
        assumptions.append(_on_support())
    other = sorted(kinds - {"level"})
    if other:
        assumptions.append(_intervention(other))
    return Identification(True, "experiment", assumptions=tuple(assumptions), formula=FORMULA)


def _run() -> Assumption:
    return Assumption(
        "cells are run",
        "the network is deterministic and its activations are set exactly where the sites say, so "
        "every cross-world cell is a forward pass and nothing is confounded",
        testable=True,
        decided_by="setting a site to what it holds changes nothing; setting it to something else "
        "changes the output of every site here, which was checked",
    )


def _population(noised: bool) -> Assumption:
    how = " and the noise is the one described" if noised else ""
    return Assumption(
        "pairs are a sample",
        "the pairs of inputs are a random sample of those the result is about, independent "
        f"between clusters{how}; the corrupt input differs from the clean one only in what the "
        "question is about",
        decided_by="other templates: declare them as clusters, and compare the answers",
    )


def _on_support() -> Assumption:
    return Assumption(
        "combinations make sense",
        "an activation of one input inside the run of another is a state the rest of the network "
        "can read as it reads its own; far from such states effects may be artefacts",
        testable=True,
        decided_by="compare the patched activations with natural ones; for subspaces, the "
        "subspace-illusion diagnostic",
    )


def _intervention(kinds: Sequence[str]) -> Assumption:
    return Assumption(
        "a chosen intervention",
        f"the site is set by {', '.join(kinds)}, not to what it holds under the other input, so "
        "the contrast is the effect of that intervention and not a natural indirect effect",
        decided_by="ask for M(0) or M(1) to have the natural one",
    )
