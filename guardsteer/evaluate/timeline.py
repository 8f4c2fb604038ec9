"""What the audit tells of each row, put in order: flags, comparisons, rules, activations, ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from guardsteer.audit import StoredEvent
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    ConditionChanged,
    FlagChanged,
    PolicyAdopted,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    Resumed,
    RowHalted,
    RowRevised,
    RuleFired,
    RuleReleased,
    Stopped,
)

__all__ = ["Act", "Gathered", "RowKey", "RowRecord", "Turn", "gather"]

Scores: TypeAlias = Mapping[str, "float | None"]
State: TypeAlias = "bool | None"


class RowKey(NamedTuple):
    """One row: ``run`` tells apart requests that came under one id."""

    stream: str
    request: str
    sequence: int
    run: int


class Turn(NamedTuple):
    """From ``step`` on something is up, fires or holds; None: undecided."""

    step: int
    state: State
    scores: Scores
    mode: str = "enforce"


@dataclass(slots=True)
class Act:
    """A vector acting for a rule at positions ``first`` to ``last`` (None: the end is not in the log)."""

    began: ActivationBegan
    first: int
    last: int | None = None
    revised: int = 0


@dataclass(slots=True)
class RowRecord:
    """All that the audit tells of a row under one policy; a candidate's has the ``live`` one beside it."""

    key: RowKey
    track: str
    started: RequestStarted | None = None
    ended: RequestEnded | None = None
    failed: RequestFailed | None = None
    last_step: int = 0
    first_ns: int = 0
    last_ns: int = 0
    flags: dict[str, list[Turn]] = field(default_factory=dict)
    conditions: dict[str, list[Turn]] = field(default_factory=dict)
    rules: dict[str, list[Turn]] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    halts: list[RowHalted] = field(default_factory=list)
    revisions: list[RowRevised] = field(default_factory=list)
    late: list[ClassifierLate] = field(default_factory=list)
    broken: list[ClassifierFailed] = field(default_factory=list)
    intact: bool = True
    live: RowRecord | None = None

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt; 0 where its beginning is not in the log."""
        started = self.started or (self.live.started if self.live is not None else None)
        return started.prompt_tokens if started is not None else 0

    @property
    def steps(self) -> int:
        """The last step that was decided, as far as the log tells."""
        if self.live is not None:
            return max(self.last_step, self.live.steps)
        if any(halt.mode == "enforce" for halt in self.halts):
            return self.last_step
        written = self.ended.generated_tokens - 1 if self.ended is not None else 0
        # A revision costs the tokens that it drops, and a step that decides anew where there were any.
        taken_back = sum(
            each.dropped + 1 for each in self.revisions if each.mode == "enforce" and each.dropped
        )
        return max(self.last_step, written + taken_back, 0)

    def step_at(self, position: int, revised: int) -> int:
        """Return the step that decided ``position`` after ``revised`` revisions.

        A revision that drops tokens is followed by a decision on the last position that stayed, where writing
        goes on; one at the prompt drops none, and changes no count.
        """
        step = max(0, position - self.prompt_tokens + 1)
        revisions = self.revisions if self.live is None else self.live.revisions
        enforced = [revision for revision in revisions if revision.mode == "enforce"][:revised]
        done = [revision for revision in enforced if revision.dropped]
        if not done:
            return step
        last = done[-1]
        return last.step + 1 + max(0, position - (last.position - 1))


@dataclass(slots=True)
class Gathered:
    """Rows by key and track, the policies that were adopted and what the kill switch did, in order."""

    rows: dict[tuple[RowKey, str], RowRecord] = field(default_factory=dict)
    policies: list[PolicyAdopted] = field(default_factory=list)
    switches: list[Stopped | Resumed] = field(default_factory=list)

    def of_request(self, request: str) -> list[RowRecord]:
        """Return the records of a request, in the order of the log."""
        return [row for row in self.rows.values() if row.key.request == request]


def gather(events: Iterable[StoredEvent], request: str | None = None) -> Gathered:
    """Return what ``events`` tell, of ``request`` alone where it is given."""
    found = Gathered()
    runs: dict[tuple[str, str, int, str], int] = {}
    tracks: set[str] = set()
    for stored in events:
        event = stored.event
        if isinstance(event, PolicyAdopted):
            found.policies.append(event)
        elif isinstance(event, Stopped | Resumed):
            found.switches.append(event)
        name = getattr(event, "request", None)
        if name is None or (request is not None and name != request):
            continue
        track, sequence = getattr(event, "track", ""), getattr(event, "sequence", 0)
        same = (stored.stream, name, sequence, track)
        if isinstance(event, RequestStarted):
            runs[same] = runs.get(same, -1) + 1
        key = RowKey(stored.stream, name, sequence, runs.setdefault(same, 0))
        row = found.rows.get((key, track))
        if row is None:
            live = found.rows.get((key, "")) if track else None
            row = found.rows[key, track] = RowRecord(key, track, first_ns=event.time_ns, live=live)
        row.intact = row.intact and stored.intact
        row.last_ns = event.time_ns
        tracks.add(track)
        if isinstance(event, RowRevised) and event.mode == "enforce" and event.dropped and not track:
            for each in tracks:
                if (key, each) in found.rows:
                    _rewind(found.rows[key, each], event)
        _take(row, event)
    return found


def _take(row: RowRecord, event: object) -> None:
    match event:
        case RequestStarted():
            row.started = event
        case RequestEnded():
            row.ended = event
        case RequestFailed():
            row.failed = event
        case FlagChanged(step=step, flag=flag, up=up, score=score):
            state: State = None if not up and score is None else up
            _turn(row, row.flags, flag, Turn(step, state, {"": score}))
        case ConditionChanged(step=step, condition=condition, truth=truth, scores=scores):
            _turn(row, row.conditions, condition, Turn(step, _TRUTHS.get(truth), scores))
        case RuleFired(step=step, rule=rule, scores=scores, mode=mode):
            _turn(row, row.rules, rule, Turn(step, True, scores, mode))
        case RuleReleased(step=step, rule=rule, scores=scores, mode=mode):
            _turn(row, row.rules, rule, Turn(step, False, scores, mode))
        case ActivationBegan(position=position):
            row.acts.append(Act(event, position, revised=_revised(row)))
            row.last_step = max(row.last_step, row.step_at(position, _revised(row)))
        case ActivationEnded():
            _end(row, event)
        case RowHalted(step=step):
            row.halts.append(event)
            row.last_step = max(row.last_step, step)
        case RowRevised(step=step):
            row.revisions.append(event)
            row.last_step = max(row.last_step, step)
        case ClassifierLate():
            row.late.append(event)
        case ClassifierFailed():
            row.broken.append(event)


_TRUTHS: Mapping[str, State] = {"true": True, "false": False}


def _turn(row: RowRecord, turns: dict[str, list[Turn]], name: str, turn: Turn) -> None:
    row.last_step = max(row.last_step, turn.step)
    turns.setdefault(name, []).append(turn)


def _rewind(row: RowRecord, event: RowRevised) -> None:
    """Put flags, comparisons and rules back to what they were before the last token that stayed was read.

    Candidates go back with the policy that acts.
    That token is decided anew at the next step, and the log tells what changes from there.
    """
    at_start = event.position <= row.prompt_tokens
    before = -1 if at_start else row.step_at(event.position - 2, _revised(row))
    for turns in (*row.flags.values(), *row.conditions.values(), *row.rules.values()):
        place = bisect_right(turns, before, key=lambda turn: turn.step)
        state = turns[place - 1] if place else Turn(0, False, {})
        if turns[-1] is not state:
            turns.append(state._replace(step=event.step + 1))


def _revised(row: RowRecord) -> int:
    if row.live is not None:
        return _revised(row.live)
    return sum(revision.mode == "enforce" for revision in row.revisions)


def _end(row: RowRecord, event: ActivationEnded) -> None:
    """Close the activation that the event ends: the latest open one of its vector, rule and mode."""
    for act in reversed(row.acts):
        began = act.began
        if act.last is None and (began.vector, began.rule, began.mode) == (
            event.vector,
            event.rule,
            event.mode,
        ):
            act.last = event.last
            return
