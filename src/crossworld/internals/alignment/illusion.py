"""Whether a subspace is real, or its effect made of a disconnected and a dormant direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossworld.core.estimate import Codes
from crossworld.core.table import Effect, EffectTable, number
from crossworld.errors import DesignError
from crossworld.internals.alignment.downstream import read_space
from crossworld.internals.alignment.task import AlignmentTask, Interchange, chunks
from crossworld.internals.backend import torch
from crossworld.internals.basis import Subspace
from crossworld.internals.inputs import Batch
from crossworld.internals.pairs import Pairs
from crossworld.internals.rates import codes, mean, mean_effect, regroup, tabled
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject

Matrix = NDArray[np.float64]
Score = Callable[[Any, NDArray[np.int64]], Any]
_SLIVER = 1e-3
_JACOBIANS = 256
_MORE = 0.05  # share of an effect below which a difference from it, or from none, is not told


@dataclass(frozen=True, slots=True, eq=False)
class Couples:
    """Base and source inputs, in batches.

    Parameters
    ----------
    batches
        Positions of the pairs, base inputs, source inputs.
    cluster
        Cluster codes of all pairs, None when they are independent.
    alike
        Pairs whose source differs from the base in the subspace's variable alone, or has the answer
        that the interchange should give, (n,): there the subspace cannot do more than all of the
        site. None for all pairs.
    """

    batches: tuple[tuple[NDArray[np.int64], Batch, Batch], ...]
    cluster: Codes | None = None
    alike: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, pairs: Any, *, batch: int = 64) -> Couples:
        """Take over pairs of inputs: `Pairs`, or what they are made of; clean ones are the base."""
        held = Pairs.of(pairs)
        found = [
            (rows, held.batch(rows.tolist(), 0), held.batch(rows.tolist(), 1))
            for rows in held.groups(np.arange(len(held)), batch)
        ]
        return cls(tuple(found), codes(held.cluster))


@dataclass(frozen=True, slots=True, eq=False)
class Illusion:
    r"""Whether a subspace's effect survives in the part that the network reads.

    The subspace B is split by the row space of what reads the site:
    :math:`P_\text{row} B` and :math:`P_\text{null} B`, each made orthonormal again. A real
    subspace keeps its effect when only its row part is interchanged. In an illusion the row part
    is *dormant* (it does not vary on data, so interchanging it alone does nothing) and the rest
    *disconnected* (it varies, and nothing reads it): together they have an effect that neither
    has in any run of the network.

    Parameters
    ----------
    site
        The site with its subspace.
    table
        ``effect[whole]`` of interchanging all of the site, ``effect[subspace]``,
        ``effect[row part]``, ``effect[null part]``, and ``row - half`` (row part less half of the
        subspace), with t intervals over pairs. Every pair counts in the direction that the
        subspace moves it, so that ``effect[subspace]`` is a mean size.
    fired
        True for an illusion, False for none, None when it cannot be told; `reason` says why.
    reason
        One sentence.
    null_share
        Share of the subspace that nothing reads, :math:`\|P_\text{null} B\|^2 / r`.
    rank, width
        Dimensions that are read, and of the site.
    reader
        How those were found.
    variance
        Share of the activations' variance along ``subspace``, ``row part`` and ``null part``.

    References
    ----------
    Makelov, Lange & Nanda (2024). Is this the subspace you are looking for? An interpretability
    illusion for subspace activation patching. ICLR.
    """

    site: Site
    table: EffectTable
    fired: bool | None
    reason: str
    null_share: float
    rank: int
    width: int
    reader: str
    variance: dict[str, float]

    def __str__(self) -> str:
        word = {True: "ILLUSION", False: "no illusion", None: "undecided"}[self.fired]
        shares = ", ".join(f"{k} {v:.1%}" for k, v in self.variance.items())
        lines = [
            f"{self.site}: {word}; {self.reason}",
            f"  unread share of the subspace {self.null_share:.1%} ({self.reader} reads "
            f"{self.rank} of {self.width} dimensions); variance on data: {shares}",
        ]
        for row in self.table:
            span = f"[{number(row.conf_low)}, {number(row.conf_high)}]"
            lines.append(f"  {row.term:<18}  {number(row.estimate):>10}  {span}")
        return "\n".join([*lines, *(f"  ! {text}" for text in self.table.warnings)])


def illusion(
    subject: TorchSubject,
    site: str | Site,
    *,
    couples: Couples,
    score: Score,
    downstream: Any = None,
) -> Illusion:
    """Diagnose a registered subspace.

    Parameters
    ----------
    subject
        The network, with the subspace registered.
    site
        The site with its subspace, such as ``layers.3.resid[gender] @ -1``.
    couples
        Base and source inputs; ``Couples.of(pairs)`` makes them from pairs.
    score
        Turns an output and the positions of its pairs into one number per pair.
    downstream
        A matrix (m, d) that reads the activation where it is known; ``"output"`` for the Jacobian
        of the output, averaged over data; by default the linear layers that read the site, where
        nothing else does, else the Jacobian.

    Notes
    -----
    It fires when the row part alone has significantly less than half of the subspace's effect, and
    is silent on a subspace with under 5 % of the effect of all of the site.
    Where the row part is all that is read, as with one direction read by a scalar output, the split
    says nothing and the verdict is open. Directions that carry less than 0.1 % of the mean squared
    Jacobian count as unread.
    """
    where = Site.parse(site) if isinstance(site, str) else site
    if where.basis is None or not isinstance(subject.bases.get(where.basis), Subspace):
        raise DesignError(f"{where} names no registered linear subspace, such as resid[name]")
    held = subject.bases[where.basis]
    assert isinstance(held, Subspace)
    plain = Site(where.where, where.position)
    space, reader = read_space(subject, where, _some(couples), downstream)
    if space.shape[0] != held.matrix.shape[0]:
        raise DesignError(
            f"the read-out is of {space.shape[0]} dimensions, the subspace of "
            f"{held.matrix.shape[0]}"
        )
    row, null = _parts(held.matrix, space)
    width = held.matrix.shape[0]
    parts = {"whole": np.eye(width), "subspace": held.matrix, "row part": row, "null part": null}
    effects, activations = _effects(subject, plain, couples, score, parts)
    share = 1.0 - float(np.sum((space.T @ held.matrix) ** 2)) / held.matrix.shape[1]
    table = _table(effects, couples)
    size = float(np.abs(effects["subspace"]).mean())
    weak = size <= _MORE * float(np.abs(effects["whole"]).mean()) + 1e-12
    read = (space.shape[1], row.shape[1])
    fired, reason = verdict(table, max(share, 0.0), read=read, weak=weak)
    return Illusion(where, table, fired, reason, max(share, 0.0), space.shape[1], width, reader,
                    _variances(activations, parts))  # fmt: skip


def illusion_of(
    subject: TorchSubject,
    task: AlignmentTask,
    *,
    variable: str,
    site: Site,
    pairs: Sequence[Interchange],
    downstream: Any = None,
) -> Illusion:
    """Diagnose the subspace of a variable on the interchanges of it that change the answer.

    The score is the logit of the counterfactual answer minus that of the base's. Of pairs that
    interchange several variables, this one alone is interchanged.

    Parameters
    ----------
    subject, task, variable, site
        Network, program, the variable, and its site with the registered subspace.
    pairs
        Interchanges; two or more must have an answer that the variable alone changes.
    downstream
        As in `illusion`.
    """
    alone = [
        Interchange(p.base, {variable: p.sources[variable]}, p.cluster)
        for p in pairs if variable in p.sources
    ]  # fmt: skip
    moved = [p for p in alone if task.target(p.base, p.sources) != task.target(p.base)]
    if len(moved) < 2:
        raise DesignError(
            f"{len(moved)} pairs have an answer that {variable!r} alone changes, so there is no "
            "effect to diagnose; draw them with interchanges(program, n, changed=0.5)"
        )
    after = np.array([task.target(p.base, p.sources) for p in moved], dtype=np.int64)
    before = np.array([task.target(p.base) for p in moved], dtype=np.int64)

    def score(output: Any, rows: NDArray[np.int64]) -> Any:
        logits = task.logits(output)
        i = torch().arange(len(rows))
        return logits[i, after[rows]] - logits[i, before[rows]]

    source = np.array([task.target(p.sources[variable]) for p in moved], dtype=np.int64)
    batches = tuple((c.rows, c.base, c.sources[variable]) for c in chunks(task, moved, 64))
    couples = Couples(batches, codes([p.cluster for p in moved]), source == after)
    return illusion(subject, site, couples=couples, score=score, downstream=downstream)


def movable(task: AlignmentTask, variable: str, pairs: Sequence[Interchange]) -> bool:
    """Whether two or more pairs have an answer that a variable alone changes."""
    alone = ((p.base, {variable: p.sources[variable]}) for p in pairs if variable in p.sources)
    return sum(task.target(b, s) != task.target(b) for b, s in alone) > 1


def verdict(
    table: EffectTable, share: float, *, read: tuple[int, int], weak: bool
) -> tuple[bool | None, str]:
    """Whether it is an illusion, and why.

    Parameters
    ----------
    table
        Effects of the parts.
    share
        Share of the subspace that nothing reads.
    read
        Number of directions that are read, and of those in the row part.
    weak
        Whether the subspace has next to no effect beside all of the site.
    """
    if share < _SLIVER:
        return False, "all of it is read by what follows"
    effect, rest = table["effect[subspace]"], table["row - half"]
    assert effect.estimate is not None
    assert rest.estimate is not None
    if weak:
        return None, "the subspace has next to no effect beside all of the site"
    rank, inside = read
    if inside >= rank:
        return None, (
            f"its row part is all {rank} directions that are read, so the split says nothing; name "
            "a read-out of more dimensions with downstream="
        )
    low = rest.conf_low if rest.conf_low is not None else rest.estimate
    high = rest.conf_high if rest.conf_high is not None else rest.estimate
    kept = round((table["effect[row part]"].estimate or 0.0) / effect.estimate, 2) + 0.0
    told = f"the part that is read keeps {kept:.0%} of its effect"
    if high < 0.0:
        return True, f"{told}: a dormant direction made active by a disconnected one"
    return (False, told) if low >= 0.0 else (None, f"{told}, by too few pairs to say")


def _some(couples: Couples) -> list[Batch]:
    """Base inputs of the first few hundred pairs: enough for Jacobians."""
    found, count = [], 0
    for _, base, _ in couples.batches:
        if count >= _JACOBIANS:
            break
        found.append(base)
        count += base.size
    return found


def _parts(basis: Matrix, space: Matrix) -> tuple[Matrix, Matrix]:
    inside = space @ (space.T @ basis)
    return _orthonormal(inside), _orthonormal(basis - inside)


def _orthonormal(columns: Matrix) -> Matrix:
    """Orthonormal columns with the same span; slivers that rounding made are left out."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > _SLIVER])


