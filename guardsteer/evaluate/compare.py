"""Where the policy that acts and a candidate beside it disagree, told from the audit of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from guardsteer.audit import StoredEvent
from guardsteer.core.events import ActivationBegan
from guardsteer.errors import AuditError
from guardsteer.evaluate.intervals import Estimate, bootstrap, wilson
from guardsteer.evaluate.timeline import RowRecord, Turn, gather

__all__ = [
    "Comparison",
    "Difference",
    "Doing",
    "RowComparison",
    "Summary",
    "compare",
    "compare_rows",
    "first_apart",
]


Turns: TypeAlias = Mapping[str, list[Turn]]


class Doing(NamedTuple):
    """One thing that is done to a row at a step: a vector with its operator, or "halt" or "revise".

    ``how`` is all else that makes a difference: bounds, which vector of that name, where, which fallback.
    """

    vector: str
    operator: str
    strength: float = 0.0
    how: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Steps ``first`` to ``last`` at which the plans differ in the same way."""

    first: int
    last: int
    live: tuple[Doing, ...]
    candidate: tuple[Doing, ...]


@dataclass(frozen=True, slots=True)
class RowComparison:
    """One row under both policies. ``tokens`` were decided; ``rules`` and ``vectors`` count steps.

    A decision is one token: that of step 0 chooses the first one.
    """

    request: str
    sequence: int
    arm: str
    tokens: int
    differing: int
    differences: tuple[Difference, ...]
    rules: Mapping[str, int] = field(default_factory=dict)
    vectors: Mapping[str, int] = field(default_factory=dict)
    live_fired: tuple[str, ...] = ()
    candidate_fired: tuple[str, ...] = ()

    @property
    def disagrees(self) -> bool:
        """True where plans or rules differ at any step."""
        return bool(self.differing or self.rules)


@dataclass(frozen=True, slots=True)
class RuleCount:
    """In how many rows a rule fired under each policy, and the share in which it differed at some step."""

    live: int
    candidate: int
    differs: Estimate


