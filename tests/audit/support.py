"""Events and logs for the tests of the audit."""

from __future__ import annotations

from pathlib import Path

from guardsteer.audit import open_journal
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Event,
    FlagChanged,
    RequestEnded,
    RequestStarted,
    RowHalted,
    RuleFired,
)

KEY = b"a key of the tests, 32 bytes long"
TIME_NS = 1_700_000_000_123_456_789


def flag(step: int, request: str = "r-1") -> FlagChanged:
    """Return the smallest event, told apart by its step."""
    return FlagChanged(
        time_ns=TIME_NS + step, request=request, sequence=0, step=step, flag="hostile", up=True, score=0.75
    )


def story(request: str = "r-1") -> list[Event]:
    """Return what a guarded request typically leaves behind."""
    scores: dict[str, float | None] = {"hostility.score": 0.75, "intent.billing": None}
    return [
        RequestStarted(
            time_ns=TIME_NS,
            request=request,
            sequence=0,
            guard="g-1",
            policy_digest="b3:" + "1" * 64,
            context={"tenant": "acme", "tier": 2},
            prompt_digest="hk:" + "2" * 64,
            prompt_tokens=42,
            settings={"max_new_tokens": 64, "do_sample": False},
        ),
        flag(0, request),
        RuleFired(time_ns=TIME_NS + 2, request=request, sequence=0, step=0, rule="warm", scores=scores),
        ActivationBegan(
            time_ns=TIME_NS + 3,
            request=request,
            sequence=0,
            rule="warm",
            vector="empathy",
            vector_digest="b3:" + "3" * 64,
            operator="add",
            blocks=(4, 5),
            position=42,
            requested=0.5,
            applied=0.4,
            alphas=(1.25, 1.5),
            scores=scores,
        ),
        ActivationEnded(
            time_ns=TIME_NS + 4,
            request=request,
            sequence=0,
            rule="warm",
            vector="empathy",
            first=42,
            last=80,
            tokens=39,
            applied=0.4,
        ),
        RowHalted(
            time_ns=TIME_NS + 5,
            request=request,
            sequence=0,
            step=39,
            rule="stop",
            position=81,
            fallback_digest="b3:" + "4" * 64,
        ),
        RequestEnded(
            time_ns=TIME_NS + 6,
            request=request,
            sequence=0,
            generated_tokens=39,
            steered_tokens=39,
            output_digest="hk:" + "5" * 64,
            reason="halted",
        ),
    ]


def write_log(directory: Path, events: list[Event], *, segment_bytes: int = 1 << 20, group: int = 0) -> None:
    """Write a log that was closed in order; ``group`` events are committed at a time (0: all)."""
    with open_journal(directory, key=KEY, segment_bytes=segment_bytes) as journal:
        for number, event in enumerate(events, start=1):
            journal.append(event)
            if group and number % group == 0:
                journal.flush()


def segments(directory: Path) -> list[Path]:
    """Return the segments of a log, in order."""
    return sorted(directory.glob("*.jsonl"))


def checkpoint(directory: Path) -> Path:
    """Return the one checkpoint of a log."""
    (path,) = directory.glob("*.checkpoint")
    return path
