"""A row that goes on in strides does what it does when it decides every step by itself."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

import guardsteer
from guardsteer.classify.probe import Probe
from guardsteer.core.plan import Plan
from guardsteer.core.policy import Policy, ReviseSpec, RuleSpec, SteerSpec
from guardsteer.host import fingerprint
from guardsteer.rules import compile_policy
from guardsteer.runtime import strides
from guardsteer.runtime.probing import PlacedProbe, ProbeBank
from guardsteer.runtime.row import Reading, Row, RowKit, Step
from guardsteer.runtime.strides import DECIDED, READ, UNREAD
from guardsteer.runtime.terms import Terms
from guardsteer.runtime.text import Vocabulary
from tests.debugged import number_debugged
from tests.models import WIDTH, tiny
from tests.rules.random_policies import OUTPUTS, calm_policies, policy_of
from tests.runtime.harness import byte_tokenizer, policy_file, random_vector
from tests.runtime.telling import PROMPTS, kinds, run, told

STRIDE = strides.STRIDE
compiled = pytest.mark.skipif(STRIDE is None, reason="the extension was not built here")

TOKENIZER = byte_tokenizer()
TOKENS = {character: TOKENIZER(character)["input_ids"][-1] for character in "abcdefghij!"}
END = 2
SCORES = {"a": 0.1, "b": 0.3, "c": 0.45, "d": 0.45, "e": 0.55, "f": 0.7, "g": 0.72, "h": 0.5, "i": 1.0}


@dataclass
class Scripted:
    """A classifier whose scores are those of the last character; it raises at an exclamation mark."""

    outputs: tuple[str, ...]
    digest: str = "b3:test"

    def start(self) -> ScriptedState:
        """Return a state that has read nothing."""
        return ScriptedState(len(self.outputs))


class ScriptedState:
    """What was read last."""

    def __init__(self, outputs: int, last: str = "") -> None:
        self.outputs, self.last = outputs, last

    def push(self, text: str) -> None:
        """Append a text."""
        if "!" in text and self.outputs == 2:
            raise ValueError("no exclamation marks")
        self.last = text[-1]

    def scores(self) -> Sequence[float]:
        """Return the scores."""
        return tuple(SCORES.get(self.last, math.nan) if not place else 0.2 for place in range(self.outputs))

    def fork(self) -> ScriptedState:
        """Return an independent copy."""
        return ScriptedState(self.outputs, self.last)


@dataclass(frozen=True)
class Given:
    """A probe that reads nothing: the tests say what it found."""

    block: int = 2
    bias: torch.Tensor = field(default_factory=lambda: torch.tensor([0.25]))

    def reader(self, like: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what no test calls."""
        raise ValueError(like)


def bank() -> ProbeBank:
    """Return the one probe."""
    return ProbeBank([PlacedProbe(Given(), (2,), "p")])


def row_of(policy: Policy, *, probed: bool) -> Row:
    """Return a row under a policy; ``probed``: the third score is a probe's."""
    program = compile_policy(policy, OUTPUTS, probes={"p": 2} if probed else {})
    readings = [Reading("s", "all", Scripted(OUTPUTS["s"]), 0, 2)]
    if not probed:
        readings.append(Reading("p", "all", Scripted(OUTPUTS["p"]), 2, 3))
    revising: dict[int, ReviseSpec] = {}
    counting = program.needs_sentences or bool(program.revises)
    idle = Plan((0.0,) * len(program.channels), (-1,) * len(program.channels))
    vocabulary = Vocabulary(TOKENIZER)
    for token in {END, *TOKENS.values()} - {TOKENS["j"]}:
        vocabulary.whole(token)
    kit = RowKit(program, tuple(readings), vocabulary, idle, counting=counting, revising=revising)
    prompt = [TOKENS["a"]]
    return Row(kit, group=0, prompt=prompt, user=None, context={}, closing=frozenset({END}), terms=Terms())


def seen_of(row: Row) -> dict[str, Any]:
    """Return what others see of a row."""
    steps = []
    step: Step | None = row.step
    while step is not None:
        told = (
            None if step.note is None else (step.note.changes, repr(step.note.signals), step.note.incidents)
        )
        own = step.index, step.written, step.key, step.token, step.anchor, step.cleared
        steps.append((*own, step.plan, step.complete, told))
        step = step.parent
    return {"steps": steps, "news": row.news, "index": row.index, "halt": row.halt_step, "over": row.over}


