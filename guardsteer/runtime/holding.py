"""A streamer that gets a row's text only when nothing can take it back or keep it back any more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from guardsteer.runtime.course import Course
from guardsteer.runtime.steps import cleared, with_written

__all__ = ["Holding"]


class Holding(BaseStreamer):
    """Stands between the decoding loop and the caller's streamer.

    The prompt goes through at once. Of what is written, the next token of every row goes through, in one
    tensor ``[row]``, as soon as it is free in all of them; rows that have ended give ``pad``. A token is
    free once the rules hold it back no longer and none of them can take it back.
    """

    def __init__(self, inner: Any, course: Course, pad: int) -> None:
        self._inner = inner
        self._course = course
        self._pad = pad
        self._texts: list[list[int]] = [[] for _ in course.generation.rows]
        self._columns = course.generation.width
        self._begun = False
        self._released = 0

    def put(self, value: Tensor) -> None:
        """Take the prompt, or new tokens: one of each row, or some of one row."""
        if not self._begun:
            self._begun = True
            self._inner.put(value)
            return
        tokens: list[int] = value.flatten().tolist()
        rows = len(self._texts)
        for first in range(0, len(tokens), rows):
            self._columns += 1
            for place, text in enumerate(self._texts):
                own = self._course.written(place, self._columns)
                # A row that went back says its last token again.
                if own <= len(text):
                    del text[own:]
                else:
                    text.append(tokens[first + place])
        self._release()

    def end(self) -> None:
        """Let go of what there is to release."""
        for place, text in enumerate(self._texts):
            if text:
                self._course.finish(place, text[-1], self._columns)
        self._release()
        self._inner.end()

    def _release(self) -> None:
        free = [self._free(place, text) for place, text in enumerate(self._texts)]
        going = [len(tokens) for tokens, over in free if not over]
        until = min(going) if going else max(len(tokens) for tokens, _ in free)
        for at in range(self._released, until):
            column = [tokens[at] if at < len(tokens) else self._pad for tokens, _ in free]
            self._inner.put(torch.tensor(column, dtype=torch.long))
        self._released = max(self._released, until)

    def _free(self, place: int, text: list[int]) -> tuple[list[int], bool]:
        """Return what of a row may be released, and whether nothing follows."""
        course = self._course
        row = course.generation.rows[place]
        if course.over(place) or row.halt_step >= 0:
            return course.final(place, text).tokens, course.over(place)
        step = with_written(row.step, len(text) - 1)
        return text[: max(0, min(cleared(step), row.floor))], False
