"""What all events have: a kind, a time, and those of a row whose they are."""

from __future__ import annotations

import msgspec

__all__ = ["BaseEvent", "RowEvent"]


class BaseEvent(msgspec.Struct, frozen=True, gc=False, tag_field="kind", kw_only=True, omit_defaults=True):
    """Anything that happened, at ``time_ns`` (UTC since 1970)."""

    time_ns: int


class RowEvent(BaseEvent, frozen=True, gc=False, tag_field="kind", kw_only=True):
    """Something that happened to a row of a request, on the track of the policy in force or a candidate."""

    request: str
    sequence: int
    track: str = ""
