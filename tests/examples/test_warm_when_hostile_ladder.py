"""The comparison of three policies on the same hostile prompts: it compares like with like, and counts."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from examples.warm_when_hostile import compare as ladder
from examples.warm_when_hostile.build import warmth
from examples.warm_when_hostile.talk import GREEDY, Decoding
from guardsteer.core.events import Event, RequestEnded, RowRevised
from guardsteer.rules import load_policy
from tests.lab.chats import chat_model, chat_tokenizer

PROMPTS = ("You are a stupid idiot!", "Shut up, loser.", "How was your day?")

needs_vader = pytest.mark.skipif(
    find_spec("vaderSentiment") is None,
    reason="needs vaderSentiment: pip install 'guardsteer[examples]'",
)


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    return chat_model("llama"), chat_tokenizer(padding_side="left")


def test_the_three_policies_take_the_same_prompts_for_hostile_and_steer_alike() -> None:
    policies = {name: load_policy(path) for name, path in ladder.LADDER.items()}
    hostile = {(policy.classifiers[0], policy.flags[0]) for policy in policies.values()}
    assert len(hostile) == 1
    assert policies["revise"].classifiers == policies["halt"].classifiers
    assert policies["revise"].flags == policies["halt"].flags
    steers = [policies[name].rules[0].steer for name in ("add", "revise")]
    assert steers[0] == steers[1] != ()
    assert policies["add"].vectors[0].positions == policies["revise"].vectors[0].positions
    assert policies["revise"].rules[0].revise is not None
    assert policies["revise"].rules[0].when == policies["halt"].rules[0].when
    assert policies["halt"].rules[0].halt


def test_tokens_that_were_taken_back_or_held_for_good_are_wasted() -> None:
    row: dict[str, Any] = {"time_ns": 1, "request": "r", "sequence": 0}
    revised: Event = RowRevised(**row, step=9, rule="x", position=20, dropped=7, revision=1)
    ended: Event = RequestEnded(
        **row, generated_tokens=12, steered_tokens=5, output_digest="d", reason="end", withheld_tokens=3
    )
    assert [ladder._wasted(revised), ladder._wasted(ended)] == [7, 3]


@needs_vader
@pytest.mark.parametrize("decodings", [[GREEDY], [Decoding("sampled", 0.9, seed) for seed in (1, 2)]])
def test_the_comparison_counts_hostile_prompts_alone_and_every_seed_once(
    tiny: tuple[Any, Any], decodings: list[Decoding]
) -> None:
    unkind, rungs = ladder.compare(*tiny, PROMPTS, decodings, warmth(*tiny))
    rows = 2 * len(decodings)
    assert unkind.rows == rows
    assert list(rungs) == ["add", "revise", "halt"]
    assert {rung.changed.gain.rows for rung in rungs.values()} == {rows}
    assert rungs["add"].touched.value == 1.0
    assert rungs["add"].wasted.value == 0.0
    assert rungs["add"].on_touched == rungs["add"].changed
    for rung in rungs.values():
        assert rung.changed.before == rungs["add"].changed.before
        assert (rung.on_touched is None) == (rung.touched.value == 0)
        assert rung.untouched_same == round((1 - rung.touched.value) * rows)
        assert 0.0 <= rung.wasted.low <= rung.wasted.value <= rung.wasted.high < 1.0
    json.dumps(ladder._as_json(decodings[0], len(decodings), unkind, rungs))
    lines = list(ladder.table(decodings[0], len(decodings), unkind, rungs))
    assert f"{rows} rows with a hostile prompt" in lines[0]
    assert [line.split()[0] for line in lines[3:]] == ["bare", "add", "revise", "halt"]


@needs_vader
def test_what_is_taken_back_and_what_is_never_shown_is_counted(
    tiny: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every reply taken for harsh, at its third token, each row loses these three."""
    for name in ("revise", "halt"):
        text = ladder.LADDER[name].read_text(encoding="utf-8").replace("enter: 0.35", "enter: 0.0")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    changed = {name: tmp_path / f"{name}.yaml" for name in ("revise", "halt")}
    monkeypatch.setattr(ladder, "LADDER", {"add": ladder.LADDER["add"], **changed})
    _, rungs = ladder.compare(*tiny, PROMPTS, [GREEDY], warmth(*tiny))
    for name in ("revise", "halt"):
        assert rungs[name].touched.value == 1.0
        assert rungs[name].wasted_a_row == pytest.approx(3, abs=1)
        assert rungs[name].wasted.value > 0
