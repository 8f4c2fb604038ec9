"""What is refused up front, because steering would not be exact under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from guardsteer.errors import UnsupportedError

__all__ = ["check_generation", "check_model", "refuse_compiled", "refuse_packed"]

_PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "block_table")
_COMPILED_CACHES = frozenset({
    "static", "offloaded_static", "sliding_window", "hybrid", "hybrid_chunked", "offloaded_hybrid",
    "offloaded_hybrid_chunked",
})  # fmt: skip


def check_model(model: Any) -> None:
    """Return if ``model`` can be guarded: a whole, uncompiled, unguarded decoder-only causal LM.

    Quantised, offloaded by transformers and half-precision models are fine.
    Raises ``UnsupportedError`` with every reason found and what to do about it.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedError(f"expected a causal LM of transformers, got {type(model).__name__}")
    problems = [
        problem
        for check in (
            _compiled,
            _encoder_decoder,
            _without_generate,
            _guarded,
            _not_loaded,
            _spread,
            _prompt_tuned,
        )
        if (problem := check(model))
    ]
    _raise(problems, f"{type(model).__name__} cannot be guarded")


def _raise(problems: list[str], title: str) -> None:
    if problems:
        raise UnsupportedError("\n".join([f"{title}:", *(f"- {problem}" for problem in problems)]))


def _compiled(model: nn.Module) -> str:
    for name, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule" or _is_compiled_call(module):
            where = f"its module {name!r}" if name else "it"
            return (
                f"{where} was compiled with torch.compile, which ignores hooks that are added later. "
                "Guard the model as it was before (torch.compile(model)._orig_mod is that model)"
            )
    if vars(model).get("_compiled_call") is not None:
        return (
            "generate has compiled it (model._compiled_call), and what was compiled ignores hooks that are "
            "added later. Run `del model._compiled_call; torch._dynamo.reset()` first"
        )
    return ""


def _is_compiled_call(module: nn.Module) -> bool:
    if vars(module).get("_compiled_call_impl") is not None:
        return True
    # Documented use: model.forward = torch.compile(model.forward). A disabled forward has both marks.
    forward = vars(module).get("forward")
    compiled = getattr(forward, "_torchdynamo_orig_callable", None) is not None
    return compiled and not getattr(forward, "_torchdynamo_disable", False)


def _encoder_decoder(model: nn.Module) -> str:
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return "it is an encoder-decoder model: only decoder-only causal LMs have one row of positions"
    return ""


def _without_generate(model: nn.Module) -> str:
    if not callable(getattr(model, "generate", None)):
        return "it has no generate: load it with AutoModelForCausalLM"
    replaced = vars(model).get("generate")
    if replaced is not None and not _is_ours(replaced):
        return (
            "its generate was replaced on the instance (custom_generate of its repository, or a patch), and "
            "such a loop may feed positions that are not known. Load it without trust_remote_code"
        )
    return ""


def _guarded(model: nn.Module) -> str:
    for module in model.modules():
        hooks = *module._forward_pre_hooks.values(), *module._forward_hooks.values()
        for hook in (*hooks, *_around(module)):
            if _is_ours(hook):
                return (
                    "it is guarded already (or is a copy of a guarded model, hooks included). "
                    "Call guard.detach() first, or load the model again"
                )
    return ""


def _around(module: nn.Module) -> Iterator[Callable[..., Any]]:
    """Yield what was put around a module's forward, the outermost first."""
    forward = vars(module).get("forward")
    while forward is not None:
        yield forward
        forward = getattr(forward, "__wrapped__", None)


def _is_ours(hook: Callable[..., Any]) -> bool:
    while (inner := getattr(hook, "_torchdynamo_orig_callable", getattr(hook, "func", None))) is not None:
        hook = inner
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return module == "guardsteer" or module.startswith("guardsteer.")


def _not_loaded(model: nn.Module) -> str:
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing:
        return (
            f"{len(missing)} of its parameters hold no data (meta device), {missing[0]!r} first. "
            "Load it whole, without disk or CPU offload"
        )
    return ""


def _spread(model: nn.Module) -> str:
    shards = any(type(parameter).__name__ == "DTensor" for parameter in model.parameters())
    if (
        shards
        or (getattr(model, "_tp_size", None) or 1) > 1
        or type(model).__name__.startswith("FullySharded")
    ):
        return (
            "it is spread over several processes, which could decide differently on the same row. "
            "Load it in one process (device_map is fine)"
        )
    return ""


def _prompt_tuned(model: nn.Module) -> str:
    adapter = getattr(model, "active_peft_config", None)
    if getattr(adapter, "is_prompt_learning", False):
        return (
            "its adapter puts virtual tokens before the prompt, which shifts every position. Merge or drop it"
        )
    return ""


