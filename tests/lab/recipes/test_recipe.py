"""A recipe is loaded whole, or every mistake in it is told with its file and line."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.errors import AssetError
from guardsteer.lab.pairs.contrast import ContrastPair, Side, Split, pair_mistakes, pairs_digest, part_of
from guardsteer.lab.recipes.recipe import load_recipe

RECIPE = """\
format: guardsteer.recipe/1
name: warmth
version: 1.0.0
trait: The answer is warm.
description: A test.
licence: Apache-2.0
read: assistant_mean
split: {extraction: 60, tuning: 20, test: 20}
"""


def _row(index: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"pair-{index}",
        "messages": [{"role": "user", "content": f"Question {index}?"}],
        "positive": {"reply": f"Gladly, {index}."},
        "negative": {"reply": f"Answer: {index}."},
    }
    return {**row, **changes}


def _write(folder: Path, rows: list[Any], recipe: str = RECIPE) -> Path:
    folder = folder / "warmth"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _problems(folder: Path) -> list[str]:
    with pytest.raises(AssetError) as caught:
        load_recipe(folder)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_a_recipe_is_loaded_with_its_pairs_in_order(tmp_path: Path) -> None:
    rows = [_row(index) for index in range(9)]
    rows[1]["positive"]["system"], rows[1]["negative"]["system"] = "Be kind.", "Be cold."
    recipe = load_recipe(_write(tmp_path, rows))
    assert (recipe.name, recipe.version, recipe.read) == ("warmth", "1.0.0", "assistant_mean")
    assert [pair.id for pair in recipe.pairs] == [f"pair-{index}" for index in range(9)]
    assert recipe.pairs[1].positive == Side("Gladly, 1.", "Be kind.")
    assert recipe.pairs[1].chat(recipe.pairs[1].positive, with_reply=True) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Question 1?"},
        {"role": "assistant", "content": "Gladly, 1."},
    ]
    assert recipe.pairs[0].chat(recipe.pairs[0].negative, with_reply=False) == [
        {"role": "user", "content": "Question 0?"}
    ]


def test_all_mistakes_of_both_files_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    rows: list[Any] = [_row(index) for index in range(9)]
    rows[1] = "{"
    rows[3]["positve"] = rows[3].pop("positive")
    rows[5]["id"] = "pair-4"
    rows[7]["messages"] = []
    folder = _write(tmp_path, rows, RECIPE.replace("name: warmth", "name: wormth"))
    assert _problems(folder) == [
        "recipe.yaml: field 'name': got 'wormth', expected the folder's name, 'warmth'",
        "pairs.jsonl:2:2: not JSON: Expecting property name enclosed in double quotes",
        "pairs.jsonl:4:1: field 'positive' is missing",
        "pairs.jsonl:4:1: unknown field 'positve' (did you mean 'positive'?)",
        "pairs.jsonl:6:1: id 'pair-4' is taken by line 5",
        "pairs.jsonl:8:1: field 'messages': got [], expected at least 1",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "unknown field 'extra'"),
        ({"id": "Pair 1"}, "field 'id': got 'Pair 1'"),
        ({"id": 1}, "field 'id': got 1, expected a valid string"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "unknown field 'messages.0.name'"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "the last turn must be the user's"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}] * 2},
            "a system turn must come first",
        ),
        ({"positive": {}, "negative": {}}, "got neither 'reply' nor 'system'"),
        ({"positive": {"reply": " "}}, "field 'positive.reply': got ' ', expected text that is not blank"),
        ({"positive": {"system": "x"}}, "must both have a 'reply', or both a 'system' line"),
        ({"positive": {"reply": "Answer: 8."}}, "are the same: there is nothing to contrast"),
        ({"positive": {"reply": "answer:  3"}}, "the positive reply is the negative reply of line 4"),
        ({"positive": {"reply": "\ud800"}}, "pairs.jsonl:9:1: "),
    ],
)
def test_every_mistake_of_a_pair_is_told(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    problems = _problems(_write(tmp_path, [*map(_row, range(8)), _row(8, **changes)]))
    assert all(problem.startswith("pairs.jsonl:9:1: ") for problem in problems)
    assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"positive": {"reply": "gladly  3!"}}, "reply"),
        ({"negative": {"reply": "Answer: 3"}}, "reply"),
        ({"messages": [{"role": "user", "content": "question, 3"}]}, "conversation"),
    ],
)
def test_text_that_leaks_into_another_part_is_told(tmp_path: Path, changes: Any, what: str) -> None:
    part = part_of("pair-3", Split(60, 20, 20))
    elsewhere = next(f"far-{n}" for n in range(99) if part_of(f"far-{n}", Split(60, 20, 20)) != part)
    rows = [*map(_row, range(8)), _row(8, **{**changes, "id": elsewhere})]
    (problem,) = _problems(_write(tmp_path, rows))
    assert f"pairs.jsonl:9:1: the {what} is that of line 4, which is in the {part} part" in problem


def test_text_that_leaks_between_parts_may_stay_within_one_group(tmp_path: Path) -> None:
    rows = [_row(index) for index in range(8)]
    for index in (3, 4):
        rows[index]["messages"] = [{"role": "user", "content": "The same?"}]
        rows[index]["id"] = f"same/{index}"
    recipe = load_recipe(_write(tmp_path, rows))
    assert len({part_of(pair.id, recipe.split) for pair in recipe.pairs[3:5]}) == 1


def test_a_repeated_pair_is_told_whatever_its_id(tmp_path: Path) -> None:
    rows = [_row(index) for index in range(9)]
    rows[8] = {**rows[0], "id": "pair-0.b"}
    assert any(
        "pairs.jsonl:9:1: the same pair as line 1" in line for line in _problems(_write(tmp_path, rows))
    )


def test_fewer_than_eight_pairs_are_refused(tmp_path: Path) -> None:
    problems = _problems(_write(tmp_path, [_row(index) for index in range(7)]))
    assert problems[0].startswith("pairs.jsonl: got 7 pairs, expected at least 8")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("read: assistant_mean", "read: everywhere", "recipe.yaml:7:1: field 'read': got 'everywhere'"),
        ("licence: Apache-2.0\n", "", "recipe.yaml: field 'licence' is missing"),
        ("licence:", "license:", "recipe.yaml:6:1: unknown field 'license' (did you mean 'licence'?)"),
        ("tuning: 20", "tuning: 30", "recipe.yaml:8:1: field 'split': got shares that add up to 110"),
        ("tuning: 20", "tuning: '20'", "recipe.yaml:8:25: field 'split.tuning': got '20'"),
        ("extraction: 60", "extraction: 1e9", "field 'split.extraction'"),
        ("version: 1.0.0", "version: 1.0.0\nversion: 2", "recipe.yaml:4:1: field 'version' is given twice"),
        ("version: 1.0.0", "version: &a 1.0.0", "recipe.yaml:3:10: field 'version': expected text"),
        ("version: 1.0.0", "version: !!str 1.0.0", "recipe.yaml:3:10: field 'version': expected text"),
        ("version: 1.0.0", "version: [1]", "recipe.yaml:3:10: field 'version': expected text"),
        ("version: 1.0.0", "version: *a", "recipe.yaml:3:10: field 'version': expected text"),
        ("version: 1.0.0", "[a]: b", "recipe.yaml:3:1: expected a key"),
        ("version: 1.0.0", "version: {a: {b: c}}", "expected text"),
        (RECIPE, "- a\n", "recipe.yaml:1:1: expected one mapping"),
        (RECIPE, "", "is missing"),
        (RECIPE, f"{RECIPE}---\na: b\n", "expected one mapping"),
        (RECIPE, "a: 'b", "recipe.yaml:1:6: not YAML"),
        (RECIPE, "a: " + "[" * 60_000, "field 'a': expected text"),
        (RECIPE, "a" * 70_000, "larger than 65536 bytes"),
        (RECIPE, "\x00", "not YAML"),
    ],
)
def test_every_mistake_of_recipe_yaml_is_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    folder = _write(tmp_path, [_row(index) for index in range(8)], RECIPE.replace(before, after))
    problems = _problems(folder)
    assert any(message in problem for problem in problems), problems


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "warmth").mkdir()
    problems = _problems(tmp_path / "warmth")
    assert [problem.split(":")[0] for problem in problems] == ["recipe.yaml", "pairs.jsonl"]
    folder = tmp_path / "warmth"
    (folder / "recipe.yaml").write_bytes(b"name: \xff")
    (folder / "pairs.jsonl").write_bytes(b'{"id": "\xff"}\n' * 8)
    problems = _problems(folder)
    assert "recipe.yaml: not UTF-8 at byte 6 (save it as UTF-8)" in problems
    assert "pairs.jsonl:1:1: not UTF-8 at byte 8 (save it as UTF-8)" in problems


@given(st.text(alphabet="abcdefghij0123456789-", min_size=1), st.text(alphabet="xyz", min_size=1))
def test_a_pair_keeps_its_part_for_ever_and_shares_it_with_its_group(group: str, variant: str) -> None:
    split = Split(60, 20, 20)
    part = part_of(group, split)
    assert part_of(f"{group}/{variant}", split) == part
    wider = Split(80, 10, 10)
    if part == "extraction":
        assert part_of(group, wider) == "extraction"


def test_the_parts_have_the_sizes_that_the_split_says() -> None:
    parts = [part_of(f"pair-{index}", Split(60, 25, 15)) for index in range(4000)]
    for part, share in (("extraction", 0.60), ("tuning", 0.25), ("test", 0.15)):
        assert sum(found == part for found in parts) / len(parts) == pytest.approx(share, abs=0.03)
    assert {part_of(f"pair-{index}", Split(100, 0, 0)) for index in range(300)} == {"extraction"}


def test_the_digest_of_pairs_sees_every_change() -> None:
    def pair(**changes: Any) -> ContrastPair:
        fields: dict[str, Any] = {
            "id": "a",
            "messages": ({"role": "user", "content": "x"},),
            "positive": Side("y"),
            "negative": Side("z"),
        }
        return ContrastPair(**{**fields, **changes})

    variants = [
        [pair()],
        [pair(id="b")],
        [pair(messages=({"role": "user", "content": "xx"},))],
        [pair(messages=({"role": "assistant", "content": "x"},))],
        [pair(positive=Side("z"), negative=Side("y"))],
        [pair(positive=Side(None, "y"))],
        [pair(), pair()],
        [],
    ]
    assert len({pairs_digest(variant) for variant in variants}) == len(variants)
    assert pairs_digest([pair()]) == pairs_digest([pair()])


@pytest.mark.parametrize("name", ["empathy", "sycophancy"])
def test_shipped_recipes_contrast_one_trait(repository: Path, name: str) -> None:
    """At least 64 sound pairs with replies of similar lengths, so that length is not what is read."""
    recipe = load_recipe(repository / "vectors" / name)
    assert len(recipe.pairs) >= 64
    assert all(len(recipe.part(part)) >= 8 for part in ("extraction", "tuning", "test"))
    assert not any(map(pair_mistakes, recipe.pairs))
    ratios = [len(pair.positive.reply or "") / len(pair.negative.reply or "x") for pair in recipe.pairs]
    assert 0.9 < statistics.mean(ratios) < 1.1
    assert min(ratios) > 0.75
    assert max(ratios) < 1.25
    # A number in one answer is in the other: the facts do not change with the trait.
    for pair in recipe.pairs:
        digits = [
            {w.strip(".,;:?!") for w in (side.reply or "").split() if w[0].isdigit()}
            for side in (pair.positive, pair.negative)
        ]
        assert digits[0] <= digits[1], pair.id
    domains = {pair.id.rsplit("-", 1)[0] for pair in recipe.pairs}
    assert len(domains) >= 8
