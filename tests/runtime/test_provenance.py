"""A record holds what it takes to make a call again: settings, seed, place in the batch, surroundings."""

from __future__ import annotations

import platform
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList, TopKLogitsWarper

import guardsteer
from guardsteer.audit import read
from guardsteer.core.events import Attached, RequestEnded, RequestFailed, RequestStarted
from guardsteer.errors import RequestError
from guardsteer.runtime.provenance import _as_json, settings_of, surroundings_of
from tests.runtime.harness import POLICY, SPECIAL, Bench, batch, bench
from tests.runtime.telling import PROMPTS, run, wrap


@pytest.fixture(scope="module")
def made() -> Bench:
    return bench("llama")


def of_kind(folder: Path, kind: type[Any]) -> list[Any]:
    return [stored.event for stored in read(folder / "log") if isinstance(stored.event, kind)]


def starts(folder: Path) -> list[RequestStarted]:
    return of_kind(folder, RequestStarted)


def test_what_computes_is_on_record(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path):
        pass
    (attached,) = of_kind(tmp_path, Attached)
    assert attached.versions["python"] == platform.python_version()
    assert attached.versions["torch"] == torch.__version__
    assert attached.versions["guardsteer"] == guardsteer.__version__
    assert set(attached.versions) == {
        *("python", "guardsteer", "torch", "transformers", "tokenizers", "onnxruntime")
    }
    assert attached.device == "cpu"
    assert attached.attention == made.model.config._attn_implementation
    assert attached.threads == torch.get_num_threads()


def test_a_model_on_several_devices_names_them_all() -> None:
    parts = [torch.zeros(1), torch.zeros(1, device="meta")]
    model = SimpleNamespace(parameters=lambda: iter(parts), config=SimpleNamespace())
    assert surroundings_of(model).device == "cpu meta"
    assert surroundings_of(model).attention == ""


