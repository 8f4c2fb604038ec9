"""Contrast questions of CAA (Rimsky et al., 2024): an answer that shows a behaviour, one that does not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, refuse, rows_of_json

__all__ = ["CAA_HALLUCINATION", "CAA_REFUSAL", "CAA_SYCOPHANCY"]

_FIELDS = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
_CHOICE = re.compile(r"\n?\s*\(([A-Z])\)\s*")


def _reader(behaviour: str, *, with_question: bool) -> Callable[[Path], Iterator[Labelled]]:
    def read(folder: Path) -> Iterator[Labelled]:
        path = folder / f"{behaviour}.json"
        for place, row in enumerate(rows_of_json(path, _FIELDS), 1):
            asked, *rest = _CHOICE.split(row["question"])
            choices = dict(zip(rest[::2], rest[1::2], strict=False))
            question = asked.replace("Choices:", "").strip()
            for field, label in (
                ("answer_matching_behavior", behaviour),
                ("answer_not_matching_behavior", "other"),
            ):
                letter = row[field].strip(" ()")
                if letter not in choices:
                    refuse(path, f"entry {place} has no choice {letter!r:.40}")
                answer = choices[letter].strip()
                if answer:
                    text = f"{question}\n{answer}" if with_question else answer
                    yield Labelled(text, (label,), label, question)

    return read


def _source(behaviour: str, *, with_question: bool = False) -> Source:
    return Source(
        f"caa-{behaviour}",
        "caa",
        "MIT, parts CC-BY-4.0",
        f"CAA {behaviour} questions, Rimsky et al. (2024), nrimsky/CAA, MIT; in part of Perez et al. (2022), "
        "anthropics/evals, CC-BY-4.0",
        _reader(behaviour, with_question=with_question),
    )


CAA_REFUSAL = _source("refusal")
CAA_HALLUCINATION = _source("hallucination")
# The choices are Agree and Disagree: whether one flatters depends on what the question says of the asker.
CAA_SYCOPHANCY = _source("sycophancy", with_question=True)
