"""The guard's hooks on one model: one in front of it, one at each block in use.

A hook acts for the generation of the thread that it runs in, and for no other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from guardsteer.host import Layout, hidden_of, refuse_packed, with_hidden
from guardsteer.host.hooks import HookSet, HookSpec, attach
from guardsteer.runtime.generation import Generation

__all__ = ["Hooks"]


class _Current(threading.local):
    """The generation that this thread is in."""

    generation: Generation | None = None


class Hooks:
    """Hooks that come and go while the model runs in other threads; not to be changed by two at once."""

    def __init__(self, model: Any, layout: Layout) -> None:
        self._layout = layout
        self._current = _Current()
        # Compiled models are refused, so nothing here is ever traced.
        front = HookSpec(model, "forward_pre", self._before, prepend=True, with_kwargs=True, traceable=True)
        self._front = attach([front])
        self._blocks: dict[int, HookSet] = {}

    @property
    def busy(self) -> bool:
        """True where this thread is in a generation."""
        return self._current.generation is not None

    @contextmanager
    def running(self, generation: Generation) -> Iterator[None]:
        """Let the hooks act for ``generation`` in this thread."""
        self._current.generation = generation
        try:
            yield
        finally:
            self._current.generation = None
            generation.release()

    def add(self, blocks: Iterable[int]) -> None:
        """Put hooks on the blocks that have none; generations that do not use them pass them by."""
        for block in blocks:
            if block not in self._blocks:
                spec = HookSpec(self._layout.blocks[block], "around", self._at(block))
                self._blocks[block] = attach([spec])

    def keep(self, blocks: Iterable[int]) -> None:
        """Take the hooks off all blocks but these."""
        for block in set(self._blocks) - set(blocks):
            self._blocks.pop(block).remove()

    def remove(self) -> None:
        """Take every hook off."""
        self._front.remove()
        self.keep(())

    def _before(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        generation = self._current.generation
        if generation is None:
            refuse_packed(kwargs)
            return
        ids = kwargs.get("input_ids")
        generation.begin_pass(ids if ids is not None or not args else args[0], kwargs.get("past_key_values"))

    def _at(self, block: int) -> Callable[..., Any]:
        current = self._current

        def steer(_: Any, __: Any, output: Any) -> Any:
            generation = current.generation
            if generation is None or block not in generation.blocks:
                return None
            if generation.quiet:
                generation.visited += 1
                return None
            steered = generation.at_block(block, hidden_of(output))
            return None if steered is None else with_hidden(output, steered)

        return steer
