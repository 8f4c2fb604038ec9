"""Whether a stream's scores are scikit-learn's and onnxruntime's at every prefix of random texts.

    python -m benchmarks.exactness [--texts 10000] [--seed 0] [--json]

Texts are of all scripts that Unicode has letters for, emoji with their joiners, marks on marks, white space
of every kind, made-up words that recur, and bytes that are no UTF-8, as a tokenizer's bytes come to a row:
through the reader of a byte-level vocabulary, one byte at a time. For each kind of vectorizer a model is
trained on some of them. Every text is then read character by character; after each the stream's score,
scikit-learn's of the prefix, and onnxruntime's of the prefix are compared; and read again in pieces of
random length. Prints the largest difference of each kind and exits with 1 where one is above 1e-5.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from guardsteer.classify import LinearClassifier, load_folder
from guardsteer.classify.files.writing import write_linear
from guardsteer.lab.classifiers.sklearn_models import from_sklearn

__all__ = ["TOLERANCE", "Differences", "Model", "compare", "main", "models", "texts_of"]

TOLERANCE = 1e-5

_TRAINED_ON = 1_500
_AT_ONCE = 100
_EMOJI = ("😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "1️⃣", "🤷🏿‍♀️", "\u200d", "\ufe0f")
_SPACES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"
_TRAPS = ("ΣΑΣ", "Σ", "ß", "ẞ", "İ", "ı", "ﬁ", "ǅ", "ΐ", "\u0345", "ʰ", "²", "½", "a_1", "·", "\u00ad", "ﷺ")


@dataclass(frozen=True, slots=True)
class Model:
    """One model in its forms: the stream and onnxruntime in ``loaded``; ``expected`` is scikit-learn's."""

    loaded: LinearClassifier
    expected: Callable[[Sequence[str]], NDArray[np.float64]]


@dataclass(slots=True)
class Differences:
    """Largest differences from scikit-learn: of the stream, of it read in pieces, of onnxruntime."""

    stream: float = 0.0
    pieces: float = 0.0
    onnx: float = 0.0
    prefixes: int = 0

    @property
    def largest(self) -> float:
        """The largest of all."""
        return max(self.stream, self.pieces, self.onnx)


@cache
def _scripts() -> Mapping[str, Sequence[str]]:
    """Return the letters and marks of each script, by the first word of a character's name."""
    found: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character)[0] in "LMN":
            name = unicodedata.name(character, "OTHER").split(" ")[0]
            found.setdefault(name, []).append(character)
    return found


def texts_of(count: int, seed: int) -> Iterator[str]:
    """Yield random texts, none of them empty."""
    draw = random.Random(seed)
    scripts = list(_scripts())
    known = ["".join(draw.choices("aeioulnrst", k=draw.randint(1, 7))) for _ in range(300)]
    kinds = (_words, _script, _script, _emoji, _marks, _anything, _traps, _bytes)
    for _ in range(count):
        parts = [
            draw.choice(kinds)(draw, known, scripts) + draw.choice(("", " ", draw.choice(_SPACES)))
            for _ in range(draw.randint(1, 5))
        ]
        yield "".join(parts) or "x"


def _words(draw: random.Random, known: Sequence[str], _: Sequence[str]) -> str:
    words = draw.choices(known, [1 / rank for rank in range(1, len(known) + 1)], k=draw.randint(1, 6))
    return " ".join(draw.choice((word, word, word.capitalize(), word.upper())) for word in words)


def _script(draw: random.Random, _: Sequence[str], scripts: Sequence[str]) -> str:
    letters = _scripts()[draw.choice(scripts)]
    few = draw.choices(letters, k=draw.randint(1, 6))
    return "".join(draw.choices([*few, " "], k=draw.randint(1, 14)))


def _emoji(draw: random.Random, *_: object) -> str:
    return "".join(draw.choices(_EMOJI, k=draw.randint(1, 4)))


def _marks(draw: random.Random, *_: object) -> str:
    marks = draw.choices([chr(code) for code in range(0x300, 0x370)], k=draw.randint(1, 12))
    return draw.choice("aeosΩя") + "".join(marks)


def _anything(draw: random.Random, *_: object) -> str:
    codes = (draw.randrange(0xD800), draw.randrange(0xE000, 0x110000), draw.randrange(0x20, 0x250))
    return "".join(chr(draw.choice(codes)) for _ in range(draw.randint(1, 10)))


def _traps(draw: random.Random, *_: object) -> str:
    return "".join(draw.choices([*_TRAPS, " ", "'", "."], k=draw.randint(1, 6)))


def _bytes(draw: random.Random, known: Sequence[str], scripts: Sequence[str]) -> str:
    """Return what a row reads of UTF-8 with bytes left out, doubled and put in."""
    whole = (_words(draw, known, scripts) + _script(draw, known, scripts) + _emoji(draw)).encode()
    broken = bytearray()
    for byte in whole:
        chance = draw.random()
        if chance > 0.08:
            broken.append(byte)
        if chance > 0.95:
            broken.append(draw.choice((byte, draw.randrange(256), 0xC0, 0xED, 0xF5, 0xFF)))
    return _as_read(bytes(broken))


@cache
def _vocabulary() -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    from guardsteer.runtime.text import Vocabulary

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(kinds.BPE({piece: place for place, piece in enumerate(alphabet)}, []))
    backend.decoder = decoders.ByteLevel()
    vocabulary = Vocabulary(PreTrainedTokenizerFast(tokenizer_object=backend))
    return vocabulary, {vocabulary.bytes_of(token): token for token in range(256)}


