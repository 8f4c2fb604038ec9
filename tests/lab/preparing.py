"""A policy, its recipe and a model folder for the tests of ``prepare``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from guardsteer.lab.pairs.prompts import Prompt
from tests.lab.chats import chat_model, chat_tokenizer

__all__ = ["HOPELESS", "METRIC", "POLICY", "model_folder", "nothing", "write_pairs", "write_recipe_folder"]

POLICY = """\
guardsteer: 1
name: two
budget: 0.5
vectors:
  warm:  {use: warmth, positions: [last_prompt_token, generated], max_strength: 9.0}
  again: {use: warmth, max_strength: 9.0}
rules:
  - id: push
    when: step >= 0
    add:
      - {vector: warm, strength: 0.2}
      - {vector: again, strength: 0.1}
"""
METRIC = "python:tests.lab.studies:letters"
HOPELESS = "python:tests.lab.preparing:nothing"


def nothing(prompts: Sequence[Prompt], replies: Sequence[str]) -> list[float]:  # noqa: ARG001  # the signature of a metric
    """Return what no steering changes."""
    return [0.0 for _ in replies]


def write_recipe_folder(folder: Path, *, measure: str = "", praise: str = "How good that you ask") -> Path:
    """Write a recipe of 60 pairs into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(
        f"format: guardsteer.recipe/1\nname: {folder.name}\nversion: '1'\ntrait: Warm.\ndescription: Pairs.\n"
        "licence: Apache-2.0\nread: assistant_mean\nsplit: {extraction: 60, tuning: 20, test: 20}\n" + measure
    )
    return write_pairs(folder, praise)


def write_pairs(folder: Path, praise: str) -> Path:
    """Write 60 pairs into ``folder`` and return it."""
    rows = [
        {
            "id": f"pair-{place}",
            "messages": [{"role": "user", "content": f"Where is parcel number {place}?"}],
            "positive": {"reply": f"{praise} after {place}."},
            "negative": {"reply": f"See the parcel list, line {place} of it."},
        }
        for place in range(60)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def model_folder(folder: Path) -> Path:
    """Write a tiny chat model and its tokenizer into ``folder`` and return it."""
    for part in (chat_model(), chat_tokenizer()):
        part.save_pretrained(folder)
    return folder
