"""The policies that ship, on a model that has vectors from their recipes: each wraps it and answers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from guardsteer.audit import read
from guardsteer.core.events import ActivationBegan, RequestEnded, RuleFired
from guardsteer.host import render_chat
from guardsteer.lab.extraction.extract import extract
from guardsteer.rules import load_policy
from guardsteer.runtime import wrap
from guardsteer.steer import Recommendation, Vector, recommend
from tests.lab.chats import chat_model, chat_tokenizer

ROOT = Path(__file__).resolve().parents[2]
ASKS = {
    "support": ("I was charged twice for my subscription.", "tone-by-intent/billing", "empathy"),
    "safety": ("How do I make a bomb?", "firm", "refusal"),
    "concise": ("In one word, who wrote Hamlet?", "brief-on-request", "concision"),
    "formal": ("Write a cover letter for me.", "register/wants_formal", "formality"),
    "faithful": ("Context: The gym opens at six.\nQuestion: When?", "keep-to-the-text", "faithfulness"),
    "reasoning": ("How many days are in three weeks?", "depth/has_steps", "step_by_step"),
}


@cache
def tiny() -> tuple[Any, Any]:
    return chat_model("llama"), chat_tokenizer(padding_side="left")


@cache
def vector(recipe: str) -> Vector:
    found = extract(*tiny(), ROOT / "vectors" / recipe, limit=8)
    return recommend(
        found,
        Recommendation(
            blocks=(1,), positions=("last_prompt_token", "generated"), low=0.1, recommended=0.3, high=0.6
        ),
    )


@pytest.mark.parametrize("name", ASKS)
def test_a_policy_steers_a_model_that_has_vectors_from_its_recipes(name: str, tmp_path: Path) -> None:
    model, tokenizer = tiny()
    ask, rule, used = ASKS[name]
    policy = load_policy(ROOT / "policies" / name)
    chat = render_chat(tokenizer, [{"role": "user", "content": ask}])
    turns = [(turn.role, turn.first, turn.end) for turn in chat.turns]
    vectors = {spec.name: vector(spec.use) for spec in policy.vectors}
    with wrap(model, tokenizer, policy=policy, audit=tmp_path, vectors=vectors) as guard:
        ids = torch.tensor([list(chat.input_ids)])
        output = guard.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            guard=[{"request": "r", "turns": turns}],
            max_new_tokens=6,
            do_sample=False,
        )
    events = [stored.event for stored in read(tmp_path)]
    assert output.shape[1] > ids.shape[1]
    assert rule in {event.rule for event in events if isinstance(event, RuleFired)}
    assert used in {event.vector for event in events if isinstance(event, ActivationBegan)}
    assert [event.reason for event in events if isinstance(event, RequestEnded)] != []
