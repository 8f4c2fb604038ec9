"""What the audit records: one frozen struct for each thing that can happen.

Positions count a row's own tokens from 0, padding left out, prompt first: a row has the same
positions alone and in a batch. Text that was taken back gives its positions to what is written in its
place. ``time_ns`` is UTC since 1970; ``step`` counts decode iterations, 0 being the prompt. Nothing here
holds prompt or output text; ``*_digest`` of text is keyed.

``track`` is "" for the policy that acts, and the name of the candidate for one that runs beside it.
``mode`` is "shadow" for what would have happened, had its rule been enforced. Fields that hold their
default are left out of a record. A field is only ever added, with a default, so every reader goes on
reading what newer and older versions wrote; ``guardsteer.audit.SCHEMA_VERSION`` counts the additions.
"""

from __future__ import annotations

from typing import TypeAlias

from guardsteer.core.guard_events import (
    Attached,
    ClassifierRestored,
    ClassifierTripped,
    Detached,
    PolicyAdopted,
    PolicyRefused,
    Resumed,
    Stopped,
    TextDropped,
    TextForgotten,
)
from guardsteer.core.row_events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    ConditionChanged,
    FlagChanged,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    RowHalted,
    RowRevised,
    RuleFired,
    RuleReleased,
    Setting,
    TextKept,
)

__all__ = [
    "ActivationBegan",
    "ActivationEnded",
    "Attached",
    "ClassifierFailed",
    "ClassifierLate",
    "ClassifierRestored",
    "ClassifierTripped",
    "ConditionChanged",
    "Detached",
    "Event",
    "FlagChanged",
    "PolicyAdopted",
    "PolicyRefused",
    "RequestEnded",
    "RequestFailed",
    "RequestStarted",
    "Resumed",
    "RowHalted",
    "RowRevised",
    "RuleFired",
    "RuleReleased",
    "Setting",
    "Stopped",
    "TextDropped",
    "TextForgotten",
    "TextKept",
]

Event: TypeAlias = (
    Attached
    | Detached
    | PolicyAdopted
    | PolicyRefused
    | Stopped
    | Resumed
    | ClassifierTripped
    | ClassifierRestored
    | RequestStarted
    | FlagChanged
    | ConditionChanged
    | RuleFired
    | RuleReleased
    | ActivationBegan
    | ActivationEnded
    | RowHalted
    | RowRevised
    | ClassifierFailed
    | ClassifierLate
    | RequestFailed
    | RequestEnded
    | TextKept
    | TextForgotten
    | TextDropped
)
