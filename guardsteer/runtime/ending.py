"""When rows end: each by its own count of tokens, though the loop counts columns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StopStringCriteria

from guardsteer.core.policy import ReviseSpec
from guardsteer.runtime.course import Course

__all__ = ["Ending", "limit_of", "most_columns", "raise_limit", "stop_strings_of"]


class Ending(StoppingCriteria):
    """Ends a row at its limit, and notes where it ends for any other reason.

    ``others`` are the caller's own criteria, ``stop`` finds what the loop's stop strings find.
    """

    def __init__(self, course: Course, others: Sequence[Any], stop: StoppingCriteria | None = None) -> None:
        self._course = course
        self._others = list(others)
        self._stop = stop

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return which rows are done, ``[row]``."""
        course = self._course
        columns = input_ids.shape[1]
        last: list[int] = input_ids[:, -1].tolist()
        done = [False] * len(last)
        for criterion in (*self._others, *([] if self._stop is None else [self._stop])):
            found = criterion(input_ids, scores, **kwargs)
            given = found.tolist() if isinstance(found, Tensor) else found
            many = given if isinstance(given, list) else [given] * len(last)
            done = [old or bool(new) for old, new in zip(done, many, strict=True)]
        for place, token in enumerate(last):
            if course.over(place):
                done[place] = True
                continue
            if course.written(place, columns) >= course.limit:
                done[place] = True
            if done[place] or token in course.eos:
                course.finish(place, token, columns)
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


def stop_strings_of(config: Any, kwargs: Mapping[str, Any]) -> StoppingCriteria | None:
    """Return a criterion that finds the stop strings of a call, which the loop finds by one of its own."""
    tokenizer = kwargs.get("tokenizer")
    if config.stop_strings is None or tokenizer is None:
        return None
    return StopStringCriteria(stop_strings=config.stop_strings, tokenizer=tokenizer)


def limit_of(model: Any, config: Any, kwargs: Mapping[str, Any], width: int) -> int:
    """Return how many tokens a call of ``generate`` allows a row, as transformers resolves its settings.

    ``width`` counts the prompt's columns; ``config`` is the call's whole configuration.
    """
    if config.max_new_tokens is not None:
        return int(config.max_new_tokens)
    given = kwargs.get("generation_config")
    lengths = (
        kwargs.get("max_length"),
        getattr(given, "max_length", None),
        model.generation_config.max_length,
    )
    if any(length is not None for length in lengths):
        return int(config.max_length) - width
    positions = getattr(model.config, "max_position_embeddings", None)
    most = int(config.max_length)
    return most if positions is None else min(most, int(positions) - width)


def most_columns(rules: Mapping[int, ReviseSpec], limit: int) -> int:
    """Return how many columns all revisions of a row can take, the token that comes again included."""
    return sum(
        spec.most * (1 + (limit if spec.tokens is None else min(spec.tokens, limit)))
        for spec in rules.values()
    )


def raise_limit(kwargs: dict[str, Any], tokens: int) -> None:
    """Let the loop of a call go on for ``tokens`` columns behind the prompt."""
    kwargs.pop("max_length", None)
    config = kwargs.get("generation_config")
    if config is None:
        kwargs["max_new_tokens"] = tokens
        return
    config = kwargs["generation_config"] = copy.deepcopy(config)
    config.max_length, config.max_new_tokens = None, tokens
    kwargs.pop("max_new_tokens", None)
