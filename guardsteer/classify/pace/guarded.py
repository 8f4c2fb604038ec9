"""A classifier that may fail: what stands in for its scores, and what the audit is told of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from guardsteer.classify.pace.breaker import Breaker
from guardsteer.classify.pace.deadline import DeadlineClassifier, DeadlineState, with_deadline
from guardsteer.core.failures import failure_of
from guardsteer.core.policy import ClassifierSpec, OnError
from guardsteer.core.signals import TextClassifier, TextState
from guardsteer.errors import ClassifierError

__all__ = ["GuardedClassifier", "GuardedState", "Incident", "guarded", "stand_in"]

MISSING = math.nan


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that befell a classifier at a step of a row.

    ``failed``: it raised, gave a score that is no number, or is left alone; ``error`` says which. Told
    once for as long as it lasts. ``late``: from here on earlier scores stand; ``caught_up``: no longer.
    """

    kind: Literal["failed", "late", "caught_up"]
    error: str = ""


def stand_in(on_error: OnError, last: Sequence[float] | None, outputs: int) -> Sequence[float]:
    """Return what counts in place of scores that there are not; ``last`` are the last ones there were.

    ``closed``: missing, nan. ``open``: 0.0. ``last_state``: the last ones, 0.0 where there were none.
    """
    if on_error == "closed":
        return (MISSING,) * outputs
    if on_error == "last_state" and last is not None:
        return last
    return (0.0,) * outputs


def guarded(
    spec: ClassifierSpec, classifier: TextClassifier, *, clock: Callable[[], float] = time.monotonic
) -> TextClassifier | GuardedClassifier:
    """Return ``classifier`` with the deadline, the breaker and the ``on_error`` of ``spec``.

    A classifier without deadline and breaker whose errors are ``closed`` comes back as it is: who calls
    it takes scores of a state that raised as missing, for the rest of the row. ``clock`` is the breaker's.
    """
    if spec.deadline_ms is None and spec.breaker is None and spec.on_error == "closed":
        return classifier
    late = None if spec.deadline_ms is None else with_deadline(classifier, spec.deadline_ms, name=spec.name)
    breaker = None if spec.breaker is None else Breaker(spec.breaker, clock=clock)
    return GuardedClassifier(spec, late or classifier, breaker)


class GuardedClassifier:
    """A classifier whose states never raise. ``breaker`` is shared by all rows."""

    __slots__ = ("_classifier", "breaker", "digest", "outputs", "spec")

    def __init__(self, spec: ClassifierSpec, classifier: TextClassifier, breaker: Breaker | None) -> None:
        self.spec = spec
        self.breaker = breaker
        self.outputs: tuple[str, ...] = classifier.outputs
        self.digest: str = classifier.digest
        self._classifier = classifier

    def start(self) -> GuardedState:
        """Return the state of a row that has read nothing."""
        return GuardedState(self)

    def close(self) -> None:
        """End the threads of a deadline; rows that still read fail, as ``on_error`` says."""
        if isinstance(self._classifier, DeadlineClassifier):
            self._classifier.close()


class GuardedState:
    """One row's reading. ``push``, ``scores`` and ``fork`` never raise an ``Exception``.

    A state that raised, or gave a wrong number of scores, is not called again in this row. One that gave
    nan is. While the breaker rests, text is kept and read once the row may call again. ``incidents``
    gathers what happened until ``take`` is called.
    """

    __slots__ = ("_broken", "_guard", "_inner", "_kept", "_last", "_missing", "_trying", "incidents", "late")

    def __init__(self, guard: GuardedClassifier) -> None:
        self._guard = guard
        self._inner: TextState | None = None
        self._last: Sequence[float] | None = None
        self._kept = ""
        self._broken = self._missing = self._trying = False
        self.late = False
        self.incidents: list[Incident] = []

    def take(self) -> list[Incident]:
        """Return what happened since this was last asked, in order."""
        taken, self.incidents = self.incidents, []
        return taken

    def push(self, text: str) -> None:
        """Append ``text``."""
        if self._broken:
            return
        if not self._admitted():
            self._kept += text
            return
        try:
            if self._inner is None:
                self._inner = self._guard._classifier.start()
            self._inner.push(self._kept + text)
        except Exception as error:
            self._break(error)
        self._kept = ""

    def scores(self) -> Sequence[float]:
        """Return the scores, or what stands in for them."""
        inner = self._inner
        if self._broken or self._kept:
            return self._stand_in()
        outputs = len(self._guard.outputs)
        if inner is None:
            self._last = (0.0,) * outputs
            return self._last
        try:
            scores = inner.scores()
            if len(scores) != outputs:
                raise ClassifierError(f"gave {len(scores)} scores, expected {outputs}")
            missing = self._miss(scores) if any(map(math.isnan, scores)) else ""
        except Exception as error:
            self._break(error)
            return self._stand_in()
        if isinstance(inner, DeadlineState):
            self._note_lateness(inner)
            if self.late and not inner.read:
                return self._last if self._last is not None else self._stand_in()
        if missing:
            if not self._missing:
                self.incidents.append(Incident("failed", missing))
            spare = self._stand_in()
            scores = [other if math.isnan(own) else own for own, other in zip(scores, spare, strict=True)]
        self._missing = bool(missing)
        if not self.late:
            # Scores that only stand for want of newer ones were counted when they came.
            self._report(missing or None)
        self._last = scores
        return scores

    def fork(self) -> GuardedState:
        """Return an independent copy."""
        twin = GuardedState(self._guard)
        twin._last, twin._kept = self._last, self._kept
        twin._broken, twin._missing, twin.late = self._broken, self._missing, self.late
        twin.incidents = list(self.incidents)
        if self._inner is not None and not self._broken:
            try:
                twin._inner = self._inner.fork()
            except Exception as error:
                twin._break(error)
        return twin

    # --- what goes wrong -------------------------------------------------------------------------

    def _admitted(self) -> bool:
        breaker = self._guard.breaker
        if breaker is None or not breaker.tripped or self._trying:
            return True
        self._trying = breaker.admits()
        if not self._trying and not self._kept:
            self._end_lateness()
            self.incidents.append(Incident("failed", "left alone, since it kept failing"))
        return self._trying

    def _break(self, error: Exception) -> None:
        self._broken = True
        self._inner = None
        self._end_lateness()
        text = failure_of(error)
        self.incidents.append(Incident("failed", text))
        self._report(text)

    def _miss(self, scores: Sequence[float]) -> str:
        names = [name for name, score in zip(self._guard.outputs, scores, strict=True) if math.isnan(score)]
        return f"no number for {', '.join(names)}"

    def _note_lateness(self, inner: DeadlineState) -> None:
        if not inner.late:
            self._end_lateness()
            return
        if not self.late:
            self.late = True
            self.incidents.append(Incident("late"))
        if inner.stuck:
            self._report(f"no scores within {self._guard.spec.deadline_ms:g} ms, and none since")

    def _end_lateness(self) -> None:
        if self.late:
            self.late = False
            self.incidents.append(Incident("caught_up"))

    def _stand_in(self) -> Sequence[float]:
        return stand_in(self._guard.spec.on_error, self._last, len(self._guard.outputs))

    def _report(self, error: str | None) -> None:
        breaker = self._guard.breaker
        if breaker is None or (breaker.tripped and not self._trying):
            return
        self._trying = False
        if error is None:
            breaker.succeeded()
        else:
            breaker.failed(error)
