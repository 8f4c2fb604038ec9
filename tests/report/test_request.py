"""The page of a request shows what the log holds of it, to everyone, and nothing that it does not hold."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.audit import verify
from guardsteer.core.events import (
    ClassifierFailed,
    ClassifierLate,
    Event,
    RequestFailed,
    RowHalted,
    RowRevised,
    RuleFired,
    Stopped,
)
from guardsteer.errors import AuditError
from guardsteer.report import Said, request_page
from tests.evaluate.stories import UP, adopted, policy_of, story
from tests.report.logs import KEY, START_NS, began, ended, finish, lines, start, timed, up, write
from tests.report.reading import Page, read_page

PROMPT = 10
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>\'"&lt;'
STRENGTH = re.compile(r"^(\w+) ([+-][\d.e-]+)$", re.MULTILINE)


def made(folder: Path, request: str = "r", **options: Any) -> Page:
    """Return the page of a request in a log that is verified first."""
    page = request_page(folder, request, key=KEY, verification=verify(folder), made_ns=START_NS, **options)
    return read_page(page)


def lived(folder: Path, **options: Any) -> Path:
    """Write a log of one request under a policy: it goes up and down, and two rules act."""
    policy = policy_of()
    scores = [
        {**UP, "mood.sad": 0.1},
        {},
        {"mood.sad": 0.7},
        {},
        {},
        {"mood.sad": 0.2},
        {"intent.billing": 0.3},
        {},
    ]
    events = [adopted(policy), *story(policy, scores, context={"tier": 2, "tenant": "acme"}, **options)]
    return write(folder, timed(events))


def raw_strengths(folder: Path) -> dict[int, dict[str, float]]:
    """Return, by position, what the lines of the log say acted, revisions taken into account."""
    acting: dict[int, dict[str, float]] = defaultdict(dict)
    for line in lines(folder):
        if line["kind"] == "row_revised":
            for position in [each for each in acting if each >= line["position"] - 1]:
                del acting[position]
        if line["kind"] == "activation_ended" and line.get("mode", "enforce") == "enforce":
            for position in range(line["first"], line["last"] + 1):
                acting[position][line["vector"]] = line["applied"]
    return dict(acting)


def told_strengths(page: Page) -> dict[int, dict[str, float]]:
    """Return, by the position of the pass, what the page's tokens say acted when they were chosen."""
    found: dict[int, dict[str, float]] = {}
    for token in page.tokens:
        (position,) = re.findall(r"^token at position (\d+)", token.told)
        over = int(re.findall(r"pass over position (\d+)", token.told)[0])
        assert over == int(position) - 1
        told = [line.split(" for ")[0] for line in token.told.splitlines()[1:]]
        pairs = [STRENGTH.match(line) for line in told if line != "nothing acted"]
        if pairs:
            found[over] = {pair[1]: float(pair[2]) for pair in pairs if pair is not None}
    return found


def test_the_page_has_its_parts_in_order_and_each_can_be_read_without_sight(tmp_path: Path) -> None:
    page = made(lived(tmp_path))
    assert page.headings == [
        (1, "Request r"),
        (2, "What was written"),
        (2, "Token by token"),
        (3, "Signals"),
        (3, "Flags"),
        (3, "Rules"),
        (3, "Strengths"),
        (2, "Why each rule fired or rested"),
        (2, "Who, when, under what"),
        (2, "Every record of this request"),
    ]
    assert [table.caption for table in page.tables] == [
        "What acted when each token was chosen, in runs of equal tokens",
        "Scores in the log, by signal and step",
        "When each flag was up, by step",
        "When each rule fired, by step",
        "What acted, with exact strengths",
        "Why each rule fired or rested, worked out again from the log",
        "Records of this request",
    ]
    assert [name for name, _ in page.figures] == ["Signals", "Flags", "Rules", "Strengths"]
    assert "No halt, no revision, no error and no late classifier" in page.text


def test_every_token_is_shaded_by_exactly_what_the_log_says_acted(tmp_path: Path) -> None:
    page = made(lived(tmp_path))
    expected = raw_strengths(tmp_path)
    assert expected, "something must act for this test to mean anything"
    assert told_strengths(page) == expected
    assert len(page.tokens) == 8
    shaded = [token for token in page.tokens if "--tint" in token.style]
    assert len(shaded) == len(expected)


