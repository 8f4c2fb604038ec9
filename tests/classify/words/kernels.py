"""A stand-in for a classifier, and what the tests of the two kernels share."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from guardsteer.classify.words.kernel import Kernel
from guardsteer.classify.words.recent import Recent
from guardsteer.classify.words.running import Lone, ReadSoFar, Word
from tests.classify.models import kernel_named

approx = partial(pytest.approx, rel=1e-12, abs=1e-12)

PLAIN, PROPORTIONAL, SUBLINEAR, BINARY = range(4)
FEATURES = 50_000


class Texts:
    """Stands for a classifier: every text comes to a change of its own, whatever it says."""

    def __init__(self, kernel: Kernel, kind: int, outputs: int) -> None:
        self.kernel, self.kind, self.outputs = kernel, kind, outputs
        self.bias = (0.25, -1.0, 0.5)
        # In place of what it would say itself.
        self.answer: Callable[[], Any] | None = None
        self.lone: Lone | None = None
        self.steps: Recent[Any, Any] = Recent(8)
        self.asked: list[tuple[str, ...]] = []

    def start(self, activation: int = 0, *, normed: bool = True) -> Any:
        bias = self.bias[: self.outputs]
        steps, place, cut = self.steps.young, ("start", ()), ("cut", ())
        own = self, steps, self.lone, place, cut, bias, self.kind, normed, activation, FEATURES
        return self.kernel.start(*own)

    def pack(self, counts: dict[int, int]) -> Any:
        features, steps = array("i", counts), array("i", counts.values())
        columns = [
            array("d", [0.1 * (index % 7) + output for index in counts]) for output in range(self.outputs)
        ]
        if self.kind in (SUBLINEAR, BINARY):
            squares = array("d", [1.0 + index % 5 for index in counts])
            return self.kernel.curved_pack(features, steps, squares, columns)
        slopes = array("d", [2.0 * (1 + index % 5) * step for index, step in counts.items()])
        growth = 0.5 * sum(slope * step for slope, step in zip(slopes, steps, strict=True))
        sums = [sum(each * step for each, step in zip(column, steps, strict=True)) for column in columns]
        return self.kernel.pack(features, steps, slopes, growth, sums)

    def miss(self, _: Any, key: tuple[tuple[str, ...], str]) -> Any:
        if self.answer is not None:
            return self.answer()
        place, text = key
        self.asked.append((place[0], text))
        counts = {(31 * ord(letter)) % FEATURES: text.count(letter) for letter in text}
        step = (
            (text, ()),
            self.pack(counts) if counts else None,
            text[-1],
            None if "x" in text else ("cut", (text,)),
        )
        if "y" not in text:
            self.steps.put(key, step)
        return step

    def push_slowly(self, read: ReadSoFar, text: str) -> None:
        self.asked.append(("slowly", text))
        read.other = None if text.endswith("!") else ("other", text)

    def behind(self, before: str, text: str) -> str:
        self.asked.append(("behind", before, text))
        return before + text


def both(use: Callable[[Texts], list[Any]], kind: int, outputs: int) -> None:
    """Hold what is found on one kernel against what is found on the other."""
    found = [use(Texts(kernel_named(name), kind, outputs)) for name in ("python", "compiled")]
    assert found[0] == approx(found[1])


def with_words(classifier: Texts) -> Texts:
    """Keep a few words, and pairs of them: ``a b`` with what it adds, ``a c`` without, ``c b`` as none."""

    def word(said: str, counts: dict[int, int], before: str, *, begins: bool) -> Word:
        change = classifier.pack(counts) if counts else None
        return Word(said, change, before, ("", (said,) if begins else ()), f" {said}")

    words = {
        " a": word("a", {1: 1}, "a", begins=True),
        " B": word("b", {2: 1, 5: 2}, "b", begins=False),
        "\nc": word("c", {}, "", begins=True),
        # Never looked for: there is no white space before it.
        "B": word("none", {7: 1}, "n", begins=True),
    }
    classifier.lone = Lone(words, {"a b": classifier.pack({2: 1, 9: 1})}, {"a b": 0, "a c": 1})
    return classifier
