"""Combinations of a policy: made of scores that a row has anyway, and of members of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Final

from guardsteer.classify.combined.combination import Blend, CombinationClassifier
from guardsteer.classify.combined.signal_blend import SignalBlend
from guardsteer.classify.pace.guarded import Incident
from guardsteer.core.failures import failure_of
from guardsteer.core.policy import ClassifierSpec, Scope
from guardsteer.core.signals import TextClassifier, TextState

__all__ = ["NOTHING_JOINED", "Joined", "Joining", "Joint", "join", "joins"]

_GOES_ON: frozenset[Scope] = frozenset({"generation", "all"})


@dataclass(frozen=True, slots=True)
class Joined:
    """A combination: the signals that it fills, and where its members' scores come from.

    ``sources``, in the blend's order: a signal's place, or ``~k`` for place ``k`` of what own members score.
    """

    name: str
    first: int
    end: int
    blend: Blend
    sources: tuple[int, ...]

    def fill(self, signals: list[float], own: Sequence[float]) -> None:
        """Write its scores into ``signals``."""
        values = [signals[place] if place >= 0 else own[~place] for place in self.sources]
        signals[self.first : self.end] = self.blend.of(values)


@dataclass(frozen=True, slots=True)
class Own:
    """A member that no classifier of the policy reads already: on which text, and where its scores go."""

    classifier: TextClassifier
    scope: Scope
    first: int
    end: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joining:
    """All combinations of a policy: ``before`` are decided by text alone, ``within`` wait for probes."""

    before: tuple[Joined, ...] = ()
    within: tuple[Joined, ...] = ()
    own: tuple[Own, ...] = ()


NOTHING_JOINED: Final = Joining()


class Joint:
    """One row's combinations, and the states of members that are theirs alone, each read once."""

    __slots__ = ("_joining", "_own", "_states")

    def __init__(self, joining: Joining, states: list[TextState | None], own: list[float]) -> None:
        self._joining = joining
        self._states = states
        self._own = own

    @classmethod
    def begin(
        cls, joining: Joining, said: Callable[[Scope], str], signals: list[float]
    ) -> tuple[Joint, list[tuple[str, Incident]]]:
        """Return the row's combinations with ``signals`` filled in, and what befell them.

        ``said`` gives the text of the prompt that is a scope's to read.
        """
        ends = [member.end for member in joining.own]
        joint = cls(joining, [None] * len(ends), [0.0] * max(ends, default=0))
        told: list[tuple[str, Incident]] = []
        for place, member in enumerate(joining.own):
            try:
                joint._states[place] = member.classifier.start()
            except Exception as error:
                told += joint._lose(place, error)
                continue
            told += joint._push(place, said(member.scope))
        joint._fill(signals)
        return joint, told

    def read(self, text: str, signals: list[float]) -> list[tuple[str, Incident]]:
        """Take in the text of a step, which may be empty, and write the scores; the others are in place."""
        told: list[tuple[str, Incident]] = []
        if text:
            for place, member in enumerate(self._joining.own):
                if member.scope in _GOES_ON:
                    told += self._push(place, text)
        self._fill(signals)
        return told

    def read_again(self, text: str) -> Joint:
        """Return a copy that has read ``text`` too."""
        twin = self.fork()
        twin.read(text, [0.0] * (1 + max((each.end for each in self._joining.before), default=0)))
        return twin

    def fork(self) -> Joint:
        """Return an independent copy."""
        twin = Joint(self._joining, [None] * len(self._states), list(self._own))
        for place, state in enumerate(self._states):
            if state is None:
                continue
            try:
                twin._states[place] = state.fork()
            except Exception as error:
                twin._lose(place, error)
        return twin

    def _push(self, place: int, text: str) -> list[tuple[str, Incident]]:
        state, member = self._states[place], self._joining.own[place]
        if state is None or not text:
            return []
        try:
            state.push(text)
            scores = state.scores()
            if len(scores) != member.end - member.first:
                raise ValueError("gave another number of scores than it has outputs")
            self._own[member.first : member.end] = scores
        except Exception as error:
            return self._lose(place, error)
        return []

    def _lose(self, place: int, error: Exception) -> list[tuple[str, Incident]]:
        member = self._joining.own[place]
        self._states[place] = None
        self._own[member.first : member.end] = [nan] * (member.end - member.first)
        return [(name, Incident("failed", failure_of(error))) for name in member.names]

    def _fill(self, signals: list[float]) -> None:
        for joined in self._joining.before:
            joined.fill(signals, self._own)


