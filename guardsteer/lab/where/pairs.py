"""What a trace compares: two prompts that differ in a cue alone, and the same two replies after either.

The cue is a pair's system line. For pairs without one it is an earlier reply: the conversation of another
pair, answered with the trait or without it, goes before, so that the replies that are compared are not
the cue itself and what is restored is the trait, not the wording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import TurnsError, VectorError
from guardsteer.host import RenderedChat, render_chat
from guardsteer.lab.pairs.contrast import ContrastPair, Side

__all__ = ["GENERATED", "SIDES", "Couple", "Cue", "Segment", "couples", "cue_of"]

Cue: TypeAlias = Literal["system", "history"]
SIDES = (0, 1)
"""Places of what is positive and what is negative in every pair of values here."""

GENERATED = "generated tokens"


@dataclass(frozen=True, slots=True)
class Segment:
    """Positions of both prompts that answer to each other: ``positions[side][i]``, as many on both sides."""

    name: str
    positions: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Couple:
    """Two prompts and two replies in token ids, positive first; ``segments`` are of the prompts."""

    id: str
    prompts: tuple[tuple[int, ...], tuple[int, ...]]
    replies: tuple[tuple[int, ...], tuple[int, ...]]
    segments: tuple[Segment, ...]

    def positions(self, name: str, reply: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the positions of a segment on both sides, where ``replies[reply]`` follows both prompts."""
        if name == GENERATED:
            length = len(self.replies[reply])
            first, second = (tuple(range(len(p), len(p) + length)) for p in self.prompts)
            return first, second
        return next((each.positions for each in self.segments if each.name == name), ((), ()))


def cue_of(pairs: Sequence[ContrastPair]) -> Cue:
    """Return what tells the sides apart: their system lines where all have them, else an earlier reply."""
    lines = [pair.positive.system is not None and pair.positive != pair.negative for pair in pairs]
    return "system" if lines and all(lines) else "history"


def couples(
    tokenizer: Any, pairs: Sequence[ContrastPair], cue: Cue, *, last: int = 0, longest: int | None = None
) -> tuple[tuple[Couple, ...], tuple[str, ...]]:
    """Return what is compared for ``pairs``, and why some were left out.

    ``last``: so many tokens at the end of the prompt get a segment each, as far as both prompts agree in
    them: the very last, and ``-2``, ``-3`` and so on. ``longest``: the most tokens that the model takes;
    longer couples are left out. Under ``history`` each pair's cue is the conversation of the pair before it
    in the order of the digests of their ids.
    Raises ``VectorError`` where a pair has no replies to compare or no cue, ``TurnsError`` for one that the
    chat template cannot render.
    """
    _check(pairs, cue)
    shuffled = sorted(pairs, key=lambda pair: digest_bytes(pair.id.encode()))
    found: list[Couple] = []
    left_out: list[str] = []
    for place, pair in enumerate(shuffled):
        try:
            couple = _couple(tokenizer, pair, shuffled[place - 1], cue, last)
        except TurnsError as error:
            raise TurnsError(f"pair {pair.id!r}: {error}") from error
        sizes = [len(p) + len(r) for p in couple.prompts for r in couple.replies]
        if couple.prompts[0] == couple.prompts[1]:
            left_out.append(f"{pair.id}: the chat template leaves the cue out")
        elif longest is not None and max(sizes) > longest:
            left_out.append(f"{pair.id}: {max(sizes)} tokens with its cue, but the model takes {longest}")
        else:
            found.append(couple)
    return tuple(found), tuple(left_out)


def _check(pairs: Sequence[ContrastPair], cue: Cue) -> None:
    for pair in pairs:
        if pair.positive.reply is None or pair.negative.reply is None:
            raise VectorError(f"pair {pair.id!r}: a trace compares replies, and its sides have none")
        if pair.positive.reply == pair.negative.reply:
            raise VectorError(f"pair {pair.id!r}: both sides have one reply: there is nothing to compare")
        if cue == "system" and pair.positive.system == pair.negative.system:
            raise VectorError(
                f"pair {pair.id!r}: its sides have no different system lines; use cue 'history'"
            )


