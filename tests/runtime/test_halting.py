"""A halted row ends with the policy's fallback, in every way of decoding and in streaming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TextStreamer

import guardsteer
from guardsteer.audit import read
from guardsteer.errors import UnsupportedError
from tests.runtime.harness import SPECIAL, Bench, batch, bench, policy_file, score_of

POLICY = """
guardsteer: 1
name: stop
classifiers:
  said: {use: ./none, on: generation}
rules:
  - {id: stop, when: said.score >= 0.8, halt: true}
fallback: "No more."
"""
PROMPTS = [[40, 77, 90, 101, 60, 45, 33], [55, 66, 80], [70, 71, 72, 73, 74, 90, 31, 44, 51]]
TOKENS = 30


def guarded(made: Bench, folder: Path, text: str = POLICY, **options: Any) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, text),
        classifiers={"said": made.classifiers["said"]},
        **options,
    )


def run(model: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    inputs = batch(prompts)
    ids = model.generate(
        **inputs, max_new_tokens=TOKENS, do_sample=False, suppress_tokens=list(SPECIAL), **options
    )
    return [row[inputs["input_ids"].shape[1] :] for row in ids.tolist()]


def expected(made: Bench, prompts: list[list[int]]) -> list[list[int]]:
    """Cut the bare model's tokens after the first that halts, and put the fallback and the end there."""
    fallback = [*made.tokenizer("No more.")["input_ids"], 2]
    rows = []
    for tokens in run(made.model, prompts):
        for n in range(1, len(tokens)):
            if score_of(1, made.tokenizer.decode(tokens[:n])) >= 0.8:
                tokens = [*tokens[:n], *fallback]
                break
        rows.append(tokens[:TOKENS])
    return rows


@pytest.mark.parametrize(
    "options",
    [{}, {"use_cache": False}, {"prompt_lookup_num_tokens": 3}, {"cache_implementation": "static"}],
    ids=["cache", "no cache", "prompt lookup", "static cache"],
)
def test_a_halted_row_ends_with_the_fallback(options: dict[str, Any], tmp_path: Path) -> None:
    made = bench("llama")
    prompts = PROMPTS[:1] if "prompt_lookup_num_tokens" in options else PROMPTS
    wanted = expected(made, prompts)
    assert any(2 in row for row in wanted), "some row must halt"
    with guarded(made, tmp_path) as guard:
        found = run(guard, prompts, **options)
    assert [row[: len(want)] for row, want in zip(found, wanted, strict=True)] == wanted
    assert all(set(row[len(want) :]) <= {0} for row, want in zip(found, wanted, strict=True))


def test_a_streamer_shows_the_fallback_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = bench("llama")
    text = POLICY.replace("said.score >= 0.8", "step >= 3")
    with guarded(made, tmp_path, text) as guard:
        run(guard, PROMPTS[:1], streamer=TextStreamer(made.tokenizer, skip_prompt=True))
    assert capsys.readouterr().out.rstrip("\n").removesuffix("<eos>").endswith("No more.")


def test_a_prompt_can_halt_before_the_first_token(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("said.score >= 0.8", "step >= 0")
    with guarded(made, tmp_path, text, audit=tmp_path / "audit") as guard:
        found = run(guard, PROMPTS)
    wanted = [*made.tokenizer("No more.")["input_ids"], 2]
    assert [row[: len(wanted)] for row in found] == [wanted] * 3
    kinds = [type(stored.event).__name__ for stored in read(tmp_path / "audit")]
    assert kinds.count("RowHalted") == 3


def test_a_model_without_an_end_token_stops_after_the_fallback(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("said.score >= 0.8", "step >= 2")
    wanted = made.tokenizer("No more.")["input_ids"]
    made.model.generation_config.eos_token_id = None
    with guarded(made, tmp_path, text) as guard:
        assert run(guard, PROMPTS[:1])[0][2:] == wanted
        with pytest.raises(UnsupportedError, match="eos_token_id"):
            run(guard, PROMPTS[:1], num_beams=2)


def test_a_halted_beam_ends_with_the_fallback(tmp_path: Path) -> None:
    made = bench("llama")
    text = POLICY.replace("said.score >= 0.8", "step >= 2")
    with guarded(made, tmp_path, text) as guard:
        found = run(guard, PROMPTS, num_beams=3)
    wanted = [*made.tokenizer("No more.")["input_ids"], 2]
    assert [row[2 : 2 + len(wanted)] for row in found] == [wanted] * 3
