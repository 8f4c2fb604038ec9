"""What a token costs a text classifier, at 200 to 100,000 characters of text so far, and rows at once.

    python -m benchmarks.scoring [--rounds 9] [--kernel python] [--json]

Each figure is process CPU time of one push and one reading of scores, in microseconds a token: tokens
of a few characters, out of made-up words with the frequencies of a natural vocabulary. The tokens
measured are read twice from the same place: at first sight, when some of their words are in no cache, and
again. Beside it what scoring the whole text again costs, through onnxruntime (25,000 characters are some
5,000 tokens), the same for each of 32 rows that take turns token by token, and the memory of a row.
Rounds are interleaved over classifiers and lengths; medians are reported. One thread. ``--kernel`` is the
compiled one by default, where there is one.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import SGDClassifier

from guardsteer.classify import LinearClassifier, PatternClassifier, load_folder
from guardsteer.classify.files.writing import write_linear
from guardsteer.classify.words.kernel import KERNELS, Kernel
from guardsteer.core.signals import TextClassifier, TextState
from guardsteer.lab.classifiers.sklearn_models import from_sklearn

__all__ = ["classifiers", "main", "measure", "measure_rows", "memory_of", "tokens_of"]

LENGTHS = (200, 8_000, 25_000, 100_000)

_MEASURED = 1_000
_ROWS = 32
_ROW_TOKENS = 100
_WHOLE_TEXT_LIMIT = 25_000


def words(count: int, chooser: random.Random) -> list[str]:
    """Return made-up words drawn with frequencies that fall as one over the rank (Zipf, 1935)."""
    syllables = ["ba", "re", "ti", "lo", "mun", "s", "ka", "ing", "er", "dis", "pro", "ve", "ly", "o", "sta"]
    known = {"".join(chooser.choices(syllables, k=chooser.randint(1, 4))) for _ in range(9_000)}
    vocabulary = sorted(known)
    chooser.shuffle(vocabulary)
    return chooser.choices(vocabulary, [1 / rank for rank in range(1, len(vocabulary) + 1)], k=count)


def tokens_of(text: str, chooser: random.Random) -> list[str]:
    """Cut text as a language model's tokens do: a space goes with what follows it; long words break."""
    tokens: list[str] = []
    for said in text.split(" "):
        word = f" {said}"
        while len(word) > 6:
            cut = chooser.randint(3, 6)
            tokens.append(word[:cut])
            word = word[cut:]
        tokens.append(word)
    return tokens


def classifiers(root: Path, kernel: Kernel) -> dict[str, TextClassifier]:
    """Train a classifier for each analyzer on made-up text, and add one of patterns."""
    chooser = random.Random(1)
    texts = [" ".join(words(60, chooser)) for _ in range(2_000)]
    labels = [chooser.randrange(2) for _ in texts]
    ten = [chooser.randrange(10) for _ in texts]
    recipes: dict[str, tuple[Any, list[int]]] = {
        "word (1, 2)": (TfidfVectorizer(ngram_range=(1, 2), max_features=50_000), labels),
        "char_wb (3, 5)": (
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), max_features=50_000),
            labels,
        ),
        "char_wb (3, 5) sublinear": (
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), max_features=50_000, sublinear_tf=True),
            labels,
        ),
        "char_wb (3, 5) hashed": (
            HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=2**18),
            labels,
        ),
        "char (2, 4)": (TfidfVectorizer(analyzer="char", ngram_range=(2, 4), max_features=50_000), labels),
        "word (1, 2), ten outputs": (TfidfVectorizer(ngram_range=(1, 2), max_features=50_000), ten),
    }
    found: dict[str, TextClassifier] = {}
    for number, (name, (vectorizer, classes)) in enumerate(recipes.items()):
        model = SGDClassifier(loss="log_loss", random_state=0).fit(vectorizer.fit_transform(texts), classes)
        outputs = ["score"] if classes is labels else [f"kind_{index}" for index in range(10)]
        folder = root / f"c{number}"
        write_linear(folder, from_sklearn(vectorizer, model, outputs), {"name": folder.name})
        loaded = load_folder(folder)
        assert isinstance(loaded, LinearClassifier)
        found[name] = loaded.on(kernel)
    found["2 literals, 2 patterns"] = PatternClassifier(
        literals=["never there", "nor this"], patterns=[r"\bnot+\b", r"q\s+z"]
    )
    return found


