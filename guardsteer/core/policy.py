"""A policy as a value: what the YAML says, checked, with defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "AuditFailure",
    "AuditSpec",
    "ClassifierSpec",
    "FlagSpec",
    "Operator",
    "Policy",
    "Position",
    "RuleSpec",
    "Scope",
    "SteerSpec",
    "VectorSpec",
]

Scope: TypeAlias = Literal["prompt", "user", "generation", "all"]
"""Which text a classifier reads.

``prompt``: the whole prompt. ``user``: the last user turn (the request must bring its turns).
``generation``: what the model has written so far. ``all``: prompt and generation.
"""

Position: TypeAlias = Literal["generated", "last_prompt_token", "assistant", "all"]
"""Which positions of a row a vector acts on.

``generated``: every token that the model has written. ``last_prompt_token``: the position whose
pass chooses the first generated token. ``assistant``: the content of earlier assistant turns in
the prompt (the request must bring its turns). ``all``: every position, padding excluded.
"""

Operator: TypeAlias = Literal["add", "subtract"]
AuditFailure: TypeAlias = Literal["stop_steering", "continue", "halt"]


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """One classifier of a policy: an asset by name or path, or patterns written in place."""

    name: str
    on: Scope
    use: str | None = None
    literals: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    ignore_case: bool = True
    tail_characters: int = 256


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """One vector of a policy; ``max_strength`` and strengths are in units of the block's residual norm."""

    name: str
    use: str
    blocks: tuple[int, ...] | None = None
    positions: tuple[Position, ...] = ("generated",)
    max_strength: float | None = None


@dataclass(frozen=True, slots=True)
class FlagSpec:
    """A signal turned boolean.

    Up once ``signal >= enter`` held for ``after`` steps in a row; stays up while ``signal >= exit``,
    for ``hold`` steps at least, for ever with ``latch``. ``exit`` equals ``enter`` by default.
    """

    name: str
    signal: str
    enter: float
    exit: float
    after: int = 1
    hold: int = 0
    latch: bool = False


@dataclass(frozen=True, slots=True)
class SteerSpec:
    """Add or subtract a vector; exactly one of ``strength`` and ``alpha`` is given."""

    vector: str
    operator: Operator
    strength: float | None = None
    alpha: float | None = None


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule: a condition and what to do while it holds.

    ``disable`` names the vectors to switch off. Where several rules name a vector, the highest
    ``priority`` decides, the first in the file among equals; ``disable`` beats every ``add`` and
    ``subtract``, ``halt`` beats all.
    """

    id: str
    when: str
    priority: int = 0
    steer: tuple[SteerSpec, ...] = ()
    disable: tuple[str, ...] = ()
    halt: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class AuditSpec:
    """What happens to steering when the audit log cannot be written."""

    on_failure: AuditFailure = "stop_steering"


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy. ``digest`` covers its bytes; ``context`` maps declared request keys to types."""

    name: str
    digest: str
    source: str
    classifiers: tuple[ClassifierSpec, ...]
    vectors: tuple[VectorSpec, ...]
    flags: tuple[FlagSpec, ...]
    rules: tuple[RuleSpec, ...]
    context: tuple[tuple[str, Literal["string", "int", "float", "bool"]], ...] = ()
    fallback: str = ""
    audit: AuditSpec = AuditSpec()
