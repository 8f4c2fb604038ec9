"""Extraction reads what it says it reads: block outputs, at the chosen positions, never padding."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from guardsteer.core.policy import Site
from guardsteer.errors import HostError, LayoutError, TurnsError, UnsupportedError, VectorError
from guardsteer.host import find_layout, fingerprint, hidden_of, outputs_of_blocks, point_at
from guardsteer.lab.capture.capturing import Capture, States
from guardsteer.lab.capture.positions import ASSISTANT_MEAN, matching_tokens
from guardsteer.lab.capture.readings import Array
from guardsteer.lab.extraction.extract import extract
from guardsteer.lab.extraction.methods import METHODS
from guardsteer.lab.pairs.contrast import ContrastPair, Side, Split, pairs_digest
from guardsteer.steer import load_vector, save_vector
from guardsteer.steer.artifact import MethodName
from tests.host.test_sites import part
from tests.lab.chats import chat_model, chat_tokenizer, pairs, recipe
from tests.models import BLOCKS, WIDTH

ARCHITECTURES = (
    "llama", "gemma2", "gpt2", "gpt_neo", "opt", "falcon", "bloom", "mpt", "mixtral", "qwen3_next", "mamba",
)  # fmt: skip


def _states(model: Any, ids: Sequence[int], block: int) -> NDArray[np.float64]:
    """Return one block's output for one unpadded row by a plain hook: ``[position, width]``."""
    seen: list[torch.Tensor] = []
    handle = (
        find_layout(model)
        .blocks[block]
        .register_forward_hook(lambda _module, _args, output: seen.append(hidden_of(output).detach()))
    )
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    handle.remove()
    states: NDArray[np.float64] = seen[0][0].double().numpy()
    return states


def _states_at(model: Any, ids: Sequence[int], block: int, site: Site) -> NDArray[np.float64]:
    """Return the states of one unpadded row at a site by a plain hook: ``[position, width]``."""
    seen: list[torch.Tensor] = []
    module, end = part(find_layout(model), point_at(block, site))
    handle = (
        module.register_forward_hook(lambda _module, _args, output: seen.append(hidden_of(output).detach()))
        if end == "output"
        else module.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    )
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]))
    handle.remove()
    states: NDArray[np.float64] = seen[0][0].double().numpy()
    return states


def _embedding(model: Any) -> Any:
    return model.get_input_embeddings()


def _by_hand(model: Any, tokenizer: Any, made: Any, read: str) -> tuple[NDArray[np.float64], list[float]]:
    """Return directions and norms by the definition: one pair at a time, from the text of the chat."""
    directions, norms = [], []
    for block in range(BLOCKS):
        means: dict[str, list[NDArray[np.float64]]] = {"positive": [], "negative": []}
        lengths: list[float] = []
        for pair in made:
            for name in means:
                side = getattr(pair, name)
                prompt = f"<bos><system>{side.system}<user>{pair.messages[0]['content']}<assistant>"
                n_prompt = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
                text = prompt if read == "last_prompt_token" else f"{prompt}{side.reply}<eos>"
                states = _states(model, tokenizer(text, add_special_tokens=False)["input_ids"], block)
                chosen = states[n_prompt - 1 :] if read == "last_prompt_token" else states[n_prompt:]
                means[name].append(chosen.mean(0))
                lengths.extend(np.linalg.norm(chosen, axis=1))
        difference = np.mean(means["positive"], axis=0) - np.mean(means["negative"], axis=0)
        directions.append(difference / np.linalg.norm(difference))
        norms.append(float(np.mean(lengths)))
    return np.stack(directions), norms


