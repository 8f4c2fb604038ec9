"""What the audit records: one frozen struct for each thing that can happen.

Positions count a row's own tokens from 0, padding left out, prompt first: a row has the same
positions alone and in a batch. ``time_ns`` is UTC since 1970; ``step`` counts decode iterations,
0 being the prompt. Nothing here holds prompt or output text; ``*_digest`` of text is keyed.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "ActivationBegan",
    "ActivationEnded",
    "Attached",
    "ClassifierFailed",
    "Detached",
    "Event",
    "FlagChanged",
    "RequestEnded",
    "RequestFailed",
    "RequestStarted",
    "RowHalted",
    "RuleFired",
    "RuleReleased",
]


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="kind", kw_only=True):
    time_ns: int


class _RowEvent(_Event, frozen=True, gc=False, tag_field="kind", kw_only=True):
    request: str
    sequence: int


class Attached(_Event, frozen=True, gc=False, tag="attached"):
    """A guard was put on a model."""

    guard: str
    library: str
    policy: str
    policy_digest: str
    model: dict[str, str]
    vectors: dict[str, str]
    classifiers: dict[str, str]


class Detached(_Event, frozen=True, gc=False, tag="detached"):
    """The guard was taken off; the model is as it was."""

    guard: str


class RequestStarted(_RowEvent, frozen=True, gc=False, tag="request_started"):
    """A row was admitted. ``sequence`` tells apart the rows that one request was expanded into."""

    guard: str
    policy_digest: str
    context: dict[str, str | int | float | bool]
    prompt_digest: str
    prompt_tokens: int
    settings: dict[str, str | int | float | bool | None]


class FlagChanged(_RowEvent, frozen=True, gc=False, tag="flag_changed"):
    """A flag went up or down; ``score`` is its signal at that step (None: missing)."""

    step: int
    flag: str
    up: bool
    score: float | None


class RuleFired(_RowEvent, frozen=True, gc=False, tag="rule_fired"):
    """A rule's condition came to hold; ``scores`` are the signals that it depends on."""

    step: int
    rule: str
    scores: dict[str, float | None]


class RuleReleased(_RowEvent, frozen=True, gc=False, tag="rule_released"):
    """A rule's condition ceased to hold."""

    step: int
    rule: str
    scores: dict[str, float | None]


class ActivationBegan(_RowEvent, frozen=True, gc=False, tag="activation_began"):
    """The hook began to apply a vector to a row, at ``position``.

    ``requested`` and ``applied`` are strengths in units of the block's residual norm; ``alphas`` are
    the raw coefficients on the unit vector, one for each of ``blocks``.
    """

    rule: str
    vector: str
    vector_digest: str
    operator: str
    blocks: tuple[int, ...]
    position: int
    requested: float
    applied: float
    alphas: tuple[float, ...]
    scores: dict[str, float | None]


class ActivationEnded(_RowEvent, frozen=True, gc=False, tag="activation_ended"):
    """The hook applied a vector for the last time; ``first`` and ``last`` are steered positions."""

    rule: str
    vector: str
    first: int
    last: int
    tokens: int
    applied: float


class RowHalted(_RowEvent, frozen=True, gc=False, tag="row_halted"):
    """A rule ended the row: from ``position`` on it is the policy's fallback."""

    step: int
    rule: str
    position: int
    fallback_digest: str


class ClassifierFailed(_RowEvent, frozen=True, gc=False, tag="classifier_failed"):
    """A classifier raised; its signals count as missing for this row from here on."""

    step: int
    classifier: str
    error: str


class RequestFailed(_RowEvent, frozen=True, gc=False, tag="request_failed"):
    """Generation raised; the row has no result."""

    error: str


class RequestEnded(_RowEvent, frozen=True, gc=False, tag="request_ended"):
    """A row is complete."""

    generated_tokens: int
    steered_tokens: int
    output_digest: str
    reason: str


Event: TypeAlias = (
    Attached
    | Detached
    | RequestStarted
    | FlagChanged
    | RuleFired
    | RuleReleased
    | ActivationBegan
    | ActivationEnded
    | RowHalted
    | ClassifierFailed
    | RequestFailed
    | RequestEnded
)
