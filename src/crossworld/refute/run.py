"""Several attempts to break one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

from crossworld import catalog
from crossworld.core.analysis import Analysis
from crossworld.core.options import check_whole
from crossworld.core.refutation import Refuter
from crossworld.core.table import EffectTable
from crossworld.errors import SpecError
from crossworld.tables.robust import reuse


def refuters() -> dict[str, type[Any]]:
    """Return every refuter of this package by its spec name.

    Examples
    --------
    >>> "placebo" in refuters()
    True
    """
    return dict(sorted((c.key, c) for c in catalog.refuters()))  # type: ignore[attr-defined]


def refute(
    analysis: Analysis[Any],
    attempts: Sequence[str | Refuter] | str | Refuter,
    *,
    result: EffectTable | None = None,
    workers: int = 1,
) -> EffectTable:
    """Try to break an analysis in several ways; its result with what each attempt found.

    Parameters
    ----------
    analysis
        The analysis; its own refuters are not run.
    attempts
        Refuters, or their names, such as ``"placebo"``.
    result
        What the analysis gave, if it was run already.
    workers
        Threads over the reruns of each refuter. The findings do not depend on it.

    Returns
    -------
    EffectTable
        The result, its ``refutations`` followed by the new ones in the order asked.

    Raises
    ------
    SpecError
        If a name is not known, or is that of a refuter with options that have no default.

    Notes
    -----
    Learners whose data an attempt leaves alone are fitted once and used by all attempts.

    Examples
    --------
    >>> import crossworld as xw
    >>> study = xw.datasets.linear(n=300, seed=1).study()
    >>> found = refute(xw.Analysis(study, xw.Imputation(), (xw.NIE,)), ["placebo", "subset"])
    >>> [(r["name"], r["passed"]) for r in found.refutations]
    [('placebo', True), ('subset', True)]
    """
    if not isinstance(analysis, Analysis):
        raise SpecError(
            f"refute takes an Analysis, got {type(analysis).__name__}; write "
            "xw.Analysis(study, estimator)"
        )
    check_whole("workers", workers, 1)
    listed = attempts if isinstance(attempts, list | tuple) else [attempts]
    chosen = [_made(each) for each in listed]
    plain = replace(analysis, refuters=())
    held = plain.run() if result is None else result
    found: list[Any] = []
    with reuse.remembering():
        for each in chosen:
            found += [r.to_dict() for r in each.refute(plain, held, workers=workers)]
    return replace(held, refutations=(*held.refutations, *found))


def _made(given: Any) -> Refuter:
    if isinstance(given, str):
        known = refuters()
        if given not in known:
            raise SpecError.unknown("refuter", given, known)
        kind = known[given]
        bare = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING]
        if bare:
            raise SpecError(
                f"the refuter {given!r} needs {', '.join(bare)}; pass {kind.__name__}(...)"
            )
        made: Refuter = kind()
        return made
    if isinstance(given, type) or not hasattr(given, "refute"):
        raise SpecError(f"{given!r} is not a refuter; try 'placebo' or xw.PlaceboTreatment()")
    value: Refuter = given
    return value
