"""Combinations in a policy: the tokens of one classifier that says the same, and nothing read twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.classify.combined.combination import Blend, combine
from guardsteer.classify.pace.schedule import Schedule
from guardsteer.core.events import Attached, ClassifierFailed
from guardsteer.core.policy import ClassifierSpec
from guardsteer.runtime.joining import Joined, Joining, Joint, Own, join
from tests.models import tiny
from tests.runtime.failures.faults import Failing
from tests.runtime.harness import SPECIAL, Bench, LastCharacters, LastState, batch, bench, policy_file
from tests.runtime.test_probes import POLICY as PROBED
from tests.runtime.test_probes import probe_of, probed_bench

TOKENS = 14
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
WAYS: dict[str, dict[str, Any]] = {
    "cache": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
    "assistant": {"assistant": True},
    "beams": {"num_beams": 3},
    "several": {"num_return_sequences": 2, "num_beams": 2},
}
POLICY = """
guardsteer: 1
name: combined
classifiers:
  one: {use: ./none, on: generation}
  other: {use: ./none, on: generation}
  CLASSIFIER
flags:
  up: {signal: both.score, enter: 0.8, exit: 0.5}
vectors:
  one_way: {use: ./none, positions: [last_prompt_token, generated]}
  other_way: {use: ./none, positions: [generated]}
rules:
  - {id: push, when: up, add: {vector: one_way, strength: 0.8}}
  - {id: pull, when: both.score >= 0.6 && one.score < 0.9, subtract: {vector: other_way, strength: 0.5}}
  - {id: again, when: both.score >= 0.95 && other.score < 0.8, revise: {tokens: 2, most: 2, then: continue}}
