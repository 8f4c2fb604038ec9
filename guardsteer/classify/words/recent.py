"""A bounded cache that keeps what was asked for recently."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Two dictionaries of at most ``limit`` entries each; the older one is dropped when the younger is full.

    What is still in use moves to the younger one before the older goes. Threads may share it without
    a lock: each step is one operation on a dictionary, and a race costs values computed twice.
    Read ``young`` directly where the call would matter, and ``older`` on a miss. It is one dictionary
    for good, so that others can hold it.
    """

    __slots__ = ("_limit", "_old", "young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._old: dict[K, V] = {}
        self.young: dict[K, V] = {}

    def older(self, key: K) -> V | None:
        """Return the value from the older dictionary, which moves to the younger, or None."""
        value = self._old.get(key)
        if value is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        young = self.young
        if len(young) >= self._limit:
            self._old = young.copy()
            young.clear()
        young[key] = value

    def __len__(self) -> int:
        return len(self._old) + len(self.young)
