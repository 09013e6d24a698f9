"""Output files appear whole or not at all, where they were asked for, and over nothing else."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from threading import Thread

import pytest

from crossworld.errors import DesignError
from crossworld.report import html

from .command import PATH, columns, crossworld, done, refused, write

OPTIONS = ("--json", "--report")


def mediate(*words: str) -> list[str]:
    return ["mediate", write(columns()), PATH, *words]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("target", "fragments"),
    [
        ("nowhere/out.json", ["cannot write 'nowhere/out.json'", "folder"]),
        ("folder", ["cannot write 'folder'", "folder"]),
        ("t.csv/out.json", ["cannot write 't.csv/out.json'"]),
        # defect: OSError "File name too long", exit 1.
        ("x" * 300, ["cannot write", "xxx"]),
        # defect: "cannot write '.'", when it was given no name at all.
        ("", ["cannot write ''"]),
    ],
    ids=["no folder", "is a folder", "parent is a file", "too long", "empty"],
)  # fmt: skip
def test_where_nothing_can_be_written(option: str, target: str, fragments: list[str]) -> None:
    Path("folder").mkdir()
    other = {"--json": "--report", "--report": "--json"}[option]
    refused(crossworld(*mediate(option, target, other, "other.out")), *fragments)
    assert sorted(p.name for p in Path().iterdir()) == ["folder", "t.csv"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_folder_that_may_not_be_written_is_found_before_the_work(option: str) -> None:
    # defect: found after the work: the table is printed, then the error; hours of draws are lost.
    if os.geteuid() == 0:
        closed = Path("/proc")
        if not closed.is_dir():
            pytest.skip("root may write everywhere on this system")
    else:
        closed = Path("closed")
        closed.mkdir(mode=0o500)
    refused(crossworld(*mediate(option, str(closed / "out"))), f"cannot write '{closed}/out'")


def test_one_file_for_both_outputs() -> None:
    # defect: the report takes the place of the JSON file that was just written, exit 0.
    refused(crossworld(*mediate("--json", "out", "--report", "./out")), "--json", "--report", "out")
    assert not Path("out").exists()


@pytest.mark.parametrize("option", OPTIONS)
def test_the_data_are_not_overwritten(option: str) -> None:
    # defect: the data are gone, exit 0.
    words = mediate(option, "./t.csv")
    before = Path("t.csv").read_text()
    refused(crossworld(*words), "t.csv", "data")
    assert Path("t.csv").read_text() == before


@pytest.mark.parametrize("option", OPTIONS)
def test_neither_the_spec_nor_its_data_are_overwritten(option: str) -> None:
    # defect: both are, exit 0.
    write(columns())
    text = f'[study]\ndata = "t.csv"\npath = "{PATH}"\n'
    for target in ("spec.toml", "t.csv"):
        Path("spec.toml").write_text(text)
        before = Path(target).read_text()
        refused(crossworld("run", "spec.toml", option, target), target)
        assert Path(target).read_text() == before


def test_a_result_may_be_refreshed_in_place() -> None:
    done(crossworld(*mediate("--json", "r.json")))
    first = json.loads(Path("r.json").read_text())
    done(crossworld("run", "r.json", "--json", "r.json"))
    assert json.loads(Path("r.json").read_text())["effects"] == first["effects"]


@pytest.mark.parametrize("option", OPTIONS)
def test_a_device_stays_a_device(option: str) -> None:
    """``--json /dev/stdout``: a name that is no regular file is not moved out of the way."""
    # defect: root's `--json /dev/null` replaces the machine's /dev/null by a file.
    os.mkfifo("pipe")
    opened = os.open("pipe", os.O_RDWR)  # both ends, so that neither side waits for the other
    held: list[bytes] = [b""]

    def drain() -> None:
        while not held[-1].endswith(b"\0"):
            held.append(os.read(opened, 1 << 16))

    reader = Thread(target=drain)
    reader.start()  # a page is longer than a pipe is deep
    try:
        run = crossworld(*mediate(option, "pipe"))
    finally:
        os.write(opened, b"\0")
        reader.join()
        os.close(opened)
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    if run.code:
        refused(run, "cannot write 'pipe'")
    else:
        assert b"nie" in b"".join(held)


def test_a_link_is_written_through() -> None:
    # defect: the link becomes a file and the file it points to stays as it was.
    Path("kept").mkdir()
    Path("kept/r.json").write_text("old")
    Path("latest.json").symlink_to("kept/r.json")
    done(crossworld(*mediate("--json", "latest.json")))
    assert Path("latest.json").is_symlink()
    assert json.loads(Path("kept/r.json").read_text())["schema"] == "crossworld/1"


@pytest.mark.parametrize("error", [DesignError("no space"), OSError(28, "No space left")])
def test_when_one_output_fails_the_other_is_not_left(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    # defect: --json is written before --report is made; OSError while writing exits 1.
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(html, "write", full)
    run = crossworld(*mediate("--json", "out.json", "--report", "out.html"))
    assert run.code == 2, run.err[-500:]
    assert "Traceback" not in run.err
    assert [p.name for p in Path().iterdir()] == ["t.csv"]


def test_a_refused_command_keeps_the_results_of_the_last_one() -> None:
    done(crossworld(*mediate("--json", "r.json", "--report", "r.html")))
    before = {name: Path(name).read_bytes() for name in ("r.json", "r.html")}
    for wrong in (["--effects", "nei"], ["--levels", "0,7"], ["--set", "mediator=m ~ q"]):
        refused(crossworld(*mediate("--json", "r.json", "--report", "r.html", *wrong)))
        assert {name: Path(name).read_bytes() for name in before} == before
    assert sorted(p.name for p in Path().iterdir()) == ["r.html", "r.json", "t.csv"]


def test_outputs_replace_older_ones_with_the_rights_of_new_files() -> None:
    Path("fresh").touch()
    Path("r.json").write_text("{}")
    done(crossworld(*mediate("--json", "r.json")))
    assert Path("r.json").stat().st_mode == Path("fresh").stat().st_mode


def test_the_report_is_one_page_that_names_the_question() -> None:
    out = done(crossworld(*mediate("--report", "r.html")))
    assert "report: r.html" in out
    page = Path("r.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "src=" not in page.replace('src="data:', "")
