"""Those who watch are told everything in order, and never reach what they watch."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from typing import Any

import pytest
import structlog

from guardsteer.core.events import Detached, Event, RequestStarted
from guardsteer.errors import UnsupportedError
from guardsteer.telemetry import AuditLog, Feed, check_observers


class Notebook:
    """Writes down all that it is told, and from which thread."""

    def __init__(self, failing: bool = False) -> None:
        self.told: list[tuple[Event, object]] = []
        self.threads: set[str] = set()
        self.asked: list[str] = []
        self.closed = 0
        self.audit: list[AuditLog | None] = []
        self.failing = failing

    def opened(self, audit: AuditLog | None) -> None:
        self.audit.append(audit)

    def context(self) -> object:
        self.asked.append(threading.current_thread().name)
        if self.failing:
            raise RuntimeError("no context")
        return f"context {len(self.asked)}"

    def observe(self, event: Event, context: object) -> None:
        self.threads.add(threading.current_thread().name)
        if self.failing:
            raise RuntimeError("broken")
        self.told.append((event, context))

    def close(self) -> None:
        self.closed += 1
        if self.failing:
            raise RuntimeError("cannot close")


def off(number: int) -> Detached:
    return Detached(time_ns=number, guard=str(number))


def started(request: str) -> RequestStarted:
    return RequestStarted(
        time_ns=1,
        request=request,
        sequence=0,
        guard="g",
        policy_digest="d",
        context={},
        prompt_digest="",
        prompt_tokens=3,
        settings={},
    )


def test_every_event_is_told_in_order_from_a_thread_of_its_own() -> None:
    notebook = Notebook()
    feed = Feed([notebook])
    events = [off(number) for number in range(300)]
    for event in events:
        feed.append(event)
    until_s = time.monotonic() + 20
    while len(notebook.told) < len(events) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert [event for event, _ in notebook.told] == events
    assert notebook.threads == {"guardsteer-telemetry"}
    feed.close()


def test_the_context_is_taken_where_a_row_is_admitted_and_for_nothing_else() -> None:
    notebook = Notebook()
    feed = Feed([notebook])
    for event in (off(1), started("a"), off(2), started("b")):
        feed.append(event)
    feed.close()
    assert notebook.asked == [threading.current_thread().name] * 2
    assert [context for _, context in notebook.told] == [None, "context 1", None, "context 2"]


def test_closing_tells_the_rest_and_happens_once() -> None:
    notebook = Notebook()
    feed = Feed([notebook])
    feed.append(off(1))
    feed.close()
    feed.close()
    assert len(notebook.told) == 1
    assert notebook.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "guardsteer-telemetry"]


def test_an_observer_that_raises_is_logged_once_and_hurts_nobody() -> None:
    broken, sound = Notebook(failing=True), Notebook()
    with structlog.testing.capture_logs() as logs:
        feed = Feed([broken, sound])
        for request in "abc":
            feed.append(started(request))
        feed.close()
    assert [event.request for event, _ in sound.told if isinstance(event, RequestStarted)] == ["a", "b", "c"]
    assert [entry["event"] for entry in logs] == ["telemetry.failed"]
    assert logs[0]["observer"] == "Notebook"
    assert "no context" in logs[0]["error"]


def test_what_does_not_fit_is_counted_not_waited_for() -> None:
    notebook = Notebook()
    feed = Feed([notebook], capacity=3)
    feed._start = lambda: None  # type: ignore[method-assign]  # so that nothing is told meanwhile
    for number in range(5):
        feed.append(off(number))
    assert feed.dropped == 2
    feed.close()
    assert [event.time_ns for event, _ in notebook.told] == [0, 1, 2]


def test_an_observer_hears_of_the_log() -> None:
    class Log:
        failed, dropped, backlog = False, 0, 0

    log, notebook = Log(), Notebook()
    Feed([notebook], log).close()
    assert notebook.audit == [log]


@pytest.mark.parametrize(("given", "said"), [(object(), "lacks opened"), (Notebook, "make one of it")])
def test_what_is_no_observer_is_refused(given: Any, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        check_observers([Notebook(), given])


def test_a_feed_that_nobody_holds_ends_with_its_thread() -> None:
    feed = Feed([Notebook()])
    feed.append(off(1))
    (thread,) = [each for each in threading.enumerate() if each.name == "guardsteer-telemetry"]
    gone = weakref.ref(feed)
    del feed
    thread.join(20)
    gc.collect()
    assert gone() is None
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_tells_its_own_events_and_none_of_the_parents() -> None:
    notebook = Notebook()
    feed: Any = Feed([notebook])
    feed._start = lambda: None
    feed.append(off(1))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        feed.append(off(2))
        feed.close()
        os.write(writing, ",".join(str(event.time_ns) for event, _ in notebook.told).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"2"
    feed.close()
    assert [event.time_ns for event, _ in notebook.told] == [1]
