"""Vig et al. (2020): the published per-sentence effects give the published means."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import crossworld as xw
from crossworld import INT_MED, NDE, NIE, PNIE, TE, TNDE
from crossworld.errors import DesignError, SpecError
from crossworld.internals.published import PROFESSIONS, PublishedEffects


def site(layer: int, head: int) -> str:
    return f"layers.{layer}.heads.{head}.pattern"


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue("shared_data") / "internals"

    def read(model: str) -> PublishedEffects:
        path = folder / f"vig_winobias_attention_{model}_filtered_dev.json"
        if not path.exists():
            pytest.skip(f"{path} is not here")
        return PublishedEffects.read(path)

    return read


@pytest.mark.parametrize(
    ("model", "n", "te", "pnie", "nde"),
    [
        ("gpt2", 87, 0.2493, 0.1820, 0.0794),
        ("distilgpt2", 61, 0.1184, 0.0327, 0.0872),
        ("gpt2_random", 57, 0.0662, 0.0112, 0.0539),
    ],
)
def test_published_means(published, model: str, n: int, te: float, pnie: float, nde: float) -> None:
    held = published(model)
    found = xw.contrast(held.scores(), [TE, NDE, NIE, PNIE, TNDE, INT_MED])
    assert len(held) == n
    value = {row.term: row.estimate for row in found}
    assert value["te"] == pytest.approx(te, abs=5e-5)
    assert value["pnie"] == pytest.approx(pnie, abs=5e-5)
    assert value["nde"] == pytest.approx(nde, abs=5e-5)
    assert value["nie"] == pytest.approx(value["te"] - value["nde"], abs=1e-12)
    assert value["int_med"] == pytest.approx(value["te"] - value["nde"] - value["pnie"], abs=1e-12)


def test_the_files_own_means(published) -> None:
    """The means that the authors' code wrote into the file."""
    held = published("gpt2")
    found = xw.contrast(held.scores(), [TE, NIE, NDE, PNIE])
    assert found["te"].estimate == pytest.approx(0.24927373829191876, abs=1e-12)
    assert found["pnie"].estimate == pytest.approx(0.18203134399712417, abs=1e-12)
    assert found["nde"].estimate == pytest.approx(0.0793626836986393, abs=1e-12)
    assert found["nie"].estimate == pytest.approx(0.1699, abs=5e-5)


def test_interval_over_sentences(published) -> None:
    """The percentile interval of the notes, [.134, .237], up to Monte Carlo error."""
    scores = published("gpt2").scores()
    row = xw.contrast(scores, [PNIE], inference=xw.Bootstrap(draws=4000, seed=0))["pnie"]
    assert row.conf_low == pytest.approx(0.134, abs=0.004)
    assert row.conf_high == pytest.approx(0.237, abs=0.004)


def test_top_heads(published) -> None:
    held = published("gpt2")
    rows = sorted(xw.contrast(held.scores(), held.sweep(PNIE)), key=lambda row: -row.estimate)
    assert [row.term for row in rows[:4]] == [
        f"pnie[{site(*at)}]" for at in ((5, 8), (5, 10), (4, 6), (5, 9))
    ]
    assert [row.estimate for row in rows[:4]] == pytest.approx(
        [0.055, 0.036, 0.032, 0.030], abs=5e-4
    )
    assert len(rows) == 144


def test_bands_over_heads_are_wider_and_leave_few(published) -> None:
    held = published("gpt2")
    asked = held.sweep(PNIE)
    alone = xw.contrast(held.scores(), asked)
    together = xw.contrast(held.scores(), asked, inference=xw.Multiplier(draws=2000, seed=0))
    first = f"pnie[{site(5, 8)}]"
    assert together[first].conf_low < alone[first].conf_low
    clear = {row.term for row in together if row.conf_low > 0}
    assert first in clear
    assert len(clear) < sum(row.conf_low > 0 for row in alone)