@dataclass(frozen=True, slots=True)
class VectorCount:
    """The share of rows in which a vector's use differed, and over how many tokens."""

    differs: Estimate
    tokens: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Shares over some rows, with 95 % intervals: rows by Wilson's score, tokens by bootstrap over rows."""

    rows: Estimate
    tokens: Estimate
    rules: Mapping[str, RuleCount]
    vectors: Mapping[str, VectorCount]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows that both policies saw. ``only_*``: requests that one of them did not see.

    ``failed``: requests in which the candidate raised; they are not compared. ``policies`` counts rows for
    each pair of digests, live and candidate.
    """

    candidate: str
    policies: Mapping[tuple[str, str], int]
    rows: tuple[RowComparison, ...]
    only_live: tuple[str, ...]
    only_candidate: tuple[str, ...]
    failed: tuple[str, ...]
    summary: Summary | None
    arms: Mapping[str, Summary]


def compare(events: Iterable[StoredEvent], candidate: str | None = None) -> Comparison:
    """Return where live policy and ``candidate`` (default: the only one there is) disagree.

    Raises ``AuditError`` where the log has no candidate, or several and none is named.
    """
    gathered = gather(events)
    names = sorted({track for _, track in gathered.rows if track})
    name = _chosen(names, candidate)
    live, beside = (
        {key: row for (key, track), row in gathered.rows.items() if track == wanted and not _off(row)}
        for wanted in ("", name)
    )
    failed = {key for key, row in beside.items() if row.failed is not None}
    both = [key for key in live if key in beside and key not in failed]
    policies: dict[tuple[str, str], int] = {}
    for key in both:
        pair = (_digest(live[key]), _digest(beside[key]))
        policies[pair] = policies.get(pair, 0) + 1
    rows = tuple(compare_rows(live[key], beside[key]) for key in both)
    arms = sorted({row.arm for row in rows if row.arm})
    return Comparison(
        candidate=name,
        policies=policies,
        rows=rows,
        only_live=tuple(dict.fromkeys(key.request for key in live if key not in beside)),
        only_candidate=tuple(dict.fromkeys(key.request for key in beside if key not in live)),
        failed=tuple(dict.fromkeys(key.request for key in failed)),
        summary=_summary(rows),
        arms={arm: found for arm in arms if (found := _summary([row for row in rows if row.arm == arm]))},
    )


def _chosen(names: Sequence[str], wanted: str | None) -> str:
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names and wanted is not None:
        return wanted
    if not names:
        raise AuditError("the log holds no candidate policy: nothing ran beside the live one")
    asked = f"no candidate {wanted!r}" if wanted is not None else "several candidates"
    raise AuditError(f"the log holds {asked}; name one of {', '.join(names)}")


def _off(row: RowRecord) -> bool:
    """Tell whether the binding kept a policy from seeing a request at all."""
    return row.started is not None and row.started.mode == "off"


def _digest(row: RowRecord) -> str:
    return row.started.policy_digest if row.started is not None else ""


def compare_rows(live: RowRecord, beside: RowRecord) -> RowComparison:
    """Return where two records of a row disagree, over the steps of ``live``."""
    last = live.steps
    plans = _Plans(live, last), _Plans(beside, last)
    differences = []
    vectors: dict[str, int] = {}
    for first, end in _segments(last, *(plan.cuts for plan in plans)):
        one, other = plans[0].at(first), plans[1].at(first)
        if one == other:
            continue
        differences.append(Difference(first, end, tuple(sorted(one)), tuple(sorted(other))))
        for vector in {doing.vector for doing in one ^ other if doing.vector}:
            vectors[vector] = vectors.get(vector, 0) + end - first + 1
    arm = live.started.arm if live.started is not None else ""
    return RowComparison(
        request=live.key.request,
        sequence=live.key.sequence,
        arm=arm,
        tokens=last + 1,
        differing=sum(each.last - each.first + 1 for each in differences),
        differences=tuple(_merged(differences)),
        rules=dict(_rules_that_differ(live, beside, last)),
        vectors=vectors,
        live_fired=_fired(live),
        candidate_fired=_fired(beside),
    )


def _merged(differences: Sequence[Difference]) -> list[Difference]:
    """Join differences in a row that are the same."""
    joined: list[Difference] = []
    for each in differences:
        before = joined[-1] if joined else each
        same = (before.live, before.candidate) == (each.live, each.candidate)
        if joined and same and before.last + 1 == each.first:
            joined[-1] = replace(before, last=each.last)
        else:
            joined.append(each)
    return joined


def _segments(last: int, *cuts: Iterable[int]) -> Iterator[tuple[int, int]]:
    starts = sorted({0, *(cut for some in cuts for cut in some if 0 < cut <= last)})
    yield from zip(starts, [start - 1 for start in starts[1:]] + [last], strict=True)


class _Plans:
    """What a policy did, or would have done, at each step of a row."""

    def __init__(self, row: RowRecord, last: int) -> None:
        # What single rules would have done is no part of a policy that acts.
        acts = row.live is None and not (row.started is not None and row.started.mode == "shadow")
        self._spans: list[tuple[int, int, Doing]] = []
        for act in row.acts:
            if not acts or act.began.mode == "enforce":
                first = row.step_at(act.first, act.revised)
                end = last if act.last is None else row.step_at(act.last, act.revised)
                self._spans.append((first, end, _doing(act.began)))
        halts = [halt for halt in row.halts if not acts or halt.mode == "enforce"][:1]
        self._spans += [(halt.step, last, Doing("", "halt", how=halt.fallback_digest)) for halt in halts]
        revised = [each for each in row.revisions if not acts or each.mode == "enforce"]
        self._spans += [(each.step, each.step, Doing("", "revise", each.dropped)) for each in revised]
        self.cuts = {first for first, _, _ in self._spans} | {end + 1 for _, end, _ in self._spans}

    def at(self, step: int) -> frozenset[Doing]:
        return frozenset(doing for first, end, doing in self._spans if first <= step <= end)


def _doing(began: ActivationBegan) -> Doing:
    places = " ".join(map(str, (*began.blocks, *began.heads)))
    parts = [began.vector_digest, f"{began.site} {places}"]
    if began.bounds:
        bounds = ("any" if bound is None else f"{bound:g}" for bound in began.bounds)
        parts.insert(0, " to ".join(bounds))
    if began.keep_norm:
        parts.append("length kept")
    return Doing(began.vector, began.operator, began.applied, ", ".join(parts))


def _rules_that_differ(live: RowRecord, beside: RowRecord, last: int) -> Iterator[tuple[str, int]]:
    for rule, spans in _apart(live.rules, beside.rules, last):
        yield rule, sum(end - first + 1 for first, end in spans)


def first_apart(live: Turns, beside: Turns, last: int) -> dict[str, int]:
    """Return the first of the steps 0 to ``last`` at which each flag or rule that differs does."""
    return {name: spans[0][0] for name, spans in _apart(live, beside, last)}


def _apart(live: Turns, beside: Turns, last: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the flags or rules that differ at some step, and the steps from first to last."""
    for name in sorted(live.keys() | beside.keys()):
        turns = live.get(name, []), beside.get(name, [])
        spans = []
        for first, end in _segments(last, *([turn.step for turn in some] for some in turns)):
            states = [[turn.state for turn in some if turn.step <= first][-1:] == [True] for some in turns]
            if states[0] != states[1]:
                spans.append((first, end))
        if spans:
            yield name, spans


def _fired(row: RowRecord) -> tuple[str, ...]:
    return tuple(rule for rule, turns in row.rules.items() if any(turn.state for turn in turns))


def _summary(rows: Sequence[RowComparison]) -> Summary | None:
    if not rows:
        return None
    rules = sorted({rule for row in rows for rule in (*row.live_fired, *row.candidate_fired)})
    vectors = sorted({vector for row in rows for vector in row.vectors})
    return Summary(
        rows=wilson(sum(row.disagrees for row in rows), len(rows)),
        tokens=bootstrap(
            [(row.differing, row.tokens) for row in rows],
            lambda drawn: float(drawn[:, 0].sum() / drawn[:, 1].sum()),
        ),
        rules={
            rule: RuleCount(
                sum(rule in row.live_fired for row in rows),
                sum(rule in row.candidate_fired for row in rows),
                wilson(sum(rule in row.rules for row in rows), len(rows)),
            )
            for rule in rules
        },
        vectors={
            vector: VectorCount(
                wilson(sum(vector in row.vectors for row in rows), len(rows)),
                sum(row.vectors.get(vector, 0) for row in rows),
            )
            for vector in vectors
        },
    )
