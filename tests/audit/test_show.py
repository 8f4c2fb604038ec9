"""A trail as text."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from guardsteer.audit import Record, RecordsDropped, SegmentBegan, StoredEvent, StreamClosed, format_trail
from guardsteer.core.events import (
    Attached,
    ClassifierFailed,
    Detached,
    RequestFailed,
    RuleReleased,
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
        time_ns=TIME_NS, format=1, stream="s", number=2, previous="0", digest_key="k", library="0.1", pid=7
    ),
]


def stored(events: list[Record]) -> list[StoredEvent]:
    return [StoredEvent("stream-1", seq, event) for seq, event in enumerate(events, start=1)]


def test_a_requests_trail_reads_as_what_happened_line_by_line() -> None:
    heading, *lines = format_trail(stored(list(story()))).splitlines()
    assert heading == "stream stream-1"
    assert [line[:53] for line in lines] == [
        f"2027-01-15 08:00:00.123       {number} {'r-1':<21}" for number in range(1, 8)
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
