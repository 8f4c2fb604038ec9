"""What a kind of ticket is: a fact that decides the answer, and a context that does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["Kind", "by_key"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of ticket: ``answers_by_key`` maps the deciding fact to the words that a right answer holds.

    A customer writes a ``question`` (which names key and context), or a ``situation`` (which names the
    context) and an ``ask`` (which names the key). All are templates with the slots ``key``, ``a_key`` (with
    its article) and ``context``; ``replies`` also have ``value``.
    """

    name: str
    domain: str
    answers_by_key: Mapping[str, str]
    contexts: tuple[str, ...]
    situations: tuple[str, ...]
    asks: tuple[str, ...]
    questions: tuple[str, ...]
    held_out_questions: tuple[str, ...]
    replies: tuple[str, ...]


def by_key(**answers: str) -> Mapping[str, str]:
    """Return a read-only mapping whose keys have spaces for underscores."""
    return MappingProxyType({key.replace("_", " "): answer for key, answer in answers.items()})
