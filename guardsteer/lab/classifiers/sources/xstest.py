"""XSTest: safe prompts that look unsafe, unsafe ones, and what models answered (Röttger et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, refuse, rows_of_table

__all__ = ["XSTEST_ANSWERS", "XSTEST_PROMPTS"]

_LICENCE = "CC-BY-4.0"
_WHOSE = "Röttger et al. (2024), paul-rottger/exaggerated-safety, CC-BY-4.0"
_FILES = "completions_*.csv"


def _prompts(folder: Path) -> Iterator[Labelled]:
    for row in rows_of_table(folder / "xstest_prompts.csv", ("prompt", "type", "label")):
        yield Labelled(row["prompt"], (row["label"],), row["type"])


def _answers(folder: Path) -> Iterator[Labelled]:
    files = sorted(folder.glob(_FILES))
    if not files:
        refuse(folder / _FILES, "there is no such file")
    for file in files:
        model = file.stem.partition("_")[2]
        for row in rows_of_table(file, ("type", "prompt", "completion", "final_label")):
            # Labels are numbered: 1_full_compliance, 2_full_refusal, 3_partial_refusal.
            label = row["final_label"].partition("_")[2]
            if row["completion"].strip():
                yield Labelled(row["completion"], (label,), label, row["prompt"], f"xstest-{model}")


XSTEST_PROMPTS = Source("xstest-prompts", "xstest", _LICENCE, f"XSTest prompts, {_WHOSE}", _prompts)

XSTEST_ANSWERS = Source(
    "xstest-answers", "xstest", _LICENCE, f"XSTest completions and labels, {_WHOSE}", _answers
)
