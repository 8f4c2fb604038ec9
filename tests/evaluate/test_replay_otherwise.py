"""What would have been said under other rules, strengths or no guard; and what another policy decides."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.core.policy import Binding
from guardsteer.errors import PolicyError, ReplayError
from guardsteer.evaluate.replay import Changes, Stage, read_log, replay
from guardsteer.evaluate.replay.telling import format_replay
from tests.evaluate.recordings import KEY, POLICIES, Call, Recording, record
from tests.host.chat_tokenizer import TEMPLATES
from tests.models import PAD
from tests.runtime.harness import Bench, LastCharacters, LastState, bench

PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80]]
SETTINGS: dict[str, Any] = {"max_new_tokens": 16, "do_sample": True, "temperature": 0.7}


@pytest.fixture(scope="module")
def made() -> Bench:
    return bench("llama")


@pytest.fixture
def recording(made: Bench, tmp_path: Path) -> Recording:
    return record(made, POLICIES["steers"], [Call(PROMPTS, SETTINGS, 12)], tmp_path / "then")


def said_under(made: Bench, policy: str, folder: Path) -> tuple[int, ...]:
    """Return what the first row says under another policy, in the same call with the same draws."""
    return record(made, policy, [Call(PROMPTS, SETTINGS, 12)], folder).made[0].tokens


def without_line(policy: str, rule: str) -> str:
    lines = policy.splitlines(keepends=True)
    assert sum(f"id: {rule}," in line for line in lines) == 1
    return "".join(line for line in lines if f"id: {rule}," not in line)


@pytest.mark.parametrize("rule", ["push", "pull", "whole"])
def test_without_a_rule_is_said_what_the_policy_without_it_says(
    made: Bench, recording: Recording, rule: str, tmp_path: Path
) -> None:
    found = recording.replay(recording.made[0], changes=Changes(without=[rule]))
    assert found.same
    (version,) = found.versions
    assert version.name == f"without {rule}"
    expected = said_under(made, without_line(POLICIES["steers"], rule), tmp_path / "other")
    assert version.said.tokens == expected[: len(version.said.tokens)]


@pytest.mark.parametrize(
    ("strengths", "old", "new"),
    [
        ({"one": 0.0}, "vector: one, strength: 0.8", ""),
        ({"one": 0.3}, "vector: one, strength: 0.8", "vector: one, strength: 0.3"),
        ({"two": 2.0}, "vector: two, strength: 0.5", "vector: two, strength: 2.0"),
    ],
)
def test_at_another_strength_is_said_what_the_policy_with_it_says(
    made: Bench, recording: Recording, strengths: dict[str, float], old: str, new: str, tmp_path: Path
) -> None:
    found = recording.replay(recording.made[0], changes=Changes(strengths=strengths))
    text = POLICIES["steers"].replace(old, new) if new else without_line(POLICIES["steers"], "push")
    expected = said_under(made, text, tmp_path / "other")
    (version,) = found.versions
    assert version.said.tokens == expected[: len(version.said.tokens)]
    assert version.parting is not None
    place = version.parting.token
    assert version.said.tokens[:place] == found.replayed.tokens[:place]
    assert version.said.tokens[place] != found.replayed.tokens[place]
    assert version.parting.both + version.parting.one == found.replayed.text
    assert f"another from token {place} on" in format_replay(found)


def test_ablations_clamps_and_rules_that_are_left_with_nothing_can_be_taken_out(
    made: Bench, tmp_path: Path
) -> None:
    recording = record(made, POLICIES["shapes"], [Call(PROMPTS, SETTINGS, 12)], tmp_path / "then")
    out = {"one": 0.0, "two": 0.0, "three": 0.0}
    found = recording.replay(recording.made[0], changes=Changes(strengths=out, bare=True))
    nothing, bare = found.versions
    assert nothing.said == bare.said
    assert nothing.said != found.replayed


def test_bare_is_what_the_model_says_without_a_guard(made: Bench, recording: Recording) -> None:
    found = recording.replay(recording.made[0], changes=Changes(bare=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12)
        ids = made.model.generate(
            torch.tensor([PROMPTS[0], [PAD] * 4 + PROMPTS[1]]),
            attention_mask=torch.tensor([[1] * 7, [0] * 4 + [1] * 3]),
            pad_token_id=PAD,
            **SETTINGS,
        )
    (version,) = found.versions
    assert version.name == "bare"
    assert version.said.tokens == tuple(ids[0, 7:].tolist())[: len(version.said.tokens)]
    assert version.said != found.replayed


def test_changes_that_do_not_fit_are_refused_all_at_once(recording: Recording) -> None:
    changes = Changes(without=["nope"], strengths={"none": 1.0, "one": -1.0})
    with pytest.raises(ReplayError) as raised:
        recording.replay(recording.made[0], changes=changes)
    message = str(raised.value)
    assert "has no such rule; it has push, pull, whole" in message
    assert "no rule of the recorded policy uses such a vector; they use one, three, two" in message
    assert "expected 0 or more" in message
    with pytest.raises(ReplayError, match="nothing is decided"):
        recording.replay(recording.made[0], as_recorded=True, changes=Changes(without=["push"]))


def test_shares_and_bounds_take_no_strength_beyond_theirs(made: Bench, tmp_path: Path) -> None:
    recording = record(made, POLICIES["shapes"], [Call(PROMPTS[:1], SETTINGS, 1)], tmp_path)
    with pytest.raises(ReplayError, match="takes a share, 0 to 1") as raised:
        recording.replay(recording.made[0], changes=Changes(strengths={"one": 1.5, "two": 0.5}))
    assert "a clamp has bounds and no strength" in str(raised.value)


# --- today's policy -------------------------------------------------------------------------------


def today(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def test_the_same_policy_decides_the_same(recording: Recording, tmp_path: Path) -> None:
    for row in recording.made:
        found = recording.replay(row, today=today(tmp_path, POLICIES["steers"] + "# reviewed\n"))
        assert found.same
        assert found.today is not None
        assert found.today.decisions.same
        assert found.today.policy_digest != found.policy_digest
        assert found.today.mode == "shadow"


def test_where_another_policy_parts_is_told_step_by_step(recording: Recording, tmp_path: Path) -> None:
    text = POLICIES["steers"].replace("enter: 0.6, exit: 0.3", "enter: 0.2").replace("0.5}}", "0.4}}")
    row = max(recording.made, key=lambda row: len(recording.log.of(row.request).row.acts))
    found = recording.replay(row, today=today(tmp_path, text))
    assert found.same
    assert found.decisions.same
    assert found.today is not None
    parts = found.today.decisions
    told = recording.log.of(row.request).row
    # The policy that asks for less raises the flag at the first step at which the score is enough for it.
    assert parts.flags.keys() == {"up"}
    assert parts.parts_at == min(*parts.flags.values(), *(plan.first for plan in parts.plans))
    assert parts.parts_at is not None
    assert not any(turn.state for turn in told.flags.get("up", []) if turn.step < parts.flags["up"])
    assert f"NOT THE SAME from step {parts.parts_at} on" in format_replay(found)


def test_a_policy_that_is_off_or_fails_says_so(recording: Recording, tmp_path: Path) -> None:
    off = POLICIES["steers"] + 'binding: {mode: "off"}\n'
    found = recording.replay(recording.made[0], today=today(tmp_path, off))
    assert found.today is not None
    assert found.today.mode == "off"
    assert "would not see this request" in format_replay(found)
    with pytest.raises(PolicyError):
        recording.replay(recording.made[0], today=today(tmp_path, "guardsteer: 1\n"))


def test_a_policy_of_today_is_asked_about_a_request_replayed_as_recorded(
    recording: Recording, tmp_path: Path
) -> None:
    path = today(tmp_path, POLICIES["steers"])
    found = recording.replay(recording.made[0], as_recorded=True, today=path)
    assert found.same
    assert found.today is not None
    assert found.today.decisions.same


# --- what a request brings along ------------------------------------------------------------------


POLICY_OF_CHATS = """\
guardsteer: 1
name: chats
context: {tier: int}
classifiers:
  asked: {use: ./none, on: user}
  said: {use: ./none, on: generation}
