"""Rules that another rule always beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from guardsteer.core.policy import Mode, Policy, RuleSpec
from guardsteer.rules.lint_fields import MODES
from guardsteer.rules.lint_notes import Notes
from guardsteer.rules.places import shown
from guardsteer.rules.readings import FALSE, TRUE, UNDECIDED, Name, Reading, World
from guardsteer.rules.worlds import Worlds

__all__ = ["KnownRule", "know", "may_act", "note_beaten", "surely_acts"]

_ANY = TRUE | FALSE | UNDECIDED
_MOST_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule with what is known of its condition.

    ``rank`` orders rules, the deciding one first. ``names`` maps what the condition reads to its family.
    ``witness`` is a world in which the condition is true, ``counters`` such in which it does not surely act,
    by steering or not; None: there is none, or none was found.
    """

    index: int
    spec: RuleSpec
    reading: Reading
    rank: tuple[int, int]
    mode: Mode
    names: Mapping[Name, Name]
    families: frozenset[Name]
    witness: World | None
    counters: Mapping[bool, World | None]

    @property
    def vectors(self) -> frozenset[str]:
        """The vectors with which the rule steers."""
        return frozenset(steer.vector for steer in self.spec.steer)


def may_act(rule: RuleSpec, *, steering: bool) -> int:
    """Return the truth values under which a rule may act, by steering or not."""
    error = rule.on_error
    if error == "last_state" or (error == "closed" and not steering):
        return TRUE | UNDECIDED
    return TRUE


def surely_acts(rule: RuleSpec, *, steering: bool) -> int:
    """Return the truth values under which a rule acts whatever came before."""
    return TRUE | UNDECIDED if rule.on_error == "closed" and not steering else TRUE


def know(worlds: Worlds, policy: Policy, index: int, reading: Reading) -> KnownRule:
    """Return what is known of rule number ``index``."""
    spec = policy.rules[index]
    own = dict(policy.binding.rules).get(spec.id, "enforce")
    names = {name: worlds.family(name) for name in reading.names}
    return KnownRule(
        index=index,
        spec=spec,
        reading=reading,
        rank=(-spec.priority, index),
        mode=min(own, policy.binding.mode, key=MODES.index),
        names=names,
        families=frozenset(names.values()),
        witness=worlds.witness((reading, TRUE)),
        counters={
            steering: worlds.witness((reading, _ANY & ~surely_acts(spec, steering=steering)))
            for steering in (False, True)
        },
    )


def note_beaten(notes: Notes, worlds: Worlds, rules: Sequence[KnownRule]) -> None:
    """Note rules that never decide anything, and those that never get one of their vectors."""
    pairs = 0
    by_vector: dict[str, list[KnownRule]] = {}
    enders = [rule for rule in rules if rule.spec.halt or rule.spec.revise is not None]
    holders = [rule for rule in rules if rule.spec.hold_back is not None]
    for rule in rules:
        for vector in {*rule.vectors, *rule.spec.disable}:
            by_vector.setdefault(vector, []).append(rule)
    for rule in rules:
        if notes.full or pairs > _MOST_PAIRS:
            return
        beaters: dict[str, KnownRule | None] = {}
        for effect, steering, others in _effects(rule, by_vector, enders, holders):
            pairs += len(others)
            beaters[effect] = next(
                (
                    other
                    for other in others
                    if other is not rule
                    and MODES.index(other.mode) >= MODES.index(rule.mode)
                    and _beats(worlds, other, rule, effect, steering)
                ),
                None,
            )
        _note_what_is_beaten(notes, rule, beaters)


def _effects(
    rule: KnownRule, by_vector: dict[str, list[KnownRule]], enders: list[KnownRule], holders: list[KnownRule]
) -> Iterator[tuple[str, bool, list[KnownRule]]]:
    """Yield each thing that a rule does, whether it is steering, and the rules that may beat it there."""
    spec = rule.spec
    # Steering after a revision acts whatever the condition; nothing is claimed about it.
    if spec.revise is None:
        for vector in rule.vectors:
            yield vector, True, [*by_vector[vector], *enders]
    else:
        yield "revise", False, enders
    for vector in spec.disable:
        yield vector, False, [*by_vector[vector], *enders]
    if spec.halt:
        yield "halt", False, enders
    if spec.hold_back is not None:
        yield "hold_back", False, holders


def _beats(worlds: Worlds, other: KnownRule, rule: KnownRule, effect: str, steering: bool) -> bool:
    """Return True only if ``other`` takes the place of ``rule`` in ``effect`` whenever that acts."""
    as_steering = _in_place(other, rule, effect, steering)
    if as_steering is None:
        return False
    sure = surely_acts(other.spec, steering=as_steering)
    if _refuted(rule, other, sure, as_steering):
        return False
    return worlds.impossible(
        (rule.reading, may_act(rule.spec, steering=steering)), (other.reading, _ANY & ~sure)
    )


def _in_place(other: KnownRule, rule: KnownRule, effect: str, steering: bool) -> bool | None:
    """Return whether ``other`` does it by steering, None where it cannot take ``effect`` from ``rule``."""
    first, theirs = other.rank < rule.rank, other.spec
    if effect == "hold_back":
        mine = rule.spec.hold_back or 0
        longer = theirs.hold_back is not None and (theirs.hold_back, first) > (mine, False)
        return False if longer else None
    if theirs.halt and (effect != "halt" or first):
        return False
    if effect == "halt":
        return None
    if effect == "revise":
        return False if theirs.revise is not None and theirs.revise.then == "halt" and first else None
    if effect in theirs.disable and (steering or first):
        return False
    return True if steering and first and effect in other.vectors else None


def _refuted(rule: KnownRule, other: KnownRule, sure: int, as_steering: bool) -> bool:
    """Tell quickly that ``other`` need not act where ``rule`` does: in a world made of both their own."""
    counter = other.counters[as_steering]
    if rule.witness is None:
        return True
    if counter is None:
        return False
    if rule.families.isdisjoint(other.families):
        return True
    apart = {n: v for n, v in counter.items() if other.names.get(n, n) not in rule.families}
    return not other.reading.truths({**apart, **rule.witness}) & sure


def _note_what_is_beaten(notes: Notes, rule: KnownRule, beaters: dict[str, KnownRule | None]) -> None:
    spec = rule.spec
    found = {effect: other for effect, other in beaters.items() if other is not None}
    if not found:
        return
    loc = ("rules", rule.index, "when")
    whole = len(found) == len(beaters) and not spec.observe and not (spec.revise is not None and spec.steer)
    if whole:
        names = " and ".join(dict.fromkeys(shown(other.spec.id) for other in found.values()))
        message = f"the rule {shown(spec.id)} never decides anything: {names} always takes its place"
        if not spec.steer:
            message = f"the rule {shown(spec.id)} adds nothing to what {names} does"
        notes.add("beaten", loc, message, "raise its priority, narrow the other, or remove it")
        return
    for vector, other in found.items():
        if vector not in rule.vectors or other.spec.halt:
            continue
        against = " in the other direction" if _opposed(spec, other.spec, vector) else ""
        does = "disables" if vector in other.spec.disable else f"steers{against} with"
        winner = f"whenever it fires, {shown(other.spec.id)} {does} it"
        message = f"{shown(spec.id)} never steers with {shown(vector)}: {winner}"
        notes.add(
            "fight", loc, message, "give them conditions that exclude each other, or change the priorities"
        )


def _opposed(one: RuleSpec, other: RuleSpec, vector: str) -> bool:
    operators = {steer.operator for spec in (one, other) for steer in spec.steer if steer.vector == vector}
    return operators == {"add", "subtract"}
