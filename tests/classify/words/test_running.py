"""The two kernels: what a row has read and its running sums are the same in C as in Python."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.classify.words import running
from guardsteer.classify.words.kernel import KERNELS, best, compiled, find_kernels
from tests.classify.models import kernel_named
from tests.classify.words.kernels import BINARY, FEATURES, PLAIN, PROPORTIONAL, SUBLINEAR, Texts, both
from tests.debugged import number_debugged

COUNTS = st.dictionaries(st.integers(0, FEATURES - 1) | st.integers(0, 5), st.integers(1, 5), max_size=300)
CHANGES = st.lists(st.tuples(COUNTS, st.sampled_from(["add", "take", "fork", "leave"])), max_size=12)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("kind", [PLAIN, PROPORTIONAL, SUBLINEAR, BINARY])
@given(changes=CHANGES)
def test_sums_are_the_same_on_both_kernels(
    kind: int, outputs: int, changes: list[tuple[dict[int, int], str]]
) -> None:
    """Through additions, what is taken back of them, and forks that go their own ways."""

    def use(texts: Texts) -> list[Any]:
        read, left, told = texts.start(), [], []
        for counts, what in changes:
            read.add(texts.pack(counts))
            if what == "take":
                read.add(texts.pack({index: -count for index, count in counts.items()}))
            if what == "fork":
                left.append(read)
                read = read.fork()
            told += [*read.products, read.square]
        return told + [value for each in left for value in (*each.products, each.square)]

    both(use, kind, outputs)


@pytest.mark.parametrize("activation", [0, 1, 2])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("normed", [True, False])
@given(texts=st.lists(st.text("ab xyΣ!\n", max_size=6), max_size=14))
def test_texts_are_read_from_the_same_places_on_both_kernels(
    activation: int, outputs: int, normed: bool, texts: list[str]
) -> None:
    asked: list[list[Any]] = []

    def use(classifier: Texts) -> list[Any]:
        read, told = classifier.start(activation, normed=normed), []
        for text in texts:
            read.push(text)
            # A row that splits goes on as it was.
            read = read.fork()
            told += read.scores()
        classifier.asked.append((str(read.place), str(read.cut), read.before, str(read.other)))
        asked.append(classifier.asked)
        return told

    both(use, PROPORTIONAL, outputs)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("name", ["python", "compiled"])
@pytest.mark.parametrize("activation", [0, 1, 2])
def test_scores_far_out_are_nothing_or_certain(name: str, activation: int) -> None:
    classifier = Texts(kernel_named(name), PLAIN, 3)
    # The text adds 1 more to the second output than to the first.
    classifier.bias = (-1e6, -1e6 - 1, -2e6)
    read = classifier.start(activation, normed=False)
    assert list(read.scores()) == [0.0] * 3
    read.push("b")
    expected = {0: [0.0] * 3, 1: [0.5, 0.5, 0.0], 2: [1 / 3] * 3}[activation]
    assert list(read.scores()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["python", "compiled"])
def test_an_error_of_the_classifier_comes_through_and_nothing_is_taken_in(name: str) -> None:
    classifier = Texts(kernel_named(name), PROPORTIONAL, 1)
    read = classifier.start()
    read.push("ab")
    before = (read.place, read.products)

    def fail() -> Any:
        raise RuntimeError("broken")

    classifier.answer = fail
    with pytest.raises(RuntimeError, match="broken"):
        read.push("never read")
    assert (read.place, read.products) == before


def test_what_does_not_fit_is_refused_by_the_compiled_kernel() -> None:
    kernel = kernel_named("compiled")
    one, two = array("i", [1]), array("i", [1, 2])
    unfit: list[Callable[[], object]] = [
        lambda: kernel.pack(one, two, array("d", [1.0]), 0.0, (0.0,)),
        lambda: kernel.pack(one, one, array("d", [1.0, 2.0]), 0.0, (0.0,)),
        lambda: kernel.pack(array("i", [-1]), one, array("d", [1.0]), 0.0, (0.0,)),
        lambda: kernel.pack(array("i", [2**31 - 1]), one, array("d", [1.0]), 0.0, (0.0,)),
        lambda: kernel.curved_pack(one, one, array("d", [1.0]), (array("d", [1.0, 2.0]),)),
        lambda: Texts(kernel, 4, 1).start(),
        lambda: Texts(kernel, -1, 1).start(),
        lambda: Texts(kernel, PLAIN, 0).start(),
        lambda: Texts(kernel, PLAIN, 1).start(3),
        lambda: Texts(kernel, PLAIN, 1).start().add(Texts(kernel, PLAIN, 2).pack({1: 1})),
        lambda: Texts(kernel, BINARY, 3).start().add(Texts(kernel, PROPORTIONAL, 3).pack({1: 1, 2: 1})),
        lambda: Texts(kernel, PLAIN, 1).start().add(Texts(kernel, SUBLINEAR, 1).pack({})),
    ]
    for wrong in unfit:
        with pytest.raises(ValueError, match=r"differ|feature|column|kind|outputs"):
            wrong()
    mistyped: list[Callable[[], object]] = [
        lambda: kernel.pack(array("h", [1]), one, array("d", [1.0]), 0.0, (0.0,)),
        lambda: kernel.pack(one, one, array("d", [1.0]), 0.0, ("much",)),
        lambda: kernel.pack(one, one, array("d", [1.0]), 0.0, None),
        lambda: kernel.pack([1], one, array("d", [1.0]), 0.0, (0.0,)),
        lambda: kernel.curved_pack(one, one, array("d", [1.0]), ([1.0],)),
        lambda: Texts(kernel, PLAIN, 1).start().push(b"text"),
        lambda: Texts(kernel, PLAIN, 1).start().add(None),
        lambda: type(Texts(kernel, PLAIN, 1).start())(),
        lambda: type(kernel.pack(one, one, array("d", [1.0]), 0.0, (0.0,)))(),
    ]
    for wrong in mistyped:
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError):
        del Texts(kernel, PLAIN, 1).start().place


def _same(step: Any) -> Any:
    return step


def test_a_step_that_is_none_is_refused_by_the_compiled_kernel() -> None:
    for step in (None, (), (("a",), None, "b"), (("a",), 1.0, "b", None), (("a",), None, None, None)):
        classifier = Texts(kernel_named("compiled"), PLAIN, 1)
        classifier.answer = partial(_same, step)
        with pytest.raises(TypeError):
            classifier.start().push("text")


_HARD = """
import sys
sys.path.insert(0, {root!r})
from tests.classify.models import kernel_named
from tests.classify.words.kernels import Texts, with_words
for kind in range(4):
    for outputs in (1, 3):
        texts = with_words(Texts(kernel_named("compiled"), kind, outputs))
        for turn in range(40):
            read = texts.start()
            for number in range(30):
                read.push(chr(97 + number % 20) * (1 + turn % 3) + " yx"[turn % 3])
                read.push((" a", " B", "\\nc", " B")[number % 4])
                read.read_into(" a", [0.0] * 3, 0)
                first = turn * number * 7
                read.add(texts.pack({{(first + each) % 50_000: each - 3 for each in range(turn)}}))
                read = read.fork()
                read.scores(), read.products, read.place
    if kind == 1:
        import gc
        gc.collect()
        begun = sys.getallocatedblocks()
    if kind == 3:
        gc.collect()
print(sys.getallocatedblocks() - begun)
"""


def test_the_compiled_kernel_keeps_to_its_memory_and_gives_it_back() -> None:
    """Under Python's debugging allocator, which finds writes past the end and what is used after its end."""
    kernel_named("compiled")
    assert number_debugged(_HARD) < 3_000


def test_a_kernel_that_was_built_from_an_older_source_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_named("compiled")
    monkeypatch.setattr(running, "VERSION", running.VERSION + 1)
    assert list(find_kernels()) == ["python"]


def test_the_best_kernel_is_the_compiled_one_where_there_is_one() -> None:
    assert best() is KERNELS["compiled" if compiled() else "python"]