def test_rows_of_one_call_know_it_their_place_and_their_padding(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        run(guard, guard=[{}] * 3)
        run(guard, PROMPTS[:1], guard=[{}], num_return_sequences=2, num_beams=2)
    first, second = starts(tmp_path)[:3], starts(tmp_path)[3:]
    assert len({event.call for event in first}) == 1
    assert [(event.row, event.rows, event.width) for event in first] == [(n, 3, 9) for n in range(3)]
    assert [(event.row, event.rows, event.width) for event in second] == [(0, 1, 7)] * 2
    assert [event.sequence for event in second] == [0, 1]
    assert first[0].call != second[0].call
    assert len(first[0].call) == 16


def test_the_settings_make_the_call_again(made: Bench, tmp_path: Path) -> None:
    """Whether they came as arguments, as a configuration or with the model."""
    given = {"repetition_penalty": 1.3, "bad_words_ids": [[40, 41], [42]], "no_repeat_ngram_size": 2}
    with wrap(made, tmp_path) as guard:
        answer = run(guard, PROMPTS[:1], **given)
    settings: Any = starts(tmp_path)[0].settings
    assert {name: settings[name] for name in given} == given
    assert settings["max_new_tokens"] == len(answer[0])
    assert settings["do_sample"] is False
    assert settings["suppress_tokens"] == list(SPECIAL)
    with wrap(made, tmp_path, audit=None) as guard:
        inputs = batch(PROMPTS[:1])
        again = guard.generate(**inputs, generation_config=GenerationConfig(**settings))
    assert again[0, inputs["input_ids"].shape[1] :].tolist() == answer[0]


def test_a_default_is_not_told_unless_somebody_said_it(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        run(guard, PROMPTS[:1])
        run(guard, PROMPTS[:1], length_penalty=1.0, generation_config=GenerationConfig(min_length=0))
    plain, said = (event.settings for event in starts(tmp_path))
    assert "length_penalty" not in plain
    assert "min_length" not in plain
    assert (said["length_penalty"], said["min_length"]) == (1.0, 0)
    assert not {name for name in plain if name.startswith(("output_", "_", "return_dict", "transformers"))}


def test_a_limit_that_counts_the_prompt_is_told_as_new_tokens(made: Bench, tmp_path: Path) -> None:
    inputs = batch(PROMPTS)
    with wrap(made, tmp_path) as guard:
        guard.generate(**inputs, max_length=15, do_sample=False)
    assert [event.settings["max_new_tokens"] for event in starts(tmp_path)] == [15 - 9] * 3
    assert "max_length" not in starts(tmp_path)[0].settings


def test_arguments_that_no_record_can_hold_are_named(made: Bench, tmp_path: Path) -> None:
    processors = LogitsProcessorList([TopKLogitsWarper(5)])
    with wrap(made, tmp_path) as guard:
        run(guard, PROMPTS[:1])
        run(guard, PROMPTS[:1], logits_processor=processors, stopping_criteria=[], assistant_model=None)
        run(guard, PROMPTS[:1], prefix_allowed_tokens_fn=lambda *_: list(range(40, 90)))
        run(guard, PROMPTS[:1], bad_words_ids=[[n % 90] * 9 for n in range(900)])
    assert [event.unrecorded for event in starts(tmp_path)] == [
        (),
        ("logits_processor",),
        ("prefix_allowed_tokens_fn",),
        ("bad_words_ids",),
    ]


# --- chance -------------------------------------------------------------------------------------


def sample(guard: Any, **options: Any) -> list[list[int]]:
    return run(guard, PROMPTS[:1], do_sample=True, **options)


def test_a_seed_that_was_just_set_is_recorded_and_samples_the_same_again(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        torch.manual_seed(2**63 + 11)
        answer = sample(guard)
        torch.manual_seed(12)
        assert sample(guard) != answer
        guard._auditor._journal.flush()
        first, second = starts(tmp_path)
        assert (first.seed, second.seed) == (2**63 + 11, 12)
        assert first.rng == second.rng == ""
        torch.manual_seed(first.seed)
        assert sample(guard) == answer


def test_a_generator_in_use_is_recorded_whole_once_for_a_call(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        torch.manual_seed(3)
        torch.rand(5)
        answer = run(guard, PROMPTS, do_sample=True, num_return_sequences=2)
        guard._auditor._journal.flush()
        recorded = starts(tmp_path)
        assert [event.seed for event in recorded] == [None] * 6
        assert [bool(event.rng) for event in recorded] == [True] + [False] * 5
        state = torch.frombuffer(bytearray(b64decode(recorded[0].rng)), dtype=torch.uint8)
        torch.set_rng_state(state)
        assert run(guard, PROMPTS, do_sample=True, num_return_sequences=2) == answer


def test_recording_draws_nothing(made: Bench, tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.rand(5)
    before = torch.get_rng_state()
    with wrap(made, tmp_path) as guard:
        run(guard, PROMPTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_greedy_call_has_no_seed(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        torch.manual_seed(3)
        run(guard, PROMPTS[:1])
    assert [(event.seed, event.rng) for event in starts(tmp_path)] == [(None, "")]


# --- who, and when ------------------------------------------------------------------------------


def test_tenant_principal_and_turns_are_on_record_and_the_subject_is_not(made: Bench, tmp_path: Path) -> None:
    turns = [("user", 0, 5)]
    about = {"tenant": "acme", "principal": "ann@acme", "subject": "customer-17", "turns": turns}
    with wrap(made, tmp_path) as guard:
        run(guard, PROMPTS[:1], guard=[about])
        run(guard, PROMPTS[:1], guard=[{}])
    named, nobody = starts(tmp_path)
    assert (named.tenant, named.principal) == ("acme", "ann@acme")
    assert named.context == {"tenant": "acme"}
    assert named.turns == (("user", 0, 5),)
    assert (nobody.tenant, nobody.principal, nobody.turns) == ("", "", None)
    data = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert b"customer-17" not in data


def test_a_policy_that_declares_the_principal_sees_it_too(made: Bench, tmp_path: Path) -> None:
    text = POLICY.replace("name: scripted", "name: scripted\ncontext: {principal: string}")
    text = text.replace("when: up", 'when: request.principal == "ann"')
    with wrap(made, tmp_path, text) as guard:
        run(guard, PROMPTS[:1], guard=[{"principal": "ann"}])
    (event,) = starts(tmp_path)
    assert event.principal == "ann"
    assert event.context == {"principal": "ann"}
    assert any(getattr(stored.event, "rule", "") == "push" for stored in read(tmp_path / "log"))


@pytest.mark.parametrize("key", ["principal", "subject"])
def test_a_name_that_is_none_is_refused(key: str, made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard, pytest.raises(RequestError, match=rf"\['{key}'\]: got int"):
        run(guard, PROMPTS[:1], guard=[{key: 7}])


def test_a_clock_that_nobody_sets_says_how_long_it_took(made: Bench, tmp_path: Path) -> None:
    with wrap(made, tmp_path) as guard:
        run(guard, PROMPTS)
        with pytest.raises(KeyError):
            run(guard, PROMPTS[:1], streamer=type("S", (), {"put": _fail, "end": _fail})())
    begun = {event.request: event.monotonic_ns for event in starts(tmp_path)}
    for ended in [*of_kind(tmp_path, RequestEnded), *of_kind(tmp_path, RequestFailed)]:
        assert 0 < begun[ended.request] < ended.monotonic_ns
        assert ended.monotonic_ns - begun[ended.request] < 60 * 10**9


def _fail(*_: Any) -> Any:
    raise KeyError("streamer")


def test_values_become_what_json_holds() -> None:
    config = GenerationConfig(eos_token_id=[1, 2])
    assert _as_json((1, {2.5}, torch.tensor([[3]])), [9]) == [1, [2.5], [[3]]]
    assert _as_json({(1, 2): 0.5}, [9]) == [[[1, 2], 0.5]]
    assert _as_json({"a": (1,)}, [9]) == {"a": [1]}
    told = _as_json(config, [999])
    assert isinstance(told, dict)
    assert told["eos_token_id"] == [1, 2]
    for bad in (object(), [0] * 10, len):
        with pytest.raises(ValueError, match=r"^$"):
            _as_json(bad, [9])


def test_without_transformers_defaults_every_setting_is_told(made: Bench) -> None:
    """They are kept in a private place; where that is gone, more is told, and nothing less."""
    config = SimpleNamespace(do_sample=False, top_p=1.0, max_new_tokens=4, penalty_alpha=None, max_length=20)
    settings, too_much = settings_of(made.model, config, {}, 3)
    assert settings == {"do_sample": False, "top_p": 1.0, "max_new_tokens": 4}
    assert too_much == []
