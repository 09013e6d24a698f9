"""Coverage of intervals for effects inside networks, over random samples of prompts.

    python studies/patching_coverage.py [--replicates 1000] [--out studies/patching_coverage.csv]

A network is fixed and prompts are the sample, so the target is the mean over a population of prompt
pairs. Three populations:

``gaussian``
    `crossworld.datasets.networks.gaussian_relu`, whose population effects have a closed form;
    pairs are independent.
``templates``
    The same with four pairs of every template, which share half of the variance; the templates are
    the clusters.
``names``, ``name pairs``
    The trained indirect-object network and 4,000 pairs of held-out prompts. Their effects were
    computed by patching every one of them, so the truth is exact; a sample draws prompts with
    replacement, or names with four prompts each, the names being the clusters. The effects are
    those of every head and MLP alone.

In the first two populations every replicate runs the network (`Patch`). Each row is an effect: the
share of samples whose 95 % interval covers the truth (Wald; pairs are clusters, so t quantiles)
with its Monte-Carlo error, the bias, the standard error reported beside the true one. Rows called
``all at once`` are the share of samples in which the simultaneous band (`Multiplier`) covers every
effect.
Finished designs are kept, so the study can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from resumed import add, started

from crossworld.core.analysis import contrast
from crossworld.core.effects import INT_MED, NDE, NIE, PNIE, TE
from crossworld.core.estimand import Estimand
from crossworld.core.expression import Y
from crossworld.core.scores import Scores
from crossworld.datasets.networks import gaussian_relu, train_ioi
from crossworld.errors import CrossworldWarning
from crossworld.infer.multiplier import Multiplier
from crossworld.internals.patch import Patch
from crossworld.internals.study import PatchStudy
from crossworld.internals.subject import TorchSubject

FIELDS = (
    "population", "units", "clusters", "effect", "truth", "coverage", "mc_error", "bias",
    "std_error", "true_error", "replicates",
)  # fmt: skip
EFFECTS = (TE, NDE, NIE, PNIE, INT_MED)
EACH = 4  # prompts of one template or pair of names
POPULATION = 4000
SITES = ("layers.*.heads.*", "layers.*.mlp")
BAND = "all at once"


@dataclass(frozen=True, slots=True)
class Design:
    """A population, and how many independent units are drawn from it."""

    population: str
    size: int

    @property
    def clustered(self) -> bool:
        """Whether the units come in clusters."""
        return self.population in ("templates", "name pairs")

    @property
    def key(self) -> tuple[str, str, str]:
        """How the design is told in the table."""
        rows = self.size * EACH if self.clustered else self.size
        return self.population, str(rows), str(self.size if self.clustered else rows)


DESIGNS = (
    *(Design("gaussian", n) for n in (25, 100, 400)),
    *(Design("templates", n) for n in (15, 30, 100)),
    *(Design("names", n) for n in (25, 100, 400)),
    *(Design("name pairs", n) for n in (15, 30, 100)),
)


def patched(study: PatchStudy, asked: tuple[Estimand, ...]) -> Scores:
    """Run every cell that the questions need."""
    cells = {cell: None for e in asked for cell in sorted(e.cells(), key=str)}
    return Patch().scores(study, tuple(cells))


def gaussian(design: Design, seeds: list[int]) -> Iterator[Scores]:
    """Fresh pairs of the network with a closed form."""
    asked = tuple(e.bind((("mediator",),)) for e in EFFECTS)
    for seed in seeds:
        n = design.size * EACH if design.clustered else design.size
        known = gaussian_relu(n=n, templates=design.size if design.clustered else None, seed=seed)
        study = PatchStudy(
            TorchSubject(known.module), known.pairs, known.metric, sites=["mediator"]
        )
        yield patched(study, asked)


def names() -> tuple[Scores, tuple[Estimand, ...], np.ndarray]:
    """Patch the whole population once: scores, questions, and codes of unordered pairs of names."""
    net = train_ioi(n=POPULATION)
    study = PatchStudy(TorchSubject(net.module), net.pairs, net.metric, sites=SITES)
    places = [name for block in study.blocks for name in block]
    asked = (
        TE,
        *(Estimand(f"pnie[{place}]", Y(0, **{place: 1}) - Y(0)) for place in places),
    )
    pair = np.sort(net.clean.numpy()[:, [1, 3]], axis=1)
    return patched(study, asked), asked, np.unique(pair, axis=0, return_inverse=True)[1].ravel()


def resampled(
    design: Design, held: Scores, codes: np.ndarray, seeds: list[int]
) -> Iterator[Scores]:
    """Samples of the population with replacement; with clusters, names first, then prompts.

    Names are drawn in proportion to their prompts, so that every prompt has the same chance.
    """
    members = [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if design.clustered:
            chosen = codes[rng.integers(len(codes), size=design.size)]
            rows = np.concatenate([rng.choice(members[c], size=EACH) for c in chosen])
            cluster = np.repeat(np.arange(design.size), EACH)
        else:
            rows, cluster = rng.integers(len(codes), size=design.size), np.arange(design.size)
        yield Scores(held.values[rows], held.cells, cluster)


def table(
    design: Design, samples: Iterator[Scores], asked: tuple[Estimand, ...], truth: dict[str, float]
) -> list[dict[str, object]]:
    """Count how often the intervals of the samples cover."""
    found: dict[str, list[tuple[float, float, bool]]] = {e.name: [] for e in asked}
    bands = []
    for at, scores in enumerate(samples):
        for row in contrast(scores, asked):
            covers = row.conf_low <= truth[row.term] <= row.conf_high
            found[row.term].append((row.estimate, row.std_error, covers))
        band = contrast(scores, asked, inference=Multiplier(draws=1000, seed=at))
        bands.append(all(row.conf_low <= truth[row.term] <= row.conf_high for row in band))
    rows = []
    for name, kept in found.items():
        values, errors, covered = (np.array(v, dtype=float) for v in zip(*kept, strict=True))
        told = (values.mean() - truth[name], errors.mean(), values.std(ddof=1))
        rows.append([name, f"{truth[name]:.6f}", covered.mean(), *(f"{v:+.5f}" for v in told)])
    rows.append([BAND, "", float(np.mean(bands)), "", "", ""])
    many = len(bands)
    return [
        dict(
            zip(
                FIELDS,
                (*design.key, name, exact, f"{share:.4f}",
                 f"{math.sqrt(share * (1 - share) / many):.4f}", *rest, many),
                strict=True,
            )
        )
        for name, exact, share, *rest in rows
    ]  # fmt: skip


def main() -> None:
    """Run every design that is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", CrossworldWarning)
    done = started(options.out, FIELDS)
    todo = [d for d in DESIGNS if d.key not in done]
    population = names() if any(d.population.startswith("name") for d in todo) else None
    for design in todo:
        spawned = np.random.SeedSequence([7, DESIGNS.index(design)]).generate_state(
            options.replicates
        )
        seeds = [int(s) for s in spawned]
        asked: tuple[Estimand, ...]
        if design.population.startswith("name"):
            assert population is not None
            held, asked, codes = population
            truth = {row.term: row.estimate for row in contrast(held, asked)}
            samples = resampled(design, held, codes, seeds)
        else:
            asked = tuple(e.bind((("mediator",),)) for e in EFFECTS)
            truth = dict(gaussian_relu(n=2).facts)
            samples = gaussian(design, seeds)
        rows = table(design, samples, asked, truth)
        add(options.out, FIELDS, rows)


if __name__ == "__main__":
    main()
