"""The page of a period: what was in force, what acted, how scores and durations moved, what went wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from guardsteer.audit import SegmentBegan, StreamClosed, Verification, read
from guardsteer.audit.chain import segment_name
from guardsteer.audit.files import list_log
from guardsteer.audit.records import decode_record
from guardsteer.errors import AuditError
from guardsteer.pages.page import facts, page, table, unfold, verdict
from guardsteer.report.axis import clock, time_axis
from guardsteer.report.period_data import Period, tally
from guardsteer.report.period_lanes import counted, in_force, share, trouble
from guardsteer.report.period_spread import latencies, scores
from guardsteer.report.style import STYLE, made_note, verified

__all__ = ["period_page"]

_END_BYTES, _END_LINES = 1 << 18, 20
"""How much of a segment's two ends is read to learn its times."""
_MOST_FINDINGS = 20
_MOST_STREAMS = 50


def period_page(
    directory: str | os.PathLike[str],
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    verification: Verification | None = None,
    made_ns: int | None = None,
) -> str:
    """Return the page of a period of the log below ``directory``: one HTML file that loads nothing.

    The period is from ``since_ns`` up to, without, ``until_ns`` (UTC since 1970; None: all that the log
    holds). ``verification`` and ``made_ns`` are as for ``request_page``. The page's size does not grow with
    the log. Raises ``AuditError`` where the log holds no record of that time.
    """
    ends = list(_ends(Path(directory)))
    if not ends:
        raise AuditError(f"{os.fspath(directory)}: the log holds no record")
    # A stream may stand open for long before and after anything happens.
    bounds = [time_ns for time_ns, happened in ends if happened] or [time_ns for time_ns, _ in ends]
    first = max(min(bounds), since_ns) if since_ns is not None else min(bounds)
    last = min(max(bounds), until_ns - 1) if until_ns is not None else max(bounds)
    if last < first:
        raise AuditError(
            f"{os.fspath(directory)}: no record lies in that time; the log goes from {clock(min(bounds))} to "
            f"{clock(max(bounds))} UTC"
        )
    found = tally(read(directory), time_axis(first, last), first, last + 1)
    if not found.records:
        raise AuditError(
            f"{os.fspath(directory)}: no record lies between {clock(first)} and {clock(last)} UTC"
        )
    return page(f"Audit of {_period(found)}", _parts(found, verification, made_ns), style=STYLE)


def _period(found: Period) -> str:
    first, last = clock(found.since_ns), clock(found.until_ns)
    return f"{first} to {last[11:] if first[:10] == last[:10] else last} UTC"


def _ends(directory: Path) -> Iterator[tuple[int, bool]]:
    """Yield times of records at the ends of segments, and whether more happened than that a stream began."""
    for stream, numbers in list_log(directory).streams.items():
        for number in numbers:
            path = directory / segment_name(stream, number)
            try:
                with path.open("rb") as file:
                    lines = file.read(_END_BYTES).splitlines()[:_END_LINES]
                    size = file.seek(0, os.SEEK_END)
                    file.seek(max(0, size - _END_BYTES))
                    lines += file.read().splitlines()[-_END_LINES:]
            except OSError as error:
                raise AuditError(f"{path}: the audit log cannot be read: {error.strerror}") from error
            for line in lines:
                try:
                    record = decode_record(line)
                except ValueError:
                    continue
                yield record.time_ns, not isinstance(record, SegmentBegan | StreamClosed)


def _parts(found: Period, verification: Verification | None, made_ns: int | None) -> list[str]:
    return [
        _verdict(found, verification),
        _facts(found),
        "<h2>What was in force</h2>",
        in_force(found),
        "<h2>What was done</h2>",
        share(found),
        counted("Activations by rule", found, found.rules, "activations", note=_ACTIVATION),
        counted("Activations by vector", found, found.vectors, "activations"),
        counted("Activations by tenant", found, found.tenants, "activations"),
        _tenants(found),
        *(
            [
                counted(
                    "Would have acted, by rule",
                    found,
                    found.shadow,
                    "activations",
                    note=_SHADOW,
                    tokens=False,
                )
            ]
            if found.shadow
            else []
        ),
        "<h2>Score drift</h2>",
        scores(found) if found.scores else '<p class="note">No flag went up in this period.</p>',
        "<h2>Durations</h2>",
        latencies(found),
        "<h2>What went wrong</h2>",
        trouble(found),
        "<h2>The log</h2>",
        _streams(verification),
        made_note(time.time_ns() if made_ns is None else made_ns),
    ]


