"""Rules that can never act, and rules that another rule always beats.

Every claim is decided over worlds (``worlds.py``): it is made only where no situation speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from guardsteer.core.policy import Mode, Policy, RuleSpec, VectorSpec
from guardsteer.rules import syntax
from guardsteer.rules.lint_fields import MODES
from guardsteer.rules.lint_notes import Notes
from guardsteer.rules.parts import written
from guardsteer.rules.places import clipped, shown
from guardsteer.rules.readings import FALSE, TRUE, UNDECIDED, Reading, World, read
from guardsteer.rules.routing import key_of
from guardsteer.rules.syntax import Condition
from guardsteer.rules.worlds import Worlds

__all__ = ["note_rules"]

_ANY = TRUE | FALSE | UNDECIDED
_MOST_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule with what is known of its condition.

    ``rank`` orders rules, the deciding one first; ``witness`` is a world in which the condition is true.
    """

    index: int
    spec: RuleSpec
    condition: Condition
    reading: Reading
    rank: tuple[int, int]
    mode: Mode
    witness: World | None

    @property
    def vectors(self) -> frozenset[str]:
        return frozenset(steer.vector for steer in self.spec.steer)

    def acts(self, *, steering: bool) -> int:
        """Return the truth values under which the rule may act."""
        error = self.spec.on_error
        if error == "last_state" or (error == "closed" and not steering):
            return TRUE | UNDECIDED
        return TRUE

    def surely_acts(self, *, steering: bool) -> int:
        """Return the truth values under which the rule acts whatever came before."""
        return TRUE | UNDECIDED if self.spec.on_error == "closed" and not steering else TRUE


def note_rules(notes: Notes, conditions: Sequence[Condition]) -> None:
    """Note rules that are unreachable, beaten or in a fight, idle parts, and a missing budget."""
    worlds = Worlds(notes.policy)
    rules = []
    for index, (spec, condition) in enumerate(zip(notes.policy.rules, conditions, strict=True)):
        reading = read(condition)
        if worlds.impossible((reading, TRUE)):
            _note_unreachable(notes, worlds, index, spec, condition)
            continue
        _note_parts(notes, worlds, index, condition)
        rank, mode = (-spec.priority, index), _mode(notes.policy, spec)
        witness = worlds.witness((reading, TRUE))
        rules.append(_Rule(index, spec, condition, reading, rank, mode, witness))
    _note_beaten(notes, worlds, [rule for rule in rules if rule.mode != "off"])
    if notes.policy.budget is None:
        _note_budget(notes, worlds, rules)


def _mode(policy: Policy, rule: RuleSpec) -> Mode:
    own = dict(policy.binding.rules).get(rule.id, "enforce")
    return min(own, policy.binding.mode, key=MODES.index)


def _note_unreachable(notes: Notes, worlds: Worlds, index: int, rule: RuleSpec, condition: Condition) -> None:
    name, key = shown(rule.id), key_of(rule.id)
    message = f"the rule {name} can never fire: its condition is never true"
    protects = rule.disable or rule.halt or rule.revise is not None or rule.hold_back is not None
    if protects and rule.on_error == "closed" and not worlds.impossible((read(condition), UNDECIDED)):
        message = f"the rule {name} can only fire where something is missing: its condition is never true"
    if key:
        message = f"the route {shown(key)} is never taken"
    hint = "correct the condition, or remove the rule"
    parts = condition.items if isinstance(condition, syntax.AllOf) else (condition,)
    for few in (*((part,) for part in parts), *combinations(parts, 2)):
        if worlds.impossible(*((read(part), TRUE) for part in few)):
            texts = [f"'{clipped(written(part))}'" for part in few]
            hint = (
                f"{texts[0]} is never true"
                if len(texts) == 1
                else f"{texts[0]} and {texts[1]} exclude each other"
            )
            break
    notes.add("unreachable", ("rules", index, "when"), message, hint)


