"""A replay gives a row's tokens and decisions again, and says why where it cannot."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.audit import open_journal, read
from guardsteer.core.events import ClassifierLate
from guardsteer.core.policy import Binding
from guardsteer.errors import ReplayError
from guardsteer.evaluate.replay import Changes, Stage, read_log, replay
from guardsteer.evaluate.replay.telling import format_replay
from tests.evaluate.recordings import KEY, POLICIES, Call, Recording, draw_call, record, threads
from tests.models import PAD
from tests.runtime.harness import Bench, LastCharacters, bench, random_vector

ARCHITECTURES = ("llama", "gpt2", "gpt_neox", "bloom")
PROMPT = [40, 77, 90, 101, 60, 45, 33]
GREEDY: dict[str, Any] = {"max_new_tokens": 14, "do_sample": False}


@pytest.fixture(scope="module")
def made() -> Bench:
    return bench("llama")


def one(made: Bench, folder: Path, policy: str = "steers", **settings: Any) -> Recording:
    """Record one greedy row."""
    return record(made, POLICIES[policy], [Call([PROMPT], {**GREEDY, **settings})], folder)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tokens_and_decisions_come_again(architecture: str, policy: str, tmp_path: Path) -> None:
    draw = random.Random(f"{architecture} {policy}")
    calls = [draw_call(draw, rows=rows, sample=sample) for rows in (1, 3) for sample in (False, True)]
    recording = record(bench(architecture), POLICIES[policy], calls, tmp_path)
    acted = 0
    for row in recording.made:
        told = recording.log.of(row.request)
        acted += len(told.row.acts)
        several = told.started.rows > 1
        for company, options in (
            ("whole" if several else "single", {}),
            ("stand-ins" if several else "single", {"whole": False}),
            ("stand-ins" if several else "single", {"whole": False, "as_recorded": True}),
        ):
            found = recording.replay(row, **options)
            assert found.company == company
            assert found.same
            assert found.decisions.same
            assert found.replayed.tokens == row.tokens[: len(found.replayed.tokens)]
    assert acted, "something must be steered for this test to mean anything"


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 2, "eos_token_id": [2, 40]},
        {"prompt_lookup_num_tokens": 3},
        {"use_cache": False, "suppress_tokens": [1, 2], "repetition_penalty": 1.3},
        {"max_new_tokens": None, "max_length": 16},
        {"do_sample": True, "sequence_bias": [[[50], 2.0]], "top_k": 0, "min_p": 0.02},
    ],
    ids=["beams", "sequences", "lookup", "no cache", "length", "bias"],
)
def test_ways_of_decoding_come_again(made: Bench, settings: dict[str, Any], tmp_path: Path) -> None:
    prompts = [PROMPT] if "prompt_lookup_num_tokens" in settings else [PROMPT, PROMPT[:3]]
    call = Call(prompts, {**GREEDY, **settings}, seed=5 if settings.get("do_sample") else None)
    recording = record(made, POLICIES["steers"], [call], tmp_path)
    assert len(recording.made) == len(prompts) * settings.get("num_return_sequences", 1)
    for row in recording.made:
        found = recording.replay(row)
        assert found.same
        assert found.decisions.same


def test_what_was_done_to_beams_that_lost_cannot_be_done_as_recorded(made: Bench, tmp_path: Path) -> None:
    recording = one(made, tmp_path, num_beams=2)
    with pytest.raises(ReplayError, match="beams"):
        recording.replay(recording.made[0], as_recorded=True)


def test_a_replay_leaves_model_settings_and_random_numbers_as_they_were(made: Bench, tmp_path: Path) -> None:
    recording = record(made, POLICIES["halts"], [Call([PROMPT], {**GREEDY, "do_sample": True}, 3)], tmp_path)
    torch.rand(5)
    kept, state = made.model.generation_config, torch.get_rng_state()
    recording.replay(recording.made[0])
    assert made.model.generation_config is kept
    assert torch.equal(torch.get_rng_state(), state)
    assert "generate" not in vars(made.model)
    assert not any(module._forward_hooks for module in made.model.modules())


def test_the_models_own_settings_of_today_do_not_count(tmp_path: Path) -> None:
    recording = one(bench("llama"), tmp_path)
    recording.stage.model.generation_config.repetition_penalty = 5.0
    recording.stage.model.generation_config.suppress_tokens = list(range(30, 120))
    assert recording.replay(recording.made[0]).same


@pytest.mark.parametrize("most", [1, 2])
def test_text_that_the_prompt_has_taken_back_comes_again_as_recorded(
    made: Bench, most: int, tmp_path: Path
) -> None:
    policy = POLICIES["revises"].replace("when: said.score >= 0.9", "when: asked.score >= 0.0")
    policy = policy.replace("most: 2", f"most: {most}")
    calls = [Call([PROMPT, PROMPT[2:]], GREEDY), Call([PROMPT], {**GREEDY, "do_sample": True}, 4)]
    recording = record(made, policy, calls, tmp_path)
    for row in recording.made:
        told = recording.log.of(row.request).row
        assert any(not revision.dropped for revision in told.revisions)
        assert recording.replay(row).decisions.same
        found = recording.replay(row, as_recorded=True)
        assert found.same
        assert found.decisions.same


def test_a_batch_is_as_wide_as_it_was(made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "policy.yaml"
    home.write_text(POLICIES["steers"])
    parts: dict[str, Any] = {"vectors": made.vectors, "classifiers": made.classifiers}
    ids = torch.tensor([[PAD] * 9 + PROMPT[1:], [PAD] * 8 + PROMPT])
    mask = (torch.arange(15) >= torch.tensor([[9], [8]])).long()
    names = [{"request": "a"}, {"request": "b"}]
    with (
        open_journal(tmp_path / "log", key=KEY) as journal,
        guardsteer.wrap(made.model, made.tokenizer, policy=home, audit=journal, **parts) as guard,
    ):
        guard.generate(ids, attention_mask=mask, guard=names, **GREEDY, pad_token_id=PAD)
    seen: list[torch.Tensor] = []
    generate = type(made.model).generate

    def watched(model: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["attention_mask"])
        return generate(model, *args, **kwargs)

    monkeypatch.setattr(type(made.model), "generate", watched)
    told, stage = read_log(read(tmp_path / "log")).of("b"), Stage(made.model, made.tokenizer, KEY, **parts)
    assert replay(told, stage, [PROMPT], home=home).same
    assert replay(told, stage, [PROMPT], home=home, alone=True).same
    assert torch.equal(seen[0], mask)
    assert torch.equal(seen[1], mask[1:])


def test_each_request_is_replayed_under_the_policy_that_it_ran_under(made: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    paths = {name: folder / f"{name}.yaml" for name in ("steers", "shapes")}
    for name, path in paths.items():
        path.write_text(POLICIES[name])
    parts: dict[str, Any] = {"vectors": made.vectors, "classifiers": made.classifiers}
    ids, options = torch.tensor([PROMPT]), {**GREEDY, "pad_token_id": PAD}
    with (
        open_journal(tmp_path / "log", key=KEY) as journal,
        guardsteer.wrap(made.model, made.tokenizer, policy=paths["steers"], audit=journal, **parts) as guard,
    ):
        guard.generate(ids, guard={"request": "first"}, **options)
        guard.reload(paths["shapes"])
        guard.generate(ids, guard={"request": "second"}, **options)
        guard.reload(replace(guard.policy, binding=Binding(mode="shadow")))
        guard.generate(ids, guard={"request": "third"}, **options)
    log, stage = read_log(read(tmp_path / "log")), Stage(made.model, made.tokenizer, KEY, **parts)
    for request, policy in (("first", "steers"), ("second", "shapes"), ("third", "shapes")):
        found = replay(log.of(request), stage, [PROMPT], home=paths[policy])
        assert found.policy == policy
        assert found.same
        assert found.decisions.same


def test_what_was_held_back_is_held_back_as_recorded(made: Bench, tmp_path: Path) -> None:
    policy = POLICIES["halts"].replace("when: up, hold_back: 2", "when: said.score >= 0.7, hold_back: 3")
    draw = random.Random(3)
    calls = [draw_call(draw, rows=1, sample=False, tokens=24) for _ in range(8)]
    recording = record(made, policy, calls, tmp_path)
    withheld = 0
    for row in recording.made:
        withheld += recording.log.of(row.request).ended.withheld_tokens
        assert recording.replay(row, as_recorded=True).same
    assert withheld


# --- what is not as it was ------------------------------------------------------------------------


def test_another_model_is_told_part_by_part_before_anything_is_generated(
    made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = one(made, tmp_path)
    other = bench("llama", seed=9)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be generated")

    monkeypatch.setattr(type(other.model), "generate", never)
    for stage in (
        replace(recording.stage, model=other.model),
        replace(recording.stage, model=other.model, vectors=other.vectors),
    ):
        with pytest.raises(ReplayError, match="model: weights was b3:") as raised:
            replace(recording, stage=stage).replay(recording.made[0])
        assert not any("config" in line for line in raised.value.mismatches)


def test_accepted_differences_are_told_and_where_tokens_part(made: Bench, tmp_path: Path) -> None:
    recording = one(made, tmp_path)
    row = recording.made[0]
    other = {**recording.stage.vectors, "one": random_vector(made.model, made.tokenizer, "one", (1, 2), 77)}
    changed = replace(recording, stage=replace(recording.stage, vectors=other))
    with pytest.raises(ReplayError, match="vector 'one': was b3:"):
        changed.replay(row)
    found = changed.replay(row, accept=True, output=list(row.tokens))
    assert [line.partition(":")[0] for line in found.accepted] == ["vector 'one'"]
    assert not found.same
    assert found.parting is not None
    place = found.parting.token
    assert found.replayed.tokens[:place] == row.tokens[:place]
    assert found.parting.tokens == (row.tokens[place], found.replayed.tokens[place])
    assert found.parting.tokens[0] != found.parting.tokens[1]
    assert found.lead is not None
    assert found.lead > 0
    assert f"is above the recorded one's by {found.lead:.3g}" in format_replay(found)
    assert "NOT THE SAME from token" in format_replay(found)
    assert changed.replay(row, accept=True).parting is None


def test_a_missing_classifier_is_told_and_not_needed_as_recorded(made: Bench, tmp_path: Path) -> None:
    recording = one(made, tmp_path)
    row = recording.made[0]
    without = replace(recording, stage=replace(recording.stage, classifiers={}))
    with pytest.raises(ReplayError, match="as recorded, it can be replayed without classifiers"):
        without.replay(row)
    assert without.replay(row, as_recorded=True).same
    other = {**made.classifiers, "said": LastCharacters(1, digest="b3:other")}
    with pytest.raises(ReplayError, match="classifier 'said': was b3:test, is b3:other"):
        replace(recording, stage=replace(recording.stage, classifiers=other)).replay(row)


def test_prompt_output_and_key_must_be_the_recorded_ones(made: Bench, tmp_path: Path) -> None:
    recording = one(made, tmp_path)
    row = recording.made[0]
    told = recording.log.of(row.request)
    with pytest.raises(ReplayError, match="no prompt is given, of 7 tokens"):
        replay(told, recording.stage, [], home=recording.home)
    with pytest.raises(ReplayError, match="none of the 1 prompts given is the recorded one"):
        replay(told, recording.stage, [PROMPT[:-1]], home=recording.home)
    with pytest.raises(ReplayError, match="the output given is not the recorded one, of 14 tokens"):
        recording.replay(row, output=row.tokens[:-1])
    with pytest.raises(ReplayError, match="got the key"):
        replace(recording, stage=replace(recording.stage, key=b"x" * 32)).replay(row)
    with pytest.raises(ReplayError, match="a list of token ids or a list of messages"):
        replay(told, recording.stage, [[{"role": "user"}, 3]], home=recording.home)  # type: ignore[list-item]  # wrong


def test_an_altered_policy_and_gaps_in_the_log_are_told(made: Bench, tmp_path: Path) -> None:
    recording = record(made, POLICIES["steers"], [Call([PROMPT, PROMPT[1:]], GREEDY)], tmp_path)
    row, told = recording.made[0], recording.log.of(recording.made[0].request)
    altered = replace(told, adopted=_with(told.adopted, text=told.adopted.text + "# more\n"))
    with pytest.raises(ReplayError, match="the log was altered"):
        replay(altered, recording.stage, row.prompts, home=recording.home)
    events = list(read(tmp_path / "log"))
    for kind, missing in (
        ("PolicyAdopted", "the policy b3:"),
        ("Attached", "the guard's own record"),
        ("RequestEnded", "its end is not in the log"),
    ):
        left = [each for each in events if type(each.event).__name__ != kind]
        with pytest.raises(ReplayError, match=missing):
            read_log(left).of(row.request)
    alone = [each for each in events if getattr(each.event, "request", row.request) == row.request]
    with pytest.raises(ReplayError, match="the other rows of its call"):
        read_log(alone).of(row.request)
    old = [replace_event(each, call="") for each in events]
    with pytest.raises(ReplayError, match="did not keep what a replay needs"):
        read_log(old).of(row.request)
    with pytest.raises(ReplayError, match="no record of request 'r-x'"):
        read_log(events).of("r-x")
    with pytest.raises(ReplayError, match="has no row 4; it has 0"):
        read_log(events).of(row.request, 4)


def _with(event: Any, **changes: Any) -> Any:
    from msgspec.structs import replace as changed

    return changed(event, **changes)


def replace_event(stored: Any, **changes: Any) -> Any:
    """Return a stored event with some fields changed, where it is a request's first."""
    if type(stored.event).__name__ != "RequestStarted":
        return stored
    return replace(stored, event=_with(stored.event, **changes))


