"""Contrast pairs: two answers, or two cues, to the same conversation that differ in one trait alone.

The method is that of contrastive activation addition (Rimsky et al., 2024): what the two sides share
cancels in the difference of their hidden states, and the trait is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from guardsteer.core.digests import digest_bytes, digest_json, digest_parts
from guardsteer.steer.artifact import ReadPosition

__all__ = [
    "FEWEST_PAIRS",
    "ContrastPair",
    "Measure",
    "Part",
    "Recipe",
    "Seen",
    "Side",
    "Split",
    "pair_mistakes",
    "pairs_digest",
    "part_of",
]

FEWEST_PAIRS = 8
"""Fewer pairs than this give a direction that is mostly their wording."""

Part: TypeAlias = Literal["extraction", "tuning", "test"]

_WORD = re.compile(r"\w+")
_LETTER = re.compile(r"^\s*\(?[A-Za-z0-9]\)?\s*$")


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair: what the assistant answers (``reply``), the system line before it, or both."""

    reply: str | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class ContrastPair:
    """One conversation, ending with the user, and two ways on: ``positive`` has the trait.

    ``messages`` are mappings with ``role`` and ``content``. What precedes a ``/`` in ``id`` is the
    pair's group: pairs of one group are always in the same part of the split. ``labels`` say what a pair is
    about, such as its locale or product, so that coverage can be told.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    positive: Side
    negative: Side
    labels: Mapping[str, str] = field(default_factory=dict)

    def chat(self, side: Side, *, with_reply: bool) -> list[dict[str, str]]:
        """Return the conversation as one side has it, with or without its reply at the end."""
        cue = [{"role": "system", "content": side.system}] if side.system is not None else []
        reply = (
            [{"role": "assistant", "content": side.reply}] if with_reply and side.reply is not None else []
        )
        return [*cue, *(dict(message) for message in self.messages), *reply]


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of the pairs, in percent: read from, tuned on, and never looked at before a last test."""

    extraction: int = 70
    tuning: int = 15
    test: int = 15


@dataclass(frozen=True, slots=True)
class Measure:
    """How a recipe's vector is judged on replies.

    ``metric``: its name. ``up``: more of the trait makes it rise. ``gain``: the least change that counts, in
    its units, and ``perplexity_ratio``: the highest; None leaves both to who calibrates. ``prompts``: a file
    named from the recipe's folder, None for the conversations of the tuning and test pairs.
    """

    metric: str
    up: bool = True
    gain: float | None = None
    perplexity_ratio: float | None = None
    prompts: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a vector is made from; ``pairs`` may come from a folder or be made in memory.

    ``prompt`` is what the user says in all pairs that bring no conversation of their own; it is none that
    could leak from one part of the split into another. ``measure``: None where the recipe does not say.
    """

    name: str
    trait: str
    licence: str
    read: ReadPosition
    pairs: tuple[ContrastPair, ...] = field(repr=False)
    description: str = ""
    version: str = "1"
    split: Split = Split()
    prompt: str | None = None
    measure: Measure | None = None

    def part(self, part: Part) -> tuple[ContrastPair, ...]:
        """Return the pairs of one part of the split, in order."""
        return tuple(pair for pair in self.pairs if part_of(pair.id, self.split) == part)


def part_of(pair_id: str, split: Split) -> Part:
    """Return the part that a pair belongs to: decided by its group alone, the same for ever."""
    group = pair_id.split("/", 1)[0]
    percent = int(digest_bytes(group.encode()).removeprefix("b3:")[:16], 16) % 100
    if percent < split.extraction:
        return "extraction"
    return "tuning" if percent < split.extraction + split.tuning else "test"


def pairs_digest(pairs: Iterable[ContrastPair]) -> str:
    """Return the digest of pairs in their order."""
    return digest_parts(digest_json([pair.id, *_content(pair)]).encode() for pair in pairs)


def pair_mistakes(pair: ContrastPair) -> tuple[str, ...]:
    """Return what makes a pair unfit for reading a trait: sides that do not compare, turns out of place."""
    positive, negative = pair.positive, pair.negative
    roles = [message.get("role") for message in pair.messages]
    has_cue = positive.system is not None
    alike = (positive.reply is None) == (negative.reply is None) and has_cue == (negative.system is not None)
    mistakes = [
        (not roles or roles[-1] != "user", "messages: the last turn must be the user's"),
        ("system" in roles[1:], "messages: a system turn must come first"),
        (has_cue and "system" in roles[:1], "messages: holds a system turn, and the sides bring one as well"),
        (
            not alike,
            "positive and negative must both have a 'reply', or both a 'system' line, or both have both",
        ),
        (positive == negative == Side(), "positive and negative: got neither 'reply' nor 'system'"),
        (positive == negative != Side(), "positive and negative are the same: there is nothing to contrast"),
    ]
    return tuple(message for wrong, message in mistakes if wrong)


class Seen:
    """What earlier lines held, by digest of their words, to find repeats and leaks between parts.

    Neither ``prompt``, which all pairs may share, nor a reply that is the letter of a choice counts as one.
    """

    def __init__(self, split: Split, prompt: str | None = None) -> None:
        self._split = split
        self._prompt = prompt
        self._ids: dict[str, int] = {}
        self._pairs: dict[str, int] = {}
        self._texts: dict[tuple[str, str], tuple[int, Part]] = {}
        self._replies: dict[str, tuple[int, str]] = {}

    def mistakes(self, pair: ContrastPair, line: int) -> list[str]:
        """Return how ``pair`` repeats or leaks an earlier one, and remember it."""
        found = []
        first = self._ids.setdefault(pair.id, line)
        if first != line:
            found.append(f"id {pair.id!r} is taken by line {first}")
        first = self._pairs.setdefault(digest_json(_content(pair)), line)
        if first != line:
            found.append(f"the same pair as line {first}")
        part = part_of(pair.id, self._split)
        for kind, text in _texts(pair):
            if text == self._prompt or _LETTER.match(text):
                continue
            first, first_part = self._texts.setdefault((kind, _words_digest(text)), (line, part))
            if first_part != part:
                found.append(
                    f"the {kind} is that of line {first}, which is in the {first_part} part, while this pair "
                    f"is in the {part} part; give both ids one group (the same name before a '/')"
                )
        return found + self._swapped(pair, line)

    def _swapped(self, pair: ContrastPair, line: int) -> list[str]:
        found = []
        for name, side in (("positive", pair.positive), ("negative", pair.negative)):
            if side.reply is None or _LETTER.match(side.reply):
                continue
            first, first_name = self._replies.setdefault(_words_digest(side.reply), (line, name))
            if first_name != name:
                found.append(f"the {name} reply is the {first_name} reply of line {first}")
        return found


def _content(pair: ContrastPair) -> list[Any]:
    sides = [[side.reply, side.system] for side in (pair.positive, pair.negative)]
    return [[[message["role"], message["content"]] for message in pair.messages], *sides]


def _texts(pair: ContrastPair) -> Iterator[tuple[str, str]]:
    yield "conversation", "\n".join(message["content"] for message in pair.messages)
    for side in (pair.positive, pair.negative):
        if side.reply is not None:
            yield "reply", side.reply


def _words_digest(text: str) -> str:
    return digest_bytes(" ".join(_WORD.findall(text.casefold())).encode())
