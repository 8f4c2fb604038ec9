"""The page of one request: what was done to every token, by what and why, and whether the record is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from guardsteer.audit import SegmentBegan, StoredEvent, Verification, read
from guardsteer.core.events import Attached, PolicyAdopted, Resumed, Stopped
from guardsteer.core.policy import Policy
from guardsteer.errors import AuditError, PolicyError
from guardsteer.evaluate.explain import Explanation, explain
from guardsteer.evaluate.timeline import Gathered, RowRecord, gather
from guardsteer.pages.page import page, unfold
from guardsteer.report.request_head import (
    record_table,
    request_card,
    request_facts,
    request_verdict,
    rules_table,
)
from guardsteer.report.request_lanes import row_lanes
from guardsteer.report.request_text import row_text
from guardsteer.report.said import Passage, Said, find_key, passage_of
from guardsteer.report.style import STYLE, made_note
from guardsteer.rules import parse_policy

__all__ = ["request_page"]


@dataclass(slots=True)
class _Found:
    """What the log holds of a request, and of what it ran under."""

    events: list[StoredEvent] = field(default_factory=list)
    own: list[StoredEvent] = field(default_factory=list)
    attached: dict[str, Attached] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)


def request_page(
    directory: str | os.PathLike[str],
    request: str,
    *,
    said: Said | None = None,
    tokenizer: Any = None,
    key: bytes | None = None,
    verification: Verification | None = None,
    made_ns: int | None = None,
) -> str:
    """Return the page of ``request`` in the log below ``directory``: one HTML file that loads nothing.

    ``said`` is what was asked and answered, where it is at hand, cut into tokens by ``tokenizer`` (of the
    library ``tokenizers``) and held against the log's digests by ``key`` (None: the log's own,
    where it is at hand). ``verification`` is what ``guardsteer.audit.verify`` found; None: the page says
    that nobody verified the log. ``made_ns``: when it was made, UTC since 1970 (None: now). Of several
    requests under one id, the last is shown. Raises ``AuditError`` where the log has no such request.
    """
    found = _find(read(directory), request)
    gathered = gather(found.events, request)
    rows = _newest(gathered.of_request(request))
    if not rows:
        raise AuditError(
            f"{os.fspath(directory)}: the log holds no record of request {request!r}; guardsteer audit show "
            "lists the requests that it holds"
        )
    explained, unexplained = _explain(found.events, request)
    passages = _passages(rows, said or Said(), tokenizer, key or _key(Path(directory), found, rows))
    live = [row for row in rows if not row.track]
    body = [
        request_verdict(rows, verification, explained, [p for pair in passages.values() for p in pair if p]),
        request_facts(live),
    ]
    for row in rows:
        body += _row_parts(row, rows, gathered, explained, passages, found)
    body += unexplained
    body += _other_parts(rows, found, made_ns)
    return page(f"Request {request}", body, style=STYLE)


def _find(events: Iterable[StoredEvent], request: str) -> _Found:
    """Keep what belongs to a request, and what says under what it ran."""
    found = _Found()
    for stored in events:
        event = stored.event
        if getattr(event, "request", None) == request:
            found.own.append(stored)
            found.events.append(stored)
        elif isinstance(event, PolicyAdopted | Stopped | Resumed):
            found.events.append(stored)
        elif isinstance(event, Attached):
            found.attached[event.guard] = event
        elif isinstance(event, SegmentBegan):
            found.keys[stored.stream] = event.digest_key
            found.libraries[stored.stream] = event.library
    return found


def _key(directory: Path, found: _Found, rows: Sequence[RowRecord]) -> bytes | None:
    return find_key(directory, [found.keys.get(row.key.stream, "") for row in rows])


def _newest(rows: Sequence[RowRecord]) -> list[RowRecord]:
    newest = {(row.key.sequence, row.track): row for row in rows}
    return sorted(newest.values(), key=lambda row: (row.key.sequence, row.track))


def _explain(events: Sequence[StoredEvent], request: str) -> tuple[list[Explanation], list[str]]:
    try:
        return explain(events, request), []
    except (AuditError, PolicyError) as error:
        return [], [
            f'<p class="verdict no">Why rules fired cannot be worked out again: {escape(str(error))}</p>'
        ]


def _passages(
    rows: Sequence[RowRecord], said: Said, tokenizer: Any, key: bytes | None
) -> dict[int, tuple[Passage | None, Passage | None]]:
    """Return prompt and output of each row by its sequence, as far as they were supplied."""
    made: dict[int, tuple[Passage | None, Passage | None]] = {}
    for row in rows:
        started, ended = row.started, row.ended
        if row.track:
            continue
        prompt = passage_of(
            said.prompt,
            tokenizer,
            tokens=started.prompt_tokens if started is not None else 0,
            digest=started.prompt_digest if started is not None else "",
            key=key,
        )
        output = passage_of(
            said.outputs.get(row.key.sequence),
            tokenizer,
            tokens=ended.generated_tokens if ended is not None else 0,
            digest=ended.output_digest if ended is not None else "",
            key=key,
        )
        made[row.key.sequence] = (prompt, output)
    return made


def _row_parts(
    row: RowRecord,
    rows: Sequence[RowRecord],
    gathered: Gathered,
    explained: Sequence[Explanation],
    passages: dict[int, tuple[Passage | None, Passage | None]],
    found: _Found,
) -> list[str]:
    adopted = _adopted(gathered, row)
    policy = _policy(adopted)
    name = _name(row, rows)
    parts = []
    if row.track:
        told = "What this candidate would have done, on the text that the policy in force steered."
        parts += [f"<h2>{escape(name)}what it would have done</h2>", f'<p class="note">{told}</p>']
    else:
        prompt, output = passages.get(row.key.sequence, (None, None))
        parts += [
            f"<h2>{escape(name)}what was written</h2>",
            row_text(row, found.own, policy, prompt, output),
        ]
        parts.append(f"<h2>{escape(name)}token by token</h2>")
    parts.append(row_lanes(row, policy))
    for each in explained:
        if (each.sequence, each.track) == (row.key.sequence, row.track):
            parts += [f"<h2>{escape(name)}why each rule fired or rested</h2>", rules_table(each)]
            parts += [f'<p class="note">{escape(told)}</p>' for told in _beside(each)]
    attached = found.attached.get(row.started.guard) if row.started is not None else None
    library = found.libraries.get(row.key.stream, "")
    parts += [f"<h2>{escape(name)}who, when, under what</h2>", request_card(row, adopted, attached, library)]
    return [_titled(part) for part in parts]


def _beside(found: Explanation) -> list[str]:
    """Return what an explanation tells and no lane does."""
    return [told for told in found.happenings if told.startswith("the kill switch")] + list(found.notes)


def _name(row: RowRecord, rows: Sequence[RowRecord]) -> str:
    words = []
    if len({each.key.sequence for each in rows}) > 1:
        words.append(f"Row {row.key.sequence}")
    if row.track:
        words.append(f"Candidate {row.track}")
    return f"{', '.join(words)}: " if words else ""


def _titled(part: str) -> str:
    return f"<h2>{part[4:5].upper()}{part[5:]}" if part.startswith("<h2>") else part


def _adopted(gathered: Gathered, row: RowRecord) -> PolicyAdopted | None:
    wanted = row.started.policy_digest if row.started is not None else ""
    same = [each for each in gathered.policies if each.track == row.track]
    found = [each for each in same if each.policy_digest == wanted and each.time_ns <= row.last_ns]
    return found[-1] if found else None


def _policy(adopted: PolicyAdopted | None) -> Policy | None:
    if adopted is None:
        return None
    try:
        return parse_policy(adopted.text, f"the audited policy {adopted.policy}")
    except PolicyError:
        return None


def _other_parts(rows: Sequence[RowRecord], found: _Found, made_ns: int | None) -> list[str]:
    streams = {row.key.stream for row in rows}
    own = [stored for stored in found.own if stored.stream in streams]
    return [
        "<h2>Every record of this request</h2>",
        unfold(f"{len(own):,} records", record_table(own)),
        made_note(time.time_ns() if made_ns is None else made_ns),
    ]
