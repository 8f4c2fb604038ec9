"""Deadline, breaker and on_error where rows fork, go back and are drafted; and what the audit holds then."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.core.events import (
    ActivationEnded,
    ClassifierFailed,
    ClassifierLate,
    ClassifierRestored,
    ClassifierTripped,
    RowHalted,
)
from guardsteer.errors import PolicyError
from guardsteer.runtime.auditing import Blackout
from tests.models import tiny
from tests.runtime.failures.faults import Failing, FailingProbe
from tests.runtime.failures.lines import bench_for
from tests.runtime.harness import POLICY, SPECIAL, Bench, LastCharacters, batch, bench, policy_file

TOKENS = 14
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
WAYS: dict[str, dict[str, Any]] = {
    "cache": {},
    "no cache": {"use_cache": False},
    "static cache": {"cache_implementation": "static"},
    "chunked": {"prefill_chunk_size": 2},
    "prompt lookup": {"prompt_lookup_num_tokens": 4},
    "assistant": {"assistant": True},
    "beams": {"num_beams": 3},
    "beams without cache": {"num_beams": 3, "use_cache": False},
    "several": {"num_return_sequences": 2, "num_beams": 2},
}


def run(model: Any, way: dict[str, Any], **options: Any) -> list[list[int]]:
    way = dict(way)
    if way.pop("assistant", False):
        way["assistant_model"] = tiny("llama", seed=0)
    alone = "prompt_lookup_num_tokens" in way or "assistant_model" in way
    inputs = batch(PROMPTS[:1] if alone else PROMPTS)
    settings = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
    ids = model.generate(**inputs, **{**settings, **way, **options})
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


def wrap(made: Bench, folder: Path, text: str, **options: Any) -> Any:
    given = {"vectors": made.vectors, "classifiers": made.classifiers, **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(folder, text), **given)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_healthy_classifier_gives_the_same_tokens_behind_deadline_and_breaker(
    way: dict[str, Any], tmp_path: Path
) -> None:
    made = bench("llama")
    care = "on_error: last_state, deadline_ms: 5000, breaker: {failures: 1, rest_s: 60}}"
    text = POLICY.replace("on: generation}", f"on: generation, {care}").replace(
        "on: prompt}", f"on: prompt, {care}"
    )
    assert text.count("deadline_ms") == 2
    with wrap(made, tmp_path, POLICY) as guard:
        expected = run(guard, way)
    with wrap(made, tmp_path, text) as guard:
        assert run(guard, way) == expected
    assert run(made.model, way) != expected, "something must be steered"


class Slow(LastCharacters):
    """Answers only when it is let to, at texts of three characters."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.gate = threading.Event()

    def start(self) -> Any:
        return SlowState(self)


class SlowState:
    def __init__(self, owner: Slow, text: str = "") -> None:
        self.owner = owner
        self.inner = LastCharacters(owner.seed).start()
        self.inner.text = text

    def push(self, text: str) -> None:
        self.inner.push(text)
        if len(self.inner.text) == 3:
            self.owner.gate.wait(30)

    def scores(self) -> Any:
        return self.inner.scores()

    def fork(self) -> SlowState:
        return SlowState(self.owner, self.inner.text)


