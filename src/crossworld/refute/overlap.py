"""Whether the two levels were seen on comparable units, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crossworld.core.analysis import Analysis
from crossworld.core.estimand import Estimand
from crossworld.core.estimate import Estimate, by_cluster
from crossworld.core.refutation import Refutation
from crossworld.core.table import EffectTable
from crossworld.errors import CrossworldError, SpecError
from crossworld.refute.protocols import Weighs, lacking
from crossworld.refute.rerun import bound

Array = NDArray[np.float64]
TOP = 0.01  # share of units whose influence is added up
SHOWS = (
    "passing shows that both levels occur for most kinds of units that were measured; it does not "
    "show that the groups are alike in what was not"
)


@dataclass(frozen=True, slots=True)
class Overlap:
    r"""Read how far the levels share covariates and mediators, and judge with numbers.

    Nothing is estimated again. For the whole analysis (term ``""``): the probability of the active
    level, from logistic regressions on the covariates and on covariates and mediators; the share of
    units for which it is beyond ``edge`` of 0 or 1; and the effective sample size of each arm under
    inverse probability weights, :math:`(\sum w)^2 / \sum w^2`, as a share of the arm. What the
    estimator tells of its own overlap is added. It passes when every arm keeps at least ``share``
    of its units and at most ``beyond`` of all units are beyond the edge.

    For each effect: the share of the influence function's absolute total that the top 1 % of
    independent units carry, 3.6 % for a normal one; it passes up to ``top``.

    Parameters
    ----------
    share
        Least effective share of an arm.
    edge, beyond
        Distance of a probability from 0 and 1, and the largest tolerated share of units beyond it.
    top
        Largest tolerated share of influence of the top 1 %.

    Notes
    -----
    A method that extrapolates (`Regression`) gives an answer without overlap too; what it then says
    rests on its models alone. Nothing is judged for a treatment with many values.

    References
    ----------
    Crump, Hotz, Imbens and Mitnik (2009), Biometrika 96, for the edge of 0.1. Kish (1965), Survey
    Sampling, for the effective sample size.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> question = xw.Analysis(study, xw.Imputation())
    >>> [(r.term, r.passed) for r in Overlap().refute(question, question.run())]
    [('', True), ('te', True), ('nde', True), ('nie', True)]
    """

    share: float = 0.3
    edge: float = 0.02
    beyond: float = 0.05
    top: float = 0.2
    key: ClassVar[str] = "overlap"

    def __post_init__(self) -> None:
        for name in ("share", "edge", "beyond", "top"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise SpecError(f"{name} is a share between 0 and 1, got {value!r}")

    def refute(
        self, analysis: Analysis[Any], result: EffectTable, *, workers: int = 1
    ) -> tuple[Refutation, ...]:
        """Judge the design once, and the influence of every effect."""
        parts = [self._design(analysis, result)]
        parts += [self._influence(e, result) for e in bound(analysis)]
        return tuple(parts)

    def _design(self, analysis: Analysis[Any], result: EffectTable) -> Refutation:
        own = result.diagnostics.get("overlap")
        study = analysis.study
        data: dict[str, Any] = {"estimator": own}
        if not isinstance(study, Weighs):
            text = lacking(study, "has no probabilities of treatment")
            return Refutation(self.key, "", None, None, None, text, SHOWS, data)
        try:
            chances = study.chances()
        except CrossworldError as error:
            text = f"probabilities of treatment could not be estimated: {error}"
            return Refutation(self.key, "", None, None, None, text, SHOWS, data)
        passed, sentences, least = True, [], 1.0
        for given, (reference, active) in chances.items():
            found = summary(reference, active, self.edge)
            data[given] = found
            low = min(found["effective_share_reference"], found["effective_share_active"])
            least = min(least, low)
            passed &= low >= self.share and found["beyond_edge"] <= self.beyond
            sentences.append(
                f"Given {given} the probability of the active level runs from "
                f"{found['lowest']:.3f} to {found['highest']:.3f}; {found['beyond_edge']:.1%} of "
                f"units are within {self.edge:g} of 0 or 1, and weights leave {low:.0%} of an arm."
            )
        if not passed:
            sentences.append(
                f"At least {self.share:.0%} of each arm, and at most {self.beyond:.0%} near 0 or "
                "1, was asked: some kinds of units were seen under one level only."
            )
        return Refutation(self.key, "", passed, None, least, " ".join(sentences), SHOWS, data)

    def _influence(self, estimand: Estimand, result: EffectTable) -> Refutation:
        term, original = estimand.name, result[estimand.name].estimate
        scores = result.scores
        if scores is None or not scores.influence:
            text = "there is no influence function whose concentration could be read"
            return Refutation(self.key, term, None, original, None, text, SHOWS)
        found = estimand.expr.evaluate(scores.mean)
        pull = found.influence if isinstance(found, Estimate) else np.zeros(len(scores))
        units = pull if scores.cluster is None else by_cluster(pull, scores.cluster)
        if not np.abs(units).sum() > 0.0:
            text = f"{term} is fixed by the models: no unit has influence on it"
            return Refutation(self.key, term, None, original, None, text, SHOWS)
        heavy = concentration(units)
        count = max(1, int(TOP * units.size))
        text = (
            f"The {count} most influential of {units.size} independent units carry {heavy:.1%} of "
            f"the influence on {term}; up to {self.top:.0%} is tolerated."
        )
        if units.size < 1.0 / TOP:
            text += f" With fewer than {1.0 / TOP:g} units this is not judged."
        passed = heavy <= self.top if units.size >= 1.0 / TOP else None
        return Refutation(
            self.key, term, passed, original, heavy, text, SHOWS, {"top_share": heavy}
        )


def summary(reference: Array, active: Array, edge: float) -> dict[str, float]:
    """Range of probabilities, share near 0 or 1, and effective shares of the arms."""
    both = np.concatenate([reference, active])
    return {
        "lowest": float(both.min()),
        "highest": float(both.max()),
        "beyond_edge": float(((both < edge) | (both > 1.0 - edge)).mean()),
        "effective_share_reference": _effective(1.0 / np.maximum(1.0 - reference, 1e-12)),
        "effective_share_active": _effective(1.0 / np.maximum(active, 1e-12)),
    }


def concentration(influence: Array) -> float:
    """Share of the total absolute influence that the top 1 % of units carry."""
    size = np.sort(np.abs(influence))
    return float(size[-max(1, int(TOP * size.size)) :].sum() / size.sum())


def _effective(weight: Array) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum() / weight.size)
