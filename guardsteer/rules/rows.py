"""One row under a program: what its flags and rules are, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from guardsteer.core.plan import Plan
from guardsteer.rules.cells import Calm
from guardsteer.rules.codegen import Key, State
from guardsteer.rules.planning import complete_plan, first_plan, with_shadow
from guardsteer.rules.telling import NOTHING, Change, with_missing
from guardsteer.rules.turning import Moment, Revisions, Setup, Turned, turn

if TYPE_CHECKING:
    from guardsteer.rules.program import Program

__all__ = ["RowRules"]

_NONE: Revisions = {}


class RowRules:
    """One row's flags and rules. Not to be used by two threads at once.

    ``changes`` holds what the last call of ``before`` or ``within`` changed.
    """

    __slots__ = (
        "_before",
        "_before_key",
        "_before_state",
        "_early",
        "_fixed",
        "_late",
        "_plan",
        "_program",
        "_revisions",
        "_sentences",
        "_setup",
        "_stays",
        "_step",
        "_told",
        "_within",
        "_within_base",
        "_within_first",
        "_within_key",
        "_within_plan",
        "_within_state",
        "_within_stays",
        "_within_step",
        "changes",
    )

    def __init__(self, program: Program, setup: Setup) -> None:
        stage, late = program.before, program.within
        self._program = program
        self._setup = setup
        self._fixed = setup.fixed
        self._step = self._within_step = -1
        self._sentences = 0
        self._revisions = _NONE
        # The signals of both stages whose absence is told; None where nobody wants to know.
        self._told = (stage.used, late.used if late else ()) if setup.explain else None
        self._before = stage.sense
        self._before_state: State = stage.initial
        self._before_key: Key | None = None
        self._early = Turned.initial(stage)
        self._plan: Plan | None = None
        self._within = late.sense if late is not None else None
        self._within_state: State = late.initial if late is not None else ()
        self._within_key: Key | None = None
        self._within_base: Turned | None = None
        self._within_first: Plan | None = None
        self._late = Turned.initial(late) if late is not None else self._early
        self._within_plan: Plan | None = None
        # The last step of each stage left everything as the one before it had.
        self._stays = self._within_stays = False
        self.changes: Sequence[Change] = NOTHING

    @property
    def program(self) -> Program:
        """What this row runs."""
        return self._program

    def before(self, signals: Sequence[float], sentences: int = 0) -> Plan:
        """Begin the next step and return what text alone decides.

        ``signals`` holds the row's scores in the program's order, NaN where one is missing;
        ``sentences`` says how many sentences of the generation have ended. The same plan object comes
        back while nothing changes. Channels decided within the pass are left alone.
        """
        self._step = step = self._step + 1
        self._sentences = sentences
        old = self._before_state
        self._before_state, key, total = self._before(signals, old, step, self._fixed, sentences)
        if total != total and self._told is not None:
            key = with_missing(key, signals, self._told[0])
        if key == self._before_key:
            self.changes = NOTHING
            self._stays = old == self._before_state
            return self._plan  # type: ignore[return-value]  # a key is kept together with its plan
        return self._turn(key, signals)

    def skip(self) -> None:
        """Take no step: a token that ends a text was read, at which nothing is decided."""

    def _turn(self, key: Key, signals: Sequence[float]) -> Plan:
        program, old, self._stays = self._program, self._early, False
        now = Moment(self._step, self._sentences, signals, (), key)
        new, self.changes = turn(program.before, self._setup, old, now, self._revisions)
        self._early = new
        # Without a key, the next step comes here again.
        self._before_key = None if new.moving else key
        if self._plan is not None and _acts_alike(new, old):
            return self._plan
        plan = self._first(new)
        if self._plan is None or plan != self._plan:
            self._plan = plan
        return self._plan

    def _first(self, turned: Turned) -> Plan:
        program, actions, shadowed = self._program, self._setup.before, self._setup.shadowed
        mine, idle = program.before_channels, program.idle
        full = first_plan(turned.fired(actions), mine, idle)
        if not shadowed:
            return full
        return with_shadow(first_plan(turned.fired(actions).without(shadowed), mine, idle), full)

    def within(self, signals: Sequence[float]) -> Plan:
        """Complete the step with what the probes' signals decide; once a step, after ``before``.

        A second call at the same step changes nothing. Raises ``RuntimeError`` where the program has
        nothing that depends on probes, or before the first step.
        """
        if self._within_step == self._step and self._within_plan is not None:
            self.changes = NOTHING
            return self._within_plan
        if self._within is None or self._step < 0:
            raise RuntimeError("within() completes a step that before() began, in a program that has_within")
        self._within_step = step = self._step
        old = self._within_state
        self._within_state, key, total = self._within(signals, old, step, self._fixed, self._sentences)
        if total != total and self._told is not None:
            key = with_missing(key, signals, self._told[1])
        if key == self._within_key and self._early is self._within_base:
            self.changes = NOTHING
            self._within_stays = old == self._within_state
            return self._within_plan  # type: ignore[return-value]  # a key is kept together with its plan
        return self._turn_within(key, signals)

    def _turn_within(self, key: Key, signals: Sequence[float]) -> Plan:
        program, early, first, stage = self._program, self._early, self._plan, self._program.within
        if stage is None or first is None:
            raise RuntimeError("within() completes a step that before() began")
        self._within_stays = False
        now = Moment(self._step, self._sentences, signals, early.base, key)
        old, base = self._late, self._within_base
        new, self.changes = turn(stage, self._setup, old, now, self._revisions)
        self._late, self._within_base = new, early
        self._within_key = None if new.moving else key
        if (
            base is not None
            and self._within_plan is not None
            and self._within_first is first
            and _acts_alike(new, old)
            and _acts_alike(early, base)
        ):
            return self._within_plan
        self._within_first = first
        mine, shadowed = program.within_channels, self._setup.shadowed
        parts = (early, self._setup.before), (new, self._setup.within)
        full = [turned.fired(actions) for turned, actions in parts]
        plan = complete_plan(first.shadow or first, full[0], full[1], mine)
        if shadowed:
            real = [turned.fired(actions).without(shadowed) for turned, actions in parts]
            plan = with_shadow(complete_plan(first, real[0], real[1], mine), plan)
        if self._within_plan is None or plan != self._within_plan:
            self._within_plan = plan
        return self._within_plan

    def calm(self, signals: Sequence[float]) -> Calm | None:
        """Return within which cells the next ``before`` decides what the last one did with ``signals``.

        Every score has to stay strictly within its cell, and nothing else counts. None where something is
        in motion, or counts besides.
        """
        grid, key, plan = self._program.before.grid, self._before_key, self._plan
        if not self._stays or grid is None or key is None or plan is None:
            return None
        cells = grid.around(signals, key)
        return None if cells is None else Calm(cells, plan)

    def calm_within(self, signals: Sequence[float]) -> Calm | None:
        """Return the same of ``within``, as long as ``before`` decides what it did."""
        late, key, plan = self._program.within, self._within_key, self._within_plan
        stays = self._within_stays and self._within_step == self._step
        if not stays or late is None or late.grid is None or key is None or plan is None:
            return None
        cells = late.grid.around(signals, key)
        return None if cells is None else Calm(cells, plan)

    def stepped(self, steps: int) -> None:
        """Count ``steps`` steps for which ``before`` was not asked, since all scores kept to their cells."""
        self._step += steps

    def revised(self, rule: int) -> None:
        """Note that rule number ``rule`` took text back, right after that was done.

        From the next ``before`` on its steering acts for the steps that its ``revise`` says, whatever its
        condition. Raises ``ValueError`` for a rule that takes nothing back.
        """
        spec = self._program.revises.get(rule)
        if spec is None:
            raise ValueError(f"rule number {rule} takes nothing back")
        count, _ = self._revisions.get(rule, (0, 0.0))
        until = math.inf if spec.steps is None else self._step + spec.steps
        self._revisions = {**self._revisions, rule: (count + 1, until)}
        self._setup = self._setup.spent(self._program.revises, self._revisions)
        self._look_again()

    def take_revisions(self, other: RowRules) -> None:
        """Take over which rules have taken text back in ``other``, and how many steps it has seen.

        For a row that was restored to an earlier step: neither its revisions nor its decode iterations
        are undone with its text.
        """
        self._revisions, self._setup, self._step = other._revisions, other._setup, other._step
        self._look_again()

    def _look_again(self) -> None:
        self._before_key = self._within_key = self._within_base = None
        self._stays = self._within_stays = False
        self._early = self._early._replace(acting=())

    def fork(self) -> RowRules:
        """Return an independent row with the same past; costs the same after any number of steps."""
        copy = RowRules.__new__(RowRules)
        for name in RowRules.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy


def _acts_alike(new: Turned, old: Turned) -> bool:
    """Tell whether the same actions act, and those that steer do so alike."""
    return new.acting == old.acting and (new.steering is old.steering or new.steering == old.steering)
