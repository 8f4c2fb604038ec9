"""What a prompt expects of a reply's form is checked as it is written, and all mistakes in it are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.errors import AssetError
from guardsteer.lab.measure.metrics import metric_named
from guardsteer.lab.pairs.instructions import KINDS, expectations, holds
from guardsteer.lab.pairs.prompts import load_prompts, prompts_digest, user_prompt

CASES = [
    ("words_at_most", 3, "It is here.", "It is right here."),
    ("words_at_least", 3, "- it's well-known now", "It - is"),
    ("sentences", 2, "I ran. Did you?", "I ran."),
    ("sentences_at_most", 1, 'He said "no."', "No. No."),
    ("items", 2, "Take:\n- a\n2. b", "Take:\n- a\n-b"),
    ("has", ["moon", "River"], "The river saw the Moon.", "The rivers and the moon."),
    ("lacks", ["hot"], "The hotel is warm.", "It is Hot!"),
    (
        "sections",
        ["Next steps", "Summary"],
        "## Summary\nAll well.\n**Next steps:** none",
        "Summary of next steps",
    ),
    ("json", True, '```json\n{"a": 1}\n```', "a: 1"),
    ("json", True, "[1, 2]", "42"),
    ("json_keys", ["a", "b"], '{"a": 1, "b": 2, "c": 3}', '{"a": 1}'),
    ("starts_with", "Of course", "of course, yes", "Yes, of course"),
    ("ends_with", "Good night.", "And so, good night!", "Good night, said he."),
    ("upper_case", True, "HELLO 2 YOU", "HELLO you"),
    ("lower_case", True, "hello 2 you", "Hello"),
    ("no_commas", True, "red and blue", "red, blue"),
    ("quoted", True, "“Good day.”", 'He said "no".'),
    ("exactly", ["Yes", "no"], "no.", "no, it is not"),
    ("matches", r"\d{4}-\d{2}", "in 2024-05", "in May"),
]


@pytest.mark.parametrize(("kind", "value", "good", "bad"), CASES)
def test_each_kind_tells_a_reply_that_follows_from_one_that_does_not(
    kind: str, value: object, good: str, bad: str
) -> None:
    (wanted,) = expectations({kind: value})
    assert holds(wanted, f"  {good}\n")
    assert not holds(wanted, bad)


def test_every_kind_has_a_case_and_an_empty_reply_follows_none() -> None:
    assert {case[0] for case in CASES} == set(KINDS)
    for kind, value, *_ in CASES:
        assert not holds(expectations({kind: value})[0], " \n")


@given(st.text(max_size=60), st.sampled_from([case[:2] for case in CASES]))
def test_any_reply_gets_a_verdict(reply: str, wanted: tuple[str, object]) -> None:
    assert holds(expectations({wanted[0]: wanted[1]})[0], reply) in (True, False)


@given(st.lists(st.sampled_from(["go", "so", "it"]), min_size=1, max_size=9), st.integers(1, 9))
def test_a_reply_has_either_at_most_so_many_words_or_at_least_one_more(said: list[str], most: int) -> None:
    few, many = expectations({"words_at_most": most, "words_at_least": most + 1})
    reply = " ".join(said)
    assert holds(few, reply) != holds(many, reply)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "expected what a reply must be"),
        ({"word": 3}, "there is no 'word'; there are words_at_most"),
        ({"words_at_most": True}, "words_at_most: got True, expected a whole number"),
        ({"words_at_most": 0}, "words_at_most: got 0"),
        ({"json": False}, "json: got False, expected true"),
        ({"has": []}, "has: got \\[\\], expected a text or a list"),
        ({"matches": "("}, "matches: missing \\)"),
        ({"starts_with": ""}, "starts_with: got ''"),
    ],
)
def test_what_nothing_can_be_held_against_is_refused(wrong: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        expectations(wrong)


def test_all_mistakes_of_a_file_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    rows = [{"text": "a", "expect": {"words_at_most": 2}}, {"text": "b", "expect": {"x": 1, "items": "two"}}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(AssetError) as caught:
        load_prompts(path)
    (problem,) = caught.value.problems
    assert problem.line == 2
    assert "there is no 'x'" in problem.message
    assert "items: got 'two'" in problem.message


def test_a_reply_follows_where_it_is_all_that_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text('{"text": "Ice?", "expect": {"words_at_most": 3, "ends_with": "cold"}}\n')
    prompts = load_prompts(path)
    follows = metric_named("follows")
    assert list(follows(prompts * 3, ["It is cold.", "It is very cold.", "Cold it is."])) == [1.0, 0.0, 0.0]
    with pytest.raises(AssetError, match="1 of 2 prompts expect nothing"):
        follows([*prompts, user_prompt("Hello")], ["cold", "cold"])


def test_what_is_expected_counts_in_the_digest_of_prompts(tmp_path: Path) -> None:
    digests = []
    for line in (
        '{"text": "a"}',
        '{"text": "a", "expect": {"items": 2}}',
        '{"text": "a", "expect": {"items": 3}}',
    ):
        path = tmp_path / "asked.jsonl"
        path.write_text(line + "\n")
        digests.append(prompts_digest(load_prompts(path)))
    assert len(set(digests)) == 3
