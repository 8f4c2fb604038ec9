"""The log tells what was applied: from it alone, every position's strengths can be rebuilt."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

import guardsteer
from guardsteer.audit import activations_of, open_journal, read, strengths_of, trail, verify
from guardsteer.core.events import (
    ActivationEnded,
    Attached,
    ClassifierFailed,
    Detached,
    FlagChanged,
    RequestEnded,
    RequestFailed,
    RowHalted,
    RuleFired,
)
from tests.models import tiny
from tests.runtime.harness import POLICY, SPECIAL, Bench, LastCharacters, LastState, batch, bench, policy_file

TOKENS = 14
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
KEY = b"k" * 32


def wrap(made: Bench, folder: Path, text: str = POLICY, **options: Any) -> Any:
    given = {"vectors": made.vectors, "classifiers": made.classifiers, **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(folder, text), **given)


def run(model: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    settings: dict[str, Any] = {
        "max_new_tokens": TOKENS,
        "do_sample": False,
        "suppress_tokens": list(SPECIAL),
    }
    ids = model.generate(**inputs, **{**settings, **options})
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


def rebuilt(folder: Path, request: str, sequence: int, length: int) -> list[tuple[float, ...]]:
    """Return the strengths of every position from the log's activations alone."""
    told = trail(folder, request)
    ends = [activation.last for activation in activations_of(told, sequence=sequence)]
    assert None not in ends, "every activation ends"
    found = strengths_of(told, sequence=sequence)
    assert max(found, default=0) < length, "nothing acts behind the row's end"
    return [
        tuple(found.get(position, {}).get(name, 0.0) for name in ("one", "two", "three"))
        for position in range(length)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_cache": False},
        {"prompt_lookup_num_tokens": 4},
        {"assistant": True},
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2, "use_cache": False},
    ],
    ids=["cache", "no cache", "prompt lookup", "assistant", "beams", "beams without cache"],
)
def test_the_log_rebuilds_the_strength_of_every_position(options: dict[str, Any], tmp_path: Path) -> None:
    made = bench("llama")
    if options.pop("assistant", False):
        options["assistant_model"] = tiny("llama", seed=0)
    alone = "prompt_lookup_num_tokens" in options or "assistant_model" in options
    prompts = PROMPTS[:1] if alone else PROMPTS
    with wrap(made, tmp_path, audit=tmp_path / "log") as guard:
        names = [{"request": f"r{i}"} for i in range(len(prompts))]
        found = run(guard, prompts, guard=names, **options)
    returned = options.get("num_return_sequences", 1)
    active = 0
    for place, written in enumerate(found):
        prompt = prompts[place // returned]
        # The last token was chosen, but no pass went through it.
        expected = made.reference.strengths(prompt, written[:-1])
        told = rebuilt(tmp_path / "log", f"r{place // returned}", place % returned, len(expected))
        assert told == expected
        active += sum(any(row) for row in expected)
        ends = [
            s.event
            for s in read(tmp_path / "log", f"r{place // returned}")
            if isinstance(s.event, RequestEnded) and s.event.sequence == place % returned
        ]
        assert [end.generated_tokens for end in ends] == [TOKENS]
        assert ends[0].steered_tokens == sum(any(row) for row in expected[len(prompt) - 1 :])
    assert active, "something must be steered for this test to mean anything"
    assert verify(tmp_path / "log").ok


def test_a_vector_acts_at_the_positions_that_it_names_and_no_other(tmp_path: Path) -> None:
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: places\nvectors:\n"
        "  one: {use: ./none, positions: [last_prompt_token]}\n"
        "  two: {use: ./none, positions: [generated]}\n"
        "  three: {use: ./none, positions: [all]}\n"
        "rules:\n  - id: always\n    when: step >= 0\n    add:\n"
        "      - {vector: one, strength: 0.5}\n"
        "      - {vector: two, strength: 0.5}\n"
        "      - {vector: three, strength: 0.5}\n"
    )
    with wrap(made, tmp_path, text, audit=tmp_path / "log", classifiers={}) as guard:
        run(guard, PROMPTS[:1])
    n = len(PROMPTS[0])
    ended = {
        s.event.vector: (s.event.first, s.event.last)
        for s in read(tmp_path / "log")
        if isinstance(s.event, ActivationEnded)
    }
    last = n - 1 + TOKENS - 1
    assert ended == {"one": (n - 1, n - 1), "two": (n, last), "three": (0, last)}


def test_a_flag_is_told_with_its_score_and_the_threshold_that_it_crossed(tmp_path: Path) -> None:
    made = bench("llama")
    with wrap(made, tmp_path, audit=tmp_path / "log") as guard:
        run(guard, PROMPTS)
    changes = [s.event for s in read(tmp_path / "log") if isinstance(s.event, FlagChanged)]
    assert {change.up for change in changes} == {True, False}
    for change in changes:
        assert change.threshold == (0.6 if change.up else 0.3)
        assert change.score is not None
        assert (change.score >= change.threshold) is change.up