def test_clusters_are_unordered_pairs_of_professions(published) -> None:
    held = published("gpt2_random")
    codes = held.professions()
    assert codes.shape == (57,)
    assert codes.max() + 1 == 56
    (pair,) = np.flatnonzero(np.bincount(codes) == 2)
    one, two = (held.texts[i].lower() for i in np.flatnonzero(codes == pair))
    named = [{p for p in PROFESSIONS if f"the {p}" in text} for text in (one, two)]
    assert named[0] == named[1]
    by_pair = xw.contrast(held.scores(units="professions"), [PNIE])
    assert by_pair.diagnostics["n_clusters"] == 56
    assert by_pair["pnie"].estimate == xw.contrast(held.scores(), [PNIE])["pnie"].estimate


def row(
    text: str, total: float, indirect: float, direct: float, heads: object
) -> dict[str, object]:
    heads = np.asarray(heads, dtype=float)
    return {
        "base_string1": text,
        "total_effect": total,
        "indirect_effect_model": indirect,
        "direct_effect_model": direct,
        "indirect_effect_head": heads.tolist(),
        "direct_effect_head": (total - heads).tolist(),
        "indirect_effect_layer": heads.sum(axis=1).tolist(),
        "direct_effect_layer": (total - heads.sum(axis=1)).tolist(),
    }


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two sentences, two layers of two heads."""
    rows = [
        row("The nurse met the driver because she", 0.5, 0.3, 0.1, [[0.1, 0.2], [0.0, -0.1]]),
        row("The driver met the nurse because she", 0.1, 0.1, 0.0, [[0.3, 0.1], [0.2, 0.1]]),
    ]
    file = tmp_path / "made.json"
    file.write_text(json.dumps({"model_version": "tiny", "results": rows}), encoding="utf-8")
    return file


def test_cells_of_a_head_and_of_a_layer(made: Path) -> None:
    held = PublishedEffects.read(made)
    scores = held.scores()
    assert held.model == "tiny"
    assert scores.values.shape == (2, 4 + 4 + 8)
    asked = [*held.sweep(PNIE), *held.sweep(NDE, [site(0, 1)]), *held.sweep(PNIE, held.layers)]
    value = {r.term: r.estimate for r in xw.contrast(scores, asked)}
    assert value[f"pnie[{site(0, 0)}]"] == pytest.approx(0.2)
    assert value[f"pnie[{site(1, 1)}]"] == pytest.approx(0.0)
    assert value[f"nde[{site(0, 1)}]"] == pytest.approx((0.3 + 0.0) / 2)
    assert value["pnie[layers.0.heads.*.pattern]"] == pytest.approx(0.35)
    assert value["pnie[layers.1.heads.*.pattern]"] == pytest.approx((-0.1 + 0.3) / 2)


def test_the_order_of_professions_does_not_matter(made: Path) -> None:
    assert PublishedEffects.read(made).professions().tolist() == [0, 0]


def test_scores_survive_a_file(made: Path, tmp_path: Path) -> None:
    scores = PublishedEffects.read(made).scores(units="professions")
    scores.save(tmp_path / "scores.npz")
    again = xw.Scores.load(tmp_path / "scores.npz")
    assert again.cells == scores.cells
    np.testing.assert_array_equal(again.values, scores.values)


def test_sites_that_were_not_published_are_named(made: Path) -> None:
    held = PublishedEffects.read(made)
    with pytest.raises(SpecError, match=r"layers\.1\.heads\.1\.pattern"):
        held.sweep(PNIE, ["layers.1.heads.11.pattern"])
    with pytest.raises(SpecError, match="examples"):
        held.scores(units="example")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("results"), "no list 'results'"),
        (lambda d: d["results"][1].pop("total_effect"), "row 1 .* no 'total_effect'"),
        (lambda d: d["results"][0].update(total_effect="much"), "'total_effect' .* not a number"),
        (lambda d: d["results"][0].update(total_effect=float("nan")), "row 0 .* not finite"),
        (lambda d: d["results"][0].update(indirect_effect_head=[0.1]), "not a grid of one shape"),
        (lambda d: d["results"][0].update(base_string1="The cat met the nurse"), "names 1 of"),
    ],
)
def test_broken_files_are_refused(made: Path, change, told: str) -> None:
    held = json.loads(made.read_text(encoding="utf-8"))
    change(held)
    made.write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(DesignError, match=told):
        PublishedEffects.read(made).professions()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match=r"nothing\.json"):
        PublishedEffects.read(tmp_path / "nothing.json")
