"""Mutated vectors and recipes: each is loaded correctly or refused by a typed error that names its file.

``python -m benchmarks.fuzz_vectors --examples 10000 [--seed N] [--json]`` tries as many as asked and prints
what came of them; status 1 if anything else happened (another exception, a wrong load, a case
over a second). Half of the mutated vectors are sealed again with digests that fit, as a hostile or
mistaken tool would write them, so that what lies behind the digests is tried as well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._mutations import changed_tree, mutated
from guardsteer.core.digests import digest_bytes
from guardsteer.errors import AssetError, BindingError, VectorError
from guardsteer.host import Fingerprint
from guardsteer.lab.pairs.contrast import FEWEST_PAIRS, pair_mistakes
from guardsteer.lab.recipes.recipe import load_recipe
from guardsteer.steer.artifact import ModelBinding, VectorCard, card_digest
from guardsteer.steer.vectors import Vector, load_vector, make_vector, save_vector

__all__ = ["Outcome", "fuzz", "main"]

LONGEST_SECONDS = 1.0
WIDTH = 8
BLOCKS = (1, 3)
RECIPE = b"""\
format: guardsteer.recipe/1
name: warmth
version: 1.0.0
trait: The answer is warm.
description: >-
  A recipe that is folded
  over two lines.
licence: Apache-2.0
read: assistant_mean
split:
  extraction: 60
  tuning: 20
  test: 20
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one mutated file: ``loaded``, the name of the error it was refused with, or a failure."""

    kind: str
    result: str
    failure: str = ""
    seconds: float = 0.0


def fuzz(examples: int, seed: int, folder: Path) -> list[Outcome]:
    """Return the outcomes of ``examples`` mutations, the same for the same seed; files go to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = (_tensors_bytes, _tensors_header, _tensors_numbers, _card_bytes, _card_tree, _recipe_yaml, _pairs)
    outcomes = []
    for index in range(examples):
        rng = random.Random(f"{seed}/{index}")
        case = cases[index % len(cases)]
        outcomes.append(_tried(case, rng, folder, f"seed {seed} example {index}"))
    return outcomes


def _tried(
    case: Callable[[random.Random, Path], str], rng: random.Random, folder: Path, name: str
) -> Outcome:
    kind = case.__name__.strip("_")
    began = time.perf_counter()
    try:
        result, failure = case(rng, folder), ""
    except Exception as error:  # whatever gets this far is what the fuzzer looks for
        result, failure = "failed", f"{name} ({kind}): {type(error).__name__}: {error}"
    seconds = time.perf_counter() - began
    if seconds > LONGEST_SECONDS:
        failure = failure or f"{name} ({kind}): took {seconds:.1f} s"
    return Outcome(kind, result, failure, seconds)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(what)


# Vectors


