"""Classifiers, probes and disks that fail when they are told to."""

from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from guardsteer.audit import Journal, health
from guardsteer.classify import Probe
from guardsteer.core.events import Detached
from guardsteer.host import fingerprint
from tests.models import WIDTH
from tests.runtime.harness import Bench, score_of

__all__ = ["BREAKS_AT", "MENDS_AT", "SEED", "Failing", "FailingProbe", "Fault", "broken_disk", "wait_until"]

Fault = Literal["raises", "nan", "counts wrong", "hangs", "nothing"]
SEED = 1
BREAKS_AT = 4
"""Characters of text, or passes, after which the fault shows."""
MENDS_AT = 10
"""What gives nan gives numbers again from here on."""


class Failing:
    """Scores as ``LastCharacters`` does, until the text has ``BREAKS_AT`` characters."""

    def __init__(self, fault: Fault = "nothing", *, breaks_at: int = BREAKS_AT) -> None:
        self.outputs = ("score",)
        self.digest = "b3:failing"
        self.fault = fault
        self.breaks_at = breaks_at
        self.gate = threading.Event()
        self.calls = 0

    def start(self) -> FailingState:
        return FailingState(self)


class FailingState:
    def __init__(self, owner: Failing, text: str = "") -> None:
        self.owner = owner
        self.text = text

    def push(self, text: str) -> None:
        self.owner.calls += 1
        self.text += text
        if len(self.text) >= self.owner.breaks_at:
            if self.owner.fault == "raises":
                raise ValueError("out of order")
            if self.owner.fault == "hangs":
                self.owner.gate.wait(60)

    def scores(self) -> Sequence[float]:
        failing = self.owner.breaks_at <= len(self.text)
        if failing and self.owner.fault == "counts wrong":
            return (0.5, 0.5)
        if failing and self.owner.fault == "nan" and len(self.text) < MENDS_AT:
            return (math.nan,)
        return (score_of(SEED, self.text),)

    def fork(self) -> FailingState:
        return FailingState(self.owner, self.text)


class FailingProbe(Probe):
    """Scores 0.9 at every position, until pass ``BREAKS_AT``."""

    __slots__ = ("calls", "fault")

    def __init__(self, made: Bench, fault: Fault) -> None:
        super().__init__(
            name="said",
            outputs=("score",),
            block=1,
            weight=torch.zeros(1, WIDTH),
            bias=torch.tensor([math.log(9.0)]),
            fingerprint=fingerprint(made.model, made.tokenizer).digest,
            digest="b3:" + "0" * 64,
        )
        self.fault: Fault = fault
        self.calls = 0

    def reader(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what reads as a probe does, and fails some time."""
        whole = super().reader(like)
        return lambda hidden: self.read(hidden, whole)

    def read(self, hidden: Tensor, whole: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what ``whole`` does, or fail; the first pass reads the prompt."""
        self.calls += 1
        failing = self.calls > BREAKS_AT
        if failing and self.fault == "raises":
            raise ValueError("out of order")
        if failing and self.fault == "counts wrong":
            return hidden.new_zeros((*hidden.shape[:-1], 2))
        products = whole(hidden)
        nan = failing and self.fault == "nan" and self.calls <= MENDS_AT
        return torch.full_like(products, math.nan) if nan else products


def wait_until(condition: Any, what: str) -> None:
    """Wait for something that another thread does."""
    until_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until_s, f"waited in vain until {what}"
        time.sleep(0.002)


DiskFault = Literal["full disk", "read-only directory", "write that hangs"]


@contextmanager
def broken_disk(
    journal: Journal, fault: DiskFault, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Any]]:
    """Yield two calls: the first breaks the disk under ``journal``, the second mends it; both wait for it."""
    broken, gate = [False], threading.Event()
    write, open_ = os.write, os.open

    def failing_write(descriptor: int, data: Any) -> int:
        if broken[0] and len(data) > 40:
            if fault == "full disk":
                raise OSError(errno.ENOSPC, "No space left on device")
            if fault == "write that hangs":
                gate.wait(60)
        return write(descriptor, data)

    def failing_open(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if broken[0] and fault == "read-only directory" and flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open_(path, flags, *more, **options)

    monkeypatch.setattr(os, "write", failing_write)
    monkeypatch.setattr(os, "open", failing_open)
    patience_s = health.STUCK_S

    def break_it() -> None:
        gate.clear()
        if fault == "write that hangs":
            monkeypatch.setattr(health, "STUCK_S", 0.05)
        broken[0] = True
        # What is durable already has nothing to fail with.
        journal.append(Detached(time_ns=time.time_ns(), guard="nobody"))
        wait_until(lambda: journal.failed, "the journal failed")

    def mend_it() -> None:
        broken[0] = False
        # A machine that is busy takes longer than that for a write that succeeds.
        monkeypatch.setattr(health, "STUCK_S", patience_s)
        gate.set()
        wait_until(lambda: not journal.failed, "the journal worked again")

    try:
        yield break_it, mend_it
    finally:
        broken[0] = False
        gate.set()
