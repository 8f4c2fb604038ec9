"""A trail as text."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit import Record, RecordsDropped, SegmentBegan, StoredEvent, StreamClosed, format_trail
from guardsteer.audit.wording import describe
from guardsteer.core.events import (
    ActivationBegan,
    Attached,
    ClassifierFailed,
    ClassifierLate,
    ClassifierRestored,
    ClassifierTripped,
    ConditionChanged,
    Detached,
    Event,
    FlagChanged,
    PolicyAdopted,
    PolicyRefused,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowRevised,
    RuleFired,
    RuleReleased,
    Stopped,
    TextDropped,
    TextForgotten,
    TextKept,
)
from tests.audit.support import TIME_NS, flag, story

OTHERS: list[Record] = [
    Attached(
        time_ns=TIME_NS,
        guard="g-1",
        library="0.1",
        policy="support",
        policy_digest="b3:" + "1" * 64,
        model={},
        vectors={},
        classifiers={},
    ),
    Detached(time_ns=TIME_NS, guard="g-1"),
    RuleReleased(time_ns=TIME_NS, request="r", sequence=0, step=1, rule="warm", scores={}),
    ClassifierFailed(
        time_ns=TIME_NS, request="r", sequence=0, step=1, classifier="intent", error="ValueError"
    ),
    RequestFailed(time_ns=TIME_NS, request="r", sequence=0, error="OutOfMemoryError"),
    RecordsDropped(time_ns=TIME_NS, count=3, first_ns=1, last_ns=2, reason="the queue is full"),
    StreamClosed(time_ns=TIME_NS, dropped=3),
    SegmentBegan(
        time_ns=TIME_NS,
        format=2,
        stream="s",
        number=2,
        previous="0",
        digest_key="k",
        library="0.1",
        pid=7,
        key="",
        seal="",
    ),
]


def stored(events: list[Record]) -> list[StoredEvent]:
    return [StoredEvent("stream-1", seq, event) for seq, event in enumerate(events, start=1)]


def test_a_requests_trail_reads_as_what_happened_line_by_line() -> None:
    heading, *lines = format_trail(stored(list(story()))).splitlines()
    assert heading == "stream stream-1"
    assert [line[:53] for line in lines] == [
        f"2023-11-14 22:13:20.123       {number} {'r-1':<21}" for number in range(1, 8)
    ]
    scores = "hostility.score 0.75, intent.billing missing"
    assert [line[53:] for line in lines] == [
        "start      42 prompt tokens, policy b3:111111111111..., tenant=acme tier=2",
        "flag       hostile up at step 0, score 0.75",
        f"rule       warm fired at step 0, {scores}",
        "steer      add empathy b3:333333333333... for warm from position 42, blocks 4 5, "
        f"strength 0.4 (0.5 requested), {scores}",
        "steer end  empathy for warm: positions 42 to 80, 39 tokens, strength 0.4",
        "halt       by stop at step 39, fallback from position 81",
        "end        39 tokens, 39 steered, halted",
    ]


def test_every_other_record_has_its_words() -> None:
    text = format_trail(stored(OTHERS))
    for words in (
        "attach     guard g-1, policy support",
        "detach     guard g-1",
        "warm released at step 1",
        "classifier intent at step 1: ValueError",
        "generation failed: OutOfMemoryError",
        "lost       3 events: the queue is full",
        "close      3 events lost",
        "segment    number 2",
    ):
        assert words in text


ROW: dict[str, Any] = {"time_ns": TIME_NS, "request": "r", "sequence": 0}
GUARD: dict[str, Any] = {"time_ns": TIME_NS, "guard": "g"}
ADOPTED: dict[str, Any] = {
    **GUARD,
    "policy": "support",
    "policy_digest": "b3:" + "1" * 64,
    "source": "reload",
    "text": "guardsteer: 1",
    "vectors": {},
    "classifiers": {},
}
STARTED: dict[str, Any] = {
    **ROW,
    "guard": "g",
    "policy_digest": "b3:1",
    "prompt_digest": "hk:2",
    "prompt_tokens": 1,
    "settings": {},
}
BEGAN: dict[str, Any] = {
    **ROW,
    "rule": "warm",
    "vector": "empathy",
    "vector_digest": "b3:3",
    "operator": "add",
    "blocks": (4,),
    "position": 7,
    "requested": 0.5,
    "applied": 0.5,
    "alphas": (1.0,),
    "scores": {},
}
TOLD: list[tuple[Record, str, str]] = [
    (PolicyAdopted(**ADOPTED, binding={}), "policy", "support b3:111111111111... by reload"),
    (
        PolicyAdopted(
            **ADOPTED,
            binding={"mode": "shadow"},
            track="beta",
            approved_by="Ada",
            approved_at="2026-01-02T03:04:05Z",
            approval_key="ed25519:ab",
        ),
        "policy",
        "(beta) support b3:111111111111... by reload, mode shadow, "
        "approved by Ada at 2026-01-02T03:04:05Z with key ed25519:ab",
    ),
    (
        PolicyRefused(**GUARD, file="policy.yaml", error="line 3: no"),
        "refused",
        "policy.yaml, the policy in force stays: line 3: no",
    ),
    (
        Stopped(**GUARD, by="file", reason="drill"),
        "stop",
        "every strength is zero from here on, by file: drill",
    ),
    (Stopped(**GUARD, by="call"), "stop", "every strength is zero from here on, by call"),
    (Resumed(**GUARD, by="call"), "resume", "the policy acts again, by call"),
    (
        ClassifierTripped(**GUARD, classifier="intent", failures=3, rest_s=30, error="ValueError"),
        "tripped",
        "classifier intent failed 3 times in a row, left alone for 30 s: ValueError",
    ),
    (ClassifierRestored(**GUARD, classifier="intent"), "restored", "classifier intent works again"),
    (
        ClassifierLate(**ROW, step=3, classifier="intent", until=5),
        "late",
        "classifier intent at step 3: its last scores stood until step 5",
    ),
    (
        RequestStarted(
            **STARTED,
            context={"labels": ["vip", "eu"], "tier": 2},
            mode="shadow",
            arm="control",
            overrides={"empathy": (0.9, 0.4), "calm": (0.1, 0.1)},
        ),
        "start",
        "1 prompt token, policy b3:1, labels=vip,eu tier=2, mode shadow, arm control, "
        "asked for empathy at 0.9, got 0.4, asked for calm at 0.1",
    ),
    (
        ConditionChanged(
            **ROW, step=2, condition="a.b >= 0.5", truth="undecided", scores={"a.b": None}, track="beta"
        ),
        "condition",
        "(beta) a.b >= 0.5 undecided at step 2, a.b missing",
    ),
    (
        RuleFired(**ROW, step=2, rule="warm", scores={}, mode="shadow"),
        "rule",
        "(shadow) warm fired at step 2",
    ),
    (
        FlagChanged(**ROW, step=2, flag="rude", up=False, score=None),
        "flag",
        "rude down at step 2, score missing",
    ),
    (
        FlagChanged(**ROW, step=2, flag="rude", up=True, score=0.8, threshold=0.6),
        "flag",
        "rude up at step 2, score 0.8, enter 0.6",
    ),
    (
        FlagChanged(**ROW, step=2, flag="rude", up=False, score=0.2, threshold=0.3),
        "flag",
        "rude down at step 2, score 0.2, exit 0.3",
    ),
    (
        RowRevised(**ROW, step=9, rule="kind", position=20, dropped=1, revision=2, mode="shadow"),
        "revise",
        "(shadow) kind at step 9 took back 1 token, writes on at position 20, revision 2",
    ),
    (
        ActivationBegan(
            **{**BEGAN, "operator": "clamp", "applied": 0.25},
            site="heads",
            heads=(0, 3),
            bounds=(-0.1, 0.2),
            keep_norm=True,
            limits=("max_strength", "budget"),
            mode="shadow",
        ),
        "steer",
        "(shadow) clamp empathy b3:3 for warm from position 7, block 4, at heads 0 3, strength 0.25 "
        "(0.5 requested, cut by max_strength and budget), kept between -0.1 and 0.2, length kept",
    ),
    (
        RequestEnded(
            **ROW,
            generated_tokens=9,
            steered_tokens=3,
            output_digest="hk:1",
            reason="stop",
            withheld_tokens=2,
            limited_tokens=1,
        ),
        "end",
        "9 tokens, 3 steered, stop, 2 withheld, 1 cut down to the budget",
    ),
    (
        TextKept(**ROW, text="t-0", part="output", key="ab12", file="f", offset=7, bytes=310, digest="d"),
        "text",
        "output kept, 310 bytes under key ab12",
    ),
    (
        TextForgotten(time_ns=TIME_NS, keys=("ab12", "cd34"), reason="asked for"),
        "forget",
        "the keys ab12, cd34 were destroyed, and all text under it: asked for",
    ),
    (
        TextDropped(time_ns=TIME_NS, count=1, first_ns=1, last_ns=2, reason="the disk is full"),
        "lost",
        "1 text not kept: the disk is full",
    ),
]


@pytest.mark.parametrize(("event", "label", "words"), TOLD, ids=lambda value: type(value).__name__)
def test_a_record_is_told_in_plain_words_with_all_that_changes_its_meaning(
    event: Record, label: str, words: str
) -> None:
    assert describe(event) == (label, words)


def test_no_kind_of_event_is_left_without_words() -> None:
    told = {type(event) for event, _, _ in TOLD} | {type(event) for event in [*story(), *OTHERS]}
    assert set(get_args(Event)) <= told
    for event in [*story(), *OTHERS, *(event for event, _, _ in TOLD)]:
        label, details = describe(event)
        assert 0 < len(label) <= 10
        assert details


def test_color_adds_escapes_and_changes_no_word() -> None:
    events = stored([*story(), *OTHERS])
    plain, colored = format_trail(events), format_trail(events, color=True)
    assert "\x1b" not in plain
    assert "\x1b[32m" in colored
    stripped = colored
    for code in (0, 31, 32, 33, 34, 36, 90):
        stripped = stripped.replace(f"\x1b[{code}m", "")
    assert stripped == plain


@given(st.text())
def test_what_a_request_brings_along_cannot_steer_the_terminal_or_add_a_line(text: str) -> None:
    event = dataclasses.replace(StoredEvent("s", 1, flag(0)), event=flag_named(text))
    shown = format_trail([event])
    assert len(shown.splitlines()) == 2
    assert all(char.isprintable() for char in shown.replace("\n", ""))


def flag_named(name: str) -> ClassifierFailed:
    return ClassifierFailed(time_ns=TIME_NS, request=name, sequence=0, step=0, classifier=name, error=name)


def test_an_altered_record_is_marked() -> None:
    marked = format_trail([StoredEvent("s", 1, flag(0), intact=False)])
    assert marked.endswith("CHAIN BROKEN: changed, here or just before")


def test_a_forged_time_is_shown_as_it_stands() -> None:
    event = Detached(time_ns=10**30, guard="g")
    assert str(10**30) in format_trail([StoredEvent("s", 1, event)])


def test_no_records_give_no_text() -> None:
    assert format_trail([]) == ""


def test_rows_of_an_expanded_request_are_told_apart_and_long_ids_are_cut() -> None:
    event = RequestFailed(time_ns=TIME_NS, request="r" * 32, sequence=12, error="KeyError")
    line = format_trail(stored([event])).splitlines()[1]
    assert " " + "r" * 14 + ".../12 " in line
