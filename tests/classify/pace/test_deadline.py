"""Behind a deadline scores come in time or later, in order, and never the generation hangs."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.classify import PatternClassifier
from guardsteer.classify.pace.deadline import DeadlineClassifier, DeadlineState, with_deadline
from tests.classify.failing import Scripted

PATIENT_MS = 20_000.0
SHORT_MS = 20.0
LONG_MS = 400.0


def threads_named(name: str) -> int:
    return sum(thread.name == f"guardsteer-{name}" for thread in threading.enumerate())


def settle(state: DeadlineState) -> list[float]:
    """Ask until nothing is late; returns the scores."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        scores = list(state.scores())
        if not state.late:
            return scores
        time.sleep(0.002)
    raise AssertionError("never caught up")


def released(classifier: DeadlineClassifier, scripted: Scripted) -> None:
    scripted.gate.set()
    classifier.close()


def test_in_time_it_is_the_classifier_itself() -> None:
    plain = PatternClassifier(literals=["damn"])
    classifier = with_deadline(plain, PATIENT_MS, name="plain")
    assert (classifier.outputs, classifier.digest) == (plain.outputs, plain.digest)
    state = classifier.start()
    assert list(state.scores()) == [0.0]
    assert not state.read
    state.push("da")
    assert list(state.scores()) == [0.0]
    state.push("mn")
    assert list(state.scores()) == [1.0]
    assert state.read
    assert not state.late
    classifier.close()


def test_late_means_the_previous_scores_and_the_work_goes_on() -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, LONG_MS, name="late")
    state = classifier.start()
    state.push("abc")
    assert settle(state) == [0.03]
    state.push("~")
    began_s = time.monotonic()
    assert list(state.scores()) == [0.03]
    assert state.late
    assert not state.stuck, "this call was waited for once"
    assert time.monotonic() - began_s >= LONG_MS / 1e3
    # A call that was waited for is not waited for again, however many steps go by.
    began_s = time.monotonic()
    for letter in "defgh":
        state.push(letter)
        assert list(state.scores()) == [0.03]
        assert state.late
        assert state.stuck
    assert time.monotonic() - began_s < LONG_MS / 1e3
    scripted.gate.set()
    assert settle(state) == [0.09]
    assert not state.stuck
    assert "".join(text for _, text in scripted.calls) == "abc~defgh"
    classifier.close()


def test_an_error_comes_out_where_the_scores_are_asked_for_in_time_or_late() -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, SHORT_MS, name="error")
    state = classifier.start()
    state.push("~!")
    assert list(state.scores()) == [0.0]
    scripted.gate.set()
    with pytest.raises(ValueError, match="asked to raise"):
        settle(state)
    state.push("more")
    with pytest.raises(ValueError, match="asked to raise"):
        state.scores()
    assert not state.late
    assert scripted.calls == [(1, "~!")], "a state that raised is not called again"
    scripted.broken_start = True
    other = classifier.start()
    other.push("a")
    with pytest.raises(OSError, match="no model"):
        settle(other)
    classifier.close()


def test_a_fork_made_while_a_call_hangs_neither_waits_nor_mixes_texts() -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, LONG_MS, name="fork")
    state = classifier.start()
    state.push("ab~")
    scripted.hanging.wait(20)
    state.push("c")
    began_s = time.monotonic()
    twin = state.fork()
    third = twin.fork()
    assert time.monotonic() - began_s < 1.0
    state.push("de")
    twin.push("fghi")
    third.push("j")
    assert list(twin.scores()) == [0.0]
    assert twin.late
    fourth = twin.fork()
    began_s = time.monotonic()
    assert list(fourth.scores()) == [0.0]
    assert time.monotonic() - began_s < LONG_MS / 2e3, "what its past had waited for it does not wait for"
    scripted.gate.set()
    assert (settle(state), settle(twin), settle(third)) == ([0.06], [0.08], [0.05])
    classifier.close()


