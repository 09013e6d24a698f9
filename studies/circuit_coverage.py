"""Coverage of the intervals of circuits, over random samples of prompt pairs.

    python studies/circuit_coverage.py [--replicates 1000] [--out studies/circuit_coverage.csv]

A network and its circuits are fixed and pairs are the sample, so the target is what the whole
population of 4,000 pairs gives. Every circuit runs once on every pair; a sample takes its rows of
these values, and `Circuit.faithfulness`, `circuit_curve` and the others do with them what they do
with values of their own. Circuits were found on 40 other pairs. Six populations:

``random``
    A random GPT-2 with enlarged weights, as in docs/circuits.md. Its circuit of 14 of 110 edges
    (the 19 largest, pruned) does 0.993 of what the network does, and larger ones are as near to 1.
``one``
    The same with every circuit's values moved by a multiple of the whole effect so that all
    faithfulnesses are exactly 1: the hardest case for ``cmd``, which is 0 there.
``templates``
    The pairs of ``random``, which come in fours that share six of eight tokens, both of those
    that differ between the inputs among them; templates are drawn, and are the clusters.
``weak``
    The pairs of ``random`` with answer and wrong answer exchanged in 36 % of them, so that the
    whole effect is hard to tell from 0 with 25 pairs and quotients have unbounded sets.
``names``
    The trained indirect-object network and held-out prompts; a circuit of 5 of 46 edges that does
    0.28 of the task, and a curve that is clearly below 1 before it comes near.
``mean``
    As ``random``, with cut edges at the mean over pairs (``source="mean"``). The mean is that of
    the pairs measured, so the network runs in every replicate.

Pairs are drawn with replacement and count as independent. Each row is a quantity: the share of
samples whose 95 % interval covers the truth with its Monte-Carlo error, the share of unbounded
sets (which cover what Fieller's test does not reject), the mean and median width of the others,
the bias, the standard error reported beside the true one. Rows called ``all at once`` are the share
of samples in which a band (`Multiplier`) covers everything in its table. There are two curves, one
over fractions from 0.1 and a ``fine`` one from 0.5 in steps of 0.1; ``cmd, signs as found`` is the
interval that takes the signs of 1 - f from the sample. ``selectivity`` compares the metric with the
probability of the answer on as many other pairs, or on 400 in ``(25, 400)``.
Finished designs are kept, so the study can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from resumed import add, started

from crossworld.core.analysis import contrast
from crossworld.core.expression import Y
from crossworld.core.scores import Scores
from crossworld.core.student import critical
from crossworld.core.table import EffectTable
from crossworld.datasets.networks import train_ioi
from crossworld.errors import CrossworldWarning
from crossworld.infer.multiplier import Multiplier
from crossworld.internals.circuit import Circuit
from crossworld.internals.circuits import (
    EMPTY,
    MODEL,
    CircuitRun,
    circuit_curve,
    completeness,
    faithfulness,
    minimality,
)
from crossworld.internals.edges import EdgeAttribution
from crossworld.internals.edgescores import EdgeScores
from crossworld.internals.overlap import CircuitTask, selectivity
from crossworld.internals.study import PatchStudy
from crossworld.internals.subject import TorchSubject

FIELDS = (
    "population", "pairs", "clusters", "term", "truth", "coverage", "mc_error", "unbounded",
    "width", "median_width", "bias", "std_error", "true_error", "replicates",
)  # fmt: skip
POPULATION, FINDING, EACH = 4000, 40, 4
EXCHANGED = 0.36  # share of pairs of ``weak`` whose answers are exchanged
FRACTIONS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
FINE = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BAND, OLD = "all at once", "cmd, signs as found"


@dataclass(frozen=True, slots=True)
class Design:
    """A population, and how many independent units are drawn from it."""

    population: str
    size: int

    @property
    def clustered(self) -> bool:
        """Whether the units come in clusters."""
        return self.population == "templates"

    @property
    def key(self) -> tuple[str, str, str]:
        """How the design is told in the table."""
        pairs = self.size * EACH if self.clustered else self.size
        return self.population, str(pairs), str(self.size)

    def draw(self, rng: np.random.Generator) -> tuple[Any, Any]:
        """Draw rows of the population with replacement, and codes of what is independent."""
        if not self.clustered:
            return rng.integers(POPULATION, size=self.size), np.arange(self.size)
        chosen = rng.integers(POPULATION // EACH, size=self.size)
        rows = (chosen[:, None] * EACH + np.arange(EACH)).ravel()
        return rows, np.repeat(np.arange(self.size), EACH)


DESIGNS = (
    *(Design("random", n) for n in (25, 100, 400)),
    *(Design("one", n) for n in (25, 100, 400)),
    *(Design("templates", n) for n in (15, 30, 100)),
    *(Design("weak", n) for n in (25, 100, 400)),
    *(Design("names", n) for n in (25, 100, 400)),
    *(Design("mean", n) for n in (25, 100)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """Values of circuits on every pair, run when they are first asked for."""

    study: PatchStudy
    sign: Any = None
    moved: bool = False
    held: dict[bytes, Any] = field(default_factory=dict)

    def values(self, circuits: Mapping[str, Circuit], rows: Any) -> Any:
        """All edges, none, and each circuit: (rows, 2 + circuits)."""
        some = next(iter(circuits.values()))
        whole = replace(some, kept=some.allowed)
        every = {MODEL: whole, EMPTY: whole.complement(), **circuits}
        keys = [np.asarray(c.kept, dtype=bool).tobytes() for c in every.values()]
        new = {k: c for k, c in zip(keys, every.values(), strict=True) if k not in self.held}
        if new:
            asked = {str(j): c for j, c in enumerate(new.values())}
            run = CircuitRun(batch_size=200).scores(self.study, asked).values[:, 2:]
            run = run if self.sign is None else run * self.sign[:, None]
            self.held.update(zip(new, run.T, strict=True))
        if new and self.moved:
            model, empty = self.held[keys[0]], self.held[keys[1]]
            for key in new.keys() - set(keys[:2]):
                share = (model - self.held[key]).mean() / (model - empty).mean()
                self.held[key] = self.held[key] + share * (model - empty)
        return np.column_stack([self.held[k][rows] for k in keys])


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows of a population, in the place of a study; all of them by default."""

    population: Population
    rows: Any = None
    cluster: Any = None