def test_the_tables_hold_the_figures_of_the_log(tmp_path: Path) -> None:
    page = made(lived(tmp_path))
    log = lines(tmp_path)
    acts = page.table("What acted, with exact strengths")
    assert sorted((row[0].split()[1], row[2], float(row[4])) for row in acts.rows) == sorted(
        (
            line["vector"],
            str(line["first"]) if line["first"] == line["last"] else f"{line['first']} to {line['last']}",
            line["applied"],
        )
        for line in log
        if line["kind"] == "activation_ended"
    )
    told = {(row[0], int(row[1]), float(row[2])) for row in page.table("Scores in the log").rows}
    signals = {"billing": "intent.billing", "low": "mood.sad"}
    scores = {(signals[f["flag"]], f["step"], f["score"]) for f in log if f["kind"] == "flag_changed"}
    for line in log:
        if line["kind"] in ("rule_fired", "rule_released", "condition_changed"):
            scores |= {(name, line["step"], score) for name, score in line.get("scores", {}).items()}
    assert told == {(name, step, float(f"{score:.3g}")) for name, step, score in scores}
    records = [line for line in log if line.get("request") == "r"]
    assert page.table("Records of this request").column("record") == [str(line["seq"]) for line in records]


def test_flags_are_drawn_over_the_steps_at_which_they_were_up(tmp_path: Path) -> None:
    page = made(lived(tmp_path))
    rows = page.table("When each flag was up").rows
    up_at: dict[str, dict[int, bool]] = defaultdict(dict)
    for line in lines(tmp_path):
        if line["kind"] == "flag_changed":
            up_at[line["flag"]][line["step"]] = line["up"]
    for name, turns in up_at.items():
        steps, state = set(), False
        for step in range(8):
            state = turns.get(step, state)
            steps |= {step} if state else set()
        told = set()
        for row in rows:
            if row[0] == name:
                first, _, last = row[1].partition(" to ")
                told |= set(range(int(first), int(last or first) + 1))
        assert told == steps
    bars = [mark for mark in page.marks if mark.told.startswith("billing up, steps 0 to 5")]
    assert len(bars) == 1
    assert bars[0].number("left") == 0
    assert math.isclose(bars[0].number("width"), 100 * 6 / 8, abs_tol=0.01)


def test_only_scores_that_the_log_holds_are_drawn(tmp_path: Path) -> None:
    page = made(lived(tmp_path))
    dots = [mark for mark in page.marks if "dot" in mark.classes]
    assert len(dots) == len(page.table("Scores in the log").rows)
    assert "not at every step" in page.text


def test_what_was_taken_back_shades_nothing_and_is_drawn_where_it_happened(tmp_path: Path) -> None:
    first, second = began("calm", PROMPT + 1, 0.25), began("calm", PROMPT + 2, -0.5)
    back = RowRevised(
        time_ns=1, request="r", sequence=0, step=5, rule="again", position=PROMPT + 3, dropped=3, revision=1
    )
    events: list[Event] = [
        start(),
        first,
        ended(first, PROMPT + 4),
        back,
        second,
        ended(second, PROMPT + 5),
        finish(tokens=8, steered=5),
    ]
    page = made(write(tmp_path, timed(events)))
    assert told_strengths(page) == raw_strengths(tmp_path)
    assert told_strengths(page) == {11: {"calm": 0.25}, **{p: {"calm": -0.5} for p in (12, 13, 14, 15)}}
    assert page.text.count("3 taken back") == 1
    assert "step 5: again took back 3 tokens; writing goes on at position 13" in page.text
    acts = page.table("What acted, with exact strengths")
    assert acts.column("positions") == ["11 to 14", "12 to 15"]
    # Steps go on where positions repeat: the token before the gap is decided anew at step 6.
    assert acts.column("steps") == ["2 to 5", "6 to 9"]
    assert "step 6 by the pass over position 12" in next(
        t.told for t in page.tokens if "position 13," in t.told
    )