"""
GIVEN = "both: {use: ./none, on: generation}"
INLINE = "both: {combine: {of: [one.score, other.score], by: max}}"


class Counting(LastCharacters):
    """Counts the pieces that its states are given."""

    pushed = 0

    def start(self) -> Any:
        return CountingState(self)


class CountingState(LastState):
    def __init__(self, owner: Counting, text: str = "") -> None:
        super().__init__(owner.seed, text)
        self.owner = owner

    def push(self, text: str) -> None:
        self.owner.pushed += 1
        super().push(text)

    def fork(self) -> CountingState:
        return CountingState(self.owner, self.text)


class Highest:
    """One classifier that says what the highest of two says, in one piece."""

    outputs = ("score",)
    digest = "b3:highest"

    def __init__(self, *seeds: int) -> None:
        self.seeds = seeds

    def start(self) -> HighestState:
        return HighestState([LastState(seed) for seed in self.seeds])


class HighestState:
    def __init__(self, states: list[LastState]) -> None:
        self.states = states

    def push(self, text: str) -> None:
        for state in self.states:
            state.push(text)

    def scores(self) -> Sequence[float]:
        return (max(state.scores()[0] for state in self.states) if self.states[0].text else 0.0,)

    def fork(self) -> HighestState:
        return HighestState([state.fork() for state in self.states])


def members() -> tuple[Counting, Counting]:
    return Counting(1, digest="b3:one"), Counting(4, digest="b3:other")


def run(
    made: Bench, folder: Path, line: str, way: dict[str, Any], classifiers: dict[str, Any], **more: Any
) -> Any:
    way = dict(way)
    if way.pop("assistant", False):
        way["assistant_model"] = tiny("llama", seed=0)
    alone = "prompt_lookup_num_tokens" in way or "assistant_model" in way
    vectors = {"one_way": made.vectors["one"], "other_way": made.vectors["two"]}
    text = POLICY.replace("CLASSIFIER", line)
    text = text if not (alone or "num_beams" in way) else "\n".join(text.splitlines()[:-1]) + "\n"
    path = policy_file(folder, text)
    given = {"vectors": vectors, "classifiers": classifiers, **more}
    with guardsteer.wrap(made.model, made.tokenizer, policy=path, **given) as guard:
        inputs = batch(PROMPTS[:1] if alone else PROMPTS)
        settings = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
        return guard.generate(**inputs, **{**settings, **way}).tolist()


def named() -> Bench:
    """Return a bench whose vectors carry the names that ``POLICY`` gives them."""
    return bench("llama")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_combinations_give_the_tokens_of_one_classifier_that_says_the_same(
    way: dict[str, Any], tmp_path: Path
) -> None:
    made = named()
    one, other = members()
    alone = {"one": one, "other": other, "both": Highest(1, 4)}
    expected = run(made, tmp_path, GIVEN, way, alone)
    pushed = one.pushed, other.pushed
    for line in (INLINE, GIVEN):
        one, other = members()
        classifiers: dict[str, Any] = {"one": one, "other": other}
        if line == GIVEN:
            classifiers["both"] = combine({"a": one, "b": other})
        assert run(made, tmp_path, line, way, classifiers) == expected
        assert (one.pushed, other.pushed) == pushed, "a member is read once, by itself and combined"


def test_members_that_the_policy_does_not_have_are_read_for_the_combination(tmp_path: Path) -> None:
    made = named()
    one, other = members()
    way: dict[str, Any] = {}
    expected = run(made, tmp_path, GIVEN, way, {"one": one, "other": other, "both": Highest(1, 7)})
    third = Counting(7, digest="b3:third")
    combined = combine({"a": one, "c": third, "again": third})
    assert run(made, tmp_path, GIVEN, way, {"one": one, "other": other, "both": combined}) == expected
    assert 0 < third.pushed <= other.pushed


def test_a_combination_with_a_deadline_says_the_same(tmp_path: Path) -> None:
    made = named()
    one, other = members()
    expected = run(made, tmp_path, INLINE, {}, {"one": one, "other": other})
    late = GIVEN.replace("}", ", deadline_ms: 5000}")
    given = {"one": one, "other": other, "both": combine({"a": one, "b": other})}
    assert run(made, tmp_path, late, {}, given) == expected


def test_the_digest_of_what_is_combined_is_in_the_log(tmp_path: Path) -> None:
    made = named()
    one, other = members()
    seen: list[dict[str, str]] = []
    for line in (INLINE, INLINE.replace("max", "mean")):
        with open_journal(tmp_path / str(len(seen))) as journal:
            run(made, tmp_path, line, {}, {"one": one, "other": other}, audit=journal)
        events = [record.event for record in read(tmp_path / str(len(seen)))]
        seen += [event.classifiers for event in events if isinstance(event, Attached)]
    assert set(seen[0]) == {"one", "other", "both"}
    assert seen[0]["both"] != seen[1]["both"]
    assert seen[0]["one"] == seen[1]["one"]


def test_a_member_that_fails_is_told_of_by_its_combination(tmp_path: Path) -> None:
    made = named()
    one, other = members()
    classifiers = {"one": one, "other": other, "both": combine({"a": one, "bad": Failing("raises")})}
    with open_journal(tmp_path / "log") as journal:
        run(made, tmp_path, GIVEN, {}, classifiers, audit=journal)
    told = [record.event for record in read(tmp_path / "log") if isinstance(record.event, ClassifierFailed)]
    assert {event.classifier for event in told} == {"both"}
    assert len({event.request for event in told}) == len(PROMPTS)


# --- with probes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", [{}, {"use_cache": False}, {"assistant": True}], ids=["cache", "no cache", "assistant"]
)
def test_a_probe_may_be_combined(way: dict[str, Any], tmp_path: Path) -> None:
    """The highest of a probe and a score that is always 0 decides in the pass, as the probe does."""
    made = probed_bench()
    joined = PROBED.replace(
        "flags:",
        "  quiet: {literals: [never], on: all}\n  joint: {combine: {of: [seen.score, quiet.match]}}\nflags:",
    )
    found = []
    for text in (PROBED, joined.replace("signal: seen.score", "signal: joint.score")):
        way = dict(way)
        options = dict(way)
        if options.pop("assistant", False):
            options["assistant_model"] = tiny("llama", seed=0)
        guard = guardsteer.wrap(
            made.model,
            made.tokenizer,
            policy=policy_file(tmp_path, text),
            vectors=made.vectors,
            classifiers={"said": made.classifiers["said"], "seen": probe_of(made)},
        )
        inputs = batch(PROMPTS[:1] if "assistant_model" in options else PROMPTS)
        with guard:
            settings = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
            found.append(guard.generate(**inputs, **{**settings, **options}).tolist())
    assert found[0] == found[1]
    bare = made.model.generate(
        **inputs, max_new_tokens=TOKENS, do_sample=False, suppress_tokens=list(SPECIAL)
    )
    assert found[0] != bare.tolist(), "something must be steered"


# --- what is read by whom -------------------------------------------------------------------------


class Timed(Counting):
    """A classifier with a schedule, by which it is told from its like."""

    def __init__(self, words: int) -> None:
        super().__init__(1, digest="b3:one")
        self.schedule = Schedule("every", words)


def _sources(spec: ClassifierSpec, own: Any, other: ClassifierSpec, found: Any) -> tuple[int, ...]:
    """Return where the member ``own`` of a combination comes from, beside a classifier of the policy."""
    third = Counting(9, digest="b3:third")
    made = {spec.name: combine({"own": own, "third": third}), other.name: found}
    index = {f"{other.name}.score": 0, f"{spec.name}.score": 1}
    joining = join([other, spec], made, index, frozenset())
    return joining.before[0].sources


@pytest.mark.parametrize(
    ("other", "found", "shared"),
    [
        (ClassifierSpec("one", "generation"), Counting(1, digest="b3:one"), True),
        (ClassifierSpec("one", "generation", deadline_ms=5), Counting(1, digest="b3:one"), True),
        (ClassifierSpec("one", "all"), Counting(1, digest="b3:one"), False),
        (ClassifierSpec("one", "generation"), Counting(1, digest="b3:another"), False),
        (ClassifierSpec("one", "generation"), Timed(4), False),
    ],
)
def test_a_member_is_shared_with_the_same_classifier_on_the_same_text(
    other: ClassifierSpec, found: Any, shared: bool
) -> None:
    """Another text, another digest or another schedule is another reading."""
    own = Counting(1, digest="b3:one")
    sources = _sources(ClassifierSpec("both", "generation"), own, other, found)
    assert (sources[0] == 0) == shared
    assert sources[-1] < 0


@pytest.mark.parametrize(("scope", "pushed"), [("prompt", 1), ("user", 1), ("generation", 2), ("all", 3)])
def test_members_of_its_own_read_the_text_of_the_combination(scope: Any, pushed: int) -> None:
    """The prompt once, the generation as it comes, and nothing that is another scope's."""
    one, other = Counting(1, digest="b3:one"), Counting(4, digest="b3:other")
    spec = ClassifierSpec("both", scope)
    joining = join([spec], {"both": combine({"a": one, "b": other})}, {"both.score": 0}, frozenset())
    signals = [0.0]
    joint, _ = Joint.begin(joining, lambda scope: "" if scope == "generation" else "asked", signals)
    for text in ("one", "", "two"):
        joint.read(text, signals)
    assert (one.pushed, other.pushed) == (pushed, pushed)
    said = {"generation": "onetwo", "all": "askedonetwo"}.get(scope, "asked")
    assert signals == [max(LastState(seed, said).scores()[0] for seed in (1, 4))]


