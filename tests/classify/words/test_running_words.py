"""Words that are kept, and scores among signals: either kernel reads the same without asking anybody."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.classify.models import kernel_named
from tests.classify.words.kernels import (
    BINARY,
    PLAIN,
    PROPORTIONAL,
    SUBLINEAR,
    Texts,
    approx,
    both,
    with_words,
)

SAID = st.sampled_from([" a", " a", " B", "\nc", " d", "a", "B", " x", "Σ!", "Σ"])


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("kind", [PLAIN, PROPORTIONAL, SUBLINEAR, BINARY])
@given(texts=st.lists(SAID, max_size=14))
def test_words_that_are_kept_are_read_the_same_on_both_kernels(
    kind: int, outputs: int, texts: list[str]
) -> None:
    seen: list[list[Any]] = []

    def use(classifier: Texts) -> list[Any]:
        read, told, standing = with_words(classifier).start(), [], []
        for text in texts:
            read.push(text)
            read = read.fork()
            told += [*read.scores(), *read.products, read.square]
            standing.append((read.place, read.cut, read.before, read.other))
        seen.append([standing, classifier.asked])
        return told

    both(use, kind, outputs)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["python", "compiled"])
def test_a_word_that_is_kept_is_read_without_the_classifier(name: str) -> None:
    """Where white space is before it, whatever is open; a pair adds what the pair does."""
    classifier = with_words(Texts(kernel_named(name), PROPORTIONAL, 1))
    read, whole = classifier.start(), classifier.start()

    def stands(place: object, cut: object, before: str, *added: dict[int, int]) -> None:
        assert (read.place, read.cut, read.before) == (place, cut, before)
        for counts in added:
            whole.add(classifier.pack(counts))
        assert (*read.products, read.square) == approx((*whole.products, whole.square))

    read.push(" a")
    stands(("a", ()), ("", ("a",)), "a", {1: 1})
    read.push(" a")
    stands(("a", ("a",)), ("", ("a",)), "a", {1: 1})
    read.push(" B")
    stands(("b", ("a",)), ("", ()), "b", {2: 1, 9: 1})
    read.push(" B")
    stands(("b", ()), ("", ()), "b", {2: 1, 5: 2})
    assert classifier.asked == []
    read.push("\nc")
    # What Final_Sigma looks past needs what was before it.
    assert classifier.asked == [("behind", "b", "\nc")]
    stands(("c", ()), ("", ("c",)), "b\nc")
    read.push(" B")
    stands(("b", ("c",)), ("", ()), "b", {2: 1, 5: 2})
    assert dict(classifier.steps.young) == {}


@pytest.mark.parametrize("name", ["python", "compiled"])
def test_what_is_not_kept_is_asked_for_behind_white_space(name: str) -> None:
    """A pair that is known and not kept, a word that is not, one that goes on, and one behind an open gap."""
    classifier = with_words(Texts(kernel_named(name), PROPORTIONAL, 1))
    for texts, asked in (
        ([" a", "\nc"], [("", "\nc")]),
        ([" a", " d"], [("", " d")]),
        ([" a", "B"], [("a", "B")]),
        ([" x", " a"], [("cut", " x"), (" x", " a")]),
    ):
        read = classifier.start()
        for text in texts:
            read.push(text)
        assert classifier.asked == asked
        classifier.asked.clear()


@pytest.mark.parametrize("name", ["python", "compiled"])
def test_a_word_is_read_slowly_while_a_sigma_is_open(name: str) -> None:
    classifier = with_words(Texts(kernel_named(name), PROPORTIONAL, 1))
    read = classifier.start()
    for text in ("Σ", " a", "Σ!", " a"):
        read.push(text)
    assert classifier.asked == [("slowly", "Σ"), ("slowly", " a"), ("slowly", "Σ!")]


@pytest.mark.parametrize("name", ["python", "compiled"])
def test_a_word_behind_what_is_no_text_is_in_no_pair(name: str) -> None:
    classifier = with_words(Texts(kernel_named(name), PROPORTIONAL, 1))
    read = classifier.start()
    read.cut = ("", (("states", 7),))
    read.push(" B")
    assert read.place == ("b", (("states", 7),))
    assert classifier.asked == []


@pytest.mark.parametrize("name", ["python", "compiled"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_scores_are_read_into_their_place_among_signals(name: str, outputs: int) -> None:
    classifier = with_words(Texts(kernel_named(name), PROPORTIONAL, outputs))
    read, plain = classifier.start(), classifier.start()
    signals = [9.0] * 6
    for first, text in enumerate(["", " a", "now", "Σ!", " B"][: 7 - outputs]):
        plain.push(text)
        read.read_into(text, signals, first)
        assert signals[first : first + outputs] == list(plain.scores())
        assert signals[first + outputs :] == [9.0] * (6 - first - outputs)
        assert read.place == plain.place
        signals[:] = [9.0] * 6
    before = (read.place, read.products)
    for first in (7 - outputs, -1, 60):
        with pytest.raises(IndexError, match=f"{outputs} scores at {first} of 6"):
            read.read_into(" a", signals, first)

    def fail() -> Any:
        raise RuntimeError("broken")

    classifier.answer = fail
    with pytest.raises(RuntimeError, match="broken"):
        read.read_into("never read", signals, 0)
    assert signals == [9.0] * 6
    assert (read.place, read.products) == before


def test_what_is_kept_is_held_no_longer_than_it_is_used() -> None:
    classifier = with_words(Texts(kernel_named("compiled"), PROPORTIONAL, 1))
    assert classifier.lone is not None
    words, pairs, _ = classifier.lone
    held = [*words.values(), *(part for word in words.values() for part in word if part), *pairs.values()]
    before = [sys.getrefcount(each) for each in held]
    for _ in range(50):
        read = classifier.start()
        for text in (" a", " B", " a", "\nc", " B"):
            read.push(text)
            read.read_into(" a", [0.0], 0)
            read = read.fork()
    del read
    # A few are one, and are counted wherever they stand.
    assert all(abs(sys.getrefcount(each) - count) < 20 for each, count in zip(held, before, strict=True))


def test_lone_words_that_do_not_fit_are_refused_by_the_compiled_kernel() -> None:
    kernel = kernel_named("compiled")

    def push(change: Callable[[Texts, dict[str, Any]], Any], cut: Any = ("", ("a",))) -> Any:
        classifier = with_words(Texts(kernel, PROPORTIONAL, 1))
        assert classifier.lone is not None
        words: dict[str, Any] = dict(classifier.lone.words)
        classifier.lone = classifier.lone._replace(words=words)
        change(classifier, words)
        read = classifier.start()
        read.cut = cut
        before = read.products
        try:
            read.push(" B")
        finally:
            assert read.products == before
            assert read.cut == cut

    def word(**given: Any) -> Callable[[Texts, dict[str, Any]], Any]:
        return lambda _, words: words.update({" B": words[" B"]._replace(**given)})

    def kept(lone: Any) -> Callable[[Texts, dict[str, Any]], Any]:
        return lambda classifier, _: setattr(classifier, "lone", lone)

    unfit: list[Callable[[], object]] = [
        lambda: push(lambda _, words: words.update({" B": None})),
        lambda: push(lambda _, words: words.update({" B": words[" B"][:4]})),
        lambda: push(word(spaced=None)),
        lambda: push(word(change=1.0), ("", ())),
        lambda: push(word(), ("",)),
        lambda: push(word(), ["", ()]),
        lambda: push(word(), ("", "a")),
        lambda: push(kept(({}, {}))),
        lambda: push(kept([{}, {}, {}])),
        lambda: push(kept(({}, (), {}))),
        lambda: push(kept((None, {}, {}))),
        lambda: push(lambda classifier, words: setattr(classifier, "lone", (words, {}, 7))),
        lambda: push(
            lambda classifier, words: setattr(classifier, "lone", (words, {"a b": "none"}, {"a b"}))
        ),
        lambda: kernel.start(None, None, None, (), None, (0.0,), PLAIN, False, 0, 1),
        lambda: with_words(Texts(kernel, PLAIN, 1)).start().read_into(" a", (0.0,), 0),
        lambda: with_words(Texts(kernel, PLAIN, 1)).start().read_into(" a", [0.0], "0"),
        lambda: with_words(Texts(kernel, PLAIN, 1)).start().read_into(b" a", [0.0], 0),
        lambda: with_words(Texts(kernel, PLAIN, 1)).start().read_into(" a", [0.0]),
        lambda: with_words(Texts(kernel, PLAIN, 1)).start().read_into(" a", [0.0], 0, 0),
    ]
    for wrong in unfit:
        with pytest.raises(TypeError):
            wrong()


def test_signals_that_the_classifier_takes_away_meanwhile_are_not_written() -> None:
    classifier = Texts(kernel_named("compiled"), PLAIN, 3)
    signals = [0.5] * 3

    def take() -> Any:
        signals.clear()
        return ("a", ()), None, "a", None

    classifier.answer = take
    with pytest.raises(IndexError):
        classifier.start().read_into("text", signals, 0)
    assert signals == []
