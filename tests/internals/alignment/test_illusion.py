"""The subspace illusion: it fires on the counterexample and not on the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossworld.errors import DesignError
from crossworld.internals.alignment.downstream import (
    jacobian_gram,
    leading_space,
    linear_reader,
    row_space,
)
from crossworld.internals.alignment.illusion import Couples, illusion
from crossworld.internals.basis import Subspace
from crossworld.internals.inputs import batch
from crossworld.internals.site import Site
from crossworld.internals.subject import TorchSubject


def toy(*, noise: float = 0.0, vector: bool = False) -> TorchSubject:
    """h = x (1, 0, 1) (plus noise of its own on the second), read by (0, 2, 0) and (0, 0, 1)."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.write = torch.nn.Linear(2, 3, bias=False, dtype=torch.float64)
            self.read = torch.nn.Linear(3, 2, bias=False, dtype=torch.float64)
            self.write.weight.data.copy_(torch.tensor([[1.0, 0], [0, noise], [1, 0]]))
            self.read.weight.data.copy_(torch.tensor([[0.0, 2, 0], [0, 0, 1]]))

        def forward(self, x: Any) -> Any:
            found = self.read(self.write(x))
            return found if vector else found.sum(dim=1)

    bases = {
        "fake": Subspace(np.array([1.0, 1.0, 0.0])),
        "true": Subspace(np.array([0.0, 0.0, 1.0])),
        "plane": Subspace(np.eye(3)[:, :2]),
    }
    return TorchSubject(Net(), bases=bases)


def couples(n: int = 25, seed: int = 0) -> Couples:
    rng = np.random.default_rng(seed)
    return Couples.of((rng.normal(size=(n, 2)), rng.normal(size=(n, 2))))


def total(output: Any, rows: Any) -> Any:
    return output if output.ndim == 1 else output.sum(dim=1)


def test_it_fires_on_the_counterexample_alone() -> None:
    fake = illusion(toy(), "write[fake]", couples=couples(), score=total)
    true = illusion(toy(), "write[true]", couples=couples(), score=total)
    assert fake.fired is True
    assert true.fired is False
    whole, sub, row, null = (
        fake.table[f"effect[{k}]"].estimate for k in ("whole", "subspace", "row part", "null part")
    )
    assert sub == pytest.approx(whole)
    assert row == pytest.approx(0.0, abs=1e-12)
    assert null == pytest.approx(0.0, abs=1e-12)
    assert fake.null_share == pytest.approx(0.5)
    assert (fake.rank, fake.width) == (2, 3)
    assert fake.variance["row part"] == pytest.approx(0.0, abs=1e-12)
    assert fake.variance["null part"] == pytest.approx(0.5)
    assert true.table["effect[row part]"].estimate == pytest.approx(sub)
    assert "ILLUSION" in str(fake)
    assert "dormant" in fake.reason


def test_the_read_out_may_be_given_or_seen_by_gradients() -> None:
    given = illusion(
        toy(), "write[fake]", couples=couples(), score=total,
        downstream=np.array([[0.0, 2, 0], [0, 0, 1]]),
    )  # fmt: skip
    seen = illusion(
        toy(vector=True), "write[fake]", couples=couples(), score=total, downstream="output"
    )
    assert given.fired is True
    assert seen.fired is True
    assert seen.rank == 2


def test_one_direction_read_cannot_tell() -> None:
    found = illusion(toy(), "write[fake]", couples=couples(), score=total, downstream="output")
    assert found.fired is None
    assert "all 1 directions that are read" in found.reason


def test_a_second_direction_that_does_vary_is_not_dormant() -> None:
    """With real variation along the read part, the effect is partly real and can be told."""
    found = illusion(toy(noise=1.5), "write[plane]", couples=couples(), score=total)
    assert found.fired is False
    assert found.null_share == pytest.approx(0.5)


def test_what_it_refuses() -> None:
    with pytest.raises(DesignError, match="names no registered linear subspace"):
        illusion(toy(), "write", couples=couples(), score=total)
    with pytest.raises(DesignError, match="'output' or None"):
        illusion(toy(), "write[fake]", couples=couples(), score=total, downstream="logits")
    with pytest.raises(DesignError, match="read-out is of 4"):
        illusion(toy(), "write[fake]", couples=couples(), score=total, downstream=np.eye(4))


def test_linear_readers_are_found_only_where_nothing_else_reads() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self, beside: bool) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(2, 4), torch.nn.Linear(4, 2)
            self.other, self.beside = torch.nn.Linear(4, 2), beside

        def forward(self, x: Any) -> Any:
            h = self.one(x)
            found = torch.tanh(self.two(h)) + self.other(h) ** 2
            return found + h[:, :2] if self.beside else found

    held = batch(list(np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)))
    alone = linear_reader(TorchSubject(Net(False)), Site("one"), held)
    assert alone is not None
    assert alone[1] == "two and other"
    assert alone[0].shape == (4, 4)
    assert linear_reader(TorchSubject(Net(True)), Site("one"), held) is None


def test_jacobians_are_those_of_a_linear_map() -> None:
    torch = pytest.importorskip("torch")
    weight = np.random.default_rng(1).normal(size=(3, 5))
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(5, 3, dtype=torch.float64))
    net[1].weight.data.copy_(torch.from_numpy(weight))
    held = [batch(list(np.random.default_rng(2).normal(size=(400, 5))))]
    gram = jacobian_gram(TorchSubject(net), Site("0"), held)
    np.testing.assert_allclose(gram, weight.T @ weight, rtol=0.2, atol=0.15)
    space, rows = leading_space(gram), row_space(weight)
    assert space.shape == rows.shape == (5, 3)
    np.testing.assert_allclose(space @ space.T, rows @ rows.T, atol=1e-9)
