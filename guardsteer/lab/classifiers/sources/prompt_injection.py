"""Prompt injections of CyberSecEval (Bhatt et al., 2024): what a user, or a document that is read, says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from guardsteer.lab.classifiers.sources.files import Labelled, Source, rows_of_json

__all__ = ["PROMPT_INJECTION"]


def _read(folder: Path) -> Iterator[Labelled]:
    fields = ("test_case_prompt", "user_input", "injection_variant", "injection_type")
    systems: set[str] = set()
    for row in rows_of_json(folder / "prompt_injection.json", fields):
        kind, system = row["injection_variant"], row["test_case_prompt"]
        # The cases of one system prompt are tries at one secret.
        yield Labelled(row["user_input"], ("injection", kind, row["injection_type"]), kind, system)
        if system not in systems:
            systems.add(system)
            yield Labelled(system, ("system_prompt",), "system_prompt", system)


PROMPT_INJECTION = Source(
    "prompt-injection",
    "prompt-injection",
    "MIT",
    "CyberSecEval prompt injections, Bhatt et al. (2024), meta-llama/PurpleLlama, MIT",
    _read,
)
