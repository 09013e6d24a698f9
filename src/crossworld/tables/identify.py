"""When a table's cells follow from what was observed, and under which assumptions."""

from __future__ import annotations

from collections.abc import Sequence

from crossworld.core.estimand import Estimand
from crossworld.core.identification import Assumption, Identification
from crossworld.core.identify import words
from crossworld.tables.path import Path


def identify(
    path: Path,
    adjust: Sequence[str],
    intermediate: Sequence[str],
    estimands: Sequence[Estimand],
) -> Identification:
    """Identify effects by adjustment, where the columns' roles are all that is known.

    Cells whose treatment and mediators follow one level need no cross-world assumption. A cell
    that mixes levels needs it, and has no answer when the treatment affects a confounder of
    mediator and outcome (Avin, Shpitser and Pearl 2005); its interventional analogue has one.
    """
    cells = [c for e in estimands for c in e.cells()]
    crossing = [c for c in cells if c.crosses_worlds]
    graph = implied(path, adjust, intermediate)
    if crossing and intermediate:
        listed = ", ".join(f"`{name}`" for name in intermediate)
        verb = "is" if len(intermediate) == 1 else "are"
        names = sorted({e.name for e in estimands if any(c.crosses_worlds for c in e.cells())})
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
            graph=graph,
        )
    return Identification(
        identified=True,
        by="adjustment",
        adjust=tuple(adjust),
        assumptions=_assumptions(path, adjust, intermediate, bool(crossing)),
        formula=_formula(path, bool(adjust), bool(intermediate)),
        graph=graph,
    )


def implied(path: Path, adjust: Sequence[str], intermediate: Sequence[str]) -> str:
    """The graph that the roles stand for, as text that `Graph.parse` reads.

    Many columns of one role are drawn as one node.
    """
    covariates = _node("covariates", adjust)
    between = [_node("intermediate", intermediate)] if intermediate else []
    blocks = [_node(f"mediators {k + 1}", b) for k, b in enumerate(path.blocks)]
    a, y = _quoted(path.treatment), _quoted(path.outcome)
    later = [*between, *blocks, y]
    lines = [f"{covariates} -> {{{a} {' '.join(later)}}}"] if adjust else []
    order = [a, *later]
    lines += [f"{cause} -> {{{' '.join(order[k + 1 :])}}}" for k, cause in enumerate(order[:-1])]
    lines += [f"{a} [treatment]", *(f"{b} [mediator]" for b in blocks), f"{y} [outcome]"]
    return "; ".join(lines)


def _node(role: str, names: Sequence[str]) -> str:
    several = role if len(names) > 3 else ", ".join(names)
    return _quoted(f"{several} ({len(names)} columns)" if len(names) > 3 else several)


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _assumptions(
    path: Path, adjust: Sequence[str], intermediate: Sequence[str], crossing: bool
) -> tuple[Assumption, ...]:
    a, m, y = path.treatment, ", ".join(path.mediators[:6]), path.outcome
    given = ", ".join(adjust[:12])
    also = ", ".join(filter(None, [given, *intermediate, a]))
    found = [
        words.consistency(a, m, y),
        words.unconfounded(a, y, given, kind="treatment-outcome"),
        words.unconfounded(a, m, given, kind="treatment-mediator"),
        words.unconfounded(m, y, also, kind="mediator-outcome"),
        words.positivity(a, m, given),
    ]
    return (*found, words.cross_world(a, m, y)) if crossing else tuple(found)


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
