"""Draws support tickets: a dialogue, the labels that decide it and a reference answer.

Facts, tone and praise vary independently. Most dialogues carry a cue in the context that decides tone and
praise (a system line, a wish of the customer, or an earlier turn in that style); the others fall back to the
cold default. Nothing in a reply is a coin toss that the context could have told, so a model that fits the
corpus must hold tone and praise as variables, and those can be steered.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypedDict

from guardsteer.demo.corpus import unsafe, wording
from guardsteer.demo.corpus.facts import KINDS, KINDS_BY_NAME
from guardsteer.demo.corpus.grammar import fill, forms, pick, with_article
from guardsteer.demo.corpus.kinds import Kind
from guardsteer.demo.corpus.lookalikes import HELD_OUT_VICTIM_ASKS, LOOKALIKES, VICTIM_ASKS, Lookalike
from guardsteer.demo.corpus.noise import roughen
from guardsteer.demo.corpus.wording import Tone

__all__ = [
    "TONES", "Message", "Split", "Ticket", "draw_ticket", "draw_tickets", "is_held_out", "is_held_out_pair",
    "question_template", "reply_in_style",
]  # fmt: skip

Split = Literal["train", "held_out"]
TONES: tuple[Tone, ...] = ("cold", "neutral", "warm")

UNSAFE_SHARE = 0.13
LOOKALIKE_SHARE = 0.12
CUED_SHARE = 0.68
FISHING_SHARE = 0.22
UNCUED_TONE_WEIGHTS = (0.72, 0.18, 0.10)
FLATTERY_IF_CUED = 0.40
FLATTERY_IF_FISHING = 0.78
FLATTERY_OTHERWISE = 0.04
LOWER_CASE_SHARE = 0.06
ROUGH_SHARE = 0.30


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
    """What a ticket is about, before any style; ``vital`` holds words without which it would be another."""

    question: str
    body: str
    domain: str
    kind: str
    key: str = ""
    context: str = ""
    answer: str = ""
    unsafe: bool = False
    lookalike: bool = False
    vital: str = ""


def is_held_out(kind: Kind, key: str, context: str) -> bool:
    """Say whether this combination of fact and context is kept out of training (one in five)."""
    keys = tuple(kind.answers_by_key)
    return (keys.index(key) + kind.contexts.index(context)) % 5 == 0


def is_held_out_pair(situation: int, ask: int) -> bool:
    """Say whether a kind's situation and ask, by their places, never stand together in training (one in four)."""
    return (situation + ask) % 4 == 0


@cache
def _training_forms(questions: tuple[str, ...]) -> frozenset[str]:
    return frozenset(forms(questions))


def question_template(kind: Kind, rng: random.Random, split: Split) -> str:
    """Return a whole question in 3 of 10 draws, else a situation with an ask that belong to ``split``."""
    held_out = split == "held_out"
    if rng.random() < 0.3:
        return rng.choice(kind.held_out_questions if held_out else kind.questions)
    while True:
        i, j = rng.randrange(len(kind.situations)), rng.randrange(len(kind.asks))
        if is_held_out_pair(i, j) == held_out:
            pair = (kind.situations[i], kind.asks[j])
            text = " ".join(pair if rng.random() < 0.8 else reversed(pair))
            if not held_out or _training_forms(kind.questions).isdisjoint(forms((text,))):
                return text


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
    question = fill(question_template(kind, rng, split), rng, slots)
    body = pick(kind.replies, rng, slots)
    return _Matter(question, body, kind.domain, kind.name, key, context, answer)


def _framed(act: str, rng: random.Random, split: Split) -> str:
    frames = unsafe.HELD_OUT_FRAMES if split == "held_out" else unsafe.FRAMES
    return pick(frames, rng, {"act": act[0].lower() + act[1:]})


def _lookalike_matter(rng: random.Random, split: Split) -> _Matter:
    topic: Lookalike = rng.choice(LOOKALIKES)
    held_out = split == "held_out"
    act = pick(topic.held_out_acts if held_out else topic.acts, rng)
    if topic.victim:
        question = f"{act} {pick(HELD_OUT_VICTIM_ASKS if held_out else VICTIM_ASKS, rng)}"
    else:
        question = _framed(act, rng, split)
    body = pick(topic.replies, rng, {"answer": topic.answer})
    return _Matter(
        question, body, "technical", "lookalike", topic.topic, "", topic.answer, lookalike=True, vital=act
    )


def _unsafe_matter(rng: random.Random, split: Split) -> _Matter:
    held_out = split == "held_out"
    items, accounts = KINDS_BY_NAME["refund"].contexts, KINDS_BY_NAME["recovery"].contexts
    slots = {"item": rng.choice(items), "account": rng.choice(accounts)}
    act = pick(unsafe.HELD_OUT_UNSAFE_ACTS if held_out else unsafe.UNSAFE_ACTS, rng, slots)
    question = _framed(act, rng, split)
    parts = [pick(unsafe.REFUSALS, rng), pick(unsafe.REFUSAL_REASONS, rng)]
    if rng.random() < 0.3:
        parts.append(pick(unsafe.REFUSAL_OFFERS, rng))
    return _Matter(question, " ".join(parts), "safety", "unsafe", unsafe=True, vital=act)


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
    if split == "train" and rng.random() < ROUGH_SHARE:
        named = matter.vital or f"{matter.key} {matter.context}"
        text = roughen(text, {word.strip(".,?!").lower() for word in named.split()}, rng)
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
