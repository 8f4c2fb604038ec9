"""Activations of one row as the audit tells them: from the first token that a vector acts on to the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardsteer.core.events import ActivationBegan, ActivationEnded, Event
from guardsteer.core.policy import FlagSpec, Mode, Operator, Policy
from guardsteer.steer.composing import Composer

__all__ = ["Acting", "LedgerKit"]

_Strengths = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LedgerKit:
    """What all ledgers of a policy share; ``track``: the name of a candidate, "" for the policy in force."""

    policy: Policy
    scores_of: Callable[[int, Sequence[float]], dict[str, float | None]]
    composer: Composer
    append: Callable[[Event], None]
    fallback_digest: str
    requested: Mapping[tuple[int, int], float]
    track: str = ""
    _flags: dict[str, FlagSpec] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._flags.update((spec.name, spec) for spec in self.policy.flags)

    def rule(self, index: int) -> str:
        """Return a rule's id; empty for no rule."""
        return self.policy.rules[index].id if index >= 0 else ""

    def threshold(self, flag: str, *, up: bool) -> float | None:
        """Return what a flag's signal crossed when it went up or down, or None."""
        spec = self._flags.get(flag)
        if spec is None:
            return None
        return spec.enter if up else spec.exit

    def max_strength(self, vector: str) -> float | None:
        """Return a vector's bound, or None."""
        return next((spec.max_strength for spec in self.policy.vectors if spec.name == vector), None)


@dataclass(frozen=True, slots=True)
class _Open:
    """An activation under way; ``strength`` is the plan's, ``applied`` what the budget left of it."""

    rule: int
    first: int
    strength: float
    applied: float
    alphas: tuple[float, ...]
    operator: Operator


class Acting:
    """The activations of one row that are under way in one mode.

    ``who`` are the fields that all events of the row share; ``chosen`` are the strengths that the request
    asked for and got, by vector.
    """

    __slots__ = ("_chosen", "_kit", "_mode", "_open", "_who")

    def __init__(
        self,
        kit: LedgerKit,
        who: Mapping[str, Any],
        mode: Mode,
        chosen: Mapping[str, tuple[float, float]],
    ) -> None:
        self._kit = kit
        self._who = who
        self._mode = mode
        self._chosen = chosen
        self._open: dict[int, _Open] = {}

    @property
    def any(self) -> bool:
        """True while an activation is under way."""
        return bool(self._open)

    def apply(
        self,
        position: int,
        strengths: _Strengths,
        rules: Sequence[int],
        signals: Sequence[float],
        told: _Strengths | None = None,
    ) -> None:
        """Tell what begins and ends where ``strengths`` act from ``position`` on, on account of ``rules``.

        ``told``: those of them that are to be told, 0.0 for the others; None for all.
        """
        composer = self._kit.composer
        for index, strength in enumerate(strengths if told is None else told):
            under_way = self._open.get(index)
            if strength == 0.0 and under_way is None:
                continue
            alphas = composer.alphas(index, strengths)
            if under_way is not None:
                if (under_way.rule, under_way.strength, under_way.alphas) == (rules[index], strength, alphas):
                    continue
                self._end(index, position - 1)
            if strength:
                self._begin(index, rules[index], position, strengths, alphas, signals)

    def close(self, last: int) -> None:
        """End all activations; ``last`` is the last position at which something acted."""
        for index in sorted(self._open):
            self._end(index, last)

    def _begin(
        self,
        index: int,
        rule: int,
        position: int,
        strengths: _Strengths,
        alphas: tuple[float, ...],
        signals: Sequence[float],
    ) -> None:
        kit, slot, strength = self._kit, self._kit.composer.slots[index], strengths[index]
        operator: Operator = "subtract" if slot.operator == "add" and strength < 0 else slot.operator
        requested, limits = self._requested(index, rule, strength)
        cuts = kit.composer.limited(strengths)
        factor = min(cuts.get(point, 1.0) for point in slot.points) if slot.operator == "add" else 1.0
        if factor < 1.0:
            limits.append("budget")
        self._open[index] = _Open(rule, position, strength, strength * factor, alphas, operator)
        kit.append(
            ActivationBegan(
                time_ns=time.time_ns(),
                **self._who,
                rule=kit.rule(rule),
                vector=slot.name,
                vector_digest=slot.digest,
                operator=operator,
                blocks=slot.blocks,
                position=position,
                requested=requested,
                applied=strength * factor,
                alphas=alphas,
                scores=kit.scores_of(rule, signals) if signals else {},
                site=slot.site,
                heads=slot.heads,
                bounds=(slot.low, slot.high) if slot.operator == "clamp" else (),
                keep_norm=slot.keep_norm,
                limits=tuple(limits),
                planned=strength if factor < 1.0 else 0.0,
                mode=self._mode,
            )
        )

    def _requested(self, index: int, rule: int, strength: float) -> tuple[float, list[str]]:
        """Return what was asked for before any bound, and the bounds that cut it."""
        slot = self._kit.composer.slots[index]
        requested = self._kit.requested.get((rule, index), strength)
        if slot.operator != "add":
            return requested, []
        limits: list[str] = []
        allowed = abs(requested)
        if slot.name in self._chosen:
            asked, allowed = self._chosen[slot.name]
            requested = -asked if strength < 0 else asked
            if asked != allowed:
                limits.append("override")
        most = self._kit.max_strength(slot.name)
        if most is not None and allowed > most:
            limits.append("max_strength")
        return requested, limits

    def _end(self, index: int, last: int) -> None:
        ended = self._open.pop(index)
        self._kit.append(
            ActivationEnded(
                time_ns=time.time_ns(),
                **self._who,
                rule=self._kit.rule(ended.rule),
                vector=self._kit.composer.slots[index].name,
                first=ended.first,
                last=last,
                tokens=last - ended.first + 1,
                applied=ended.applied,
                operator=ended.operator,
                mode=self._mode,
            )
        )