@pytest.mark.parametrize("kind", [{"mode": "shadow", "dropped": 3}, {"dropped": 0}])
def test_a_revision_in_shadow_or_of_nothing_takes_nothing_back(kind: dict[str, Any], tmp_path: Path) -> None:
    act = began("calm", PROMPT - 1, 0.25)
    row: dict[str, Any] = {"time_ns": 1, "request": "r", "sequence": 0, "step": 3, "rule": "again"}
    back = RowRevised(**row, position=PROMPT, revision=1, **kind)
    events: list[Event] = [start(), act, back, ended(act, PROMPT + 3), finish(tokens=8, steered=5)]
    page = made(write(tmp_path, timed(events)))
    assert told_strengths(page) == {position: {"calm": 0.25} for position in range(PROMPT - 1, PROMPT + 4)}


def test_halts_errors_and_late_classifiers_are_marked_by_form_and_in_words(tmp_path: Path) -> None:
    row: dict[str, Any] = {"time_ns": 1, "request": "r", "sequence": 0}
    events: list[Event] = [
        start(),
        ClassifierFailed(**row, step=1, classifier="mood", error="ValueError: no"),
        ClassifierLate(**row, step=2, classifier="mood", until=4),
        RowHalted(**row, step=5, rule="stop", position=15, fallback_digest="hk:0"),
        RowHalted(**row, step=6, rule="softer", position=16, fallback_digest="hk:0", mode="shadow"),
        RequestFailed(**row, error="RuntimeError: out of memory"),
    ]
    page = made(write(tmp_path, timed(events)))
    forms = {mark.told: mark.classes for mark in page.marks}
    assert "halt" in forms["step 5: stop halted the row; its fallback begins at position 15"]
    assert "ghost" in forms["step 6: softer would have halted the row; its fallback begins at position 16"]
    assert "cross" in forms["step 1: mood failed: ValueError: no"]
    assert "soft" in forms["steps 2 to 4: mood was late, its earlier scores stood"]
    assert "generation failed: RuntimeError: out of memory" in page.text
    assert len(page.table("What else happened").rows) == 5
    fallback = [token.told for token in page.tokens if "of the policy's fallback" in token.told]
    assert len(fallback) == len(page.tokens) - 5
    assert (
        "halted" in page.text[page.text.index("Positions of the tokens") : page.text.index("Token by token")]
    )


def test_what_a_bound_cut_and_what_is_in_shadow_is_told_apart_from_what_acted(tmp_path: Path) -> None:
    cut = began("calm", 9, 0.3, requested=0.8, limits=("max_strength", "budget"))
    would = began("other", 9, 0.5, mode="shadow")
    events: list[Event] = [start(), cut, would, ended(cut, 12), ended(would, 12), finish(steered=4)]
    page = made(write(tmp_path, timed(events)))
    assert told_strengths(page) == {position: {"calm": 0.3} for position in range(9, 13)}
    acts = page.table("What acted, with exact strengths")
    assert acts.column("asked for") == ["0.8 (cut by max_strength and budget)", ""]
    assert acts.column("mode") == ["enforce", "shadow"]
    ghosts = [mark for mark in page.marks if "ghost" in mark.classes and "bar" in mark.classes]
    assert len(ghosts) == 2
    assert "cut by max_strength and budget" in ghosts[0].told


def test_what_acted_in_the_prompt_has_a_place_on_the_axis(tmp_path: Path) -> None:
    early = began("calm", 2, 0.5)
    events: list[Event] = [start(), early, ended(early, 4), finish()]
    page = made(write(tmp_path, timed(events)), said=Said(tuple(range(10)), {0: tuple(range(100, 108))}))
    bar = next(mark for mark in page.marks if "calm +0.5 for warm: positions 2 to 4" in mark.told)
    assert 0 < bar.number("left") < 30
    assert bar.number("width") > 5
    prompt = [token for token in page.tokens if token.told.startswith("prompt token")]
    assert [("calm" in token.told) for token in prompt] == [place in (2, 3, 4) for place in range(10)]
    assert not any("calm" in token.told for token in page.tokens if token.told.startswith("token"))


