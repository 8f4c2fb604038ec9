from collections.abc import Callable, Mapping
from typing import Any, final

VERSION: int
UNREAD: int
READ: int
DECIDED: int

@final
class Stride:
    def __new__(
        cls,
        make_step: Callable[..., object],
        known: Mapping[int, str | None],
        closing: frozenset[int],
        signals: list[float],
        plan: object,
        lose: Callable[[Any, Exception], None],
        reads: tuple[tuple[object, Callable[[str, list[float], int], None], int], ...],
        cells: tuple[tuple[int, float, float], ...],
        waits: bool,
        /,
    ) -> Stride: ...
    @property
    def steps(self) -> int: ...
    def advance(self, row: Any, token: int, /) -> int: ...
    def complete(self, step: Any, product: float, /) -> bool: ...
    def expect(self, plan: object, cell: tuple[int, float, float], bias: float, /) -> None: ...
    def tell(self) -> int: ...
