"""What the README, the docs and the examples show is true: it runs, it exists, links resolve."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RUN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL = [*RUN, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = {"serve": "service.md", "export": "service.md"}  # commands with a page of their own
NO_RUN = "<!-- no-run -->"
NEEDS = re.compile(r"<!-- needs: ([\w ]+) -->")  # modules without which a page is skipped

every_run = pytest.mark.parametrize("file", RUN, ids=lambda f: f.name)
every_file = pytest.mark.parametrize("file", ALL, ids=lambda f: f.name)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it starts on, and whether it is run."""

    language: str
    text: str
    line: int
    run: bool


def blocks(file: Path, language: str) -> list[Block]:
    """Every fenced block of one language."""
    found: list[Block] = []
    lines = file.read_text(encoding="utf-8").splitlines()
    opened: tuple[int, str] | None = None
    for number, line in enumerate(lines):
        fence = re.fullmatch(r"```(\w*)", line)
        if fence is None:
            continue
        if opened is None:
            opened = (number, fence[1])
            continue
        assert not fence[1], f"{file.name}:{number + 1} opens a block inside a block"
        start, name = opened
        before = next((text for text in reversed(lines[:start]) if text.strip()), "")
        text = "\n".join(lines[start + 1 : number]) + "\n"
        found.append(Block(name, text, start + 1, before.strip() != NO_RUN))
        opened = None
    assert opened is None, f"{file.name}: the block of line {opened} is not closed"
    return [b for b in found if b.language == language]


def prose(file: Path) -> str:
    """The text without its fenced blocks and its inline code."""
    text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and figures that open no window."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


@every_run
def test_python_blocks_run(file: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order they are read, in one namespace, in an empty folder, warnings as errors."""
    if any("import torch" in block.text for block in blocks(file, "python")):
        pytest.importorskip("torch", reason="this page needs the extra 'local'")
    import matplotlib as mpl

    mpl.use("Agg")
    needs = NEEDS.search(file.read_text(encoding="utf-8"))
    for name in needs[1].split() if needs else ():
        pytest.importorskip(name)
    module = ModuleType(f"docs_{file.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(file, "python"):
        text = "\n" * block.line + block.text  # so that a traceback names the line of the page
        code = compile(text, str(file), "exec", dont_inherit=True)
        if block.run:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                exec(code, vars(module))


@every_file
def test_links_resolve(file: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(file)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = file if not path else (file.parent / path).resolve()
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(file: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_reachable_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {f.name for f in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def shown(file: Path) -> Iterator[list[str]]:
    """Every command of the sh blocks, as words."""
    for block in blocks(file, "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&;|")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word.strip("&;|"):
                    words.append(word)
                elif words:
                    yield words
                    words = []


@every_file
def test_commands_and_their_options_exist(file: Path) -> None:
    import typer

    from crossworld.cli.main import app

    group = typer.main.get_command(app)
    for words in shown(file):
        if Path(words[0]).name != "crossworld":
            continue
        if len(words) > 1 and words[1].startswith("-"):
            command, arguments = group, words[1:]
        else:
            command, arguments = group, words[1:]
            while hasattr(command, "commands"):
                assert arguments[0] in command.commands, words
                command, arguments = command.commands[arguments[0]], arguments[1:]
        known = {name for p in command.params for name in p.opts} | {"--help"}
        given = {word.split("=")[0] for word in arguments if word.startswith("--")}
        assert given <= known, f"{file.name}: {' '.join(words)}"


@every_file
def test_scripts_and_their_options_exist(file: Path) -> None:
    for words in shown(file):
        script = next((ROOT / w for w in words if w.endswith(".py")), None)
        if script is None:
            continue
        assert script.is_file(), f"{file.name}: {' '.join(words)}"
        text = script.read_text(encoding="utf-8")
        options = [w.split("=")[0] for w in words if w.startswith("--")]
        assert [o for o in options if f'"{o}"' not in text] == [], file.name


@every_file
def test_every_option_of_the_command_is_told(file: Path) -> None:
    """The page about the command line names every option that there is."""
    if file.name != "spec.md":
        return
    import typer

    from crossworld.cli.main import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        page = file.with_name(PAGES.get(name, file.name))
        text = page.read_text(encoding="utf-8")
        assert f"crossworld {name}" in text
        if name == "audit":
            continue  # its options are on the page about reasoning
        options = {o for p in command.params for o in p.opts if o.startswith("--")}
        assert {o for o in options if f"`{o}`" not in text and f"[{o} " not in text} == set()


@every_file
def test_specs_and_documents_are_well_formed(file: Path) -> None:
    from crossworld import catalog
    from crossworld.reasoning.study import ReasoningStudy
    from crossworld.spec import SECTIONS
    from crossworld.tables.study import TableStudy

    for block in blocks(file, "json"):
        json.loads(block.text)
    roles = {"kind", "data", *list(signature(TableStudy.from_frame).parameters)[1:]}
    of_cells = {"kind", "data", *signature(ReasoningStudy.from_cells).parameters}
    classes = {c.__name__: c for c in [*catalog.estimators("tables"), *catalog.inferences()]}
    for block in blocks(file, "toml"):
        document = tomllib.loads(block.text)
        if "arms" in document:
            continue  # a plan of what to collect: tests/cli/test_audit.py
        assert set(document) <= set(SECTIONS)
        study = document.get("study", {})
        assert set(study) <= (of_cells if study.get("kind") == "reasoning" else roles)
        assert set(document.get("ask", {})) <= {"effects", "refute", "level", "assume"}
        for section in ("estimator", "inference"):
            held = dict(document.get(section, {"name": "Regression"}))
            known = {f.name for f in fields(classes[held.pop("name")])}
            assert set(held) <= known, section


def test_every_field_is_told() -> None:
    """The page about the spec names every role of a study and every field of what it describes."""
    import crossworld as xw

    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    told = {
        f.name for c in (xw.Regression, xw.Wald, xw.Bootstrap, xw.Simulation) for f in fields(c)
    }
    told |= set(list(signature(xw.TableStudy.from_frame).parameters)[1:])
    assert {name for name in told if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.name)
def test_examples_run(file: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    monkeypatch.setattr(sys, "argv", [str(file), str(elsewhere)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path(str(file), run_name="__main__")
    assert {"report.html", "result.json", "scores.npz"} <= {f.name for f in elsewhere.iterdir()}
