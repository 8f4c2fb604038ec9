"""Texts that are white space and one word: the kernel reads those that are kept, and nobody else is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from guardsteer.classify.words import lone
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.classify.words.lone import LoneWords
from tests.classify.models import Model, build, kernel_named

TOLERANCE = 1e-5

# The model knows pairs of some of them, of others not, of some the pair and not the word.
FEW = ("refund", "never", "came", "the", "same", "words", "again", "kind", "you", "straße", "οδυσσευς")
GIVEN = {
    term: index
    for index, term in enumerate(
        ("the", "words", "never came", "the same", "same words", "kind you", "you kind", "refund refund")
    )
}
RECIPES: dict[str, tuple[Any, Any, int]] = {
    "pairs": (TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=30), 2),
    "words": (TfidfVectorizer(ngram_range=(1, 1), strip_accents="ascii"), LogisticRegression(C=30), 2),
    "sublinear": (
        TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", token_pattern=r"(?u)\b\w+\b"
        ),
        LogisticRegression(C=30),
        3,
    ),
    "plain": (TfidfVectorizer(ngram_range=(1, 2), norm=None), LogisticRegression(), 2),
    "given": (
        TfidfVectorizer(ngram_range=(1, 2), vocabulary=GIVEN, lowercase=False),
        SGDClassifier(loss="log_loss", random_state=0),
        3,
    ),
    # Pairs that can never be found, since only single words are looked for.
    "given_words": (
        TfidfVectorizer(ngram_range=(1, 1), vocabulary=GIVEN),
        LogisticRegression(C=30),
        2,
    ),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    root: Path = tmp_path_factory.mktemp("lone")
    return {name: build(root / name, *recipe) for name, recipe in RECIPES.items()}


@pytest.fixture(scope="module", params=["python", "compiled"])
def models(built: dict[str, Model], request: pytest.FixtureRequest) -> dict[str, Model]:
    """The same classifiers on each kernel."""
    kernel = kernel_named(request.param)
    return {name: replace(model, loaded=model.loaded.on(kernel)) for name, model in built.items()}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what a kernel asks of the classifier, by what it asks for."""
    found: Counter[str] = Counter()
    for name in ("miss", "push_slowly", "behind"):
        count(monkeypatch, LinearClassifier, name, found)
    return found


def count(patch: pytest.MonkeyPatch, owner: type, name: str, found: Counter[str]) -> None:
    own = getattr(owner, name)

    def counted(self: Any, *given: Any) -> Any:
        found[name] += 1
        return own(self, *given)

    patch.setattr(owner, name, counted)


def streamed(loaded: LinearClassifier, pieces: Sequence[str]) -> Iterator[list[float]]:
    state = loaded.start()
    for piece in pieces:
        state.push(piece)
        yield list(state.scores())


def prefixes(pieces: Sequence[str]) -> list[str]:
    return ["".join(pieces[: end + 1]) for end in range(len(pieces))]


def agree(model: Model, pieces: Sequence[str]) -> None:
    found = np.array(list(streamed(model.loaded, pieces)))
    np.testing.assert_allclose(found, model.expected(prefixes(pieces)), rtol=0, atol=TOLERANCE)


def words_in(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word, word.capitalize(), word.upper()])


TOKENS = st.builds("{}{}".format, st.sampled_from([" ", " ", "\n"]), st.sampled_from(FEW).flatmap(words_in))
OTHERS = st.sampled_from(
    ["s", "ing", "'t", ",", "  ", " a", " x²", " İ", " e\u0301t", " d'or", "Σ", " ab" * 30]
)
PIECES = st.lists(st.one_of(TOKENS, TOKENS, TOKENS, OTHERS), min_size=1, max_size=16)


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=PIECES)
def test_words_and_their_pairs_score_as_the_whole_text(
    models: dict[str, Model], name: str, pieces: list[str]
) -> None:
    """At every prefix, whether words and pairs were read before or not."""
    agree(models[name], pieces)
    agree(models[name], pieces)


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=PIECES, others=PIECES)
def test_rows_score_the_same_while_what_is_kept_goes_and_comes(
    built: dict[str, Model], name: str, pieces: list[str], others: list[str]
) -> None:
    """Two rows in turn, one of them forked at every step, with room for next to nothing."""
    for kernel in ("python", "compiled"):
        model = replace(built[name], loaded=small(built[name].loaded.on(kernel_named(kernel))))
        rows = [model.loaded.start(), model.loaded.start()]
        texts, told, whole = ["", ""], [], []
        for number in range(max(len(pieces), len(others))):
            for row, said in enumerate((pieces, others)):
                if number < len(said):
                    rows[row].push(said[number])
                    texts[row] += said[number]
                    told.append(list(rows[row].scores()))
                    whole.append(texts[row])
            rows[1] = rows[1].fork()
        np.testing.assert_allclose(np.array(told), model.expected(whole), rtol=0, atol=TOLERANCE)


