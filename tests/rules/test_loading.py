"""Policy files are loaded whole, or refused with every mistake at its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.policy_load import policy_text
from guardsteer.core.policy import ClassifierSpec
from guardsteer.errors import AssetError, PolicyError
from guardsteer.rules import check, load_policy, parse_policy
from guardsteer.rules.checks import MAX_PATTERNS
from guardsteer.rules.reading import MAX_BYTES
from tests.rules.mistakes import MISTAKES
from tests.rules.support import FILE, SUPPORT, changed, outputs_of, refused


def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SUPPORT.replace("\n", "\r\n").encode())
    policy = load_policy(path, outputs=outputs_of)
    assert policy.rules == parse_policy(SUPPORT, FILE, outputs=outputs_of).rules


@pytest.mark.parametrize(("old", "new", "line", "column", "message", "hint"), MISTAKES)
def test_a_mistake_is_told_at_its_place_with_a_way_out(
    old: str, new: str, line: int, column: int, message: str, hint: str
) -> None:
    text = changed(old, new)
    problems = refused(text)
    found = [p for p in problems if p.message == message]
    assert found, [str(p) for p in problems]
    assert (found[0].line, found[0].column) == (line, column), str(found[0])
    assert hint in found[0].hint
    assert found[0].source == text.split("\n")[line - 1]
    assert str(found[0]).startswith(f"{FILE}:{line}:{column}: ")


@pytest.mark.parametrize(("old", "new", "line", "column", "message", "hint"), MISTAKES)
def test_one_mistake_makes_one_problem(
    old: str, new: str, line: int, column: int, message: str, hint: str
) -> None:
    """Nothing that merely follows from a mistake is reported beside it, but for names that it took away."""
    del hint
    taken = {"rude", "swearing", "intent", "all", "in"}
    others = [
        p for p in refused(changed(old, new)) if (p.line, p.column, p.message) != (line, column, message)
    ]
    assert all(any(f"'{name}" in p.message for name in taken) for p in others), [str(p) for p in others]


def test_all_mistakes_of_a_file_are_told_at_once_and_in_its_order() -> None:
    """YAML's traps, shape, references, limits and conditions: one round is enough to see them all."""
    text = SUPPORT
    for old, new in (
        ("name: support", "name: 7"),
        ("on: user", "on: usr"),
        ("enter: 0.60", "enter: no"),
        ("exit: 0.5", "after: 0"),
        ("use: sycophancy", "usee: sycophancy"),
        ("billing && !rude", "billing && step < 'x' && rudee"),
        ("strength: 0.30", "strength: 3"),
        ("halt: true", "halt: true, halt: false"),
        ('fallback: "No."', "fallback: [no]"),
    ):
        text = changed(old, new, text)
    places = [(p.line, p.column) for p in refused(text)]
    assert places == sorted(places)
    assert places == [
        (2, 7),
        (5, 39),
        (8, 45),
        (8, 56),
        (12, 3),
        (12, 16),
        (15, 27),
        (15, 36),
        (16, 38),
        (17, 40),
        (18, 11),
        (18, 12),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the policy is empty"),
        ("# nothing\n", 1, 1, "the policy is empty"),
        ("- a\n", 1, 1, "a policy is a mapping, got a list"),
        ("word\n", 1, 1, "a policy is a mapping, got the text 'word'"),
        ("~\n", 1, 1, "a policy is a mapping, got nothing"),
        ("a: 1\n  b: 2\n", 2, 4, "': ' cannot stand here"),
        ("a: \udc80\n", 1, 4, "the character U+DC80 is not allowed"),
        ("x" * (MAX_BYTES + 1), 1, 1, "a policy has at most 1,048,576 bytes, got more"),
    ],
)
def test_a_text_that_is_no_mapping_is_told_alone(text: str, line: int, column: int, message: str) -> None:
    assert [(p.line, p.column, p.message) for p in refused(text)] == [(line, column, message)]


