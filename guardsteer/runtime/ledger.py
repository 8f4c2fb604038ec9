"""From a row's steps to audit events: what was applied, from which token to which.

Only steps that are certain to stay are told: a step becomes certain when a later forward pass
builds on it. Drafted tokens that were rejected, and beams that were dropped, never show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardsteer.classify.guarded import Incident
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    ConditionChanged,
    Event,
    FlagChanged,
    RowHalted,
    RuleFired,
    RuleReleased,
)
from guardsteer.core.policy import Policy, Position
from guardsteer.runtime.row import Step
from guardsteer.steer.deltas import Composer, Slot

__all__ = ["Ledger", "LedgerKit", "Spans"]

GENERATED: frozenset[Position] = frozenset({"generated", "all"})


@dataclass(frozen=True, slots=True)
class Spans:
    """A prompt cut into runs of positions of one kind: ``(first, end, kinds)`` from 0 on."""

    runs: tuple[tuple[int, int, frozenset[Position]], ...]

    @classmethod
    def of(cls, length: int, assistant: Sequence[tuple[int, int]]) -> Spans:
        """Cut a prompt of ``length`` tokens at its ``assistant`` turns and before its last token."""
        kinds: list[frozenset[Position]] = [frozenset({"all"})] * length
        for first, end in assistant:
            kinds[first:end] = [frozenset({"all", "assistant"})] * (end - first)
        kinds[-1] |= {"last_prompt_token"}
        runs: list[tuple[int, int, frozenset[Position]]] = []
        for position, kind in enumerate(kinds):
            if runs and runs[-1][2] == kind:
                runs[-1] = (runs[-1][0], position + 1, kind)
            else:
                runs.append((position, position + 1, kind))
        return cls(tuple(runs))


@dataclass(frozen=True, slots=True)
class LedgerKit:
    """What all ledgers of a guard share."""

    policy: Policy
    scores_of: Callable[[int, Sequence[float]], dict[str, float | None]]
    composer: Composer
    append: Callable[[Event], None]
    fallback_digest: str
    requested: Mapping[tuple[int, int], float]


@dataclass(slots=True)
class _Open:
    """An activation under way."""

    rule: str
    first: int
    applied: float


class Ledger:
    """Tells one row's story to the journal, in order, each thing once."""

    def __init__(self, kit: LedgerKit, request: str, sequence: int, spans: Spans) -> None:
        self._kit = kit
        self._request = request
        self._sequence = sequence
        self._spans = spans
        self._prompt = spans.runs[-1][1]
        self._told = -1
        self._open: dict[int, _Open] = {}
        self._late: dict[str, int] = {}
        self._scores: dict[str, float | None] = {}

    def tell(self, newest: Step, last: int) -> bool:
        """Tell all steps up to ``last`` that were not told yet; ``newest`` is the chain's end.

        Returns whether later steps have something to tell too.
        """
        noted: list[Step] = []
        more = False
        step: Step | None = newest
        while step is not None and step.index > self._told:
            if step.note is not None:
                if step.index <= last:
                    noted.append(step)
                else:
                    more = True
            step = step.parent
        self._told = max(self._told, last)
        for step in reversed(noted):
            self._tell_step(step)
        return more

    def close(self, last: int) -> None:
        """End the activations that are still open; ``last`` is the last step whose pass chose a token."""
        for slot in sorted(self._open):
            self._end(slot, self._prompt - 1 + last)
        for name in sorted(self._late):
            self._caught_up(name, last + 1, self._common())

    def steered(self, newest: Step, last: int) -> int:
        """Count the tokens that were chosen under steering: one for each pass from step 0 to ``last``."""
        masked = self._kit.composer.masked
        count = 0
        step: Step | None = newest
        while step is not None:
            kinds = GENERATED if step.parent is not None else self._spans.runs[-1][2]
            if step.index <= last and any(masked(step.plan.strengths, kinds)):
                count += 1
            step = step.parent
        return count

    def _tell_step(self, step: Step) -> None:
        note = step.note
        if note is None:
            return
        common = self._common()
        for name, incident in note.incidents:
            self._befall(name, incident, step.index, common)
        for change in note.changes:
            self._kit.append(_change_event(change, step.index, common))
        if step.plan.halt >= 0:
            self._kit.append(
                RowHalted(
                    **common,
                    step=step.index,
                    rule=self._kit.policy.rules[step.plan.halt].id,
                    position=self._prompt + step.index,
                    fallback_digest=self._kit.fallback_digest,
                )
            )
        if step.index == 0:
            for first, _, kinds in self._spans.runs:
                self._apply(step, first, kinds, note.signals)
        else:
            self._apply(step, self._prompt - 1 + step.index, GENERATED, note.signals)

    def _common(self) -> dict[str, Any]:
        return {"time_ns": time.time_ns(), "request": self._request, "sequence": self._sequence}

    def _befall(self, name: str, incident: Incident, step: int, common: Mapping[str, Any]) -> None:
        if incident.kind == "failed":
            self._kit.append(ClassifierFailed(**common, step=step, classifier=name, error=incident.error))
        elif incident.kind == "late":
            self._late[name] = step
        else:
            self._caught_up(name, step, common)

    def _caught_up(self, name: str, until: int, common: Mapping[str, Any]) -> None:
        self._kit.append(ClassifierLate(**common, step=self._late.pop(name), classifier=name, until=until))

    def _apply(self, step: Step, position: int, kinds: frozenset[Position], signals: Sequence[float]) -> None:
        composer = self._kit.composer
        applied = composer.masked(step.plan.strengths, kinds)
        for slot, strength in enumerate(applied):
            rule = self._rule(step.plan.rules[slot]) if strength else ""
            under_way = self._open.get(slot)
            if under_way is not None:
                if under_way.applied == strength and under_way.rule == rule:
                    continue
                self._end(slot, position - 1)
            if strength:
                self._begin(slot, step.plan.rules[slot], position, strength, signals)

    def _begin(self, index: int, rule: int, position: int, strength: float, signals: Sequence[float]) -> None:
        slot: Slot = self._kit.composer.slots[index]
        self._open[index] = _Open(self._rule(rule), position, strength)
        self._kit.append(
            ActivationBegan(
                time_ns=time.time_ns(),
                request=self._request,
                sequence=self._sequence,
                rule=self._rule(rule),
                vector=slot.name,
                vector_digest=slot.digest,
                operator="add" if strength > 0 else "subtract",
                blocks=slot.blocks,
                position=position,
                requested=self._kit.requested.get((rule, index), strength),
                applied=strength,
                alphas=slot.alphas(strength),
                scores=self._kit.scores_of(rule, signals) if signals else {},
            )
        )

    def _end(self, index: int, last: int) -> None:
        ended = self._open.pop(index)
        self._kit.append(
            ActivationEnded(
                time_ns=time.time_ns(),
                request=self._request,
                sequence=self._sequence,
                rule=ended.rule,
                vector=self._kit.composer.slots[index].name,
                first=ended.first,
                last=last,
                tokens=last - ended.first + 1,
                applied=ended.applied,
            )
        )

    def _rule(self, index: int) -> str:
        return self._kit.policy.rules[index].id if index >= 0 else ""


def _change_event(change: Any, step: int, common: Mapping[str, Any]) -> Event:
    kind, name, up, scores, mode, truth = change
    if kind == "flag":
        return FlagChanged(**common, step=step, flag=name, up=up, score=scores)
    if kind == "condition":
        return ConditionChanged(**common, step=step, condition=name, truth=truth, scores=scores)
    event = RuleFired if up else RuleReleased
    return event(**common, step=step, rule=name, scores=scores, mode=mode)
