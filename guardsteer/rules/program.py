"""A compiled policy: what rows share, and how a row is started."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from guardsteer.core.plan import Channel, Plan
from guardsteer.core.policy import Mode, ReviseSpec
from guardsteer.errors import RequestError
from guardsteer.rules.places import closest, shown
from guardsteer.rules.planning import Actions
from guardsteer.rules.rows import RowRules
from guardsteer.rules.syntax import RequestRef, Type
from guardsteer.rules.telling import Change, Scores, scores_of
from guardsteer.rules.truth import Atom, Context, fixed_truth
from guardsteer.rules.turning import Setup, Stage

__all__ = ["Change", "FixedRead", "Program", "RowRules"]


class FixedRead(NamedTuple):
    """What a row reads once, from its request: an atom's must or may, or a number."""

    what: Atom
    kind: Literal["must", "may", "number"]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled policy: immutable, shared by all rows and threads.

    ``signal_index`` says where each signal, ``classifier.output``, stands in the list that rows are
    given. ``decision_block`` is the deepest block of a probe on which a flag or rule depends: what
    depends on probes is decided there (``RowRules.within``); None without such flags and rules.
    ``channels`` are what a plan has strengths for, ``of_vector`` gives those of each vector.
    ``within_vectors`` says for each vector whether it is decided there, ``within_channels`` the same for
    each channel, ``before_channels`` the contrary. ``idle`` is the plan that leaves a row alone.
    ``requested`` maps rule and channel to the signed strength that the rule asks for, before
    any bound. ``needs_sentences``: rows have to be told how many sentences have ended. ``modes`` holds each
    rule's own mode, ``revises`` the rules that take text back.
    """

    rule_ids: tuple[str, ...]
    signal_index: Mapping[str, int]
    decision_block: int | None
    vectors: tuple[str, ...]
    channels: tuple[Channel, ...]
    of_vector: tuple[tuple[int, ...], ...]
    within_vectors: tuple[bool, ...]
    within_channels: tuple[bool, ...]
    before_channels: tuple[bool, ...]
    idle: Plan
    requested: Mapping[tuple[int, int], float]
    modes: tuple[Mode, ...]
    revises: Mapping[int, ReviseSpec]
    needs_sentences: bool
    before: Stage
    within: Stage | None
    fixed: tuple[FixedRead, ...]
    rule_signals: tuple[Scores, ...]
    context: Mapping[str, Type]

    @property
    def n_signals(self) -> int:
        """Number of signals."""
        return len(self.signal_index)

    @property
    def has_within(self) -> bool:
        """True where flags or rules depend on probes."""
        return self.within is not None

    def start(
        self,
        context: Context | None = None,
        overrides: Mapping[str, float] | None = None,
        mode: Mode = "enforce",
        *,
        explain: bool = False,
    ) -> RowRules:
        """Return the state of a row that has seen no step yet.

        ``context`` holds the request's keys; a key left out is missing. ``overrides`` maps vectors to the
        strength, from 0 on, at which ``add`` and ``subtract`` use them instead of their own;
        ``max_strength`` still bounds it. ``mode`` "shadow" leaves every rule without effect. With
        ``explain``, changes tell of comparisons too. Raises ``RequestError`` for a key that the policy
        does not declare, a value of another type, an unknown vector and a strength that is none, and
        ``ValueError`` for the mode "off", in which there is nothing to run.
        """
        if mode == "off":
            raise ValueError("a row that is off has no rules to run; leave it alone instead")
        given = context or {}
        _check_context(given, self.context)
        fixed = tuple(_read_fixed(read, given) for read in self.fixed)
        late = self.within.actions if self.within is not None else Actions()
        actions = self.before.actions, late
        if overrides:
            actions = self._overridden(overrides, self.before.actions), self._overridden(overrides, late)
        rules = range(len(self.rule_ids))
        shadowed = frozenset(rule for rule in rules if mode == "shadow" or self.modes[rule] == "shadow")
        return RowRules(self, Setup(fixed, *actions, shadowed, explain))

    def _overridden(self, overrides: Mapping[str, float], actions: Actions) -> Actions:
        strengths: dict[int, float] = {}
        for vector, strength in overrides.items():
            if vector not in self.vectors:
                hint = closest(vector, list(self.vectors), "vectors")
                raise RequestError(f"there is no vector {shown(vector)} to override ({hint})")
            if not (math.isfinite(strength) and strength >= 0):
                raise RequestError(f"the strength of {shown(vector)} must be 0 or more, got {strength}")
            for channel in self.of_vector[self.vectors.index(vector)]:
                strengths[channel] = strength
        steering = tuple(action.overridden(strengths, self.of_vector) for action in actions.steering)
        return actions._replace(steering=steering)

    def scores_of(self, rule: int, signals: Sequence[float]) -> dict[str, float | None]:
        """Return the signals on which rule number ``rule`` depends, through flags too; None: missing."""
        return scores_of(self.rule_signals[rule], signals)


def _check_context(given: Context, types: Mapping[str, Type]) -> None:
    wanted: dict[Type, type | tuple[type, ...]] = {
        "string": str,
        "int": int,
        "float": (int, float),
        "bool": bool,
        "labels": (list, tuple),
    }
    problems = []
    for key, value in given.items():
        kind = types.get(key)
        if kind is None:
            problems.append(f"{shown(str(key))} is not declared ({closest(str(key), list(types), 'keys')})")
        elif not isinstance(value, wanted[kind]) or (kind != "bool" and isinstance(value, bool)):
            problems.append(f"{shown(key)} must be {_KINDS[kind]}, got {type(value).__name__}")
        elif kind == "labels" and not all(isinstance(label, str) for label in _many(value)):
            problems.append(f"{shown(key)} must be a list of texts")
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


_KINDS: Mapping[Type, str] = {
    "string": "of type string",
    "int": "of type int",
    "float": "of type float",
    "bool": "of type bool",
    "labels": "a list of texts",
}


def _many(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()
