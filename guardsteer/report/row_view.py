"""One audited row, ready to be drawn: steps and positions, spans of flags and rules, scores, strengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from guardsteer.core.events import ActivationBegan
from guardsteer.core.policy import Policy
from guardsteer.evaluate.timeline import Act, RowRecord, Turn

__all__ = [
    "Acting",
    "Point",
    "Span",
    "actings",
    "ends_text",
    "letters_of",
    "points_of",
    "spans_of",
    "strength_text",
    "writer_of",
]


_LETTERS = 26


@dataclass(frozen=True, slots=True)
class Acting:
    """A vector that acted over steps ``first_step`` to ``last_step``, at positions ``first`` to ``last``.

    What was taken back with text is among them: it acted, at steps of its own. ``open``: the log does not
    hold its end. ``prompt``: at positions before the last one of the prompt, over which step 0 goes too.
    """

    began: ActivationBegan
    first: int
    last: int
    first_step: int
    last_step: int
    open: bool
    prompt: bool


@dataclass(frozen=True, slots=True)
class Span:
    """From ``first`` to ``last`` step a flag or rule was in one state; None: undecided."""

    first: int
    last: int
    state: bool | None
    scores: Mapping[str, float | None]
    mode: str


@dataclass(frozen=True, slots=True)
class Point:
    """A score that the log holds, at ``step``; None: it was missing. ``why`` it was told."""

    step: int
    score: float | None
    why: str


def actings(row: RowRecord) -> tuple[Acting, ...]:
    """Return all that acted on a row, or would have, in the order of the log."""
    return tuple(_acting(row, act) for act in row.acts)


def _acting(row: RowRecord, act: Act) -> Acting:
    last_step = row.steps if act.last is None else row.step_at(act.last, act.revised)
    first_step = row.step_at(act.first, act.revised)
    last = row.prompt_tokens - 1 + last_step if act.last is None else act.last
    return Acting(
        began=act.began,
        first=act.first,
        last=max(last, act.first),
        first_step=first_step,
        last_step=max(last_step, first_step),
        open=act.last is None,
        prompt=act.first < row.prompt_tokens - 1,
    )


def writer_of(row: RowRecord, token: int) -> int:
    """Return the step that wrote output token ``token`` (from 0) as it stayed after all revisions."""
    position = row.prompt_tokens - 1 + token
    revisions = [each for each in row.revisions if each.mode == "enforce"]
    after = 0
    for number, revision in enumerate(revisions, start=1):
        if position >= revision.position - 1:
            after = number
    return row.step_at(position, after)


def spans_of(turns: Sequence[Turn], steps: int) -> Iterator[Span]:
    """Yield the spans over which something was up, fired or held, or was undecided, up to step ``steps``."""
    for place, turn in enumerate(turns):
        last = turns[place + 1].step - 1 if place + 1 < len(turns) else steps
        if turn.state is not False and last >= turn.step:
            yield Span(turn.step, last, turn.state, turn.scores, turn.mode)


def points_of(row: RowRecord, policy: Policy | None) -> dict[str, list[Point]]:
    """Return every score that the log holds of a row, by signal; each step, score and reason once.

    A flag's signal is known from the policy; without one it is named after the flag.
    """
    flags = {flag.name: flag for flag in policy.flags} if policy is not None else {}
    found: dict[str, dict[Point, None]] = {flag.signal: {} for flag in flags.values()}
    for name, turns in row.flags.items():
        signal = flags[name].signal if name in flags else f"signal of {name}"
        for turn in _told(turns):
            word = "undecided" if turn.state is None else "up" if turn.state else "down"
            _add(found, signal, turn.step, turn.scores[""], f"{name} {word}")
    for rule, turns in row.rules.items():
        for turn in _told(turns):
            for signal, score in turn.scores.items():
                _add(found, signal, turn.step, score, f"{rule} {'fired' if turn.state else 'released'}")
    for condition, turns in row.conditions.items():
        for turn in _told(turns):
            for signal, score in turn.scores.items():
                word = "undecided" if turn.state is None else "true" if turn.state else "false"
                _add(found, signal, turn.step, score, f"{condition} {word}")
    return {signal: sorted(points, key=lambda point: point.step) for signal, points in found.items()}


def _told(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Yield the turns that the log told itself: those that put a state back after a revision say no score."""
    seen: set[int] = set()
    for turn in turns:
        # A turn that was put back holds the very scores of an earlier one.
        if turn.scores and id(turn.scores) not in seen:
            yield turn
        seen.add(id(turn.scores))


def _add(found: dict[str, dict[Point, None]], signal: str, step: int, score: float | None, why: str) -> None:
    found.setdefault(signal, {})[Point(step, score, why)] = None


def letters_of(policy: Policy | None, row: RowRecord) -> dict[str, str]:
    """Return a letter for each vector, those of the policy first; numbers where letters run out."""
    known = [spec.name for spec in policy.vectors] if policy is not None else []
    names = dict.fromkeys([*known, *(act.began.vector for act in row.acts)])
    return {
        name: chr(ord("A") + place) if place < _LETTERS else str(place + 1)
        for place, name in enumerate(names)
    }


def strength_text(began: ActivationBegan) -> str:
    """Return what a vector does and how strongly, in few words."""
    if began.operator == "clamp":
        return f"clamp {began.vector}"
    if began.operator == "ablate":
        return f"ablate {began.vector} {began.applied:g}"
    return f"{began.vector} {began.applied:+.4g}"


def ends_text(mine: Sequence[ActivationBegan]) -> str:
    """Return what one vector did from its first strength to its last, and how many there were between."""
    first, last = mine[0], mine[-1]
    strengths = {each.applied for each in mine}
    if len(strengths) == 1:
        return strength_text(first)
    count = f" ({len(strengths)} strengths)" if len(strengths) > 2 else ""
    return f"{strength_text(first)} to {last.applied:+.3g}{count}"
