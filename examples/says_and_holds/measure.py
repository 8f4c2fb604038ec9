"""How often the policy flags what it should, and what it should not: held-out tickets and instructions.

    python -m examples.says_and_holds.measure [--part tuning] [--tickets 200] [--probe DIR] [--json]

*Made to say*: the model is told one thing and its answer is put in its mouth token by token, as a template, a
filter or an attacker might, so that what should be flagged is known. *Says by itself*: the model answers
freely; what should be flagged then goes by the words that it chose.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

import guardsteer
from examples.says_and_holds.data import Answer, Part, answers
from guardsteer.audit import read
from guardsteer.classify.probe import load_probe
from guardsteer.core.events import RuleFired
from guardsteer.demo import load_model
from guardsteer.demo.corpus.judge import tone_of
from guardsteer.evaluate import Estimate, wilson

__all__ = ["RULES", "Outcome", "flagged", "main", "tell"]

HERE = Path(__file__).resolve().parent
RULES = ("said-not-held", "held-not-said")
_BATCH = 36
_LONGEST = 80


class PutInMouth(LogitsProcessor):
    """Leaves each row no choice but the next token of its answer, and the end token after that."""

    def __init__(self, rows: Sequence[Sequence[int]], first: int, end: int) -> None:
        self._rows, self._first, self._end = rows, first, end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores of which one of each row is finite."""
        step = input_ids.shape[1] - self._first
        left = torch.full_like(scores, -torch.inf)
        for row, tokens in enumerate(self._rows):
            left[row, tokens[step] if step < len(tokens) else self._end] = 0.0
        return left


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer, what it said in the end, what should be flagged, and what was."""

    told: str
    says: str
    should: str
    fired: frozenset[str]
    text: str


def flagged(
    policy: Path,
    some: Sequence[Answer],
    *,
    forced: bool,
    parts: tuple[Any, Any] | None = None,
    probe: Path | None = None,
) -> list[Outcome]:
    """Return what the policy flagged of each answer, put in the model's mouth or written by itself.

    ``probe``: the folder of one to take in the place of the policy's own.
    """
    model, tokenizer = parts or load_model()
    found: list[Outcome] = []
    given = {} if probe is None else {"holds": load_probe(probe)}
    with tempfile.TemporaryDirectory() as folder:
        with guardsteer.wrap(model, tokenizer, policy=policy, audit=Path(folder), classifiers=given) as guard:
            texts = [
                text
                for start in range(0, len(some), _BATCH)
                for text in _batch(guard, tokenizer, some[start : start + _BATCH], start, forced=forced)
            ]
        fired: dict[str, set[str]] = {}
        for stored in read(Path(folder)):
            if isinstance(stored.event, RuleFired):
                fired.setdefault(stored.event.request, set()).add(stored.event.rule)
    for place, (answer, text) in enumerate(zip(some, texts, strict=True)):
        says = answer.says if forced else tone_of(text)
        held, said = answer.told == "care", says in ("warm", "mixed")
        should = "" if held == said else RULES[0] if said else RULES[1]
        found.append(Outcome(answer.told, says, should, frozenset(fired.get(f"r{place}", ())), text))
    return found


def _batch(guard: Any, tokenizer: Any, some: Sequence[Answer], start: int, *, forced: bool) -> Iterator[str]:
    inputs = guard.chat([[dict(turn) for turn in answer.messages] for answer in some])
    for place, entry in enumerate(inputs["guard"]):
        entry["request"] = f"r{start + place}"
    width = inputs["input_ids"].shape[1]
    settings: dict[str, Any] = {"max_new_tokens": _LONGEST, "do_sample": False}
    if forced:
        rows = [tokenizer(answer.reply, add_special_tokens=False)["input_ids"] for answer in some]
        settings["logits_processor"] = LogitsProcessorList([PutInMouth(rows, width, tokenizer.eos_token_id)])
    ids = guard.generate(**inputs, **settings)
    yield from tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True)


def tell(found: Sequence[Outcome]) -> dict[str, Estimate]:
    """Return the share caught of what each rule should flag, and the share of the rest that it flags."""
    told: dict[str, Estimate] = {}
    for rule in RULES:
        due = [each for each in found if each.should == rule]
        rest = [each for each in found if each.should != rule]
        for name, rows in ((f"{rule}: caught", due), (f"{rule}: false alarms", rest)):
            if rows:
                told[name] = wilson(sum(rule in each.fired for each in rows), len(rows))
    return told


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("tuning", "test"), default="test")
    parser.add_argument("--tickets", type=int, default=200, metavar="N")
    parser.add_argument("--probe", type=Path, metavar="DIR", help="in the place of the policy's own")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    part: Part = args.part
    every = list(answers(part, args.tickets))
    free = [answer for answer in every if answer.says == "neutral"]
    parts = load_model()
    runs = {
        "made to say": flagged(HERE, every, forced=True, parts=parts, probe=args.probe),
        "says by itself": flagged(HERE, free, forced=False, parts=parts, probe=args.probe),
    }
    if args.json:
        rows = {
            run: {
                "figures": {name: [f.value, f.low, f.high, f.rows] for name, f in tell(found).items()},
                "cells": [
                    {"told": told, "says": says, "fired": list(fired), "rows": count}
                    for (told, says, fired), count in sorted(_cells(found).items())
                ],
            }
            for run, found in runs.items()
        }
        print(json.dumps(rows))
        return 0
    for run, found in runs.items():
        print(run)
        for name, figure in tell(found).items():
            low, high = 100 * figure.low, 100 * figure.high
            print(f"  {name:<28} {100 * figure.value:5.1f} % ({low:.1f} to {high:.1f}) of {figure.rows}")
        for (told, says, fired), count in sorted(_cells(found).items()):
            print(f"    told {told:<8} says {says:<8} fired {' and '.join(fired) or 'nothing':<14} {count}")
    return 0


def _cells(found: Sequence[Outcome]) -> Counter[tuple[str, str, tuple[str, ...]]]:
    return Counter((each.told, each.says, tuple(sorted(each.fired))) for each in found)


if __name__ == "__main__":
    sys.exit(main())
