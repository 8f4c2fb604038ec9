"""The engine agrees with its definitions on policies drawn at random, through rewinds and revisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.core.plan import Plan
from guardsteer.core.policy import Mode, Policy
from guardsteer.rules import Change, Program, RowRules, compile_policy
from guardsteer.rules.parts import written
from guardsteer.rules.syntax import Compare, atoms
from tests.rules.random_policies import OUTPUTS, SIGNALS, VECTORS, contexts, policies, signals
from tests.rules.reference import Reference, Seen
from tests.rules.support import NAN

moves = st.lists(
    st.fixed_dictionaries(
        {
            "signals": signals,
            "sentence": st.booleans(),
            "back": st.sampled_from([0, 0, 0, 0, 1, 2, 5]),
            "drop": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=14,
)
overridden = st.fixed_dictionaries({}, optional={name: st.sampled_from([0.0, 0.2, 0.9]) for name in VECTORS})
modes = st.sampled_from(["enforce", "enforce", "shadow"])


@dataclass
class Run:
    """A row and what is known of it, so that it can be compared with the reference at every step."""

    program: Program
    reference: Reference
    row: RowRules
    history: list[Seen] = field(default_factory=list)
    revisions: list[tuple[int, int]] = field(default_factory=list)
    kept: list[tuple[RowRules, list[tuple[int, int]], int]] = field(default_factory=list)
    last: int = -1
    told: list[Change] = field(default_factory=list)

    @classmethod
    def of(cls, policy: Policy, given: dict[str, Any], probes: dict[str, int], explain: bool = False) -> Run:
        program = compile_policy(policy, OUTPUTS, probes=probes)
        reference = Reference(policy, program.signal_index, program.channels, **given)
        row = program.start(given["context"], given["overrides"], given["mode"], explain=explain)
        return cls(program, reference, row)

    def step(self, move: dict[str, Any]) -> tuple[Plan, Plan]:
        """Take a step and return the plans before and after the pass."""
        ended = self.history[-1].sentences if self.history else 0
        seen = Seen(self.last + 1, move["signals"], ended + bool(self.history and move["sentence"]))
        self.kept.append((self.row.fork(), list(self.revisions), self.last))
        self.history.append(seen)
        self.last += 1
        if not self.program.has_within:
            plan = self.row.before(seen.signals, seen.sentences)
            self.told = list(self.row.changes)
            return plan, plan
        blind = [NAN if name.startswith("p.") else seen.signals[i] for i, name in enumerate(SIGNALS)]
        first = self.row.before(blind, seen.sentences)
        self.told = list(self.row.changes)
        last = self.row.within(seen.signals)
        self.told += self.row.changes
        return first, last

    def back(self, steps: int) -> None:
        """Undo the newest steps altogether, as after drafted tokens that were rejected."""
        for _ in range(min(steps, len(self.kept))):
            self.row, self.revisions, self.last = self.kept.pop()
            self.history.pop()

    def revise(self, rule: int, drop: int) -> None:
        """Take back the newest steps as a revision: its count and the step numbers stay."""
        row, revisions, last = self.row, [*self.revisions, (rule, self.last)], self.last
        self.back(drop)
        self.row = self.row.fork()
        self.row.take_revisions(row)
        self.row.revised(rule)
        self.revisions, self.last = revisions, last


@settings(max_examples=300, deadline=None)
@given(policies(), moves, contexts, overridden, modes)
def test_the_plan_is_the_one_of_the_definitions(
    policy: Policy, steps: list[dict[str, Any]], context: dict[str, Any], overrides: Any, mode: Mode
) -> None:
    """Flags, conditions, conflicts, schedules, modes, overrides, revisions and rewinds, all at once."""
    run = Run.of(policy, {"context": context, "overrides": overrides, "mode": mode}, {})
    before: Plan | None = None
    for move in steps:
        run.back(move["back"])
        plan, _ = run.step(move)
        assert plan == run.reference.plan(run.history, run.revisions)
        if before is not None and not move["back"]:
            assert (plan is before) == (plan == before)
        before = plan
        if plan.revise >= 0:
            run.revise(plan.revise, move["drop"])
            before = None


@settings(max_examples=200, deadline=None)
@given(policies(), moves, contexts, modes)
def test_what_is_decided_within_a_pass_is_what_the_definitions_say(
    policy: Policy, steps: list[dict[str, Any]], context: dict[str, Any], mode: Mode
) -> None:
    """Vectors that were applied on earlier blocks stay as they are where the row ends in the pass."""
    run = Run.of(policy, {"context": context, "overrides": {}, "mode": mode}, {"p": 2})
    for move in steps:
        run.back(move["back"])
        first, last = run.step(move)
        expected = run.reference.plan(run.history, run.revisions)
        stopped = expected.halt >= 0 or expected.revise >= 0
        assert [plan.halt >= 0 for plan in (last, expected)] == [expected.halt >= 0] * 2
        assert (last.revise >= 0) == (expected.revise >= 0)
        assert last.hold_back == expected.hold_back
        for channel, late in enumerate(run.program.within_channels):
            assert not (late and first.strengths[channel])
            assert late or first.strengths[channel] == last.strengths[channel]
            if late or not stopped:
                assert last.strengths[channel] == expected.strengths[channel]
            if not stopped:
                assert last.rules[channel] == expected.rules[channel]
        if not stopped and (expected.shadow is None or expected.shadow.halt < 0 > expected.shadow.revise):
            assert last == expected
        if last.revise >= 0:
            run.revise(last.revise, move["drop"])


@settings(max_examples=200, deadline=None)
@given(policies(), moves, contexts, modes, st.booleans())
def test_what_is_told_is_how_flags_rules_and_comparisons_changed(
    policy: Policy, steps: list[dict[str, Any]], context: dict[str, Any], mode: Mode, late: bool
) -> None:
    """A row that is told its changes from the first step on knows at each step what the reference knows."""
    given_ = {"context": context, "overrides": {}, "mode": mode}
    run = Run.of(policy, given_, {"p": 2} if late else {}, explain=True)
    reference = run.reference
    flags: dict[str, bool] = {}
    rules: dict[str, bool] = {}
    conditions: dict[str, str] = {}
    for move in steps:
        run.step(move)
        for change in run.told:
            if change.kind == "flag":
                assert flags.get(change.name, False) != change.up
                flags[change.name] = change.up
            elif change.kind == "rule":
                assert rules.get(change.name, False) != change.up
                rules[change.name] = change.up
                assert change.mode == reference.mode_of(int(change.name[1:]))
            else:
                assert conditions.get(change.name) != change.truth
                assert change.up == (change.truth == "true")
                conditions[change.name] = change.truth
        truths = reference.flags(run.history)
        for name, truth in truths.items():
            assert flags.get(name, False) == (truth is True)
        for number, rule in enumerate(policy.rules):
            assert rules.get(rule.id, False) == reference.fires(number, run.history)
            if reference.mode_of(number) == "off":
                continue
            for atom in atoms(reference.condition(number)):
                if isinstance(atom, Compare):
                    truth = reference.truth(atom, run.history)
                    assert conditions[written(atom)] == word(truth)
        read = {a.name for a in every_atom(reference, policy) if hasattr(a, "name")}
        for name in read & set(truths):
            assert (conditions.get(name) == "undecided") == (truths[name] is None)


def every_atom(reference: Reference, policy: Policy) -> list[Any]:
    """Return what the rules that are not off are made of."""
    active = [i for i in range(len(policy.rules)) if reference.mode_of(i) != "off"]
    return [atom for i in active for atom in atoms(reference.condition(i))]


def word(truth: bool | None) -> str:
    return "undecided" if truth is None else "true" if truth else "false"
