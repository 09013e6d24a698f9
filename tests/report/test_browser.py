"""The page in a real browser: it fits a phone and follows the theme."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crossworld.report import html

from .samples import effect, jobs, spec

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files",
)  # fmt: skip
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<iframe id="frame" style="border:0;width:360px;height:800px" src="{page}"></iframe>
<script>onload = () => {{
  const inside = document.getElementById("frame").contentDocument;
  const root = inside.documentElement, style = getComputedStyle(inside.body);
  document.body.dataset.told = [root.scrollWidth <= root.clientWidth, style.backgroundColor,
    inside.querySelectorAll("svg").length,
    getComputedStyle(inside.querySelector(".forest-wide")).display,
    getComputedStyle(inside.querySelector(".forest-narrow")).display].join("; ");
}}</script>"""


@pytest.fixture
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


@pytest.mark.parametrize(("scheme", "paper"), [(1, "rgb(255, 255, 255)"), (0, "rgb(20, 24, 28)")])
def test_a_phone_sees_no_horizontal_scroll_and_its_theme(
    browser: str, tmp_path: Path, scheme: int, paper: str
) -> None:
    long = "a_column_name_without_any_place_to_break_" * 3
    rows = (*jobs().rows, effect(f"cde({long}=1)", 1.0, 0.5, 1.5))
    table = jobs(rows, spec=spec(f"treat -> {long} -> y", adjust=[long]))
    html.write(table, tmp_path / "page.html")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page="page.html"))
    done = subprocess.run(
        [browser, *FLAGS, f"--blink-settings=preferredColorScheme={scheme}",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"chromium does not run here: {done.stderr[-200:]}")
    told = re.search(r'data-told="([^"]*)"', done.stdout)
    assert told is not None
    assert told[1].split("; ") == ["true", paper, "2", "none", "block"]
