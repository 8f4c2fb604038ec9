"""Which of the two implementations of what a row has read is in use: the compiled one, where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from guardsteer.classify.words import running
from guardsteer.classify.words.murmur import murmur

__all__ = ["KERNELS", "Kernel", "best", "compiled", "find_kernels"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of the two: how rows begin, how changes are packed and n-grams hashed."""

    start: Callable[..., running.ReadSoFar]
    pack: Callable[..., Any]
    curved_pack: Callable[..., Any]
    murmur: Callable[[bytes], int]


def find_kernels() -> Mapping[str, Kernel]:
    """Return the kernels that there are; a compiled one of another version is none."""
    found = {"python": Kernel(running.Running, running.pack, running.curved_pack, murmur)}
    try:
        from guardsteer.classify.words import _running
    except ImportError:
        return found
    if _running.VERSION == running.VERSION:
        found["compiled"] = Kernel(_running.Running, _running.pack, _running.curved_pack, _running.murmur)
    return found


KERNELS = MappingProxyType(find_kernels())
"""Those that there are here, by name: ``python`` and, where it was built, ``compiled``."""


def best() -> Kernel:
    """Return the compiled kernel, or Python's where there is none."""
    return KERNELS.get("compiled", KERNELS["python"])


def compiled() -> bool:
    """Tell whether the compiled kernel is in use."""
    return "compiled" in KERNELS
