"""TruthfulQA: questions that invite a false answer, with true and false answers (Lin et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, rows_of_table

__all__ = ["TRUTHFULQA"]

_ANSWERS = (("Correct Answers", "true"), ("Incorrect Answers", "false"))


def _read(folder: Path) -> Iterator[Labelled]:
    columns = ("Category", "Question", "Correct Answers", "Incorrect Answers")
    for row in rows_of_table(folder / "TruthfulQA.csv", columns):
        question, category = row["Question"], row["Category"]
        yield Labelled(question, ("question",), category, question)
        for column, label in _ANSWERS:
            for answer in row[column].split(";"):
                if answer.strip():
                    yield Labelled(answer.strip(), ("answer", label), category, question)


TRUTHFULQA = Source(
    "truthfulqa",
    "truthfulqa",
    "Apache-2.0",
    "TruthfulQA, Lin, Hilton and Evans (2022), sylinrl, Apache-2.0",
    _read,
)
