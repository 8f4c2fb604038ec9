"""The guard's hooks on one model: one in front of it, one at each point in use.

A hook acts for the generation of the thread that it runs in, and for no other.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from guardsteer.errors import HostError
from guardsteer.host import Layout, Point, hook_at, refuse_packed
from guardsteer.host.hooks import HookSet, HookSpec, attach
from guardsteer.host.sites import Change
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
        self._front = attach([HookSpec(model, "before", self._before)])
        self._points: dict[Point, HookSet] = {}
        # Guards what follows; those of a pass hold it only where something turns.
        self._lock = threading.Lock()
        self._running = 0
        self._resting = False

    @property
    def busy(self) -> bool:
        """True where this thread is in a generation."""
        return self._current.generation is not None

    def check(self) -> None:
        """Return if all hooks are where they were put; raises ``HostError``."""
        with self._lock:
            gone = self._front.gone or any(hooks.gone for hooks in self._points.values())
        if gone:
            raise HostError(
                "the guard's hooks are gone: another library has put the model's own forward back; detach "
                "the guard and wrap the model again"
            )

    @contextmanager
    def running(self, generation: Generation) -> Iterator[None]:
        """Let the hooks act for ``generation`` in this thread."""
        with self._lock:
            self._running += 1
            self._rest(())
        self._current.generation = generation
        try:
            yield
        finally:
            self._current.generation = None
            with self._lock:
                self._running -= 1
                self._rest(())
            generation.release()

    def add(self, points: Iterable[Point]) -> None:
        """Put hooks on the points that have none; generations that do not use them pass them by."""
        with self._lock:
            for point in points:
                if point not in self._points:
                    self._points[point] = attach([hook_at(self._layout, point, self._at(point))])

    def keep(self, points: Iterable[Point]) -> None:
        """Take the hooks off all points but these."""
        with self._lock:
            for point in set(self._points) - set(points):
                self._points.pop(point).remove()

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
        cache = kwargs.get("past_key_values")
        generation.begin_pass(ids if ids is not None or not args else args[0], cache)
        if generation.rests is not self._resting:
            self._turn(generation)
        if generation.course is not None and ids is not None:
            generation.course.close_gaps(kwargs, ids, generation.end, cached=cache is not None)

    def _turn(self, generation: Generation) -> None:
        """Let the hooks where ``generation`` has nothing to do rest, or wake them.

        A hook that does nothing still costs a step some microseconds. Only a generation that is alone can
        spare it: another one's hooks are the same.
        """
        with self._lock:
            if self._running == 1:
                self._rest(set(self._points) - generation.wanted if generation.rests else ())

    def _rest(self, resting: Collection[Point]) -> None:
        if not (resting or self._resting):
            return
        self._resting = bool(resting)
        for point, hooks in self._points.items():
            hooks.rest(point in resting)

    def _at(self, point: Point) -> Change:
        current = self._current

        def steer(hidden: Tensor) -> Tensor | None:
            generation = current.generation
            if generation is None:
                return None
            pushed = generation.pushes.get(point)
            if pushed is not None:
                generation.visited += 1
                return hidden + pushed
            if point not in generation.wanted:
                return None
            changed = generation.at_point(point, hidden)
            if self._resting and not generation.rests:
                self._turn(generation)
            return changed

        return steer
