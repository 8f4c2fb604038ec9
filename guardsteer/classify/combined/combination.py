"""A classifier made of others: the highest of their scores, the mean, or a learned stack of their log-odds.

The stack is a logistic regression over its members' log-odds (Wolpert, "Stacked generalization", 1992),
trained on rows that the members were not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, nan
from typing import Final, Literal, TypeAlias

from guardsteer.classify.activation import Activation
from guardsteer.core.digests import digest_json
from guardsteer.core.failures import failure_of
from guardsteer.core.signals import TextClassifier, TextState
from guardsteer.errors import ClassifierError

__all__ = [
    "FAR",
    "LEAST",
    "Blend",
    "By",
    "CombinationClassifier",
    "CombinationState",
    "Missing",
    "Stack",
    "check_alike",
    "combine",
]

By: TypeAlias = Literal["max", "mean", "stack"]

Missing: TypeAlias = Literal["closed", "without"]
"""What a combination says while a member's score is missing. ``closed``: nothing, its own are missing too.
``without``: what the other members say."""

LEAST: Final = 1e-6
"""Probabilities below this, and above one less this, count as this: a stack's log-odds are bounded."""

_MOST: Final = 1 - LEAST

FAR: Final = log((1 - LEAST) / LEAST)
"""The log-odds of one less ``LEAST``."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The table of a stack: over the members' scores in order, each one's log-odds less ``center``.

    ``weight``: [score][output], ``bias``: [output], ``center``: [score]. A score of exactly 0.0 is that of a
    member that has read nothing yet, and counts as its ``center``.
    """

    weight: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    center: tuple[float, ...]
    activation: Activation

    def blend(self, values: Sequence[float]) -> Sequence[float]:
        """Return the probabilities [output]; ``values`` holds no nan."""
        if len(self.bias) == 1:
            # Most are; as below, without the lists.
            decision = self.bias[0]
            for value, center, weights in zip(values, self.center, self.weight, strict=True):
                if value != 0.0:
                    held = LEAST if value < LEAST else _MOST if value > _MOST else value
                    decision += (log(held / (1.0 - held)) - center) * weights[0]
            return (1.0 / (1.0 + exp(-decision)) if decision > -700.0 else 0.0,)
        decisions = list(self.bias)
        for value, center, weights in zip(values, self.center, self.weight, strict=True):
            if value == 0.0:
                continue
            away = log_odds(value) - center
            for output, weight in enumerate(weights):
                decisions[output] += away * weight
        if self.activation == "softmax":
            highest = max(decisions)
            parts = [exp(decision - highest) for decision in decisions]
            total = sum(parts)
            return [part / total for part in parts]
        return [1.0 / (1.0 + exp(-decision)) if decision > -700.0 else 0.0 for decision in decisions]