@pytest.mark.parametrize(
    ("data", "line", "column", "byte"),
    [
        (b"name: \xff", 1, 7, "0xff"),
        (b"a: 1\nb: \xc3\xa9\xe9\n", 2, 5, "0xe9"),
        (b"\xff\xfea\x00", 1, 1, "0xff"),
    ],
)
def test_a_file_that_is_not_utf8_is_told_with_its_byte(
    tmp_path: Path, data: bytes, line: int, column: int, byte: str
) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(data)
    problem, *others = check(path)
    assert not others
    assert (problem.line, problem.column) == (line, column)
    assert byte in problem.message


def test_files_that_cannot_be_read_are_told_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, "a\0b"):
        problem, *others = check(path)
        assert not others
        assert problem.line == 0
        assert str(problem).startswith(problem.file)
    assert str(tmp_path / "policy.yaml") in str(check(tmp_path)[0])


def test_check_returns_what_loading_raises(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(changed("on: user", "on: usr"))
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert check(path) == list(caught.value.problems)
    path.write_text(SUPPORT)
    assert check(path, outputs=outputs_of) == []


def test_without_outputs_the_scores_of_assets_are_not_checked() -> None:
    text = changed("signal: intent.billing", "signal: intent.whatever")
    assert parse_policy(text, FILE).flags[0].signal == "intent.whatever"
    with pytest.raises(PolicyError, match="no output 'mach'"):
        parse_policy(changed("swearing.match", "swearing.mach"), FILE)


def test_disabling_all_of_no_vectors_is_refused() -> None:
    text = 'guardsteer: 1\nname: x\nrules: [{id: r, when: "true", disable: all}]\n'
    assert [(p.line, p.column, p.message) for p in refused(text)] == [
        (3, 40, "there are no vectors to disable")
    ]


def test_an_asset_without_outputs_gives_no_scores() -> None:
    with pytest.raises(PolicyError, match="no output 'billing' \\(there are no outputs\\)"):
        parse_policy(SUPPORT, FILE, outputs=lambda _: ())


def test_an_asset_that_cannot_be_read_is_a_problem_of_the_policy_and_hides_no_other() -> None:
    def fail(spec: ClassifierSpec) -> tuple[str, ...]:
        raise AssetError(f"no classifier named {spec.use}\nlooked in: here")

    with pytest.raises(PolicyError) as caught:
        parse_policy(changed("billing && !rude", "billing && rde"), FILE, outputs=fail)
    asset, rule = caught.value.problems
    assert (asset.line, asset.column) == (5, 19)
    assert asset.message == (
        "the classifier 'support-intent' cannot be used: no classifier named support-intent looked in: here"
    )
    assert rule.line == 15


def test_the_number_of_patterns_is_bounded() -> None:
    """A pattern takes a while to compile: a file full of them cannot hold up its reader."""
    lists = [", ".join(f"'x{i}'" for i in range(MAX_PATTERNS // 2 + extra)) for extra in (0, 1)]
    classifiers = "\n".join(f"  c{i}: {{on: all, patterns: [{items}]}}" for i, items in enumerate(lists))
    head = "guardsteer: 1\nname: many\nclassifiers:\n"
    problem, *others = refused(head + classifiers)
    assert not others
    assert problem.message == f"a policy has at most {MAX_PATTERNS} patterns; this is one more"
    last = f"'x{MAX_PATTERNS // 2}'"
    assert (problem.line, problem.column) == (5, classifiers.split("\n")[1].index(last) + 1)


def test_places_are_kept_in_a_policy_of_a_thousand_rules() -> None:
    text = policy_text(1000)
    assert len(parse_policy(text, FILE).rules) > 1000
    lines = text.split("\n")
    last = max(index for index, line in enumerate(lines) if line.startswith("    when:"))
    lines[last] = lines[last].replace("request.tenant", "request.tenat")
    with pytest.raises(PolicyError) as caught:
        parse_policy("\n".join(lines), FILE)
    (problem,) = caught.value.problems
    assert problem.message == "the request has no key 'tenat'"
    assert (problem.line, problem.column) == (last + 1, lines[last].index("request.tenat") + 1)


def test_messages_speak_of_no_library() -> None:
    for old, new, *_ in MISTAKES:
        for problem in refused(changed(old, new)):
            for word in ("pydantic", "Input should", "valid ", "dict", "instance", "NoneType"):
                assert word not in problem.message
