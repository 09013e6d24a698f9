"""Where in the pocket reasoner do its written steps act? Observed, replayed and patched.

    python studies/pocket_internals.py [--questions 1000] [--edited 200]

The pairs are those of `pocket_pairs` among the first questions (``--edited``: for mistakes and
filler, where nearly every question makes a pair); the outcome is the probability of the right
answer among the ten digits, as in the recording. Needs the extra `local`. Writes
pocket_internals.csv beside this file: one row for each number, with its interval (95 %; those of a
sweep hold for all its sites at once).
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import crossworld as xw
from crossworld.errors import FitWarning
from crossworld.reasoning.models.protocol import Request
from crossworld.reasoning.pocket import CHOICES, CUE, PocketReasoner, check_sums, pocket_pairs
from crossworld.reasoning.pocket.model import WEIGHTS

ASKED = (xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE)
SPANS = ("prompt", "earlier", "last", "-1")
FIELDS = ("contrast", "method", "term", "estimate", "std_error", "conf_low", "conf_high", "pairs")
REASONING = "embed @ reasoning"


def p_answer(tokenizer: Any) -> Any:
    """Return the metric: the probability of the right digit among the ten, at the last position."""
    import torch

    ids = [tokenizer.convert_tokens_to_ids(digit) for digit in CHOICES]

    def p_answer(logits: Any, rows: Any) -> Any:
        law = logits[:, -1].double()[:, ids].softmax(-1)
        right = torch.tensor([ids.index(int(a)) for a in rows.answer], device=law.device)
        return law.gather(1, right[:, None])[:, 0]

    return p_answer


def replayed(rows: Sequence[dict[str, Any]]) -> xw.EffectTable:
    """Show both texts under both prompts to the model as `PocketReasoner` runs it."""
    model, asked, told = PocketReasoner(), [], []
    for row in rows:
        start, stop = row["spans"]["reasoning"]
        for prompt in ("clean", "corrupt"):
            for shown in ("clean", "corrupt"):
                text, key = row[prompt][:start], row["cluster"]
                asked.append(Request(key, prompt, text, row[shown][start:stop], CUE, CHOICES))
                told.append({"question": key, "prompt": prompt, "reasoning": shown})
    done = model.complete_many(asked)
    right = {row["cluster"]: row["answer"] for row in rows}
    for held, one in zip(told, done, strict=True):
        law = one.probabilities or {}
        held |= {"p": law[right[held["question"]]], "replayed": 1}
    study = xw.ReasoningStudy.from_cells(
        pd.DataFrame(told), question="question", prompt="prompt", reasoning="reasoning",
        outcome="p", replayed="replayed", levels=("clean", "corrupt"),
    )  # fmt: skip
    return xw.estimate(study, xw.Replay(), ASKED)


def observed(subject: Any, rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Estimate from the natural runs alone, by several methods."""
    boosting = xw.MultiplyRobust(outcome="boosting", treatment="boosting")
    terms = [row["clean"].split("\n")[0].count("+") + 1 for row in rows]
    known = {"terms": terms, "target": [int(row["answer"]) for row in rows]}
    asked = (xw.TE, xw.NDE, xw.NIE)
    for place in ("layers.0.resid @ last", "layers.1.resid @ -1"):
        study = xw.PatchStudy(subject, rows, p_answer(subject.tokenizer), sites=[place])
        table = study.to_table(components=8, covariates=known)
        yield f"Regression, {place}", xw.estimate(table, xw.Regression(), asked)
        yield f"MultiplyRobust, {place}", xw.estimate(table, boosting, asked)
    texts = [r[side][slice(*r["spans"]["reasoning"])]
             for side in ("clean", "corrupt") for r in rows]  # fmt: skip
    sums = check_sums(texts)
    plain = xw.PatchStudy(
        subject, rows, p_answer(subject.tokenizer), sites=["layers.0.resid @ last"]
    )
    base = plain.to_table(components=1, covariates=known)
    names = ("lines", "added", "right", "reached")
    kept = ("level", "metric", "pair", *known)
    frame = {name: base.table[name].values for name in kept if name in base.table}
    frame |= {name: sums[:, j] for j, name in enumerate(names)}
    frame["pair"] = [*range(len(rows))] * 2
    study = xw.TableStudy.from_frame(
        frame, f"level -> {' + '.join(names)} -> metric", adjust=list(known), levels=(0, 1),
        cluster="pair",
    )  # fmt: skip
    yield "MultiplyRobust, sums checked", xw.estimate(study, boosting, asked)


