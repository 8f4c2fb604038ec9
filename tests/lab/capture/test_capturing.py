"""One pass serves every point and rule, parts resume and add up, and batches do not show in the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.errors import VectorError
from guardsteer.host import SITES, Point, find_layout, point_at
from guardsteer.lab.capture.captured import Captured, Keep, Shard, capture_pairs, load_part, merge_parts
from guardsteer.lab.capture.capturing import Capture, States
from guardsteer.lab.capture.moments import Sums, merged
from guardsteer.lab.capture.positions import (
    ASSISTANT_MEAN,
    GENERATED_TOKENS,
    LAST_PROMPT_TOKEN,
    PositionRule,
    flagged_tokens,
    matching_tokens,
)
from guardsteer.lab.capture.readings import NEGATIVE, POSITIVE, Array
from tests.lab.chats import chat_model, chat_tokenizer, pairs
from tests.models import BLOCKS, WIDTH

FLOAT32 = 1e-5
"""Relative to the largest state: batches of other shapes round differently in the model itself."""
EXACT = 1e-12
RULES = (LAST_PROMPT_TOKEN, ASSISTANT_MEAN, GENERATED_TOKENS)
EVERYWHERE = tuple(
    point_at(block, site) for block in range(BLOCKS) for site in SITES if site != "embedding" or block == 0
)


def _capture(
    rules: tuple[PositionRule, ...] = RULES,
    points: tuple[Point, ...] = EVERYWHERE,
    batch_size: int = 4,
    **changes: Any,
) -> Capture:
    model = chat_model(**changes)
    return Capture(model, chat_tokenizer(), find_layout(model), points, rules, batch_size)


def _captured(capture: Capture, count: int = 24, **settings: Any) -> Captured:
    return capture_pairs(capture, pairs(count), model="m", **settings)


def _agree(first: Captured, second: Captured, tolerance: float) -> None:
    assert first.sums.keys() == second.sums.keys()
    for key, sums in first.sums.items():
        other = second.sums[key]
        np.testing.assert_array_equal(sums.counts, other.counts)
        assert sums.norms[0] == other.norms[0]
        scale = float(np.abs(sums.states).max())
        np.testing.assert_allclose(sums.states, other.states, rtol=0, atol=tolerance * scale)
        np.testing.assert_allclose(sums.norms, other.norms, rtol=tolerance)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_one_pass_gives_what_a_pass_for_each_point_and_rule_gives(rule: PositionRule) -> None:
    together = _captured(_capture())
    for point in (EVERYWHERE[0], EVERYWHERE[7], EVERYWHERE[-1]):
        alone = _captured(_capture((rule,), (point,)))
        key = (point, rule.name)
        scale = float(np.abs(alone.sums[key].states).max())
        np.testing.assert_allclose(
            together.sums[key].states, alone.sums[key].states, rtol=0, atol=FLOAT32 * scale
        )
        np.testing.assert_array_equal(together.sums[key].counts, alone.sums[key].counts)


def test_a_batch_of_nothing_is_refused_since_it_would_read_nothing() -> None:
    for size in (0, -1):
        with pytest.raises(VectorError, match=f"batch_size: got {size}"):
            _capture(batch_size=size)


def test_one_pass_runs_each_text_once() -> None:
    capture, passes = _capture(batch_size=4), 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    handle = capture.layout.blocks[0].register_forward_pre_hook(count)
    _captured(capture, 12)
    handle.remove()
    assert passes == 2 * 12 / 4


@pytest.mark.parametrize("changes", [{}, {"dtype": torch.bfloat16}], ids=["float32", "bfloat16"])
def test_batches_of_1_and_32_give_the_same_sums(changes: dict[str, Any]) -> None:
    one, many = (_captured(_capture(batch_size=size, **changes)) for size in (1, 32))
    _agree(one, many, 0.05 if changes else FLOAT32)


def test_one_shard_and_four_give_the_same_sums_and_rows(tmp_path: Path) -> None:
    keep = Keep(second=True, rows=True)
    whole = _captured(_capture(), keep=keep)
    parts = []
    for index in (3, 1, 4, 2):
        path = tmp_path / f"{index}.safetensors"
        _captured(_capture(), keep=keep, shard=Shard(index, 4), path=path)
        parts.append(load_part(path))
    merged_parts = merge_parts(parts)
    _agree(whole, merged_parts, FLOAT32)
    assert merged_parts.done == 24
    for key, rows in whole.rows.items():
        for side in (POSITIVE, NEGATIVE):
            (values, numbers), (others, other_numbers) = rows.side(side), merged_parts.rows[key].side(side)
            np.testing.assert_array_equal(numbers, other_numbers)
            np.testing.assert_allclose(values, others, rtol=0, atol=FLOAT32 * np.abs(values).max())


def test_float64_sums_of_a_bfloat16_model_keep_what_bfloat16_sums_would_lose() -> None:
    capture = _capture((GENERATED_TOKENS,), (point_at(1, "block_output"),), dtype=torch.bfloat16)
    seen: list[Array] = []
    sums = Sums.empty(WIDTH)

    def both(states: States) -> None:
        seen.append(states.values)
        sums.add(states)

    capture.run(pairs(24), both)
    exact = np.concatenate(seen).sum(0)
    np.testing.assert_allclose(sums.states.sum((0, 1)), exact, rtol=EXACT, atol=1e-9)


def test_means_of_a_bfloat16_model_are_taken_in_float64() -> None:
    point = point_at(1, "block_output")
    capture = _capture((GENERATED_TOKENS, ASSISTANT_MEAN), (point,), dtype=torch.bfloat16)
    read: dict[str, States] = {}
    compared = 0

    def compare(states: States) -> None:
        nonlocal compared
        read[states.rule.name] = states
        each, mean = read.get(GENERATED_TOKENS.name), read.get(ASSISTANT_MEAN.name)
        if each is None or mean is None or each.batch is not mean.batch:
            return
        assert torch.equal(torch.from_numpy(each.values).bfloat16().double(), torch.from_numpy(each.values))
        for place, row in enumerate(mean.owners):
            exact = each.values[each.owners == row].mean(0)
            np.testing.assert_allclose(mean.values[place], exact, rtol=EXACT, atol=EXACT)
            compared += 1

    capture.run(pairs(24), compare)
    assert compared == 48


@given(st.lists(st.integers(0, 3), min_size=8, max_size=40), st.randoms())
def test_sums_do_not_depend_on_how_or_in_which_order_parts_are_added(shares: list[int], random: Any) -> None:
    rng = np.random.default_rng(len(shares))
    parts = [Sums(rng.random((2, 2)), rng.normal(size=(2, 2, 5)), rng.random(3), None) for _ in shares]
    whole = merged(parts)
    shuffled = list(parts)
    random.shuffle(shuffled)
    groups = [[part for part, share in zip(shuffled, shares, strict=True) if share == n] for n in range(4)]
    again = merged([merged(group) for group in groups if group])
    for name in ("counts", "states", "norms"):
        np.testing.assert_allclose(getattr(again, name), getattr(whole, name), rtol=EXACT, atol=EXACT)


def test_a_capture_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardsteer.lab.capture.captured._SECONDS_BETWEEN_SAVES", 0.0)
    capture, path = _capture(batch_size=1), tmp_path / "part.safetensors"
    read = 0

    def stop(conversations: int) -> None:
        nonlocal read
        read += conversations
        if read == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _captured(capture, path=path, on_batch=stop)
    assert load_part(path).done == 8
    told: list[int] = []
    resumed = _captured(capture, path=path, on_batch=told.append)
    assert told[0] == 16
    assert sum(told) == 48
    _agree(resumed, _captured(capture), EXACT)
    again: list[int] = []
    _captured(capture, path=path, on_batch=again.append)
    assert again == [48]


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    capture, path = _capture(batch_size=8), tmp_path / "part.safetensors"
    parts = [_captured(capture, 12, shard=Shard(index, 3)) for index in (1, 2, 3)]
    with pytest.raises(VectorError, match=r"got shards \[1, 3\], expected each of \[1, 2, 3\]"):
        merge_parts([parts[0], parts[2]])
    with pytest.raises(VectorError, match=r"got shards \[1, 2, 2\]"):
        merge_parts([parts[0], parts[1], parts[1]])
    with pytest.raises(VectorError, match="not all of one capture"):
        merge_parts([_captured(capture, 9, shard=Shard(1, 3)), *parts[1:]])
    _captured(capture, 12, path=path)
    with pytest.raises(VectorError, match="holds another capture"):
        _captured(capture, 13, path=path)
    path.write_bytes(b"no tensors")
    with pytest.raises(VectorError, match="not a captured part"):
        load_part(path)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/4/2", "-1/2", ""])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(VectorError, match="shard: got"):
        Shard.parse(text)
    assert Shard.parse("2/4") == Shard(2, 4)


class _Vowels:
    """A classifier that scores 1 where the text so far ends in a vowel."""

    digest = "b3:" + "0" * 64
    outputs = ("vowel",)

    def start(self) -> _VowelState:
        return _VowelState()


class _VowelState:
    def __init__(self, text: str = "") -> None:
        self._text = text

    def push(self, text: str) -> None:
        self._text += text

    def scores(self) -> Sequence[float]:
        return (float(self._text[-1:] in "aeiou"),)

    def fork(self) -> _VowelState:
        return _VowelState(self._text)


def _positions(rule: PositionRule) -> list[str]:
    """Return the characters of the first pair's positive reply that ``rule`` reads, one a token."""
    capture = _capture((rule,))
    reading = next(iter(capture.preparer.pairs(enumerate(pairs(1)))))
    tokens = [reading.input_ids[position] for position in reading.positions[0]]
    return [str(capture.tokenizer.decode([token])) for token in tokens]


def test_patterns_and_classifiers_choose_tokens_of_the_reply_alone() -> None:
    assert _positions(matching_tokens("ni.e")) == list("nice")
    assert _positions(matching_tokens("Number")) == []  # it is in the question
    classifier: Any = _Vowels()
    assert _positions(flagged_tokens("v", classifier, "vowel")) == list("oieea")
    with pytest.raises(VectorError, match="no output 'x', only vowel"):
        flagged_tokens("v", classifier, "x")
    with pytest.raises(VectorError, match="RE2 refuses it"):
        matching_tokens("(")


def test_a_template_whose_prompt_does_not_begin_the_chat_is_read_by_one_rule_at_a_time() -> None:
    capture = _capture()
    capture.tokenizer.chat_template = capture.tokenizer.chat_template.replace(
        "{% if add_generation_prompt %}<assistant>", "{% if add_generation_prompt %}<assistant><bos>"
    )
    with pytest.raises(VectorError, match="one pass cannot serve both"):
        _captured(capture)
