"""False alarms and delay of the drift alarm of `crossworld watch`.

    python studies/watch_alarms.py [--replicates 4000] [--windows 100] [--laws A,B] [--markdown]

Finished rows are kept, so the study can be stopped and resumed.

Each row of the table is one law and window size. A stream is a reference window and 100 more, which
share no row; te, nde and nie are compared at alpha = 0.05 in all. With ``shift`` 0 nothing moves,
so at most 5 % of the streams may raise any alarm. Otherwise the mediator's effect on the outcome
moves after window 20, by so much that nie moves by ``shift`` standard errors of a window; ``delay``
is the number of windows until the alarm of nie, its own included, where it was not raised before.

``each`` is what comparing every window with the reference alone would have found, at the two-sided
normal level 0.05 / (3 * 100): the share of streams with an alarm of nie after the shift.

Laws of tables (one row per unit, adjusted for x; least squares with sandwich errors, written here
for all windows at once and checked against ``xw.Regression``):

    a ~ coin(logit 0.5 x),  m = alpha a + 0.3 x + e,  y = 0.4 a + beta m + 0.2 x + u

with normal errors, or Student's t with 3 degrees of freedom. Laws of replayed reasoning: questions
with a difficulty of their own, one readout of three cells each, a right answer or not; checked
against ``xw.Replay``.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

import crossworld as xw
from crossworld.watching.drift import by_change, threshold, total, widened

ALPHA, TERMS, QUIET = 0.05, ("te", "nde", "nie"), 20
FIELDS = (
    "law", "size", "shift", "streams", "windows", "any_alarm", "mc_error", "found", "delay_median",
    "delay_90", "each",
)  # fmt: skip
Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Law:
    """How a stream is drawn: ``table`` or ``replay``, units of a window, strength of the path."""

    name: str
    size: int
    first: float = 0.5
    second: float = 0.6
    tails: int = 0
    kind: str = "table"


LAWS = (
    Law("both arrows 0.5", 100, 0.5, 0.5),
    Law("both arrows 0.5", 500, 0.5, 0.5),
    Law("both arrows 0.1", 100, 0.1, 0.1),
    Law("both arrows 0.1", 500, 0.1, 0.1),
    Law("no arrow", 200, 0.0, 0.0),
    Law("heavy tails", 200, 0.5, 0.5, tails=3),
    Law("replayed questions", 30, kind="replay"),
    Law("replayed questions", 100, kind="replay"),
)
SHIFTS = {("both arrows 0.5", 500): (0.0, 1.0, 2.0, 3.0, 5.0)}


def tables(law: Law, rng: np.random.Generator, shape: tuple[int, ...], beta: Array) -> Array:
    """Draw tables: columns a, x, m, y, shape (4, ..., size); ``beta`` broadcasts to ``shape``."""

    def noise() -> Array:
        if law.tails:
            return rng.standard_t(law.tails, (*shape, law.size))
        return rng.standard_normal((*shape, law.size))

    x = rng.standard_normal((*shape, law.size))
    a = (rng.random((*shape, law.size)) < 1.0 / (1.0 + np.exp(-0.5 * x))).astype(float)
    m = law.first * a + 0.3 * x + noise()
    y = 0.4 * a + beta[..., None] * m + 0.2 * x + noise()
    return np.stack([a, x, m, y])


def least_squares(columns: list[Array], y: Array) -> tuple[Array, Array]:
    """Coefficients (..., p) and their influence (..., n, p)."""
    design = np.stack([np.ones_like(y), *columns], axis=-1)
    gram = np.einsum("...ni,...nj->...ij", design, design)
    inverse = np.linalg.inv(gram)
    moment = np.einsum("...ni,...n->...i", design, y)
    found = np.einsum("...ij,...j->...i", inverse, moment)
    rest = y - np.einsum("...ni,...i->...n", design, found)
    influence = y.shape[-1] * np.einsum("...ij,...nj->...ni", inverse, design * rest[..., None])
    return found, influence


def effects_of_tables(columns: Array) -> tuple[Array, Array]:
    """Estimates and sandwich errors of te, nde, nie, each of shape (..., 3)."""
    a, x, m, y = columns
    first, of_first = least_squares([a, x], m)
    second, of_second = least_squares([a, m, x], y)
    nie = first[..., 1] * second[..., 2]
    nde = second[..., 1]
    of_nie = second[..., 2, None] * of_first[..., 1] + first[..., 1, None] * of_second[..., 2]
    of_nde = of_second[..., 1]
    values = np.stack([nde + nie, nde, nie], axis=-1)
    influence = np.stack([of_nde + of_nie, of_nde, of_nie], axis=-2)
    return values, np.sqrt((influence**2).sum(axis=-1)) / a.shape[-1]


def readouts(law: Law, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw answers of every question under Y(0), Y(1, M(0)), Y(1): shape (3, ..., size)."""
    ease = rng.standard_normal((*shape, law.size))
    chances = [1.0 / (1.0 + np.exp(-(base + ease))) for base in (-0.5, -0.2, 0.8)]
    return np.stack([(rng.random(c.shape) < c).astype(float) for c in chances])


