"""What happens to a guard and to a log as a whole; see ``guardsteer.core.events``."""

from __future__ import annotations

from msgspec import field

from guardsteer.core.event_bases import BaseEvent

__all__ = [
    "Attached",
    "ClassifierRestored",
    "ClassifierTripped",
    "Detached",
    "PolicyAdopted",
    "PolicyRefused",
    "Resumed",
    "Stopped",
    "TextDropped",
    "TextForgotten",
]


class Attached(BaseEvent, frozen=True, gc=False, tag="attached"):
    """A guard was put on a model.

    ``versions`` are those of Python and the libraries that compute, ``device`` where the model's weights
    are, ``attention`` how it computes attention, ``threads`` on how many threads of the CPU and ``kernels``
    what else chooses them (the processor, the precision of products): what must be the same for a request to
    come out the same, bit for bit.
    """

    guard: str
    library: str
    policy: str
    policy_digest: str
    model: dict[str, str]
    vectors: dict[str, str]
    classifiers: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    attention: str = ""
    threads: int = 0
    kernels: dict[str, str] = field(default_factory=dict)


class Detached(BaseEvent, frozen=True, gc=False, tag="detached"):
    """The guard was taken off; the model is as it was."""

    guard: str


class PolicyAdopted(BaseEvent, frozen=True, gc=False, tag="policy_adopted"):
    """From here on the guard admits requests under this policy, as ``track`` says.

    ``text`` is the policy's own; ``binding`` is how far it applies. ``approved_*`` are empty where it was
    not signed. ``source`` says how it came: "wrap", "reload", "watch" or "rollback".
    """

    guard: str
    policy: str
    policy_digest: str
    source: str
    text: str
    binding: dict[str, str | float | dict[str, str]]
    vectors: dict[str, str]
    classifiers: dict[str, str]
    track: str = ""
    approved_by: str = ""
    approved_at: str = ""
    approval_key: str = ""


class PolicyRefused(BaseEvent, frozen=True, gc=False, tag="policy_refused"):
    """A policy that was to be adopted was not; the one in force stays. ``error`` says why."""

    guard: str
    file: str
    error: str


class Stopped(BaseEvent, frozen=True, gc=False, tag="stopped"):
    """The kill switch: from here on every strength is zero. ``by`` is "call", "file" or "environment"."""

    guard: str
    by: str
    reason: str = ""


class Resumed(BaseEvent, frozen=True, gc=False, tag="resumed"):
    """The kill switch was taken back."""

    guard: str
    by: str
    reason: str = ""


class ClassifierTripped(BaseEvent, frozen=True, gc=False, tag="classifier_tripped"):
    """A classifier failed ``failures`` times in a row and is left alone for ``rest_s`` seconds."""

    guard: str
    classifier: str
    failures: int
    rest_s: float
    error: str


class ClassifierRestored(BaseEvent, frozen=True, gc=False, tag="classifier_restored"):
    """A classifier that had been left alone worked again."""

    guard: str
    classifier: str


class TextForgotten(BaseEvent, frozen=True, gc=False, tag="text_forgotten"):
    """The key of a subject was destroyed: what was encrypted under ``keys`` cannot be read any more."""

    keys: tuple[str, ...]
    reason: str = ""


class TextDropped(BaseEvent, frozen=True, gc=False, tag="text_dropped"):
    """``count`` texts between two times (UTC ns) were not kept, and why."""

    count: int
    first_ns: int
    last_ns: int
    reason: str
