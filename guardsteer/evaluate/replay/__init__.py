"""A request generated again from its record and held against it; and what would have been said otherwise."""

from __future__ import annotations

from guardsteer.evaluate.replay.changing import Changes
from guardsteer.evaluate.replay.deciding import Decisions
from guardsteer.evaluate.replay.playing import Stage
from guardsteer.evaluate.replay.prompts import Given
from guardsteer.evaluate.replay.record import Log, Recorded, read_log
from guardsteer.evaluate.replay.replaying import replay
from guardsteer.evaluate.replay.results import Parting, Replay, Said, Verdict, Version

__all__ = [
    "Changes",
    "Decisions",
    "Given",
    "Log",
    "Parting",
    "Recorded",
    "Replay",
    "Said",
    "Stage",
    "Verdict",
    "Version",
    "read_log",
    "replay",
]
