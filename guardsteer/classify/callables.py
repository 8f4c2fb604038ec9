"""A user's own code as a classifier: a function of text, or objects that follow a stream.

Code has no digest that would tell what it does, so whoever brings it names it and gives it a version, and the
audit log holds these in a digest's place: ``callable:NAME@VERSION``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from guardsteer.classify.pace.reread import RereadState
from guardsteer.classify.pace.schedule import Schedule, parse_schedule
from guardsteer.errors import ClassifierError

__all__ = [
    "CallableClassifier",
    "CheckedState",
    "Scored",
    "StreamClassifier",
    "UserState",
    "check_given",
    "from_callable",
    "from_states",
]

Scored: TypeAlias = "float | Sequence[float] | Mapping[str, float]"
"""What a function may return: the one score, one for each output in order, or all by name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_OUTPUT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


class UserState(Protocol):
    """What a user's object does for one row."""

    def push(self, text: str) -> None:
        """Append ``text``."""

    def scores(self) -> Scored:
        """Return the scores of all the text so far."""

    def fork(self) -> UserState:
        """Return an independent copy."""


def from_callable(
    function: Callable[[str], Scored],
    *,
    name: str,
    version: str,
    outputs: Sequence[str] = ("score",),
    read: str = "sentences",
) -> CallableClassifier:
    """Return ``function``, which scores a whole text, as a classifier that ``wrap`` takes.

    It returns a number from 0 to 1, one for each of ``outputs``, or a mapping of all of them. ``read`` says
    when it is called (``prompt``, ``sentences``, ``every N``), with all the text so far. With a deadline in
    the policy it is called in other threads, several at a time. Raises ``ClassifierError`` for a name,
    version, output or schedule that cannot be one.
    """
    identity = _identity(function, name, version, outputs)
    return CallableClassifier(function, identity, tuple(outputs), parse_schedule(read))


def from_states(
    start: Callable[[], UserState], *, name: str, version: str, outputs: Sequence[str] = ("score",)
) -> StreamClassifier:
    """Return a classifier whose rows are the objects that ``start`` makes: ``push``, ``scores``, ``fork``.

    Raises ``ClassifierError`` for a name, version or output that cannot be one.
    """
    return StreamClassifier(start, _identity(start, name, version, outputs), tuple(outputs))


class CallableClassifier:
    """A user's function, called where its schedule says."""

    __slots__ = ("_function", "digest", "outputs", "schedule")

    def __init__(
        self, function: Callable[[str], Scored], identity: str, outputs: tuple[str, ...], schedule: Schedule
    ) -> None:
        self._function = function
        self.digest = identity
        self.outputs = outputs
        self.schedule = schedule

    def start(self) -> RereadState:
        """Return the state of a row that has read nothing."""
        return RereadState(self)

    def read(self, text: str) -> Sequence[float]:
        """Return the checked scores of ``text``. Raises ``ClassifierError`` for what is no score."""
        return _checked(self._function(text), self.outputs, self.digest)

    def read_at(self, schedule: Schedule) -> CallableClassifier:
        """Return it with another schedule."""
        return CallableClassifier(self._function, self.digest, self.outputs, schedule)


class StreamClassifier:
    """A user's objects, one for each row."""

    __slots__ = ("_start", "digest", "outputs")

    def __init__(self, start: Callable[[], UserState], identity: str, outputs: tuple[str, ...]) -> None:
        self._start = start
        self.digest = identity
        self.outputs = outputs

    def start(self) -> CheckedState:
        """Return the state of a row that has read nothing.

        Raises ``ClassifierError`` for an object that is none.
        """
        return CheckedState(self._start(), self)


class CheckedState:
    """A user's object for one row; what it returns is checked."""

    __slots__ = ("_inner", "_of")

    def __init__(self, inner: UserState, of: StreamClassifier) -> None:
        lacking = [what for what in ("push", "scores", "fork") if not callable(getattr(inner, what, None))]
        if lacking:
            raise ClassifierError(
                f"{of.digest}: a {type(inner).__name__} has no {' and no '.join(lacking)}; "
                "a row's object needs push(text), scores() and fork()"
            )
        self._inner = inner
        self._of = of

    def push(self, text: str) -> None:
        """Append ``text``."""
        self._inner.push(text)

    def scores(self) -> Sequence[float]:
        """Return the checked scores of all the text so far."""
        return _checked(self._inner.scores(), self._of.outputs, self._of.digest)

    def fork(self) -> CheckedState:
        """Return an independent copy."""
        return CheckedState(self._inner.fork(), self._of)


def check_given(given: Mapping[str, Any]) -> None:
    """Raise ``ClassifierError`` where something in ``given`` is no classifier, and say how to make it one."""
    for name, found in given.items():
        if isinstance(getattr(found, "outputs", None), tuple) and isinstance(
            getattr(found, "digest", None), str
        ):
            continue
        what = f"a {type(found).__name__}"
        way = (
            "give its outputs as a tuple of names, its digest as text, and start()"
            if not callable(found)
            else f"write from_callable(f, name={name!r}, version='1') of guardsteer.classify"
        )
        raise ClassifierError(
            f"classifiers[{name!r}] is {what}, which the log could not tell from another of its kind; {way}"
        )


def _identity(function: object, name: str, version: str, outputs: Sequence[str]) -> str:
    problems = []
    if not callable(function):
        problems.append(f"a {type(function).__name__} cannot be called")
    problems += [
        f"{what} {value!r}: expected up to 128 letters, digits, '.', '_' and '-'"
        for what, value in (("name", name), ("version", version))
        if not isinstance(value, str) or not _NAME.fullmatch(value)
    ]
    names = tuple(outputs) if not isinstance(outputs, str) else ()
    if not names or len(set(names)) < len(names) or not all(_OUTPUT.fullmatch(str(each)) for each in names):
        problems.append(
            f"outputs {outputs!r}: expected distinct names in letters, digits and '_', one or more"
        )
    if problems:
        raise ClassifierError("; ".join(problems))
    return f"callable:{name}@{version}"


def _checked(scored: Scored, outputs: tuple[str, ...], identity: str) -> Sequence[float]:
    """Return the scores in the outputs' order.

    What was returned is told by its type alone: it may quote the text.
    """
    if isinstance(scored, Mapping):
        if len(scored) != len(outputs) or not all(output in scored for output in outputs):
            raise ClassifierError(
                f"{identity}: returned a mapping of {len(scored)} other keys than its outputs; "
                f"expected exactly {', '.join(outputs)}"
            )
        values: Sequence[Any] = [scored[output] for output in outputs]
    elif isinstance(scored, Sequence) and not isinstance(scored, str | bytes):
        values = scored
    else:
        values = (scored,)
    if len(values) != len(outputs):
        raise ClassifierError(
            f"{identity}: returned {len(values)} scores, expected {len(outputs)}: {', '.join(outputs)}"
        )
    return [_number(value, output, identity) for value, output in zip(values, outputs, strict=True)]


def _number(value: Any, output: str, identity: str) -> float:
    try:
        number = float(value) if not isinstance(value, str | bytes) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise ClassifierError(
            f"{identity}: returned a {type(value).__name__} for {output}, expected a number from 0 to 1"
        )
    if not (0.0 <= number <= 1.0 or math.isnan(number)):
        raise ClassifierError(f"{identity}: returned {number!r} for {output}, expected a number from 0 to 1")
    return number
