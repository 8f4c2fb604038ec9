"""A/B sets and text lists become recipes that load, and what is doubtful about a recipe is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from guardsteer.cli.main import main
from guardsteer.errors import AssetError
from guardsteer.lab.pairs.contrast import ContrastPair, Recipe, Side, Split, part_of
from guardsteer.lab.pairs.pair_files import load_ab_pairs, load_text_pairs, write_recipe
from guardsteer.lab.recipes.checks import check_recipe
from guardsteer.lab.recipes.recipe import load_recipe
from tests.lab.chats import pairs, recipe


def _ab(path: Path, count: int = 40, **changes: Any) -> Path:
    items = [
        {
            "question": f"What about number {index}?\n\nChoices:\n (A) Yes, {index} it is.\n"
            f" (B) No, not {index}.",
            "answer_matching_behavior": "(A)" if index % 2 else "(B)",
            "answer_not_matching_behavior": "(B)" if index % 2 else "(A)",
            **changes,
        }
        for index in range(count)
    ]
    path.write_text(json.dumps(items))
    return path


def _kinds(made: Recipe) -> list[str]:
    return [finding.kind for finding in check_recipe(made)]


def test_a_b_questions_are_answered_by_their_letters(tmp_path: Path) -> None:
    found = load_ab_pairs(_ab(tmp_path / "ab.json"))
    assert len(found) == 40
    assert found[1].messages[0]["content"].endswith("(B) No, not 1.")
    assert (found[1].positive.reply, found[1].negative.reply) == ("(A)", "(B)")
    assert (found[2].positive.reply, found[2].negative.reply) == ("(B)", "(A)")


def test_choices_spelled_out_leave_the_letters_out(tmp_path: Path) -> None:
    found = load_ab_pairs(_ab(tmp_path / "ab.json"), spelled_out=True)
    assert found[2].messages[0]["content"] == "What about number 2?"
    assert (found[2].positive.reply, found[2].negative.reply) == ("No, not 2.", "Yes, 2 it is.")
    with pytest.raises(AssetError, match=r"no choice \(C\) in the question, only \(A\), \(B\)"):
        load_ab_pairs(_ab(tmp_path / "ab.json", 8, answer_matching_behavior="(C)"), spelled_out=True)


def test_items_that_share_a_text_are_in_one_part_of_the_split(tmp_path: Path) -> None:
    def item(question: str, yes: str, no: str) -> dict[str, str]:
        return {
            "question": f"{question}\n(A) {yes}\n(B) {no}",
            "answer_matching_behavior": "(A)",
            "answer_not_matching_behavior": "(B)",
        }

    items = [item("One?", "a", "b"), item("Two?", "c", "d"), item("Three?", "e", "B"), item("two?", "f", "E")]
    (tmp_path / "ab.json").write_text(json.dumps(items))
    groups = [pair.id.split("/")[0] for pair in load_ab_pairs(tmp_path / "ab.json", spelled_out=True)]
    assert set(groups) == {"item-1"}  # 1 and 3 share b, 2 and 4 the question, 3 and 4 e


def test_an_item_that_comes_again_with_its_choices_swapped_is_one_pair(tmp_path: Path) -> None:
    first = {
        "question": "One?\n(A) a b\n(B) c d",
        "answer_matching_behavior": "(A)",
        "answer_not_matching_behavior": "(B)",
    }
    swapped = {
        "question": "One?\n(A) c d\n(B) a b",
        "answer_matching_behavior": "(B)",
        "answer_not_matching_behavior": "(A)",
    }
    (tmp_path / "ab.json").write_text(json.dumps([first, swapped]))
    assert len(load_ab_pairs(tmp_path / "ab.json", spelled_out=True)) == 1
    assert len(load_ab_pairs(tmp_path / "ab.json")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("{}", "expected a list of questions"),
        ('[{"question": "x"}]', "item 1: field 'answer_matching_behavior' is missing"),
        (
            '[{"question": "x", "answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(A)"}]',
            "item 1: positive and negative are the same",
        ),
    ],
)
def test_mistakes_of_a_set_are_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "ab.json").write_text(content)
    with pytest.raises(AssetError, match=message):
        load_ab_pairs(tmp_path / "ab.json")


def _lists(folder: Path, count: int = 40) -> tuple[Path, Path]:
    for name, word in (("up.txt", "bright"), ("down.txt", "dull")):
        (folder / name).write_text("".join(f"Day {i} was {word}.\n\n" for i in range(count)))
    return folder / "up.txt", folder / "down.txt"


def test_text_lists_make_pairs_line_by_line(tmp_path: Path) -> None:
    found = load_text_pairs(*_lists(tmp_path), template="Well: {text}", prompt="How was it?")
    assert found[3].messages == ({"role": "user", "content": "How was it?"},)
    assert found[3].positive.reply == "Well: Day 3 was bright."
    assert found[3].negative.reply == "Well: Day 3 was dull."


def test_text_lists_that_do_not_match_are_refused(tmp_path: Path) -> None:
    up, down = _lists(tmp_path)
    down.write_text("Only one.\n")
    with pytest.raises(AssetError, match="got 40 texts and 1 in"):
        load_text_pairs(up, down)
    with pytest.raises(AssetError, match=r"up\.txt:1:1: the text is that of .*up\.txt:1"):
        load_text_pairs(up, up)
    with pytest.raises(AssetError, match="template: got 'no place'"):
        load_text_pairs(up, down, template="no place")


@pytest.mark.parametrize("kind", ["letters", "texts"])
def test_what_was_loaded_is_written_and_loads_again(tmp_path: Path, kind: str) -> None:
    prompt = None if kind == "letters" else "How was it?"
    made = (
        load_ab_pairs(_ab(tmp_path / "ab.json"))
        if prompt is None
        else load_text_pairs(*_lists(tmp_path), prompt=prompt)
    )
    labelled = tuple(dataclasses.replace(pair, labels={"locale": "en"}) for pair in made)
    whole = Recipe(
        "mine", 'A "trait": yes.', "MIT", "assistant_mean", labelled, version="1.0.0", prompt=prompt
    )
    again = load_recipe(write_recipe(whole, tmp_path / "mine"))
    assert again.pairs == whole.pairs
    assert (again.trait, again.prompt) == (whole.trait, prompt)
    with pytest.raises(AssetError, match="cannot be written"):
        write_recipe(whole, tmp_path / "mine")


def test_a_recipe_of_texts_that_leak_is_not_written(tmp_path: Path) -> None:
    shared = [
        ContrastPair(f"p-{i}", ({"role": "user", "content": f"Q{i}?"},), Side("Same words."), Side(f"N {i}."))
        for i in range(40)
    ]
    with pytest.raises(AssetError, match="the reply is that of line"):
        write_recipe(Recipe("mine", "t", "MIT", "assistant_mean", tuple(shared)), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_few_pairs_are_warned_of_up_to_500() -> None:
    assert "few_pairs" in _kinds(recipe(pairs(499)))
    assert "few_pairs" not in _kinds(recipe(pairs(500)))
    parts = check_recipe(recipe(pairs(500), split=Split(extraction=99, tuning=1, test=0)))
    assert any("pairs in the tuning part" in finding.message for finding in parts)


def _with(made: tuple[ContrastPair, ...], positive: str, negative: str) -> Recipe:
    return recipe(
        tuple(
            dataclasses.replace(
                pair,
                positive=Side(positive.replace("N", str(index))),
                negative=Side(negative.replace("N", str(index))),
            )
            for index, pair in enumerate(made)
        )
    )


def test_a_longer_side_a_telling_word_and_repeats_are_told() -> None:
    made = pairs(40)
    assert "length" not in _kinds(_with(made, "the one N here", "the two N there"))
    assert "length" in _kinds(_with(made, "the one N here and on and on", "the two N there"))
    telling = check_recipe(_with(made, "the warm N here", "the N here too"))
    assert any("'too' is in 0 %" in f.message or "'warm' is in 100 %" in f.message for f in telling)
    assert "repeats" in _kinds(_with(made, "the same answer", "the N here too"))
    assert "repeats" not in _kinds(_with(made, "the N answer", "the N here too"))


def test_one_letter_or_group_that_is_most_of_the_set_is_told() -> None:
    made = pairs(40)
    assert "imbalance" in _kinds(_with(made, "(A)", "(B)"))
    grouped = [
        dataclasses.replace(pair, id=f"one/{i}" if i < 30 else f"g{i}/x") for i, pair in enumerate(made)
    ]
    assert any("group 'one' has 30 of 40" in f.message for f in check_recipe(recipe(tuple(grouped))))


def test_locales_and_products_without_pairs_in_a_part_are_told() -> None:
    split = Split(extraction=60, tuning=20, test=20)
    made = [
        dataclasses.replace(pair, labels={"locale": "de" if index < 3 else "en"})
        for index, pair in enumerate(pairs(80))
    ]
    found = [f.message for f in check_recipe(recipe(tuple(made), split=split)) if f.kind == "coverage"]
    assert any(message.startswith("locale 'de': ") and "to extract from" in message for message in found)
    assert not any("'en'" in message for message in found)
    assert {part_of(pair.id, split) for pair in made[:3]} != {"extraction", "tuning", "test"}
    assert any("'de'" in message and "not judged" in message for message in found)
    made[5] = dataclasses.replace(made[5], labels={})
    assert any("1 of 80 pairs have no label 'locale'" in f.message for f in check_recipe(recipe(tuple(made))))


def test_the_shell_makes_and_checks_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "agreement"
    about = ["--trait", "Agrees.", "--licence", "MIT", "--out", str(out)]
    assert main(["vectors", "recipe", "--ab", str(_ab(tmp_path / "ab.json")), *about]) == 0
    assert "agreement: " in capsys.readouterr().out
    assert main(["vectors", "check", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(answer["pairs"].values()) == 40
    assert answer["findings"][0]["kind"] == "few_pairs"
    assert main(["vectors", "check", str(out), "--strict"]) == 1


@pytest.mark.parametrize("name", ["refusal", "hallucination"])
@pytest.mark.parametrize("spelled_out", [False, True])
def test_sets_of_caa_become_recipes(shared: Path, tmp_path: Path, name: str, spelled_out: bool) -> None:
    found = load_ab_pairs(shared / "data" / "caa" / f"{name}.json", spelled_out=spelled_out)
    whole = Recipe(name, "t", "MIT", "assistant_mean", found, version="1")
    again = load_recipe(write_recipe(whole, tmp_path / name))
    assert len(again.pairs) == len(found) > 350
    assert min(len(again.part(part)) for part in ("extraction", "tuning", "test")) > 20
