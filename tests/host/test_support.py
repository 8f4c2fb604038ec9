"""What steering cannot do exactly is refused before the first token, with every reason at once."""

from __future__ import annotations

import copy
import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    CompileConfig,
    DynamicCache,
    GenerationConfig,
    StaticCache,
    T5Config,
    T5ForConditionalGeneration,
)

from guardsteer.errors import UnsupportedError
from guardsteer.host.blocks import find_layout
from guardsteer.host.capture import capture
from guardsteer.host.hooks import HookSpec, attach
from guardsteer.host.support import check_generation, check_model, refuse_packed
from tests.models import ARCHITECTURES, tiny


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_plain_models_are_accepted(name: str) -> None:
    check_model(tiny(name))
    check_model(tiny(name, dtype=torch.bfloat16))


def _compiled_whole() -> Any:
    return torch.compile(tiny("llama"), backend="eager")


def _compiled_in_place() -> Any:
    model = tiny("llama")
    model.compile(backend="eager")
    return model


def _compiled_forward() -> Any:
    model = tiny("llama")
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def _compiled_block() -> Any:
    model = tiny("llama")
    model.model.layers[1] = torch.compile(model.model.layers[1], backend="eager")
    return model


def _compiled_by_generate() -> Any:
    model = tiny("llama")
    model.get_compiled_call(CompileConfig(backend="eager"))
    return model


def _encoder_decoder() -> Any:
    return T5ForConditionalGeneration(
        T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )


def _patched_generate() -> Any:
    model = tiny("llama")
    model.generate = functools.partial(print, model=model)
    return model


def _on_meta() -> Any:
    return tiny("llama").to("meta")


def _sharded() -> Any:
    model = tiny("llama")
    model._tp_size = 2
    return model


def _prompt_tuned() -> Any:
    model = tiny("llama")
    model.active_peft_config = SimpleNamespace(is_prompt_learning=True)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_compiled_whole, r"^OptimizedModule cannot be guarded:\n- it was compiled"),
        (_compiled_in_place, "it was compiled"),
        (_compiled_forward, "it was compiled"),
        (_compiled_block, r"module 'model\.layers\.1' was compiled"),
        (_compiled_by_generate, r"del model\._compiled_call"),
        (_encoder_decoder, "encoder-decoder"),
        (lambda: tiny("llama").model, "AutoModelForCausalLM"),
        (_patched_generate, "generate was replaced"),
        (_on_meta, "hold no data"),
        (_sharded, "several processes"),
        (_prompt_tuned, "virtual tokens"),
        (lambda: "model", "expected a causal LM of transformers, got str"),
        (lambda: nn.Linear(2, 2), "AutoModelForCausalLM"),
    ],
)
def test_a_model_that_cannot_be_steered_exactly_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        check_model(make())


def test_a_forward_kept_from_the_compiler_is_accepted() -> None:
    model = tiny("llama")
    disable: Any = torch.compiler.disable
    model.forward = disable(model.forward)
    check_model(model)


def test_all_reasons_are_given_at_once() -> None:
    model = _on_meta()
    model.generate = print
    with pytest.raises(UnsupportedError) as caught:
        check_model(model)
    assert len(str(caught.value).splitlines()) == 3


def _guarded(kind: Any) -> Any:
    """A model with a hook as the runtime puts it there: a function of this package."""
    model = tiny("llama")
    hook: Any = functools.partial(find_layout)
    return model, attach([HookSpec(model.model.layers[0], kind, hook)])


@pytest.mark.parametrize("kind", ["before", "around"])
def test_a_guarded_model_is_refused_whatever_others_put_around_it(kind: str) -> None:
    model, hooks = _guarded(kind)
    with pytest.raises(UnsupportedError, match=r"guarded already.*detach"):
        check_model(model)
    block = model.model.layers[0]
    block.forward = functools.wraps(block.forward)(functools.partial(block.forward))
    with pytest.raises(UnsupportedError, match=r"guarded already.*detach"):
        check_model(model)
    del block.forward
    hooks.remove()
    check_model(model)


def test_a_guarded_model_and_its_copies_are_refused_until_it_is_detached() -> None:
    model, hooks = _guarded("forward")
    for other in (model, copy.deepcopy(model)):
        with pytest.raises(UnsupportedError, match=r"guarded already.*detach"):
            check_model(other)
    hooks.remove()
    check_model(model)


def test_hooks_of_others_and_of_ended_captures_do_not_count() -> None:
    model = tiny("llama")
    model.model.layers[0].register_forward_hook(lambda *_: None)
    model.register_forward_pre_hook(functools.partial(print, end=""))
    capture(model, find_layout(model), [0], torch.tensor([[3, 4]]))
    check_model(model)


_MODEL = tiny("llama")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_new_tokens": 5},
        {"do_sample": True, "temperature": 0.7, "top_k": 50, "penalty_alpha": None},
        {"num_beams": 4, "num_return_sequences": 4, "num_beam_groups": 1},
        {"prompt_lookup_num_tokens": 3},
        {"assistant_model": tiny("llama", seed=1)},
        {"cache_implementation": "static"},
        {"past_key_values": DynamicCache()},
        {"past_key_values": StaticCache(_MODEL.config, max_cache_len=16)},
        {"guidance_scale": 1.0},
        {"prefill_chunk_size": 4, "use_cache": True},
        {"compile_config": None, "custom_generate": None, "inputs_embeds": None, "token_healing": False},
        {"generation_config": GenerationConfig(num_beams=2)},
    ],
)
def test_what_is_exact_is_accepted(kwargs: dict[str, Any]) -> None:
    check_generation(_MODEL, kwargs)


