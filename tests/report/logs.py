"""Logs to make pages of, and the same logs read line by line without the package."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from guardsteer.audit import open_journal
from guardsteer.audit.keys import keyed_digest
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Event,
    FlagChanged,
    RequestEnded,
    RequestStarted,
)

__all__ = [
    "KEY",
    "START_NS",
    "began",
    "digest",
    "ended",
    "finish",
    "lines",
    "start",
    "timed",
    "up",
    "write",
]

KEY = b"a key of the tests, 32 bytes long"
START_NS = 1_800_000_000_000_000_000


def write(folder: Path, events: Iterable[Event]) -> Path:
    """Write a log of one stream below ``folder`` and return where it is."""
    with open_journal(folder, key=KEY) as journal:
        for event in events:
            journal.append(event)
    return folder


def timed(events: Iterable[Event], first_ns: int | None = None, every_ns: int = 1_000_000) -> list[Event]:
    """Return events one after the other in time, by default from now on, as the journal's own records are."""
    first_ns = time.time_ns() if first_ns is None else first_ns
    return [msgspec.structs.replace(e, time_ns=first_ns + every_ns * n) for n, e in enumerate(events)]


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return every line of a log as JSON has it."""
    return [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()
    ]


def digest(tokens: Sequence[int]) -> str:
    """Return the keyed digest of tokens, as the log holds it."""
    return keyed_digest(KEY, struct.pack(f"<{len(tokens)}I", *tokens))


def start(request: str = "r", **other: Any) -> RequestStarted:
    """Return the beginning of a row with 10 prompt tokens."""
    fields: dict[str, Any] = {
        "time_ns": START_NS,
        "request": request,
        "sequence": 0,
        "guard": "g",
        "policy_digest": "b3:none",
        "context": {},
        "prompt_digest": digest(range(10)),
        "prompt_tokens": 10,
        "settings": {},
    }
    return RequestStarted(**{**fields, **other})


def finish(request: str = "r", tokens: int = 8, steered: int = 0, **other: Any) -> RequestEnded:
    """Return the end of a row that wrote ``tokens``."""
    fields: dict[str, Any] = {
        "time_ns": START_NS,
        "request": request,
        "sequence": 0,
        "generated_tokens": tokens,
        "steered_tokens": steered,
        "output_digest": digest(range(100, 100 + tokens)),
        "reason": "eos",
    }
    return RequestEnded(**{**fields, **other})


def up(flag: str, step: int, score: float = 0.9, request: str = "r", time_ns: int = START_NS) -> FlagChanged:
    """Return that a flag went up."""
    return FlagChanged(
        time_ns=time_ns, request=request, sequence=0, step=step, flag=flag, up=True, score=score
    )


def began(vector: str, position: int, applied: float, request: str = "r", **other: Any) -> ActivationBegan:
    """Return that a vector began to act."""
    fields: dict[str, Any] = {
        "time_ns": START_NS,
        "request": request,
        "sequence": 0,
        "rule": "warm",
        "vector": vector,
        "vector_digest": "b3:0",
        "operator": "subtract" if applied < 0 else "add",
        "blocks": (3,),
        "position": position,
        "requested": applied,
        "applied": applied,
        "alphas": (1.0,),
        "scores": {},
    }
    return ActivationBegan(**{**fields, **other})


def ended(begun: ActivationBegan, last: int) -> ActivationEnded:
    """Return that what began acted at ``last`` for the last time."""
    common: Mapping[str, Any] = {
        name: getattr(begun, name)
        for name in ("request", "sequence", "track", "rule", "vector", "applied", "operator", "mode")
    }
    return ActivationEnded(
        time_ns=begun.time_ns, first=begun.position, last=last, tokens=last - begun.position + 1, **common
    )
