"""Which of the two implementations of what a row has read is in use: the compiled one, where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from guardsteer.classify.words import running
from guardsteer.classify.words.murmur import murmur

if TYPE_CHECKING:
    from collections import Counter

    from guardsteer.classify.words.reading import Gram, Place

__all__ = ["KERNELS", "Kernel", "ReadSoFar", "Reads", "best", "compiled", "find_kernels"]


class ReadSoFar(Protocol):
    """What one row has read; ``running.Running`` has what the parts mean."""

    place: Place
    cut: Place | None
    before: str
    other: Place | None
    difference: Counter[Gram] | None

    def push(self, text: str) -> None:
        """Append ``text``."""

    def scores(self) -> Sequence[float]:
        """Return the probabilities [output] of the text so far."""

    def add(self, change: Any) -> None:
        """Take in a change of the counts, which the same kernel has packed."""

    def fork(self) -> ReadSoFar:
        """Return an independent copy."""


class Reads(Protocol):
    """What the kernel leaves to the classifier."""

    def miss(self, read: ReadSoFar, key: tuple[Place, str]) -> tuple[Place, Any, str, Place | None]:
        """Return what reading a text from a place comes to, where that is not kept."""

    def push_slowly(self, read: ReadSoFar, text: str) -> None:
        """Append a text whose lowering depends on what is around it."""

    def behind(self, before: str, text: str) -> str:
        """Return the last character of ``before + text`` that lowering may look back at."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of the two: how rows begin, how changes are packed and n-grams hashed."""

    start: Callable[..., ReadSoFar]
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
