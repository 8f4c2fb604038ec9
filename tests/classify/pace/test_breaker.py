"""The fuse: what trips it, who may try again, and what closes it."""

from __future__ import annotations

import threading

from guardsteer.classify.pace.breaker import Breaker
from guardsteer.core.policy import BreakerSpec


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def tripped(failures: int = 3, rest_s: float = 30.0) -> tuple[Breaker, Clock, list[object]]:
    clock, told = Clock(), list[object]()
    breaker = Breaker(BreakerSpec(failures, rest_s), clock=clock)
    breaker.listen(lambda count, error: told.append((count, error)), lambda: told.append("restored"))
    for _ in range(failures):
        breaker.failed("broken")
    return breaker, clock, told


def test_failures_trip_it_only_when_they_come_in_a_row() -> None:
    breaker, told = Breaker(BreakerSpec(failures=3, rest_s=30.0)), list[object]()
    breaker.listen(lambda *_: told.append("tripped"), lambda: told.append("restored"))
    for _ in range(5):
        breaker.failed("broken")
        breaker.failed("broken")
        breaker.succeeded()
    assert not breaker.tripped
    assert breaker.admits()
    assert told == []
    for _ in range(3):
        breaker.failed("broken")
    assert breaker.tripped
    assert not breaker.admits()


def test_one_row_may_try_once_the_rest_is_over() -> None:
    breaker, clock, told = tripped()
    clock.now_s += 29.9
    assert not breaker.admits()
    clock.now_s += 0.2
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert not breaker.tripped
    assert breaker.admits()
    assert told == [(3, "broken"), "restored"]
    breaker.failed("broken")
    assert not breaker.tripped, "the count begins anew"


def test_a_failed_try_begins_the_rest_anew() -> None:
    breaker, clock, told = tripped()
    clock.now_s += 30.0
    assert breaker.admits()
    breaker.failed("still broken")
    clock.now_s += 29.9
    assert not breaker.admits()
    clock.now_s += 0.2
    assert breaker.admits()
    assert told == [(3, "broken"), (4, "still broken")]


def test_a_row_that_never_reports_does_not_keep_others_from_trying() -> None:
    breaker, clock, _ = tripped()
    clock.now_s += 30.0
    assert breaker.admits()
    clock.now_s += 29.0
    assert not breaker.admits()
    clock.now_s += 1.0
    assert breaker.admits()


def test_of_many_threads_one_is_let_in() -> None:
    breaker, clock, told = tripped(failures=1000)
    clock.now_s += 30.0
    start = threading.Barrier(8)
    admitted: list[bool] = []

    def ask() -> None:
        start.wait()
        admitted.extend([breaker.admits() for _ in range(200)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted.count(True) == 1
    assert len(told) == 1