# --- one row's combinations, by themselves -------------------------------------------------------


def _joint(*, missing: Any = "closed", fault: Any = "nothing") -> tuple[Joint, list[float]]:
    """Return combinations of signal 0 with a member of their own, which fill signal 1."""
    own = Own(Failing(fault, breaks_at=3), "generation", 0, 1, ("joint",))
    joined = Joined("joint", 1, 2, Blend("mean", 2, 1, missing), (0, ~0))
    signals = [0.5, 0.0]
    joint, told = Joint.begin(Joining((joined,), (), (own,)), lambda _: "", signals)
    assert not told
    return joint, signals


@pytest.mark.parametrize(("missing", "expected"), [("closed", math.nan), ("without", 0.25)])
def test_a_member_that_raised_is_missing_for_the_rest_of_the_row(missing: Any, expected: float) -> None:
    joint, signals = _joint(missing=missing, fault="raises")
    assert not joint.read("ab", signals)
    assert [name for name, _ in joint.read("c", signals)] == ["joint"]
    signals[0] = 0.25
    for each in (joint, joint.fork()):
        assert not each.read("d", signals)
        assert signals[1] == pytest.approx(expected, nan_ok=True)


def test_a_copy_that_read_again_scores_what_was_read() -> None:
    joint, signals = _joint()
    twin = joint.read_again("ab")
    assert not joint.read("ab", signals)
    expected = signals[1]
    signals[1] = -1.0
    assert not twin.read("", signals)
    assert signals[1] == expected
