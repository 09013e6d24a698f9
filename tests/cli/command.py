"""The command as a user meets it, run in this process; and a small table to run it on."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import crossworld as xw
from crossworld.cli.main import main
from crossworld.errors import CrossworldError

N = 60
PATH = "a -> m -> y"
ARM = np.arange(N) % 2
LONGEST = 1200  # characters of a message that a person still reads


@dataclass(frozen=True)
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str
    warned: tuple[str, ...]


def crossworld(*words: object) -> Run:
    """Run ``crossworld WORDS`` in this process; Python warnings are recorded, not raised."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["crossworld", *map(str, words)]
    code: object = 0
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            warnings.catch_warnings(record=True) as seen,
        ):
            warnings.simplefilter("always")
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
    finally:
        sys.argv = argv
    assert isinstance(code, int)
    told = tuple(f"{w.category.__name__}: {w.message}" for w in seen)
    return Run(code, out.getvalue(), err.getvalue(), told)


def refused(run: Run, *fragments: str, code: int = 2) -> str:
    """Check that a command was refused with one clear message that holds the fragments."""
    assert "Traceback" not in run.err, run.err[-1500:]
    assert run.code == code, run.err or run.out
    assert run.out == "", "a refused command prints nothing on stdout"
    assert run.warned == ()
    assert run.err.startswith("error: ")
    message = run.err.removeprefix("error: ").removesuffix("\n")
    assert "\n" not in message, "one message is one line"
    _readable(message, fragments)
    return message


def misused(run: Run, *fragments: str) -> None:
    """Check that the words of a command were refused: the usage, and what is wrong with it."""
    assert "Traceback" not in run.err, run.err[-1500:]
    assert run.code == 2
    assert run.warned == ()
    assert run.out == ""
    plain = " ".join(run.err.replace("│", " ").split())
    for fragment in fragments:
        assert fragment in plain, plain


def done(run: Run) -> str:
    """Check that a command ended well, and return what it printed."""
    assert run.code == 0, run.err
    assert run.err == ""
    assert run.warned == ()
    return run.out


def _readable(message: str, fragments: Sequence[str]) -> None:
    for fragment in fragments:
        assert fragment in message, f"{fragment!r} is not in: {message}"
    assert len(message) <= LONGEST, f"{len(message)} characters: {message[:200]} ..."
    for internal in ("NoneType", "object has no", "<class", "0x7f", "np.str_", "\x1b"):
        assert internal not in message, message


def columns(**changes: Any) -> dict[str, Any]:
    """A table of 60 rows: treatment a, covariate x, mediator m, outcome y, weights w, cluster g."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    m = 0.5 * ARM + 0.3 * x + rng.normal(size=N)
    y = 0.4 * ARM + 0.6 * m + 0.2 * x + rng.normal(size=N)
    w, g = rng.uniform(0.5, 2.0, N), np.arange(N) // 5
    return {"a": ARM, "x": x, "m": m, "y": y, "w": w, "g": g, **changes}


def at(values: Any, row: int, new: Any) -> Any:
    """A column with one value replaced."""
    changed = np.array(values, dtype=object if isinstance(new, str) else float)
    changed[row] = new
    return changed


def write(table: Mapping[str, Any], file: str = "t.csv") -> str:
    """Write columns as csv in the working folder."""
    pd.DataFrame(table).to_csv(file, index=False)
    return file


def numbers(file: str | Path) -> dict[str, list[float | None]]:
    """Rows of a result file by term."""
    fields = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
    held = json.loads(Path(file).read_text(encoding="utf-8"))
    return {row["term"]: [row[f] for f in fields] for row in held["effects"]}


@dataclass(frozen=True)
class Ask:
    """One analysis, to be asked for through any of the three doors."""

    table: Mapping[str, Any] = field(default_factory=columns)
    path: str = PATH
    study: Mapping[str, Any] = field(default_factory=dict)
    estimator: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=lambda: {"name": "Wald"})
    effects: Sequence[str] = ("te", "nde", "nie")

    def words(self) -> list[str]:
        """The analysis as words of ``crossworld mediate``."""
        found = ["mediate", write(self.table), self.path]
        for name, value in self.study.items():
            listed = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            found += [f"--{name}", listed]
        for name, value in self.estimator.items():
            text = value if isinstance(value, str) else json.dumps(value)
            found += ["--set", f"{name}={text}"]
        inference = dict(self.inference)
        found += ["--inference", inference.pop("name")]
        for name, value in inference.items():
            found += [f"--{name}", str(value)]
        return [*found, "--effects", ",".join(self.effects)]

    def document(self) -> dict[str, Any]:
        """The analysis as a spec."""
        told = {k: list(v) if isinstance(v, tuple) else v for k, v in self.study.items()}
        return {
            "study": {"data": write(self.table), "path": self.path, **told},
            "estimator": {"name": "Regression", **self.estimator},
            "inference": dict(self.inference),
            "ask": {"effects": list(self.effects)},
        }

    def python(self) -> xw.EffectTable:
        """The analysis in Python, on a frame in memory."""
        study = xw.TableStudy.from_frame(pd.DataFrame(self.table), self.path, **self.study)
        inference = dict(self.inference)
        how = {"Wald": xw.Wald, "Bootstrap": xw.Bootstrap, "Simulation": xw.Simulation}
        return xw.estimate(
            study,
            xw.Regression(**self.estimator),
            [xw.estimand(text) for text in self.effects],
            inference=how[inference.pop("name")](**inference),
        )


def by_mediate(ask: Ask, *outputs: str) -> Run:
    return crossworld(*ask.words(), *outputs)


def by_run(ask: Ask, *outputs: str) -> Run:
    Path("spec.json").write_text(json.dumps(ask.document()))
    return crossworld("run", "spec.json", *outputs)


def by_python(ask: Ask, *outputs: str) -> Run:
    """Python, in the clothes of a command, so that one check serves all doors."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            ask.python()
        except CrossworldError as error:
            told = tuple(f"{w.category.__name__}: {w.message}" for w in seen)
            return Run(error.exit_code, "", f"error: {error}\n", told)
    return Run(0, "", "", ())


DOORS: dict[str, Callable[..., Run]] = {"mediate": by_mediate, "run": by_run, "python": by_python}
OUTPUTS = ("--json", "out.json", "--report", "out.html")


def refuses(door: str, ask: Ask, *fragments: str, code: int = 2) -> str:
    """Ask through a door for both output files; check the refusal, and that nothing is left."""
    message = refused(DOORS[door](ask, *OUTPUTS), *fragments, code=code)
    left = {p.name for p in Path().iterdir()} - {"t.csv", "spec.json"}
    assert not left, f"a refused command left {sorted(left)}"
    return message