CALM = st.tuples(st.just("token"), st.sampled_from("ccdd"), st.sampled_from([-0.1, 0.0, 0.1]))
WILD = st.tuples(
    st.just("token"), st.sampled_from("aabbccddeeffgghij"), st.sampled_from([-1.0, 0.0, 0.1, 2.0])
)
OTHER = st.tuples(
    st.sampled_from(["!", "end", "nan", "fork", "save", "rewind", "hold", "go on", "silence", "over"]),
    st.just(""),
    st.just(0.0),
)
MOVES = [CALM] * 12 + [WILD] * 2 + [OTHER]
moves = st.lists(st.sampled_from(MOVES).flatmap(lambda kind: kind), min_size=20, max_size=80)


class Driven:
    """A row, its probe, and what a generation does to them."""

    def __init__(self, policy: Policy, *, probed: bool) -> None:
        self.row, self.probes, self.probed = row_of(policy, probed=probed), bank(), probed
        self.saved = -1
        self.strides = 0
        self.complete(0.0)

    def complete(self, product: float) -> None:
        """Let the probe find ``product``, where a step waits for it."""
        if not self.row.step.complete:
            self.row.complete(self.row.step, self.probes, [product])

    def do(self, kind: str, character: str, product: float) -> None:
        """Do one thing."""
        row = self.row
        if kind == "fork":
            self.row, self.saved = row.fork(), -1
        elif kind == "save":
            row.forget()
            row.save()
            self.saved = row.step.index
        elif kind == "rewind":
            if self.saved >= 0:
                assert row.rewind(self.saved)
        elif kind in ("hold", "go on"):
            row.hold(kind == "hold", starting=False)
        elif kind == "silence":
            row.silence(row.step.index, halt=False)
        elif kind == "over":
            row.end()
        else:
            row.advance(END if kind == "end" else TOKENS[character or ("!" if kind == "!" else "c")])
            self.strides += row._striding.stride is not None
            self.complete(math.nan if kind == "nan" else product)


@compiled
@settings(max_examples=300, deadline=None)
@given(calm_policies(), moves, st.booleans())
def test_strides_change_nothing(policy: Policy, told: list[tuple[str, str, float]], probed: bool) -> None:
    """Steps, plans, notes and news are the same after every token, whatever happens in between."""
    policy = replace(policy, rules=tuple(replace(rule, revise=None, halt=False) for rule in policy.rules))
    with pytest.MonkeyPatch.context() as patch:
        # Short ones too: they are taken again at once.
        patch.setattr(strides, "_SHORT", 0)
        quick = Driven(policy, probed=probed)
        patch.setattr(strides, "STRIDE", None)
        slow = Driven(policy, probed=probed)
        for move in told:
            patch.setattr(strides, "STRIDE", STRIDE)
            quick.do(*move)
            patch.setattr(strides, "STRIDE", None)
            slow.do(*move)
            assert seen_of(quick.row) == seen_of(slow.row)
        for row in (quick.row, slow.row):
            row._striding.stir(row._engine)
        assert quick.row._engine._step == slow.row._engine._step
    assert not slow.strides
    event(f"steps in a stride: {min(quick.strides // 10, 3)}0 or more")


def calm_row(**fields: Any) -> Driven:
    """Return a row of one rule, whose scores have stayed the same for a while."""
    rule = RuleSpec(id="r", when="s.a > 0.4 && s.a < 0.6", steer=(SteerSpec("v0", "add", 0.2),))
    driven = Driven(policy_of(rules=(rule,), **fields), probed=False)
    for _ in range(4):
        driven.do("token", "c", 0.0)
    return driven


