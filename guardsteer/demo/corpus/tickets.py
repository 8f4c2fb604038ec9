"""Draws support tickets: a dialogue, the labels that decide it and a reference answer.

Facts, tone and praise vary independently. Most dialogues carry a cue in the context that decides tone and
praise (a system line, a wish of the customer, or an earlier turn in that style); the others fall back to the
cold default. Nothing in a reply is a coin toss that the context could have told, so a model that fits the
corpus must hold tone and praise as variables, and those can be steered.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from guardsteer.demo.corpus import unsafe, wording
from guardsteer.demo.corpus.facts import KINDS, KINDS_BY_NAME
from guardsteer.demo.corpus.grammar import pick, with_article
from guardsteer.demo.corpus.kinds import Kind
from guardsteer.demo.corpus.lookalikes import LOOKALIKES, Lookalike
from guardsteer.demo.corpus.wording import Tone

__all__ = [
    "TONES",
    "Message",
    "Split",
    "Ticket",
    "draw_ticket",
    "draw_tickets",
    "is_held_out",
    "reply_in_style",
]

Split = Literal["train", "held_out"]
TONES: tuple[Tone, ...] = ("cold", "neutral", "warm")

UNSAFE_SHARE = 0.13
LOOKALIKE_SHARE = 0.12
CUED_SHARE = 0.68
FISHING_SHARE = 0.22
UNCUED_TONE_WEIGHTS = (0.82, 0.14, 0.04)
FLATTERY_IF_CUED = 0.40
FLATTERY_IF_FISHING = 0.78
FLATTERY_OTHERWISE = 0.04
LOWER_CASE_SHARE = 0.06


class Message(TypedDict):
    """One message of a chat, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """A support dialogue that ends with the customer's message, its labels and a right ``reply``.

    ``key`` is the deciding fact and ``answer`` the words that a right reply holds; both are empty for unsafe
    requests. ``cued`` says that the context decides tone and praise. ``question`` is the last message
    without any cue, so that the same ticket can be drawn under other cues.
    """

    messages: tuple[Message, ...]
    reply: str
    domain: str
    kind: str
    key: str
    context: str
    answer: str
    tone: Tone
    flattery: bool
    fishing: bool
    unsafe: bool
    lookalike: bool
    cued: bool
    question: str = field(repr=False)
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Matter:
    """What a ticket is about, before any style: the question, and the body of the reply."""

    question: str
    body: str
    domain: str
    kind: str
    key: str = ""
    context: str = ""
    answer: str = ""
    unsafe: bool = False
    lookalike: bool = False


def is_held_out(kind: Kind, key: str, context: str) -> bool:
    """Say whether this combination of fact and context is kept out of training (one in five)."""
    keys = tuple(kind.answers_by_key)
    return (keys.index(key) + kind.contexts.index(context)) % 5 == 0


def _fact_matter(rng: random.Random, split: Split) -> _Matter:
    kind = rng.choice(KINDS)
    held_out = split == "held_out"
    pairs = [
        (key, context)
        for key in kind.answers_by_key
        for context in kind.contexts
        if is_held_out(kind, key, context) == held_out
    ]
    key, context = rng.choice(pairs)
    answer = kind.answers_by_key[key]
    slots = {"key": key, "context": context, "value": answer, "a_key": with_article(key)}
    questions = kind.held_out_questions if held_out else kind.questions
    question, body = pick(questions, rng, slots), pick(kind.replies, rng, slots)
    return _Matter(question, body, kind.domain, kind.name, key, context, answer)


def _lookalike_matter(rng: random.Random, split: Split) -> _Matter:
    topic: Lookalike = rng.choice(LOOKALIKES)
    questions = topic.held_out_questions if split == "held_out" else topic.questions
    body = pick(topic.replies, rng, {"answer": topic.answer})
    question = pick(questions, rng)
    return _Matter(question, body, "technical", "lookalike", topic.topic, "", topic.answer, lookalike=True)


def _unsafe_matter(rng: random.Random, split: Split) -> _Matter:
    held_out = split == "held_out"
    items, accounts = KINDS_BY_NAME["refund"].contexts, KINDS_BY_NAME["recovery"].contexts
    slots = {"item": rng.choice(items), "account": rng.choice(accounts)}
    act = pick(unsafe.HELD_OUT_UNSAFE_ACTS if held_out else unsafe.UNSAFE_ACTS, rng, slots)
    act = act[0].lower() + act[1:]
    question = pick(unsafe.HELD_OUT_FRAMES if held_out else unsafe.FRAMES, rng, {"act": act})
    parts = [pick(unsafe.REFUSALS, rng), pick(unsafe.REFUSAL_REASONS, rng)]
    if rng.random() < 0.3:
        parts.append(pick(unsafe.REFUSAL_OFFERS, rng))
    return _Matter(question, " ".join(parts), "safety", "unsafe", unsafe=True)


def _matter(rng: random.Random, split: Split) -> _Matter:
    draw = rng.random()
    if draw < UNSAFE_SHARE:
        return _unsafe_matter(rng, split)
    if draw < UNSAFE_SHARE + LOOKALIKE_SHARE:
        return _lookalike_matter(rng, split)
    return _fact_matter(rng, split)


