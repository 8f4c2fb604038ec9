"""A comparison tells from the audit of both where the live policy and a candidate disagree, and how often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from guardsteer.audit import open_journal
from guardsteer.cli.main import main
from guardsteer.core.events import ActivationBegan, Event, RequestFailed, RowRevised
from guardsteer.core.policy import Policy
from guardsteer.errors import AuditError
from guardsteer.evaluate.compare import Comparison, Difference, Doing, compare
from guardsteer.evaluate.compare_text import format_comparison
from guardsteer.evaluate.intervals import wilson
from tests.evaluate.stories import PROMPT, TIME_NS, UP, adopted, policy_of, program_of, stored, story

LIVE = policy_of()
STRICT = policy_of(
    LIVE.text.replace("enter: 0.6, exit: 0.5", "enter: 0.8, exit: 0.5").replace(
        "strength: 0.2}", "strength: 0.25}"
    )
)
HOW = "b3:0, block_output 1"
Scores = list[dict[str, float]]


def pair(request: str, scores: Scores, candidate: Policy = STRICT, **other: Any) -> list[Event]:
    """Return what a request leaves behind under the live policy and, beside it, a candidate."""
    live = story(LIVE, scores, request=request, context={"tier": 1}, **other)
    seen = len(scores) if live[-1].reason == "stop" else live[-1].generated_tokens  # type: ignore[union-attr]  # a row that ended
    beside = story(
        candidate, scores[:seen], request=request, context={"tier": 1}, track="strict", mode="shadow"
    )
    return [live[0], *beside, *live[1:]]


def compared(*events: Event) -> Comparison:
    return compare(stored([adopted(LIVE), adopted(STRICT, track="strict"), *events]))


def test_policies_that_decide_alike_do_not_disagree() -> None:
    found = compared(*pair("r", [UP, {"mood.sad": 0.95}, {}, {"mood.sad": 0}], LIVE))
    (row,) = found.rows
    assert (row.disagrees, row.tokens, row.differing, row.differences) == (False, 4, 0, ())
    assert found.summary is not None
    assert found.summary.rows == wilson(0, 1)


def test_a_rule_that_fires_later_is_a_difference_up_to_then() -> None:
    found = compared(*pair("r", [{"intent.billing": 0.7}, {}, {"intent.billing": 0.85}, {}]))
    (row,) = found.rows
    assert row.rules == {"warm": 2}
    assert row.vectors == {"empathy": 2}
    assert row.differences == (Difference(0, 1, (Doing("empathy", "add", 0.3, HOW),), ()),)
    assert (row.live_fired, row.candidate_fired) == (("warm",), ("warm",))


def test_another_strength_is_a_difference_though_the_same_rules_fire() -> None:
    found = compared(*pair("r", [{"mood.sad": 0.8}, {}, {}]))
    (row,) = found.rows
    assert row.rules == {}
    assert row.vectors == {"empathy": 2}
    (each,) = row.differences
    assert (each.first, each.last) == (1, 2)
    praise = Doing("praise", "subtract", -0.1, HOW)
    assert each.live == (Doing("empathy", "add", 0.2, HOW), praise)
    assert each.candidate == (Doing("empathy", "add", 0.25, HOW), praise)
    # What both do alike is not told.
    assert "praise" not in format_comparison(found)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("vector_digest", "b3:9", "b3:9, block_output 1"),
        ("blocks", (1, 2), "b3:0, block_output 1 2"),
        ("site", "mlp", "mlp 1"),
        ("bounds", (None, 0.5), "any to 0.5"),
        ("keep_norm", True, "length kept"),
    ],
)
def test_the_same_name_and_strength_in_another_way_is_a_difference_too(
    field: str, value: object, told: str
) -> None:
    events = [
        structs.replace(event, **{field: value})
        if isinstance(event, ActivationBegan) and event.track == "strict"
        else event
        for event in pair("r", [UP, {}], LIVE)
    ]
    found = compared(*events)
    assert found.rows[0].vectors == {"empathy": 2}
    assert told in format_comparison(found)


def test_a_candidate_that_would_have_halted_differs_from_there_on() -> None:
    early = policy_of(LIVE.text.replace("step > 8", "step > 2"))
    scores: Scores = [{**UP, "mood.sad": 0.8}] + [{}] * 5
    (row,) = compared(*pair("r", scores, early)).rows
    assert [(each.first, each.last) for each in row.differences] == [(3, 5)]
    assert Doing("", "halt", how="b3:0") in row.differences[0].candidate


def test_single_rules_in_shadow_are_no_part_of_the_live_policy() -> None:
    held = policy_of(LIVE.text + "binding: {rules: {warm: shadow}}\n")
    live = story(held, [UP, {}], request="r", context={"tier": 1})
    beside = story(LIVE, [UP, {}], request="r", context={"tier": 1}, track="strict", mode="shadow")
    (row,) = compared(*live, *beside).rows
    assert row.vectors == {"empathy": 2}
    assert row.differences[0].live == ()


def test_a_revision_is_a_difference_of_its_step() -> None:
    events = pair("r", [{}, {}, {}], LIVE)
    revised = RowRevised(
        time_ns=TIME_NS, request="r", sequence=0, step=1, rule="lift", position=PROMPT, dropped=1, revision=1
    )
    (row,) = compared(*events[:-1], revised, events[-1]).rows
    assert row.differences == (Difference(1, 1, (Doing("", "revise", 1),), ()),)


def test_requests_that_one_policy_did_not_see_are_said() -> None:
    alone = story(LIVE, [UP], request="before", context={"tier": 1})
    beside = story(STRICT, [UP], request="lost", track="strict")
    found = compared(*alone, *pair("r", [UP]), *beside)
    assert (found.only_live, found.only_candidate) == (("before",), ("lost",))
    assert [row.request for row in found.rows] == ["r"]
    out, *_ = story(STRICT, [UP], request="r", track="strict")
    without = compared(*story(LIVE, [UP], request="r"), structs.replace(out, mode="off"))
    assert (without.only_live, without.rows) == (("r",), ())
    text = format_comparison(found)
    assert "seen by the live policy alone: 1 (before)" in text
    assert "seen by candidate strict alone: 1 (lost)" in text


def test_a_request_in_which_the_candidate_raised_is_not_compared_but_said() -> None:
    events = pair("r", [UP, {}])
    failed = RequestFailed(time_ns=TIME_NS, request="r", sequence=0, track="strict", error="ValueError")
    found = compared(*events, failed, *pair("s", [UP]))
    assert ([row.request for row in found.rows], found.failed) == (["s"], ("r",))
    assert "candidate strict failed, not compared: 1 (r)" in format_comparison(found)


def test_shares_come_with_intervals_in_all_and_by_arm() -> None:
    events: list[Event] = []
    for number in range(20):
        arm = "treated" if number % 4 == 0 else "control"
        scores: Scores = [{"intent.billing": 0.7 if arm == "treated" else 0.0}, {}, {}, {}]
        events += pair(f"r-{number}", scores, arm=arm)
    found = compared(*events)
    assert found.summary is not None
    assert found.summary.rows == wilson(5, 20)
    assert found.summary.tokens.value == pytest.approx(0.25)
    assert found.summary.tokens.low < 0.25 < found.summary.tokens.high
    warm = found.summary.rules["warm"]
    assert (warm.live, warm.candidate, warm.differs) == (5, 0, wilson(5, 20))
    assert found.summary.vectors["empathy"].tokens == 20
    assert found.arms["treated"].rows.value == 1.0
    assert found.arms["control"].rows.value == 0.0


@settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional={name: st.sampled_from([0.1, 0.5, 0.7, 0.9, 0.95]) for name in (*UP, "mood.sad")}
        ),
        min_size=1,
        max_size=12,
    )
)
def test_differing_tokens_are_those_at_which_the_two_plans_differ(scores: Scores) -> None:
    (row,) = compared(*pair("r", scores)).rows
    rows = [program_of(policy).start({"tier": 1}) for policy in (LIVE, STRICT)]
    signals, order = [0.0] * 3, list(rows[0].program.signal_index)
    wanted, over = [], False
    for step, given_ in enumerate(scores):
        for name, score in given_.items():
            signals[order.index(name)] = score
        plans = [each.before(signals) for each in rows]
        # At step 0 a vector that acts on generated tokens alone is left alone by both.
        acting = [plan.strengths if step else (plan.strengths[0], 0.0) for plan in plans]
        over = over or plans[1].halt >= 0
        if acting[0] != acting[1] or over != (plans[0].halt >= 0):
            wanted.append(step)
        if plans[0].halt >= 0:
            break
    differing = [step for each in row.differences for step in range(each.first, each.last + 1)]
    assert differing == wanted
    assert row.differing == len(wanted)


def test_which_candidate_must_be_clear() -> None:
    with pytest.raises(AuditError, match="no candidate policy"):
        compare(stored([adopted(LIVE), *story(LIVE, [UP])]))
    more = story(STRICT, [UP], request="r", track="lenient")
    events = stored([*pair("r", [UP]), *more])
    with pytest.raises(AuditError, match="several candidates; name one of lenient, strict"):
        compare(events)
    with pytest.raises(AuditError, match="no candidate 'x'"):
        compare(events, "x")
    assert compare(events, "lenient").candidate == "lenient"


def test_the_text_says_how_often_where_first_and_how() -> None:
    text = format_comparison(
        compared(*pair("r-7", [{"intent.billing": 0.7}, {}, {"intent.billing": 0.85}, {}]))
    )
    assert text.splitlines() == [
        "live policy and candidate strict: 1 row seen by both",
        f"  {LIVE.digest[:15]}... and {STRICT.digest[:15]}...: 1 row",
        "rows that disagree   1 of 1: 100.0 % (20.7 to 100.0)",
        "tokens that differ   50.0 % (50.0 to 50.0), 2 of 4",
        "first difference     r-7, steps 0 to 1: live adds empathy at 0.3, candidate does nothing",
        "",
        "rule  fired live  candidate  rows in which it differs",
        "warm           1          1  1 of 1: 100.0 % (20.7 to 100.0)",
        "",
        "vector    tokens  rows in which it differs",
        "empathy        2  1 of 1: 100.0 % (20.7 to 100.0)",
        "",
        "rows that disagree",
        "  r-7: 2 of 4 tokens; warm (2 steps)",
        "    steps 0 to 1: live adds empathy at 0.3, candidate does nothing",
    ]


def test_several_versions_in_one_log_are_said_to_be_mixed() -> None:
    other = policy_of(LIVE.text + "# another\n")
    events = [*pair("r", [UP]), *pair("s", [UP], other)]
    assert "several versions" in format_comparison(compared(*events))


def test_the_command_answers_from_a_log_on_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_journal(tmp_path / "audit") as journal:
        for event in pair("r-7", [{"intent.billing": 0.7}, {}]):
            journal.append(event)
    command = ["policy", "compare", "--audit", str(tmp_path / "audit")]
    assert main(command) == 0
    assert "rows that disagree   1 of 1" in capsys.readouterr().out
    assert main([*command, "--candidate", "strict", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["rows"][0]["disagrees"]
    assert answer["policies"] == [{"live": LIVE.digest, "candidate": STRICT.digest, "rows": 1}]
    assert answer["summary"]["rows"]["rows"] == 1
    assert main([*command, "--candidate", "x"]) == 2
    assert "no candidate 'x'" in capsys.readouterr().err
    assert main(["policy", "compare", "--audit", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err
