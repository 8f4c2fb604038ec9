"""One row of a generation: its text, its signals, its rules and what they decided, step by step.

Step 0 is the prompt; step ``s`` is the ``s``-th generated token. The steps form a chain from the
newest to step 0, so that beams share their past and a rewind is a walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from guardsteer.classify.guarded import GuardedState, Incident
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Scope
from guardsteer.core.signals import TextState
from guardsteer.runtime.fragile import Befallen, Fragile
from guardsteer.runtime.probing import ProbeBank
from guardsteer.runtime.rowkit import Reading, RowKit
from guardsteer.runtime.steps import Note, Step
from guardsteer.runtime.terms import Terms
from guardsteer.runtime.text import TextReader

__all__ = ["Note", "Reading", "Row", "RowKit", "Step"]

MISSING = float("nan")
CONTINUED: frozenset[Scope] = frozenset({"generation", "all"})


class Row:
    """The state of one row; everything in it is a function of the row's own tokens and terms.

    A row whose terms say "off" keeps count of its tokens and reads nothing.
    """

    __slots__ = (
        "_active",
        "_closing",
        "_engine",
        "_fragile",
        "_holding",
        "_incidents",
        "_kit",
        "_lost",
        "_reader",
        "_saved",
        "_signals",
        "_waits",
        "acts",
        "group",
        "halt_step",
        "news",
        "prompt_key",
        "prompt_tokens",
        "step",
    )

    def __init__(
        self,
        kit: RowKit,
        *,
        group: int,
        prompt: Sequence[int],
        user: tuple[int, int] | None,
        context: dict[str, Any],
        closing: frozenset[int],
        terms: Terms,
    ) -> None:
        self._kit = kit
        self.acts = terms.mode == "enforce"
        self.group = group
        self.prompt_tokens = len(prompt)
        self.halt_step = -1
        self.news = True
        self._closing = closing
        self._incidents: list[Befallen] = []
        self._saved: dict[int, tuple[Any, ...]] = {}
        self._signals: list[float] = [0.0] * kit.program.n_signals
        self._reader = TextReader(kit.vocabulary)
        self._active: list[tuple[Reading, TextState]] = []
        self._fragile: Fragile | None = None
        # Probes that give no number at present.
        self._lost: frozenset[str] = frozenset()
        self._holding = False
        self._engine = kit.start(context, terms)
        self._waits = kit.program.has_within and terms.mode != "off"
        if terms.mode != "off":
            self._read_prompt(prompt, user)
        self.step = Step(None, 0, -1, hash(tuple(prompt)), kit.idle)
        self.prompt_key = self.step.key
        self.step.complete = not self._waits
        self._settle(self.step, self._engine.before(self._signals))

    def _read_prompt(self, prompt: Sequence[int], user: tuple[int, int] | None) -> None:
        text = self._reader.read(prompt)
        for reading in self._kit.readings:
            try:
                state = reading.classifier.start()
                if reading.scope == "user":
                    asked = prompt[user[0] : user[1]] if user else ()
                    said = TextReader(self._kit.vocabulary).read(asked)
                else:
                    said = "" if reading.scope == "generation" else text
                if isinstance(state, GuardedState):
                    continued = reading.scope in CONTINUED
                    self._fragile = self._fragile or Fragile()
                    self._incidents += self._fragile.begin(reading, state, said, continued, self._signals)
                    continue
                if said:
                    state.push(said)
                self._signals[reading.first : reading.end] = reading.checked(state.scores())
            except Exception as error:
                self._break(reading, error)
                continue
            if reading.scope in CONTINUED:
                self._active.append((reading, state))

    def advance(self, token: int) -> None:
        """Take the decision of the step that ``token`` begins, as far as text alone decides it."""
        parent = self.step
        step = self.step = Step(parent, parent.index + 1, token, hash((parent.key, token)), self._kit.idle)
        if self.halt_step >= 0:
            step.complete = True
            return
        if token in self._closing:
            # Nothing is decided at the end of a text, nor at the padding behind it, which may also follow
            # a row that something else ended. A row that goes on after all is read on.
            step.complete = True
            step.note = Note((), ())
            self.news = True
            return
        text = self._reader.push(token)
        if text:
            for reading, state in self._active:
                try:
                    state.push(text)
                    self._signals[reading.first : reading.end] = state.scores()
                except Exception as error:
                    self._break(reading, error)
        if self._fragile is not None:
            self._incidents += self._fragile.read(text, self._signals)
        engine = self._engine
        plan = engine.before(self._signals)
        if self._holding:
            plan = parent.plan if parent.plan.revise < 0 else replace(parent.plan, revise=-1)
        step.complete = not self._waits
        settled = self._waits or (plan is parent.plan and parent.parent is not None)
        if settled and not engine.changes and not self._incidents and plan.halt < 0:
            step.plan = plan
        else:
            self._settle(step, plan)

    def complete(self, step: Step, probes: ProbeBank, scores: Sequence[float]) -> None:
        """Finish the newest step with what the probes read."""
        step.complete = True
        if 0 <= self.halt_step < step.index:
            return
        if self._lost or isnan(sum(scores)):
            scores, self._lost, told = probes.mend(scores, self._signals, self._lost)
            self._incidents += told
        for slot, score in zip(probes.slots, scores, strict=True):
            self._signals[slot] = score
        if self.halt_step >= 0:
            return
        engine = self._engine
        plan = step.plan if self._holding else engine.within(self._signals)
        parent = step.parent
        if (
            parent is not None
            and plan is parent.plan
            and parent.parent is not None
            and not engine.changes
            and not self._incidents
            and step.note is None
        ):
            step.plan = plan
        else:
            self._settle(step, plan)

    def _settle(self, step: Step, plan: Plan) -> None:
        if plan.halt >= 0:
            self.halt_step = step.index
            plan = Plan(self._kit.idle.strengths, plan.rules, plan.halt)
        parent = step.parent
        step.plan = plan
        changes = self._engine.changes
        edge = plan.halt >= 0 or (
            step.complete and (parent is None or parent.index == 0 or plan is not parent.plan)
        )
        if changes or edge or self._incidents:
            kept = step.note or Note((), ())
            incidents = (*kept.incidents, *self._incidents)
            step.note = Note((*kept.changes, *changes), tuple(self._signals), incidents)
            self._incidents = []
            self.news = True

    def silence(self, first: int, *, halt: bool) -> None:
        """Undo what steps from ``first`` on decided to steer: nothing may be now. ``halt`` ends the row."""
        step: Step | None = self.step
        idle = self._kit.idle.strengths
        while step is not None and step.index >= first:
            if any(step.plan.strengths):
                step.plan = replace(step.plan, strengths=idle)
                step.note = step.note or Note((), ())
                self.news = True
            step = step.parent
        if halt and self.acts and self.halt_step < 0:
            self.halt_step = max(first, 0)

    def hold(self, holding: bool, *, starting: bool) -> None:
        """From the next step on, keep the plan that there is, whatever the rules say, or no longer.

        ``starting``: no pass has begun yet, so there is nothing to keep; nothing is steered or ended then.
        """
        self._holding = holding
        if holding and starting:
            self.halt_step = -1
            self.step.plan = self._kit.idle
            self.step.note = self.step.note or Note((), ())
            self.news = True

    def _break(self, reading: Reading, error: Exception) -> None:
        """Count a classifier that raised as missing from here on."""
        self._signals[reading.first : reading.end] = [MISSING] * (reading.end - reading.first)
        self._active = [entry for entry in self._active if entry[0] is not reading]
        self._incidents.append((reading.name, Incident("failed", f"{type(error).__name__}: {error}")))

    def fork(self) -> Row:
        """Return an independent row with the same past, for a beam that splits."""
        copy = Row.__new__(Row)
        for name in (
            "_closing",
            "_holding",
            "_kit",
            "_waits",
            "acts",
            "group",
            "news",
            "prompt_key",
            "prompt_tokens",
            "step",
        ):
            setattr(copy, name, getattr(self, name))
        copy._saved = {}
        copy._load(self._state())
        return copy

    @property
    def drafting(self) -> bool:
        """True while states are kept for a rewind."""
        return bool(self._saved)

    def save(self) -> None:
        """Keep the state at the present step, so that ``rewind`` can come back to it."""
        self._saved[self.step.index] = (self.step, *self._state())

    def forget(self) -> None:
        """Drop all saved states."""
        self._saved.clear()

    def rewind(self, index: int) -> bool:
        """Go back to step ``index``; False where its state was not saved."""
        saved = self._saved.get(index)
        if saved is None:
            return False
        self.step = saved[0]
        self._load(saved[1:])
        return True

    def _state(self) -> tuple[Any, ...]:
        return (
            self._engine.fork(),
            self._reader.fork(),
            [(reading, state.fork()) for reading, state in self._active],
            None if self._fragile is None else self._fragile.fork(),
            list(self._signals),
            self._lost,
            self.halt_step,
        )

    def _load(self, state: tuple[Any, ...]) -> None:
        self._engine, self._reader, self._active, self._fragile = state[:4]
        self._signals, self._lost, self.halt_step = state[4:]
        self._incidents = []
