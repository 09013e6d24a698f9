"""What the usual shortcuts would have said, beside the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossworld.core.analysis import check_confidence
from crossworld.core.estimate import Estimate
from crossworld.core.late import late
from crossworld.core.regime import Level
from crossworld.core.student import two_sided
from crossworld.core.table import Effect, EffectTable, number, probability
from crossworld.errors import DesignError, SpecError
from crossworld.tables.robust.binary import Fitted, Sample, fit_glm
from crossworld.tables.robust.data import arrays
from crossworld.tables.study import TableStudy

Array = NDArray[np.float64]
BESIDE = {"total": "te", "direct": "nde", "indirect": "nie"}
EQUAL = 1e-9  # difference, beside their size, at which two estimates are called the same


@dataclass(frozen=True, slots=True)
class NaiveRow:
    """One shortcut's number.

    Parameters
    ----------
    method
        Which shortcut.
    claims
        What it is taken for: ``total``, ``direct`` or ``indirect``.
    scale
        ``difference``, in the outcome's unit, or ``log odds``.
    estimate, std_error, conf_low, conf_high, p_value
        As in `Effect`; None where a value does not exist.
    """

    method: str
    claims: str
    scale: str
    estimate: float
    std_error: float
    conf_low: float
    conf_high: float
    p_value: float | None


@dataclass(frozen=True, slots=True)
class NaiveComparison:
    """Shortcuts beside the effects of an analysis.

    Parameters
    ----------
    rows
        One per shortcut and what it claims.
    beside
        The analysis' effects of the same names, where there are any.
    steps
        Baron and Kenny's steps: what is tested and its p value.
    verdict
        What Baron and Kenny would conclude at 5 %.
    notes
        Why the numbers differ, or that they cannot.
    level
        Confidence level.
    """

    rows: tuple[NaiveRow, ...]
    beside: tuple[Effect, ...]
    steps: tuple[tuple[str, float], ...]
    verdict: str
    notes: tuple[str, ...]
    level: float

    def __getitem__(self, key: tuple[str, str]) -> NaiveRow:
        for row in self.rows:
            if (row.method, row.claims) == key:
                return row
        held = ", ".join(str((r.method, r.claims)) for r in self.rows)
        raise KeyError(f"{key!r} is not here; there are {held}")

    def answer(self, claims: str) -> Effect | None:
        """Return the analysis' own effect that a shortcut claims to be."""
        return next((e for e in self.beside if e.term == BESIDE.get(claims)), None)

    def to_frame(self) -> Any:
        """Return the rows as a pandas frame, the analysis' own estimate last."""
        columns: dict[str, list[Any]] = {}
        for f in fields(NaiveRow):
            columns[f.name] = [getattr(row, f.name) for row in self.rows]
        answers = [self.answer(r.claims) for r in self.rows]
        columns["crossworld"] = [None if e is None else e.estimate for e in answers]
        return late("io").frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "beside": [asdict(effect) for effect in self.beside],
            "steps": [{"step": name, "p_value": p} for name, p in self.steps],
            "verdict": self.verdict,
            "notes": list(self.notes),
            "level": self.level,
        }

    def __str__(self) -> str:
        width, wide = max(len(r.method) for r in self.rows), max(len(r.claims) for r in self.rows)
        percent = f"{self.level * 100:g}% interval"
        head = f"{'shortcut':<{width}}  {'claims':<{wide}}  {'scale':<10}  {'estimate':>10}"
        head += f"  {percent:>24}  {'p_value':>8}" + ("  crossworld" if self.beside else "")
        lines = [head]
        for r in self.rows:
            span = f"[{number(r.conf_low)}, {number(r.conf_high)}]"
            line = (
                f"{r.method:<{width}}  {r.claims:<{wide}}  {r.scale:<10}  {number(r.estimate):>10}"
            )
            line += f"  {span:>24}  {probability(r.p_value):>8}"
            own = self.answer(r.claims)
            lines.append(line + (f"  {number(own.estimate):>10}" if own is not None else ""))
        told = "; ".join(f"{name}: p {probability(p)}" for name, p in self.steps)
        lines += ["", f"Baron and Kenny: {told}. {self.verdict}"]
        return "\n".join([*lines, *(f"! {note}" for note in self.notes)])