def test_a_log_read_for_one_request_has_all_that_it_needs(made: Bench, tmp_path: Path) -> None:
    calls = [Call([PROMPT, PROMPT[1:]], GREEDY), Call([PROMPT[2:]], GREEDY)]
    recording = record(made, POLICIES["steers"], calls, tmp_path)
    row = recording.made[1]
    log = read_log(read(tmp_path / "log"), row.request)
    assert list(log.rows) == [row.request]
    assert replace(recording, log=log).replay(row).same


def test_a_kill_switch_that_is_on_here_is_refused(
    made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = one(made, tmp_path)
    monkeypatch.setenv("GUARDSTEER_STOP", "1")
    with pytest.raises(ReplayError, match="unset GUARDSTEER_STOP"):
        recording.replay(recording.made[0])


# --- why tokens may differ ------------------------------------------------------------------------


def test_a_drawn_row_that_is_replayed_alone_differs_and_is_told_why(made: Bench, tmp_path: Path) -> None:
    calls = [Call([PROMPT, PROMPT[1:], PROMPT], {**GREEDY, "do_sample": True, "temperature": 3.0}, 8)]
    recording = record(made, POLICIES["steers"], calls, tmp_path)
    row = recording.made[2]
    found = recording.replay(row, alone=True)
    assert not found.same
    assert found.company == "alone"
    assert any("what is drawn for a row depends on its place" in doubt for doubt in found.doubts)
    assert "because the row was one of 3" in format_replay(found)


def test_other_surroundings_are_told(made: Bench, tmp_path: Path) -> None:
    recording = one(made, tmp_path)
    row = recording.made[0]
    assert recording.replay(row).doubts == ()
    with threads(torch.get_num_threads() + 1):
        assert any("the number of threads was" in doubt for doubt in recording.replay(row).doubts)
    told = recording.log.of(row.request)
    kernels = {"processor": "AVX2", "gpu": "NVIDIA H200"}
    there = _with(
        told.attached, device="cuda:0", attention="eager", versions={"torch": "1.0"}, kernels=kernels
    )
    found = replay(replace(told, attached=there), recording.stage, row.prompts, home=recording.home)
    assert found.same
    for part in (
        "torch was 1.0",
        "the device was cuda:0, is cpu",
        "attention was eager",
        "gpu was NVIDIA H200",
    ):
        assert any(part in doubt for doubt in found.doubts)
        assert part in format_replay(found)


def test_arguments_that_no_record_holds_are_told(made: Bench, tmp_path: Path) -> None:
    class Ban:
        def __call__(self, _: Any, scores: torch.Tensor) -> torch.Tensor:
            banned = scores.clone()
            banned[:, 30:100] = -torch.inf
            return banned

    recording = one(made, tmp_path, logits_processor=[Ban()])
    found = recording.replay(recording.made[0])
    assert not found.same
    assert any("logits_processor" in doubt for doubt in found.doubts)


def test_a_classifier_that_was_late_then_is_told(made: Bench, tmp_path: Path) -> None:
    recording = one(made, tmp_path)
    row = recording.made[0]
    told = recording.log.of(row.request)
    late = ClassifierLate(time_ns=1, request=row.request, sequence=0, step=3, classifier="said", until=5)
    told = replace(told, row=replace(told.row, late=[late]))
    found = replay(told, recording.stage, row.prompts, home=recording.home)
    assert found.doubts == ("the classifier said was late at steps 3 to 5; not now",)
    assert not replay(told, recording.stage, row.prompts, home=recording.home, as_recorded=True).doubts


class Fails(LastCharacters):
    def start(self) -> Any:
        raise ValueError("not today")


def test_a_classifier_that_failed_then_is_told(made: Bench, tmp_path: Path) -> None:
    broken = {**made.classifiers, "said": Fails(1)}
    recording = record(made, POLICIES["steers"], [Call([PROMPT], GREEDY)], tmp_path, classifiers=broken)
    found = recording.replay(recording.made[0])
    assert not found.decisions.same
    assert any("the classifier said failed at step 0" in doubt for doubt in found.doubts)
    assert recording.replay(recording.made[0], as_recorded=True).same


def test_the_kill_switch_acts_again_where_it_was_on_all_along_and_is_told_otherwise(
    made: Bench, tmp_path: Path
) -> None:
    home = tmp_path / "policy.yaml"
    home.write_text(POLICIES["steers"])
    ids = torch.tensor([PROMPT])
    parts: dict[str, Any] = {"vectors": made.vectors, "classifiers": made.classifiers}

    class Stops:
        def put(self, _: Any) -> None:
            guard.stop("enough")

        def end(self) -> None:
            return None

    with (
        open_journal(tmp_path / "log", key=KEY) as journal,
        guardsteer.wrap(made.model, made.tokenizer, policy=home, audit=journal, **parts) as guard,
    ):
        options: dict[str, Any] = {**GREEDY, "pad_token_id": PAD}
        guard.generate(ids, guard={"request": "before"}, streamer=Stops(), **options)
        guard.generate(ids, guard={"request": "stopped"}, **options)
        guard.resume()
        guard.generate(ids, guard={"request": "after"}, **options)
    log = read_log(read(tmp_path / "log"))
    stage = Stage(made.model, made.tokenizer, KEY, **parts)
    for request in ("stopped", "after"):
        found = replay(log.of(request), stage, [PROMPT], home=home)
        assert found.same
        assert found.decisions.same
        assert not found.doubts
    # What would have been said is asked of a guard that is stopped, too.
    changes = Changes(without=["pull"], bare=True)
    found = replay(log.of("stopped"), stage, [PROMPT], home=home, changes=changes)
    assert [version.parting for version in found.versions] == [None, None]
    assert log.of("after").row.acts
    assert not log.of("stopped").row.acts
    found = replay(log.of("before"), stage, [PROMPT], home=home)
    assert not found.decisions.same
    assert any("the kill switch was thrown during the request" in doubt for doubt in found.doubts)
    assert replay(log.of("before"), stage, [PROMPT], home=home, as_recorded=True).same
