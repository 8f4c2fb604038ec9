"""A tiny template grammar: ``[a|b|]`` picks one alternative and ``{slot}`` is filled afterwards."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

__all__ = ["count_forms", "fill", "forms", "pick", "sentence_case", "with_article"]

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SENTENCE_START = re.compile(r"(^|[.!?] )([a-z])")
_VOWEL_SOUNDS = frozenset("aeiou")


@lru_cache(maxsize=4096)
def _parts(template: str) -> tuple[tuple[str, ...], ...]:
    pieces = _CHOICE.split(template)
    return tuple((text,) if i % 2 == 0 else tuple(text.split("|")) for i, text in enumerate(pieces))


def sentence_case(text: str) -> str:
    """Return ``text`` with single spaces and a capital at the start of each sentence."""
    text = " ".join(text.split()).replace(" ,", ",").replace(" .", ".").replace(" ?", "?").replace(" !", "!")
    return _SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def with_article(noun: str) -> str:
    """Return ``noun`` with its indefinite article."""
    return f"{'an' if noun[0].lower() in _VOWEL_SOUNDS else 'a'} {noun}"


def _expand(template: str, rng: random.Random) -> str:
    return "".join(rng.choice(options) for options in _parts(template))


def fill(template: str, rng: random.Random, slots: Mapping[str, str] | None = None) -> str:
    """Return one random form of ``template`` with its slots filled, in sentence case."""
    text = _expand(template, rng)
    return sentence_case(text.format_map(slots) if slots else text)


def pick(templates: Sequence[str], rng: random.Random, slots: Mapping[str, str] | None = None) -> str:
    """Return one random form of one random template."""
    return fill(rng.choice(templates), rng, slots)


def forms(templates: Sequence[str]) -> Iterator[str]:
    """Yield every form of every template, slots left open, in sentence case."""
    for template in templates:
        for parts in itertools.product(*_parts(template)):
            yield sentence_case("".join(parts))


def count_forms(templates: Sequence[str]) -> int:
    """Return how many forms the templates have together, counting repeats."""
    total = 0
    for template in templates:
        product = 1
        for options in _parts(template):
            product *= len(options)
        total += product
    return total
