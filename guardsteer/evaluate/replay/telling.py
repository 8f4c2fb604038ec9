"""A replay as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from guardsteer.evaluate.compare_text import format_difference
from guardsteer.evaluate.replay.deciding import Decisions
from guardsteer.evaluate.replay.differences import short
from guardsteer.evaluate.replay.results import Parting, Replay, Verdict, Version

__all__ = ["format_replay"]

_WIDTH = 100
_MOST_LISTED = 5
_COMPANY = {
    "single": "alone, as it was",
    "whole": "with all rows of its call",
    "stand-ins": "in its place among stand-ins",
    "alone": "alone, as it was not",
}


def format_replay(found: Replay) -> str:
    """Return what a replay found, then what would have been said otherwise.

    Without control characters: what a model wrote cannot steer a terminal.
    """
    lines = [*_heading(found), *_tokens(found), *_decisions(found)]
    if found.today is not None:
        lines += _today(found.today)
    for version in found.versions:
        lines += _version(version)
    if not found.versions and found.parting is None:
        lines += ["", *_wrapped("said", found.replayed.text)]
    return "\n".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def _heading(found: Replay) -> Iterator[str]:
    row = f", row {found.sequence}" if found.sequence else ""
    how = "as recorded" if found.as_recorded else "decided anew"
    yield (
        f"request {found.request}{row}: policy {found.policy} {short(found.policy_digest)}, {how}, "
        f"{_COMPANY[found.company]}"
    )
    for note in found.notes:
        yield f"note: {note}"
    for accepted in found.accepted:
        yield f"accepted: {accepted}"


def _tokens(found: Replay) -> Iterator[str]:
    count = len(found.replayed.tokens)
    if found.same:
        yield f"tokens      the same, all {count}"
        yield from (f"  though {doubt}" for doubt in found.doubts)
        return
    if found.parting is None:
        yield "tokens      NOT THE SAME; at which they part, only the recorded output could tell"
    else:
        yield f"tokens      NOT THE SAME from token {found.parting.token} on"
        yield from _sides(found.parting, "recorded", "replayed")
        if found.lead is not None:
            yield f"  there the replayed token's logit is above the recorded one's by {found.lead:.3g}"
    yield from (f"  because {doubt}" for doubt in found.doubts)
    if not found.doubts:
        yield "  nothing explains it: all that decides tokens is as it was recorded"


def _decisions(found: Replay) -> Iterator[str]:
    if not found.as_recorded:
        yield f"decisions   {_told(found.decisions)}"
    elif found.decisions.same:
        yield f"strengths   the same at steps 0 to {found.decisions.last}"
    else:
        yield f"strengths   {_told(found.decisions)}"
    yield from _apart(found.decisions, "recorded", "replayed")


def _today(verdict: Verdict) -> Iterator[str]:
    name = f"{verdict.policy} {short(verdict.policy_digest)}"
    yield ""
    if verdict.error:
        yield f"policy {name} failed on it: {verdict.error}"
    elif verdict.mode == "off":
        yield f"policy {name} would not see this request: its binding says off"
    else:
        yield f"policy {name} on the same text: {_told(verdict.decisions)}"
        yield from _apart(verdict.decisions, "recorded", "it")


def _told(decisions: Decisions) -> str:
    if decisions.same:
        return f"the same at steps 0 to {decisions.last}"
    return f"NOT THE SAME from step {decisions.parts_at} on"


def _apart(decisions: Decisions, one: str, other: str) -> Iterator[str]:
    for kind, turns in (("flag", decisions.flags), ("rule", decisions.rules)):
        for name, step in turns.items():
            yield f"  {kind} {name}: from step {step} on"
    for each in decisions.plans[:_MOST_LISTED]:
        yield f"  {format_difference(each, one, other)}"
    if len(decisions.plans) > _MOST_LISTED:
        yield f"  and {len(decisions.plans) - _MOST_LISTED} more; --json has them all"


def _version(version: Version) -> Iterator[str]:
    yield ""
    if version.parting is None:
        yield f"{version.name}: the same, all {len(version.said.tokens)} tokens"
        return
    yield f"{version.name}: another from token {version.parting.token} on"
    yield from _sides(version.parting, "said", "instead")


def _sides(parting: Parting, one: str, other: str) -> Iterator[str]:
    if parting.both:
        yield from _wrapped("both", parting.both)
    yield from _wrapped(one, parting.one)
    yield from _wrapped(other, parting.other)


def _wrapped(name: str, text: str) -> Iterator[str]:
    lines = textwrap.wrap(text.strip(), _WIDTH - 12) or ["(nothing)"]
    for place, line in enumerate(lines):
        yield f"  {name if place == 0 else '':<9} {line}"