@compiled
@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("when", ["s.a > 0.4 && p.c > 0.2", "p.c > 0.2"])
@pytest.mark.parametrize("kind", ["!", "end", "nan", "fork", "save", "hold", "silence", "over"])
def test_what_happens_to_a_steered_row_in_a_stride_is_what_happens_to_any(
    kind: str, when: str, probed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RuleSpec(id="r", when=when, steer=(SteerSpec("v0", "add", 0.2),))

    def told() -> list[Any]:
        driven = Driven(policy_of(rules=(rule,)), probed=probed)
        seen: list[Any] = []
        for each in ("token",) * 6 + (kind,) + ("token",) * 3 + ("rewind", "go on") + ("token",) * 4:
            driven.do(each, "c" if each == "token" else "", 0.1)
            seen.append(seen_of(driven.row))
        driven.row._striding.stir(driven.row._engine)
        return [*seen, driven.row._engine._step]

    quick = told()
    assert any(step[6].strengths[0] for step in quick[-2]["steps"])
    monkeypatch.setattr(strides, "STRIDE", None)
    assert told() == quick


@compiled
def test_a_row_that_a_probe_halts_leaves_its_stride(monkeypatch: pytest.MonkeyPatch) -> None:
    steers = RuleSpec(id="r", when="s.a > 0.4", steer=(SteerSpec("v0", "add", 0.2),))
    halts = RuleSpec(id="h", when="p.c > 0.8", halt=True)

    def told() -> list[Any]:
        driven = Driven(policy_of(rules=(steers, halts)), probed=True)
        seen: list[Any] = []
        for product in (*[0.1] * 6, 5.0, *[0.1] * 3):
            driven.do("token", "c", product)
            seen.append(seen_of(driven.row))
        return seen

    quick = told()
    assert quick[-1]["halt"] >= 0
    monkeypatch.setattr(strides, "STRIDE", None)
    assert told() == quick


@compiled
def test_a_probe_that_fails_again_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its last score stands in, that keeps to its cell."""
    rule = RuleSpec(id="r", when="s.a > 0.4 && p.c > 0.2", steer=(SteerSpec("v0", "add", 0.2),))

    def told() -> list[Any]:
        driven = Driven(policy_of(rules=(rule,)), probed=True)
        driven.probes = ProbeBank([PlacedProbe(Given(), (2,), "p", "last_state")])
        for product in (*[0.1] * 4, math.nan, math.nan, 0.1, 0.1, math.nan, 0.1):
            driven.do("token", "c", product)
        return [step[8] for step in seen_of(driven.row)["steps"] if step[8] is not None and step[8][2]]

    quick = told()
    assert len(quick) == 2
    monkeypatch.setattr(strides, "STRIDE", None)
    assert told() == quick


@compiled
def test_rows_that_part_go_on_each_in_a_stride_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def parted() -> list[dict[str, Any]]:
        first = calm_row()
        second = calm_row()
        second.row = first.row.fork()
        for _ in range(12):
            first.do("token", "d", 0.0)
            second.do("token", "c", 0.0)
        second.do("token", "f", 0.0)
        first.do("token", "c", 0.0)
        return [seen_of(first.row), seen_of(second.row)]

    quick = parted()
    monkeypatch.setattr(strides, "STRIDE", None)
    assert parted() == quick


def stride_in(driven: Driven) -> Any:
    """Return the stride of a row that has one."""
    stride = driven.row._striding.stride
    assert stride is not None
    return stride


@compiled
def test_a_token_whose_scores_keep_to_their_cells_is_decided_in_the_stride() -> None:
    driven = calm_row()
    stride = stride_in(driven)
    before = driven.row.step
    assert stride.advance(driven.row, TOKENS["d"]) == DECIDED
    assert driven.row.step.parent is before
    assert driven.row.step.plan is before.plan
    assert stride.steps == stride.tell() > stride.tell() == 0


@compiled
def test_a_token_whose_scores_leave_their_cells_is_read_and_not_decided() -> None:
    driven = calm_row()
    assert stride_in(driven).advance(driven.row, TOKENS["f"]) == READ
    assert driven.row._heard.signals[0] == SCORES["f"]


@compiled
@pytest.mark.parametrize("token", [END, TOKENS["j"]], ids=["the end of a text", "one never met before"])
def test_a_token_that_a_stride_cannot_tell_is_left_alone(token: int) -> None:
    driven = calm_row()
    before = driven.row.step
    assert stride_in(driven).advance(driven.row, token) == UNREAD
    assert driven.row.step is before
    assert driven.row.index == before.index


@compiled
def test_what_no_row_takes_goes_through_a_stride() -> None:
    """An interruption is not a classifier's failure."""
    driven = calm_row()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    own = driven.row._heard
    stride = own_stride(driven, reads=((own.active[0][0], interrupted, 0),))
    with pytest.raises(KeyboardInterrupt):
        stride.advance(driven.row, TOKENS["c"])
    assert len(own.active) == 2


def own_stride(driven: Driven, **changed: Any) -> Any:
    """Return a stride made by hand."""
    assert STRIDE is not None
    heard, plan = driven.row._heard, driven.row.step.plan
    given = {
        "make_step": Step,
        "known": heard.reader.known,
        "closing": frozenset({END}),
        "signals": heard.signals,
        "plan": plan,
        "lose": heard.lose,
        "reads": tuple((reading, state.read_into, reading.first) for reading, state in heard.active),
        "cells": ((0, 0.4, 0.6),),
        "waits": False,
    }
    return STRIDE(*{**given, **changed}.values())


@compiled
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"known": []}, "dict"),
        ({"closing": [END]}, "frozenset"),
        ({"signals": (0.0,)}, "list"),
        ({"reads": []}, "tuple"),
        ({"reads": ((1, 2),)}, "a read is"),
        ({"cells": [(0, 0.4, 0.6)]}, "tuple"),
        ({"cells": (0,)}, "a cell is"),
        ({"cells": ((0, 0.4),)}, "a cell is"),
        ({"cells": ((0, "low", 0.6),)}, "must be real number"),
    ],
)
def test_a_stride_of_anything_else_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        own_stride(calm_row(), **changed)