def joins(spec: ClassifierSpec, found: object) -> bool:
    """Tell whether a row computes this from other scores, instead of having it read for itself.

    A combination with a deadline, a breaker or another ``on_error`` reads for itself, in one piece.
    """
    plain = spec.deadline_ms is None and spec.breaker is None and spec.on_error == "closed"
    return isinstance(found, SignalBlend) or (isinstance(found, CombinationClassifier) and plain)


def join(
    specs: Sequence[ClassifierSpec],
    found: Mapping[str, object],
    index: Mapping[str, int],
    late: frozenset[str],
) -> Joining:
    """Return the combinations of a policy whose classifiers are ``found``.

    ``index`` gives each signal's place; ``late`` names the classifiers that are decided within the pass. A
    member that the policy also has by itself, on the same text, is not read again.
    """
    before: list[Joined] = []
    within: list[Joined] = []
    own: dict[tuple[str, Scope], Own] = {}
    for spec in specs:
        combined = found.get(spec.name)
        if isinstance(combined, SignalBlend):
            place = index[f"{spec.name}.score"]
            sources = tuple(index[name] for name in combined.of)
            made = Joined(spec.name, place, place + 1, combined.blend, sources)
            (within if spec.name in late else before).append(made)
        elif isinstance(combined, CombinationClassifier) and joins(spec, combined):
            before.append(_joined(spec, combined, specs, found, index, own))
    # Those made of other scores come last: a learned combination may be among them.
    before.sort(key=lambda each: isinstance(found[each.name], SignalBlend))
    return Joining(tuple(before), tuple(within), tuple(own.values()))


def _joined(
    spec: ClassifierSpec,
    combined: CombinationClassifier,
    specs: Sequence[ClassifierSpec],
    found: Mapping[str, object],
    index: Mapping[str, int],
    own: dict[tuple[str, Scope], Own],
) -> Joined:
    sources: list[int] = []
    for place in combined.places:
        member = combined.readers[place]
        shared = next(
            (
                other
                for other in specs
                if other.on == spec.on and other.name != spec.name and _same(found.get(other.name), member)
            ),
            None,
        )
        if shared is not None:
            sources += [index[f"{shared.name}.{output}"] for output in member.outputs]
            continue
        key = (member.digest, spec.on)
        first = max((each.end for each in own.values()), default=0)
        kept = own.get(key, Own(member, spec.on, first, first + len(member.outputs), ()))
        if spec.name not in kept.names:
            kept = Own(kept.classifier, kept.scope, kept.first, kept.end, (*kept.names, spec.name))
        own[key] = kept
        sources += [~each for each in range(kept.first, kept.end)]
    first = index[f"{spec.name}.{combined.outputs[0]}"]
    return Joined(spec.name, first, first + len(combined.outputs), combined.blend, tuple(sources))


def _same(one: object, other: TextClassifier) -> bool:
    """Tell whether two classifiers give the same scores at the same times."""
    if isinstance(one, SignalBlend | CombinationClassifier) or not hasattr(one, "start"):
        # What is combined is filled in with others of its kind, not before them.
        return False
    times = getattr(one, "schedule", None) == getattr(other, "schedule", None)
    return times and getattr(one, "digest", None) == other.digest