@dataclass(frozen=True, slots=True)
class Taken(CircuitRun):
    """Takes the values of a sample instead of running circuits."""

    def scores(self, study: Any, circuits: Mapping[str, Circuit]) -> Scores:
        """Return the rows of a sample."""
        rows = np.arange(POPULATION) if study.rows is None else study.rows
        names = (MODEL, EMPTY, *circuits)
        cluster = np.arange(len(rows)) if study.cluster is None else study.cluster
        return Scores(
            study.population.values(circuits, rows), tuple(Y(name) for name in names), cluster
        )


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A population with what was found beforehand."""

    first: Population
    second: Population
    scores: EdgeScores
    circuit: Circuit
    chance: float


def gpt2() -> Any:
    """Make the random network of docs/circuits.md."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=4, vocab_size=50, n_positions=16, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(4.0)
    return model


def token_pairs(model: Any) -> list[dict[str, Any]]:
    """Templates of six tokens; two differ between inputs, two more have four fillings."""
    import torch

    rng = np.random.default_rng(0)
    many = POPULATION + FINDING
    clean = np.repeat(rng.integers(0, 50, (many // EACH, 8)), EACH, axis=0)
    clean[:, [3, 5]] = rng.integers(0, 50, (many, 2))
    corrupt = clean.copy()
    corrupt[:, [2, 7]] = (clean[:, [2, 7]] + 25) % 50
    with torch.no_grad():
        right, wrong = (
            model(torch.as_tensor(x)).logits[:, -1].argmax(-1).numpy() for x in (clean, corrupt)
        )
    wrong = np.where(wrong == right, (right + 1) % 50, wrong)
    return [
        {"clean": a, "corrupt": b, "answer": int(p), "wrong": int(q)}
        for a, b, p, q in zip(clean, corrupt, right, wrong, strict=True)
    ]


def setting(name: str) -> Setting:
    """Make a network and pairs, and find a circuit on pairs outside the population."""
    if name == "names":
        net = train_ioi(n=POPULATION + FINDING)
        model, pairs, metric, size, chance = net.module, net.pairs, net.metric, 7, 1 / 21
        pairs = [{k: v for k, v in one.items() if k != "cluster"} for one in pairs]
    else:
        model = gpt2()
        pairs, metric, size, chance = token_pairs(model), "logit_difference", 19, 1 / 50
    subject = TorchSubject(model)
    study = PatchStudy(subject, pairs[:POPULATION], metric)
    scores = EdgeAttribution("ig-inputs", check=0).scores(
        PatchStudy(subject, pairs[POPULATION:], metric)
    )
    sign = None
    if name == "weak":
        sign = np.where(np.random.default_rng(1).random(POPULATION) < EXCHANGED, -1.0, 1.0)
    if name == "mean":
        study = replace(study, source="mean")
    second = PatchStudy(subject, pairs[:POPULATION], "probability")
    circuit = Circuit.top(scores, size)
    return Setting(
        Population(study, sign, name == "one"), Population(second), scores, circuit, chance
    )


def tables(held: Setting, one: Sample, others: Mapping[str, Sample], seed: int) -> dict[str, Any]:
    """Everything that circuits are measured by."""
    plain, band = Taken(), Taken(inference=Multiplier(draws=1000, seed=seed))
    study: Any = one
    circuit = held.circuit
    found: dict[str, Any] = {"faithfulness": faithfulness(study, circuit, how=plain)}
    for name, at in (("curve", FRACTIONS), ("fine curve", FINE)):
        found[name] = circuit_curve(study, held.scores, fractions=at, how=plain)
        found[f"{name}, band"] = circuit_curve(study, held.scores, fractions=at, how=band)
        (cmd,) = (e for e in found[name].estimands if e.name == "cmd")
        found[f"{name}, old"] = contrast(found[name].scores, [cmd.named(OLD)])
    if one.population.moved:
        return found
    found["completeness"] = completeness(study, circuit, sets=3, how=plain)
    found["minimality"] = minimality(study, circuit, how=plain)
    found["minimality, band"] = minimality(study, circuit, how=band)
    circuits = {"ours": circuit, "rest": circuit.complement()}
    for name, other in others.items():
        tasks: Any = {"metric": CircuitTask(study), "probability": CircuitTask(other, held.chance)}
        found[f"selectivity{name}"] = selectivity(circuits, tasks, how=plain)
    return found


def drawn(design: Design, held: Setting, seeds: list[int]) -> Iterator[dict[str, EffectTable]]:
    """Draw samples and measure circuits on them."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows, cluster = design.draw(rng)
        if design.population == "mean":
            yield {"faithfulness": faithfulness(held.first.study.take(rows), held.circuit)}
            continue
        others = {}
        if design.population not in ("weak", "one"):
            others[""] = Sample(held.second, *design.draw(rng))
        if others and not design.clustered and design.size == 25:
            rest = replace(design, size=400)
            others[" (25, 400)"] = Sample(held.second, *rest.draw(rng))
        yield tables(held, Sample(held.first, rows, cluster), others, seed)


def exact(design: Design, held: Setting) -> dict[str, EffectTable]:
    """Measure circuits on the whole population."""
    if design.population == "mean":
        run = CircuitRun(batch_size=200)
        return {"faithfulness": faithfulness(held.first.study, held.circuit, how=run)}
    others = {name: Sample(held.second) for name in ("", " (25, 400)")}
    return tables(held, Sample(held.first), others, 0)


def covers(table: EffectTable, term: str, truth: float) -> bool:
    """Whether a row's set holds the truth; one without limits by the test that it inverts."""
    row = table[term]
    if row.conf_low is not None and row.conf_high is not None:
        return row.conf_low <= truth <= row.conf_high
    if term == "cmd" or table.scores is None:
        return True  # every value
    (expr,) = (e.expr for e in table.estimands if e.name == term)
    above, below = (side.evaluate(table.scores.mean) for side in (expr.left, expr.right))
    gap = above - truth * below
    c = table.diagnostics.get("critical_value", critical(table.level, gap.df))
    return bool(abs(gap.value) <= c * gap.std_error)


class Count:
    """What is counted of one row over samples."""

    def __init__(self, truth: float) -> None:
        self.truth = truth
        self.kept: list[tuple[float, float, bool, float]] = []

    def add(self, table: EffectTable, term: str) -> bool:
        """Note one sample."""
        row = table[term]
        covered = covers(table, term, self.truth)
        low, high = row.conf_low, row.conf_high
        width = math.nan if low is None or high is None else high - low
        value = math.nan if row.estimate is None else row.estimate
        self.kept.append((value, row.std_error or 0.0, covered, width))
        return covered

    def row(self) -> list[str]:
        """Columns from the truth on."""
        values, errors, covered, widths = (
            np.array(v, dtype=float) for v in zip(*self.kept, strict=True)
        )
        open_ = np.isnan(widths)
        width = ["", ""]
        if not open_.all():
            width = [f"{f(widths[~open_]):.5f}" for f in (np.mean, np.median)]
        share = covered.mean()
        return [
            f"{self.truth:.6f}", f"{share:.4f}", _error(share, len(covered)), f"{open_.mean():.4f}",
            *width, f"{np.nanmean(values) - self.truth:+.5f}", f"{np.nanmean(errors):.5f}",
            f"{np.nanstd(values, ddof=1):.5f}",
        ]  # fmt: skip


def _error(share: float, many: int) -> str:
    return f"{math.sqrt(share * (1 - share) / many):.4f}"


def counted(
    design: Design,
    samples: Iterator[dict[str, EffectTable]],
    truths: Mapping[str, EffectTable],
) -> list[dict[str, object]]:
    """Count how often the intervals of the samples cover what varies in the population."""
    found: dict[str, Count] = {}
    bands: dict[str, list[bool]] = {}
    many = 0
    for tables_ in samples:
        many += 1
        for name, table in tables_.items():
            exactly = truths[name]
            covered = []
            for row in exactly:
                if not table[row.term].std_error:
                    continue  # the same in every pair
                suffix = name.removeprefix("selectivity") if "selectivity" in name else ""
                label = row.term + (", band" if name.endswith("band") else suffix)
                label += " (fine)" if name.startswith("fine") else ""
                count = found.setdefault(label, Count(row.estimate or 0.0))
                covered.append(count.add(table, row.term))
            if name.endswith("band"):
                bands.setdefault(name, []).append(all(covered))
    rows = [[label, *count.row()] for label, count in found.items()]
    for name, held in bands.items():
        share = float(np.mean(held))
        told = f"{name.removesuffix(', band')}, {BAND}"
        rows.append([told, "", f"{share:.4f}", _error(share, many), "", "", "", "", "", ""])
    return [dict(zip(FIELDS, (*design.key, *row, many), strict=True)) for row in rows]


def main() -> None:
    """Run every design that is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", CrossworldWarning)
    done = started(options.out, FIELDS)
    settings: dict[str, Setting] = {}
    for design in (d for d in DESIGNS if d.key not in done):
        name = "random" if design.clustered else design.population
        if name not in settings:
            settings[name] = setting(name)
        spawned = np.random.SeedSequence([11, DESIGNS.index(design)]).generate_state(
            options.replicates
        )
        held_out = settings[name]
        truths = exact(design, held_out)
        rows = counted(design, drawn(design, held_out, [int(s) for s in spawned]), truths)
        add(options.out, FIELDS, rows)


if __name__ == "__main__":
    main()
