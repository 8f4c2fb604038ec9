"""What the log tells of a row, made comparable: events as mappings, without times."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

import guardsteer
from guardsteer.audit import activations_of, read, strengths_of, trail
from tests.runtime.harness import POLICY, SPECIAL, Bench, batch, policy_file

TOKENS = 14
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]


def wrap(made: Bench, folder: Path, text: str = POLICY, **options: Any) -> Any:
    """Put the bench's model under a policy, with its log in ``folder / "log"``."""
    given = {"vectors": made.vectors, "classifiers": made.classifiers, "audit": folder / "log", **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(folder, text), **given)


def run(model: Any, prompts: list[list[int]] = PROMPTS, **options: Any) -> list[list[int]]:
    """Generate greedily, all rows to the same length; requests of a guard are named r0, r1 and so on."""
    inputs = batch(prompts)
    settings: dict[str, Any] = {
        "max_new_tokens": TOKENS,
        "do_sample": False,
        "suppress_tokens": list(SPECIAL),
    }
    if "guard" in options:
        options["guard"] = [{"request": f"r{n}", **given} for n, given in enumerate(options["guard"])]
    ids = model.generate(**inputs, **{**settings, **options})
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


def told(
    folder: Path, request: str, *, track: str = "", sequence: int = 0, without: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Return all that the log tells of a row on one track, in order."""
    left_out = {"time_ns", "monotonic_ns", "call", "track", *without}
    found = []
    for stored in read(folder / "log", request):
        event = stored.event
        if getattr(event, "track", "") == track and getattr(event, "sequence", -1) == sequence:
            fields = msgspec.json.decode(msgspec.json.encode(event))
            kind = {"kind": type(event).__name__}
            # Defaults are left out of records, and a mode is compared where it is given.
            mode = {"mode": event.mode} if "mode" not in left_out and hasattr(event, "mode") else {}
            found.append({**{k: v for k, v in fields.items() if k not in left_out}, **kind, **mode})
    return found


def kinds(events: Iterable[dict[str, Any]]) -> list[str]:
    """Return the kinds of events, in order."""
    return [event["kind"] for event in events]


def strengths(
    folder: Path,
    request: str,
    length: int,
    *,
    track: str = "",
    mode: str = "enforce",
    sequence: int = 0,
    vectors: tuple[str, ...] = ("one", "two", "three"),
) -> list[tuple[float, ...]]:
    """Return the strengths of every position, rebuilt from the log's activations and revisions alone."""
    told_of = trail(folder / "log", request)
    row: Any = {"sequence": sequence, "track": track, "mode": mode}
    assert all(activation.last is not None for activation in activations_of(told_of, **row))
    found = strengths_of(told_of, **row)
    assert max(found, default=0) < length, "nothing acts behind the row's end"
    return [tuple(found.get(place, {}).get(name, 0.0) for name in vectors) for place in range(length)]
