"""The log tells what was applied: from it alone, every position's strengths can be rebuilt."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import guardsteer
from guardsteer.audit import open_journal, read, verify
from guardsteer.core.events import (
    ActivationBegan,
    ActivationEnded,
    Attached,
    ClassifierFailed,
    Detached,
    RequestEnded,
    RequestFailed,
    RowHalted,
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
    rows = [[0.0] * 3 for _ in range(length)]
    names = ["one", "two", "three"]
    begun: dict[str, ActivationBegan] = {}
    for stored in read(folder, request):
        event = stored.event
        if isinstance(event, ActivationBegan) and event.sequence == sequence:
            begun[event.vector] = event
        if isinstance(event, ActivationEnded) and event.sequence == sequence:
            assert begun.pop(event.vector).position == event.first
            for position in range(event.first, event.last + 1):
                rows[position][names.index(event.vector)] = event.applied
    assert not begun, "every activation ends"
    return [tuple(row) for row in rows]


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
    assert "broken classifier" in failed[0].error
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


@pytest.mark.parametrize("on_failure", ["stop_steering", "continue", "halt"])
def test_what_happens_when_the_log_cannot_be_written_is_the_policys_choice(
    on_failure: str, full_disk: list[bool], tmp_path: Path
) -> None:
    made = bench("llama")
    bare = run(made.model, PROMPTS)
    steered = [made.reference.generate(prompt, TOKENS) for prompt in PROMPTS]
    text = POLICY + f"audit: {{on_failure: {on_failure}}}\nfallback: 'No.'\n"
    journal = open_journal(tmp_path / "log", key=KEY)
    guard = wrap(made, tmp_path, text, audit=journal)
    assert run(guard, PROMPTS) == steered
    full_disk[0] = True
    guard.generate(**batch(PROMPTS[:1]), max_new_tokens=1)
    deadline_s = time.monotonic() + 10
    while not journal.failed and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert journal.failed
    found = run(guard, PROMPTS, suppress_tokens=[0, 1] if on_failure == "halt" else list(SPECIAL))
    if on_failure == "halt":
        fallback = [*made.tokenizer("No.")["input_ids"], 2]
        assert [row[: len(fallback)] for row in found] == [fallback] * len(PROMPTS)
    else:
        assert found == (bare if on_failure == "stop_steering" else steered)
    full_disk[0] = False
    guard.detach()
    journal.close()
    assert verify(tmp_path / "log").ok
