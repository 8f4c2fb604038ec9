"""Fields that change nothing where they stand, and flags whose thresholds cross."""

from __future__ import annotations

from itertools import permutations

from guardsteer.core.policy import FlagSpec, Mode, RuleSpec, SteerSpec
from guardsteer.rules.channels import steer_loc
from guardsteer.rules.lint_notes import Notes
from guardsteer.rules.places import shown
from guardsteer.rules.routing import base_of

__all__ = ["MODES", "note_fields", "note_thresholds"]

MODES: tuple[Mode, ...] = ("off", "shadow", "enforce")


def note_thresholds(notes: Notes) -> None:
    """Note thresholds that are always reached, and flags of one signal whose order turns round."""
    flags = notes.policy.flags
    for flag in flags:
        if flag.enter == 0:
            message = f"the flag {shown(flag.name)} enters at 0, which every score reaches"
            notes.add("thresholds", ("flags", flag.name, "enter"), message, "raise 'enter'")
        elif flag.exit == 0 and not flag.latch:
            message = f"the flag {shown(flag.name)} never goes down: no score is below 0"
            notes.add(
                "thresholds", ("flags", flag.name, "exit"), message, "raise 'exit', or write 'latch: true'"
            )
    by_kind: dict[object, list[FlagSpec]] = {}
    for flag in flags:
        if not flag.latch:
            by_kind.setdefault((flag.signal, flag.smooth, flag.per), []).append(flag)
    for kind in by_kind.values():
        for high, low in permutations(kind, 2):
            if high.enter > low.enter and high.exit < low.exit:
                names = f"{shown(high.name)} and {shown(low.name)}"
                enter = f"enters at {high.enter:g}, not {low.enter:g}"
                leave = f"leaves below {high.exit:g}, not {low.exit:g}"
                message = f"the thresholds of {names} cross: the first {enter}, but {leave}"
                hint = f"between, {high.name} is up and {low.name} is not; order both thresholds alike"
                notes.add("thresholds", ("flags", high.name), message, hint, key=True)


def note_fields(notes: Notes) -> None:
    """Note fields of flags, rules, overrides and the binding that change nothing where they stand."""
    for flag in notes.policy.flags:
        _note_flag(notes, flag)
    longest = max((rule.hold_back for rule in notes.policy.rules if rule.hold_back is not None), default=None)
    for index, rule in enumerate(notes.policy.rules):
        _note_rule(notes, index, rule, longest)
        for steer in rule.steer:
            _note_schedule(notes, index, rule, steer)
    _note_overrides(notes)
    _note_binding(notes)


def _note_flag(notes: Notes, flag: FlagSpec) -> None:
    loc = ("flags", flag.name)
    if flag.latch:
        for field, is_set in (
            ("hold", flag.hold > 0),
            ("cooldown", flag.cooldown > 0),
            ("exit", flag.exit < flag.enter),
        ):
            if is_set:
                message = f"{shown(field)} changes nothing: with 'latch' the flag never goes down"
                notes.add("no-effect", (*loc, field), message, f"remove '{field}' or 'latch'", key=True)
    if flag.of_last is not None and flag.after in (1, flag.of_last):
        way = "goes up at the first score anyway" if flag.after == 1 else "needs all of them, as without it"
        message = f"'of_last' changes nothing: with 'after: {flag.after}' the flag {way}"
        notes.add(
            "no-effect", (*loc, "of_last"), message, "lower or raise 'after', or remove 'of_last'", key=True
        )
    if flag.smooth is not None and flag.smooth.value == 1:
        message = f"'{flag.smooth.kind}: 1' smooths nothing: the newest score alone counts"
        notes.add("no-effect", (*loc, "smooth"), message, "remove 'smooth'", key=True)


def _note_rule(notes: Notes, index: int, rule: RuleSpec, longest: int | None) -> None:
    loc, revise = ("rules", index), rule.revise
    if rule.halt and rule.revise is not None:
        message = "'revise' changes nothing: where the rule fires, 'halt' ends the row"
        notes.add("no-effect", (*loc, "revise"), message, "use two rules", key=True)
    if rule.hold_back is not None and (rule.halt or revise is not None):
        what = "ends the row" if rule.halt else "takes text back"
        message = f"'hold_back' comes too late: the rule {what} as soon as it fires"
        notes.add("no-effect", (*loc, "hold_back"), message, "give it to a rule that fires before", key=True)
    if revise is None or rule.halt:
        return
    if not rule.steer:
        message = "the rule revises without steering, so the same text may be written again"
        notes.add("no-effect", (*loc, "revise"), message, "add what should steer the second try", key=True)
        if revise.steps is not None:
            notes.add(
                "no-effect",
                (*loc, "revise", "steps"),
                "'steps' changes nothing: the rule steers with no vector",
                "remove it",
                key=True,
            )
    if revise.tokens is not None and longest is not None and revise.tokens > longest:
        message = f"the rule takes back up to {revise.tokens} tokens, and at most {longest} are held back"
        notes.add(
            "no-effect",
            (*loc, "revise", "tokens"),
            message,
            f"raise 'hold_back' to {revise.tokens}: what was released stays seen",
        )


def _note_schedule(notes: Notes, index: int, rule: RuleSpec, steer: SteerSpec) -> None:
    schedule = steer.schedule
    if schedule is None:
        return
    loc = steer_loc(rule, index, steer.vector)[:-1]
    if schedule.every is not None:
        most = 1.0 if steer.operator == "ablate" else _most(notes, steer.vector)
        if steer.strength is not None and most is not None and steer.strength >= most:
            message = f"'stronger' changes nothing: the strength begins at its bound, {most:g}"
            notes.add("no-effect", (*loc, "stronger"), message, "begin lower, or remove it", key=True)
        if schedule.half_life is not None:
            message = "'half_life' and 'stronger' pull one strength both ways"
            notes.add("no-effect", (*loc, "half_life"), message, "keep one", key=True)


def _most(notes: Notes, vector: str) -> float | None:
    return next((spec.max_strength for spec in notes.policy.vectors if spec.name == vector), None)


def _note_overrides(notes: Notes) -> None:
    pushed = {
        steer.vector
        for rule in notes.policy.rules
        for steer in rule.steer
        if steer.operator in ("add", "subtract")
    }
    for index, override in enumerate(notes.policy.overrides):
        if override.vector not in pushed:
            message = f"the override changes nothing: no rule adds or subtracts {shown(override.vector)}"
            notes.add(
                "no-effect",
                ("overrides", index, "vector"),
                message,
                "an override chooses the strength of these alone",
            )


def _note_binding(notes: Notes) -> None:
    binding = notes.policy.binding
    for rule, mode in {base_of(rule): mode for rule, mode in binding.rules}.items():
        if MODES.index(mode) >= MODES.index(binding.mode):
            message = f"'{mode}' changes nothing: no rule goes further than the policy's mode, {binding.mode}"
            notes.add("no-effect", ("binding", "rules", rule), message, "remove it")
