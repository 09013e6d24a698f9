"""The page in a real browser: it renders, fits, obeys keys and preferences, and passes axe-core."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from crossworld.core.table import EffectTable
from crossworld.report import html

from .chromium import Chromium, executable, started
from .samples import HOSTILE, effect, everything, identification, jobs, spec

LONG = "a_column_name_without_any_place_to_break_" * 3
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 28)"
PAPER = "getComputedStyle(document.body).backgroundColor"
OPEN = "document.querySelectorAll('details').forEach(d => d.open = true)"
TAB, RIGHT = 9, 39


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if executable() is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with ExitStack() as stack:
        try:
            found = stack.enter_context(started(tmp_path_factory.mktemp("profile")))
        except (EOFError, OSError) as error:  # a timeout is one of the latter
            pytest.skip(f"chromium does not run here: {error!r}")
        yield found


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core: the file named by CROSSWORLD_AXE, or that of axe-core-python."""
    named = os.environ.get("CROSSWORLD_AXE")
    if named:
        return Path(named).read_text(encoding="utf-8")
    found = find_spec("axe_core_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core is not here: pip install axe-core-python, or set CROSSWORLD_AXE")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def hostile() -> EffectTable:
    """Names that would break a page that did not escape or wrap them."""
    rows = (
        *jobs().rows,
        effect(f"cde({LONG}=1)", 1.0, 0.5, 1.5),
        effect(HOSTILE, 1.0, 0.5, None),
        effect("nie[處理 \u202e→ 結果]", None),
    )
    path = f"{HOSTILE} -> {LONG} -> 結果{HOSTILE}"
    table = jobs(rows, spec=spec(path, adjust=[LONG, '"><img src=x onerror=alert(1)>']))
    return table.with_exhibits(everything(HOSTILE + LONG))


def bare() -> EffectTable:
    return EffectTable((effect("te", 1.0, 0.5, 1.5),), 0.95)


def none() -> EffectTable:
    return EffectTable((), 0.95)


def experiment() -> EffectTable:
    told: dict[str, Any] = {**identification(), "by": "experiment", "adjust": []}
    return jobs(identification=told, refutations=()).with_exhibits(everything("layer"))


def sweep() -> EffectTable:
    rows = tuple(effect(f"nie[layers.{j}.mlp @ -1]", 0.1, -0.1, 0.3) for j in range(90))
    return jobs(rows)


PAGES = {
    "jobs": jobs, "hostile": hostile, "bare": bare, "none": none, "experiment": experiment,
    "sweep": sweep,
}  # fmt: skip


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    html.write(PAGES[request.param](), file)
    return file


def show(browser: Chromium, file: Path, *, width: int = 1000, scheme: str = "light") -> None:
    browser.media(color_scheme=scheme, reduced_motion="reduce")
    browser.open(file, width=width)


def test_it_renders_without_a_complaint_and_asks_for_nothing(browser: Chromium, page: Path) -> None:
    show(browser, page)
    assert browser.complaints() == []
    assert browser.requested() == [page.resolve().as_uri()]
    assert browser.ask("document.querySelectorAll('h1').length") == 1
    assert browser.ask("document.querySelector('main').getBoundingClientRect().height") > 300
    assert browser.ask("document.scripts.length") == 0


@pytest.mark.parametrize("width", [320, 360])
def test_nothing_scrolls_sideways(browser: Chromium, page: Path, width: int) -> None:
    show(browser, page, width=width)
    root = "document.documentElement"
    for unfold in ("0", OPEN):
        browser.ask(unfold)
        assert browser.ask(f"[{root}.scrollWidth, {root}.clientWidth]") == [width, width]


@pytest.mark.parametrize(("width", "scheme"), [(1000, "light"), (360, "dark")])
def test_axe_finds_nothing(
    browser: Chromium, page: Path, axe: str, width: int, scheme: str
) -> None:
    show(browser, page, width=width, scheme=scheme)
    browser.ask(OPEN)
    browser.ask(f"{axe};0")
    found = json.loads(
        browser.ask(
            "axe.run(document, {resultTypes: ['violations']}).then(r => JSON.stringify("
            "{ran: r.passes.length, wrong: r.violations.map(v => "
            "[v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)])}))"
        )
    )
    assert found["wrong"] == []
    assert found["ran"] > 10


