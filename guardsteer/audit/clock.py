"""Was the clock set back while a stream was written? Times that go backwards are no evidence of order."""

from __future__ import annotations

__all__ = ["Clock"]

_WRITER_TOLERANCE_NS = 1_000_000_000
# Threads stamp their events before they queue them, and may be held up in between.
_EVENT_TOLERANCE_NS = 10_000_000_000
_NEVER_NS, _EVER_NS = -(2**63), 2**63


class Clock:
    """Follows the times of a stream's records (UTC ns), those of events and those of the writer itself.

    Whatever the writer stamps comes after all that it wrote before; of events that holds within ten
    seconds. An event may have waited in the queue, so it may be older than the writer's last stamp.
    """

    __slots__ = ("_first_event_ns", "_first_stamp_ns", "_latest_event_ns", "_latest_ns")

    def __init__(self) -> None:
        self._latest_ns = self._latest_event_ns = _NEVER_NS
        self._first_stamp_ns = self._first_event_ns = _EVER_NS

    def stamp(self, time_ns: int) -> float:
        """Take a time of the writer's; return by how many seconds the clock went back, or 0."""
        self._first_stamp_ns = min(self._first_stamp_ns, time_ns)
        back_ns = self._latest_ns - time_ns
        if back_ns > _WRITER_TOLERANCE_NS:
            # Told once for each time that it was set back.
            self._latest_ns = self._latest_event_ns = time_ns
            return back_ns / 1e9
        self._latest_ns = max(self._latest_ns, time_ns)
        return 0.0

    def event(self, time_ns: int) -> float:
        """Take an event's time; return by how many seconds the clock went back, or 0."""
        self._first_event_ns = min(self._first_event_ns, time_ns)
        back_ns = self._latest_event_ns - time_ns
        if back_ns > _EVENT_TOLERANCE_NS:
            self._latest_event_ns = time_ns
            return back_ns / 1e9
        self._latest_event_ns = max(self._latest_event_ns, time_ns)
        self._latest_ns = max(self._latest_ns, time_ns)
        return 0.0

    def joins(self, later: Clock) -> bool:
        """Take over a later stretch, itself in order; false, and unchanged, where the clock went back."""
        if (
            self._latest_ns - later._first_stamp_ns > _WRITER_TOLERANCE_NS
            or self._latest_event_ns - later._first_event_ns > _EVENT_TOLERANCE_NS
        ):
            return False
        self._latest_ns = max(self._latest_ns, later._latest_ns)
        self._latest_event_ns = max(self._latest_event_ns, later._latest_event_ns)
        return True