@dataclass(frozen=True, slots=True)
class Blend:
    """How the scores of ``members`` become those of the combination; ``stack`` for ``by: stack`` alone.

    With ``max`` and ``mean`` every member has the combination's own ``outputs``.
    """

    by: By
    members: int
    outputs: int
    missing: Missing = "closed"
    stack: Stack | None = None

    def of(self, values: Sequence[float]) -> Sequence[float]:
        """Return the scores from the members' own, one member behind the other.

        nan where one is missing, and 0.0 where all members say 0.0, as all do that have read nothing.
        """
        total = sum(values)
        if total != total:
            return self._mended(values)
        if total == 0.0:
            # Nothing was read, or nothing was found in it.
            return (0.0,) * self.outputs
        if self.stack is not None:
            return self.stack.blend(values)
        if self.outputs == 1:
            return (max(values),) if self.by == "max" else (total / self.members,)
        columns = [values[output :: self.outputs] for output in range(self.outputs)]
        return list(map(max, columns)) if self.by == "max" else [sum(each) / self.members for each in columns]

    def _mended(self, values: Sequence[float]) -> Sequence[float]:
        if self.missing == "closed":
            return (nan,) * self.outputs
        scores = []
        for output in range(self.outputs):
            there = [value for value in values[output :: self.outputs] if value == value]
            if not there:
                scores.append(nan)
            else:
                scores.append(max(there) if self.by == "max" else sum(there) / len(there))
        return scores


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, within those of ``LEAST``."""
    if probability <= LEAST:
        return -FAR
    return FAR if probability >= 1 - LEAST else log(probability / (1 - probability))


class CombinationClassifier:
    """A classifier of text made of others, by name; shared by all rows."""

    __slots__ = ("_digest", "blend", "members", "outputs", "places", "readers")

    def __init__(
        self,
        members: Mapping[str, TextClassifier],
        blend: Blend,
        *,
        outputs: tuple[str, ...],
        digest: str,
    ) -> None:
        self.members = dict(members)
        self.blend = blend
        self.outputs = outputs
        self._digest = digest
        # A classifier that is a member twice reads once.
        self.readers: tuple[TextClassifier, ...] = tuple(
            {id(each): each for each in members.values()}.values()
        )
        self.places = tuple(self.readers.index(each) for each in members.values())

    @property
    def digest(self) -> str:
        """Digest of everything that decides the scores, that of every member included."""
        return self._digest

    def start(self) -> CombinationState:
        """Return the state of a row that has read nothing."""
        return CombinationState(self, [reader.start() for reader in self.readers])


class CombinationState:
    """One row's reading: a state for each classifier that is a member.

    A member that raises makes ``push`` and ``scores`` raise, so that the combination is missing for the rest
    of the row, unless the blend goes on ``without``.
    """

    __slots__ = ("_classifier", "_states")

    def __init__(self, classifier: CombinationClassifier, states: list[TextState | None]) -> None:
        self._classifier = classifier
        self._states = states

    def push(self, text: str) -> None:
        """Append ``text`` to what every member reads."""
        for place, state in enumerate(self._states):
            if state is None:
                continue
            try:
                state.push(text)
            except Exception as error:
                self._lose(place, error)

    def scores(self) -> Sequence[float]:
        """Return the scores of all the text pushed so far; 0.0 each where nothing was read."""
        classifier = self._classifier
        read = [self._scores_of(place) for place in range(len(self._states))]
        values = [value for place in classifier.places for value in read[place]]
        return classifier.blend.of(values)

    def fork(self) -> CombinationState:
        """Return an independent copy."""
        return CombinationState(self._classifier, [each and each.fork() for each in self._states])

    def _scores_of(self, place: int) -> Sequence[float]:
        state, reader = self._states[place], self._classifier.readers[place]
        expected = len(reader.outputs)
        if state is not None:
            try:
                scores = state.scores()
                if len(scores) != expected:
                    raise ClassifierError(f"gave {len(scores)} scores, expected {expected}")
                return scores
            except Exception as error:
                self._lose(place, error)
        return (nan,) * expected

    def _lose(self, place: int, error: Exception) -> None:
        if self._classifier.blend.missing == "closed":
            name = list(self._classifier.members)[self._classifier.places.index(place)]
            raise ClassifierError(f"member {name}: {failure_of(error)}") from error
        self._states[place] = None


def combine(
    members: Mapping[str, TextClassifier], by: Literal["max", "mean"] = "max", *, missing: Missing = "closed"
) -> CombinationClassifier:
    """Return the highest or the mean of what ``members`` say, output by output.

    Raises ``ClassifierError`` unless there are two members or more, all with the same outputs.
    """
    problem = check_alike({name: tuple(each.outputs) for name, each in members.items()})
    if problem:
        raise ClassifierError(problem)
    if by not in ("max", "mean") or missing not in ("closed", "without"):
        raise ClassifierError(
            f"by={by!r}, missing={missing!r}: expected max or mean, and closed or without; "
            "a learned stack is trained: guardsteer classifiers combine"
        )
    outputs = tuple(next(iter(members.values())).outputs)
    digest = digest_json(
        {
            "kind": "combination",
            "by": by,
            "missing": missing,
            "outputs": list(outputs),
            "members": [each.digest for each in members.values()],
        }
    )
    blend = Blend(by, len(members), len(outputs), missing)
    return CombinationClassifier(members, blend, outputs=outputs, digest=digest)


def check_alike(outputs: Mapping[str, tuple[str, ...]]) -> str:
    """Return what keeps members with these outputs from being combined output by output, or nothing."""
    if len(outputs) < 2:
        return f"a combination needs two members or more, got {len(outputs)}"
    if len(set(outputs.values())) > 1:
        told = "; ".join(f"{name} gives {', '.join(each)}" for name, each in outputs.items())
        return f"max and mean are taken output by output, and the members' differ: {told}"
    return ""