_ACTIVATION = (
    "An activation is a vector acting on a row over a range of tokens; a schedule makes one for each "
    "strength. Tokens are those over which it acted."
)
_SHADOW = "Of rules and requests in shadow: nothing was applied."


def _verdict(found: Period, verification: Verification | None) -> str:
    altered = [f"{found.altered:,} records do not fit to the record before them"] if found.altered else []
    if verification is None:
        return verdict(False, "Not verified", ["The log was not verified when this page was made."], altered)
    count = len(verification.findings)
    if count or altered:
        reasons = [str(finding) for finding in verification.findings[:_MOST_FINDINGS]] + altered
        more = f" The first {_MOST_FINDINGS}:" if count > _MOST_FINDINGS else ""
        return verdict(False, "Not to be relied on", [f"{count:,} findings of verification.{more}"], reasons)
    told = f"Every record of the log was verified: {verified(verification)}."
    notes = [f"{found.unfinished:,} rows have no end in the log: under way, or their process was killed."]
    return verdict(True, "The record is whole", [told, *(notes if found.unfinished else [])])


def _facts(found: Period) -> str:
    whole = found.steered.total / found.generated.total if found.generated.total else 0.0
    modes = ", ".join(f"{number:,} {mode}" for mode, number in found.modes.most_common(3))
    fired = sum(counts.total for counts in found.fired.values())
    acted = sum(counts.total for counts in found.rules.values())
    halts, backs = found.troubles.get("halted by a rule"), found.troubles.get("text taken back")
    errors = sum(counts.total for kind, counts in found.troubles.items() if kind in _ERRORS)
    lost = sum(drop.count for drop in found.drops)
    return facts(
        [
            ("requests admitted", f"{found.started.total:,}", modes),
            ("tokens written", f"{found.generated.total:,}", f"in {found.ended.total:,} rows that ended"),
            ("steered share", f"{whole:.1%}", f"{found.steered.total:,} tokens"),
            ("activations", f"{acted:,}", f"{fired:,} times a rule fired"),
            (
                "halts, revisions",
                f"{halts.total if halts else 0:,}, {backs.total if backs else 0:,}",
                "enforced",
            ),
            ("errors", f"{errors:,}", f"{lost:,} records lost"),
        ]
    )


_ERRORS = {
    "generation failed",
    "classifier failed",
    "classifier late",
    "classifier left alone",
    "policy refused",
}


def _tenants(found: Period) -> str:
    rows = []
    for tenant, requests in found.requests_of.most_common(_MOST_STREAMS):
        acted = found.tenants.get(tenant)
        rows.append(
            [
                tenant,
                f"{requests:,}",
                f"{acted.total:,}" if acted else "0",
                f"{acted.tokens:,}" if acted else "0",
            ]
        )
    more = len(found.requests_of) - len(rows)
    caption = "Tenants by requests" + (f"; {more:,} more are not listed" if more > 0 else "")
    listed = table(["tenant", "requests", "activations", "tokens"], rows, caption=caption) if rows else ""
    return unfold("Tenants by requests, as a table", listed) if rows else ""


def _streams(verification: Verification | None) -> str:
    if verification is None:
        return '<p class="note">Not verified: see guardsteer audit verify.</p>'
    rows = [
        [
            each.name,
            f"{each.records:,}",
            str(each.segments),
            "yes" if each.closed else "no",
            each.vouched_by or "itself alone",
        ]
        for each in verification.streams[:_MOST_STREAMS]
    ]
    more = len(verification.streams) - len(rows)
    caption = "Streams as verified" + (f"; {more:,} more are not listed" if more > 0 else "")
    listed = table(["stream", "records", "segments", "closed", "vouched for by"], rows, caption=caption)
    notes = [[each.file, str(each.line or ""), each.message] for each in verification.notes[:_MOST_STREAMS]]
    return listed + (table(["file", "line", "note"], notes, caption="Notes of verification") if notes else "")