def _note_parts(notes: Notes, worlds: Worlds, index: int, condition: Condition) -> None:
    for parent, part in _parts(condition):
        text = f"'{clipped(written(part))}'"
        reading = read(part)
        if isinstance(parent, syntax.AnyOf) and worlds.impossible((reading, TRUE | UNDECIDED)):
            notes.add(
                "dead-part", ("rules", index, "when"), f"{text} is never true", "remove it from the condition"
            )
        if worlds.impossible((reading, FALSE | UNDECIDED)):
            notes.add(
                "dead-part",
                ("rules", index, "when"),
                f"{text} is always true",
                "remove it from the condition",
            )


def _parts(condition: Condition, parent: Condition | None = None) -> Iterator[tuple[Condition, Condition]]:
    if parent is not None:
        yield parent, condition
    if isinstance(condition, syntax.Not):
        yield from _parts(condition.item)
    elif isinstance(condition, syntax.AllOf | syntax.AnyOf):
        for item in condition.items:
            yield from _parts(item, condition)


def _note_beaten(notes: Notes, worlds: Worlds, rules: Sequence[_Rule]) -> None:
    pairs = 0
    by_vector: dict[str, list[_Rule]] = {}
    enders = [rule for rule in rules if rule.spec.halt or rule.spec.revise is not None]
    holders = [rule for rule in rules if rule.spec.hold_back is not None]
    for rule in rules:
        for vector in {*rule.vectors, *rule.spec.disable}:
            by_vector.setdefault(vector, []).append(rule)
    for rule in rules:
        if notes.full or pairs > _MOST_PAIRS:
            return
        beaters: dict[str, _Rule | None] = {}
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
    rule: _Rule, by_vector: dict[str, list[_Rule]], enders: list[_Rule], holders: list[_Rule]
) -> Iterator[tuple[str, bool, list[_Rule]]]:
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


def _beats(worlds: Worlds, other: _Rule, rule: _Rule, effect: str, steering: bool) -> bool:
    """Return True only if ``other`` takes the place of ``rule`` in ``effect`` whenever that acts."""
    as_steering = _in_place(other, rule, effect, steering)
    if as_steering is None:
        return False
    wanted, sure = rule.acts(steering=steering), other.surely_acts(steering=as_steering)
    if _refuted(worlds, rule, other, sure):
        return False
    return worlds.impossible((rule.reading, wanted), (other.reading, _ANY & ~sure))


def _in_place(other: _Rule, rule: _Rule, effect: str, steering: bool) -> bool | None:
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


def _refuted(worlds: Worlds, rule: _Rule, other: _Rule, sure: int) -> bool:
    """Tell quickly that ``other`` need not act where ``rule`` does: in a world made for ``rule`` alone."""
    if rule.witness is None:
        return True
    known = {worlds.family(name) for name in rule.reading.names}
    world = dict(rule.witness)
    for name in other.reading.names:
        if name not in world and name != ("step",) and worlds.family(name) not in known:
            world[name] = None
    return not other.reading.truths(world) & sure


def _note_what_is_beaten(notes: Notes, rule: _Rule, beaters: dict[str, _Rule | None]) -> None:
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


def _note_budget(notes: Notes, worlds: Worlds, rules: Sequence[_Rule]) -> None:
    specs = {spec.name: spec for spec in notes.policy.vectors}
    uses = [(rule, specs[vector]) for rule in rules for vector in sorted(rule.vectors)]
    pairs = 0
    for (one, first), (two, second) in combinations(uses, 2):
        if first is second or not _meet(first, second):
            continue
        pairs += 1
        if pairs > 200:
            return
        if one is two or worlds.witness((one.reading, TRUE), (two.reading, TRUE)) is not None:
            message = (
                f"{shown(first.name)} and {shown(second.name)} can act at once, and nothing bounds their sum"
            )
            who = (
                f"in {shown(one.spec.id)}"
                if one is two
                else f"in {shown(one.spec.id)} and {shown(two.spec.id)}"
            )
            notes.add(
                "no-budget", ("vectors",), message, f"{who}; add 'budget: 0.5' at the top level", key=True
            )
            return


def _meet(first: VectorSpec, second: VectorSpec) -> bool:
    """Return whether two vectors may act at one place of one position."""
    if first.site is not None and second.site is not None and first.site != second.site:
        return False
    if first.blocks is not None and second.blocks is not None and not set(first.blocks) & set(second.blocks):
        return False
    both = set(first.positions) & set(second.positions)
    return bool(both) or "all" in (*first.positions, *second.positions)
