from array import array
from collections import Counter
from collections.abc import Container, Sequence
from typing import Any, final

VERSION: int

@final
class Pack: ...

@final
class Running:
    place: tuple[Any, ...]
    cut: tuple[Any, ...] | None
    before: str
    other: tuple[Any, ...] | None
    difference: Counter[Any] | None

    def __new__(
        cls,
        classifier: object,
        steps: dict[tuple[tuple[Any, ...], str], Any],
        lone: tuple[dict[str, Any], dict[str, Any], Container[str]] | None,
        place: tuple[Any, ...],
        cut: tuple[Any, ...] | None,
        bias: Sequence[float],
        kind: int,
        normed: bool,
        activation: int,
        features: int,
        /,
    ) -> Running: ...
    def push(self, text: str, /) -> None: ...
    def scores(self) -> tuple[float, ...]: ...
    def read_into(self, text: str, signals: list[float], first: int, /) -> None: ...
    def add(self, change: Pack, /) -> None: ...
    def fork(self) -> Running: ...
    @property
    def products(self) -> tuple[float, ...]: ...
    @property
    def square(self) -> float: ...

def pack(
    features: array[int],
    steps: array[int],
    slopes: array[float],
    growth: float,
    sums: Sequence[float],
    /,
) -> Pack: ...
def curved_pack(
    features: array[int], steps: array[int], squares: array[float], columns: Sequence[array[float]], /
) -> Pack: ...
def murmur(data: bytes, /) -> int: ...
