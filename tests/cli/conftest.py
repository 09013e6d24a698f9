"""Every test of the command runs in an empty folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .command import DOORS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """How the analysis is asked for: ``mediate``, ``run`` or Python."""
    return str(request.param)
