"""Text to sparse features, as scikit-learn's ``TfidfVectorizer`` and ``HashingVectorizer`` make them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from guardsteer.classify.words.characters import StripAccents, accent_table
from guardsteer.classify.words.kernel import best
from guardsteer.classify.words.murmur import finish
from guardsteer.classify.words.normalise import Normalise, Normaliser
from guardsteer.classify.words.normalised_reading import NormalisedReader
from guardsteer.classify.words.reading import Analyzer, Gram, Reader, make_reader
from guardsteer.classify.words.recent import Recent

__all__ = ["MAX_FEATURES", "MAX_GRAM", "Vectorizer", "VectorizerSettings", "curve"]

MAX_GRAM = 16
MAX_FEATURES = 2**24

_CACHED_GRAMS = 32_768
_CACHED_CHARACTERS = 24


class VectorizerSettings(BaseModel):
    """What decides a text's features; the names are scikit-learn's.

    ``ngrams``: shortest and longest n-gram, in words or characters. ``features``: length of the
    feature vector. ``word`` takes words of ``shortest_word`` letters, digits or underscores at least (2:
    scikit-learn's default token pattern); there are no stop words.
    ``normalise``: what is done to the text first (see ``normalise``); case and accents are part of it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: Literal["tfidf", "hashing"]
    analyzer: Analyzer
    ngrams: Annotated[tuple[int, int], Field(strict=False)]
    lowercase: bool = True
    strip_accents: StripAccents | None = None
    norm: Literal["l2"] | None = "l2"
    binary: bool = False
    sublinear_tf: bool = False
    use_idf: bool = False
    alternate_sign: bool = False
    features: Annotated[int, Field(ge=1, le=MAX_FEATURES)]
    normalise: Normalise | None = None
    shortest_word: Literal[1, 2] = 2

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set: digests of classifiers from before it could be stay as they are."""
        fields: dict[str, Any] = handler(self)
        for name, unset in (("normalise", None), ("shortest_word", 2)):
            if fields.get(name) == unset:
                fields.pop(name, None)
        return fields

    @model_validator(mode="after")
    def _consistent(self) -> VectorizerSettings:
        shortest, longest = self.ngrams
        if not 1 <= shortest <= longest <= MAX_GRAM:
            raise ValueError(f"ngrams must be two numbers with 1 <= shortest <= longest <= {MAX_GRAM}")
        if self.type == "hashing" and (self.use_idf or self.sublinear_tf):
            raise ValueError("a hashing vectorizer has neither use_idf nor sublinear_tf")
        if self.type == "tfidf" and self.alternate_sign:
            raise ValueError("a tfidf vectorizer has no alternate_sign")
        if self.normalise is not None and (self.strip_accents is not None or not self.lowercase):
            raise ValueError("what normalises folds case and accents: leave lowercase and strip_accents out")
        if self.shortest_word == 1 and self.analyzer != "word":
            raise ValueError("shortest_word is for the analyzer word")
        return self

    @property
    def curved(self) -> bool:
        """True when a feature's value is not proportional to its count."""
        return self.binary or self.sublinear_tf


class Vectorizer:
    """The vectorizer at work; shared by all rows and threads.

    ``vocabulary``: n-gram to index, for ``tfidf``. ``idf``: [feature], with ``use_idf``. Both are
    taken as checked (``guardsteer.classify.files.artifact`` checks them).
    """

    __slots__ = (
        "_accents",
        "_hashed",
        "_murmur",
        "idf",
        "lowercase",
        "normaliser",
        "reader",
        "settings",
        "sigma_matters",
        "vocabulary",
    )

    def __init__(
        self,
        settings: VectorizerSettings,
        *,
        vocabulary: Mapping[str, int] | None = None,
        idf: NDArray[np.float64] | None = None,
    ) -> None:
        self.settings = settings
        self.idf = idf
        reader = make_reader(
            settings.analyzer,
            *settings.ngrams,
            longest_term=max(map(len, vocabulary or ()), default=0),
            shortest_word=settings.shortest_word,
        )
        self.normaliser = Normaliser(settings.normalise) if settings.normalise else None
        self.reader: Reader = NormalisedReader(self.normaliser, reader) if self.normaliser else reader
        # What normalises lowers as well.
        self.lowercase = settings.lowercase and self.normaliser is None
        # Whether lowering depends on context: it does for one letter, which ASCII has not got.
        self.sigma_matters = self.lowercase and settings.strip_accents != "ascii"
        self.vocabulary = cast("Mapping[Gram, int] | None", vocabulary)
        self._accents = accent_table(settings.strip_accents) if settings.strip_accents else None
        self._murmur = best().murmur
        self._hashed: Recent[Gram, tuple[int, int]] = Recent(_CACHED_GRAMS)

    def strip(self, text: str) -> str:
        """Strip accents, where the settings ask for it; one character at a time."""
        return text if self._accents is None or text.isascii() else text.translate(self._accents)

    def counts(self, grams: Iterable[Gram]) -> dict[int, int]:
        """Return how often each feature occurs among n-grams; signed where the hash alternates signs."""
        counts: dict[int, int] = {}
        if self.vocabulary is not None:
            # A hash in place of an n-gram stands for one longer than any in the vocabulary, and misses.
            for index in map(self.vocabulary.get, grams):
                if index is not None:
                    counts[index] = counts.get(index, 0) + 1
            return counts
        known = self._hashed.young
        for gram in grams:
            index, sign = known.get(gram) or self._hash(gram)
            counts[index] = counts.get(index, 0) + sign
        return counts

    def transform(self, text: str) -> tuple[list[int], list[float]]:
        """Return a whole text's features, indices ascending, and their values.

        Written without the streaming reader, so that the two check each other.
        """
        settings = self.settings
        text = self.normaliser(text) if self.normaliser else text.lower() if self.lowercase else text
        counts = self.counts(_whole_text_grams(settings, self.strip(text)))
        indices = sorted(counts)
        values = [curve(settings, counts[index]) for index in indices]
        if self.idf is not None:
            values = [value * idf for value, idf in zip(values, self.idf[indices].tolist(), strict=True)]
        if settings.norm == "l2":
            length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
            values = [value / length for value in values]
        return indices, values

    def _hash(self, gram: Gram) -> tuple[int, int]:
        if not isinstance(gram, str):
            return self._place(finish(gram))
        found = self._hashed.older(gram)
        if found is None:
            found = self._place(self._murmur(gram.encode("utf-8", "surrogatepass")))
            if len(gram) <= _CACHED_CHARACTERS:
                self._hashed.put(gram, found)
        return found

    def _place(self, hashed: int) -> tuple[int, int]:
        features = self.settings.features
        # The one number without an absolute value in 32 bits: scikit-learn's way round it.
        index = (2**31 - features) % features if hashed == -(2**31) else abs(hashed) % features
        signed = self.settings.alternate_sign and not self.settings.binary
        return index, -1 if signed and hashed < 0 else 1


def curve(settings: VectorizerSettings, count: int) -> float:
    """Return a feature's value before idf and norm, from how often it occurs."""
    if settings.binary:
        return 1.0 if count else 0.0
    if settings.sublinear_tf:
        return 1.0 + math.log(count) if count else 0.0
    return float(count)


_WHITE_RUN = re.compile(r"\s\s+")
_TOKENS = {1: re.compile(r"\b\w+\b"), 2: re.compile(r"\b\w\w+\b")}


def _whole_text_grams(settings: VectorizerSettings, text: str) -> list[Gram]:
    shortest, longest = settings.ngrams
    if settings.analyzer == "word":
        tokens = _TOKENS[settings.shortest_word].findall(text)
        return [
            " ".join(tokens[start : start + size])
            for size in range(shortest, longest + 1)
            for start in range(len(tokens) - size + 1)
        ]
    if settings.analyzer == "char":
        return _slices(_WHITE_RUN.sub(" ", text), shortest, longest)
    return [gram for word in text.split() for gram in _padded_slices(f" {word} ", shortest, longest)]


def _slices(text: str, shortest: int, longest: int) -> list[Gram]:
    return [
        text[start : start + size]
        for size in range(shortest, longest + 1)
        for start in range(len(text) - size + 1)
    ]


def _padded_slices(padded: str, shortest: int, longest: int) -> list[Gram]:
    """A word that no n-gram fits into counts as a whole, once."""
    if shortest >= len(padded):
        return [padded]
    grams = _slices(padded, shortest, min(longest, len(padded) - 1))
    return [*grams, padded] if longest >= len(padded) else grams
