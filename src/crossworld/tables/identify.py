"""When a table's cells follow from what was observed, and under which assumptions."""

from __future__ import annotations

from collections.abc import Sequence

from crossworld.core.estimand import Estimand
from crossworld.core.expression import Cell
from crossworld.core.identification import Assumption, Identification
from crossworld.core.regime import Draw
from crossworld.tables.path import Path


def identify(
    path: Path,
    adjust: Sequence[str],
    intermediate: Sequence[str],
    estimands: Sequence[Estimand],
) -> Identification:
    """Identify effects by adjustment.

    Cells whose treatment and mediators follow one level need no cross-world assumption. A cell
    that mixes levels needs it, and has no answer when the treatment affects a confounder of
    mediator and outcome (Avin, Shpitser and Pearl 2005); its interventional analogue has one.
    """
    cells = [c for e in estimands for c in e.cells()]
    crossing = [c for c in cells if _crosses_worlds(c)]
    if crossing and intermediate:
        listed = ", ".join(f"`{name}`" for name in intermediate)
        verb = "is" if len(intermediate) == 1 else "are"
        names = sorted({e.name for e in estimands if any(_crosses_worlds(c) for c in e.cells())})
        return Identification(
            identified=False,
            by="adjustment",
            adjust=tuple(adjust),
            reason=(
                f"{listed} {verb} affected by the treatment and confounds mediator and outcome, so "
                f"{', '.join(names)} is not identified; te, cde(...), ide, iie and oe are"
            ),
            offending=tuple(intermediate),
            instead=("te", "cde", "ide", "iie", "oe"),
        )
    return Identification(
        identified=True,
        by="adjustment",
        adjust=tuple(adjust),
        assumptions=_assumptions(path, adjust, intermediate, bool(crossing)),
        formula=_formula(path, bool(adjust), bool(intermediate)),
    )


def _crosses_worlds(cell: Cell) -> bool:
    return any(isinstance(r, Draw) and r.level != cell.treatment for _, r in cell.regimes)


def _assumptions(
    path: Path, adjust: Sequence[str], intermediate: Sequence[str], crossing: bool
) -> tuple[Assumption, ...]:
    a, m, y = path.treatment, ", ".join(path.mediators[:6]), path.outcome
    given = f"given {', '.join(adjust[:12])}" if adjust else "without any covariate"
    also = f"{given} and {', '.join(intermediate)}" if intermediate else given
    found = [
        Assumption(
            "consistency",
            f"each unit's {m} and {y} are those of the {a} it received, and "
            "units do not affect one another",
        ),
        Assumption(
            "no treatment-outcome confounding",
            f"{given}, nothing unmeasured affects both {a} and {y}",
        ),
        Assumption(
            "no treatment-mediator confounding",
            f"{given}, nothing unmeasured affects both {a} and {m}",
        ),
        Assumption(
            "no mediator-outcome confounding",
            f"{also} and {a}, nothing unmeasured affects both {m} and {y}",
        ),
        Assumption(
            "positivity",
            f"every value of the covariates occurs with both levels of {a}, "
            f"and with every {m} that the other level brings about",
            testable=True,
        ),
    ]
    if crossing:
        found.append(
            Assumption(
                "no effect of the treatment on a mediator-outcome confounder",
                f"{a} affects nothing that in turn affects both {m} and {y}, other than through "
                "the mediators listed; no experiment on the treatment alone can check this",
            )
        )
    return tuple(found)


def _formula(path: Path, adjusted: bool, intermediate: bool) -> str:
    given = ", x" if adjusted else ""
    outer = r"\int " if adjusted else ""
    over = r"\, dP(x)" if adjusted else ""
    if intermediate:
        return (
            rf"E[Y(a, G(b))] = {outer}\iint E[Y \mid a, l, m{given}]\, dP(l \mid a{given})"
            rf"\, dP(m \mid b{given}){over}"
        )
    if len(path.blocks) == 1:
        inner = rf"\int E[Y \mid a, m{given}]\, dP(m \mid b{given})"
        return rf"E[Y(a, M(b))] = {outer}{inner}{over}"
    laws = "".join(
        rf"\, dP(m_{{{k}}} \mid b_{{{k}}}{''.join(f', m_{{{j}}}' for j in range(1, k))}{given})"
        for k in range(1, len(path.blocks) + 1)
    )
    return rf"E[Y(a, M_1(b_1), \ldots)] = {outer}\int E[Y \mid a, m{given}]{laws}{over}"
