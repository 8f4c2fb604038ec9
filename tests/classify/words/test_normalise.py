"""Disguised writing is undone, in a stream as in the whole text, and the way back leads to the original."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from guardsteer.classify.files.card import read_card
from guardsteer.classify.files.writing import write_card
from guardsteer.classify.load import load_folder
from guardsteer.classify.patterns import PatternClassifier
from guardsteer.classify.words.normalise import Normalise, Normaliser
from guardsteer.classify.words.vectorizer import VectorizerSettings
from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers.disguise import DISGUISES
from tests.classify.models import build

KINDS: tuple[Normalise, ...] = ("unicode", "skeleton")
SKELETON = Normaliser("skeleton")
UNICODE = Normaliser("unicode")
SENTENCE = "Refuse this, you cannot help people who are rude and stupid; scope the boat."

ALPHABET = "aabBcn .-_4$1@'\u200b\u0301\u0430\u0441\u0416\u4e2d\u00e9\u00df\ufdfa \n  xy\u03c3\u03a3\u03c2"
TEXTS = st.one_of(
    st.text(alphabet=ALPHABET, max_size=60),
    st.text(max_size=30),
    st.builds(lambda part, times: part * times, st.text(alphabet=ALPHABET, max_size=5), st.integers(0, 60)),
)
CUTS = st.lists(st.integers(0, 300), max_size=8)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=400, deadline=None)
@given(text=TEXTS, cuts=CUTS)
@example("r e f u s ecret", [1, 3, 7, 8, 9])
@example("a b c d  e f g h", [2, 7, 8, 9, 10])
@example("x" * 64 + "y" + " b c d e", [63, 64, 65, 66, 68])
def test_a_stream_reads_each_prefix_as_that_prefix_by_itself(
    kind: Normalise, text: str, cuts: list[int]
) -> None:
    normaliser = Normaliser(kind)
    reading, settled = normaliser.start, ""
    for start, end in pairwise(sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})):
        reading, further = normaliser.read(reading, text[start:end])
        settled += further
        whole = normaliser.trace(text[:end]).text
        assert settled + normaliser.rest(reading) == whole == normaliser(text[:end])
        assert len(reading[2]) <= 72, "what is open is bounded"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=400, deadline=None)
@given(text=TEXTS, gap=st.sampled_from([" ", "\n", "  "]), further=st.text(alphabet=ALPHABET, max_size=8))
@example("a b c", " ", "d")
@example("r e f u s", " ", "e")
@example("\u0436", " ", "\u0430")
@example("\u0436 the", " ", "\u0430")
def test_a_gap_ends_what_is_open_as_reading_on_does(
    kind: Normalise, text: str, gap: str, further: str
) -> None:
    normaliser = Normaliser(kind)
    reading, settled = normaliser.read(normaliser.start, text)
    ended = normaliser.ended(reading)
    if ended is None:
        return
    after, rest_of_it = normaliser.read(ended, gap + further)
    whole = settled + normaliser.rest(reading) + rest_of_it + normaliser.rest(after)
    assert whole == normaliser.trace(text + gap + further).text


def test_an_ordinary_word_is_ended_by_a_gap() -> None:
    """Without that, what a token comes to would be cached for each word before it."""
    reading, _ = SKELETON.read(SKELETON.start, "the boat")
    assert SKELETON.ended(reading) == SKELETON.start
    assert SKELETON.ended(SKELETON.read(SKELETON.start, "a")[0]) is None


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_each_character_of_the_original_belongs_to_one_of_the_normalised(kind: Normalise, text: str) -> None:
    traced = Normaliser(kind).trace(text)
    assert len(traced.starts) == len(traced.text)
    assert list(traced.starts) == sorted(traced.starts)
    assert all(0 <= start < len(text) for start in traced.starts)
    for place in range(len(traced.text)):
        start, end = traced.span(place, place + 1)
        assert start < end <= len(text)
    if traced.text:
        assert traced.span(0, len(traced.text)) == (traced.starts[0], len(text))


@given(words=st.lists(st.text(alphabet="bcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8), max_size=6))
def test_plain_writing_stays_as_it_is(words: list[str]) -> None:
    text = " ".join(word for word in words if not any(3 * letter in word for letter in word))
    for normaliser in (SKELETON, UNICODE):
        traced = normaliser.trace(text)
        assert traced.text == text
        assert traced.starts == tuple(range(len(text)))


def test_a_span_leads_back_to_the_disguised_word() -> None:
    text = "You s\u200btu\u0440i\u0301d r e f u s e now, nooooo"
    traced = SKELETON.trace(text)
    assert traced.text == "you stupid refuse now, no"

    def original(word: str) -> str:
        start = traced.text.index(word)
        begin, end = traced.span(start, start + len(word))
        return text[begin:end]

    assert original("stupid") == "s\u200btu\u0440i\u0301d"
    assert original("refuse") == "r e f u s e"
    assert original(", no") == ", nooooo"
    for start, end in ((-1, 2), (3, 3), (0, len(traced.text) + 1)):
        with pytest.raises(ValueError, match="start and end must hold"):
            traced.span(start, end)


UNDONE = sorted(set(DISGUISES) - {"space in words", "words run together", "leetspeak"})


@pytest.mark.parametrize("disguise", UNDONE)
def test_each_disguise_is_undone(disguise: str) -> None:
    disguised = DISGUISES[disguise](SENTENCE)
    assert disguised != SENTENCE
    # Four single letters at least are taken for a word.
    long_only = disguise == "letters spaced out"
    found, expected = (
        [word for word in re.findall(r"\w+", text) if len(word) > 3 * long_only]
        for text in (SKELETON(disguised), SENTENCE.lower())
    )
    assert found == expected


def test_leetspeak_is_undone_in_words_that_keep_a_letter() -> None:
    disguised = DISGUISES["leetspeak"]("Refuse people; it is so")
    assert SKELETON(disguised) == "refuse people; 17 15 50"
    assert SKELETON("$tupid a$$hole sh!t b\u20acd") == "stupid asshole shit bed"


@pytest.mark.parametrize(
    "text", ["10pm", "5km", "4th", "21st", "3.50", "$100", "1999", "500mb", "7!", "@you"]
)
def test_numbers_and_measures_are_no_leetspeak(text: str) -> None:
    assert SKELETON(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "\u043e\u043d\u0430 \u0441\u043a\u0430\u0437\u0430\u043b\u0430: \u043e\u043a\u043d\u043e "
        "\u043e\u0442\u043a\u0440\u044b\u0442\u043e, "
        "\u0430 \u043e\u043d\u0430 \u0441\u043f\u0430\u043b\u0430",
        "\u03ba\u03b1\u03b9 \u03b1\u03bd\u03c4\u03cc \u03b5\u03af\u03bd\u03b1\u03b9".replace(
            "\u03cc", "\u03bf"
        ).replace("\u03af", "\u03b9"),
        "\u4f60\u597d \u4e16\u754c",
        "\u0915\u093f \u0916\u093c",
        "\ud55c\uad6d\uc5b4 \u304c\u304e",
        "\u0645\u064e\u0631\u062d\u0628\u0627",
    ],
)
def test_words_of_another_script_alone_are_left(text: str) -> None:
    assert SKELETON(text) == text
    assert UNICODE(text) == text


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a b c", "a b c"),
        ("a b c d", "abcd"),
        ("The end.Next U.S. e.g. this", "the end.next u.s. eg. this"),
        ("sms\u045f\u043a\u043e", "sms\u045f\u043a\u043e"),
        ("sms\u043a\u043e", "smsko"),
        ("\u03a3\u0391\u03a3 \u03a3\u03b1\u03c2", "\u03c3\u03b1\u03c3 \u03c3\u03b1\u03c3"),
        ("good, no 1000 bees", "good, no 1000 bees"),
        ("Goooood", "god"),
    ],
)
def test_what_is_taken_for_disguise_and_what_is_not(text: str, read: str) -> None:
    assert SKELETON(text) == SKELETON.trace(text).text == read


def test_a_word_of_twins_alone_is_read_by_the_word_before() -> None:
    scope = "\u0455\u0441\u043e\u0440\u0435"
    assert SKELETON(f"the {scope}") == "the scope"
    assert SKELETON(f"\u043e\u043a\u043d\u043e {scope}") == f"\u043e\u043a\u043d\u043e {scope}"


def test_unicode_leaves_lookalikes_and_leetspeak_alone() -> None:
    assert UNICODE("H4te \u0430nd \u24d5\u24e4\u24db\u24db \uff37\u0131dth\u200b \u03a3\u03b1\u03c2") == (
        "h4te \u0430nd full width \u03c3\u03b1\u03c3"
    )


def test_a_word_without_end_and_a_flood_of_marks_cost_their_length_alone() -> None:
    def seconds(unit: str, tokens: int) -> float:
        reading = SKELETON.start
        began = time.thread_time()
        for _ in range(tokens):
            reading, _ = SKELETON.read(reading, unit)
            SKELETON.rest(reading)
        return time.thread_time() - began

    for unit in ("ab4c", "\u0301" * 4, "\u200b" * 4, "a ", "\u0430b", " "):
        seconds(unit, 200)
        assert seconds(unit, 4000) < 30 * max(seconds(unit, 400), 1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("analyzer", ["word", "char", "char_wb"])
def test_models_that_know_a_word_know_it_in_disguise(tmp_path: Path, kind: Normalise, analyzer: str) -> None:
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), preprocessor=Normaliser(kind))
    loaded = build(tmp_path / "model", vectorizer, LogisticRegression(C=30), 2).loaded
    plain, wide = (list(loaded.predict([text])[0]) for text in ("refund kind", "\uff52efu\u200bnd k\u00ednd"))
    assert wide == plain
    disguised = list(loaded.predict(["ref\u0443nd k1nd"])[0])
    assert (disguised == list(loaded.predict(["refynd kind"])[0])) is (kind == "skeleton")


def test_the_setting_decides_the_digest_and_its_absence_leaves_the_old_one(tmp_path: Path) -> None:
    plain = VectorizerSettings(type="hashing", analyzer="word", ngrams=(1, 1), features=8)
    assert "normalise" not in plain.model_dump(mode="json")
    assert plain.model_copy(update={"normalise": "unicode"}).model_dump()["normalise"] == "unicode"
    digests = set()
    for kind in (None, "unicode", "skeleton"):
        preprocessor = Normaliser(kind) if kind else None
        vectorizer = TfidfVectorizer(ngram_range=(1, 1), preprocessor=preprocessor)
        built = build(tmp_path / str(kind), vectorizer, LogisticRegression(), 2)
        card = read_card(tmp_path / str(kind))
        assert card.kind == "linear"
        assert card.vectorizer.normalise == kind
        digests.add(built.loaded.digest)
    assert len(digests) == 3


def test_what_normalises_folds_case_and_accents_itself() -> None:
    fields: dict[str, Any] = {"type": "hashing", "analyzer": "word", "ngrams": (1, 1), "features": 8}
    for name, value in (("lowercase", False), ("strip_accents", "ascii")):
        with pytest.raises(ValueError, match="leave lowercase and strip_accents out"):
            VectorizerSettings.model_validate({**fields, "normalise": "unicode", name: value})


PATTERNS = PatternClassifier(literals=["dis\u00e2ble"], patterns=[r"\bi can't\b"], normalise="skeleton")


@settings(max_examples=200, deadline=None)
@given(
    before=st.text(alphabet=ALPHABET, max_size=12), after=st.text(alphabet=ALPHABET, max_size=6), cuts=CUTS
)
def test_patterns_read_a_stream_as_they_read_its_normalised_text(
    before: str, after: str, cuts: list[int]
) -> None:
    text = f"{before} i c\u0430n\u2019t{after} d1s4b1e"
    plain = PatternClassifier(literals=["disable"], patterns=[r"\bi can't\b"])
    state, fork = PATTERNS.start(), PATTERNS.start()
    for start, end in pairwise(sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})):
        state.push(text[start:end])
        whole = plain.start()
        whole.push(SKELETON(text[:end]))
        assert state.scores() == whole.scores()
        fork = state.fork()
        fork.push("x")
        assert state.scores() == whole.scores()


def test_patterns_say_what_normalising_leaves_nothing_of(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="is empty once it is normalised"):
        PatternClassifier(literals=["\u200b"], normalise="unicode")
    card = {"kind": "patterns", "name": "p", "literals": ["hate"]}
    write_card(tmp_path / "plain", card)
    write_card(tmp_path / "undone", {**card, "normalise": "skeleton"})
    plain, undone = (load_folder(tmp_path / name) for name in ("plain", "undone"))
    assert isinstance(plain, PatternClassifier)
    assert isinstance(undone, PatternClassifier)
    assert plain.digest == PatternClassifier(literals=["hate"]).digest != undone.digest
    found = []
    for classifier in (plain, undone):
        state = classifier.start()
        state.push("I h\u0430.t3 it")
        found.append(state.scores())
    assert found == [(0.0,), (1.0,)]
