"""Build what the policy needs: the classifier of hostility, and the vector of warmth for one model.

    python -m examples.warm_when_hostile.build --data ../shared/data --model ../shared/models/tinytalk-3M-chat

The classifier goes to ``classifiers/hostility`` and is good for any model; the vector goes to
``warmth/artifacts`` beside this file and is bound to the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.warm_when_hostile.talk import DATA, HERE, MODEL, load
from examples.warm_when_hostile.utterances import (
    Comment,
    comments,
    expand,
    own_lines,
    read_frames,
    soda_lines,
    without,
)
from guardsteer.classify.load import load_folder
from guardsteer.classify.words.linear import LinearClassifier
from guardsteer.errors import ClassifierError, GuardsteerError
from guardsteer.host import fingerprint
from guardsteer.lab.classifiers.data import Example, Part, part_of
from guardsteer.lab.classifiers.fitting import About, Settings
from guardsteer.lab.classifiers.train import train
from guardsteer.lab.extraction.extract import extract
from guardsteer.steer import Recommendation, Vector, recommend, save_vector

__all__ = ["CALM", "HOSTILE", "SETTINGS", "main", "part", "train_hostility", "warmth"]

HOSTILE, CALM = "hostile", "calm"

SETTINGS = Settings(
    analyzer="word",
    ngrams=(1, 2),
    max_features=40_000,
    sublinear_tf=True,
    balanced=True,
    positive=HOSTILE,
    penalties=(1.0, 3.0),
    tune=0.15,
    test=0.10,
)

ABOUT = About(
    name="hostility",
    version="1.0.0",
    description=(
        "Is somebody hostile towards the one they talk to? Words and pairs of words of an English utterance. "
        "Made for short everyday talk; it misses hostility without harsh words and takes some quoted or "
        "joking harsh words for hostile."
    ),
    licence="Apache-2.0",
    sources=(
        "GoEmotions, Demszky et al. (2020), google-research, Apache-2.0: comments with anger, annoyance or "
        "disgust as hostile, all others but disapproval as calm",
        "SODA, Kim et al. (2023), allenai, CC-BY-4.0: lines of everyday dialogues as calm",
        "utterances and frames written for guardsteer, Apache-2.0: examples/warm_when_hostile/utterances",
    ),
)

HOSTILE_EMOTIONS = frozenset({"anger", "annoyance", "disgust"})
UNKIND_EMOTIONS = HOSTILE_EMOTIONS | {
    "disapproval",
    "disappointment",
    "embarrassment",
    "fear",
    "grief",
    "nervousness",
    "remorse",
    "sadness",
}

_DRAWN = 4000
_EVERYDAY_FALSE, _COMMENTS_FALSE = 0.04, 0.045
_DEPTH = 0.625
_LOW, _STRENGTH, _HIGH = 0.30, 0.38, 0.42


@dataclass(frozen=True, slots=True)
class Texts:
    """All that the classifier learns from, and the calm texts that set its threshold."""

    examples: tuple[Example, ...]
    everyday_calm: tuple[str, ...]
    comments_calm: tuple[str, ...]


def part(text: str) -> Part:
    """Return the part of the data that a text is in; the classifier learns from ``train`` alone."""
    return part_of(text, seed=SETTINGS.seed, tune=SETTINGS.tune, test=SETTINGS.test)


def gather(data: Path) -> Texts:
    """Return the texts, less those held out for the measurement. Raises ``AssetError`` without the data."""
    held_out = [*own_lines("held_out_hostile"), *own_lines("held_out_calm")]
    held_out += [row.text for row in comments(data, "dev")]
    fit = set(without([row.text for row in comments(data, "train")] + soda_lines(data), held_out))
    hostile = own_lines("hostile") + expand(read_frames("hostile"), _DRAWN, seed=0)
    calm = own_lines("calm") + expand(read_frames("calm"), _DRAWN, seed=1)
    rated = [row for row in comments(data, "train") if row.text in fit and _clear(row)]
    soda = [text for text in soda_lines(data) if text in fit]
    labelled = [
        *((row.text, HOSTILE if row.emotions & HOSTILE_EMOTIONS else CALM) for row in rated),
        *((text, HOSTILE) for text in without(hostile, held_out)),
        *((text, CALM) for text in without(calm, held_out)),
        *((text, CALM) for text in soda),
    ]
    return Texts(
        examples=tuple(Example(text, label) for text, label in labelled),
        everyday_calm=tuple(text for text in own_lines("calm") + soda if part(text) == "tune"),
        comments_calm=tuple(
            row.text for row in rated if not row.emotions & UNKIND_EMOTIONS and part(row.text) == "tune"
        ),
    )


def _clear(row: Comment) -> bool:
    # Who disapproves may be hostile or not: such comments teach neither.
    return bool(row.emotions & HOSTILE_EMOTIONS) or "disapproval" not in row.emotions


def train_hostility(data: Path, out: Path) -> float:
    """Train the classifier into ``out`` and return the threshold for the policy.

    It is the lowest at which at most 4 % of calm everyday lines and 4.5 % of calm comments of the tuning
    rows are called hostile; some of these lines are hostile in truth.
    """
    texts = gather(data)
    train(texts.examples, SETTINGS, ABOUT, out)
    written = load_folder(out)
    if not isinstance(written, LinearClassifier):
        raise ClassifierError(f"{out}: holds another kind of classifier than was written")
    return max(
        float(np.quantile(written.predict(calm)[:, 0], 1 - false, method="higher"))
        for calm, false in (
            (texts.everyday_calm, _EVERYDAY_FALSE),
            (texts.comments_calm, _COMMENTS_FALSE),
        )
    )


def warmth(model: Any, tokenizer: Any, *, block: int | None = None) -> Vector:
    """Return the vector of warmth for ``model``, with the block and strengths found by ``tune`` on its card.

    ``block``: at five eighths of the depth by default.
    """
    found = extract(model, tokenizer, HERE / "warmth")
    chosen = block if block is not None else round(_DEPTH * found.card.model.n_blocks)
    return recommend(
        found,
        Recommendation(
            blocks=(chosen,),
            positions=("last_prompt_token", "generated"),
            low=_LOW,
            recommended=_STRENGTH,
            high=_HIGH,
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 2 where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.warm_when_hostile.build", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with goemotions and soda-dialogues")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of a chat model")
    parser.add_argument("--out", type=Path, default=HERE.parent.parent / "classifiers" / "hostility")
    parser.add_argument("--only", choices=("classifier", "vector"), help="build one of the two")
    given = parser.parse_args(arguments)
    try:
        if given.only != "vector":
            print(f"{given.out}: hostile from {train_hostility(given.data, given.out):.3f} on")
        if given.only != "classifier":
            model, tokenizer = load(given.model)
            folder = HERE / "warmth" / "artifacts" / fingerprint(model, tokenizer).short
            print(save_vector(warmth(model, tokenizer), folder))
    except GuardsteerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
