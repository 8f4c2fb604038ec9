"""The exception tree: everything guardsteer raises on purpose is a ``GuardsteerError``.

Catch the branch you can act on. A message says what was wrong, where, what was got, what was
expected and what to do about it. What can be used and is probably not meant is a ``GuardsteerWarning``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AssetError",
    "AuditError",
    "AuditWriteError",
    "BindingError",
    "ClassifierError",
    "GuardsteerError",
    "GuardsteerWarning",
    "HostError",
    "LayoutError",
    "PolicyError",
    "Problem",
    "ReplayError",
    "RequestError",
    "SignatureError",
    "TurnsError",
    "UnsupportedError",
    "VectorError",
    "VectorsFightWarning",
]


class GuardsteerError(Exception):
    """Base of every error that guardsteer raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where it is, what it is and how to mend it.

    ``line`` and ``column`` count from 1; 0 means that the place is not known.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.message}"
        if self.hint:
            text += f" ({self.hint})"
        if self.source:
            text += f"\n    {self.source}\n    {' ' * max(self.column - 1, 0)}^"
        return text


class _FileError(GuardsteerError):
    """An error about a file's content that carries every mistake found in it."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        text = problems if isinstance(problems, str) else "\n".join(map(str, problems))
        super().__init__(text)


class PolicyError(_FileError):
    """A policy cannot be loaded; ``problems`` lists every mistake with its place."""


class SignatureError(PolicyError):
    """A policy is not approved by a trusted key; ``reason`` says which way.

    "unsigned", "malformed" (the signature file), "unknown_key", "bad_signature", "wrong_digest" (the
    policy is not what was signed), or "bad_key" (a key file).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AssetError(_FileError):
    """An asset (classifier, policy, vector) is missing, damaged or not what it says it is."""


class ClassifierError(AssetError):
    """A classifier's files are damaged, inconsistent or unsupported."""


class VectorError(AssetError):
    """A vector's files are damaged, inconsistent or unsupported."""


class BindingError(VectorError):
    """A vector (or probe) belongs to another model than the one at hand."""


class HostError(GuardsteerError):
    """A model cannot be guarded."""


class LayoutError(HostError):
    """The model's decoder blocks could not be found; says what was looked for."""


class TurnsError(HostError):
    """The turns of a chat could not be located in its tokens."""


class UnsupportedError(HostError):
    """A way of running the model under which steering would not be exact; refused up front."""


class RequestError(GuardsteerError):
    """A request to ``generate`` is inconsistent with the model or the policy."""


class AuditError(GuardsteerError):
    """The audit log cannot be opened or read."""


class AuditWriteError(AuditError):
    """The audit log cannot be written."""


class ReplayError(AuditError):
    """A request cannot be generated again from its record; ``mismatches`` names what is not as it was."""

    def __init__(self, message: str, mismatches: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.mismatches: tuple[str, ...] = tuple(mismatches)


class GuardsteerWarning(UserWarning):
    """Base of every warning that guardsteer gives."""


class VectorsFightWarning(GuardsteerWarning):
    """Vectors that may act at once push against each other, or the same way beyond their windows."""