@pytest.mark.parametrize("site", ["embedding", "block_input", "heads", "attention", "mlp"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_vector_is_the_mean_difference_at_its_site(name: str, site: Site) -> None:
    model, tokenizer = chat_model(name), chat_tokenizer()
    made = pairs(8)
    vector = extract(model, tokenizer, recipe(made), site=site)
    assert vector.card.site == site
    assert vector.card.site_width == (WIDTH if site == "heads" else None)
    assert vector.blocks == ((0,) if site == "embedding" else tuple(range(BLOCKS)))
    for block in vector.blocks:
        means: list[NDArray[np.float64]] = []
        lengths: list[float] = []
        for pair in made:
            sides = []
            for side in (pair.positive, pair.negative):
                prompt = f"<bos><system>{side.system}<user>{pair.messages[0]['content']}<assistant>"
                n_prompt = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
                ids = tokenizer(f"{prompt}{side.reply}<eos>", add_special_tokens=False)["input_ids"]
                states = _states_at(model, ids, block, site)[n_prompt:]
                sides.append(states.mean(0))
                lengths.extend(np.linalg.norm(states, axis=1))
            means.append(sides[0] - sides[1])
        difference = np.mean(means, axis=0)
        np.testing.assert_allclose(
            vector.direction(block), difference / np.linalg.norm(difference), atol=1e-5
        )
        assert vector.residual_norm(block) == pytest.approx(np.mean(lengths), rel=1e-5)


def test_blocks_without_the_site_are_left_out_unless_asked_for() -> None:
    model, tokenizer = chat_model("qwen3_next"), chat_tokenizer()
    assert extract(model, tokenizer, recipe(), site="heads").blocks == (1, 3)
    with pytest.raises(LayoutError, match="no softmax attention"):
        extract(model, tokenizer, recipe(), site="heads", blocks=[0, 1])
    with pytest.raises(LayoutError, match="no softmax attention"):
        extract(chat_model("mamba"), tokenizer, recipe(), site="heads")
    with pytest.raises(HostError, match="normalised"):
        extract(chat_model("gemma2"), tokenizer, recipe(), site="mlp")
    with pytest.raises(VectorError, match="numbers from 0 to 0"):
        extract(model, tokenizer, recipe(), site="embedding", blocks=[1])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_vector_is_the_mean_difference_at_the_block_outputs_for_every_batch_size(name: str) -> None:
    model, tokenizer = chat_model(name), chat_tokenizer()
    made = pairs(8)
    expected, norms = _by_hand(model, tokenizer, made, "assistant_mean")
    for batch_size in (1, 3, 32):
        vector = extract(model, tokenizer, recipe(made), batch_size=batch_size)
        assert vector.blocks == tuple(range(BLOCKS))
        np.testing.assert_allclose(vector.directions, expected, atol=1e-5)
        np.testing.assert_allclose(vector.residual_norms, norms, rtol=1e-5)


def test_the_last_prompt_token_is_read_with_the_cue_and_without_the_reply() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    made = pairs(10)
    expected, norms = _by_hand(model, tokenizer, made, "last_prompt_token")
    vector = extract(model, tokenizer, recipe(made), read="last_prompt_token")
    assert vector.card.read == "last_prompt_token"
    np.testing.assert_allclose(vector.directions, expected, atol=1e-5)
    np.testing.assert_allclose(vector.residual_norms, norms, rtol=1e-5)
    silent = tuple(
        dataclasses.replace(pair, positive=Side(None, "Be kind."), negative=Side(None, "Be brief and cold."))
        for pair in made
    )
    again = extract(model, tokenizer, recipe(silent, read="last_prompt_token"))
    assert np.array_equal(again.directions, vector.directions)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_never_read_whatever_the_tokenizer_prefers(side: str) -> None:
    model = chat_model()
    alone = extract(model, chat_tokenizer(), recipe(), batch_size=1)
    with torch.no_grad():
        _embedding(model).weight[0] = 1e4  # the pad token
    padded = extract(model, chat_tokenizer(padding_side=side), recipe(), batch_size=32)
    np.testing.assert_allclose(padded.directions, alone.directions, atol=1e-5)
    np.testing.assert_allclose(padded.residual_norms, alone.residual_norms, rtol=1e-5)


def test_a_tokenizer_without_a_pad_token_will_do() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    expected = extract(model, tokenizer, recipe())
    tokenizer.pad_token = None
    np.testing.assert_allclose(extract(model, tokenizer, recipe()).directions, expected.directions, atol=1e-5)


def test_a_planted_direction_is_recovered() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    planted = torch.randn(WIDTH, generator=torch.Generator().manual_seed(3))
    planted /= planted.norm()
    plus, minus = (tokenizer(sign, add_special_tokens=False)["input_ids"][0] for sign in "+-")

    def plant(_module: Any, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        signs = (args[0] == plus).float() - (args[0] == minus).float()
        planted_there: torch.Tensor = output + 10.0 * signs[..., None] * planted
        return planted_there

    _embedding(model).register_forward_hook(plant)
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data.zero_()  # so that every block hands on what it was given
    made = pairs(16, positive="++++ ", negative="---- ")
    even = tuple(
        dataclasses.replace(pair, negative=Side((pair.positive.reply or "").replace("+", "-"), "Be kind."))
        for pair in made
    )
    vector = extract(model, tokenizer, recipe(even))
    cosines = vector.directions @ planted.numpy()
    assert cosines.min() > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_vector_that_separates_and_says_how_it_was_made(method: MethodName) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    site: Site = "heads" if method == "head_probes" else "block_output"
    background = ["Some tea.", "A train to the coast, or rain."] if method == "mean_centred" else ()
    vector = extract(
        model, tokenizer, recipe(pairs(16)), method=method, background=background, site=site, heads=3
    )
    assert vector.card.method == method
    assert vector.card.pairs == (1 if method == "single_pair" else 16)
    if method == "head_probes":
        assert len(vector.blocks) <= 3
        assert 0 < np.count_nonzero(vector.directions.reshape(-1, WIDTH // 4).any(1)) <= 3
    for row in vector.card.separation:
        if row.cohens_d is not None and method != "random":
            assert row.cohens_d > 0


def test_a_method_gets_what_it_needs_or_is_refused() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    for changes, message in (
        ({"method": "mean_centred"}, "mean_centred takes some texts"),
        ({"background": ["Some tea."]}, "mean_difference takes none"),
        ({"method": "imported"}, "expected one of mean_difference, .*; import it"),
        ({"method": "head_probes"}, "capture at site 'heads'"),
        ({"read": matching_tokens("no such word")}, "the position rule found none"),
    ):
        with pytest.raises(VectorError, match=message):
            extract(model, tokenizer, recipe(), **cast(Any, changes))


def test_a_pattern_may_choose_the_tokens_and_the_card_says_which() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    vector = extract(model, tokenizer, recipe(pairs(10)), read=matching_tokens("tea"))
    assert vector.card.read == "matching_tokens:tea"


def test_only_the_chosen_blocks_are_read() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    everything = extract(model, tokenizer, recipe())
    some = extract(model, tokenizer, recipe(), blocks=[3, 1, 3])
    assert some.blocks == (1, 3)
    assert np.array_equal(some.directions, everything.directions[[1, 3]])
    for wrong in ([], [4], [-1]):
        with pytest.raises(VectorError, match="expected numbers from 0 to 3"):
            extract(model, tokenizer, recipe(), blocks=wrong)


def test_the_test_part_is_never_looked_at_and_the_tuning_part_measures() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    split = Split(extraction=50, tuning=30, test=20)
    whole = recipe(pairs(60), split=split)
    parts = {part: whole.part(part) for part in ("extraction", "tuning", "test")}
    assert min(map(len, parts.values())) >= 8
    vector = extract(model, tokenizer, whole)
    assert {row.measured_on for row in vector.card.separation} == {"tuning"}
    assert vector.card.pairs == len(parts["extraction"])
    assert vector.card.data_digest == pairs_digest(parts["extraction"])
    without_test = extract(
        model, tokenizer, dataclasses.replace(whole, pairs=parts["extraction"] + parts["tuning"])
    )
    assert without_test.digest == vector.digest
    alone = extract(model, tokenizer, dataclasses.replace(whole, pairs=parts["extraction"]))
    assert np.array_equal(alone.directions, vector.directions)
    assert {row.measured_on for row in alone.card.separation} == {"extraction"}


def test_separation_is_cohens_d_of_the_projections() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    made = pairs(10)
    vector = extract(model, tokenizer, recipe(made))
    values: dict[str, list[float]] = {"positive": [], "negative": []}
    for pair in made:
        for name, found in values.items():
            side = getattr(pair, name)
            prompt = f"<bos><system>{side.system}<user>{pair.messages[0]['content']}<assistant>"
            n_prompt = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            ids = tokenizer(f"{prompt}{side.reply}<eos>", add_special_tokens=False)["input_ids"]
            found.append(float(_states(model, ids, 2)[n_prompt:].mean(0) @ vector.direction(2)))
    positive, negative = np.array(values["positive"]), np.array(values["negative"])
    pooled = np.sqrt((positive.var(ddof=1) + negative.var(ddof=1)) / 2)
    expected = (positive.mean() - negative.mean()) / pooled
    assert vector.card.separation[2].cohens_d == pytest.approx(expected, rel=1e-4)
    cosine = vector.card.separation[2].split_half_cosine
    assert cosine is not None
    assert -1.0 <= cosine <= 1.0


def test_pairs_without_a_common_trait_have_halves_that_disagree() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    steady = extract(model, tokenizer, recipe(pairs(24)))
    mixed = tuple(
        dataclasses.replace(pair, positive=pair.negative, negative=pair.positive) if index % 2 else pair
        for index, pair in enumerate(pairs(24))
    )
    unsteady = extract(model, tokenizer, recipe(mixed))
    sure, unsure = (
        [row.split_half_cosine or 0.0 for row in vector.card.separation] for vector in (steady, unsteady)
    )
    assert min(sure) > 0.8
    assert max(unsure) < 0.5


def test_the_card_binds_the_vector_to_the_model_that_it_was_read_from(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    vector = extract(model, tokenizer, recipe())
    path = save_vector(vector, tmp_path)
    assert load_vector(path, fingerprint=fingerprint(model, tokenizer)).digest == vector.digest
    with pytest.raises(VectorError, match="weights: the vector was read from"):
        load_vector(path, fingerprint=fingerprint(chat_model(seed=1), tokenizer))
    with pytest.raises(VectorError, match=r"dtype: the vector was read from float32, .* bfloat16"):
        load_vector(path, fingerprint=fingerprint(chat_model(dtype=torch.bfloat16), tokenizer))


def test_extraction_repeats_byte_for_byte_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    before = fingerprint(model, tokenizer)
    paths = [save_vector(extract(model, tokenizer, recipe()), tmp_path / name) for name in "ab"]
    for suffix in (".safetensors", ".json"):
        assert paths[0].with_suffix(suffix).read_bytes() == paths[1].with_suffix(suffix).read_bytes()
    assert fingerprint(model, tokenizer) == before
    assert all(not module._forward_hooks for module in model.modules())


def test_states_and_tokens_are_dropped_as_soon_as_they_were_read() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    drawn, read = 0, 0
    states: list[weakref.ref[Array]] = []

    def draw() -> Iterator[ContrastPair]:
        nonlocal drawn
        for drawn, pair in enumerate(pairs(100), 1):  # noqa: B007  # counted for the outside
            yield pair

    def on_states(found: States) -> None:
        states.extend(map(weakref.ref, (found.values, found.norms)))
        assert sum(state() is not None for state in states) <= 4

    def on_batch(conversations: int) -> None:
        nonlocal read
        read += conversations
        assert 2 * drawn - read <= 16 * 2

    points = outputs_of_blocks((0, 2))
    capture = Capture(model, tokenizer, find_layout(model), points, (ASSISTANT_MEAN,), batch_size=2)
    capture.run(draw(), on_states, on_batch)
    assert read == 200
    assert len(states) == 2 * 2 * 100


def test_conversations_of_one_length_share_a_batch() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    longest: list[int] = []

    def on_states(states: States) -> None:
        longest.append(max(len(reading.input_ids) for reading in states.batch))

    points = outputs_of_blocks((0,))
    capture = Capture(model, tokenizer, find_layout(model), points, (ASSISTANT_MEAN,), batch_size=4)
    capture.run(pairs(16), on_states)
    assert len(longest) == 8
    assert longest == sorted(longest)


def test_progress_counts_conversations_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    extract(
        chat_model(), chat_tokenizer(), recipe(), batch_size=5, progress=lambda *numbers: seen.append(numbers)
    )
    assert seen[0] == (5, 48)
    assert seen[-1] == (48, 48)
    assert seen == sorted(seen)


def test_limit_takes_the_first_pairs() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    limited = extract(model, tokenizer, recipe(pairs(12)), limit=9)
    assert limited.digest == extract(model, tokenizer, recipe(pairs(9))).digest


def _changed(index: int = 2, **changes: Any) -> Any:
    made = list(pairs())
    made[index] = dataclasses.replace(made[index], **changes)
    return tuple(made)


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (pairs(7), {}, "got 7 pairs to extract from, expected at least 8"),
        (_changed(negative=Side("Bye.")), {}, "pair 'pair-2': positive and negative must both have"),
        (
            _changed(positive=Side("Hi."), negative=Side("Hi.")),
            {},
            "pair 'pair-2': positive and negative are the same",
        ),
        (_changed(messages=()), {}, "pair 'pair-2': messages: the last turn must be the user's"),
        (_changed(positive=Side(), negative=Side()), {}, "got neither 'reply' nor 'system'"),
        (
            _changed(positive=Side(None, "a"), negative=Side(None, "b")),
            {},
            "pair 'pair-2': no 'reply' to read",
        ),
        (
            _changed(positive=Side("Hi."), negative=Side("Bye.")),
            {"read": "last_prompt_token"},
            "pair 'pair-2': the sides have one prompt",
        ),
        (pairs(), {"name": "No Such Name"}, "field 'name'"),
        (
            _changed(positive=Side("x" * 600, "a"), negative=Side("y", "b")),
            {},
            "tokens, but the model takes 512",
        ),
    ],
)
def test_pairs_that_cannot_be_read_are_refused(made: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(VectorError, match=message):
        extract(chat_model(), chat_tokenizer(), recipe(made, **changes))


def test_sides_that_give_the_same_states_are_refused() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    with torch.no_grad():
        _embedding(model).weight[:] = 1.0  # every token looks alike
    with pytest.raises(VectorError, match="block 0: the sides do not differ"):
        extract(model, tokenizer, recipe())


def test_states_that_are_not_finite_are_refused() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    with torch.no_grad():
        _embedding(model).weight[tokenizer.convert_tokens_to_ids("o")] = torch.nan
    with pytest.raises(VectorError, match="block 0: the hidden states hold NaN"):
        extract(model, tokenizer, recipe())


def test_models_and_templates_that_cannot_be_read_are_refused() -> None:
    model, tokenizer = chat_model(), chat_tokenizer()
    with pytest.raises(HostError, match="training mode"):
        extract(model.train(), tokenizer, recipe())
    with pytest.raises(UnsupportedError):
        extract(object(), tokenizer, recipe())
    with pytest.raises(VectorError, match="batch_size and limit: got 0"):
        extract(model.eval(), tokenizer, recipe(), batch_size=0)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(TurnsError, match=r"pair 'pair-0': .*no"):
        extract(model, tokenizer, recipe())