def measure(state: TextState, tokens: Sequence[str]) -> float:
    """Return the CPU time of pushing each token and reading the scores after it, in us a token."""
    began = time.process_time_ns()
    for token in tokens:
        state.push(token)
        state.scores()
    return (time.process_time_ns() - began) / 1_000 / len(tokens)


def measure_rows(states: Sequence[TextState], tokens: Sequence[Sequence[str]]) -> float:
    """Return the CPU time of a token of one of many rows that take turns, in us a row and token."""
    began = time.process_time_ns()
    for step in zip(*tokens, strict=True):
        for state, token in zip(states, step, strict=True):
            state.push(token)
            state.scores()
    return (time.process_time_ns() - began) / 1_000 / len(tokens) / len(tokens[0])


def memory_of(state: TextState) -> float:
    """Return how much memory one more row takes that has read what ``state`` has, in KiB."""
    tracemalloc.start()
    try:
        twin = state.fork()
        size = tracemalloc.get_traced_memory()[0] / 1_024
    finally:
        tracemalloc.stop()
    del twin
    return size


def _rounds(given: dict[str, TextClassifier], rounds: int) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, dict[str, list[float]]]] = {
        name: {kind: {} for kind in _TITLES} for name in given
    }
    for number in range(rounds):
        text = " ".join(words(30_000, random.Random(100 + number)))
        for length in LENGTHS:
            past = tokens_of(text[:length], random.Random(number))
            tokens = tokens_of(text[length : length + _MEASURED], random.Random(number))
            for name, classifier in given.items():
                state = classifier.start()
                for token in past:
                    state.push(token)
                    state.scores()
                found = {"new": measure(state.fork(), tokens), "known": measure(state.fork(), tokens)}
                if length in LENGTHS[:2]:
                    # Each row begins elsewhere in the same words.
                    rows = [tokens[row : row + _ROW_TOKENS] for row in range(_ROWS)]
                    found["rows"] = measure_rows([state.fork() for _ in rows], rows)
                if not number:
                    found["memory"] = memory_of(state)
                if isinstance(classifier, LinearClassifier) and length <= _WHOLE_TEXT_LIMIT:
                    began = time.process_time_ns()
                    classifier.predict([text[:length]])
                    found["whole"] = (time.process_time_ns() - began) / 1_000
                for kind, figure in found.items():
                    figures[name][kind].setdefault(str(length), []).append(figure)
    return {
        name: {
            kind: {length: round(statistics.median(values), 2) for length, values in by_length.items()}
            for kind, by_length in kinds.items()
        }
        for name, kinds in figures.items()
    }


_TITLES = {
    "known": "us a token, words read before",
    "new": "us a token, at first sight",
    "rows": "us a row and token, 32 rows",
    "whole": "us for the whole text again",
    "memory": "KiB a row",
}


_SHOWN = {"whole": LENGTHS[:3], "rows": LENGTHS[:2]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kernel", choices=list(KERNELS), default=list(KERNELS)[-1])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as root:
        result = _rounds(classifiers(Path(root), KERNELS[given.kernel]), given.rounds)
    if given.json:
        print(json.dumps(result))
        return 0
    for kind, title in _TITLES.items():
        lengths = _SHOWN.get(kind, LENGTHS)
        print(f"{title:30}" + "".join(f"{length:>10,}" for length in lengths) + "   characters of text")
        for name, kinds in result.items():
            if kinds[kind]:
                print(f"  {name:28}" + "".join(f"{kinds[kind][str(length)]:>10.2f}" for length in lengths))
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
