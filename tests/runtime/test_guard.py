"""A guard goes on whole, comes off without a trace, and refuses what it cannot do exactly."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.errors import (
    BindingError,
    HostError,
    PolicyError,
    RequestError,
    UnsupportedError,
    VectorError,
)
from guardsteer.host import fingerprint
from guardsteer.steer import make_vector, save_vector
from guardsteer.steer.artifact import ModelBinding
from tests.models import tiny
from tests.runtime.harness import POLICY, Bench, batch, bench, byte_tokenizer, policy_file, random_vector

PROMPT = [40, 77, 90, 101]
HOOK_TABLES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


@pytest.fixture
def made() -> Bench:
    return bench("llama")


def wrap(made: Bench, folder: Path, text: str = POLICY, **options: Any) -> Any:
    given = {"vectors": made.vectors, "classifiers": made.classifiers, **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(folder, text), **given)


def hooks(model: Any) -> list[tuple[str, str, int]]:
    around = [(name, "forward", 1) for name, module in model.named_modules() if "forward" in vars(module)]
    return around + [
        (name, table, len(getattr(module, table)))
        for name, module in model.named_modules()
        for table in HOOK_TABLES
        if getattr(module, table)
    ]


def test_after_detach_nothing_is_left_and_logits_are_bit_identical(made: Bench, tmp_path: Path) -> None:
    inputs = batch([PROMPT])
    before = made.model(**inputs).logits
    state = {key: value for key, value in vars(made.model).items() if not key.startswith("_")}
    guard = wrap(made, tmp_path)
    assert hooks(made.model)
    guard.generate(**inputs, max_new_tokens=5)
    guard.detach()
    guard.detach()
    assert hooks(made.model) == []
    assert {key: value for key, value in vars(made.model).items() if not key.startswith("_")} == state
    assert torch.equal(made.model(**inputs).logits.view(torch.int32), before.view(torch.int32))
    with pytest.raises(RequestError, match="detached"):
        guard.generate(**inputs)


def test_a_model_is_guarded_once(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path):
        with pytest.raises(UnsupportedError, match="guarded already") as caught:
            wrap(made, tmp_path)
        assert len(str(caught.value).splitlines()) == 2
    wrap(made, tmp_path).detach()


def test_a_guard_that_others_have_pushed_aside_says_so(made: Bench, tmp_path: Path) -> None:
    inputs = batch([PROMPT])
    with wrap(made, tmp_path) as guard:
        guarded = [module for module in made.model.modules() if "forward" in vars(module)]
        ours = [vars(module).pop("forward") for module in guarded]
        with pytest.raises(HostError, match="hooks are gone"):
            guard.generate(**inputs, max_new_tokens=2)
        for module in guarded:
            vars(module)["forward"] = type(module).forward.__get__(module)
        with pytest.raises(HostError, match="no forward pass reached the guard"):
            guard.generate(**inputs, max_new_tokens=2)
        for module, forward in zip(guarded, ours, strict=True):
            vars(module)["forward"] = forward
        assert guard.generate(**inputs, max_new_tokens=2).shape == (1, len(PROMPT) + 2)
    assert hooks(made.model) == []


def test_a_forward_outside_generate_is_the_bare_models(made: Bench, tmp_path: Path) -> None:
    inputs = batch([PROMPT])
    before = made.model(**inputs).logits
    with wrap(made, tmp_path):
        assert torch.equal(made.model(**inputs).logits, before)


def test_the_models_own_generate_is_guarded_while_the_guard_is_on(made: Bench, tmp_path: Path) -> None:
    inputs = {**batch([PROMPT]), "max_new_tokens": 12, "do_sample": False}
    bare = made.model.generate(**inputs).tolist()
    with wrap(made, tmp_path) as guard:
        steered = guard.generate(**inputs).tolist()
        assert made.model.generate(**inputs).tolist() == steered != bare
    assert made.model.generate(**inputs).tolist() == bare


def test_a_guard_that_fails_to_go_on_leaves_the_model_alone(made: Bench, tmp_path: Path) -> None:
    other = random_vector(made.model, made.tokenizer, "one", [99 % 4], 1)
    with pytest.raises(VectorError):
        wrap(
            made,
            tmp_path,
            vectors={**made.vectors, "one": other},
            text=POLICY.replace("one: {use: ./none,", "one: {use: ./none, blocks: [2],"),
        )
    assert hooks(made.model) == []
    assert "generate" not in vars(made.model)


def test_two_guarded_models_keep_their_own_state(tmp_path: Path) -> None:
    """Known bug elsewhere: state on a class, shared by all models."""
    first, second = bench("llama", 0), bench("llama", 1)
    inputs = {**batch([PROMPT]), "max_new_tokens": 10, "do_sample": False}
    alone = []
    for made in (first, second):
        with wrap(made, tmp_path) as guard:
            alone.append(guard.generate(**inputs).tolist())
    with wrap(first, tmp_path) as one, wrap(second, tmp_path) as two:
        assert [one.generate(**inputs).tolist(), two.generate(**inputs).tolist()] == alone


def test_a_vector_of_another_model_is_refused(made: Bench, tmp_path: Path) -> None:
    other = tiny("llama", seed=9)
    vector = random_vector(other, made.tokenizer, "one", [1], 1)
    path = save_vector(vector, tmp_path / "one.safetensors")
    text = POLICY.replace("one: {use: ./none", f"one: {{use: ./{path.name}")
    with pytest.raises(BindingError, match="weights"):
        wrap(made, tmp_path, vectors={**made.vectors, "one": vector})
    with pytest.raises(BindingError, match="weights"):
        wrap(made, tmp_path, text, vectors={k: v for k, v in made.vectors.items() if k != "one"})


def test_hooks_without_effect_downstream_are_refused(made: Bench, tmp_path: Path) -> None:
    """Known bug elsewhere: a hook that nothing listens to."""
    made.model.shadow = torch.nn.ModuleList(copy.deepcopy(block) for block in made.model.model.layers)
    identity = fingerprint(made.model, made.tokenizer, blocks="shadow")
    binding = ModelBinding(**{part: getattr(identity, part) for part in ModelBinding.model_fields})
    vectors = {
        name: make_vector(
            vector.card.model_copy(update={"model": binding}),
            directions=vector.directions,
            residual_norms=vector.residual_norms,
        )
        for name, vector in made.vectors.items()
    }
    with pytest.raises(HostError, match="block"):
        wrap(made, tmp_path, vectors=vectors, blocks="shadow")
    assert hooks(made.model) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"guidance_scale": 1.5}, "guidance"),
        ({"custom_generate": lambda **_: None}, "custom_generate"),
        ({"cache_implementation": "paged"}, "paged"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha"),
        ({"dola_layers": "low"}, "DoLa"),
    ],
)
def test_what_cannot_be_steered_exactly_is_refused_before_the_first_token(
    options: dict[str, Any], said: str, made: Bench, tmp_path: Path
) -> None:
    with wrap(made, tmp_path) as guard, pytest.raises(UnsupportedError, match=said):
        guard.generate(**batch([PROMPT]), max_new_tokens=3, **options)


def test_embeddings_instead_of_ids_are_refused(made: Bench, tmp_path: Path) -> None:
    embedded = made.model.get_input_embeddings()(torch.tensor([PROMPT]))
    with wrap(made, tmp_path) as guard, pytest.raises(UnsupportedError, match="inputs_embeds"):
        guard.generate(inputs_embeds=embedded, max_new_tokens=3)


def test_continuous_batching_is_refused(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path):
        with pytest.raises(UnsupportedError, match="packed"):
            made.model(input_ids=torch.tensor([PROMPT]), cu_seq_lens_q=torch.tensor([0, 4]))
        with pytest.raises(UnsupportedError, match="generate_batch"):
            made.model.generate_batch([PROMPT])
    assert "generate_batch" not in vars(made.model)


def test_a_model_that_was_compiled_is_refused(made: Bench, tmp_path: Path) -> None:
    compiled = torch.compile(made.model, backend="eager")
    with pytest.raises(UnsupportedError, match="compile"):
        guardsteer.wrap(
            compiled,
            made.tokenizer,
            policy=policy_file(tmp_path),
            vectors=made.vectors,
            classifiers=made.classifiers,
        )


def test_a_model_that_is_compiled_while_guarded_is_refused_at_the_next_request(
    made: Bench, tmp_path: Path
) -> None:
    with wrap(made, tmp_path) as guard:
        made.model.compile(backend="eager")
        with pytest.raises(UnsupportedError, match="compile"):
            guard.generate(**batch([PROMPT]), max_new_tokens=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guard": [{}, {}]}, "2 entries for 1 rows"),
        ({"guard": [{"tenat": "x"}]}, "unknown key"),
        ({"guard": [{"tenant": 3}]}, "type string"),
        ({"guard": [{"request": 3}]}, "expected a string"),
        ({"guard": 7}, "expected a list"),
        ({"attention_mask": torch.tensor([[1, 1]])}, "attention_mask"),
        ({"attention_mask": torch.tensor([[1, 1, 1, 0]])}, "padded on the left"),
        ({"input_ids": torch.tensor([1, 2])}, "input_ids"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_the_place(
    change: dict[str, Any], said: str, made: Bench, tmp_path: Path
) -> None:
    inputs: dict[str, Any] = {**batch([PROMPT]), **change}
    with wrap(made, tmp_path) as guard, pytest.raises(RequestError, match=said):
        guard.generate(**inputs, max_new_tokens=3)


def test_turns_that_the_policy_needs_must_come_with_the_request(made: Bench, tmp_path: Path) -> None:
    text = POLICY.replace("on: prompt", "on: user")
    with wrap(made, tmp_path, text) as guard:
        with pytest.raises(RequestError, match=r"guard\.chat"):
            guard.generate(**batch([PROMPT]), max_new_tokens=3)
        turns = [("system", 0, 1), ("user", 1, 4)]
        assert guard.generate(**batch([PROMPT]), guard={"turns": turns}, max_new_tokens=3).shape == (1, 7)


def test_a_policy_with_mistakes_names_them_all(made: Bench, tmp_path: Path) -> None:
    text = POLICY.replace("when: up", "when: upp").replace("strength: 0.5", "strength: -1")
    with pytest.raises(PolicyError) as caught:
        wrap(made, tmp_path, text)
    assert len(caught.value.problems) == 2


def test_another_tokenizer_makes_another_model(made: Bench) -> None:
    """The fingerprint covers the tokenizer: a vector is refused after its vocabulary changed."""
    changed = byte_tokenizer()
    changed.add_tokens(["zz"])
    assert fingerprint(made.model, changed).digest != fingerprint(made.model, made.tokenizer).digest


def test_a_model_that_skips_a_hooked_block_is_found_at_once(made: Bench, tmp_path: Path) -> None:
    """Known bug elsewhere: decisions that were logged although no block ever applied them."""
    layers = made.model.model.layers
    with wrap(made, tmp_path) as guard:
        whole = list(layers)
        made.model.model.layers = torch.nn.ModuleList(whole[:2])
        with pytest.raises(HostError, match="2 of 4 hooked points"):
            guard.generate(**batch([PROMPT]), max_new_tokens=3, use_cache=False)
        made.model.model.layers = layers
        assert guard.generate(**batch([PROMPT]), max_new_tokens=3).shape == (1, 7)
