"""A labelled set becomes pairs that say all it says, or every reason why it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.cli.main import main
from guardsteer.errors import AssetError
from guardsteer.lab.pairs.contrast import part_of
from guardsteer.lab.pairs.labelled_sets import load_labelled_pairs
from guardsteer.lab.recipes.recipe import load_recipe


def write(path: Path, *rows: dict[str, Any]) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def two(text: str, **more: Any) -> list[dict[str, Any]]:
    """Return a text of each side."""
    return [
        {"text": f"kind {text}", "label": "warm", **more},
        {"text": f"hard {text}", "label": "cold", **more},
    ]


def test_texts_are_paired_within_their_prompt_and_labels(tmp_path: Path) -> None:
    rows = [*two("one"), *two("two", prompt="How are you?"), *two("three", labels={"locale": "de"})]
    rows += two("four", prompt="How are you?")
    path = write(tmp_path / "set.jsonl", *reversed(rows))
    found = load_labelled_pairs(
        path, positive="warm", negative="cold", template="Well: {text}", prompt="Go on."
    )
    told = {(pair.messages[0]["content"], pair.positive.reply, pair.negative.reply) for pair in found}
    assert told == {
        ("Go on.", "Well: kind one", "Well: hard one"),
        ("Go on.", "Well: kind three", "Well: hard three"),
        ("How are you?", "Well: kind two", "Well: hard two"),
        ("How are you?", "Well: kind four", "Well: hard four"),
    }
    assert [dict(pair.labels) for pair in found if "three" in (pair.positive.reply or "")] == [
        {"locale": "de"}
    ]
    groups = {pair.id.split("/")[0] for pair in found if pair.messages[0]["content"] == "How are you?"}
    assert len(groups) == 1


def test_every_mistake_of_a_set_is_told_with_its_line(tmp_path: Path) -> None:
    rows = [
        *two("one"),
        {"text": "Kind  ONE", "label": "warm"},
        {"text": "x", "label": "tepid"},
        {"label": "warm"},
    ]
    path = write(tmp_path / "set.jsonl", *rows)
    with pytest.raises(AssetError) as caught:
        load_labelled_pairs(path, positive="warm", negative="cold")
    told = {problem.line: problem.message for problem in caught.value.problems}
    assert told[3] == "the text is that of line 1"
    assert "got 'tepid', expected 'warm' or 'cold'" in told[4]
    assert "'text'" in told[5]
    assert "2 texts are 'warm' and 1 'cold'" in told[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"template": "no place"}, "expected one {text}"),
        ({"positive": "a", "negative": "a"}, "expected two different"),
    ],
)
def test_a_template_or_sides_that_say_nothing_are_refused(
    tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    with pytest.raises(AssetError, match=told):
        load_labelled_pairs(write(tmp_path / "set.jsonl", *two("one")), **settings)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"none\.jsonl.*cannot be read"):
        load_labelled_pairs(tmp_path / "none.jsonl")


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=6), st.booleans()), max_size=12))
def test_no_text_is_lost_or_made(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, bool]]
) -> None:
    path = tmp_path_factory.mktemp("sets") / "set.jsonl"
    write(path, *({"text": text, "label": "positive" if side else "negative"} for text, side in texts))
    try:
        found = load_labelled_pairs(path)
    except AssetError:
        sides = [side for _, side in texts]
        assert sides.count(True) != sides.count(False) or len({text for text, _ in texts}) < len(texts)
        return
    assert sorted((pair.positive.reply, True) for pair in found) == sorted(each for each in texts if each[1])
    assert sorted((pair.negative.reply, False) for pair in found) == sorted(
        each for each in texts if not each[1]
    )


def test_the_shell_makes_a_recipe_of_a_labelled_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "set.jsonl", *(row for place in range(30) for row in two(f"word {place} of thirty"))
    )
    out = tmp_path / "warm"
    words = ["vectors", "recipe", "--labelled", str(path), "--sides", "warm", "cold", "--trait", "Warm."]
    assert main([*words, "--licence", "MIT", "--out", str(out)]) == 0
    recipe = load_recipe(out)
    assert len(recipe.pairs) == 30
    assert len({part_of(pair.id, recipe.split) for pair in recipe.pairs}) == 3
    assert main([*words, "--sides", "warm", "hot", "--licence", "MIT", "--out", str(tmp_path / "b")]) == 2
    assert "got 'cold', expected 'warm' or 'hot'" in capsys.readouterr().err