def test_values_of_the_log_and_the_text_cannot_become_markup(tmp_path: Path) -> None:
    act = began(HOSTILE, 9, 0.5, request=HOSTILE, rule=HOSTILE)
    row: dict[str, Any] = {"time_ns": 1, "request": HOSTILE, "sequence": 0}
    events: list[Event] = [
        Stopped(time_ns=1, guard="g", by=HOSTILE, reason=HOSTILE),
        start(
            HOSTILE,
            tenant=HOSTILE,
            principal=HOSTILE,
            context={HOSTILE: HOSTILE},
            settings={HOSTILE: HOSTILE},
        ),
        up(HOSTILE, 0, request=HOSTILE),
        RuleFired(**row, step=0, rule=HOSTILE, scores={HOSTILE: 0.5}),
        act,
        ended(act, 12),
        ClassifierFailed(**row, step=0, classifier=HOSTILE, error=HOSTILE),
        finish(HOSTILE, tokens=4),
    ]
    write(tmp_path, timed(events))
    for said in (None, Said(HOSTILE, {0: HOSTILE})):
        page = made(tmp_path, HOSTILE, said=said)
        assert page.headings[0] == (1, f"Request {HOSTILE}")
        assert "<script" not in page.source
        assert "<img" not in page.source
        assert HOSTILE in page.text
    assert page.text.count(HOSTILE) > 10


def test_the_text_is_shown_by_its_tokens_and_held_against_the_log(tmp_path: Path) -> None:
    write(tmp_path, timed([start(), finish()]))
    right = Said(tuple(range(10)), {0: tuple(range(100, 108))})
    page = made(tmp_path, said=right)
    assert [token.text for token in page.tokens][:2] == ["#0 ", "#1 "]
    assert "Prompt and answer: the log's keyed digest is that of this text" in page.text
    assert "The record is whole" in page.text
    assert [token.text for token in page.tokens][-1] == "#107 "
    wrong = made(tmp_path, said=Said(None, {0: (*range(100, 107), 5)}))
    assert "NOT the text of the log" in wrong.text
    assert "Not to be relied on" in wrong.text
    longer = made(tmp_path, said=Said(None, {0: tuple(range(9))}))
    assert "it comes to 9 tokens, the log says 8" in longer.text
    assert "Not to be relied on" in longer.text
    unread = made(tmp_path, said=Said(None, {0: "A text."}))
    assert "give --tokenizer to have it shaded" in unread.text
    assert "A text." in unread.text
    without = read_page(request_page(tmp_path, "r", said=right, key=b"another key, 32 bytes long......"))
    assert "NOT the text of the log" in without.text


def test_without_a_text_tokens_are_shown_as_their_positions_and_the_page_says_so(tmp_path: Path) -> None:
    page = made(write(tmp_path, timed([start(), finish()])))
    assert "No text of the answer is at hand" in page.text
    assert [token.text.strip() for token in page.tokens] == [str(place) for place in range(10, 18)]


def test_a_log_that_was_changed_or_not_verified_is_not_said_to_be_whole(tmp_path: Path) -> None:
    lived(tmp_path)
    assert "The record is whole" in made(tmp_path).text
    unverified = read_page(request_page(tmp_path, "r")).text
    assert "Not verified" in unverified
    assert "The record is whole" not in unverified
    (segment,) = tmp_path.glob("*.jsonl")
    data = segment.read_bytes()
    assert b'"applied":0.3' in data
    segment.write_bytes(data.replace(b'"applied":0.3', b'"applied":0.1'))
    for text in (made(tmp_path).text, read_page(request_page(tmp_path, "r")).text):
        assert "Not to be relied on" in text
        assert "The record is whole" not in text


def test_a_change_in_another_stream_is_told_apart_from_one_in_this(tmp_path: Path) -> None:
    write(tmp_path, timed([start("other"), finish("other")]))
    (segment,) = tmp_path.glob("*.jsonl")
    write(tmp_path, timed([start(), finish()]))
    segment.write_bytes(segment.read_bytes().replace(b'"reason":"eos"', b'"reason":"sos"'))
    page = made(tmp_path)
    assert "Not all of the log is whole" in page.text
    assert "Nothing was found in the stream of this request" in page.text
    assert segment.name in page.text
    assert "Not to be relied on" in made(tmp_path, "other").text


