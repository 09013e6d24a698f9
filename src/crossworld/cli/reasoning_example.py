"""Does a model's reasoning do anything, or is it decoration? One table of traces, five answers.

    python analysis.py

`crossworld demo` wrote this file, the data beside it and the report. It runs again as it stands.

For your own traces replace ``reasoning.csv``: one row a trace, with the columns that `Case` names
below (edit it where yours are called otherwise). Delete ``replay.csv`` and ``replay.toml`` unless
you replayed reasoning too (`crossworld audit collect` does). Put further texts of the same kind
into ``reference.csv``, from which the components of the text are learned, or delete it: then they
are learned from the analysed texts, still without a look at prompts and answers. Set ``easy`` to
``()`` where no value of the first covariate is easy, and ``expert`` to your own function from texts
to numbers, or to None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import crossworld as xw
from crossworld.cli.beside import (
    KNOWING,
    NAIVE,
    REPLAY,
    beside,
    contours,
    entry,
    side_by_side,
    story,
    tidy,
    verdict,
)
from crossworld.io import write_text
from crossworld.reasoning.observational.fixed import (
    MINILM,
    TextComponents,
    learn_components,
    sentence_embedder,
)
from crossworld.reasoning.pocket import check_sums

QUESTION = "Does the reasoning do anything, or is it decoration?"
ASKED = (xw.TE, xw.NDE, xw.NIE)
ROWS = 1000  # with fewer, the models behind the multiply robust row are linear
FAMILIAR = 0.5  # share of known words under which fixed components say nothing about a text


@dataclass(frozen=True, slots=True)
class Case:
    """Where the data are, what its columns are called, how much is computed."""

    folder: Path
    question: str = "question"  # rows of one question are not independent
    prompt: str = "prompt"  # the treatment: which prompt the model was given
    levels: tuple[str, str] = ("hasty", "careful")  # its reference and its active value
    reasoning: str = "reasoning"  # the mediator: what the model wrote
    outcome: str = "correct"  # 0 or 1, or a number
    covariates: tuple[str, ...] = ("difficulty",)  # fixed before the model wrote
    easy: tuple[str, ...] = ("2 terms", "3 terms")  # values of the first covariate
    expert: Callable[[list[str]], Any] | None = check_sums  # numbers that hold what matters
    components: int = 8  # of the text
    embedder: Any = "auto"  # "tfidf", a sentence-transformers model or a function from texts to
    # rows of numbers; auto: all-MiniLM-L6-v2 if it is on this machine, else TF-IDF
    batch_size: int | None = None  # of the embedder and of the network
    draws: int = 50  # bootstrap replicates of the network
    seed: int = 0


STEPS = (
    "turning the reasoning into numbers",
    "ordinary least squares (statsmodels) and the mediation formula",
    "a shallow neural network, bootstrapped",
    "multiply robust, cross-fitted boosting",
    "DoWhy",
    "naive difference in differences",
    "replay: the reasoning of one prompt shown under the other",
    "numbers that know what matters",
    "trying to break the answer (refuters)",
    "how strong an unmeasured confounder would have to be",
    "writing the reports",
)


def steps(case: Case, found: dict[str, Any]) -> Iterator[str]:
    """Carry out the analysis; say what comes next, and put what is found into ``found``."""
    told = iter(STEPS)
    yield next(told)
    frame, found["numbers"] = embedded(case)
    frame.to_csv(case.folder / "embedded.csv", index=False)
    rows = found["rows"] = []
    study = table_study(case, frame)
    yield next(told)
    found["models"], result = by_statsmodels(case, frame, study)
    rows += tidy("statsmodels OLS, mediation formula", result)
    yield next(told)
    rows += tidy("shallow neural network", by_network(case, study))
    yield next(told)
    plain = few(study)
    name = f"multiply robust ({'linear' if plain else 'boosting'})"
    rows += tidy(name, by_robust(case, study, linear=plain))
    yield next(told)
    rows += by_dowhy(case, frame)
    yield next(told)
    rows += naive(case, frame)
    yield next(told)
    replayed = by_replay(case)
    yield next(told)
    rows += knowing(case, frame)
    rows += [] if replayed is None else tidy(REPLAY, replayed)
    yield next(told)
    found["answer"] = xw.load_spec(case.folder / "mediation.toml").run()
    yield next(told)
    found["sensitivity"] = sensitivity(study)
    yield next(told)
    write(case, found, replayed)


# -- the data


def embedded(case: Case) -> tuple[pd.DataFrame, str]:
    """Read the traces and add the components of their text; say in words what they are."""
    frame = pd.read_csv(case.folder / "reasoning.csv", keep_default_na=False)
    wanted = (case.question, case.prompt, case.reasoning, case.outcome, *case.covariates)
    missing = [name for name in wanted if name not in frame]
    if missing:
        raise xw.errors.DesignError.missing_column(missing[0], "reasoning.csv", list(frame))
    texts = frame[case.reasoning].astype(str).tolist()
    other = case.folder / "reference.csv"
    held_out = other.exists()
    if held_out:
        learned_from = pd.read_csv(other, keep_default_na=False).iloc[:, 0].astype(str).tolist()
    else:
        learned_from = texts
    fixed, name = components(case, learned_from)
    if held_out and fixed.known(texts) < FAMILIAR:
        raise xw.errors.DesignError(
            f"{1 - fixed.known(texts):.0%} of the words in reasoning.csv do not occur in "
            "reference.csv, so its components say nothing about them; delete reference.csv or "
            "put texts of the same kind there"
        )
    numbers = fixed(texts)
    source = "other texts, fixed in advance" if held_out else "these texts alone"
    told = f"{numbers.shape[1]} components of {name}, learned from {source}"
    columns = {f"text_{j + 1}": column for j, column in enumerate(numbers.T)}
    return frame.assign(**columns), told


def components(case: Case, texts: list[str]) -> tuple[TextComponents, str]:
    """Learn the components of a kind of text."""
    embedder, name = encoder(case.embedder, case.batch_size)
    return learn_components(texts, components=case.components, embedder=embedder), name


def encoder(asked: Any, batch_size: int | None = None) -> tuple[Any, str]:
    """Return the embedder (None: TF-IDF) and its name."""
    if callable(asked):
        return asked, getattr(asked, "__name__", "an embedder")
    if asked == "tfidf" or (asked == "auto" and find_spec("sentence_transformers") is None):
        return None, "TF-IDF"
    name = MINILM if asked == "auto" else asked
    try:
        return sentence_embedder(name, batch_size=batch_size or 64), name
    except xw.errors.DesignError:
        if asked != "auto":
            raise
        return None, "TF-IDF"


def mediators(frame: pd.DataFrame) -> list[str]:
    """Names of the components."""
    return [name for name in frame if str(name).startswith("text_")]


def table_study(case: Case, frame: pd.DataFrame) -> Any:
    """Say which column is what: prompt -> text -> outcome."""
    return xw.TableStudy.from_frame(
        frame.drop(columns=case.reasoning),
        f"{case.prompt} -> {' + '.join(mediators(frame))} -> {case.outcome}",
        adjust=list(case.covariates),
        levels=case.levels,
        cluster=case.question,
    )


# -- the answers


def by_statsmodels(case: Case, frame: pd.DataFrame, study: Any) -> tuple[list[Any], Any]:
    """Fit every component and the outcome by statsmodels; put the fits into the formula.

    E[Y(a, M(b))] = mean over rows of E[Y | a, E[M | b, x], x], as the outcome is linear in M.
    """
    import statsmodels.formula.api as smf

    data = frame.assign(**{case.prompt: pd.Categorical(frame[case.prompt], case.levels)})
    given = " + ".join([case.prompt, *case.covariates])
    first = [smf.ols(f"{name} ~ {given}", data).fit() for name in mediators(frame)]
    crossed = f"{case.prompt} * ({' + '.join(mediators(frame))})"
    last = smf.ols(f"{case.outcome} ~ {' + '.join([crossed, *case.covariates])}", data).fit()
    method = xw.Regression(mediator=first, outcome=last)
    return [*first, last], xw.estimate(study, method, ASKED)


def by_network(case: Case, study: Any) -> Any:
    """Learn the components by a hidden layer; every replicate trains it again."""
    method = xw.LearnedMediator(
        "neural", outcome="linear", hidden=8, batch_size=case.batch_size, seed=case.seed
    )
    return xw.estimate(
        study, method, ASKED, inference=xw.Bootstrap(draws=case.draws, seed=case.seed)
    )


def by_robust(case: Case, study: Any, *, linear: bool = False) -> Any:
    """Cross-fitted influence functions; no model of the text, right if half the models are."""
    outcome, treatment = ("linear", "logistic") if linear else ("boosting", "boosting")
    method = xw.MultiplyRobust(outcome=outcome, treatment=treatment, seed=case.seed)
    return xw.estimate(study, method, ASKED)


def few(study: Any) -> bool:
    """Whether there are too few rows for trees over the components of a text.

    Over twenty samples of 400 rows their estimates spread by 1.4 times the standard error
    (studies/demo_seeds.py); linear and logistic models keep within it.
    """
    return len(study) < ROWS


def by_dowhy(case: Case, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """DoWhy draws the graph: its own regression for te, our estimator inside it for nde and nie.

    DoWhy 0.14's own nde and nie take the first of several mediators and give no interval.
    """
    if find_spec("dowhy") is None:
        return []
    import networkx as nx
    from dowhy import CausalModel

    coded = pd.get_dummies(frame[list(case.covariates)].astype("category"), drop_first=True)
    coded.columns = [f"x{j}" for j in range(coded.shape[1])]
    a, y, between, given = case.prompt, case.outcome, mediators(frame), list(coded)
    arm = (frame[a] == case.levels[1]).astype(int)
    columns = [y, case.question, *between]
    data = pd.concat([frame[columns], coded.astype(int), arm.rename(a)], axis=1)
    arrows = [(x, v) for x in given for v in (a, *between, y)]
    arrows += [(a, v) for v in (*between, y)] + [(m, y) for m in between]
    model = CausalModel(data, a, y, graph=nx.DiGraph(arrows))
    total = model.estimate_effect(
        model.identify_effect(proceed_when_unidentifiable=True),
        method_name="backdoor.linear_regression",
        confidence_intervals=True,
    )
    low, high = np.ravel(total.get_confidence_intervals())
    error = float(np.ravel(total.get_standard_error())[0])
    rows = [{"method": "DoWhy", "term": "te", "estimate": float(total.value), "std_error": error}]
    rows[0] |= {"conf_low": float(low), "conf_high": float(high)}
    for name in ("nde", "nie"):
        inside = model.estimate_effect(
            model.identify_effect(estimand_type=f"nonparametric-{name}"),
            method_name="mediation.crossworld.interop.dowhy.MediationEstimator",
            method_params={
                "method": xw.LearnedMediator(outcome="linear"),
                "mediators": between,
                "roles": {"adjust": given, "cluster": case.question},
            },
        )
        rows.append(entry("DoWhy", name, inside.effects[name]))
    return rows


def naive(case: Case, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Active minus reference on hard questions, minus the same on easy ones.

    Whoever reports it as the effect of reasoning takes easy questions to need none.
    """
    if not case.easy or not case.covariates:
        return []
    easy = frame[case.covariates[0]].astype(str).isin(case.easy)
    if easy.all() or not easy.any():
        return []
    plain = frame.assign(hard=np.where(easy, "easy", "hard"))
    path = f"{case.prompt} -> {mediators(frame)[0]} -> {case.outcome}"
    study = xw.TableStudy.from_frame(
        plain.drop(columns=case.reasoning), path, levels=case.levels, cluster=case.question
    )
    row = xw.naive(study, untouched=("hard", "easy"), link="identity")["untouched group", "total"]
    return [entry(NAIVE, "nie", row)]


