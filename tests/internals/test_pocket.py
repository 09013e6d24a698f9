"""One law joins the front ends: setting the input embeddings of the reasoning is replaying it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need the extra 'local'")
pytest.importorskip("transformers", reason="the pocket reasoner needs the extra 'local'")

import crossworld as xw  # noqa: E402
from crossworld import M, Y  # noqa: E402
from crossworld.errors import DesignError, SpecError  # noqa: E402
from crossworld.internals.inputs import batch  # noqa: E402
from crossworld.internals.site import Site  # noqa: E402
from crossworld.reasoning.models.protocol import Request  # noqa: E402
from crossworld.reasoning.pocket import (  # noqa: E402
    CHOICES,
    CUE,
    PocketReasoner,
    pocket_pairs,
    pocket_recording,
)
from crossworld.reasoning.pocket.model import WEIGHTS  # noqa: E402
from crossworld.reasoning.pocket.pairs import CONTRASTS  # noqa: E402

REASONING = "embed @ reasoning"
CELLS = (Y(0), Y(1), Y(0, M(1)), Y(1, M(0)))
FEW = 120


@pytest.fixture(scope="module")
def subject() -> xw.TorchSubject:
    return xw.TorchSubject.load(WEIGHTS)


def p_answer(logits: Any, rows: Any) -> Any:
    """Probability of the right digit among the ten; digits follow one another in the alphabet."""
    law = logits[:, -1].double()[:, 9:19].softmax(-1)
    return law[torch.arange(len(law)), torch.as_tensor(rows.answer) - 9]


def study(subject: xw.TorchSubject, contrast: str, *sites: str) -> xw.PatchStudy:
    assert subject.tokenizer.convert_tokens_to_ids(list(CHOICES)) == list(range(9, 19))
    return xw.PatchStudy(subject, pocket_pairs(contrast, questions=FEW), p_answer, sites=sites)


def replayed(rows: list[dict[str, Any]], prompt: str, shown: str) -> np.ndarray:
    """What the reasoner itself answers to a prompt with a text shown."""
    asked = []
    for row in rows:
        start, stop = row["spans"]["reasoning"]
        text = row[shown][start:stop]
        asked.append(Request(row["cluster"], prompt, row[prompt][:start], text, CUE, CHOICES))
    done = PocketReasoner().complete_many(asked)
    return np.array([d.probabilities[r["answer"]] for d, r in zip(done, rows, strict=True)])


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_patched_cells_are_replayed_cells(subject: xw.TorchSubject, contrast: str) -> None:
    rows = pocket_pairs(contrast, questions=FEW)
    scores = xw.Patch().scores(study(subject, contrast, REASONING), CELLS)
    names = ("clean", "corrupt")
    for j, (prompt, shown) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        expected = replayed(rows, names[prompt], names[shown])
        np.testing.assert_allclose(scores.values[:, j], expected, rtol=0, atol=1e-6)
    assert np.abs(scores.values[:, 0] - scores.values[:, 1]).max() > 0.01


def test_the_law_is_exact_to_the_last_bit(subject: xw.TorchSubject) -> None:
    pairs = study(subject, "hasty-careful", REASONING).pairs
    for unit in range(10):
        clean, corrupt = (pairs.batch([unit], level) for level in (0, 1))
        value = subject.run(corrupt, read=(Site.parse(REASONING),)).values
        text = np.array(pairs.clean[unit])
        start, stop = pairs.spans[unit][0]["reasoning"]
        text[start:stop] = pairs.corrupt[unit][start:stop]
        assert not np.array_equal(text, pairs.clean[unit])
        patched = subject.run(clean, write=value).output
        assert torch.equal(patched, subject.run(batch([text])).output)


def test_natural_cells_are_those_of_the_recording(subject: xw.TorchSubject) -> None:
    """The recording was made by another program: `scripts/record_pocket.py`."""
    rows = pocket_pairs("hasty-careful", questions=FEW)
    scores = xw.Patch().scores(study(subject, "hasty-careful", REASONING), CELLS)
    told = pocket_recording("hasty-careful").query("replayed == 0")
    for level, arm, wording in ((0, "hasty", "1"), (1, "careful", "0")):
        own = told[(told["prompt"] == arm) & (told["wording"] == wording)]
        held = dict(zip(zip(own["question"], own["shown"], strict=True), own["p_answer"],
                        strict=True))  # fmt: skip
        side = ("clean", "corrupt")[level]
        texts = [row[side][slice(*row["spans"]["reasoning"])] for row in rows]
        expected = np.array([held[r["cluster"], t] for r, t in zip(rows, texts, strict=True)])
        known = ~np.isnan(expected)  # a text that ended without an answer has none
        assert known.sum() > 0.9 * len(rows)
        np.testing.assert_allclose(scores.values[known, level], expected[known], atol=2e-5)


def test_a_later_layer_also_carries_the_prompt(subject: xw.TorchSubject) -> None:
    """With one text under two prompts replay has no indirect effect; a patched layer has."""
    held = study(subject, "prompt-only", REASONING, "layers.1.resid @ reasoning")
    scores = xw.Patch().scores(held, (
        Y(0), Y(0, **{REASONING: 1}), Y(0, **{"layers.1.resid @ reasoning": 1}),
    ))  # fmt: skip
    assert np.array_equal(scores.values[:, 0], scores.values[:, 1])
    gap = np.abs(scores.values[:, 2] - scores.values[:, 0])
    assert gap.max() > 1e-3
    assert (gap > 1e-6).mean() > 0.9


def test_where_the_steps_act(subject: xw.TorchSubject) -> None:
    """Until the second block they stand in the last digit written, from then on at the end."""
    sites = ("layers.0.resid @ last", "layers.1.resid @ last", "layers.1.resid @ -1")
    found = xw.sweep(study(subject, "mistake-right", *sites), [xw.TE, xw.NIE])
    total = found["te"].estimate
    assert total > 0.3
    before, after, end = (found[f"nie[{site}]"] for site in sites)
    assert before.estimate == pytest.approx(total, rel=0.02)
    assert after.estimate == pytest.approx(0.0, abs=1e-3)
    assert end.estimate == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_pairs_are_equally_long_and_differ_where_they_say(contrast: str) -> None:
    rows = pocket_pairs(contrast, questions=FEW)
    assert len({row["cluster"] for row in rows}) == len(rows) > 20
    for row in rows:
        clean, corrupt, spans = row["clean"], row["corrupt"], row["spans"]
        assert len(clean) == len(corrupt) == spans["cue"][1]
        assert clean[slice(*spans["cue"])] == corrupt[slice(*spans["cue"])] == CUE
        one, other = (text[slice(*spans["reasoning"])] for text in (clean, corrupt))
        assert (one != other) == (contrast != "prompt-only")
        prompts = {text[slice(*spans["prompt"])].split(":")[0] for text in (clean, corrupt)}
        moved = contrast in ("hasty-careful", "prompt-only")
        assert prompts == ({"quickly", "careful"} if moved else {"careful"})
        terms = clean.split(": ")[1].split("\n")[0].split("+")
        assert row["answer"] == str(sum(map(int, terms)) % 10)


def test_an_unknown_contrast_is_refused() -> None:
    with pytest.raises(SpecError, match="hasty-careful"):
        pocket_pairs("hasty-carefull")


def test_covariates_of_pairs_are_columns_of_the_table(subject: xw.TorchSubject) -> None:
    held = study(subject, "hasty-careful", "layers.0.resid @ last")
    terms = [row["clean"].split("\n")[0].count("+") + 1 for row in pocket_pairs(questions=FEW)]
    table = held.to_table(components=2, covariates={"terms": terms})
    assert table.adjust == ("terms",)
    plain = held.take(np.arange(5)).to_table(components=2, covariates={"terms": terms})
    assert plain.table["terms"].values.tolist() == [*terms[:5], *terms[:5]]
    natural = xw.Patch().scores(held, (Y(0), Y(1))).values
    answer = xw.estimate(table, xw.Regression(), [xw.TE, xw.NIE])
    assert answer["te"].estimate == pytest.approx(np.diff(natural.mean(axis=0))[0], abs=1e-6)
    with pytest.raises(DesignError, match="'terms' has one value for each of"):
        held.to_table(covariates={"terms": terms[:-1]})
    with pytest.raises(DesignError, match="cannot be called 'pair'"):
        held.to_table(components=2, covariates={"pair": terms})