def test_forks_of_a_state_that_raises_raise() -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, SHORT_MS, name="forks")
    state = classifier.start()
    state.push("~")
    scripted.hanging.wait(20)
    state.push("!")
    twin = state.fork()
    scripted.gate.set()
    for each in (state, twin, state.fork()):
        with pytest.raises(ValueError, match="asked to raise"):
            settle(each)
    classifier.close()


def test_a_hanging_row_does_not_hold_up_another() -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, PATIENT_MS, name="rows")
    hanging, other = classifier.start(), classifier.start()
    hanging.push("~")
    scripted.hanging.wait(20)
    other.push("abc")
    assert list(other.scores()) == [0.03]
    assert threads_named("rows") == 2
    released(classifier, scripted)


def test_threads_are_no_more_than_was_said_and_end() -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, 1.0, name="bounded", threads=2)
    states = [classifier.start() for _ in range(6)]
    for state in states:
        state.push("~")
    scripted.hanging.wait(20)
    assert threads_named("bounded") <= 2
    scripted.gate.set()
    for state in states:
        assert settle(state) == [0.01]
    classifier.close()
    until_s = time.monotonic() + 20
    while threads_named("bounded") and time.monotonic() < until_s:
        time.sleep(0.005)
    assert threads_named("bounded") == 0
    states[0].push("a")
    with pytest.raises(RuntimeError, match="closed"):
        states[0].scores()


def test_threads_end_with_the_classifier_that_nobody_holds() -> None:
    classifier = with_deadline(Scripted(), PATIENT_MS, name="dropped")
    gone = weakref.ref(classifier)
    state = classifier.start()
    state.push("a")
    assert settle(state) == [0.01]
    assert threads_named("dropped") == 1
    del classifier, state
    gc.collect()
    assert gone() is None
    until_s = time.monotonic() + 20
    while threads_named("dropped") and time.monotonic() < until_s:
        time.sleep(0.005)
    assert threads_named("dropped") == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_on_with_threads_of_its_own() -> None:
    """What the parent's thread was in the middle of raises there; what was at rest goes on."""
    scripted = Scripted()
    classifier = with_deadline(scripted, PATIENT_MS, name="process")
    resting, busy = classifier.start(), classifier.start()
    resting.push("abc")
    assert list(resting.scores()) == [0.03]
    busy.push("~")
    scripted.hanging.wait(20)
    # An idle thread, and a lock that another thread holds: the child has neither.
    other = classifier.start()
    other.push("y")
    assert list(other.scores()) == [0.01]
    time.sleep(0.05)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with resting._settled:
            held.set()
            free.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        status = 1
        signal.alarm(10)
        try:
            resting.push("de")
            fresh = classifier.start()
            fresh.push("x")
            good = list(resting.scores()) == [0.05] and list(fresh.scores()) == [0.01]
            try:
                busy.scores()
            except RuntimeError as error:
                status = 0 if good and "forked" in str(error) else 2
        finally:
            os._exit(status)
    free.set()
    holder.join()
    _, ended = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended) == 0
    resting.push("f")
    assert list(resting.scores()) == [0.04]
    released(classifier, scripted)


@pytest.mark.parametrize("numbers", [{"deadline_ms": 0.0}, {"deadline_ms": float("nan")}, {"threads": 0}])
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        with_deadline(Scripted(), **{"deadline_ms": 1.0, **numbers})  # type: ignore[arg-type]  # some are wrong


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["push", "scores", "fork"]), st.text("ab~", min_size=1, max_size=3)),
        max_size=20,
    )
)
def test_whatever_the_interleaving_each_row_ends_with_the_scores_of_its_own_text(
    script: list[tuple[str, str]],
) -> None:
    scripted = Scripted()
    classifier = with_deadline(scripted, 0.05, name="any", threads=2)
    rows = [(classifier.start(), [""])]
    for number, (act, text) in enumerate(script):
        state, read = rows[number % len(rows)]
        if act == "push":
            state.push(text)
            read[0] += text
        elif act == "scores":
            state.scores()
        else:
            rows.append((state.fork(), list(read)))
        if number == len(script) // 2:
            scripted.gate.set()
    scripted.gate.set()
    for state, read in rows:
        assert settle(state) == [len(read[0]) / 100]
    classifier.close()