def by_replay(case: Case) -> Any:
    """Read the experiment, where there is one: each reasoning shown under each prompt."""
    file = case.folder / "replay.toml"
    return xw.load_spec(file).run() if file.exists() else None


def knowing(case: Case, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Ask again with numbers made by somebody who knows what the answer depends on."""
    if case.expert is None:
        return []
    numbers = np.asarray(case.expert(frame[case.reasoning].astype(str).tolist()))
    varied = numbers[:, numbers.std(axis=0) > 0]
    if varied.shape[1] < 2:
        return []
    bare = frame.drop(columns=mediators(frame))
    columns = {f"text_{j + 1}": column for j, column in enumerate(varied.T)}
    return tidy(KNOWING, by_robust(case, table_study(case, bare.assign(**columns))))


def sensitivity(study: Any) -> Any:
    """Bound what an unmeasured common cause of reasoning and answer could do."""
    method = xw.MultiplyRobust(outcome="linear", treatment="logistic")
    return xw.sensitivity.omitted_confounding(study, method)


# -- telling


def write(case: Case, found: dict[str, Any], replayed: Any) -> None:
    """Write the comparison, the statsmodels fits, the identification and the reports."""
    folder, answer, rows = case.folder, found["answer"], found["rows"]
    pd.DataFrame(rows).to_csv(folder / "comparison.csv", index=False)
    fits = "\n\n".join(str(fit.summary()) for fit in found["models"])
    stamps = ("Date:", "Time:")  # of the run, not of the fit
    kept = [line for line in fits.splitlines() if not line.startswith(stamps)]
    write_text(folder / "models.txt", "\n".join(kept) + "\n")
    told = [story(QUESTION, found["numbers"], rows), side_by_side(rows)]
    licence = {"observational": answer.identification}
    if replayed is not None:
        licence["replay"] = replayed.identification
        replayed.report(folder / "replay.html", exhibits=told)
    write_text(folder / "identification.json", json.dumps(licence, indent=1) + "\n")
    answer.report(folder / "report.html", exhibits=[*told, *contours(found["sensitivity"])])


def main() -> None:
    """Analyse the folder this file stands in."""
    case, found = Case(Path(__file__).resolve().parent), dict[str, Any]()
    for number, words in enumerate(steps(case, found), start=1):
        print(f"{number:2d}/{len(STEPS)} {words}", flush=True)
    print("", found["numbers"], "", beside(found["rows"]), "", found["answer"], "", sep="\n")
    print(found["sensitivity"], "", verdict(found["rows"]), sep="\n")


if __name__ == "__main__":
    main()
