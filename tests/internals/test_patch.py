"""Cells are what they say: against networks of known effects, and against plain hooks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

import crossworld as xw
from crossworld import M, Y, set_
from crossworld.errors import DesignError, EstimationError, SmallSampleWarning, SpecError
from crossworld.internals import engine
from tests.internals.zoo import every_model, model, rows, tokens, torch

pytestmark = pytest.mark.filterwarnings("ignore:only .* clusters")  # small studies, on purpose


def linear() -> tuple[torch.nn.Module, np.ndarray, np.ndarray]:
    """y = c h + x1 / 2 + x1 h2 / 4 with h = A x: direct, indirect and both together."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(2, 2, bias=False)
            self.second = torch.nn.Linear(2, 1, bias=False)

        def forward(self, x):
            h = self.first(x)
            return self.second(h) + x[:, :1] * 0.5 + x[:, :1] * h[:, 1:] * 0.25

    net = Net().double()
    a, c = np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[2.0, -1.0]])
    net.first.weight.data = torch.tensor(a)
    net.second.weight.data = torch.tensor(c)
    return net, a, c


def by_hand(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    return (h @ c.T)[:, 0] + 0.5 * x[:, 0] + 0.25 * x[:, 0] * h[:, 1]


@pytest.fixture
def study():
    net, a, c = linear()
    rng = np.random.default_rng(0)
    clean, corrupt = rng.normal(size=(20, 2)), rng.normal([6.0, 0.0], 1, size=(20, 2))
    held = xw.PatchStudy(
        xw.TorchSubject(net), (clean, corrupt), lambda y: y[:, 0], sites=["first.neurons.*"]
    )
    return held, a, c


def test_all_effects_and_their_errors_are_those_of_arithmetic(study) -> None:
    held, a, c = study
    x = [np.stack(held.pairs.inputs(level)) for level in (0, 1)]
    h = [v @ a.T for v in x]
    cells = {(i, j): by_hand(x[i], h[j], c) for i in (0, 1) for j in (0, 1)}
    found = xw.estimate(held, xw.Patch(), [xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE, xw.PM])
    differences = {
        "te": cells[1, 1] - cells[0, 0],
        "nde": cells[1, 0] - cells[0, 0],
        "nie": cells[1, 1] - cells[1, 0],
        "tnde": cells[1, 1] - cells[0, 1],
        "pnie": cells[0, 1] - cells[0, 0],
    }
    for name, truth in differences.items():
        assert found[name].estimate == pytest.approx(truth.mean(), abs=1e-12)
        assert found[name].std_error == pytest.approx(truth.std(ddof=1) / np.sqrt(20), abs=1e-12)
        half = student.ppf(0.975, 19) * found[name].std_error
        assert found[name].conf_high == pytest.approx(truth.mean() + half, abs=1e-9)
    ratio = differences["nie"].mean() / differences["te"].mean()
    assert found["pm"].estimate == pytest.approx(ratio)
    assert abs(found["nie"].estimate - found["pnie"].estimate) > 0.1  # they interact


def test_one_site_at_a_time(study) -> None:
    held, a, c = study
    x = [np.stack(held.pairs.inputs(level)) for level in (0, 1)]
    h = [v @ a.T for v in x]
    mixed = h[1].copy()
    mixed[:, 1] = h[0][:, 1]
    truth = (by_hand(x[1], h[1], c) - by_hand(x[1], mixed, c)).mean()
    found = xw.sweep(held, [xw.NIE, xw.PNIE])
    assert found["nie[first.neurons.1]"].estimate == pytest.approx(truth)
    assert found["pnie[first.neurons.1]"].estimate != pytest.approx(truth)
    assert len(found) == 4
    asked = xw.estimate(held, xw.Patch(), [xw.estimand("nie[first.neurons.1]")])
    assert asked["nie[first.neurons.1]"].estimate == pytest.approx(truth)
    cell = Y(1) - Y(1, **{"first.neurons.1": M(0)})
    assert xw.estimate(held, xw.Patch(), [xw.Estimand("x", cell)])["x"].estimate == (
        pytest.approx(truth)
    )


def test_sources(study) -> None:
    held, a, c = study
    x, h = (lambda v: (v, v @ a.T))(np.stack(held.pairs.clean))
    other = np.stack(held.pairs.corrupt) @ a.T
    natural = by_hand(x, h, c)

    def effect(regime) -> float:
        asked = xw.Estimand("e", Y(0, regime) - Y(0))
        return xw.estimate(held, xw.Patch(seed=3), [asked])["e"].estimate

    def truth(value) -> float:
        return float((by_hand(x, np.broadcast_to(value, h.shape), c) - natural).mean())

    assert effect(M("zero")) == pytest.approx(truth(0 * h))
    assert effect(M("mean")) == pytest.approx(truth(h.mean(0)))
    assert effect(M(1, "mean")) == pytest.approx(truth(other.mean(0)))
    assert effect(M(1, "scale(0.5)")) == pytest.approx(truth(0.5 * other))
    assert effect(set_(2.0)) == pytest.approx(truth(np.full_like(h, 2.0)))
    resampled = xw.estimate(held, xw.Patch(seed=3), [xw.Estimand("e", Y(0, M("resample")) - Y(0))])
    again = effect(M("resample"))
    assert resampled["e"].estimate == again
    assert again != pytest.approx(truth(h.mean(0)))


def test_resampling_takes_every_other_pair_once() -> None:
    from crossworld.internals.sources import derangement

    order = derangement(50, np.random.SeedSequence(1))
    assert sorted(order) == list(range(50))
    assert not (order == np.arange(50)).any()
    with pytest.raises(DesignError, match="another pair"):
        derangement(1, np.random.SeedSequence(1))


def test_cde_is_the_effect_with_the_sites_held(study) -> None:
    held, _, _ = study
    x = [np.stack(held.pairs.inputs(level)) for level in (0, 1)]
    found = xw.estimate(held, xw.Patch(), [xw.CDE(1.5)])["cde(1.5)"].estimate
    slope = 0.5 + 0.25 * 1.5
    assert found == pytest.approx(float(slope * (x[1][:, 0] - x[0][:, 0]).mean()))


def test_path_specific_effects_add_up() -> None:
    found_study = xw.PatchStudy(
        xw.TorchSubject(model("gpt2")), rows(8), "logit_difference",
        sites=["layers.0.mlp @ -1", "layers.1.attn @ -1", "layers.1.mlp @ -1"],
    )  # fmt: skip
    names = [str(s) for s in found_study.sites]
    found = xw.estimate(found_study, xw.Patch(), [xw.TE, xw.NDE, *map(xw.PSE, names)])
    parts = sum(found[f"pse({n})"].estimate for n in names)
    assert found["te"].estimate == pytest.approx(found["nde"].estimate + parts, abs=1e-6)


@every_model
def test_a_sweep_is_what_single_passes_give(name: str, monkeypatch) -> None:
    places = (
        ["layers.*.mixer @ *", "layers.*.resid @ *", "layers.*.resid_pre"]
        if name == "mamba"
        else ["layers.*.resid_pre @ *", "layers.*.resid @ *", "layers.*.mlp @ *",
              "layers.*.attn @ 3", "layers.1.heads.* @ -1", "layers.*.heads.*.k @ 2",
              "layers.*.heads.*.v", "layers.1.mlp.neurons.3 @ 4"]
    )  # fmt: skip
    held = xw.PatchStudy(xw.TorchSubject(model(name)), rows(3), "logit_difference", sites=places)
    asked = [e.at(str(s)) for s in held.sites for e in (xw.NIE, xw.PNIE)]
    cells = sorted({c for e in asked for c in e.cells()}, key=str)
    shared = []
    joined = engine.Joined.run
    monkeypatch.setattr(engine.Joined, "run", lambda self: (shared.append(1), joined(self))[1])
    fast = xw.Patch().scores(held, cells).values
    assert shared, "no pass was shared"
    monkeypatch.setattr(engine, "can_join", lambda study, job: False)
    slow = xw.Patch().scores(held, cells).values
    np.testing.assert_allclose(fast, slow, rtol=0, atol=2e-6 * max(1.0, np.abs(slow).max()))
    assert np.abs(slow - slow[:, [cells.index(Y(1))]]).max() > 1e-3


def test_a_sweep_of_the_whole_output_is_exact_too(monkeypatch) -> None:
    def spread(output):
        return output.log_softmax(-1)[:, 1:, 7].sum(1)

    held = xw.PatchStudy(
        xw.TorchSubject(model("qwen3")), rows(3), spread, sites=["layers.*.resid_pre @ *"]
    )
    cells = sorted({c for s in held.sites for c in xw.NIE.at(str(s)).cells()}, key=str)
    fast = xw.Patch().scores(held, cells).values
    small = xw.Patch(memory=1, batch_size=2).scores(held, cells).values
    monkeypatch.setattr(engine, "can_join", lambda study, job: False)
    slow = xw.Patch().scores(held, cells).values
    np.testing.assert_allclose(fast, slow, atol=1e-5)
    np.testing.assert_allclose(small, slow, atol=1e-5)


def test_inputs_that_first_differ_late_have_null_cells_and_exact_ones() -> None:
    clean = tokens(4)
    corrupt = clean.copy()
    corrupt[:, 5] = (corrupt[:, 5] - 3 + 11) % 90 + 3
    pairs = [{"clean": a, "corrupt": b, "answer": 3, "wrong": 5}
             for a, b in zip(clean, corrupt, strict=True)]  # fmt: skip
    held = xw.PatchStudy(
        xw.TorchSubject(model("llama")), pairs, "logit_difference", sites="layers.*.resid_pre @ *"
    )
    found = xw.sweep(held)
    assert all(found[f"nie[layers.1.resid_pre @ {p}]"].estimate == 0.0 for p in range(5))
    te = xw.estimate(held, xw.Patch(), [xw.TE])["te"].estimate
    assert found["nie[layers.0.resid_pre @ 5]"].estimate == pytest.approx(te, abs=1e-6)
    assert abs(te) > 1e-4
    assert any("and 10 others" in w for w in found.warnings)


@pytest.mark.parametrize("name", ["llama", "phi", "gpt2", "mamba"])
def test_what_the_last_block_does_elsewhere_is_exactly_nothing(name: str) -> None:
    parts = ["mixer", "resid"] if name == "mamba" else ["attn", "mlp", "resid", "heads.2",
                                                        "heads.1.q", "mlp.neurons.5"]  # fmt: skip
    held = xw.PatchStudy(
        xw.TorchSubject(model(name)), rows(12), "logit_difference",
        sites=[f"layers.1.{part} @ {p}" for part in parts for p in (2, 6)],
    )  # fmt: skip
    found = xw.sweep(held)
    for part in parts:
        assert found[f"nie[layers.1.{part} @ 2]"].estimate == 0.0
        assert found[f"nie[layers.1.{part} @ 6]"].estimate != 0.0
    if name == "mamba":
        return
    beside = [f"layers.1.{part} @ 2" for part in ("heads.1.k", "heads.1.v", "resid_pre")]
    matters = xw.PatchStudy(held.subject, rows(12), "logit_difference", sites=beside)
    assert all(abs(row.estimate) > 1e-7 for row in xw.sweep(matters))


class TestNoise:
    def study(self, **options):
        given = [{**{k: r[k] for k in ("clean", "answer", "wrong")}, "spans": {"s": [1, 3]}}
                 for r in rows(6)]  # fmt: skip
        noise = xw.Noise("embed @ s", **options)
        return xw.PatchStudy(
            xw.TorchSubject(model("gpt2")), given, "probability",
            sites=["layers.0.resid @ s[-1]"], noise=noise,
        )  # fmt: skip

    def test_the_noise_has_the_size_it_says(self) -> None:
        held = self.study(draws=200, scale=3.0)
        site = xw.Site.parse("embed @ s")
        batch = held.pairs.batch(range(6), 1)
        before = held.subject.run(batch, read=(site,)).values[site]
        after = [
            held.subject.run(
                batch, read=(site,),
                write=held.noise.write(held.subject, batch, units=range(6), draw=d),
            ).values[site] - before
            for d in range(100)
        ]  # fmt: skip
        sd = float(held.subject.model.transformer.wte.weight.detach().std())
        assert float(torch.stack(after).std()) == pytest.approx(3.0 * sd, rel=0.02)

    def test_draws_and_pairs_are_told_apart(self) -> None:
        held = self.study(draws=12)
        found = xw.estimate(held, xw.Patch(), [xw.TE, xw.NIE])
        told = found.diagnostics["patched"]
        assert told["draws"] == 12
        one = xw.Patch()
        cells = (Y(1),)
        single = np.stack(
            [
                one.scores(
                    xw.PatchStudy(held.subject, held.pairs, held.metric, sites=held.sites,
                                  noise=xw.Noise("embed @ s", draws=1, seed=seed)), cells
                ).values[:, 0]
                for seed in range(60)
            ]
        )  # fmt: skip
        spread = single.mean(axis=1).std(ddof=1) / np.sqrt(12)
        at = [str(c) for c in found.scores.cells].index("Y(1)")
        assert told["draw_std_errors"][at] == pytest.approx(spread, rel=0.35)

    def test_severed_paths_change_the_answer(self) -> None:
        given = self.study(draws=2)
        held = xw.PatchStudy(
            given.subject, given.pairs, given.metric, noise=given.noise, sites=["embed @ s"]
        )
        free = xw.estimate(held, xw.Patch(), [xw.NIE])["nie"].estimate
        cut = xw.estimate(held, xw.Patch(hold=["layers.*.mlp @ s", "layers.*.attn @ s"]), [xw.NIE])[
            "nie"
        ].estimate
        assert free != pytest.approx(cut, rel=1e-3)

    def test_noise_and_a_corrupt_input_exclude_each_other(self) -> None:
        with pytest.raises(DesignError, match="have a corrupt"):
            xw.PatchStudy(
                xw.TorchSubject(model("gpt2")), rows(3), "probability", noise=xw.Noise("embed")
            )


def test_clusters_are_templates() -> None:
    given = [{**r, "cluster": i // 2} for i, r in enumerate(rows(24))]
    held = xw.PatchStudy(
        xw.TorchSubject(model("gpt2")), given, "logit_difference", sites="layers.0.mlp"
    )
    found = xw.estimate(held, xw.Patch(), [xw.NIE])
    assert found.diagnostics["n_clusters"] == 12
    plain = xw.PatchStudy(held.subject, rows(24), "logit_difference", sites="layers.0.mlp")
    assert xw.estimate(plain, xw.Patch(), [xw.NIE])["nie"].std_error != found["nie"].std_error


def test_metrics_are_what_they_say() -> None:
    subject = xw.TorchSubject(model("gpt2"))
    given = rows(5)
    with torch.no_grad():
        z = [subject.model(torch.tensor(np.stack([r[k] for r in given]))).logits[:, -1]
             for k in ("clean", "corrupt")]  # fmt: skip
    p = [v.log_softmax(-1) for v in z]
    truth = {
        "logit_difference": z[1][:, 3] - z[1][:, 5] - (z[0][:, 3] - z[0][:, 5]),
        "logit": z[1][:, 3] - z[0][:, 3],
        "probability": p[1].exp()[:, 3] - p[0].exp()[:, 3],
        "log_probability": p[1][:, 3] - p[0][:, 3],
        "kl": (p[0].exp() * (p[0] - p[1])).sum(-1),
        "accuracy": (z[1].argmax(-1) == 3).float() - (z[0].argmax(-1) == 3).float(),
    }
    for name, values in truth.items():
        held = xw.PatchStudy(subject, given, name)
        found = xw.Patch().scores(held, (Y(0), Y(1))).values
        np.testing.assert_allclose(found[:, 1] - found[:, 0], values.numpy(), atol=1e-6)


def test_a_run_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    held = xw.PatchStudy(
        xw.TorchSubject(model("gpt2")), rows(6), "logit_difference", sites="layers.*.mlp @ *"
    )
    whole = xw.sweep(held)
    file = tmp_path / "kept.npz"
    method = xw.Patch(batch_size=2, resume=str(file))
    from crossworld.internals import patch as module

    runs = []
    real = module._Plan.run

    def breaks(self, group, draw, others):
        runs.append(int(group[0]))
        if len(runs) == 3:
            raise KeyboardInterrupt
        return real(self, group, draw, others)

    monkeypatch.setattr(module._Plan, "run", breaks)
    with pytest.raises(KeyboardInterrupt):
        xw.sweep(held, estimator=method)
    assert file.exists()
    found = xw.sweep(held, estimator=method)
    assert runs == [0, 2, 4, 4]
    assert not file.exists()
    np.testing.assert_allclose(found.scores.values, whole.scores.values, atol=1e-6)

    runs.clear()
    with pytest.raises(KeyboardInterrupt):
        xw.sweep(held, estimator=method)
    with pytest.raises(DesignError, match="kept for other pairs"):
        xw.sweep(held, xw.PNIE, estimator=method)


def test_few_pairs_are_told() -> None:
    held = xw.PatchStudy(
        xw.TorchSubject(model("gpt2")), rows(6), "logit_difference", sites="layers.0.mlp"
    )
    with pytest.warns(SmallSampleWarning, match="only 6 clusters"):
        xw.estimate(held, xw.Patch(), [xw.NIE])


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"metric": "logit_diff"}, "Did you mean 'logit_difference'"),
            ({"source": "men"}, "Did you mean 'mean'"),
            ({"sites": "layers.0.mpl"}, "Did you mean 'layers.0.mlp'"),
            ({"subject": "gpt2"}, "wrap the network"),
            ({"pairs": []}, "no pairs"),
            ({"pairs": [{"clean": "text"}]}, "has no tokenizer"),
            ({"pairs": [{"clean": [1], "corupt": [2]}]}, "Did you mean 'corrupt'"),
            ({"metric": lambda y: y}, "one number per input"),
        ],
    )
    def test_what_is_wrong_is_named(self, change, told) -> None:
        given = {"subject": xw.TorchSubject(model("gpt2")), "pairs": rows(3),
                 "metric": "logit_difference", "sites": "layers.0.mlp", **change}  # fmt: skip
        subject, pairs, metric = given.pop("subject"), given.pop("pairs"), given.pop("metric")
        with pytest.raises((DesignError, SpecError)) as error:
            xw.estimate(xw.PatchStudy(subject, pairs, metric, **given), xw.Patch(), [xw.NIE])
        assert told in str(error.value)

    def test_unequal_lengths_need_spans(self) -> None:
        given = [{"clean": tokens(1, i)[0], "corrupt": tokens(1, i, length=9)[0], "answer": 3,
                  "wrong": 5, "spans": {"s": [[2, 4], [5, 7]]}} for i in range(3)]  # fmt: skip
        subject = xw.TorchSubject(model("gpt2"))
        for site in ("layers.0.mlp", "layers.0.mlp @ 2", "layers.0.mlp @ 2:4"):
            held = xw.PatchStudy(subject, given, "logit_difference", sites=site)
            with pytest.raises(DesignError, match="7 and 9 tokens"):
                xw.estimate(held, xw.Patch(), [xw.NIE])
        for site in ("layers.0.mlp @ s", "layers.0.mlp @ s[-1]", "layers.0.mlp @ -1"):
            held = xw.PatchStudy(subject, given, "logit_difference", sites=site)
            assert np.isfinite(xw.estimate(held, xw.Patch(), [xw.PNIE])["pnie"].estimate)

    def test_no_corrupt_input(self) -> None:
        given = [{k: r[k] for k in ("clean", "answer", "wrong")} for r in rows(3)]
        held = xw.PatchStudy(
            xw.TorchSubject(model("gpt2")), given, "logit_difference", sites="layers.0.mlp"
        )
        with pytest.raises(DesignError, match="no corrupt input"):
            xw.estimate(held, xw.Patch(), [xw.TE])
        asked = xw.Estimand("ablation", Y(0, M("zero")) - Y(0))
        assert xw.estimate(held, xw.Patch(), [asked])["ablation"].estimate != 0.0

    def test_a_place_beside_the_way_is_an_error(self) -> None:
        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.used, self.aside = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

            def forward(self, x):
                self.aside(x)
                return self.used(x)

        pairs = (np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32))
        held = xw.PatchStudy(xw.TorchSubject(Net()), pairs, lambda y: y[:, 0], sites="aside")
        with pytest.raises(EstimationError, match="changes nothing in the output"):
            xw.estimate(held, xw.Patch(), [xw.NIE])

    def test_a_sweep_needs_sites(self) -> None:
        held = xw.PatchStudy(xw.TorchSubject(model("gpt2")), rows(3), "logit_difference")
        with pytest.raises(DesignError, match="a sweep needs sites"):
            xw.sweep(held)
        with pytest.raises(DesignError, match="names no site"):
            xw.estimate(held, xw.Patch(), [xw.NIE])
        assert xw.estimate(held, xw.Patch(), [xw.TE])["te"].estimate != 0.0

    @pytest.mark.parametrize(
        "cell", [Y(2), Y(0, M("mean "[:-1] + "s")), Y(0, M(1, "scal(2)")), Y(0).quantile(0.5)]
    )
    def test_cells_that_no_patch_gives(self, study, cell) -> None:
        with pytest.raises((DesignError, SpecError)):
            xw.estimate(study[0], xw.Patch(), [xw.Estimand("x", cell - Y(0))])


def test_attention_is_knocked_out() -> None:
    """What a head would attend to elsewhere is shared among the keys that are left."""
    subject = xw.TorchSubject(model("llama"))
    given = [{**r, "spans": {"s": [1, 3]}} for r in rows(3)]
    held = xw.PatchStudy(
        subject, given, "logit_difference", sites=["layers.1.heads.2.pattern @ -1 <- s"]
    )
    asked = xw.Estimand("e", Y(0, M("knockout")) - Y(0))
    found = xw.Patch().scores(held, sorted(asked.cells(), key=str))
    batch = held.pairs.batch([0, 1, 2], 0)
    site = xw.Site.parse("layers.1.heads.2.pattern @ -1")
    weights = subject.run(batch, read=(site,)).values[site].clone()
    weights[..., 1:3] = 0
    weights /= weights.sum(-1, keepdim=True)
    by_hand_ = subject.run(batch, write={site: weights}, read=(site,)).output[:, -1]
    truth = (by_hand_[:, 3] - by_hand_[:, 5]).numpy()
    at = [str(c) for c in found.cells].index(str(Y(0, M("knockout"))))
    np.testing.assert_allclose(found.values[:, at], truth, atol=1e-6)
