"""Keys and values go in and come out under whatever name the model has for them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need the extra 'local'")

from crossworld.decoders import cache_argument, read_on  # noqa: E402
from crossworld.internals.joined import natural  # noqa: E402
from crossworld.internals.study import PatchStudy  # noqa: E402
from crossworld.internals.subject import TorchSubject  # noqa: E402
from tests.internals.zoo import model, tokens  # noqa: E402


@pytest.mark.parametrize("name", ["gpt2", "llama", "pythia"])
def test_reading_in_parts_is_reading_the_whole(name: str) -> None:
    net, text = model(name), torch.as_tensor(tokens(3))
    with torch.inference_mode():
        first, cache = read_on(net, text[:, :3], None)
        rest, _ = read_on(net, text[:, 3:], cache)
        whole = net(text).logits
    assert torch.allclose(torch.cat([first, rest], 1), whole, atol=1e-5)
    assert not torch.allclose(net(text[:, 3:]).logits, whole[:, 3:], atol=1e-3)


class Older(torch.nn.Module):
    """Names what it keeps as transformers did until 5.23."""

    def forward(self, input_ids: Any, past_key_values: Any = None, use_cache: bool = False) -> Any:
        raise NotImplementedError


class Newer(torch.nn.Module):
    """Names it as transformers does since 5.24."""

    def forward(self, input_ids: Any, cache: Any = None, use_cache: bool = False) -> Any:
        raise NotImplementedError


def test_both_names_are_known_and_none_is_none() -> None:
    assert cache_argument(Older()) == "past_key_values"
    assert cache_argument(Newer()) == "cache"
    assert cache_argument(torch.nn.Linear(2, 2)) is None
    with pytest.raises(TypeError, match="keeps no keys"):
        read_on(torch.nn.Linear(2, 2), torch.zeros(1, 2), None)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2"])
def test_sweeps_have_a_prefix_to_lend(name: str) -> None:
    pair = {"clean": [1, 2, 3, 4], "corrupt": [1, 5, 3, 4], "answer": 1, "wrong": 2}
    study = PatchStudy(
        TorchSubject(model(name)), [pair], "logit_difference", sites=["layers.*.resid_pre @ *"]
    )
    assert study.units is not None
    _, recorded = natural(study, study.pairs.batch(study.units, 1), {}, (), share=True)
    assert recorded is not None
    assert recorded.prefix is not None