class OpensAt:
    """A streamer that opens a gate at a token, and waits for what comes of it."""

    def __init__(self, token: int, gate: threading.Event, done: Callable[[], bool]) -> None:
        self.left = token + 1
        self.gate = gate
        self.done = done

    def put(self, _: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.gate.set()
            until_s = time.monotonic() + 20
            while not self.done() and time.monotonic() < until_s:
                time.sleep(0.002)

    def end(self) -> None:
        pass


def test_scores_that_come_late_are_taken_at_a_later_step_and_the_trail_says_from_when_to_when(
    tmp_path: Path,
) -> None:
    made = bench_for()
    said = Slow(1)
    read_on: list[int] = []
    text = (
        "guardsteer: 1\nname: late\nclassifiers:\n"
        "  said: {use: ./none, on: generation, deadline_ms: 300}\n"
        "vectors: {one: {use: ./none, positions: [generated]}}\n"
        "rules: [{id: any, when: said.score >= 0.0, add: {vector: one, strength: 0.5}}]\n"
    )

    class Watching(Slow):
        def start(self) -> Any:
            state = SlowState(said)
            push = state.push

            def watched(text: str) -> None:
                push(text)
                read_on.append(len(state.inner.text))

            state.push = watched  # type: ignore[method-assign]  # to watch it
            return state

    with wrap(made, tmp_path, text, classifiers={"said": Watching(1)}, audit=tmp_path / "log") as guard:
        inputs = batch(PROMPTS[:1])
        # At token 6 the call of step 3 comes back, and what gathered since is read in one piece.
        streamer = OpensAt(6, said.gate, lambda: bool(read_on) and read_on[-1] >= 5)
        guard.generate(
            **inputs, max_new_tokens=TOKENS, do_sample=False, suppress_tokens=list(SPECIAL), streamer=streamer
        )
    late = [s.event for s in read(tmp_path / "log") if isinstance(s.event, ClassifierLate)]
    assert [(event.step, event.until) for event in late] == [(3, 6)]
    assert read_on == [1, 2, 3, 5, *range(6, TOKENS)]


def test_a_prompt_that_is_read_late_counts_from_when_it_was_read(tmp_path: Path) -> None:
    """A prompt is pushed once, so nothing but the passing of steps brings its scores."""
    made = bench_for()
    asked = Failing("hangs", breaks_at=1)
    text = (
        "guardsteer: 1\nname: late\nclassifiers:\n"
        "  asked: {use: ./none, on: prompt, deadline_ms: 20}\n"
        "vectors: {one: {use: ./none, positions: [generated]}}\n"
        "rules: [{id: any, when: asked.score >= 0.0, add: {vector: one, strength: 0.5}}]\n"
    )

    def settled() -> bool:
        time.sleep(0.2)
        return True

    with wrap(made, tmp_path, text, classifiers={"asked": asked}, audit=tmp_path / "log") as guard:
        guard.generate(
            **batch(PROMPTS[:1]),
            max_new_tokens=TOKENS,
            do_sample=False,
            suppress_tokens=list(SPECIAL),
            streamer=OpensAt(6, asked.gate, settled),
        )
    events = [s.event for s in read(tmp_path / "log")]
    late = [event for event in events if isinstance(event, ClassifierLate)]
    assert [(event.step, event.until) for event in late] == [(0, 6)]
    ended = [event for event in events if isinstance(event, ActivationEnded)]
    start = len(PROMPTS[0]) - 1
    assert [(event.first, event.last) for event in ended] == [(start + 6, start + TOKENS - 1)]


def test_a_breaker_that_tripped_lets_a_row_try_after_the_rest_and_the_log_tells_both(tmp_path: Path) -> None:
    made = bench("llama")
    said = Failing("raises")
    text = POLICY.replace("on: generation}", "on: generation, breaker: {failures: 2, rest_s: 600}}")
    classifiers = {"asked": made.classifiers["asked"], "said": said}
    with wrap(made, tmp_path, text, classifiers=classifiers, audit=tmp_path / "log") as guard:
        run(guard, {})
        said.fault = "nothing"
        breaker = next(r.classifier.breaker for r in guard._kit.rows.readings if r.name == "said")
        breaker._clock = lambda: time.monotonic() + 600
        healed = run(guard, {})
        expected = [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
        # One row tries and the others join once it succeeded, here at their next token.
        assert sum(a == b for a, b in zip(healed, expected, strict=True)) >= 1
        assert run(guard, {}) == expected
    events = [s.event for s in read(tmp_path / "log")]
    kinds = [type(e) for e in events if isinstance(e, ClassifierTripped | ClassifierRestored)]
    assert kinds == [ClassifierTripped, ClassifierRestored]
    tripped = next(event for event in events if isinstance(event, ClassifierTripped))
    assert re.fullmatch(r"ValueError at tests\.runtime\.failures\.faults:[0-9]+", tripped.error)
    left_alone = [e for e in events if isinstance(e, ClassifierFailed) and "left alone" in e.error]
    assert left_alone, "a row that was not read says so"


def test_threads_of_a_deadline_end_when_the_guard_is_taken_off(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("on: generation}", "on: generation, deadline_ms: 5000}")

    others = set(threading.enumerate())

    def alive() -> int:
        return sum(thread.name == "guardsteer-said" for thread in set(threading.enumerate()) - others)

    with wrap(made, tmp_path, text) as guard:
        run(guard, {})
        assert alive() >= 1
    until_s = time.monotonic() + 20
    while alive() and time.monotonic() < until_s:
        time.sleep(0.005)
    assert alive() == 0


@pytest.mark.parametrize("more", ["deadline_ms: 5", "breaker: {failures: 2, rest_s: 1}"])
def test_a_probe_can_be_neither_late_nor_left_alone(more: str, tmp_path: Path) -> None:
    made = bench_for()
    text = (
        f"guardsteer: 1\nname: probed\nclassifiers:\n  said: {{use: ./none, on: all, {more}}}\n"
        "vectors: {one: {use: ./none}}\n"
        "rules: [{id: any, when: said.score >= 0.5, add: {vector: one, strength: 0.5}}]\n"
    )
    with pytest.raises(PolicyError, match="'said': it is a probe"):
        wrap(made, tmp_path, text, classifiers={"said": FailingProbe(made, "nothing")})


def test_a_classifier_with_a_wrong_number_of_scores_counts_as_one_that_raised(tmp_path: Path) -> None:
    """Scores of others must never move into its place."""
    made = bench("llama")

    class Double(LastCharacters):
        def start(self) -> Any:
            state = super().start()
            state.scores = lambda: (0.9, 0.9)  # type: ignore[method-assign]  # to break it
            return state

    classifiers = {"asked": Double(2), "said": made.classifiers["said"]}
    with wrap(made, tmp_path, POLICY, classifiers=classifiers, audit=tmp_path / "log") as guard:
        found = run(guard, {})
    steps = [s.event for s in read(tmp_path / "log") if isinstance(s.event, ClassifierFailed)]
    assert [(e.step, e.error) for e in steps] == [(0, "ClassifierError: gave 2 scores, expected 1")] * 3
    without = replace(
        made.reference, decide=lambda p, w, s: [(a, b, 0.0) for a, b, _ in made.reference.decide(p, w, s)]
    )
    assert found == [without.generate(prompt, TOKENS) for prompt in PROMPTS]


# --- the audit under last_state ------------------------------------------------------------------


@pytest.mark.parametrize("way", [w for w in WAYS if "beams" not in w and w != "several"])
@pytest.mark.parametrize("dark", [(0, 3), (2, 4), (3, 99), (1, 2)])
def test_in_the_dark_the_plan_stays_in_every_way_of_decoding(
    way: str, dark: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the log alone the strengths are rebuilt, and they explain every token."""
    made = bench("llama")
    passes = [-1]
    dark_steps: list[int] = []

    def active(_: Blackout) -> bool:
        passes[0] += 1
        return dark[0] <= passes[0] < dark[1]

    monkeypatch.setattr(Blackout, "active", active)
    text = POLICY + "audit: {on_error: last_state}\n"
    journal = open_journal(tmp_path / "log", key=b"k" * 32)
    alone = {**WAYS[way]}
    with wrap(made, tmp_path, text, audit=journal) as guard:
        inputs = batch(PROMPTS[:1])
        if alone.pop("assistant", False):
            alone["assistant_model"] = tiny("llama", seed=0)
        settings = {"max_new_tokens": TOKENS, "do_sample": False, "suppress_tokens": list(SPECIAL)}
        ids = guard.generate(**inputs, **settings, **alone)
    journal.close()
    written = ids[0, inputs["input_ids"].shape[1] :].tolist()
    strengths = rebuilt(tmp_path / "log", len(PROMPTS[0]) + TOKENS - 1)
    start = len(PROMPTS[0]) - 1
    explained = replace(made.reference, decide=lambda *_: [(0.0, 0.0, 0.0)])
    object.__setattr__(explained, "strengths", lambda prompt, done: strengths[: len(prompt) + len(done)])
    assert explained.generate(PROMPTS[0], TOKENS) == written
    ruled = made.reference.strengths(PROMPTS[0], written[:-1])
    for step in range(1, TOKENS):
        kept = strengths[start + step][1:] == strengths[start + step - 1][1:] or step == 1
        dark_steps.append(strengths[start + step] == ruled[start + step] or kept)
    assert all(dark_steps), "a step follows the rules or keeps the plan of the step before"


def rebuilt(folder: Path, length: int) -> list[tuple[float, ...]]:
    rows = [[0.0] * 3 for _ in range(length)]
    names = ["one", "two", "three"]
    for stored in read(folder):
        event = stored.event
        if isinstance(event, ActivationEnded):
            for position in range(event.first, event.last + 1):
                rows[position][names.index(event.vector)] = event.applied
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("way", WAYS)
def test_what_begins_in_the_dark_is_not_steered_under_last_state_even_from_its_first_pass(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench("llama")
    bare = run(made.model, WAYS[way])
    monkeypatch.setattr(Blackout, "active", lambda _: True)
    text = POLICY.replace("when: up", "when: step >= 0") + "audit: {on_error: last_state}\n"
    with wrap(made, tmp_path, text, audit=tmp_path / "log") as guard:
        assert run(guard, WAYS[way]) == bare
    monkeypatch.undo()
    with wrap(made, tmp_path, text) as guard:
        assert run(guard, WAYS[way]) != bare


@pytest.mark.parametrize("first", [0, 3])
def test_in_the_dark_a_probe_moves_nothing(
    first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rule steers until the probe gives nan; under last_state the plan of before the dark stays."""
    made = bench_for()
    passes = [-1]

    def active(_: Blackout) -> bool:
        passes[0] += 1
        return passes[0] >= first

    monkeypatch.setattr(Blackout, "active", active)
    text = (
        "guardsteer: 1\nname: probed\nclassifiers: {said: {use: ./none, on: all}}\n"
        "vectors: {one: {use: ./none, positions: [generated]}}\n"
        "rules: [{id: gate, when: said.score >= 0.5, add: {vector: one, strength: 2.0}}]\n"
        "audit: {on_error: last_state}\n"
    )
    classifiers = {"said": FailingProbe(made, "nan")}
    with wrap(made, tmp_path, text, classifiers=classifiers, audit=tmp_path / "log") as guard:
        guard.generate(
            **batch(PROMPTS[:1]), max_new_tokens=TOKENS, do_sample=False, suppress_tokens=[0, 1, 2]
        )
    start = len(PROMPTS[0]) - 1
    ended = [s.event for s in read(tmp_path / "log") if isinstance(s.event, ActivationEnded)]
    assert [(event.first, event.last) for event in ended] == (
        [(start + 1, start + TOKENS - 1)] if first else []
    )


@pytest.mark.parametrize("halts_at", [0, 3])
def test_in_the_dark_a_rule_that_would_halt_waits_even_for_drafts(
    halts_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: halts\nvectors: {one: {use: ./none}}\nfallback: 'No.'\n"
        f"rules: [{{id: stop, when: step >= {halts_at}, halt: true}}]\naudit: {{on_error: last_state}}\n"
    )
    light = [False]
    monkeypatch.setattr(Blackout, "active", lambda _: not light[0])
    for way in (WAYS["cache"], WAYS["prompt lookup"], WAYS["no cache"]):
        bare = run(made.model, way)
        with wrap(made, tmp_path, text, classifiers={}, audit=tmp_path / "log") as guard:
            assert run(guard, way) == bare
    light[0] = True
    with wrap(made, tmp_path, text, classifiers={}, audit=tmp_path / "log") as guard:
        found = run(guard, {}, suppress_tokens=[0, 1])[0]
        assert found[halts_at:] == [*made.tokenizer("No.")["input_ids"], 2]
    halts = [s.event.step for s in read(tmp_path / "log") if isinstance(s.event, RowHalted)]
    assert halts == [halts_at] * 3


def test_a_row_that_a_rule_halts_in_the_dark_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is steered then, and what protects still does."""
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: halts\nvectors: {one: {use: ./none}}\nfallback: 'No.'\n"
        "rules: [{id: stop, when: step >= 3, halt: true}]\n"
    )
    monkeypatch.setattr(Blackout, "active", lambda _: True)
    with wrap(made, tmp_path, text, classifiers={}, audit=tmp_path / "log") as guard:
        run(guard, {}, suppress_tokens=[0, 1])
    halts = [s.event.step for s in read(tmp_path / "log") if isinstance(s.event, RowHalted)]
    assert halts == [3, 3, 3]
