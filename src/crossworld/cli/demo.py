"""``crossworld demo``: the main job on data that ship inside the package, from start to report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from crossworld.cli.output import say
from crossworld.cli.progress import shown, stages
from crossworld.datasets.shipped import SPEC, diabetes
from crossworld.errors import DesignError, SpecError
from crossworld.io import write_text
from crossworld.spec import load_spec

MOST, FEWEST = 1000, 40  # prompts recorded; prompts below which the models have too few rows
STORY = """\
442 people with diabetes were measured, and a year later the progression of their disease.
Those with a higher body mass index fared worse. How much of that runs through their blood serum?

Compared: a body mass index of 30 with one of 25. Mediators: six serum measures, jointly.
"""
REASONING = """\
A small language model that ships with crossworld added digits in writing: {n:,} sums, each under
two prompts. Told to be careful it is right more often than told to be hasty. Because of what it
then writes?

Compared: careful with hasty. Mediator: the text of the reasoning. Outcome: the answer is right.
"""
TABLE = """\
# Does the reasoning do anything? Natural traces: the text as numbers, made by analysis.py.
[study]
kind = "table"
data = "embedded.csv"
path = "prompt -> text_* -> correct"
adjust = ["difficulty"]
levels = ["hasty", "careful"]
cluster = "question"

[estimator]
name = "LearnedMediator"  # multi-output linear; mediator = "neural" is a shallow network
outcome = "linear"

[ask]
effects = ["te", "nde", "nie"]
refute = [
    {name = "placebo", draws = 40},
    {name = "placebo-mediator", draws = 40},
    {name = "dummy-outcome", draws = 40},
    {name = "random-common-cause", draws = 20},
    {name = "subset", draws = 20},
    "overlap",
]
"""
REPLAY = """\
# Does the reasoning do anything? Every text was shown to the model under both prompts.
[study]
kind = "reasoning"
data = "replay.csv"
question = "question"
prompt = "prompt"
reasoning = "reasoning"
outcome = "p_answer"
draw = "draw"
wording = "wording"
replayed = "replayed"
levels = ["hasty", "careful"]

[ask]
effects = ["te", "nde", "nie"]
"""
TRACES = ["question", "prompt", "reasoning", "correct", "difficulty"]
READOUTS = ["question", "wording", "prompt", "reasoning", "draw", "replayed", "p_answer"]
MADE = (
    "embedded.csv",
    "comparison.csv",
    "models.txt",
    "identification.json",
    "report.html",
    "replay.html",
)
LEARNED_FROM = 2000  # texts of the reference


class Example(StrEnum):
    """The examples that ship."""

    reasoning = "reasoning"
    diabetes = "diabetes"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the flags of the reasoning example say."""

    n: int
    live: bool
    embedder: str
    batch_size: int | None
    seed: int


def keep(file: Path, text: str) -> None:
    """Write a file of the demo, but never over another one of that name."""
    differs(file, text)
    write_text(file, text)


def differs(file: Path, text: str) -> None:
    """Refuse a file that is there and holds something else.

    Raises
    ------
    DesignError
        Naming it.
    """
    if file.exists() and (not file.is_file() or file.read_bytes() != text.encode()):
        raise DesignError(f"{str(file)!r} is there already and differs; name another --out folder")


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for report, data, spec and script.")
    ] = Path(),
    example: Annotated[
        Example, typer.Option("--example", help="The reasoning of a model, or a plain table.")
    ] = Example.reasoning,
    n: Annotated[int, typer.Option("--n", help="Prompts; 200 is the small run.")] = MOST,
    live: Annotated[
        bool, typer.Option("--live", help="Run the model now (the 'local' extra).")
    ] = False,
    embedder: Annotated[
        str,
        typer.Option(
            "--embedder",
            help="tfidf, a sentence-transformers model, or auto: all-MiniLM-L6-v2 if it is here.",
        ),
    ] = "auto",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Texts embedded, rows learned at once.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the prompts drawn and the models.")] = 0,
) -> None:
    """Run a mediation analysis from start to report, on an example that ships with the package."""
    folder(out)
    if example is Example.diabetes:
        on_diabetes(out)
        return
    for name, number, least, most in (
        ("--n", n, FEWEST, MOST),
        ("--batch-size", batch_size, 1, None),
        ("--seed", seed, 0, None),
    ):
        if number is not None and not least <= number <= (most or number):
            upto = f" to {most:,}" if most else " or more"
            raise SpecError(f"{name} is {least}{upto}, got {number}")
    on_reasoning(out, Settings(n, live, embedder, batch_size, seed))


