"""One row of a generation: its text, its signals, its rules and what they decided, step by step.

Step 0 is the prompt; step ``s`` is the ``s``-th generated token, those that were taken back included.
The steps form a chain from the newest to step 0, so that beams share their past and a rewind is a walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp
from typing import Any

from guardsteer.core.plan import Plan
from guardsteer.core.policy import ReviseSpec
from guardsteer.runtime.hearing import Hearing
from guardsteer.runtime.past import Light, Past, Reach, Taken
from guardsteer.runtime.probing import FAR, ProbeBank
from guardsteer.runtime.rowkit import Reading, RowKit
from guardsteer.runtime.steps import Note, Step, cleared, tokens_of, unsteer
from guardsteer.runtime.strides import DECIDED, READ, Striding
from guardsteer.runtime.terms import Terms

__all__ = ["Note", "Reading", "Row", "RowKit", "Step"]


class Row:
    """The state of one row; everything in it is a function of the row's own tokens and terms.

    A row whose terms say "off" keeps count of its tokens and reads nothing.
    """

    __slots__ = (
        *("_again", "_closing", "_engine", "_heard", "_holding", "_kit", "_lost", "_past", "_root", "_saved"),
        *("_striding", "_waits", "acts", "dropped", "group", "halt_step", "index", "news", "over"),
        *("prompt_key", "prompt_tokens", "step"),
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
        revising: Mapping[int, ReviseSpec] | None = None,
    ) -> None:
        self._kit = kit
        self.acts = terms.mode == "enforce"
        self.group = group
        self.prompt_tokens = len(prompt)
        self.halt_step = -1
        # The newest step's index. Ahead of ``step.index`` from a revision to the step that follows it.
        self.index = 0
        # By how much an index is ahead of the number of tokens that stayed.
        self.dropped = 0
        # Ended for a reason of its own, while other rows go on.
        self.over = False
        self.news = True
        self._again = False
        self._closing = closing
        self._saved: dict[int, tuple[Any, ...]] = {}
        self._heard = heard = Hearing(kit)
        # Probes that give no number at present.
        self._lost: frozenset[str] = frozenset()
        self._holding = False
        self._engine = kit.start(context, terms)
        self._waits = kit.program.has_within and terms.mode != "off"
        if terms.mode != "off":
            heard.begin(kit, prompt, user)
        self._past: Past | None = None
        rules = (kit.revising if self.acts else {}) if revising is None else revising
        if rules:
            first = Light(None, self._engine.fork(), tuple(heard.signals), self._lost)
            self._past = Past(Reach.of(rules), first, heard.fork())
        plain = heard.fragile is None and not kit.counting and not kit.joining.within
        self._striding = Striding(able=plain and self._past is None)
        self.step = self._root = Step(None, 0, -1, hash(tuple(prompt)), kit.idle, 0)
        self.prompt_key = self.step.key
        self.step.complete = not self._waits
        self._settle(self.step, self._engine.before(heard.signals))

    def advance(self, token: int) -> None:
        """Take the decision of the step that ``token`` begins, as far as text alone decides it."""
        parent, stride = self.step, self._striding.stride
        if stride is not None:
            done = stride.advance(self, token)
            if done == DECIDED:
                return
            self._striding.stir(self._engine, short=done == READ)
            if done == READ:
                self._decide(self.step, parent)
                return
        if self._past is not None and not self._again:
            self._past.keep(self.step, self._engine, self._heard.signals, self._lost)
        self.index = index = self.index + 1
        if self._again and index == self.dropped:
            self._ask_again()
            return
        kit, key = self._kit, hash((parent.key, token))
        step = self.step = Step(parent, index, token, key, kit.idle, parent.written + 1)
        if self.halt_step >= 0:
            step.complete = True
            return
        if token in self._closing or self.over:
            # Nothing is decided at the end of a text, nor at the padding behind it, which may also follow
            # a row that something else ended. A row that goes on after all is read on.
            step.complete = True
            step.note = Note((), ())
            step.cleared = cleared(parent)
            self.news = True
            self._engine.skip()
            return
        self._heard.hear(token, step)
        self._decide(step, parent)

    def _decide(self, step: Step, parent: Step) -> None:
        """Decide the step behind ``parent``, whose text was read, as far as text alone does."""
        engine, heard = self._engine, self._heard
        plan = engine.before(heard.signals, heard.sentences.ended)
        if self._holding:
            plan = parent.plan if parent.plan.revise < 0 else replace(parent.plan, revise=-1)
        step.complete = not self._waits
        settled = (self._waits or (plan is parent.plan and parent.parent is not None)) and not self._again
        if settled and not engine.changes and not heard.incidents and plan.halt < 0:
            step.plan = plan
            if step.complete and not self._holding:
                self._striding.take(engine, heard, self._closing, waits=False)
        else:
            self._settle(step, plan)

    def complete(self, step: Step, probes: ProbeBank, products: Sequence[float]) -> None:
        """Finish the newest step with what the probes read, a number for each of their slots."""
        stride = self._striding.stride
        if stride is not None:
            if stride.complete(step, products[0]):
                return
            self._engine.stepped(stride.tell())
        step.complete = True
        if 0 <= self.halt_step < step.index:
            return
        only, heard = probes.only, self._heard
        signals = heard.signals
        # The comparison is false for nan too.
        if only >= 0 and not self._lost and (logit := products[0] + probes.biases[0]) > -FAR:
            signals[only] = 1.0 / (1.0 + exp(-logit))
        else:
            self._lost, told = probes.fill(signals, products, self._lost)
            heard.incidents += told
        for joined in self._kit.joining.within:
            joined.fill(signals, ())
        if self.halt_step >= 0:
            return
        engine = self._engine
        plan = step.plan if self._holding else engine.within(signals)
        parent = step.parent
        same = parent is not None and plan is parent.plan and parent.parent is not None
        if same and not engine.changes and not heard.incidents and step.note is None:
            step.plan = plan
            if not self._holding and not self._lost:
                if stride is None:
                    self._striding.take(engine, heard, self._closing, waits=True)
                self._striding.expect(engine, heard, probes)
        else:
            self._settle(step, plan)

    def _settle(self, step: Step, plan: Plan) -> None:
        if plan.halt >= 0:
            self._striding.stir(self._engine)
            self.halt_step = step.index
            plan = Plan(self._kit.idle.strengths, plan.rules, plan.halt)
        parent = step.parent
        if parent is not None and step.written == 0:
            # The prompt's last token is not steered as generated ones are, so its plan is one of its own.
            plan = replace(plan)
        step.plan = plan
        changes, heard = self._engine.changes, self._heard
        edge = plan.halt >= 0 or (
            step.complete and (parent is None or parent.index == 0 or plan is not parent.plan)
        )
        if self._again:
            # All that acted was told as ended with the text that was taken back.
            self._again, edge = not step.complete, True
        if changes or edge or heard.incidents:
            kept = step.note or Note((), ())
            incidents = (*kept.incidents, *heard.told())
            step.note = Note((*kept.changes, *changes), tuple(heard.signals), incidents)
            self.news = True

    def end(self) -> None:
        """Decide nothing from here on: something else has ended the row."""
        self._striding.stir(self._engine)
        self.over = True

    def silence(self, first: int, *, halt: bool) -> None:
        """Undo what steps from ``first`` on decided to steer: nothing may be now. ``halt`` ends the row."""
        self._striding.stir(self._engine)
        if unsteer(self.step, first, self._kit.idle.strengths):
            self.news = True
        if halt and self.acts and self.halt_step < 0:
            self.halt_step = max(first, 0)

    def hold(self, holding: bool, *, starting: bool) -> None:
        """From the next step on, keep the plan that there is, whatever the rules say, or no longer.

        ``starting``: no pass has begun yet, so there is nothing to keep; nothing is steered or ended then.
        """
        self._striding.stir(self._engine)
        self._holding = holding
        if holding and starting:
            self.halt_step = -1
            self.step.plan = self._kit.idle
            self.step.note = self.step.note or Note((), ())
            self.news = True

    # --- taking text back ----------------------------------------------------------------------

    def take_back(self) -> Taken | None:
        """Take text back as the newest step's plan says, and return what; None where it says no such thing.

        The last token that stays has to come again: the next ``advance`` reads it and decides its step
        anew. Where nothing was written yet, nothing goes, and the next token is the next.
        """
        past, rule, written = self._past, self.step.plan.revise, self.step.written
        if rule < 0 or past is None or self.over or self.halt_step >= 0 or self._again:
            return None
        kept = past.target(rule, self.step)
        revision = self._go_back(past, rule, kept)
        self._engine.revised(rule)
        return Taken(rule, self.index, kept, written - kept, revision)

    def follow_back(self, taken: Taken) -> None:
        """Take back what a row of the same text took back by a rule of its own; ``revising`` has it."""
        if self._past is not None:
            self._go_back(self._past, taken.rule, taken.kept)

    def _go_back(self, past: Past, rule: int, kept: int) -> int:
        """Go back to ``kept`` tokens on account of ``rule``; return how often that has done so now."""
        if self.step.written:
            old = self._engine
            self._restore(past.back(kept), past)
            self._engine.take_revisions(old)
            self.dropped = self.index + 1 - kept
            self._again = True
        past.reach = past.reach.counted(rule)
        if past.reach.spent:
            self._past = None
        return past.reach.count(rule)

    def _ask_again(self) -> None:
        """Decide the prompt's step anew: all that was written was taken back."""
        root = self.step
        step = self.step = Step(root, self.index, -1, root.key, self._kit.idle, 0)
        plan = self._engine.before(self._heard.signals, self._heard.sentences.ended)
        step.complete = not self._waits
        self._settle(step, plan)

    @property
    def floor(self) -> int:
        """How many of the row's tokens no rule can take back any more."""
        past = self._past
        if past is None or self.over or self.halt_step >= 0:
            return self.step.written + 1
        if not self._again and past.at != self.step.written:
            past.keep(self.step, self._engine, self._heard.signals, self._lost)
        return past.floor

    def read_last(self, token: int) -> int:
        """Read the last token of a row that has ended; return how many tokens stay by what is decided.

        No pass follows, so nothing is steered there, and nothing is written for what would be taken back.
        """
        index = self.index
        self.advance(token)
        self.index = index
        step, past = self.step, self._past
        step.complete = True
        step.note = step.note or Note((), ())
        self.news = True
        if any(step.plan.strengths):
            step.plan = replace(step.plan, strengths=self._kit.idle.strengths)
        if past is None or step.plan.revise < 0:
            return step.written
        return past.target(step.plan.revise, step)

    def _restore(self, light: Light, past: Past) -> None:
        self.step = light.step or self._root
        self._engine = light.engine.fork()
        tokens = [token for token in tokens_of(self.step) if token not in self._closing]
        self._heard, self._lost = past.read_again(tokens), light.lost
        self._heard.signals = list(light.signals)

    # --- forks and rewinds ---------------------------------------------------------------------

    def fork(self) -> Row:
        """Return an independent row with the same past, for a beam that splits."""
        self._striding.stir(self._engine)
        copy = Row.__new__(Row)
        for name in _SHARED:
            setattr(copy, name, getattr(self, name))
        copy._saved, copy._striding = {}, self._striding.fork()
        copy._past = None if self._past is None else self._past.fork()
        copy._load(self._state())
        return copy

    @property
    def drafting(self) -> bool:
        """True while states are kept for a rewind."""
        return bool(self._saved)

    def save(self) -> None:
        """Keep the state at the present step, so that ``rewind`` can come back to it."""
        self._striding.stir(self._engine)
        self._saved[self.step.index] = (self.step, *self._state())

    def forget(self) -> None:
        """Drop all saved states."""
        self._saved.clear()

    def rewind(self, index: int) -> bool:
        """Go back to step ``index``; False where its state was not saved."""
        saved = self._saved.get(index)
        if saved is None:
            return False
        self._striding.stir(self._engine)
        self.step = saved[0]
        self.index = index
        self._load(saved[1:])
        return True

    def _state(self) -> tuple[Any, ...]:
        return self._engine.fork(), self._heard.fork(), self._lost, self.halt_step

    def _load(self, state: tuple[Any, ...]) -> None:
        self._engine, self._heard, self._lost, self.halt_step = state


_OWN = {"_engine", "_heard", "_lost", "_striding", "_past", "_saved", "halt_step"}
_SHARED = tuple(name for name in Row.__slots__ if name not in _OWN)
"""What a fork takes over as it is."""
