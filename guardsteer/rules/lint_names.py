"""Names that nothing uses."""

from __future__ import annotations

from collections.abc import Iterable

from guardsteer.rules.access import child_of, entries_of, many_of, text_of
from guardsteer.rules.document import Node
from guardsteer.rules.lint_notes import Notes
from guardsteer.rules.places import shown
from guardsteer.rules.rule_checks import rules_of
from guardsteer.rules.steer_checks import STEERING
from guardsteer.rules.syntax import Condition, FlagRef, RequestRef, SignalRef, leaves

__all__ = ["note_unused"]


def note_unused(notes: Notes, conditions: Iterable[Condition]) -> None:
    """Note flags, classifiers, request keys, vectors and profiles that nothing uses."""
    policy = notes.policy
    read = {leaf for condition in conditions for leaf in leaves(condition)}
    flags = {leaf.name for leaf in read if isinstance(leaf, FlagRef)}
    signals = {leaf.name for leaf in read if isinstance(leaf, SignalRef)}
    signals |= {flag.signal for flag in policy.flags}
    signals |= {name for spec in policy.classifiers if spec.combine is not None for name in spec.combine.of}
    keys = {f"request.{leaf.key}" for leaf in read if isinstance(leaf, RequestRef)} | {policy.binding.by}
    classifiers = {signal.partition(".")[0] for signal in signals}
    for flag in policy.flags:
        if flag.name not in flags:
            _note(notes, ("flags", flag.name), f"no rule reads the flag {shown(flag.name)}")
    for spec in policy.classifiers:
        if spec.name not in classifiers:
            message = f"no flag and no rule reads the classifier {shown(spec.name)}"
            _note(notes, ("classifiers", spec.name), message, "remove it; it costs time at every step")
    for key, _ in policy.context:
        if f"request.{key}" not in keys:
            _note(notes, ("context", key), f"no rule reads {shown(f'request.{key}')}")
    _note_unused_steering(notes)


def _note(notes: Notes, loc: tuple[str, ...], message: str, hint: str = "use it, or remove it") -> None:
    notes.add("unused", loc, message, hint, key=True)


def _note_unused_steering(notes: Notes) -> None:
    profiles = entries_of(notes.root, "profiles")
    steered = {steer.vector for rule in notes.policy.rules for steer in rule.steer}
    disabled = {name for rule in notes.policy.rules for name in rule.disable}
    for profile in profiles.values():
        steered |= _named(profile.node)
    for vector in notes.policy.vectors:
        if vector.name not in steered:
            but = ", only disables it" if vector.name in disabled else ""
            _note(
                notes, ("vectors", vector.name), f"no rule steers with the vector {shown(vector.name)}{but}"
            )
    chosen = {
        text.text
        for rule in rules_of(notes.root)
        for text in (text_of(entry.node) for entry in entries_of(rule, "route").values())
        if text is not None
    }
    for name in profiles:
        if name not in chosen:
            _note(notes, ("profiles", name), f"no rule routes to the profile {shown(name)}")


def _named(profile: Node) -> set[str]:
    vectors = [
        text_of(child_of(item, "vector"))
        for operator in STEERING
        for item in many_of(child_of(profile, operator))
    ]
    return {vector.text for vector in vectors if vector is not None}
