"""The recipes that ship: each loads, is large and balanced enough, and repeats neither itself nor another."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import mean

import pytest

from guardsteer.lab.pairs.contrast import ContrastPair, Recipe
from guardsteer.lab.recipes.checks import check_recipe
from guardsteer.lab.recipes.recipe import load_recipe

VECTORS = Path(__file__).resolve().parents[3] / "vectors"
AUTHORED = (
    "empathy",
    "sycophancy",
    "refusal",
    "formality",
    "concision",
    "confidence",
    "pessimism",
    "step-by-step",
    "python-evangelist",
    "faithfulness",
)
LENGTH_IS_THE_TRAIT = {"concision"}


@cache
def shipped(name: str) -> Recipe:
    return load_recipe(VECTORS / name)


def replies(pair: ContrastPair) -> tuple[str, str]:
    assert pair.positive.reply is not None
    assert pair.negative.reply is not None
    return pair.positive.reply, pair.negative.reply


def opening(text: str, words: int) -> str:
    return " ".join(re.findall(r"[\w']+", text.casefold())[:words])


def overlap(first: str, second: str) -> float:
    one, other = (set(re.findall(r"[\w']+", text.casefold())) for text in (first, second))
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("name", AUTHORED)
def test_a_recipe_has_64_pairs_in_eight_domains_and_pairs_in_every_part(name: str) -> None:
    recipe = shipped(name)
    assert len(recipe.pairs) >= 64
    assert len({pair.id.rsplit("-", 1)[0] for pair in recipe.pairs}) >= 8
    assert min(len(recipe.part(part)) for part in ("extraction", "tuning", "test")) >= 8


@pytest.mark.parametrize("name", [name for name in AUTHORED if name not in LENGTH_IS_THE_TRAIT])
def test_the_sides_of_a_recipe_are_about_equally_long(name: str) -> None:
    ratios = [len(positive) / len(negative) for positive, negative in map(replies, shipped(name).pairs)]
    assert 0.88 <= mean(ratios) <= 1.12
    assert min(ratios) >= 0.70
    assert max(ratios) <= 1.45


@pytest.mark.parametrize("name", AUTHORED)
def test_no_sentence_of_a_recipe_is_another_with_a_word_changed(name: str) -> None:
    sides = list(zip(*map(replies, shipped(name).pairs), strict=True))
    for texts in sides:
        assert max(Counter(opening(text, 4) for text in texts).values()) <= 3
        close = [
            (first, second)
            for place, first in enumerate(texts)
            for second in texts[:place]
            if overlap(first, second) > 0.5
        ]
        assert close == []


def test_no_answer_is_in_two_recipes() -> None:
    counted = Counter(
        text for name in AUTHORED for pair in shipped(name).pairs for text in set(replies(pair))
    )
    assert [text for text, times in counted.items() if times > 1] == []


@pytest.mark.parametrize("name", AUTHORED)
def test_the_page_of_a_recipe_names_its_pairs(name: str) -> None:
    page = (VECTORS / name / "README.md").read_text(encoding="utf-8")
    recipe = shipped(name)
    parts = [len(recipe.part(part)) for part in ("extraction", "tuning", "test")]
    assert f"| Pairs | {len(recipe.pairs)}, written for this project" in page
    assert f"({parts[0]}, {parts[1]} and {parts[2]} pairs)" in page
    lengths = [round(mean(map(len, side))) for side in zip(*map(replies, recipe.pairs), strict=True)]
    assert f"{lengths[0]} and {lengths[1]} characters on average" in page


@pytest.mark.parametrize("name", [*AUTHORED, "demo-empathy", "demo-sycophancy"])
def test_the_page_of_a_recipe_says_what_its_check_finds(name: str) -> None:
    page = (VECTORS / name / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| `vectors check` \| leaves (.*) \|$", page, re.MULTILINE)
    kinds = {finding.kind for finding in check_recipe(shipped(name))}
    assert {
        part.strip()
        for part in re.findall(r"few_pairs|near_leak|length|word\b|repeats|imbalance|coverage", row)
    } == kinds


@pytest.mark.parametrize("name", ["demo-empathy", "demo-sycophancy"])
def test_the_grammar_gives_more_than_500_pairs(name: str) -> None:
    recipe = shipped(name)
    assert len(recipe.pairs) >= 500
    assert f"| Pairs | {len(recipe.pairs)}," in (VECTORS / name / "README.md").read_text(encoding="utf-8")


def test_no_word_alone_gives_the_sides_of_empathy_away() -> None:
    pairs = shipped("empathy").pairs
    spoken_to = sum(bool(re.search(r"\byour?s?\b", replies(pair)[1], re.IGNORECASE)) for pair in pairs)
    assert f"in {spoken_to} of the {len(pairs)} pairs" in (VECTORS / "empathy" / "README.md").read_text(
        "utf-8"
    )
    assert not {finding.kind for finding in check_recipe(shipped("empathy"))} & {"word", "length"}