def folder(out: Path) -> None:
    """Make the folder.

    Raises
    ------
    DesignError
        If it is a file or cannot be made.
    """
    if out.is_file():
        raise DesignError(f"--out {str(out)!r} is a file; name a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DesignError(f"--out {str(out)[:100]!r} is no folder: {error.strerror}") from None


def on_diabetes(out: Path) -> None:
    """Analyse the plain table."""
    given = {"diabetes.csv": diabetes().to_csv(index=False), "diabetes.toml": SPEC}
    put(out, given, ("report.html",))
    say(STORY)
    result = load_spec(out / "diabetes.toml").run()
    say(result)
    result.report(out / "report.html")
    say(
        f"\nreport:  {out / 'report.html'}   (open it in a browser)"
        f"\nagain:   crossworld run {out / 'diabetes.toml'}"
        "\nyours:   crossworld mediate DATA.csv 'treatment -> mediator -> outcome' --adjust a,b"
    )


def put(out: Path, given: Mapping[str, str], made: tuple[str, ...]) -> None:
    """Write the inputs of an example, unless that would cost somebody a file.

    Parameters
    ----------
    out
        The folder.
    given
        Names and contents of the inputs.
    made
        Names of what the example will make of them. One that is there already belongs to the
        example only if its inputs are there too, as they would be written.

    Raises
    ------
    DesignError
        Naming the first file in the way; nothing is written then.
    """
    for name, text in given.items():
        differs(out / name, text)
    if not all((out / name).exists() for name in given):
        for name in made:
            if (out / name).exists():
                raise DesignError(
                    f"{str(out / name)!r} is there already and not of this example; name another "
                    "--out folder"
                )
    for name, text in given.items():
        write_text(out / name, text)


def on_reasoning(out: Path, asked: Settings) -> None:
    """Analyse the recorded (or live) traces five ways."""
    from crossworld.cli import beside
    from crossworld.cli import reasoning_example as analysis

    told, found = REASONING.format(n=asked.n), dict[str, Any]()
    embedder, _ = analysis.encoder(asked.embedder, asked.batch_size)  # or refused, before a file is
    put(out, inputs(asked, Path(analysis.__file__).read_text(encoding="utf-8")), MADE)
    case = analysis.Case(
        out, embedder=embedder or "tfidf", batch_size=asked.batch_size, seed=asked.seed
    )
    with stages(analysis.STEPS) as step:
        for words in analysis.steps(case, found):
            step(words)
    say(told)
    say(f"Text as numbers: {found['numbers']}.\n")
    say(beside.beside(found["rows"]))
    if find_spec("dowhy") is None:
        say("(DoWhy is left out: pip install 'crossworld[dowhy]')")
    say(f"\n{beside.verdict(found['rows'])}\n")
    say(found["answer"])
    say(f"\n{found['sensitivity']}")
    say(
        f"\nreport:   {out / 'report.html'}, and of the experiment {out / 'replay.html'}"
        f"\nagain:    python {out / 'analysis.py'}, or crossworld run {out / 'mediation.toml'}"
        f"\nyours:    put your traces into {out / 'reasoning.csv'}: see the head of analysis.py"
        "\na table:  crossworld demo --example diabetes"
    )


def inputs(asked: Settings, script: str) -> dict[str, str]:
    """Names and contents of what is analysed."""
    from crossworld.reasoning.pocket import pocket_recording

    rows = pocket_recording("hasty-careful")
    other = rows[(rows["replayed"] == 0) & (rows["wording"] != "0")]
    if asked.live:
        with shown("asking the model") as bar:
            rows = answered(asked, bar)
    names = chosen(sorted(rows["question"].unique()), asked)
    rows = rows[rows["question"].isin(names)]
    traces = rows[(rows["replayed"] == 0) & (rows["wording"] == "0") & (rows["draw"] == 0)]
    # the text is what was shown or written; in the readouts `reasoning` names its author
    traces = traces.assign(reasoning=traces["shown"].fillna(""))
    traces = traces.assign(difficulty=traces["difficulty"].astype(str) + " terms")
    return {
        "reasoning.csv": traces[TRACES].to_csv(index=False),
        "reference.csv": other[["shown"]].head(LEARNED_FROM).to_csv(index=False),
        "replay.csv": rows[READOUTS].to_csv(index=False),
        "mediation.toml": TABLE,
        "replay.toml": REPLAY,
        "analysis.py": script,
    }


def answered(asked: Settings, bar: Callable[[int, int], None] | None) -> Any:
    """Ask the model now: the recorded questions, or with another seed than 0 new ones."""
    from crossworld.reasoning.pocket import pocket_live, pocket_questions

    new = {"seed": asked.seed} if asked.seed else {}
    return pocket_live(questions=pocket_questions(asked.n, **new), seed=asked.seed, progress=bar)


def chosen(names: list[str], asked: Settings) -> list[str]:
    """The first prompts, or a draw of them by the seed."""
    if asked.seed == 0 or asked.live or asked.n >= len(names):
        return names[: asked.n]
    import numpy as np

    drawn = np.random.default_rng(asked.seed).choice(len(names), size=asked.n, replace=False)
    return [names[j] for j in sorted(drawn.tolist())]
