"""What stands in for a classifier that fails, what is told of it, and that nothing of it raises."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import pytest

from guardsteer.classify.pace.guarded import GuardedClassifier, GuardedState, Incident, guarded, stand_in
from guardsteer.core.policy import BreakerSpec, ClassifierSpec, OnError
from tests.classify.failing import RAISED as TOLD
from tests.classify.failing import Scripted, told_of

CHOICES: tuple[OnError, ...] = ("closed", "open", "last_state")
RAISED = Incident("failed", TOLD)


def put_on(scripted: Scripted, on_error: OnError = "closed", **settings: Any) -> GuardedClassifier:
    settings = {"breaker": BreakerSpec(failures=1000), **settings}
    clock = settings.pop("clock", time.monotonic)
    found = guarded(ClassifierSpec("c", "all", on_error=on_error, **settings), scripted, clock=clock)
    assert isinstance(found, GuardedClassifier)
    return found


def same(found: Sequence[float], expected: Sequence[float]) -> bool:
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(found, expected, strict=True))


def step(state: GuardedState, text: str) -> Sequence[float]:
    state.push(text)
    return state.scores()


def test_a_classifier_that_asks_for_nothing_is_left_as_it_is() -> None:
    scripted = Scripted()
    assert guarded(ClassifierSpec("c", "all"), scripted) is scripted


@pytest.mark.parametrize("on_error", ["open", "last_state"])
def test_another_on_error_alone_is_reason_enough(on_error: OnError) -> None:
    assert isinstance(guarded(ClassifierSpec("c", "all", on_error=on_error), Scripted()), GuardedClassifier)


@pytest.mark.parametrize(
    ("on_error", "expected"), [("closed", [math.nan]), ("open", [0.0]), ("last_state", [0.02])]
)
def test_a_state_that_raised_is_not_called_again_and_its_stand_in_stays(
    on_error: OnError, expected: list[float]
) -> None:
    scripted = Scripted()
    classifier = put_on(scripted, on_error)
    state = classifier.start()
    assert list(step(state, "ab")) == [0.02]
    for text in ("!", "c", "d"):
        assert same(step(state, text), expected)
    assert state.take() == [RAISED]
    assert state.take() == []
    assert same(step(state.fork(), "e"), expected)
    assert len(scripted.calls) == 2
    assert list(step(classifier.start(), "x")) == [0.01], "a new row calls it again"


@pytest.mark.parametrize(
    ("on_error", "expected"), [("closed", [math.nan]), ("open", [0.0]), ("last_state", [0.0])]
)
def test_a_state_that_cannot_begin_has_a_stand_in_from_the_start(
    on_error: OnError, expected: list[float]
) -> None:
    scripted = Scripted()
    scripted.broken_start = True
    state = put_on(scripted, on_error).start()
    assert list(state.scores()) == [0.0], "nothing was read"
    assert same(step(state, "ab"), expected)
    assert state.take() == [Incident("failed", told_of("OSError"))]


@pytest.mark.parametrize(
    ("on_error", "expected"), [("closed", [math.nan]), ("open", [0.0]), ("last_state", [0.02])]
)
def test_nan_has_a_stand_in_for_as_long_as_it_lasts(on_error: OnError, expected: list[float]) -> None:
    state = put_on(Scripted(), on_error).start()
    step(state, "ab")
    for _ in range(3):
        assert same(step(state, "?"), expected)
    assert list(step(state, "c")) == [0.06]
    assert same(step(state, "?"), [0.06] if on_error == "last_state" else expected)
    assert state.take() == [Incident("failed", "no number for score")] * 2


def test_only_the_output_that_is_nan_has_a_stand_in() -> None:
    class Half(Scripted):
        def start(self) -> Any:
            return HalfState()

    class HalfState:
        def push(self, _: str) -> None:
            pass

        def scores(self) -> Sequence[float]:
            return (0.7, math.nan)

        def fork(self) -> Any:
            return self

    state = put_on(Half(("one", "two")), "open").start()
    assert list(step(state, "a")) == [0.7, 0.0]
    assert state.take() == [Incident("failed", "no number for two")]


@pytest.mark.parametrize("given", [(0.5, 0.5), (), (None,), None])
def test_scores_that_are_no_scores_are_a_failure_like_any_other(given: Any) -> None:
    class Odd:
        outputs, digest = ("score",), "b3:odd"

        def start(self) -> Any:
            return self

        def push(self, _: str) -> None:
            pass

        def scores(self) -> Any:
            return given

        def fork(self) -> Any:
            return self

    state = put_on(Odd()).start()  # type: ignore[arg-type]  # odd on purpose
    assert same(step(state, "a"), [math.nan])
    assert [incident.kind for incident in state.take()] == ["failed"]


def test_a_fork_that_raises_breaks_the_copy_alone() -> None:
    scripted = Scripted()
    state = put_on(scripted, "last_state").start()
    step(state, "abc")

    def refuse() -> Any:
        raise MemoryError("no room")

    state._inner.fork = refuse  # type: ignore[union-attr, method-assign]
    twin = state.fork()
    assert list(step(twin, "d")) == [0.03]
    (incident,) = twin.take()
    assert incident.error.startswith(f"MemoryError at {__name__}:")
    assert list(step(state, "d")) == [0.04]


# --- the breaker ---------------------------------------------------------------------------------


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("on_error", CHOICES)
def test_a_tripped_breaker_leaves_the_classifier_alone_until_a_row_tried_it(on_error: OnError) -> None:
    scripted, clock, told = Scripted(), Clock(), list[object]()
    classifier = put_on(scripted, on_error, breaker=BreakerSpec(2, 30.0), clock=clock)
    assert classifier.breaker is not None
    classifier.breaker.listen(lambda count, error: told.append((count, error)), lambda: told.append("back"))
    running = classifier.start()
    step(running, "abc")
    for _ in range(2):
        step(classifier.start(), "!")
    assert told == [(2, TOLD)]
    calls = len(scripted.calls)
    for state, last in ((running, [0.03]), (classifier.start(), None)):
        for text in "de":
            assert same(step(state, text), stand_in(on_error, last, 1))
        assert state.take() == [Incident("failed", "left alone, since it kept failing")]
    assert len(scripted.calls) == calls, "nobody calls it"
    clock.now_s = 30.0
    first, second = classifier.start(), classifier.start()
    second.push("xyz")
    assert list(second.scores()) == [0.03]
    assert told[1:] == ["back"]
    assert list(step(first, "x")) == [0.01]
    assert list(step(running, "f")) == [0.06], "what was kept meanwhile is read"


def test_while_one_row_tries_the_others_wait() -> None:
    clock = Clock()
    classifier = put_on(Scripted(), breaker=BreakerSpec(1, 30.0), clock=clock)
    step(classifier.start(), "!")
    clock.now_s = 30.0
    trying, other = classifier.start(), classifier.start()
    trying.push("a")
    assert same(step(other, "b"), [math.nan])
    assert list(trying.scores()) == [0.01]
    assert list(step(other, "c")) == [0.02]


def test_a_try_that_fails_begins_the_rest_anew() -> None:
    scripted, clock = Scripted(), Clock()
    classifier = put_on(scripted, breaker=BreakerSpec(1, 30.0), clock=clock)
    step(classifier.start(), "!")
    clock.now_s = 30.0
    trying = classifier.start()
    step(trying, "a?")
    calls = len(scripted.calls)
    assert same(step(trying, "b"), [math.nan]), "it had its try"
    clock.now_s = 59.0
    step(classifier.start(), "a")
    assert len(scripted.calls) == calls
    clock.now_s = 60.0
    assert list(step(classifier.start(), "a")) == [0.01]


def test_nan_counts_as_failure() -> None:
    classifier = put_on(Scripted(), breaker=BreakerSpec(3, 30.0))
    state = classifier.start()
    for _ in range(3):
        step(state, "?")
    assert classifier.breaker is not None
    assert classifier.breaker.tripped


def test_scores_of_a_call_that_began_before_it_tripped_do_not_close_it() -> None:
    classifier = put_on(Scripted(), breaker=BreakerSpec(1, 30.0))
    state = classifier.start()
    state.push("a")
    step(classifier.start(), "!")
    assert list(state.scores()) == [0.01]
    assert classifier.breaker is not None
    assert classifier.breaker.tripped


def test_a_fork_of_a_row_that_waits_keeps_its_text_too() -> None:
    clock = Clock()
    classifier = put_on(Scripted(), breaker=BreakerSpec(1, 30.0), clock=clock)
    step(classifier.start(), "!")
    state = classifier.start()
    step(state, "abc")
    twin = state.fork()
    clock.now_s = 30.0
    assert list(step(twin, "d")) == [0.04]
    assert list(step(state, "ef")) == [0.05]


# --- the deadline --------------------------------------------------------------------------------


def settle(state: GuardedState) -> Sequence[float]:
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        scores = state.scores()
        if not state.late:
            return scores
        time.sleep(0.002)
    raise AssertionError("never caught up")


def came(state: GuardedState) -> None:
    """Wait until all that was pushed has been read, without asking for the scores."""
    until_s = time.monotonic() + 20
    while state._inner._busy and time.monotonic() < until_s:  # type: ignore[union-attr]  # one with a deadline
        time.sleep(0.002)


@pytest.mark.parametrize("on_error", CHOICES)
def test_late_scores_leave_the_previous_ones_standing_whatever_on_error_says(on_error: OnError) -> None:
    scripted = Scripted()
    classifier = put_on(scripted, on_error, deadline_ms=10.0, breaker=None)
    state = classifier.start()
    state.push("abc")
    assert list(settle(state)) == [0.03]
    state.take()
    assert list(step(state, "~")) == [0.03]
    assert list(step(state, "d")) == [0.03]
    assert state.late
    assert state.take() == [Incident("late")]
    assert list(step(state.fork(), "e")) == [0.03]
    scripted.gate.set()
    assert list(settle(state)) == [0.05]
    assert state.take() == [Incident("caught_up")]
    classifier.close()


@pytest.mark.parametrize(
    ("on_error", "expected"), [("closed", [math.nan]), ("open", [0.0]), ("last_state", [0.0])]
)
def test_where_nothing_was_read_before_late_means_what_on_error_says(
    on_error: OnError, expected: list[float]
) -> None:
    scripted = Scripted()
    classifier = put_on(scripted, on_error, deadline_ms=10.0)
    state = classifier.start()
    assert same(step(state, "~"), expected)
    assert state.take() == [Incident("late")]
    empty = classifier.start()
    assert list(empty.scores()) == [0.0], "of an empty text it is known what it scores"
    assert list(step(empty, "~")) == [0.0]
    scripted.gate.set()
    assert list(settle(state)) == [0.01]
    classifier.close()


def test_an_error_that_comes_late_ends_the_lateness() -> None:
    scripted = Scripted()
    classifier = put_on(scripted, deadline_ms=10.0)
    state = classifier.start()
    step(state, "~!")
    scripted.gate.set()
    assert same(settle(state), [math.nan])
    assert state.take() == [Incident("late"), Incident("caught_up"), RAISED]
    classifier.close()


def test_a_classifier_that_hangs_trips_the_breaker_and_one_that_is_only_slow_does_not() -> None:
    """With a breaker, stale scores do not stand for ever: on_error takes their place."""
    scripted = Scripted()
    classifier = put_on(scripted, deadline_ms=300.0, breaker=BreakerSpec(3, 30.0))
    assert classifier.breaker is not None
    state = classifier.start()
    assert list(step(state, "abc")) == [0.03]
    # The first miss is waited for; three more steps without anything new are three failures.
    for text in ("~", "d", "e"):
        assert list(step(state, text)) == [0.03]
    assert not classifier.breaker.tripped
    step(state, "f")
    assert classifier.breaker.tripped
    assert same(step(state, "g"), [math.nan])
    assert [incident.kind for incident in state.take()] == ["late", "caught_up", "failed"]
    scripted.gate.set()
    classifier.close()
    slow = Scripted()
    classifier = put_on(slow, deadline_ms=1.0, breaker=BreakerSpec(3, 30.0))
    state = classifier.start()
    for _ in range(8):
        slow.gate.clear()
        assert math.isnan(step(state, "~")[0]) == (not state._inner.read)
        slow.gate.set()
        came(state)
        state.scores()
    assert classifier.breaker is not None
    assert not classifier.breaker.tripped
    classifier.close()


def test_a_row_that_tries_may_be_late_and_still_tries() -> None:
    scripted, clock = Scripted(), Clock()
    classifier = put_on(scripted, deadline_ms=10.0, breaker=BreakerSpec(1, 30.0), clock=clock)
    broken = classifier.start()
    broken.push("!")
    came(broken)
    broken.scores()
    clock.now_s = 30.0
    trying = classifier.start()
    step(trying, "~")
    assert trying.late
    scripted.gate.set()
    came(trying)
    trying.push("a")
    came(trying)
    assert list(trying.scores()) == [0.02]
    assert classifier.breaker is not None
    assert not classifier.breaker.tripped
    classifier.close()
