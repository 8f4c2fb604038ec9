"""Scores by a deadline: what is not there in time is picked up at a later step."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence

from guardsteer.classify.pace.schedule import Schedule
from guardsteer.classify.pace.threads import Threads
from guardsteer.core.signals import TextClassifier, TextState

__all__ = ["DeadlineClassifier", "DeadlineState", "with_deadline"]

THREADS = 8


def with_deadline(
    classifier: TextClassifier, deadline_ms: float, *, name: str = "", threads: int = THREADS
) -> DeadlineClassifier:
    """Return ``classifier`` with a bound on how long a step waits for its scores.

    ``name`` is for the names of its threads, of which there are ``threads`` at most. Raises
    ``ValueError`` for a deadline or a number of threads that is not above 0.
    """
    if not deadline_ms > 0 or threads < 1:
        raise ValueError(f"deadline_ms={deadline_ms}, threads={threads}: expected numbers above 0")
    return DeadlineClassifier(classifier, deadline_ms / 1e3, Threads(f"guardsteer-{name}", threads))


class DeadlineClassifier:
    """A text classifier whose states read in threads of their own."""

    __slots__ = ("__weakref__", "_threads", "classifier", "deadline_s", "schedule")

    def __init__(self, classifier: TextClassifier, deadline_s: float, threads: Threads) -> None:
        self.classifier = classifier
        self.deadline_s = deadline_s
        self.schedule: Schedule | None = getattr(classifier, "schedule", None)
        self._threads = threads
        weakref.finalize(self, threads.close)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The classifier's own."""
        return self.classifier.outputs

    @property
    def digest(self) -> str:
        """The classifier's own: a deadline changes when scores come, not what they are."""
        return self.classifier.digest

    def start(self) -> DeadlineState:
        """Return the state of a row that has read nothing; the classifier's own is made in a thread."""
        return DeadlineState(self, (0.0,) * len(self.outputs))

    def close(self) -> None:
        """End the threads; a state that is pushed to afterwards raises ``RuntimeError``."""
        self._threads.close()


class DeadlineState:
    """One row's reading behind a deadline. One thread at a time may feed it.

    ``scores`` waits for at most the deadline and then returns the newest scores that there are: those of
    all that was pushed, or those of an earlier step, and then ``late`` is true. A call that was waited
    for once is not waited for again: while nothing new has come, later steps take what there is at once
    and ``stuck`` is true. ``read`` tells whether any scores have come at all. Text that gathered
    meanwhile is pushed in one piece, in order. An error of the classifier's is raised by ``scores``, at
    the step where it is known, and by all after that. Where the classifier reads by a schedule, text stays
    here until a reading is due in it, and is pushed in the pieces that it came in: the first may be a prompt.
    """

    __slots__ = (
        "_busy",
        "_came",
        "_classifier",
        "_clock",
        "_error",
        "_held",
        "_inner",
        "_pid",
        "_queue",
        "_scores",
        "_seen",
        "_settled",
        "late",
        "stuck",
    )

    def __init__(self, classifier: DeadlineClassifier, scores: Sequence[float]) -> None:
        self._classifier = classifier
        self._scores = scores
        self._clock = None if classifier.schedule is None else classifier.schedule.start()
        # What no reading is due in yet.
        self._held: list[str] = []
        self._inner: TextState | None = None
        self._error: BaseException | None = None
        # A twin in the queue is a fork to be made of what stands before it.
        self._queue: deque[str | DeadlineState] = deque()
        self._busy = False
        self._came = self._seen = 0
        self._settled = threading.Condition()
        self._pid = os.getpid()
        self.late = self.stuck = False

    @property
    def read(self) -> bool:
        """True once the classifier has given scores."""
        return self._came > 0

    def push(self, text: str) -> None:
        """Append ``text``; never waits."""
        if self._clock is not None:
            self._held.append(text)
            if not self._clock.push(text):
                if self._clock.over:
                    self._held.clear()
                return
            text = "".join(self._held)
            self._held = []
        self._check_process()
        with self._settled:
            if self._error is not None:
                return
            self._queue.append(text)
            if self._busy:
                return
            self._busy = True
        self._submit()

    def scores(self) -> Sequence[float]:
        """Return the newest scores, after the deadline at the latest."""
        self._check_process()
        with self._settled:
            if self._busy and not (self.late and self._seen == self._came):
                self._settled.wait_for(self._idle, self._classifier.deadline_s)
            self.stuck = self.late and self._busy and self._seen == self._came
            self.late, self._seen = self._busy, self._came
            if self._error is not None:
                raise self._error
            return self._scores

    def fork(self) -> DeadlineState:
        """Return an independent copy, without waiting: its reading goes on where this one's comes to be."""
        self._check_process()
        twin = DeadlineState(self._classifier, self._scores)
        twin._clock, twin._held = None if self._clock is None else self._clock.fork(), list(self._held)
        with self._settled:
            twin.late, twin.stuck, twin._error = self.late, self.stuck, self._error
            twin._came, twin._seen = self._came, self._seen
            if self._busy:
                twin._busy = True
                self._queue.append(twin)
                return twin
        if self._inner is not None and self._error is None:
            twin._inner = self._inner.fork()
        return twin

    # --- in a thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        """Read what is in the queue until it is empty."""
        while True:
            twin: DeadlineState | None = None
            try:
                with self._settled:
                    texts, twin = self._next()
                if twin is not None:
                    twin._take_over(self._fork_inner(), self._scores, self._came)
                else:
                    if self._inner is None:
                        self._inner = self._classifier.classifier.start()
                    for text in texts:
                        self._inner.push(text)
                    scores = self._inner.scores()
            except BaseException as error:
                self._fail(error, twin)
                return
            with self._settled:
                if twin is None:
                    self._scores = scores
                    self._came += 1
                if not self._queue:
                    self._rest()
                    return

    def _next(self) -> tuple[Sequence[str], DeadlineState | None]:
        """Take all text up to the next twin, or that twin."""
        parts: list[str] = []
        while self._queue:
            item = self._queue[0]
            if isinstance(item, DeadlineState):
                if not parts:
                    self._queue.popleft()
                    return (), item
                break
            parts.append(item)
            self._queue.popleft()
        return ("".join(parts),) if self._clock is None else parts, None

    def _fork_inner(self) -> TextState | None:
        return self._inner.fork() if self._inner is not None else None

    def _take_over(self, inner: TextState | None, scores: Sequence[float], came: int) -> None:
        """Begin where the state stood that this one was forked from."""
        with self._settled:
            self._inner, self._scores, self._came = inner, scores, came
            if not self._queue:
                self._rest()
                return
        self._submit()

    def _fail(self, error: BaseException, twin: DeadlineState | None) -> None:
        with self._settled:
            self._error = error
            twins = [item for item in self._queue if isinstance(item, DeadlineState)]
            self._queue.clear()
            self._rest()
        for each in twins if twin is None else [twin, *twins]:
            each._fail(error, None)

    def _rest(self) -> None:
        self._busy = False
        self._settled.notify_all()

    def _idle(self) -> bool:
        return not self._busy

    # --- in any ----------------------------------------------------------------------------------

    def _submit(self) -> None:
        try:
            self._classifier._threads.submit(self._work)
        except RuntimeError as error:
            self._fail(error, None)

    def _check_process(self) -> None:
        """In the child of a fork, give up what the parent's thread was in the middle of."""
        pid = os.getpid()
        if pid != self._pid:
            self._pid = pid
            self._settled = threading.Condition()
            if self._busy:
                self._fail(RuntimeError("the process was forked while it was being read"), None)
