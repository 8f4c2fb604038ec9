"""Rules that can never act, idle parts of conditions, and vectors that may add up.

Every claim is decided over worlds (``worlds.py``): it is made only where no situation speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from guardsteer.core.policy import RuleSpec, VectorSpec
from guardsteer.rules import syntax
from guardsteer.rules.lint_beaten import KnownRule, know, note_beaten
from guardsteer.rules.lint_notes import Notes
from guardsteer.rules.parts import written
from guardsteer.rules.places import clipped, shown
from guardsteer.rules.readings import FALSE, TRUE, UNDECIDED, read
from guardsteer.rules.routing import key_of
from guardsteer.rules.syntax import Condition
from guardsteer.rules.worlds import Worlds

__all__ = ["note_rules"]


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
        rules.append(know(worlds, notes.policy, index, reading))
    note_beaten(notes, worlds, [rule for rule in rules if rule.mode != "off"])
    if notes.policy.budget is None:
        _note_budget(notes, worlds, rules)


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


def _note_budget(notes: Notes, worlds: Worlds, rules: Sequence[KnownRule]) -> None:
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
