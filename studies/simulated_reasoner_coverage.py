"""Coverage of replay effects of `SimulatedReasoner`, through the public API from plan to interval.

    python studies/simulated_reasoner_coverage.py [--replicates 1000] [--designs 0,1] [--out FILE]

Every replicate is a study of its own: fresh questions, a `Plan` with the four cells, the model
asked every call of the plan in words, its text read into rows of the log, `ReasoningStudy`,
`Replay`, `Wald`. The model slips more on harder questions, states its answer in a third of the
active traces and a tenth of the others, copies a stated answer four times in five, has an
interaction, a share of coin flips and a share of answers that cannot be parsed (they score 0). The
truth is `SimulatedReasoner.cell`, a closed form over the law of questions.

The calls are made in the plan's order, without the queue, the workers and the file of `collect`,
which take half of the time. The first replicate of every design is collected by `collect` too, read
back from its log and compared: the rows have to be the same.

Each row of the table is one design and effect: the share of samples whose 95 % interval covers the
truth with its Monte-Carlo standard error, the bias, and the mean standard error beside the spread
of the estimates. Finished designs are kept, so the study can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
from resumed import add, started

from crossworld.core.analysis import estimate
from crossworld.core.effects import NDE, NIE, PNIE, TE, TNDE
from crossworld.reasoning.asking import row
from crossworld.reasoning.collect import collect_now
from crossworld.reasoning.log import columns, read_log
from crossworld.reasoning.models.simulated import SimulatedReasoner
from crossworld.reasoning.plan import Plan, Question, Template, four_cells
from crossworld.reasoning.replay import Replay
from crossworld.reasoning.rows import Readout
from crossworld.reasoning.study import ReasoningStudy
from crossworld.reasoning.trace import Trace

EFFECTS = (TE, NDE, NIE, TNDE, PNIE)
# questions, traces of each under either prompt, readouts of each trace in every cell
DESIGNS = (
    (30, 1, 1), (30, 1, 3), (30, 3, 1), (60, 1, 1), (60, 1, 3), (60, 3, 1), (200, 1, 1),
    (200, 1, 2), (200, 2, 1),
)  # fmt: skip
ROLES = ("question", "prompt", "reasoning", "correct", "draw", "replayed", "leaked")
FIELDS = (
    "questions", "traces", "readouts", "effect", "truth", "coverage", "mc_error", "bias",
    "std_error", "true_error", "replicates",
)  # fmt: skip
MODEL = SimulatedReasoner(
    contributions=(0.1, 0.15, 0.15),
    interaction=0.2,
    slip=0.15,
    leak=(0.1, 0.35),
    copy=0.8,
    noise=0.1,
    unparsable=0.03,
)


def truth() -> dict[str, float]:
    """The exact effects."""
    cell = {(a, b): MODEL.cell(a, b, replayed=True) for a in (0, 1) for b in (0, 1)}
    return {
        "te": cell[1, 1] - cell[0, 0],
        "nde": cell[1, 0] - cell[0, 0],
        "nie": cell[1, 1] - cell[1, 0],
        "tnde": cell[1, 1] - cell[0, 1],
        "pnie": cell[0, 1] - cell[0, 0],
    }


def plan_of(size: tuple[int, int, int], replicate: int) -> Plan:
    """What is asked in one replicate: questions that no other replicate has."""
    count, traces, readouts = size
    names = [f"{count}-{traces}-{readouts}-{replicate}-{i}" for i in range(count)]
    asked = [MODEL.question(name) for name in names]
    return Plan(
        tuple(Question(n, s.words(), str(s.gold)) for n, s in zip(names, asked, strict=True)),
        (Template("0", "{question}"), Template("1", "{question} Think step by step.")),
        four_cells("0", "1"),
        traces=traces,
        readouts=readouts,
    )


def at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """Result of a coroutine that never waits."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the simulated reasoner waited")


def ask(plan: Plan) -> list[Readout]:
    """Every call of a plan, in its order, as rows of the log."""
    traces: dict[str, Trace] = {}
    rows = []
    for call in plan.calls():
        trace = traces.get(call.trace, Trace("", call.question.id))
        request = plan.request(call, trace.text if call.replay else None)
        completion = at_once(MODEL.complete(request))
        identity = plan.identity(call, MODEL.name, mode="continuation")
        made = row(plan, call, request, trace=trace, told=(completion, identity, 0, None))
        if not made.replayed:
            traces[made.trace] = Trace(
                made.shown, made.question, made.prompt, id=made.trace, answer=made.answer
            )
        rows.append(made)
    return rows


def check_same(plan: Plan, rows: list[Readout]) -> None:
    """Refuse rows that `collect` would not have logged."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        collect_now(plan, MODEL, log=log)
        held = {r.key: r for r in read_log(log)}
    if held != {r.key: r for r in rows}:
        raise RuntimeError("rows differ from those that collect logs")


def design(size: tuple[int, int, int], replicates: int) -> list[dict[str, object]]:
    """Run one design."""
    exact = truth()
    kept: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in exact}
    for replicate in range(replicates):
        plan = plan_of(size, replicate)
        rows = ask(plan)
        if replicate == 0:
            check_same(plan, rows)
        study = ReasoningStudy.from_cells(
            {n: v for n, v in columns(rows).items() if n in ROLES},
            question="question",
            prompt="prompt",
            reasoning="reasoning",
            outcome="correct",
            draw="draw",
            replayed="replayed",
        )
        for found in estimate(study, Replay(), EFFECTS):
            value = exact[found.term]
            covered = found.conf_low <= value <= found.conf_high
            kept[found.term].append((found.estimate, found.std_error, covered))
    made = []
    for name, found in kept.items():
        values, errors, covered = (np.array(v, dtype=float) for v in zip(*found, strict=True))
        share = covered.mean()
        made.append(
            dict(zip(FIELDS[:3], size, strict=True))
            | {
                "effect": name,
                "truth": f"{exact[name]:.6f}",
                "coverage": f"{share:.4f}",
                "mc_error": f"{math.sqrt(share * (1 - share) / replicates):.4f}",
                "bias": f"{values.mean() - exact[name]:+.5f}",
                "std_error": f"{errors.mean():.5f}",
                "true_error": f"{values.std(ddof=1):.5f}",
                "replicates": replicates,
            }
        )
    return made


def table(file: Path) -> str:
    """The rows of the docs: one design a line, coverage of every effect in percent."""
    with file.open() as held:
        rows = list(csv.DictReader(held))
    designs = dict.fromkeys((r["questions"], r["traces"], r["readouts"]) for r in rows)
    lines = ["| questions | traces | readouts | te | nde | nie | tnde | pnie |"]
    lines.append("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for size in designs:
        own = {r["effect"]: r for r in rows if tuple(r[n] for n in FIELDS[:3]) == size}
        shares = [f"{100 * float(own[e.name]['coverage']):.1f}" for e in EFFECTS]
        lines.append(f"| {' | '.join([*size, *shares])} |")
    return "\n".join(lines)


def main() -> None:
    """Run every design that is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--designs", default=None, help="which of the designs, by position")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--markdown", action="store_true", help="print the table of the file")
    options = parser.parse_args()
    if options.markdown:
        print(table(options.out))
        return
    done = started(options.out, FIELDS)
    chosen = range(len(DESIGNS)) if options.designs is None else options.designs.split(",")
    for size in (DESIGNS[int(k)] for k in chosen):
        if tuple(map(str, size)) not in done:
            rows = design(size, options.replicates)
            add(options.out, FIELDS, rows)


if __name__ == "__main__":
    main()