def effects_of_readouts(answers: Array) -> tuple[Array, Array]:
    """Estimates and errors by question, with J / (J - 1)."""
    zero, mixed, one = answers
    parts = np.stack([one - zero, mixed - zero, one - mixed], axis=-2)
    return parts.mean(axis=-1), parts.std(axis=-1, ddof=1) / math.sqrt(parts.shape[-1])


def check(law: Law) -> None:
    """Hold the formulas of this file to the library on one window."""
    rng = np.random.default_rng(7)
    if law.kind == "table":
        columns = tables(law, rng, (1,), np.array([law.second]))
        values, errors = effects_of_tables(columns)
        named = dict(zip("axmy", columns[:, 0], strict=True))
        study = xw.TableStudy.from_frame(named, "a -> m -> y", adjust=["x"], levels=(0, 1))
        found = xw.estimate(study, xw.Regression(mediator_family="gaussian"))
    else:
        answers = readouts(law, rng, (1,))
        values, errors = effects_of_readouts(answers)
        ids = np.tile(np.arange(law.size), 3)
        arm, shown = np.repeat([0, 1, 1], law.size), np.repeat([0, 0, 1], law.size)
        cells = {"q": ids, "arm": arm, "shown": shown, "right": answers[:, 0].ravel()}
        held = xw.ReasoningStudy.from_cells(
            cells, question="q", prompt="arm", reasoning="shown", outcome="right"
        )
        found = xw.estimate(held, xw.Replay())
    for j, term in enumerate(TERMS):
        assert abs(found[term].estimate - values[0, j]) < 1e-9, (law, term)
        assert abs(found[term].std_error - errors[0, j]) < 1e-9, (law, term)