def _couple(tokenizer: Any, pair: ContrastPair, before: ContrastPair, cue: Cue, last: int) -> Couple:
    chats = [_chat(pair, before, side, cue) for side in SIDES]
    prompts = [render_chat(tokenizer, chat) for chat in chats]
    replies = [_reply(tokenizer, chats[0], prompts[0], side.reply or "") for side in _sides(pair)]
    return Couple(
        id=pair.id,
        prompts=(tuple(prompts[0].input_ids), tuple(prompts[1].input_ids)),
        replies=(replies[0], replies[1]),
        segments=tuple(_segments(prompts[0], prompts[1], _cue_turn(before, cue), last)),
    )


def _chat(pair: ContrastPair, before: ContrastPair, side: int, cue: Cue) -> list[dict[str, str]]:
    if cue == "system":
        return pair.chat(_sides(pair)[side], with_reply=False)
    earlier = before.chat(Side(reply=_sides(before)[side].reply), with_reply=True)
    own = pair.chat(Side(), with_reply=False)
    # A template takes one system line, at the beginning.
    return [*earlier, *(turn for turn in own if turn["role"] != "system")]


def _cue_turn(before: ContrastPair, cue: Cue) -> tuple[str, int]:
    """Return the role of the cue's turn, and how many turns of this role precede it."""
    if cue == "system":
        return "system", 0
    return "assistant", sum(turn["role"] == "assistant" for turn in before.messages)


def _sides(pair: ContrastPair) -> tuple[Side, Side]:
    return pair.positive, pair.negative


def _reply(
    tokenizer: Any, chat: Sequence[dict[str, str]], prompt: RenderedChat, reply: str
) -> tuple[int, ...]:
    """Return the tokens of ``reply`` as they follow ``prompt``, with the turn's end token where marked."""
    messages = [*chat, {"role": "assistant", "content": reply}]
    whole = render_chat(tokenizer, messages, add_generation_prompt=False)
    start = len(prompt.input_ids)
    turn = whole.turns[-1] if whole.turns else None
    if turn is None or turn.end <= start or whole.input_ids[:start] != prompt.input_ids:
        raise VectorError(
            f"under this chat template the prompt is not the beginning of the chat with the reply "
            f"{reply!r:.60}, so that one reply cannot be scored after two prompts; use a template that only "
            "appends"
        )
    return tuple(whole.input_ids[start : turn.end])


def _segments(
    positive: RenderedChat, negative: RenderedChat, cue: tuple[str, int], last: int
) -> Iterator[Segment]:
    sides = (positive, negative)
    places = [_places(chat, cue) for chat in sides]
    for name in places[0]:
        first, second = (place[name] for place in places)
        # From the end: what differs in length differs at the front of a cue, and what follows it is alike.
        length = min(len(first), len(second))
        if length:
            yield Segment(name, (tuple(first[-length:]), tuple(second[-length:])))
    ids = [chat.input_ids for chat in sides]
    # The very last has its segment already.
    for back in range(min(last, len(ids[0]), len(ids[1])), 1, -1):
        if ids[0][-back:] == ids[1][-back:]:
            yield Segment(f"-{back}", ((len(ids[0]) - back,), (len(ids[1]) - back,)))


def _places(chat: RenderedChat, cue: tuple[str, int]) -> dict[str, range]:
    """Return the tokens of one prompt by what they are; a turn counts with the marks before it."""
    role, number = cue
    told = next(iter([turn for turn in chat.turns if turn.role == role][number:]), None)
    user, end = chat.turns[-1], len(chat.input_ids)
    if told is None or told.end > user.first:
        return {}
    between = chat.turns[-2].end
    return {
        "cue": range(told.first, told.end),
        "turns between": range(told.end, between),
        "user message": range(between, user.end),
        "template tail": range(user.end, end - 1),
        "last prompt token": range(end - 1, end),
    }
