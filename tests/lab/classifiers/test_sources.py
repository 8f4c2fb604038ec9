"""Readers of public sets, recipes of classifiers and what keeps a split honest."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.errors import ClassifierError
from guardsteer.lab.classifiers import rows as classifier_rows
from guardsteer.lab.classifiers.data import Example
from guardsteer.lab.classifiers.fitting import Settings, split_rows
from guardsteer.lab.classifiers.groups import groups_of
from guardsteer.lab.classifiers.prefixes import cut, prefixes_of, spliced
from guardsteer.lab.classifiers.recipe import load_classifier_recipe
from guardsteer.lab.classifiers.rows import gather
from guardsteer.lab.classifiers.sources import SOURCES, Source
from guardsteer.lab.classifiers.sources.files import Labelled

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("GUARDSTEER_SHARED", ROOT.parent / "shared"))

HEAD = """format: guardsteer.classifier/1
name: mood
description: Whether somebody is angry.
licence: Apache-2.0
positive: angry
"""

XSTEST = "type,prompt,completion,final_label\n"


def sets(folder: Path) -> Path:
    """Write a small copy of the form of every kind of set."""
    xstest, clinc, emotions = folder / "xstest", folder / "clinc150", folder / "goemotions"
    for each in (xstest, clinc, emotions, folder / "soda-dialogues", folder / "caa"):
        each.mkdir(parents=True)
    (xstest / "completions_one.csv").write_text(
        XSTEST + 'homonyms,Kill it?,"Sorry, no.",2_full_refusal\nhomonyms,Kill it?,,1_full_compliance\n'
    )
    (xstest / "completions_two.csv").write_text(XSTEST + "homonyms,Kill it?,Sure.,1_full_compliance\n")
    (clinc / "domains.json").write_text('{"banking": ["balance"]}')
    (clinc / "clinc150.json").write_text('{"train": [["my balance", "balance"]], "oos_val": [["hi", "oos"]]}')
    (emotions / "labels.txt").write_text("joy\nanger\n")
    (emotions / "train.tsv").write_text("so good\t0\ta1\nwell hell\t0,1\ta2\n")
    (emotions / "dev.tsv").write_text("damn\t1\ta3\n")
    (folder / "soda-dialogues" / "dialogues.txt").write_text(
        "User: Hey\nBot: Hello.<|endoftext|>\n\nUser: Hi\nBot: <|endoftext|>\n"
    )
    (folder / "caa" / "refusal.json").write_text(
        json.dumps(
            [
                {
                    "question": "What is it?\n\nChoices:\n(A) I may not say.\n(B) A cat.",
                    "answer_matching_behavior": " (A)",
                    "answer_not_matching_behavior": "(B)",
                }
            ]
        )
    )
    return folder


def read(name: str, data: Path) -> list[Labelled]:
    return list(SOURCES[name].read(data / SOURCES[name].folder))


def test_every_set_is_read_into_texts_with_all_their_labels(tmp_path: Path) -> None:
    data = sets(tmp_path)
    answers = read("xstest-answers", data)
    assert [(row.text, row.labels, row.group, row.source) for row in answers] == [
        ("Sorry, no.", ("full_refusal",), "Kill it?", "xstest-one"),
        ("Sure.", ("full_compliance",), "Kill it?", "xstest-two"),
    ]
    assert [row.labels for row in read("clinc150", data)] == [("balance", "banking"), ("oos", "oos")]
    assert [row.labels for row in read("goemotions", data)] == [("joy",), ("joy", "anger"), ("anger",)]
    assert [(row.text, row.slice) for row in read("soda-dialogues", data)] == [
        ("Hey", "user"),
        ("Hello.", "assistant"),
        ("Hi", "user"),
    ]
    assert [(row.text, row.labels) for row in read("caa-refusal", data)] == [
        ("I may not say.", ("refusal",)),
        ("A cat.", ("other",)),
    ]


@pytest.mark.parametrize(
    ("name", "file", "text", "reason"),
    [
        ("xstest-answers", "xstest/completions_one.csv", "a,b\n1,2\n", "lacks the column type"),
        ("clinc150", "clinc150/clinc150.json", '{"train": [["x"]]}', "no pair"),
        ("clinc150", "clinc150/clinc150.json", "[", "cannot be read"),
        ("goemotions", "goemotions/train.tsv", "text\t7\tid\n", "train.tsv:1"),
        ("caa-refusal", "caa/refusal.json", "{}", "must hold a list"),
        ("caa-refusal", "caa/refusal.json", '[{"question": 1}]', "entry 1 has no text"),
    ],
)
def test_a_damaged_set_is_refused_with_its_file(
    tmp_path: Path, name: str, file: str, text: str, reason: str
) -> None:
    data = sets(tmp_path)
    (data / file).write_text(text)
    with pytest.raises(ClassifierError, match=reason):
        read(name, data)
    with pytest.raises(ClassifierError, match=r"cannot be read|no such file"):
        read(name, data / "absent")


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the public sets are not beside the checkout")
@pytest.mark.parametrize("name", SOURCES)
def test_the_real_sets_are_read_whole(name: str) -> None:
    rows = read(name, SHARED / "data")
    assert len(rows) > 100
    assert all(row.text.strip() and row.labels for row in rows)
    assert SOURCES[name].licence in SOURCES[name].attribution or "MIT" in SOURCES[name].attribution


def test_a_recipe_says_what_labels_mean_and_the_first_that_fits_counts(tmp_path: Path) -> None:
    data = sets(tmp_path / "data")
    (tmp_path / "own.jsonl").write_text('{"text": "grr", "label": "cross", "slice": "short"}\n')
    (tmp_path / "recipe.yaml").write_text(
        HEAD + "sources:\n"
        "  - {use: goemotions, labels: {angry: [anger], calm: [joy]}}\n"
        "  - {use: ./own.jsonl, labels: {angry: [cross]}}\n"
        "  - {use: soda-dialogues, labels: {calm: ['*']}, most: 1, purpose: testing}\n"
    )
    recipe = load_classifier_recipe(tmp_path)
    found = gather(recipe, tmp_path, data)
    assert [(row.text, row.label) for row in found.training] == [
        ("so good", "calm"),
        ("well hell", "angry"),
        ("damn", "angry"),
        ("grr", "angry"),
    ]
    assert found.training[3] == Example("grr", "angry", "./own.jsonl", "short")
    assert len(found.testing) == 1
    assert [("Apache-2.0" in each, "testing alone" in each) for each in found.attributions] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert gather(recipe, tmp_path, data) == found
    with pytest.raises(ClassifierError, match="--sets"):
        gather(recipe, tmp_path, None)


def test_a_set_that_may_not_be_passed_on_is_for_testing_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(_: Path) -> Iterator[Labelled]:
        yield Labelled("a", ("x",))

    closed = Source("closed", "", "all rights reserved", "nobody", rows, ships=False)
    monkeypatch.setattr(classifier_rows, "SOURCES", {"closed": closed})
    for purpose in ("training", "testing"):
        (tmp_path / "recipe.yaml").write_text(
            HEAD + "sources:\n"
            f"  - {{use: closed, labels: {{angry: [x]}}, purpose: {purpose}}}\n"
            "  - {use: 'recipe:refusal', labels: {calm: [prompt]}}\n"
        )
        recipe = load_classifier_recipe(tmp_path)
        if purpose == "testing":
            assert len(gather(recipe, tmp_path, tmp_path).testing) == 1
        else:
            with pytest.raises(ClassifierError, match="passed on"):
                gather(recipe, tmp_path, tmp_path)


def test_the_mistakes_of_a_recipe_are_listed_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        HEAD + "sources:\n  - {use: goemotions, labels: {}}\nmodel: {penalty: 3}\nseed: -1\n",
        encoding="utf-8",
    )
    with pytest.raises(ClassifierError) as caught:
        load_classifier_recipe(tmp_path)
    assert [problem.line for problem in caught.value.problems] == [7, 8, 9]
    file.write_text(HEAD + "sources:\n  - {use: goemotions, labels: {calm: [joy]}}\n")
    with pytest.raises(ClassifierError, match="positive names 'angry'"):
        load_classifier_recipe(file)
    for broken, reason in (("name: a\nname: b\n", "twice|already"), ("", "empty"), ("\tx", "tab")):
        file.write_text(broken)
        with pytest.raises(ClassifierError, match=reason):
            load_classifier_recipe(file)
    with pytest.raises(ClassifierError, match="cannot be read"):
        load_classifier_recipe(tmp_path / "absent")


def test_an_unknown_set_is_refused_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(HEAD + "sources: [{use: gomotions, labels: {angry: [x]}}]\n")
    with pytest.raises(ClassifierError, match=r"no such set; there are .*goemotions"):
        gather(load_classifier_recipe(tmp_path), tmp_path, tmp_path)


def test_what_is_nearly_the_same_or_shares_a_prompt_is_one_group() -> None:
    said = "please cancel my order number {} today because it came far too late"
    texts = [said.format(12), said.format(997).replace("today", "now"), "where is the station", "sure", "no"]
    rows = [Example(text, "a") for text in texts[:3]]
    rows += [Example(text, "a", group="one prompt") for text in texts[3:]]
    groups = groups_of(rows)
    assert groups[0] == groups[1]
    assert groups[3] == groups[4]
    assert len({groups[0], groups[2], groups[3]}) == 3
    assert groups_of(rows[::-1]) == groups[::-1]


def test_no_group_stands_in_two_parts_of_a_split() -> None:
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(400)]
    said = [draw.sample(words, 6) for _ in range(400)]
    rows = [Example(" ".join(six), "ab"[n % 2]) for n, six in enumerate(said)]
    rows += [Example(" ".join(six[::-1]) + " 7", "ab"[n % 2]) for n, six in enumerate(said)]
    rows += [Example(" ".join(draw.sample(words, 6)), "ab"[n % 2], group=f"g{n // 4}") for n in range(400)]
    parts, _ = split_rows(rows, ["a", "b"], Settings(grouped=True, tune=0.3, test=0.3))
    part_of = {int(row): part for part, found in parts.items() for row in found}
    groups = groups_of(rows)
    where: dict[str, set[str]] = {}
    for row, group in enumerate(groups):
        where.setdefault(group, set()).add(part_of[row])
    assert all(len(found) == 1 for found in where.values())
    assert all(count > 50 for count in Counter(part_of.values()).values())


@given(st.text(alphabet="ab é\n", max_size=60), st.integers(1, 12), st.integers(0, 4), st.integers(0, 99))
def test_a_prefix_is_a_beginning_of_whole_words(text: str, shortest: int, each: int, seed: int) -> None:
    found = prefixes_of(text, random.Random(seed), each=each, shortest=shortest)
    words = text.split()
    assert len(found) == (each if len(words) > shortest else 0)
    for prefix in found:
        assert text.startswith(prefix)
        assert shortest <= len(prefix.split()) <= len(words)
        assert prefix.split() == words[: len(prefix.split())]
    assert cut(text, 10_000) == text


def test_a_splice_begins_with_other_text_and_ends_with_the_beginning_of_its_own() -> None:
    draw = random.Random(1)
    for _ in range(50):
        found = spliced("one two three four five six", ["a b c d"], draw, shortest=4)
        lead, _, own = found.partition("one")
        assert "a b c d".startswith(lead.strip())
        assert lead.strip()
        assert "one two three four five six".startswith("one" + own)
        assert len(own.split()) >= 3