def patched(subject: Any, contrast: str, rows: Sequence[dict[str, Any]]) -> Iterator[Any]:
    """Effects through the reasoning's input, layer by layer, by head, and without attention."""
    metric = p_answer(subject.tokenizer)
    study = xw.PatchStudy(subject, rows, metric, sites=[REASONING])
    yield "patched", xw.estimate(study, xw.Patch(), ASKED)
    places = [REASONING, "layers.*.resid @ reasoning"]
    study = xw.PatchStudy(subject, rows, metric, sites=places)
    later = [f"layers.{i}.resid @ reasoning" for i in range(3)]
    gaps = [
        xw.Estimand(f"{e.name}[{s}] - {e.name}[{REASONING}]", e.at(s).expr - e.at(REASONING).expr)
        for s in later for e in (xw.NIE, xw.PNIE)
    ]  # fmt: skip
    plain = [e.at(s) for s in (REASONING, *later) for e in (xw.NIE, xw.PNIE)]
    yield "later layers", xw.estimate(study, xw.Patch(), [*plain, *gaps])
    spots = [f"{part} @ {s}" for s in SPANS
             for part in ("embed", "layers.*.resid", "layers.*.attn", "layers.*.mlp")]  # fmt: skip
    study = xw.PatchStudy(subject, rows, metric, sites=spots)
    yield "sweep", xw.sweep(study, [xw.NIE, xw.PNIE])
    study = xw.PatchStudy(subject, rows, metric, sites=["layers.*.heads.* @ -1"])
    yield "heads", xw.sweep(study, [xw.NIE, xw.PNIE])
    if contrast != "prompt-only":
        yield from cut(subject, rows, metric)


def cut(subject: Any, rows: Sequence[dict[str, Any]], metric: Any) -> Iterator[Any]:
    """Attention from the end of the text to the reasoning's last character knocked out."""
    for layer in range(3):
        heads = f"layers.{layer}.heads.*.pattern @ -1 <- last"
        study = xw.PatchStudy(subject, rows, metric, sites=[heads])
        asked = xw.estimand("Y(1, M('knockout')) - Y(1)").named(f"cut layer {layer}")
        yield "knockout", xw.estimate(study, xw.Patch(check=False), [asked])


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--edited", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    told = parser.parse_args()
    subject = xw.TorchSubject.load(WEIGHTS)
    warnings.simplefilter("ignore", FitWarning)  # that a site changes nothing is a finding
    found: list[dict[str, Any]] = []

    def keep(contrast: str, method: str, result: xw.EffectTable, pairs: int) -> None:
        print(contrast, method, "\n", result, "\n", flush=True)
        for row in result:
            numbers = (row.estimate, row.std_error, row.conf_low, row.conf_high)
            shown = ["" if v is None else f"{v:.6f}" for v in numbers]
            found.append(
                dict(zip(FIELDS, (contrast, method, row.term, *shown, pairs), strict=True))
            )

    for contrast in ("hasty-careful", "prompt-only", "mistake-right", "filler-steps"):
        few = told.edited if contrast in ("mistake-right", "filler-steps") else told.questions
        rows = pocket_pairs(contrast, questions=few)
        for method, result in patched(subject, contrast, rows):
            keep(contrast, method, result, len(rows))
        keep(contrast, "replayed", replayed(rows), len(rows))
        if contrast == "hasty-careful":
            for method, result in observed(subject, rows):
                keep(contrast, method, result, len(rows))
    with told.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main()
