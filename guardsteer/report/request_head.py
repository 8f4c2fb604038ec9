"""What a reader of a request's page must know first: is the record whole, who, when, under what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guardsteer.audit import StoredEvent, Verification
from guardsteer.audit.wording import describe
from guardsteer.core.events import Attached, PolicyAdopted
from guardsteer.evaluate.explain import Explanation
from guardsteer.evaluate.timeline import RowRecord
from guardsteer.pages.page import card, facts, table, verdict
from guardsteer.report.axis import clock
from guardsteer.report.said import Passage
from guardsteer.report.style import verified

__all__ = ["duration_ms", "record_table", "request_card", "request_facts", "request_verdict", "rules_table"]

_MOST_RECORDS = 2000
_MOST_FINDINGS = 20
_MS = 1_000_000


def request_verdict(
    rows: Sequence[RowRecord],
    verification: Verification | None,
    explained: Sequence[Explanation],
    passages: Sequence[Passage],
) -> str:
    """Return whether what the page shows can be relied on, and why not."""
    streams = sorted({row.key.stream for row in rows})
    findings = verification.findings if verification is not None else ()
    mine = [finding for finding in findings if any(finding.file.startswith(name) for name in streams)]
    reasons = [str(finding) for finding in mine[:_MOST_FINDINGS]]
    reasons += [told for each in explained for told in each.disagreements]
    if any(not row.intact for row in rows):
        reasons.append("a record of this request does not fit to the record before it")
    if any(passage.check == "differs" for passage in passages):
        reasons.append("the supplied text is not the text of the log")
    if reasons:
        return verdict(False, "Not to be relied on", ["What was found:"], reasons)
    if findings:
        told = "Nothing was found in the stream of this request, but elsewhere in the log:"
        others = [str(finding) for finding in findings[:_MOST_FINDINGS]]
        return verdict(False, "Not all of the log is whole", [told], others)
    if verification is None:
        return verdict(False, "Not verified", ["The log was not verified when this page was made."])
    more = [
        f"Every record of the log was verified: {verified(verification)}. "
        f"This request is in stream {', '.join(streams)}."
    ]
    vouched = sorted({each.vouched_by for each in verification.streams if each.name in streams})
    if any(vouched):
        more.append(f"The stream was begun with the trusted key {', '.join(vouched)}.")
    return verdict(True, "The record is whole", more)


def request_facts(rows: Sequence[RowRecord]) -> str:
    """Return the figures of a request, all rows together."""
    ended = [row.ended for row in rows if row.ended is not None]
    written = sum(each.generated_tokens for each in ended)
    steered = sum(each.steered_tokens for each in ended)
    fired = sorted({rule for row in rows for rule, turns in row.rules.items() if any(t.state for t in turns)})
    halts = sum(halt.mode == "enforce" for row in rows for halt in row.halts)
    backs = sum(back.mode == "enforce" for row in rows for back in row.revisions)
    broken = sum(len(row.broken) + (row.failed is not None) for row in rows)
    took = [took for row in rows if (took := duration_ms(row)) is not None]
    shown = [
        (
            "tokens written",
            f"{written:,}",
            ", ".join(sorted({each.reason for each in ended})) or "no end in the log",
        ),
        ("of these steered", f"{steered:,}", f"{steered / written:.0%} of the tokens" if written else ""),
        ("rules fired", str(len(fired)), ", ".join(fired)),
        ("halts, revisions", f"{halts}, {backs}", "enforced"),
        ("errors", str(broken), "classifiers and generation"),
    ]
    if took:
        shown.append(("time", f"{max(took):,.0f} ms", "from admission to the last record"))
    return facts(shown)


def duration_ms(row: RowRecord) -> float | None:
    """Return how long a row took, by the monotonic clock where the log has it, else by UTC; None: no end."""
    started, end = row.started, row.ended or row.failed
    if started is None or end is None:
        return None
    if started.monotonic_ns and end.monotonic_ns:
        return (end.monotonic_ns - started.monotonic_ns) / _MS
    return (end.time_ns - started.time_ns) / _MS


def request_card(
    row: RowRecord, adopted: PolicyAdopted | None, attached: Attached | None, library: str
) -> str:
    """Return who asked for what, when, under which policy, on which model."""
    return card([(name, value) for name, value in _facts_of(row, adopted, attached, library) if value])


def _facts_of(
    row: RowRecord, adopted: PolicyAdopted | None, attached: Attached | None, library: str
) -> Iterator[tuple[str, str]]:
    started = row.started
    yield "request", row.key.request
    if started is not None:
        yield "admitted", f"{clock(started.time_ns)} UTC"
    end = row.ended or row.failed
    yield "ended", f"{clock(end.time_ns)} UTC" if end is not None else "not in the log"
    if started is not None:
        yield "tenant", started.tenant or str(started.context.get("tenant", "")) or "none stated"
        yield "principal", started.principal or str(started.context.get("principal", "")) or "none stated"
        yield (
            "context",
            _pairs({k: v for k, v in started.context.items() if k not in ("tenant", "principal")}),
        )
        yield "mode", started.mode
        yield "arm", started.arm
        yield (
            "overrides",
            ", ".join(f"{v}: asked {a:g}, got {g:g}" for v, (a, g) in started.overrides.items()),
        )
    if adopted is not None:
        yield "policy", f"{adopted.policy}, {adopted.policy_digest}"
        yield "approved", _approval(adopted)
        yield "in force since", f"{clock(adopted.time_ns)} UTC, by {adopted.source}"
    elif started is not None:
        yield "policy", f"{started.policy_digest} (its text is not in the log)"
    if attached is not None:
        yield "model", _pairs(attached.model)
        yield "ran on", _pairs(attached.versions)
        yield "device", attached.device
    yield "guardsteer", library
    holder = adopted or attached
    if holder is not None:
        yield "vectors", _pairs(holder.vectors)
        yield "classifiers", _pairs(holder.classifiers)
    if started is not None:
        yield "settings", _pairs(started.settings)
        yield "seed", "" if started.seed is None else str(started.seed)
        yield "prompt", f"{started.prompt_tokens} tokens, {started.prompt_digest or 'no digest'}"
        yield "guard", started.guard
    if row.ended is not None:
        yield "output", f"{row.ended.generated_tokens} tokens, {row.ended.output_digest or 'no digest'}"
    yield "stream", row.key.stream


def _approval(adopted: PolicyAdopted) -> str:
    if not adopted.approved_by:
        return "by nobody: the policy was not signed"
    return f"by {adopted.approved_by} at {adopted.approved_at}, key {adopted.approval_key}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def rules_table(found: Explanation) -> str:
    """Return why each rule fired or rested, step by step, as the log's own records explain it."""
    rows, marked = [], []
    for story in found.rules:
        if not story.stretches:
            rows.append([story.rule, "all", story.mode, story.when, ""])
            marked.append(False)
        for stretch in story.stretches:
            steps = (
                str(stretch.first) if stretch.first == stretch.last else f"{stretch.first} to {stretch.last}"
            )
            state = "fires" if stretch.fires else "rests"
            state += f" ({stretch.condition})" if stretch.condition in ("undecided", "unknown") else ""
            state += " (shadow)" if story.mode == "shadow" else ""
            parts = "; ".join(_part(part) for part in stretch.parts)
            rows.append([story.rule, steps, state, parts or story.when, "; ".join(stretch.effects)])
            marked.append(stretch.fires)
    heads = ["rule", "steps", "state", "because", "what became of it"]
    return table(heads, rows, marked, caption="Why each rule fired or rested, worked out again from the log")


def _part(part: Any) -> str:
    if part.truth == "unknown":
        return f"{part.text}: not in the log"
    truth = {"true": "up", "false": "down"}.get(part.truth, part.truth) if part.moves else part.truth
    told = f"{part.text} is {truth} since step {part.since}"
    return f"{told} ({part.moves})" if part.moves else told


def record_table(events: Sequence[StoredEvent]) -> str:
    """Return every record of the request with its place in the log."""
    rows = []
    for stored in events[:_MOST_RECORDS]:
        label, details = describe(stored.event)
        broken = "" if stored.intact else " (does not fit to the record before it)"
        sequence = getattr(stored.event, "sequence", 0)
        rows.append([str(stored.seq) + broken, clock(stored.event.time_ns), str(sequence), label, details])
    more = f", the first {_MOST_RECORDS:,} of {len(events):,}" if len(events) > _MOST_RECORDS else ""
    heads = ["record", "time, UTC", "row", "kind", "what it says"]
    return table(heads, rows, caption=f"Records of this request{more}")
