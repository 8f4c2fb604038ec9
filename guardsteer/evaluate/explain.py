"""Why each rule did or did not fire at each step of a request, told from the audit alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from guardsteer.audit import StoredEvent
from guardsteer.core.events import PolicyAdopted, Stopped
from guardsteer.core.policy import Policy, RuleSpec
from guardsteer.errors import AuditError
from guardsteer.evaluate.effects import effects_of
from guardsteer.evaluate.timeline import Gathered, RowRecord, gather
from guardsteer.evaluate.truths import Truths
from guardsteer.rules import parse_policy
from guardsteer.rules.parts import Truth, conditions_of, parts_of, truth_of, written
from guardsteer.rules.syntax import Condition

__all__ = ["Explanation", "Part", "RuleStory", "Stretch", "explain", "narrowed"]


@dataclass(frozen=True, slots=True)
class Part:
    """One flag, comparison or request key of a condition: its truth ("unknown": the log does not tell).

    ``since``: the step from which on it is so. ``scores`` as told at that step. ``moves``: what moves a flag.
    """

    text: str
    truth: str
    since: int
    scores: Mapping[str, float | None] = field(default_factory=dict)
    moves: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps ``first`` to ``last``, over which nothing about a rule changed.

    ``fires`` is what the audit recorded, ``condition`` what the parts come to. ``effects``: what became of
    the rule's actions.
    """

    first: int
    last: int
    fires: bool
    condition: str
    parts: tuple[Part, ...]
    effects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleStory:
    """A rule over all steps of a row; ``mode`` "off": it was not evaluated."""

    rule: str
    when: str
    mode: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a row went as it did under one policy; ``track`` is "" for the policy that acts.

    ``disagreements``: where what the audit recorded of a rule is not what its parts come to.
    """

    request: str
    sequence: int
    track: str
    policy: str
    policy_digest: str
    approved: str
    mode: str
    arm: str
    last_step: int
    end: str
    rules: tuple[RuleStory, ...]
    happenings: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def explain(events: Sequence[StoredEvent], request: str) -> list[Explanation]:
    """Return an explanation for each row of ``request``, live and candidate policies apart.

    ``events`` are a log's records (``guardsteer.audit.read``), those of other requests are passed over.
    Of several requests under one id, the last is explained. Raises ``AuditError`` where the log has no
    such request, or not the policy that it ran under.
    """
    gathered = gather(events, request)
    rows = gathered.of_request(request)
    if not rows:
        raise AuditError(f"the log holds no record of request {request!r}")
    newest: dict[tuple[int, str], RowRecord] = {(row.key.sequence, row.track): row for row in rows}
    earlier = len(rows) - len(newest)
    note = (f"{earlier} earlier row(s) under this id are not explained; the last is",) if earlier else ()
    return [_explain_row(gathered, row, note) for row in newest.values()]


def narrowed(found: Explanation, *, step: int | None = None, rule: str | None = None) -> Explanation:
    """Return an explanation of one ``step`` or one ``rule`` alone, where these are given."""
    rules = tuple(
        replace(
            story,
            stretches=tuple(
                each for each in story.stretches if step is None or each.first <= step <= each.last
            ),
        )
        for story in found.rules
        if rule in (None, story.rule)
    )
    return replace(found, rules=rules)


def _explain_row(gathered: Gathered, row: RowRecord, notes: tuple[str, ...]) -> Explanation:
    adopted = _policy_of(gathered, row)
    policy = parse_policy(adopted.text, f"the audited policy {adopted.policy}")
    truths = Truths(policy, row)
    disagreements: list[str] = []
    stories = []
    modes = _modes_of(adopted)
    whole = row.started.mode if row.started is not None else "enforce"
    for rule, condition in zip(policy.rules, conditions_of(policy), strict=True):
        mode = "off" if whole == "off" else modes.get(rule.id, "enforce")
        if mode == "off":
            stories.append(RuleStory(rule.id, written(condition), mode, ()))
            continue
        mode = _told_mode(row, rule.id) or ("shadow" if whole == "shadow" or row.track else mode)
        stretches = tuple(_stretches(policy, row, truths, rule, condition, mode))
        stories.append(RuleStory(rule.id, written(condition), mode, stretches))
        disagreements += _disagreements(rule, stretches)
    started = row.started
    if not row.intact:
        notes = (*notes, "lines of this request were altered: see guardsteer audit verify")
    if started is None:
        notes = (*notes, "the beginning of this request is not in the log")
    return Explanation(
        request=row.key.request,
        sequence=row.key.sequence,
        track=row.track,
        policy=adopted.policy,
        policy_digest=adopted.policy_digest,
        approved=f"{adopted.approved_by} at {adopted.approved_at}" if adopted.approved_by else "",
        mode=started.mode if started is not None else "",
        arm=started.arm if started is not None else "",
        last_step=row.steps,
        end=_end_of(row),
        rules=tuple(stories),
        happenings=tuple(_happenings(gathered, row)),
        disagreements=tuple(disagreements),
        notes=notes,
    )


def _policy_of(gathered: Gathered, row: RowRecord) -> PolicyAdopted:
    wanted = row.started.policy_digest if row.started is not None else ""
    same = [policy for policy in gathered.policies if policy.track == row.track]
    found = [policy for policy in same if policy.policy_digest == wanted] if wanted else same
    if not found:
        raise AuditError(
            f"the log does not hold the policy {wanted or '(unknown)'} that request {row.key.request!r} ran "
            "under; it was written before policies were kept in the log, or that part of it is gone"
        )
    return found[-1]


def _modes_of(adopted: PolicyAdopted) -> Mapping[str, str]:
    modes = adopted.binding.get("rules", {})
    return modes if isinstance(modes, dict) else {}


def _told_mode(row: RowRecord, rule: str) -> str:
    turns = row.rules.get(rule)
    return turns[-1].mode if turns else ""


def _stretches(
    policy: Policy, row: RowRecord, truths: Truths, rule: RuleSpec, condition: Condition, mode: str
) -> Iterator[Stretch]:
    """Cut the steps where the rule or a part of its condition changed."""
    parts = parts_of(condition)
    turns = row.rules.get(rule.id, [])
    cuts = {0, *(turn.step for turn in turns)}
    for part in parts:
        cuts.update(truths.cuts(part))
    starts = sorted(cut for cut in cuts if cut <= row.steps)
    for first, last in zip(starts, [start - 1 for start in starts[1:]] + [row.steps], strict=True):
        fires = truths.fires(rule.id, first)

        def told(part: Condition, at: int = first) -> Truth:
            return truths.of(part, at)

        unknown = any(truths.word(part, first) == "unknown" for part in parts)
        truth = truth_of(condition, told)
        word = "unknown" if truth is None and unknown else truths.name(truth)
        yield Stretch(
            first,
            last,
            fires,
            word,
            tuple(_part(truths, part, first) for part in parts),
            tuple(effects_of(policy, row, rule, (first, last), fires, mode)),
        )


def _part(truths: Truths, part: Condition, step: int) -> Part:
    since, scores = truths.since(part, step)
    return Part(written(part), truths.word(part, step), since, scores, truths.moves(part))


def _disagreements(rule: RuleSpec, stretches: Sequence[Stretch]) -> Iterator[str]:
    before = False
    for stretch in stretches:
        expected = before
        if stretch.condition in ("true", "false"):
            expected = stretch.condition == "true"
        elif stretch.condition == "undecided":
            protects = (
                bool(rule.disable) or rule.halt or rule.revise is not None or rule.hold_back is not None
            )
            expected = {"closed": protects, "open": False, "last_state": before}[rule.on_error]
        if stretch.condition != "unknown" and expected != stretch.fires:
            yield (
                f"steps {stretch.first} to {stretch.last}: the parts of {rule.id} come to "
                f"{stretch.condition}, but the log says that it {'fired' if stretch.fires else 'rested'}"
            )
        before = stretch.fires


def _protects(rule: RuleSpec) -> bool:
    return bool(rule.disable) or rule.halt or rule.revise is not None or rule.hold_back is not None


def _end_of(row: RowRecord) -> str:
    if row.failed is not None:
        return f"failed: {row.failed.error}"
    if row.ended is None:
        return "not in the log"
    ended = row.ended
    return f"{ended.generated_tokens} tokens, {ended.steered_tokens} steered, {ended.reason}"


def _happenings(gathered: Gathered, row: RowRecord) -> Iterator[str]:
    for halt in row.halts:
        what = "halted the row" if halt.mode == "enforce" else "would have halted the row"
        yield f"step {halt.step}: {halt.rule} {what}"
    for revision in row.revisions:
        what = "took back" if revision.mode == "enforce" else "would have taken back"
        yield f"step {revision.step}: {revision.rule} {what} {revision.dropped} token(s)"
    for broken in row.broken:
        yield f"step {broken.step}: the classifier {broken.classifier} failed: {broken.error}"
    for late in row.late:
        yield f"steps {late.step} to {late.until}: the classifier {late.classifier} was late"
    yield from _stops(gathered, row)


def _stops(gathered: Gathered, row: RowRecord) -> Iterator[str]:
    """Yield when the kill switch was on during the row; it is on while any of its causes says so."""
    guard = row.started.guard if row.started is not None else ""
    causes: dict[str, Stopped] = {}
    since: Stopped | None = None
    for switch in gathered.switches:
        if switch.guard != guard or switch.time_ns > row.last_ns:
            continue
        if isinstance(switch, Stopped):
            causes[switch.by] = switch
            since = since or switch
            continue
        causes.pop(switch.by, None)
        if not causes and since is not None:
            if switch.time_ns >= row.first_ns:
                yield f"{_stopped(since, row)}, taken back during it by {switch.by}"
            since = None
    if since is not None:
        yield _stopped(since, row)


def _stopped(stopped: Stopped, row: RowRecord) -> str:
    began = "before" if stopped.time_ns < row.first_ns else "during"
    reason = f": {stopped.reason}" if stopped.reason else ""
    return f"the kill switch was on since {began} this request (by {stopped.by}{reason})"
