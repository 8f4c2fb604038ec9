"""The ways in which a policy's rules use its vectors, and how strong each use is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from guardsteer.core.plan import Channel
from guardsteer.core.policy import Policy, RuleSpec, SteerSpec
from guardsteer.rules.blame import Blame
from guardsteer.rules.places import shown
from guardsteer.rules.schedules import Use

__all__ = ["Channels", "find_channels", "steer_loc", "uses_of"]


@dataclass(frozen=True, slots=True)
class Channels:
    """A policy's channels: by vector, as the policy lists them, then in the order of first use.

    ``vectors`` maps a vector's name to its number, ``of_vector`` that number to its channels.
    """

    channels: tuple[Channel, ...]
    vectors: Mapping[str, int]
    of_vector: tuple[tuple[int, ...], ...]

    def index(self, steer: SteerSpec) -> int:
        """Return the number of the channel of one use."""
        return self.channels.index(_channel(steer, self.vectors[steer.vector]))


def _channel(steer: SteerSpec, vector: int) -> Channel:
    if steer.operator == "clamp":
        return Channel(vector, "clamp", steer.low, steer.high, steer.keep_norm)
    return Channel(vector, "ablate" if steer.operator == "ablate" else "add", None, None, steer.keep_norm)


def find_channels(policy: Policy) -> Channels:
    """Return each distinct use of each vector; a vector that no rule uses has one plain channel."""
    vectors = {vector.name: place for place, vector in enumerate(policy.vectors)}
    found: list[dict[Channel, None]] = [{} for _ in vectors]
    for rule in policy.rules:
        for steer in rule.steer:
            place = vectors[steer.vector]
            found[place].setdefault(_channel(steer, place))
    channels: list[Channel] = []
    of_vector = []
    for place, uses in enumerate(found):
        mine = list(uses) or [Channel(place)]
        of_vector.append(tuple(range(len(channels), len(channels) + len(mine))))
        channels += mine
    return Channels(tuple(channels), vectors, tuple(of_vector))


def uses_of(
    policy: Policy, channels: Channels, alpha_to_strength: Mapping[str, float], blame: Blame
) -> list[tuple[Use, ...]]:
    """Return what each rule steers; notes an ``alpha`` that no known norm turns into a strength."""
    resolved = []
    for index, rule in enumerate(policy.rules):
        uses = []
        for steer in rule.steer:
            magnitude = _magnitude(steer, alpha_to_strength)
            if magnitude is None:
                message = (
                    f"'alpha' needs the norms of the vector {shown(steer.vector)}, and they are not known"
                )
                blame.add(steer_loc(rule, index, steer.vector), message, "give 'strength'", line=rule.line)
                continue
            most = policy.vectors[channels.vectors[steer.vector]].max_strength
            uses.append(Use.of(steer, channels.index(steer), magnitude, most))
        resolved.append(tuple(uses))
    return resolved


def _magnitude(steer: SteerSpec, alpha_to_strength: Mapping[str, float]) -> float | None:
    if steer.operator in ("ablate", "clamp"):
        return 1.0 if steer.strength is None or steer.operator == "clamp" else steer.strength
    if steer.strength is not None:
        return steer.strength
    scale = alpha_to_strength.get(steer.vector)
    return None if scale is None else (steer.alpha or 0.0) * scale


def steer_loc(rule: RuleSpec, index: int, vector: str) -> tuple[int | str, ...]:
    """Return where in the document rule number ``index`` names ``vector``."""
    for operator in ("add", "subtract", "ablate", "clamp"):
        for place, steer in enumerate(item for item in rule.steer if item.operator == operator):
            if steer.vector == vector:
                return ("rules", index, operator, place, "vector")
    return ("rules", index, "disable")
