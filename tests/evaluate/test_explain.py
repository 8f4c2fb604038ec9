"""An explanation tells from the audit alone why each rule fired or not, and where the log is not whole."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from guardsteer.audit import StoredEvent
from guardsteer.core.events import (
    ClassifierFailed,
    ConditionChanged,
    Event,
    FlagChanged,
    RequestEnded,
    Resumed,
    RowRevised,
    RuleFired,
    RuleReleased,
    Stopped,
)
from guardsteer.errors import AuditError
from guardsteer.evaluate.explain import Explanation, RuleStory, explain, narrowed
from guardsteer.evaluate.explain_text import format_explanation
from guardsteer.rules import RowRules
from tests.evaluate.stories import (
    PROMPT,
    TIME_NS,
    UP,
    adopted,
    change_event,
    policy_of,
    program_of,
    stored,
    story,
)

NAN = math.nan
WHO: dict[str, Any] = {"time_ns": TIME_NS + 10, "request": "r", "sequence": 0}
Scores = list[dict[str, float]]
POLICY = policy_of()


def explained(events: list[Event]) -> Explanation:
    (found,) = explain(stored([adopted(POLICY), *events]), "r")
    return found


def of_rule(found: Explanation, rule: str) -> RuleStory:
    return next(story for story in found.rules if story.rule == rule)


def outline(rule: RuleStory) -> list[tuple[int, int, bool, str]]:
    return [(s.first, s.last, s.fires, s.condition) for s in rule.stretches]


def test_steps_are_cut_where_something_about_the_rule_changed() -> None:
    scores: list[dict[str, float]] = [UP, {}, {"intent.other": 0.5}, {}, {"intent.other": 0.2}]
    found = explained(story(POLICY, scores, context={"tier": 1}))
    warm = of_rule(found, "warm")
    assert outline(warm) == [(0, 1, True, "true"), (2, 3, False, "false"), (4, 4, True, "true")]
    billing, tier, other = warm.stretches[1].parts
    assert (billing.text, billing.truth, billing.since, billing.scores) == ("billing", "true", 0, {"": 0.9})
    assert (tier.text, tier.truth) == ("request.tier >= 1", "true")
    assert (other.truth, other.since, other.scores) == ("false", 2, {"intent.other": 0.5})
    assert warm.stretches[0].effects == ("added empathy at 0.3, steps 0 to 1",)
    assert warm.stretches[1].effects == ()
    assert not found.disagreements
    assert found.last_step == 4


def test_a_comparison_of_the_step_is_worked_out_and_an_outranked_rule_names_the_winner() -> None:
    scores: list[dict[str, float]] = [{**UP, "mood.sad": 0.8}] + [{}] * 7
    found = explained(story(POLICY, scores, context={"tier": 1}))
    lift = of_rule(found, "lift")
    assert outline(lift) == [(0, 0, False, "false"), (1, 5, True, "true"), (6, 7, False, "false")]
    assert lift.stretches[1].effects == (
        "added empathy at 0.2, steps 1 to 5",
        "subtracted praise at -0.1, steps 1 to 5",
    )
    assert [part.text for part in lift.stretches[2].parts if part.truth == "false"] == ["step < 6"]
    warm = of_rule(found, "warm")
    # Nothing about its condition changed: what became of its vector did, and the line says when.
    assert outline(warm) == [(0, 7, True, "true")]
    (effect,) = warm.stretches[0].effects
    own, other = effect.split("; ")
    assert own == "added empathy at 0.3, step 0 and steps 6 to 7"
    assert other == "steps 1 to 5: lift decided it (priority 5 over 0)"


def test_a_vector_that_was_disabled_or_acts_elsewhere_is_said_to_be_left_alone() -> None:
    scores: list[dict[str, float]] = [{}, {"mood.sad": 0.95}, {}, {}]
    lift = of_rule(explained(story(POLICY, scores)), "lift")
    (effects,) = (s.effects for s in lift.stretches if s.fires)
    assert effects[1] == "praise left alone: hush disabled it"
    prompt_only = policy_of(POLICY.text.replace("[last_prompt_token, generated]", "[last_prompt_token]"))
    events = [adopted(prompt_only), *story(prompt_only, [UP, {}, {}], context={"tier": 1})]
    (found,) = explain(stored(events), "r")
    (stretch,) = of_rule(found, "warm").stretches
    assert stretch.effects == ("added empathy at 0.3, step 0",)
    late = [adopted(prompt_only), *story(prompt_only, [{}, UP, {}], context={"tier": 1})]
    (found,) = explain(stored(late), "r")
    assert of_rule(found, "warm").stretches[1].effects == (
        "empathy left alone: it acts on last_prompt_token alone",
    )


def test_a_missing_score_makes_parts_undecided_and_the_rule_follows_its_on_error() -> None:
    scores: list[dict[str, float]] = [UP, {"mood.sad": NAN}, {"intent.billing": NAN}, {"mood.sad": 0.1}]
    found = explained(story(POLICY, scores, context={"tier": 1}))
    assert outline(of_rule(found, "hush")) == [
        (0, 0, False, "false"),
        (1, 2, True, "undecided"),
        (3, 3, False, "false"),
    ]
    assert outline(of_rule(found, "warm")) == [(0, 1, True, "true"), (2, 3, False, "undecided")]
    billing = of_rule(found, "warm").stretches[1].parts[0]
    assert (billing.truth, billing.since) == ("undecided", 2)
    assert not found.disagreements


def test_a_flag_that_was_undecided_and_then_went_down_is_down() -> None:
    scores: list[dict[str, float]] = [{"mood.sad": 0.7}, {}, {"mood.sad": NAN}, {"mood.sad": 0.0}]
    found = explained(story(POLICY, scores))
    low = [s.parts[0].truth for s in of_rule(found, "lift").stretches]
    assert low == ["false", "true", "undecided", "false"]
    assert not found.disagreements


def test_a_request_key_that_was_not_brought_leaves_the_condition_undecided() -> None:
    found = explained(story(POLICY, [UP]))
    assert outline(of_rule(found, "warm")) == [(0, 0, False, "undecided")]
    assert not found.disagreements


def test_a_halt_ends_the_story_and_is_told() -> None:
    scores: list[dict[str, float]] = [{**UP, "mood.sad": 0.8}] + [{}] * 20
    found = explained(story(POLICY, scores, context={"tier": 1}))
    assert found.last_step == 9
    assert found.happenings == ("step 9: stop halted the row",)
    assert of_rule(found, "stop").stretches[-1].effects == ("halted the row",)
    assert found.end.endswith("halted")


SCORE = st.sampled_from([0.0, 0.2, 0.35, 0.55, 0.65, 0.95, NAN])
STEPS = st.lists(
    st.fixed_dictionaries({}, optional={"intent.billing": SCORE, "intent.other": SCORE, "mood.sad": SCORE}),
    min_size=1,
    max_size=14,
)


@given(STEPS, st.sampled_from([{}, {"tier": 0}, {"tier": 3}]))
def test_what_the_log_says_of_parts_and_of_rules_always_agrees(
    scores: list[dict[str, float]], context: dict[str, Any]
) -> None:
    found = explained(story(POLICY, scores, context=context))
    assert not found.disagreements
    for rule in found.rules:
        assert rule.stretches[0].first == 0
        assert rule.stretches[-1].last == found.last_step
        for before, after in zip(rule.stretches, rule.stretches[1:], strict=False):
            assert after.first == before.last + 1
        assert "unknown" not in {s.condition for s in rule.stretches}


@given(STEPS, st.data())
def test_a_rule_record_that_was_left_out_or_turned_round_is_noticed(
    scores: list[dict[str, float]], data: st.DataObject
) -> None:
    events = story(POLICY, scores, context={"tier": 1})
    rules = [place for place, event in enumerate(events) if isinstance(event, RuleFired | RuleReleased)]
    if not rules:
        return
    place = data.draw(st.sampled_from(rules))
    changed = events[:place] + events[place + 1 :]
    assert explained(changed).disagreements


REVISING = policy_of(
    POLICY.text.replace(
        "  - {id: stop, when: low && billing && step > 8, halt: true}",
        "  - {id: mend, when: mood.sad > 0.9, revise: {tokens: 2, then: continue}, "
        "add: {vector: praise, strength: 0.1}}",
    )
)


@given(STEPS, STEPS)
def test_after_a_revision_the_truths_are_those_of_the_text_that_stayed(first: Scores, then: Scores) -> None:
    """Flags and rules that were up on text that was taken back are down again, and the log is whole."""
    first = [*first, {"intent.billing": 0.9}, {"mood.sad": 0.2}, {"mood.sad": 0.95}]
    row = program_of(REVISING).start({"tier": 1}, explain=True)
    events: list[Event] = [story(REVISING, [{}], context={"tier": 1})[0]]
    signals, order = [0.0] * 3, list(row.program.signal_index)
    past: list[tuple[RowRules, list[float], dict[str, float]]] = [(row.fork(), list(signals), {})]
    step, queue = 0, list(first)
    revised = False
    while queue:
        scores = queue.pop(0)
        for name, score in scores.items():
            signals[order.index(name)] = score
        plan = row.before(signals)
        events += [change_event(change, step, WHO) for change in row.changes]
        past.append((row.fork(), list(signals), scores))
        if plan.revise >= 0 and not revised:
            revised = True
            stays = max(0, len(past) - 2 - 2)
            events.append(
                RowRevised(
                    **WHO,
                    step=step,
                    rule="mend",
                    position=PROMPT + stays,
                    dropped=len(past) - 2 - stays,
                    revision=1,
                )
            )
            restored, kept, _ = past[stays]
            if step:
                restored = restored.fork()
                restored.take_revisions(row)
                row, signals = restored, list(kept)
            # At the prompt there is nothing to take back, and the next step is the next.
            queue = [past[stays + 1][2], *then] if step else list(then)
            row.revised(plan.revise)
        step += 1
    assert revised
    stayed = stays + len(then) + 1
    events.append(
        RequestEnded(**WHO, generated_tokens=stayed, steered_tokens=0, output_digest="hk:0", reason="stop")
    )
    found = explain(stored([adopted(REVISING), *events]), "r")[0]
    assert not found.disagreements
    assert found.last_step == step - 1
    (last,) = (s for s in of_rule(found, "mend").stretches if s.last == found.last_step)
    assert last.fires == (last.condition != "false")


def test_a_comparison_that_is_not_in_the_log_is_unknown_and_blames_nobody() -> None:
    events: list[Event] = [
        event
        for event in story(POLICY, [UP, {"intent.other": 0.5}], context={"tier": 1})
        if not isinstance(event, ConditionChanged)
    ]
    found = explained(events)
    assert {s.condition for s in of_rule(found, "warm").stretches} == {"unknown"}
    assert not found.disagreements
    assert "intent.other < 0.3: not in the log" in format_explanation(found)


def test_shadow_says_what_would_have_been() -> None:
    found = explained(story(POLICY, [UP, {}], context={"tier": 1}, mode="shadow"))
    warm = of_rule(found, "warm")
    assert (found.mode, warm.mode) == ("shadow", "shadow")
    assert warm.stretches[0].effects == ("would have added empathy at 0.3, steps 0 to 1",)


def test_a_rule_that_the_binding_switched_off_was_not_evaluated() -> None:
    events: list[Event] = [adopted(POLICY, binding={"rules": {"warm": "off", "hush": "shadow"}})]
    events += [e for e in story(POLICY, [{}]) if getattr(e, "rule", "") != "warm"]
    (found,) = explain(stored(events), "r")
    assert (of_rule(found, "warm").mode, of_rule(found, "hush").mode) == ("off", "shadow")
    assert "not evaluated" in format_explanation(found)
    start, *_ = story(POLICY, [{}])
    off = structs.replace(start, mode="off")
    assert {rule.mode for rule in explained([off]).rules} == {"off"}


def test_live_and_candidate_are_explained_apart_each_under_its_policy() -> None:
    candidate = policy_of(POLICY.text.replace("enter: 0.6, exit: 0.5", "enter: 0.95, exit: 0.5"))
    live = story(POLICY, [UP, {}], context={"tier": 1})
    beside = story(candidate, [UP, {}], context={"tier": 1}, track="strict")
    events = [adopted(POLICY), adopted(candidate, track="strict"), *live, *beside]
    first, second = explain(stored(events), "r")
    assert (first.track, second.track) == ("", "strict")
    assert of_rule(first, "warm").stretches[0].fires
    assert not of_rule(second, "warm").stretches[0].fires
    assert second.policy_digest == candidate.digest
    assert second.last_step == 1


def test_what_else_happened_is_told() -> None:
    who: dict[str, Any] = {"time_ns": TIME_NS + 10, "request": "r", "sequence": 0}
    events = story(POLICY, [{}, {}, {}])
    events[-1:-1] = [
        ClassifierFailed(**who, step=1, classifier="mood", error="ValueError"),
        RowRevised(**who, step=2, rule="lift", position=PROMPT + 1, dropped=1, revision=1),
    ]
    before = [Stopped(time_ns=TIME_NS, guard="g", by="file", reason="drill")]
    found = explained([*before, *events])
    assert found.happenings == (
        "step 2: lift took back 1 token(s)",
        "step 1: the classifier mood failed: ValueError",
        "the kill switch was on since before this request (by file: drill)",
    )
    resumed = Resumed(time_ns=TIME_NS + 5, guard="g", by="call")
    undone = Resumed(time_ns=TIME_NS + 5, guard="g", by="file")
    assert not any("kill" in line for line in explained([*before, undone, *events]).happenings)
    both: list[Event] = [Stopped(time_ns=TIME_NS + 1, guard="g", by="call"), resumed]
    (line,) = (line for line in explained([*before, *both, *events]).happenings if "kill" in line)
    assert line.endswith("(by file: drill)"), "one of two causes was taken back, the other stays"
    within = Resumed(time_ns=TIME_NS + 10, guard="g", by="file")
    (line,) = (line for line in explained([*before, within, *events]).happenings if "kill" in line)
    assert line.endswith("taken back during it by file")
    other = Stopped(time_ns=TIME_NS, guard="another", by="file")
    assert not any("kill" in line for line in explained([other, *events]).happenings)


def test_of_requests_under_one_id_the_last_is_explained() -> None:
    found = explained([*story(POLICY, [UP], context={"tier": 1}), *story(POLICY, [{}, {}])])
    assert found.last_step == 1
    assert not of_rule(found, "warm").stretches[0].fires
    assert "1 earlier" in found.notes[0]


def test_a_log_without_the_request_or_its_policy_says_so() -> None:
    events = stored(story(POLICY, [UP]))
    with pytest.raises(AuditError, match="no record of request 'x'"):
        explain(events, "x")
    with pytest.raises(AuditError, match="does not hold the policy"):
        explain(events, "r")
    other = policy_of(POLICY.text + "# changed\n")
    with pytest.raises(AuditError, match=POLICY.digest):
        explain([*stored([adopted(other)]), *events], "r")


def test_altered_lines_are_noted() -> None:
    records = stored([adopted(POLICY), *story(POLICY, [UP])])
    records[1] = StoredEvent("s", 1, records[1].event, intact=False)
    (found,) = explain(records, "r")
    assert any("altered" in note for note in found.notes)


def test_a_step_or_a_rule_alone() -> None:
    scores: list[dict[str, float]] = [UP, {}, {"intent.other": 0.5}]
    found = explained(story(POLICY, scores, context={"tier": 1}))
    one = narrowed(found, step=2, rule="warm")
    (rule,) = one.rules
    assert outline(rule) == [(2, 2, False, "false")]
    assert len(narrowed(found, step=0).rules) == 4


def test_the_text_reads_from_top_to_bottom() -> None:
    scores: list[dict[str, float]] = [UP, {}, {"intent.other": 0.5}]
    found = narrowed(explained(story(POLICY, scores, context={"tier": 1})), rule="warm")
    digest = POLICY.digest[:15]
    same = [
        "billing is up since step 0, score 0.9 (up at intent.billing >= 0.6, down below 0.5)",
        "                        request.tier >= 1 is true since step 0",
    ]
    assert format_explanation(found).splitlines() == [
        f"request r: policy support {digest}..., mode enforce",
        "steps 0 to 2; 3 tokens, 0 steered, stop",
        "",
        "warm, when billing && request.tier >= 1 && intent.other < 0.3",
        f"  steps 0-1     fires   {same[0]}",
        same[1],
        "                        intent.other < 0.3 is true since step 0, intent.other 0.1",
        "                        -> added empathy at 0.3, steps 0 to 1",
        f"  step 2        rests   {same[0]}",
        same[1],
        "                        intent.other < 0.3 is false since step 2, intent.other 0.5",
    ]


def test_nothing_that_a_request_brings_can_steer_the_terminal() -> None:
    event = FlagChanged(time_ns=1, request="r\x1b[31m", sequence=0, step=0, flag="x", up=True, score=1)
    (found,) = explain(stored([adopted(POLICY), event]), "r\x1b[31m")
    assert "\x1b" not in format_explanation(found)
    assert any("beginning" in note for note in found.notes)