def test_two_rules_that_follow_each_other_are_two_activations(tmp_path: Path) -> None:
    """Even where vector and strength are the same: the log says on whose account."""
    made = bench("llama")
    text = (
        "guardsteer: 1\nname: relay\nvectors: {one: {use: ./none, positions: [generated]}}\nrules:\n"
        "  - {id: first, when: step < 4, add: {vector: one, strength: 0.5}}\n"
        "  - {id: second, when: step >= 4, add: {vector: one, strength: 0.5}}\n"
    )
    with wrap(made, tmp_path, text, audit=tmp_path / "log", classifiers={}) as guard:
        run(guard, PROMPTS[:1])
    ended = [s.event for s in read(tmp_path / "log") if isinstance(s.event, ActivationEnded)]
    n = len(PROMPTS[0])
    spans = [(event.rule, event.first, event.last) for event in ended]
    assert spans == [("first", n, n + 2), ("second", n + 3, n - 1 + TOKENS - 1)]


class StopsFirstRow(StoppingCriteria):
    """Ends row 0 after three tokens, as a stop string would."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, input_ids: Tensor, *_: Any, **__: Any) -> Tensor:
        done = torch.zeros(len(input_ids), dtype=torch.bool)
        done[0] = input_ids.shape[1] - self.width >= 3
        return done


def test_nothing_is_decided_behind_a_row_that_something_else_ended(tmp_path: Path) -> None:
    made = bench("llama")
    text = "guardsteer: 1\nname: late\nvectors: {one: {use: ./none}}\n"
    text += "rules: [{id: late, when: step >= 5, add: {vector: one, strength: 0.5}}]\n"
    width = max(map(len, PROMPTS))
    with wrap(made, tmp_path, text, audit=tmp_path / "log", classifiers={}) as guard:
        names = [{"request": f"r{n}"} for n in range(len(PROMPTS))]
        stop = StoppingCriteriaList([StopsFirstRow(width)])
        run(guard, PROMPTS, guard=names, stopping_criteria=stop)
    fired = [{type(s.event) for s in read(tmp_path / "log", f"r{n}")} >= {RuleFired} for n in range(3)]
    assert fired == [False, True, True]


def test_the_log_is_written_while_the_answer_is(tmp_path: Path) -> None:
    """Whoever watches the log need not wait for the end, and a crash leaves what was done until then."""
    made = bench("llama")
    text = "guardsteer: 1\nname: early\nvectors: {one: {use: ./none}}\n"
    text += "rules: [{id: early, when: step >= 2, add: {vector: one, strength: 0.5}}]\n"
    journal = open_journal(tmp_path / "log", key=KEY)
    seen: list[bool] = []

    class Watcher:
        def put(self, _: Tensor) -> None:
            journal.flush()
            seen.append(any(isinstance(s.event, RuleFired) for s in read(tmp_path / "log")))

        def end(self) -> None:
            seen.append(any(isinstance(s.event, RequestEnded) for s in read(tmp_path / "log")))

    with wrap(made, tmp_path, text, audit=journal, classifiers={}) as guard:
        run(guard, PROMPTS[:1], streamer=Watcher())
    # The prompt, then a token a call: the third token's pass makes step 2 certain.
    assert seen[:4] == [False, False, False, False]
    assert seen[5:-1] == [True] * (len(seen) - 6)
    assert seen[-1] is False
    journal.close()


def test_no_text_of_prompt_or_answer_is_in_the_log(tmp_path: Path) -> None:
    made = bench("llama")
    secret = "SECRET42 words of a customer"
    with wrap(made, tmp_path, audit=tmp_path / "log") as guard:
        written = run(guard, [made.tokenizer(secret)["input_ids"]])
    answer = made.tokenizer.decode(written[0])
    data = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert b"SECRET42" not in data
    assert answer.encode() not in data
    assert str(written[0])[1:-1].encode() not in data


def test_coming_and_going_is_on_record(tmp_path: Path) -> None:
    made = bench("llama")
    guard = wrap(made, tmp_path, audit=tmp_path / "log")
    guard.detach()
    events = [s.event for s in read(tmp_path / "log") if isinstance(s.event, Attached | Detached)]
    assert [type(event) for event in events] == [Attached, Detached]
    assert isinstance(events[0], Attached)
    assert set(events[0].vectors) == {"one", "two", "three"}
    assert events[0].policy_digest == guard.policy.digest


def test_a_generation_that_raises_is_on_record(tmp_path: Path) -> None:
    made = bench("llama")

    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("streamer")

    streamer = type("Streamer", (), {"put": fail, "end": fail})()
    with wrap(made, tmp_path, audit=tmp_path / "log") as guard:
        with pytest.raises(KeyError):
            run(guard, PROMPTS[:1], streamer=streamer)
        assert run(guard, PROMPTS[:1]) == [made.reference.generate(PROMPTS[0], TOKENS)]
    kinds = [type(s.event) for s in read(tmp_path / "log")]
    assert RequestFailed in kinds


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_generation_that_raises_tells_what_was_applied_and_no_more(calls: int, tmp_path: Path) -> None:
    """The streamer is called once with the prompt, before any pass, and then after each."""
    made = bench("llama")
    text = "guardsteer: 1\nname: all\nvectors: {one: {use: ./none, positions: [all]}}\n"
    text += "rules: [{id: r, when: step >= 0, add: {vector: one, strength: 0.5}}]\n"

    class Streamer:
        left = calls

        def put(self, _: Tensor) -> None:
            self.left -= 1
            if not self.left:
                raise KeyError("streamer")

        def end(self) -> None:
            pass

    with (
        wrap(made, tmp_path, text, audit=tmp_path / "log", classifiers={}) as guard,
        pytest.raises(KeyError),
    ):
        run(guard, PROMPTS[:1], streamer=Streamer())
    ended = [s.event for s in read(tmp_path / "log") if isinstance(s.event, ActivationEnded)]
    passes = calls - 1
    expected = [(0, len(PROMPTS[0]) - 1 + passes - 1)] if passes else []
    assert [(event.first, event.last) for event in ended] == expected


def test_a_pass_that_breaks_off_is_not_told(tmp_path: Path) -> None:
    made = bench("llama")
    text = "guardsteer: 1\nname: all\nvectors: {one: {use: ./none, positions: [generated]}}\n"
    text += "rules: [{id: r, when: step >= 0, add: {vector: one, strength: 0.5}}]\n"
    passes = [0]

    def broken(*_: Any) -> None:
        passes[0] += 1
        if passes[0] == 4:
            raise KeyError("block")

    with wrap(made, tmp_path, text, audit=tmp_path / "log", classifiers={}) as guard:
        handle = made.model.model.layers[0].register_forward_pre_hook(broken)
        with pytest.raises(KeyError):
            run(guard, PROMPTS[:1])
        handle.remove()
    ended = [s.event for s in read(tmp_path / "log") if isinstance(s.event, ActivationEnded)]
    n = len(PROMPTS[0])
    # Prefill and two more passes ended; the fourth, over position n + 2, did not.
    assert [(event.first, event.last) for event in ended] == [(n, n + 1)]


class Broken(LastCharacters):
    """Raises once the text has three characters."""

    def start(self) -> LastState:
        return BrokenState(self.seed)


class BrokenState(LastState):
    def push(self, text: str) -> None:
        super().push(text)
        if len(self.text) >= 3:
            raise ValueError("broken classifier")

    def fork(self) -> LastState:
        return BrokenState(self.seed, self.text)


def test_a_classifier_that_raises_counts_as_missing_and_is_on_record(tmp_path: Path) -> None:
    """Fail closed: nothing is steered on its account, and what protects fires."""
    made = bench("llama")
    text = POLICY + '  - {id: stop, when: said.score > 2, halt: true}\nfallback: "No."\n'
    with wrap(
        made,
        tmp_path,
        text,
        audit=tmp_path / "log",
        classifiers={**made.classifiers, "said": Broken(1)},
    ) as guard:
        written = run(guard, PROMPTS[:1], guard={"request": "r"}, suppress_tokens=[0, 1])[0]
    assert written[3:] == [*made.tokenizer("No.")["input_ids"], 2]
    events = [s.event for s in read(tmp_path / "log", "r")]
    failed = [event for event in events if isinstance(event, ClassifierFailed)]
    assert [(event.step, event.classifier) for event in failed] == [(3, "said")]
    assert re.fullmatch(rf"ValueError at {__name__}:[0-9]+", failed[0].error)
    assert any(isinstance(event, RowHalted) and event.step == 3 for event in events)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """A disk that is full while the list holds True."""
    full = [False]
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        if full[0] and len(data) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    yield full
    full[0] = False


@pytest.mark.parametrize("on_error", ["closed", "open", "halt"])
def test_what_happens_when_the_log_cannot_be_written_is_the_policys_choice(
    on_error: str, full_disk: list[bool], tmp_path: Path
) -> None:
    made = bench("llama")
    bare = run(made.model, PROMPTS)
    steered = [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
    text = POLICY + f"audit: {{on_error: {on_error}}}\nfallback: 'No.'\n"
    journal = open_journal(tmp_path / "log", key=KEY)
    guard = wrap(made, tmp_path, text, audit=journal)
    assert run(guard, PROMPTS) == steered
    full_disk[0] = True
    guard.generate(**batch(PROMPTS[:1]), max_new_tokens=1)
    deadline_s = time.monotonic() + 10
    while not journal.failed and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert journal.failed
    found = run(guard, PROMPTS, suppress_tokens=[0, 1] if on_error == "halt" else list(SPECIAL))
    if on_error == "halt":
        fallback = [*made.tokenizer("No.")["input_ids"], 2]
        assert [row[: len(fallback)] for row in found] == [fallback] * len(PROMPTS)
    else:
        assert found == (bare if on_error == "closed" else steered)
    full_disk[0] = False
    guard.detach()
    journal.close()
    assert verify(tmp_path / "log").ok
