"""``crossworld serve`` on the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.cli.command import crossworld, done, refused


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = importlib.util.find_spec
    absent = ("fastapi", "uvicorn")
    monkeypatch.setattr(
        "crossworld.serve.need.find_spec", lambda n: None if n in absent else found(n)
    )
    message = refused(crossworld("serve"), "pip install 'crossworld[serve]'")
    assert message.startswith("the service needs")
    assert list(Path().iterdir()) == []


def test_keys_are_made_listed_and_removed() -> None:
    secret = done(crossworld("serve", "--data", "d", "--new-key", "ann")).strip()
    assert secret.startswith("xw_")
    assert len(secret) > 40
    other = done(crossworld("serve", "--data", "d", "--new-key", "bob")).strip()
    assert other != secret
    listed = done(crossworld("serve", "--data", "d", "--keys"))
    assert [line.split()[0] for line in listed.splitlines()] == ["ann", "bob"]
    assert secret not in listed
    assert secret not in Path("d/keys.json").read_text()
    refused(crossworld("serve", "--data", "d", "--new-key", "ann"), "'ann' already")
    refused(crossworld("serve", "--data", "d", "--new-key", "A b"), "'A b'")
    refused(crossworld("serve", "--data", "d", "--remove-key", "an"), "Did you mean 'ann'?")
    done(crossworld("serve", "--data", "d", "--remove-key", "ann"))
    assert "ann" not in done(crossworld("serve", "--data", "d", "--keys"))


def test_wrong_words_are_refused() -> None:
    pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
    refused(crossworld("serve", "--limit", "row=5"), "'row'", "Did you mean 'rows'?")
    refused(crossworld("serve", "--limit", "rows=0"), "rows", "0")
    refused(crossworld("serve", "--limit", "rows"), "rows")
    Path("file").write_text("x")
    refused(crossworld("serve", "--data", "file"), "'file'")
    Path("d").mkdir()
    Path("d/keys.json").write_text("{")
    refused(crossworld("serve", "--data", "d", "--keys"), "keys.json", "damaged")
