"""Paired inputs of a network, the sites that mediate, and a metric of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.exhibits import Exhibit
from crossworld.core.expression import MEAN, Cell, Y
from crossworld.core.identification import Identification
from crossworld.core.provenance import fingerprint
from crossworld.core.regime import ALL
from crossworld.core.table import EffectTable
from crossworld.errors import DesignError, SpecError
from crossworld.internals.inputs import numbers
from crossworld.internals.licence import licence
from crossworld.internals.metrics import Measure, Metric, measure
from crossworld.internals.noise import Noise
from crossworld.internals.pairs import Pairs
from crossworld.internals.site import Site, sites
from crossworld.internals.sources import Source, read_source
from crossworld.internals.subject import Subject

if TYPE_CHECKING:
    from crossworld.tables.study import TableStudy

Ints = NDArray[np.int64]
SOURCES = ("other", "zero", "mean", "resample")


@dataclass(frozen=True, slots=True)
class Forced:
    """One cell, as what is run: an input, and the sites that are set.

    Parameters
    ----------
    level
        The input that runs.
    writes
        Sites and what each is set to.
    """

    level: int
    writes: tuple[tuple[Site, Source], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PatchStudy:
    r"""A network, pairs of inputs, and a metric: mediation by interchange interventions.

    The treatment is which input runs (0 clean, 1 corrupt), the mediators are activations at sites,
    the outcome is a metric of the output. In a cell :math:`Y(a, M(b))` the input of level
    :math:`a` runs with the sites set to what they hold when the input of level :math:`b` runs by
    itself; a cell that names one site sets that site alone, and the others respond. Sites are
    ordered by when a pass reaches them; path-specific effects (`PSE`) follow that order.

    Parameters
    ----------
    subject
        The network, such as ``TorchSubject(model, tokenizer)``.
    pairs
        `Pairs`, or anything `Pairs.of` reads: rows with ``clean``, ``corrupt``, ``answer``,
        ``wrong``, ``cluster``, ``spans``; couples; two arrays; a jsonl file.
    metric
        ``"logit_difference"``, ``"probability"``, ``"log_probability"``, ``"logit"``, ``"kl"``,
        ``"accuracy"``, a `Metric`, or a function of the output that gives one number per input.
    sites
        The mediators; patterns such as ``layers.*.mlp @ -1`` are filled in.
    source
        What a site that crosses worlds is set to: what it holds under the ``other`` input, or
        ``zero``, the ``mean`` of the other input over pairs, or ``resample``, what it holds under
        the other input of another pair.
    noise
        Make the corrupt input by noise on the clean one (causal tracing) instead of by pairs.

    Raises
    ------
    DesignError
        If the pairs lack what the metric needs, or the network lacks a site.

    Examples
    --------
    >>> import pytest; torch = pytest.importorskip("torch")
    >>> import numpy as np, crossworld as xw
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 1))
    >>> for layer, weight in zip(net, ([[1.0, 0.0], [0.0, 1.0]], [[3.0, 5.0]])):
    ...     _ = layer.weight.data.copy_(torch.tensor(weight))
    >>> other = np.column_stack([np.linspace(0.5, 1.5, 10), np.ones(10)]).astype(np.float32)
    >>> pairs = (np.zeros((10, 2), np.float32), other)
    >>> study = PatchStudy(xw.TorchSubject(net), pairs, lambda y: y[:, 0], sites=["0.neurons.0"])
    >>> print(round(xw.estimate(study, xw.Patch(), [xw.NIE])["nie"].estimate, 6))
    3.0
    """

    subject: Subject
    pairs: Any
    metric: Any
    sites: Any = ()
    source: str = "other"
    noise: Noise | None = None
    units: Ints | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    _blocks: list[tuple[str, ...]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not hasattr(self.subject, "run") or not hasattr(self.subject, "sites"):
            raise DesignError(
                f"a subject reads and sets activations; wrap the network: TorchSubject(model), got "
                f"a {type(self.subject).__name__}"
            )
        if self.source not in SOURCES:
            raise SpecError.unknown("source", str(self.source), SOURCES)
        pairs = Pairs.of(self.pairs, getattr(self.subject, "tokenizer", None))
        if self.noise is not None and not isinstance(self.noise, Noise):
            raise SpecError(f"noise is Noise('embed @ subject'), got {self.noise!r}")
        if self.noise is not None:
            pairs = self.noise.pairs(pairs)
        found = measure(self.metric)
        missing = [name for name in found.needs if getattr(pairs, name) is None]
        if missing:
            raise DesignError(
                f"the metric {found.name} needs {' and '.join(map(repr, missing))} of each pair"
            )
        set_ = object.__setattr__
        set_(self, "pairs", pairs)
        set_(self, "metric", found)
        given = (self.sites,) if isinstance(self.sites, str | Site) else tuple(self.sites)
        asked = sites(*given) if given else ()
        set_(self, "sites", self.subject.sites(*asked, length=pairs.length()) if asked else ())
        if self.units is None:
            set_(self, "units", np.arange(len(pairs), dtype=np.int64))
        if not self.origin:
            set_(self, "origin", {"sites": [str(s) for s in asked]})

    def __len__(self) -> int:
        assert self.units is not None
        return int(self.units.size)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the sites in the order in which a pass reaches them.

        Those of one place act jointly.
        """
        if self._blocks or not self.sites:
            return tuple(self._blocks)
        groups: dict[Any, list[Site]] = {}
        for site in self.sites:
            groups.setdefault(self.subject.port(site).plug, []).append(site)
        first = [held[0] for held in groups.values()]
        order = list(groups) if len(first) < 2 else self._reached(first)
        self._blocks.extend(tuple(str(s) for s in groups[plug]) for plug in order)
        return tuple(self._blocks)

    def _reached(self, places: Sequence[Site]) -> list[tuple[str, str]]:
        """Plugs of some sites in the order in which one input reaches them."""
        assert self.units is not None
        batch = self.pairs.batch(self.units[:1], self.pairs.levels[0])
        run = self.subject.run(batch, read=places, last=True)
        return [self.subject.port(site).plug for site in run.values]

    def forced(self, cell: Cell) -> Forced:
        """What is run for a cell.

        Raises
        ------
        DesignError
            If a patching study has no such cell.
        """
        if cell.functional != MEAN:
            raise DesignError(
                f"{cell} asks for a {cell.functional.name}; patched cells are means, so pass a "
                "metric that counts what you want, such as lambda y: y[:, 0] > 0"
            )
        if cell.treatment not in (0, 1):
            raise DesignError(
                f"a patching study has the levels 0 (clean) and 1 (corrupt), got {cell}"
            )
        level = int(cell.treatment)
        named = dict(cell.regimes)
        default = self._crossed(read_source(named.pop(ALL)), level)
        told = {name: self._crossed(read_source(r), level) for name, r in named.items()}
        own = Source("level", level)
        asked = self.sites if default != own else [s for s in self.sites if str(s) in told]
        sources = ((site, told.get(str(site), default)) for site in asked)
        return Forced(level, tuple((site, src) for site, src in sources if src != own))

    def _crossed(self, source: Source, level: int) -> Source:
        """Replace a plain value under the other input by the study's source."""
        if source.kind != "level" or source.level == level or self.source == "other":
            return source
        return Source(self.source, source.level)

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise DesignError for cells that cannot be run, or means that have no interval."""
        if np.unique(self.clusters()).size < 2:
            what = "there is one pair" if len(self) == 1 else "all pairs share one cluster"
            raise DesignError(
                f"intervals are over independent pairs, and {what}; give more, or take the numbers "
                "alone: xw.Patch().scores(study, cells).values"
            )
        for cell in cells:
            forced = self.forced(cell)
            levels = {forced.level, *(s.level for _, s in forced.writes if s.kind == "level")}
            for level in levels:
                self.pairs.inputs(level)
            if not self.sites and cell.regimes != Y(cell.treatment).regimes:
                raise DesignError(
                    f"{cell} sets activations, and the study names no site; give it "
                    "sites=['layers.*.mlp @ -1'] or others"
                )

    def identify(self, estimands: Sequence[Estimand]) -> Identification:
        """Say by which experiment the effects are known, and what is left to assume."""
        forced = [self.forced(c) for e in estimands for c in e.cells()]
        return licence(forced, noised=self.noise is not None)

    def clusters(self) -> Ints:
        """Codes (n,) of the independent units: the pairs themselves, unless they share a template.

        As for questions that are replayed, intervals are Student's with J - 1 degrees of freedom.
        """
        shared = self.pairs.cluster
        labels: Any = self.units if shared is None else np.asarray(shared)[self.units]
        return np.unique(labels, return_inverse=True)[1].astype(np.int64)

    def take(self, index: Ints) -> Self:
        """Pairs by position; repeats are allowed and stay in their cluster."""
        assert self.units is not None
        return replace(self, units=self.units[np.asarray(index, dtype=np.int64)])

    def describe(self) -> str:
        """One line for the head of a result."""
        held: Measure = self.metric
        at = f" at {held.at}" if isinstance(held, Metric) and held.at != "-1" else ""
        places = [str(s) for s in self.sites]
        told = ", ".join(places[:3]) + (f", ... ({len(places)} sites)" if len(places) > 3 else "")
        layers = len(self.subject.layout.blocks)
        network = f"a network of {layers} layers" if layers else "a network"
        how = "clean -> clean with noise" if self.noise is not None else "clean -> corrupt"
        strange = self.pairs.strange
        odd = f"; {strange} inputs hold text that the tokenizer does not know" if strange else ""
        what = f"{held.name}{at} of {network}; sites: {told or 'none'}"
        return f"{len(self):,} pairs, {how}, {what}{odd}"

    def spec(self) -> dict[str, Any]:
        """Return the ``[study]`` table that builds this study from its files."""
        told: dict[str, Any] = {
            "kind": "internals",
            "model": getattr(self.subject, "source", None),
            "pairs": self.pairs.file,
            "metric": self.metric.name,
            "sites": list(self.origin.get("sites", ())),
        }
        if isinstance(self.metric, Metric) and self.metric.at != "-1":
            told["at"] = self.metric.at
        if self.source != "other":
            told["source"] = self.source
        if self.noise is not None:
            told["noise"] = self.noise.spec()
        return told

    def exhibits(self, result: EffectTable) -> Sequence[Exhibit]:
        """Heat maps of a sweep, for the report."""
        from crossworld.internals.sweep import heatmaps

        return heatmaps(result, self._tokens())

    def _tokens(self) -> dict[str, str]:
        """Tokens by position, where all clean inputs are one and the same."""
        tokenizer = getattr(self.subject, "tokenizer", None)
        first = self.pairs.clean[0]
        if tokenizer is None or len(self.pairs) != 1 or getattr(first, "ndim", 0) != 1:
            return {}
        ids = [int(i) for i in first]
        return {str(i): f"{i} {tokenizer.decode([token])!r}" for i, token in enumerate(ids)}

    def to_table(
        self,
        *,
        components: int | None = None,
        outcome: str = "metric",
        covariates: Mapping[str, Sequence[Any]] | None = None,
    ) -> TableStudy:
        """Return the natural runs as a table: level, activations at the sites, metric.

        See `crossworld.internals.to_table.to_table`, which says what it assumes.
        """
        from crossworld.internals.to_table import to_table

        return to_table(self, components=components, outcome=outcome, covariates=covariates)

    def sha256(self) -> str:
        """Fingerprint of the inputs in use."""
        assert self.units is not None
        arrays: list[tuple[str, Any]] = [("units", self.units)]
        for level in self.pairs.levels:
            for i, one in enumerate(self.pairs.inputs(level)):
                held = one if isinstance(one, Mapping) else {"": one}
                arrays += [(f"{level}:{i}:{k}", numbers(v)) for k, v in held.items()]
        for name in ("answer", "wrong"):
            ids = getattr(self.pairs, name)
            arrays += [] if ids is None else [(name, ids)]
        return fingerprint(arrays)