def _fresh(folder: Path) -> tuple[Vector, Path]:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(len(BLOCKS), WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    digest = "b3:" + "5" * 64
    card = VectorCard(
        name="warmth",
        version="1.0.0",
        trait="The answer is warm.",
        description="For fuzzing.",
        licence="Apache-2.0",
        method="mean_difference",
        read="assistant_mean",
        data_digest=digest,
        pairs=64,
        blocks=BLOCKS,
        model=ModelBinding(
            architecture="LlamaForCausalLM",
            config=digest,
            weights=digest,
            tokenizer=digest,
            dtype="float32",
            width=WIDTH,
            n_blocks=4,
        ),
        libraries={"torch": "2.13.0"},
    )
    vector = make_vector(card, directions=rows, residual_norms=[1.5, 2.5])
    return vector, save_vector(vector, folder)


def _tensors_bytes(rng: random.Random, folder: Path) -> str:
    vector, path = _fresh(folder)
    path.write_bytes(mutated(rng, path.read_bytes()))
    return _load(vector, path, sealed=_maybe_seal(rng, path))


def _tensors_header(rng: random.Random, folder: Path) -> str:
    vector, path = _fresh(folder)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    entry = header[rng.choice(sorted(header))]
    what = rng.choice(["dtype", "shape", "data_offsets", "name", "tree"])
    if what == "dtype":
        entry["dtype"] = rng.choice(["F64", "F16", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "C64", "X", 1])
    elif what == "shape":
        entry["shape"] = rng.choice([[], [0], [2, 4, 2], [2**62, 4], [-1], [2.0], "2", [16], [1, 16]])
    elif what == "data_offsets":
        entry["data_offsets"] = [rng.choice([0, 8, 16, 80, 2**62, -1]), rng.choice([0, 8, 16, 88, 2**63])]
    elif what == "name":
        header[rng.choice(["blocks", "other", ""])] = header.pop(rng.choice(sorted(header)))
    else:
        header = changed_tree(rng, header)
    text = json.dumps(header).encode()
    size = struct.pack("<Q", rng.choice([len(text), len(text), len(text), 0, len(text) + 1, 2**63]))
    path.write_bytes(size + text + data[8 + length :])
    return _load(vector, path, sealed=_maybe_seal(rng, path))


def _tensors_numbers(rng: random.Random, folder: Path) -> str:
    vector, path = _fresh(folder)
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(start, len(data) - 4)
        value = rng.choice(
            [float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e38, 1e-40, rng.gauss(0, 1)]
        )
        data[place : place + 4] = struct.pack("<f", value)
    path.write_bytes(data)
    return _load(vector, path, sealed=_maybe_seal(rng, path))


def _card_bytes(rng: random.Random, folder: Path) -> str:
    vector, path = _fresh(folder)
    card = path.with_suffix(".json")
    card.write_bytes(mutated(rng, card.read_bytes()))
    return _load(vector, path, sealed=_maybe_seal(rng, path))


def _card_tree(rng: random.Random, folder: Path) -> str:
    vector, path = _fresh(folder)
    card = path.with_suffix(".json")
    fields = json.loads(card.read_bytes())
    if rng.random() < 0.25:  # a sound card of another model
        fields["model"][rng.choice(["architecture", "config", "weights", "tokenizer", "dtype"])] = "other"
    else:
        fields = changed_tree(rng, fields)
    text = json.dumps(fields)
    card.write_bytes(text.encode("utf-8", "surrogatepass"))
    return _load(vector, path, sealed=_maybe_seal(rng, path))


def _maybe_seal(rng: random.Random, path: Path) -> bool:
    """Write digests that fit what is there, half of the time and as far as there is a card at all."""
    if rng.random() < 0.5:
        return False
    card_path = path.with_suffix(".json")
    with contextlib.suppress(Exception):
        fields = json.loads(card_path.read_bytes())
        fields["tensors_digest"] = digest_bytes(path.read_bytes())
        card_path.write_bytes(json.dumps(fields).encode("utf-8", "surrogatepass"))
        fields["digest"] = card_digest(VectorCard.model_validate_json(card_path.read_bytes()))
        card_path.write_bytes(json.dumps(fields).encode("utf-8", "surrogatepass"))
    return True


def _load(original: Vector, path: Path, *, sealed: bool) -> str:
    bound = Fingerprint(**original.card.model.model_dump())
    try:
        vector = load_vector(path, fingerprint=bound)
    except BindingError as error:
        _require("belongs to another model" in str(error) and str(path) in str(error), f"unclear: {error}")
        return "BindingError"
    except VectorError as error:
        _require(str(path.with_suffix("")) in str(error), f"names no file: {error}")
        return "VectorError"
    if not sealed:
        _require(vector.digest == original.digest, "a changed vector was loaded")
        _require(vector.directions.tobytes() == original.directions.tobytes(), "changed numbers were loaded")
    _require(vector.directions.shape == (len(vector.blocks), bound.width), "misshapen directions")
    norms = np.linalg.norm(vector.directions.astype(np.float64), axis=1)
    _require(bool(np.allclose(norms, 1.0, atol=1e-3)), f"rows of norms {norms}")
    _require(
        bool((vector.residual_norms > 0).all() and np.isfinite(vector.residual_norms).all()), "residual norms"
    )
    _require(list(vector.blocks) == sorted(set(vector.blocks)), f"blocks {vector.blocks}")
    _require(vector.blocks[0] >= 0 and vector.blocks[-1] < bound.n_blocks, f"blocks {vector.blocks}")
    return "loaded"


# Recipes


def _recipe_folder(folder: Path) -> Path:
    folder = folder / "warmth"
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_bytes(RECIPE)
    (folder / "pairs.jsonl").write_bytes(b"".join(json.dumps(_pair(n)).encode() + b"\n" for n in range(9)))
    return folder


def _pair(index: int) -> dict[str, Any]:
    return {
        "id": f"pair-{index}",
        "messages": [{"role": "user", "content": f"Question {index}?"}],
        "positive": {"reply": f"Gladly, {index}."},
        "negative": {"reply": f"Answer: {index}.", **({"system": "Be cold."} if index > 20 else {})},
    }


def _recipe_yaml(rng: random.Random, folder: Path) -> str:
    folder = _recipe_folder(folder)
    path = folder / "recipe.yaml"
    path.write_bytes(mutated(rng, RECIPE))
    return _load_recipe(folder)


def _pairs(rng: random.Random, folder: Path) -> str:
    folder = _recipe_folder(folder)
    path = folder / "pairs.jsonl"
    if rng.random() < 0.5:
        path.write_bytes(mutated(rng, path.read_bytes()))
    else:
        lines = path.read_bytes().splitlines()
        place = rng.randrange(len(lines))
        changed = json.dumps(changed_tree(rng, json.loads(lines[place])))
        lines[place] = changed.encode("utf-8", "surrogatepass")
        path.write_bytes(b"\n".join(lines))
    return _load_recipe(folder)


def _load_recipe(folder: Path) -> str:
    try:
        recipe = load_recipe(folder)
    except AssetError as error:
        _require(bool(error.problems), "no problem is listed")
        _require(all(p.file.startswith(str(folder)) for p in error.problems), f"names no file: {error}")
        return type(error).__name__
    _require(len(recipe.pairs) >= FEWEST_PAIRS, "too few pairs")
    _require(not any(map(pair_mistakes, recipe.pairs)), "unsound pairs")
    _require(recipe.split.extraction + recipe.split.tuning + recipe.split.test == 100, "split")
    return "loaded"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer and print what came of it; 1 when anything but a load or a typed error happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fuzz(args.examples, args.seed, Path(folder))
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    counts = Counter(f"{outcome.kind} {outcome.result}" for outcome in outcomes)
    report = {
        "examples": len(outcomes),
        "failures": len(failures),
        "slowest_ms": round(1e3 * max((outcome.seconds for outcome in outcomes), default=0.0), 1),
        "seconds": round(time.perf_counter() - began, 1),
        "outcomes": dict(sorted(counts.items())),
    }
    if args.json:
        print(json.dumps({**report, "first_failures": failures[:20]}))
    else:
        print("\n".join([*(f"{name}: {value}" for name, value in report.items()), *failures[:20]]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
