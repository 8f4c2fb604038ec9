"""YAML is read into nodes that know their place, and what could mislead a reader is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.rules.document import MAX_DEPTH, compose, find, plain
from guardsteer.rules.places import MAX_PROBLEMS, Report, index_within
from tests.rules.support import SUPPORT

LOADERS = [pytest.param(yaml.SafeLoader, id="pure"), pytest.param(yaml.CSafeLoader, id="c")]


def read(text: str, loader: Any = None) -> tuple[Any, list[tuple[int, int, str]]]:
    """Return the text as plain values, and its problems as line, column and message."""
    report = Report("f.yaml", text)
    root = compose(report, loader=loader)
    return None if root is None else plain(root), [(p.line, p.column, p.message) for p in report.problems()]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: &x 1\n", 1, 4, "anchors are not allowed"),
        ("a: 1\nb: *x\n", 2, 4, "aliases are not allowed"),
        ("a: !!str 1\n", 1, 4, "the tag 'tag:yaml.org,2002:str' is not allowed"),
        ("a:\n  - !run x\n", 2, 5, "the tag '!run' is not allowed"),
        ("<<: {a: 1}\n", 1, 1, "merge keys are not allowed"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "the key 'a' is given twice"),
        ("{a: 1, 'a': 2}\n", 1, 8, "the key 'a' is given twice"),
        ("? [a]\n: 1\n", 1, 3, "a key must be a word, not a list or mapping"),
        ("'': 1\n", 1, 1, "a key is missing before ':'"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a policy is one document; a second one begins here"),
        ("%YAML 1.1\n---\na: 1\n", 1, 1, "YAML directives are not allowed"),
        ("a: no\n", 1, 4, "'no' is a boolean to some readers of YAML and text to others"),
        ("a: [x, on]\n", 1, 8, "'on' is a boolean to some readers of YAML and text to others"),
        ("a:\t1\n", 1, 3, "a tab is not allowed"),
        ("a: x\x07\n", 1, 5, "the character U+0007 is not allowed"),
        ("a: \u2028x\n", 1, 4, "the character U+2028 is not allowed"),
        ("a: \u202ex\n", 1, 4, "the character U+202E is not allowed"),
        ("a: x\rb: y\n", 1, 5, "the character U+000D is not allowed"),
        ("a: \ud800\n", 1, 4, "the character U+D800 is not allowed"),
        ("a: b: c\n", 1, 5, "': ' cannot stand here"),
        ("a: 'x\n", 2, 1, "the quoted text has no closing quote"),
        ("a: @x\n", 1, 4, "text cannot begin with this character"),
        ('a: "x" == y\n', 1, 8, "this is neither a 'key: value' of the mapping nor its end"),
        ("a: && b\n", 1, 5, "'&' begins a YAML anchor here, and anchors are not allowed"),
        ("a: {b: c\n", 2, 1, "the mapping has no ',' or '}' here"),
        ("- a\nb: c\n", 2, 1, "this is neither an item '- ' of the list nor its end"),
    ],
)
def test_a_mistake_is_told_in_our_words_at_its_place(
    loader: Any, text: str, line: int, column: int, message: str
) -> None:
    assert (line, column, message) in read(text, loader)[1]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded_without_recursion(loader: Any, opening: str) -> None:
    _, problems = read(opening * 20_000, loader)
    assert problems == [
        (1, MAX_DEPTH * len(opening) + 1, f"the document is nested more than {MAX_DEPTH} levels deep")
    ]


def test_the_deepest_allowed_document_is_read() -> None:
    value, problems = read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert problems == []
    assert value is not None


def test_keys_are_their_text_even_where_a_value_would_be_refused() -> None:
    assert read("{on: 1, 2: x, true: z}") == ({"on": 1, "2": "x", "true": "z"}, [])


def test_after_a_key_given_twice_the_first_value_counts() -> None:
    value, problems = read("a: 1\na: 2\n")
    assert value == {"a": 1}
    assert len(problems) == 1


def test_the_two_parsers_of_yaml_build_the_same_tree() -> None:
    trees = [
        compose(Report("f.yaml", SUPPORT), loader=loader) for loader in (yaml.SafeLoader, yaml.CSafeLoader)
    ]
    assert trees[0] == trees[1]


def test_a_list_of_problems_has_an_end() -> None:
    _, problems = read("".join(f"k{i}: no\n" for i in range(1000)))
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1][2].startswith("there are more than")


words = st.text(alphabet="ab é😀'\"\\:#&!|>[]{}()0.\n", min_size=1, max_size=30).filter(
    lambda t: t.strip(" \n") == t
)


@given(words, st.sampled_from(["", "'", '"', "|", ">"]), st.integers(5, 40))
def test_every_visible_character_of_a_text_is_found_in_the_file(value: str, style: str, width: int) -> None:
    """However a scalar is quoted, escaped and folded, a place in its value maps to that character."""
    text = yaml.dump({"k": {"w": value}}, default_style=style or None, width=width, allow_unicode=True)
    report = Report("f.yaml", text)
    root = compose(report)
    if root is None or report:
        return  # unquoted words such as 0 are not text
    node = find(root, ["k", "w"])[0]
    for offset, character in enumerate(value):
        if character.isspace():
            continue
        at = index_within(text, node.start, getattr(node, "style", ""), value, offset)
        escaped = getattr(node, "style", "") == '"' and text[at] == "\\"
        assert escaped or text[at] == character


def test_a_place_past_the_end_is_behind_the_last_character() -> None:
    text = "k: ab  # comment\n"
    assert index_within(text, 3, "", "ab", 2) == 5
    text = "k: >-\n  a\n  b\n"
    assert index_within(text, 3, ">", "a b", 3) == text.rindex("b") + 1


@given(st.text(alphabet="a\né😀", max_size=20), st.integers(0, 25))
def test_lines_and_columns_count_characters_from_one(text: str, index: int) -> None:
    line, column = Report("f.yaml", text).place(index)
    before = text[:index]
    assert line == before.count("\n") + 1
    assert column == len(before.rpartition("\n")[2]) + 1
