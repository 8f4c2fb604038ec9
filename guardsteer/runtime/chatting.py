"""From chats to the arguments of ``generate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from guardsteer.host import render_chat

__all__ = ["chat_inputs"]


def chat_inputs(model: Any, tokenizer: Any, messages: Sequence[Any], **template: Any) -> dict[str, Any]:
    """Return ``input_ids``, ``attention_mask`` and ``guard`` for a chat or a list of chats.

    ``[row, column]``, padded on the left. ``template`` goes to the chat template. Raises ``TurnsError``
    where the turns of a chat cannot be located.
    """
    chats = [messages] if messages and isinstance(messages[0], Mapping) else list(messages)
    rendered = [render_chat(tokenizer, chat, **template) for chat in chats]
    width = max(len(chat.input_ids) for chat in rendered)
    pad = tokenizer.pad_token_id
    pad = pad if pad is not None else 0
    ids = [[pad] * (width - len(chat.input_ids)) + list(chat.input_ids) for chat in rendered]
    mask = [[0] * (width - len(chat.input_ids)) + [1] * len(chat.input_ids) for chat in rendered]
    return {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(mask, device=model.device),
        "guard": [{"turns": [(turn.role, turn.first, turn.end) for turn in chat.turns]} for chat in rendered],
    }