@compiled
def test_a_cell_of_a_signal_that_there_is_not_is_an_error() -> None:
    driven = calm_row()
    with pytest.raises(IndexError):
        own_stride(driven, cells=((99, 0.0, 1.0),)).advance(driven.row, TOKENS["c"])
    stride = own_stride(driven, waits=True)
    stride.expect(driven.row.step.plan, (99, 0.0, 1.0), 0.0)
    with pytest.raises(IndexError):
        stride.complete(driven.row.step, 0.0)


@compiled
@pytest.mark.parametrize("given", [(), (1,), (1, 2, 3)])
def test_a_stride_is_asked_with_two_things(given: tuple[int, ...]) -> None:
    stride = own_stride(calm_row())
    for ask in (stride.advance, stride.complete):
        with pytest.raises(TypeError, match="expected a"):
            ask(*given)


@compiled
@pytest.mark.parametrize(
    ("product", "done"),
    [
        (0.0, True),
        (0.3, True),
        (0.5, False),
        (-0.5, False),
        (-0.05, False),
        (math.nan, False),
        (-1e9, False),
        (math.inf, False),
    ],
)
def test_a_probe_completes_a_step_while_its_score_keeps_to_its_cell(product: float, done: bool) -> None:
    """The bias counts, and once a score has left its cell nothing is expected any more."""
    driven = calm_row()
    stride, step = own_stride(driven, waits=True), Step(driven.row.step, 9, 9, 9, driven.row.step.plan, 9)
    other = Plan((0.0, 0.0), (-1, -1))
    stride.expect(other, (2, 0.5, 0.6), 0.05)
    assert stride.complete(step, product) is done
    assert (step.complete, step.plan is other) == (done, done)
    if done:
        assert driven.row._heard.signals[2] == 1.0 / (1.0 + math.exp(-(product + 0.05)))
    assert stride.complete(step, 0.0) is done


@compiled
def test_a_stride_keeps_nothing_that_it_does_not_hold() -> None:
    """Counts of references are what they were once it is gone."""
    driven = calm_row()
    row, plan, late = driven.row, Plan((0.5, 0.0), (0, -1)), Plan((0.7, 0.0), (0, -1))
    row._striding.stir(row._engine)
    watched: list[Any] = [
        plan,
        late,
        row._heard.signals,
        row._heard.reader.known,
        Step,
        row._heard.active[0][0],
    ]
    reads = tuple((reading, state.read_into, reading.first) for reading, state in row._heard.active)
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(50):
        stride = own_stride(driven, plan=plan, waits=True, reads=reads)
        for _ in range(3):
            stride.expect(late, (2, 0.0, 1.0), 0.0)
            held = row.step
            assert stride.advance(row, TOKENS["c"]) == DECIDED
            assert stride.advance(row, TOKENS["f"]) == READ
            assert stride.advance(row, END) == UNREAD
            assert stride.complete(row.step, 0.1)
            row.step = held
        with pytest.raises(TypeError):
            own_stride(driven, plan=plan, reads=reads, cells=(0,))
    del stride, held
    assert [sys.getrefcount(each) for each in watched] == before


