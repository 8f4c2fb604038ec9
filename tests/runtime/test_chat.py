"""Chats: turns come with the inputs, so that policies can read the user and steer assistant turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import guardsteer
from guardsteer.audit import read
from guardsteer.core.events import ActivationBegan, ActivationEnded
from guardsteer.errors import TurnsError
from tests.runtime.harness import SPECIAL, Bench, bench, policy_file, steered

MARKED = (
    "{% for m in messages %}{{ m['role'] }}: "
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
PLAIN = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
MANGLING = PLAIN.replace("{{ m['content'] }}", "{{ m['content'] | reverse }}")
CHATS = [
    [
        {"role": "user", "content": "hi you"},
        {"role": "assistant", "content": "what now"},
        {"role": "user", "content": "bad word"},
    ],
    [
        {"role": "user", "content": "a bad start"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "ok"},
        {"role": "assistant", "content": "well then"},
        {"role": "user", "content": "fine by me"},
    ],
]
ASSISTANT = """
guardsteer: 1
name: turns
vectors: {one: {use: ./none, positions: [assistant]}}
rules: [{id: r, when: step >= 0, add: {vector: one, strength: 0.9}}]
"""
USER = """
guardsteer: 1
name: user
classifiers: {bad: {literals: [bad], on: user}}
rules: [{id: r, when: bad.match > 0.5, halt: true}]
fallback: "No."
"""


def wrap(made: Bench, folder: Path, text: str, **options: Any) -> Any:
    return guardsteer.wrap(
        made.model,
        made.tokenizer,
        policy=policy_file(folder, text),
        vectors=made.vectors if "vectors" in text else {},
        **options,
    )


@pytest.mark.parametrize("template", [MARKED, PLAIN], ids=["marked", "plain"])
@pytest.mark.parametrize("options", [{}, {"prefill_chunk_size": 5}, {"use_cache": False}])
def test_assistant_turns_alone_are_steered(template: str, options: dict[str, Any], tmp_path: Path) -> None:
    made = bench("llama", template=template)
    with wrap(made, tmp_path, ASSISTANT, audit=tmp_path / "log") as guard:
        inputs = guard.chat(CHATS)
        names = [{**entry, "request": f"r{n}"} for n, entry in enumerate(inputs.pop("guard"))]
        output = guard.generate(
            **inputs,
            guard=names,
            max_new_tokens=1,
            return_dict_in_generate=True,
            output_logits=True,
            suppress_tokens=list(SPECIAL),
            **options,
        )
    for row, chat in enumerate(CHATS):
        ids = made.tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        spans = []
        for message in chat:
            if message["role"] == "assistant":
                inner = made.tokenizer(message["content"])["input_ids"]
                first = next(n for n in range(len(ids)) if ids[n : n + len(inner)] == inner)
                spans.append((first, first + len(inner)))
        strengths = [(0.9 if any(a <= n < b for a, b in spans) else 0.0,) for n in range(len(ids))]
        with steered(made.model, [made.vectors["one"]], strengths), torch.no_grad():
            expected = made.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        assert torch.allclose(output.logits[0][row], expected, atol=1e-4)
        told = [s.event for s in read(tmp_path / "log", f"r{row}")]
        assert [e.position for e in told if isinstance(e, ActivationBegan)] == [first for first, _ in spans]
        assert [e.last + 1 for e in told if isinstance(e, ActivationEnded)] == [end for _, end in spans]


def test_only_the_last_user_turn_is_read(tmp_path: Path) -> None:
    made = bench("llama", template=PLAIN)
    with wrap(made, tmp_path, USER) as guard:
        inputs = guard.chat(CHATS)
        ids = guard.generate(**inputs, max_new_tokens=6, do_sample=False, suppress_tokens=[0, 1])
    fallback = [*made.tokenizer("No.")["input_ids"], 2]
    width = inputs["input_ids"].shape[1]
    assert [row[width : width + 4] == fallback for row in ids.tolist()] == [True, False]


def test_a_template_that_changes_what_is_said_is_refused(tmp_path: Path) -> None:
    made = bench("llama", template=MANGLING)
    with wrap(made, tmp_path, USER) as guard, pytest.raises(TurnsError):
        guard.chat(CHATS)