def streams(law: Law, shift: float, windows: int, count: int) -> Iterator[tuple[Array, Array]]:
    """Yield estimates and widened errors of some streams at a time, shape (streams, windows, 3)."""
    rng = np.random.default_rng([ord(law.name[0]), law.size, int(10 * shift), law.tails])
    beta = np.full(windows + 1, law.second)
    if shift:
        _, errors = effects_of_tables(tables(law, rng, (400,), np.full(400, law.second)))
        beta[QUIET + 1 :] += shift * float(errors[:, 2].mean()) / law.first
    factor = widened(1.0, law.size - 1.0)
    most = max(1, 4_000_000 // ((windows + 1) * law.size))
    done = 0
    while done < count:
        shape = (min(most, count - done), windows + 1)
        if law.kind == "table":
            values, errors = effects_of_tables(tables(law, rng, shape, beta))
        else:
            values, errors = effects_of_readouts(readouts(law, rng, shape))
        yield values, factor * errors
        done += shape[0]


def first_alarm(values: Array, errors: Array) -> Array:
    """First window in which each effect's alarm is raised, shape (streams, 3); 0 where none is."""
    limit = math.log(threshold(ALPHA, len(TERMS)))
    at = np.zeros((values.shape[0], len(TERMS)), dtype=int)
    for j in range(len(TERMS)):
        theta, s = values[..., j], errors[..., j]
        usable = (s > 0).all(axis=1)  # a window without spread is left out by the command, too
        theta, s, places = theta[usable], s[usable], np.flatnonzero(usable)
        for n in range(1, theta.shape[1]):
            weighed, _, _ = by_change(theta[:, 1 : n + 1], s[:, 1 : n + 1], theta[:, 0], s[:, 0])
            new = (total(weighed) >= limit) & (at[places, j] == 0)
            at[places[new], j] = n
    return at


def each_alone(values: Array, errors: Array) -> Array:
    """Streams in which some window after the shift differs from the reference, for nie."""
    z = NormalDist().inv_cdf(1.0 - ALPHA / (2.0 * len(TERMS) * (values.shape[1] - 1)))
    theta, s = values[..., 2], errors[..., 2]
    beyond = np.abs(theta - theta[:, :1]) > z * np.sqrt(s**2 + s[:, :1] ** 2)
    return beyond[:, QUIET + 1 :].any(axis=1)


def study(law: Law, shift: float, windows: int, count: int) -> dict[str, object]:
    """One row of the table."""
    check(law)
    at, alone = [], []
    for values, errors in streams(law, shift, windows, count):
        at.append(first_alarm(values, errors))
        alone.append(each_alone(values, errors))
    first, each = np.concatenate(at), np.concatenate(alone)
    row: dict[str, object] = {
        "law": law.name, "size": law.size, "shift": shift, "streams": count, "windows": windows,
    }  # fmt: skip
    if not shift:
        rate = float((first > 0).any(axis=1).mean())
        error = math.sqrt(max(rate * (1.0 - rate), 1.0 / count) / count)
        return row | {"any_alarm": f"{rate:.4f}", "mc_error": f"{error:.4f}"}
    nie = first[:, 2]
    calm = (nie == 0) | (nie > QUIET)
    delays = np.where(nie[calm] == 0, windows, nie[calm] - QUIET)
    return row | {
        "found": f"{float((nie[calm] > 0).mean()):.3f}",
        "delay_median": int(np.quantile(delays, 0.5, method="higher")),
        "delay_90": int(np.quantile(delays, 0.9, method="higher")),
        "each": f"{float(each.mean()):.3f}",
    }


def main() -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=4_000)
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--laws", default=",".join(dict.fromkeys(law.name for law in LAWS)))
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    file = Path(__file__).with_suffix(".csv")
    rows = finished(file)
    if asked.markdown:
        print("| " + " | ".join(FIELDS) + " |\n|" + "---|" * len(FIELDS))
        for row in rows:
            print("| " + " | ".join(row[name] for name in FIELDS) + " |")
        return
    for law in LAWS:
        for shift in SHIFTS.get((law.name, law.size), (0.0,)):
            key = (law.name, str(law.size), str(shift))
            done = {(r["law"], r["size"], r["shift"]) for r in rows}
            if key in done or law.name not in asked.laws.split(","):
                continue
            count = asked.replicates if not shift else max(asked.replicates // 5, 1)
            found = study(law, shift, asked.windows, count)
            rows = [*finished(file), {name: str(found.get(name, "")) for name in FIELDS}]
            write(rows, file)
            print(found, flush=True)


def finished(file: Path) -> list[dict[str, str]]:
    """Rows that were computed before."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def write(rows: list[dict[str, str]], file: Path) -> None:
    """Write the table, in the order of the laws."""
    place = {(law.name, str(law.size)): k for k, law in enumerate(LAWS)}
    rows = sorted(rows, key=lambda r: (place[r["law"], r["size"]], float(r["shift"])))
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
