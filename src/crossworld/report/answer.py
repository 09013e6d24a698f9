"""The answer in a sentence: what the numbers allow to be said, and no more."""

from __future__ import annotations

from dataclasses import dataclass

from crossworld.core.table import Effect, EffectTable, number
from crossworld.report.glossary import explain
from crossworld.report.terms import read
from crossworld.report.words import Words

_SPLITS = (
    ("te", "nde", "nie", "pm"),
    ("te", "tnde", "pnie", ""),
    ("oe", "ide", "iie", ""),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One sentence, and the sentences that keep it honest."""

    headline: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Split:
    """A total, its two parts, and the share of the indirect part where it was estimated."""

    total: Effect
    direct: Effect
    indirect: Effect
    share: Effect | None
    null: float = 0.0

    @property
    def opposed(self) -> bool:
        """Whether the two parts pull in opposite directions."""
        first, second = (_value(part) - self.null for part in (self.direct, self.indirect))
        return first * second < 0.0


def answer(table: EffectTable, names: Words) -> Answer:
    """Say what was found.

    A percentage is given only when the total effect differs from 0 at the level, both parts have
    the same sign, and the share was estimated with finite limits.

    Parameters
    ----------
    table
        A result.
    names
        What the study calls its roles.

    Examples
    --------
    >>> rows = (Effect("te", 1.0, 0.1, 0.8, 1.2, 0.0, "wald"),
    ...         Effect("nde", 0.75, 0.1, 0.55, 0.95, 0.0, "wald"),
    ...         Effect("nie", 0.25, 0.1, 0.05, 0.45, 0.01, "wald"),
    ...         Effect("pm", 0.25, 0.1, 0.06, 0.44, 0.01, "fieller"))
    >>> answer(EffectTable(rows, 0.95), Words()).headline
    'About 25% of the effect of the treatment on the outcome goes through the mediator; the 95% \
interval runs from 6% to 44%.'
    """
    ci = interval_name(table.level)
    for split in (_found(table, ""), _found(table, ".ratio"), _found(table, ".odds_ratio")):
        if split is not None:
            return _difference(split, names, ci) if split.null == 0.0 else _ratio(split, names, ci)
    return _listing(table, names, ci)


def interval_name(level: float) -> str:
    """Return '95% interval'."""
    return f"{level * 100:g}% interval"


def percent(value: float) -> str:
    """Write a proportion for people: whole percents, finer where those would read 0.

    Examples
    --------
    >>> percent(0.2571), percent(-0.5), percent(0.004)
    ('26%', '-50%', '0.4%')
    """
    size = abs(100.0 * value)
    text = f"{100.0 * value:.0f}" if size >= 1.0 or size == 0.0 else f"{100.0 * value:.1g}"
    return f"{text}%"


def covers(row: Effect, null: float) -> bool | None:
    """Whether an interval covers a value; None when it has no two limits."""
    if row.conf_low is None or row.conf_high is None:
        return None
    return row.conf_low <= null <= row.conf_high


def _found(table: EffectTable, suffix: str) -> _Split | None:
    held = {row.term: row for row in table if row.estimate is not None}
    for total, direct, indirect, share in _SPLITS:
        terms = [f"{t}{suffix}" for t in (total, direct, indirect)]
        if all(t in held for t in terms):
            whole, direct_part, indirect_part = (held[t] for t in terms)
            null = 1.0 if suffix else 0.0
            return _Split(
                whole, direct_part, indirect_part, None if suffix else held.get(share), null
            )
    return None


def _value(row: Effect) -> float:
    assert row.estimate is not None
    return row.estimate


def _with_interval(row: Effect, ci: str = "") -> str:
    """Write a number and its limits; ``ci`` names the interval where it is met first."""
    if row.conf_low is None or row.conf_high is None:
        return f"{number(row.estimate)} (no bounded {ci or 'interval'})"
    limits = f"{number(row.conf_low)} to {number(row.conf_high)}"
    return f"{number(row.estimate)} ({ci} {limits})" if ci else f"{number(row.estimate)} ({limits})"


def _difference(split: _Split, w: Words, ci: str) -> Answer:
    settled = covers(split.total, 0.0) is False
    clear = all(covers(part, 0.0) is False for part in (split.direct, split.indirect))
    if split.opposed and (settled or clear):
        return _opposed(split, w, ci)
    if not settled:
        return _unsettled(split, w, ci)
    total, part = _with_interval(split.total, ci), _with_interval(split.indirect)
    if covers(split.indirect, 0.0) is not False:
        return Answer(
            f"The effect of {w.treatment} on {w.outcome} is {total}, but the data do not settle "
            f"whether any of it goes through {w.mediator}: that part is {part}.",
            _share_note(split, ci),
        )
    effect, share = f"the effect of {w.treatment} on {w.outcome}", split.share
    if share is None or share.conf_low is None or share.conf_high is None:
        return Answer(
            f"Of {effect}, {total}, the part that goes through {w.mediator} is {part}.",
            _share_note(split, ci),
        )
    return Answer(
        f"About {percent(_value(share))} of {effect} goes through {w.mediator}; the {ci} runs "
        f"from {percent(share.conf_low)} to {percent(share.conf_high)}.",
        (
            f"In all, moving from {w.low} to {w.high} changes the mean of {w.outcome} by {total}; "
            f"the part through {w.mediator} is {part}.",
        ),
    )


def _share_note(split: _Split, ci: str) -> tuple[str, ...]:
    share = split.share
    if share is None:
        asked = split.total.term == "te" and split.indirect.term == "nie"
        return ("Ask for pm as well to see the share with its interval.",) if asked else ()
    if share.conf_low is None or share.conf_high is None:
        return (f"The share (pm) has no bounded {ci}, so no percentage is given.",)
    low, high = percent(share.conf_low), percent(share.conf_high)
    return (f"The {ci} of the share (pm) runs from {low} to {high}.",)


def _unsettled(split: _Split, w: Words, ci: str) -> Answer:
    why = "A share of a total that may be 0 has no meaning, so no percentage is given."
    if covers(split.indirect, 0.0) is False:
        part, total = _with_interval(split.indirect, ci), _with_interval(split.total)
        return Answer(
            f"An effect of {w.treatment} on {w.outcome} goes through {w.mediator}, {part}, but "
            f"whether {w.treatment} changes {w.outcome} in total is not settled: the total effect "
            f"is {total}.",
            (why,),
        )
    total, part = _with_interval(split.total, ci), _with_interval(split.indirect)
    return Answer(
        f"The data do not settle whether {w.treatment} changes {w.outcome}, nor whether any effect "
        f"goes through {w.mediator}: the total effect is {total}, the part through {w.mediator} "
        f"is {part}.",
        (f"An interval that covers 0 does not show that there is no effect. {why}",),
    )


def _opposed(split: _Split, w: Words, ci: str) -> Answer:
    part = _with_interval(split.indirect, ci)
    direct, total = _with_interval(split.direct), _with_interval(split.total)
    open_ = [
        name
        for name, row in (("direct", split.direct), ("indirect", split.indirect))
        if covers(row, 0.0) is not False
    ]
    notes = ["Two parts of opposite sign cancel, so a percentage would mislead and none is given."]
    if open_:
        notes.append(
            f"The interval of the {' and of the '.join(open_)} effect covers 0, so the data do not "
            "settle that the two parts oppose each other."
        )
    return Answer(
        f"The direct and the indirect effect of {w.treatment} on {w.outcome} are estimated with "
        f"opposite signs: {part} through {w.mediator}, {direct} by other routes, {total} in "
        "total.",
        tuple(notes),
    )


def _ratio(split: _Split, w: Words, ci: str) -> Answer:
    what = "odds" if split.total.term.endswith(".odds_ratio") else "mean"
    total, part = _with_interval(split.total, ci), _with_interval(split.indirect)
    direct = _with_interval(split.direct)
    notes = ["On this scale the parts multiply to the total, and 1 means no effect."]
    for name, row in (("total", split.total), ("indirect", split.indirect)):
        if covers(row, 1.0) is not False:
            notes.append(
                f"The data do not settle whether there is any {name} effect: its interval does not "
                "exclude 1."
            )
    if split.opposed:
        notes.append("The direct and the indirect effect are estimated in opposite directions.")
    return Answer(
        f"Moving from {w.low} to {w.high} multiplies the {what} of {w.outcome} by {total}: by "
        f"{part} through {w.mediator}, by {direct} by other routes.",
        tuple(notes),
    )


def _listing(table: EffectTable, w: Words, ci: str) -> Answer:
    """Without a total and its two parts there is no split to report, only each effect."""
    rows = [row for row in table if row.estimate is not None]
    if not rows:
        return Answer("No effect could be computed; the warnings say why.")
    term = read(rows[0], table.estimands)
    name = explain(term, w).name if term.base else term.text
    verdict = ""
    within = None if term.null is None else covers(rows[0], term.null)
    if within is not None:
        verdict = f", which {'covers' if within else 'does not cover'} {term.null:g}, no effect"
    text = (
        f"{name} of {w.treatment} on {w.outcome}: {_with_interval(rows[0], ci)}{verdict}."
        if len(rows) == 1
        else f"{len(rows)} effects of {w.treatment} on {w.outcome} were estimated; the table "
        "below has them all."
    )
    return Answer(
        text,
        ("Ask for te, nde, nie and pm together to see how the total effect splits.",)
        if len(rows) == 1 or not term.site
        else (),
    )
