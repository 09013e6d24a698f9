"""Record the pocket reasoner: natural answers, and replays of every trace under both arms.

    python scripts/record_pocket.py [--threads 1] [--edits] [--out FILE] [--reference 10]

Needs the `local` extra. Carries out every plan of `crossworld.reasoning.pocket.recorded` and writes
`recording.parquet` beside it; with `--edits`, the cells of edited reasoning to `edits.parquet`;
with `--reference`, the cells of many traces to `reference.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from crossworld.reasoning.edits.protocol import NotApplicable
from crossworld.reasoning.models.protocol import Completion, Request
from crossworld.reasoning.plan import Call, Plan
from crossworld.reasoning.pocket.model import PocketReasoner
from crossworld.reasoning.pocket.recorded import (
    COLUMNS,
    EDITED,
    EDITS,
    RECORDING,
    REFERENCE,
    STUDIES,
    pocket_plan,
)
from crossworld.reasoning.pocket.tasks import CHOICES, names_hint, states_answer
from crossworld.reasoning.trace import Trace

KEY = ["question", "wording", "prompt", "reasoning", "trace", "draw", "edit", "replayed"]


def row_of(identity: dict[str, Any], call: Call, done: Completion, author: str | None) -> Any:
    """One row of the cell table."""
    question, law = call.question, done.probabilities or {}
    author_arm = call.replay.reasoning if call.replay else call.template.arm
    return identity | {
        "trace": "/".join((question.id, author_arm, call.template.wording, str(call.k))),
        "shown": done.reasoning,
        "answer": done.answer,
        "correct": int(done.answer == question.answer),
        "p_answer": law.get(str(question.answer)),
        "tokens_in": done.tokens_in,
        "tokens_out": done.tokens_out,
        "leaked": int(author is not None and states_answer(done.reasoning, author)),
        "named": int(names_hint(done.reasoning)),
        "difficulty": question.text.count("+") + 1,
        "target": question.answer,
        "hinted": question.fields["hint"],
        **{f"p_{digit}": law.get(digit) for digit in CHOICES},
    }


def answered(model: PocketReasoner, requests: Sequence[Request]) -> list[Completion]:
    """Ask everything at once and say how long it took."""
    began = time.monotonic()
    done = model.complete_many(requests)
    print(f"{len(requests)} requests in {time.monotonic() - began:.0f} s", flush=True)
    return done


def carry_out(plan: Plan, model: PocketReasoner) -> pd.DataFrame:
    """All readouts of a plan: natural ones first, then the replays of their traces."""
    calls, name = list(plan.calls()), model.name
    natural = [call for call in calls if call.replay is None]
    replays = [call for call in calls if call.replay is not None]
    wrote = answered(model, [plan.request(call, None) for call in natural])
    traces = {call.trace: done for call, done in zip(natural, wrote, strict=True)}
    texts = [plan.show(call, trace_of(call, traces[call.trace])) for call in replays]
    made = [(c, t.text) for c, t in zip(replays, texts, strict=True) if isinstance(t, Trace)]
    refused = Counter(t.edit for t in texts if isinstance(t, NotApplicable))
    print(f"edits that do not apply to a trace: {dict(refused)}")
    done = [*wrote, *answered(model, [plan.request(call, text) for call, text in made])]
    return pd.DataFrame(
        row_of(plan.identity(call, name, mode="continuation"), call, it, traces[call.trace].answer)
        for call, it in zip([*natural, *(c for c, _ in made)], done, strict=True)
    )


def trace_of(call: Call, own: Completion) -> Trace:
    """The trace of a replay, as `collect` freezes it."""
    author = call.replay.reasoning if call.replay else call.template.arm
    return Trace(own.reasoning, call.question.id, author, call.k, id=call.trace, answer=own.answer)


def reference(model: PocketReasoner, traces: int) -> dict[str, Any]:
    """Cells of careful and hasty from traces that the recording does not have."""
    plan = pocket_plan("hasty-careful")
    held: dict[str, list[list[float]]] = {}
    for draw in range(plan.traces, plan.traces + traces):
        natural = [dataclasses.replace(c, k=draw) for c in plan.calls() if not c.replay and not c.k]
        wrote = answered(model, [plan.request(call, None) for call in natural])
        text = {
            (c.question.id, c.template): it.reasoning for c, it in zip(natural, wrote, strict=True)
        }
        other = {(t.arm, t.wording): t for t in plan.templates}
        cells = {(c.replay.prompt, c.replay.reasoning) for c in plan.calls() if c.replay}
        for prompt, author in sorted(cells):
            calls = [c for c in natural if c.template.arm == prompt]
            shown = [text[c.question.id, other[author, c.template.wording]] for c in calls]
            asked = [
                dataclasses.replace(plan.request(c, None), shown=s, choices=CHOICES)
                for c, s in zip(calls, shown, strict=True)
            ]
            right = [str(c.question.answer) for c in calls]
            law = [it.probabilities or {} for it in model.complete_many(asked)]
            held.setdefault(f"{prompt}, M({author})", []).append(
                [p[answer] for p, answer in zip(law, right, strict=True)]
            )
    cells = {}
    for name, values in held.items():
        noise = np.var(values, axis=0, ddof=1) / traces
        cells[name] = [
            round(float(np.mean(values)), 6),
            round(float(noise.sum() ** 0.5 / noise.size), 6),
        ]
    return {"model": model.name, "traces": 2 * traces, "questions": len(plan.questions)} | {
        "cells": cells
    }


def main() -> None:
    """Record and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default=None)
    parser.add_argument("--edits", action="store_true", help="record the edited cells alone")
    parser.add_argument("--reference", type=int, default=0, help="traces of the reference cells")
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    model = PocketReasoner(weights=options.weights)
    if options.reference:
        found = reference(model, options.reference)
        REFERENCE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(found)
        return
    studies = [EDITED] if options.edits else list(STUDIES)
    parts = [carry_out(pocket_plan(study), model) for study in studies]
    table = pd.concat(parts)[list(COLUMNS)].drop_duplicates(KEY, ignore_index=True)
    if options.edits:
        table = table[table["edit"].notna()].reset_index(drop=True)
    small = dict.fromkeys(("replayed", "correct", "leaked", "named", "difficulty"), "int8")
    small |= dict.fromkeys(("draw", "tokens_in", "tokens_out"), "int16")
    exact = dict.fromkeys(("p_answer", *(f"p_{digit}" for digit in CHOICES)), "float32")
    table = table.astype(small)
    table[list(exact)] = table[list(exact)].round(5).astype(exact)
    out = options.out or str(EDITS if options.edits else RECORDING)
    table.to_parquet(out, compression="zstd", compression_level=19, index=False)
    cells = table.fillna({"edit": ""}).groupby(["prompt", "reasoning", "edit", "replayed"])
    print(cells[["correct", "p_answer"]].mean())


if __name__ == "__main__":
    main()
