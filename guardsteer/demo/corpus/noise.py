"""Rough edges for training: words dropped, swapped, misspelt or foreign to the corpus.

Without them a word that training never showed looks unsafe to the model, since unsafe requests have the most
varied vocabulary of all tickets.
"""

from __future__ import annotations

import random
from collections.abc import Collection

__all__ = ["roughen"]

_FOREIGN = """
actually afternoon agree already although always apparently arrived article assistant available basically
because became before behind believe better between beyond brother busy button cannot careful certainly
chance change child choice city clearly coffee colleague company computer confused consider contract corner
correct country couple curious daily daughter decide definitely department describe different difficult
director during early either else email english enough entire especially evening event every example expect
experience explain extra fact family father favorite fellow final finally find forever forward friendly
funny further general garden gave given going happen hardly having health helpful holiday honestly hopefully
hotel however human idea imagine important information inside instead interest internet issue january july
just kitchen knew language later lately learn leave letter library likely little lunch machine main manner
matter maybe mean meeting mention minute moment monday monthly morning mother mostly music namely nature
nearby necessary network never normal nothing notice number obviously often online order other otherwise
outside over paper parents particular party perhaps personally phone picture plenty point possibly present
problem probably project properly purpose quickly quiet quite rather reach ready really reason receive
recently regarding regular remember responsible rest result river school season second seems several shop
short simply since sister situation slightly soon special spring station still story strange street student
summer supposed surprise table talk teacher telephone theater themselves therefore thing though through
tomorrow tonight together total tour town travel tried trouble tuesday twice type under university unless
until usually various version very village visit weather website wednesday weekend whatever whether window
winter without wonder world yesterday younger
"""
FOREIGN_WORDS = tuple(_FOREIGN.split())
DROP, SWAP, MISSPELL, REPLACE, INSERT = 0.05, 0.03, 0.05, 0.05, 0.04


def _misspell(word: str, rng: random.Random) -> str:
    if len(word) < 4:
        return word
    i = rng.randrange(1, len(word) - 1)
    way = rng.randrange(3)
    if way == 0:
        return word[:i] + word[i + 1 :]
    if way == 1:
        return word[:i] + word[i] + word[i:]
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _foreign(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(FOREIGN_WORDS)
    return "".join(rng.choice("bcdfglmnprstv") + rng.choice("aeiou") for _ in range(rng.randrange(2, 5)))


def roughen(text: str, keep: Collection[str], rng: random.Random) -> str:
    """Return ``text`` with some of its words changed; words whose bare lower-case form is in ``keep`` stay."""
    words: list[str] = []
    for word in text.split():
        if word.strip(".,?!").lower() in keep:
            words.append(word)
            continue
        draw = rng.random()
        if draw < DROP:
            continue
        draw -= DROP
        if draw < MISSPELL:
            words.append(_misspell(word, rng))
        elif draw < MISSPELL + REPLACE:
            words.append(_foreign(rng) + word[len(word.rstrip(".,?!")) :])
        elif draw < MISSPELL + REPLACE + INSERT:
            words += [_foreign(rng), word]
        elif (
            draw < MISSPELL + REPLACE + INSERT + SWAP
            and words
            and words[-1].strip(".,?!").lower() not in keep
        ):
            words.insert(-1, word)
        else:
            words.append(word)
    return " ".join(words) if words else text