def naive(
    study: TableStudy,
    result: EffectTable | None = None,
    *,
    before: str | None = None,
    untouched: tuple[str, Level] | None = None,
    link: Literal["auto", "identity", "logit"] = "auto",
    level: float = 0.95,
) -> NaiveComparison:
    r"""Compute the usual shortcuts: products and differences of coefficients, Sobel, differences.

    With regressions :math:`M_j = \alpha_j A + \dots`, :math:`Y = c' A + \sum_j \beta_j M_j + \dots`
    and :math:`Y = c A + \dots` (covariates everywhere, linear predictors for a logit):
    the product of coefficients :math:`\sum_j \alpha_j \beta_j`, the difference :math:`c - c'`, the
    direct coefficient :math:`c'` and the total :math:`c`. Product and difference are equal for
    linear regressions and not for logits, whose coefficients change when covariates are added even
    without confounding. Standard errors are stacked sandwiches, over clusters where the study has
    them; Sobel's uses the models' own.

    Differences in differences give the total effect too: over time with ``before``, against a group
    that the treatment cannot reach with ``untouched``.

    Parameters
    ----------
    study
        The study.
    result
        The answer to put beside the shortcuts.
    before
        Column of the outcome before treatment.
    untouched
        A column and the value at which rows cannot be affected by the treatment.
    link, level
        Link of the outcome regressions (``auto``: logit for a 0/1 outcome); confidence level.

    Raises
    ------
    DesignError, SpecError
        If a column is not there, not numeric or does not split the rows.

    References
    ----------
    Baron and Kenny (1986), Journal of Personality and Social Psychology 51. Sobel (1982),
    Sociological Methodology 13. VanderWeele (2015), Explanation in Causal Inference, chapter 2.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=500, seed=1).study()
    >>> found = naive(study, xw.estimate(study, xw.Regression()))
    >>> product, difference = (found[m, "indirect"].estimate for m in ("product", "difference"))
    >>> abs(product - difference) < 1e-12
    True
    """
    check_confidence(level)
    if link not in ("auto", "identity", "logit"):
        raise SpecError.unknown("link", str(link), ("auto", "identity", "logit"))
    data = arrays(study, "naive", discrete=False)
    logit = link == "logit" or (link == "auto" and data.binary)
    if logit and not data.binary:
        raise SpecError("a logit needs an outcome of 0 and 1; use link='identity'")
    fits = _Fits(study, _treatment(study), "logit" if logit else "gaussian")
    x, m = data.given(0), data.x[:, data.width[0] :]
    after = fits.outcome(np.column_stack([m, x]), data.y)
    total = fits.outcome(x, data.y)
    first = [fits.linear(x, m[:, j]) for j in range(m.shape[1])]
    alphas = [one.coefficient(0) for one in first]
    betas = [after.coefficient(fits.arms + j) for j in range(m.shape[1])]
    product = sum((a * b for a, b in zip(alphas, betas, strict=True)), start=alphas[0] * 0.0)
    scale = "log odds" if logit else "difference"
    direct, whole = after.coefficient(0), total.coefficient(0)
    pairs = [
        ("product", "indirect", product),
        ("difference", "indirect", whole - direct),
        ("coefficient", "direct", direct),
        ("coefficient", "total", whole),
    ]
    rows = [_row(*pair, scale=scale, level=level) for pair in pairs]
    labels = _mediator_labels(study)
    for label, one, beta in zip(labels, first, range(m.shape[1]), strict=True):
        claims = "indirect" if len(labels) == 1 else f"through {label}"
        rows.append(_sobel(claims, one, after, fits.arms + beta, scale=scale, level=level))
    rows += _differences(fits, data.y, x, before=before, untouched=untouched, level=level)
    steps = [("treatment on outcome", whole.p_value())]
    steps += [(f"treatment on {n}", a.p_value()) for n, a in zip(labels, alphas, strict=True)]
    steps += [(f"{n} on outcome", b.p_value()) for n, b in zip(labels, betas, strict=True)]
    steps.append(("treatment on outcome given mediators", direct.p_value()))
    beside = () if result is None else tuple(e for e in result if e.term in BESIDE.values())
    notes = _notes(rows, beside, logit)
    return NaiveComparison(
        tuple(rows), beside, tuple(steps), _verdict([p for _, p in steps]), notes, level
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Coefficients without the intercept, each with its influence and its model-based error."""

    study: TableStudy
    fitted: Fitted
    design: Array
    y: Array

    def coefficient(self, j: int) -> Estimate:
        """Coefficient of the design's column ``j`` after the intercept."""
        direction = self.fitted.basis[j + 1]
        rows = _weights(self.study)
        influence = self.fitted.pull @ direction * (rows / rows.mean())
        return Estimate(float(direction @ self.fitted.theta), influence, self.study.cluster)

    def classic(self, j: int) -> float:
        """Standard error that trusts the model."""
        w = _weights(self.study)
        mean = self.fitted.mean(self.design)
        logit = self.fitted.family.name == "logit"
        bend = mean * (1.0 - mean) if logit else np.ones_like(mean)
        inverse = np.linalg.inv((self.design.T * (w * bend)) @ self.design)
        if not logit:
            dof = w.sum() - self.design.shape[1]
            inverse = inverse * float(w @ (self.y - mean) ** 2) / dof
        return float(np.sqrt(inverse[j + 1, j + 1]))


@dataclass(frozen=True, slots=True, eq=False)
class _Fits:
    """Regressions that share the treatment's columns."""

    study: TableStudy
    treatment: Array
    link: str

    @property
    def arms(self) -> int:
        """Columns of the treatment."""
        return int(self.treatment.shape[1])

    def outcome(self, others: Array, y: Array) -> _Fit:
        return self._fit(self.link, others, y, "outcome")

    def linear(self, others: Array, y: Array) -> _Fit:
        return self._fit("gaussian", others, y, "linear")

    def _fit(self, link: str, others: Array, y: Array, role: str) -> _Fit:
        design = np.column_stack([np.ones(y.size), self.treatment, others])
        sample = Sample(_weights(self.study), np.ones(y.size))
        return _Fit(self.study, fit_glm(link, design, y, sample=sample, role=role), design, y)


def _weights(study: TableStudy) -> Array:
    return np.ones(len(study)) if study.weights is None else study.weights


def _treatment(study: TableStudy) -> Array:
    """Columns of the treatment, of which the first has the contrast's coefficient."""
    low, high = study.levels
    column = study.treatment
    if column.labels is None:
        return np.asarray((column.values - low) / (high - low))[:, None]
    others = [v for v in column.distinct() if v not in (low, high)]
    return np.column_stack([(column.values == v).astype(float) for v in (high, *others)])


def _mediator_labels(study: TableStudy) -> list[str]:
    found: list[str] = []
    for name in study.path.mediators:
        labels = study.table[name].labels
        found += [name] if labels is None else [f"{name}={label}" for label in labels[1:]]
    return found


def _row(method: str, claims: str, estimate: Estimate, *, scale: str, level: float) -> NaiveRow:
    low, high = estimate.interval(level)
    p = estimate.p_value()
    told = None if np.isnan(p) else p
    return NaiveRow(method, claims, scale, estimate.value, estimate.std_error, low, high, told)


def _sobel(claims: str, one: _Fit, after: _Fit, j: int, *, scale: str, level: float) -> NaiveRow:
    """Return Sobel's test: the two models independent, each with its own standard error."""
    a, b = one.coefficient(0), after.coefficient(j)
    error = float(np.hypot(a.value * after.classic(j), b.value * one.classic(0)))
    unit = Estimate(a.value * b.value, np.array([error, 0.0]) * 2.0)
    low, high = unit.interval(level)
    p = two_sided(unit.value / error) if error > 0.0 else None
    return NaiveRow("Sobel", claims, scale, unit.value, error, low, high, p)


def _differences(
    fits: _Fits,
    y: Array,
    x: Array,
    *,
    before: str | None,
    untouched: tuple[str, Level] | None,
    level: float,
) -> list[NaiveRow]:
    """Differences in differences, by time, by group, or by both."""
    found = []
    changed = y
    if before is not None:
        column = fits.study.column(before, "before")
        if column.is_text:
            raise DesignError(f"the column before={before!r} is text; it holds an earlier outcome")
        changed = y - column.values
        estimate = fits.linear(x, changed).coefficient(0)
        found.append(_row("before-after", "total", estimate, scale="difference", level=level))
    if untouched is not None:
        reached = _reached(fits.study, untouched)
        names = {False: "untouched group", True: "before-after, untouched group"}
        crossed = np.column_stack([fits.treatment[:, :1] * reached[:, None], reached, x])
        for target, both in ((y, False), (changed, True))[: 1 + (before is not None)]:
            estimate = fits.linear(crossed, target).coefficient(fits.arms)
            found.append(_row(names[both], "total", estimate, scale="difference", level=level))
    return found


def _reached(study: TableStudy, untouched: tuple[str, Level]) -> Array:
    name, value = untouched
    column = study.column(name, "untouched")
    code = column.code(value)
    reached = np.ones(len(study)) if code is None else (column.values != code).astype(float)
    arm = study.treatment.values
    for group, told in ((0.0, "at"), (1.0, "off")):
        levels = set(arm[reached == group].tolist())
        if not set(study.levels) <= levels:
            shown = ", ".join(column.show(v) for v in column.distinct()[:8])
            raise DesignError(
                f"untouched=({name!r}, {value!r}) needs rows of both treatment levels {told} that "
                f"value; the column's values are {shown}"
            )
    return reached


def _verdict(p_values: Sequence[float]) -> str:
    """Baron and Kenny's conclusion at 5 %."""
    total, direct, between = p_values[0], p_values[-1], list(p_values[1:-1])
    half = len(between) // 2
    through = any(
        a < 0.05 and b < 0.05 for a, b in zip(between[:half], between[half:], strict=True)
    )
    if not through:
        return "They would see no mediation."
    if total >= 0.05:
        return "They would stop at the first step, though both later ones hold."
    return f"They would call it {'full' if direct >= 0.05 else 'partial'} mediation."


def _notes(rows: Sequence[NaiveRow], beside: Sequence[Effect], logit: bool) -> tuple[str, ...]:
    product, difference = rows[0].estimate, rows[1].estimate
    size = max(abs(product), abs(difference), 1e-300)
    notes = []
    if abs(product - difference) <= EQUAL * size:
        notes.append("product and difference of coefficients agree, as they must in linear models")
    else:
        notes.append(
            f"product and difference of coefficients differ by {number(product - difference)}: "
            "a logit's coefficients change when a variable is added, confounded or not"
        )
    if logit and beside:
        notes.append(
            "shortcuts on the log-odds scale cannot be read beside differences in probability; "
            "link='identity' puts them on that scale"
        )
    own = next((e for e in beside if e.term == "nie" and e.estimate is not None), None)
    if own is not None and not logit and own.estimate is not None:
        gap = product - own.estimate
        near = abs(gap) <= EQUAL * max(size, abs(own.estimate))
        said = "is the answer's" if near else f"is {number(gap)} off the answer's"
        notes.append(f"the product of coefficients {said} indirect effect")
    return tuple(notes)
