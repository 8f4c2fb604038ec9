"""What may make a direction that of something else than its trait: few pairs, lengths, words, gaps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Literal, get_args

from guardsteer.lab.pairs.contrast import FEWEST_PAIRS, ContrastPair, Part, Recipe, Side, part_of
from guardsteer.lab.pairs.near_copies import near_copies

__all__ = ["Finding", "check_recipe"]

Kind = Literal["few_pairs", "length", "word", "imbalance", "repeats", "near_leak", "coverage"]

ENOUGH_PAIRS = 500
"""From so many pairs on, more of them hardly turn a direction."""
_LONGER = 1.25
_SPREADS = 0.5
_TELLTALE = 0.6
_LARGEST_GROUP = 0.5
_REPEATED = 0.2
_FEWEST_TO_COUNT = 20
_LETTERS = 3
_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at before a vector is made of a recipe; none of it makes a recipe unusable."""

    kind: Kind
    message: str


def check_recipe(recipe: Recipe) -> tuple[Finding, ...]:
    """Return what is doubtful about a recipe that loads: confounds, imbalance, repeats, leaks, gaps.

    Fewer than ``FEWEST_PAIRS`` pairs, repeated pairs and text that is in two parts of the split are mistakes,
    which ``load_recipe`` refuses.
    """
    checks: tuple[Callable[[Recipe], Iterator[Finding]], ...] = (
        _few_pairs,
        _lengths,
        _words,
        _imbalance,
        _repeats,
        _near_leaks,
        _coverage,
    )
    return tuple(finding for check in checks for finding in check(recipe))


def _few_pairs(recipe: Recipe) -> Iterator[Finding]:
    if len(recipe.pairs) < ENOUGH_PAIRS:
        yield Finding(
            "few_pairs", f"{len(recipe.pairs)} pairs; {ENOUGH_PAIRS} or more make a steadier direction"
        )
    for part in get_args(Part):
        count = len(recipe.part(part))
        if count < FEWEST_PAIRS and getattr(recipe.split, part):
            yield Finding("few_pairs", f"{count} pairs in the {part} part, fewer than {FEWEST_PAIRS}")


def _lengths(recipe: Recipe) -> Iterator[Finding]:
    """Yield a finding where one side is longer by a quarter, or steadily so by half a standard deviation."""
    for what, text in (("replies", _reply), ("system lines", _system)):
        both = [
            (len(_words_of(text(pair.positive))), len(_words_of(text(pair.negative))))
            for pair in recipe.pairs
        ]
        both = [pair for pair in both if all(pair)]
        if len(both) < FEWEST_PAIRS:
            continue
        positive, negative = (mean(column) for column in zip(*both, strict=True))
        differences = [first - second for first, second in both]
        spread = pstdev(differences)
        ratio = max(positive, negative) / min(positive, negative)
        steady = abs(mean(differences)) > _SPREADS * spread and ratio > 1.1
        if ratio > _LONGER or steady:
            longer = "positive" if positive > negative else "negative"
            yield Finding(
                "length",
                f"the {longer} {what} are longer ({positive:.1f} words against {negative:.1f}): the "
                "direction will hold length as well",
            )


def _words(recipe: Recipe) -> Iterator[Finding]:
    """Yield the word that most gives a side away, where it is in most of one side and less of the other."""
    pairs = [pair for pair in recipe.pairs if pair.positive.reply and pair.negative.reply]
    if len(pairs) < _FEWEST_TO_COUNT:
        return
    counts = [
        Counter(word for pair in pairs for word in set(_words_of(_reply(side(pair)))))
        for side in (_positive, _negative)
    ]
    words = sorted(set(counts[0]) | set(counts[1]))
    shares = {word: (counts[0][word] - counts[1][word]) / len(pairs) for word in words}
    word = max(words, key=lambda word: abs(shares[word]), default="")
    if word and abs(shares[word]) > _TELLTALE:
        first, second = (100 * count[word] / len(pairs) for count in counts)
        yield Finding(
            "word",
            f"the word {word!r} is in {first:.0f} % of the positive replies and {second:.0f} % of the "
            "negative: the direction may be that word's",
        )


