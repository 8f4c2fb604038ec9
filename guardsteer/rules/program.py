"""A compiled policy, and its state for one row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne
from typing import Literal, NamedTuple

from guardsteer.core.plan import Channel, Plan
from guardsteer.errors import RequestError
from guardsteer.rules.codegen import Decide, Key, Sense, State
from guardsteer.rules.places import closest, shown
from guardsteer.rules.planning import Action, complete_plan, first_plan
from guardsteer.rules.syntax import RequestRef, Type
from guardsteer.rules.truth import Atom, Context, fixed_truth

__all__ = ["Change", "FixedRead", "Program", "RowRules", "Stage"]


class Change(NamedTuple):
    """A flag or rule that changed at a step.

    ``kind`` "flag": ``up`` says whether the flag is certainly up, ``scores`` is its signal. ``kind``
    "rule": ``up`` says whether the rule fires, ``scores`` are the signals it depends on. None: missing.
    """

    kind: Literal["flag", "rule"]
    name: str
    up: bool
    scores: dict[str, float | None] | float | None


_NOTHING: tuple[Change, ...] = ()


class FixedRead(NamedTuple):
    """What a row reads once, from its request: an atom's must or may, or a number."""

    what: Atom
    kind: Literal["must", "may", "number"]


@dataclass(frozen=True, slots=True)
class Stage:
    """The flags and rules that are decided together: before the pass, or within it.

    ``flags`` holds the signal's index and the name of each flag, in the order of the key's first places.
    ``actions`` and ``rules`` go with the decided bits: what each sets off, and which rule it says to
    fire or not (-1: another bit of the same rule does).
    """

    sense: Sense
    decide: Decide
    initial: State
    flags: tuple[tuple[int, str], ...]
    rules: tuple[int, ...]
    actions: tuple[Action, ...]

    def changes(
        self, program: Program, old: Key, new: Key, bits: tuple[Key, Key], signals: Sequence[float]
    ) -> list[Change]:
        """Return how flags (keys ``old`` and ``new``) and rules (``bits``, old and new) changed."""
        found: list[Change] = []
        for place in compress(range(len(self.flags)), map(ne, old, new)):
            signal, name = self.flags[place]
            found.append(Change("flag", name, new[place], _score(signals[signal])))
        before, after = bits
        if before == after:
            return found
        for bit in compress(range(len(after)), map(ne, before, after)):
            rule = self.rules[bit]
            if rule >= 0:
                scores = program.scores_of(rule, signals)
                found.append(Change("rule", program.rule_ids[rule], after[bit], scores))
        return found


