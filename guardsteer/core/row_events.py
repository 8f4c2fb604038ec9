"""What happens to a row of a request; see ``guardsteer.core.events``."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import field

from guardsteer.core.event_bases import RowEvent

__all__ = [
    "ActivationBegan",
    "ActivationEnded",
    "ClassifierFailed",
    "ClassifierLate",
    "ConditionChanged",
    "FlagChanged",
    "RequestEnded",
    "RequestFailed",
    "RequestStarted",
    "RowHalted",
    "RowRevised",
    "RuleFired",
    "RuleReleased",
    "Setting",
    "TextKept",
]

Setting: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None
"""A setting of ``generate`` as JSON holds it: tuples are lists, other mappings lists of pairs."""


class RequestStarted(RowEvent, frozen=True, gc=False, tag="request_started"):
    """A row was admitted. ``sequence`` tells apart the rows that one request was expanded into.

    ``mode`` and ``arm`` are what the policy's binding gave this request. ``overrides`` maps a vector to
    the strength that the request chose: what it asked for and what it got. ``monotonic_ns`` is a clock that
    nobody sets; differences count, within one process.

    What it takes to generate the row again: ``call`` is shared by all rows of one call of ``generate``, of
    which there were ``rows`` before any was expanded, and this one was at ``row``; their prompts were padded
    on the left to ``width`` tokens. ``settings`` are those of ``generate`` that are not transformers'
    defaults, and some that always tell. Where it samples, ``seed`` is the generator's if nothing had been
    drawn since it was set, else the first record of the call has the generator's state in ``rng`` (base64).
    ``turns`` are role, first and end of each turn in the prompt's tokens. ``unrecorded`` names the arguments
    of the call that no record can hold. ``text`` names the encrypted text, where it is kept.
    """

    guard: str
    policy_digest: str
    context: dict[str, str | int | float | bool | list[str]]
    prompt_digest: str
    prompt_tokens: int
    settings: dict[str, Setting]
    mode: str = "enforce"
    arm: str = ""
    overrides: dict[str, tuple[float, float]] = field(default_factory=dict)
    monotonic_ns: int = 0
    tenant: str = ""
    principal: str = ""
    call: str = ""
    row: int = 0
    rows: int = 0
    width: int = 0
    seed: int | None = None
    rng: str = ""
    turns: tuple[tuple[str, int, int], ...] | None = None
    unrecorded: tuple[str, ...] = ()
    text: str = ""


class FlagChanged(RowEvent, frozen=True, gc=False, tag="flag_changed"):
    """A flag went up or down; ``score`` is its signal at that step (None: missing).

    ``threshold`` is the policy's ``enter`` where it went up and ``exit`` where it went down. What is held
    against it is the score after smoothing, where the policy smooths.
    """

    step: int
    flag: str
    up: bool
    score: float | None
    threshold: float | None = None


class ConditionChanged(RowEvent, frozen=True, gc=False, tag="condition_changed"):
    """A comparison in the policy's rules came to be ``true``, ``false`` or ``undecided``.

    ``condition`` is the comparison in the policy language. Each one that is not fixed by the request is
    told at step 0, and then whenever it changes.
    """

    step: int
    condition: str
    truth: str
    scores: dict[str, float | None] = field(default_factory=dict)


class RuleFired(RowEvent, frozen=True, gc=False, tag="rule_fired"):
    """A rule's condition came to hold; ``scores`` are the signals that it depends on."""

    step: int
    rule: str
    scores: dict[str, float | None]
    mode: str = "enforce"


class RuleReleased(RowEvent, frozen=True, gc=False, tag="rule_released"):
    """A rule's condition ceased to hold."""

    step: int
    rule: str
    scores: dict[str, float | None]
    mode: str = "enforce"


class ActivationBegan(RowEvent, frozen=True, gc=False, tag="activation_began"):
    """The hook began to apply a vector to a row, at ``position``.

    ``requested`` and ``applied`` are strengths in units of the block's residual norm, before and after
    every bound; ``limits`` names the bounds that cut it: "max_strength", "override", "budget". ``planned``
    is the strength before the budget, where that cut it; a replay needs it.
    ``alphas`` are the raw coefficients on the unit vector, one for each of ``blocks``, after the budget.
    For ``ablate`` the strengths are the share that is removed and ``alphas`` is empty; for ``clamp`` the
    strength is 1.0 and ``bounds`` holds the two bounds (None: open).
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
    site: str = "block_output"
    heads: tuple[int, ...] = ()
    bounds: tuple[float | None, ...] = ()
    keep_norm: bool = False
    limits: tuple[str, ...] = ()
    planned: float = 0.0
    mode: str = "enforce"


class ActivationEnded(RowEvent, frozen=True, gc=False, tag="activation_ended"):
    """The hook applied a vector for the last time; ``first`` and ``last`` are steered positions."""

    rule: str
    vector: str
    first: int
    last: int
    tokens: int
    applied: float
    operator: str = "add"
    mode: str = "enforce"


class RowHalted(RowEvent, frozen=True, gc=False, tag="row_halted"):
    """A rule ended the row: from ``position`` on it is the policy's fallback."""

    step: int
    rule: str
    position: int
    fallback_digest: str
    mode: str = "enforce"


class RowRevised(RowEvent, frozen=True, gc=False, tag="row_revised"):
    """A rule took back the ``dropped`` newest tokens; writing goes on at ``position``.

    ``revision`` counts this rule's revisions of the row from 1. Activations at positions from
    ``position`` on were taken back with the text; the token before it is computed anew, so what acted
    there is superseded too.
    """

    step: int
    rule: str
    position: int
    dropped: int
    revision: int
    mode: str = "enforce"


class ClassifierFailed(RowEvent, frozen=True, gc=False, tag="classifier_failed"):
    """A classifier raised, was left alone or gave nan; its ``on_error`` says what counts instead."""

    step: int
    classifier: str
    error: str


class ClassifierLate(RowEvent, frozen=True, gc=False, tag="classifier_late"):
    """A classifier missed its deadline at ``step``; earlier scores stood until ``until``, or to the end."""

    step: int
    classifier: str
    until: int


class RequestFailed(RowEvent, frozen=True, gc=False, tag="request_failed"):
    """Generation raised; the row has no result."""

    error: str
    monotonic_ns: int = 0


class RequestEnded(RowEvent, frozen=True, gc=False, tag="request_ended"):
    """A row is complete.

    ``withheld_tokens`` were written but never released, nor returned. ``limited_tokens`` had a change by
    ``ablate`` or ``clamp`` cut down to the policy's budget.
    """

    generated_tokens: int
    steered_tokens: int
    output_digest: str
    reason: str
    withheld_tokens: int = 0
    limited_tokens: int = 0
    monotonic_ns: int = 0


class TextKept(RowEvent, frozen=True, gc=False, tag="text_kept"):
    """The encrypted text of a row is durable in a side file.

    ``text`` is the name that ``request_started`` has, ``part`` is "prompt" or "output". ``digest`` is
    SHA-256 of the ``bytes`` bytes at ``offset`` of ``file``; ``key`` names the key of the subject.
    """

    text: str
    part: str
    key: str
    file: str
    offset: int
    bytes: int
    digest: str
