"""Conditions are read with their types, and refused with every mistake at its character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.rules.conditions import MAX_DEPTH, MAX_MISTAKES, parse_condition
from guardsteer.rules.lexer import MAX_LENGTH
from guardsteer.rules.names import Names
from guardsteer.rules.syntax import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    FlagRef,
    HasLabel,
    Member,
    Not,
    RequestRef,
    SameTruth,
    SignalRef,
    StepRef,
)

NAMES = Names(
    flags=("billing", "refusing", "rude"),
    outputs={"intent": ("billing", "other"), "unknown": None},
    context={"tier": "int", "share": "float", "beta": "bool"},
)
A, B, C = FlagRef("billing"), FlagRef("refusing"), FlagRef("rude")
SCORE = SignalRef("intent.billing")
TENANT = RequestRef("tenant", "string")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("billing", A),
        ("true", Constant(True)),
        ("!billing", Not(A)),
        ("!!billing", Not(Not(A))),
        ("billing && refusing || rude", AnyOf((AllOf((A, B)), C))),
        ("billing || refusing && rude", AnyOf((A, AllOf((B, C))))),
        ("(billing || refusing) && rude", AllOf((AnyOf((A, B)), C))),
        ("billing&&refusing&&rude", AllOf((A, B, C))),
        ("!billing && rude", AllOf((Not(A), C))),
        ("intent.billing >= 0.5", Compare(">=", SCORE, Constant(0.5))),
        ("0 < intent.billing", Compare("<", Constant(0), SCORE)),
        ("intent.billing < intent.other", Compare("<", SCORE, SignalRef("intent.other"))),
        ("unknown.whatever < 1", Compare("<", SignalRef("unknown.whatever"), Constant(1))),
        ("step < 64", Compare("<", StepRef(), Constant(64))),
        ("step >= -1", Compare(">=", StepRef(), Constant(-1))),
        ("request.tier <= .5e1", Compare("<=", RequestRef("tier", "int"), Constant(5.0))),
        ('request.tenant != "a\\"b"', Compare("!=", TENANT, Constant('a"b'))),
        (r"request.tenant == 'a\'\\\n'", Compare("==", TENANT, Constant("a'\\\n"))),
        ("request.tenant in ['a', \"b\"]", Member(TENANT, ("a", "b"))),
        ("step in [1, 2.0, -3]", Member(StepRef(), (1, 2.0, -3))),
        ('"vip" in request.labels', HasLabel("vip")),
        ("!('a b' in request.labels) && rude", AllOf((Not(HasLabel("a b")), C))),
        ("billing == rude", SameTruth(A, C)),
        ("(billing) != true", Not(SameTruth(A, Constant(True)))),
        ("request.beta", RequestRef("beta", "bool")),
        ("\n billing\n  && rude ", AllOf((A, C))),
    ],
)
def test_a_condition_is_read_as_cel_reads_it(text: str, tree: object) -> None:
    assert parse_condition(text, NAMES) == (tree, [])


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("", 0, "expected a flag, a score, a value or '(', got the end of the condition", ""),
        ("billin", 0, "there is no flag 'billin'", "did you mean 'billing'?"),
        ("billing && intnt.other > 1", 11, "there is no classifier 'intnt'", "did you mean 'intent'?"),
        ("intent.othr > 1", 0, "the classifier 'intent' has no output 'othr'", "did you mean 'other'?"),
        ("request.tennant == 'x'", 0, "the request has no key 'tennant'", "did you mean 'tenant'?"),
        ("request", 0, "'request' needs a key", "write request.tenant"),
        ("tenant == 'x'", 0, "there is no flag 'tenant'", "write request.tenant"),
        ("intent", 0, "'intent' is a classifier, not a flag", "write intent.billing or intent.other"),
        ("a.b.c", 0, "'a.b.c' has too many parts", "classifier.output"),
        ("intent.billing", 0, "expected a condition, got a number", "intent.billing >= 0.5"),
        ("billing && step", 11, "expected a condition, got a number", "compare it"),
        ("billing || 'x'", 11, "expected a condition, got a string", ""),
        ("!step < 3", 1, "! needs a condition, got a number", "write !(a < b)"),
        ("billing > 0.5", 8, "cannot compare true or false with a number", "'billing' is a flag"),
        ("step < '3'", 5, "cannot compare a number with a string", ""),
        ("request.tenant < 'x'", 15, "strings have no order, got '<'", "use == or !="),
        ("billing < rude", 8, "conditions have no order, got '<'", "use == or !="),
        ("0 < step < 3", 9, "comparisons cannot be chained", "a < b && b < c"),
        (
            "(billing && rude) == rude",
            0,
            "'==' compares flags, request keys and true or false alone",
            "use !",
        ),
        ("!billing == rude", 0, "'==' compares flags, request keys and true or false alone", "use !"),
        ("billing and rude", 8, "expected && or || or the end of the condition, got 'and'", "write &&"),
        ("not billing", 0, "'not' is not part of the language", "write !"),
        ("billing & rude", 8, "'&' means nothing here", "write &&"),
        ("step = 3", 5, "'=' means nothing here", "write =="),
        ("step + 1 < 3", 5, "'+' means nothing here", "there is no arithmetic"),
        ("step - 1 < 3", 5, "there is no arithmetic", ""),
        ("billing ? rude : rude", 8, "'?' means nothing here", "two rules"),
        ("size(request.tenant) > 1", 0, "there are no functions", ""),
        ("__import__('os')", 0, "there are no functions", ""),
        ("(billing", 8, "expected ')', got the end of the condition", "character 1"),
        ("billing)", 7, "expected && or || or the end of the condition, got ')'", ""),
        ("billing &&", 10, "expected a flag, a score, a value or '(', got the end of the condition", ""),
        ("request.tenant in 'x'", 18, "expected a list after 'in', got ''x''", "['a', 'b']"),
        ("request.labels", 0, "request.labels is a list of texts", '"vip" in request.labels'),
        ("'a' == request.labels", 7, "request.labels is a list of texts", "in request.labels"),
        ("1 in request.labels", 0, "expected a text in quotes before 'in request.labels', got a number", ""),
        (
            "rude in request.labels",
            0,
            "expected a text in quotes before 'in request.labels', got true or false",
            '"vip" in',
        ),
        ("request.labels in ['a']", 0, "request.labels is a list of texts", ""),
        ("'a' in request.role", 7, "expected a list after 'in', got 'request.role'", "in request.labels"),
        ("request.tenant in []", 19, "expected a number or a string in the list, got ']'", ""),
        ("request.tenant in ['a' 'b']", 23, "expected ',' or ']', got ''b''", ""),
        ("request.tenant in ['a', 1]", 24, "the list must hold a string at each place, got a number", ""),
        ("billing in [1]", 8, "'in' needs a number or a string before it, got a condition", ""),
        ("in [1]", 0, "'in' needs a value before it", ""),
        ("[1] == 1", 0, "a list can only follow 'in'", ""),
        ("step < 007", 7, "a whole number does not begin with 0", "write 7"),
        ("step < 1_000", 7, "this is not a number", ""),
        ("step < 1.", 7, "this is not a number", ""),
        ("step < " + "9" * 19, 7, "the number has more than 18 digits", ""),
        ("intent.billing < 1e999", 17, "the number is too large", ""),
        ("step < - rude", 9, "expected a number after '-', got 'rude'", ""),
        ("request.tenant == 'x", 18, "the string has no closing quote", "add '"),
        (r"request.tenant == 'a\d'", 20, r"there is no escape '\d'", ""),
        ("billing @", 8, "'@' means nothing here", ""),
    ],
)
def test_a_mistake_is_told_at_its_character(text: str, offset: int, message: str, hint: str) -> None:
    tree, mistakes = parse_condition(text, NAMES)
    assert tree is None
    assert [(m.offset, m.message) for m in mistakes] == [(offset, message)]
    assert hint in mistakes[0].hint


def test_every_wrong_name_and_type_of_a_condition_is_told_at_once() -> None:
    _, mistakes = parse_condition("billin && rud && step < 'x' && intent.billing", NAMES)
    assert [m.offset for m in mistakes] == [0, 10, 22, 31]


def test_a_wrong_name_does_not_hide_a_wrong_character() -> None:
    _, mistakes = parse_condition("billin && rude )", NAMES)
    assert [m.offset for m in mistakes] == [0, 15]


def test_mistakes_have_an_end() -> None:
    assert len(parse_condition("||".join(["x"] * 200), NAMES)[1]) == MAX_MISTAKES


@pytest.mark.parametrize(
    "text", ["(" * 2000 + "billing" + ")" * 2000, "!" * 4000 + "billing", "!(" * 1500 + "billing"]
)
def test_depth_is_bounded(text: str) -> None:
    _, mistakes = parse_condition(text, NAMES)
    assert [m.message for m in mistakes] == [f"the condition is nested more than {MAX_DEPTH} levels deep"]


def test_the_deepest_condition_is_read() -> None:
    assert parse_condition("(" * MAX_DEPTH + "billing" + ")" * MAX_DEPTH, NAMES) == (A, [])


def test_length_is_bounded() -> None:
    text = "billing" + " " * MAX_LENGTH
    assert (
        parse_condition(text, NAMES)[1][0].message == f"the condition has more than {MAX_LENGTH} characters"
    )
    assert parse_condition(text[:MAX_LENGTH], NAMES) == (A, [])


@given(st.text(alphabet="billng&|!()<>=.,[]'\"\\0159 ein-rqutsp", max_size=40))
def test_any_text_is_a_condition_or_has_a_mistake_within_it(text: str) -> None:
    tree, mistakes = parse_condition(text, NAMES)
    assert (tree is None) == bool(mistakes)
    assert all(0 <= m.offset <= len(text) for m in mistakes)
