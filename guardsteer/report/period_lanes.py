"""A period's lanes over time: what was in force, what was done and how often, what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from guardsteer.audit.wording import short_digest
from guardsteer.core.events import PolicyAdopted, Stopped
from guardsteer.pages.lanes import Lane, Level, Mark, lanes
from guardsteer.pages.page import table, unfold
from guardsteer.report.axis import TimeAxis, clock
from guardsteer.report.period_data import Counts, Period

__all__ = ["counted", "in_force", "share", "trouble"]

_MOST_LANES = 12
_GAP = 0.08
_CEILING = 0.92


def in_force(found: Period) -> str:
    """Return which policies admitted requests when, when guards were on, and when the kill switch was."""
    axis, end = found.axis, found.until_ns
    shown, rows = [], []
    for look, (name, spans) in enumerate(_policy_spans(found).items()):
        adopted = spans[0][2]
        marks = []
        for first, last, each in spans:
            told = f"{name} from {clock(first)} to {clock(last)} UTC, by {each.source}, {_approved(each)}"
            marks.append(_span(axis, first, last, told, look=look))
            rows.append(
                [
                    each.policy,
                    each.policy_digest,
                    each.track or "in force",
                    clock(first),
                    clock(last),
                    each.source,
                    _approved(each),
                ]
            )
        told = f"{name}: in force from {clock(spans[0][0])} to {clock(spans[-1][1])} UTC"
        shown.append(Lane(name, tuple(marks), told, _approved(adopted)))
    stops = list(_stops(found))
    marks = [
        _span(
            axis,
            first,
            min(last, end),
            f"every strength was zero from {clock(first)} to {clock(last)} UTC: {why}",
            look=1,
        )
        for first, last, why in stops
    ]
    rows += [["kill switch", "", "stopped", clock(first), clock(last), why, ""] for first, last, why in stops]
    shown.append(
        Lane(
            "kill switch",
            tuple(marks),
            f"kill switch: {_times(len(stops))}",
            _times(len(stops)),
        )
    )
    if found.drops:
        lost = sum(drop.count for drop in found.drops)
        gaps = [
            _span(
                axis,
                d.first_ns,
                d.last_ns,
                f"{d.count:,} records lost from {clock(d.first_ns)} to {clock(d.last_ns)} UTC: {d.reason}",
                look=1,
                ghost=True,
            )
            for d in found.drops
        ]
        shown.append(Lane("gaps", tuple(gaps), f"gaps: {lost:,} records lost", f"{lost:,} records lost"))
    heads = ["policy", "digest", "as", "from, UTC", "to, UTC", "by", "approved"]
    told = table(heads, rows, caption="What was in force, and when the kill switch was on") if rows else ""
    return lanes("Policies, kill switch, gaps", shown, tuple(axis.ticks()), axis="UTC", table=told)


def _number(count: int, nouns: str) -> str:
    return f"{count:,} {nouns.removesuffix('s') if count == 1 else nouns}"


def _times(count: int) -> str:
    return "never on" if not count else "on once" if count == 1 else f"on {count} times"


def _policy_spans(found: Period) -> dict[str, list[tuple[int, int, PolicyAdopted]]]:
    """Return when each policy was in force, by name, digest and candidate; from its adoption to the next."""
    ends = {each.guard: each.time_ns for each in found.detached}
    spans: dict[str, list[tuple[int, int, PolicyAdopted]]] = {}
    for place, each in enumerate(found.policies):
        after = (
            later.time_ns
            for later in found.policies[place + 1 :]
            if (later.guard, later.track) == (each.guard, each.track)
        )
        last = min(next(after, found.until_ns), ends.get(each.guard, found.until_ns), found.until_ns)
        first = max(each.time_ns, found.since_ns)
        if last > first:
            name = f"{each.policy} {short_digest(each.policy_digest)}"
            spans.setdefault(f"{name} (candidate {each.track})" if each.track else name, []).append(
                (first, last, each)
            )
    return spans


def _approved(each: PolicyAdopted) -> str:
    return f"approved by {each.approved_by}" if each.approved_by else "not signed"


def _stops(found: Period) -> Iterator[tuple[int, int, str]]:
    """Yield when the kill switch of a guard was on: from its first cause until all causes were taken back."""
    causes: dict[str, set[str]] = {}
    since: dict[str, tuple[int, str]] = {}
    for each in found.switches:
        mine = causes.setdefault(each.guard, set())
        if isinstance(each, Stopped):
            mine.add(each.by)
            since.setdefault(
                each.guard, (each.time_ns, f"by {each.by}" + (f": {each.reason}" if each.reason else ""))
            )
            continue
        mine.discard(each.by)
        if not mine and each.guard in since:
            first, why = since.pop(each.guard)
            if each.time_ns >= found.since_ns:
                yield max(first, found.since_ns), each.time_ns, why
    for first, why in since.values():
        yield max(first, found.since_ns), found.until_ns, f"{why}; not taken back"


def _span(axis: TimeAxis, first: int, last: int, told: str, *, look: int, ghost: bool = False) -> Mark:
    return Mark(
        axis.place(first), max(axis.place(last), axis.place(first)), told, "bar", look=look, ghost=ghost
    )


def counted(
    title: str, found: Period, groups: Mapping[str, Counts], noun: str, *, note: str = "", tokens: bool = True
) -> str:
    """Return a lane of bars for each of ``groups``, the most frequent first; others together."""
    ranked = sorted(groups.items(), key=lambda pair: (-pair[1].total, pair[0]))
    drawn = ranked[:_MOST_LANES]
    if rest := ranked[_MOST_LANES:]:
        drawn.append((f"{len(rest)} others", _sum(counts for _, counts in rest)))
    shown = []
    for look, (name, counts) in enumerate(drawn):
        most = max(counts.buckets.values(), default=0)
        remark = _number(counts.total, noun) + (f", {_number(counts.tokens, 'tokens')}" if tokens else "")
        remark += f"; at most {most:,} in a bar"
        marks = tuple(_bars(found.axis, counts.buckets, most, name, noun, look))
        shown.append(Lane(name, marks, f"{name}: {remark}, {_peak(found.axis, counts)}", remark, size="mid"))
    heads = [title.rsplit(" ", 1)[-1], noun, *(["tokens"] if tokens else []), "most in one bucket"]
    rows = [
        [name, f"{counts.total:,}", *([f"{counts.tokens:,}"] if tokens else []), _peak(found.axis, counts)]
        for name, counts in drawn
    ]
    told = table(heads, rows, caption=f"{title}: totals")
    scale = f"Bars count {noun} in every {found.axis.width}; each lane has a scale of its own. "
    return lanes(title, shown, tuple(found.axis.ticks()), axis="UTC", note=scale + note, table=told)


def _sum(many: Iterable[Counts]) -> Counts:
    total = Counts()
    for counts in many:
        total.total += counts.total
        total.tokens += counts.tokens
        total.buckets.update(counts.buckets)
    return total


def _peak(axis: TimeAxis, counts: Counts) -> str:
    if not counts.buckets:
        return "none"
    bucket, number = max(counts.buckets.items(), key=lambda pair: (pair[1], -pair[0]))
    return f"{number:,} at {axis.name(bucket)}"


def _bars(
    axis: TimeAxis, values: Mapping[int, float], most: float, name: str, noun: str, look: int
) -> Iterator[Mark]:
    """Yield a bar for each bucket that has anything; ``noun`` "" is for shares."""
    for bucket in sorted(values):
        value = values[bucket]
        if not value:
            continue
        left, right = axis.edges(bucket)
        gap = _GAP * (right - left)
        figure = _number(int(value), noun) if noun else f"{value:.1%}"
        told = f"{name}, {axis.name(bucket)}: {figure}"
        yield Mark(left + gap, right - gap, told, "bar", 0.0, _CEILING * value / most, look)


def share(found: Period) -> str:
    """Return requests, tokens and the share of tokens that were written while something acted."""
    axis = found.axis
    if not found.started.total and not found.ended.total:
        return '<p class="note">No request began or ended in this period.</p>'
    part = {
        bucket: found.steered.buckets[bucket] / number
        for bucket, number in found.generated.buckets.items()
        if number
    }
    whole = found.steered.total / found.generated.total if found.generated.total else 0.0
    shown = [
        _one(axis, "requests admitted", found.started, "requests", 0),
        _one(axis, "tokens written", found.generated, "tokens", 1),
        Lane(
            "steered share",
            tuple(_bars(axis, part, 1.0, "steered share", "", 2)),
            f"steered share: {whole:.1%} of all tokens",
            f"{whole:.1%} of all tokens",
            (Level(_CEILING, "100 %"),),
            "mid",
        ),
    ]
    rows = [
        [
            axis.name(bucket),
            f"{found.started.buckets[bucket]:,}",
            f"{found.generated.buckets[bucket]:,}",
            f"{found.steered.buckets[bucket]:,}",
            f"{part[bucket]:.1%}" if bucket in part else "",
        ]
        for bucket in sorted(set(found.started.buckets) | set(found.generated.buckets))
    ]
    heads = [f"{axis.width} from, UTC", "requests", "tokens", "steered", "share"]
    told = table(heads, rows, caption="Requests, tokens and steered share over time")
    note = f"In every {axis.width}. Requests count when they were admitted, tokens when their request ended."
    return lanes("Requests and steered share", shown, tuple(axis.ticks()), axis="UTC", note=note, table=told)


def _one(axis: TimeAxis, name: str, counts: Counts, noun: str, look: int) -> Lane:
    most = max(counts.buckets.values(), default=0)
    marks = tuple(_bars(axis, counts.buckets, most, name, noun, look))
    told = f"{name}: {counts.total:,}, {_peak(axis, counts)}"
    return Lane(name, marks, told, f"{_number(counts.total, noun)}; at most {most:,} in a bar", size="mid")


def trouble(found: Period) -> str:
    """Return halts, revisions, errors and gaps over time, and the first of them one by one."""
    if not found.troubles:
        return '<p class="note">No halt, revision, error or lost record is in the log of this period.</p>'
    drawn = counted("Halts, revisions, errors and gaps", found, found.troubles, "events", tokens=False)
    rows = [[clock(each.time_ns), each.kind, each.told] for each in found.happenings]
    more = f"; {found.unlisted:,} more are counted above and not listed" if found.unlisted else ""
    listed = table(["time, UTC", "kind", "what happened"], rows, caption=f"The first {len(rows):,}{more}")
    return drawn + unfold("One by one", listed)