def small(loaded: LinearClassifier, limit: int = 2) -> LinearClassifier:
    """Return it with room for that many words and as many pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lone, "_CACHED_WORDS", limit)
        patch.setattr(lone, "_CACHED_PAIRS", limit)
        return loaded.on(loaded._kernel)


def test_a_pair_that_was_never_read_costs_nothing_but_its_words(
    models: dict[str, Model], asked: Counter[str]
) -> None:
    loaded = models["pairs"].loaded.on(models["pairs"].loaded._kernel)
    texts = [" unheard", "\nkind", " same", " straße", " été"]
    list(streamed(loaded, texts * 2))
    asked.clear()
    turned = [texts[place] for place in (2, 0, 3, 1, 4, 4, 0, 0, 1, 3, 2, 4)]
    list(streamed(loaded, turned))
    assert not asked
    assert len(loaded.steps) == 0
    agree(models["pairs"], turned)


def test_a_known_pair_is_asked_for_once(models: dict[str, Model], asked: Counter[str]) -> None:
    loaded = models["pairs"].loaded.on(models["pairs"].loaded._kernel)
    list(streamed(loaded, [" the", " again", " same"]))
    asked.clear()
    list(streamed(loaded, [" again", " the", " same"]))
    assert asked == {"miss": 1}
    list(streamed(loaded, [" the", " same", " again", "\n" + "the", " same"]))
    # The white space before it is part of what is kept.
    assert asked == {"miss": 2}


def test_what_is_no_word_by_itself_is_read_as_any_text(models: dict[str, Model]) -> None:
    loaded = models["sublinear"].loaded
    pieces = [" x²", " a,", " İ", " e\u0301t", "  the", " d'or", "the", " " + "a" * 40, " ́", " same"]
    agree(models["sublinear"], pieces * 2)
    # Stripped of its dot, the capital is a word.
    assert set(pieces) & set(kept_by(loaded).kept.words) == {" x²", " İ", " same"}


def kept_by(loaded: LinearClassifier) -> LoneWords:
    assert loaded._lone is not None
    return loaded._lone


@pytest.mark.parametrize("name", ["pairs", "sublinear", "given"])
def test_a_word_behind_one_too_long_to_be_kept_is_in_no_pair(models: dict[str, Model], name: str) -> None:
    pieces = [" never", " " + "endless" * 20, " came", " the", " same", " " + "ab" * 50, " words", " again"]
    agree(models[name], pieces)
    agree(models[name], pieces)


def test_a_word_that_begins_no_pair_is_nothing_to_what_follows(models: dict[str, Model]) -> None:
    def behind(name: str, text: str) -> Any:
        state = models[name].loaded.start()
        state.push(" same")
        state.push(text)
        return state.cut

    assert behind("given", " never") == ("", ("never",))
    assert behind("given", " came") == ("", ())
    assert behind("given", " unheard") == ("", ())
    assert behind("given_words", " never") == ("", ())


def test_a_word_that_goes_on_is_another(models: dict[str, Model]) -> None:
    """Alone, and behind a word with which it would have been a pair."""
    for pieces in (
        [" the", " sam", "e", " words"],
        [" the", " same", "ness", " words"],
        [" never", "\ncame", "s"],
    ):
        agree(models["given"], pieces * 2)
        agree(models["pairs"], pieces * 2)


def test_a_word_in_use_stays_kept(models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """While others come and go, of which there is room for few; so does a pair."""
    read: Counter[str] = Counter()
    loaded = small(models["pairs"].loaded, 4)
    own = LoneWords._lone

    def lone_read(self: LoneWords, text: str, before: str) -> Any:
        read[text] += 1
        return own(self, text, before)

    monkeypatch.setattr(LoneWords, "_lone", lone_read)
    state = loaded.start()
    for number in range(60):
        for text in (" the", " same", f" other{number}"):
            state.push(text)
    assert read[" the"] == read[" same"] == 1
    assert read[" other59"] == 1
    assert len(kept_by(loaded)._words) <= 8
    assert len(kept_by(loaded).kept.words) <= 4
    state.push(" other3")
    assert read[" other3"] == 2


def test_a_pair_in_use_stays_kept(models: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = small(models["pairs"].loaded, 3)
    known = [str(term).split(" ") for term in loaded.vectorizer.vocabulary or () if " " in str(term)]
    said = [(first, second) for first, second in known if f"{first}{second}".isalpha()]
    found: Counter[str] = Counter()
    count(monkeypatch, LoneWords, "_change", found)
    packed: Counter[str] = Counter()
    grams = type(loaded.packer).grams

    def counted(self: Any, added: Any, removed: Any = ()) -> Any:
        packed[" ".join(added)] += 1
        return grams(self, added, removed)

    monkeypatch.setattr(type(loaded.packer), "grams", counted)
    state = loaded.start()
    for first, second in said[:40]:
        for text in (" the", " same", f" {first}", f" {second}"):
            state.push(text)
    assert packed["same the same"] == 1
    assert len(kept_by(loaded)._pairs) <= 6
    assert found["_change"] >= 40


def test_other_classifiers_are_not_read_like_this(tmp_path: Path) -> None:
    model = LogisticRegression()
    for number, vectorizer in enumerate(
        (
            TfidfVectorizer(ngram_range=(1, 3)),
            TfidfVectorizer(ngram_range=(2, 2)),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 2)),
            HashingVectorizer(ngram_range=(1, 2), n_features=256),
        )
    ):
        assert not LoneWords.serve(build(tmp_path / str(number), vectorizer, model, 2).loaded.vectorizer)