def _filled_cache() -> DynamicCache:
    cache = DynamicCache()
    with torch.no_grad():
        _MODEL(input_ids=torch.tensor([[3, 4, 5]]), past_key_values=cache, use_cache=True)
    return cache


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"inputs_embeds": torch.zeros(1, 2, 32)}, "inputs_embeds: the text of the prompt"),
        ({"prompt_embeds": torch.zeros(1, 2, 32)}, "prompt_embeds: the text of the prompt"),
        ({"guidance_scale": 1.5}, "guidance_scale: classifier-free guidance"),
        ({"negative_prompt_ids": torch.tensor([[3]])}, "negative_prompt_ids: classifier-free guidance"),
        ({"custom_generate": "some/repository"}, "custom_generate: it replaces the decoding loop"),
        ({"custom_generate": print}, "custom_generate: it replaces the decoding loop"),
        ({"use_mtp": True}, "use_mtp: it drafts"),
        ({"speculation_type": "dflash"}, "speculation_type: it drafts"),
        ({"assistant_early_exit": 2}, "assistant_early_exit: the drafts"),
        ({"assistant_model": _MODEL}, "assistant_model: it is the guarded model"),
        ({"assistant_model": _MODEL.model}, "assistant_model: it is the guarded model or shares"),
        ({"token_healing": True}, "token_healing: it rewrites"),
        ({"num_beam_groups": 2, "num_beams": 4}, "num_beam_groups: group beam search"),
        ({"constraints": [object()]}, "constraints: constrained beam search"),
        ({"force_words_ids": [[3]]}, "force_words_ids: constrained beam search"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha: contrastive search"),
        ({"dola_layers": "high"}, "dola_layers: DoLa"),
        ({"compile_config": CompileConfig()}, "compile_config: compiled forwards.*disable_compile=True"),
        ({"cache_implementation": "paged"}, "cache_implementation='paged': continuous batching"),
        ({"past_key_values": _filled_cache()}, "past_key_values: the cache holds positions"),
        ({"past_key_values": ((torch.zeros(1), torch.zeros(1)),)}, "past_key_values: the cache holds"),
    ],
)
def test_what_is_not_exact_is_refused_with_its_reason(kwargs: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        check_generation(_MODEL, kwargs)


@pytest.mark.parametrize("place", ["argument", "generation_config", "given config", "model"])
def test_a_value_counts_wherever_it_comes_from(place: str) -> None:
    model = tiny("llama")
    config = GenerationConfig(guidance_scale=2.0)
    kwargs: dict[str, Any] = {}
    given = None
    if place == "argument":
        kwargs = {"guidance_scale": 2.0}
    elif place == "generation_config":
        kwargs = {"generation_config": config}
    elif place == "given config":
        given = config
    else:
        model.generation_config.guidance_scale = 2.0
    with pytest.raises(UnsupportedError, match="guidance_scale"):
        check_generation(model, kwargs, given)
    check_generation(model, {**kwargs, "guidance_scale": None}, given)


def test_every_refused_argument_is_named_at_once() -> None:
    with pytest.raises(UnsupportedError) as caught:
        check_generation(_MODEL, {"guidance_scale": 2.0, "token_healing": True, "dola_layers": [1]})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "- guidance_scale",
        "- token_healing",
        "- dola_layers",
    ]


def test_compilation_by_generate_on_an_accelerator_is_refused() -> None:
    accelerated = SimpleNamespace(
        device=torch.device("cuda"), generation_config=GenerationConfig(), modules=lambda: ()
    )
    static = StaticCache(AutoConfig.for_model("llama", num_hidden_layers=1), max_cache_len=4)
    for kwargs in ({"cache_implementation": "static"}, {"past_key_values": static}):
        with pytest.raises(UnsupportedError, match="disable_compile=True"):
            check_generation(accelerated, kwargs)
        check_generation(accelerated, {**kwargs, "disable_compile": True})
        check_generation(_MODEL, kwargs)
    check_generation(accelerated, {"cache_implementation": "dynamic"})


def test_packed_forwards_are_refused() -> None:
    refuse_packed({"input_ids": torch.tensor([[3]]), "cu_seq_lens_q": None})
    with pytest.raises(UnsupportedError, match=r"cu_seq_lens_q.*generate_batch"):
        refuse_packed({"cu_seq_lens_q": torch.tensor([0, 3, 5])})


def test_generate_batch_is_refused_before_its_first_token() -> None:
    """Continuous batching calls the model itself; the hook before the forward refuses it there."""
    batching: Any = getattr(transformers, "ContinuousBatchingConfig", None)
    if batching is None:
        pytest.skip("this version of transformers has no ContinuousBatchingConfig to keep the cache small")
    model = tiny("llama")
    seen: list[str] = []

    def before(_module: nn.Module, _args: Any, kwargs: Any) -> None:
        try:
            refuse_packed(kwargs)
        except UnsupportedError as error:
            seen.append(str(error))
            raise

    hooks = attach([HookSpec(model, "forward_pre", before, with_kwargs=True)])
    try:
        results = model.generate_batch(
            inputs=[[3, 4, 5], [6, 7]],
            generation_config=GenerationConfig(max_new_tokens=2, eos_token_id=-1),
            continuous_batching_config=batching(num_blocks=4, max_batch_tokens=16),
            warmup=False,
        )
    finally:
        hooks.remove()
    assert "cu_seq_lens_q" in seen[0]
    assert [(result.generated_tokens, result.error) for result in results.values()] == [([], seen[0])] * 2
