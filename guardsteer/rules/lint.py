"""What is surely not meant in a policy that can be loaded."""

from __future__ import annotations

from guardsteer.core.policy import Policy
from guardsteer.rules.lint_fields import note_fields, note_thresholds
from guardsteer.rules.lint_names import note_unused
from guardsteer.rules.lint_notes import LintWarning, Notes
from guardsteer.rules.lint_rules import note_rules
from guardsteer.rules.parts import conditions_of

__all__ = ["LintWarning", "lint"]


def lint(policy: Policy) -> tuple[LintWarning, ...]:
    """Return warnings about a checked policy, each with its place, in the file's order.

    What a warning says is so; that nothing is said does not mean that there is nothing to say: the search
    behind it is bounded.
    """
    notes = Notes(policy)
    conditions = conditions_of(policy)
    note_unused(notes, conditions)
    note_thresholds(notes)
    note_fields(notes)
    note_rules(notes, conditions)
    return notes.warnings()