def _effects(
    subject: TorchSubject,
    site: Site,
    couples: Couples,
    score: Score,
    parts: dict[str, Matrix],
) -> tuple[dict[str, Matrix], Matrix]:
    """Effect of interchanging each part, (n,), and all activations seen, (N, d)."""
    t, n = torch(), sum(len(rows) for rows, _, _ in couples.batches)
    found = {name: np.zeros(n) for name in parts}
    seen = []
    for rows, base, source in couples.batches:
        there = subject.run(source, read=[site]).values[site]
        plain = subject.run(base, read=[site])
        before = score(plain.output, rows).double()
        both = (there, plain.values[site])
        seen += [h.double().reshape(-1, h.shape[-1]).cpu().numpy() for h in both]
        for name, matrix in parts.items():
            if not matrix.shape[1]:
                continue
            columns = t.as_tensor(matrix, dtype=there.dtype, device=there.device)
            change = _swap(there, columns)
            after = score(subject.run(base, write={site: change}).output, rows).double()
            found[name][rows] = (after - before).detach().cpu().numpy()
    return found, np.concatenate(seen)


def _swap(source: Any, columns: Any) -> Callable[[Any], Any]:
    return lambda hidden: hidden + ((source - hidden) @ columns) @ columns.T


def _table(effects: dict[str, Matrix], couples: Couples) -> EffectTable:
    cluster = couples.cluster
    sign = np.where(effects["subspace"] < 0.0, -1.0, 1.0)
    turned = {name: sign * values for name, values in effects.items()}
    rows: list[Effect] = [
        mean_effect(f"effect[{name}]", mean(values, cluster), null=None)
        for name, values in turned.items()
    ]
    rest = turned["row part"] - 0.5 * turned["subspace"]
    rows.append(mean_effect("row - half", mean(rest, cluster)))
    excess = turned["subspace"] - np.abs(effects["whole"])
    at = np.arange(len(excess)) if couples.alike is None else np.flatnonzero(couples.alike)
    warnings = []
    if at.size > 1:
        more = mean_effect("", mean(excess[at], regroup(cluster, at)))
        if more.conf_low is not None and more.conf_low > _MORE * turned["subspace"].mean():
            warnings.append("the subspace does more than interchanging all of the site: a red flag")
    units = (len(excess), cluster)
    return tabled(rows, "effects of a subspace and its parts", units=units, warnings=warnings)


def _variances(activations: Matrix, parts: dict[str, Matrix]) -> dict[str, float]:
    centred = activations - activations.mean(axis=0)
    total = float((centred**2).sum())
    return {
        name: float(((centred @ matrix) ** 2).sum()) / max(total, 1e-300)
        for name, matrix in parts.items() if name != "whole"
    }  # fmt: skip
