"""What time does to a flag: smoothing, counting, holding, resting, by token or by sentence."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.core.policy import FlagSpec, RuleSpec, Smoothing, SteerSpec
from guardsteer.rules import Program, RowRules, compile_policy
from tests.rules.random_policies import OUTPUTS, flags, policy_of
from tests.rules.reference import Seen, flag_truth, smoothed, updates
from tests.rules.support import NAN

scores = st.sampled_from([0.0, 0.25, 0.4, 0.5, 0.6, 0.7, 1.0]) | st.floats(0, 1)
histories = st.lists(st.tuples(scores | st.just(NAN), st.booleans()), min_size=1, max_size=40)
PLAIN = FlagSpec("f0", "s.a", 0.6, 0.6)


def program_of(flag: FlagSpec) -> Program:
    """Return a program that holds text back by 1 where the flag may be up, and steers where it is."""
    steer = (SteerSpec("v0", "add", strength=1.0),)
    rules = (RuleSpec("may", "f0", hold_back=1), RuleSpec("must", "f0", steer=steer))
    return compile_policy(policy_of(flags=(flag,), rules=rules), OUTPUTS)


def seen_of(history: list[tuple[float, bool]]) -> list[Seen]:
    """Return a history of scores, each with whether a sentence ended, as a row is shown it."""
    found, ended = [], 0
    for step, (score, ends) in enumerate(history):
        ended += bool(step and ends)
        found.append(Seen(step, (score, 0.0, 0.0), ended))
    return found


def take(row: RowRules, seen: Seen) -> tuple[bool, bool]:
    """Return whether the flag is certainly and possibly up after one more step."""
    plan = row.before(seen.signals, seen.sentences)
    return plan.strengths[0] == 1.0, plan.hold_back == 1


def observed(flag: FlagSpec, history: list[Seen]) -> list[tuple[bool, bool]]:
    row = program_of(flag).start()
    return [take(row, seen) for seen in history]


@settings(max_examples=400, deadline=None)
@given(flags(signal="s.a"), histories)
def test_a_flag_is_what_its_whole_history_says(flag: FlagSpec, history: list[tuple[float, bool]]) -> None:
    seen = seen_of(history)
    expected = [flag_truth(flag, 0, seen[: i + 1]) for i in range(len(seen))]
    assert observed(flag, seen) == [(truth is True, truth is not False) for truth in expected]


@settings(deadline=None)
@given(flags(signal="s.a"), histories)
def test_a_flag_turns_no_faster_than_its_hold_and_cooldown_say(
    flag: FlagSpec, history: list[tuple[float, bool]]
) -> None:
    """Counted in updates: steps whose score is there, or of these the first in each sentence."""
    seen = seen_of([(score, ends) for score, ends in history if score == score])
    ups = [must for must, _ in observed(flag, seen)]
    moments, last = [], -1
    for i, step in enumerate(seen):
        if flag.per == "token" or step.sentences > last:
            moments.append(ups[i])
            last = step.sentences
        else:
            assert ups[i] == ups[i - 1]
    runs: list[tuple[bool, int]] = []
    for up in moments:
        runs = [*runs[:-1], (up, runs[-1][1] + 1)] if runs and runs[-1][0] == up else [*runs, (up, 1)]
    for up, length in runs[1:-1]:
        assert length >= (flag.hold if up else flag.cooldown)
    if flag.latch:
        assert sum(up for up, _ in runs) <= 1
        assert not any(up for up, _ in runs[:-1])


@settings(deadline=None)
@given(flags(signal="s.a"), histories)
def test_a_flag_goes_up_only_where_enough_of_the_newest_scores_held_the_last_of_them_too(
    flag: FlagSpec, history: list[tuple[float, bool]]
) -> None:
    flag = replace(flag, per="token")
    seen = seen_of([(score, False) for score, _ in history if score == score])
    values = smoothed(flag, updates(flag, 0, seen))
    ups = [must for must, _ in observed(flag, seen)]
    for i in range(len(ups)):
        if ups[i] and not (i and ups[i - 1]):
            held = [
                value >= flag.enter for value in values[max(0, i + 1 - (flag.of_last or flag.after)) : i + 1]
            ]
            assert held[-1]
            assert sum(held) >= flag.after
        if i and ups[i - 1] and not ups[i]:
            assert values[i] < flag.exit


higher = st.lists(st.tuples(scores, scores, st.booleans(), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=300, deadline=None)
@given(flags(signal="s.a"), higher)
def test_higher_scores_never_lower_a_flag(
    flag: FlagSpec, history: list[tuple[float, float, bool, bool]]
) -> None:
    """For every flag without ``hold`` and ``cooldown``, and every latched one. A hold that begins earlier
    also ends earlier, so that with one a higher score can mean an earlier end.
    """
    if not flag.latch:
        flag = replace(flag, hold=0, cooldown=0)
    lower = seen_of([(NAN if gone else min(a, b), ends) for a, b, ends, gone in history])
    upper = seen_of([(NAN if gone else max(a, b), ends) for a, b, ends, gone in history])
    for below, above in zip(observed(flag, lower), observed(flag, upper), strict=True):
        assert below <= above


def test_with_a_hold_a_higher_score_can_mean_an_earlier_end() -> None:
    flag = replace(PLAIN, hold=3)
    assert ups_of(flag, "6 0 0 0") == "1 1 1 0"
    assert ups_of(flag, "0 0 6 0") == "0 0 1 1"


def ups_of(flag: FlagSpec, tenths: str) -> str:
    """Return when the flag is up, for scores in tenths; ``.`` after one ends a sentence with it."""
    history = [(int(item[0]) / 10, "." in item) for item in tenths.split()]
    return " ".join(str(int(must)) for must, _ in observed(flag, seen_of(history)))


@pytest.mark.parametrize(
    ("fields", "history", "ups"),
    [
        ({"after": 2, "of_last": 4}, "6 0 0 6 0 0 6 6", "0 0 0 1 0 0 1 1"),
        ({"after": 2, "of_last": 4, "exit": 0.0}, "6 0 0 0 6 6 0", "0 0 0 0 0 1 1"),
        ({"after": 3, "of_last": 3}, "6 6 5 6 6 6", "0 0 0 0 0 1"),
        ({"cooldown": 3}, "6 0 6 6 6", "1 0 0 0 1"),
        ({"cooldown": 3}, "6 6 0 6 6 6 6", "1 1 0 0 0 1 1"),
        ({"hold": 2, "cooldown": 2}, "6 0 0 6 6", "1 1 0 0 1"),
        ({"after": 2, "cooldown": 4}, "6 6 0 0 6 6 6", "0 1 0 0 0 0 1"),
        ({"smooth": Smoothing("ema", 0.5)}, "0 9 9 0 9", "0 0 1 0 1"),
        ({"smooth": Smoothing("ema", 0.3)}, "6 6 6 6 6", "1 1 1 1 1"),
        ({"smooth": Smoothing("max", 3)}, "6 0 0 0 0", "1 1 1 0 0"),
        ({"smooth": Smoothing("max", 2)}, "0 6 9 7 0 0", "0 1 1 1 1 0"),
        ({"per": "sentence"}, "0 9 9 9. 0 0 0. 9", "0 0 0 1 1 1 0 0"),
        ({"per": "sentence", "after": 2}, "9 9 9. 0 9. 9", "0 0 1 1 1 1"),
        ({"per": "sentence", "hold": 2}, "9 0 0. 0 0. 0", "1 1 1 1 0 0"),
        ({"latch": True, "after": 2, "of_last": 3}, "6 0 6 0 0", "0 0 1 1 1"),
    ],
)
def test_examples_that_can_be_read(fields: dict[str, Any], history: str, ups: str) -> None:
    assert ups_of(replace(PLAIN, **fields), history) == ups


def test_a_sentence_whose_score_is_missing_is_judged_by_the_first_score_that_comes() -> None:
    flag = replace(PLAIN, per="sentence")
    history = [(0.0, False), (NAN, True), (NAN, False), (0.9, False), (0.0, False)]
    assert observed(flag, seen_of(history)) == [
        (False, False),
        (False, True),
        (False, True),
        (True, True),
        (True, True),
    ]


@settings(deadline=None)
@given(flags(signal="s.a"), histories, histories)
def test_a_row_that_went_back_knows_nothing_of_what_it_saw(
    flag: FlagSpec, past: list[tuple[float, bool]], undone: list[tuple[float, bool]]
) -> None:
    seen, gone = seen_of(past + past), seen_of(past + undone)
    row = program_of(flag).start()
    for step in seen[: len(past)]:
        take(row, step)
    kept = row.fork()
    for step in gone[len(past) :]:
        take(row, step)
    assert [take(kept, step) for step in seen[len(past) :]] == observed(flag, seen)[len(past) :]


@pytest.mark.parametrize("length", [1, 2, 3, 7])
@given(history=st.lists(scores, min_size=1, max_size=60))
def test_the_highest_of_a_window_is_the_highest(length: int, history: list[float]) -> None:
    """Its queue is turned over every ``length`` steps; at no step may a score leave early or late."""
    seen = seen_of([(score, False) for score in history])
    flag = replace(PLAIN, smooth=Smoothing("max", length))
    for i, (must, _) in enumerate(observed(flag, seen)):
        assert must == (max(history[max(0, i + 1 - length) : i + 1]) >= 0.6)


def test_a_wide_window_costs_no_more_a_step_than_a_narrow_one() -> None:
    """Amortised: within a factor that a window a thousand times wider would exceed by far."""

    def cost(length: int) -> float:
        row = program_of(replace(PLAIN, smooth=Smoothing("max", length))).start()
        rows = [((i * 7919 % 1000) / 1000, 0.0, 0.0) for i in range(20_000)]
        started = time.process_time()
        for signals in rows:
            row.before(signals)
        return time.process_time() - started

    assert min(cost(8000) for _ in range(3)) < 10 * min(cost(8) for _ in range(3))
