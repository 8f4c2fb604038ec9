"""A cache's length is what the cache itself says, at every pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from guardsteer.host import CacheLength
from tests.models import tiny


def grow(cache: Any, columns: int) -> None:
    """Let a cache take in columns, as a block does."""
    states = torch.zeros(1, 1, columns, 2)
    cache.update(states, states, 0)


def test_it_follows_a_cache_that_grows_and_is_cut() -> None:
    cache, length = DynamicCache(), CacheLength()
    found = [length.of(cache)]
    for columns in (4, 1, 1):
        grow(cache, columns)
        found.append(length.of(cache))
    cache.crop(-3)
    assert [*found, length.of(cache)] == [0, 4, 5, 6, 3]


def test_it_follows_one_cache_after_another() -> None:
    length = CacheLength()
    for columns in (3, 5):
        cache = DynamicCache()
        assert length.of(cache) == 0
        grow(cache, columns)
        assert [length.of(cache), length.of(cache), length.of(None)] == [columns, columns, 0]


class Own(DynamicCache):
    """Tells its length in a way of its own."""

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return twice what there is."""
        return 2 * super().get_seq_length(layer_idx)


def test_a_cache_that_tells_its_length_itself_is_asked_itself() -> None:
    cache, length = Own(), CacheLength()
    grow(cache, 3)
    assert [length.of(cache), length.of(cache)] == [6, 6]


def test_a_cache_whose_method_was_replaced_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, length = DynamicCache(), CacheLength()
    grow(cache, 3)
    monkeypatch.setattr(cache, "get_seq_length", lambda: 7)
    assert [length.of(cache), length.of(cache)] == [7, 7]


class Untold:
    """A layer that knows no length, as those of linear attention."""


def test_the_first_layer_that_can_tell_is_asked() -> None:
    cache, length = Cache(layers=[DynamicLayer()]), CacheLength()
    grow(cache, 2)
    layers: list[Any] = cache.layers
    layers.insert(0, Untold())
    assert [length.of(cache), length.of(cache)] == [2, 2]


def test_a_static_cache_counts_what_was_written() -> None:
    model = tiny("llama")
    cache, length = StaticCache(config=model.config, max_cache_len=16), CacheLength()
    found = []
    for tokens in (3, 1, 1):
        model(input_ids=torch.full((1, tokens), 5), past_key_values=cache, use_cache=True)
        found.append(length.of(cache))
    assert found == [3, 4, 5]
    assert all(type(each) is int for each in found)


def test_a_layer_that_forgets_what_left_its_window_counts_on() -> None:
    cache, length = Cache(layers=[DynamicSlidingWindowLayer(sliding_window=4)]), CacheLength()
    found = []
    for columns in (3, 1, 1, 1, 1):
        grow(cache, columns)
        found.append(length.of(cache))
    assert found == [3, 4, 5, 6, 7]


def test_a_cache_that_is_emptied_has_no_columns() -> None:
    cache, length = DynamicCache(), CacheLength()
    grow(cache, 3)
    assert length.of(cache) == 3
    cache.crop(-3)
    assert length.of(cache) == cache.get_seq_length() == 0
    grow(cache, 2)
    assert length.of(cache) == 2
