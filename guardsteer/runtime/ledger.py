"""From a row's steps to audit events: what was applied, from which token to which.

Only steps that are certain to stay are told: a step becomes certain when a later forward pass
builds on it. Drafted tokens that were rejected, and beams that were dropped, never show.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from guardsteer.runtime.steps import Note, Step, cleared, step_at
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

    __slots__ = (
        *("_acting", "_kit", "_late", "_plan", "_prompt", "_request", "_sequence", "_shadow", "_spans"),
        *("_told", "_who", "_would"),
    )

    def __init__(self, kit: LedgerKit, request: str, sequence: int, spans: Spans, terms: Terms) -> None:
        self._kit = kit
        self._request, self._sequence = request, sequence
        self._who: dict[str, Any] = {"request": request, "sequence": sequence, "track": kit.track}
        self._spans = spans
        self._prompt = spans.runs[-1][1]
        self._told = -1
        self._acting = Acting(kit, self._who, "enforce", terms.chosen)
        self._shadow = Acting(kit, self._who, "shadow", terms.chosen)
        self._would = Would(kit, self._who, self._prompt)
        # The plan of the newest step that was told; None where that is the prompt's, whose last token is
        # not steered as generated ones are, and where all that acted has ended since.
        self._plan: Plan | None = None
        self._late: dict[str, int] = {}

    def tell(self, newest: Step, last: int) -> bool:
        """Tell all steps up to ``last`` that were not told yet; ``newest`` is the chain's end.

        Returns whether later steps have something to tell too.
        """
        told, more = self._told, False
        noted: list[tuple[Step, Note]] = []
        step: Step | None = newest
        while step is not None and step.index > told:
            note = step.note
            if note is not None:
                if step.index <= last:
                    noted.append((step, note))
                else:
                    more = True
            step = step.parent
        if last > told:
            self._told = last
        for step, note in reversed(noted):
            self._tell_step(step, note)
        return more

    def take_back(self, newest: Step, taken: Taken) -> None:
        """Tell all up to ``newest``, on account of which text was taken back, and that it was.

        What acted on that text ends with it.
        """
        self.drop(newest, taken)
        self._kit.append(
            RowRevised(
                time_ns=time.time_ns(),
                **self._who,
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
            self._close(newest)
            self._would.forget()

    def close(self, newest: Step, last: int) -> None:
        """End the activations that are still open; ``last`` is the last step whose pass chose a token."""
        self._close(step_at(newest, last))
        for name in sorted(self._late):
            self._caught_up(name, last + 1, time.time_ns())

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

    def _close(self, step: Step) -> None:
        position = self._prompt - 1 + step.written
        self._acting.close(position)
        self._shadow.close(position)
        self._plan = None

    def _tell_step(self, step: Step, note: Note) -> None:
        time_ns, plan, written = time.time_ns(), step.plan, step.written
        for name, incident in note.incidents:
            self._befall(name, incident, step.index, time_ns)
        for change in note.changes:
            self._kit.append(self._change_event(change, step.index, time_ns))
        if plan.halt >= 0:
            self._halt(step, time_ns)
        if plan is self._plan:
            # What acts, and what would, goes on as it was told.
            return
        self._would.tell(step, time_ns)
        if step.parent is None:
            for first, _, kinds in self._spans.runs:
                self._apply(plan, first, kinds, note.signals)
        else:
            kinds = GENERATED if written else self._spans.runs[-1][2]
            self._apply(plan, self._prompt - 1 + written, kinds, note.signals)
        self._plan = plan if written else None

    def _change_event(self, change: Any, step: int, time_ns: int) -> Event:
        # Field by field: many flags turn, and a mapping with ** takes five times as long.
        request, sequence, track = self._request, self._sequence, self._kit.track
        kind, name, up, scores, mode, truth = change
        if kind == "flag":
            return FlagChanged(
                time_ns=time_ns,
                request=request,
                sequence=sequence,
                track=track,
                step=step,
                flag=name,
                up=up,
                score=scores,
                threshold=self._kit.threshold(name, up=up),
            )
        if kind == "condition":
            return ConditionChanged(
                time_ns=time_ns,
                request=request,
                sequence=sequence,
                track=track,
                step=step,
                condition=name,
                truth=truth,
                scores=scores,
            )
        event = RuleFired if up else RuleReleased
        return event(
            time_ns=time_ns,
            request=request,
            sequence=sequence,
            track=track,
            step=step,
            rule=name,
            scores=scores,
            mode=mode,
        )

    def _befall(self, name: str, incident: Incident, step: int, time_ns: int) -> None:
        if incident.kind == "failed":
            error = incident.error
            self._kit.append(
                ClassifierFailed(time_ns=time_ns, **self._who, step=step, classifier=name, error=error)
            )
        elif incident.kind == "late":
            self._late.setdefault(name, step)
        else:
            self._caught_up(name, step, time_ns)

    def _caught_up(self, name: str, until: int, time_ns: int) -> None:
        # What was read again after a revision may have been late, or caught up, without telling.
        first = self._late.pop(name, until)
        if first < until:
            self._kit.append(
                ClassifierLate(time_ns=time_ns, **self._who, step=first, classifier=name, until=until)
            )

    def _halt(self, step: Step, time_ns: int) -> None:
        self._kit.append(
            RowHalted(
                time_ns=time_ns,
                **self._who,
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
