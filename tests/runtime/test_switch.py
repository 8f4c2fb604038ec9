"""The kill switch sets every strength to zero within one step, in flight too, and the log says so."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.core.events import ActivationBegan, ActivationEnded, Resumed, RowHalted, Stopped
from guardsteer.runtime.switch import STOP_VARIABLE, Switch
from tests.runtime.harness import SPECIAL, Bench, batch, bench, policy_file

TOKENS = 14
PROMPT = [40, 77, 90, 101, 60, 45, 33]
ALWAYS = """
guardsteer: 1
name: always
vectors: {one: {use: ./none, positions: [last_prompt_token, generated]}}
rules: [{id: push, when: "true", add: {vector: one, strength: 0.9}}]
"""


class At(LogitsProcessor):
    """Calls ``act`` when the token after ``written`` ones is about to be chosen."""

    def __init__(self, written: int, act: Callable[[], object]) -> None:
        self.length = len(PROMPT) + written
        self.act = act

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] == self.length:
            self.act()
        return scores


def wrap(made: Bench, folder: Path, text: str = ALWAYS, **options: Any) -> Any:
    given = {"vectors": made.vectors, "classifiers": made.classifiers, **options}
    return guardsteer.wrap(made.model, made.tokenizer, policy=policy_file(folder, text), **given)


def run(model: Any, *steps: At, **options: Any) -> list[int]:
    ids: list[int] = model.generate(
        **batch([PROMPT]),
        max_new_tokens=TOKENS,
        do_sample=False,
        suppress_tokens=list(SPECIAL),
        logits_processor=list(steps),
        **options,
    )[0].tolist()
    return ids[len(PROMPT) :]


@pytest.mark.parametrize("cause", ["call", "file", "environment"])
def test_each_way_to_stop_leaves_the_bare_model_and_can_be_taken_back(
    cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench("llama")
    bare, file = run(made.model), tmp_path / "STOP"
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, tmp_path, audit=journal, stop_file=file)
    steered = run(guard)
    assert steered != bare
    assert not guard.stopped
    match cause:
        case "call":
            guard.stop("a drill")
        case "file":
            file.write_text("")
        case "environment":
            monkeypatch.setenv(STOP_VARIABLE, "1")
    assert run(guard) == bare
    assert guard.stopped
    match cause:
        case "call":
            guard.resume("over")
        case "file":
            file.unlink()
        case "environment":
            monkeypatch.setenv(STOP_VARIABLE, "0")
    assert run(guard) == steered
    assert not guard.stopped
    guard.detach()
    journal.close()
    told = [stored.event for stored in read(tmp_path / "log") if isinstance(stored.event, Stopped | Resumed)]
    reasons = ("a drill", "over") if cause == "call" else ("", "")
    assert [(type(event), event.by, event.reason) for event in told] == [
        (Stopped, cause, reasons[0]),
        (Resumed, cause, reasons[1]),
    ]


def test_the_variable_is_found_in_whatever_stands_for_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch = Switch("guard", lambda _: None)
    environments: list[MutableMapping[str, str]] = [os.environ, {}]
    for stand_in in environments:
        monkeypatch.setattr(os, "environ", stand_in)
        monkeypatch.delitem(os.environ, STOP_VARIABLE, raising=False)
        assert not switch.active()
        for value, stops in (("1", True), ("0", False), ("", False), ("yes", True)):
            monkeypatch.setitem(os.environ, STOP_VARIABLE, value)
            assert switch.active() is stops
        monkeypatch.delitem(os.environ, STOP_VARIABLE)
        assert not switch.active()


def test_a_stop_in_flight_acts_on_the_very_next_pass_and_the_log_ends_there(tmp_path: Path) -> None:
    made = bench("llama")
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, tmp_path, audit=journal)
    steered = run(guard)
    found = run(guard, At(5, guard.stop))
    assert found[:6] == steered[:6], "the pass under way was steered"
    guard.resume()
    back = run(guard, At(3, guard.stop), At(7, guard.resume))
    assert back[:4] == steered[:4]
    guard.detach()
    journal.close()
    events = [stored.event for stored in read(tmp_path / "log")]
    ended = [event for event in events if isinstance(event, ActivationEnded)]
    began = [event for event in events if isinstance(event, ActivationBegan)]
    first = len(PROMPT) - 1
    spans = [(event.first, event.last) for event in ended]
    assert spans == [
        (first, first + TOKENS - 1),
        (first, first + 5),
        (first, first + 3),
        (first + 8, first + TOKENS - 1),
    ]
    assert [event.position for event in began] == [span[0] for span in spans]


def test_where_only_generated_positions_are_steered_a_stop_before_the_first_leaves_the_bare_text(
    tmp_path: Path,
) -> None:
    made = bench("llama")
    bare = run(made.model)
    guard = wrap(made, tmp_path, ALWAYS.replace("[last_prompt_token, generated]", "[generated]"))
    assert run(guard) != bare
    assert run(guard, At(0, guard.stop)) == bare
    guard.detach()


def test_protection_goes_on_while_steering_is_stopped(tmp_path: Path) -> None:
    made = bench("llama")
    end = "{id: end, when: step >= 3, halt: true}"
    text = ALWAYS.replace("0.9}}]", f"0.9}}}}, {end}]") + "fallback: 'No.'\n"
    journal = open_journal(tmp_path / "log")
    guard = wrap(made, tmp_path, text, audit=journal)
    guard.stop()
    fallback = [*made.tokenizer("No.")["input_ids"], 2]
    ids = guard.generate(**batch([PROMPT]), max_new_tokens=TOKENS, do_sample=False, suppress_tokens=[0, 1])
    assert ids[0].tolist()[len(PROMPT) + 3 :][: len(fallback)] == fallback
    guard.detach()
    journal.close()
    assert any(isinstance(stored.event, RowHalted) for stored in read(tmp_path / "log"))


def test_a_file_is_looked_for_at_every_pass_whatever_else_came_and_went(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    switch = Switch("guard", lambda _: None, stop)
    assert not switch.active()
    switch.stop()
    assert switch.active()
    switch.resume()
    assert not switch.active()
    stop.touch()
    assert switch.active()
    stop.unlink()
    assert not switch.active()


def test_a_call_that_stops_while_another_cause_goes_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = Switch("guard", lambda _: None)
    monkeypatch.setenv(STOP_VARIABLE, "1")
    assert switch.active()
    monkeypatch.delenv(STOP_VARIABLE)

    def looks(self: Switch) -> frozenset[str]:
        # What it finds, nothing, is on its way back when the call comes.
        self._called = True
        return frozenset()

    with monkeypatch.context() as patch:
        patch.setattr(Switch, "_present", looks)
        assert not switch.active()
    assert switch.active()
