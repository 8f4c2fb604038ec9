"""Asking a chat model many things at once, with and without a guard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guardsteer.errors import AssetError
from guardsteer.host import render_chat
from guardsteer.runtime import Guard

__all__ = ["DATA", "GREEDY", "HERE", "MODEL", "Decoding", "ask", "load", "prompt_ids"]

HERE = Path(__file__).resolve().parent
_SHARED = HERE.parent.parent.parent / "shared"
MODEL = _SHARED / "models" / "tinytalk-3M-chat"
DATA = _SHARED / "data"

_BATCH = 40


@dataclass(frozen=True, slots=True)
class Decoding:
    """How replies are drawn: greedily, or at a temperature from a seed."""

    name: str
    temperature: float | None = None
    seed: int = 0
    new_tokens: int = 40

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of ``generate``."""
        drawn = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        return {
            "max_new_tokens": self.new_tokens,
            **(drawn if self.temperature is not None else {"do_sample": False}),
        }


GREEDY = Decoding("greedy")


def load(path: Path) -> tuple[Any, Any]:
    """Return the model and the tokenizer in the folder ``path``.

    Raises ``AssetError`` where there is none, or where it has no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (path / "config.json").is_file():
        raise AssetError(
            f"{path}: holds no model; this example needs a chat model on disk, named with --model PATH"
        )
    # A model of a few million weights runs many times faster on one thread than on two.
    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
    if not tokenizer.chat_template:
        raise AssetError(f"{path}: the tokenizer has no chat template; give a chat model")
    return model.eval(), tokenizer


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a chat in which the user has said ``text``."""
    return list(render_chat(tokenizer, [{"role": "user", "content": text}]).input_ids)


def ask(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    guard: Guard | None = None,
    names: Sequence[str] = (),
) -> list[list[int]]:
    """Return the reply to each prompt as token ids, its end token included and padding left out.

    The batches and, when drawn, the random numbers depend on ``prompts`` and ``decoding`` alone, so that a
    row that no guard touched gets the reply of the bare model. ``names`` are request ids for the audit.
    """
    replies: list[list[int]] = []
    for start, ids, mask, turns in _batches(tokenizer, prompts):
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        generate = model.generate
        if guard is not None:
            generate = guard.generate
            rows = names[start : start + len(ids)]
            inputs["guard"] = [
                {"request": name, "turns": spoken} for name, spoken in zip(rows, turns, strict=True)
            ]
        torch.manual_seed(decoding.seed * 1000 + start)
        output = generate(**inputs, pad_token_id=_pad(tokenizer), **decoding.settings())
        replies += [_until_end(row, tokenizer) for row in output[:, ids.shape[1] :].tolist()]
    return replies


def _batches(
    tokenizer: Any, prompts: Sequence[str]
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, list[list[tuple[str, int, int]]]]]:
    for start in range(0, len(prompts), _BATCH):
        chats = [
            render_chat(tokenizer, [{"role": "user", "content": text}])
            for text in prompts[start : start + _BATCH]
        ]
        width = max(len(chat.input_ids) for chat in chats)
        ids = torch.full((len(chats), width), _pad(tokenizer))
        mask = torch.zeros_like(ids)
        for row, chat in enumerate(chats):
            ids[row, width - len(chat.input_ids) :] = torch.tensor(chat.input_ids)
            mask[row, width - len(chat.input_ids) :] = 1
        turns = [[(turn.role, turn.first, turn.end) for turn in chat.turns] for chat in chats]
        yield start, ids, mask, turns


def _pad(tokenizer: Any) -> int:
    pad = tokenizer.pad_token_id
    return int(pad if pad is not None else tokenizer.eos_token_id)


def _until_end(ids: list[int], tokenizer: Any) -> list[int]:
    end = tokenizer.eos_token_id
    return ids[: ids.index(end) + 1] if end in ids else ids
