"""A table with causal roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Codes
from crossworld.core.expression import Cell
from crossworld.core.graph.dag import Graph
from crossworld.core.identification import Identification
from crossworld.core.identify.roles import Roles
from crossworld.core.provenance import fingerprint
from crossworld.core.regime import Draw, Fixed, Level, Random, Regime
from crossworld.errors import DesignError, SpecError
from crossworld.tables import perturb, roles
from crossworld.tables.frame import Column, Table, read
from crossworld.tables.graphs import check_graph, choose, identify_by_graph
from crossworld.tables.identify import identify
from crossworld.tables.path import Path, parse_path

if TYPE_CHECKING:
    from crossworld.core.exhibits import Distributions
    from crossworld.tables.confounding import Confounding

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Origin:
    """How the study was read: enough to write its spec and to say what was left out."""

    data: str | None = None
    sha256: str | None = None
    path: str = ""
    cluster: str | None = None
    weights: str | None = None
    missing: str = "error"
    event: Level | None = None
    dropped: int = 0
    dropped_by: Mapping[str, int] = field(default_factory=dict)
    weightless: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class TableStudy:
    """Columns of a table in their causal roles, complete and finite.

    Build it with `from_frame`.

    Parameters
    ----------
    path
        Treatment, mediator blocks in causal order, outcome.
    table
        The columns that have a role, as numbers or category codes, each of length n.
    levels
        Values of the treatment column that stand for 0 (reference) and 1 (active).
    adjust
        Pre-treatment covariates.
    intermediate
        Confounders of mediator and outcome that the treatment affects.
    cluster
        Codes 0..J-1 of independent units, or None when rows are.
    weights
        Non-negative row weights, or None.
    origin
        How the study was read.
    source
        The table it was read from and the rows that were kept (None: all), for columns without
        a role that an estimator asks for by name.
    graph
        A causal graph in which the roles were found, that has to identify what is asked.
    """

    path: Path
    table: Mapping[str, Column]
    levels: tuple[float, float]
    adjust: tuple[str, ...] = ()
    intermediate: tuple[str, ...] = ()
    cluster: Codes | None = None
    weights: Array | None = None
    origin: Origin = field(default_factory=Origin)
    source: tuple[Table, NDArray[np.int64] | None] | None = None
    graph: Roles | None = None

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        path: str,
        *,
        adjust: Sequence[str] = (),
        levels: tuple[Level, Level] | None = None,
        intermediate: Sequence[str] = (),
        cluster: str | None = None,
        weights: str | None = None,
        missing: Literal["error", "drop"] = "error",
        event: Level | None = None,
        graph: Graph | str | FilePath | None = None,
    ) -> Self:
        """Read the roles of a table's columns.

        Parameters
        ----------
        frame
            A pandas, polars or pyarrow frame (anything narwhals reads), a dict of columns, or the
            path of a csv or parquet file.
        path
            ``"treat -> job_seek -> depress2"``: treatment, mediators, outcome. ``m1 + m2`` is one
            joint block, ``m1 -> m2`` is causally ordered, ``emb_*`` takes every matching column.
        adjust
            Pre-treatment covariates (numbers or categories).
        levels
            Reference and active level of the treatment. Defaults to the two sorted values of a
            two-valued treatment; any other treatment needs it.
        intermediate
            Mediator-outcome confounders that the treatment affects.
        cluster, weights
            Columns of cluster labels and of non-negative row weights. Rows of weight 0 are left
            out, as units and as clusters.
        missing
            ``"error"`` refuses missing values and counts them; ``"drop"`` keeps complete rows.
        event
            The outcome value that counts as 1; needed for a two-valued text outcome.
        graph
            A causal graph (file, text or `Graph`) that has to identify every effect asked. Without
            ``adjust`` the covariates are the smallest set that it gives, and likewise
            ``intermediate``.

        Raises
        ------
        DesignError
            If a column is unknown, constant, infinite, missing values or of the wrong type, or a
            level has no rows.

        Examples
        --------
        >>> table = {"a": [0, 1, 0, 1], "m": [1.0, 2.0, 2.0, 3.0], "y": [0.0, 1.0, 1.0, 2.0]}
        >>> s = TableStudy.from_frame(table, "a -> m -> y")
        >>> print(s.describe())
        a -> m -> y, no covariates, levels 0 and 1
        """
        if missing not in ("error", "drop"):
            raise SpecError.unknown("value of missing", str(missing), ("error", "drop"))
        table = read(frame)
        adjust = roles.names(adjust, "adjust")
        intermediate = roles.names(intermediate, "intermediate")
        taken = roles.taken(adjust, intermediate, cluster, weights)
        parsed = parse_path(path, table.names, taken)
        found = None if graph is None else check_graph(Graph.load(graph), parsed, table.names)
        if found is not None and not adjust and not intermediate:
            adjust, intermediate = choose(found)
        roles.check_distinct(parsed, adjust, intermediate)
        used = roles.used(parsed, adjust, intermediate, cluster, weights)
        columns = {name: roles.fetch(table, name, role) for name, role in used.items()}
        if cluster is not None and used[cluster] == "cluster":
            columns[cluster] = table.labels(cluster)
        roles.check_finite(columns)
        keep, dropped_by = roles.complete(columns, missing)
        columns = {name: c if keep is None else c.kept(keep) for name, c in columns.items()}
        columns[parsed.outcome] = roles.outcome(columns[parsed.outcome], parsed.outcome, event)
        roles.check_vary(columns, used)
        n_all, n = table.native.shape[0], len(columns[parsed.outcome].values)
        pair = roles.levels(columns[parsed.treatment], parsed.treatment, levels)
        row_weights = roles.weights(columns, weights)
        roles.check_arms(columns[parsed.treatment], parsed.treatment, pair, row_weights)
        counted = roles.counted(row_weights)
        if counted is not None:
            columns = {name: c.kept(counted) for name, c in columns.items()}
            roles.check_vary(columns, used)
            pair = roles.levels(columns[parsed.treatment], parsed.treatment, levels)
            row_weights = columns[weights or ""].values
            keep = counted if keep is None else keep[counted]
        read_as = (path, cluster, weights, missing, event)
        left_out = (n_all - n, dropped_by, n - len(columns[parsed.outcome].values))
        origin = Origin(table.source, table.file_sha256, *read_as, *left_out)
        return cls(
            parsed,
            {name: columns[name] for name in used if used[name] not in ("cluster", "weights")},
            pair,
            adjust,
            intermediate,
            roles.clusters(columns, cluster, parsed.treatment, pair),
            row_weights,
            origin,
            (table, keep),
            found,
        )

    def __len__(self) -> int:
        return int(self.table[self.path.outcome].values.size)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Mediator names in causal order; names in one block act jointly."""
        return self.path.blocks

    @property
    def treatment(self) -> Column:
        """The treatment column."""
        return self.table[self.path.treatment]

    @property
    def outcome(self) -> Array:
        """The outcome, shape (n,)."""
        return self.table[self.path.outcome].values

    def level(self, level: Level) -> float:
        """Value of the treatment column that a cell's level stands for."""
        if level in (0, 1) and not isinstance(level, str):
            return self.levels[int(level)]
        code = self.treatment.code(level)
        known = self.treatment.distinct()
        if code is None or (code not in known and self.is_discrete):
            shown = ", ".join(self.treatment.show(v) for v in known[:12])
            raise DesignError(
                f"{level!r} is not a level of the treatment {self.path.treatment!r}, whose values "
                f"are {shown}; 0 and 1 stand for the reference and the active level"
            )
        return code

    @property
    def is_discrete(self) -> bool:
        """Whether the treatment has few enough values to be levels."""
        return self.treatment.is_text or len(self.treatment.distinct()) <= roles.DISCRETE

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise DesignError when a cell asks for a level or value the study does not have."""
        for cell in cells:
            self.level(cell.treatment)
            for block in self.blocks:
                regimes = [cell.regime(name) for name in block]
                if any(r != regimes[0] for r in regimes) and not _all_fixed(regimes):
                    raise DesignError(
                        f"{cell} puts mediators of the joint block {' + '.join(block)} under "
                        "different regimes; write 'm1 -> m2' in the path when they are ordered"
                    )
                for name, regime in zip(block, regimes, strict=True):
                    self._check_regime(name, regime, cell)

    def _check_regime(self, name: str, regime: Regime, cell: Cell) -> None:
        if isinstance(regime, Fixed):
            column = self.table[name]
            if column.code(regime.value) is None:
                shown = ", ".join(column.show(v) for v in column.distinct()[:12])
                raise DesignError(
                    f"{cell} fixes mediator {name!r} at {regime.value!r}; its values are {shown}"
                )
        elif isinstance(regime, Draw | Random):
            self.level(regime.level)
            if isinstance(regime, Draw) and regime.edit is not None:
                raise DesignError(
                    f"{cell} edits the mediator ({regime.edit!r}); a table holds no edited "
                    "mediators, only a reasoning study does"
                )

    def identify(self, estimands: Sequence[Estimand]) -> Identification:
        """Say under which assumptions the effects follow from the table, or why they do not."""
        if self.graph is not None:
            return identify_by_graph(self.graph, self.adjust, self.intermediate, estimands)
        return identify(self.path, self.adjust, self.intermediate, estimands)

    def take(self, index: NDArray[np.int64]) -> Self:
        """Rows by position; repeats are allowed and stay in their cluster."""
        codes = (
            None if self.cluster is None else np.unique(self.cluster[index], return_inverse=True)
        )
        return replace(
            self,
            table={name: column.take(index) for name, column in self.table.items()},
            cluster=None if codes is None else codes[1].astype(np.int64),
            weights=None if self.weights is None else self.weights[index],
            source=None if self.source is None else (self.source[0], _rows(self.source[1], index)),
        )

    def permuted(self, role: str, rng: np.random.Generator) -> Self:
        """Permute the ``treatment``, ``mediator`` or ``outcome`` over units (and clusters)."""
        return perturb.permuted(self, role, rng)

    def adjusting(self, columns: Mapping[str, Array]) -> Self:
        """Adjust for further covariates, each of shape (n,)."""
        return perturb.adjusting(self, columns)

    def blurred(self, amount: float, rng: np.random.Generator) -> Self:
        """Measure every covariate with error of ``amount`` standard deviations."""
        return perturb.blurred(self, amount, rng)

    def confounding(self, rng: np.random.Generator) -> Confounding:
        """Draw what an unmeasured confounder of any strength is made of."""
        from crossworld.tables.confounding import confounding

        return confounding(self, rng)

    def benchmarks(self) -> list[dict[str, Any]]:
        """Partial correlations of each covariate with treatment, mediator and outcome."""
        from crossworld.tables.confounding import benchmarks

        return benchmarks(self)

    def chances(self) -> dict[str, tuple[Array, Array]]:
        """Probabilities of the active level, of rows at the reference and at the active level."""
        from crossworld.tables.propensity import chances

        return chances(self)

    def exhibits(self, result: object) -> list[Distributions]:
        """What a report shows of the table: mediators under both treatments, overlap."""
        from crossworld.tables.exhibits import exhibits

        return exhibits(self)

    def column(self, name: str, role: str) -> Column:
        """Read a column by name, whether it has a role or not.

        Raises
        ------
        DesignError
            If the table has no such column, or it is missing in some row.
        """
        if name in self.table:
            return self.table[name]
        if self.source is None:
            raise DesignError.missing_column(name, role, self.table)
        table, kept = self.source
        found = roles.fetch(table, name, role)
        found = found if kept is None else found.take(kept)
        if np.isnan(found.values).any():
            raise DesignError(f"{role} column {name!r} has missing values")
        return found

    def describe(self) -> str:
        """One line for the head of a result."""
        with_ = f"adjusting for {_listed(self.adjust)}" if self.adjust else "no covariates"
        if self.intermediate:
            with_ += f", intermediate {_listed(self.intermediate)}"
        low, high = (self.treatment.show(v) for v in self.levels)
        text = f"{self.path}, {with_}, levels {low} and {high}"
        if self.origin.event is not None:
            text += f", event {self.origin.event!r}"
        if self.origin.dropped:
            text += f"; {self.origin.dropped:,} incomplete rows dropped"
        if self.origin.weightless:
            text += f"; {self.origin.weightless:,} rows of weight 0 left out"
        return text

    def spec(self) -> dict[str, Any]:
        """Return the ``[study]`` table that builds this study from its file."""
        o = self.origin
        labels = self.treatment.labels
        told = {
            "kind": "table",
            "data": o.data,
            "path": o.path or str(self.path),
            "adjust": list(self.adjust),
            "levels": [
                int(v)
                if labels is None and v.is_integer()
                else (v if labels is None else labels[int(v)])
                for v in self.levels
            ],
        }
        extra = {
            "intermediate": list(self.intermediate) or None,
            "cluster": o.cluster,
            "weights": o.weights,
            "missing": None if o.missing == "error" else o.missing,
            "event": o.event,
            "graph": None if self.graph is None else str(self.graph.graph),
        }
        return {**told, **{k: v for k, v in extra.items() if v is not None}}

    def sha256(self) -> str:
        """SHA-256 of the file the table came from, or of the columns in use."""
        if self.origin.sha256 is not None:
            return self.origin.sha256
        named = [(f"{k}{c.labels or ''}", c.values) for k, c in sorted(self.table.items())]
        held = [("cluster", self.cluster), ("weights", self.weights)]
        return fingerprint([*named, *((k, v) for k, v in held if v is not None)])


def _rows(kept: NDArray[np.int64] | None, index: NDArray[np.int64]) -> NDArray[np.int64]:
    return index if kept is None else kept[index]


def _all_fixed(regimes: Sequence[Regime]) -> bool:
    return all(isinstance(r, Fixed) for r in regimes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{names[0]}, ... ({len(names)} columns)"
