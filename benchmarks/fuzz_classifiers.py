"""Mutate classifier folders at random: each must load right or be refused by a typed error, fast.

    python -m benchmarks.fuzz_classifiers --examples 10000 [--seed N] [--json]

A mutation flips, cuts, repeats or inserts bytes of a file, swaps files, changes a value somewhere in a
JSON file, or takes a file away; half of the time the card's digests are then made to fit, so that the
checks behind them are reached too. What loads is fed text, and must score it in [0, 1].
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import make_pipeline

from guardsteer.classify import LinearClassifier, Probe, load_folder
from guardsteer.classify.combined.files import Member, write_combination
from guardsteer.classify.files.writing import write_card, write_linear, write_probe
from guardsteer.core.digests import digest_bytes
from guardsteer.errors import AssetError
from guardsteer.lab.classifiers.pipelines import write_pipeline
from guardsteer.lab.classifiers.sklearn_models import from_sklearn

__all__ = ["check", "main", "mutate", "write_originals"]

_SLOW_SECONDS = 5.0

_TEXT = "Give ME my money back, ΑΣ'! \u00a0 so very kind 123 ﬁne"
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, 0.5, 1e308, "", "x", "ä" * 9, "../../etc/passwd",
    "b3:", "linear", "probe", "patterns", "word", "hashing", [], {}, [[]], [1, 2], ["a", "a"], {"a": 1},
    "(", "a*", r"(a)\1", "combination", "stack", "pipeline",
)  # fmt: skip


def write_originals(root: Path) -> list[Path]:
    """Write a sound folder of each kind below ``root``."""
    texts = ["give me my money back now", "you are so very kind", "what time is it", "money money refund"]
    recipes: dict[str, tuple[Any, list[int], list[str]]] = {
        "tfidf": (TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)), [1, 0, 2, 1], ["a", "b", "c"]),
        "words": (TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), [1, 0, 0, 1], ["score"]),
        "hashed": (HashingVectorizer(analyzer="char", n_features=32), [1, 0, 0, 1], ["score"]),
    }
    for name, (vectorizer, labels, outputs) in recipes.items():
        model = LogisticRegression(C=10).fit(vectorizer.fit_transform(texts), labels)
        write_linear(root / name, from_sklearn(vectorizer, model, outputs), {"name": name})
    write_card(
        root / "patterns", {"kind": "patterns", "name": "patterns", "literals": ["x"], "patterns": ["a+b"]}
    )
    write_probe(
        root / "probe",
        weight=np.ones((2, 3)),
        bias=np.zeros(2),
        outputs=("a", "b"),
        block=0,
        fingerprint="b3:0",
        dtype="float32",
        about={"name": "probe"},
    )
    pipeline = make_pipeline(TfidfVectorizer(), ComplementNB()).fit(texts, [1, 0, 0, 1])
    write_pipeline(root / "pipeline", pipeline, ["score"], {"name": "pipeline"}, texts=texts, read="every 1")
    _write_combinations(root)
    return sorted(root.iterdir())


def _write_combinations(root: Path) -> None:
    """Write two, of members that a copy finds too that lies beside them."""
    words, hashed = load_folder(root / "words"), load_folder(root / "hashed")
    if not isinstance(words, LinearClassifier) or not isinstance(hashed, LinearClassifier):
        raise TypeError("expected linear classifiers")
    members = [
        Member("../words", words),
        Member("../hashed", hashed),
        Member("../words", words, first_words=2),
    ]
    write_combination(root / "highest", members, by="max", outputs=["score"], about={"name": "highest"})
    stack = {"weight": np.ones((3, 1)), "bias": np.zeros(1), "center": np.zeros(3)}
    write_combination(
        root / "stack", members, by="stack", outputs=["score"], about={"name": "stack"}, stack=stack
    )


def mutate(folder: Path, chooser: random.Random) -> str:
    """Change a folder's files; return what was done."""
    done = []
    for _ in range(chooser.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        path = chooser.choice(files)
        if path.suffix == ".json" and chooser.random() < 0.6:
            done.append(f"{path.name}: {_mutate_json(path, chooser)}")
        elif chooser.random() < 0.08:
            done.append(f"{path.name}: {_mutate_folder(path, files, chooser)}")
        else:
            done.append(f"{path.name}: {_mutate_bytes(path, chooser)}")
        if not any(path.is_file() for path in folder.iterdir()):
            break
    if chooser.random() < 0.5 and _make_digests_fit(folder):
        done.append("digests made to fit")
    return "; ".join(done)


def _mutate_bytes(path: Path, chooser: random.Random) -> str:
    data = bytearray(path.read_bytes())
    start = chooser.randrange(len(data) + 1)
    end = min(len(data), start + chooser.choice((1, 1, 2, 8, 64)))
    how = chooser.choice(("flip", "flip", "flip", "cut", "insert", "repeat", "truncate", "number"))
    if how == "flip" and start < len(data):
        data[start] ^= 1 << chooser.randrange(8)
    elif how == "cut":
        del data[start:end]
    elif how == "insert":
        data[start:start] = bytes(chooser.randrange(256) for _ in range(end - start + 1))
    elif how == "repeat":
        data[start:start] = data[start:end] * chooser.choice((1, 2, 100))
    elif how == "truncate":
        del data[start:]
    elif how == "number":
        data[start:end] = str(chooser.choice((0, -1, 2**63, 10**30, "1e999", "NaN"))).encode()
    path.write_bytes(bytes(data))
    return f"{how} at {start}"


def _mutate_folder(path: Path, files: Sequence[Path], chooser: random.Random) -> str:
    how = chooser.choice(("remove", "swap", "empty", "folder"))
    if how == "remove":
        path.unlink()
    elif how == "swap":
        other = chooser.choice(files)
        ours, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(ours)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        path.mkdir()
    return how


def _mutate_json(path: Path, chooser: random.Random) -> str:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return _mutate_bytes(path, chooser)
    places = list(_places(value))
    if not places:
        return _mutate_bytes(path, chooser)
    holder, key = chooser.choice(places)
    how = chooser.choice(("set", "set", "set", "remove", "rename", "nest"))
    if how == "remove":
        del holder[key]
    elif how == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif how == "nest":
        holder[key] = [holder[key]]
    else:
        holder[key] = chooser.choice(_ODD_VALUES)
    path.write_text(json.dumps(value), encoding="utf-8")
    return f"{how} {key!r}"


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _make_digests_fit(folder: Path) -> bool:
    path = folder / "classifier.json"
    try:
        card = json.loads(path.read_bytes())
        for name in card["files"]:
            card["files"][name] = digest_bytes((folder / name).read_bytes())
        path.write_text(json.dumps(card), encoding="utf-8")
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return False
    return True


def check(folder: Path) -> str:
    """Load a folder and use what loads; return ``refused`` or ``loaded``. Anything else is raised."""
    try:
        loaded = load_folder(folder)
    except AssetError as error:
        if folder.name not in str(error):
            raise AssertionError(f"the error names no file: {error}") from error
        return "refused"
    if isinstance(loaded, Probe):
        scores = loaded.score(torch.ones(1, loaded.width)).reshape(-1).tolist()
    else:
        state = loaded.start()
        for start in range(0, len(_TEXT), 3):
            state.push(_TEXT[start : start + 3])
        try:
            scores = list(state.scores())
        except AssetError:
            return "loaded, graph refused"
    if len(scores) != len(loaded.outputs) or not all(0.0 <= score <= 1.0 for score in scores):
        raise AssertionError(f"scores {scores} for the outputs {loaded.outputs}")
    if isinstance(loaded, LinearClassifier):
        try:
            loaded.predict([_TEXT, ""])
        except AssetError:
            return "loaded, graph refused"
    return "loaded"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzzer; exit status 1 where something else than a typed error came."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_classifiers", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    counts: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as root:
        originals = write_originals(Path(root))
        for example in range(given.examples):
            chooser = random.Random(given.seed * 1_000_003 + example)
            folder = Path(root) / "mutated"
            shutil.copytree(chooser.choice(originals), folder)
            done = mutate(folder, chooser)
            started = time.perf_counter()
            try:
                counts[check(folder)] += 1
                if time.perf_counter() - started > _SLOW_SECONDS:
                    raise AssertionError(f"took {time.perf_counter() - started:.1f} s")
            except Exception as error:
                failures.append(
                    {"example": example, "mutation": done, "error": f"{type(error).__name__}: {error}"}
                )
            shutil.rmtree(folder)
    result = {
        "examples": given.examples,
        "counts": dict(sorted(counts.items())),
        "failures": failures,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(result, indent=None if given.json else 2))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
