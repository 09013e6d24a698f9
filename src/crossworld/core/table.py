"""The result every front end returns: tidy rows with provenance and diagnostics."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from crossworld.core.estimand import Estimand
from crossworld.core.exhibits import Exhibit, known, read
from crossworld.core.late import late
from crossworld.core.scores import Scores
from crossworld.errors import SpecError, hint

SCHEMA = "crossworld/1"


@dataclass(frozen=True, slots=True)
class Effect:
    """One row; field names are the column names, everywhere. None means: does not exist."""

    term: str
    estimate: float | None
    std_error: float | None
    conf_low: float | None
    conf_high: float | None
    p_value: float | None
    conf_method: str


COLUMNS = tuple(f.name for f in fields(Effect))


@dataclass(frozen=True, slots=True, eq=False)
class EffectTable:
    """Effects with what is needed to trust them and to run them again.

    Iterate over it for rows, index it by term, or use `to_frame`, `to_dict`, `to_json`, `plot`
    and `report`.

    Parameters
    ----------
    rows
        One `Effect` per estimand, in the order asked.
    level
        Confidence level.
    heading
        Lines that say which study, which estimator, which inference.
    estimands
        The questions, in the order of the rows.
    scores
        The scores behind the rows, for further contrasts; None when read from a file.
    spec, identification, diagnostics, refutations, provenance
        The parts of the result JSON.
    source
        The analysis that made it, for exhibits that are only made when they are wanted; None when
        read from a file.
    """

    rows: tuple[Effect, ...]
    level: float
    heading: tuple[str, ...] = ()
    estimands: tuple[Estimand, ...] = ()
    scores: Scores | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    identification: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    refutations: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    source: Any = field(default=None, repr=False)

    def __getitem__(self, term: str) -> Effect:
        for row in self.rows:
            if row.term == term:
                return row
        terms = [r.term for r in self.rows]
        raise KeyError(f"{term!r} was not estimated. {hint(term, terms)}")

    def __iter__(self) -> Iterator[Effect]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything the analysis wants to be known before the numbers are used."""
        return tuple(self.diagnostics.get("warnings", ()))

    @property
    def exhibits(self) -> tuple[Exhibit, ...]:
        """What producers attached for the report to show (`crossworld.exhibits`)."""
        return known(self.diagnostics.get("exhibits", ()))

    def with_exhibits(self, exhibits: Iterable[Exhibit | Mapping[str, Any]]) -> EffectTable:
        """Return the same result with more for its report to show.

        Exhibits are plain values. They live in ``diagnostics["exhibits"]``, are written to JSON
        and come back from it, and every form of the report shows them.

        Parameters
        ----------
        exhibits
            Values of `crossworld.exhibits`, or their plain forms.

        Raises
        ------
        SpecError
            If one is of no known kind or its values do not fit it.

        Examples
        --------
        >>> from crossworld.core.exhibits import Story
        >>> rows = (Effect("te", 1.0, 0.5, 0.0, 2.0, 0.05, "wald"),)
        >>> EffectTable(rows, 0.95).with_exhibits([Story("Did it help?")]).exhibits[0].question
        'Did it help?'
        """
        made = [read(one).to_dict() for one in exhibits]
        if not made:
            return self
        held = [*self.diagnostics.get("exhibits", ()), *made]
        unique = [one for k, one in enumerate(held) if one not in held[:k]]
        return replace(self, diagnostics={**self.diagnostics, "exhibits": unique})

    def illustrated(self) -> EffectTable:
        """Return the same result with what its study has to show, such as mediator distributions.

        A study with a method ``exhibits(result)`` is asked, and an effect that rests on adjustment
        gets a contour of an unmeasured confounder if it has none. A result that was read from a
        file is returned as it is; what it holds already under the same title is kept.
        """
        make = getattr(getattr(self.source, "study", None), "exhibits", None)
        if make is None:
            return self
        held = {(one.get("kind"), one.get("title")) for one in self.diagnostics.get("exhibits", ())}
        made = [*make(self)]
        if not any(kind == "contour" for kind, _ in held):
            made += late("sensitivity.illustrate").contours(self)
        shown = self.with_exhibits(one for one in made if (one.kind, one.title) not in held)
        return replace(shown, source=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the result document (`crossworld/1`) as plain values."""
        return {
            "schema": SCHEMA,
            "spec": _plain(self.spec),
            "identification": _plain(self.identification),
            "effects": [_plain(asdict(row)) for row in self.rows],
            "diagnostics": _plain(self.diagnostics),
            "refutations": _plain(list(self.refutations)),
            "provenance": _plain(self.provenance),
        }

    def to_json(self, file: str | Path | None = None) -> str:
        """Return the result document as JSON text; with ``file``, write it too (whole)."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        if file is not None:
            late("io").write_text(Path(file), text)
        return text

    @classmethod
    def from_json(cls, file: str | Path) -> EffectTable:
        """Read a result document.

        Raises
        ------
        SpecError
            If the file is not a result document of this schema.
        """
        try:
            held = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SpecError(f"{str(file)!r} is not a result file: {error}") from None
        if not isinstance(held, dict) or held.get("schema") != SCHEMA:
            raise SpecError(f"{str(file)!r} is not a result file of schema {SCHEMA!r}")
        return cls.from_dict(held, source=repr(str(file)))

    @classmethod
    def from_dict(cls, held: Mapping[str, Any], *, source: str = "this") -> EffectTable:
        """Read a result document that is a value, as `to_dict` gives it.

        Raises
        ------
        SpecError
            If a part is missing or of the wrong kind.
        """
        try:
            known(held["diagnostics"].get("exhibits", ()))
            return cls(
                tuple(_effect(row) for row in held["effects"]),
                float(held["diagnostics"].get("level", 0.95)),
                tuple(held["diagnostics"].get("heading", ())),
                spec=held["spec"],
                identification=held["identification"],
                diagnostics=held["diagnostics"],
                refutations=tuple(held["refutations"]),
                provenance=held["provenance"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, SpecError) as error:
            raise SpecError(f"{source} is a damaged result file: {error!r}") from None

    def to_frame(self) -> Any:
        """Return the rows as a pandas frame, one column per field."""
        return late("io").frame({c: [getattr(r, c) for r in self.rows] for c in COLUMNS})

    def plot(self, ax: Any = None) -> Any:
        """Draw a forest plot of the effects; returns the matplotlib axes."""
        return late("report.figures").forest(self, ax=ax)

    def report(
        self, file: str | Path, *, exhibits: Iterable[Exhibit | Mapping[str, Any]] = ()
    ) -> None:
        """Write one self-contained HTML page, or Markdown when the file is named ``.md``.

        Parameters
        ----------
        file
            Where to write; it appears whole or not at all.
        exhibits
            More to show, as in `with_exhibits`; what the study itself shows is added.
        """
        markdown = Path(file).suffix == ".md"
        writer = late("report.markdown") if markdown else late("report.html")
        writer.write(self.with_exhibits(exhibits).illustrated(), Path(file))

    def _repr_html_(self) -> str:
        text: str = late("report.html").fragment(self)
        return text

    def __str__(self) -> str:
        width = max([4, *(len(r.term) for r in self.rows)])
        percent = f"{self.level * 100:g}% interval"
        lines = [*self.heading, ""] if self.heading else []
        lines.append(
            f"{'term':<{width}}  {'estimate':>10}  {'std_error':>10}  {percent:>24}  {'p_value':>8}"
        )
        for r in self.rows:
            span = f"[{number(r.conf_low)}, {number(r.conf_high)}]"
            if r.conf_low is None and r.conf_high is None:
                span = "unbounded" if r.conf_method == "fieller" else "none"
            lines.append(
                f"{r.term:<{width}}  {number(r.estimate):>10}  {number(r.std_error):>10}  "
                f"{span:>24}  {probability(r.p_value):>8}"
            )
        lines += [f"! {text}" for text in self.warnings]
        return "\n".join([*lines, *verdicts(self.refutations)])


def verdicts(refutations: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line per attempt to break the answer: what held, what did not, what is undecided."""
    words = {True: "held", False: "did not hold", None: "no verdict"}
    found: dict[str, dict[str, list[str]]] = {}
    for one in refutations:
        verdict = words.get(one.get("passed"), "no verdict")
        found.setdefault(str(one.get("name")), {}).setdefault(verdict, []).append(
            str(one.get("term") or "")
        )
    if not found:
        return []
    width = max(map(len, found))
    lines = ["", "attempts to break it"]
    for name, told in found.items():
        parts = [f"{v} {', '.join(filter(None, terms))}".strip() for v, terms in told.items()]
        lines.append(f"{name:<{width}}  {'; '.join(parts)}")
    return lines


def _effect(row: Mapping[str, Any]) -> Effect:
    """Read one row of a result document."""
    texts, held = ("term", "conf_method"), {c: row[c] for c in COLUMNS}
    for name, value in held.items():
        wanted = str if name in texts else (int, float, type(None))
        if not isinstance(value, wanted):
            raise TypeError(f"{name} is {value!r}")
    return Effect(**held)


def number(value: float | None) -> str:
    """Write a number for people: four decimals, or four significant digits when small or large."""
    if value is None:
        return "-"
    size = abs(value)
    if value == 0.0 or 0.001 <= size < 10_000.0:
        return f"{value:.4f}"
    return f"{value:.3e}" if size < 1e-5 or size >= 1e7 else f"{value:.4g}"


def probability(value: float | None) -> str:
    """Write a p value for people."""
    if value is None:
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _plain(value: Any) -> Any:
    """Turn arrays, tuples and numpy scalars into JSON values; NaN and infinities into None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
