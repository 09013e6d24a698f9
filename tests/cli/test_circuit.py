"""``crossworld patch circuit``: found on some pairs, tested on others, mistakes are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .command import crossworld, done, numbers
from .test_patch import model, refuses, rows, saved, write  # noqa: F401 - fixtures

torch = pytest.importorskip("torch", reason="the internals of networks need the extra 'local'")

import crossworld as xw  # noqa: E402
from crossworld.cli.circuit import split_study  # noqa: E402
from crossworld.errors import RatioWarning  # noqa: E402

WRITES = ("--circuit", "c.json")


def study() -> xw.PatchStudy:
    return xw.PatchStudy(xw.TorchSubject.load("model"), "pairs.jsonl", "logit_difference")


def test_it_is_what_python_finds_and_measures() -> None:
    write([{**r, "cluster": str(i)} for i, r in enumerate(rows() * 2)])
    out = done(crossworld("patch", "circuit", "model", "pairs.jsonl", "--edges", "12", *WRITES,
                          "--json", "out.json", "--report", "out.html"))  # fmt: skip
    finding, testing = split_study(study(), share=0.5, seed=0)
    assert (len(finding), len(testing)) == (12, 12)
    found = xw.Circuit.top(xw.EdgeAttribution("ig-inputs").scores(finding), 12)
    held = xw.Circuit.load("c.json")
    assert {str(e) for e in held.edges} == {str(e) for e in found.edges}
    with pytest.warns(RatioWarning):  # random weights: there is nothing to explain
        truth = found.faithfulness(testing)
    told = numbers("out.json")
    assert told["faithfulness"][0] == pytest.approx(truth["faithfulness"].estimate, rel=1e-6)
    assert "found on 12 pairs" in out
    assert "<svg" in Path("out.html").read_text(encoding="utf-8")


def test_clusters_stay_whole() -> None:
    write([{**r, "cluster": str(i % 6)} for i, r in enumerate(rows() * 2)])
    held = study()
    finding, testing = split_study(held, share=0.4, seed=3)
    labels = np.asarray(held.pairs.cluster)
    assert not set(labels[finding.units]) & set(labels[testing.units])
    assert len(finding) + len(testing) == len(held)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--search", "bnad"), "Did you mean 'band'"),
        (("--method", "epa"), "eap"),
        (("--edges", "9999999"), "has 0 to"),
        (("--edges", "0"), "1 or more"),
        (("--share", "1"), "between 0 and 1"),
        (("--metric", "logit"), ""),
    ],
)
def test_mistakes_leave_nothing_behind(options: tuple[str, ...], told: str) -> None:
    if options[0] == "--metric":  # too few pairs
        write(rows()[:3])
        told = "at least 4"
    refuses("circuit", "model", "pairs.jsonl", *options, fragments=(told,))
