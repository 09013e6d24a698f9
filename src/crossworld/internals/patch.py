"""Every cell by running it: interchange interventions, averaged over pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from crossworld.core.expression import Cell
from crossworld.core.fits import Given
from crossworld.core.options import check_whole_fields
from crossworld.core.protocols import Fit, Progress
from crossworld.core.scores import Scores
from crossworld.errors import DesignError, EstimationError, SpecError
from crossworld.internals.backend import torch
from crossworld.internals.causality import is_causal, stays_in_place
from crossworld.internals.engine import Job, run_jobs
from crossworld.internals.inputs import Batch
from crossworld.internals.joined import natural as natural_run
from crossworld.internals.kept import Kept, asked
from crossworld.internals.metrics import Rows
from crossworld.internals.reach import check_reach
from crossworld.internals.site import Site, sites
from crossworld.internals.sources import Source, derangement, mean_of, value_of
from crossworld.internals.study import Forced, Ints, PatchStudy

FEW = 2  # cells that are not worth a recording

Others = Mapping[tuple[Site, Source], Any]


@dataclass(frozen=True, slots=True)
class Patch:
    r"""Exact interchange interventions.

    .. math:: \hat\theta_{a,b} = \frac1n \sum_i
              y\big(f(x_i^{(a)}; \mathrm{do}(z_S = z_S(x_i^{(b)})))\big)

    Cells that set one site alone, as in a sweep over layers and positions, share the part of the
    pass that the site cannot change: the layers below it and, in causal models, the positions
    before it. They are exact all the same.

    Parameters
    ----------
    hold
        Sites that keep, in every cell that crosses worlds, what they hold when the cell's own
        input runs by itself: severed paths, as in causal tracing.
    batch_size
        Pairs that run together.
    memory
        Megabytes that cells which share a pass may take at once: activations, attention scores and
        outputs. One cell of ``batch_size`` pairs always runs, whatever it takes.
    seed
        Seed of ``M("resample")``.
    check
        Make sure, on one pair, that setting each place changes the output.
    resume
        File (``.npz``) that keeps what has run, so that an interrupted run goes on where it
        stopped; it is removed when all is done.
    progress
        Called with (done, total) pairs.

    Raises
    ------
    DesignError
        If inputs of a pair differ in length where the site has no named position.
    EstimationError
        If setting a site changes nothing downstream, or the metric is not finite.
    """

    hold: tuple[str, ...] = ()
    batch_size: int = 32
    memory: int = 512
    seed: int = 0
    check: bool = True
    resume: str | None = None
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole_fields(self, {"batch_size": 1, "memory": 1})
        if isinstance(self.hold, str):
            raise SpecError(f"hold is a list of sites, got {self.hold!r}")
        object.__setattr__(self, "hold", tuple(self.hold))

    def portable(self) -> Patch:
        """Return the same in text and numbers alone."""
        return replace(self, progress=None, resume=None)

    def prepare(self, study: PatchStudy, cells: Sequence[Cell]) -> Fit:
        """Run every cell once; resampling reweights the pairs."""
        return Given(self.scores(study, cells))

    def scores(self, study: PatchStudy, cells: Sequence[Cell]) -> Scores:
        """Return the metric of every pair in every cell, averaged over draws of the noise."""
        forced = [study.forced(cell) for cell in cells]
        held = study.subject.sites(*sites(*self.hold), length=study.pairs.length()) \
            if self.hold else ()  # fmt: skip
        plan = _Plan(self, study, tuple(forced), held)
        draws = 1 if study.noise is None else study.noise.draws
        values = np.full((draws, len(study), len(cells)), np.nan)
        assert study.units is not None
        groups = list(study.pairs.groups(study.units, self.batch_size))
        kept = Kept.open(self.resume, asked(study, self, cells) if self.resume else (), values)
        if self.check and plan.sites:
            check_reach(study, plan.sites, int(study.units[groups[0][0]]))
        for group in groups:
            if not np.isnan(values[:, group]).any():
                continue
            for draw in range(draws):
                values[draw, group] = plan.run(group, draw, plan.others(group, draw))
                if self.progress is not None:
                    done = int((~np.isnan(values).any(axis=2)).sum())
                    self.progress(done, draws * len(study))
            _check_finite(values[:, group], cells, study, group)
            kept.save(values)
        kept.close()
        return Scores(
            values.mean(axis=0), tuple(cells), study.clusters(), diagnostics=_told(values, study)
        )


def _check_finite(values: Any, cells: Sequence[Cell], study: PatchStudy, group: Ints) -> None:
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        at, cell = np.argwhere(bad)[0]
        assert study.units is not None
        unit = int(study.units[group[at]])
        raise EstimationError(
            f"the metric {study.metric.name} of pair {unit} is not finite in {cells[cell]}"
        )


def _told(values: Any, study: PatchStudy) -> dict[str, Any]:
    """Diagnostics; with noise, the Monte Carlo covariance root of the cell means."""
    told: dict[str, Any] = {"patched": {"pairs": values.shape[1], "draws": values.shape[0]}}
    if values.shape[0] > 1:
        centred = values - values.mean(axis=0)
        draws, units, cells = values.shape
        factor = 1.0 / (units * np.sqrt(draws * (draws - 1)))
        flat = centred.reshape(draws * units, cells) * factor
        told["patched"]["draw_std_errors"] = np.sqrt((flat**2).sum(axis=0)).tolist()
        told["patched"]["draw_covariance"] = (flat.T @ flat).tolist()
    return told


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What has to run for some cells."""

    patch: Patch
    study: PatchStudy
    forced: tuple[Forced, ...]
    held: tuple[Site, ...]
    means: dict[tuple[Site, int, int], Any] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Sites that some cell sets."""
        found = [site for one in self.forced for site, _ in one.writes]
        return tuple(dict.fromkeys([*found, *(self.held if found else ())]))

    @property
    def levels(self) -> tuple[int, ...]:
        """Inputs that have to run by themselves."""
        needed = {one.level for one in self.forced}
        needed |= {s.level for one in self.forced for _, s in one.writes if _reads(s)}
        needed |= {0} if "reference" in self._uses else set()
        return tuple(sorted(needed))

    @property
    def _uses(self) -> tuple[str, ...]:
        return ("reference",) if self.study.metric.name == "kl" or self._is_custom else ()

    @property
    def _is_custom(self) -> bool:
        return type(self.study.metric).__name__ == "Custom"

    def others(self, group: Ints, draw: int) -> dict[tuple[Site, Source], Any]:
        """Values that come from other pairs, for the pairs of a group and a draw of the noise."""
        asked = {
            (site, source) for one in self.forced for site, source in one.writes
            if source.needs_others
        }  # fmt: skip
        found: dict[tuple[Site, Source], Any] = {}
        for kind, level in sorted({(source.kind, source.level) for _, source in asked}):
            keys = [k for k in sorted(asked, key=str) if (k[1].kind, k[1].level) == (kind, level)]
            sites = [site for site, _ in keys]
            if kind == "mean":
                values = _means(self, sites, level, draw)
            else:
                values = _alone(self.study, sites, level, _partners(self, group), draw)
            found |= {key: values[key[0]] for key in keys}
        return found

    def run(self, group: Ints, draw: int, others: Others) -> Any:
        """Metric of every pair of a group in every cell, (b, cells)."""
        study = self.study
        assert study.units is not None
        units = study.units[group]
        batches = {level: study.pairs.batch(units, level) for level in self.levels}
        self._check_lengths(batches, units)
        base: dict[int, dict[Site, Any]] = {level: {} for level in batches}
        if study.noise is not None and 1 in batches:
            base[1] = study.noise.write(study.subject, batches[1], units=units.tolist(), draw=draw)
        runs, recorded = {}, {}
        for level, batch in batches.items():
            runs[level], recorded[level] = natural_run(
                study, batch, base[level], self.sites, share=self._many(level)
            )
        natural = {level: run.values for level, run in runs.items()}
        final = {level: study.metric.final(run.output, batches[level])
                 for level, run in runs.items()}  # fmt: skip
        rows = self._rows(units, final.get(0))
        unique: dict[Forced, int] = {}
        for one in self.forced:
            unique.setdefault(one, len(unique))
        found = np.empty((group.size, len(unique)))
        jobs = []
        differs = self._differs(batches)
        for one, at in unique.items():
            if not one.writes or self._is_null(one, natural, batches[one.level], differs):
                found[:, at] = _numbers(study.metric(final[one.level], rows))
                continue
            writes = {s: value_of(src, s, natural, others, _bases(study)) for s, src in one.writes}
            for site in self.held:
                writes.setdefault(site, natural[one.level][site])
            jobs.append(Job(at, one.level, writes))
        for level in batches:
            todo = [job for job in jobs if job.level == level]
            outputs = run_jobs(
                study, batches[level], base[level], todo, recorded[level], memory=self.patch.memory
            )
            for job, output in outputs:
                found[:, job.at] = _numbers(study.metric(output, rows))
        return found[:, [unique[one] for one in self.forced]]

    def _many(self, level: int) -> bool:
        """Whether so many cells run an input that sharing a pass is worth recording it."""
        return sum(one.level == level and bool(one.writes) for one in set(self.forced)) > FEW

    def _differs(self, batches: Mapping[int, Batch]) -> int:
        """First position at which some pair of token inputs differs, 0 where that is unknown."""
        study = self.study
        known = study.noise is None and len(batches) == 2 and is_causal(study.subject, batches[0])
        tokens = [b.inputs for b in batches.values() if hasattr(b.inputs, "shape")]
        if not known or len(tokens) < 2 or tokens[0].shape != tokens[1].shape:
            return 0
        other = (tokens[0] != tokens[1]).any(0).nonzero()
        return int(other[0]) if len(other) else int(tokens[0].shape[1])

    def _is_null(self, one: Forced, natural: Any, batch: Batch, differs: int) -> bool:
        """Whether no site is set to anything that can reach the metric."""
        if self.held:
            return False
        if all(self._is_beside(site, batch) for site, _ in one.writes):
            return True
        if any(source.kind != "level" for _, source in one.writes):
            return False
        positions = [batch.positions(site.position) for site, _ in one.writes]
        if all(p is not None and int(p.max()) < differs for p in positions):
            return True
        return all(
            torch().equal(natural[source.level][site], natural[one.level][site])
            for site, source in one.writes
        )

    def _is_beside(self, site: Site, batch: Batch) -> bool:
        """Whether a site in the last block lies at positions that the metric does not read."""
        layout = self.study.subject.layout
        late = bool(layout.blocks) and site.layer == len(layout.blocks) - 1
        read = getattr(self.study.metric, "at", None) == "-1"
        at = batch.positions(site.position)
        if not (late and read) or at is None or batch.first is None or batch.count is None:
            return False
        if site.where.endswith("resid_pre") or site.stream in ("k", "v", "pattern"):
            return False  # other positions attend to these
        inner = site.where.split(".", 2)[2] if site.where.count(".") > 1 else "resid"
        if not inner.startswith(("attn", "mlp", "resid", "mixer", "heads.")):
            return False  # a module of the block that may stand before its attention
        last = batch.first + batch.count - 1
        beside = bool((at < last[:, None]).all())
        return beside and stays_in_place(self.study.subject, batch, site)

    def _rows(self, units: Ints, reference: Any) -> Rows:
        pairs = self.study.pairs
        answer = None if pairs.answer is None else pairs.answer[units]
        wrong = None if pairs.wrong is None else pairs.wrong[units]
        return Rows(answer, wrong, reference, units)

    def _check_lengths(self, batches: Mapping[int, Any], units: Ints) -> None:
        """Refuse to patch inputs of unequal length at positions that do not correspond."""
        lengths = {level: b.count for level, b in batches.items() if b.count is not None}
        if len(lengths) < 2 or np.array_equal(lengths[0], lengths[1]):
            return
        crossed = {s for one in self.forced for s, src in one.writes if src.level != one.level}
        loose = [s for s in crossed if not _corresponds(s.position)]
        if loose:
            at = int(np.flatnonzero(lengths[0] != lengths[1])[0])
            raise DesignError(
                f"the inputs of pair {int(units[at])} have {int(lengths[0][at])} and "
                f"{int(lengths[1][at])} tokens, so {loose[0]} is not the same place in both; name "
                "a span (spans={'subject': ...} and '@ subject'), or count from the end ('@ -1')"
            )


def _reads(source: Source) -> bool:
    return source.kind in ("level", "scale", "add", "mean", "resample")


def _corresponds(position: str | None) -> bool:
    if position is None:
        return False
    return (
        position[0].isalpha() or position[0] == "_" or (position[0] == "-" and ":" not in position)
    )


def _bases(study: PatchStudy) -> Mapping[str, Any]:
    held: Mapping[str, Any] = getattr(study.subject, "bases", {})
    return held


def _numbers(tensor: Any) -> Any:
    return tensor.detach().double().cpu().numpy()


def _means(plan: _Plan, sites: Sequence[Site], level: int, draw: int) -> Mapping[Site, Any]:
    """Mean of each site over all pairs, computed once: one pass for each batch."""
    study = plan.study
    assert study.units is not None
    at = draw if level == 1 and study.noise is not None else 0
    todo = [site for site in sites if (site, level, at) not in plan.means]
    parts: dict[Site, list[Any]] = {site: [] for site in todo}
    for other in study.pairs.groups(study.units, plan.patch.batch_size) if todo else ():
        values = _alone(study, todo, level, study.units[other], draw)
        for site in todo:
            parts[site].append(values[site])
    plan.means.update({(s, level, at): mean_of(parts[s], s) for s in todo})
    return {site: plan.means[site, level, at] for site in sites}


def _partners(plan: _Plan, group: Ints) -> Ints:
    """Another pair, whose inputs have the same shape, for every pair of a group."""
    study = plan.study
    assert study.units is not None
    whole = next(g for g in study.pairs.groups(study.units, len(study)) if group[0] in g)
    order = derangement(whole.size, np.random.SeedSequence((plan.patch.seed, int(whole[0]))))
    partner = dict(zip(whole.tolist(), whole[order].tolist(), strict=True))
    found: Ints = study.units[[partner[int(g)] for g in group]]
    return found


def _alone(
    study: PatchStudy, read: Sequence[Site], level: int, units: Ints, draw: int
) -> Mapping[Site, Any]:
    """What sites hold when inputs run by themselves, under one draw of the noise."""
    batch = study.pairs.batch(units.tolist(), level)
    base: Mapping[Site, Any] = {}
    if study.noise is not None and level == 1:
        base = study.noise.write(study.subject, batch, units=units.tolist(), draw=draw)
    return study.subject.run(batch, read=read, write=base).values
