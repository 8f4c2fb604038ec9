"""How many columns a cache holds, asked at every pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

__all__ = ["CacheLength"]


class CacheLength:
    """Asks a cache for its length, as ``get_seq_length`` does, and the layer that knows it from then on.

    A cache looks at every call for the first layer that can tell; its layers do not change places once they
    are there. One that overrides ``get_seq_length`` is always asked itself. A layer that merely grows has
    the length of its keys.
    """

    __slots__ = ("_ask", "_cache", "_grown")

    def __init__(self) -> None:
        self._cache: Any = None
        self._ask: Callable[[], Any] = int
        self._grown: Any = None

    def of(self, cache: Any) -> int:
        """Return how many columns ``cache`` holds; 0 for None."""
        if cache is None:
            return 0
        if cache is self._cache:
            grown = self._grown
            if grown is None:
                return int(self._ask())
            columns: int = grown.keys.shape[-2]
            return columns
        length = int(cache.get_seq_length())
        if length:
            self._cache, self._ask = cache, _asked(cache)
            layer = getattr(self._ask, "__self__", None)
            self._grown = layer if type(layer) is DynamicLayer else None
        return length


def _asked(cache: Any) -> Callable[[], Any]:
    ask: Callable[[], Any] = cache.get_seq_length
    if getattr(ask, "__func__", None) is not Cache.get_seq_length:
        return ask
    return next((layer.get_seq_length for layer in cache.layers if isinstance(layer, CacheLayerMixin)), ask)
