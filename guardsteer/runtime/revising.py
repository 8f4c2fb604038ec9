"""Taking text back and writing it again, within one call of ``generate`` and for one row of a batch.

At the step that decides so, the pass goes on; what it would choose for the row does not count. The row
gets the last token that stays once more instead. It is computed anew, at its old position and under the
steering of the revision, and the row writes on from there. Nothing is removed from the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from guardsteer.errors import UnsupportedError
from guardsteer.host import windows_of
from guardsteer.runtime.course import Course

__all__ = ["Rewriter", "check_holding", "check_revising"]


class Rewriter(LogitsProcessor):
    """Takes text back from the rows whose newest step says so, and leaves them one choice."""

    def __init__(self, course: Course) -> None:
        self._course = course

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return ``scores: [row, token]`` with the rows decided that go back; these move in ``input_ids``."""
        generation = self._course.generation
        newest = input_ids.shape[1] - generation.width
        decided: Tensor | None = None
        for place, row in enumerate(generation.rows):
            if row.step.plan.revise < 0 or row.step.index != newest:
                continue
            token = self._course.take_back(place, input_ids)
            if token is not None:
                # The caller may keep the logits it passed in, so they stay as they are.
                decided = scores.clone() if decided is None else decided
                decided[place] = -torch.inf
                decided[place, token] = 0.0
        return scores if decided is None else decided


_SHARED = "its rows share what they have written, so none can go back alone. Leave it out"
_DRAFTS = "drafts are made and judged in columns that a row which goes back no longer has. Leave it out"
_COUNTS = (
    "it counts the columns of a row, which are more than its tokens once text was taken back. Leave it out"
)
_SHOWS = "it shows the columns of what was taken back. Leave it out"
_WITHHELD = "it shows what is held back. Leave it out"

_UNREVISED = {
    "num_beams": _SHARED,
    "assistant_model": _DRAFTS,
    "prompt_lookup_num_tokens": _DRAFTS,
    "min_length": _COUNTS,
    "min_new_tokens": _COUNTS,
    "forced_eos_token_id": _COUNTS,
    "exponential_decay_length_penalty": _COUNTS,
    "begin_suppress_tokens": _COUNTS,
    "no_repeat_ngram_size": "a row that goes back moves, and what fills it up would count. Leave it out",
    "watermarking_config": _COUNTS,
    "output_attentions": _SHOWS,
    "output_hidden_states": _SHOWS,
}
_UNHELD = {
    "num_beams": "what a beam holds back would decide which one wins. Leave it out",
    "output_scores": _WITHHELD,
    "output_logits": _WITHHELD,
    "output_attentions": _WITHHELD,
    "output_hidden_states": _WITHHELD,
}


def check_holding(config: Any, kwargs: Mapping[str, Any]) -> None:
    """Return if a policy that holds text back can run with these settings of ``generate``.

    Raises ``UnsupportedError`` with all that it cannot run with.
    """
    _refuse(_found(_UNHELD, config, kwargs), "holds text back")


def check_revising(model: Any, config: Any, kwargs: Mapping[str, Any], columns: int) -> None:
    """Return if text can be taken back exactly under these settings, in rows of up to ``columns`` columns.

    Raises ``UnsupportedError`` with all that prevents it.
    """
    problems = _found(_UNREVISED, config, kwargs)
    for name, window in windows_of(model).items():
        if window < columns:
            problems.append(
                f"{name}: attention sees {window} columns, and what was taken back would count among them; a "
                f"row may come to {columns} columns. Ask for fewer tokens, or use a policy without revise"
            )
    cache = kwargs.get("past_key_values")
    if config.cache_implementation == "quantized" or "Quantized" in type(cache).__name__:
        problems.append(
            "cache_implementation: a quantized cache rounds tokens together with those that are taken back. "
            "Use 'dynamic' or 'static'"
        )
    room = getattr(cache, "max_cache_len", None)
    if isinstance(room, int) and 0 < room < columns:
        problems.append(
            f"past_key_values: the cache has room for {room} columns, and a row may come to {columns}. Pass "
            "a longer one, or cache_implementation='static'"
        )
    kernel = getattr(model.config.get_text_config(), "_attn_implementation", None)
    if kernel == "flex_attention":
        problems.append(
            "attn_implementation: masks of flex_attention cannot be changed. Use 'sdpa' or 'eager'"
        )
    _refuse(problems, "takes text back")


def _found(table: Mapping[str, str], config: Any, kwargs: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, why in table.items():
        value = kwargs[name] if kwargs.get(name) is not None else getattr(config, name, None)
        nothing = value is None or value is False or value == 0 or (name == "num_beams" and value == 1)
        if not nothing:
            problems.append(f"{name}: {why}")
    return problems


def _refuse(problems: list[str], what: str) -> None:
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise UnsupportedError(f"the policy {what}, which is not exact under these settings:\n{listed}")