def _as_read(data: bytes) -> str:
    from guardsteer.runtime.text import TextReader

    vocabulary, tokens = _vocabulary()
    return TextReader(vocabulary).read([tokens[bytes([byte])] for byte in data])


def models(root: Path, texts: Sequence[str]) -> dict[str, Model]:
    """Train a model of each kind on ``texts`` and load it from the folder that it was written to."""
    lr, sgd, tfidf, hashing = LogisticRegression, SGDClassifier, TfidfVectorizer, HashingVectorizer
    recipes: dict[str, tuple[Any, Any, int]] = {
        "word (1, 2)": (tfidf(ngram_range=(1, 2), max_features=20_000), lr(C=30), 2),
        "word (1, 3), unicode accents, 3 outputs": (
            tfidf(ngram_range=(1, 3), strip_accents="unicode"),
            sgd(loss="log_loss", random_state=0),
            3,
        ),
        "char_wb (3, 5)": (tfidf(analyzer="char_wb", ngram_range=(3, 5)), lr(C=30), 2),
        "char_wb (1, 4), sublinear, 3 outputs": (
            tfidf(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True),
            lr(C=30),
            3,
        ),
        "char_wb (2, 4), binary, ascii": (
            tfidf(analyzer="char_wb", ngram_range=(2, 4), binary=True, strip_accents="ascii"),
            lr(C=30),
            2,
        ),
        "char_wb (3, 5), hashed": (
            hashing(analyzer="char_wb", ngram_range=(3, 5), n_features=2**18),
            lr(C=30),
            2,
        ),
        "char (1, 4)": (tfidf(analyzer="char", ngram_range=(1, 4), lowercase=False), lr(C=30), 2),
        "char (2, 3), hashed, no norm": (
            hashing(analyzer="char", ngram_range=(2, 3), n_features=2**12, norm=None),
            lr(),
            2,
        ),
    }
    return {
        name: _model(root / f"c{number}", recipe, texts)
        for number, (name, recipe) in enumerate(recipes.items())
    }


def _model(folder: Path, recipe: tuple[Any, Any, int], texts: Sequence[str]) -> Model:
    vectorizer, classifier, classes = recipe
    draw = random.Random(7)
    labels = [draw.randrange(classes) for _ in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(vectorizer.fit_transform(texts), labels)
    outputs = ["score"] if classes == 2 else [f"kind_{index}" for index in range(classes)]
    write_linear(folder, from_sklearn(vectorizer, classifier, outputs), {"name": folder.name})
    loaded = load_folder(folder)
    if not isinstance(loaded, LinearClassifier):
        raise TypeError(f"{folder}: got {type(loaded).__name__}, expected a linear classifier")

    def expected(rows: Sequence[str]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = classifier.predict_proba(vectorizer.transform(rows))
        return found[:, 1:] if classes == 2 else found

    return Model(loaded, expected)


def compare(model: Model, texts: Sequence[str], seed: int) -> Differences:
    """Return how far the ways of scoring are apart, over all prefixes of ``texts``."""
    draw = random.Random(seed)
    found = Differences()
    for start in range(0, len(texts), _AT_ONCE):
        several = texts[start : start + _AT_ONCE]
        prefixes = [text[:end] for text in several for end in range(1, len(text) + 1)]
        expected = model.expected(prefixes)
        streamed = [scores for text in several for scores in _read(model, [*text])]
        places, pieces, offset = [], [], 0
        for text in several:
            cut = _cut(text, draw)
            pieces += _read(model, cut)
            for piece in cut:
                offset += len(piece)
                places.append(offset - 1)
        found.stream = max(found.stream, float(np.abs(np.array(streamed) - expected).max()))
        found.pieces = max(found.pieces, float(np.abs(np.array(pieces) - expected[places]).max()))
        found.onnx = max(found.onnx, float(np.abs(model.loaded.predict(prefixes) - expected).max()))
        found.prefixes += len(prefixes)
    return found


def _read(model: Model, pieces: Sequence[str]) -> list[list[float]]:
    state = model.loaded.start()
    scores = []
    for piece in pieces:
        state.push(piece)
        scores.append(list(state.scores()))
    return scores


def _cut(text: str, draw: random.Random) -> list[str]:
    pieces, start = [], 0
    while start < len(text):
        end = start + draw.choice((1, 2, 3, 5, 8, 40))
        pieces.append(text[start:end])
        start = end
    return pieces


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; return 1 where a difference is too large."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exactness", description=__doc__.split("\n")[0] if __doc__ else None
    )
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    texts = list(texts_of(given.texts, given.seed))
    found: dict[str, Differences] = {}
    with tempfile.TemporaryDirectory() as root:
        trained = models(Path(root), list(texts_of(_TRAINED_ON, given.seed + 1)))
        for name, model in trained.items():
            found[name] = compare(model, texts, given.seed)
            if not given.json:
                each = found[name]
                print(
                    f"{name:42} {each.prefixes:,} prefixes; largest difference from scikit-learn: stream "
                    f"{each.stream:.1e}, in pieces {each.pieces:.1e}, onnxruntime {each.onnx:.1e}",
                    flush=True,
                )
    if given.json:
        print(json.dumps({name: asdict(each) for name, each in found.items()}))
    return int(not all(each.largest <= TOLERANCE for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
