"""Prompts to try a vector on: from a file, or from the pairs of a recipe, split into tuning and test.

What a strength is chosen on is never what it is judged on: a prompt's part is decided by its text alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardsteer.core.digests import digest_bytes, digest_parts
from guardsteer.errors import AssetError, Problem
from guardsteer.lab.pairs.contrast import Recipe
from guardsteer.lab.pairs.instructions import Expectation, expectations

__all__ = [
    "Prompt",
    "few",
    "load_prompts",
    "prompts_digest",
    "recipe_prompts",
    "split_prompts",
    "user_prompt",
]

_ROLES = ("system", "user", "assistant")
_LARGEST_FILE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends with the user.

    ``expected``: what a right answer says, for task metrics. ``expect``: what can be checked of its form.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    expected: str = ""
    expect: tuple[Expectation, ...] = ()

    @property
    def text(self) -> str:
        """What the user said last."""
        return self.messages[-1]["content"]


def user_prompt(text: str, *, id: str = "", expected: str = "") -> Prompt:
    """Return the prompt of one user turn; its id is a digest of the text where none is given."""
    return Prompt(id or digest_bytes(text.encode())[3:15], ({"role": "user", "content": text},), expected)


def load_prompts(path: Path) -> tuple[Prompt, ...]:
    """Return the prompts of a file: one text a line (``.txt``), or JSON Lines.

    A JSON line holds ``text`` or ``messages``, and may hold ``id``, ``expected`` and ``expect``, a mapping as
    in ``guardsteer.lab.pairs.instructions``. Repeated prompts count once. Raises ``AssetError`` with each
    line that holds none, and where there is no prompt at all.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise AssetError(f"{path}: larger than {_LARGEST_FILE_BYTES} bytes, which no list of prompts is")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f"{path}: cannot be read: {error}") from error
    found: dict[str, Prompt] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prompt = user_prompt(line.strip()) if path.suffix == ".txt" else _prompt(json.loads(line))
        except ValueError as error:
            problems.append(Problem(str(path), number, 0, str(error)))
            continue
        found.setdefault(_words(prompt), prompt)
    if problems:
        raise AssetError(problems)
    if not found:
        raise AssetError(f"{path}: holds no prompt; write one a line, or JSON Lines with 'text'")
    return tuple(found.values())


def _prompt(row: Any) -> Prompt:
    if not isinstance(row, dict) or ("text" in row) == ("messages" in row):
        raise ValueError('expected {"text": ...} or {"messages": [...]}, one of the two')
    strange = sorted(set(row) - {"text", "messages", "id", "expected", "expect"})
    if strange:
        raise ValueError(
            f"unknown fields {', '.join(strange)}; known are text, messages, id, expected and expect"
        )
    turns = row.get("messages", [{"role": "user", "content": row.get("text")}])
    whole = isinstance(turns, list) and all(
        isinstance(turn, dict) and turn.get("role") in _ROLES and isinstance(turn.get("content"), str)
        for turn in turns
    )
    if not whole or not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise ValueError("expected turns with a role and a content, the last of them the user's, not empty")
    if not all(isinstance(row.get(name, ""), str) for name in ("id", "expected")):
        raise ValueError("id and expected must be text")
    name = row.get("id") or digest_bytes(json.dumps(turns).encode())[3:15]
    expect = expectations(row["expect"]) if "expect" in row else ()
    return Prompt(name, tuple(turns), row.get("expected", ""), expect)


def recipe_prompts(recipe: Recipe) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Return the conversations of a recipe's tuning and test pairs, without their cues and replies.

    A recipe whose split has no test part gives every other tuning pair to the test.
    """
    parts = [[Prompt(pair.id, pair.messages) for pair in recipe.part(part)] for part in ("tuning", "test")]
    if not parts[1]:
        parts = [parts[0][::2], parts[0][1::2]]
    return tuple(parts[0]), tuple(parts[1])


def split_prompts(
    prompts: Iterable[Prompt], *, test_percent: int = 50
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Return the prompts to tune on and those to test on, told apart by a digest of their words."""
    tuning: list[Prompt] = []
    test: list[Prompt] = []
    for prompt in prompts:
        percent = int(digest_bytes(_words(prompt).encode()).removeprefix("b3:")[:16], 16) % 100
        (test if percent < test_percent else tuning).append(prompt)
    return tuple(tuning), tuple(test)


def few(prompts: Sequence[Prompt], most: int) -> tuple[Prompt, ...]:
    """Return at most ``most`` of the prompts, chosen by a digest of their words, in their order."""
    if len(prompts) <= most:
        return tuple(prompts)
    ranked = sorted(
        range(len(prompts)), key=lambda place: digest_bytes(b"few:" + _words(prompts[place]).encode())
    )
    return tuple(prompts[place] for place in sorted(ranked[:most]))


def prompts_digest(prompts: Sequence[Prompt]) -> str:
    """Return the digest of prompts in their order."""
    return digest_parts(json.dumps(_told(prompt)).encode() for prompt in prompts)


def _told(prompt: Prompt) -> list[Any]:
    told: list[Any] = [prompt.id, [dict(turn) for turn in prompt.messages], prompt.expected]
    # Added only where there is one, so that digests of prompts without it stay what they were.
    return [*told, [[each.kind, each.value] for each in prompt.expect]] if prompt.expect else told


def _words(prompt: Prompt) -> str:
    return "\n".join(" ".join(turn["content"].casefold().split()) for turn in prompt.messages)