def _imbalance(recipe: Recipe) -> Iterator[Finding]:
    groups = Counter(pair.id.split("/", 1)[0] for pair in recipe.pairs)
    name, count = groups.most_common(1)[0] if groups else ("", 0)
    if len(groups) > 1 and count > _LARGEST_GROUP * len(recipe.pairs):
        yield Finding("imbalance", f"group {name!r} has {count} of {len(recipe.pairs)} pairs")
    letters = Counter(_reply(pair.positive).strip() for pair in recipe.pairs)
    letter, often = letters.most_common(1)[0] if letters else ("", 0)
    if 0 < len(letter) <= _LETTERS and often > 0.6 * len(recipe.pairs):
        yield Finding(
            "imbalance",
            f"the positive answer is {letter} in {often} of {len(recipe.pairs)} pairs: swap choices until no "
            "letter is the trait",
        )


def _repeats(recipe: Recipe) -> Iterator[Finding]:
    for name, side in (("positive", _positive), ("negative", _negative)):
        replies = [" ".join(_words_of(_reply(side(pair)))) for pair in recipe.pairs]
        replies = [reply for reply in replies if len(reply) > _LETTERS]
        repeated = len(replies) - len(set(replies))
        if replies and repeated > _REPEATED * len(replies):
            yield Finding("repeats", f"{repeated} of {len(replies)} {name} replies are repeats of another")


def _near_leaks(recipe: Recipe) -> Iterator[Finding]:
    """Yield how many texts to judge on are nearly one that the direction is read from or tuned on."""
    parts = {part: recipe.part(part) for part in get_args(Part)}
    for part, earlier in (("tuning", ("extraction",)), ("test", ("extraction", "tuning"))):
        seen = [pair for name in earlier for pair in parts[name]]
        for what, texts in (("conversations", _conversations), ("replies", _replies)):
            held, others = texts(parts[part], recipe.prompt), texts(seen, recipe.prompt)
            found = near_copies([text for _, text in held], [text for _, text in others])
            if found:
                closest = max(found, key=lambda copy: copy.resemblance)
                first, second = held[closest.place][0], others[closest.other][0]
                yield Finding(
                    "near_leak",
                    f"{len(found)} of {len(held)} {what} of the {part} part are nearly those of an earlier "
                    f"part (closest: {first} and {second}, resemblance {closest.resemblance:.2f}): figures "
                    "on it flatter; give such pairs one group, the same name before a '/'",
                )


def _conversations(pairs: Sequence[ContrastPair], shared: str | None) -> list[tuple[str, str]]:
    texts = [(pair.id, "\n".join(message["content"] for message in pair.messages)) for pair in pairs]
    return [(name, text) for name, text in texts if text != shared]


def _replies(pairs: Sequence[ContrastPair], shared: str | None) -> list[tuple[str, str]]:  # noqa: ARG001  # the signature of a check
    sides = [(pair.id, _reply(side)) for pair in pairs for side in (pair.positive, pair.negative)]
    # The letter of a choice is an answer that many pairs share without leaking anything.
    return [(name, text) for name, text in sides if len(text.strip()) > _LETTERS]


def _coverage(recipe: Recipe) -> Iterator[Finding]:
    for key in sorted({key for pair in recipe.pairs for key in pair.labels}):
        without = sum(key not in pair.labels for pair in recipe.pairs)
        if without:
            yield Finding("coverage", f"{without} of {len(recipe.pairs)} pairs have no label {key!r}")
        for value in sorted({pair.labels[key] for pair in recipe.pairs if key in pair.labels}):
            chosen = [pair for pair in recipe.pairs if pair.labels.get(key) == value]
            yield from _gaps(recipe, f"{key} {value!r}", chosen)


def _gaps(recipe: Recipe, what: str, pairs: Sequence[ContrastPair]) -> Iterator[Finding]:
    counts = Counter(part_of(pair.id, recipe.split) for pair in pairs)
    if counts["extraction"] < FEWEST_PAIRS:
        yield Finding(
            "coverage", f"{what}: {counts['extraction']} pairs to extract from, fewer than {FEWEST_PAIRS}"
        )
    missing = [part for part in ("tuning", "test") if getattr(recipe.split, part) and not counts[part]]
    if missing:
        yield Finding(
            "coverage", f"{what}: no pair in the {' and the '.join(missing)} part, so it is not judged"
        )


def _words_of(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _reply(side: Side) -> str:
    return side.reply or ""


def _system(side: Side) -> str:
    return side.system or ""


def _positive(pair: ContrastPair) -> Side:
    return pair.positive


def _negative(pair: ContrastPair) -> Side:
    return pair.negative