def check_generation(model: Any, kwargs: Mapping[str, Any], generation_config: Any = None) -> None:
    """Return if steering is exact under the arguments of ``model.generate(**kwargs)``.

    A value counts wherever it comes from: ``kwargs``, else ``generation_config`` (or the one in ``kwargs``),
    else ``model.generation_config``.
    Raises ``UnsupportedError`` with every argument refused, why, and what to do.
    """
    config = generation_config if generation_config is not None else kwargs.get("generation_config")

    def value(name: str) -> Any:
        if name in kwargs:
            return kwargs[name]
        given = getattr(config, name, None)
        return given if given is not None else getattr(model.generation_config, name, None)

    problems = [f"{name}: {why}" for name, refused, why in _REFUSED if refused(value(name))]
    problems += _mode_problems(model, value) + _assistant_problems(model, value)
    _raise(problems, "steering is not exact under these arguments of generate")


def _given(value: Any) -> bool:
    return value is not None and value is not False


def _more_than_one(value: Any) -> bool:
    return value is not None and value > 1


def _not_one(value: Any) -> bool:
    return value is not None and value != 1


def _filled(cache: Any) -> bool:
    length = getattr(cache, "get_seq_length", None)
    return cache is not None and (not callable(length) or int(length()) > 0)


_OWN_LOOP = "it replaces the decoding loop. Leave it out"
_STATES = "it drafts from the model's own hidden states. Leave it out, or use prompt_lookup_num_tokens"
_EMBEDDINGS = "the text of the prompt is not known from embeddings. Pass input_ids"
_GUIDANCE = "classifier-free guidance mixes in a second forward that has no row of its own. Leave it out"


_REFUSED: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("inputs_embeds", _given, _EMBEDDINGS),
    ("prompt_embeds", _given, _EMBEDDINGS),
    ("guidance_scale", _not_one, _GUIDANCE),
    ("negative_prompt_ids", _given, _GUIDANCE),
    ("custom_generate", _given, _OWN_LOOP),
    ("use_mtp", _given, _STATES),
    ("speculation_type", _given, _STATES),
    (
        "assistant_early_exit",
        _given,
        "the drafts come from the guarded blocks themselves. Leave it out, or use prompt_lookup_num_tokens "
        "or another model as assistant",
    ),
    ("token_healing", _given, "it rewrites the end of the prompt after it was read. Leave it out"),
    ("num_beam_groups", _more_than_one, f"group beam search: {_OWN_LOOP}"),
    ("constraints", _given, f"constrained beam search: {_OWN_LOOP}"),
    ("force_words_ids", _given, f"constrained beam search: {_OWN_LOOP}"),
    ("dola_layers", _given, "DoLa compares the logits of early blocks, steered or not. Leave it out"),
    (
        "compile_config",
        _given,
        "compiled forwards ignore hooks that are added later. Leave it out and pass disable_compile=True",
    ),
    (
        "past_key_values",
        _filled,
        "the cache holds positions that were computed before this call, steered otherwise or not at all. "
        "Pass the whole input_ids and no cache, or an empty one",
    ),
    ("cache_params", _filled, "the cache holds positions that were computed before this call. Leave it out"),
)


def _mode_problems(model: Any, value: Callable[[str], Any]) -> list[str]:
    problems = []
    if value("cache_implementation") == "paged":
        problems.append(
            "cache_implementation='paged': continuous batching packs requests without saying which token is "
            "whose, and shares steered prefixes between them. Use 'dynamic' or 'static'"
        )
    contrastive = (value("penalty_alpha") or 0) > 0 and not value("do_sample")
    if contrastive and _more_than_one(value("top_k")):
        problems.append(f"penalty_alpha: contrastive search: {_OWN_LOOP}")
    cache = value("past_key_values")
    static = value("cache_implementation") in _COMPILED_CACHES or getattr(cache, "is_compileable", False)
    if static and model.device.type != "cpu" and not value("disable_compile"):
        problems.append(
            "disable_compile: with this cache, generate compiles the model on an accelerator, and compiled "
            "forwards ignore hooks that are added later. Pass disable_compile=True"
        )
    return problems


def _assistant_problems(model: Any, value: Callable[[str], Any]) -> list[str]:
    assistant = value("assistant_model")
    if assistant is None:
        return []
    own = {id(module) for module in model.modules()}
    if any(id(module) in own for module in assistant.modules()):
        return [
            "assistant_model: it is the guarded model or shares modules with it, so drafts would be steered "
            "as if they were the answer. Load the assistant separately"
        ]
    return []


def refuse_compiled(model: nn.Module) -> None:
    """Return unless ``model`` was compiled since it was guarded; raises ``UnsupportedError``."""
    problem = _compiled(model)
    _raise([problem] if problem else [], f"{type(model).__name__} cannot generate under guard")


def refuse_packed(kwargs: Mapping[str, Any]) -> None:
    """Return unless a forward's keyword arguments are those of several requests packed into one row.

    For the hook before the model's forward: ``generate_batch`` and other servers call the model
    themselves. Raises ``UnsupportedError`` before the first token is made.
    """
    for name in _PACKED:
        if kwargs.get(name) is not None:
            raise UnsupportedError(
                f"a guarded model was called with {name}: several requests packed into one row (continuous "
                "batching, generate_batch). Which token is whose is not known here, so nothing could be "
                "steered rightly. Use guard.generate with a padded batch, or detach the guard first."
            )
