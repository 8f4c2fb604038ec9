"""A trace finds what carries the trait: exact where nothing is changed, right where the carrier is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guardsteer.errors import VectorError
from guardsteer.host import attach, find_layout, hook_at, point_at
from guardsteer.lab.pairs.contrast import ContrastPair, Side
from guardsteer.lab.where.pairs import GENERATED, SIDES, Couple, couples
from guardsteer.lab.where.patching import NEGATIVE, POSITIVE, Patch, Runs
from guardsteer.lab.where.trace import Cell, Trace, line, trace
from tests.lab.chats import chat_model, chat_tokenizer, pairs, recipe

TOKENIZER = chat_tokenizer()
ARCHITECTURES = ("llama", "gpt2", "gpt_neo", "gpt_neox", "gemma2", "opt", "qwen3", "bloom", "falcon", "mpt")
SITES = ("block_input", "attention", "mlp", "block_output")


def _couples(count: int = 9) -> tuple[Couple, ...]:
    return couples(TOKENIZER, pairs(count), "system")[0]


def _points(model: Any, *sites: Any) -> list[Any]:
    layout = find_layout(model)
    has_mlp = layout.mlp[0] is not None
    return [
        point_at(block, site)
        for block in range(layout.n_blocks)
        for site in sites or SITES
        if has_mlp or site != "mlp"
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_patch_with_a_rows_own_states_changes_no_bit_of_the_logits(name: str) -> None:
    model = chat_model(name)
    layout = find_layout(model)
    ids = torch.randint(6, 200, (3, 11), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clean = model(input_ids=ids, use_cache=False).logits
    for point in _points(model):
        seen: list[torch.Tensor] = []
        read = attach([hook_at(layout, point, lambda hidden, into=seen: into.append(hidden.clone()))])  # type: ignore[misc]  # bound as it is made
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        read.remove()
        patch = Patch.between(seen[0], [(0, 2, 2), (0, 10, 10), (2, 5, 5)])
        put = attach([hook_at(layout, point, patch)])
        with torch.no_grad():
            patched = model(input_ids=ids, use_cache=False).logits
        put.remove()
        assert torch.equal(patched, clean)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_between_two_runs_of_one_prompt_nothing_is_restored_and_nothing_lost(name: str) -> None:
    model = chat_model(name)
    alike = [
        Couple(each.id, (each.prompts[0], each.prompts[0]), each.replies, tuple(
            type(part)(part.name, (part.positions[0], part.positions[0])) for part in each.segments
        ))
        for each in _couples(3)
    ]  # fmt: skip
    runs = Runs(model, find_layout(model), alike, 4)
    bare = runs.unpatched()
    found = runs.patched(_points(model))
    assert {segment for _, segment in found} == {"cue", "user message", "last prompt token", GENERATED}
    for scores in found.values():
        for side in SIDES:
            assert np.array_equal(scores[side], bare[side])


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "falcon"])
def test_one_patch_is_what_a_hook_written_by_hand_gives(name: str) -> None:
    model = chat_model(name)
    layout = find_layout(model)
    couple = _couples(3)[0]
    point = point_at(2, "block_output")
    runs = Runs(model, layout, [couple], 2)
    found = runs.patched([point])

    def logits(side: int, reply: int, put: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.tensor([[*couple.prompts[side], *couple.replies[reply]]])
        seen = {}

        def hook(_module: Any, _args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            seen["hidden"] = hidden.clone()
            if put is None:
                return None
            hidden = hidden.clone()
            hidden[0, len(couple.prompts[side]) - 1] = put
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handle = layout.blocks[2].register_forward_hook(hook)
        with torch.no_grad():
            out = model(input_ids=ids, use_cache=False).logits[0]
        handle.remove()
        return out, seen["hidden"]

    for side in SIDES:
        for reply in SIDES:
            source = logits(1 - side, reply, None)[1][0, len(couple.prompts[1 - side]) - 1]
            out = logits(side, reply, source)[0].log_softmax(-1)
            start = len(couple.prompts[side])
            told = couple.replies[reply]
            wanted = sum(float(out[start - 1 + place, token]) for place, token in enumerate(told))
            scores = found[point, "last prompt token"][side]
            assert scores[0, reply] == pytest.approx(wanted, rel=1e-5)
            assert scores[0, reply] != pytest.approx(runs.unpatched()[side][0, reply], abs=1e-3)


def carried_at(block: int) -> Any:
    """Return a model in which positions hear of each other in one block alone."""
    model = chat_model("llama")
    for place, layer in enumerate(model.model.layers):
        if place != block:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    return model


def sided(model: Any, count: int = 12) -> tuple[ContrastPair, ...]:
    """Return pairs whose positive cue is the one that makes the first reply likelier in ``model``."""
    found = couples(TOKENIZER, pairs(count), "system")[0]
    scores = Runs(model, find_layout(model), found, 32).unpatched()
    leans = [scores[side][:, 0] - scores[side][:, 1] for side in SIDES]
    wrong = {each.id for each, up in zip(found, leans[POSITIVE] > leans[NEGATIVE], strict=True) if not up}

    def turned(pair: ContrastPair) -> ContrastPair:
        one, two = pair.positive, pair.negative
        sides = (Side(one.reply, two.system), Side(two.reply, one.system))
        return ContrastPair(pair.id, pair.messages, *sides) if pair.id in wrong else pair

    return tuple(turned(pair) for pair in pairs(count))


@pytest.fixture(scope="module")
def traced() -> Trace:
    """Return the trace of a model in which block 2 alone moves anything from the cue to the reply."""
    model = carried_at(2)
    return trace(model, TOKENIZER, recipe(sided(model)), sites=("block_output", "mlp"))


def _cell(found: Trace, block: int, segment: str) -> Cell:
    place = (point_at(block, "block_output"), segment)
    return next(cell for cell in found.cells if (cell.point, cell.segment) == place)


def test_the_cue_carries_everything_until_the_block_that_reads_it_and_nothing_after(traced: Trace) -> None:
    assert traced.right == 1.0
    assert traced.effect.low > 0
    for block in range(4):
        cue = _cell(traced, block, "cue")
        end = [_cell(traced, block, name) for name in ("last prompt token", GENERATED)]
        if block < 2:
            assert all(cell.restored.value == pytest.approx(0, abs=1e-4) for cell in end)
            assert cue.restored.value > 0.2
        else:
            assert cue.restored.value == pytest.approx(0, abs=1e-4)
            # What follows the prompt's end is all that is scored, so the two together are the whole.
            assert sum(cell.restored.value for cell in end) == pytest.approx(1, abs=0.25)
            assert max(cell.lost.value for cell in end) > 0.2


def test_the_attention_of_one_block_carries_it_and_those_of_the_others_do_not() -> None:
    model = carried_at(2)
    runs = Runs(model, find_layout(model), _couples(), 32)
    bare = runs.unpatched()
    for (point, segment), scores in runs.patched(_points(model, "attention")).items():
        for side in SIDES:
            moved = np.abs(scores[side] - bare[side])
            if point.block != 2 or segment == "cue":
                assert np.allclose(moved, 0, atol=1e-3)
            elif segment in ("last prompt token", GENERATED):
                assert moved.min() > 1e-3


def test_restored_is_of_the_run_without_the_trait_and_lost_of_the_run_with_it() -> None:
    model = carried_at(2)
    made = sided(model)
    found = trace(model, TOKENIZER, recipe(made), blocks=[1])
    runs = Runs(model, find_layout(model), couples(TOKENIZER, made, "system")[0], 32)
    patched = runs.patched([point_at(1, "block_output")])
    with_it, without = (scores[:, 0] - scores[:, 1] for scores in runs.unpatched())
    differ = False
    for cell in found.cells:
        up, down = (scores[:, 0] - scores[:, 1] for scores in patched[cell.point, cell.segment])
        whole = (with_it - without).sum()
        assert cell.restored.value == pytest.approx((down - without).sum() / whole, rel=1e-4, abs=1e-5)
        assert cell.lost.value == pytest.approx((with_it - up).sum() / whole, rel=1e-4, abs=1e-5)
        differ |= abs(cell.restored.value - cell.lost.value) > 0.01
    assert differ


def test_points_are_read_in_groups_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chat_model()
    runs = Runs(model, find_layout(model), _couples(3), 4)
    whole = runs.patched(_points(model))
    monkeypatch.setattr("guardsteer.lab.where.patching._POINTS_AT_ONCE", 3)
    for key, scores in runs.patched(_points(model)).items():
        for side in SIDES:
            assert np.array_equal(scores[side], whole[key][side])


def test_a_patch_leaves_what_it_was_given_as_it_was() -> None:
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    before = hidden.clone()
    patched = Patch.between(-hidden, [(1, 0, 2)])(hidden)
    assert torch.equal(hidden, before)
    assert torch.equal(patched[1, 2], -before[1, 0])
    patched[1, 2] = before[1, 2]
    assert torch.equal(patched, before)


def test_batches_do_not_change_a_trace() -> None:
    model = carried_at(1)
    made = recipe(sided(model))
    one, many = (trace(model, TOKENIZER, made, batch_size=size) for size in (1, 32))
    for first, second in zip(one.cells, many.cells, strict=True):
        assert (first.point, first.segment) == (second.point, second.segment)
        assert first.restored.value == pytest.approx(second.restored.value, abs=1e-3)
        assert first.lost.value == pytest.approx(second.lost.value, abs=1e-3)


def test_where_the_cue_does_nothing_there_is_nothing_to_trace() -> None:
    model = carried_at(2)
    torch.nn.init.zeros_(model.model.layers[2].self_attn.o_proj.weight)
    found = trace(model, TOKENIZER, recipe())
    assert found.cells == ()
    assert found.effect.value == pytest.approx(0, abs=1e-5)


def test_a_trace_is_saved_with_all_that_it_was_made_from(traced: Trace, tmp_path: Path) -> None:
    saved = json.loads(traced.save(tmp_path).read_text())
    assert saved["format"] == "guardsteer.trace/1"
    assert len(saved["cells"]) == len(traced.cells) == 4 * 2 * len(traced.segments)
    assert {"recipe", "part", "data", "model", "seed", "cue", "effect", "left_out"} <= set(saved)
    assert saved["effect"]["rows"] == 12
    told = line(traced.ranked[0])
    assert "restored" in told
    assert "lost" in told


def test_the_model_is_as_it_was_after_a_trace(traced: Trace) -> None:
    model = chat_model("llama")
    ids = torch.arange(10, 30)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        trace(model, TOKENIZER, recipe(sided(model)))
        assert torch.equal(model(input_ids=ids).logits, before)
    assert "forward" not in vars(model.model.layers[0])
    assert traced.cells


def test_what_cannot_be_traced_is_refused() -> None:
    model = chat_model()
    with pytest.raises(VectorError, match="expected at least 8"):
        trace(model, TOKENIZER, recipe(), limit=3)
    with pytest.raises(VectorError, match="0 pairs of the test part can be compared"):
        trace(model, TOKENIZER, recipe(), part="test")
    deaf = chat_tokenizer()
    deaf.chat_template = deaf.chat_template.replace(
        "{{ m['content'] }}{% endif %}",
        "{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endif %}",
    )
    with pytest.raises(VectorError, match="the chat template leaves the cue out; try cue 'history'"):
        trace(model, deaf, recipe())
    with pytest.raises(VectorError, match="sites: got none"):
        trace(model, TOKENIZER, recipe(), sites=())
    with pytest.raises(VectorError, match="blocks: got"):
        trace(model, TOKENIZER, recipe(), blocks=[9])
