"""What ``doctor`` finds, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``advice`` says what to do where it is not well."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
