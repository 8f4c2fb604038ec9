"""Nearly equal texts in two parts of a split are found, different ones are not."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.lab.pairs.contrast import ContrastPair, Recipe, Side, Split, part_of
from guardsteer.lab.pairs.near_copies import NEARLY_THE_SAME, near_copies
from guardsteer.lab.recipes.checks import check_recipe
from guardsteer.lab.recipes.recipe import load_recipe
from tests.lab.recipes.test_shipped_recipes import AUTHORED

VECTORS = Path(__file__).resolve().parents[3] / "vectors"
SPLIT = Split(60, 20, 20)


def jaccard(first: str, second: str) -> float:
    """Return the resemblance by another way: sets of 4-grams of each padded word."""

    def grams(text: str) -> set[str]:
        padded = [f" {word} " for word in text.lower().split()]
        return {word[at : at + 4] for word in padded for at in range(max(len(word) - 3, 1))}

    one, other = grams(first), grams(second)
    return len(one & other) / len(one | other)


@given(st.lists(st.text(alphabet="ab c", min_size=3, max_size=12).filter(str.strip), min_size=2, max_size=6))
def test_resemblance_is_the_jaccard_index_of_character_4_grams(texts: list[str]) -> None:
    for copy in near_copies(texts[:1], texts[1:], threshold=0.0):
        values = [jaccard(texts[0], other) for other in texts[1:]]
        assert copy.resemblance == pytest.approx(max(values))
        assert values[copy.other] == pytest.approx(max(values))


def test_texts_without_words_resemble_nothing() -> None:
    assert near_copies([], ["a"]) == ()
    assert near_copies([" "], ["\n"]) == ()


def test_a_changed_word_is_found_in_nearly_all_replies_of_the_shipped_recipes() -> None:
    replies = [
        side.reply or ""
        for name in AUTHORED
        for pair in load_recipe(VECTORS / name).pairs
        for side in (pair.positive, pair.negative)
    ]
    replies = [reply for reply in replies if len(reply.split()) >= 8]
    draw = random.Random(3)
    words = sorted({word for reply in replies for word in re.findall(r"\w+", reply)})
    changed = []
    for reply in replies:
        place = draw.choice(list(re.finditer(r"\w+", reply)))
        changed.append(reply[: place.start()] + draw.choice(words) + reply[place.end() :])
    found = sum(bool(near_copies([text], [reply])) for text, reply in zip(changed, replies, strict=True))
    assert found / len(replies) > 0.97


@pytest.mark.parametrize("name", AUTHORED)
def test_no_shipped_recipe_that_was_written_by_hand_holds_near_copies_across_its_parts(name: str) -> None:
    assert [found for found in check_recipe(load_recipe(VECTORS / name)) if found.kind == "near_leak"] == []


def _recipe(test_question: str, test_reply: str) -> Recipe:
    names = [f"n{place}" for place in range(200)]
    held = next(name for name in names if part_of(name, SPLIT) == "test")
    read = [name for name in names if part_of(name, SPLIT) == "extraction"][:8]
    rows = [
        (name, f"{name * 3} has another question here?", f"{name * 5} says a thing of its own")
        for name in read
    ]
    rows[0] = (
        read[0],
        "When does the next train to Leeds leave?",
        "It leaves at ten from platform four, my dear.",
    )
    rows.append((held, test_question, test_reply))
    pairs = tuple(
        ContrastPair(
            name, ({"role": "user", "content": asked},), Side(said), Side(f"{name} {name[::-1]} no.")
        )
        for name, asked, said in rows
    )
    return Recipe("trains", "It is kind.", "MIT", "assistant_mean", pairs, split=SPLIT)


@pytest.mark.parametrize(
    ("question", "reply", "what"),
    [
        ("When does the next train to York leave?", "Somewhere else entirely, I suppose.", ["conversations"]),
        ("Who is it?", "It leaves at nine from platform four, my dear.", ["replies"]),
        ("Who is it?", "Somewhere else entirely, I suppose.", []),
    ],
)
def test_a_question_or_reply_with_one_word_changed_is_told(
    question: str, reply: str, what: list[str]
) -> None:
    found = [each.message for each in check_recipe(_recipe(question, reply)) if each.kind == "near_leak"]
    assert [message.split(" of the test part")[0].split()[-1] for message in found] == what
    assert all(f"{NEARLY_THE_SAME:.1f}"[:2] in message for message in found)
