"""What a replay finds."""

from __future__ import annotations

from dataclasses import dataclass

from guardsteer.evaluate.replay.deciding import Decisions
from guardsteer.evaluate.replay.places import Company

__all__ = ["Parting", "Replay", "Said", "Verdict", "Version"]


@dataclass(frozen=True, slots=True)
class Said:
    """What a row came to: its tokens, and their text without special tokens."""

    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Parting:
    """Two texts that are the same up to ``token``: what both begin with, and how each goes on.

    ``tokens`` are the two that differ; () where one text ends there.
    """

    token: int
    tokens: tuple[()] | tuple[int, int]
    both: str
    one: str
    other: str


@dataclass(frozen=True, slots=True)
class Version:
    """What would have been said under ``name``; ``parting`` from what the replay said, None for none."""

    name: str
    said: Said
    parting: Parting | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether another policy, on the text that there was, decides as the recorded one did.

    ``mode`` is what its binding would give the request; "off" decides nothing. ``error``: it failed.
    """

    policy: str
    policy_digest: str
    mode: str
    decisions: Decisions
    error: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """One row generated again.

    ``same``: the tokens are those that were recorded, by their digest. ``parting`` from the recorded tokens;
    None where none is, or these are not at hand. ``lead``: by how much the logit of the replay's token is
    above that of the recorded one there; None where chance decided, too, or text was taken back. ``recorded``
    are the recorded tokens, where they are at hand. ``decisions``: where flags, rules and plans were others
    than recorded. ``as_recorded``: plans were taken from the log, and nothing was decided. ``accepted`` are
    the mismatches that were overlooked; ``doubts`` say why tokens may differ, or did.
    """

    request: str
    sequence: int
    policy: str
    policy_digest: str
    company: Company
    as_recorded: bool
    same: bool
    parting: Parting | None
    lead: float | None
    replayed: Said
    recorded: Said | None
    decisions: Decisions
    accepted: tuple[str, ...]
    doubts: tuple[str, ...]
    versions: tuple[Version, ...] = ()
    today: Verdict | None = None
    notes: tuple[str, ...] = ()
