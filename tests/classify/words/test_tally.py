"""Counts and running sums: arrays and dictionaries tell the same, and what is taken back leaves nothing."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.classify.words.counts import wider, zeros
from guardsteer.classify.words.reading import Gram, growth, make_reader
from guardsteer.classify.words.tally import CurvedTally, Pack, PlainTally, ProportionalTally, Tally

approx = partial(pytest.approx, rel=1e-12, abs=1e-12)

FEATURES = 12
MANY = 2**17 + 1


def proportional(counts: dict[int, int]) -> Pack:
    slopes = [2.0 * (index + 1) * step for index, step in counts.items()]
    constant = 0.5 * sum(slope * step for slope, step in zip(slopes, counts.values(), strict=True))
    sums = (sum(0.1 * index * step for index, step in counts.items()),)
    return tuple(counts), tuple(counts.values()), slopes, constant, sums


def curved(counts: dict[int, int]) -> Pack:
    weights = tuple(0.1 * index for index in counts)
    return tuple(counts), tuple(counts.values()), tuple(index + 1.0 for index in counts), (weights,)


UNITS = st.lists(
    st.dictionaries(st.integers(0, FEATURES - 1), st.integers(1, 3), max_size=5), min_size=1, max_size=8
)


def tallies(features: int) -> list[tuple[Tally, bool]]:
    return [
        (PlainTally(1), False),
        (ProportionalTally(1, zeros(features)), False),
        (CurvedTally(1, zeros(features), binary=False), True),
        (CurvedTally(1, zeros(features), binary=True), True),
    ]


def negative(counts: dict[int, int]) -> dict[int, int]:
    return {index: -count for index, count in counts.items()}


@given(units=UNITS, guess=st.dictionaries(st.integers(0, FEATURES - 1), st.integers(1, 3), min_size=1))
def test_what_is_taken_back_leaves_the_sums_of_a_text_without_it(
    units: list[dict[int, int]], guess: dict[int, int]
) -> None:
    for (tally, is_curved), (plain, _) in zip(tallies(FEATURES), tallies(FEATURES), strict=True):
        pack = curved if is_curved else proportional
        for unit in units:
            tally.add(pack(guess))
            twin = tally.fork()
            for each in (tally, twin):
                each.add(pack(negative(guess)))
                each.add(pack(unit))
            plain.add(pack(unit))
            for each in (tally, twin):
                assert (*each.products, each.square) == approx((*plain.products, plain.square))
            twin.add(pack({0: 3}))


@given(units=UNITS)
def test_an_array_and_a_dictionary_of_counts_give_the_same_sums(units: list[dict[int, int]]) -> None:
    assert type(zeros(MANY)) is not type(zeros(FEATURES))
    for (dense, is_curved), (sparse, _) in zip(tallies(FEATURES), tallies(MANY), strict=True):
        pack = curved if is_curved else proportional
        for unit in units:
            dense.add(pack(unit))
            sparse.add(pack(unit))
        twin = sparse.fork()
        twin.add(pack({0: 1}))
        assert (list(dense.products), dense.square) == (list(sparse.products), sparse.square)


def test_wider_counts_hold_what_two_bytes_do_not() -> None:
    counts = zeros(FEATURES)
    counts[1] = 32_767
    with pytest.raises(OverflowError):
        counts[1] = 32_768
    wide = wider(counts)
    wide[1], wide[2] = 32_768, -32_769
    assert [wide[index] for index in (0, 1, 2)] == [0, 32_768, -32_769]
    assert (counts[1], counts[2]) == (32_767, 0)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_a_change_that_two_bytes_cannot_hold_is_counted_once_in_every_feature(kind: int) -> None:
    """The feature that overflows stands first, in the middle and last among the others."""
    for order in ((1, 2, 3), (2, 1, 3), (2, 3, 1)):
        (tally, is_curved), (plain, _) = tallies(FEATURES)[kind], tallies(MANY)[kind]
        pack = curved if is_curved else proportional
        for each in (tally, plain):
            for _ in range(3):
                each.add(pack({index: 20_000 if index == 1 else 5 for index in order}))
            each.add(pack({2: 1, 3: 2}))
        assert (*tally.products, tally.square) == approx((*plain.products, plain.square))


def test_a_feature_that_occurs_more_often_than_two_bytes_hold_is_counted_on() -> None:
    tally, wide = ProportionalTally(1, zeros(FEATURES)), ProportionalTally(1, zeros(MANY))
    for each in (tally, wide):
        for _ in range(3):
            each.add(proportional({1: 20_000, 2: 1}))
        each.add(proportional({1: 1, 2: 20_000}))
        each.add(proportional({1: -1, 2: -20_000}))
        each.add(proportional({2: 1}))
    assert (tally.products, tally.square) == (wide.products, wide.square)


PARTS = st.lists(
    st.sampled_from(["a", "bc", "d" * 30, "e" * 70, " ", "\n", ". ", " f", "\u00a0", "g-h"]), max_size=6
)


@pytest.mark.parametrize(("analyzer", "longest"), [("word", 1), ("word", 3), ("char_wb", 4), ("char", 4)])
@given(before=PARTS, after=PARTS, gap=st.sampled_from([" ", "\n"]))
def test_what_follows_a_gap_reads_on_from_where_the_reader_says(
    analyzer: str, longest: int, before: list[str], after: list[str], gap: str
) -> None:
    reader = make_reader(analyzer, 1, longest)  # type: ignore[arg-type]  # one of three
    place = reader.start
    for part in before:
        place, _ = reader.read(place, part)
    text = gap + "".join(after)
    cut = reader.cut(place)
    if cut is None:
        assert analyzer == "char"
        return
    assert reader.cuts_to in (None, cut)
    opened = reader.open_unit(place)
    there, units = reader.read(place, text)
    read_on, more = reader.read(cut, text)
    assert (there, units) == (read_on, [*([] if opened is None else [opened]), *more])


@given(
    before=st.text("ab ", max_size=5).map(str.split).map("".join),
    more=st.text("abc", min_size=1, max_size=4),
    ngrams=st.tuples(st.integers(1, 6), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair))),
)
def test_a_word_that_grows_changes_the_n_grams_at_its_end(
    before: str, more: str, ngrams: tuple[int, int]
) -> None:
    reader = make_reader("char_wb", *ngrams)
    grown = growth(before, before + more, ngrams)
    if grown is None:
        assert len(before) + 2 < ngrams[0]
        return
    added, removed = (Counter[Gram](grams) for grams in grown)
    old, new = (Counter(reader.grams(word)) for word in (before, before + more))
    assert old - removed + added == new
    assert removed.total() <= ngrams[1] - ngrams[0] + 1


def test_growth_is_told_of_whole_words_alone() -> None:
    assert growth(("a", "b"), ("a", "bc"), (1, 2)) is None
    assert growth("ab", "b", (1, 2)) is None
