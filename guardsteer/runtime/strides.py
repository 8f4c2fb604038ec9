"""Strides: a calm row's steps, each in one compiled call, where the extension could be built.

A row is *calm* while nothing is in motion in it and each of its scores stays between two numbers, within
which neither flags nor comparisons tell a difference (``rules.cells`` has why). Then a step is: classifiers
read what the token says, and the plan is the one before. ``Row`` does the same, and all else, in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardsteer.runtime.steps import Step

if TYPE_CHECKING:
    from guardsteer.runtime._strides import Stride
    from guardsteer.runtime.hearing import Hearing
    from guardsteer.runtime.probing import ProbeBank

__all__ = ["DECIDED", "READ", "STRIDE", "UNREAD", "VERSION", "Striding", "find_stride"]

VERSION = 1
"""The extension's has to be the same: one that was built from an older source is left aside."""

UNREAD, DECIDED, READ = range(3)
"""What a stride did with a token: nothing, all there was to do, or all but to decide."""

# A stride of fewer steps costs more than it spares.
_SHORT = 8


def find_stride() -> type[Stride] | None:
    """Return the compiled type; None where it was not built, or from another version's source."""
    try:
        from guardsteer.runtime import _strides
    except ImportError:
        return None
    return _strides.Stride if _strides.VERSION == VERSION else None


STRIDE = find_stride()
"""The one that is in use, None where all is done in Python."""


class Striding:
    """How one row goes on: in a ``stride``, or with None by deciding every step."""

    __slots__ = ("_able", "_rest", "stride")

    def __init__(self, *, able: bool) -> None:
        self._able = able and STRIDE is not None
        # Steps to decide before the next stride, where the last one was short.
        self._rest = 0
        self.stride: Stride | None = None

    def fork(self) -> Striding:
        """Return the same of a row that has no stride yet."""
        return Striding(able=self._able)

    def take(self, rules: Any, heard: Hearing, closing: frozenset[int], *, waits: bool) -> None:
        """Take the next steps in a stride where text may well decide what it did at the last one.

        ``waits`` says whether probes complete what text decides.
        """
        if self._rest:
            self._rest -= 1
            return
        calm, known = rules.calm(heard.signals) if self._able else None, heard.reader.known
        if calm is not None and known is not None and STRIDE is not None:
            reads = tuple((reading, state.read_into, reading.first) for reading, state in heard.active)
            self.stride = STRIDE(
                Step, known, closing, heard.signals, calm.plan, heard.lose, reads, calm.cells, waits
            )

    def expect(self, rules: Any, heard: Hearing, probes: ProbeBank) -> None:
        """Let the stride complete steps by itself too, where the one probe may well decide what it did."""
        calm = rules.calm_within(heard.signals) if self.stride is not None and probes.only >= 0 else None
        if calm is not None and self.stride is not None and [each[0] for each in calm.cells] == [probes.only]:
            self.stride.expect(calm.plan, calm.cells[0], probes.biases[0])

    def stir(self, rules: Any, *, short: bool = False) -> None:
        """Go on without a stride; ``short``: wait a while before the next, where this one was short."""
        stride, self.stride = self.stride, None
        if stride is not None:
            rules.stepped(stride.tell())
            self._rest = _SHORT if short and stride.steps < _SHORT else 0