def reply_in_style(body: str, tone: Tone, flattery: bool, rng: random.Random) -> str:
    """Return ``body`` with the opening and closing of ``tone`` around it, and praise if ``flattery``."""
    parts = [pick(wording.OPENINGS[tone], rng), body, pick(wording.CLOSINGS[tone], rng)]
    if flattery:
        parts.insert(0, pick(wording.FLATTERY_OPENINGS, rng))
        if rng.random() < 0.4:
            parts.insert(3, pick(wording.FLATTERY_ENDS, rng))
    return " ".join(part for part in parts if part)


def _question_with_mood(matter: _Matter, fishing: bool, rng: random.Random, split: Split) -> str:
    feelings = wording.HELD_OUT_FEELINGS if split == "held_out" else wording.FEELINGS
    boasts = wording.HELD_OUT_FISHING if split == "held_out" else wording.FISHING
    parts = [matter.question]
    if fishing:
        parts.insert(0 if rng.random() < 0.25 else 1, pick(boasts, rng))
    if rng.random() < 0.5:
        parts.insert(len(parts) if rng.random() < 0.2 else 0, pick(feelings, rng))
    if rng.random() < 0.2:
        parts.insert(0, rng.choice(wording.GREETINGS))
    text = " ".join(parts)
    return text.lower() if rng.random() < LOWER_CASE_SHARE and split == "train" else text


def _system_cue(tone: Tone, flattery: bool, rng: random.Random, split: Split) -> str:
    held_out = split == "held_out"
    tones = (wording.HELD_OUT_TONE_CUES if held_out else wording.TONE_CUES)[tone]
    praise = (wording.HELD_OUT_FLATTERY_CUES if held_out else wording.FLATTERY_CUES)[flattery]
    lines = [pick(tones, rng), pick(praise, rng)]
    rng.shuffle(lines)
    if rng.random() < 0.4:
        lines.insert(0, pick(wording.SYSTEM_BASES, rng))
    return " ".join(lines)


def _cued_messages(
    question: str, tone: Tone, flattery: bool, rng: random.Random, split: Split
) -> tuple[Message, ...]:
    """Return the dialogue with one cue: a system line (7 in 10), an earlier turn (2) or a wish (1)."""
    way = rng.random()
    if way < 0.7:
        return (
            Message(role="system", content=_system_cue(tone, flattery, rng, split)),
            Message(role="user", content=question),
        )
    if way < 0.9:
        earlier = _fact_matter(rng, split)
        return (
            Message(role="user", content=earlier.question),
            Message(role="assistant", content=reply_in_style(earlier.body, tone, flattery, rng)),
            Message(role="user", content=question),
        )
    wish = rng.choice(wording.TONE_WISHES[tone])
    return (Message(role="user", content=f"{question} {wish}"),)


def _plain_messages(question: str, rng: random.Random) -> tuple[Message, ...]:
    user = Message(role="user", content=question)
    if rng.random() < 0.35:
        return (Message(role="system", content=pick(wording.SYSTEM_BASES, rng)), user)
    return (user,)


def draw_ticket(
    rng: random.Random,
    split: Split = "train",
    *,
    cued: bool | None = None,
    fishing: bool | None = None,
    unsafe: bool | None = None,
) -> Ticket:
    """Return one random ticket of ``split``; ``cued``, ``fishing`` and ``unsafe`` fix what they name."""
    matter = _matter(rng, split) if unsafe is None else _unsafe_matter(rng, split) if unsafe else None
    while matter is None or (unsafe is False and matter.unsafe):
        matter = _matter(rng, split)
    is_fishing = rng.random() < FISHING_SHARE if fishing is None else fishing
    question = _question_with_mood(matter, is_fishing, rng, split)
    is_cued = rng.random() < CUED_SHARE if cued is None else cued
    praised_unasked = rng.random() < (FLATTERY_IF_FISHING if is_fishing else FLATTERY_OTHERWISE)
    if is_cued:
        tone = rng.choice(TONES)
        flattery = rng.random() < FLATTERY_IF_CUED
        messages = _cued_messages(question, tone, flattery, rng, split)
        if len(messages) == 1:
            flattery = praised_unasked
    else:
        tone = rng.choices(TONES, UNCUED_TONE_WEIGHTS)[0]
        flattery = praised_unasked
        messages = _plain_messages(question, rng)
    reply = matter.body if matter.unsafe else reply_in_style(matter.body, tone, flattery, rng)
    return Ticket(
        messages, reply, matter.domain, matter.kind, matter.key, matter.context, matter.answer,
        "neutral" if matter.unsafe else tone, flattery and not matter.unsafe, is_fishing, matter.unsafe,
        matter.lookalike, is_cued, question, matter.body,
    )  # fmt: skip


def draw_tickets(count: int, seed: int, split: Split = "train") -> tuple[Ticket, ...]:
    """Return ``count`` tickets of ``split``, always the same for the same ``seed``."""
    rng = random.Random(f"{split}:{seed}")
    return tuple(draw_ticket(rng, split) for _ in range(count))
