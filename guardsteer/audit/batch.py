"""What the writer commits at once, and who waits for it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import get_args

from guardsteer.audit.chain import MAX_LINE_BYTES
from guardsteer.audit.health import Health
from guardsteer.audit.records import encode_record
from guardsteer.core.events import Event

__all__ = ["Barrier", "Batch", "take_batch"]

_EVENT_TYPES = frozenset(get_args(Event))
# Leaves room for the sequence number and the hash.
_MAX_BODY_BYTES = MAX_LINE_BYTES - 256


class Barrier:
    """A place in the queue that somebody waits for; ``failure`` is empty when all before it is durable."""

    __slots__ = ("done", "failure")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.failure = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded records in order; ``events`` counts the callers' own, ``refused``: one could not be encoded."""

    bodies: tuple[bytes, ...]
    barriers: tuple[Barrier, ...]
    events: int
    refused: bool


def take_batch(queue: deque[Event | Barrier], limit: int, health: Health) -> Batch:
    """Take up to ``limit`` items off the queue and encode them, once: a second try writes the same bytes.

    An event that cannot be encoded is counted as lost; a record in the batch says so.
    """
    bodies: list[bytes] = []
    barriers: list[Barrier] = []
    refused = False
    for _ in range(min(len(queue), limit)):
        item = queue.popleft()
        if isinstance(item, Barrier):
            barriers.append(item)
            continue
        try:
            bodies.append(_encode(item))
        # Whatever one caller put into an event, the other events must reach the log.
        except Exception as error:
            refused = True
            health.lose(f"{type(item).__name__} cannot be recorded: {type(error).__name__}")
    events = len(bodies)
    if dropped := health.take_record():
        bodies.append(encode_record(dropped))
    return Batch(tuple(bodies), tuple(barriers), events, refused)


def _encode(event: Event) -> bytes:
    if type(event) not in _EVENT_TYPES:
        raise TypeError("not an event")
    body = encode_record(event)
    if len(body) > _MAX_BODY_BYTES:
        raise ValueError("too long")
    return body
