"""The torch module is taken out of objects of other libraries, by what they have."""

from __future__ import annotations

import importlib.util
import types
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the internals of networks need the extra 'local'")

from crossworld.errors import DesignError  # noqa: E402
from crossworld.internals.inputs import batch  # noqa: E402
from crossworld.internals.site import Site  # noqa: E402
from crossworld.internals.subject import TorchSubject  # noqa: E402
from crossworld.interop.networks import network_of, subject_from  # noqa: E402
from tests.internals.zoo import model, tokens  # noqa: E402


class Holder:
    """Holds things under the names that another library uses."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


class Intervenable(torch.nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.model, self.interventions = inner, torch.nn.ModuleDict()


class Wrapped(torch.nn.Module):
    """A part in a wrapper that does something else, as TransformerLens wraps parts."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.add_module("_original_component", inner)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the wrapper must not run")


class Stubborn:
    """A proxy that fails whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("wrap", [
    lambda net: net,
    lambda net: Holder(original_model=net),
    lambda net: Holder(_module=net),
    lambda net: Holder(_model=net),
    lambda net: Holder(_orig_mod=net),
    lambda net: Holder(_module=Holder(), original_model=net),
    Intervenable,
    lambda net: Holder(_module=Intervenable(net)),
])  # fmt: skip
def test_the_module_itself_is_taken(wrap: Any) -> None:
    net = model("llama")  # it has a part called model, which is not what is meant
    assert network_of(wrap(net)) is net


def test_wrapped_parts_run_as_they_were_and_weights_are_shared() -> None:
    plain, held = model("gpt2"), model("gpt2")
    for i, block in enumerate(held.transformer.h):
        block.mlp.c_proj, block.attn = Wrapped(block.mlp.c_proj), Wrapped(block.attn)
        held.transformer.h[i] = Wrapped(block)
    subject, one = subject_from(Holder(original_model=held)), batch(list(tokens(2)))
    mine = TorchSubject(plain)
    for text in ("layers.1.heads.2", "layers.0.mlp @ -1", "layers.0.mlp.neurons.3"):
        site = Site.parse(text)
        zero = {site: lambda present: 0.0 * present}
        assert torch.equal(subject.run(one, write=zero).output, mine.run(one, write=zero).output)
    weights = {p.data_ptr() for p in held.parameters()}
    assert {p.data_ptr() for p in subject.model.parameters()} == weights
    assert isinstance(held.transformer.h[0], Wrapped)  # theirs is as it was
    assert not held.transformer._forward_hooks


def test_the_tokenizer_comes_along_unless_another_is_given() -> None:
    held = Holder(_model=model("gpt2"), tokenizer="theirs")
    assert subject_from(held).tokenizer == "theirs"
    assert subject_from(held, "mine").tokenizer == "mine"


@pytest.mark.parametrize("held", [3, "gpt2", Holder(_model=4), types.SimpleNamespace(), Stubborn])
def test_what_holds_no_module_is_refused_by_its_type(held: Any) -> None:
    held = held() if held is Stubborn else held  # made here: pytest asks parameters for names
    with pytest.raises(DesignError, match=f"no torch module in a {type(held).__name__}"):
        subject_from(held)


def test_weights_that_are_not_loaded_are_refused() -> None:
    with torch.device("meta"):
        net = torch.nn.Linear(2, 1)
    with pytest.raises(DesignError, match="weights of this Holder are not loaded.*dispatch"):
        network_of(Holder(_model=net))


def test_rewritten_weights_are_refused() -> None:
    with pytest.raises(DesignError, match="compatibility mode"):
        network_of(Holder(original_model=model("gpt2"), compatibility_mode=True))


def _nnsight(net: Any) -> Any:
    from nnsight import NNsight

    return NNsight(net)


def _pyvene(net: Any) -> Any:
    import pyvene as pv

    config = pv.IntervenableConfig(
        [{"layer": 0, "component": "block_output"}], intervention_types=pv.VanillaIntervention
    )
    return pv.IntervenableModel(config, net)


@pytest.mark.parametrize(("library", "wrap"), [("nnsight", _nnsight), ("pyvene", _pyvene)])
def test_the_real_library_gives_the_same_network(library: str, wrap: Any) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; its versions exclude the others'")
    net = model("llama")
    assert network_of(wrap(net)) is net


def test_a_real_bridge_gives_the_same_network(tmp_path: Any) -> None:
    if importlib.util.find_spec("transformer_lens") is None:
        pytest.skip("TransformerLens is not installed; its versions exclude the others'")
    import transformers as tf
    from tokenizers import Tokenizer, models
    from transformer_lens.model_bridge import TransformerBridge

    words = Tokenizer(models.WordLevel({str(i): i for i in range(97)}, unk_token="0"))
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="0", bos_token="1", eos_token="2"
    )
    net = model("gpt2")
    net.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    subject = subject_from(TransformerBridge.boot_transformers(str(tmp_path)))
    mine, one, other = TorchSubject(net), batch(list(tokens(2))), batch(list(tokens(2, seed=1)))
    for text in ("layers.1.attn", "layers.0.mlp @ -1", "layers.1.heads.2", "layers.1.heads.1.q"):
        site = Site.parse(text)
        outputs = []
        for held in (subject, mine):
            value = held.run(other, read=(site,)).values[site]
            outputs.append(held.run(one, write={site: value}).output)
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