def _score(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled policy: immutable, shared by all rows and threads.

    ``signal_index`` says where each signal, ``classifier.output``, stands in the list that rows are
    given. ``decision_block`` is the deepest block of a probe on which a flag or rule depends: what
    depends on probes is decided there (``RowRules.within``); None without such flags and rules.
    ``within_vectors`` says for each vector whether it is decided there, ``within_channels`` the same for
    each channel. ``requested`` maps rule and channel to the signed strength that the rule asks for, before
    any bound.
    """

    rule_ids: tuple[str, ...]
    signal_index: Mapping[str, int]
    decision_block: int | None
    within_vectors: tuple[bool, ...]
    channels: tuple[Channel, ...]
    within_channels: tuple[bool, ...]
    requested: Mapping[tuple[int, int], float]
    before: Stage
    within: Stage | None
    fixed: tuple[FixedRead, ...]
    rule_signals: tuple[tuple[tuple[str, int], ...], ...]
    context: Mapping[str, Type]

    @property
    def n_signals(self) -> int:
        """Number of signals."""
        return len(self.signal_index)

    @property
    def has_within(self) -> bool:
        """True where flags or rules depend on probes."""
        return self.within is not None

    def start(self, context: Context | None = None) -> RowRules:
        """Return the state of a row that has seen no step yet.

        ``context`` holds the request's keys; a key left out is missing. Raises ``RequestError`` for a
        key that the policy does not declare or a value of another type.
        """
        given = context or {}
        _check_context(given, self.context)
        return RowRules(self, tuple(_read_fixed(read, given) for read in self.fixed))

    def scores_of(self, rule: int, signals: Sequence[float]) -> dict[str, float | None]:
        """Return the signals on which rule number ``rule`` depends, through flags too; None: missing."""
        return {
            name: score if score == score else None  # NaN is missing
            for name, index in self.rule_signals[rule]
            for score in (signals[index],)
        }


def _check_context(given: Context, types: Mapping[str, Type]) -> None:
    wanted: dict[Type, type | tuple[type, ...]] = {
        "string": str,
        "int": int,
        "float": (int, float),
        "bool": bool,
    }
    problems = []
    for key, value in given.items():
        kind = types.get(key)
        if kind is None:
            problems.append(f"{shown(str(key))} is not declared ({closest(str(key), list(types), 'keys')})")
        elif not isinstance(value, wanted[kind]) or (kind != "bool" and isinstance(value, bool)):
            problems.append(f"{shown(key)} must be of type {kind}, got {type(value).__name__}")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{shown(key)} must be finite, got {value}; leave it out if it is not known")
    if problems:
        raise RequestError("the request's context does not fit the policy: " + "; ".join(problems))


def _read_fixed(read: FixedRead, context: Context) -> bool | int | float:
    if read.kind == "number":
        value = context.get(read.what.key) if isinstance(read.what, RequestRef) else None
        return value if isinstance(value, int | float) else math.nan
    truth = fixed_truth(read.what, context)
    return truth is True if read.kind == "must" else truth is not False


class RowRules:
    """One row's flags and rules. Not to be used by two threads at once.

    ``changes`` holds what the last call of ``before`` or ``within`` changed.
    """

    __slots__ = (
        "_before",
        "_before_bits",
        "_before_key",
        "_before_state",
        "_fixed",
        "_plan",
        "_program",
        "_step",
        "_within",
        "_within_base",
        "_within_bits",
        "_within_key",
        "_within_plan",
        "_within_state",
        "_within_step",
        "changes",
    )

    def __init__(self, program: Program, fixed: tuple[bool | int | float, ...]) -> None:
        stage = program.before
        self._program = program
        self._fixed = fixed
        self._step = self._within_step = -1
        self._before = stage.sense
        self._before_state: State = stage.initial
        self._before_key: Key | None = None
        self._before_bits: Key = (False,) * len(stage.actions)
        self._plan: Plan | None = None
        late = program.within
        self._within = late.sense if late is not None else None
        self._within_state: State = late.initial if late is not None else ()
        self._within_key: Key | None = None
        self._within_base: Key | None = None
        self._within_bits: Key = (False,) * len(late.actions) if late is not None else ()
        self._within_plan: Plan | None = None
        self.changes: Sequence[Change] = _NOTHING

    @property
    def program(self) -> Program:
        """What this row runs."""
        return self._program

    def before(self, signals: Sequence[float]) -> Plan:
        """Begin the next step and return what text alone decides.

        ``signals`` holds the row's scores in the program's order, NaN where one is missing. The same
        plan object comes back while nothing changes. Vectors decided within the pass are left alone.
        """
        self._step = step = self._step + 1
        self._before_state, key = self._before(signals, self._before_state, step, self._fixed)
        if key == self._before_key:
            self.changes = _NOTHING
            return self._plan  # type: ignore[return-value]  # a key is kept together with its plan
        return self._turn(key, signals)

    def _turn(self, key: Key, signals: Sequence[float]) -> Plan:
        program = self._program
        stage = program.before
        old = self._before_key or (False,) * len(stage.flags)
        bits = stage.decide(key, (), self._fixed)
        self.changes = stage.changes(program, old, key, (self._before_bits, bits), signals)
        self._before_key = key
        if bits == self._before_bits and self._plan is not None:
            return self._plan
        self._before_bits = bits
        plan = first_plan(compress(stage.actions, bits), program.within_channels)
        if self._plan is None or plan != self._plan:
            self._plan = plan
        return self._plan

    def within(self, signals: Sequence[float]) -> Plan:
        """Complete the step with what the probes' signals decide; once a step, after ``before``.

        A second call at the same step changes nothing. Raises ``RuntimeError`` where the program has
        nothing that depends on probes, or before the first step.
        """
        if self._within_step == self._step and self._within_plan is not None:
            self.changes = _NOTHING
            return self._within_plan
        if self._within is None or self._step < 0:
            raise RuntimeError("within() completes a step that before() began, in a program that has_within")
        self._within_step = step = self._step
        self._within_state, key = self._within(signals, self._within_state, step, self._fixed)
        if (
            key == self._within_key
            and self._before_key is self._within_base
            and self._within_plan is not None
        ):
            self.changes = _NOTHING
            return self._within_plan
        return self._turn_within(key, signals)

    def _turn_within(self, key: Key, signals: Sequence[float]) -> Plan:
        program, base, first = self._program, self._before_key, self._plan
        stage = program.within
        if stage is None or base is None or first is None:
            raise RuntimeError("within() completes a step that before() began")
        old = self._within_key or (False,) * len(stage.flags)
        bits = stage.decide(base, key, self._fixed)
        self.changes = stage.changes(program, old, key, (self._within_bits, bits), signals)
        self._within_key, self._within_base, self._within_bits = key, base, bits
        early, late = compress(program.before.actions, self._before_bits), compress(stage.actions, bits)
        plan = complete_plan(first, early, late, program.within_channels)
        if self._within_plan is None or plan != self._within_plan:
            self._within_plan = plan
        return self._within_plan

    def fork(self) -> RowRules:
        """Return an independent row with the same past; costs the same after any number of steps."""
        copy = RowRules.__new__(RowRules)
        for name in RowRules.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy
