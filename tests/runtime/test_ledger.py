"""What a row's steps come to in the audit, whatever objects hold their plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardsteer.classify.pace.guarded import Incident
from guardsteer.core.events import Event
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Position
from guardsteer.rules import parse_policy
from guardsteer.rules.telling import Change
from guardsteer.runtime.ledger import Ledger, LedgerKit, Spans
from guardsteer.runtime.past import Taken
from guardsteer.runtime.steps import Note, Step, with_written
from guardsteer.runtime.terms import Terms
from guardsteer.steer.composing import Composer
from tests.runtime.telling import kinds
from tests.steer.slots import slot

PROMPT = 5
SPANS = Spans.of(PROMPT, [(1, 3)])
SCORE = 0.625
POLICY = parse_policy(
    "guardsteer: 1\nname: told\nfallback: 'No.'\n"
    "classifiers: {word: {literals: [hm], on: all}}\n"
    "flags: {said: {signal: word.match, enter: 0.75, exit: 0.5}}\n"
    "vectors: {one: {use: ./none}, two: {use: ./none}}\n"
    "rules:\n"
    "  - {id: push, when: said, add: {vector: one, strength: 0.5}}\n"
    "  - {id: stop, when: said, halt: true}\n"
    "  - {id: again, when: said, revise: {tokens: 2, most: 2, then: halt}}\n",
    "told.yaml",
    outputs=lambda _: ("match",),
)
PUSH, STOP, AGAIN = range(3)
IDLE = Plan((0.0, 0.0, 0.0), (-1, -1, -1))
PUSHING = Plan((0.5, 0.0, 0.0), (PUSH, -1, -1))


@dataclass
class Row:
    """A chain of steps as ``guardsteer.runtime.row`` makes it, and what is told of it.

    ``fresh``: each step has a plan object of its own.
    """

    fresh: bool

    def __post_init__(self) -> None:
        self.events: list[Event] = []
        where: dict[str, Sequence[Position]] = {
            "one": ("generated",),
            "two": ("all",),
            "three": ("assistant", "last_prompt_token"),
        }
        slots = [slot(n, positions=positions, name=name) for n, (name, positions) in enumerate(where.items())]
        kit = LedgerKit(
            policy=POLICY,
            scores_of=lambda rule, signals: {f"rule {rule}": signals[0]},
            composer=Composer(slots, 0.6),
            append=self.events.append,
            fallback_digest="",
            requested={},
        )
        self.ledger = Ledger(kit, "r", 0, SPANS, Terms(chosen={"one": (0.7, 0.6)}))
        self.step: Step | None = None
        self.index = -1
        self.revisions = 0

    def advance(self, plan: Plan, *changes: Change, noted: bool = True, incident: str = "") -> None:
        """Decide the next step."""
        at = self.step
        self._decide(at, 0 if at is None else at.written + 1, plan, changes, noted=noted, incident=incident)

    def _decide(
        self,
        parent: Step | None,
        written: int,
        plan: Plan,
        changes: tuple[Change, ...] = (),
        *,
        noted: bool = True,
        incident: str = "",
    ) -> None:
        self.index += 1
        given = replace(plan) if self.fresh else plan
        self.step = Step(parent, self.index, 7, self.index, given, written)
        befallen: Any = (("word", Incident(incident)),) if incident else ()  # type: ignore[arg-type]
        if noted or changes or befallen or parent is None:
            self.step.note = Note(changes, (SCORE,), befallen)

    @property
    def newest(self) -> Step:
        assert self.step is not None
        return self.step

    def tell(self, behind: int = 0) -> bool:
        """Tell all but the newest ``behind`` steps; return what the ledger does."""
        return self.ledger.tell(self.newest, self.index - behind)

    def take_back(self, count: int, plan: Plan) -> None:
        """Take back ``count`` tokens, or what there are, and decide the last one's step that stays anew."""
        newest = self.newest
        kept = max(0, newest.written - count)
        self.revisions += 1
        self.ledger.take_back(newest, Taken(AGAIN, self.index, kept, newest.written - kept, self.revisions))
        if newest.written:
            self._decide(with_written(newest, max(kept - 1, 0)), kept, plan)

    def told(self) -> list[dict[str, Any]]:
        """Return what was told, and forget it."""
        found = [{"kind": type(event).__name__, **msgspec.structs.asdict(event)} for event in self.events]
        self.events.clear()
        return [{name: value for name, value in event.items() if name != "time_ns"} for event in found]


def flag(up: bool) -> Change:
    """Return that the policy's flag turned."""
    return Change("flag", "said", up, SCORE)


def test_a_flag_that_turns_under_a_plan_that_stays_is_all_that_is_told() -> None:
    row = Row(fresh=False)
    row.advance(IDLE)
    row.advance(PUSHING)
    row.tell()
    assert kinds(row.told()) == ["ActivationBegan"]
    row.advance(PUSHING, flag(True))
    row.advance(PUSHING, flag(False))
    row.tell()
    assert [(event["kind"], event["step"], event["threshold"]) for event in row.told()] == [
        ("FlagChanged", 2, 0.75),
        ("FlagChanged", 3, 0.5),
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rules": (AGAIN, -1, -1)}, ["ActivationEnded", "ActivationBegan"]),
        ({"halt": STOP}, ["RowHalted"]),
        ({"shadow": Plan((0.5, 0.3, 0.0), (PUSH, PUSH, -1))}, ["ActivationBegan"]),
        ({"shadow": Plan((0.5, 0.0, 0.0), (PUSH, -1, -1), STOP)}, ["RowHalted"]),
        ({"shadow": Plan((0.5, 0.0, 0.0), (PUSH, -1, -1), revise=AGAIN)}, ["RowRevised"]),
        ({"hold_back": 2}, []),
    ],
)
def test_a_plan_of_the_same_strengths_is_told_for_what_else_differs(
    change: dict[str, Any], expected: list[str]
) -> None:
    row = Row(fresh=False)
    row.advance(IDLE)
    row.advance(PUSHING)
    row.tell()
    row.told()
    row.advance(replace(PUSHING, **change))
    row.tell()
    assert kinds(row.told()) == expected
    row.advance(PUSHING)
    row.tell()
    undone = {"shadow": ["ActivationEnded"] if expected == ["ActivationBegan"] else [], "rules": expected}
    assert kinds(row.told()) == undone.get(next(iter(change)), [])


def test_a_step_that_is_not_certain_yet_is_told_later() -> None:
    row = Row(fresh=False)
    row.advance(IDLE)
    row.advance(IDLE, flag(True))
    assert row.tell(behind=1)
    assert not row.told()
    row.advance(IDLE, noted=False)
    assert not row.tell(behind=1)
    assert kinds(row.told()) == ["FlagChanged"]
    assert not row.tell()
    assert not row.told()


def test_a_plan_that_comes_back_after_another_begins_anew() -> None:
    row = Row(fresh=False)
    for plan in (IDLE, PUSHING, IDLE, PUSHING):
        row.advance(plan)
    row.tell()
    events = row.told()
    assert kinds(events) == ["ActivationBegan", "ActivationEnded", "ActivationBegan"]
    assert [event["position"] for event in events if "position" in event] == [PROMPT, PROMPT + 2]


def test_what_acted_on_text_that_was_taken_back_begins_anew_under_the_same_plan() -> None:
    row = Row(fresh=False)
    shadowed = replace(PUSHING, shadow=Plan((0.5, 0.3, 0.0), (PUSH, PUSH, -1), STOP, AGAIN))
    for plan in (IDLE, shadowed, shadowed, shadowed):
        row.advance(plan)
    row.tell()
    begun = ["RowHalted", "RowRevised", "ActivationBegan", "ActivationBegan"]
    assert kinds(row.told()) == begun
    row.take_back(2, shadowed)
    assert kinds(row.told()) == ["ActivationEnded", "ActivationEnded", "RowRevised"]
    row.tell()
    events = row.told()
    assert kinds(events) == begun
    assert [event["position"] for event in events if event["kind"] == "ActivationBegan"] == [PROMPT] * 2


def test_the_prompts_step_is_told_for_its_own_positions_under_the_plan_of_a_generated_one() -> None:
    row = Row(fresh=False)
    everywhere = Plan((0.5, 0.25, 0.3), (PUSH, PUSH, PUSH))
    row.advance(IDLE)
    row.advance(everywhere)
    row.tell()
    row.told()
    row.take_back(1, everywhere)
    row.told()
    row.tell()
    began = {event["vector"]: event["position"] for event in row.told()}
    assert began == {"two": PROMPT - 1, "three": PROMPT - 1}


Move: TypeAlias = tuple[Any, ...]
rules = st.tuples(*[st.sampled_from([PUSH, AGAIN])] * 3)
strengths = st.tuples(*[st.sampled_from([0.0, 0.5, -0.3])] * 3)
shadows = st.builds(
    Plan, strengths, rules, halt=st.sampled_from([-1, STOP]), revise=st.sampled_from([-1, AGAIN])
)
plans = st.builds(
    Plan,
    strengths,
    rules,
    halt=st.sampled_from([-1, -1, -1, STOP]),
    revise=st.sampled_from([-1, -1, AGAIN]),
    hold_back=st.sampled_from([-1, 2]),
    shadow=st.none() | shadows,
)


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Plan], list[Move]]:
    """Return a few plans, some of which differ in little, and what happens to a row under them."""
    first = draw(plans)
    few = [first, replace(first, shadow=draw(shadows)), replace(first, hold_back=3), draw(plans)]
    which = st.sampled_from(few)
    changes = st.lists(st.builds(flag, st.booleans()), max_size=2)
    befallen = st.sampled_from(["", "", "", "late", "caught_up", "failed"])
    step = st.tuples(st.just("step"), which, st.booleans(), changes, befallen)
    tell = st.tuples(st.just("tell"), st.integers(0, 2))
    back = st.tuples(st.just("back"), st.integers(1, 3), which)
    return few, draw(st.lists(step | step | tell | tell | back, min_size=4, max_size=24))


def play(first: Plan, moves: Sequence[Move], *, fresh: bool) -> list[dict[str, Any]]:
    row = Row(fresh)
    row.advance(first)
    for kind, *given_ in moves:
        if kind == "step":
            plan, noted, changes, incident = given_
            row.advance(plan, *changes, noted=noted, incident=incident)
        elif kind == "tell":
            row.tell(*given_)
        else:
            row.take_back(*given_)
    row.tell()
    row.ledger.close(row.newest, row.index)
    return row.told()


@settings(max_examples=400, deadline=None)
@given(stories())
def test_all_is_told_once_and_alike_whether_or_not_steps_share_one_plan_object(
    story: tuple[list[Plan], list[Move]],
) -> None:
    few, moves = story
    events = play(few[0], moves, fresh=False)
    assert events == play(few[0], moves, fresh=True)
    turned = [change.up for kind, *given_ in moves if kind == "step" for change in given_[2]]
    assert [event["up"] for event in events if event["kind"] == "FlagChanged"] == turned
