"""Help that a person can use: every option, in words, within a terminal's width."""

from __future__ import annotations

import re

import pytest

import crossworld as xw

from .command import crossworld, done

OPTIONS = {
    "mediate": (
        "--adjust", "--levels", "--cluster", "--weights", "--missing", "--event", "--estimator",
        "--set", "--inference", "--draws", "--seed", "--level", "--effects", "--json", "--report",
        "--intermediate", "--workers", "--track",
    ),
    "run": ("--json", "--report", "--track"),
    "demo": ("--out", "--n", "--live", "--embedder", "--batch-size", "--seed", "--example"),
    "watch": (
        "--window", "--step", "--time", "--lag", "--alpha", "--reference", "--state", "--gauges",
        "--plot", "--json", "--once", "--every", "--port",
    ),
}  # fmt: skip


def lines(*words: str) -> list[str]:
    return done(crossworld(*words)).splitlines()


def test_the_command_lists_its_commands_with_what_they_do() -> None:
    text = "\n".join(lines("--help"))
    assert "how much of an effect travels through which path" in text
    for command in OPTIONS:
        row = re.search(rf"{command}\s+(\S.*)", text)
        assert row is not None
        assert len(row.group(1).split()) >= 4


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_is_explained(command: str) -> None:
    text = "\n".join(lines(command, "--help"))
    for option in OPTIONS[command]:
        row = re.search(rf"{option}\s+(?:<\w+>|[A-Z=]+)?\s+(\S.*)", text)
        assert row is not None, option
        assert len(row.group(1).split()) >= 3, f"{option}: {row.group(1)}"


@pytest.mark.parametrize("command", OPTIONS)
def test_no_option_is_there_that_the_contract_does_not_know(command: str) -> None:
    found = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", "\n".join(lines(command, "--help"))))
    assert found - set(OPTIONS[command]) - {"--help"} <= {
        "--graph",
        "--draws",
        "--assume",
        "--refute",
    }


@pytest.mark.parametrize("command", ["", *OPTIONS])
def test_help_fits_a_terminal(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, lines(*command.split(), "--help"))) <= 80


def test_arguments_are_explained() -> None:
    text = " ".join("\n".join(lines("mediate", "--help")).replace("\u2502", " ").split())
    assert "A csv or parquet file." in text
    assert "'treatment -> mediator -> outcome'" in text
    assert "'m1 + m2' is a joint block, 'm1 -> m2'" in text
    assert "A TOML or JSON spec, or a result." in "\n".join(lines("run", "--help"))


def test_version() -> None:
    assert lines("--version") == [f"crossworld {xw.__version__}"]
