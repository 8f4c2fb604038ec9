"""A policy as a value: what the YAML says, checked, with defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "ENFORCED",
    "Approval",
    "AuditSpec",
    "Binding",
    "BreakerSpec",
    "ClassifierSpec",
    "CombineSpec",
    "FlagSpec",
    "Mode",
    "OnAuditError",
    "OnError",
    "Operator",
    "OverrideSpec",
    "Policy",
    "Position",
    "ReviseSpec",
    "RuleSpec",
    "ScheduleSpec",
    "Scope",
    "Site",
    "Smoothing",
    "SteerSpec",
    "Unit",
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

Operator: TypeAlias = Literal["add", "subtract", "ablate", "clamp"]
"""``add`` and ``subtract`` push along a direction; ``ablate`` removes the component along it; ``clamp``
keeps that component between two bounds."""

Site: TypeAlias = Literal["embedding", "block_input", "heads", "attention", "mlp", "block_output"]
"""Where a vector acts, in the order in which a pass reaches them within a block.

``embedding``: the token embeddings, before the first block. ``block_input``: what enters a block.
``heads``: single attention heads, before they are mixed. ``attention``, ``mlp``: what these halves of a
block return. ``block_output``: the residual stream after a block.
"""

Unit: TypeAlias = Literal["token", "sentence"]
Mode: TypeAlias = Literal["off", "shadow", "enforce"]
"""``off``: not evaluated. ``shadow``: evaluated and audited, without effect. ``enforce``: acts."""

OnError: TypeAlias = Literal["closed", "open", "last_state"]
"""What holds when something fails. ``closed``: no steering without proof, protection without proof.
``open``: as if nothing had been found. ``last_state``: what held last goes on."""

OnAuditError: TypeAlias = Literal["closed", "open", "last_state", "halt"]
"""``closed``: nothing is steered while the log cannot be written. ``open``: all goes on, unlogged.
``last_state``: rows keep the plan they had, nothing new begins. ``halt``: rows end with the fallback."""


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """After ``failures`` in a row, over all rows, a classifier is left alone for ``rest_s`` seconds."""

    failures: int = 3
    rest_s: float = 30.0


@dataclass(frozen=True, slots=True)
class CombineSpec:
    """A score made of other scores of the policy, ``classifier.output`` each: their highest or their mean.

    ``missing`` ``closed``: it is missing while one of them is. ``without``: those that there are count.
    """

    of: tuple[str, ...]
    by: Literal["max", "mean"] = "max"
    missing: Literal["closed", "without"] = "closed"


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """One classifier of a policy: an asset by name or path, patterns written in place, or ``combine``.

    One that combines reads no text, and ``on`` says nothing of it.

    ``deadline_ms``: a score that is not there by then leaves the previous one standing. ``breaker``:
    None calls a failing classifier for each new row. ``read``: where one reads that is too slow for every
    token, ``sentences``, ``every N`` (words) or ``prompt``, None as its card says. ``encoder``: a folder in
    which its encoder is looked for first.
    """

    name: str
    on: Scope
    use: str | None = None
    literals: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    ignore_case: bool = True
    tail_characters: int = 256
    on_error: OnError = "closed"
    deadline_ms: float | None = None
    breaker: BreakerSpec | None = None
    combine: CombineSpec | None = None
    read: str | None = None
    encoder: str | None = None


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """One vector of a policy; ``max_strength`` and strengths are in units of the block's residual norm.

    ``site`` None: where the vector was extracted. ``heads``: which heads of the site ``heads``, None all.
    """

    name: str
    use: str
    blocks: tuple[int, ...] | None = None
    positions: tuple[Position, ...] = ("generated",)
    max_strength: float | None = None
    site: Site | None = None
    heads: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How scores are smoothed before thresholds.

    ``ema``: ``value`` (above 0, at most 1) is the weight of the newest score. ``max``: ``value`` scores,
    the newest included, of which the highest counts.
    """

    kind: Literal["ema", "max"]
    value: float


