"""From a row's steps to audit events: what was applied, from which token to which.

Only steps that are certain to stay are told: a step becomes certain when a later forward pass
builds on it. Drafted tokens that were rejected, and beams that were dropped, never show.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardsteer.classify.pace.guarded import Incident
from guardsteer.core.events import (
    ClassifierFailed,
    ClassifierLate,
    ConditionChanged,
    Event,
    FlagChanged,
    RowHalted,
    RowRevised,
    RuleFired,
    RuleReleased,
)
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Position
from guardsteer.runtime.acting import Acting, LedgerKit
from guardsteer.runtime.past import Taken
from guardsteer.runtime.steps import Step, cleared, step_at
from guardsteer.runtime.terms import Terms
from guardsteer.runtime.would import Would

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


class Ledger:
    """Tells one row's story to the journal, in order, each thing once."""

    def __init__(self, kit: LedgerKit, request: str, sequence: int, spans: Spans, terms: Terms) -> None:
        self._kit = kit
        self._who: dict[str, Any] = {"request": request, "sequence": sequence, "track": kit.track}
        self._spans = spans
        self._prompt = spans.runs[-1][1]
        self._told = -1
        self._acting = Acting(kit, self._who, "enforce", terms.chosen)
        self._shadow = Acting(kit, self._who, "shadow", terms.chosen)
        self._would = Would(kit, self._prompt)
        self._late: dict[str, int] = {}

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

    def take_back(self, newest: Step, taken: Taken) -> None:
        """Tell all up to ``newest``, on account of which text was taken back, and that it was.

        What acted on that text ends with it.
        """
        self.drop(newest, taken)
        self._kit.append(
            RowRevised(
                **self._common(),
                step=taken.step,
                rule=self._kit.rule(taken.rule),
                position=self._prompt + taken.kept,
                dropped=taken.dropped,
                revision=taken.revision,
            )
        )

    def drop(self, newest: Step, taken: Taken) -> None:
        """Tell all up to ``newest``, and end what acted on text that was taken back there."""
        self.tell(newest, taken.step)
        if taken.dropped:
            position = self._prompt - 1 + newest.written
            self._acting.close(position)
            self._shadow.close(position)
            self._would.forget()

    def close(self, newest: Step, last: int) -> None:
        """End the activations that are still open; ``last`` is the last step whose pass chose a token."""
        position = self._prompt - 1 + step_at(newest, last).written
        self._acting.close(position)
        self._shadow.close(position)
        for name in sorted(self._late):
            self._caught_up(name, last + 1, self._common())

    def steered(self, newest: Step, last: int, without: range = range(0)) -> int:
        """Count the tokens that were chosen under steering: one for each pass from step 0 to ``last``.

        For a candidate: those that would have been. ``without``: how many tokens were written at passes
        that do not count.
        """
        masked = self._kit.composer.masked
        count = 0
        step: Step | None = newest
        while step is not None:
            kinds = GENERATED if step.written else self._spans.runs[-1][2]
            plan = step.plan.shadow or step.plan if self._kit.track else step.plan
            if step.index <= last and step.written not in without and any(masked(plan.strengths, kinds)):
                count += 1
            # Only the newest decision at the prompt's end chose a token that stayed.
            step = step.parent if step.written else None
        return count

    def _tell_step(self, step: Step) -> None:
        note = step.note
        if note is None:
            return
        common = self._common()
        for name, incident in note.incidents:
            self._befall(name, incident, step.index, common)
        for change in note.changes:
            self._kit.append(_change_event(self._kit, change, step.index, common))
        if step.plan.halt >= 0:
            self._halt(step, common)
        self._would.tell(step, common)
        if step.parent is None:
            for first, _, kinds in self._spans.runs:
                self._apply(step.plan, first, kinds, note.signals)
        else:
            kinds = GENERATED if step.written else self._spans.runs[-1][2]
            self._apply(step.plan, self._prompt - 1 + step.written, kinds, note.signals)

    def _common(self) -> dict[str, Any]:
        return {"time_ns": time.time_ns(), **self._who}

    def _befall(self, name: str, incident: Incident, step: int, common: Mapping[str, Any]) -> None:
        if incident.kind == "failed":
            self._kit.append(ClassifierFailed(**common, step=step, classifier=name, error=incident.error))
        elif incident.kind == "late":
            self._late.setdefault(name, step)
        else:
            self._caught_up(name, step, common)

    def _caught_up(self, name: str, until: int, common: Mapping[str, Any]) -> None:
        # What was read again after a revision may have been late, or caught up, without telling.
        first = self._late.pop(name, until)
        if first < until:
            self._kit.append(ClassifierLate(**common, step=first, classifier=name, until=until))

    def _halt(self, step: Step, common: Mapping[str, Any]) -> None:
        self._kit.append(
            RowHalted(
                **common,
                step=step.index,
                rule=self._kit.rule(step.plan.halt),
                position=self._prompt + min(cleared(step.parent), step.written),
                fallback_digest=self._kit.fallback_digest,
            )
        )

    def _apply(self, plan: Plan, position: int, kinds: frozenset[Position], signals: Sequence[float]) -> None:
        masked = self._kit.composer.masked
        self._acting.apply(position, masked(plan.strengths, kinds), plan.rules, signals)
        shadow = plan.shadow
        if shadow is not None:
            told = masked(_differing(shadow, plan), kinds)
            self._shadow.apply(position, masked(shadow.strengths, kinds), shadow.rules, signals, told)
        elif self._shadow.any:
            self._shadow.close(position - 1)


def _differing(shadow: Plan, plan: Plan) -> tuple[float, ...]:
    """Return what would act beyond what does: 0.0 where the same rule decides."""
    decided = zip(shadow.strengths, shadow.rules, plan.rules, strict=True)
    return tuple(0.0 if rule == real else strength for strength, rule, real in decided)


def _change_event(kit: LedgerKit, change: Any, step: int, common: Mapping[str, Any]) -> Event:
    kind, name, up, scores, mode, truth = change
    if kind == "flag":
        threshold = kit.threshold(name, up=up)
        return FlagChanged(**common, step=step, flag=name, up=up, score=scores, threshold=threshold)
    if kind == "condition":
        return ConditionChanged(**common, step=step, condition=name, truth=truth, scores=scores)
    event = RuleFired if up else RuleReleased
    return event(**common, step=step, rule=name, scores=scores, mode=mode)
