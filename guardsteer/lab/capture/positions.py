"""Position rules: which tokens of a conversation are read, and whether one by one or as their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import re2

from guardsteer.core.signals import TextClassifier
from guardsteer.errors import VectorError
from guardsteer.host import Turn

__all__ = [
    "ASSISTANT_MEAN",
    "GENERATED_TOKENS",
    "LAST_PROMPT_TOKEN",
    "RULES",
    "Conversation",
    "PositionRule",
    "flagged_tokens",
    "matching_tokens",
]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation in tokens.

    ``prompt_end``: number of tokens before the answer, None where that was not asked for. ``turn``: the
    tokens of the assistant's last turn, None where there is none.
    """

    input_ids: Sequence[int]
    text: str
    prompt_end: int | None
    turn: Turn | None
    tokenizer: Any

    def spans(self) -> list[tuple[int, int]]:
        """Return where in ``text`` each token stands."""
        encoded = self.tokenizer(self.text, add_special_tokens=False, return_offsets_mapping=True)
        return [(int(first), int(end)) for first, end in encoded["offset_mapping"]]


Find: TypeAlias = Callable[[Conversation], Sequence[int]]


@dataclass(frozen=True, slots=True)
class PositionRule:
    """Positions to read in each conversation.

    ``each``: every position counts as a state of its own; else a conversation counts once, with the mean
    over its positions. ``of_reply``: the answer must be in the conversation; ``of_prompt``: the place where
    it begins must be known. ``find`` gives the positions, none where a conversation has no such token.
    """

    name: str
    find: Find
    each: bool = False
    of_reply: bool = True
    of_prompt: bool = False


def _turn(conversation: Conversation) -> Sequence[int]:
    turn = conversation.turn
    return () if turn is None else range(turn.first, turn.end)


def _last_prompt_token(conversation: Conversation) -> Sequence[int]:
    end = conversation.prompt_end
    return () if not end else (end - 1,)


LAST_PROMPT_TOKEN = PositionRule("last_prompt_token", _last_prompt_token, of_reply=False, of_prompt=True)
"""The position whose pass chooses the first token of the answer."""

ASSISTANT_MEAN = PositionRule("assistant_mean", _turn)
"""The mean over the assistant's last turn: long answers count as much as short ones."""

GENERATED_TOKENS = PositionRule("generated_tokens", _turn, each=True)
"""Every token of the assistant's last turn as a state of its own: long answers count for more."""

RULES = {rule.name: rule for rule in (LAST_PROMPT_TOKEN, ASSISTANT_MEAN, GENERATED_TOKENS)}
"""The rules that need no setting, by name."""


def matching_tokens(pattern: str) -> PositionRule:
    """Return the rule that reads each token of the answer that overlaps a match of ``pattern``.

    ``pattern`` is RE2's, which takes linear time. Raises ``VectorError`` for one that RE2 refuses.
    """
    try:
        compiled = re2.compile(pattern)
    except re2.error as error:
        raise VectorError(f"pattern {pattern!r}: RE2 refuses it: {error}") from error

    def find(conversation: Conversation) -> Sequence[int]:
        if conversation.turn is None:
            return ()
        spans = conversation.spans()
        matches = [match.span() for match in compiled.finditer(conversation.text)]
        return [
            token
            for token in range(conversation.turn.first, conversation.turn.end)
            if any(first < spans[token][1] and spans[token][0] < end for first, end in matches)
        ]

    return PositionRule(f"matching_tokens:{pattern}", find, each=True)


def flagged_tokens(
    name: str, classifier: TextClassifier, output: str, threshold: float = 0.5
) -> PositionRule:
    """Return the rule that reads each token of the answer after which ``classifier`` gives ``output`` a score
    of at least ``threshold``, having read the answer up to there, as it does at run time.

    Raises ``VectorError`` for an output that the classifier lacks.
    """
    if output not in classifier.outputs:
        raise VectorError(f"classifier {name!r}: no output {output!r}, only {', '.join(classifier.outputs)}")
    place = list(classifier.outputs).index(output)

    def find(conversation: Conversation) -> Sequence[int]:
        if conversation.turn is None:
            return ()
        spans, state, found = conversation.spans(), classifier.start(), []
        read = spans[conversation.turn.first][0]
        for token in range(conversation.turn.first, conversation.turn.end):
            state.push(conversation.text[read : spans[token][1]])
            read = max(read, spans[token][1])
            if state.scores()[place] >= threshold:
                found.append(token)
        return found

    return PositionRule(f"flagged_tokens:{name}.{output}>={threshold:g}", find, each=True)