@dataclass(frozen=True, slots=True)
class FlagSpec:
    """A signal turned boolean.

    Up once the smoothed ``signal >= enter`` held at ``after`` of the ``of_last`` newest updates
    (``of_last`` None: ``after`` in a row); stays up while it is ``>= exit``, for ``hold`` updates at
    least, for ever with ``latch``; once down it stays down for ``cooldown`` updates at least. An update
    comes with every step (``per`` token) or with every sentence that ends. ``exit`` equals ``enter``
    by default.
    """

    name: str
    signal: str
    enter: float
    exit: float
    after: int = 1
    hold: int = 0
    latch: bool = False
    of_last: int | None = None
    cooldown: int = 0
    smooth: Smoothing | None = None
    per: Unit = "token"


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """How a strength goes with the number of steps since its rule fired, from 0 on.

    ``ramp``: it grows evenly and is whole after so many steps. ``half_life``: it halves in so many
    steps, and is 0 from a hundredth on. ``every`` and ``by``: after each ``every`` steps it is ``by``
    stronger, up to the vector's ``max_strength``. ``until_sentence_end``: it is 0 once the sentence
    has ended in which the rule fired.
    """

    ramp: int | None = None
    half_life: float | None = None
    every: int | None = None
    by: float = 0.0
    until_sentence_end: bool = False


@dataclass(frozen=True, slots=True)
class SteerSpec:
    """One use of a vector.

    ``add`` and ``subtract`` have exactly one of ``strength`` and ``alpha``; for ``ablate``,
    ``strength`` is the share that is removed, 0 to 1; ``clamp`` keeps the component along the vector
    between ``low`` and ``high``, in units of the block's residual norm. ``keep_norm``: the hidden state
    is scaled back to the length that it had. ``schedule`` None: constant.
    """

    vector: str
    operator: Operator
    strength: float | None = None
    alpha: float | None = None
    low: float | None = None
    high: float | None = None
    keep_norm: bool = False
    schedule: ScheduleSpec | None = None


@dataclass(frozen=True, slots=True)
class ReviseSpec:
    """Take text back and write it again.

    Either the last ``tokens`` are dropped, or (``tokens`` None) all since the last sentence ended. The
    rule's own steering then acts for ``steps`` steps (None: for the rest of the row), whether its
    condition holds or not. After ``most`` revisions of a row by this rule, ``then`` says what its
    condition does instead.
    """

    tokens: int | None = None
    most: int = 1
    steps: int | None = None
    then: Literal["halt", "continue"] = "halt"


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule: a condition and what to do while it holds.

    ``disable`` names the vectors to switch off. Where several rules name a vector, the highest
    ``priority`` decides, the first in the file among equals; ``disable`` beats all steering,
    ``revise`` beats that, ``halt`` beats all. ``hold_back``: text reaches a streamer only when so many
    tokens behind it have been read too (0: when it has itself been read); None does not hold back.
    ``observe`` marks a rule that is there for the audit alone. ``on_error`` says what an undecided
    condition does.
    """

    id: str
    when: str
    priority: int = 0
    steer: tuple[SteerSpec, ...] = ()
    disable: tuple[str, ...] = ()
    halt: bool = False
    line: int = 0
    observe: bool = False
    hold_back: int | None = None
    revise: ReviseSpec | None = None
    on_error: OnError = "closed"


@dataclass(frozen=True, slots=True)
class OverrideSpec:
    """Within which bounds a request may choose a vector's strength itself.

    ``tenants`` None: any request. Outside the bounds, a request is refused or its wish is cut to them.
    """

    vector: str
    low: float
    high: float
    tenants: tuple[str, ...] | None = None
    outside: Literal["refuse", "clamp"] = "refuse"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where and how far a policy applies; kept apart from what it says.

    ``rules`` names rules that are held to less than the policy's ``mode``. ``percent`` of the values of
    ``by`` (``request.request`` is the request's id) get that mode, the others ``otherwise``; who is in
    is decided by a hash of the value and ``salt`` and never changes while they stay the same. ``arm``
    is recorded for those within, ``other_arm`` for the others.
    """

    mode: Mode = "enforce"
    rules: tuple[tuple[str, Mode], ...] = ()
    percent: float = 100.0
    by: str = "request.request"
    salt: str = ""
    arm: str = ""
    otherwise: Mode = "off"
    other_arm: str = ""


ENFORCED = Binding()


@dataclass(frozen=True, slots=True)
class Approval:
    """Who signed a policy, when (UTC, ISO 8601) and with which key."""

    by: str
    at: str
    key: str


@dataclass(frozen=True, slots=True)
class AuditSpec:
    """What happens when the audit log cannot be written."""

    on_error: OnAuditError = "closed"


@dataclass(frozen=True, slots=True)
class Policy:
    """A checked policy.

    ``digest`` covers its bytes, ``text``; ``context`` maps declared request keys to types. ``budget``
    bounds the length of all that is added to a hidden state at one place, in units of the block's
    residual norm; None: no bound. ``approval`` None: not signed.
    """

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
    budget: float | None = None
    binding: Binding = ENFORCED
    overrides: tuple[OverrideSpec, ...] = ()
    approval: Approval | None = None
    text: str = ""
