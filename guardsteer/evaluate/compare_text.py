"""A comparison as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from guardsteer.evaluate.compare import Comparison, Difference, Doing, RowComparison, Summary
from guardsteer.evaluate.intervals import Estimate

__all__ = ["format_comparison", "format_difference"]

_MOST_LISTED = 20
_DIGEST_CHARACTERS = 15
_VERBS = {"add": "adds", "subtract": "subtracts", "ablate": "ablates", "clamp": "clamps"}


def format_comparison(found: Comparison) -> str:
    """Return shares with their 95 % intervals, then rules, vectors, arms and the rows that disagree.

    Without control characters: what a request brought along cannot steer a terminal.
    """
    lines = [*_heading(found)]
    if found.summary is not None:
        lines += _first(found.rows)
        lines += _table(found.summary)
        lines += _arms(found.arms)
        lines += _rows(found.rows)
    lines += _listed("seen by the live policy alone", found.only_live)
    lines += _listed(f"seen by candidate {found.candidate} alone", found.only_candidate)
    lines += _listed(f"candidate {found.candidate} failed, not compared", found.failed)
    return "\n".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def _heading(found: Comparison) -> Iterator[str]:
    yield f"live policy and candidate {found.candidate}: {_count(len(found.rows), 'row')} seen by both"
    for (live, beside), rows in found.policies.items():
        yield f"  {_short(live)} and {_short(beside)}: {_count(rows, 'row')}"
    if len(found.policies) > 1:
        yield "  note: these are several versions; the shares below mix them"
    if found.summary is not None:
        yield f"rows that disagree   {_share(found.summary.rows)}"
        differing = sum(row.differing for row in found.rows)
        tokens = sum(row.tokens for row in found.rows)
        yield f"tokens that differ   {_percent(found.summary.tokens)}, {differing:,} of {tokens:,}"


def _first(rows: Sequence[RowComparison]) -> Iterator[str]:
    for row in rows:
        if row.differences:
            each = row.differences[0]
            yield f"first difference     {_name(row)}, {format_difference(each)}"
            return


def _table(summary: Summary) -> Iterator[str]:
    if summary.rules:
        width = max(len("rule"), *map(len, summary.rules))
        yield ""
        yield f"{'rule':<{width}}  {'fired live':>10}  {'candidate':>9}  rows in which it differs"
        for rule, count in summary.rules.items():
            yield f"{rule:<{width}}  {count.live:>10}  {count.candidate:>9}  {_share(count.differs)}"
    if summary.vectors:
        width = max(len("vector"), *map(len, summary.vectors))
        yield ""
        yield f"{'vector':<{width}}  {'tokens':>7}  rows in which it differs"
        for vector, used in summary.vectors.items():
            yield f"{vector:<{width}}  {used.tokens:>7}  {_share(used.differs)}"


def _arms(arms: Mapping[str, Summary]) -> Iterator[str]:
    if not arms:
        return
    width = max(len("arm"), *map(len, arms))
    yield ""
    yield f"{'arm':<{width}}  rows that disagree, and tokens that differ"
    for arm, summary in arms.items():
        yield f"{arm:<{width}}  {_share(summary.rows)}; {_percent(summary.tokens)}"


def _rows(rows: Sequence[RowComparison]) -> Iterator[str]:
    differing = [row for row in rows if row.disagrees]
    if not differing:
        return
    yield ""
    yield "rows that disagree"
    for row in differing[:_MOST_LISTED]:
        rules = ", ".join(f"{rule} ({_count(steps, 'step')})" for rule, steps in row.rules.items())
        yield f"  {_name(row)}: {row.differing} of {_count(row.tokens, 'token')}" + (
            f"; {rules}" if rules else ""
        )
        for each in row.differences[:3]:
            yield f"    {format_difference(each)}"
        if len(row.differences) > 3:
            yield f"    and {len(row.differences) - 3} more"
    if len(differing) > _MOST_LISTED:
        yield f"  and {len(differing) - _MOST_LISTED} more; --json has them all"


def _listed(what: str, requests: Sequence[str]) -> Iterator[str]:
    if requests:
        more = f" and {len(requests) - _MOST_LISTED} more" if len(requests) > _MOST_LISTED else ""
        yield ""
        yield f"{what}: {len(requests)} ({', '.join(requests[:_MOST_LISTED])}{more})"


def _name(row: RowComparison) -> str:
    return row.request + (f"/{row.sequence}" if row.sequence else "")


def format_difference(each: Difference, one: str = "live", other: str = "candidate") -> str:
    """Return what ``one`` and ``other`` did differently, and at which steps."""
    steps = f"step {each.first}" if each.first == each.last else f"steps {each.first} to {each.last}"
    # What both do is left out, and how they do it is told where nothing else tells them apart.
    alike = {doing[:3] for doing in each.live} & {doing[:3] for doing in each.candidate}
    sides = []
    for mine, theirs in ((each.live, each.candidate), (each.candidate, each.live)):
        own = [_doing(doing, exact=doing[:3] in alike) for doing in mine if doing not in theirs]
        sides.append(" and ".join(own) or ("does no more" if mine else "does nothing"))
    return f"{steps}: {one} {sides[0]}, {other} {sides[1]}"


def _doing(doing: Doing, *, exact: bool) -> str:
    how = f" ({doing.how})" if exact else ""
    if doing.operator == "halt":
        return f"halts{how}"
    if doing.operator == "revise":
        return f"takes back {doing.strength:g}"
    verb = _VERBS.get(doing.operator, doing.operator)
    return f"{verb} {doing.vector} at {doing.strength:g}{how}"


def _share(share: Estimate) -> str:
    return f"{round(share.value * share.rows)} of {share.rows}: {_percent(share)}"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _short(digest: str) -> str:
    return digest[:_DIGEST_CHARACTERS] + "..." if digest else "(unknown)"