def test_each_row_of_a_request_and_each_candidate_has_its_own_part(tmp_path: Path) -> None:
    policy = policy_of()
    scores = [UP, {}, {}]
    live = story(policy, scores, context={"tier": 1})
    beside = story(policy, scores, context={"tier": 1}, track="bolder", mode="enforce")
    events = [adopted(policy), adopted(policy, track="bolder"), *live[:-1], *beside, live[-1]]
    second = began("empathy", 9, 0.125, sequence=1)
    more: list[Event] = [start(sequence=1), second, ended(second, 12), finish(sequence=1, tokens=3)]
    write(tmp_path, timed([*events, *more]))
    with pytest.raises(AuditError):
        made(tmp_path, "another")
    page = made(tmp_path)
    titles = [title for _, title in page.headings]
    assert "Row 0: what was written" in titles
    assert "Row 1: what was written" in titles
    assert "Row 0, Candidate bolder: what it would have done" in titles
    assert "cannot be worked out again" in page.text
    assert "empathy +0.125 for warm" in page.source
    acted = page.text[page.text.index("Row 1: what was written") :]
    assert "empathy +0.125, 3 tokens" in acted


def test_who_when_and_under_what_is_told(tmp_path: Path) -> None:
    policy = policy_of()
    kind: dict[str, Any] = {
        "approved_by": "Ada Lovelace",
        "approved_at": "2026-11-21",
        "approval_key": "ed25519:1",
    }
    events = [
        adopted(policy, **kind),
        *story(policy, [UP, {}], context={"tier": 2}, arm="warm", mode="shadow"),
    ]
    page = made(write(tmp_path, timed(events)))
    for told in ("Ada Lovelace", policy.digest, "support", "warm", "shadow", "hk:1", "tier 2"):
        assert told in page.text
    assert "by nobody: the policy was not signed" not in page.text


@st.composite
def rows(draw: st.DrawFn) -> list[Event]:
    """Draw a row on which two vectors act, each at one strength after the other."""
    tokens = draw(st.integers(1, 30))
    events: list[Event] = []
    for vector in ("one", "two"):
        cuts = sorted(draw(st.sets(st.integers(PROMPT - 1, PROMPT + tokens - 2), max_size=5)))
        for first, after in pairwise([*cuts, PROMPT + tokens - 1]):
            act = began(vector, first, draw(st.sampled_from((-0.75, -0.5, 0.125, 0.25, 0.5))))
            events += [act, ended(act, draw(st.integers(first, after - 1)))]
    return [start(), *events, finish(tokens=tokens)]


@settings(max_examples=25, deadline=None)
@given(rows())
def test_whatever_acted_the_tokens_tell_it(
    tmp_path_factory: pytest.TempPathFactory, row: list[Event]
) -> None:
    folder = write(tmp_path_factory.mktemp("log"), timed(row))
    page = made(folder)
    assert told_strengths(page) == raw_strengths(folder)
    assert all(0 <= mark.number("left") <= 100 for mark in page.marks)


def test_the_policy_shown_is_the_one_that_the_request_ran_under(tmp_path: Path) -> None:
    policy = policy_of()
    other = policy_of(policy.text.replace("name: support", "name: another"))
    run = story(policy, [UP, {}], context={"tier": 2})
    page = made(write(tmp_path, timed([adopted(policy), adopted(other), *run])))
    assert policy.digest in page.text
    assert "another" not in page.text


def test_a_text_with_markup_is_shown_as_it_is_by_its_tokens(tmp_path: Path) -> None:
    from guardsteer.audit.text import KeptText
    from guardsteer.core.events import TextKept

    record = TextKept(
        time_ns=1,
        request="r",
        sequence=0,
        text="t",
        part="output",
        key="k",
        file="f",
        offset=0,
        bytes=1,
        digest="",
    )
    kept = KeptText(
        record, tuple(range(100, 108)), ("<b>", "bold", "</b>", "&amp;", "<script>", "x", "</script>", ".")
    )
    page = made(write(tmp_path, timed([start(), finish()])), said=Said(None, {0: kept}))
    assert [token.text for token in page.tokens] == list(kept.pieces)
    assert "the log's keyed digest is that of this text" in page.text
