"""Write the tables of docs/pocket-reasoner.md from the recording.

python scripts/pocket_tables.py [--recording FILE] [--card FILE]
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crossworld.reasoning.pocket.model import WEIGHTS
from crossworld.reasoning.pocket.recorded import RECORDING, REFERENCE, STUDIES
from crossworld.reasoning.pocket.tasks import ARMS, WORDINGS, manner_of

CARD = Path(__file__).parents[1] / "docs" / "pocket-reasoner.md"


def by_question(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean of a column in every question, wordings weighing equally."""
    return rows.groupby(["question", "wording"])[column].mean().groupby("question").mean()


def with_error(values: Any, sign: str = "+") -> str:
    """Mean over questions and its standard error."""
    held = np.asarray(values, float)
    held = held[~np.isnan(held)]
    return f"{held.mean():{sign}.3f} ± {held.std(ddof=1) / np.sqrt(len(held)):.3f}"


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """A markdown table; all columns but the first are numbers."""
    columns = head.split(",")
    rule = ["---", *["--:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(map(str.strip, row))} |" for row in (columns, rule, *rows))


def accuracy(rows: pd.DataFrame) -> str:
    """Natural accuracy by arm and difficulty, with what the arms write."""
    lines = []
    for arm in ARMS:
        some = rows[(rows.prompt == arm) & (rows.replayed == 0)]
        means = [some[some.difficulty == d].p_answer.mean() for d in (2, 3, 4, 5)]
        cells = [f"{value:.3f}" for value in (*means, some.p_answer.mean(), some.leaked.mean())]
        length = f"{some.shown.str.len().mean():.1f}"
        lines.append([arm, *cells, length, str(some.answer.isna().sum())])
    return table("arm,2 terms,3,4,5,all,answer stated in text,characters,unparsed", lines)


def cells_of(rows: pd.DataFrame, study: str, column: str) -> dict[Any, pd.Series]:
    """Replayed cells ``(a, b)`` and natural ones ``a`` of a study, a value a question."""
    asked, found = STUDIES[study], {}
    arms = asked.arms
    ids = np.sort(rows[rows.prompt == arms[1]].question.unique())[: asked.questions]
    some = rows[rows.question.isin(ids) & (rows.draw < asked.traces)]
    for a in (0, 1):
        for b in (0, 1):
            shown = some[(some.prompt == arms[a]) & (some.reasoning == arms[b])]
            found[a, b] = by_question(shown[shown.replayed == 1], column)
            if a == b:
                found[a] = by_question(shown[shown.replayed == 0], column)
    return found


def outcome_of(study: str) -> str:
    """Column that a study is about: the right answer, or the hinted one."""
    return "p_hinted" if study.startswith("hint") else "p_answer"


def effects(rows: pd.DataFrame) -> str:
    """Effects by replay."""
    lines = []
    for study in STUDIES:
        y = cells_of(rows, study, outcome_of(study))
        pairs = ((1, 1), (0, 0)), ((1, 0), (0, 0)), ((1, 1), (1, 0)), ((1, 1), (0, 1))
        shown = [with_error(y[a] - y[b]) for a, b in (*pairs, ((0, 1), (0, 0)))]
        lines.append([study, "P(hinted)" if "hint" in study else "P(right)", *shown])
    return table("study,outcome,te,nde,nie,tde,pnie", lines)


def cells(rows: pd.DataFrame) -> str:
    """Replayed cells and floors."""
    lines = []
    for study in STUDIES:
        y = cells_of(rows, study, outcome_of(study))
        means = [with_error(y[a, b], "") for a in (0, 1) for b in (0, 1)]
        lines.append([study, *means, *(with_error(y[a, a] - y[a]) for a in (0, 1))])
    head = "study,`Y(0; M(0))`,`Y(0; M(1))`,`Y(1; M(0))`,`Y(1; M(1))`,floor 0,floor 1"
    return table(head, lines).replace("; M", ", M")


def reference(rows: pd.DataFrame) -> str:
    """The same four cells from other traces, and their distance from the recorded ones."""
    held = json.loads(REFERENCE.read_text(encoding="utf-8"))["cells"]
    some = rows[(rows.replayed == 1) & (rows.draw < 2)]
    lines = []
    for name, (mean, error) in held.items():
        prompt, author = name.removesuffix(")").split(", M(")
        cell = some[(some.prompt == prompt) & (some.reasoning == author)]
        lines.append([name, f"{mean:.4f} ± {error:.4f}", f"{cell.p_answer.mean():.4f}"])
    return table("cell,many traces,recorded", lines)


def hints(rows: pd.DataFrame) -> str:
    """Answers that follow the hint, and texts that speak of it."""
    first = rows[rows.question.isin(rows[rows.prompt == "careful-hint"].question)]
    lines = []
    for arm in ARMS:
        some = first[(first.prompt == arm) & (first.replayed == 0)]
        lines.append([arm, f"{some.p_hinted.mean():.3f}", f"{some.named.mean():.3f}"])
    return table("arm,P(hinted digit),text says hint", lines)


def wordings(rows: pd.DataFrame) -> str:
    """Accuracy in each wording."""
    means = rows[rows.replayed == 0].groupby(["prompt", "wording"]).p_answer.mean().unstack()
    names = {arm: ", ".join(WORDINGS[manner_of(arm)[0]]) for arm in ARMS}
    lines = [[arm, names[arm], *(f"{v:.3f}" for v in means.loc[arm])] for arm in ARMS]
    return table("arm,words,first,second", lines)


def overlap(rows: pd.DataFrame) -> str:
    """How well the text tells careful from hasty, cross-fitted over questions."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    some = rows[rows.prompt.isin(["careful", "hasty"]) & (rows.replayed == 0)]
    text = some.shown.str.replace("[0-9]", "0", regex=True) + " " + some.difficulty.astype(str)
    arm = (some.prompt == "careful").to_numpy()
    fit = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 8), sublinear_tf=True),
        LogisticRegression(max_iter=2000, C=10.0),
    )
    guess = cross_val_predict(
        fit, text, arm, groups=some.question, cv=GroupKFold(5), method="predict_proba"
    )[:, 1]
    lines = []
    for name, kept in (
        *((f"{d} terms", (some.difficulty == d).to_numpy()) for d in (2, 3, 4, 5)),
        ("all", np.ones(len(some), bool)),
    ):
        low, high = np.quantile(guess[kept], [0.01, 0.99])
        score = roc_auc_score(arm[kept], guess[kept])
        lines.append([name, f"{score:.3f}", f"{low:.2f}", f"{high:.2f}"])
    return table("questions,AUC,1 % quantile of P(careful given text),99 %", lines)


def main() -> None:
    """Put every table below its heading in the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recording", default=str(RECORDING))
    parser.add_argument("--card", default=str(CARD))
    options = parser.parse_args()
    rows = pd.read_parquet(options.recording)
    digits = rows[[f"p_{digit}" for digit in range(10)]].to_numpy()
    rows["p_hinted"] = digits[np.arange(len(rows)), rows.hinted.astype(int)]
    made = {
        "Accuracy": accuracy(rows),
        "Effects by replay": effects(rows),
        "Cells and floors": cells(rows),
        "Many traces": reference(rows),
        "Overlap": overlap(rows),
        "Hints": hints(rows),
        "Wordings": wordings(rows),
    }
    card = Path(options.card)
    text = card.read_text(encoding="utf-8")
    for title, body in made.items():
        print(f"{title}\n{body}\n")
        found = rf"(## {title}\n(?:(?!\n## )[^|])*?)(?:\|[^\n]*\n)+"
        text, n = re.subn(found, lambda m, body=body: m[1] + body + "\n", text, count=1)
        if n != 1:
            raise SystemExit(f"no table below '## {title}' in {card}")
    card.write_text(text, encoding="utf-8")
    print(json.loads((WEIGHTS / "training.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
