"""A linear probe from a model and labelled texts: read, split, choose a block, train, judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guardsteer.classify.files.card import Measured
from guardsteer.errors import ClassifierError
from guardsteer.host import find_layout, fingerprint
from guardsteer.lab.classifiers.data import Example, distinct
from guardsteer.lab.classifiers.fitting import About, Settings, Training
from guardsteer.lab.classifiers.groups import groups_of
from guardsteer.lab.probes.recipe import OfTexts, read_blocks
from guardsteer.lab.probes.train import best_block, train_probe

__all__ = ["PENALTIES", "TextProbe", "train_text_probe"]

PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Hidden states are wide and texts few, so the penalties to choose from are stronger than those of text."""

_SPLIT = 0.2


@dataclass(frozen=True, slots=True)
class TextProbe:
    """What training gave, the block that was taken, and each tried block's log loss on the tuning rows."""

    training: Training
    block: int
    losses: dict[int, float]


def train_text_probe(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    of: OfTexts,
    about: About,
    out: Path,
    *,
    blocks: Sequence[int] | None = None,
    measure: Measured = "projection",
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> TextProbe:
    """Write the probe of labelled texts into the folder ``out``; its output ``score`` is of ``of.positive``.

    Texts that are nearly the same, and those of one ``group``, stay in one part of the split: 60 % to train,
    20 % to choose the penalty and the block (of ``blocks``, all by default), 20 % to judge. Raises
    ``ClassifierError`` for texts that cannot be used, and ``HostError`` for a model that cannot be read.
    """
    say = progress or (lambda _: None)
    rows = distinct(examples)
    labelled: dict[str, str] = {}
    for row in rows:
        if labelled.setdefault(row.text, row.label) != row.label:
            raise ClassifierError(f"the text {row.text!r:.60} has two labels; give it one")
    chosen = range(find_layout(model).n_blocks) if blocks is None else blocks
    say(f"reading {len(rows)} texts at {len(chosen)} blocks")
    states = read_blocks(model, tokenizer, of, rows, list(chosen), batch_size=batch_size)
    group_of = dict(zip((row.text for row in rows), groups_of(rows), strict=True))
    first = next(iter(states.values()))
    keys = [group_of[text] for text in first.keys]
    settings = replace(
        Settings(),
        positive=of.positive,
        balanced=True,
        penalties=PENALTIES,
        tune=_SPLIT,
        test=_SPLIT,
        seed=seed,
    )
    hidden = {block: found.hidden for block, found in states.items()}
    say("choosing a block")
    block, losses = best_block(hidden, first.labels, keys, settings, measure)
    identity = fingerprint(model, tokenizer)
    training = train_probe(
        hidden[block],
        first.labels,
        keys,
        block=block,
        fingerprint=identity.digest,
        dtype=identity.dtype,
        settings=settings,
        about=about,
        out=out,
        measure=measure,
    )
    return TextProbe(training, block, losses)