def test_an_extension_of_another_version_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("guardsteer.runtime._strides", reason="the extension was not built here")
    assert strides.find_stride() is module.Stride
    monkeypatch.setattr(module, "VERSION", strides.VERSION + 1)
    assert strides.find_stride() is None


def test_the_extension_and_its_twin_mean_the_same_by_what_was_done() -> None:
    module = pytest.importorskip("guardsteer.runtime._strides", reason="the extension was not built here")
    assert (module.UNREAD, module.DECIDED, module.READ) == (UNREAD, DECIDED, READ)


@compiled
def test_a_short_stride_is_not_tried_again_at_once() -> None:
    driven = calm_row()
    driven.do("token", "f", 0.0)
    taken = []
    for _ in range(12):
        driven.do("token", "f", 0.0)
        taken.append(driven.row._striding.stride is not None)
    assert taken == [False] * 8 + [True] * 4


_HARD = """
import sys
sys.path.insert(0, {root!r})
from tests.runtime.test_strides import TOKENS, calm_row
import gc
for turn in range(3):
    gc.collect()
    begun = sys.getallocatedblocks()
    for _ in range(20):
        driven = calm_row()
        for number in range(40):
            driven.do("token", "cdcdcdcdfcd"[number % 11], 0.1)
        driven.do("!", "", 0.0)
        driven.do("fork", "", 0.0)
        del driven
gc.collect()
print(sys.getallocatedblocks() - begun)
"""


@compiled
def test_strides_keep_to_their_memory_and_give_it_back() -> None:
    """Under Python's debugging allocator, which finds writes past the end and what is used after its end."""
    assert number_debugged(_HARD) < 500


POLICY = """
guardsteer: 1
name: strides
classifiers: {never: {literals: [qqqqqq], on: all}, probe: {use: ./probe, on: all}}
flags: {high: {signal: probe.score, enter: 0.5, exit: 0.4}}
vectors: {one: {use: ./none, blocks: [1]}}
rules: [{id: push, when: high && never.match < 0.5, add: {vector: one, strength: 0.5}}]
"""


@compiled
def test_a_generation_goes_on_in_strides_and_says_and_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few of its steps are decided one by one; tokens and audit are those of a guard without strides."""
    model, tokenizer = tiny("llama"), byte_tokenizer()
    weight = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(5))
    given: dict[str, Any] = {"fingerprint": fingerprint(model, tokenizer).digest, "digest": "b3:" + "0" * 64}
    probe = Probe(name="probe", outputs=("score",), block=0, weight=weight, bias=torch.zeros(1), **given)
    given = {"vectors": {"one": random_vector(model, tokenizer, "one", (1,), seed=1)}}
    given["classifiers"] = {"probe": probe}
    decided: list[Step] = []
    decide = Row._decide

    def counted(row: Row, step: Step, parent: Step) -> None:
        decided.append(step)
        decide(row, step, parent)

    monkeypatch.setattr(Row, "_decide", counted)
    found = []
    for stride in (STRIDE, None):
        monkeypatch.setattr(strides, "STRIDE", stride)
        folder = tmp_path / str(stride)
        folder.mkdir()
        policy = policy_file(folder, POLICY)
        with guardsteer.wrap(model, tokenizer, policy=policy, audit=folder / "log", **given) as guard:
            # The second time every token was met before.
            for turn in "ab":
                decided.clear()
                said = run(
                    guard, PROMPTS[:2], max_new_tokens=40, guard=[{"request": turn}, {"request": turn * 2}]
                )
        events = [event for name in ("b", "bb") for event in told(folder, name)]
        found.append((said, [event for event in events if not event["kind"].startswith("Request")]))
        assert (len(decided) < 20) is (stride is not None)
    assert found[0] == found[1]
    assert "ActivationBegan" in kinds(found[0][1])