def test_axe_would_find_something(browser: Chromium, axe: str, tmp_path: Path) -> None:
    """The check can fail: a page of which the captions and labels are taken away does."""
    text = html.render(jobs()).replace('<html lang="en">', "<html>").replace('scope="col"', "")
    text = text.replace('<label><input type="radio"', '<input type="radio"').replace(
        "color: var(--muted)", "color: #e8e8e8"
    )
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    show(browser, tmp_path / "page.html")
    browser.ask(f"{axe};0")
    found = browser.ask("axe.run(document).then(r => r.violations.map(v => v.id))")
    assert {"html-has-lang", "color-contrast", "label"} <= set(found)


@pytest.mark.parametrize(("scheme", "paper"), [("light", LIGHT), ("dark", DARK)])
def test_it_follows_the_device_and_the_reader_may_choose(
    browser: Chromium, tmp_path: Path, scheme: str, paper: str
) -> None:
    html.write(jobs(), tmp_path / "page.html")
    show(browser, tmp_path / "page.html", scheme=scheme)
    assert browser.ask(PAPER) == paper
    browser.ask("document.getElementById('theme-auto').focus()")
    browser.press("ArrowRight", RIGHT)
    assert browser.ask("document.activeElement.id") == "theme-light"
    assert browser.ask(PAPER) == LIGHT
    browser.press("ArrowRight", RIGHT)
    assert browser.ask(PAPER) == DARK
    box = "getComputedStyle(document.querySelector('svg.xw-graph .box, .forest-wide text')).fill"
    assert browser.ask(box) != "rgb(27, 31, 36)"


def test_keys_reach_everything_in_order_and_show_where_they_are(
    browser: Chromium, tmp_path: Path
) -> None:
    html.write(experiment(), tmp_path / "page.html")
    show(browser, tmp_path / "page.html")
    wanted = browser.ask(
        "[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"], input:checked')]"
        ".filter(e => e.checkVisibility()).length"
    )
    seen = []
    for _ in range(wanted):
        browser.press("Tab", TAB)
        seen.append(
            browser.ask(
                "(e => [e.tagName, [...document.querySelectorAll('*')].indexOf(e), "
                "getComputedStyle(e).outlineStyle, e.textContent.slice(0, 40)])"
                "(document.activeElement)"
            )
        )
    assert seen[0][0] == "A" and seen[0][3] == "Skip to the answer"
    places = [place for _, place, _, _ in seen]
    assert places == sorted(places) and len(set(places)) == wanted
    assert [one for one in seen if one[2] == "none"] == []


def test_the_skip_link_leads_to_the_answer(browser: Chromium, tmp_path: Path) -> None:
    html.write(jobs(), tmp_path / "page.html")
    show(browser, tmp_path / "page.html")
    browser.press("Tab", TAB)
    assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0
    browser.ask("document.activeElement.click()")
    assert browser.ask("document.activeElement.id") == "answer"


def test_a_phone_gets_its_own_figures(browser: Chromium, tmp_path: Path) -> None:
    html.write(experiment(), tmp_path / "page.html")
    shown = (
        "[...document.querySelectorAll('svg')].filter(s => s.checkVisibility())"
        ".map(s => s.getAttribute('class')).join(' ')"
    )
    show(browser, tmp_path / "page.html")
    assert "narrow" not in browser.ask(shown) and "forest-wide" in browser.ask(shown)
    show(browser, tmp_path / "page.html", width=360)
    assert "wide" not in browser.ask(shown).replace("sites-2-wide fixed", "")
    assert "forest-narrow" in browser.ask(shown)


def test_the_paper_version_opens_what_is_folded_and_hides_what_cannot_be_used(
    browser: Chromium, tmp_path: Path
) -> None:
    html.write(jobs(), tmp_path / "page.html")
    browser.media(kind="print", color_scheme="dark")
    browser.open(tmp_path / "page.html")
    assert browser.ask(PAPER) == LIGHT
    assert browser.ask("document.querySelector('.theme').checkVisibility()") is False
    assert browser.ask("document.querySelector('details').open") is False
    folded = "document.querySelector('details table').getBoundingClientRect().height"
    assert browser.ask(folded) > 20
    made = base64.b64decode(browser.send("Page.printToPDF")["data"])
    assert made.startswith(b"%PDF") and len(made) > 20_000


def test_motion_is_left_out_for_those_who_ask(browser: Chromium, tmp_path: Path) -> None:
    html.write(bare(), tmp_path / "page.html")
    scroll = "getComputedStyle(document.documentElement).scrollBehavior"
    for motion, wanted in (("reduce", "auto"), ("no-preference", "smooth")):
        browser.media(reduced_motion=motion)
        browser.open(tmp_path / "page.html")
        assert browser.ask(scroll) == wanted
