"""A fingerprint stays the same where the model does, and changes with whatever a direction depends on."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from guardsteer.errors import HostError, LayoutError
from guardsteer.host.fingerprint import difference, fingerprint
from tests.models import ARCHITECTURES, tiny


def _tokenizer(lines: tuple[str, ...] = ("the customer asks for a refund", "the account is locked")) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


_TOKENIZER = _tokenizer()
_LLAMA = tiny("llama")
_BASE = fingerprint(_LLAMA, _TOKENIZER)
_PLACES = [(name, i) for name, p in _LLAMA.named_parameters() for i in range(0, p.numel(), 37)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_saving_and_loading_keeps_it(name: str, tmp_path: Path) -> None:
    auto: Any = AutoModelForCausalLM
    model = tiny(name)
    model.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path, dtype=torch.float32)
    assert difference(fingerprint(model, _TOKENIZER), fingerprint(loaded, _TOKENIZER)) == []


def test_using_the_model_keeps_it() -> None:
    """Padding, sides, generation settings, a pad token set on the way, another attention kernel, hooks."""
    model, tokenizer = tiny("llama"), copy.deepcopy(_TOKENIZER)
    tokenizer(["a", "a much longer text"], padding=True, truncation=True, max_length=4, return_tensors="pt")
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = 2
    model.config.use_cache = False
    model.set_attn_implementation("eager")
    model.generation_config.max_new_tokens = 3
    model.generate(torch.tensor([[5, 6]]), max_new_tokens=3)
    handle = model.register_forward_hook(lambda *_: None)
    assert difference(fingerprint(model, tokenizer), _BASE) == []
    handle.remove()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(_PLACES), bit=st.integers(0, 31))
def test_any_changed_bit_of_any_weight_changes_the_weights_alone(place: tuple[str, int], bit: int) -> None:
    name, index = place
    raw = _LLAMA.get_parameter(name).detach().view(-1).view(torch.uint8)
    index = 4 * index + bit // 8
    before = int(raw[index])
    raw[index] = before ^ (1 << bit % 8)
    try:
        changed = fingerprint(_LLAMA, _TOKENIZER)
    finally:
        raw[index] = before
    assert difference(changed, _BASE) == ["weights"]
    assert changed.digest != _BASE.digest
    assert fingerprint(_LLAMA, _TOKENIZER) == _BASE


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "deepseek_v3"])
def test_every_tensor_of_the_state_counts(name: str) -> None:
    model = tiny(name)
    seen = {fingerprint(model, _TOKENIZER).weights}
    tensors = list(model.state_dict().values())
    distinct = {tensor.data_ptr(): tensor for tensor in tensors}
    for tensor in distinct.values():
        tensor.view(-1)[-1] += 1
        seen.add(fingerprint(model, _TOKENIZER).weights)
    assert len(seen) == len(distinct) + 1


def test_two_weights_that_change_places_change_it() -> None:
    model = tiny("llama")
    attention: Any = model.get_submodule("model.layers.1.self_attn")
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj
    assert difference(fingerprint(model, _TOKENIZER), _BASE) == ["weights"]


def test_a_shape_that_keeps_the_bytes_changes_it() -> None:
    one, other = tiny("llama"), tiny("llama")
    other.register_parameter("extra", torch.nn.Parameter(torch.ones(2, 3)))
    one.register_parameter("extra", torch.nn.Parameter(torch.ones(3, 2)))
    assert difference(fingerprint(one, _TOKENIZER), fingerprint(other, _TOKENIZER)) == ["weights"]


def test_precision_is_part_of_it() -> None:
    half = fingerprint(tiny("llama", dtype=torch.bfloat16), _TOKENIZER)
    assert half.dtype == "bfloat16"
    assert difference(half, _BASE) == ["weights", "dtype"]
    again = fingerprint(tiny("llama", dtype=torch.bfloat16).to(torch.float32), _TOKENIZER)
    assert difference(again, _BASE) == ["weights"]


def test_another_model_of_the_same_type_differs() -> None:
    """Others check the model type alone and accept vectors of another model."""
    assert difference(fingerprint(tiny("llama", seed=1), _TOKENIZER), _BASE) == ["weights"]
    assert difference(fingerprint(tiny("mistral"), _TOKENIZER), _BASE)[0] == "architecture"


@pytest.mark.parametrize("change", [{"rms_norm_eps": 1e-3}, {"rope_parameters": None, "hidden_act": "relu"}])
def test_a_config_that_computes_otherwise_differs(change: dict[str, Any]) -> None:
    changed = copy.deepcopy(_LLAMA)
    for key, value in change.items():
        setattr(changed.config, key, value)
    assert difference(fingerprint(changed, _TOKENIZER), _BASE) == ["config"]


def test_adapters_are_part_of_the_config() -> None:
    adapted: Any = tiny("llama")
    adapted.peft_config = {"tone": SimpleNamespace(to_dict=lambda: {"lora_alpha": 16, "revision": "a"})}
    stronger: Any = tiny("llama")
    stronger.peft_config = {"tone": SimpleNamespace(to_dict=lambda: {"lora_alpha": 32, "revision": "b"})}
    one, other = fingerprint(adapted, _TOKENIZER), fingerprint(stronger, _TOKENIZER)
    assert difference(one, _BASE) == difference(one, other) == ["config"]


@pytest.mark.parametrize("part", ["vocabulary", "template", "special", "rules"])
def test_any_change_of_the_tokenizer_changes_it(part: str) -> None:
    tokenizer = copy.deepcopy(_TOKENIZER)
    if part == "vocabulary":
        tokenizer = _tokenizer(("an entirely different text", "with other merges"))
    elif part == "template":
        tokenizer.chat_template = "{{ messages }}"
    elif part == "special":
        tokenizer.eos_token = "<s>"
    else:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert difference(fingerprint(_LLAMA, tokenizer), _BASE) == ["tokenizer"]


def test_a_saved_tokenizer_is_the_same_one(tmp_path: Path) -> None:
    _TOKENIZER.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert fingerprint(_LLAMA, loaded) == _BASE


class _Slow:
    """A tokenizer without a backend, as written in Python."""

    def __init__(self, vocabulary: dict[str, int], bpe_ranks: dict[tuple[str, str], int]) -> None:
        self.bpe_ranks = bpe_ranks
        self.get_vocab = lambda: vocabulary


def test_slow_tokenizers_count_vocabulary_and_merges() -> None:
    base = fingerprint(_LLAMA, _Slow({"a": 0, "b": 1}, {("a", "b"): 0, ("b", "a"): 1}))
    assert fingerprint(_LLAMA, _Slow({"b": 1, "a": 0}, {("b", "a"): 1, ("a", "b"): 0})) == base
    for other in (_Slow({"a": 1, "b": 0}, {("a", "b"): 0, ("b", "a"): 1}),
                  _Slow({"a": 0, "b": 1}, {("a", "b"): 1, ("b", "a"): 0})):  # fmt: skip
        assert difference(fingerprint(_LLAMA, other), base) == ["tokenizer"]


def test_what_has_no_vocabulary_is_refused() -> None:
    with pytest.raises(HostError, match="expected a tokenizer of transformers, got NoneType"):
        fingerprint(_LLAMA, None)


def test_weights_without_data_are_refused() -> None:
    with pytest.raises(HostError, match="holds no data"):
        fingerprint(tiny("llama").to("meta"), _TOKENIZER)


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(LayoutError):
        fingerprint(torch.nn.Linear(2, 2), _TOKENIZER)


def test_its_texts() -> None:
    assert _BASE.digest.startswith("b3:")
    assert _BASE.short == _BASE.digest[3:15]
    assert _BASE.parts()["width"] == str(_BASE.width)
