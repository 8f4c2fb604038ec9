"""Conversations made ready to be read: token ids, and the positions that each position rule asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardsteer.core.digests import digest_bytes
from guardsteer.errors import TurnsError, VectorError
from guardsteer.host import RenderedChat, render_chat
from guardsteer.lab.capture.positions import Conversation, PositionRule
from guardsteer.lab.pairs.contrast import ContrastPair, Side

__all__ = ["NEGATIVE", "POSITIVE", "Array", "Preparer", "Reading"]

POSITIVE, NEGATIVE = 0, 1
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reading:
    """One side of one pair, or one text: token ids, and the positions to read for each position rule.

    ``pair`` is its place among all pairs; ``half`` (0 or 1) is the same for both sides of a pair.
    """

    input_ids: Sequence[int]
    positions: tuple[Sequence[int], ...]
    side: int
    half: int
    pair: int


@dataclass(frozen=True, slots=True)
class Preparer:
    """Makes readings of pairs and texts for ``rules``; ``longest``: the most tokens that the model takes."""

    tokenizer: Any
    rules: tuple[PositionRule, ...]
    longest: int | None

    def pairs(self, pairs: Iterable[tuple[int, ContrastPair]]) -> Iterator[Reading]:
        """Yield both sides of each numbered pair.

        Raises ``VectorError`` for a pair that does not fit the model or lacks what a rule reads, and
        ``TurnsError`` for one that the chat template cannot render.
        """
        for place, pair in pairs:
            half = int(digest_bytes(pair.id.encode())[-1], 16) % 2
            for number, side in ((POSITIVE, pair.positive), (NEGATIVE, pair.negative)):
                conversation = self._conversation(pair, side)
                self._check_length(f"pair {pair.id!r}", conversation.input_ids, "shorten the pair")
                positions = tuple(rule.find(conversation) for rule in self.rules)
                yield Reading(conversation.input_ids, positions, number, half, place)

    def texts(self, texts: Iterable[str], side: int = NEGATIVE) -> Iterator[Reading]:
        """Yield plain texts, read everywhere by every rule but at the first token, where attention is parked.

        Texts of fewer than two tokens are left out.
        """
        for place, text in enumerate(texts):
            input_ids = list(self.tokenizer(text)["input_ids"])
            self._check_length(f"text {place}", input_ids, "cut it")
            if len(input_ids) > 1:
                everywhere = range(1, len(input_ids))
                yield Reading(input_ids, tuple(everywhere for _ in self.rules), side, place % 2, place)

    def _check_length(self, what: str, input_ids: Sequence[int], advice: str) -> None:
        if self.longest is not None and len(input_ids) > self.longest:
            raise VectorError(
                f"{what}: {len(input_ids)} tokens, but the model takes {self.longest}; {advice}"
            )

    def _conversation(self, pair: ContrastPair, side: Side) -> Conversation:
        of_reply = any(rule.of_reply for rule in self.rules)
        of_prompt = any(rule.of_prompt for rule in self.rules)
        chat = self._render(pair, side, with_reply=of_reply)
        if not of_reply:
            return Conversation(chat.input_ids, chat.text, len(chat.input_ids), None, self.tokenizer)
        turn = chat.turns[-1] if chat.turns else None
        if turn is None or turn.role != "assistant" or turn.end <= turn.first:
            raise VectorError(
                f"pair {pair.id!r}: the reply has no tokens of its own under this chat template"
            )
        prompt_end = None
        if of_prompt:
            prompt = self._render(pair, side, with_reply=False).input_ids
            prompt_end = len(prompt)
            if chat.input_ids[:prompt_end] != prompt:
                raise VectorError(
                    f"pair {pair.id!r}: under this chat template the prompt is not the beginning of the chat "
                    "with its reply, so one pass cannot serve both; read last_prompt_token alone"
                )
        return Conversation(chat.input_ids, chat.text, prompt_end, turn, self.tokenizer)

    def _render(self, pair: ContrastPair, side: Side, *, with_reply: bool) -> RenderedChat:
        messages = pair.chat(side, with_reply=with_reply)
        try:
            return render_chat(self.tokenizer, messages, add_generation_prompt=not with_reply)
        except TurnsError as error:
            raise TurnsError(f"pair {pair.id!r}: {error}") from error
