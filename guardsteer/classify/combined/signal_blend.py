"""Scores of a policy made of its other scores: no text is read for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from guardsteer.classify.combined.combination import Blend
from guardsteer.core.digests import digest_json
from guardsteer.core.policy import Policy

__all__ = ["SignalBlend", "Signals", "blends_of"]


class Signals(Protocol):
    """What gives scores: a classifier of text or of hidden states."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the scores, in order."""


@dataclass(frozen=True, slots=True)
class SignalBlend:
    """A score made of the scores ``of``, each ``classifier.output``."""

    of: tuple[str, ...]
    blend: Blend
    digest: str
    outputs: tuple[str, ...] = ("score",)

    def block(self, probes: Mapping[str, int]) -> int | None:
        """Return the deepest block that it waits for, None where no probe is among its scores."""
        blocks = [probes[name] for name in self.classifiers if name in probes]
        return max(blocks) if blocks else None

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The names of the classifiers whose scores it is made of."""
        return tuple(signal.partition(".")[0] for signal in self.of)

    def score(self, signals: Sequence[float], index: Mapping[str, int]) -> float:
        """Return the score from those of a row; ``index`` says where each stands."""
        return self.blend.of([signals[index[name]] for name in self.of])[0]


def blends_of(policy: Policy, digests: Mapping[str, str]) -> dict[str, SignalBlend]:
    """Return what the policy combines, by name; ``digests`` are those of its classifiers, by name.

    A digest that is not known, as that of a probe that a case scripts, counts as empty.
    """
    made = {}
    for spec in policy.classifiers:
        if (combine := spec.combine) is None:
            continue
        parts = [[signal, digests.get(signal.partition(".")[0], "")] for signal in combine.of]
        digest = digest_json({"kind": "combine", "by": combine.by, "missing": combine.missing, "of": parts})
        made[spec.name] = SignalBlend(
            combine.of, Blend(combine.by, len(combine.of), 1, combine.missing), digest
        )
    return made