vectors:
  one: {use: ./none, positions: [assistant, last_prompt_token, generated]}
overrides:
  - {vector: one, from: 0, to: 0.9, outside: clamp}
rules:
  - {id: push, when: "asked.score >= 0.0 && request.tier > 1", add: {vector: one, strength: 0.5}}
  - {id: rest, when: "said.score >= 0.9", disable: one}
"""


def test_turns_context_wishes_and_candidates_come_again(tmp_path: Path) -> None:
    made = bench("llama", template=TEMPLATES["chatml"])
    home, beside = today(tmp_path / "p", POLICY_OF_CHATS), tmp_path / "beside.yaml"
    beside.write_text(POLICY_OF_CHATS.replace("tier: int", "tier: int, extra: bool"))
    parts: dict[str, Any] = {
        "vectors": {"one": made.vectors["one"]},
        "classifiers": {"asked": LastCharacters(2), "said": LastCharacters(1)},
    }
    chat = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "how?"},
    ]
    with (
        open_journal(tmp_path / "log", key=KEY) as journal,
        guardsteer.wrap(
            made.model, made.tokenizer, policy=home, audit=journal, candidates={"new": beside}, **parts
        ) as guard,
    ):
        inputs = guard.chat(chat)
        entry = {
            "request": "c",
            "tier": 3,
            "extra": True,
            "strengths": {"one": 1.5},
            **inputs.pop("guard")[0],
        }
        guard.generate(**inputs, guard=[entry], max_new_tokens=10, pad_token_id=PAD)
    told = read_log(read(tmp_path / "log")).of("c")
    assert told.row.acts
    assert told.started.overrides == {"one": (1.5, 0.9)}
    stage = Stage(made.model, made.tokenizer, KEY, **parts)
    tokens = inputs["input_ids"][0].tolist()
    for given in (chat, tokens, made.tokenizer.decode(tokens)):
        found = replay(told, stage, [given], home=home)
        assert found.same
        assert found.decisions.same
    assert replay(told, stage, [tokens], home=home, as_recorded=True).same
    # The strength that the request chose goes with the vector's own.
    found = replay(told, stage, [tokens], home=home, changes=Changes(strengths={"one": 0.0}, bare=True))
    assert found.versions[0].said == found.versions[1].said
    # What only a candidate declared is brought along where today's policy declares it.
    found = replay(told, stage, [tokens], home=home, today=beside)
    assert found.today is not None
    assert found.today.decisions.same


def test_an_output_is_found_as_text_and_as_tokens(recording: Recording) -> None:
    row = recording.made[0]
    ended = recording.log.of(row.request).ended
    tokens = row.tokens[: ended.generated_tokens]
    text = recording.stage.tokenizer.decode(tokens, skip_special_tokens=True)
    assert recording.replay(row, output=tokens).recorded == recording.replay(row).recorded
    if tuple(recording.stage.tokenizer(text, add_special_tokens=False)["input_ids"]) == tokens:
        assert recording.replay(row, output=text).recorded == recording.replay(row).recorded


def test_a_row_under_a_rollout_is_in_the_same_arm_again(made: Bench, tmp_path: Path) -> None:
    policy = POLICIES["steers"] + (
        "binding: {mode: enforce, rollout: {percent: 50, by: request.request, otherwise: shadow}, "
        "arms: [new, old], rules: {pull: shadow}}\n"
    )
    calls = [Call([prompt], {**SETTINGS, "do_sample": False}) for prompt in PROMPTS * 4]
    recording = record(made, policy, calls, tmp_path)
    modes = set()
    for row in recording.made:
        told = recording.log.of(row.request)
        modes.add(told.started.mode)
        for options in ({}, {"as_recorded": True}):
            found = recording.replay(row, **options)
            assert found.same
            assert found.decisions.same
    assert modes == {"enforce", "shadow"}


def test_the_binding_that_stood_in_the_place_of_the_policys_own_holds_again(
    made: Bench, tmp_path: Path
) -> None:
    calls = [Call([prompt], {**SETTINGS, "do_sample": False}) for prompt in PROMPTS]
    recording = record(made, POLICIES["steers"], calls, tmp_path, binding=Binding(mode="shadow"))
    for row in recording.made:
        found = recording.replay(row, changes=Changes(bare=True))
        assert found.same
        assert found.decisions.same
        assert found.versions[0].parting is None


class SlowOnce(LastCharacters):
    """A classifier that takes a second for the first text that it reads."""

    def start(self) -> Any:
        return SlowState(self.seed)


class SlowState(LastState):
    def push(self, text: str) -> None:
        if not self.text:
            time.sleep(1.0)
        super().push(text)

    def fork(self) -> SlowState:
        return SlowState(self.seed, self.text)


def test_a_deadline_that_was_kept_then_plays_no_part(made: Bench, tmp_path: Path) -> None:
    policy = POLICIES["steers"].replace("on: generation}", "on: generation, deadline_ms: 500}")
    recording = record(made, policy, [Call(PROMPTS[:1], {**SETTINGS, "do_sample": False})], tmp_path)
    row = recording.made[0]
    told = recording.log.of(row.request)
    assert not told.row.late
    assert any(turn.state and turn.step <= 2 for turn in told.row.flags.get("up", []))
    slow = replace(recording.stage, classifiers={**made.classifiers, "said": SlowOnce(1)})
    found = replace(recording, stage=slow).replay(row)
    assert found.same
    assert found.decisions.same
